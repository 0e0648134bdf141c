// The damping functions by name, and their parameters.
#pragma once
#include "engine/formulas/d3_math.h"

namespace d3 {

enum class DampingForm { rational, zero, modified_zero };
constexpr int n_forms = 3;

// Parameters of a form, s6 and s8 first: s6 s8 a1 a2, s6 s8 rs6 rs8, s6 s8 rs6 rs8 bet.
D3_HD constexpr int n_parameters(DampingForm form) {
  return form == DampingForm::modified_zero ? 5 : 4;
}
constexpr int most_parameters = 5;
constexpr int most_damping = most_parameters + 1;  // with s9, the last where it is

}  // namespace d3

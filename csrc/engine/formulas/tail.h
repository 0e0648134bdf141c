// The energy of a homogeneous continuation beyond the cutoff, and of what switching takes away
// before it: E = -1/(2 V) sum_ij C6_ij [s6 I_6 + s8 3 Q_i Q_j I_8], I_n = integral of (1 - sw(r)) 4
// pi r^2 / r^n.
#pragma once
#include <cmath>

#include "engine/formulas/d3_math.h"

namespace d3 {

// I_6 and I_8.
struct TailIntegrals {
  double i6;
  double i8;
};

// I_n, from cutoff - width to infinity.
inline double tail_integral(double cutoff, double width, int n) {
  constexpr double pi = 3.14159265358979323846;
  double sum = std::pow(cutoff, 3 - n) / (n - 3);
  // Gauss-Legendre on eight panels: the integrand is smooth, so this is exact to rounding
  const double node[4] = {0.1834346424956498, 0.5255324099163290, 0.7966664774136267,
                          0.9602898564975363};
  const double weight[4] = {0.3626837833783620, 0.3137066458778873, 0.2223810344533745,
                            0.1012285362903763};
  for (int panel = 0; panel < 8; ++panel)
    for (int k = 0; k < 8; ++k) {
      const double x = (panel + 0.5 + 0.5 * (k < 4 ? node[k] : -node[k - 4])) / 8,
                   r = cutoff - width * x;
      sum += width / 16 * weight[k % 4] * (1 - x * x * x * (10 + x * (6 * x - 15))) *
             std::pow(r, 2 - n);
    }
  return 4 * pi * sum;
}

inline TailIntegrals tail_integrals(double cutoff, double width) {
  return {tail_integral(cutoff, width, 6), tail_integral(cutoff, width, 8)};
}

}  // namespace d3

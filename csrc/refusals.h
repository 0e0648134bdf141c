// What autograd of the ops refuses, in the same words everywhere.
#pragma once
#include <ATen/core/Tensor.h>

namespace d3 {

inline void refuse_grad(const at::Tensor& t, const char* name) {
  TORCH_CHECK_NOT_IMPLEMENTED(!t.requires_grad(), "d3torch: ", name, " is not differentiable: expected a tensor without requires_grad.");
}

[[noreturn]] inline void refuse_third_order() {
  TORCH_CHECK_NOT_IMPLEMENTED(false, "d3torch: third derivatives are not implemented by the kernels: use backend=\"eager\".");
}

}  // namespace d3

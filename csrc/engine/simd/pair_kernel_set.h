// The kernels on given pairs for the instruction set of the including file, as function pointers:
// see PairKernelSet.
#pragma once
#include "engine/pairs/kernel_set.h"
#include "engine/simd/list_kernel.h"
#include "engine/simd/owned_kernel.h"

namespace d3 {
namespace D3_ISA {

template <class T> constexpr PairKernelSet<T> pair_kernel_set() {
  using P = PlainRegisters<T>;
  using D = DualRegisters<T>;
  return {row_kernels<P, T, T, int64_t>(),     row_kernels<D, T, T, int64_t>(),
          owned_kernels<T, T, int32_t>(),      owned_kernels<T, T, int64_t>(),
          owned_kernels<T, double, int32_t>(), owned_kernels<T, double, int64_t>(),
          list_kernels<P, T, T, double>(),     list_kernels<D, T, Dual<T>, Dual<double>>()};
}

}  // namespace D3_ISA
}  // namespace d3

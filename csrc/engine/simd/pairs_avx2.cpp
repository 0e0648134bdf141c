// The kernels on given pairs for AVX2.
#include "engine/simd/target_avx2.h"
// and for it:
#include "engine/simd/pair_kernel_set.h"

namespace d3 {
template <> const PairKernelSet<float>& kernels_avx2() {
  static constexpr auto set = avx2::pair_kernel_set<float>();
  return set;
}
template <> const PairKernelSet<double>& kernels_avx2() {
  static constexpr auto set = avx2::pair_kernel_set<double>();
  return set;
}
}  // namespace d3

#include "engine/simd/target_end.h"

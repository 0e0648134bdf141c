// The kernels on given pairs for any processor.
#include "engine/simd/target_baseline.h"
// and for it:
#include "engine/simd/pair_kernel_set.h"

namespace d3 {
template <> const PairKernelSet<float>& kernels_baseline() {
  static constexpr auto set = baseline::pair_kernel_set<float>();
  return set;
}
template <> const PairKernelSet<double>& kernels_baseline() {
  static constexpr auto set = baseline::pair_kernel_set<double>();
  return set;
}
}  // namespace d3

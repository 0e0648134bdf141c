// The kernels of the lattice engine for any processor.
#include "engine/simd/target_baseline.h"
// and for it:
#include "engine/simd/lattice_kernel.h"

namespace d3 {
template <> const KernelSet<float>& kernels_baseline() {
  static constexpr auto set = baseline::kernel_set<float>();
  return set;
}
template <> const KernelSet<double>& kernels_baseline() {
  static constexpr auto set = baseline::kernel_set<double>();
  return set;
}
}  // namespace d3

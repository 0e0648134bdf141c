// The kernels of the lattice engine for AVX-512.
#include "engine/simd/target_avx512.h"
// and for it:
#include "engine/simd/lattice_kernel.h"

namespace d3 {
template <> const KernelSet<float>& kernels_avx512() {
  static constexpr auto set = avx512::kernel_set<float>();
  return set;
}
template <> const KernelSet<double>& kernels_avx512() {
  static constexpr auto set = avx512::kernel_set<double>();
  return set;
}
}  // namespace d3

#include "engine/simd/target_end.h"

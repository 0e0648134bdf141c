// The kernels of the pair style for AVX2.
#include "engine/simd/target_avx2.h"
// and for it:
#include "engine/simd/lattice_kernel.h"
#include "rank_kernels.h"

namespace d3 {
template <> const RankKernelSet& kernels_avx2() {
  using Registers = avx2::PlainRegisters<double>;
  static constexpr RankKernelSet set{avx2::find,
                                     avx2::lattice_kernels<Registers, double, double, double>()};
  return set;
}
}  // namespace d3

#include "engine/simd/target_end.h"

// The kernels of the pair style for AVX-512.
#include "engine/simd/target_avx512.h"
// and for it:
#include "engine/simd/lattice_kernel.h"
#include "rank_kernels.h"

namespace d3 {
template <> const RankKernelSet& kernels_avx512() {
  using Registers = avx512::PlainRegisters<double>;
  static constexpr RankKernelSet set{avx512::find,
                                     avx512::lattice_kernels<Registers, double, double, double>()};
  return set;
}
}  // namespace d3

#include "engine/simd/target_end.h"

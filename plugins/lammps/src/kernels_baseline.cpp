// The kernels of the pair style for any processor.
#include "engine/simd/target_baseline.h"
// and for it:
#include "engine/simd/lattice_kernel.h"
#include "rank_kernels.h"

namespace d3 {
template <> const RankKernelSet& kernels_baseline() {
  using Registers = baseline::PlainRegisters<double>;
  static constexpr RankKernelSet set{
      baseline::find, baseline::lattice_kernels<Registers, double, double, double>()};
  return set;
}
}  // namespace d3

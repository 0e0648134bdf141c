// The kernels for any processor: registers of 16 bytes, which every x86-64 has (SSE2).
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>

#define D3_ISA baseline
#define D3_BYTES 16
#include "engine/simd/lattice_kernel.h"

namespace d3 {
template <> KernelSet<float> kernels_baseline<float>() { return baseline::kernel_set<float>(); }
template <> KernelSet<double> kernels_baseline<double>() { return baseline::kernel_set<double>(); }
}  // namespace d3

// The tile loops for avx2.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__x86_64__)
#pragma GCC target("avx2,fma,popcnt")
#endif

#define D3_ISA avx2
#define D3_BYTES 32
#include "engine/simd/lattice_kernel.h"

namespace d3 {
template <> KernelSet<float> kernels_avx2<float>() { return avx2::kernel_set<float>(); }
template <> KernelSet<double> kernels_avx2<double>() { return avx2::kernel_set<double>(); }
}  // namespace d3

// The kernels for AVX-512 (F, DQ, VL): registers of 64 bytes.
// Headers of the system come before the target pragma (clang has another than GCC), so that their
// inline functions are compiled for any processor: the linker may keep this copy of them.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__clang__) && defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512vl,avx2,fma"))), \
                             apply_to = function)
#elif defined(__x86_64__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // of GCC 12's own intrinsics
#pragma GCC target("avx512f,avx512dq,avx512vl,avx2,fma")
#endif

#define D3_ISA avx512
#define D3_BYTES 64
#include "engine/simd/lattice_kernel.h"

namespace d3 {
template <> KernelSet<float> kernels_avx512<float>() { return avx512::kernel_set<float>(); }
template <> KernelSet<double> kernels_avx512<double>() { return avx512::kernel_set<double>(); }
}  // namespace d3

#if defined(__clang__) && defined(__x86_64__)
#pragma clang attribute pop
#endif

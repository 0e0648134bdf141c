// What follows is compiled for AVX2 with FMA, registers of 32 bytes; target_end.h ends it.
// Headers of the system come before the target pragma (clang has another than GCC), so that their
// inline functions are compiled for any processor: the linker may keep this copy of them.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__clang__) && defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("avx2,fma,popcnt"))), apply_to = function)
#elif defined(__x86_64__)
#pragma GCC target("avx2,fma,popcnt")
#endif

#define D3_ISA avx2
#define D3_BYTES 32

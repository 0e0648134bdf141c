// Included before every file of a wheel for manylinux_2_28 that is built where the C and C++
// libraries are newer: functions that changed since are taken in their older version, which gives
// the same bits. With packaging/glibc_2_28.cpp.
#pragma once
#include <cstddef>

// Templates are compiled here, none is taken from what a newer libstdc++ has compiled.
#undef _GLIBCXX_EXTERN_TEMPLATE
#define _GLIBCXX_EXTERN_TEMPLATE 0

// glibc 2.29 dropped an error handling of old from these; the older name wraps the same code.
#if defined(__x86_64__) && !defined(__CUDA_ARCH__)
#define D3_OLDER(name) __asm__(".symver " name ", " name "@GLIBC_2.2.5")
#elif defined(__aarch64__) && !defined(__CUDA_ARCH__)
#define D3_OLDER(name) __asm__(".symver " name ", " name "@GLIBC_2.17")
#endif
#if defined(D3_OLDER)
D3_OLDER("exp");
D3_OLDER("pow");
D3_OLDER("log");
#endif

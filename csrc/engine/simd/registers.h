// A register of numbers over the compiler's vector extension; the exponential is glibc's libmvec (8
// doubles in 5.6 ns to 3e-16 on a Zen 4 core; SLEEF 3.5.1 u10 takes 7.8 ns, eight scalar calls 42
// ns). The including file names the instruction set: a target pragma first, then D3_ISA, a
// namespace that keeps the copies apart, and D3_BYTES, the width of a register.
#pragma once
#include <type_traits>

#include "engine/formulas/dual.h"

// Small functions must end up inside a kernel that has the target pragma, or registers would pass
// through memory.
#define D3_INLINE inline __attribute__((always_inline))
#define D3_LAMBDA \
  __attribute__(( \
      always_inline))  // a lambda does not take the target pragma: it must not stand alone

namespace d3 {
namespace D3_ISA {

typedef double Doubles __attribute__((vector_size(D3_BYTES)));
typedef float Floats __attribute__((vector_size(D3_BYTES)));
typedef long long DoubleMask __attribute__((vector_size(D3_BYTES)));
typedef int FloatMask __attribute__((vector_size(D3_BYTES)));

// The exponentials of libmvec for this width; their names encode set, lanes and arguments.
extern "C" {
#if !defined(__x86_64__)
// no libmvec: lane by lane, below
#elif D3_BYTES == 64
Doubles _ZGVeN8v_exp(Doubles);
Floats _ZGVeN16v_expf(Floats);
D3_INLINE Doubles vector_exp(Doubles x) { return _ZGVeN8v_exp(x); }
D3_INLINE Floats vector_expf(Floats x) { return _ZGVeN16v_expf(x); }
#elif D3_BYTES == 32
Doubles _ZGVdN4v_exp(Doubles);
Floats _ZGVdN8v_expf(Floats);
D3_INLINE Doubles vector_exp(Doubles x) { return _ZGVdN4v_exp(x); }
D3_INLINE Floats vector_expf(Floats x) { return _ZGVdN8v_expf(x); }
#else
Doubles _ZGVbN2v_exp(Doubles);
Floats _ZGVbN4v_expf(Floats);
D3_INLINE Doubles vector_exp(Doubles x) { return _ZGVbN2v_exp(x); }
D3_INLINE Floats vector_expf(Floats x) { return _ZGVbN4v_expf(x); }
#endif
}

// The compiler's types of a register of T, and of a mask for it.
template <class T> struct Register;
template <> struct Register<double> {
  using Lanes = Doubles;
  using Mask = DoubleMask;
};
template <> struct Register<float> {
  using Lanes = Floats;
  using Mask = FloatMask;
};

// A register of numbers with the operators of a number: the X of d3_math.h.
template <class T> struct Simd {
  using Lanes = typename Register<T>::Lanes;
  static constexpr int size = D3_BYTES / sizeof(T);
  Lanes v;

  Simd() = default;
  D3_INLINE Simd(T s) : v(s - Lanes{}) {}  // compiles to one broadcast
  D3_INLINE Simd(Lanes lanes) : v(lanes) {}
  D3_INLINE static Simd load(const T* p) {
    Simd x;
    __builtin_memcpy(&x.v, p, sizeof(Lanes));
    return x;
  }
  D3_INLINE void store(T* p) const { __builtin_memcpy(p, &v, sizeof(Lanes)); }
};

// Masks, comparisons, select and max. AVX-512 has registers for masks, one bit a lane; elsewhere a
// mask is a register of integers, all bits of a lane set or none.
#if D3_BYTES == 64 && defined(__x86_64__)
template <class T> struct Mask {
  std::conditional_t<sizeof(T) == 4, __mmask16, __mmask8> m;
};
D3_INLINE Mask<double> operator>(Simd<double> a, Simd<double> b) {
  return {_mm512_cmp_pd_mask(__m512d(a.v), __m512d(b.v), _CMP_GT_OQ)};
}
D3_INLINE Mask<float> operator>(Simd<float> a, Simd<float> b) {
  return {_mm512_cmp_ps_mask(__m512(a.v), __m512(b.v), _CMP_GT_OQ)};
}
D3_INLINE Mask<double> operator<=(Simd<double> a, Simd<double> b) {
  return {_mm512_cmp_pd_mask(__m512d(a.v), __m512d(b.v), _CMP_LE_OQ)};
}
D3_INLINE Mask<float> operator<=(Simd<float> a, Simd<float> b) {
  return {_mm512_cmp_ps_mask(__m512(a.v), __m512(b.v), _CMP_LE_OQ)};
}
template <class T> D3_INLINE Mask<T> operator&(Mask<T> a, Mask<T> b) {
  return {decltype(a.m)(a.m & b.m)};
}
D3_INLINE Simd<double> select(Mask<double> mask, Simd<double> a, Simd<double> b) {
  return Simd<double>(Doubles(_mm512_mask_blend_pd(mask.m, __m512d(b.v), __m512d(a.v))));
}
D3_INLINE Simd<float> select(Mask<float> mask, Simd<float> a, Simd<float> b) {
  return Simd<float>(Floats(_mm512_mask_blend_ps(mask.m, __m512(b.v), __m512(a.v))));
}
D3_INLINE Simd<double> max(Simd<double> a, Simd<double> b) {
  return Simd<double>(Doubles(_mm512_max_pd(__m512d(a.v), __m512d(b.v))));
}
D3_INLINE Simd<float> max(Simd<float> a, Simd<float> b) {
  return Simd<float>(Floats(_mm512_max_ps(__m512(a.v), __m512(b.v))));
}
template <class T> D3_INLINE bool any(Mask<T> mask) { return mask.m != 0; }
#else
template <class T> struct Mask {
  typename Register<T>::Mask m;
};
template <class T> D3_INLINE Mask<T> operator>(Simd<T> a, Simd<T> b) { return {a.v > b.v}; }
template <class T> D3_INLINE Mask<T> operator<=(Simd<T> a, Simd<T> b) { return {a.v <= b.v}; }
template <class T> D3_INLINE Mask<T> operator&(Mask<T> a, Mask<T> b) { return {a.m & b.m}; }
template <class T> D3_INLINE Simd<T> select(Mask<T> mask, Simd<T> a, Simd<T> b) {
  return Simd<T>(mask.m ? a.v : b.v);
}
#if D3_BYTES == 32 && defined(__x86_64__)
D3_INLINE Simd<double> max(Simd<double> a, Simd<double> b) {
  return Simd<double>(Doubles(_mm256_max_pd(__m256d(a.v), __m256d(b.v))));
}
D3_INLINE Simd<float> max(Simd<float> a, Simd<float> b) {
  return Simd<float>(Floats(_mm256_max_ps(__m256(a.v), __m256(b.v))));
}
template <class T> D3_INLINE bool any(Mask<T> mask) {
  return !_mm256_testz_si256(__m256i(mask.m), __m256i(mask.m));
}
#else
template <class T> D3_INLINE Simd<T> max(Simd<T> a, Simd<T> b) { return select(a > b, a, b); }
template <class T> D3_INLINE bool any(Mask<T> mask) {
  long long bits = 0;
  for (int k = 0; k < Simd<T>::size; ++k) bits |= mask.m[k];
  return bits != 0;
}
#endif
#endif

template <class T> D3_INLINE Simd<T> operator-(Simd<T> a) { return Simd<T>(-a.v); }
template <class T> D3_INLINE Simd<T> operator+(Simd<T> a, Simd<T> b) { return Simd<T>(a.v + b.v); }
template <class T> D3_INLINE Simd<T> operator-(Simd<T> a, Simd<T> b) { return Simd<T>(a.v - b.v); }
template <class T> D3_INLINE Simd<T> operator*(Simd<T> a, Simd<T> b) { return Simd<T>(a.v * b.v); }
template <class T> D3_INLINE Simd<T> operator/(Simd<T> a, Simd<T> b) { return Simd<T>(a.v / b.v); }
template <class T> D3_INLINE Simd<T>& operator+=(Simd<T>& a, Simd<T> b) { return a = a + b; }
template <class T> D3_INLINE Simd<T> value(Simd<T> a) { return a; }

// A number that is in a register from here on. The compiler would otherwise load it again for each
// operation that reads it, and loads are what some loops wait for.
template <class T> D3_INLINE Simd<T> loaded(Simd<T> a) {
#if D3_BYTES < 64 && defined(__x86_64__)
  asm("" : "+x"(a.v));
#endif
  return a;
}
template <class T> D3_INLINE Dual<Simd<T>> loaded(Dual<Simd<T>> a) {
  return {loaded(a.v), loaded(a.d)};
}

// Writes first + k for the lanes k that are set, or what these lanes hold, and says how many they
// are; there must be room for all lanes.
#if D3_BYTES == 64 && defined(__x86_64__)
D3_INLINE int compress(Mask<double> mask, int first, int* out) {
  const __m256i index =
      _mm256_add_epi32(_mm256_set1_epi32(first), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  _mm256_storeu_si256((__m256i*)out, _mm256_maskz_compress_epi32(mask.m, index));
  return __builtin_popcount(mask.m);
}
D3_INLINE int compress(Mask<float> mask, int first, int* out) {
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  _mm512_storeu_si512(
      out, _mm512_maskz_compress_epi32(mask.m, _mm512_add_epi32(_mm512_set1_epi32(first), lane)));
  return __builtin_popcount(mask.m);
}
D3_INLINE int compress(Mask<double> mask, Simd<double> x, double* out) {
  _mm512_storeu_pd(out, _mm512_maskz_compress_pd(mask.m, __m512d(x.v)));
  return __builtin_popcount(mask.m);
}
D3_INLINE int compress(Mask<float> mask, Simd<float> x, float* out) {
  _mm512_storeu_ps(out, _mm512_maskz_compress_ps(mask.m, __m512(x.v)));
  return __builtin_popcount(mask.m);
}
#elif D3_BYTES == 32 && defined(__x86_64__)
// For each set of lanes of `parts` 4-byte parts: which part goes where.
template <int lanes, int parts> struct Order {
  uint8_t part[1 << lanes][8] = {};
  constexpr Order() {
    for (int bits = 0; bits < 1 << lanes; ++bits)
      for (int lane = 0, n = 0; lane < lanes; ++lane)
        if (bits >> lane & 1)
          for (int p = 0; p < parts; ++p) part[bits][n++] = uint8_t(parts * lane + p);
  }
  __m256i operator[](int bits) const {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)part[bits]));
  }
};
constexpr Order<4, 2> order_of_doubles;
constexpr Order<8, 1> order_of_floats;
constexpr Order<4, 1> order_of_lanes;

D3_INLINE int compress(Mask<double> mask, int first, int* out) {
  const int bits = _mm256_movemask_pd(__m256d(mask.m));
  const __m128i lanes = _mm256_castsi256_si128(order_of_lanes[bits]);
  _mm_storeu_si128((__m128i*)out, _mm_add_epi32(_mm_set1_epi32(first), lanes));
  return __builtin_popcount(bits);
}
D3_INLINE int compress(Mask<float> mask, int first, int* out) {
  const int bits = _mm256_movemask_ps(__m256(mask.m));
  _mm256_storeu_si256((__m256i*)out,
                      _mm256_add_epi32(_mm256_set1_epi32(first), order_of_floats[bits]));
  return __builtin_popcount(bits);
}
D3_INLINE int compress(Mask<double> mask, Simd<double> x, double* out) {
  const int bits = _mm256_movemask_pd(__m256d(mask.m));
  _mm256_storeu_si256((__m256i*)out,
                      _mm256_permutevar8x32_epi32(__m256i(x.v), order_of_doubles[bits]));
  return __builtin_popcount(bits);
}
D3_INLINE int compress(Mask<float> mask, Simd<float> x, float* out) {
  const int bits = _mm256_movemask_ps(__m256(mask.m));
  _mm256_storeu_si256((__m256i*)out,
                      _mm256_permutevar8x32_epi32(__m256i(x.v), order_of_floats[bits]));
  return __builtin_popcount(bits);
}
#else
template <class T> D3_INLINE int compress(Mask<T> mask, int first, int* out) {
  int n = 0;
  for (int k = 0; k < Simd<T>::size; ++k) {
    out[n] = first + k;
    n += mask.m[k] != 0;
  }
  return n;
}
template <class T> D3_INLINE int compress(Mask<T> mask, Simd<T> x, T* out) {
  int n = 0;
  for (int k = 0; k < Simd<T>::size; ++k) {
    out[n] = x.v[k];
    n += mask.m[k] != 0;
  }
  return n;
}
#endif

// The compiler makes one instruction of this loop.
template <class T> D3_INLINE Simd<T> sqrt(Simd<T> a) {
  Simd<T> r;
  for (int k = 0; k < Simd<T>::size; ++k) r.v[k] = std::sqrt(a.v[k]);
  return r;
}

#if D3_BYTES == 64 && defined(__x86_64__)
// Estimates to 14 bits and two Newton steps: to the last bit or two, in a third of the time of a
// division.
D3_INLINE Simd<double> reciprocal(Simd<double> a) {
  Simd<double> x(Doubles(_mm512_rcp14_pd(__m512d(a.v))));
  x = x + x * (Simd<double>(1.0) - a * x);
  return x + x * (Simd<double>(1.0) - a * x);
}
// An overflow is taken as 1e37, since the step would make NaN of infinity; NaN stays.
D3_INLINE Simd<float> quick_reciprocal(Simd<float> given) {
  const Simd<float> a(Floats(_mm512_min_ps(_mm512_set1_ps(1e37f), __m512(given.v))));
  const Simd<float> x(Floats(_mm512_rcp14_ps(__m512(a.v))));
  return x + x * (Simd<float>(1.0f) - a * x);
}
D3_INLINE Simd<double> reciprocal_sqrt(Simd<double> a) {
  const Simd<double> half = Simd<double>(0.5) * a, three_halves(1.5);
  Simd<double> x(Doubles(_mm512_rsqrt14_pd(__m512d(a.v))));
  x = x * (three_halves - half * x * x);
  return x * (three_halves - half * x * x);
}
#endif

// Estimates of x^(-1/3) to 3 %, from the bits of a positive number as an integer: a third of them,
// taken from a constant.
D3_INLINE Simd<double> estimate_cube_root(Simd<double> x) {
  // the upper half, in the last bits of 2^52 and some: a double, and back
  const Doubles upper = Doubles((DoubleMask(x.v) >> 32) | 0x4330000000000000LL) - 0x1p52;
  return Simd<double>(Doubles(DoubleMask((0x1p52 + 0x553ef0ffp0) - upper * (1 / 3.0)) << 32));
}
D3_INLINE Simd<float> estimate_cube_root(Simd<float> x) {
  const Floats bits = __builtin_convertvector(FloatMask(x.v), Floats);
  return Simd<float>(Floats(__builtin_convertvector(0x54a21d2ap0f - bits * (1 / 3.0f), FloatMask)));
}

// x^(-1/3) for x > 0, by two steps of fourth order: to the last bit or two.
template <class T> D3_INLINE Simd<T> inverse_cube_root(Simd<T> x) {
  Simd<T> y = estimate_cube_root(x);
  for (int step = 0; step < 2; ++step) {
    const Simd<T> h = Simd<T>(T(1)) - x * y * (y * y), c(T(14 / 81.0));
    y += y * h * (Simd<T>(T(1 / 3.0)) + h * (Simd<T>(T(2 / 9.0)) + h * c));
  }
  return y;
}

// Sum of the lanes in double precision, halves onto halves.
template <class T> D3_INLINE double total(Simd<T> a) {
  double sum[Simd<T>::size];
  for (int k = 0; k < Simd<T>::size; ++k) sum[k] = a.v[k];
  for (int half = Simd<T>::size / 2; half > 0; half /= 2)
    for (int k = 0; k < half; ++k) sum[k] += sum[k + half];
  return sum[0];
}

#if defined(__x86_64__)
D3_INLINE Simd<double> exp(Simd<double> a) { return Simd<double>(vector_exp(a.v)); }
D3_INLINE Simd<float> exp(Simd<float> a) { return Simd<float>(vector_expf(a.v)); }
#else
template <class T> D3_INLINE Simd<T> exp(Simd<T> a) {
  for (int k = 0; k < Simd<T>::size; ++k) a.v[k] = std::exp(a.v[k]);
  return a;
}
#endif

}  // namespace D3_ISA

template <class T> struct value_type<D3_ISA::Simd<T>> {
  using type = T;
};

}  // namespace d3

// A register of numbers over the compiler's vector extension. The exponential of AVX-512 and of the
// baseline is glibc's libmvec (8 doubles in 5.6 ns to 3e-16 on a Zen 4 core; SLEEF 3.5.1 u10 takes
// 7.8 ns, eight scalar calls 42 ns); elsewhere it is our own, which needs no call. The including
// file names the instruction set: a target pragma first, then D3_ISA, a namespace that keeps the
// copies apart, and D3_BYTES, the width of a register.
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
// no libmvec: see exp
#elif D3_BYTES == 64
Doubles _ZGVeN8v_exp(Doubles);
Floats _ZGVeN16v_expf(Floats);
D3_INLINE Doubles vector_exp(Doubles x) { return _ZGVeN8v_exp(x); }
D3_INLINE Floats vector_expf(Floats x) { return _ZGVeN16v_expf(x); }
#elif D3_BYTES == 16
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

#if D3_BYTES == 32 && defined(__x86_64__)
// An estimate to 3.5 % from the bits of the number (constant: Lomont, Fast inverse square root,
// 2003), and steps of fifth and third order, to 1e-19; for positive numbers. Division and root,
// which it saves, are not pipelined.
D3_INLINE Simd<double> reciprocal_sqrt(Simd<double> a) {
  typedef unsigned long long Bits __attribute__((vector_size(D3_BYTES)));
  const auto c = [](double x) D3_LAMBDA { return Simd<double>(x); };
  Simd<double> x(Doubles(0x5fe6eb50c7b537a9ULL - (Bits(a.v) >> 1)));
  Simd<double> h = c(1.0) - a * x * x;
  x += x * h * (c(1 / 2.0) + h * (c(3 / 8.0) + h * (c(5 / 16.0) + h * c(35 / 128.0))));
  h = c(1.0) - a * x * x;
  return x + x * h * (c(1 / 2.0) + h * c(3 / 8.0));
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

// e^x to an ulp: 2^n p(r) with n the integer nearest to x / ln 2, which the addition of `whole`
// leaves in the last bits, and r the rest. p = 1 + r + r^2 q(r), where q meets (e^r - 1 - r) / r^2
// at the Chebyshev nodes of |r| <= ln(2)/2: to 2e-17, in single precision to 1e-8. ln 2 comes in
// two parts, of which the first times n is exact. Infinite from 2^1023.5 (2^127.5) on, 0 below
// 2^-1022.5 (2^-126.5); NaN stays.
template <class T> struct ExpConstants;
template <> struct ExpConstants<double> {
  static constexpr double whole = 0x1.8p52, least = -709, most = 710;
  static constexpr double ln2 = 0x1.62e42feep-1, rest_of_ln2 = 0x1.a39ef35793c76p-33;
  static constexpr double q[] = {
      0x1.0000000000001p-1,  0x1.5555555555556p-3,  0x1.5555555553d68p-5,  0x1.11111111109b5p-7,
      0x1.6c16c17889ef1p-10, 0x1.a01a01a7c2efep-13, 0x1.a019b9149a41cp-16, 0x1.71de0db2f6b19p-19,
      0x1.28917c89a43a7p-22, 0x1.af389ecfc4b9cp-26};
};
template <> struct ExpConstants<float> {
  static constexpr float whole = 0x1.8p23f, least = -88, most = 89;
  static constexpr float ln2 = 0x1.62e4p-1f, rest_of_ln2 = 0x1.7f7d1cp-20f;
  static constexpr float q[] = {0x1p-1f, 0x1.5554ddp-3f, 0x1.555519p-5f, 0x1.120b61p-7f,
                                0x1.6d10fcp-10f};
};
D3_INLINE Simd<double> power_of_two(Simd<double> whole) {
  return Simd<double>(Doubles((DoubleMask(whole.v) << 52) + (1023LL << 52)));
}
D3_INLINE Simd<float> power_of_two(Simd<float> whole) {
  return Simd<float>(Floats((FloatMask(whole.v) << 23) + (127 << 23)));
}
D3_INLINE Simd<double> exp_tail(Simd<double> r, Simd<double> r2) {
  const auto q = [](int k) D3_LAMBDA { return Simd<double>(ExpConstants<double>::q[k]); };
  const Simd<double> r4 = r2 * r2;
  const Simd<double> low = (q(0) + q(1) * r) + (q(2) + q(3) * r) * r2;
  const Simd<double> high = (q(4) + q(5) * r) + (q(6) + q(7) * r) * r2;
  return low + r4 * (high + r4 * (q(8) + q(9) * r));
}
D3_INLINE Simd<float> exp_tail(Simd<float> r, Simd<float> r2) {
  const auto q = [](int k) D3_LAMBDA { return Simd<float>(ExpConstants<float>::q[k]); };
  return (q(0) + q(1) * r) + r2 * ((q(2) + q(3) * r) + r2 * q(4));
}
template <class T> D3_INLINE Simd<T> plain_exp(Simd<T> given) {
  using C = ExpConstants<T>;
  const Simd<T> least(C::least), most(C::most), whole(C::whole), one(T(1));
  const Simd<T> x = -max(-most, -max(least, given));
  const Simd<T> n_and_whole = x * Simd<T>(T(1.4426950408889634)) + whole, n = n_and_whole - whole;
  const Simd<T> r = x - n * Simd<T>(C::ln2) - n * Simd<T>(C::rest_of_ln2), r2 = r * r;
  return (one + (r + r2 * exp_tail(r, r2))) * power_of_two(n_and_whole);
}

#if defined(__x86_64__) && D3_BYTES != 32
D3_INLINE Simd<double> exp(Simd<double> a) { return Simd<double>(vector_exp(a.v)); }
D3_INLINE Simd<float> exp(Simd<float> a) { return Simd<float>(vector_expf(a.v)); }
#else
template <class T> D3_INLINE Simd<T> exp(Simd<T> a) { return plain_exp(a); }
#endif

}  // namespace D3_ISA

template <class T> struct value_type<D3_ISA::Simd<T>> {
  using type = T;
};

}  // namespace d3

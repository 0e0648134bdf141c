// What the kernels on a list do with registers beside arithmetic: integers in them, numbers that
// come in threes, rows of a table as columns, packing. For the instruction set of the including
// file.
#pragma once
#include <cstdint>
#include <utility>

#include "engine/pairs/list_rows.h"
#include "engine/simd/tile_loops.h"

namespace d3 {
namespace D3_ISA {

using DoubleVec = Simd<double>;  // a register of pairs, while their vectors are made
constexpr int pair_lanes = DoubleVec::size;

typedef unsigned long long Integers __attribute__((vector_size(D3_BYTES)));
typedef int HalfInts __attribute__((vector_size(D3_BYTES / 2)));
typedef float HalfFloats __attribute__((vector_size(D3_BYTES / 2)));

// ---- integers ----

// A register of numbers from memory, as integers of 8 bytes.
D3_INLINE Integers load_integers(const int64_t* p) {
  Integers x;
  __builtin_memcpy(&x, p, sizeof(x));
  return x;
}
D3_INLINE Integers load_integers(const int32_t* p) {
  HalfInts x;
  __builtin_memcpy(&x, p, sizeof(x));
  return Integers(__builtin_convertvector(x, DoubleMask));
}
D3_INLINE Doubles load_doubles(const double* p) { return DoubleVec::load(p).v; }
D3_INLINE Doubles load_doubles(const float* p) {
  HalfFloats x;
  __builtin_memcpy(&x, p, sizeof(x));
  return __builtin_convertvector(x, Doubles);
}

// Between integers and doubles, below 2^51: with a number whose last bit is 1 between them.
constexpr double integer_offset = 0x1.8p52;
constexpr uint64_t integer_offset_bits = 0x4338000000000000;
D3_INLINE Doubles to_doubles(Integers x) {
#if D3_BYTES == 64 && defined(__x86_64__)
  return Doubles(_mm512_cvtepi64_pd(__m512i(x)));
#else
  return Doubles(x + integer_offset_bits) - integer_offset;
#endif
}
D3_INLINE Integers to_integers(Doubles x) {
  return Integers(x + integer_offset) - integer_offset_bits;
}

D3_INLINE Mask<double> equal(DoubleVec a, DoubleVec b) {
#if D3_BYTES == 64 && defined(__x86_64__)
  return {_mm512_cmp_pd_mask(__m512d(a.v), __m512d(b.v), _CMP_EQ_OQ)};
#else
  return {a.v == b.v};
#endif
}

// Whether any lane has its highest bit set.
D3_INLINE bool any_negative(Integers x) {
#if D3_BYTES == 64 && defined(__x86_64__)
  return _mm512_movepi64_mask(__m512i(x)) != 0;
#elif D3_BYTES == 32 && defined(__x86_64__)
  return _mm256_movemask_pd(__m256d(x)) != 0;
#else
  return ((x[0] | x[1]) >> 63) != 0;
#endif
}

// Sets all lanes of integers to 0 that a mask does not have.
D3_INLINE Integers keep(Mask<double> mask, Integers x) {
  return Integers(select(mask, DoubleVec(Doubles(x)), DoubleVec(Doubles{})).v);
}
D3_INLINE uint64_t wrapped_sum(Integers x) {
  uint64_t sum = 0;
  for (int k = 0; k < pair_lanes; ++k) sum += x[k];
  return sum;
}

// The lanes of a mask, a bit each.
D3_INLINE int bits_of(Mask<double> mask) {
#if D3_BYTES == 64 && defined(__x86_64__)
  return mask.m;
#elif D3_BYTES == 32 && defined(__x86_64__)
  return _mm256_movemask_pd(__m256d(mask.m));
#else
  return int(mask.m[0] & 1) | int(mask.m[1] & 2);
#endif
}

// ---- numbers in threes ----

// x y z of the pairs of a register, from three registers of x y z x y z ...
template <class V> struct Three {
  V x, y, z;
};
template <class V> D3_INLINE Three<V> taken_apart(V a, V b, V c) {
#if D3_BYTES == 64
  const V x = __builtin_shufflevector(a, b, 0, 3, 6, 9, 12, 15, 0, 0),
          y = __builtin_shufflevector(a, b, 1, 4, 7, 10, 13, 0, 0, 0),
          z = __builtin_shufflevector(a, b, 2, 5, 8, 11, 14, 0, 0, 0);
  return {__builtin_shufflevector(x, c, 0, 1, 2, 3, 4, 5, 10, 13),
          __builtin_shufflevector(y, c, 0, 1, 2, 3, 4, 8, 11, 14),
          __builtin_shufflevector(z, c, 0, 1, 2, 3, 4, 9, 12, 15)};
#elif D3_BYTES == 32
  const V x = __builtin_shufflevector(a, b, 0, 3, 6, 0),
          y = __builtin_shufflevector(a, b, 1, 4, 7, 0),
          z = __builtin_shufflevector(a, b, 2, 5, 0, 0);
  return {__builtin_shufflevector(x, c, 0, 1, 2, 5), __builtin_shufflevector(y, c, 0, 1, 2, 6),
          __builtin_shufflevector(z, c, 0, 1, 4, 7)};
#else
  return {__builtin_shufflevector(a, b, 0, 3), __builtin_shufflevector(a, c, 1, 2),
          __builtin_shufflevector(b, c, 0, 3)};
#endif
}

// ---- rows of a table as columns ----

template <class T> struct FourOf;
template <> struct FourOf<double> {
  typedef double type __attribute__((vector_size(32)));
};
template <> struct FourOf<float> {
  typedef float type __attribute__((vector_size(16)));
};
template <class T> D3_INLINE typename FourOf<T>::type load_four(const T* p) {
  typename FourOf<T>::type x;
  __builtin_memcpy(&x, p, sizeof(x));
  return x;
}

// Halves of 16-byte pieces of two registers, one of each in turn: the lower ones, or the upper
// ones. A unit is a number, or two floats.
template <int unit, bool upper, class V, size_t... k>
D3_INLINE V mixed(V a, V b, std::index_sequence<k...>) {
  constexpr int n = sizeof...(k), piece = 16 / int(sizeof(a[0]));
  return __builtin_shufflevector(
      a, b,
      (int(k) / piece * piece + int(k) % piece / (2 * unit) * unit + int(k) % unit +
       (upper ? piece / 2 : 0) + (int(k) / unit % 2 ? n : 0))...);
}
template <int unit, bool upper, class T> D3_INLINE Vec<T> mixed(Vec<T> a, Vec<T> b) {
  return Vec<T>(mixed<unit, upper>(a.v, b.v, std::make_index_sequence<Vec<T>::size>()));
}

// Two rows of four doubles side by side.
#if D3_BYTES == 64
D3_INLINE Vec<double> side_by_side(const double* a, const double* b) {
  const __m512d low = _mm512_castpd256_pd512(_mm256_loadu_pd(a));
  return Vec<double>(Doubles(_mm512_insertf64x4(low, _mm256_loadu_pd(b), 1)));
}
#endif

// Four columns of a table; row(k) is where the four numbers of lane k are.
template <class Row> D3_INLINE void load_columns(Row&& row, Vec<double> (&out)[4]) {
#if D3_BYTES == 64
  const Vec<double> a = side_by_side(row(0), row(2)), b = side_by_side(row(1), row(3)),
                    c = side_by_side(row(4), row(6)), d = side_by_side(row(5), row(7));
  const auto split = [&](Doubles p, Doubles q, Vec<double>& lower, Vec<double>& upper) D3_LAMBDA {
    lower = Vec<double>(Doubles(__builtin_shufflevector(p, q, 0, 1, 4, 5, 8, 9, 12, 13)));
    upper = Vec<double>(Doubles(__builtin_shufflevector(p, q, 2, 3, 6, 7, 10, 11, 14, 15)));
  };
#elif D3_BYTES == 32
  const Vec<double> a(load_four(row(0))), b(load_four(row(1))), c(load_four(row(2))),
      d(load_four(row(3)));
  const auto split = [&](Doubles p, Doubles q, Vec<double>& lower, Vec<double>& upper) D3_LAMBDA {
    lower = Vec<double>(Doubles(__builtin_shufflevector(p, q, 0, 1, 4, 5)));
    upper = Vec<double>(Doubles(__builtin_shufflevector(p, q, 2, 3, 6, 7)));
  };
#endif
#if D3_BYTES > 16
  split(mixed<1, false>(a, b).v, mixed<1, false>(c, d).v, out[0], out[2]);
  split(mixed<1, true>(a, b).v, mixed<1, true>(c, d).v, out[1], out[3]);
#else
  for (int half = 0; half < 2; ++half) {
    const Vec<double> a = Vec<double>::load(row(0) + 2 * half),
                      b = Vec<double>::load(row(1) + 2 * half);
    out[2 * half] = mixed<1, false>(a, b);
    out[2 * half + 1] = mixed<1, true>(a, b);
  }
#endif
}
template <class Row> D3_INLINE void load_columns(Row&& row, Vec<float> (&out)[4]) {
  Vec<float> rows[4];  // lanes k, k + 4, ... of the register, for k < 4
  for (int k = 0; k < 4; ++k) {
#if D3_BYTES == 64 && defined(__x86_64__)
    const __m128 a = _mm_loadu_ps(row(k)), b = _mm_loadu_ps(row(k + 4)),
                 c = _mm_loadu_ps(row(k + 8)), d = _mm_loadu_ps(row(k + 12));
    const __m256 low = _mm256_insertf128_ps(_mm256_castps128_ps256(a), b, 1),
                 high = _mm256_insertf128_ps(_mm256_castps128_ps256(c), d, 1);
    rows[k] = Vec<float>(Floats(_mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1)));
#elif D3_BYTES == 32
    rows[k] = Vec<float>(Floats(
        __builtin_shufflevector(load_four(row(k)), load_four(row(k + 4)), 0, 1, 2, 3, 4, 5, 6, 7)));
#else
    rows[k] = Vec<float>(Floats(load_four(row(k))));
#endif
  }
  const Vec<float> xy = mixed<1, false>(rows[0], rows[1]), zw = mixed<1, true>(rows[0], rows[1]),
                   xy2 = mixed<1, false>(rows[2], rows[3]), zw2 = mixed<1, true>(rows[2], rows[3]);
  out[0] = mixed<2, false>(xy, xy2);
  out[1] = mixed<2, true>(xy, xy2);
  out[2] = mixed<2, false>(zw, zw2);
  out[3] = mixed<2, true>(zw, zw2);
}
template <class T>
D3_INLINE void load_columns(ClusterRows<T> base, const int32_t* index, Dual<Vec<T>> (&out)[4]) {
  Vec<T> v[4], d[4];
  load_columns([&](int k) D3_LAMBDA { return base.values + row_numbers * int64_t(index[k]); }, v);
  load_columns([&](int k) D3_LAMBDA { return base.tangents + row_numbers * int64_t(index[k]); }, d);
  for (int c = 0; c < 4; ++c) out[c] = {v[c], d[c]};
}
template <class T>
D3_INLINE void load_columns(ClusterRows<T> base, const int32_t* index, Vec<T> (&out)[4]) {
  load_columns([&](int k) D3_LAMBDA { return base.values + row_numbers * int64_t(index[k]); }, out);
}

// table[index[k]] for each lane k.
template <class T, size_t... k>
D3_INLINE Vec<T> gathered(const T* table, const int32_t* index, std::index_sequence<k...>) {
  return Vec<T>(typename Vec<T>::Lanes{table[index[k]]...});
}
template <class T> D3_INLINE Vec<T> gathered(const T* table, const int32_t* index) {
  return gathered(table, index, std::make_index_sequence<Vec<T>::size>());
}
template <class K, class T>
D3_INLINE typename K::X gathered(ClusterRows<T> table, const int32_t* index) {
  if constexpr (std::is_same_v<typename K::X, Vec<T>>)
    return gathered(table.values, index);
  else
    return {gathered(table.values, index), gathered(table.tangents, index)};
}

// ---- packing ----

// Pairs of a register with their numbers in T.
template <class T> struct PairNumbers;
template <> struct PairNumbers<double> {
  using type = Doubles;
};
template <> struct PairNumbers<float> {
  using type = HalfFloats;
};
D3_INLINE void narrow_pairs(DoubleVec x, Doubles& out) { out = x.v; }
D3_INLINE void narrow_pairs(DoubleVec x, HalfFloats& out) {
  out = __builtin_convertvector(x.v, HalfFloats);
}

// Writes what the lanes of a mask hold side by side; there must be room for all lanes.
#if D3_BYTES == 64 && defined(__x86_64__)
D3_INLINE void pack_pairs(Mask<double> mask, Doubles x, double* out) {
  _mm512_storeu_pd(out, _mm512_maskz_compress_pd(mask.m, __m512d(x)));
}
D3_INLINE void pack_pairs(Mask<double> mask, HalfFloats x, float* out) {
  _mm256_storeu_ps(out, _mm256_maskz_compress_ps(mask.m, __m256(x)));
}
D3_INLINE void pack_pairs(Mask<double> mask, HalfInts x, int32_t* out) {
  _mm256_storeu_si256((__m256i*)out, _mm256_maskz_compress_epi32(mask.m, __m256i(x)));
}
#elif D3_BYTES == 32 && defined(__x86_64__)
constexpr Order<4, 1> order_of_halves;
D3_INLINE void pack_pairs(Mask<double> mask, Doubles x, double* out) {
  compress(mask, DoubleVec(x), out);
}
D3_INLINE void pack_pairs(Mask<double> mask, HalfFloats x, float* out) {
  const __m256i order = order_of_halves[_mm256_movemask_pd(__m256d(mask.m))];
  _mm_storeu_ps(out, _mm_permutevar_ps(__m128(x), _mm256_castsi256_si128(order)));
}
D3_INLINE void pack_pairs(Mask<double> mask, HalfInts x, int32_t* out) {
  pack_pairs(mask, HalfFloats(x), reinterpret_cast<float*>(out));
}
#else
template <class V, class N> D3_INLINE void pack_pairs(Mask<double> mask, V x, N* out) {
  for (int k = 0, n = 0; k < pair_lanes; n += mask.m[k] != 0, ++k) out[n] = x[k];
}
#endif

}  // namespace D3_ISA
}  // namespace d3

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

// ---- integers ----

// Integers of 32 bits, as many as a register of T has lanes.
template <class T> struct IntegersOf;
template <> struct IntegersOf<double> {
  typedef int Signed __attribute__((vector_size(D3_BYTES / 2)));
  typedef unsigned Unsigned __attribute__((vector_size(D3_BYTES / 2)));
  typedef long long Wide __attribute__((vector_size(D3_BYTES / 2)));  // in as many bytes
};
template <> struct IntegersOf<float> {
  typedef int Signed __attribute__((vector_size(D3_BYTES)));
  typedef unsigned Unsigned __attribute__((vector_size(D3_BYTES)));
  typedef long long Wide __attribute__((vector_size(D3_BYTES)));
};
template <class T> using Ints = typename IntegersOf<T>::Signed;
template <class T> using Words = typename IntegersOf<T>::Unsigned;

// Integers from memory, less a number: their lower halves, and what tells whether these are all of
// them, 0 where they are as numbers with a sign.
template <class T> struct Loaded {
  Words<T> lower, more;
};
template <class T, size_t... k>
D3_INLINE Loaded<T> taken_in_turn(Words<T> a, Words<T> b, std::index_sequence<k...>) {
  const Words<T> lower = __builtin_shufflevector(a, b, (2 * k)...),
                 upper = __builtin_shufflevector(a, b, (2 * k + 1)...);
  return {lower, upper ^ Words<T>(Ints<T>(lower) >> 31)};
}
template <class V> D3_INLINE V load_as(const void* p) {
  V x;
  __builtin_memcpy(&x, p, sizeof(x));
  return x;
}
template <class T> D3_INLINE Loaded<T> load_integers(const int64_t* p, int64_t less) {
  constexpr int half = Vec<T>::size / 2;
  using Wide = typename IntegersOf<T>::Wide;
  const Wide a = load_as<Wide>(p) - less, b = load_as<Wide>(p + half) - less;
  return taken_in_turn<T>(Words<T>(a), Words<T>(b), std::make_index_sequence<2 * half>());
}
template <class T> D3_INLINE Loaded<T> load_integers(const int32_t* p, int64_t less) {
  return {load_as<Words<T>>(p) - uint32_t(less), Words<T>{}};
}

template <class T> D3_INLINE Vec<T> to_numbers(Words<T> x) {
  return Vec<T>(__builtin_convertvector(Ints<T>(x), typename Vec<T>::Lanes));
}
template <class T> D3_INLINE Words<T> to_integers(Vec<T> x) {
  return Words<T>(__builtin_convertvector(x.v, Ints<T>));
}

// Whether any lane has its highest bit set.
template <class T> D3_INLINE bool any_negative(Words<T> x) {
#if D3_BYTES == 64 && defined(__x86_64__)
  if constexpr (sizeof(T) == 8)
    return _mm256_movepi32_mask(__m256i(x)) != 0;
  else
    return _mm512_movepi32_mask(__m512i(x)) != 0;
#elif D3_BYTES == 32 && defined(__x86_64__)
  if constexpr (sizeof(T) == 8)
    return _mm_movemask_ps(__m128(x)) != 0;
  else
    return _mm256_movemask_ps(__m256(x)) != 0;
#else
  unsigned bits = 0;
  for (int k = 0; k < Vec<T>::size; ++k) bits |= x[k];
  return bits >> 31;
#endif
}
template <class W> D3_INLINE uint32_t wrapped_sum(W x) {
  uint32_t sum = 0;
  for (size_t k = 0; k < sizeof(x) / sizeof(x[0]); ++k) sum += x[k];
  return sum;
}

// ---- masks ----

template <class T> D3_INLINE Mask<T> operator|(Mask<T> a, Mask<T> b) {
  return {decltype(a.m)(a.m | b.m)};
}

// Sets all integers to 0 that a mask does not have.
#if D3_BYTES == 64 && defined(__x86_64__)
D3_INLINE Words<double> keep(Mask<double> mask, Words<double> x) {
  return Words<double>(_mm256_maskz_mov_epi32(mask.m, __m256i(x)));
}
D3_INLINE Words<float> keep(Mask<float> mask, Words<float> x) {
  return Words<float>(_mm512_maskz_mov_epi32(mask.m, __m512i(x)));
}
#else
template <class T> D3_INLINE Words<T> keep(Mask<T> mask, Words<T> x) {
  return x & Words<T>(__builtin_convertvector(mask.m, Ints<T>));
}
#endif

template <class T> D3_INLINE Mask<T> equal(Vec<T> a, Vec<T> b) {
#if D3_BYTES == 64 && defined(__x86_64__)
  if constexpr (sizeof(T) == 8)
    return {_mm512_cmp_pd_mask(__m512d(a.v), __m512d(b.v), _CMP_EQ_OQ)};
  else
    return {_mm512_cmp_ps_mask(__m512(a.v), __m512(b.v), _CMP_EQ_OQ)};
#else
  return {a.v == b.v};
#endif
}

// ---- numbers in threes ----

// x y z of the pairs of a register, from three registers of x y z x y z ...
template <class V> struct Three {
  V x, y, z;
};
template <int d, class V, size_t... k>
D3_INLINE V every_third(V a, V b, V c, std::index_sequence<k...>) {
  constexpr int n = sizeof...(k);
  const V ab = __builtin_shufflevector(a, b, (3 * int(k) + d < 2 * n ? 3 * int(k) + d : 0)...);
  return __builtin_shufflevector(ab, c, (3 * int(k) + d < 2 * n ? int(k) : 3 * int(k) + d - n)...);
}
template <class V> D3_INLINE Three<V> taken_apart(V a, V b, V c) {
  const auto lanes = std::make_index_sequence<sizeof(V) / sizeof(a[0])>();
  return {every_third<0>(a, b, c, lanes), every_third<1>(a, b, c, lanes),
          every_third<2>(a, b, c, lanes)};
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

// Writes what the lanes of a mask hold side by side; there must be room for all lanes.
template <class T> D3_INLINE void pack_pairs(Mask<T> mask, Vec<T> x, T* out) {
  compress(mask, x, out);
}
#if D3_BYTES == 64 && defined(__x86_64__)
D3_INLINE void pack_pairs(Mask<double> mask, Ints<double> x, int32_t* out) {
  _mm256_storeu_si256((__m256i*)out, _mm256_maskz_compress_epi32(mask.m, __m256i(x)));
}
D3_INLINE void pack_pairs(Mask<float> mask, Ints<float> x, int32_t* out) {
  _mm512_storeu_si512(out, _mm512_maskz_compress_epi32(mask.m, __m512i(x)));
}
#elif D3_BYTES == 32 && defined(__x86_64__)
constexpr Order<4, 1> order_of_halves;
D3_INLINE void pack_pairs(Mask<double> mask, Ints<double> x, int32_t* out) {
  const __m256i order = order_of_halves[_mm256_movemask_pd(__m256d(mask.m))];
  _mm_storeu_si128((__m128i*)out,
                   _mm_castps_si128(_mm_permutevar_ps(__m128(x), _mm256_castsi256_si128(order))));
}
D3_INLINE void pack_pairs(Mask<float> mask, Ints<float> x, int32_t* out) {
  const __m256i order = order_of_floats[_mm256_movemask_ps(__m256(mask.m))];
  _mm256_storeu_si256((__m256i*)out, _mm256_permutevar8x32_epi32(__m256i(x), order));
}
#else
template <class T> D3_INLINE void pack_pairs(Mask<T> mask, Ints<T> x, int32_t* out) {
  for (int k = 0, n = 0; k < Vec<T>::size; n += mask.m[k] != 0, ++k) out[n] = x[k];
}
#endif

}  // namespace D3_ISA
}  // namespace d3

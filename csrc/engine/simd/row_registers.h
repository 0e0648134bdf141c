// What the loops over rows of a pair list do with registers beside arithmetic: sums over the lanes
// of many registers at once, look-ups in small tables, masks of what is not far. For the
// instruction set of the including file.
#pragma once
#include <cstdint>
#include <utility>

#include "engine/pairs/rows.h"
#include "engine/simd/tile_loops.h"

namespace d3 {
namespace D3_ISA {

// A register of f(0), f(1), ...
template <class T, class F, size_t... k>
D3_INLINE Vec<T> lanes_of(F&& f, std::index_sequence<k...>) {
  return Vec<T>(typename Vec<T>::Lanes{f(int(k))...});
}
template <class T, class F> D3_INLINE Vec<T> lanes_of(F&& f) {
  return lanes_of<T>(f, std::make_index_sequence<Vec<T>::size>());
}

// Lanes that are not greater: those of NaN are set.
#if D3_BYTES == 64 && defined(__x86_64__)
D3_INLINE Mask<double> not_greater(Vec<double> a, Vec<double> b) {
  return {_mm512_cmp_pd_mask(__m512d(a.v), __m512d(b.v), _CMP_NGT_UQ)};
}
D3_INLINE Mask<float> not_greater(Vec<float> a, Vec<float> b) {
  return {_mm512_cmp_ps_mask(__m512(a.v), __m512(b.v), _CMP_NGT_UQ)};
}
#else
template <class T> D3_INLINE Mask<T> not_greater(Vec<T> a, Vec<T> b) { return {~(a.v > b.v)}; }
#endif

// Writes the indices of the lanes that are set side by side; there must be room for all lanes.
#if D3_BYTES == 64 && defined(__x86_64__)
D3_INLINE void pack_indices(Mask<double> mask, const int32_t* in, int32_t* out) {
  const __m256i all = _mm256_loadu_si256((const __m256i*)in);
  _mm256_storeu_si256((__m256i*)out, _mm256_maskz_compress_epi32(mask.m, all));
}
D3_INLINE void pack_indices(Mask<float> mask, const int32_t* in, int32_t* out) {
  _mm512_storeu_si512(out, _mm512_maskz_compress_epi32(mask.m, _mm512_loadu_si512(in)));
}
#else
template <class T> D3_INLINE void pack_indices(Mask<T> mask, const int32_t* in, int32_t* out) {
  int n = 0;
  for (int k = 0; k < Vec<T>::size; ++k) {
    out[n] = in[k];
    n += mask.m[k] != 0;
  }
}
#endif

// Lane k of a register, from each of two: of a where the bit `step` of k is not set, with the lane
// that differs from it in that bit added. Done for all bits, it sums up the lanes of as many
// registers as there are lanes.
template <int step, class V, size_t... k> D3_INLINE V folded(V a, V b, std::index_sequence<k...>) {
  constexpr int n = sizeof...(k);
  const V same = __builtin_shufflevector(a, b, (k & step ? n + int(k) : int(k))...);
  const V other = __builtin_shufflevector(a, b, (k & step ? n + int(k ^ step) : int(k ^ step))...);
  return same + other;
}
template <int step, class T> D3_INLINE Vec<T> fold(Vec<T> a, Vec<T> b) {
  return Vec<T>(folded<step>(a.v, b.v, std::make_index_sequence<Vec<T>::size>()));
}
template <int step, class X> D3_INLINE Dual<X> fold(Dual<X> a, Dual<X> b) {
  return {fold<step>(a.v, b.v), fold<step>(a.d, b.d)};
}

// Sums over the lanes of n = 2^k registers, of which parts[j] goes to lane j (and lane j + n).
template <int step, int n, class X> D3_INLINE X fold_all(X (&parts)[n]) {
  if constexpr (step == n) {
    return parts[0];
  } else {
    for (int k = 0; k < n; k += 2 * step) parts[k] = fold<step>(parts[k], parts[k + step]);
    return fold_all<2 * step>(parts);
  }
}

// Sums over the blocks of a row. Those in single precision are emptied as often as those over
// tiles: a block of a row is shorter, and to empty costs as much as many pairs.
template <class K, int n> struct RowSums : Sums<K, n> {
  int blocks = 0;
  D3_INLINE RowSums() {}
  D3_INLINE void end_block() {
    if (++blocks % summed_blocks == 0) Sums<K, n>::end_block();
  }
};

// The rows k and, where a register holds two, k + row_numbers of a run of indices.
template <class T> D3_INLINE Vec<T> load_rows(const T* table, const int32_t* index, int k, int h) {
  if constexpr (Vec<T>::size <= row_numbers) {
    return Vec<T>::load(table + int64_t(index[k]) * row_numbers + h * Vec<T>::size);
  } else {
#if D3_BYTES == 64 && defined(__x86_64__)
    const __m256 a = _mm256_loadu_ps(table + int64_t(index[k]) * row_numbers),
                 b = _mm256_loadu_ps(table + int64_t(index[k + row_numbers]) * row_numbers);
    return Vec<T>(Floats(_mm512_insertf32x8(_mm512_castps256_ps512(a), b, 1)));
#else
    return lanes_of<T>([&](int lane) D3_LAMBDA {
      return table[int64_t(index[k + lane / row_numbers * row_numbers]) * row_numbers +
                   lane % row_numbers];
    });
#endif
  }
}
template <class K, class T>
D3_INLINE typename K::X load_rows(Numbers<T> rows, const int32_t* index, int k, int h) {
  if constexpr (std::is_same_v<typename K::X, Vec<T>>)
    return load_rows(rows.values, index, k, h);
  else
    return {load_rows(rows.values, index, k, h), load_rows(rows.tangents, index, k, h)};
}

// A register of the products of row a[k] of one table with row b[k] of another.
template <class K, class T>
D3_INLINE typename K::X dot_rows(Numbers<T> left, const int32_t* a, Numbers<T> right,
                                 const int32_t* b) {
  constexpr int size = Vec<T>::size, n = size < row_numbers ? size : row_numbers,
                pieces = row_numbers / n;
  typename K::X parts[n];
  for (int k = 0; k < n; ++k) {
    parts[k] = load_rows<K>(left, a, k, 0) * load_rows<K>(right, b, k, 0);
    for (int h = 1; h < pieces; ++h)
      parts[k] += load_rows<K>(left, a, k, h) * load_rows<K>(right, b, k, h);
  }
  return fold_all<1>(parts);
}

// table[index[k]] for each lane k, where the table has room for whole registers. Small ones are
// kept in a register.
template <class T> D3_INLINE Vec<T> look_up(const T* table, int n, const int32_t* index) {
#if D3_BYTES == 64 && defined(__x86_64__)
  if (n <= Vec<T>::size) {
    const Vec<T> all = Vec<T>::load(table);
    if constexpr (sizeof(T) == 8) {
      const __m512i at = _mm512_cvtepi32_epi64(_mm256_loadu_si256((const __m256i*)index));
      return Vec<T>(Doubles(_mm512_permutexvar_pd(at, __m512d(all.v))));
    } else {
      const __m512i at = _mm512_loadu_si512(index);
      return Vec<T>(Floats(_mm512_permutexvar_ps(at, __m512(all.v))));
    }
  }
#endif
  return lanes_of<T>([&](int k) D3_LAMBDA { return table[index[k]]; });
}
template <class K, class T>
D3_INLINE typename K::X look_up(Numbers<T> table, int64_t at, int n, const int32_t* index) {
  if constexpr (std::is_same_v<typename K::X, Vec<T>>)
    return look_up(table.values + at, n, index);
  else
    return {look_up(table.values + at, n, index), look_up(table.tangents + at, n, index)};
}

}  // namespace D3_ISA
}  // namespace d3

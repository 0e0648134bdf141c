// Vectors of pairs between memory, x y z of each pair after the other, and columns of x, y and z,
// a register of pairs at a time. For the instruction set of the including file.
#pragma once
#include <cstdint>
#include <utility>

#include "engine/simd/tile_loops.h"

namespace d3 {
namespace D3_ISA {

// Component d of the vectors in three registers a b c that follow each other in memory: first from
// a and b, then what is left from c.
template <int d, class V, size_t... k>
D3_INLINE V component(V a, V b, V c, std::index_sequence<k...>) {
  constexpr int n = sizeof...(k);
  const V front =
      __builtin_shufflevector(a, b, (3 * int(k) + d < 2 * n ? 3 * int(k) + d : int(k))...);
  return __builtin_shufflevector(front, c,
                                 (3 * int(k) + d < 2 * n ? int(k) : 3 * int(k) + d - n)...);
}

// The factors of the numbers in register `part` of the three that hold the vectors of a register of
// pairs.
template <int part, class V, size_t... k>
D3_INLINE V for_components(V f, std::index_sequence<k...>) {
  constexpr int n = sizeof...(k);
  return __builtin_shufflevector(f, f, ((part * n + int(k)) / 3)...);
}

// Lanes that are 0.
#if D3_BYTES == 64 && defined(__x86_64__)
D3_INLINE Mask<double> is_zero(Vec<double> a) {
  return {_mm512_cmp_pd_mask(__m512d(a.v), _mm512_setzero_pd(), _CMP_EQ_OQ)};
}
D3_INLINE Mask<float> is_zero(Vec<float> a) {
  return {_mm512_cmp_ps_mask(__m512(a.v), _mm512_setzero_ps(), _CMP_EQ_OQ)};
}
#else
template <class T> D3_INLINE Mask<T> is_zero(Vec<T> a) { return {a.v == Vec<T>(T(0)).v}; }
#endif

// Reads n vectors into columns.
template <class T, class V> D3_INLINE void split(const V* vectors, int n, T* x, T* y, T* z) {
  int k = 0;
  if constexpr (std::is_same_v<T, V>) {
    constexpr auto all = std::make_index_sequence<Vec<T>::size>();
    for (; k + Vec<T>::size <= n; k += Vec<T>::size) {
      const auto load = [&](int part) D3_LAMBDA {
        return Vec<T>::load(vectors + 3 * k + part * Vec<T>::size).v;
      };
      const auto a = load(0), b = load(1), c = load(2);
      Vec<T>(component<0>(a, b, c, all)).store(x + k);
      Vec<T>(component<1>(a, b, c, all)).store(y + k);
      Vec<T>(component<2>(a, b, c, all)).store(z + k);
    }
  }
  for (; k < n; ++k) {
    x[k] = T(vectors[3 * k]);
    y[k] = T(vectors[3 * k + 1]);
    z[k] = T(vectors[3 * k + 2]);
  }
}

// Part `part` of the vectors f r of the register of pairs at k.
template <int part, class T> D3_INLINE void write_part(const T* f, const T* r, int k, T* out) {
  constexpr auto all = std::make_index_sequence<Vec<T>::size>();
  const int at = 3 * k + part * Vec<T>::size;
  const Vec<T> factor(for_components<part>(Vec<T>::load(f + k).v, all)), zero(T(0));
  select(is_zero(factor), zero, factor * Vec<T>::load(r + at)).store(out + at);
}

// out = f r for n pairs. A factor of 0 is that of a pair beyond the cutoff, which may be infinitely
// far.
template <class V, class T> D3_INLINE void write_scaled(const T* f, const V* r, int n, V* out) {
  int k = 0;
  if constexpr (std::is_same_v<T, V>)
    for (; k + Vec<T>::size <= n; k += Vec<T>::size) {
      write_part<0>(f, r, k, out);
      write_part<1>(f, r, k, out);
      write_part<2>(f, r, k, out);
    }
  for (; k < n; ++k)
    for (int d = 0; d < 3; ++d) out[3 * k + d] = f[k] == T(0) ? V(0) : V(f[k] * T(r[3 * k + d]));
}

// The same in a dual sweep: the tangent of f r.
template <class V, class T>
D3_INLINE void write_scaled(const T* f, const T* f_along, const V* r, const V* r_along, int n,
                            V* out) {
  for (int k = 0; k < n; ++k) {
    const bool beyond = f[k] == T(0) && f_along[k] == T(0);
    for (int d = 0; d < 3; ++d)
      out[3 * k + d] =
          beyond ? V(0) : V(f[k] * T(r_along[3 * k + d]) + f_along[k] * T(r[3 * k + d]));
  }
}

}  // namespace D3_ISA
}  // namespace d3

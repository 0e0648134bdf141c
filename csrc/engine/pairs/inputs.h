// Inputs of a pair list as plain or dual numbers, and pair vectors, for the traversals on the CPU
// and on the GPU.
#pragma once
#include <cstdint>

#include "engine/formulas/pair_sums.h"

namespace d3 {

// An array of inputs, read as plain numbers.
template <class T> struct PlainInput {
  using X = T;
  const T* v;
  D3_HD inline X operator[](int64_t k) const { return v[k]; }
};

// An array of inputs with a direction d of the same shape, read as dual numbers.
template <class T> struct DualInput {
  using X = Dual<T>;
  const T* v;
  const T* d;
  D3_HD inline X operator[](int64_t k) const { return {v[k], d[k]}; }
};

// The vector of pair p.
template <class V> D3_HD inline Vector3<typename V::X> vector_at(const V& v, int64_t p) {
  return {v[3 * p], v[3 * p + 1], v[3 * p + 2]};
}

// Writes scale r as the gradient of a pair: its value, or in a dual evaluation its tangent.
template <class X, class T> D3_HD inline void store(X scale, const Vector3<X>& r, T* out) {
  out[0] = T(output(scale * r.x));
  out[1] = T(output(scale * r.y));
  out[2] = T(output(scale * r.z));
}

// Whether a pair is farther apart than the cutoff. False for NaN, so that NaN reaches the results.
template <class T> D3_HD inline bool beyond(T r2, T cutoff) { return r2 > cutoff * cutoff; }

}  // namespace d3

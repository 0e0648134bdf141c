// What the traversals of a pair list share, on the CPU and on the GPU: inputs as plain or dual
// numbers, pair vectors.
#pragma once
#include <cstdint>

#include "engine/formulas/dual.h"

namespace d3 {

// Inputs as plain numbers, or as dual numbers with a direction.
template <class T> struct PlainInput {
  using X = T;
  const T* v;
  D3_HD inline X operator[](int64_t k) const { return v[k]; }
};

template <class T> struct DualInput {
  using X = Dual<T>;
  const T *v, *d;
  D3_HD inline X operator[](int64_t k) const { return {v[k], d[k]}; }
};

template <class X> struct Vector3 {
  X x, y, z;
  D3_HD inline X norm2() const { return x * x + y * y + z * z; }
};

template <class V> D3_HD inline Vector3<typename V::X> vector_at(const V& v, int64_t p) {
  return {v[3 * p], v[3 * p + 1], v[3 * p + 2]};
}

template <class X, class T> D3_HD inline void store(X scale, const Vector3<X>& r, T* out) {
  out[0] = T(output(scale * r.x));
  out[1] = T(output(scale * r.y));
  out[2] = T(output(scale * r.z));
}

// False for NaN: what is not a number shall come out.
template <class T> D3_HD inline bool beyond(T r2, T cutoff) { return r2 > cutoff * cutoff; }

}  // namespace d3

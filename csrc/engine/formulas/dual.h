// Dual numbers: a value and one tangent. Evaluating a gradient on them gives a Hessian-vector
// product.
#pragma once
#include <type_traits>

#include "engine/formulas/d3_math.h"

namespace d3 {

// A number v with its derivative d along one direction of the inputs. The operators below are the
// rules of differentiation; numbers without a tangent are constants.
template <class T> struct Dual {
  T v{};
  T d{};
  Dual() = default;
  template <class U, class = std::enable_if_t<std::is_convertible_v<U, T>>>
  D3_HD Dual(U value) : v(T(value)) {}
  D3_HD Dual(T value, T tangent) : v(value), d(tangent) {}
};

template <class T> D3_HD inline Dual<T> operator-(Dual<T> a) { return {-a.v, -a.d}; }
template <class T> D3_HD inline Dual<T> operator+(Dual<T> a, Dual<T> b) {
  return {a.v + b.v, a.d + b.d};
}
template <class T> D3_HD inline Dual<T> operator-(Dual<T> a, Dual<T> b) {
  return {a.v - b.v, a.d - b.d};
}
template <class T> D3_HD inline Dual<T> operator*(Dual<T> a, Dual<T> b) {
  return {a.v * b.v, a.d * b.v + a.v * b.d};
}
template <class T> D3_HD inline Dual<T> operator/(Dual<T> a, Dual<T> b) {
  const T inverse = reciprocal(b.v), q = a.v * inverse;
  return {q, (a.d - q * b.d) * inverse};
}
template <class T> D3_HD inline Dual<T> reciprocal(Dual<T> a) {
  const T inverse = reciprocal(a.v);
  return {inverse, -(a.d * inverse * inverse)};
}
template <class T> D3_HD inline Dual<T>& operator+=(Dual<T>& a, Dual<T> b) { return a = a + b; }

template <class T> D3_HD inline Dual<T> exp(Dual<T> a) {
  const T e = exp(a.v);
  return {e, e * a.d};
}
template <class T> D3_HD inline Dual<T> sqrt(Dual<T> a) {
  const T s = sqrt(a.v);
  return {s, T(0.5f) * a.d / s};
}

// The number that a kernel writes out: the value of a plain number, the tangent of a dual one.
D3_HD inline double output(float x) { return x; }
D3_HD inline double output(double x) { return x; }
template <class T> D3_HD inline double output(Dual<T> x) { return double(x.d); }

template <class T> struct value_type<Dual<T>> {
  using type = typename value_type<T>::type;
};
template <class T> D3_HD inline T value(Dual<T> x) { return x.v; }
template <class M, class T> D3_HD inline Dual<T> select(M mask, Dual<T> a, Dual<T> b) {
  return {select(mask, a.v, b.v), select(mask, a.d, b.d)};
}

// Wide<S> is S in double precision: double for T, Dual<double> for Dual<T>. Vectors are taken in it
// before they are narrowed, so that small differences of large numbers keep their digits in float.
template <class S> struct Widened {
  using type = double;
};
template <class T> struct Widened<Dual<T>> {
  using type = Dual<double>;
};
template <class S> using Wide = typename Widened<S>::type;

// Rounds a Wide<S> to S.
template <class S> D3_HD inline S narrow(double x) { return S(x); }
template <class S> D3_HD inline S narrow(Dual<double> x) {
  using T = typename value_type<S>::type;
  return {T(x.v), T(x.d)};
}

// S as Wide<S>; the opposite of narrow.
D3_HD inline double widen(double x) { return x; }
template <class T> D3_HD inline Dual<double> widen(Dual<T> x) { return {double(x.v), double(x.d)}; }

}  // namespace d3

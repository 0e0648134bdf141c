// The formulas of D3, each written once; those of the damping are in damping.h. X is any number
// type: float, double, Dual, a SIMD vector. Grimme, Antony, Ehrlich, Krieg, J. Chem. Phys. 132,
// 154104 (2010), doi:10.1063/1.3382344.
#pragma once
#include <cmath>

#if defined(__CUDACC__)
#define D3_HD __host__ __device__
#else
#define D3_HD __attribute__((always_inline))
#endif

namespace d3 {

using std::exp;
using std::sqrt;

// Functions that a number type brings to the formulas beside arithmetic: the plain type inside it,
// its value without tangents, a choice by a mask, whether a mask has a lane, and reciprocals, which
// a type may have a fast way for.
template <class X> struct value_type {
  using type = X;
};
D3_HD inline float value(float x) { return x; }
D3_HD inline double value(double x) { return x; }
D3_HD inline float select(bool mask, float a, float b) { return mask ? a : b; }
D3_HD inline double select(bool mask, double a, double b) { return mask ? a : b; }
D3_HD inline bool any(bool mask) { return mask; }
template <class X> D3_HD inline X reciprocal(X x) { return X(typename value_type<X>::type(1)) / x; }
// Whether a reciprocal costs no more than a product: where the hardware has an instruction for it.
template <class X> constexpr bool fast_reciprocal = false;
template <class X> D3_HD inline X reciprocal_sqrt(X x) { return reciprocal(sqrt(x)); }

constexpr double counting_steepness = 16.0;  // k1 of the counting function
constexpr double weight_steepness = 4.0;     // k3 of the reference weights

// The counting function f(r) = 1 / (1 + exp(-16 (rc/r - 1))) and df/dr divided by r, in two steps:
// a vectorising caller evaluates the exponential in between for many pairs at once.
template <class X> struct CountingExponent {
  X exponent, inverse_r;
};
template <class X> struct Counted {
  X value, slope_over_r;
};

template <class X, class T> D3_HD inline CountingExponent<X> counting_exponent(X r2, T rc) {
  using V = typename value_type<X>::type;
  const X inverse_r = reciprocal_sqrt(r2);
  return {X(V(counting_steepness)) - X(V(counting_steepness)) * X(rc) * inverse_r, inverse_r};
}

template <class X, class T> D3_HD inline Counted<X> counted(X exponential, X inverse_r, T rc) {
  using V = typename value_type<X>::type;
  const X f = reciprocal(X(V(1)) + exponential);
  return {f, -(X(V(counting_steepness)) * X(rc) * (exponential * f) * f) *
                 (inverse_r * inverse_r * inverse_r)};
}

// Both steps for one pair at squared distance r2; rc is the sum of the covalent radii.
template <class X, class T> D3_HD inline Counted<X> counting(X r2, T rc) {
  const CountingExponent<X> u = counting_exponent(r2, rc);
  return counted(exp(u.exponent), u.inverse_r, rc);
}

// Weights of the references of an atom, w_a = softmax_a(-4 (CN - CN_ref_a)^2) and dw_a/dCN; padding
// has CN_ref < 0 and weight 0. Exponents are taken relative to the nearest reference m, as 4 (ref_a
// - ref_m)(2 CN - ref_a - ref_m): nothing underflows far from every reference, and float keeps its
// digits there. A vector of atoms brings a vector of each reference.
template <class X, class T>
D3_HD inline void reference_weights(X cn, const T* cn_ref, int n_refs, X* w, X* dw) {
  using V = typename value_type<X>::type;
  using R = decltype(value(cn));
  const auto off = [&](R ref) { return (value(cn) - ref) * (value(cn) - ref); };
  const R padding(V(-0.5)), k = R(V(weight_steepness));
  R nearest(cn_ref[0]);
  for (int a = 1; a < n_refs; ++a) {
    const R ref(cn_ref[a]);
    nearest = select((ref > padding) & (off(nearest) > off(ref)), ref, nearest);
  }
  X sum = X(V(0)), mean = X(V(0));
  for (int a = 0; a < n_refs; ++a) {
    const R given(cn_ref[a]), ref = select(given > padding, given, nearest);
    w[a] = select(given > padding, exp(X(k * (ref - nearest)) * (cn + cn - X(ref + nearest))),
                  X(V(0)));
    dw[a] = X(k * (ref - nearest)) + X(k * (ref - nearest));
    sum += w[a];
  }
  for (int a = 0; a < n_refs; ++a) {
    w[a] = w[a] / sum;
    mean += w[a] * dw[a];
  }
  for (int a = 0; a < n_refs; ++a) dw[a] = w[a] * (dw[a] - mean);
}

// The cutoff with its switching function, sw(r) = x^3 (10 - 15 x + 6 x^2), x = (cutoff - r)/width,
// from 1 at cutoff - width to 0 at the cutoff.
template <class T> struct Cutoff {
  T cutoff;
  T width;  // 0: no switching

  // Whether a squared distance lies where the function falls.
  template <class R2> D3_HD auto smooths(R2 r2) const {
    return r2 > R2((cutoff - width) * (cutoff - width));
  }
};

// A row of C6, row[b] = sum_a w_a C6ref[a][b]: contracted once per atom and species, so that a pair
// needs one short dot product. The table's rows are n_refs long, of which n_a and n_b count.
template <class X, class T>
D3_HD inline void contract(const X* w, const T* c6_ref, int n_refs, int n_a, int n_b, X* row) {
  using V = typename value_type<X>::type;
  for (int b = 0; b < n_b; ++b) {
    row[b] = X(V(0));
    for (int a = 0; a < n_a; ++a) row[b] += w[a] * X(V(c6_ref[a * n_refs + b]));
  }
}

// Sum of a_k b_k over n >= 1 numbers, in rising order.
template <class X> D3_HD inline X dot(const X* a, const X* b, int n) {
  X sum = a[0] * b[0];
  for (int k = 1; k < n; ++k) sum += a[k] * b[k];
  return sum;
}

}  // namespace d3

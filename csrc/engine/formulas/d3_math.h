// The D3(BJ) formulas, each written once. X is any number type: float, double, Dual, a SIMD vector.
// Grimme, Ehrlich, Goerigk, J. Comput. Chem. 32, 1456 (2011), doi:10.1002/jcc.21759 (rational
// damping); Grimme, Antony, Ehrlich, Krieg, J. Chem. Phys. 132, 154104 (2010),
// doi:10.1063/1.3382344 (CN, C6).
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

// The rational damping of one pair of species: its constants, the damped kernel
//   g(r) = s6/(r^6 + R0^6) + s8 q/(r^8 + R0^8),  q = 3 Q_i Q_j,  R0 = a1 sqrt(q) + a2,
// dg/dr divided by r, and the derivatives of g with respect to s6, s8 and R0.
template <class X> struct Damped {
  X value;
  X slope_over_r;
  X by_s6;
  X by_s8;
  X by_r0;
};

template <class X> struct RationalDamping {
  X s6;
  X s8q;   // s8 q
  X q;     // 3 Q_i Q_j
  X root;  // sqrt(q), which is dR0/da1
  X r0;    // R0
  X r0_6;  // R0^6
  X r0_8;  // R0^8

  template <class T> static D3_HD RationalDamping make(const X* damping, T q_i, T q_j) {
    RationalDamping c;
    c.q = X(T(3) * q_i * q_j);
    c.root = sqrt(c.q);
    c.s6 = damping[0];
    c.s8q = damping[1] * c.q;
    c.r0 = damping[2] * c.root + damping[3];
    const X r0_2 = c.r0 * c.r0;
    c.r0_6 = r0_2 * r0_2 * r0_2;
    c.r0_8 = c.r0_6 * r0_2;
    return c;
  }

  D3_HD Damped<X> operator()(X r2) const {
    using V = typename value_type<X>::type;
    const X six = X(V(6)), eight = X(V(8));
    const X r4 = r2 * r2, r6 = r4 * r2;
    const X d6 = r6 + r0_6, d8 = r6 * r2 + r0_8;
    const X inv = reciprocal(d6 * d8);  // one division for both
    const X t6 = d8 * inv, t8 = d6 * inv;
    const X u6 = six * s6 * t6 * t6, u8 = eight * s8q * t8 * t8;
    const X r0_4 = r0 * r0 * r0 * r0;
    return {s6 * t6 + s8q * t8, -(u6 * r4 + u8 * r6), t6, q * t8,
            -(u6 * r0_4 * r0 + u8 * r0_6 * r0)};
  }
};

// The damped kernel times the switching function.
template <class X, class T>
D3_HD inline Damped<X> switched(const RationalDamping<X>& damping, X r2, Cutoff<T> cutoff) {
  const Damped<X> g = damping(r2);
  if (!(cutoff.width > 0)) return g;
  const auto inside = cutoff.smooths(value(r2));
  if (!any(inside)) return g;
  const X r = sqrt(r2), one = X(T(1)), width = X(T(1) / cutoff.width);
  const X x = (X(cutoff.cutoff) - r) * width;
  const X y = x * (one - x);
  const X sw = select(inside, x * x * x * (X(T(10)) + x * (X(T(6)) * x - X(T(15)))), one);
  const X slope = select(inside, X(T(-30)) * width * y * y / r, X(T(0)));
  return {g.value * sw, g.slope_over_r * sw + g.value * slope, g.by_s6 * sw, g.by_s8 * sw,
          g.by_r0 * sw};
}

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

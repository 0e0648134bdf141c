// The three-body energy of Axilrod, Teller and Muto in D3, the same with every damping of pairs; of
// a triangle with the squared sides A = r_ij^2, B = r_ik^2, C = r_jk^2 and p = r_ij r_ik r_jk
//   E = s9 sqrt(C6_ij C6_ik C6_jk)/p^3 [3/8 Q/p^2 + 1] f,
//   Q = (A+C-B) (A-C+B) (B+C-A), f = 1/(1 + 6 (R0/p)^(16/3)), R0 = (4/3)^3 r0_ij r0_ik r0_jk.
// Grimme, Antony, Ehrlich, Krieg, J. Chem. Phys. 132, 154104 (2010), doi:10.1063/1.3382344.
//
// All but the angles is a product over the sides, so that the power and the root are taken once a
// side, and a triangle costs products, one reciprocal and Q. Atoms sum over the triangles that they
// are a corner of, for each of the two sides that meet there: the energies S, and the slopes G by
// the logarithm of the squared side. The rest follows once a side, since E goes as the root of each
// C6 and as the switch of each side:
//   dE/dr_ij / r_ij = 2 G/A + S dln(sw)/dr / r_ij,  dE/dCN_i = S/2 dC6_ij/dCN_i / C6_ij.
#pragma once
#include "engine/formulas/pair_sums.h"
#include "engine/tuning.h"

namespace d3 {

constexpr double three_body_radius = 4.0 / 3.0;  // rs9: of the damping, in pair radii r0

// 1/x to a bit or two, for which a type may have a faster way.
template <class X> D3_HD inline X quick_reciprocal(X x) { return reciprocal(x); }

// x^(-1/3), for which a type may have a faster way.
template <class T> D3_HD inline T inverse_cube_root(T x) { return T(1) / T(std::cbrt(x)); }
template <class T> D3_HD inline Dual<T> inverse_cube_root(Dual<T> x) {
  using V = typename value_type<T>::type;
  const T root = inverse_cube_root(x.v);
  return {root, T(V(-1.0 / 3.0)) * root * reciprocal(x.v) * x.d};
}

// 1/(4/3 r0)^2, which squared sides are multiplied with.
D3_HD inline double side_scale(double radius) {
  const double scaled = three_body_radius * radius, square = scaled * scaled;
  return 1 / (square > least_radius2 ? square : least_radius2);
}

// The switching function and dln(sw)/dr divided by r, 0 where it is 0; see Cutoff.
template <class X> struct Switched {
  X value;
  X log_slope_over_r;
};

template <class X, class T> D3_HD inline Switched<X> switching(X r2, Cutoff<T> cutoff) {
  const X one = X(T(1)), zero = X(T(0));
  if (!(cutoff.width > 0)) return {one, zero};
  const auto inside = cutoff.smooths(value(r2));
  if (!any(inside)) return {one, zero};
  const X r = sqrt(r2), width = X(T(1) / cutoff.width);
  const X given = (X(cutoff.cutoff) - r) * width;
  const auto before = value(given) > value(zero);  // the end, where the logarithm has none
  const X x = select(before, given, one), rest = one - x;
  const X high = X(T(10)) + x * (X(T(6)) * x - X(T(15)));
  const X sw = select(before, x * x * x * high, zero);
  const X slope = select(before, X(T(-30)) * width * rest * rest / (x * high * r), zero);
  return {select(inside, sw, one), select(inside, slope, zero)};
}

// Factors of one side of a triangle.
template <class X> struct Side {
  X r2;  // A
  X v;   // sqrt(C6) sw/r^3
  X u;   // v/A
  X t;   // (4/3 r0/r)^(16/3)
};

// The factors of a side, and 0 for all outside of a mask; `scale` is 1/(4/3 r0)^2.
template <class X, class R, class T, class M>
D3_HD inline Side<X> make_side(X r2, X c6, R scale, Cutoff<T> cutoff, M inside) {
  const X zero = X(T(0)), one = X(T(1));
  const auto counts = inside & (value(c6) > value(zero));
  const X inverse = reciprocal(r2);
  const X root = sqrt(select(counts, c6, one) * inverse) * inverse;
  // below r0/750, where the damping is beyond single precision, v vanishes instead of overflowing
  const X near = X(T(1e6)) * (X(scale) * r2),
          fade = select(value(one) > value(near), near * near, one);
  Side<X> side;
  side.r2 = r2;
  side.v = select(counts, root * switching(r2, cutoff).value * fade, zero);
  side.u = side.v * inverse;
  const X root3 = inverse_cube_root(X(scale) * r2), power2 = root3 * root3,
          power4 = power2 * power2;
  side.t = power4 * power4;
  return side;
}

// The energy of a triangle without s9, and its slopes by ln A and ln B. The side jk comes with 3/8
// of its u.
template <class X> struct Triangle {
  X energy;
  X by_ij;
  X by_ik;
};

template <bool slopes, class X>
D3_HD inline Triangle<X> triangle(const Side<X>& ij, const Side<X>& ik, const Side<X>& jk) {
  using V = typename value_type<X>::type;
  const X f = quick_reciprocal(X(V(1)) + X(V(6)) * (ij.t * ik.t * jk.t));
  // f early: two short sides and one that does not count make infinity times 0 in single precision
  const X even = ij.v * ik.v * jk.v * f, angular = ij.u * f * ik.u * jk.u;
  const X apart = ij.r2 - ik.r2;
  const X p1 = jk.r2 + apart, p2 = ij.r2 + ik.r2 - jk.r2, p3 = jk.r2 - apart;
  const X p12 = p1 * p2, q = p12 * p3;
  Triangle<X> out;
  out.energy = even + angular * q;
  if constexpr (slopes) {
    const X common = out.energy * (X(V(7.0 / 6.0)) - X(V(8.0 / 3.0)) * f) - angular * q;
    out.by_ij = common + angular * ij.r2 * ((ij.r2 + ij.r2) * p3 - p12);
    out.by_ik = common + angular * ik.r2 * ((p1 - p2) * p3 + p12);
  }
  return out;
}

// Adds what the sums S and G of a side come to for its atom i, without s9. The energies of its
// sides are six times that of the atom: it owns a third of each triangle, and two sides of each
// meet in it. `dc6` is dC6_ij/dCN_i; arm is that of add_gradient.
template <bool slopes, class X, class T>
D3_HD inline void add_side(X energy, X slope, X c6, X dc6, const Vector3<X>& r,
                           const Vector3<X>& arm, X r2, Cutoff<T> cutoff, X* sums) {
  sums[of_energy] += energy;
  if constexpr (slopes) {
    const X zero = X(T(0)), one = X(T(1)), half = X(T(0.5));
    const auto counts = value(c6) > value(zero);
    sums[of_dcn] += select(counts, half * energy * dc6 / select(counts, c6, one), zero);
    const X f = (slope + slope) * reciprocal(r2) + energy * switching(r2, cutoff).log_slope_over_r;
    add_gradient<true>(f, r, arm, sums + of_gradient, sums + of_virial);
  }
}

}  // namespace d3

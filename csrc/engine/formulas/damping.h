// The damping functions: g(r) = s6 t6(r) + s8 q t8(r) of one pair of species, q = 3 Q_i Q_j, with
//   rational       t_n = 1/(r^n + R0^n), R0 = a1 sqrt(q) + a2
//   zero           t_n = r^-n / (1 + 6 x_n^-(n + 8)), x_n = r/(rs_n r0)
//   modified zero  the same with x_n = r/(rs_n r0) + bet r0
// where r0 is the radius of the pair. Grimme, Ehrlich, Goerigk, J. Comput. Chem. 32, 1456 (2011),
// doi:10.1002/jcc.21759 (rational); Grimme, Antony, Ehrlich, Krieg, J. Chem. Phys. 132, 154104
// (2010), doi:10.1063/1.3382344 (zero); Smith, Burns, Patkowski, Sherrill, J. Phys. Chem. Lett. 7,
// 2197 (2016), doi:10.1021/acs.jpclett.6b00780 (modified zero).
#pragma once
#include <type_traits>

#include "engine/formulas/dual.h"
#include "engine/types.h"

namespace d3 {

enum class DampingForm { rational, zero, modified_zero };
constexpr int n_forms = 3;

// Parameters of a form, s6 and s8 first: s6 s8 a1 a2, s6 s8 rs6 rs8, s6 s8 rs6 rs8 bet.
D3_HD constexpr int n_parameters(DampingForm form) {
  return form == DampingForm::modified_zero ? 5 : 4;
}
constexpr int most_parameters = 5;
constexpr int most_damping = most_parameters + 1;  // with s9, the last where it is

// Calls f with a form that is known when compiling.
template <DampingForm form> using FormTag = std::integral_constant<DampingForm, form>;
template <class F> inline auto with_form(DampingForm form, F&& f) {
  if (form == DampingForm::zero) return f(FormTag<DampingForm::zero>());
  if (form == DampingForm::modified_zero) return f(FormTag<DampingForm::modified_zero>());
  return f(FormTag<DampingForm::rational>());
}

// The constants of one pair of species; those of a form have their names there.
constexpr int n_constants = 7;
template <class X> struct Damping {
  X s6;
  X s8q;  // s8 q
  X q;    // 3 Q_i Q_j
  X of_form[n_constants - 3];
};

// The same constants, each put through f.
template <class F, class X> D3_HD inline auto converted(const Damping<X>& d, F&& f) {
  using Y = decltype(f(d.s6));
  return Damping<Y>{f(d.s6),
                    f(d.s8q),
                    f(d.q),
                    {f(d.of_form[0]), f(d.of_form[1]), f(d.of_form[2]), f(d.of_form[3])}};
}

// g, dg/dr divided by r, and the derivatives of g from which its function makes those by the
// parameters.
template <DampingForm form> struct DampingFunction;
template <DampingForm form, class X> struct Damped {
  X value;
  X slope_over_r;
  X by[DampingFunction<form>::n_slopes];
};

// Adds a number to a sum of its type, or to a sum of results: see output.
template <class A, class X> D3_HD inline void add_to(A& sum, X x) {
  if constexpr (std::is_same_v<A, X>)
    sum += x;
  else
    sum += output(x);
}

template <class X> D3_HD inline X square(X x) { return x * x; }

template <> struct DampingFunction<DampingForm::rational> {
  static constexpr int n_slopes = 3;       // by s6, s8 and R0
  enum Constant { root, r0, r0_6, r0_8 };  // sqrt(q), which is dR0/da1; powers of R0

  template <class X, class T>
  static D3_HD Damping<X> make(const X* parameters, T q_i, T q_j, T /*radius*/) {
    Damping<X> c;
    c.q = X(T(3) * q_i * q_j);
    c.of_form[root] = sqrt(c.q);
    c.s6 = parameters[0];
    c.s8q = parameters[1] * c.q;
    c.of_form[r0] = parameters[2] * c.of_form[root] + parameters[3];
    const X r0_2 = c.of_form[r0] * c.of_form[r0];
    c.of_form[r0_6] = r0_2 * r0_2 * r0_2;
    c.of_form[r0_8] = c.of_form[r0_6] * r0_2;
    return c;
  }

  template <class X> static D3_HD Damped<DampingForm::rational, X> at(const Damping<X>& c, X r2) {
    using V = typename value_type<X>::type;
    const X six = X(V(6)), eight = X(V(8)), a = c.of_form[r0], a6 = c.of_form[r0_6];
    const X r4 = r2 * r2, r6 = r4 * r2;
    const X d6 = r6 + a6, d8 = r6 * r2 + c.of_form[r0_8];
    constexpr bool fast = fast_reciprocal<X>;
    const X inv = reciprocal(fast ? d8 : d6 * d8);  // one division for both where it is slow
    const X t6 = fast ? reciprocal(d6) : d8 * inv, t8 = fast ? inv : d6 * inv;
    const X u6 = six * c.s6 * t6 * t6, u8 = eight * c.s8q * t8 * t8;
    const X a4 = a * a * a * a;
    return {
        c.s6 * t6 + c.s8q * t8, -(u6 * r4 + u8 * r6), {t6, c.q * t8, -(u6 * a4 * a + u8 * a6 * a)}};
  }

  template <class X, class A>
  static D3_HD void add_slopes(X c6, const Damped<DampingForm::rational, X>& g, const Damping<X>& c,
                               A* sums) {
    add_to(sums[0], c6 * g.by[0]);
    add_to(sums[1], c6 * g.by[1]);
    add_to(sums[2], c6 * g.by[2] * c.of_form[root]);
    add_to(sums[3], c6 * g.by[2]);
  }
};

// Reciprocals of two numbers: by one division in double precision, whose range has room for their
// product.
template <class X> struct TwoReciprocals {
  X first, second;
};
template <class X> D3_HD inline TwoReciprocals<X> reciprocals(X a, X b) {
  if constexpr (std::is_same_v<typename value_type<X>::type, double>) {
    const X both = reciprocal(a * b);
    return {b * both, a * both};
  } else {
    return {reciprocal(a), reciprocal(b)};
  }
}

// With u = r^2: t6 = u^4 / (u^7 + k6), k6 = 6 (rs6 r0)^14, and t8 = c z / (z^2 + 1), z = c u^4,
// c = 1 / (sqrt(6) (rs8 r0)^8), so that no power is too large or too small for a float.
template <> struct DampingFunction<DampingForm::zero> {
  static constexpr int n_slopes = 4;
  enum Constant { k6, slope6, c8, slope8 };  // k6 and dk6/drs6; c and -2 dc/drs8 / c

  template <class X, class T>
  static D3_HD Damping<X> make(const X* parameters, T q_i, T q_j, T radius) {
    Damping<X> c;
    c.q = X(T(3) * q_i * q_j);
    c.s6 = parameters[0];
    c.s8q = parameters[1] * c.q;
    const X a = parameters[2] * X(radius), a4 = square(square(a)), a12 = a4 * a4 * a4;
    const X b8 = square(square(square(parameters[3] * X(radius))));
    c.of_form[k6] = X(T(6)) * a12 * a * a;
    c.of_form[slope6] = X(T(84)) * a12 * a * X(radius);
    c.of_form[c8] = reciprocal(X(T(2.449489742783178)) * b8);
    c.of_form[slope8] = X(T(16)) * reciprocal(parameters[3]);
    return c;
  }

  template <class X> static D3_HD Damped<DampingForm::zero, X> at(const Damping<X>& d, X r2) {
    using V = typename value_type<X>::type;
    const X one = X(V(1)), two = X(V(2)), three = X(V(3)), four = X(V(4)), seven = X(V(7));
    const X u2 = r2 * r2, u3 = u2 * r2, u4 = u2 * u2;
    const X c = d.of_form[c8], k = d.of_form[k6], z = c * u4;
    const TwoReciprocals<X> w = reciprocals(u4 * u3 + k, z * z + one);
    const X w6 = w.first, w8 = w.second, cw = c * w8;
    const X t6 = u4 * w6, t8 = z * cw;
    const X slope6 = d.s6 * w6 * (seven * k * w6 - three);
    const X slope8 = four * d.s8q * c * cw * (two * w8 - one);
    return {d.s6 * t6 + d.s8q * t8,
            two * u3 * (slope6 + slope8),
            {t6, d.q * t8, -(d.s6 * d.of_form[DampingFunction::slope6] * w6 * t6),
             -(d.s8q * d.of_form[DampingFunction::slope8] * w8 * t8)}};
  }

  template <class X, class A>
  static D3_HD void add_slopes(X c6, const Damped<DampingForm::zero, X>& g, const Damping<X>&,
                               A* sums) {
    for (int k = 0; k < n_slopes; ++k) add_to(sums[k], c6 * g.by[k]);
  }
};

// With f_n = x^m / (x^m + 6), m = n + 8. From x = 16 on f_n is 1 to the last bit, and x is held
// there: its powers have room in a float.
template <> struct DampingFunction<DampingForm::modified_zero> {
  static constexpr int n_slopes = 5;
  enum Constant { a6, a8, shift, r0 };  // 1/(rs6 r0), 1/(rs8 r0), bet r0, r0

  template <class X, class T>
  static D3_HD Damping<X> make(const X* parameters, T q_i, T q_j, T radius) {
    Damping<X> c;
    c.q = X(T(3) * q_i * q_j);
    c.s6 = parameters[0];
    c.s8q = parameters[1] * c.q;
    c.of_form[a6] = reciprocal(parameters[2] * X(radius));
    c.of_form[a8] = reciprocal(parameters[3] * X(radius));
    c.of_form[shift] = parameters[4] * X(radius);
    c.of_form[r0] = X(radius);
    return c;
  }

  template <class X> static D3_HD X held(X x) {
    using R = decltype(value(x));
    const R most(typename value_type<X>::type(16));
    return select(value(x) > most, X(most), x);
  }

  template <class X>
  static D3_HD Damped<DampingForm::modified_zero, X> at(const Damping<X>& d, X r2) {
    using V = typename value_type<X>::type;
    const X six = X(V(6)), inv_r = reciprocal_sqrt(r2), inv = inv_r * inv_r, r = r2 * inv_r;
    const X y6 = held(r * d.of_form[a6] + d.of_form[shift]),
            y8 = held(r * d.of_form[a8] + d.of_form[shift]);
    const X y6_4 = square(square(y6)), y6_13 = y6_4 * y6_4 * y6_4 * y6, y6_14 = y6_13 * y6;
    const X y8_2 = y8 * y8, y8_4 = y8_2 * y8_2, y8_15 = y8_4 * y8_4 * y8_4 * y8_2 * y8;
    const X y8_16 = y8_15 * y8;
    const TwoReciprocals<X> w = reciprocals(y6_14 + six, y8_16 + six);
    const X inv6 = inv * inv * inv, inv8 = square(square(inv));
    const X t6 = inv6 * (y6_14 * w.first), t8 = inv8 * (y8_16 * w.second);
    const X by_y6 = d.s6 * inv6 * (X(V(84)) * y6_13) * w.first * w.first,
            by_y8 = d.s8q * inv8 * (X(V(96)) * y8_15) * w.second * w.second;
    const X by_r6 = by_y6 * d.of_form[a6], by_r8 = by_y8 * d.of_form[a8], arm = r * d.of_form[r0];
    const X bare = six * d.s6 * t6 + X(V(8)) * d.s8q * t8;
    return {d.s6 * t6 + d.s8q * t8,
            (by_r6 + by_r8) * inv_r - bare * inv,
            {t6, d.q * t8, -(by_r6 * d.of_form[a6] * arm), -(by_r8 * d.of_form[a8] * arm),
             (by_y6 + by_y8) * d.of_form[r0]}};
  }

  template <class X, class A>
  static D3_HD void add_slopes(X c6, const Damped<DampingForm::modified_zero, X>& g,
                               const Damping<X>&, A* sums) {
    for (int k = 0; k < n_slopes; ++k) add_to(sums[k], c6 * g.by[k]);
  }
};

// The constants of two species of the tables.
template <DampingForm form, class X, class T>
D3_HD inline Damping<X> damping_of(const X* parameters, const Tables<T>& t, int64_t a, int64_t b) {
  using V = typename value_type<X>::type;
  const V radius = form == DampingForm::rational ? V(0) : V(t.radii[a * t.n_species + b]);
  return DampingFunction<form>::make(parameters, V(t.r4r2[a]), V(t.r4r2[b]), radius);
}
template <class X, class T>
inline Damping<X> damping_of(DampingForm form, const X* parameters, const Tables<T>& t, int64_t a,
                             int64_t b) {
  return with_form(form,
                   [&](auto tag) { return damping_of<decltype(tag)::value>(parameters, t, a, b); });
}

// The damped kernel times the switching function.
template <DampingForm form, class X, class T>
D3_HD inline Damped<form, X> switched(const Damping<X>& damping, X r2, Cutoff<T> cutoff) {
  Damped<form, X> g = DampingFunction<form>::at(damping, r2);
  if (!(cutoff.width > 0)) return g;
  const auto inside = cutoff.smooths(value(r2));
  if (!any(inside)) return g;
  const X r = sqrt(r2), one = X(T(1)), width = X(T(1) / cutoff.width);
  const X x = (X(cutoff.cutoff) - r) * width;
  const X y = x * (one - x);
  const X sw = select(inside, x * x * x * (X(T(10)) + x * (X(T(6)) * x - X(T(15)))), one);
  const X slope = select(inside, X(T(-30)) * width * y * y / r, X(T(0)));
  g.slope_over_r = g.slope_over_r * sw + g.value * slope;
  g.value = g.value * sw;
  for (X& by : g.by) by = by * sw;
  return g;
}

}  // namespace d3

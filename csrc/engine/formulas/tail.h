// The energy of a homogeneous continuation beyond the cutoff, along the periodic directions, and of
// what switching takes away before it:
//   E = -1/(2 M) sum_ij C6_ij [s6 I_6 + s8 3 Q_i Q_j I_8],  I_n = integral of (1 - sw(r)) / r^n
// With three periodic directions M is the volume of the cell, and the integral is over space; with
// two it is the area, and the integral over a plane at the height of j above i, h:
//   I_n(h) = integral of (1 - sw(r)) 2 pi r / r^n from r = |h| on,
// which is a constant up to h = cutoff - width; with one it is the length, and the integral along a
// line through i, as if the wire was thin. A molecule has all its pairs instead, see Range::of.
#pragma once
#include <algorithm>
#include <cmath>

#include "engine/formulas/cell.h"
#include "engine/formulas/dual.h"

namespace d3 {

// I_6 and I_8.
struct TailIntegrals {
  double i6;
  double i8;
};

constexpr double pi = 3.14159265358979323846;

// Gauss-Legendre points and weights for [-1, 1], those above 0.
struct Gauss {
  double node[4] = {0.1834346424956498, 0.5255324099163290, 0.7966664774136267, 0.9602898564975363};
  double weight[4] = {0.3626837833783620, 0.3137066458778873, 0.2223810344533745,
                      0.1012285362903763};
};

// Ratio of the ends of a panel on which powers of 1/r are integrated with these: the error is about
// (5 + sqrt(24))^-16 of the integral, below rounding.
constexpr double panel_ratio = 1.5;

// 1 - sw(r), for r of at least cutoff - width.
template <class A> D3_HD inline A unswitched(A r, double cutoff, double width) {
  const A one(1.0), x = (A(cutoff) - r) * A(width > 0 ? 1 / width : 0);
  return value(r) < cutoff ? one - x * x * x * (A(10.0) + x * (A(6.0) * x - A(15.0))) : one;
}

// I_n at height 0, from cutoff - width to infinity, for so many periodic directions.
inline double tail_integral(double cutoff, double width, int n, int directions) {
  const double shell[4] = {0, 2, 2 * pi, 4 * pi};
  double sum = std::pow(cutoff, directions - n) / (n - directions);
  static constexpr Gauss gauss{};
  for (double low = cutoff - width; low < cutoff; low *= panel_ratio) {
    const double side = std::min(panel_ratio * low, cutoff) - low;
    for (int k = 0; k < 8; ++k) {
      const double node = k < 4 ? gauss.node[k] : -gauss.node[k - 4],
                   r = low + (0.5 + 0.5 * node) * side;
      sum += 0.5 * gauss.weight[k % 4] * side * unswitched(r, cutoff, width) *
             std::pow(r, directions - 1 - n);
    }
  }
  return shell[directions] * sum;
}

// The integrals for each number of periodic directions.
struct TailTable {
  TailIntegrals of[4];
};

inline TailTable tail_table(double cutoff, double width) {
  TailTable table{};
  for (int n = 1; n <= 3; ++n)
    table.of[n] = {tail_integral(cutoff, width, 6, n), tail_integral(cutoff, width, 8, n)};
  return table;
}

// What a tail needs of a cell.
template <class A> struct Periods {
  int n = 0;      // periodic directions
  A measure{};    // volume, area or length of the cell
  A along[6]{};   // projector onto the periodic directions: xx xy xz yy yz zz
  A normal[3]{};  // unit vector across two directions; else 0

  // An entry of the virial of an energy that goes as 1/measure, and of `stretch`, the sum of h
  // dE/dh over the pairs; k counts as in `along`.
  D3_HD inline A virial(A energy, A stretch, int k) const {
    const int row = k < 3 ? 0 : k < 5 ? 1 : 2, column = k < 3 ? k : k < 5 ? k - 2 : 2;
    return stretch * (normal[row] * normal[column]) - energy * along[k];
  }
};

template <class A> D3_HD inline A length_of(const A* v) {
  return sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
}

template <class A>
D3_HD inline Periods<A> periods_of(const A (&cell)[3][3], const Periodic& periodic) {
  Periods<A> p;
  for (int k = 0; k < 3; ++k) p.n += periodic[k];
  const A one(1.0);
  // The two periodic vectors; the only one is a. Selected, not indexed: see Basis.
  A a[3], b[3], unit[3];
  for (int d = 0; d < 3; ++d) {
    const A last = select(periodic[1], cell[1][d], cell[2][d]);
    a[d] = select(periodic[0], cell[0][d], last);
    b[d] = select(periodic[0], last, cell[2][d]);
  }
  if (p.n == 3) p.measure = volume_of(cell);
  for (int d = 0; d < 3 && p.n < 3; ++d) {
    const int e = (d + 1) % 3, f = (d + 2) % 3;
    unit[d] = p.n == 2 ? a[e] * b[f] - a[f] * b[e] : a[d];
  }
  if (p.n < 3) p.measure = length_of(unit);
  for (int d = 0; d < 3 && p.n < 3; ++d) unit[d] = unit[d] / p.measure;
  for (int d = 0; d < 3 && p.n == 2; ++d) p.normal[d] = unit[d];
  for (int row = 0, k = 0; row < 3; ++row)
    for (int column = row; column < 3; ++column, ++k) {
      const A same = row == column ? one : A(0.0);
      if (p.n == 3) p.along[k] = same;
      if (p.n == 2) p.along[k] = same - unit[row] * unit[column];
      if (p.n == 1) p.along[k] = unit[row] * unit[column];
    }
  return p;
}

// I_n(h) and its derivative by h.
template <class A> struct PlaneIntegral {
  A value;
  A slope;
};
template <class A> struct PlaneIntegrals {
  PlaneIntegral<A> i6;
  PlaneIntegral<A> i8;
};

// 1/r^(n - 2) for n = 6; that for n = 8 is this divided by r^2.
template <class A> D3_HD inline A inverse_fourth(A r) {
  const A inverse2 = A(1.0) / (r * r);
  return inverse2 * inverse2;
}

// Both integrals over a plane, for a height h of at least cutoff - width.
template <class A>
D3_HD inline PlaneIntegrals<A> plane_integrals(A h, double cutoff, double width) {
  const A far = value(h) < cutoff ? A(cutoff) : h, far4 = inverse_fourth(far);
  A sum6 = far4 * A(0.25), sum8 = far4 / (far * far) * A(1.0 / 6);
  static constexpr Gauss gauss{};
  for (A low = h; value(low) < value(far); low = A(panel_ratio) * low) {
    const A high = A(panel_ratio) * low, side = (value(high) < value(far) ? high : far) - low;
    for (int k = 0; k < 8; ++k) {
      const double node = k < 4 ? gauss.node[k] : -gauss.node[k - 4];
      const A r = low + A(0.5 + 0.5 * node) * side, part = A(0.5 * gauss.weight[k % 4]) * side *
                                                           unswitched(r, cutoff, width) *
                                                           inverse_fourth(r) / r;
      sum6 += part;
      sum8 += part / (r * r);
    }
  }
  const A slope6 = A(-2 * pi) * unswitched(h, cutoff, width) * inverse_fourth(h) / h;
  return {{A(2 * pi) * sum6, slope6}, {A(2 * pi) * sum8, slope6 / (h * h)}};
}

// Sums of a system: the energy of the tail, its derivatives by s6 and s8, and the sum of h dE/dh
// over the pairs.
enum TailSum { tail_energy, tail_s6, tail_s8, tail_stretch, n_tail_sums };

// The sum over pairs is one over species, with their weights W summed over the atoms:
//   E = sum_sa W_sa row_sa,
//   row_sa = -1/(2 M) sum_tb C6ref_sa,tb W_tb (s6 I_6 + s8 3 Q_s Q_t I_8),
// with the integrals at height 0, so that an atom of species s has the energy sum_a w_a row_sa.
// This is an entry of a row, as derivatives by s6 and s8.
template <class A> struct TailEntry {
  A by_s6{};
  A by_s8{};

  // Adds the atoms of a species t: its C6 with the reference of the entry, its W, and 3 Q_s Q_t.
  template <class T>
  D3_HD inline void add(const T* c6_ref, const A* weights, int n_refs, double q,
                        const TailIntegrals& integrals) {
    A c6(0.0);
    for (int b = 0; b < n_refs; ++b) c6 += A(double(c6_ref[b])) * weights[b];
    by_s6 += c6 * A(integrals.i6);
    by_s8 += c6 * A(q * integrals.i8);
  }

  // The entry, once all species are added, with scale = -1/(2 M). Adds what it comes to, with its
  // W, to the sums of the system.
  D3_HD inline A finish(A scale, A s6, A s8, A weight, A* sums) {
    by_s6 = scale * by_s6;
    by_s8 = scale * by_s8;
    const A row = s6 * by_s6 + s8 * by_s8;
    sums[tail_energy] += weight * row;
    sums[tail_s6] += weight * by_s6;
    sums[tail_s8] += weight * by_s8;
    return row;
  }
};

// The share of an atom, and the slope by its CN of the energy of the system, which has every pair
// from both sides; of its weights and their derivatives by the CN, and the row of its species.
template <class A> struct TailOfAtom {
  A energy{};
  A dcn{};

  template <class W> D3_HD inline TailOfAtom(const W* w, const W* dw, const A* row, int n_refs) {
    for (int a = 0; a < n_refs; ++a) {
      energy += widen(w[a]) * row[a];
      dcn += widen(dw[a]) * row[a];
    }
    dcn = A(2.0) * dcn;
  }
};

// What the heights h of a slab change for an atom i, summed over the atoms j that are further above
// or below it than cutoff - width: C6_ij [s6 (I_6(h) - I_6) + s8 3 Q_i Q_j (I_8(h) - I_8)].
template <class A> struct HeightSums {
  A by_s6{};
  A by_s8{};
  A dcn{};      // with dC6_ij/dCN_i
  A slope{};    // derivative by the height of i
  A stretch{};  // sum of h times the derivative by h

  // Adds an atom j at height `up` above i. q is 3 Q_i Q_j.
  template <class Q>
  D3_HD inline void add(A up, A c6, A dc6, const A* damping, Q q, const TailIntegrals& flat,
                        double cutoff, double width) {
    const bool above = value(up) > 0;
    const A h = above ? up : -up;
    const PlaneIntegrals<A> high = plane_integrals(h, cutoff, width);
    const A less6 = high.i6.value - A(flat.i6), less8 = A(double(q)) * (high.i8.value - A(flat.i8)),
            s6 = damping[0], s8 = damping[1];
    by_s6 += c6 * less6;
    by_s8 += c6 * less8;
    dcn += dc6 * (s6 * less6 + s8 * less8);
    const A by_h = c6 * (s6 * high.i6.slope + s8 * A(double(q)) * high.i8.slope);
    slope += above ? -by_h : by_h;
    stretch += h * by_h;
  }

  D3_HD inline A energy(const A* damping) const { return damping[0] * by_s6 + damping[1] * by_s8; }
};

}  // namespace d3

// The energy of a homogeneous continuation beyond the cutoff, and of what switching takes away
// before it: E = -1/(2 V) sum_ij C6_ij [s6 I_6 + s8 3 Q_i Q_j I_8], I_n = integral of (1 - sw(r)) 4
// pi r^2 / r^n.
#pragma once
#include <cmath>

#include "engine/formulas/dual.h"

namespace d3 {

// I_6 and I_8.
struct TailIntegrals {
  double i6;
  double i8;
};

// I_n, from cutoff - width to infinity.
inline double tail_integral(double cutoff, double width, int n) {
  constexpr double pi = 3.14159265358979323846;
  double sum = std::pow(cutoff, 3 - n) / (n - 3);
  // Gauss-Legendre on eight panels: the integrand is smooth, so this is exact to rounding
  const double node[4] = {0.1834346424956498, 0.5255324099163290, 0.7966664774136267,
                          0.9602898564975363};
  const double weight[4] = {0.3626837833783620, 0.3137066458778873, 0.2223810344533745,
                            0.1012285362903763};
  for (int panel = 0; panel < 8; ++panel)
    for (int k = 0; k < 8; ++k) {
      const double x = (panel + 0.5 + 0.5 * (k < 4 ? node[k] : -node[k - 4])) / 8,
                   r = cutoff - width * x;
      sum += width / 16 * weight[k % 4] * (1 - x * x * x * (10 + x * (6 * x - 15))) *
             std::pow(r, 2 - n);
    }
  return 4 * pi * sum;
}

inline TailIntegrals tail_integrals(double cutoff, double width) {
  return {tail_integral(cutoff, width, 6), tail_integral(cutoff, width, 8)};
}

// Sums of a system: the energy of the tail, and its derivatives by s6 and s8.
enum TailSum { tail_energy, tail_s6, tail_s8, n_tail_sums };

// The sum over pairs is one over species, with their weights W summed over the atoms:
//   E = sum_sa W_sa row_sa,
//   row_sa = -1/(2 V) sum_tb C6ref_sa,tb W_tb (s6 I_6 + s8 3 Q_s Q_t I_8),
// so that an atom of species s has the energy sum_a w_a row_sa. This is an entry of a row, as
// derivatives by s6 and s8.
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

  // The entry, once all species are added, with scale = -1/(2 V). Adds what it comes to, with its
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

}  // namespace d3

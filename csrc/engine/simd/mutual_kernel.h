// The loops over tiles that are met from one side alone, for the instruction set of the including
// file: what a pair adds to the sums of the central atom i, it adds to those of the neighbour j,
// too, so that every pair is computed once. Plain numbers only.
//
// A run of tiles goes through its steps register by register, a loop for each step, so that the
// processor works on several registers at once, and the sums stay in registers.
//
//   name       shape                          meaning
//   met        (n) registers                  neighbours of which at least one is in the shell
//   rows       (n_clusters, n_rows, lanes)    the neighbours' numbers
//   reactions  (n_clusters, columns, lanes)   sums of the neighbours, added to
#pragma once
#include "engine/simd/tile_loops.h"

namespace d3 {
namespace D3_ISA {

// Most registers of a run of tiles.
template <class T> constexpr int most_met = block_tiles * lanes<T> / Vec<T>::size;

// A column of registers.
template <class T> struct MutualColumn {
  alignas(register_bytes) T values[most_met<T> * Vec<T>::size];
  D3_INLINE Vec<T> operator[](int k) const { return Vec<T>::load(values + k * Vec<T>::size); }
  D3_INLINE void set(int k, Vec<T> x) { x.store(values + k * Vec<T>::size); }
};

// Registers of neighbours that have one in the shell: vectors, squared distances, and where the
// rows and the reactions of these neighbours begin.
template <class T> struct Met {
  MutualColumn<T> x, y, z, r2;
  int64_t rows_at[most_met<T>], reactions_at[most_met<T>];
  int n = 0;
};

template <bool near, class T> D3_INLINE auto in_shell(Vec<T> r2, Shell<T> shell) {
  const auto inside = r2 <= Vec<T>(shell.cutoff2);
  if constexpr (near)
    return inside & (r2 > Vec<T>(shell.same2));
  else
    return inside;
}

// The first step: the registers of a run, without those that have nobody in the shell. Returns the
// number of neighbours on the spot of the central atom, by lane.
template <bool near, class T>
D3_INLINE Vec<T> meet(const Run<T>& run, ClusterRows<T> rows, const Centre<T>& centre,
                      Shell<T> shell, int columns, Met<T>& met) {
  const Vec<T> zero(T(0)), one(T(1));
  Vec<T> coincident = zero;
  int n = 0;
  for (int t = 0; t < run.n; ++t) {
    const Tile<T>& tile = run[t];
    const int64_t cluster = int64_t(tile.cluster) * lanes<T>;
    for (int v = 0; v < lanes<T>; v += Vec<T>::size) {
      const int64_t at = cluster * n_rows + v;
      const auto r = Meeting<PlainRegisters<T>, T>::vector_to(rows, at, centre, tile);
      const Vec<T> r2 = r.norm2();
      met.x.set(n, r.x);
      met.y.set(n, r.y);
      met.z.set(n, r.z);
      met.r2.set(n, r2);
      met.rows_at[n] = at;
      met.reactions_at[n] = cluster * columns + v;
      n += any(in_shell<near>(r2, shell));
      if (near) coincident += select(r2 <= Vec<T>(shell.same2), one, zero);
    }
  }
  met.n = n;
  return coincident;
}

template <class T> D3_INLINE void react(T* reactions, int64_t at, int column, Vec<T> x) {
  T* to = reactions + at + column * lanes<T>;
  (Vec<T>::load(to) + x).store(to);
}

// Adds f r to the gradient and the virial of the centre, and takes it from the gradients of the
// neighbours, which begin at `column`.
template <class T>
D3_INLINE void add_mutual_gradient(const Met<T>& met, const MutualColumn<T>& f, T* reactions,
                                   int column, Vec<T>* sums) {
  Vec<T> sum[9];
  for (auto& s : sum) s = Vec<T>(T(0));
  for (int k = 0; k < met.n; ++k) {
    const Vector3<Vec<T>> r{met.x[k], met.y[k], met.z[k]};
    const Vector3<Vec<T>> part{f[k] * r.x, f[k] * r.y, f[k] * r.z};
    const int64_t at = met.reactions_at[k];
    sum[0] += part.x;
    sum[1] += part.y;
    sum[2] += part.z;
    react(reactions, at, column, -part.x);
    react(reactions, at, column + 1, -part.y);
    react(reactions, at, column + 2, -part.z);
    add_virial(part, r, sum + 3);
  }
  for (int k = 0; k < 3; ++k) sums[k] += sum[k];
  for (int k = 3; k < 9; ++k) sums[k] += sum[k] + sum[k];  // of both directions
}

// ---- coordination number ----

// Adds the CN of a run to the centre's and the neighbours'. Returns what `meet` does.
template <bool near, class T>
D3_INLINE Vec<T> count_mutual(const Run<T>& run, ClusterRows<T> rows, const Centre<T>& centre,
                              Shell<T> shell, T rc, T* reactions, Vec<T>& cn) {
  using X = Vec<T>;
  Met<T> met;
  MutualColumn<T> u;
  const X coincident = meet<near>(run, rows, centre, shell, count_reactions, met);
  for (int k = 0; k < met.n; ++k) u.set(k, counting_exponent(met.r2[k], rc).exponent);
  for (int k = 0; k < met.n; ++k) u.set(k, exp(u[k]));
  const X one(T(1)), zero(T(0));
  X sum = zero;
  for (int k = 0; k < met.n; ++k) {
    const X f = select(in_shell<near>(met.r2[k], shell), counted(u[k], one, rc).value, zero);
    sum += f;
    react(reactions, met.reactions_at[k], 0, f);
  }
  cn += sum;
  return coincident;
}

// ---- energy ----

// Registers of a run that energies take: C6, dC6/dCN_i, dC6/dCN_j, and dE/dr divided by r.
template <class T> struct MutualTerms {
  MutualColumn<T> c6, by_i, by_j, slope;
};

// C6 and its derivatives of registers k, k + 1, ... k + some - 1.
template <bool slopes, int R, int some, class T>
D3_INLINE void mutual_c6(const Met<T>& met, int k, ClusterRows<T> rows, const Vec<T>* c6_row,
                         const Vec<T>* dc6_row, MutualTerms<T>& out) {
  using X = Vec<T>;
  X sum[some][3];
  for (auto& s : sum)
    for (X& x : s) x = X(T(0));
  for (int b = 0; b < R; ++b) {
    const X c = loaded(c6_row[b]), d = slopes ? loaded(dc6_row[b]) : c;
    for (int s = 0; s < some; ++s) {
      const T* row = rows.values + met.rows_at[k + s];
      const X w = loaded(X::load(row + (row_w + b) * lanes<T>));
      sum[s][0] += c * w;
      if (slopes) sum[s][1] += d * w;
      if (slopes) sum[s][2] += c * X::load(row + (row_dw + b) * lanes<T>);
    }
  }
  for (int s = 0; s < some; ++s) {
    out.c6.set(k + s, sum[s][0]);
    if (slopes) out.by_i.set(k + s, sum[s][1]);
    if (slopes) out.by_j.set(k + s, sum[s][2]);
  }
}

// Adds a register of pairs to the columns that know no direction, and leaves its slope.
template <DampingForm form, EnergyMode mode, bool near, class T>
D3_INLINE void add_mutual_energy(const Met<T>& met, int k, const Damping<Vec<T>>& damping,
                                 Cutoff<T> cutoff, Shell<T> shell, MutualTerms<T>& terms,
                                 T* reactions, Vec<T>* sum) {
  using X = Vec<T>;
  const X zero(T(0)), one(T(1));
  const auto inside = in_shell<near>(met.r2[k], shell);
  const Damped<form, X> g = switched<form>(damping, select(inside, met.r2[k], one), cutoff);
  const PairTerm<form, X> pair{select(inside, loaded(terms.c6[k]), zero), g};
  const X value = select(inside, g.value, zero), energy = loaded(terms.c6[k]) * value;
  const int64_t at = met.reactions_at[k];
  sum[of_energy] += energy;
  react(reactions, at, reaction_energy, energy);
  if constexpr (mode != EnergyMode::energy) {
    sum[of_dcn] += terms.by_i[k] * value;
    react(reactions, at, reaction_dcn, terms.by_j[k] * value);
    terms.slope.set(k, pair.slope_over_r());
  }
  if constexpr (mode == EnergyMode::learn) pair.add_damping(damping, sum + of_damping);
}

// Adds a run of tiles to the columns of the mode.
template <class T, DampingForm form, EnergyMode mode, int R, bool near>
D3_INLINE void energy_mutual(const Run<T>& run, ClusterRows<T> rows, const Centre<T>& centre,
                             const Damping<Vec<T>>& damping, const Vec<T>* c6_row,
                             const Vec<T>* dc6_row, Cutoff<T> cutoff, Shell<T> shell, T* reactions,
                             Vec<T>* sums) {
  constexpr bool slopes = mode != EnergyMode::energy;
  constexpr int columns = energy_columns<mode, form>;
  Met<T> met;
  MutualTerms<T> terms;
  meet<near>(run, rows, centre, shell, energy_reactions(mode), met);
  int k = 0;
  for (; k + 2 <= met.n; k += 2)  // two share the loads of the C6 row
    mutual_c6<slopes, R, 2>(met, k, rows, c6_row, dc6_row, terms);
  if (k < met.n) mutual_c6<slopes, R, 1>(met, k, rows, c6_row, dc6_row, terms);
  Vec<T> sum[columns];
  for (auto& s : sum) s = Vec<T>(T(0));
  for (k = 0; k < met.n; ++k)
    add_mutual_energy<form, mode, near>(met, k, damping, cutoff, shell, terms, reactions, sum);
  sums[of_energy] += sum[of_energy];
  if (slopes) {
    sums[of_dcn] += sum[of_dcn];
    add_mutual_gradient(met, terms.slope, reactions, reaction_gradient, sums + of_gradient);
  }
  for (k = of_damping; k < columns; ++k) sums[k] += sum[k] + sum[k];  // of both directions
}

// ---- gradient through the coordination numbers ----

template <bool near, class T>
D3_INLINE void count_gradient_mutual(const Run<T>& run, ClusterRows<T> rows,
                                     const Centre<T>& centre, Shell<T> shell, T rc, T* reactions,
                                     Vec<T>* sums) {
  using X = Vec<T>;
  Met<T> met;
  MutualColumn<T> u, inverse_r;
  meet<near>(run, rows, centre, shell, count_gradient_reactions, met);
  for (int k = 0; k < met.n; ++k) {
    const CountingExponent<X> e = counting_exponent(met.r2[k], rc);
    u.set(k, e.exponent);
    inverse_r.set(k, e.inverse_r);
  }
  for (int k = 0; k < met.n; ++k) u.set(k, exp(u[k]));
  const X dcn_i(centre.dcn), zero(T(0));
  for (int k = 0; k < met.n; ++k) {
    const X dcn = dcn_i + X::load(rows.values + met.rows_at[k] + row_dcn * lanes<T>);
    const X slope = counted(u[k], inverse_r[k], rc).slope_over_r;
    u.set(k, select(in_shell<near>(met.r2[k], shell), slope * dcn, zero));
  }
  add_mutual_gradient(met, u, reactions, 0, sums);
}

}  // namespace D3_ISA
}  // namespace d3

// The constants of an atom against a species of neighbours: so that a pair needs one short dot
// product and no look-up in the tables.
#pragma once
#include "engine/cuda/systems.cuh"

namespace d3 {

template <class X> struct SpeciesRow {
  X c6[max_refs];   // sum_a w_a C6ref[a][b]
  X dc6[max_refs];  // its derivative by the atom's CN
  Damping<X> damping;
};

// The damping of two species, computed in the type of its parameters.
template <DampingForm form, class X, class P, class T>
__device__ inline Damping<X> species_damping(const Tables<T>& t, const P* parameters, int s_i,
                                             int s_j) {
  const Damping<P> damping = damping_of<form>(parameters, t, s_i, s_j);
  if constexpr (std::is_same_v<P, X>)
    return damping;
  else
    return converted(damping, [](P x) { return narrow<X>(x); });
}

// Fills the rows of an atom of species s_i, with its weights, against all species that occur: by
// `threads` threads, one for each number of a row. The tables' rows are R long.
template <int R, DampingForm form, class X, class P, class T>
__device__ inline void fill_species_rows(const Tables<T>& t, const int* present,
                                         const SiteWeights<X>& of_w, const SiteWeights<X>& of_dw,
                                         const P* parameters, int s_i, int thread, int threads,
                                         SpeciesRow<X>* rows) {
  const SiteWeights<X> w = of_w, dw = of_dw;
  for (int k = thread; k < t.n_species * R; k += threads) {
    const int s = k / R, b = k % R;
    if (!present[s]) continue;
    const T* c6_ref = t.c6_ref + (int64_t(s_i) * t.n_species + s) * R * R + b;
    X c6, dc6;
    contract(w.v, c6_ref, R, R, 1, &c6);
    contract(dw.v, c6_ref, R, R, 1, &dc6);
    rows[s].c6[b] = c6;
    rows[s].dc6[b] = dc6;
    if (b == 0) rows[s].damping = species_damping<form, X>(t, parameters, s_i, s);
  }
}

}  // namespace d3

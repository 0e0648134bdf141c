// Energies of a given list on the GPU: what a pair adds, and the two ways to walk a list.
//
//   name         shape        meaning
//   c            one          the call: inputs, scratch, results
//   p            -            a pair; e: its ends i and j with their species
//   row          one          C6 row of atom i against the species of j, and their damping
//   c.rows       (n_atoms)    first pair of each atom, in a sorted list
//   slopes       compile-time whether gradients are wanted
#pragma once
#include "engine/cuda/pairs/pair_list.cuh"
#include "engine/cuda/pairs/pairs_cuda.h"
#include "engine/cuda/pairs/species_row.cuh"

namespace d3 {

// Inputs, scratch and results of one call; what is not wanted is null.
template <class V, class T> struct EnergyCall {
  using X = typename V::X;
  EnergyInput<T> in;
  V vectors, cn, damping;
  const T* grad_energy;
  bool own;  // slopes of E_i by what belongs to its centre alone, for a gradient of 1; no damping
  ListState* state;
  int* present;           // (n_species), whether it occurs
  int64_t* rows;          // (n_atoms)
  SiteWeights<X>* w;      // (n_atoms)
  SiteWeights<X>* dw;     // (n_atoms), derivatives by CN
  double* energy;         // (n_atoms)
  double* grad_cn;        // (n_atoms)
  double* block_damping;  // (blocks, n_parameters)
  T* grad_vectors;        // (n_pairs, 3)
};

// Sums of a thread over its pairs.
struct EnergyPart {
  double energy = 0;
  double grad_cn = 0;  // of the centre
  double damping[most_parameters] = {};
};

// The parameters of the damping, in registers.
template <DampingForm form, class V, class T> struct Parameters {
  typename V::X v[n_parameters(form)];
  __device__ explicit Parameters(const EnergyCall<V, T>& c) {
    for (int k = 0; k < n_parameters(form); ++k) v[k] = c.damping[k];
  }
};

// Contracts the row of atom i against a species. The table's rows are R long.
template <int R, DampingForm form, class V, class T>
__device__ inline SpeciesRow<typename V::X> species_row(const EnergyCall<V, T>& c, int64_t i,
                                                        int s_i, int s_j) {
  using X = typename V::X;
  const Tables<T>& t = c.in.tables;
  const T* c6_ref = t.c6_ref + (int64_t(s_i) * t.n_species + s_j) * R * R;
  const SiteWeights<X> w = c.w[i], dw = c.dw[i];
  SpeciesRow<X> row;
  contract(w.v, c6_ref, R, R, R, row.c6);
  contract(dw.v, c6_ref, R, R, R, row.dc6);
  row.damping = species_damping<form, X>(t, Parameters<form, V, T>(c).v, s_i, s_j);
  return row;
}

// Adds energy and gradients of one pair to the sums of a thread. `slope_j` gets the part of dE/dCN
// of the neighbour, and is 0 in two cases: with `symmetric`, the reverse pair is in the list, and
// its part of dE/dCN of the centre is added here; with c.own, only slopes by the centre are wanted.
template <int R, DampingForm form, bool slopes, class V, class T>
__device__ inline void add_pair(const EnergyCall<V, T>& c, int64_t p, const Ends& e,
                                const SpeciesRow<typename V::X>& row, bool symmetric,
                                EnergyPart& sum, double& slope_j) {
  using X = typename V::X;
  const Cutoff<T> cutoff{c.in.cutoff, c.in.width};
  const Vector3<X> r = vector_at(c.vectors, p);
  const X r2 = squared_length(r);
  slope_j = 0;
  if (!e.ok || beyond(value(r2), cutoff.cutoff)) {
    if (slopes) store_same(e.ok ? T(0) : T(not_a_number()), c.grad_vectors + 3 * p);
    return;
  }
  const Damped<form, X> g = switched<form>(row.damping, r2, cutoff);
  const SiteWeights<X> w = c.w[e.j];
  const X c6 = dot(row.c6, w.v, R);
  if (c.energy) add_to(sum.energy, PairTerm<form, X>{X(T(-0.5)) * c6, g}.energy());
  if constexpr (slopes) {
    const X half = X(c.own ? T(-0.5) : T(-0.5) * c.grad_energy[e.i]);
    const PairTerm<form, X> pair{half * c6, g};
    store(pair.slope_over_r(), r, c.grad_vectors + 3 * p);
    const X both = symmetric && !c.own ? half + X(T(-0.5) * c.grad_energy[e.j]) : half;
    add_to(sum.grad_cn, pair.by_c6(both * dot(row.dc6, w.v, R)));
    if (c.own) return;
    if (!symmetric) {
      const SiteWeights<X> dw = c.dw[e.j];
      add_to(slope_j, pair.by_c6(half * dot(row.c6, dw.v, R)));
    }
    pair.add_damping(row.damping, sum.damping);
  }
}

// Sums of the damping over the threads of a block, in shared memory that nobody needs any more.
template <int n> __device__ inline void sum_damping(EnergyPart& part, double* out) {
  double* shared = shared_memory<double>();
  __syncthreads();
  for (int k = 0; k < n; ++k) {
    const double sum = warp_sum(part.damping[k]);
    if (lane_index() == 0) shared[n * warp_index() + k] = sum;
  }
  __syncthreads();
  if (threadIdx.x >= n) return;
  double sum = 0;
  for (int w = 0; w < warp_count(); ++w) sum += shared[n * w + threadIdx.x];
  out[n * int64_t(blockIdx.x) + threadIdx.x] = sum;
}

// A sorted list: a warp for each atom, its rows of constants in shared memory.
template <int R, DampingForm form, bool slopes, class V, class T>
__global__ void energy_rows(EnergyCall<V, T> c) {
  using X = typename V::X;
  if (!c.state->sorted()) return;
  const Pairs<T>& list = c.in.list;
  const int n_species = c.in.tables.n_species;
  const int64_t i = thread_index() / warp_lanes;
  const bool symmetric = c.state->symmetric(), gathered = symmetric || c.own;
  SpeciesRow<X>* rows = shared_memory<SpeciesRow<X>>() + warp_index() * n_species;
  EnergyPart part;
  if (i < list.n_atoms) {
    const int s_i = int(list.species[i]);
    fill_species_rows<R, form>(c.in.tables, c.present, c.w[i], c.dw[i], Parameters<form, V, T>(c).v,
                               s_i, lane_index(), warp_lanes, rows);
    __syncwarp();
    const Chunk chunk = chunk_of(list, c.rows, true, i, list.n_atoms);
    for (int64_t p = chunk.begin + lane_index(); p < chunk.end; p += warp_lanes) {
      const int64_t j = list.neighbour[p];
      const Ends e{i, j, s_i, int(list.species[j]), true};
      double slope_j;
      add_pair<R, form, slopes>(c, p, e, rows[e.s_j], symmetric, part, slope_j);
      if (slopes && !gathered) atomicAdd(c.grad_cn + j, slope_j);
    }
    const double energy = warp_sum(part.energy), grad_cn = warp_sum(part.grad_cn);
    if (lane_index() == 0) {
      if (c.energy) c.energy[i] = energy;
      if (slopes && gathered) c.grad_cn[i] = grad_cn;
      if (slopes && !gathered) atomicAdd(c.grad_cn + i, grad_cn);
    }
  }
  if (slopes) sum_damping<n_parameters(form)>(part, c.block_damping);
}

// A list in any order: a thread for each pair, constants from scratch, sums by atomic additions.
template <int R, DampingForm form, bool slopes, class V, class T>
__global__ void energy_scattered(EnergyCall<V, T> c) {
  if (c.state->sorted()) return;
  const Pairs<T>& list = c.in.list;
  EnergyPart total;
  for (int64_t p = thread_index(); p < list.n_pairs; p += thread_count()) {
    const Ends e = ends_of(list, list.centre[p], list.neighbour[p], c.in.tables.n_species);
    EnergyPart part;
    double slope_j;
    add_pair<R, form, slopes>(c, p, e, species_row<R, form>(c, e.ok ? e.i : 0, e.s_i, e.s_j), false,
                              part, slope_j);
    if (!e.ok) continue;
    if (c.energy) atomicAdd(c.energy + e.i, part.energy);
    if (slopes) atomicAdd(c.grad_cn + e.i, part.grad_cn);
    if (slopes && !c.own) atomicAdd(c.grad_cn + e.j, slope_j);
    for (int k = 0; k < n_parameters(form); ++k) total.damping[k] += part.damping[k];
  }
  if (slopes) sum_damping<n_parameters(form)>(total, c.block_damping);
}

}  // namespace d3

// The tail correction on the GPU, linear in the number of atoms: sums of the weights of each
// species, from them a row for each species to multiply the weights of its atoms with. A species of
// a system is known by its first cluster.
#include "engine/cuda/lattice/lattice_tail.cuh"
#include "engine/formulas/tail.h"

namespace d3 {

// Sums of the weights over the atoms of a cluster, by a warp.
template <int R, class T, class S> __global__ void sum_weights(LatticeCall<T, S> c) {
  using A = Wide<S>;
  const int64_t id = thread_index() / warp_lanes;
  if (c.state->bad || id >= c.atoms.clusters[c.n_atoms - 1]) return;
  const bool member = lane_index() < c.boxes[id].count;
  const int64_t p = c.boxes[id].first + (member ? lane_index() : 0);
  for (int a = 0; a < R; ++a) {
    const A sum = warp_sum(member ? widen(c.neighbours[p].w.v[a]) : A(0.0));
    if (lane_index() == 0) c.tail_weights[id * R + a] = sum;
  }
}

// Sums over the clusters of each species of a system, left at its first cluster.
template <int R, class T, class S>
__device__ void sum_clusters(const LatticeCall<T, S>& c, int begin, int end) {
  using A = Wide<S>;
  int turn = 0;
  for (int first = begin; first < end; first = c.infos[first].next)
    for (int a = 0; a < R; ++a) {
      if (turn++ % warp_count() != warp_index()) continue;
      A sum(0.0);
      for (int64_t id = first + lane_index(); id < c.infos[first].next; id += warp_lanes)
        sum += c.tail_weights[id * R + a];
      sum = warp_sum(sum);
      if (lane_index() == 0) c.tail_weights[int64_t(first) * R + a] = sum;
    }
}

// An entry of a species' row; adds what it comes to over the species' atoms to the sums.
template <int R, class T, class S>
__device__ void make_row(const LatticeCall<T, S>& c, int64_t b, int begin, int end, int first,
                         int a, const TailIntegrals& integrals, Wide<S> scale, Wide<S>* sums) {
  using A = Wide<S>;
  const Tables<T>& t = c.in.tables;
  const int64_t species = c.infos[first].species;
  TailEntry<A> entry;
  for (int64_t other = begin; other < end; other = c.infos[other].next) {
    const int64_t s = c.infos[other].species;
    entry.add(t.c6_ref + ((species * t.n_species + s) * R + a) * R, c.tail_weights + other * R, R,
              3.0 * t.r4r2[species] * t.r4r2[s], integrals);
  }
  const int64_t at = int64_t(first) * R + a;
  c.tail_rows[at] = entry.finish(scale, c.damping(b, 0), c.damping(b, 1), c.tail_weights[at], sums);
}

// Sums over the threads of a block; in its first thread.
template <class A> __device__ void block_sums(A (&sums)[n_tail_sums]) {
  A* shared = shared_memory<A>();
  for (int k = 0; k < n_tail_sums; ++k) {
    const A sum = warp_sum(sums[k]);
    if (lane_index() == 0) shared[warp_index() * n_tail_sums + k] = sum;
  }
  __syncthreads();
  for (int k = 0; k < n_tail_sums; ++k) {
    sums[k] = A(0.0);
    for (int warp = 0; warp < warp_count(); ++warp) sums[k] += shared[warp * n_tail_sums + k];
  }
}

// The rows of a system by a block, and what the system gets as a whole: energy, its derivatives by
// strain and damping.
template <int R, class T, class S>
__global__ void make_rows(LatticeCall<T, S> c, TailIntegrals integrals) {
  using A = Wide<S>;
  const int64_t b = blockIdx.x;
  if (c.state->bad || c.frames[b].bad) return;
  const int begin = c.first_cluster(b), end = c.first_cluster(b + 1);
  if (begin == end) return;
  sum_clusters<R>(c, begin, end);
  __syncthreads();
  A cell[3][3], sums[n_tail_sums] = {A(0.0), A(0.0), A(0.0)};
  for (int k = 0; k < 9; ++k) cell[k / 3][k % 3] = c.cell(b, k / 3, k % 3);
  const A scale = A(-0.5) / volume_of(cell);
  unsigned turn = 0;
  for (int first = begin; first < end; first = c.infos[first].next)
    for (int a = 0; a < R; ++a)
      if (turn++ % blockDim.x == threadIdx.x)
        make_row<R>(c, b, begin, end, first, a, integrals, scale, sums);
  block_sums(sums);
  if (threadIdx.x != 0) return;
  A* parts = c.parts + int64_t(begin) * blocks_of_cluster * n_parts;
  parts[part_energy] += sums[tail_energy];
  for (int diagonal : {0, 3, 5}) parts[part_virial + diagonal] += -sums[tail_energy];
  parts[part_damping] += sums[tail_s6];
  parts[part_damping + 1] += sums[tail_s8];
}

// Adds to each atom its energy and slope from the tail: its weights times the row of its species.
template <int R, class T, class S> __global__ void add_tail_to_atoms(LatticeCall<T, S> c) {
  using A = Wide<S>;
  const int64_t p = thread_index();
  if (p >= c.n_atoms || c.state->bad) return;
  const int64_t group = c.atoms.keys[p] >> group_shift;
  if (c.frames[group >> species_bits].bad) return;
  const A* row =
      c.tail_rows +
      (c.atoms.clusters[first_place(c.atoms.keys, c.n_atoms, group << group_shift)] - int64_t(1)) *
          R;
  const TailOfAtom<A> tail(c.neighbours[p].w.v, c.dw[p].v, row, R);
  c.energy[p] += tail.energy;
  if (c.in.gradients) c.neighbours[p].site.dcn += narrow<S>(tail.dcn);
}

template <int R, class T, class S> void add_tail(const LatticeCall<T, S>& c, cudaStream_t stream) {
  const TailIntegrals integrals = tail_integrals(c.in.range.cutoff, c.in.range.width);
  const size_t shared = sizeof(Wide<S>) * n_tail_sums * (lattice_threads / warp_lanes);
  launch(sum_weights<R, T, S>, blocks_for(c.max_clusters * warp_lanes, lattice_threads),
         lattice_threads, 0, stream, c);
  launch(make_rows<R, T, S>, c.in.systems.n_systems, lattice_threads, shared, stream, c, integrals);
  launch(add_tail_to_atoms<R, T, S>, blocks_for(c.n_atoms, lattice_threads), lattice_threads, 0,
         stream, c);
}

template void add_tail<5>(const LatticeCall<float, float>&, cudaStream_t);
template void add_tail<5>(const LatticeCall<double, double>&, cudaStream_t);
template void add_tail<5>(const LatticeCall<float, Dual<float>>&, cudaStream_t);
template void add_tail<5>(const LatticeCall<double, Dual<double>>&, cudaStream_t);
template void add_tail<max_refs>(const LatticeCall<float, float>&, cudaStream_t);
template void add_tail<max_refs>(const LatticeCall<double, double>&, cudaStream_t);
template void add_tail<max_refs>(const LatticeCall<float, Dual<float>>&, cudaStream_t);
template void add_tail<max_refs>(const LatticeCall<double, Dual<double>>&, cudaStream_t);

}  // namespace d3

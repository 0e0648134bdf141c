// What a sweep has summed up for each atom, in memory, and what is made of it. Blocks that share
// the neighbours of eight atoms write sums of their own; they are added in the order of the blocks,
// so that results repeat to the last bit.
#pragma once
#include "engine/cuda/lattice/lattice_bodies.cuh"

namespace d3 {

// Shared memory of a block that sweeps.
template <class S> size_t sweep_bytes(int columns, int threads) {
  return search_bytes + found_bytes(threads) +
         sizeof(Wide<S>) * columns * block_atoms * (threads / warp_lanes);
}

// Writes the sums over the lanes and warps of a block: n columns of block_atoms numbers.
template <class A, int n, class T, class S>
__device__ void write_sums(const LatticeCall<T, S>& c, const BlockCentre<S>& m,
                           const A (&totals)[n]) {
  A* shared = reinterpret_cast<A*>(shared_memory<char>() + search_bytes + found_bytes(blockDim.x));
  for (int k = 0; k < n; ++k) {
    A sum = totals[k];
    for (int step = warp_lanes / 2; step >= m.width; step /= 2) sum += shuffle_xor(sum, step);
    if (lane_index() < m.width)
      shared[(warp_index() * n + k) * block_atoms + lane_index()] = m.active() ? sum : A(0.0);
  }
  __syncthreads();
  A* to = c.sums + int64_t(blockIdx.x) * n * block_atoms;
  for (int t = threadIdx.x; t < n * block_atoms; t += blockDim.x) {
    A sum(0.0);
    for (int warp = 0; warp < warp_count() && t % block_atoms < m.count; ++warp)
      sum += shared[warp * n * block_atoms + t];
    to[t] = sum;
  }
}

// An atom by the sums that were written for it.
struct SummedAtom {
  int64_t eight;  // the atoms of a block, by their number
  int index;      // among them
  bool here;      // whether there is such an atom, in a system that was summed up
  int64_t place;
  int system;
};

// Of those that were summed up, the sum of a column of n.
template <class T, class S>
__device__ Wide<S> summed(const LatticeCall<T, S>& c, const SummedAtom& a, int n, int column) {
  Wide<S> sum(0.0);
  const Wide<S>* from = c.sums + (a.eight * c.splits * n + column) * block_atoms + a.index;
  for (int split = 0; split < c.splits; ++split) sum += from[int64_t(split) * n * block_atoms];
  return sum;
}

// The atom of a place; and that of a thread, of which eight in a row have those of a block.
template <class T, class S>
__device__ SummedAtom atom_at(const LatticeCall<T, S>& c, int64_t place) {
  const int cluster = c.atoms.clusters[place] - 1, in_it = int(place - c.boxes[cluster].first);
  const int64_t eight = int64_t(cluster) * blocks_of_cluster + in_it / block_atoms;
  const int system = c.infos[cluster].system;
  return {eight, in_it % block_atoms, !c.frames[system].bad, place, system};
}
template <class T, class S> __device__ SummedAtom atom_of_thread(const LatticeCall<T, S>& c) {
  SummedAtom a{thread_index() / block_atoms, int(thread_index() % block_atoms), false, 0, 0};
  const int64_t cluster = a.eight / blocks_of_cluster;
  if (c.state->bad || cluster >= c.atoms.clusters[c.n_atoms - 1]) return a;
  const int in_it = int(a.eight % blocks_of_cluster) * block_atoms + a.index;
  if (in_it >= c.boxes[cluster].count) return a;
  a.place = c.boxes[cluster].first + in_it;
  a.system = c.infos[cluster].system;
  a.here = !c.frames[a.system].bad;
  return a;
}

// The sum over the eight threads that have the atoms of a block, in each.
template <class A> __device__ A sum_of_eight(A x) {
  for (int step = block_atoms / 2; step > 0; step /= 2) x += shuffle_xor(x, step);
  return x;
}

// Energies, their direct derivatives and parts, from the sums of the sweep over energies: E = -1/2
// sum C6 g; dE/dCN and dE/dx take both directions of each pair.
template <class T, class S> __global__ void finish_energies(LatticeCall<T, S> c, int columns) {
  using A = Wide<S>;
  const SummedAtom a = atom_of_thread(c);
  const auto sum = [&](int k) { return a.here ? summed(c, a, columns, k) : A(0.0); };
  const auto write_part = [&](int part, A x) {
    const A whole = A(-0.5) * sum_of_eight(x);
    if (a.here && a.index == 0) c.parts[a.eight * n_parts + part] = whole;
  };
  const A energy = sum(of_energy);
  if (a.here) c.energy[a.place] = A(-0.5) * energy;
  write_part(part_energy, energy);
  if (columns < of_damping) return;
  if (a.here) {
    c.neighbours[a.place].site.dcn = narrow<S>(-sum(of_dcn));
    for (int k = 0; k < 3; ++k) c.gradient[3 * a.place + k] = sum(of_gradient + k);
  }
  for (int k = 0; k < 6; ++k) write_part(part_virial + k, sum(of_virial + k));
  for (int k = of_damping; k < columns; ++k) write_part(part_damping + k - of_damping, sum(k));
}

// Adds the gradient through the coordination numbers, and completes virial and moment, x (x) dE/dx:
// see add_gradient.
template <class T, class S> __global__ void finish_gradients(LatticeCall<T, S> c) {
  using A = Wide<S>;
  const SummedAtom a = atom_of_thread(c);
  A gradient[3], from_centre[3], from_origin[3];
  for (int d = 0; d < 3; ++d) {
    gradient[d] = from_centre[d] = from_origin[d] = A(0.0);
    if (!a.here) continue;
    gradient[d] = c.gradient[3 * a.place + d] - summed(c, a, count_gradient_columns, d);
    c.gradient[3 * a.place + d] = gradient[d];
    const Site<S>& site = c.neighbours[a.place].site;
    from_centre[d] = widen(d == 0 ? site.x : d == 1 ? site.y : site.z);
    from_origin[d] = c.position(c.atoms.order[a.place], d);
  }
  A* parts = c.parts + a.eight * n_parts;
  const bool writes = a.here && a.index == 0;
#pragma unroll
  for (int k = 0; k < 6; ++k) {
    const int row = k < 3 ? 0 : k < 5 ? 1 : 2, column = k < 3 ? k : k < 5 ? k - 2 : 2;
    const A half = a.here ? A(0.5) * summed(c, a, count_gradient_columns, 3 + k) : A(0.0);
    const A sum = sum_of_eight(half + gradient[row] * from_centre[column]);
    if (writes) parts[part_virial + k] += sum;
  }
#pragma unroll
  for (int k = 0; k < 9; ++k) {
    const A sum = sum_of_eight(from_origin[k / 3] * gradient[k % 3]);
    if (writes) parts[part_moment + k] = sum;
  }
}

}  // namespace d3

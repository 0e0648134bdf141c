// The tail correction on the GPU, linear in the number of atoms: sums of the weights of each
// species, from them a row for each species to multiply the weights of its atoms with. A species of
// a system is known by its first cluster. A slab that is thicker than cutoff - width then takes
// pairs of clusters by their heights.
#include "engine/cuda/lattice/lattice_tail.cuh"
#include "engine/formulas/tail.h"

namespace d3 {

// Rounding of boxes in single precision, in the least difference of heights.
constexpr double height_slack = 1e-4;

// Whether a system has anything beyond the cutoff.
__device__ inline bool has_tail(const SystemFrame& f) {
  return !f.bad && f.periodic_directions > 0;
}

template <class T, class S>
__device__ Periods<Wide<S>> periods_in(const LatticeCall<T, S>& c, int64_t b) {
  Wide<S> cell[3][3];
  for (int k = 0; k < 9; ++k) cell[k / 3][k % 3] = c.cell(b, k / 3, k % 3);
  return periods_of(cell, c.frames[b].periodic);
}

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

// Adds sums of a tail to the parts of a cluster's first block; by one thread.
template <class T, class S>
__device__ void add_parts(const LatticeCall<T, S>& c, int64_t cluster,
                          const Periods<Wide<S>>& periods, const Wide<S>* sums) {
  Wide<S>* parts = c.parts + cluster * blocks_of_cluster * n_parts;
  parts[part_energy] += sums[tail_energy];
  for (int k = 0; k < 6; ++k)
    parts[part_virial + k] += periods.virial(sums[tail_energy], sums[tail_stretch], k);
  parts[part_damping] += sums[tail_s6];
  parts[part_damping + 1] += sums[tail_s8];
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
template <int R, class T, class S> __global__ void make_rows(LatticeCall<T, S> c, TailTable table) {
  using A = Wide<S>;
  const int64_t b = blockIdx.x;
  if (c.state->bad || !has_tail(c.frames[b])) return;
  const int begin = c.first_cluster(b), end = c.first_cluster(b + 1);
  if (begin == end) return;
  sum_clusters<R>(c, begin, end);
  __syncthreads();
  A sums[n_tail_sums] = {A(0.0), A(0.0), A(0.0), A(0.0)};
  const Periods<A> periods = periods_in(c, b);
  const A scale = A(-0.5) / periods.measure;
  const TailIntegrals integrals = periods.n == 3   ? table.of[3]
                                  : periods.n == 2 ? table.of[2]
                                                   : table.of[1];
  unsigned turn = 0;
  for (int first = begin; first < end; first = c.infos[first].next)
    for (int a = 0; a < R; ++a)
      if (turn++ % blockDim.x == threadIdx.x)
        make_row<R>(c, b, begin, end, first, a, integrals, scale, sums);
  block_sums(sums);
  if (threadIdx.x != 0) return;
  add_parts(c, begin, periods, sums);
}

// Adds to each atom its energy and slope from the tail: its weights times the row of its species.
template <int R, class T, class S> __global__ void add_tail_to_atoms(LatticeCall<T, S> c) {
  using A = Wide<S>;
  const int64_t p = thread_index();
  if (p >= c.n_atoms || c.state->bad) return;
  const int64_t group = c.atoms.keys[p] >> group_shift;
  if (!has_tail(c.frames[group >> species_bits])) return;
  const A* row =
      c.tail_rows +
      (c.atoms.clusters[first_place(c.atoms.keys, c.n_atoms, group << group_shift)] - int64_t(1)) *
          R;
  const TailOfAtom<A> tail(c.neighbours[p].w.v, c.dw[p].v, row, R);
  c.energy[p] += tail.energy;
  if (c.in.gradients) c.neighbours[p].site.dcn += narrow<S>(tail.dcn);
}

// ---- the heights of slabs ----

// Heights of the atoms of slabs above the first one of their system.
template <class T, class S> __global__ void measure_heights(LatticeCall<T, S> c) {
  using A = Wide<S>;
  const int64_t p = thread_index();
  if (p >= c.n_atoms || c.state->bad) return;
  const int64_t b = c.atoms.keys[p] >> system_shift, first = c.in.systems.offsets[b];
  if (c.frames[b].bad || c.frames[b].periodic_directions != 2) return;
  const Periods<A> periods = periods_in(c, b);
  A height(0.0);
  for (int d = 0; d < 3; ++d)
    height += periods.normal[d] * (c.position(c.atoms.order[p], d) - c.position(first, d));
  c.heights[p] = height;
}

// Whether two clusters may have atoms that are further apart in height than `near`.
__device__ inline bool may_be_apart(const ClusterBox& a, const ClusterBox& b, const Vec3& normal,
                                    double near) {
  double apart = 0, half = 0;
  for (int d = 0; d < 3; ++d) {
    apart += normal[d] * (double(a.centre[d]) - double(b.centre[d]));
    half += fabs(normal[d]) * (double(a.half[d]) + double(b.half[d]));
  }
  return fabs(apart) + half > near * (1 - height_slack);
}

// The sums of a lane's atom over the atoms of a cluster. The rows are those of the lane's atom
// against the cluster's species.
template <int R, class T, class S>
__device__ void meet_heights(const LatticeCall<T, S>& c, int64_t p, const ClusterBox& box,
                             const Wide<S>* c6, const Wide<S>* dc6, const Wide<S>* damping,
                             double q, const TailIntegrals& flat, HeightSums<Wide<S>>& sums) {
  using A = Wide<S>;
  const double cutoff = c.in.range.cutoff, width = c.in.range.width;
  for (int64_t other = box.first; other < box.first + box.count; ++other) {
    const A up = c.heights[other] - c.heights[p];
    if (!(fabs(value(up)) > cutoff - width)) continue;
    A pair(0.0), by_cn(0.0);
    for (int a = 0; a < R; ++a) {
      const A w = widen(c.neighbours[other].w.v[a]);
      pair += c6[a] * w;
      by_cn += dc6[a] * w;
    }
    sums.add(up, pair, by_cn, damping, q, flat, cutoff, width);
  }
}

// What the heights change for a lane's atom, at place p. Clusters are tested along the vector that
// completes the cell: it is the normal, up to its sign.
template <int R, class T, class S>
__device__ HeightSums<Wide<S>> sum_heights(const LatticeCall<T, S>& c, int64_t id, int64_t p,
                                           const Wide<S>* damping, const TailIntegrals& flat) {
  using A = Wide<S>;
  const Tables<T>& t = c.in.tables;
  const int64_t b = c.infos[id].system, species = c.infos[id].species, end = c.first_cluster(b + 1);
  const double near = double(c.in.range.cutoff) - double(c.in.range.width);
  const SystemFrame& f = c.frames[b];
  const Vec3& normal = f.cell[!f.periodic[0] ? 0 : !f.periodic[1] ? 1 : 2];
  HeightSums<A> sums;
  A c6[R], dc6[R];
  int64_t known = -1;
  for (int64_t other = c.first_cluster(b); other < end; ++other) {
    if (!may_be_apart(c.boxes[id], c.boxes[other], normal, near)) continue;
    const int64_t s = c.infos[other].species;
    const T* c6_ref = t.c6_ref + (species * t.n_species + s) * R * R;
    if (s != known) {
      A w[R];  // loaded again for each species, as registers are few
      for (int a = 0; a < R; ++a) w[a] = widen(c.neighbours[p].w.v[a]);
      contract(w, c6_ref, R, R, R, c6);
      for (int a = 0; a < R; ++a) w[a] = widen(c.dw[p].v[a]);
      contract(w, c6_ref, R, R, R, dc6);
    }
    known = s;
    meet_heights<R>(c, p, c.boxes[other], c6, dc6, damping, 3.0 * t.r4r2[species] * t.r4r2[s], flat,
                    sums);
  }
  return sums;
}

// Adds a gradient along the normal to a lane's atom, 0 for lanes without one. The virial of it is
// there already: what the last sweep adds for it is taken out of the parts of the cluster.
template <class T, class S>
__device__ void pull(const LatticeCall<T, S>& c, int64_t id, int64_t p, Wide<S> slope,
                     const Wide<S>* normal) {
  using A = Wide<S>;
  const Site<S>& site = c.neighbours[p].site;
  const A x[3] = {widen(site.x), widen(site.y), widen(site.z)};
  for (int row = 0, k = 0; row < 3; ++row)
    for (int column = row; column < 3; ++column, ++k) {
      const A sum = warp_sum(slope * normal[row] * x[column]);
      if (lane_index() == 0) c.parts[id * blocks_of_cluster * n_parts + part_virial + k] += -sum;
    }
  for (int d = 0; d < 3 && lane_index() < c.boxes[id].count; ++d)
    c.gradient[3 * p + d] += slope * normal[d];
}

// Adds what the heights of a slab change, a warp for each cluster, a lane for each of its atoms.
template <int R, class T, class S>
__global__ void add_heights(LatticeCall<T, S> c, TailIntegrals flat) {
  using A = Wide<S>;
  const int64_t id = thread_index() / warp_lanes;
  if (c.state->bad || id >= c.atoms.clusters[c.n_atoms - 1]) return;
  const int64_t b = c.infos[id].system;
  if (c.frames[b].bad || c.frames[b].periodic_directions != 2) return;
  const bool member = lane_index() < c.boxes[id].count;
  const int64_t p = c.boxes[id].first + (member ? lane_index() : 0);
  const A damping[2] = {c.damping(b, 0), c.damping(b, 1)};
  const HeightSums<A> found = sum_heights<R>(c, id, p, damping, flat);
  const Periods<A> periods = periods_in(c, b);
  const A scale = A(-0.5) / periods.measure, both = scale + scale;  // pairs are met from both sides
  const A energy = scale * found.energy(damping);
  const A own[n_tail_sums] = {energy, scale * found.by_s6, scale * found.by_s8,
                              scale * found.stretch};
  A sums[n_tail_sums];
  for (int k = 0; k < n_tail_sums; ++k) sums[k] = warp_sum(member ? own[k] : A(0.0));
  if (lane_index() == 0) add_parts(c, id, periods, sums);
  if (member) c.energy[p] += energy;
  if (!c.in.gradients) return;
  if (member) c.neighbours[p].site.dcn += narrow<S>(both * found.dcn);
  pull(c, id, p, member ? both * found.slope : A(0.0), periods.normal);
}

template <int R, class T, class S> void add_tail(const LatticeCall<T, S>& c, cudaStream_t stream) {
  const TailTable table = tail_table(c.in.range.cutoff, c.in.range.width);
  const size_t shared = sizeof(Wide<S>) * n_tail_sums * (lattice_threads / warp_lanes);
  launch(sum_weights<R, T, S>, blocks_for(c.max_clusters * warp_lanes, lattice_threads),
         lattice_threads, 0, stream, c);
  launch(make_rows<R, T, S>, c.in.systems.n_systems, lattice_threads, shared, stream, c, table);
  launch(add_tail_to_atoms<R, T, S>, blocks_for(c.n_atoms, lattice_threads), lattice_threads, 0,
         stream, c);
  launch(measure_heights<T, S>, blocks_for(c.n_atoms, lattice_threads), lattice_threads, 0, stream,
         c);
  launch(add_heights<R, T, S>, blocks_for(c.max_clusters * warp_lanes, lattice_threads),
         lattice_threads, 0, stream, c, table.of[2]);
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

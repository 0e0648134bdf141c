// Everything the kernels of one evaluation share: inputs, scratch, results.
//
//   name        meaning
//   b, system   a system of the batch
//   i, atom     an atom in the caller's order
//   p, place    an atom in the sorted order: by system, species, then along the curve
//   id          a cluster; its atoms have places [first, first + count)
//   group       a species of a system: the upper bits of a key
#pragma once
#include "engine/cuda/lattice/lattice_cuda.h"
#include "engine/cuda/systems.cuh"

namespace d3 {

// Atoms of a cluster: one for each lane of a warp.
constexpr int cluster_atoms = 32;
// Central atoms of a block: 8, beside which a warp takes 4 neighbours at once.
constexpr int block_atoms = 8;
// Clusters of a super box, which is tested before they are: one for each lane of a warp.
constexpr int super_clusters = 32;
// Bits of a key, from the top: system, species, then three coordinates woven together. 63 bits less
// 7 and 33 leave 23 for the system.
constexpr int species_bits = 7;
constexpr int curve_bits = 11;
constexpr int group_shift = 3 * curve_bits, system_shift = group_shift + species_bits;

// The state of a whole call, zeroed before its first kernel.
struct LatticeState {
  unsigned bad;  // an index out of range
};

// The geometry of a system, with unit vectors along axes that are not periodic.
struct SystemFrame : Geometry {
  Vec3 origin;   // the first atom, wrapped; boxes are relative to it
  int cells[3];  // of the curve along each cell vector; 0 where it is not periodic
  unsigned bad;  // NaN, a singular cell, too many images: its atoms are left out
  // Two atoms on one spot: found while other blocks still count, so that no sweep may skip the
  // system for it.
  unsigned coincident;
  int periodic_directions;
  __device__ bool spoilt() const { return bad || coincident; }
};

// Bounding box relative to the system's origin, in single precision for the search.
struct alignas(16) ClusterBox {
  float centre[3];
  float half[3];
  int first;  // its atoms have places [first, first + count)
  int count;
};

// The rest of a cluster, which the search does not touch.
struct ClusterInfo {
  double centre[3];  // of its box
  int system;
  int species;
  int next;  // the first cluster of another species or system
};

// Bounding box of super_clusters clusters, whatever their systems.
struct alignas(16) SuperBox {
  float low[3];
  float high[3];
};

// An atom's position relative to the centre of its cluster, and dE/dCN of the total energy.
template <class X> struct alignas(16) Site {
  X x;
  X y;
  X z;
  X dcn;
};

// Everything that a pair reads of its neighbour, in one place: one address for all its loads.
template <class X> struct Neighbour {
  Site<X> site;
  SiteWeights<X> w;
};

// Sums of an atom over its triangles: energy without s9, and virial.
constexpr int n_three_body_parts = 1 + 6;

// One call, passed to every kernel by value.
template <class T, class S> struct LatticeCall : SystemsCall<T, S> {
  using Base = SystemsCall<T, S>;
  using A = Wide<S>;
  using Base::in;
  using Base::n_atoms;
  SortedAtoms atoms;
  int64_t max_clusters;  // bound on their number, which the host does not know
  int splits;            // blocks that share the neighbours of eight atoms

  LatticeState* state;
  SystemFrame* frames;  // (n_systems)
  ClusterBox* boxes;    // (max_clusters)
  ClusterInfo* infos;   // (max_clusters)
  SuperBox* supers;     // (max_clusters / super_clusters)

  // by place in the sorted order
  Neighbour<S>* neighbours;  // (n_atoms + cluster_atoms), finite also behind the last
  SiteWeights<S>* dw;        // (n_atoms), derivatives of the weights by CN
  A* cn;                     // (n_atoms)
  A* energy;                 // (n_atoms)
  A* c6;                     // (n_atoms)
  A* gradient;               // (n_atoms, 3)

  A* sums;              // (blocks, splits, columns, block_atoms) of the sweep at hand
  A* parts;             // (blocks, n_parts), see Part
  A* three_body_parts;  // (n_atoms, n_three_body_parts) with a three-body term
  A* tail_weights;      // (max_clusters, n_refs) with a tail: sums of the weights of its atoms
  A* tail_rows;         // (max_clusters, n_refs) with a tail: factors of the weights in the energy
  A* heights;           // (n_atoms) with a tail: those of the atoms of a slab

  // The range of a system: see Range::of.
  __device__ Range<T> range_of(int64_t system) const {
    Range<T> range = in.range;
    if (!range.tail || frames[system].periodic_directions > 0) return range;
    if (range.cutoff < T(every_pair)) range.cutoff = T(every_pair);
    range.width = T(0);
    return range;
  }

  // The clusters of a system are [first_cluster(b), first_cluster(b + 1)).
  __device__ int first_cluster(int64_t system) const {
    const int64_t place = in.systems.offsets[system];
    return place < n_atoms ? atoms.clusters[place] - 1 : atoms.clusters[n_atoms - 1];
  }
};

// Clusters, at most: full ones, and one more for each species of each system.
template <class T> int64_t cluster_bound(const LatticeInput<T>& in, int64_t n_atoms) {
  const int64_t species = in.tables.n_species < n_atoms ? in.tables.n_species : n_atoms;
  const int64_t bound = n_atoms / cluster_atoms + in.systems.n_systems * species + 1;
  return bound < n_atoms ? bound : n_atoms;
}

constexpr int blocks_of_cluster = cluster_atoms / block_atoms;

// Blocks of a sweep from which the neighbours of eight atoms need not be shared: as many as an H100
// holds at a time, 132 multiprocessors of four. An H200 was fastest with this number or its double
// where 1500 atoms reached 40 bohr and more, and with none shared for 1024 atoms to 15 A.
constexpr int64_t enough_blocks = 528;
constexpr int most_splits = 4;
// A power of two.
inline int splits_for(int64_t blocks) {
  int splits = 1;
  while (splits < most_splits && blocks * splits < enough_blocks) splits *= 2;
  return splits;
}

// Sums that a sweep keeps for each atom; those of the energies are in Column.
constexpr int count_columns = 2;               // coordination number, atoms on the same spot
constexpr int count_gradient_columns = 3 + 6;  // gradient, virial
// The most of them in a call.
template <class T> int columns_of(const LatticeInput<T>& in, bool dual) {
  if (dual || in.learn) return of_damping + in.n_damping();
  return in.gradients ? of_damping : count_columns;
}

// Cuts the scratch memory into the arrays of a call. Returns the bytes used; with a null start it
// only counts them.
template <class T, class S> size_t lay_out(LatticeCall<T, S>& c, void* start) {
  using A = Wide<S>;
  const int64_t n = c.n_atoms, m = c.max_clusters = cluster_bound(c.in, n);
  Arena arena(start);
  c.state = arena.take<LatticeState>(1);
  c.frames = arena.take<SystemFrame>(c.in.systems.n_systems);
  c.boxes = arena.take<ClusterBox>(m);
  c.infos = arena.take<ClusterInfo>(m);
  c.supers = arena.take<SuperBox>(blocks_for(m, super_clusters));
  c.neighbours = arena.take<Neighbour<S>>(n + cluster_atoms);
  c.dw = arena.take<SiteWeights<S>>(n);
  c.cn = arena.take<A>(n);
  c.energy = arena.take<A>(n);
  c.c6 = arena.take<A>(n);
  c.gradient = arena.take<A>(3 * n);
  c.splits = splits_for(blocks_of_cluster * m);
  c.sums = arena.take<A>(blocks_of_cluster * m * c.splits * columns_of(c.in, c.dual) * block_atoms);
  c.parts = arena.take<A>(n_parts * blocks_of_cluster * m);
  c.three_body_parts = arena.take<A>(c.in.three_body.cutoff > 0 ? n_three_body_parts * n : 0);
  const int64_t tail = c.in.range.tail ? max_refs * m : 0;
  c.tail_weights = arena.take<A>(tail);
  c.tail_rows = arena.take<A>(tail);
  c.heights = arena.take<A>(c.in.range.tail ? n : 0);
  return arena.used();
}

// The first place in [0, n) whose key is not below `key`.
__device__ inline int64_t first_place(const int64_t* keys, int64_t n, int64_t key) {
  int64_t low = 0, high = n;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (keys[middle] < key)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

// Threads of a block in kernels that take one thread, or one warp, for each item.
constexpr int lattice_threads = 128;

}  // namespace d3

// Everything the kernels on a given list of a batch share: inputs, scratch, results.
//
//   name         meaning
//   b, system    a system of the batch
//   i, atom      an atom; j: a neighbour
//   p            a pair as it is given
//   q            a directed pair, in the order of the list; from n_pairs on, in a half list, the
//                reverse of pair q - n_pairs
//   loose        whether directed pairs have to be looked up in `order`
#pragma once
#include "engine/cuda/pairs/list_cuda.h"
#include "engine/cuda/systems.cuh"

namespace d3 {

// Indices in either of their dtypes.
struct IndexColumn {
  const void* at;
  bool wide;
  __device__ int64_t operator[](int64_t p) const {
    return wide ? static_cast<const int64_t*>(at)[p] : static_cast<const int*>(at)[p];
  }
};

// The list as it is given.
template <class T> struct GivenPairs {
  IndexColumn centre;
  IndexColumn neighbour;
  const void* shifts;  // (n_pairs, 3)
  ShiftKind shift_kind;
  int64_t n_pairs;
  bool half;

  D3_HD int64_t n_directed() const { return half ? 2 * n_pairs : n_pairs; }
  __device__ int64_t centre_of(int64_t q) const {
    return q < n_pairs ? centre[q] : neighbour[q - n_pairs];
  }
  __device__ double shift(int64_t p, int axis) const {
    const int64_t k = 3 * p + axis;
    if (shift_kind == ShiftKind::int64) return double(static_cast<const int64_t*>(shifts)[k]);
    if (shift_kind == ShiftKind::int32) return double(static_cast<const int*>(shifts)[k]);
    return double(static_cast<const T*>(shifts)[k]);
  }
};

// A pair as its centre sees it.
struct DirectedPair {
  int64_t j;
  double shift[3];
  bool reversed;
};

// The state of a whole call, zeroed before its first kernel.
struct CallState {
  unsigned loose;  // centres do not rise
  unsigned bad;    // an index out of range
};

// Pairs of two atoms, and of an atom with its own images: of a half list, the ones may be there
// both ways round, and not the others.
constexpr int pair_kinds = 2;

// The geometry of a system, with unit vectors along axes that are not periodic; and what is found
// of its pairs.
struct ListFrame : Geometry {
  unsigned bad;                         // NaN, a singular cell, a pair that there cannot be
  unsigned any[pair_kinds];             // a pair that must have its reverse, or not have it
  unsigned long long hash[pair_kinds];  // of those pairs: 0 where every one has its reverse
  __device__ bool spoilt(bool half) const {
    if (!half) return bad || hash[0] || hash[1];
    return bad || (any[0] && !hash[0]) || (any[1] && !hash[1]);
  }
};

// What a pair reads of its neighbour beside the weights.
template <class A> struct alignas(16) ListSite {
  A x;
  A y;
  A z;
  int species;
  int system;
};

// Columns of results of the atoms: those of pair_sums.h.
constexpr int n_list_columns = of_damping + most_parameters;

// One call, passed to every kernel by value.
template <class T, class S> struct ListCall : SystemsCall<T, S> {
  using Base = SystemsCall<T, S>;
  using A = Wide<S>;
  using Base::n_atoms;
  GivenPairs<T> pairs;
  T reverse_reach2;  // squared distance up to which pairs must have their reverse
  T same2;           // and up to which atoms are on one spot

  CallState* state;
  ListFrame* frames;   // (n_systems)
  ListSite<A>* sites;  // (n_atoms)
  int* present;        // (n_species), whether it occurs
  int* rows;           // (n_atoms + 1), first directed pair of each atom in their order
  int* cursor;         // (n_atoms), pairs of each atom, then where the next one goes
  int* placed;         // (n_directed), pairs by centre
  int* order;          // (n_directed), the same, those of an atom rising
  SiteWeights<S>* w;   // (n_atoms)
  SiteWeights<S>* dw;  // (n_atoms), derivatives by CN
  S* dcn;              // (n_atoms), dE/dCN of the whole energy
  A* cn;               // (n_atoms)
  A* c6;               // (n_atoms)
  A* columns;          // (n_list_columns, n_atoms)

  __device__ bool loose() const { return pairs.half || state->loose; }
  __device__ A& column(int k, int64_t atom) const { return columns[k * n_atoms + atom]; }
  __device__ DirectedPair directed(int64_t q, bool loose) const {
    if (loose) q = order[q];
    const bool reversed = q >= pairs.n_pairs;
    const int64_t p = reversed ? q - pairs.n_pairs : q;
    const double sign = reversed ? -1.0 : 1.0;
    return {reversed ? pairs.centre[p] : pairs.neighbour[p],
            {sign * pairs.shift(p, 0), sign * pairs.shift(p, 1), sign * pairs.shift(p, 2)},
            reversed};
  }
};

// Cuts the scratch memory into the arrays of a call. Returns the bytes used; with a null start it
// only counts them.
template <class T, class S> size_t lay_out(ListCall<T, S>& c, void* start) {
  using A = Wide<S>;
  const int64_t n = c.n_atoms, directed = c.pairs.n_directed();
  Arena arena(start);
  c.state = arena.take<CallState>(1);
  c.frames = arena.take<ListFrame>(c.in.systems.n_systems);
  c.sites = arena.take<ListSite<A>>(n);
  c.present = arena.take<int>(c.in.tables.n_species);
  c.rows = arena.take<int>(n + 1);
  c.cursor = arena.take<int>(n);
  c.placed = arena.take<int>(directed);
  c.order = arena.take<int>(directed);
  c.w = arena.take<SiteWeights<S>>(n);
  c.dw = arena.take<SiteWeights<S>>(n);
  c.dcn = arena.take<S>(n);
  c.cn = arena.take<A>(n);
  c.c6 = arena.take<A>(n);
  c.columns = arena.take<A>(n_list_columns * n);
  return arena.used();
}

// Threads of a block in kernels that take one thread for each item, and blocks of such a kernel
// over the pairs, at most: 8 for each of the 132 multiprocessors of an H100, which fill it.
constexpr int list_threads = 256;
constexpr int64_t most_list_blocks = 1056;

// Launches the kernels that read the cells, the atoms and the indices, and put the pairs in order:
// list_order.cu.
template <class T, class S> void prepare_list(const ListCall<T, S>& c, cudaStream_t stream);

}  // namespace d3

// Between the sweeps over a list and the kernels of one instruction set: what a kernel reads of the
// batch, of a row and of its species, and the memory in which it sorts the pairs of a row.
#pragma once
#include <cstdint>

#include "engine/lattice/lattice.h"
#include "engine/pairs/list.h"
#include "engine/pairs/list_directions.h"
#include "engine/pairs/rows.h"

namespace d3 {

// Numbers of an atom, which its neighbours read in one piece: position, and what the sweep asks
// for, the covalent radius or the place of the species among those present; or the tangents of the
// position.
template <class T> struct alignas(4 * sizeof(T)) AtomRecord {
  T x[3];
  T kind;
};

// Where neighbours and shifts of a list are, and how they are stored.
struct ListColumns {
  const void* neighbour;
  bool wide;  // neighbours are int64, else int32
  const void* shifts;
  ShiftKind kind;
  int64_t n_pairs;
};

// What all rows read.
template <class T> struct ListAtoms {
  ListColumns list;
  const AtomRecord<T>* records;
  const AtomRecord<T>* t_records;  // tangents; null unless dual
  ClusterRows<T> weights;          // (n_atoms, row_numbers)
  ClusterRows<T> dcn;              // (n_atoms), dE/dCN
  T cutoff2;                       // of the sweep
  T same2;                         // squared distance up to which two atoms are on one spot
  T reverse2;                      // squared distance up to which directions are summed up
};

// A row: a centre, its pairs, its system.
template <class S> struct ListRow {
  int64_t begin, end;  // its pairs
  int64_t atom;
  int64_t first, n;          // atoms of the system
  const Wide<S> (*cell)[3];  // 0 along axes that are not periodic
  const bool* periodic;
  const int32_t* place;  // of each slot among the species of the system
};

// A species of the neighbours, as the centre sees it.
template <class S> struct ListSlot {
  int slot;  // as in AtomRecord
  int n_refs;
  Damping<S> damping;
  C6Row<S> row;
};

// Pairs that are worked on together: their columns take the same room in any precision.
template <class T> constexpr int pairs_of_block = list_block * int(sizeof(double) / sizeof(T));

// Pairs of a row side by side: vectors, or squared distances in the first column; sums of covalent
// radii; and the neighbours, counted from the first atom of the system. Where energies are summed
// up, each species has a bucket of its own.
template <class T, bool dual> struct alignas(register_bytes) Bucket {
  static constexpr int room = pairs_of_block<T> + 2 * register_bytes / int(sizeof(T));
  T values[3][room];
  T tangents[dual ? 3 : 1][dual ? room : 1];
  T rc[room];
  int32_t neighbour[room];
  int n;
};

// What the sweep that counts finds besides the coordination number.
struct Found {
  Direction<uint32_t> directions{};  // see list_directions.h
  bool bad = false;                  // some pair is wrong; the sums mean nothing
};

// The kernels of the three sweeps. Each handles one row and overwrites the sums of its centre, see
// LatticeKernels; the one of the energies has n species, with a bucket each.
template <class T, class S, class A> struct ListKernels {
  using Buckets = Bucket<T, !std::is_same_v<S, T>>*;
  void (*count)(const ListAtoms<T>&, const ListRow<S>&, Buckets, A& cn, Found&);
  void (*energy[n_forms])(const ListAtoms<T>&, const ListRow<S>&, const ListSlot<S>*, int n,
                          Buckets, Cutoff<T>, EnergyMode, EnergySums<A>&);
  void (*count_gradient)(const ListAtoms<T>&, const ListRow<S>&, Buckets, S dcn, EnergySums<A>&);
};

}  // namespace d3

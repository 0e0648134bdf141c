// What the vectorised loops over the rows of a pair list read and write. A row is the pairs of one
// centre, which stand together in a sorted list; a slot is a species that is present, counted from
// 0; a table of rows has eight numbers (a cache line of doubles) for each atom or slot.
//
//   name       shape                     meaning
//   slot       (n_atoms)                 the slot of each atom; -1: the atom is not there
//   rcov       (n_atoms)                 its covalent radius
//   dcn        (n_atoms)                 dE/dCN of the whole, in the sweep that needs it
//   w, dw      (n_atoms, 8)              its weights and their derivatives by its CN
//   c6_ref     (n_slots, n_slots, 7, 8)  C6 of the references of two species
//   constants  (n_slots, n_constants, n_padded)  Damping of two species
#pragma once
#include <cstdint>

#include "engine/formulas/pair_sums.h"

namespace d3 {

constexpr int row_numbers = 8;  // of an atom or a slot in a table of rows

// An array of numbers and one of their tangents, which is null unless dual.
template <class T> struct Numbers {
  const T* values;
  const T* tangents;
};

// A list of pairs as hosts store it: V float or double, I int32_t or int64_t.
template <class V, class I> struct RowList {
  const V* vectors;   // (n_pairs, 3)
  const V* tangents;  // (n_pairs, 3), null unless dual
  const I* centre;    // (n_pairs)
  const I* neighbour;
  int64_t n_atoms;
};

// The atoms and tables, see above; aligned to 64 bytes, with tangents where the sweep is dual.
template <class T> struct RowAtoms {
  const int32_t* slot;
  const T* rcov;
  Numbers<T> w, dw;
  Numbers<T> constants;
  const T* c6_ref;
  int n_slots;
  int n_padded;  // n_slots, rounded up to a register
  bool absent;   // some slot is -1
};

// Pairs [begin, end) to work on. A kernel does whole rows and stops after the row in which it has
// done `most` pairs, and says where. It reads list.centre[begin - 1] where begin > 0.
struct RowSpan {
  int64_t begin, end, most;
};

// How a kernel ended: all is well, or a row is lower than the one before, or an atom is out of
// range, or a vector has length 0: its results then mean nothing. Or the next row is too long for
// the memory that the kernel was given.
struct RowEnd {
  enum Kind { good, unsorted, bad, long_row };
  Kind kind;
  int64_t next;  // pair to go on at
};

// Coordination numbers, and the gradient of sum_i grad_cn_i CN_i by the vectors; what is null is
// not wanted. In a dual sweep, their tangents.
template <class T, class V> struct CountJob {
  T cutoff;
  const T* grad_cn;  // (n_atoms)
  double* cn;        // (n_atoms), written for the centres
  V* grad_vectors;   // (n_pairs, 3)
};

// Energies E_i and what moves them. In a dual sweep, tangents of all of it.
template <class T, class V> struct EnergyJob {
  Cutoff<T> cutoff;
  EnergyMode mode;
  const T* grad_energy;  // (n_atoms); null: 1 for every centre
  double* energy;        // (n_atoms), written for the centres; null: not wanted
  double* by_cn;         // (n_atoms), grad_energy_i dE_i/dCN_i, added to that of the centres
  double*
      by_neighbour;  // (n_atoms), grad_energy_i dE_i/dCN_j, added; may be by_cn; null: not wanted
  double* damping;   // (most_parameters), added to, in the mode that learns
  V* grad_vectors;   // (n_pairs, 3), written; null with the mode of energies alone
  T* c6;             // (4, n_slots, 8), memory of the kernel
};

// The kernels of one instruction set, for lists stored in V and I, on numbers in T.
template <class T, class V, class I> struct RowKernels {
  using Count = RowEnd (*)(const RowList<V, I>&, const RowAtoms<T>&, const CountJob<T, V>&,
                           RowSpan);
  using Energy = RowEnd (*)(const RowList<V, I>&, const RowAtoms<T>&, const EnergyJob<T, V>&,
                            RowSpan);
  Count count;
  Energy energy[n_forms];
};

// Energies and forces of the centres that a process owns: see owned.h.
template <class T, class V> struct OwnedJob {
  Cutoff<T> cutoff;
  T cn_cutoff;
  double* energy;       // (n_atoms), written for the centres
  V* forces;            // (n_pairs, 3), written; or null
  double* atom_forces;  // (n_atoms, 3), added to where `forces` is null
  T* c6;                // (4, n_slots, 8), memory of the kernel
  T* factors;           // (room), the same
  int64_t room;         // pairs of the longest row
};

template <class T, class V, class I> struct OwnedKernels {
  using Forces = RowEnd (*)(const RowList<V, I>&, const RowAtoms<T>&, const OwnedJob<T, V>&,
                            RowSpan);
  typename RowKernels<T, V, I>::Count count;
  Forces forces[n_forms];
};

}  // namespace d3

// What a process that owns some atoms needs of the pairs of these, which its host has sorted by
// centre: coordination numbers before an exchange with the other processes, energies and forces
// behind it. An atom of species -1 is not there: its pairs do not count.
//
// V is what vectors and forces are stored in, T the arithmetic (float reads either, double reads
// double), I the integer of the indices.
#pragma once
#include <cstdint>

#include "engine/api.h"
#include "engine/formulas/damping.h"
#include "engine/types.h"

namespace d3 {

class Watch;  // see watch.h

template <class V, class I> struct OwnedPairs {
  const V* vectors;        // (n_pairs, 3)
  const I* centre;         // (n_pairs), never falling
  const I* neighbour;      // (n_pairs)
  const int64_t* species;  // (n_atoms), index into the tables, or -1
  int64_t n_pairs;
  int64_t n_atoms;
};

template <class T, class V, class I> struct OwnedInput {
  OwnedPairs<V, I> list;
  Tables<T> tables;  // rcov set
  const T* cn;       // (n_atoms)
  const T* damping;  // see DampingForm
  T cutoff, cn_cutoff, width;
  int threads;
  Watch* watch = nullptr;
  DampingForm form = DampingForm::rational;
  InstructionSet instruction_set = InstructionSet::best;
};

// What is wrong with a list, at its first pair where it is so; then results mean nothing.
struct OwnedFault {
  enum Kind { none, index, length_zero, unsorted, stopped };
  Kind kind = none;
  int64_t pair = -1;
};

template <class T, class V, class I> struct D3_API Owned {
  // cn (n_atoms) within cn_cutoff; cn, damping and cutoff of the input are not used.
  static OwnedFault coordination_numbers(const OwnedInput<T, V, I>& in, T* cn);

  // energies (n_atoms), E_i = -1/2 sum_j C6_ij g_ij, and forces (n_pairs, 3),
  // f_ij = [-1/2 C6_ij g'_ij + D_i c'_ij] r_ij / r with D_i = -sum_j dC6_ij/dCN_i g_ij.
  static OwnedFault energies_and_forces(const OwnedInput<T, V, I>& in, T* energies, V* forces);

  // The same, with f_ij added to row i and taken from row j of atom_forces (n_atoms, 3).
  static OwnedFault energies_adding_forces(const OwnedInput<T, V, I>& in, T* energies,
                                           double* atom_forces);
};

}  // namespace d3

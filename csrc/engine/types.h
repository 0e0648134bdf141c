// The values that cross the walls of the engine: raw pointers and sizes, nothing of torch, the same
// on a CPU and on a GPU. T is float or double.
//
// Signs: a pair vector points from the centre i to the neighbour j, r_ij = x_j - x_i + S . cell
// with lattice vectors as the rows of cell; forces are minus the gradients, and the virial is the
// sum of r (x) dE/dr over the pairs, which is the derivative of the energy by a strain.
//
// Units are the caller's: positions, cells and cutoffs in one length, C6 in its energy and length.
//
// Template parameters mean the same in the whole engine:
//   T  float or double: what inputs and results are stored in
//   S  the scalar that the lattice kernels work on: T, or Dual<T> for second derivatives
//   A  the scalar of sums: double, or Dual<double>
//   X  any number type of the formulas: T, Dual<T>, a SIMD register, a Dual of registers
//   V  in formulas, the plain type inside X; in a pair list, where inputs are read from
//      (PlainInput or DualInput)
//   K  the kind of SIMD evaluation, PlainRegisters or DualRegisters; it names S, X and A
//   R  a number of references that a loop is compiled for
//   F  a function to be called
#pragma once
#include <cstdint>

#include "engine/tuning.h"

namespace d3 {

constexpr int max_refs = 7;  // references of an element in the published tables; checked by the ops

// Instruction sets that the kernels are compiled for; `best` is the widest that the processor has.
enum class InstructionSet { best, avx512, avx2, baseline };

// Structures of a batch, their atoms one after the other.
template <class T> struct Systems {
  const T* positions;      // (n_atoms, 3)
  const T* cell;           // (n_systems, 3, 3), rows are lattice vectors
  const bool* pbc;         // (n_systems, 3)
  const int64_t* species;  // (n_atoms), index into the tables
  const int64_t* offsets;  // (n_systems + 1), first atom of each system
  int64_t n_systems;
};

// A directed list of pairs, in any order; no reverse pair is assumed.
template <class T> struct Pairs {
  const T* vectors;          // (n_pairs, 3)
  const int64_t* centre;     // (n_pairs)
  const int64_t* neighbour;  // (n_pairs)
  const int64_t* species;    // (n_atoms), index into the tables
  int64_t n_pairs;
  int64_t n_atoms;
};

// Data of the elements.
template <class T> struct Tables {
  const T* rcov;    // (n_species), covalent radii with the 4/3; null where only energies are asked
  const T* r4r2;    // (n_species), Q
  const T* cn_ref;  // (n_species, n_refs), padding < 0
  const T* c6_ref;  // (n_species, n_species, n_refs, n_refs)
  int n_species;
  int n_refs;
  const T* radii = nullptr;  // (n_species, n_species), r0; null where nothing needs them
};

// Distance, in any unit of length, up to which a molecule has all its pairs where there is a tail:
// no molecule is larger, and the eighth power of it is still a float.
constexpr double every_pair = 1e4;

// How far the dispersion reaches.
template <class T> struct Range {
  T cutoff;     // of the energy
  T cn_cutoff;  // of the coordination number
  T width;      // of the smooth switch before the cutoff; 0 cuts off hard
  bool tail;    // add the energy of a homogeneous continuation beyond the cutoff: see tail.h

  constexpr T farthest() const { return cutoff > cn_cutoff ? cutoff : cn_cutoff; }

  // Distance up to which two atoms are on one spot, whatever is summed.
  constexpr T same_spot() const { return T(same_spot_distance) * farthest(); }

  // That of a system: with a tail, a molecule has all its pairs, which leaves nothing beyond.
  Range of(bool molecule) const {
    if (!tail || !molecule) return *this;
    return {cutoff > T(every_pair) ? cutoff : T(every_pair), cn_cutoff, T(0), tail};
  }
};

// How far the three-body term reaches.
template <class T> struct ThreeBody {
  T cutoff = 0;  // of all three distances; 0: there is no such term
  T width = 0;   // of its smooth switch; 0 cuts off hard
};

// Everything that is known of a batch of structures.
template <class T> struct Evaluation {
  T* energy;    // (n_systems)
  T* energies;  // (n_atoms), the share of each atom
  T* cn;        // (n_atoms)
  T* c6;        // (n_atoms), of each atom with its like
  T* gradient;  // (n_atoms, 3), dE/dx
  T* virial;    // (n_systems, 3, 3)
  T* cell;      // (n_systems, 3, 3), dE/dcell at fixed positions, 0 along axes without pbc
  T* damping;   // (n_systems, n_damping), dE/d(damping)
};

// Energies of the centres of a list, and what moves each of them.
template <class T> struct ByCentre {
  T* energies;  // (n_atoms), E_i
  T* by_cn;     // (n_atoms), dE_i/dCN_i, the CN of the neighbours held
  T* vectors;   // (n_pairs, 3), dE_i/dr_ij
};

}  // namespace d3

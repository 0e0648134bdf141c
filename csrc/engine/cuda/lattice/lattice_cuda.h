// The lattice engine on the GPU: device pointers, a stream and one block of scratch memory in,
// launches out; nothing waits and no pair is stored. Atoms are sorted along a curve through space,
// by system and species first; up to 32 neighbours on the curve make a cluster. A block takes eight
// atoms of a cluster and meets all clusters and images within the cutoff, or where there are few
// atoms a share of them; each block writes only its own sums: no atomics, so that results repeat to
// the last bit. The caller sorts and counts in between: `keys`, a stable sort, `starts`, a running
// sum, `evaluate`. With gradients these are thirteen kernels (five more with the tail) and two
// fills of memory, beside what the sort and the running sum launch. Values cannot be refused
// without waiting for the GPU: a system with NaN positions, atoms on one spot, a singular cell or
// too many images comes out as NaN, and everything does where a species or an offset is out of
// range.
#pragma once
#include "engine/api.h"
#include "engine/cuda/stream.h"
#include "engine/lattice/lattice.h"

namespace d3 {

// Species and systems that a key has room for; see species_bits in lattice_call.cuh.
constexpr int64_t lattice_species = 128;
constexpr int64_t lattice_systems = int64_t(1) << 23;

// The atoms in the order of their keys; the index into these arrays is an atom's place.
struct SortedAtoms {
  const int64_t* keys;   // (n_atoms), rising
  const int64_t* order;  // (n_atoms), atom at each place
  const int* clusters;   // (n_atoms), running sum of `starts`: 1 + the cluster at each place
};

// Gradients by the inputs.
template <class T> struct ScaledGradients {
  T* positions;  // (n_atoms, 3)
  T* cell;       // (n_systems, 3, 3)
  T* damping;    // (n_systems, n_damping)
};

// The engine; results as in engine/lattice/lattice.h. `scratch` says how many bytes of memory a
// call takes, which the caller keeps from `keys` to `evaluate`.
template <class T> struct D3_API CudaLattice {
  static size_t scratch(const LatticeInput<T>& in, int64_t n_atoms, bool dual);
  static void keys(const LatticeInput<T>& in, int64_t n_atoms, void* scratch, cudaStream_t stream,
                   int64_t* keys);
  static void starts(const int64_t* sorted, int64_t n_atoms, cudaStream_t stream, int* starts);
  static void evaluate(const LatticeInput<T>& in, const LatticeTangents<T>* tangents,
                       int64_t n_atoms, SortedAtoms sorted, void* scratch, cudaStream_t stream,
                       const Evaluation<T>& out);
  // Multiplies the gradients of every system, by its positions, cell and damping, with a number of
  // the system.
  static void scale(const int64_t* offsets, int64_t n_systems, int64_t n_atoms, int n_damping,
                    const T* by, const ScaledGradients<const T>& from, cudaStream_t stream,
                    const ScaledGradients<T>& to);
};

}  // namespace d3

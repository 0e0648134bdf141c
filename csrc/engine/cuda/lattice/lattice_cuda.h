// The lattice engine on the GPU: device pointers, a stream and one block of scratch memory in,
// launches out; nothing waits and no pair is stored. Atoms are sorted along a curve through space,
// by system and species first; up to 32 neighbours on the curve make a cluster. A block takes eight
// atoms of a cluster and meets all clusters and images within the cutoff; each atom sums over them
// and writes only its own slot: no atomics, so that results repeat to the last bit. The caller
// sorts and counts in between: `keys`, a stable sort, `starts`, a running sum, `evaluate`. With
// gradients these are eleven kernels (three more with the tail) and two fills of memory, beside
// what the sort and the running sum launch. Values cannot be refused without waiting for the GPU: a
// system with NaN positions, atoms on one spot, a singular cell or a tail without three periodic
// directions comes out as NaN, and everything does where a species or an offset is out of range.
#pragma once
#include <cuda_runtime_api.h>

#include "engine/lattice/lattice.h"

namespace d3 {

constexpr int64_t lattice_species = 128, lattice_systems = int64_t(1)
                                                           << 23;  // what a key has room for

// What the caller made of the keys.
struct SortedAtoms {
  const int64_t* keys;
  const int64_t* order;  // atom at each place
  const int* clusters;   // running sum of `starts`
};

template <class T> struct ScaledGradients {
  T *positions, *cell, *damping;  // (n_atoms, 3), (n_systems, 3, 3), (n_systems, 4)
};

template <class T> struct CudaLattice {
  static size_t scratch(const LatticeInput<T>& in, int64_t n_atoms, bool dual);
  static void keys(const LatticeInput<T>& in, int64_t n_atoms, void* scratch, cudaStream_t stream,
                   int64_t* keys);
  static void starts(const int64_t* sorted, int64_t n_atoms, cudaStream_t stream, int* starts);
  static void evaluate(const LatticeInput<T>& in, const LatticeTangents<T>* tangents,
                       int64_t n_atoms, SortedAtoms sorted, void* scratch, cudaStream_t stream,
                       const LatticeOutput<T>& out);
  // Gradients of every system, of its atoms, cell and damping, times a number of the system.
  static void scale(const int64_t* offsets, int64_t n_systems, int64_t n_atoms, const T* by,
                    const ScaledGradients<const T>& from, cudaStream_t stream,
                    const ScaledGradients<T>& to);
};

}  // namespace d3

// Plain structs and launchers: raw pointers, sizes and a thread count, nothing of torch.
// T is float or double. The pair list is directed: centre i, neighbour j, vector x_j - x_i (+
// lattice shift), in any order; no reverse pair is assumed. Sums run in double and in an order that
// the thread count does not change.
#pragma once
#include <cstdint>

namespace d3 {

class Watch;  // see watch.h; null where nobody asks for the work to stop

template <class T> struct PairList {
  const T* vectors;          // (n_pairs, 3)
  const int64_t* centre;     // (n_pairs)
  const int64_t* neighbour;  // (n_pairs)
  const int64_t* species;    // (n_atoms)
  int64_t n_pairs, n_atoms;
};

template <class T> struct Tables {
  const T* r4r2;    // (n_species)
  const T* cn_ref;  // (n_species, n_refs), padding < 0
  const T* c6_ref;  // (n_species, n_species, n_refs, n_refs)
  int n_species, n_refs;
};

template <class T> struct CountingInput {
  PairList<T> list;
  const T* rcov;  // (n_species)
  int n_species;
  T cutoff;
  int threads;
  Watch* watch = nullptr;
};

template <class T> struct EnergyInput {
  PairList<T> list;
  const T* cn;       // (n_atoms)
  const T* damping;  // s6 s8 a1 a2
  Tables<T> tables;
  T cutoff, width;
  int threads;
  Watch* watch = nullptr;
};

// Directions for second derivatives, of the shapes of vectors, cn and damping.
template <class T> struct EnergyTangents {
  const T *vectors, *cn, *damping;
};

template <class T> struct EnergyGradients {
  T *vectors, *cn, *damping;
};

// Index of the first pair that names an atom outside [0, n_atoms), or -1.
int64_t first_bad_pair(const int64_t* centre, const int64_t* neighbour, int64_t n_pairs,
                       int64_t n_atoms, int threads);

// The kernels return the index of the first pair whose vector has length 0, or -1. Then, and when
// the watch stopped them, their results mean nothing.
template <class T> struct Counting {
  static int64_t forward(const CountingInput<T>& in, T* cn);
  static int64_t backward(const CountingInput<T>& in, const T* grad_cn, T* grad_vectors);
  static int64_t double_backward(const CountingInput<T>& in, const T* grad_cn,
                                 const T* tangent_vectors, T* grad_grad_cn, T* grad_vectors);
};

template <class T> struct Energy {
  static int64_t forward(const EnergyInput<T>& in, T* energy);
  // E_i with dE_i/dCN_i, which leaves out the CN of the neighbours, and dE_i/dr_ij.
  static int64_t by_centre(const EnergyInput<T>& in, T* energy, T* by_cn, T* by_vectors);
  static int64_t backward(const EnergyInput<T>& in, const T* grad_energy, EnergyGradients<T> out);
  static int64_t double_backward(const EnergyInput<T>& in, const T* grad_energy,
                                 EnergyTangents<T> tangents, T* grad_grad_energy,
                                 EnergyGradients<T> out);
};

}  // namespace d3

// The kernels on a given list of pairs. Sums run in double and in an order that the thread count
// does not change.
#pragma once
#include <cstdint>

#include "engine/api.h"
#include "engine/formulas/damping.h"
#include "engine/types.h"

namespace d3 {

class Watch;  // see watch.h; null where nobody asks for the work to stop

// Inputs of the coordination numbers.
template <class T> struct CountingInput {
  Pairs<T> list;
  const T* rcov;  // (n_species)
  int n_species;
  T cutoff;
  int threads;
  Watch* watch = nullptr;
  InstructionSet instruction_set = InstructionSet::best;
};

// Inputs of the energies.
template <class T> struct EnergyInput {
  Pairs<T> list;
  const T* cn;       // (n_atoms)
  const T* damping;  // see DampingForm
  Tables<T> tables;
  T cutoff;
  T width;  // of the switch before the cutoff; 0 cuts off hard
  int threads;
  Watch* watch = nullptr;
  DampingForm form = DampingForm::rational;
  InstructionSet instruction_set = InstructionSet::best;
};

// Directions for second derivatives, of the shapes of vectors, cn and damping.
template <class T> struct EnergyTangents {
  const T* vectors;
  const T* cn;
  const T* damping;
};

// Gradients by vectors (n_pairs, 3), cn (n_atoms) and damping.
template <class T> struct EnergyGradients {
  T* vectors;
  T* cn;
  T* damping;
};

// Coordination numbers. backward gives the gradient of sum_i grad_cn_i CN_i by the vectors;
// double_backward the derivatives of that gradient along the tangents, and of CN.
//
// The kernels return the index of the first pair that is wrong, or -1: it names an atom outside of
// [0, n_atoms), or its vector has length 0. Then, and when the watch stopped them, their results
// mean nothing. Species are taken as they are.
template <class T> struct D3_API Counting {
  static int64_t forward(const CountingInput<T>& in, T* cn);
  static int64_t backward(const CountingInput<T>& in, const T* grad_cn, T* grad_vectors);
  static int64_t double_backward(const CountingInput<T>& in, const T* grad_cn,
                                 const T* tangent_vectors, T* grad_grad_cn, T* grad_vectors);
};

// Energies E_i = -1/2 sum_j C6_ij g(r_ij) of the atoms, with the coordination numbers as inputs.
// backward and double_backward are as above, for sum_i grad_energy_i E_i.
template <class T> struct D3_API Energy {
  static int64_t forward(const EnergyInput<T>& in, T* energy);
  // E_i with dE_i/dCN_i, which leaves out the CN of the neighbours, and dE_i/dr_ij.
  static int64_t by_centre(const EnergyInput<T>& in, ByCentre<T> out);
  static int64_t backward(const EnergyInput<T>& in, const T* grad_energy, EnergyGradients<T> out);
  static int64_t double_backward(const EnergyInput<T>& in, const T* grad_energy,
                                 EnergyTangents<T> tangents, T* grad_grad_energy,
                                 EnergyGradients<T> out);
};

}  // namespace d3

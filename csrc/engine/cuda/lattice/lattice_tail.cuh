// The tail correction of an evaluation, after its energies and before the gradient through its
// coordination numbers.
#pragma once
#include "engine/cuda/lattice/lattice_call.cuh"

namespace d3 {

// Adds the tail to energies, dE/dCN and parts. The tables' rows are R long.
template <int R, class T, class S> void add_tail(const LatticeCall<T, S>& c, cudaStream_t stream);

}  // namespace d3

// The three-body term on the GPU: see lattice_three_body.cu.
#pragma once
#include "engine/cuda/lattice/lattice_call.cuh"

namespace d3 {

// Adds the three-body energies, slopes and gradients of all atoms, and the sums of their blocks, to
// those of the pairs: after the sweep over energies, before that through the coordination numbers.
template <int R, class T, class S>
void add_three_body(const LatticeCall<T, S>& c, cudaStream_t stream);

}  // namespace d3

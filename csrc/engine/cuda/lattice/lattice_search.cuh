// The clusters of an evaluation, from its sorted keys.
#pragma once
#include "engine/cuda/lattice/lattice_call.cuh"

namespace d3 {

template <class T, class S> void find_clusters(const LatticeCall<T, S>& c, cudaStream_t stream);

}  // namespace d3

// Backward of the lattice engine: the gradients of each system's energy, times the gradient of the
// loss by that energy.
#include "engine/cuda/lattice/lattice_call.cuh"

namespace d3 {

// A thread for each number: 3 of each atom, then 9 of each cell, then those of each damping.
template <class T>
__global__ void scale_gradients(const int64_t* offsets, int64_t n_systems, int64_t n_atoms,
                                int n_damping, const T* by, ScaledGradients<const T> from,
                                ScaledGradients<T> to) {
  const int64_t t = thread_index(), by_cell = t - 3 * n_atoms, by_damping = by_cell - 9 * n_systems;
  if (by_cell < 0)
    to.positions[t] = by[system_of(offsets, n_systems, t / 3)] * from.positions[t];
  else if (by_damping < 0)
    to.cell[by_cell] = by[by_cell / 9] * from.cell[by_cell];
  else if (by_damping < n_damping * n_systems)
    to.damping[by_damping] = by[by_damping / n_damping] * from.damping[by_damping];
}

template <class T>
void CudaLattice<T>::scale(const int64_t* offsets, int64_t n_systems, int64_t n_atoms,
                           int n_damping, const T* by, const ScaledGradients<const T>& from,
                           cudaStream_t stream, const ScaledGradients<T>& to) {
  launch(scale_gradients<T>, blocks_for(3 * n_atoms + (9 + n_damping) * n_systems, lattice_threads),
         lattice_threads, 0, stream, offsets, n_systems, n_atoms, n_damping, by, from, to);
}

template void CudaLattice<float>::scale(const int64_t*, int64_t, int64_t, int, const float*,
                                        const ScaledGradients<const float>&, cudaStream_t,
                                        const ScaledGradients<float>&);
template void CudaLattice<double>::scale(const int64_t*, int64_t, int64_t, int, const double*,
                                         const ScaledGradients<const double>&, cudaStream_t,
                                         const ScaledGradients<double>&);

}  // namespace d3

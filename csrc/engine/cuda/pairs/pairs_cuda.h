// Pair ops on the GPU: device pointers, a stream and one block of scratch memory in, launches out;
// nothing waits. A list that is sorted by centre is gathered, a warp for each atom: no atomics, the
// same to the last bit every time. What goes to the neighbour of a pair (dE/dCN_j) is gathered from
// the reverse pair where the list holds the reverse of every pair, which is found out by a hash;
// otherwise, and in lists that are not sorted, sums are atomic additions in double precision, whose
// last bits may differ from one run to the next. Values cannot be refused without waiting for the
// GPU: an index out of range makes all sums NaN.
#pragma once
#include "engine/api.h"
#include "engine/cuda/stream.h"
#include "engine/pairs/kernels.h"

namespace d3 {

// Species, at most: a row of constants for each is in shared memory.
constexpr int cuda_species = 128;

// The kernels of engine/pairs/kernels.h on the GPU; `scratch` says how many bytes of memory a call
// takes.
template <class T> struct D3_API CudaCounting {
  static size_t scratch(const CountingInput<T>& in);
  static void forward(const CountingInput<T>& in, void* scratch, cudaStream_t stream, T* cn);
  static void backward(const CountingInput<T>& in, cudaStream_t stream, const T* grad_cn,
                       T* grad_vectors);
  static void double_backward(const CountingInput<T>& in, void* scratch, cudaStream_t stream,
                              const T* grad_cn, const T* tangent_vectors, T* grad_grad_cn,
                              T* grad_vectors);
};

template <class T> struct D3_API CudaEnergy {
  static size_t scratch(const EnergyInput<T>& in);
  static void forward(const EnergyInput<T>& in, void* scratch, cudaStream_t stream, T* energy);
  static void by_centre(const EnergyInput<T>& in, void* scratch, cudaStream_t stream,
                        ByCentre<T> out);
  static void backward(const EnergyInput<T>& in, void* scratch, cudaStream_t stream,
                       const T* grad_energy, EnergyGradients<T> out);
  static void double_backward(const EnergyInput<T>& in, void* scratch, cudaStream_t stream,
                              const T* grad_energy, EnergyTangents<T> tangents, T* grad_grad_energy,
                              EnergyGradients<T> out);
};

}  // namespace d3

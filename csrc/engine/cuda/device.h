// Launches of kernels, scratch memory, and sums over a warp. Includes nothing of torch: tests
// compile the kernels with a C++ compiler against a stand-in of the CUDA runtime and run them on
// the CPU.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

#include "engine/formulas/dual.h"

namespace d3 {

template <> constexpr bool fast_reciprocal<float> = true;

constexpr int warp_lanes = 32;
constexpr unsigned all_lanes = 0xffffffffu;
constexpr size_t shared_bytes = 48 << 10;  // what every card grants a block without being asked

// Throws if a call of the CUDA runtime failed.
inline void check_cuda(cudaError_t error) {
  if (error != cudaSuccess)
    throw std::runtime_error(std::string("d3torch: expected a CUDA kernel to start, got: ") +
                             cudaGetErrorString(error) + ".");
}

// Launches a kernel on a stream; `shared` bytes of dynamic shared memory. Without blocks it does
// nothing, which CUDA would refuse.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), int64_t blocks, int threads, size_t shared,
            cudaStream_t stream, Arguments&&... arguments) {
  if (blocks <= 0) return;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(unsigned(blocks));
  config.blockDim = dim3(unsigned(threads));
  config.dynamicSmemBytes = shared;
  config.stream = stream;
  check_cuda(cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...));
}

// Blocks that n items take at per_block items each.
D3_HD inline int64_t blocks_for(int64_t n, int per_block) {
  return (n + per_block - 1) / per_block;
}

// Cuts one allocation into arrays, each on a boundary of 256 bytes; with a null start it only adds
// up.
class Arena {
 public:
  explicit Arena(void* start) : start_(static_cast<char*>(start)) {}
  template <class T> T* take(int64_t n) {
    const size_t at = used_;
    used_ = (used_ + size_t(n) * sizeof(T) + 255) / 256 * 256;
    return reinterpret_cast<T*>(start_ + at);
  }
  size_t used() const { return used_; }

 private:
  char* start_;
  size_t used_ = 0;
};

// The dynamic shared memory of a block, as T.
template <class T> __device__ inline T* shared_memory() {
  extern __shared__ double dynamic_shared[];
  return reinterpret_cast<T*>(dynamic_shared);
}

// Where a thread is: in the grid, in its warp, and its warp in the block.
__device__ inline int64_t thread_index() { return int64_t(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ inline int64_t thread_count() { return int64_t(gridDim.x) * blockDim.x; }
__device__ inline int lane_index() { return threadIdx.x % warp_lanes; }
__device__ inline int warp_index() { return threadIdx.x / warp_lanes; }
__device__ inline int warp_count() { return blockDim.x / warp_lanes; }

__device__ inline double shuffle_xor(double x, int step) {
  return __shfl_xor_sync(all_lanes, x, step);
}
__device__ inline Dual<double> shuffle_xor(Dual<double> x, int step) {
  return {__shfl_xor_sync(all_lanes, x.v, step), __shfl_xor_sync(all_lanes, x.d, step)};
}

// Sum over the lanes of a warp, the same in each, in an order that does not depend on anything.
template <class A> __device__ inline A warp_sum(A x) {
  for (int step = warp_lanes / 2; step > 0; step /= 2) x += shuffle_xor(x, step);
  return x;
}

__device__ inline double not_a_number() { return std::numeric_limits<double>::quiet_NaN(); }

}  // namespace d3

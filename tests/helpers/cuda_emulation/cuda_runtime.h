// A stand-in of the CUDA runtime for tests without a GPU, as kernels see it: they compile with a
// C++ compiler and run on the CPU. See emulation.h.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <tuple>
#include <type_traits>
#include <utility>

#include "emulation.h"

#ifdef EMULATION_OF_CLANG  // kernels that clang compiled for a GPU take the place of those here
#define __global__ __attribute__((weak))
#else
#define __global__
#endif
#define __device__
#define __host__
#define __shared__
#define __forceinline__ inline
#define __launch_bounds__(...)

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

using cudaStream_t = CUstream_st*;
enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1 };
struct cudaLaunchAttribute {};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
  cudaLaunchAttribute* attrs;
  unsigned numAttrs;
};
inline const char* cudaGetErrorString(cudaError_t e) { return e ? "invalid argument" : "no error"; }

extern dim3 gridDim, blockDim, blockIdx, threadIdx;

namespace d3 {
extern double dynamic_shared[];  // __shared__ memory of a size chosen at launch
}

// What is done outside of the kernel's own accesses to memory.
#define EMULATION_INSIDE __attribute__((noinline, no_sanitize("thread")))
#define EMULATION_SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(EMULATION_SITE) { emulation::block_barrier({file, line}); }
inline void __syncwarp(unsigned mask = ~0u, EMULATION_SITE) {
  emulation::warp_barrier({file, line}, mask);
}
template <class V>
EMULATION_INSIDE V emulated_shuffle(const char* name, emulation::Site site, unsigned mask, V value,
                                    unsigned from) {
  static_assert(sizeof(V) <= 8);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(V));
  bits = emulation::exchange(name, site, mask, bits, from);
  std::memcpy(&value, &bits, sizeof(V));
  return value;
}
template <class V> V __shfl_xor_sync(unsigned mask, V value, int other, EMULATION_SITE) {
  const unsigned from = (threadIdx.x % 32) ^ unsigned(other);
  return emulated_shuffle("__shfl_xor_sync", {file, line}, mask, value, from);
}
template <class V> V __shfl_sync(unsigned mask, V value, int lane, EMULATION_SITE) {
  return emulated_shuffle("__shfl_sync", {file, line}, mask, value, unsigned(lane) % 32);
}
inline unsigned __ballot_sync(unsigned mask, int vote, EMULATION_SITE) {
  return emulation::ballot("__ballot_sync", {file, line}, mask, vote != 0);
}
inline int __any_sync(unsigned mask, int vote, EMULATION_SITE) {
  return emulation::ballot("__any_sync", {file, line}, mask, vote != 0) != 0;
}
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline unsigned __float_as_uint(float x) {
  unsigned u;
  std::memcpy(&u, &x, 4);
  return u;
}
inline long long __double_as_longlong(double x) {
  long long u;
  std::memcpy(&u, &x, 8);
  return u;
}
template <class V> EMULATION_INSIDE V atomicAdd(V* at, V more) {
  emulation::touch(at, sizeof(V), emulation::atomically, __builtin_return_address(0));
  const V old = *at;
  *at = old + more;
  return old;
}
template <class V> EMULATION_INSIDE V atomicOr(V* at, V more) {
  emulation::touch(at, sizeof(V), emulation::atomically, __builtin_return_address(0));
  const V old = *at;
  *at = old | more;
  return old;
}
template <class V> V __ldg(const V* at) { return *at; }

cudaError_t cudaMemsetAsync(void* at, int value, size_t bytes, cudaStream_t stream);
// What waits for the device, or takes memory that torch does not know: each ends the program.
cudaError_t cudaDeviceSynchronize();
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaMemset(void* at, int value, size_t bytes);
cudaError_t cudaMalloc(void** at, size_t bytes);
inline cudaError_t cudaGetLastError() { return cudaSuccess; }

// Calls a kernel of this program.
template <class... Parameters>
void emulated_call(void (*kernel)(Parameters...), const std::tuple<Parameters...>& values) {
#ifdef EMULATION_OF_CLANG  // structures by address, each thread its own
  const auto passed = [](auto& value) {
    if constexpr (std::is_class_v<std::decay_t<decltype(value)>>)
      return &value;
    else
      return value;
  };
  auto mine = values;
  std::apply(
      [&](auto&... value) {
        reinterpret_cast<void (*)(decltype(passed(value))...)>(kernel)(passed(value)...);
      },
      mine);
#else
  std::apply(kernel, values);
#endif
}

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  const unsigned threads = config->blockDim.x;
  if (threads == 0 || threads > emulation::most_threads || config->gridDim.x == 0 ||
      config->dynamicSmemBytes > emulation::most_shared)
    return cudaErrorInvalidValue;
  using Call = std::tuple<void (*)(Parameters...), std::tuple<Parameters...>>;
  Call call{kernel, {Parameters(arguments)...}};
  const auto body = [](void* at) {
    auto& [function, values] = *static_cast<Call*>(at);
    emulated_call(function, values);
  };
  gridDim = config->gridDim;
  blockDim = config->blockDim;
  emulation::run({reinterpret_cast<const void*>(kernel), gridDim.x, threads,
                  config->dynamicSmemBytes, config->stream, body, &call, sizeof(Call)});
  return cudaSuccess;
}

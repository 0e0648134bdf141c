// A stand-in of the CUDA runtime for tests without a GPU: kernels compile with a C++ compiler and
// run on the CPU, one block after another, every thread of a block a fibre. Collectives
// (__syncthreads, shuffles, votes) wait for all threads of the block or warp, as on a GPU; a block
// whose threads wait for each other in vain ends the program. Warps run ahead of each other as far
// as they can, in every other block the last one first: what a thread reads without waiting for it
// is not there yet.
#pragma once
#include <setjmp.h>
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <tuple>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __shared__
#define __forceinline__ inline
#define __launch_bounds__(...)

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

struct CUstream_st;
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

inline dim3 gridDim, blockDim, blockIdx, threadIdx;

namespace d3 {
alignas(64) inline double dynamic_shared[48 << 7];  // __shared__ memory of a size chosen at launch,
                                                    // 48 KB
}

namespace emulation {

constexpr unsigned lanes = 32, stack_bytes = 256 << 10;

struct Gate {  // of a warp or a block
  unsigned alive = 0, arrived = 0;
  uint64_t generation = 0;
  void open_if_full() {
    if (alive && arrived == alive) {
      arrived = 0;
      ++generation;
    }
  }
};

struct Fibre {
  ucontext_t start;
  jmp_buf resume;
  bool started = false, done = false;
  Gate* waits = nullptr;
  uint64_t seen = 0;
  std::vector<char> stack = std::vector<char>(stack_bytes);
};

struct Block {
  std::vector<Fibre> fibres;
  std::vector<Gate> warps;
  Gate all;
  std::vector<uint64_t> exchange;
  jmp_buf scheduler;
  unsigned now = 0;
  void (*body)(void*) = nullptr;
  void* arguments = nullptr;
};
inline Block block;
inline bool backwards = false;

inline void wait(Gate& gate) {
  Fibre& me = block.fibres[block.now];
  me.waits = &gate;
  me.seen = gate.generation;
  ++gate.arrived;
  gate.open_if_full();
  if (!_setjmp(me.resume)) _longjmp(block.scheduler, 1);
}

inline void entry() {
  block.body(block.arguments);
  block.fibres[block.now].done = true;
  _longjmp(block.scheduler, 1);
}

inline void resume(Fibre& f) {
  f.waits = nullptr;
  if (_setjmp(block.scheduler)) return;
  if (f.started) _longjmp(f.resume, 1);
  f.started = true;
  getcontext(&f.start);
  f.start.uc_stack.ss_sp = f.stack.data();
  f.start.uc_stack.ss_size = stack_bytes;
  f.start.uc_link = nullptr;
  makecontext(&f.start, entry, 0);
  setcontext(&f.start);
}

// Runs every thread of a warp until it waits; the number that ended, or -1 if none could run.
inline int run_warp(unsigned first, unsigned count) {
  int ended = -1;
  for (unsigned k = 0; k < count; ++k) {
    const unsigned t = first + (backwards ? count - 1 - k : k);
    Fibre& f = block.fibres[t];
    if (f.done || (f.waits && f.waits->generation == f.seen)) continue;
    block.now = t;
    threadIdx = dim3(t, 0, 0);
    ended += ended < 0;
    resume(f);
    if (!f.done) continue;
    Gate& warp = block.warps[t / lanes];
    ++ended;
    --warp.alive;
    --block.all.alive;
    warp.open_if_full();
    block.all.open_if_full();
  }
  return ended;
}

// A warp goes on until it waits for others, and then the next one: they are as far apart as they
// can get.
inline void run_block(unsigned threads) {
  const unsigned n_warps = (threads + lanes - 1) / lanes;
  if (block.fibres.size() < threads) block.fibres.resize(threads);
  block.warps.assign(n_warps, {});
  block.exchange.assign(threads, 0);
  block.all = {};
  for (unsigned t = 0; t < threads; ++t) {
    Fibre& f = block.fibres[t];
    f.started = f.done = false;
    f.waits = nullptr;
    ++block.warps[t / lanes].alive;
    ++block.all.alive;
  }
  std::memset(d3::dynamic_shared, 0xff, sizeof d3::dynamic_shared);  // NaN
  backwards = !backwards;
  for (unsigned left = threads; left > 0;) {
    bool moved = false;
    for (unsigned k = 0; k < n_warps; ++k) {
      const unsigned first = lanes * (backwards ? n_warps - 1 - k : k);
      const unsigned count = threads - first < lanes ? threads - first : lanes;
      for (int ended; (ended = run_warp(first, count)) >= 0; moved = true) left -= unsigned(ended);
    }
    if (!moved) {
      std::fprintf(stderr, "emulation: the threads of a block wait for each other in vain\n");
      std::abort();
    }
  }
}

inline Gate& my_warp() { return block.warps[block.now / lanes]; }

template <class V> V exchanged(V value, unsigned from) {
  static_assert(sizeof(V) <= 8);
  const unsigned first = block.now / lanes * lanes;
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(V));
  block.exchange[block.now] = bits;
  wait(my_warp());
  bits = block.exchange[first + from % lanes];
  wait(my_warp());
  std::memcpy(&value, &bits, sizeof(V));
  return value;
}

}  // namespace emulation

inline void __syncthreads() { emulation::wait(emulation::block.all); }
inline void __syncwarp(unsigned = ~0u) { emulation::wait(emulation::my_warp()); }
template <class V> V __shfl_xor_sync(unsigned, V value, int mask, int = 32) {
  return emulation::exchanged(value, (threadIdx.x % 32) ^ unsigned(mask));
}
template <class V> V __shfl_sync(unsigned, V value, int lane, int = 32) {
  return emulation::exchanged(value, unsigned(lane));
}
inline unsigned __ballot_sync(unsigned, int vote) {
  unsigned all = 0;
  for (unsigned k = 0; k < 32; ++k) all |= unsigned(emulation::exchanged(vote != 0, k)) << k;
  return all;
}
inline int __any_sync(unsigned mask, int vote) { return __ballot_sync(mask, vote) != 0; }
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
template <class V> V atomicAdd(V* at, V more) { return std::exchange(*at, *at + more); }
template <class V> V atomicOr(V* at, V more) { return std::exchange(*at, *at | more); }
template <class V> V __ldg(const V* at) { return *at; }

inline cudaError_t cudaMemsetAsync(void* at, int value, size_t bytes, cudaStream_t) {
  std::memset(at, value, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaGetLastError() { return cudaSuccess; }

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  const unsigned threads = config->blockDim.x;
  if (threads == 0 || threads > 1024 || config->gridDim.x == 0 ||
      config->dynamicSmemBytes > (48 << 10))
    return cudaErrorInvalidValue;
  std::tuple<void (*)(Parameters...), std::tuple<Parameters...>> call{kernel,
                                                                      {Parameters(arguments)...}};
  emulation::block.arguments = &call;
  emulation::block.body = [](void* at) {
    auto& [function, values] = *static_cast<decltype(call)*>(at);
    std::apply(function, values);
  };
  gridDim = config->gridDim;
  blockDim = config->blockDim;
  for (unsigned b = 0; b < gridDim.x; ++b) {
    blockIdx = dim3(b, 0, 0);
    emulation::run_block(threads);
  }
  return cudaSuccess;
}

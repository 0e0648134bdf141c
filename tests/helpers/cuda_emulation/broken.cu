// Kernels with one fault each, to prove that the stand-in of CUDA finds it:
//   broken NAME
// ends with the sentence of the finding, or with 0 where the name says that nothing is wrong.
#include <cstdio>

#include "engine/cuda/device.h"

namespace d3 {

constexpr int n = 64;

void check_limits();  // limits.cu

__global__ void copy(const int* from, int* to) {
  if (thread_index() < n) to[thread_index()] = from[thread_index()];
}
__global__ void reads_behind(const int* from, int* to) { to[threadIdx.x] = from[threadIdx.x + 1]; }
__global__ void writes_before(int* to) { to[int(threadIdx.x) - 1] = 1; }
__global__ void adds_behind(int* to) { atomicAdd(to + n, 1); }
__global__ void reads_shared_unwritten(int* to) {
  int* shared = shared_memory<int>();
  if (threadIdx.x > 0) shared[threadIdx.x] = 1;
  __syncthreads();
  to[threadIdx.x] = shared[threadIdx.x];
}
__global__ void writes_behind_shared() { shared_memory<int>()[threadIdx.x + 1] = 1; }
__global__ void reverses(int* to, bool barrier) {
  int* shared = shared_memory<int>();
  shared[threadIdx.x] = int(threadIdx.x);
  if (barrier) __syncthreads();
  to[threadIdx.x] = shared[n - 1 - int(threadIdx.x)];
}
__global__ void reverses_in_warp(int* to, bool barrier) {
  int* shared = shared_memory<int>();
  shared[threadIdx.x] = int(threadIdx.x);
  if (barrier)
    __syncwarp();
  else
    __any_sync(all_lanes, 1);  // votes give no order
  to[threadIdx.x] = shared[threadIdx.x ^ 1];
}
__global__ void overwrites(int* to) {  // read, then written by another thread
  int* shared = shared_memory<int>();
  shared[threadIdx.x] = int(threadIdx.x);
  __syncthreads();
  const int mine = shared[threadIdx.x];
  shared[(threadIdx.x + 1) % n] = mine;
  to[threadIdx.x] = mine;
}
__global__ void all_write_one(int* to) { *to = 1; }
__global__ void blocks_read_each_other(int* to) {
  to[thread_index()] = 1;
  if (blockIdx.x == 1) to[thread_index()] += to[thread_index() - blockDim.x];
}
__global__ void adds_plainly(int* to) {
  if (threadIdx.x == 0) *to += 1;
}
__global__ void adds_then_reads(int* sum, int* to) {
  atomicAdd(sum, 1);
  if (threadIdx.x == 0) to[blockIdx.x] = *sum;
}
__global__ void adds(int* sum) { atomicAdd(sum, 1); }
__global__ void half_at_barrier() {
  if (threadIdx.x < n / 2) __syncthreads();
}
__global__ void two_barriers() {
  if (threadIdx.x < n / 2)
    __syncthreads();
  else
    __syncthreads();
}
__global__ void half_in_shuffle(int* to) {
  if (lane_index() < 16) to[threadIdx.x] = __shfl_xor_sync(all_lanes, 1, 1);
}
__global__ void shuffles_without_itself(int* to) { to[threadIdx.x] = __shfl_xor_sync(1u, 1, 0); }
__global__ void shuffles_from_outside(int* to) {
  if (lane_index() < 16) to[threadIdx.x] = __shfl_xor_sync(0xffffu, 1, 16);
}
__global__ void votes_where_others_shuffle(int* to) {
  to[threadIdx.x] = lane_index() < 16 ? __any_sync(all_lanes, 1) : __shfl_xor_sync(all_lanes, 1, 1);
}
__global__ void barrier_and_shuffle(int* to) {
  if (threadIdx.x == 0)
    __syncthreads();
  else
    to[threadIdx.x] = __shfl_xor_sync(all_lanes, 1, 1);
}
__global__ void half_masks(int* to) {  // two halves of a warp, each with its mask
  const unsigned mask = lane_index() < 16 ? 0xffffu : 0xffff0000u;
  to[threadIdx.x] = lane_index() < 16 ? __shfl_xor_sync(mask, 1, 1) : __shfl_xor_sync(mask, 2, 1);
}

__global__ void loads_two_at_odd_places(const int* from, int* to) {
  struct alignas(8) Two {
    int v[2];
  };
  to[threadIdx.x] = reinterpret_cast<const Two*>(from + threadIdx.x % 2)->v[0];
}
__global__ void overflows(int* to) { to[threadIdx.x] = 2147483647 + int(threadIdx.x); }
__global__ void leaves_its_array(int* to) {
  int own[4] = {0, 0, 0, 0};
  own[threadIdx.x % 8] = 1;
  to[threadIdx.x] = own[threadIdx.x % 3];
}

int* device(int64_t count, bool filled = true, int which = 0) {
  auto* at = static_cast<int*>(emulation::allocate(size_t(count) * sizeof(int), which));
  if (filled) emulation::host_write(at, size_t(count) * sizeof(int), which);
  return at;
}

struct Case {
  const char* name;
  void (*run)();
};

template <class... P, class... A> void start(void (*kernel)(P...), int blocks, A... arguments) {
  launch(kernel, blocks, n, n * sizeof(int), cudaStream_t(nullptr), arguments...);
}

const Case cases[] = {
    {"right copy", [] { start(copy, 3, device(n), device(n, false)); }},
    {"right sums", [] { start(adds, 4, device(1)); }},
    {"right reverse", [] { start(reverses, 1, device(n), true); }},
    {"right reverse of lanes", [] { start(reverses_in_warp, 1, device(n), true); }},
    {"right half masks", [] { start(half_masks, 1, device(n)); }},
    {"right limits", check_limits},
    {"read of what nobody wrote", [] { start(copy, 1, device(n, false), device(n)); }},
    {"read of shared memory that nobody wrote",
     [] { start(reads_shared_unwritten, 1, device(n)); }},
    {"read behind the end", [] { start(reads_behind, 1, device(n), device(n)); }},
    {"write before the start", [] { start(writes_before, 1, device(n)); }},
    {"addition behind the end", [] { start(adds_behind, 1, device(n)); }},
    {"write behind shared memory", [] { start(writes_behind_shared, 1); }},
    {"read of freed memory",
     [] {
       int* at = device(n);
       emulation::release(at);
       start(copy, 1, at, device(n));
     }},
    {"read of host memory",
     [] {
       int* at = new int[n]();
       start(copy, 1, at, device(n));
     }},
    {"read of another device", [] { start(copy, 1, device(n, true, 1), device(n)); }},
    {"no barrier", [] { start(reverses, 1, device(n), false); }},
    {"no barrier of lanes", [] { start(reverses_in_warp, 1, device(n), false); }},
    {"write after a read", [] { start(overwrites, 1, device(n)); }},
    {"two lanes at one word", [] { start(all_write_one, 1, device(1)); }},
    {"two blocks at one word", [] { start(blocks_read_each_other, 2, device(2 * n)); }},
    {"addition that is not atomic", [] { start(adds_plainly, 2, device(1)); }},
    {"read of a sum that goes on", [] { start(adds_then_reads, 2, device(1), device(2)); }},
    {"half a block at a barrier", [] { start(half_at_barrier, 1); }},
    {"two barriers at once", [] { start(two_barriers, 1); }},
    {"half a warp in a shuffle", [] { start(half_in_shuffle, 1, device(n)); }},
    {"mask without the lane itself", [] { start(shuffles_without_itself, 1, device(n)); }},
    {"shuffle from outside of the mask", [] { start(shuffles_from_outside, 1, device(n)); }},
    {"vote and shuffle at once", [] { start(votes_where_others_shuffle, 1, device(n)); }},
    {"barrier and shuffle at once", [] { start(barrier_and_shuffle, 1, device(n)); }},
    {"host reads the device", [] { std::printf("%d\n", *device(n)); }},
    {"host writes the device", [] { *device(n) = 1; }},
    {"device synchronisation", [] { cudaDeviceSynchronize(); }},
    {"stream synchronisation", [] { cudaStreamSynchronize(nullptr); }},
    {"fill that waits", [] { cudaMemset(device(n), 0, 4); }},
    {"memory that torch does not know",
     [] {
       void* at;
       cudaMalloc(&at, 4);
     }},
    {"another stream",
     [] {
       emulation::host.stream = [] { return cudaStream_t(&emulation::host); };
       start(copy, 3, device(n), device(n));
     }},
    {"wide load at an odd place", [] { start(loads_two_at_odd_places, 1, device(n), device(n)); }},
    {"overflow of int", [] { start(overflows, 1, device(n)); }},
    {"array of its own left", [] { start(leaves_its_array, 1, device(n)); }},
    {"fill behind the end", [] { cudaMemsetAsync(device(n), 0, 4 * n + 1, nullptr); }},
};

}  // namespace d3

int main(int argc, char** argv) {
  for (const d3::Case& c : d3::cases) {
    if (argc < 2) std::printf("%s\n", c.name);
    if (argc < 2 || std::strcmp(c.name, argv[1])) continue;
    c.run();
    return 0;
  }
  return argc < 2 ? 0 : 2;
}

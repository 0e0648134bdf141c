// What the parts of the stand-in of CUDA share: cuda_runtime.h (what kernels see), fibres.cpp
// (blocks, warps, barriers), memory.cpp (device memory), checks.cpp (every load and store),
// report.cpp (sentences), torch_device.cpp (a CUDA device for a torch without CUDA).
//
// A finding ends the program: one line "emulation: expected ..., got ..." on stderr, with kernel,
// block, thread and source line.
#pragma once
#include <cstddef>
#include <cstdint>

struct CUstream_st;

namespace emulation {

constexpr unsigned warp_lanes = 32;
constexpr unsigned most_threads = 1024;
constexpr size_t most_shared = 48 << 10;
constexpr size_t stack_bytes = 256 << 10;

// ---- report.cpp ----

// Where a collective is called.
struct Site {
  const char* file;
  int line;
};

// Ends the program with a sentence; `code` is the address of the instruction, or null.
[[noreturn]] void fail(const void* code, const char* format, ...);

// ---- fibres.cpp ----

// The thread of a kernel that runs now; `active` is false outside of kernels.
struct Running {
  bool active = false;
  const void* kernel = nullptr;
  unsigned block = 0;
  unsigned thread = 0;
  unsigned barriers = 0;  // __syncthreads that it has passed
  unsigned syncs = 0;     // __syncwarp that it has passed
  int device = 0;
  uint32_t launch = 0;        // number of the launch
  uint32_t block_serial = 0;  // number of the block over all launches
  uintptr_t stack = 0;        // of the fibre
  uintptr_t parameters = 0;   // of the kernel
  size_t parameter_bytes = 0;
};
extern Running running;

struct Launch {
  const void* kernel;
  unsigned blocks;
  unsigned threads;
  size_t shared;
  CUstream_st* stream;
  void (*body)(void*);
  void* parameters;
  size_t parameter_bytes;
};
void run(const Launch& launch);

void block_barrier(Site site);
// Meets the lanes of a mask; the value that lane `from` brought.
uint64_t exchange(const char* name, Site site, unsigned mask, uint64_t value, unsigned from);
// Meets the lanes of a mask; those whose vote is not 0.
unsigned ballot(const char* name, Site site, unsigned mask, bool vote);
void warp_barrier(Site site, unsigned mask);

// ---- memory.cpp ----

constexpr int devices = 2;
// Bytes of memory of all devices together: half of it for each.
constexpr size_t arena_bytes = size_t(128) << 20;
constexpr size_t red_zone = 512;

// What a byte of memory is.
enum State : uint8_t { red, fresh, written, freed };

// Accesses to a word of memory since a launch (device) or a block (shared memory) began.
struct Touch {
  uint32_t epoch = 0;
  uint32_t block = 0;
  uint32_t barriers = 0;
  uint32_t syncs = 0;
  uint16_t thread = 0;
  bool many_threads = false;
  bool many_warps = false;
  bool many_blocks = false;
  bool atomic = false;
};
struct Word {
  Touch writer;
  Touch reader;
};

struct Arena {
  uintptr_t base = 0;
  uint8_t* state = nullptr;  // of every byte
  Word* words = nullptr;     // of 4 bytes each
};
extern Arena arena;
extern uint8_t shared_state[most_shared + red_zone];
extern Word shared_words[(most_shared + red_zone) / 4];

// Memory of a device, filled with signalling NaN, between red zones; null for 0 bytes.
void* allocate(size_t bytes, int device);
void release(void* at);
// Device memory can be touched by the host between these: as kernels do, and copies.
void open_memory();
void close_memory();
// Looks at a range as if it were written or read by a kernel of torch.
void host_write(const void* at, size_t bytes, int device);
void host_read(const void* at, size_t bytes, int device, const char* who);
// "byte 8 behind the end of the 64 bytes of allocation 3", for sentences.
const char* describe(uintptr_t at);
void fill_poison(void* at, size_t bytes);

// ---- checks.cpp ----

enum Kind { reads, writes, atomically };
// Whether loads and stores are looked at: in the build with hooks, unless that is turned off.
extern bool checks_wanted;
bool instrumented();
void touch(const void* at, size_t bytes, Kind kind, const void* code);

// ---- set by the torch side: the stream that kernels shall be launched on, the current device ----
struct Host {
  CUstream_st* (*stream)() = nullptr;
  int (*device)() = nullptr;
  void (*synchronised)(const char* what) = nullptr;  // the program waits for the device
};
extern Host host;

}  // namespace emulation

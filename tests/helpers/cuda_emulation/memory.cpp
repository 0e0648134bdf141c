// Device memory: one arena, of which the host can touch nothing outside of kernels and copies.
// Allocations lie between red zones and are filled with signalling NaN; what is freed is not given
// out again before the arena has been gone through.
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <map>
#include <mutex>

#include "cuda_runtime.h"

namespace emulation {

Arena arena;
uint8_t shared_state[most_shared + red_zone];
Word shared_words[(most_shared + red_zone) / 4];

namespace {

constexpr size_t device_bytes = arena_bytes / devices;
// Two floats, or a double, that are signalling NaN; integers far out of range.
constexpr uint64_t poison = 0x7fb4dead7fb4beefull;
constexpr unsigned char red_fill = 0xa7;
constexpr size_t large_page = size_t(2) << 20;

struct Allocation {
  size_t bytes;
  unsigned number;
  bool freed;
};
std::recursive_mutex lock;
std::map<uintptr_t, Allocation> allocations;
uintptr_t next[devices];
unsigned count = 0;
int opened = 0;
struct sigaction before;

void protect(int how) {
  if (mprotect(reinterpret_cast<void*>(arena.base), arena_bytes, how))
    fail(nullptr, "expected mprotect to work on device memory");
}

void on_fault(int signal, siginfo_t* info, void* context) {
  const uintptr_t at = uintptr_t(info->si_addr);
  if (at - arena.base < arena_bytes && !opened) {
    std::fprintf(
        stderr,
        "\nemulation: expected the host to leave device memory alone, got an access to %s\n",
        describe(at));
    std::abort();
  }
  sigaction(SIGSEGV, &before, nullptr);
  (void)signal;
  (void)context;
}

template <class T> T* reserve(size_t n) {
  void* at = mmap(nullptr, n * sizeof(T), PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) fail(nullptr, "expected %zu bytes of address space", n * sizeof(T));
  return static_cast<T*>(at);
}

void set_up() {
  if (arena.base) return;
  arena.state = reserve<uint8_t>(arena_bytes);
  arena.words = reserve<Word>(arena_bytes / 4);
  const uintptr_t found = uintptr_t(reserve<char>(arena_bytes + large_page));
  arena.base = (found + large_page - 1) / large_page * large_page;
  madvise(reinterpret_cast<void*>(arena.base), arena_bytes, MADV_HUGEPAGE);  // quick to protect
  for (int d = 0; d < devices; ++d) next[d] = arena.base + d * device_bytes;
  protect(PROT_NONE);
  struct sigaction action{};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGSEGV, &action, &before);
}

// A place for `room` bytes: behind the last one, past what is alive; from the start again at the
// end. What was freed there is forgotten.
uintptr_t place(size_t room, int device) {
  const uintptr_t begin = arena.base + device * device_bytes, end = begin + device_bytes;
  uintptr_t at = next[device];
  for (int rounds = 0; rounds < 2;) {
    if (at + room > end) {
      at = begin;
      ++rounds;
    }
    auto it = allocations.lower_bound(at >= begin + red_zone ? at - red_zone : begin);
    uintptr_t alive = 0;
    for (; it != allocations.end() && it->first < at + room;)
      if (!it->second.freed) {
        alive = it->first + it->second.bytes + red_zone;
        break;
      } else
        it = allocations.erase(it);
    if (!alive) {
      next[device] = at + room;
      return at;
    }
    at = (alive + red_zone - 1) / red_zone * red_zone;
  }
  fail(nullptr, "expected %zu bytes of emulated memory, got none: make the arena larger", room);
}

void check_red_zones(uintptr_t at, size_t bytes) {
  const auto* p = reinterpret_cast<const unsigned char*>(at);
  for (size_t k = 0; k < red_zone; ++k)
    if (p[bytes + k] != red_fill || p[-1 - long(k)] != red_fill)
      fail(nullptr, "expected nobody to write outside of allocations, got %s changed",
           describe(p[bytes + k] != red_fill ? at + bytes + k : at - 1 - k));
}

}  // namespace

void fill_poison(void* at, size_t bytes) {
  auto* p = static_cast<char*>(at);
  for (size_t k = 0; k < bytes; k += 8) std::memcpy(p + k, &poison, bytes - k < 8 ? bytes - k : 8);
}

void open_memory() {
  const std::lock_guard guard(lock);
  set_up();
  if (opened++ == 0) protect(PROT_READ | PROT_WRITE);
}

void close_memory() {
  const std::lock_guard guard(lock);
  if (--opened == 0) protect(PROT_NONE);
}

void* allocate(size_t bytes, int device) {
  if (bytes == 0) return nullptr;
  const std::lock_guard guard(lock);
  open_memory();
  const size_t room = red_zone + (bytes + red_zone - 1) / red_zone * red_zone + red_zone;
  const uintptr_t at = place(room, device) + red_zone;
  std::memset(reinterpret_cast<void*>(at - red_zone), red_fill, room);
  fill_poison(reinterpret_cast<void*>(at), bytes);
  std::memset(arena.state + (at - red_zone - arena.base), red, room);
  std::memset(arena.state + (at - arena.base), fresh, bytes);
  allocations[at] = {bytes, ++count, false};
  close_memory();
  return reinterpret_cast<void*>(at);
}

void release(void* memory) {
  if (!memory) return;
  const std::lock_guard guard(lock);
  const uintptr_t at = uintptr_t(memory);
  Allocation& a = allocations.at(at);
  open_memory();
  check_red_zones(at, a.bytes);
  fill_poison(memory, a.bytes);
  std::memset(arena.state + (at - arena.base), freed, a.bytes);
  close_memory();
  a.freed = true;
}

const char* describe(uintptr_t at) {
  static char text[200];
  auto it = allocations.upper_bound(at + red_zone);
  if (it == allocations.begin()) return "device memory that was never allocated";
  --it;
  const Allocation& a = it->second;
  const char* what = a.freed ? "freed allocation" : "allocation";
  if (at < it->first)
    std::snprintf(text, sizeof text, "byte -%zu before %s %u", size_t(it->first - at), what,
                  a.number);
  else if (at >= it->first + a.bytes)
    std::snprintf(text, sizeof text, "byte %zu behind the end of the %zu bytes of %s %u",
                  size_t(at - it->first - a.bytes), a.bytes, what, a.number);
  else
    std::snprintf(text, sizeof text, "byte %zu of the %zu bytes of %s %u", size_t(at - it->first),
                  a.bytes, what, a.number);
  return text;
}

namespace {

void check_range(const void* memory, size_t bytes, int device, State least, const char* who) {
  const uintptr_t at = uintptr_t(memory);
  if (at - arena.base >= arena_bytes)
    fail(nullptr, "expected device memory for %s, got memory of the host", who);
  if (int((at - arena.base) / device_bytes) != device)
    fail(nullptr, "expected memory of device %d for %s, got that of another", device, who);
  const uint8_t* state = arena.state + (at - arena.base);
  for (size_t k = 0; k < bytes; ++k)
    if (state[k] < least || state[k] == freed)
      fail(nullptr, "expected %s of memory that is there%s, got %s", who,
           least == written ? " and was written" : "", describe(at + k));
}

}  // namespace

void host_write(const void* at, size_t bytes, int device) {
  if (!bytes) return;
  check_range(at, bytes, device, fresh, "a write");
  std::memset(arena.state + (uintptr_t(at) - arena.base), written, bytes);
}

void host_read(const void* at, size_t bytes, int device, const char* who) {
  if (bytes && instrumented()) check_range(at, bytes, device, written, who);
}

}  // namespace emulation

cudaError_t cudaMemsetAsync(void* at, int value, size_t bytes, cudaStream_t stream) {
  using namespace emulation;
  if (host.stream && stream != host.stream())
    fail(nullptr, "expected cudaMemsetAsync on the current stream of torch, got another one");
  host_write(at, bytes, host.device ? host.device() : 0);
  open_memory();
  std::memset(at, value, bytes);
  close_memory();
  return cudaSuccess;
}

static cudaError_t refuse(const char* what) {
  emulation::fail(nullptr, "expected nothing that waits for the device, got %s", what);
}
cudaError_t cudaDeviceSynchronize() { return refuse("cudaDeviceSynchronize"); }
cudaError_t cudaStreamSynchronize(cudaStream_t) { return refuse("cudaStreamSynchronize"); }
cudaError_t cudaMemset(void*, int, size_t) { return refuse("cudaMemset"); }
cudaError_t cudaMalloc(void**, size_t) {
  emulation::fail(nullptr, "expected memory from torch's allocator, got a call of cudaMalloc");
}

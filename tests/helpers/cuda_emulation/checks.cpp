// Every load and store of a kernel, in the build with the compiler's hooks for thread sanitizers
// (-fsanitize=thread): the functions that it calls are here, and nothing of the sanitizer's own
// library is used. Found are accesses outside of allocations or to freed memory (memcheck), reads
// of what nobody wrote (initcheck), and two threads at one word without order between them, one of
// them writing (racecheck): order is that of launches, of __syncthreads in a block, of __syncwarp
// in a warp; shuffles and votes give none.
#include <link.h>

#include <cstdio>

#include "cuda_runtime.h"

namespace emulation {

namespace {

// Whether reads of what nobody wrote are found.
const bool unwritten_found = [] {
  const char* wanted = std::getenv("D3TORCH_EMULATION_INITCHECK");
  return !wanted || std::strcmp(wanted, "0") != 0;
}();

// Whether this access and earlier ones have no order.
const char* conflict(const Touch& x, uint32_t epoch) {
  const Running& r = running;
  if (x.epoch != epoch) return nullptr;
  if (x.many_blocks || x.block != r.block) return "another block";
  if (x.barriers != r.barriers || (!x.many_threads && x.thread == r.thread)) return nullptr;
  if (x.many_warps || x.thread / warp_lanes != r.thread / warp_lanes)
    return "another warp of the block";
  return x.syncs < r.syncs ? nullptr : "another lane of the warp";
}

void add(Touch& x, uint32_t epoch, bool atomic) {
  const Running& r = running;
  const bool same = x.epoch == epoch;
  if (!same) x = {};
  if (same && x.block != r.block) x.many_blocks = true;
  if (same && x.block == r.block && x.barriers == r.barriers) {
    x.many_threads = x.many_threads || x.thread != r.thread;
    x.many_warps = x.many_warps || x.thread / warp_lanes != r.thread / warp_lanes;
  } else {
    x.many_threads = x.many_warps = false;
  }
  x.epoch = epoch;
  x.block = r.block;
  x.barriers = r.barriers;
  x.syncs = r.syncs;
  x.thread = uint16_t(r.thread);
  x.atomic = atomic;
}

const char* race(Word& w, uint32_t epoch, Kind kind, const char** earlier) {
  if (!(kind == atomically && w.writer.atomic))
    if (const char* who = conflict(w.writer, epoch)) {
      *earlier = w.writer.atomic ? "added to" : "written";
      return who;
    }
  if (kind != reads)
    if (const char* who = conflict(w.reader, epoch)) {
      *earlier = "read";
      return who;
    }
  add(kind == reads ? w.reader : w.writer, epoch, kind == atomically);
  return nullptr;
}

const char* verb(Kind kind) {
  return kind == reads ? "read" : kind == writes ? "written" : "added to";
}

// Looks at memory of which states and words are given. `name` describes a byte of it.
template <class F>
void look(uint8_t* state, Word* words, uintptr_t at, size_t bytes, Kind kind, uint32_t epoch,
          const void* code, F&& name) {
  size_t unwritten = 0;
  for (size_t k = 0; k < bytes; ++k) {
    const uint8_t s = state[at + k];
    if (s == written || (s == fresh && kind == writes)) continue;
    // a struct that is copied as a whole may have unwritten padding, less than a quarter of it
    if (s == fresh && (!unwritten_found || (bytes > 16 && 4 * ++unwritten < bytes))) continue;
    if (s == fresh) fail(code, "expected no read of what nobody wrote, got %s", name(k));
    fail(code, "expected memory that is there, got %zu bytes %s, with %s", bytes, verb(kind),
         name(k));
  }
  if (kind == writes) std::memset(state + at, written, bytes);
  for (size_t word = at / 4; word <= (at + bytes - 1) / 4; ++word) {
    const char* earlier = "";
    if (const char* who = race(words[word], epoch, kind, &earlier))
      fail(code, "expected accesses in order, got %s %s after it was %s by %s", name(0), verb(kind),
           earlier, who);
  }
}

struct Image {
  uintptr_t begin = 0, end = 0;
};

// What this library was loaded to: constants of the kernels lie there.
const Image& image() {
  static const Image found = [] {
    Image out;
    dl_iterate_phdr(
        [](dl_phdr_info* info, size_t, void* to) {
          Image here{~uintptr_t(0), 0};
          for (int k = 0; k < info->dlpi_phnum; ++k) {
            const auto& p = info->dlpi_phdr[k];
            if (p.p_type != PT_LOAD) continue;
            const uintptr_t begin = info->dlpi_addr + p.p_vaddr;
            if (begin < here.begin) here.begin = begin;
            if (begin + p.p_memsz > here.end) here.end = begin + p.p_memsz;
          }
          const uintptr_t mine = uintptr_t(&running);
          if (mine < here.begin || mine >= here.end) return 0;
          *static_cast<Image*>(to) = here;
          return 1;
        },
        &out);
    return out;
  }();
  return found;
}

void elsewhere(uintptr_t at, size_t bytes, Kind kind, const void* code) {
  if (kind == reads && at - running.parameters < running.parameter_bytes) return;
  if (kind == reads && at >= image().begin && at < image().end) return;
  fail(code, "expected memory of the device, got %zu bytes of the host %s", bytes, verb(kind));
}

const char* describe_shared(uintptr_t at) {
  static char text[80];
  std::snprintf(text, sizeof text, "byte %zu of the shared memory", size_t(at));
  return text;
}

inline void check(const void* memory, size_t bytes, Kind kind, const void* code) {
  if (!running.active || !checks_wanted || bytes == 0) return;
  const uintptr_t at = uintptr_t(memory), in_arena = at - arena.base,
                  in_shared = at - uintptr_t(d3::dynamic_shared);
  if (at - running.stack < stack_bytes) return;
  if (in_arena < arena_bytes) {
    if (int(in_arena / (arena_bytes / devices)) != running.device)
      fail(code, "expected memory of device %d, got that of another device: %s", running.device,
           describe(at));
    look(arena.state, arena.words, in_arena, bytes, kind, running.launch, code,
         [&](size_t k) { return describe(at + k); });
  } else if (in_shared < sizeof shared_state) {
    look(shared_state, shared_words, in_shared, bytes, kind, running.block_serial, code,
         [&](size_t k) { return describe_shared(in_shared + k); });
  } else {
    elsewhere(at, bytes, kind, code);
  }
}

}  // namespace

bool checks_wanted = true;
bool instrumented() { return EMULATION_HOOKS && checks_wanted; }

void touch(const void* at, size_t bytes, Kind kind, const void* code) {
  if (instrumented()) check(at, bytes, kind, code);
}

}  // namespace emulation

#define HOOK(n)                                                                                 \
  void __tsan_read##n(void* at) { check(at, n, reads, __builtin_return_address(0)); }           \
  void __tsan_write##n(void* at) { check(at, n, writes, __builtin_return_address(0)); }         \
  void __tsan_unaligned_read##n(void* at) { check(at, n, reads, __builtin_return_address(0)); } \
  void __tsan_unaligned_write##n(void* at) { check(at, n, writes, __builtin_return_address(0)); }

using namespace emulation;
extern "C" {
HOOK(1)
HOOK(2)
HOOK(4)
HOOK(8)
HOOK(16)
void __tsan_read_range(void* at, size_t n) { check(at, n, reads, __builtin_return_address(0)); }
void __tsan_write_range(void* at, size_t n) { check(at, n, writes, __builtin_return_address(0)); }
void* __tsan_memset(void* to, int value, size_t n) {  // these two of clang
  check(to, n, writes, __builtin_return_address(0));
  return std::memset(to, value, n);
}
void* __tsan_memcpy(void* to, const void* from, size_t n) {
  check(from, n, reads, __builtin_return_address(0));
  check(to, n, writes, __builtin_return_address(0));
  return std::memcpy(to, from, n);
}
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
}

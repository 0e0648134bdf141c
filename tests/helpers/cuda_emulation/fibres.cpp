// Blocks, warps and lanes: every thread of a block is a fibre. Blocks, warps and lanes run in
// orders chosen by the seed in D3TORCH_EMULATION_SEED. Collectives wait for the lanes of their
// mask, barriers for the block; what cannot go on as written ends the program.
#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <numeric>
#include <vector>

#include "cuda_runtime.h"

dim3 gridDim, blockDim, blockIdx, threadIdx;

namespace d3 {
alignas(64) double dynamic_shared[(emulation::most_shared + emulation::red_zone) / 8];
}

namespace emulation {

Running running;
Host host;

namespace {

struct Fibre {
  ucontext_t start;
  jmp_buf resume;
  bool made, done;        // `made`: it is entered once, and goes on from there in every block
  const uint64_t* waits;  // goes on when this is no longer `seen`
  uint64_t seen;
  unsigned barriers, syncs;
  const char* where;  // the collective that it waits in
  Site site;
};

// Lanes that meet in a collective, by the lowest lane of their mask.
struct Meeting {
  uint64_t generation = 0;
  unsigned mask = 0, arrived = 0;
  const char* name = nullptr;
  Site site{};
  uint64_t values[2][warp_lanes];
  unsigned unread[2] = {0, 0};
};

struct Warp {
  Meeting meetings[warp_lanes];
  unsigned open = 0;   // meetings that lanes have arrived at
  unsigned ended = 0;  // lanes, or never there
};

struct Block {
  std::vector<Fibre> fibres = std::vector<Fibre>(most_threads);
  std::vector<Warp> warps;
  uint64_t generation = 0;  // of the barrier
  unsigned arrived = 0, ended = 0, threads = 0;
  Site site{};
  jmp_buf scheduler;
  char* stacks = nullptr;
  Launch launch{};
};
Block block;

// ---- orders ----

uint64_t random_state = [] {
  const char* seed = std::getenv("D3TORCH_EMULATION_SEED");
  return 0x9e3779b97f4a7c15ull * (seed ? std::strtoull(seed, nullptr, 10) + 1 : 1);
}();

unsigned random_below(unsigned n) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return unsigned((random_state >> 20) % n);
}

// 0 ... n - 1 in an order of chance.
struct Order {
  unsigned n, start, step;
  explicit Order(unsigned n) : n(n), start(random_below(n)) {
    do step = 1 + random_below(n);
    while (std::gcd(step, n) != 1);
  }
  unsigned operator[](unsigned k) const { return unsigned((start + uint64_t(step) * k) % n); }
};

// ---- waiting ----

Fibre& me() { return block.fibres[running.thread]; }

void wait(const uint64_t& generation, uint64_t seen, const char* where, Site site) {
  Fibre& f = me();
  f.waits = &generation;
  f.seen = seen;
  f.where = where;
  f.site = site;
  if (!_setjmp(f.resume)) _longjmp(block.scheduler, 1);
}

bool same_place(const Meeting& m, const char* name, Site site) {
  return m.name == name && m.site.line == site.line && !std::strcmp(m.site.file, site.file);
}

void check_mask(const Warp& warp, unsigned mask, unsigned lane, const char* name, Site site) {
  if (!(mask >> lane & 1))
    fail(nullptr,
         "expected the mask of %s to have the lane that calls it, got %08x in lane %u, %s:%d", name,
         mask, lane, site.file, site.line);
  if (mask & warp.ended)
    fail(nullptr, "expected all lanes of the mask %08x of %s, got %08x of them ended, %s:%d", mask,
         name, mask & warp.ended, site.file, site.line);
  for (unsigned open = warp.open; open; open &= open - 1) {
    const Meeting& other = warp.meetings[__builtin_ctz(open)];
    if ((other.mask & mask) && (other.mask != mask || !same_place(other, name, site)))
      fail(nullptr,
           "expected lanes to meet in one place, got %s with mask %08x at %s:%d and %s "
           "with mask %08x at %s:%d",
           name, mask, site.file, site.line, other.name, other.mask, other.site.file,
           other.site.line);
  }
}

// Meets the lanes of a mask. Returns the values of all.
const uint64_t* meet(const char* name, Site site, unsigned mask, uint64_t value) {
  Warp& warp = block.warps[running.thread / warp_lanes];
  const unsigned lane = running.thread % warp_lanes;
  check_mask(warp, mask, lane, name, site);
  const unsigned number = __builtin_ctz(mask);
  Meeting& m = warp.meetings[number];
  const unsigned slot = m.generation & 1;
  if (!m.arrived && m.unread[slot]) fail(nullptr, "expected masks that change less often");
  m.name = name;
  m.site = site;
  m.mask = mask;
  m.arrived |= 1u << lane;
  warp.open |= 1u << number;
  m.values[slot][lane] = value;
  const uint64_t seen = m.generation;
  if (m.arrived == mask) {
    m.arrived = 0;
    warp.open &= ~(1u << number);
    m.unread[slot] = mask;
    ++m.generation;
  }
  wait(m.generation, seen, name, site);
  m.unread[slot] &= ~(1u << lane);
  return m.values[slot];
}

// ---- the life of a fibre ----

void entry() {
  for (;;) {
    block.launch.body(block.launch.parameters);
    running.active = false;
    Fibre& f = me();
    f.done = true;
    if (!_setjmp(f.resume)) _longjmp(block.scheduler, 1);
  }
}

void resume(unsigned t) {
  Fibre& f = block.fibres[t];
  running.thread = t;
  running.barriers = f.barriers;
  running.syncs = f.syncs;
  running.stack = uintptr_t(block.stacks) + t * stack_bytes;
  threadIdx = dim3(t, 0, 0);
  f.waits = nullptr;
  if (_setjmp(block.scheduler)) {
    running.active = false;
    return;
  }
  running.active = true;
  if (f.made) _longjmp(f.resume, 1);
  f.made = true;
  getcontext(&f.start);
  f.start.uc_stack.ss_sp = block.stacks + t * stack_bytes;
  f.start.uc_stack.ss_size = stack_bytes;
  f.start.uc_link = nullptr;
  makecontext(&f.start, entry, 0);
  setcontext(&f.start);
}

void end(unsigned t) {
  Warp& warp = block.warps[t / warp_lanes];
  const unsigned lane = 1u << t % warp_lanes;
  ++block.ended;
  warp.ended |= lane;
  if (block.arrived)
    fail(nullptr,
         "expected all threads of a block at __syncthreads, got one that ends while %u wait "
         "at %s:%d",
         block.arrived, block.site.file, block.site.line);
  for (unsigned open = warp.open; open; open &= open - 1) {
    const Meeting& m = warp.meetings[__builtin_ctz(open)];
    if (m.mask & lane)
      fail(nullptr,
           "expected all lanes of the mask %08x at %s, got one that ends while lanes %08x "
           "wait at %s:%d",
           m.mask, m.name, m.arrived, m.site.file, m.site.line);
  }
}

// Runs the threads of a warp, each until it waits. Returns whether any could run.
bool run_warp(unsigned first, unsigned count) {
  bool moved = false;
  const Order order(count);
  for (unsigned k = 0; k < count; ++k) {
    const unsigned t = first + order[k];
    Fibre& f = block.fibres[t];
    if (f.done || (f.waits && *f.waits == f.seen)) continue;
    resume(t);
    moved = true;
    if (f.done) end(t);
  }
  return moved;
}

[[noreturn]] void report_deadlock() {
  for (unsigned t = 0; t < block.threads; ++t) {
    const Fibre& f = block.fibres[t];
    if (f.done) continue;
    running.thread = t;
    fail(nullptr,
         "expected threads that do not wait for each other in vain, got one in %s at %s:%d "
         "and %u of %u at __syncthreads",
         f.where, f.site.file, f.site.line, block.arrived, block.threads);
  }
  fail(nullptr, "expected a block that goes on");
}

void start_block() {
  const unsigned n = block.threads;
  block.warps.assign((n + warp_lanes - 1) / warp_lanes, {});
  if (n % warp_lanes) block.warps.back().ended = ~0u << n % warp_lanes;
  block.arrived = block.ended = 0;
  for (unsigned t = 0; t < n; ++t) {
    Fibre& f = block.fibres[t];
    f.done = false;
    f.waits = nullptr;
    f.barriers = f.syncs = 0;
  }
  ++running.block_serial;
  std::memset(shared_state, fresh, block.launch.shared);
  fill_poison(d3::dynamic_shared, most_shared);
}

// Warps run in an order of chance, some of them on until they wait for the others.
void run_block() {
  start_block();
  const unsigned n = block.threads, n_warps = unsigned(block.warps.size());
  while (block.ended < n) {
    bool moved = false;
    const Order order(n_warps);
    for (unsigned k = 0; k < n_warps; ++k) {
      const unsigned first = warp_lanes * order[k];
      const unsigned count = n - first < warp_lanes ? n - first : warp_lanes;
      const bool far = random_below(4) > 0;
      while (run_warp(first, count)) {
        moved = true;
        if (!far) break;
      }
    }
    if (!moved) report_deadlock();
  }
}

}  // namespace

void block_barrier(Site site) {
  if (block.ended)
    fail(nullptr,
         "expected all threads of a block at __syncthreads, got %u that ended before %s:%d",
         block.ended, site.file, site.line);
  if (block.arrived && (site.line != block.site.line || std::strcmp(site.file, block.site.file)))
    fail(nullptr,
         "expected all threads of a block at one __syncthreads, got some at %s:%d and some "
         "at %s:%d",
         site.file, site.line, block.site.file, block.site.line);
  block.site = site;
  const uint64_t seen = block.generation;
  if (++block.arrived == block.threads) {
    block.arrived = 0;
    ++block.generation;
  }
  running.barriers = ++me().barriers;
  wait(block.generation, seen, "__syncthreads", site);
}

uint64_t exchange(const char* name, Site site, unsigned mask, uint64_t value, unsigned from) {
  if (!(mask >> from & 1))
    fail(nullptr, "expected %s to read a lane of its mask %08x, got lane %u, %s:%d", name, mask,
         from, site.file, site.line);
  return meet(name, site, mask, value)[from];
}

unsigned ballot(const char* name, Site site, unsigned mask, bool vote) {
  const uint64_t* votes = meet(name, site, mask, vote);
  unsigned all = 0;
  for (unsigned k = 0; k < warp_lanes; ++k)
    if (mask >> k & 1) all |= unsigned(votes[k]) << k;
  return all;
}

void warp_barrier(Site site, unsigned mask) {
  meet("__syncwarp", site, mask, 0);
  running.syncs = ++me().syncs;
}

void run(const Launch& launch) {
  if (!block.stacks)
    block.stacks =
        static_cast<char*>(mmap(nullptr, most_threads * stack_bytes, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  block.launch = launch;
  block.threads = launch.threads;
  running.kernel = launch.kernel;
  if (host.stream && launch.stream != host.stream())
    fail(nullptr, "expected a launch on the current stream of torch, got another one");
  running.parameters = uintptr_t(launch.parameters);
  running.parameter_bytes = launch.parameter_bytes;
  running.device = host.device ? host.device() : 0;
  ++running.launch;
  std::memset(shared_state, red, sizeof shared_state);
  open_memory();
  const Order order(launch.blocks);
  for (unsigned k = 0; k < launch.blocks; ++k) {
    running.block = order[k];
    blockIdx = dim3(running.block, 0, 0);
    run_block();
  }
  close_memory();
  running.kernel = nullptr;
}

}  // namespace emulation

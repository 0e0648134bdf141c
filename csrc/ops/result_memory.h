// Memory of the large results of ops on a CPU. The C library gives large pieces back to the system
// as soon as they are free, and the system clears them page by page when they are next used. Here
// the last ones stay with the process, marked as free: the system takes them when it wants memory,
// and otherwise the next result finds them as they are.
#pragma once
#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/CPUAllocator.h>
#include <sys/mman.h>

#include <atomic>
#include <cstdint>

#include "engine/tuning.h"

namespace d3 {

// A piece of memory that starts at a large page, in what the system has given for it.
struct Block {
  void* data;
  size_t bytes;
  void* given;
  size_t given_bytes;
};

// Those that are not in use.
inline std::atomic<Block*> kept_blocks[most_kept_blocks];

inline void release(Block* block) {
  if (!block) return;
  munmap(block->given, block->given_bytes);
  delete block;
}

// Keeps a block that is no longer used, if there is room in place of an older one.
inline void keep(void* context) {
  Block* block = static_cast<Block*>(context);
  if (int64_t(block->bytes) > most_kept_bytes || madvise(block->data, block->bytes, MADV_FREE))
    return release(block);
  for (auto& place : kept_blocks) {
    Block* empty = nullptr;
    if (place.compare_exchange_strong(empty, block)) return;
  }
  static std::atomic<unsigned> turn{0};
  release(kept_blocks[turn++ % most_kept_blocks].exchange(block));
}

// A block that was kept, not much larger than asked for; or null.
inline Block* kept_block(size_t bytes) {
  for (auto& place : kept_blocks) {
    Block* block = place.exchange(nullptr);
    if (block && bytes <= block->bytes && block->bytes <= bytes + bytes / 2) return block;
    if (block) release(place.exchange(block));
  }
  return nullptr;
}

// A block in large pages, with room for a result that is a little larger next time; or null where
// there is no memory.
inline Block* new_block(size_t bytes) {
  const size_t page = huge_page_bytes, room = (bytes + bytes / 8 + page - 1) / page * page;
  void* given =
      mmap(nullptr, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (given == MAP_FAILED) return nullptr;
  const auto data = reinterpret_cast<void*>((uintptr_t(given) + page - 1) / page * page);
  madvise(data, room, MADV_HUGEPAGE);
  return new Block{data, room, given, room + page};
}

// The memory for a result: that of the tensor itself, which nothing has been written to, or, for
// large ones, memory that is kept for results.
inline at::Tensor in_kept_memory(const at::Tensor& result) {
  const size_t bytes = result.nbytes();
  if (int64_t(bytes) < least_huge_bytes) return result;
  Block* block = kept_block(bytes);
  if (!block) block = new_block(bytes);
  if (!block) return result;
  return at::for_blob(block->data, result.sizes())
      .context(block, keep)
      .options(result.options())
      .resizeable_storage()
      .allocator(c10::GetCPUAllocator())
      .make_tensor();
}

}  // namespace d3

// How a pair list is shared among threads. Pairs are cut into chunks whose number depends on the
// sizes alone; every chunk adds into its own copy of the per-atom sums, and the copies are added in
// order: sorted or not, the result is the same to the last bit for any number of threads.
#pragma once
#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>
#include <new>

#include "engine/tuning.h"
#include "engine/watch.h"

namespace d3 {

// How a list is cut into pieces of nearly equal length.
class Chunks {
 public:
  Chunks(int64_t n_pairs, int64_t n_atoms, int64_t most = most_chunks) : n_pairs_(n_pairs) {
    const int64_t wanted =
        std::min(n_pairs / least_chunk_pairs, n_pairs / std::max<int64_t>(n_atoms, 1));
    count_ = std::clamp<int64_t>(wanted, 1, most);
  }
  int64_t count() const { return count_; }
  int64_t begin(int64_t chunk) const { return n_pairs_ * chunk / count_; }
  int64_t end(int64_t chunk) const { return begin(chunk + 1); }

 private:
  int64_t n_pairs_, count_;
};

// Waking threads costs more than a short list: such a list runs on one.
inline int useful_threads(int64_t n_pairs, int64_t n_atoms, int threads) {
  return n_pairs < least_threaded_pairs && n_atoms < least_threaded_atoms ? 1 : threads;
}

// One column of n doubles for each chunk, zeroed lazily by the operating system.
class ChunkSums {
 public:
  ChunkSums(int64_t chunks, int64_t n)
      : chunks_(chunks),
        n_(n),
        data_(static_cast<double*>(std::calloc(std::max<int64_t>(chunks * n, 1), sizeof(double)))) {
    if (!data_) throw std::bad_alloc();
  }
  double* chunk(int64_t c) { return data_.get() + c * n_; }
  template <class T> void reduce(T* out, int threads) const { reduce_first(n_, out, threads); }

  // Only the first n sums.
  template <class T> void reduce_first(int64_t n, T* out, int threads = 1) const {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < n; ++i) {
      double sum = 0;
      for (int64_t c = 0; c < chunks_; ++c) sum += data_.get()[c * n_ + i];
      out[i] = T(sum);
    }
  }

  // Adds to what is there.
  void add_to(double* out, int threads) const {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < n_; ++i)
      for (int64_t c = 0; c < chunks_; ++c) out[i] += data_.get()[c * n_ + i];
  }

 private:
  struct Free {
    void operator()(double* p) const { std::free(p); }
  };
  int64_t chunks_, n_;
  std::unique_ptr<double, Free> data_;
};

constexpr int64_t none = std::numeric_limits<int64_t>::max();  // "no pair" where the first counts

// Calls body(chunk, begin, end) for the blocks of every chunk, between which the host may stop the
// work; it returns the first wrong pair of the block, or `none`. Returns the first, or -1.
template <class F> int64_t for_chunks(const Chunks& chunks, int threads, Watch* watch, F&& body) {
  int64_t bad = none;
#pragma omp parallel for num_threads(threads) schedule(static) reduction(min : bad)
  for (int64_t c = 0; c < chunks.count(); ++c)
    for (int64_t p = chunks.begin(c); p < chunks.end(c) && !stopped(watch); p += watched_pairs)
      bad = std::min(bad, body(c, p, std::min(p + watched_pairs, chunks.end(c))));
  return bad == none ? -1 : bad;
}

}  // namespace d3

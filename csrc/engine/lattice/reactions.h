// What the pairs of a sweep add to the sums of the neighbours, where each pair is computed once.
//
// A thread adds it up for one bunch of clusters, then for a chunk of bunches, and the chunks are
// added up in their order, as soon as all before have come: results do not depend on the number of
// threads, and few chunks are in memory at once.
#pragma once
#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

#include "engine/lattice/aligned.h"
#include "engine/lattice/lattice.h"

namespace d3 {

// Sums for some clusters, (n, columns, lanes), one cluster after the other.
struct PartialSums {
  std::vector<int> clusters;
  std::vector<double> sums;

  void clear() {
    clusters.clear();
    sums.clear();
  }
};

// The reactions of a bunch, and of the chunk so far; one for each thread.
template <class T> class Reactions {
 public:
  // Makes room; nothing is held from the sweep before, so that only what is new has to be cleared.
  void start(size_t n_clusters, int columns) {
    size_ = columns * lanes<T>;
    if (bunch_.size() < n_clusters * size_) bunch_.resize(n_clusters * size_);
    if (met_.size() >= n_clusters) return;
    met_.resize(n_clusters);
    place_.resize(n_clusters, -1);
  }

  // Notes a cluster that the bunch meets.
  void meet(int cluster) {
    if (!met_[cluster]) clusters_.push_back(cluster);
    met_[cluster] = 1;
  }

  T* sums() { return bunch_.data(); }  // (n_clusters, columns, lanes), for the kernels

  // Moves what the bunch has added up to the chunk.
  void end_bunch() {
    for (int c : clusters_) {
      met_[c] = 0;
      if (place_[c] < 0) {
        place_[c] = int(chunk_.clusters.size());
        chunk_.clusters.push_back(c);
        chunk_.sums.resize(chunk_.sums.size() + size_);
      }
      T* from = &bunch_[size_t(c) * size_];
      double* to = &chunk_.sums[size_t(place_[c]) * size_];
      for (int k = 0; k < size_; ++k) to[k] += from[k];
      std::fill_n(from, size_, T(0));
    }
    clusters_.clear();
  }

  // Hands over the sums of the chunk, in exchange for memory.
  void end_chunk(PartialSums& out) {
    for (int c : chunk_.clusters) place_[c] = -1;
    std::swap(chunk_, out);
    chunk_.clear();
  }

 private:
  int size_ = 0;                      // numbers of a cluster
  std::vector<T, Aligned<T>> bunch_;  // (n_clusters, size_) or more, 0 between bunches
  std::vector<char> met_;             // (n_clusters), whether the bunch meets it
  std::vector<int> clusters_;         // that it meets
  std::vector<int> place_;            // (n_clusters), in the chunk, or -1
  PartialSums chunk_;
};

// The sums of all chunks, in the order of the chunks.
class OrderedSums {
 public:
  void start(size_t n_clusters, int size, int n_chunks) {
    size_ = size;
    next_ = 0;
    total_.assign(n_clusters * size, 0.0);
    waiting_.resize(n_chunks);
    came_.assign(n_chunks, 0);
  }

  // Takes the sums of a chunk. Threads may call it at once, each for another chunk.
  template <class T> void take(int chunk, Reactions<T>& reactions) {
    const std::lock_guard<std::mutex> lock(mutex_);
    PartialSums given;
    if (!spare_.empty()) {
      given = std::move(spare_.back());
      spare_.pop_back();
    }
    reactions.end_chunk(given);
    waiting_[chunk] = std::move(given);
    came_[chunk] = 1;
    for (; next_ < int(came_.size()) && came_[next_]; ++next_) add(waiting_[next_]);
  }

  const double* of(size_t cluster) const { return &total_[cluster * size_]; }

 private:
  void add(PartialSums& part) {
    for (size_t n = 0; n < part.clusters.size(); ++n) {
      double* to = &total_[size_t(part.clusters[n]) * size_];
      const double* from = &part.sums[n * size_];
      for (int k = 0; k < size_; ++k) to[k] += from[k];
    }
    part.clear();
    spare_.push_back(std::move(part));
  }

  std::mutex mutex_;
  int size_ = 0;                      // numbers of a cluster
  int next_ = 0;                      // first chunk that has not come
  std::vector<double> total_;         // (n_clusters, size)
  std::vector<PartialSums> waiting_;  // (n_chunks)
  std::vector<char> came_;            // (n_chunks)
  std::vector<PartialSums> spare_;    // memory
};

}  // namespace d3

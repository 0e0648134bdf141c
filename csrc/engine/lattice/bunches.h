// The bunches of clusters that a sweep goes over, a thread at each, and the tiles around them.
#pragma once
#include <omp.h>

#include <algorithm>
#include <vector>

#include "engine/lattice/system.h"
#include "engine/lattice/tiles.h"

namespace d3 {

// See system.h for Types.
template <class T, class Types> class BunchSweep : public System<T, Types> {
 public:
  using Base = System<T, Types>;
  using typename Base::S;

 protected:
  BunchSweep(const LatticeInput<T>& in, const LatticeTangents<T>* tangents, Find find)
      : Base(in, tangents), find_(find) {}

  bool stopping() const { return stopped(this->in_.watch); }

  // Joins clusters that follow one another: sorted by bins, they tend to lie together.
  void gather_bunches(int threads) {
    workspaces_.resize(std::max<size_t>(workspaces_.size(), threads));
    const std::vector<Cluster>& clusters = this->centres_->clusters;
    bunches_.clear();
    for (int c = 0; c < int(clusters.size()); ++c) {
      if (!bunches_.empty() && c - bunches_.back().first < largest_bunch &&
          join(bunches_.back(), clusters[c]))
        continue;
      bunches_.push_back({c, c + 1, clusters[c]});
    }
  }

  // Calls body(cluster, origin of its tiles, workspace) for all clusters. Returns the least of what
  // it returns, or -1 if that is n_. When the watch stops it, the remaining clusters are left
  // undone.
  //
  // Without columns of reactions, each cluster meets all others. With them, each two bunches meet
  // from one side alone, and take(atom, its reactions, `lanes` numbers apart) is called at the end
  // for each atom.
  template <class Body, class Take>
  int over_bunches(double cutoff, int threads, int columns, Body&& body, Take&& take) {
    const int n = int(bunches_.size());
    const int of_chunk = columns ? std::clamp(n / wanted_chunks, 1, most_bunches_of_chunk) : 1;
    const int n_chunks = (n + of_chunk - 1) / of_chunk;
    if (columns) start_reactions(threads, columns, n_chunks);
    int least = this->n_;
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1) \
    reduction(min : least) if (threads > 1)
    for (int chunk = 0; chunk < n_chunks; ++chunk) {
      Workspace<T, S>& workspace = workspaces_[threads > 1 ? omp_get_thread_num() : 0];
      for (int b = chunk * of_chunk; b < std::min(n, (chunk + 1) * of_chunk); ++b) {
        if (stopping()) continue;
        find_tiles(bunches_[b], cutoff, workspace, columns > 0);
        for (int c = bunches_[b].first; c < bunches_[b].last; ++c)
          least = std::min(least, body(c, bunches_[b].box.centre, workspace));
        if (columns) workspace.reactions.end_bunch();
      }
      if (columns) reactions_.take(chunk, workspace.reactions);
    }
    if (columns)
      this->for_lanes([&](size_t c, int lane, int atom) { take(atom, reactions_.of(c) + lane); });
    return least == this->n_ ? -1 : least;
  }

 private:
  // Clusters that lie together share one search for their neighbours.
  struct Bunch {
    int first;  // clusters [first, last)
    int last;
    Cluster box;
  };

  // Joins a cluster to a bunch unless that widens the box by too much. Says whether it did.
  static bool join(Bunch& bunch, const Cluster& more) {
    Cluster both = bunch.box;
    double before = 0, after = 0;
    for (int k = 0; k < 3; ++k) {
      const double low = std::min(both.centre[k] - both.half[k], more.centre[k] - more.half[k]);
      const double high = std::max(both.centre[k] + both.half[k], more.centre[k] + more.half[k]);
      before += std::max(both.half[k], more.half[k]);
      after += 0.5 * (high - low);
      both.centre[k] = 0.5 * (low + high);
      both.half[k] = 0.5 * (high - low);
    }
    if (after > most_widening * before) return false;
    bunch.box = both;
    bunch.last = bunch.last + 1;
    return true;
  }

  void start_reactions(int threads, int columns, int n_chunks) {
    const size_t n_clusters = this->neighbours().clusters.size();
#pragma omp parallel for num_threads(threads) schedule(static, 1) if (threads > 1)
    for (int t = 0; t < threads; ++t) workspaces_[t].reactions.start(n_clusters, columns);
    reactions_.start(n_clusters, columns * lanes<T>, n_chunks);
  }

  // Collects the clusters and images within the cutoff of a bunch, by species of the neighbours.
  // Where pairs are computed once, a bunch meets those that come after it, half of its own images,
  // and its own clusters from both sides.
  void find_tiles(const Bunch& bunch, double cutoff, Workspace<T, S>& workspace, bool once) const {
    workspace.tiles.resize(std::max(workspace.tiles.size(), this->present_.size()));
    workspace.mutual.resize(workspace.tiles.size());
    for (size_t slot = 0; slot < this->present_.size(); ++slot) {
      workspace.tiles[slot].clear();
      workspace.mutual[slot].clear();
    }
    const std::vector<Cluster>& clusters = this->neighbours().clusters;
    const auto found = [&](int cluster, const Vec3& offset, const Shift& shift) {
      const bool own = cluster < bunch.last, both = !once || (own && shift == Shift{0, 0, 0});
      if (once && own && shift < Shift{0, 0, 0}) return;
      Tile<S> tile{cluster, {offset[0], offset[1], offset[2]}};
      if constexpr (Base::dual)
        for (int d = 0; d < 3; ++d) tile.offset[d].d = this->shift_tangent(shift, d);
      auto& tiles = both ? workspace.tiles : workspace.mutual;
      tiles[clusters[cluster].slot].add(tile, clusters[cluster].half, bunch.box.half,
                                        touching_gap * double(this->in_.range.farthest()));
      if (!both) workspace.reactions.meet(cluster);
    };
    this->neighbours_.visit(bunch.box, cutoff, once ? bunch.first : 0, find_, workspace.search,
                            this->in_.watch, found);
  }

  const Find find_;
  std::vector<Workspace<T, S>> workspaces_;  // one a thread
  std::vector<Bunch> bunches_;
  OrderedSums reactions_;
};

}  // namespace d3

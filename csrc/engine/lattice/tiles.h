// The tiles of one cluster, collected for the kernels.
#pragma once
#include <algorithm>
#include <array>
#include <vector>

#include "engine/lattice/clusters.h"
#include "engine/lattice/lattice.h"
#include "engine/lattice/reactions.h"

namespace d3 {

// Tiles of one cluster and one species of neighbours; see TileList.
template <class T, class S> class TileGroup {
 public:
  void clear() {
    n_far_ = 0;
    near_.clear();
  }

  // Adds a tile with a box of half sides `half`, as seen from a box of half sides `centre_half`.
  // `touching` is a gap below which rounding may hide that boxes touch.
  void add(const Tile<S>& tile, const Vec3& half, const Vec3& centre_half, double touching) {
    double gap = 0;
    for (int k = 0; k < 3; ++k)
      gap = std::max(gap, std::abs(value(tile.offset[k])) - (half[k] + centre_half[k]));
    if (gap <= touching) return near_.push_back(tile);
    if (n_far_ + box_lanes >= int(far_.size())) grow();
    far_[n_far_] = tile;
    for (int k = 0; k < 3; ++k) {
      boxes_[k][n_far_] = float(value(tile.offset[k]));
      boxes_[3 + k][n_far_] = float(half[k]) + float(touching);
    }
    ++n_far_;
  }

  // The tiles as kernels read them, valid until the next tile is added.
  TileList<T, S> list() {
    if (far_.empty()) grow();
    for (int k = 0; k < 6; ++k)  // the last register runs over the end: out of reach of all
      std::fill_n(boxes_[k].begin() + n_far_, box_lanes, k < 3 ? no_tile_offset : 0.0f);
    const auto& b = boxes_;
    return {near_.data(),
            far_.data(),
            {b[0].data(), b[1].data(), b[2].data(), b[3].data(), b[4].data(), b[5].data()},
            in_reach_.data(),
            int(near_.size()),
            n_far_};
  }

 private:
  void grow() {
    const size_t size = 2 * far_.size() + first_tiles;
    far_.resize(size);
    in_reach_.resize(size + box_lanes);
    for (auto& column : boxes_) column.resize(size);
  }

  int n_far_ = 0;
  std::vector<Tile<S>> near_;
  std::vector<Tile<S>> far_;                 // the first n_far_ count, the rest is room
  std::array<std::vector<float>, 6> boxes_;  // of the far tiles
  std::vector<int> in_reach_;                // memory of the kernels
};

// Memory that a thread keeps from one cluster to the next, so that nothing is allocated in a loop.
template <class T, class S> struct Workspace {
  std::vector<TileGroup<T, S>> tiles;   // one for each species present, as the next three
  std::vector<TileGroup<T, S>> mutual;  // those met from one side alone
  std::vector<Group<T, S>> groups;
  std::vector<C6Row<S>> rows;
  Neighbourhood::Scratch search;
  Reactions<T> reactions;
};

}  // namespace d3

// Geometry of the lattice engine, in double precision and free of torch: atoms are wrapped into the
// cell, small cells are repeated, atoms of one species are grouped into compact clusters, and
// clusters are sorted into bins.
#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "engine/formulas/cell.h"
#include "engine/lattice/lattice.h"
#include "engine/watch.h"

namespace d3 {

// An atom, or an image of it at position(atom) + shift @ cell.
struct Point {
  Vec3 x;    // position
  int atom;  // index in the system
  int slot;  // index of its species among those present
  Shift shift;
};

// Up to `lanes` atoms of one species that lie close together, with their bounding box.
struct Cluster {
  Vec3 centre;
  Vec3 half;  // half sides of the box
  int slot;
  int first;  // its points are [first, first + count)
  int count;
};

// A cell with vectors along the non-periodic axes that enclose all atoms.
struct Frame : Geometry {
  Vec3 origin;

  // Coordinates in units of the cell vectors: [0, 1) inside the cell.
  Vec3 fractional(const Vec3& x) const {
    return d3::fractional(*this, {x[0] - origin[0], x[1] - origin[1], x[2] - origin[2]});
  }
};

// Completes a cell to three vectors and inverts it. False if the vectors along the periodic axes do
// not span a volume.
bool make_frame(const Cell& cell, const Periodic& periodic, const std::vector<Point>& atoms,
                Frame& frame);

// An atom at one of its images, counted in cells.
struct Partner {
  int atom;
  Shift image;
};

// The atom, or image of one, that comes closest to atom i, by looking at all: for messages alone.
// Images count from the positions as they are given.
Partner closest(int i, const std::vector<Point>& atoms, const Cell& cell, const Periodic& periodic);

// Atoms grouped into clusters.
class ClusterSet {
 public:
  std::vector<Point> points;  // grouped by cluster
  std::vector<Cluster> clusters;

  // Groups by species, then by halving along the longest side until a cluster fits into `lanes`:
  // that gives boxes that are nearly cubes, of which few touch a sphere.
  void build(const std::vector<Point>& atoms, int lanes);
};

// Images of the clusters around a box, found through bins.
class Neighbourhood {
 public:
  Shift repeat;  // the neighbours' cell is this many cells of the frame

  // Repeats a cell that is short of `wanted` atoms, up to `reach`; groups the atoms and sorts the
  // clusters into bins.
  void build(const Frame& frame, const std::vector<Point>& atoms, int lanes, double reach,
             int wanted);
  const ClusterSet& set() const { return set_; }

  // Bins [first, last) of an axis, at one image of the cell.
  struct Segment {
    int first;
    int last;
    int image;
  };

  // Memory of a search, one for each thread.
  struct Scratch {
    std::vector<Segment> segments[3];
    std::vector<int> hits;
  };

  // Calls found(cluster, vector from the centre of `box` to its centre, shift) for all clusters
  // from `least` on within the cutoff. Stops early when the watch says so.
  template <class F>
  void visit(const Cluster& box, double cutoff, int least, Find find, Scratch& scratch,
             Watch* watch, F&& found) const;

 private:
  void sort_into_bins();
  void fill_columns();
  void segments(int axis, const Cluster& box, double cutoff, bool by_bin,
                std::vector<Segment>& out) const;

  std::vector<Point> images_;    // atoms of the repeated cell
  std::vector<int> bin_;         // bin of each cluster, before they are sorted
  std::vector<int> order_;       // next free place of each bin
  std::vector<Cluster> sorted_;  // clusters in the order of their bins
  Frame frame_;                  // of the repeated cell
  ClusterSet set_;
  std::array<int, 3> bins_;
  Vec3 widest_;                                // largest fractional half extent of a cluster
  std::vector<int> start_;                     // first cluster of each bin
  std::array<std::vector<float>, 6> columns_;  // of the boxes
  double slack_;                               // more than the search loses by single precision
};

// The clusters of a row of bins along the last axis lie one after the other, so that `find` tests
// the boxes of a whole row in one call.
template <class F>
void Neighbourhood::visit(const Cluster& box, double cutoff, int least, Find find, Scratch& scratch,
                          Watch* watch, F&& found) const {
  auto& [s0, s1, s2] = scratch.segments;
  std::vector<int>& hits = scratch.hits;
  hits.resize(std::max(hits.size(), set_.clusters.size() + box_lanes));
  segments(0, box, cutoff, true, s0);
  segments(1, box, cutoff, true, s1);
  segments(2, box, cutoff, false, s2);
  const float half[3] = {float(box.half[0]), float(box.half[1]), float(box.half[2])};
  const Boxes boxes{{columns_[0].data(), columns_[1].data(), columns_[2].data(), columns_[3].data(),
                     columns_[4].data(), columns_[5].data()}};
  for (const Segment& a : s0) {
    if (stopped(watch)) return;
    for (const Segment& b : s1)
      for (const Segment& c : s2) {
        const int row = (a.first * bins_[1] + b.first) * bins_[2];
        const int first = std::max(start_[row + c.first], least), last = start_[row + c.last];
        if (first >= last) continue;
        Vec3 shift;
        for (int k = 0; k < 3; ++k)
          shift[k] = a.image * frame_.cell[0][k] + b.image * frame_.cell[1][k] +
                     c.image * frame_.cell[2][k] - box.centre[k];
        const float narrow[3] = {float(shift[0]), float(shift[1]), float(shift[2])};
        const int n = find(boxes, first, last, narrow, half, float(cutoff + slack_), hits.data());
        const Shift image{a.image * repeat[0], b.image * repeat[1], c.image * repeat[2]};
        for (int k = 0; k < n; ++k) {
          const Vec3& centre = set_.clusters[hits[k]].centre;
          found(hits[k], Vec3{centre[0] + shift[0], centre[1] + shift[1], centre[2] + shift[2]},
                image);
        }
      }
  }
}

}  // namespace d3

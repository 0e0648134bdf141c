// Cells, clusters and bins: see clusters.h.
#include "engine/lattice/clusters.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <tuple>
#include <utility>

namespace d3 {
namespace {

// Moves points[first, last) into clusters of at most `lanes`, halving at multiples of it along the
// longest side.
void halve(std::vector<Point>& points, int first, int last, int lanes, std::vector<Cluster>& out) {
  Vec3 low = points[first].x, high = low;
  for (int p = first + 1; p < last; ++p)
    for (int k = 0; k < 3; ++k) {
      low[k] = std::min(low[k], points[p].x[k]);
      high[k] = std::max(high[k], points[p].x[k]);
    }
  const int n = last - first;
  if (n <= lanes) {
    Cluster c{{}, {}, points[first].slot, first, n};
    for (int k = 0; k < 3; ++k) {
      c.centre[k] = 0.5 * (low[k] + high[k]);
      c.half[k] = 0.5 * (high[k] - low[k]);
    }
    return out.push_back(c);
  }
  int axis = 0;
  for (int k = 1; k < 3; ++k)
    if (high[k] - low[k] > high[axis] - low[axis]) axis = k;
  const int middle = first + (n / 2 + lanes - 1) / lanes * lanes;
  std::nth_element(points.begin() + first, points.begin() + middle, points.begin() + last,
                   [axis](const Point& a, const Point& b) {
                     return std::make_tuple(a.x[axis], a.atom, a.shift) <
                            std::make_tuple(b.x[axis], b.atom, b.shift);
                   });
  halve(points, first, middle, lanes, out);
  halve(points, middle, last, lanes, out);
}

}  // namespace

bool make_frame(const Cell& cell, const Periodic& periodic, const std::vector<Point>& atoms,
                Frame& frame) {
  // the vectors of non-periodic axes are unit vectors first, and stretched around the atoms last
  frame = {};
  frame.cell = cell;
  frame.periodic = periodic;
  if (!complete_and_invert(frame)) return false;
  for (int axis = 0; axis < 3; ++axis) {
    if (periodic[axis] || atoms.empty()) continue;
    const Vec3 unit = frame.cell[axis];
    double low = inner(atoms[0].x, unit), high = low;
    for (const Point& p : atoms) {
      low = std::min(low, inner(p.x, unit));
      high = std::max(high, inner(p.x, unit));
    }
    const double extent = (high - low) * (1 + open_axis_stretch) + open_axis_margin;
    for (int k = 0; k < 3; ++k) {
      frame.cell[axis][k] *= extent;
      frame.origin[k] += low * unit[k];
    }
  }
  invert(frame);
  return true;
}

Partner closest(int i, const std::vector<Point>& atoms, const Cell& cell,
                const Periodic& periodic) {
  Frame frame;
  make_frame(cell, periodic, {}, frame);
  Partner found{i, {0, 0, 0}};
  double least = std::numeric_limits<double>::infinity();
  for (const Point& p : atoms) {
    Vec3 apart;
    for (int k = 0; k < 3; ++k) apart[k] = p.x[k] - atoms[i].x[k];
    const Vec3 f = frame.fractional(apart);
    // the closest image is the nearest in fractional coordinates, or next to it in a skew cell
    Shift nearest;
    for (int k = 0; k < 3; ++k) nearest[k] = periodic[k] ? -int(std::round(f[k])) : 0;
    for (int n = 0; n < 27; ++n) {
      const int step[3] = {n / 9 - 1, n / 3 % 3 - 1, n % 3 - 1};
      Partner image{p.atom, nearest};
      Vec3 x = apart;
      bool outside = false;
      for (int k = 0; k < 3; ++k) {
        image.image[k] += step[k];
        outside = outside || (step[k] && !periodic[k]);
        for (int d = 0; d < 3 && periodic[k]; ++d) x[d] += image.image[k] * cell[k][d];
      }
      const bool itself = p.atom == i && image.image == Shift{0, 0, 0};
      if (outside || itself || !(inner(x, x) < least)) continue;
      least = inner(x, x);
      found = image;
    }
  }
  return found;
}

void ClusterSet::build(const std::vector<Point>& atoms, int lanes) {
  points.clear();
  clusters.clear();
  for (int slot = 0; points.size() < atoms.size(); ++slot) {
    const int first = int(points.size());
    for (const Point& p : atoms)
      if (p.slot == slot) points.push_back(p);
    if (int(points.size()) > first) halve(points, first, int(points.size()), lanes, clusters);
  }
}

void Neighbourhood::build(const Frame& frame, const std::vector<Point>& atoms, int lanes,
                          double reach, int wanted) {
  frame_ = frame;
  repeat = {1, 1, 1};
  // repeats along the axis that is shortest so far; an axis as long as the reach gains nothing
  int64_t n = atoms.size();
  while (n > 0 && n < wanted) {
    int axis = -1;
    for (int k = 0; k < 3; ++k)
      if (frame.periodic[k] && frame_.height[k] < reach &&
          (axis < 0 || frame_.height[k] < frame_.height[axis]))
        axis = k;
    if (axis < 0) break;
    n = n / repeat[axis] * (repeat[axis] + 1);
    ++repeat[axis];
    for (int k = 0; k < 3; ++k) frame_.cell[axis][k] = frame.cell[axis][k] * repeat[axis];
    frame_.height[axis] = frame.height[axis] * repeat[axis];
  }
  invert(frame_);
  images_.clear();
  for (int a = 0; a < repeat[0]; ++a)
    for (int b = 0; b < repeat[1]; ++b)
      for (int c = 0; c < repeat[2]; ++c)
        for (Point p : atoms) {
          for (int k = 0; k < 3; ++k)
            p.x[k] += a * frame.cell[0][k] + b * frame.cell[1][k] + c * frame.cell[2][k];
          p.shift[0] += a;
          p.shift[1] += b;
          p.shift[2] += c;
          images_.push_back(p);
        }
  set_.build(images_, lanes);
  sort_into_bins();
}

// Makes bins of `clusters_of_bin` clusters or so; the clusters are put in the order of their bins.
void Neighbourhood::sort_into_bins() {
  std::vector<Cluster>& clusters = set_.clusters;
  const double side = std::cbrt(frame_.volume * clusters_of_bin /
                                std::max<double>(double(clusters.size()), clusters_of_bin));
  widest_ = {};
  for (int k = 0; k < 3; ++k) {
    bins_[k] = int(std::clamp(std::round(frame_.height[k] / side), 1.0,
                              double(std::min<size_t>(most_bins, clusters.size() + 1))));
    for (const Cluster& c : clusters) widest_[k] = std::max(widest_[k], extent(frame_, k, c.half));
  }
  bin_.resize(clusters.size());
  for (size_t n = 0; n < clusters.size(); ++n) {
    const Vec3 f = frame_.fractional(clusters[n].centre);
    std::array<int, 3> b;
    for (int k = 0; k < 3; ++k)
      b[k] = std::clamp(int(std::floor(f[k] * bins_[k])), 0, bins_[k] - 1);
    bin_[n] = (b[0] * bins_[1] + b[1]) * bins_[2] + b[2];
  }
  start_.assign(size_t(bins_[0]) * bins_[1] * bins_[2] + 1, 0);
  for (int b : bin_) ++start_[b + 1];
  std::partial_sum(start_.begin(), start_.end(), start_.begin());
  sorted_.resize(clusters.size());
  order_.assign(start_.begin(), start_.end() - 1);
  for (size_t n = 0; n < clusters.size(); ++n) sorted_[order_[bin_[n]]++] = clusters[n];
  clusters.swap(sorted_);
  fill_columns();
}

// Copies the boxes into columns of single precision, and notes how much they may be off.
void Neighbourhood::fill_columns() {
  double largest = 0;
  for (int k = 0; k < 6; ++k) {
    columns_[k].assign(set_.clusters.size() + box_lanes, 0.0f);
    for (size_t n = 0; n < set_.clusters.size(); ++n) {
      const Cluster& c = set_.clusters[n];
      const double x = k < 3 ? c.centre[k] : c.half[k - 3];
      columns_[k][n] = float(x);
      largest = std::max(largest, std::abs(x));
    }
    if (k < 3)
      largest +=
          std::abs(frame_.cell[0][k]) + std::abs(frame_.cell[1][k]) + std::abs(frame_.cell[2][k]);
  }
  slack_ = box_slack * largest;
}

// The bins along an axis that may hold a cluster within the cutoff of the box: bin by bin, or as
// one run for each image.
void Neighbourhood::segments(int axis, const Cluster& box, double cutoff, bool by_bin,
                             std::vector<Segment>& out) const {
  out.clear();
  const int n = bins_[axis];
  const double middle = frame_.fractional(box.centre)[axis];
  // the clamp in sort_into_bins and rounding move a centre by less than this
  const double reach = extent(frame_, axis, box.half) + widest_[axis] +
                       (cutoff + slack_) / frame_.height[axis] + fractional_slack;
  int low = int(std::floor((middle - reach) * n)), high = int(std::floor((middle + reach) * n));
  if (!frame_.periodic[axis]) {
    low = std::max(low, 0);
    high = std::min(high, n - 1);
  }
  for (int b = low; b <= high;) {
    const int image = (b >= 0 ? b : b - n + 1) / n, first = b - image * n;
    const int last = by_bin ? first + 1 : std::min(n, first + high - b + 1);
    out.push_back({first, last, image});
    b += last - first;
  }
}

}  // namespace d3

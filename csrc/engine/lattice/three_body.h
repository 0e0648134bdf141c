// The sweep over triangles: the three-body energy of every atom and its derivatives; see
// formulas/three_body.h.
//
// A thread takes a few atoms that lie together, the corners, and collects the tiles around them.
// The factors of the sides from every corner to every neighbour are computed once. Then every two
// tiles J and K, or one with itself, make a block of sides, which all corners share, and each
// triangle of a corner and a side of the block adds to the sums of the two sides that meet in the
// corner. At the end these sums go to the corners: nothing else is written, so that results do not
// depend on the number of threads. Clusters hold atoms of all species here: their boxes are
// smaller, and fewer triangles are looked at in vain.
#pragma once
#include <omp.h>

#include <algorithm>
#include <vector>

#include "engine/formulas/three_body.h"
#include "engine/lattice/corners.h"
#include "engine/lattice/tail_sums.h"

namespace d3 {

// The sweeps and the tail of a system with the sweep over triangles.
template <class T, class Types> class ThreeBodySweep : public TailSweeps<T, Types> {
 public:
  using Base = TailSweeps<T, Types>;
  using typename Base::A;
  using typename Base::S;

 protected:
  using Base::dual, Base::in_, Base::present_;

  ThreeBodySweep(const LatticeInput<T>& in, const LatticeTangents<T>* tangents, Find find,
                 const LatticeKernels<T, S, A>& kernels)
      : Base(in, tangents, find, kernels), find_(find), kernels_(kernels.three_body) {}

  bool triangles() const { return in_.three_body.cutoff > 0; }

  // Neighbours of an atom within the three-body cutoff, roughly, and whether they are too many.
  double corners_of_one() const {
    return triangles() ? this->neighbours_of_one(in_.three_body.cutoff) : 0;
  }
  bool too_many_triangles(double corners) const {
    return corners > most_three_body_neighbours ||
           corners * corners * this->n_centres_ > 2 * most_triangles;
  }

  // Adds the three-body energy of the atoms in the middle and its derivatives to those of the
  // pairs; by CN, so before the sweep that takes dE/dCN. The weights of all must be there.
  void add_three_body(int threads) {
    prepare_corners();
    virial3_.assign(6 * corners_.clusters.size(), A(0.0));
    by_s9_.assign(corners_.clusters.size(), A(0.0));
    for_corners(threads, [this](int c, const Corners<T, S>& corners, Work& work) {
      work.out.assign(corners.n, {});
      kernels_.finish(corners, work.out.data());
      for (int k = 0; k < corners.n; ++k) add(c, corner(c, k), work.out[k]);
    });
  }

  // Calls body(cluster of corners, what the kernels have written for them, memory of the thread).
  template <class F> void for_corners(int threads, F&& body) {
    work_.resize(std::max<size_t>(work_.size(), threads));
    const int n = int(corners_.clusters.size());
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1) if (threads > 1)
    for (int c = 0; c < n; ++c)
      if (!this->stopping()) at_corners(c, work_[threads > 1 ? omp_get_thread_num() : 0], body);
  }

  // The atom of a corner.
  int corner(int c, int k) const { return corners_.points[corners_.clusters[c].first + k].atom; }

  // Groups neighbours and corners, regardless of species, and fills what kernels read.
  void prepare_corners() {
    slot_.resize(this->n_);
    std::vector<Point> points = this->atoms_;
    for (Point& p : points) {
      slot_[p.atom] = p.slot;
      p.slot = 0;
    }
    around_.build(this->frame_, points, lanes<T>, in_.three_body.cutoff, least_clusters * lanes<T>);
    points.resize(this->n_centres_);
    corners_.build(points, most_corners);
    fill_tables();
    fill_rows();
    fill_c6_rows();
  }

  std::vector<A> virial3_;  // (clusters of corners, 6)
  std::vector<A> by_s9_;    // (clusters of corners)

 private:
  // Memory of a thread.
  struct Work {
    std::vector<Tile<S>> tiles;
    std::vector<Centre<S>> corners;
    std::vector<const S*> c6, dc6;
    std::vector<int> slots;
    std::vector<S> dc6_rows;
    std::vector<T, Aligned<T>> sides;
    std::vector<double, Aligned<double>> sums;
    std::vector<uint32_t> reached;
    std::vector<EnergySums<A>> out;
    Neighbourhood::Scratch search;
  };

  // The references of the species present, side by side, and the scales of their pairs.
  void fill_tables() {
    const int n = int(present_.size());
    first_ref_.assign(1, 0);
    for (int slot = 0; slot < n; ++slot)
      first_ref_.push_back(first_ref_.back() + present_.n_refs(slot));
    scale_.resize(n * n);
    for (int k = 0; k < n * n; ++k)
      scale_[k] = T(side_scale(
          in_.tables.radii[int64_t(present_[k / n]) * in_.tables.n_species + present_[k % n]]));
  }

  // Rows of the neighbours, see CornerRow, and the species and atoms of their clusters.
  void fill_rows() {
    const ClusterSet& set = around_.set();
    rows_.assign(set.clusters.size() * n_corner_rows * lanes<T>, T(0));
    t_rows_.assign(dual ? rows_.size() : 0, T(0));
    atom_.assign(set.clusters.size() * lanes<T>, -1);
    half_.clear();
    slots_in_.clear();
    first_slot_.assign(1, 0);
    for (size_t c = 0; c < set.clusters.size(); ++c) {
      const Cluster& cluster = set.clusters[c];
      half_.insert(half_.end(), cluster.half.begin(), cluster.half.end());
      const double nowhere = this->padding(cluster, in_.three_body.cutoff);
      for (int lane = 0; lane < lanes<T>; ++lane) fill_lane(c, lane, nowhere);
      std::vector<int> slots;
      for (int lane = 0; lane < cluster.count; ++lane)
        slots.push_back(slot_[atom_[c * lanes<T> + lane]]);
      std::sort(slots.begin(), slots.end());
      slots_in_.insert(slots_in_.end(), slots.begin(), std::unique(slots.begin(), slots.end()));
      first_slot_.push_back(int(slots_in_.size()));
    }
  }

  void fill_lane(size_t c, int lane, double nowhere) {
    const Cluster& cluster = around_.set().clusters[c];
    A x[3] = {A(nowhere), A(nowhere), A(nowhere)};
    if (lane < cluster.count) {
      const Point& p = around_.set().points[cluster.first + lane];
      this->relative_position(p, cluster.centre, x);
      atom_[c * lanes<T> + lane] = p.atom;
      put(c, corner_slot, lane, A(double(slot_[p.atom])));
      for (int a = 0; a < in_.tables.n_refs; ++a) put(c, corner_w + a, lane, this->w(p.atom)[a]);
    }
    for (int k = 0; k < 3; ++k) put(c, corner_x + k, lane, x[k]);
  }

  void put(size_t cluster, int row, int lane, A x) {
    const size_t at = (cluster * n_corner_rows + row) * lanes<T> + lane;
    rows_[at] = T(value(x));
    if constexpr (dual) t_rows_[at] = T(x.d);
  }

  // C6 rows of every atom, or their derivatives by its CN, against all species present.
  void c6_rows(const A* weights, int slot, S* out) const {
    for (int other = 0; other < int(present_.size()); ++other) {
      S row[max_refs];
      this->c6_row(weights, slot, other, row);
      std::copy_n(row, present_.n_refs(other), out + first_ref_[other]);
    }
  }

  void fill_c6_rows() {
    const int n = first_ref_.back();
    c6_rows_.resize(size_t(this->n_) * n);
    for (int i = 0; i < this->n_; ++i) c6_rows(this->w(i), slot_[i], &c6_rows_[size_t(i) * n]);
  }

  // Everything for the corners of one cluster.
  template <class F> void at_corners(int c, Work& work, F&& body) {
    const Cluster& cluster = corners_.clusters[c];
    find_tiles(cluster, work);
    fill_corners(cluster, work);
    const Corners<T, S> corners = corners_of(cluster.count, work);
    kernels_.fill(corners);
    for (int tile = 0; tile < corners.n_tiles; ++tile) {
      if (this->stopping()) return;
      kernels_.triangles(corners, tile);
    }
    body(c, corners, work);
  }

  // Collects the clusters and images within the cutoff of the corners.
  void find_tiles(const Cluster& box, Work& work) const {
    work.tiles.clear();
    const auto found = [&](int cluster, const Vec3& offset, const Shift& shift) {
      Tile<S> tile{cluster, {offset[0], offset[1], offset[2]}};
      if constexpr (dual)
        for (int d = 0; d < 3; ++d) tile.offset[d].d = this->shift_tangent(shift, d);
      work.tiles.push_back(tile);
    };
    around_.visit(box, in_.three_body.cutoff, 0, find_, work.search, in_.watch, found);
  }

  // Positions, species and C6 rows of a cluster of corners.
  void fill_corners(const Cluster& cluster, Work& work) const {
    const int n = cluster.count, n_all = first_ref_.back();
    work.corners.resize(n);
    work.c6.resize(n);
    work.dc6.resize(n);
    work.slots.resize(n);
    work.dc6_rows.resize(n * n_all);
    for (int k = 0; k < n; ++k) {
      const Point& p = corners_.points[cluster.first + k];
      const int slot = slot_[p.atom];
      this->relative_position(p, cluster.centre, work.corners[k].position);
      c6_rows(this->dw(p.atom), slot, &work.dc6_rows[k * n_all]);
      work.c6[k] = &c6_rows_[size_t(p.atom) * n_all];
      work.dc6[k] = &work.dc6_rows[k * n_all];
      work.slots[k] = slot;
    }
  }

  // What the kernels read and write for n corners.
  Corners<T, S> corners_of(int n, Work& work) const {
    const int n_tiles = int(work.tiles.size());
    const size_t meetings = size_t(n_tiles) * n * lanes<T>, numbers = dual ? 2 : 1;
    work.sides.resize(std::max(work.sides.size(), n_side_columns * meetings * numbers));
    work.sums.assign(n_side_sums * meetings * numbers, 0.0);
    work.reached.resize(std::max(work.reached.size(), size_t(n_tiles) * n));
    return {work.tiles.data(),
            n_tiles,
            work.corners.data(),
            work.slots.data(),
            work.c6.data(),
            work.dc6.data(),
            n,
            {rows_.data(), t_rows_.empty() ? nullptr : t_rows_.data()},
            half_.data(),
            atom_.data(),
            slot_.data(),
            c6_rows_.data(),
            slots_in_.data(),
            first_slot_.data(),
            first_ref_.data(),
            scale_.data(),
            int(present_.size()),
            {in_.three_body.cutoff, in_.three_body.width},
            this->shell(in_.three_body.cutoff),
            in_.gradients,
            {work.sides.data(), work.sides.data() + n_side_columns * meetings},
            {work.sums.data(), work.sums.data() + n_side_sums * meetings},
            work.reached.data()};
  }

  // A corner has a third of each of its triangles, and each of these is in the sums of two sides.
  void add(int c, int atom, const EnergySums<A>& sums) {
    const A s9 = this->damping_[in_.n_damping() - 1];
    by_s9_[c] += A(1.0 / 6.0) * sums.energy;
    this->energy_[atom] += s9 * (A(1.0 / 6.0) * sums.energy);
    if (!in_.gradients) return;
    this->dcn_[atom] += s9 * sums.dcn;
    for (int k = 0; k < 3; ++k) this->gradient_[3 * atom + k] += -(s9 * sums.gradient[k]);
    for (int k = 0; k < 6; ++k) virial3_[6 * c + k] += s9 * (A(0.5) * sums.virial[k]);
    for (int k = 0; k < 6 && !this->atom_virial_.empty(); ++k)
      this->atom_virial_[6 * atom + k] += s9 * (A(0.5) * sums.virial[k]);
  }

  const Find find_;
  const ThreeBodyKernels<T, S, A> kernels_;
  std::vector<Work> work_;             // one a thread
  Neighbourhood around_;               // clusters of all species together
  ClusterSet corners_;                 // the atoms themselves, by the few
  std::vector<int> slot_;              // species of each atom among those present
  std::vector<int> first_ref_;         // first reference of each species present, and their number
  std::vector<T> scale_;               // (n_slots, n_slots), 1/(4/3 r0)^2
  std::vector<S> c6_rows_;             // (n, references of all species present)
  std::vector<T, Aligned<T>> rows_;    // (n_clusters, n_corner_rows, lanes)
  std::vector<T, Aligned<T>> t_rows_;  // their tangents
  std::vector<double> half_;           // (n_clusters, 3)
  std::vector<int> atom_;              // (n_clusters, lanes), -1 for padding
  std::vector<int> slots_in_;          // species of a cluster, one cluster after the other
  std::vector<int> first_slot_;        // the first of each cluster
};

}  // namespace d3

// One system of the lattice engine: geometry, the rows that kernels read, and results per atom. An
// object serves one system after another and keeps its memory.
#pragma once
#include <array>
#include <cmath>
#include <type_traits>
#include <vector>

#include "engine/lattice/aligned.h"
#include "engine/lattice/clusters.h"
#include "engine/lattice/lattice.h"
#include "engine/present_species.h"

namespace d3 {

// The scalars of a plain and of a dual evaluation: S in kernels, A in sums.
template <class T> struct PlainTypes {
  using S = T;
  using A = double;
};
template <class T> struct DualTypes {
  using S = Dual<T>;
  using A = Dual<double>;
};

// The geometry of a system; Types is PlainTypes or DualTypes.
template <class T, class Types> class System {
 public:
  using S = typename Types::S;
  using A = typename Types::A;
  static constexpr bool dual = !std::is_same_v<S, T>;

  System(const LatticeInput<T>& input, const LatticeTangents<T>* tangents)
      : in_(input), tangents_(tangents), present_(input.tables) {}

  // Reads and checks a system, wraps its atoms, makes clusters and bins. Results are summed up for
  // the first n_centres atoms, by default for all; all atoms are neighbours in any case.
  LatticeError prepare(int64_t system, int n_centres = -1) {
    Cell cell;
    Periodic periodic;
    read(system, cell, periodic);
    for (const Point& p : atoms_)
      if (!std::isfinite(p.x[0] + p.x[1] + p.x[2]))
        return {LatticeError::not_finite, system, p.atom};
    for (const Point& p : atoms_)
      if (std::abs(p.x[0]) + std::abs(p.x[1]) + std::abs(p.x[2]) > farthest)
        return {LatticeError::too_far, system, p.atom};
    range_ = in_.range.of(!(periodic[0] || periodic[1] || periodic[2]));
    if (!make_frame(cell, periodic, atoms_, frame_))
      return {LatticeError::singular_cell, system, 0};
    for (Point& p : atoms_)
      if (!wrap(frame_, frame_.fractional(p.x), p.x, p.shift))
        return {LatticeError::too_far, system, p.atom};
    neighbours_.build(frame_, atoms_, lanes<T>, range_.farthest(), least_clusters * lanes<T>);
    n_centres_ = n_centres < 0 ? n_ : n_centres;
    const bool part = n_centres_ < n_, repeated = neighbours_.set().points.size() != atoms_.size();
    if (part)
      own_.build({atoms_.begin(), atoms_.begin() + n_centres_}, lanes<T>);
    else if (repeated)
      own_.build(atoms_, lanes<T>);
    centres_ = part || repeated ? &own_ : &neighbours_.set();
    fill_positions();
    return {};
  }

 protected:
  // An input as a number to compute with: its value, and its tangent where there is one.
  A input(const T* values, const T* t_values, int64_t k) const {
    if constexpr (dual)
      return {double(values[k]), double(t_values[k])};
    else
      return double(values[k]);
  }
  const T* t_positions() const { return tangents_ ? tangents_->positions : nullptr; }
  const T* t_cell() const { return tangents_ ? tangents_->cell : nullptr; }
  const T* t_damping() const { return tangents_ ? tangents_->damping : nullptr; }

  // The rows of the neighbours, see ClusterRows.
  ClusterRows<T> rows() const { return {rows_.data(), t_rows_.empty() ? nullptr : t_rows_.data()}; }
  const ClusterSet& neighbours() const { return neighbours_.set(); }

  // Sets a number of a neighbour in the rows that kernels read.
  void put_row(size_t cluster, int row, int lane, A x) {
    const size_t at = (cluster * n_rows + row) * lanes<T> + lane;
    if constexpr (dual) {
      rows_[at] = T(x.v);
      t_rows_[at] = T(x.d);
    } else
      rows_[at] = T(x);
  }

  // Where lanes without an atom are put: out of reach.
  static double padding(const Cluster& cluster, double reach) {
    return padding_reaches * (reach + cluster.half[0] + cluster.half[1] + cluster.half[2]) +
           padding_margin;
  }

  // Calls f(cluster, lane, atom) for every neighbour, images included.
  template <class F> void for_lanes(F&& f) const {
    const ClusterSet& set = neighbours();
    for (size_t c = 0; c < set.clusters.size(); ++c)
      for (int lane = 0; lane < set.clusters[c].count; ++lane)
        f(c, lane, set.points[set.clusters[c].first + lane].atom);
  }

  // The tangent of a lattice translation along d; 0 in a plain evaluation.
  double shift_tangent(const Shift& shift, int d) const {
    if constexpr (dual)
      return shift[0] * cell_[0][d].d + shift[1] * cell_[1][d].d + shift[2] * cell_[2][d].d;
    return 0;
  }

  // Position of an atom relative to the centre of its cluster. An atom that was wrapped, or is an
  // image, moves with the cell: its tangent has a part from the cell.
  void relative_position(const Point& p, const Vec3& centre, A* x) const {
    for (int d = 0; d < 3; ++d) {
      x[d] = A(p.x[d] - centre[d]);
      if constexpr (dual)
        x[d].d = double(t_positions()[3 * (first_ + p.atom) + d]) + shift_tangent(p.shift, d);
    }
  }

  // Neighbours of an atom within a cutoff, roughly: the atoms that a homogeneous system has in a
  // box with sides of twice the cutoff.
  double neighbours_of_one(double cutoff) const {
    double neighbours = n_;
    for (int k = 0; k < 3; ++k) {
      const double cells = 2 * cutoff / frame_.height[k];
      neighbours *= frame_.periodic[k] ? cells : std::min(cells, 1.0);
    }
    return neighbours;
  }

  const LatticeInput<T>& in_;
  const LatticeTangents<T>* tangents_;
  int64_t system_ = 0, first_ = 0;
  Range<T> range_;  // of this system
  int n_ = 0;
  int n_centres_ = 0;  // the first of them, in the middle
  PresentSpecies<T> present_;
  A damping_[most_damping];
  A cell_[3][3];
  Frame frame_;
  Neighbourhood neighbours_;
  std::vector<Point> atoms_;  // wrapped into the cell
  const ClusterSet* centres_ =
      nullptr;  // the atoms themselves: the neighbours' clusters, unless those are more

 private:
  // Reads the inputs of a system; `cell` is 0 along axes that are not periodic.
  void read(int64_t system, Cell& cell, Periodic& periodic) {
    system_ = system;
    first_ = in_.systems.offsets[system];
    n_ = int(in_.systems.offsets[system + 1] - first_);
    const int n_damping = in_.n_damping();
    for (int k = 0; k < n_damping; ++k)
      damping_[k] = input(in_.damping, t_damping(), n_damping * system + k);
    for (int k = 0; k < 3; ++k) {
      periodic[k] = in_.systems.pbc[3 * system + k];
      for (int d = 0; d < 3; ++d) {
        cell_[k][d] = input(in_.systems.cell, t_cell(), 9 * system + 3 * k + d);
        cell[k][d] = periodic[k] ? value(cell_[k][d]) : 0.0;
      }
    }
    read_atoms();
  }

  // Fills atoms_ and numbers the species.
  void read_atoms() {
    present_.clear();
    atoms_.resize(n_);
    for (int i = 0; i < n_; ++i) {
      const int slot = present_.add(in_.systems.species[first_ + i]);
      const T* x = in_.systems.positions + 3 * (first_ + i);
      atoms_[i] = {{double(x[0]), double(x[1]), double(x[2])}, i, slot, {0, 0, 0}};
    }
  }

  // Lanes without an atom are put out of reach.
  void fill_positions() {
    const ClusterSet& set = neighbours();
    const size_t size = set.clusters.size() * n_rows * lanes<T>;
    rows_.assign(size, T(0));
    t_rows_.assign(dual ? size : 0, T(0));
    const double reach = range_.farthest();
    for (size_t c = 0; c < set.clusters.size(); ++c) {
      const Cluster& cluster = set.clusters[c];
      const double nowhere = padding(cluster, reach);
      for (int lane = 0; lane < lanes<T>; ++lane) {
        A x[3] = {A(nowhere), A(nowhere), A(nowhere)};
        if (lane < cluster.count)
          relative_position(set.points[cluster.first + lane], cluster.centre, x);
        for (int k = 0; k < 3; ++k) put_row(c, row_x + k, lane, x[k]);
      }
    }
  }

  ClusterSet own_;  // the clusters to sum for, where they are not those of the neighbours
  std::vector<T, Aligned<T>> rows_;    // see ClusterRows in lattice.h
  std::vector<T, Aligned<T>> t_rows_;  // their tangents
};

}  // namespace d3

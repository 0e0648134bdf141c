// The three sweeps of the lattice engine over the clusters of one system, with the kernels of an
// instruction set.
//
// A sweep goes over bunches of clusters, a thread at each: it finds the tiles around the bunch,
// then calls a body (count, energy, count_gradient) for each cluster, which calls the kernel for
// each atom. Nothing but the atom's own results is written, so that threads need no locks.
#pragma once
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/lattice/system.h"
#include "engine/lattice/tiles.h"

namespace d3 {

// See system.h for Types; results per atom are kept here, in A.
template <class T, class Types> class Sweeps : public System<T, Types> {
 public:
  using Base = System<T, Types>;
  using typename Base::A;
  using typename Base::S;

 protected:
  using Base::dual, Base::in_, Base::n_, Base::first_, Base::present_, Base::centres_, Base::range_;
  // The body of a sweep: sums for the atoms of one cluster, whose tiles are in the workspace with
  // offsets from `origin`. Returns the first of its atoms that sits on another, or n_.
  using Sweep = int (Sweeps::*)(int cluster, const Vec3& origin, Workspace<T, S>&);

  Sweeps(const LatticeInput<T>& in, const LatticeTangents<T>* tangents, Find find,
         const LatticeKernels<T, S, A>& kernels)
      : Base(in, tangents), find_(find), kernels_(kernels) {}

  // Makes room for the results of the system that was prepared.
  void allocate(int threads) {
    const size_t n_clusters = centres_->clusters.size(), n_refs = in_.tables.n_refs;
    cn_.resize(n_);
    energy_.resize(n_);
    dcn_.resize(n_);
    gradient_.resize(3 * n_);
    w_.resize(2 * n_refs * n_);
    virial_.assign(6 * n_clusters, A(0.0));
    by_damping_.assign(most_damping * n_clusters, A(0.0));
    workspaces_.resize(std::max<size_t>(workspaces_.size(), threads));
    gather_bunches();
  }

  bool stopping() const { return stopped(in_.watch); }

  // Runs a body over all clusters. Returns the first atom that sits on another, or -1. When the
  // watch stops it, the remaining clusters are left undone.
  int sweep(double cutoff, int threads, Sweep body) {
    const int n = int(bunches_.size());
    int bad = n_;
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1) \
    reduction(min : bad) if (threads > 1)
    for (int b = 0; b < n; ++b) {
      if (stopping()) continue;
      const Bunch& bunch = bunches_[b];
      Workspace<T, S>& workspace = workspaces_[threads > 1 ? omp_get_thread_num() : 0];
      find_tiles(bunch.box, cutoff, workspace);
      for (int c = bunch.first; c < bunch.last; ++c)
        bad = std::min(bad, (this->*body)(c, bunch.box.centre, workspace));
    }
    return bad == n_ ? -1 : bad;
  }

  // Collects the clusters and images within the cutoff of a box, by species of the neighbours.
  void find_tiles(const Cluster& box, double cutoff, Workspace<T, S>& workspace) const {
    auto& tiles = workspace.tiles;
    tiles.resize(std::max(tiles.size(), present_.size()));
    for (size_t slot = 0; slot < present_.size(); ++slot) tiles[slot].clear();
    const std::vector<Cluster>& clusters = this->neighbours().clusters;
    const auto found = [&](int cluster, const Vec3& offset, const Shift& shift) {
      Tile<S> tile{cluster, {offset[0], offset[1], offset[2]}};
      if constexpr (dual)
        for (int d = 0; d < 3; ++d) tile.offset[d].d = this->shift_tangent(shift, d);
      tiles[clusters[cluster].slot].add(tile, clusters[cluster].half, box.half,
                                        touching_gap * cutoff);
    };
    this->neighbours_.visit(box, cutoff, find_, workspace.search, in_.watch, found);
  }

  // The distances of neighbours, squared.
  Shell<T> shell(T cutoff) const {
    const T same = T(same_spot_distance) * cutoff;
    return {cutoff * cutoff, same * same};
  }

  // Makes atom k of a cluster the central one, relative to an origin; returns its index.
  int centre(const Cluster& cluster, int k, const Vec3& origin, Centre<S>& out) const {
    const Point& p = centres_->points[cluster.first + k];
    this->relative_position(p, origin, out.position);
    return p.atom;
  }

  // The neighbours of a cluster's atoms, by species; with the damping where energies are to be
  // summed.
  const Group<T, S>* group(const Cluster& cluster, Workspace<T, S>& workspace, bool damped) const {
    workspace.groups.resize(present_.size());
    for (int slot = 0; slot < int(present_.size()); ++slot) {
      Group<T, S>& g = workspace.groups[slot];
      g.list = workspace.tiles[slot].list();
      g.rc = in_.tables.rcov[present_[cluster.slot]] + in_.tables.rcov[present_[slot]];
      g.n_refs = present_.n_refs(slot);
      if (damped) g.damping = damping(cluster.slot, slot);
    }
    return workspace.groups.data();
  }

  // Coordination numbers of a cluster's atoms.
  int count(int c, const Vec3& origin, Workspace<T, S>& workspace) {
    const Cluster& cluster = centres_->clusters[c];
    const Group<T, S>* groups = group(cluster, workspace, false);
    Centre<S> middle;
    int bad = n_;
    for (int k = 0; k < cluster.count && !stopping(); ++k) {
      CountSums<A> sums;
      const int atom = centre(cluster, k, origin, middle);
      kernels_.count(groups, int(present_.size()), this->rows(), middle, shell(in_.range.cn_cutoff),
                     sums);
      cn_[atom] = sums.cn;
      if (sums.coincident > 1) bad = std::min(bad, atom);
    }
    return bad;
  }

  // Weights of an atom and their derivatives by its CN, n_refs each.
  const A* w(int atom) const { return &w_[2 * in_.tables.n_refs * atom]; }
  const A* dw(int atom) const { return w(atom) + in_.tables.n_refs; }

  // Computes the weights of all atoms, and puts them into the rows that kernels read.
  void fill_weights() {
    for (const Point& p : this->atoms_) {
      A* at = &w_[2 * in_.tables.n_refs * p.atom];
      reference_weights(cn_[p.atom], present_.cn_ref(p.slot), in_.tables.n_refs, at,
                        at + in_.tables.n_refs);
    }
    this->for_lanes([this](size_t c, int lane, int atom) {
      for (int a = 0; a < in_.tables.n_refs; ++a) this->put_row(c, row_w + a, lane, w(atom)[a]);
    });
  }

  // Constants of the damping of two species, computed in A and then rounded to S.
  Damping<S> damping(int slot, int other) const {
    const A* parameters = this->damping_;
    const auto d = damping_of(in_.form, parameters, in_.tables, present_[slot], present_[other]);
    return converted(d, [](A x) { return narrow<S>(x); });
  }

  // C6 row of an atom against a species, from its weights or their derivatives.
  void c6_row(const A* weights, int slot, int other, S* row) const {
    A wide[max_refs] = {};
    contract(weights, present_.c6_ref(slot, other), in_.tables.n_refs, present_.n_refs(slot),
             present_.n_refs(other), wide);
    for (int b = 0; b < max_refs; ++b) row[b] = narrow<S>(wide[b]);
  }

  // Energies of a cluster's atoms, and their direct derivatives (at fixed CN) when asked for.
  int energy(int c, const Vec3& origin, Workspace<T, S>& workspace) {
    const Cluster& cluster = centres_->clusters[c];
    const EnergyMode mode = in_.learn       ? EnergyMode::learn
                            : in_.gradients ? EnergyMode::gradient
                                            : EnergyMode::energy;
    const auto kernel = kernels_.energy[int(in_.form)];
    const int n = int(present_.size());
    const Group<T, S>* groups = group(cluster, workspace, true);
    workspace.rows.resize(n);
    Centre<S> middle;
    for (int k = 0; k < cluster.count && !stopping(); ++k) {
      EnergySums<A> sums;
      const int atom = centre(cluster, k, origin, middle);
      for (int slot = 0; slot < n; ++slot) {
        c6_row(w(atom), cluster.slot, slot, workspace.rows[slot].c6);
        c6_row(dw(atom), cluster.slot, slot, workspace.rows[slot].dc6);
      }
      kernel(groups, workspace.rows.data(), n, this->rows(), middle, {range_.cutoff, range_.width},
             shell(range_.cutoff), mode, sums);
      add_energy(c, atom, sums);
    }
    return n_;
  }

  // E = -1/2 sum C6 g; dE/dCN and dE/dx take both directions of each pair.
  void add_energy(int c, int atom, const EnergySums<A>& sums) {
    const A half(-0.5);
    energy_[atom] = half * sums.energy;
    dcn_[atom] = -sums.dcn;
    for (int k = 0; k < 3; ++k) gradient_[3 * atom + k] = sums.gradient[k];
    add_virial(c, atom, half, sums);
    for (int k = 0; k < most_parameters; ++k)
      by_damping_[most_damping * c + k] += half * sums.damping[k];
  }

  // Adds the gradient through the coordination numbers, for which dE/dCN must be in the rows.
  int count_gradient(int c, const Vec3& origin, Workspace<T, S>& workspace) {
    const Cluster& cluster = centres_->clusters[c];
    const Group<T, S>* groups = group(cluster, workspace, false);
    Centre<S> middle;
    for (int k = 0; k < cluster.count && !stopping(); ++k) {
      EnergySums<A> sums;
      const int atom = centre(cluster, k, origin, middle);
      middle.dcn = narrow<S>(dcn_[atom]);
      kernels_.count_gradient(groups, int(present_.size()), this->rows(), middle,
                              shell(in_.range.cn_cutoff), sums);
      for (int d = 0; d < 3; ++d) gradient_[3 * atom + d] += -sums.gradient[d];
      add_virial(c, atom, A(0.5), sums);
    }
    return n_;
  }

  // Adds to the virial of a cluster, and of the atom where that is kept.
  void add_virial(int c, int atom, A factor, const EnergySums<A>& sums) {
    for (int k = 0; k < 6; ++k) virial_[6 * c + k] += factor * sums.virial[k];
    if (atom_virial_.empty()) return;
    for (int k = 0; k < 6; ++k) atom_virial_[6 * atom + k] += factor * sums.virial[k];
  }

  std::vector<A> cn_;           // (n)
  std::vector<A> dcn_;          // (n), derivative of the energy of the system by the atom's CN
  std::vector<A> energy_;       // (n)
  std::vector<A> gradient_;     // (n, 3)
  std::vector<A> w_;            // (n, 2, n_refs): weights, then their derivatives
  std::vector<A> virial_;       // (n_clusters, 6)
  std::vector<A> by_damping_;   // (n_clusters, most_damping)
  std::vector<A> atom_virial_;  // 6 for each atom, or empty if nobody asks

 private:
  // Clusters that lie together share one search for their neighbours.
  struct Bunch {
    int first;  // clusters [first, last)
    int last;
    Cluster box;
  };

  // Joins clusters that follow one another: sorted by bins, they tend to lie together.
  void gather_bunches() {
    const std::vector<Cluster>& clusters = centres_->clusters;
    bunches_.clear();
    for (int c = 0; c < int(clusters.size()); ++c) {
      if (!bunches_.empty() && c - bunches_.back().first < largest_bunch &&
          join(bunches_.back(), clusters[c]))
        continue;
      bunches_.push_back({c, c + 1, clusters[c]});
    }
  }

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

  const Find find_;
  const LatticeKernels<T, S, A> kernels_;
  std::vector<Workspace<T, S>> workspaces_;  // one a thread
  std::vector<Bunch> bunches_;
};

}  // namespace d3

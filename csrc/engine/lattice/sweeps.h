// The three sweeps of the lattice engine over the clusters of one system, with the kernels of an
// instruction set.
//
// A sweep calls a body (count, energy, count_gradient) for each cluster, which calls the kernel for
// each atom and writes the atom's own results; what pairs add to their neighbours comes at the end.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/lattice/bunches.h"

namespace d3 {

// See system.h for Types; results per atom are kept here, in A.
template <class T, class Types> class Sweeps : public BunchSweep<T, Types> {
 public:
  using Base = BunchSweep<T, Types>;
  using typename Base::A;
  using typename Base::S;

 protected:
  using Base::dual, Base::in_, Base::n_, Base::first_, Base::present_, Base::centres_, Base::range_;
  // The body of a sweep: sums for the atoms of one cluster, whose tiles are in the workspace with
  // offsets from `origin`. Returns the first of its atoms that sits on another, or n_.
  using Sweep = int (Sweeps::*)(int cluster, const Vec3& origin, Workspace<T, S>&);

  Sweeps(const LatticeInput<T>& in, const LatticeTangents<T>* tangents, Find find,
         const LatticeKernels<T, S, A>& kernels)
      : Base(in, tangents, find), kernels_(kernels) {}

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
    this->gather_bunches(threads);
  }

  // Runs a body over all clusters, of which each two meet from both sides.
  int sweep(double cutoff, int threads, Sweep body) {
    return sweep(cutoff, threads, body, 0, [](int, const double*) {});
  }

  // The three sweeps; the first returns the first atom that sits on another, or -1.
  int count_all(int threads) {
    const double cutoff = in_.range.cn_cutoff;
    const int same = sweep(cutoff, threads, &Sweeps::count, count_reactions,
                           [this](int atom, const double* r) { cn_[atom] += A(r[0]); });
    // from one side alone, the first atom may not have seen the other
    return same < 0 ? same : sweep(cutoff, threads, &Sweeps::count);
  }
  void sum_energies(int threads) {
    sweep(range_.cutoff, threads, &Sweeps::energy, energy_reactions(mode()),
          [this](int atom, const double* r) {
            energy_[atom] += A(-0.5 * r[reaction_energy * lanes<T>]);
            if (mode() == EnergyMode::energy) return;
            dcn_[atom] += A(-r[reaction_dcn * lanes<T>]);
            for (int k = 0; k < 3; ++k)
              gradient_[3 * atom + k] += A(r[(reaction_gradient + k) * lanes<T>]);
          });
  }
  void add_count_gradients(int threads) {
    sweep(in_.range.cn_cutoff, threads, &Sweeps::count_gradient, count_gradient_reactions,
          [this](int atom, const double* r) {
            for (int k = 0; k < 3; ++k) gradient_[3 * atom + k] += A(-r[k * lanes<T>]);
          });
  }

  EnergyMode mode() const {
    return in_.learn       ? EnergyMode::learn
           : in_.gradients ? EnergyMode::gradient
                           : EnergyMode::energy;
  }

  // The distances of neighbours, squared.
  Shell<T> shell(T cutoff) const {
    const T same = in_.range.same_spot();
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
      g.mutual = workspace.mutual[slot].list();
      g.reactions = workspace.reactions.sums();
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
    for (int k = 0; k < cluster.count && !this->stopping(); ++k) {
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
      for (int a = 0; a < in_.tables.n_refs; ++a) {
        this->put_row(c, row_w + a, lane, w(atom)[a]);
        this->put_row(c, row_dw + a, lane, dw(atom)[a]);
      }
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
    const auto kernel = kernels_.energy[int(in_.form)];
    const int n = int(present_.size());
    const Group<T, S>* groups = group(cluster, workspace, true);
    workspace.rows.resize(n);
    Centre<S> middle;
    for (int k = 0; k < cluster.count && !this->stopping(); ++k) {
      EnergySums<A> sums;
      const int atom = centre(cluster, k, origin, middle);
      for (int slot = 0; slot < n; ++slot) {
        c6_row(w(atom), cluster.slot, slot, workspace.rows[slot].c6);
        c6_row(dw(atom), cluster.slot, slot, workspace.rows[slot].dc6);
      }
      kernel(groups, workspace.rows.data(), n, this->rows(), middle, {range_.cutoff, range_.width},
             shell(range_.cutoff), mode(), sums);
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
    for (int k = 0; k < cluster.count && !this->stopping(); ++k) {
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
  // With reactions where pairs may be computed once: no tangents, no virials of single atoms, every
  // neighbour is in the middle, too, in the same clusters, and each thread has room for columns of
  // all atoms.
  template <class Take>
  int sweep(double cutoff, int threads, Sweep body, int columns, Take&& take) {
    const bool once =
        !dual && atom_virial_.empty() && centres_ == &this->neighbours() && n_ <= most_mutual_atoms;
    return this->over_bunches(
        cutoff, threads, once ? columns : 0,
        [this, body](int c, const Vec3& origin, Workspace<T, S>& workspace) {
          return (this->*body)(c, origin, workspace);
        },
        take);
  }

  const LatticeKernels<T, S, A> kernels_;
};

}  // namespace d3

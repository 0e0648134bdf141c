// The tail of one system, between the sweep over energies and the gradient through the coordination
// numbers. See tail.h; results are added to those of the atoms in the middle.
#pragma once
#include <algorithm>
#include <vector>

#include "engine/formulas/tail.h"
#include "engine/lattice/sweeps.h"

namespace d3 {

template <class T, class Types> class TailSweeps : public Sweeps<T, Types> {
 public:
  using Base = Sweeps<T, Types>;
  using typename Base::A;

 protected:
  using Base::Base;
  using Base::in_, Base::present_, Base::centres_, Base::range_, Base::energy_, Base::dcn_,
      Base::gradient_, Base::atom_virial_, Base::damping_;
  using Base::w, Base::dw;

  // Weights summed up over the atoms in the middle, (n_slots, n_refs).
  std::vector<A> weights_of_slots() const {
    std::vector<A> sums(present_.size() * in_.tables.n_refs, A(0.0));
    for (const Point& p : centres_->points)
      for (int a = 0; a < in_.tables.n_refs; ++a)
        sums[p.slot * in_.tables.n_refs + a] += w(p.atom)[a];
    return sums;
  }

  void no_tail() {
    periods_ = {};
    for (A& sum : tail_) sum = A(0.0);
  }

  // Adds the tail of all atoms to those in the middle. `own` are their weights by slot; `all` are
  // those of the whole system, for each of `species`.
  void add_tail(const std::vector<A>& own, const std::vector<int>& species,
                const std::vector<A>& all, int threads) {
    periods_ = periods_of(this->cell_, this->frame_.periodic);
    if (periods_.n == 0) return;
    const int n_refs = in_.tables.n_refs;
    const TailIntegrals integrals = tail_table(range_.cutoff, range_.width).of[periods_.n];
    const std::vector<A> rows = tail_rows(own, species, all, integrals);
    for (const Point& p : centres_->points) {
      const TailOfAtom<A> tail(w(p.atom), dw(p.atom), &rows[p.slot * n_refs], n_refs);
      dcn_[p.atom] += tail.dcn;
      give(p.atom, tail.energy, A(0.0));
    }
    if (periods_.n == 2) add_heights(integrals, threads);
  }

  // An entry of the virial of the tail, and of its derivatives by the damping.
  A tail_virial(int k) const { return periods_.virial(tail_[tail_energy], tail_[tail_stretch], k); }
  A tail_by_damping(int k) const { return k < 2 ? tail_[tail_s6 + k] : A(0.0); }

  // Fills the heights of all atoms above the first. False if no two are further apart than cutoff -
  // width.
  bool measure_heights() {
    heights_.resize(this->n_);
    double low = 0, high = 0;
    for (int i = 0; i < this->n_; ++i) {
      heights_[i] = A(0.0);
      for (int d = 0; d < 3; ++d)
        heights_[i] += periods_.normal[d] * (coordinate(i, d) - coordinate(0, d));
      low = std::min(low, double(value(heights_[i])));
      high = std::max(high, double(value(heights_[i])));
    }
    return high - low > nearest_height();
  }
  double nearest_height() const { return double(range_.cutoff) - double(range_.width); }

  Periods<A> periods_;
  std::vector<A> heights_;  // (n)

 private:
  // What the weights of an atom are multiplied with, (n_slots, n_refs).
  std::vector<A> tail_rows(const std::vector<A>& own, const std::vector<int>& species,
                           const std::vector<A>& all, const TailIntegrals& integrals) {
    const Tables<T>& t = in_.tables;
    const A scale = A(-0.5) / periods_.measure;
    std::vector<A> rows(own.size());
    for (int k = 0; k < int(own.size()); ++k) {
      const int64_t s = present_[k / t.n_refs];
      TailEntry<A> entry;
      for (size_t other = 0; other < species.size(); ++other) {
        const int64_t u = species[other];
        const T* c6_ref = t.c6_ref + ((s * t.n_species + u) * t.n_refs + k % t.n_refs) * t.n_refs;
        entry.add(c6_ref, &all[other * t.n_refs], t.n_refs, 3.0 * t.r4r2[s] * t.r4r2[u], integrals);
      }
      rows[k] = entry.finish(scale, damping_[0], damping_[1], own[k], tail_);
    }
    return rows;
  }

  // Gives an atom an energy, and its virial where that is kept.
  void give(int atom, A energy, A stretch) {
    energy_[atom] += energy;
    for (int k = 0; k < 6 && !atom_virial_.empty(); ++k)
      atom_virial_[6 * atom + k] += periods_.virial(energy, stretch, k);
  }

  // What the heights of a slab that is thicker than cutoff - width change, pair by pair.
  void add_heights(const TailIntegrals& flat, int threads) {
    if (!measure_heights()) return;
    const int n = int(centres_->points.size());
    std::vector<HeightSums<A>> sums(n);
#pragma omp parallel for num_threads(threads) schedule(dynamic, 16) if (threads > 1)
    for (int k = 0; k < n; ++k)
      if (!this->stopping()) sums[k] = heights_of(centres_->points[k], flat);
    const A scale = A(-0.5) / periods_.measure;
    for (int k = 0; k < n; ++k) {
      const int atom = centres_->points[k].atom;
      const A energy = scale * sums[k].energy(damping_), stretch = scale * sums[k].stretch;
      const A both = scale + scale;  // every pair is met from both sides
      tail_[tail_energy] += energy;
      tail_[tail_s6] += scale * sums[k].by_s6;
      tail_[tail_s8] += scale * sums[k].by_s8;
      tail_[tail_stretch] += stretch;
      dcn_[atom] += both * sums[k].dcn;
      for (int d = 0; d < 3; ++d)
        gradient_[3 * atom + d] += both * sums[k].slope * periods_.normal[d];
      give(atom, energy, stretch);
    }
  }

  A coordinate(int atom, int d) const {
    return this->input(in_.systems.positions, this->t_positions(), 3 * (this->first_ + atom) + d);
  }

  HeightSums<A> heights_of(const Point& p, const TailIntegrals& flat) const {
    const Tables<T>& t = in_.tables;
    const int n = int(present_.size());
    std::vector<A> c6(n * max_refs), dc6(n * max_refs);
    for (int slot = 0; slot < n; ++slot) {
      const T* c6_ref = present_.c6_ref(p.slot, slot);
      contract(w(p.atom), c6_ref, t.n_refs, present_.n_refs(p.slot), present_.n_refs(slot),
               &c6[slot * max_refs]);
      contract(dw(p.atom), c6_ref, t.n_refs, present_.n_refs(p.slot), present_.n_refs(slot),
               &dc6[slot * max_refs]);
    }
    HeightSums<A> sums;
    for (const Point& other : this->atoms_) {
      const A up = heights_[other.atom] - heights_[p.atom];
      if (!(std::abs(double(value(up))) > nearest_height())) continue;
      const int at = other.slot * max_refs, n_refs = present_.n_refs(other.slot);
      sums.add(up, dot(&c6[at], w(other.atom), n_refs), dot(&dc6[at], w(other.atom), n_refs),
               damping_, 3.0 * t.r4r2[present_[p.slot]] * t.r4r2[present_[other.slot]], flat,
               double(range_.cutoff), double(range_.width));
    }
    return sums;
  }

  A tail_[n_tail_sums]{};  // see TailSum
};

}  // namespace d3

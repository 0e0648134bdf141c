// Energies by pair of labels: what each two groups of atoms have together.
//
// A sweep keeps the energies of an atom with its neighbours apart, one number for each lane of each
// cluster, on which images of an atom fall together, and then adds them up by the labels of the
// neighbours, into a row of the atom. Triangles give a third to each of their sides. At the end the
// rows are added up by the labels of the atoms, in their order: results do not depend on the number
// of threads.
#pragma once
#include <omp.h>

#include <algorithm>
#include <vector>

#include "engine/lattice/driver.h"

namespace d3 {

// T is float or double; sums are in double.
template <class T> class PairwiseDriver : public Driver<T, PlainTypes<T>> {
  using Base = Driver<T, PlainTypes<T>>;
  using Base::in_, Base::n_, Base::first_, Base::present_, Base::centres_, Base::range_,
      Base::damping_, Base::periods_;
  using typename Base::Sweep;

 public:
  PairwiseDriver(const LatticeInput<T>& in, const Labels& labels, const KernelSet<T>& set)
      : Base(in, nullptr, set.find, set.plain),
        labels_(labels),
        kernel_(set.pairwise[int(in.form)]) {}

  // Energies of a system, (n_labels, n_labels), of both directions of each pair half.
  LatticeError run(int64_t system, int threads, T* out) {
    const LatticeError error = this->begin(system, threads);
    if (error.kind) return error;
    rows_.assign(size_t(n_) * labels_.n, 0.0);
    allocate(threads);
    this->sweep(range_.cutoff, threads, static_cast<Sweep>(&PairwiseDriver::pairs));
    if (this->triangles()) {
      this->prepare_corners();
      this->for_corners(threads, [this](int c, const Corners<T, T>& corners, auto&) {
        take_triangles(c, corners);
      });
    }
    if (range_.tail) take_tail(threads);
    if (this->stopping()) return {LatticeError::stopped, system};
    write(out);
    return error;
  }

 private:
  // Memory of a thread.
  struct Memory {
    std::vector<double, Aligned<double>> energies;  // (n_clusters, lanes), 0 between two atoms
    std::vector<int> clusters;                      // that an atom may meet
    std::vector<char> met;                          // (n_clusters), whether it is among them
  };

  int64_t label(int atom) const { return labels_.of[first_ + atom]; }
  double* row(int atom) { return &rows_[size_t(atom) * labels_.n]; }

  // Makes room, and numbers the lanes; those without an atom have energies of 0.
  void allocate(int threads) {
    const size_t n_clusters = this->neighbours().clusters.size();
    label_.assign(n_clusters * lanes<T>, 0);
    this->for_lanes(
        [this](size_t c, int lane, int atom) { label_[c * lanes<T> + lane] = label(atom); });
    memory_.resize(threads);
    for (Memory& m : memory_) {
      m.energies.assign(n_clusters * lanes<T>, 0.0);
      m.met.assign(n_clusters, 0);
    }
  }

  // The clusters in the tiles of a workspace, each once.
  void find_clusters(Workspace<T, T>& workspace, Memory& memory) const {
    for (int c : memory.clusters) memory.met[c] = 0;
    memory.clusters.clear();
    const auto take = [&](const Tile<T>* tiles, int n) {
      for (int t = 0; t < n; ++t) {
        char& met = memory.met[tiles[t].cluster];
        if (!met) memory.clusters.push_back(tiles[t].cluster);
        met = 1;
      }
    };
    for (size_t slot = 0; slot < present_.size(); ++slot) {
      const TileList<T, T> list = workspace.tiles[slot].list();
      take(list.near, list.n_near);
      take(list.far, list.n_far);
    }
  }

  // The pairs of the atoms of a cluster.
  int pairs(int c, const Vec3& origin, Workspace<T, T>& workspace) {
    const Cluster& cluster = centres_->clusters[c];
    const int n = int(present_.size());
    Memory& memory = memory_[omp_get_thread_num()];
    find_clusters(workspace, memory);
    const Group<T, T>* groups = this->group(cluster, workspace, true);
    workspace.rows.resize(n);
    Centre<T> middle;
    for (int k = 0; k < cluster.count && !this->stopping(); ++k) {
      const int atom = this->centre(cluster, k, origin, middle);
      for (int slot = 0; slot < n; ++slot)
        this->c6_row(this->w(atom), cluster.slot, slot, workspace.rows[slot].c6);
      kernel_(groups, workspace.rows.data(), n, this->rows(), middle, {range_.cutoff, range_.width},
              this->shell(range_.cutoff), memory.energies.data());
      empty(memory, row(atom));
    }
    return n_;
  }

  // Adds the energies of an atom to its row.
  void empty(Memory& memory, double* row) const {
    for (int c : memory.clusters)
      for (int lane = c * lanes<T>; lane < (c + 1) * lanes<T>; ++lane) {
        row[label_[lane]] -= 0.5 * memory.energies[lane];
        memory.energies[lane] = 0.0;
      }
  }

  // The sums of a side hold all its triangles, of which it has a third, and half of that here.
  void take_triangles(int c, const Corners<T, T>& in) {
    const double sixth = damping_[in_.n_damping() - 1] / 6.0;
    for (int k = 0; k < in.n; ++k) {
      double* row_of_corner = row(this->corner(c, k));
      for (int tile = 0; tile < in.n_tiles; ++tile) {
        const size_t place = size_t(tile) * in.n + k;
        const int* atoms = in.atoms + size_t(in.tiles[tile].cluster) * lanes<T>;
        const double* sums = in.sums.values + (place * n_side_sums + sum_energy) * lanes<T>;
        for (int lane = 0; lane < lanes<T> && in.reached[place]; ++lane)
          if (atoms[lane] >= 0) row_of_corner[label(atoms[lane])] += sixth * sums[lane];
      }
    }
  }

  // Atoms of one label and species whose weights are added up for the tail; at one height where
  // heights matter.
  struct Patch {
    int64_t label;
    int slot;
    double height;
    double w[max_refs];
  };

  std::vector<Patch> patches(bool high) const {
    std::vector<Patch> found;
    std::vector<int> place(labels_.n * present_.size(), -1);
    for (const Point& p : this->atoms_) {
      int& at = place[label(p.atom) * present_.size() + p.slot];
      if (at < 0 || high) {
        at = int(found.size());
        found.push_back({label(p.atom), p.slot, high ? this->heights_[p.atom] : 0.0, {}});
      }
      for (int a = 0; a < in_.tables.n_refs; ++a) found[at].w[a] += this->w(p.atom)[a];
    }
    return found;
  }

  void take_tail(int threads) {
    periods_ = periods_of(this->cell_, this->frame_.periodic);
    if (periods_.n == 0) return;
    const bool high = periods_.n == 2 && this->measure_heights();
    const std::vector<Patch> others = patches(high);
    const TailIntegrals flat = tail_table(range_.cutoff, range_.width).of[periods_.n];
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int i = 0; i < n_; ++i)
      if (!this->stopping()) take_tail_of(this->atoms_[i], others, flat, high);
  }

  void take_tail_of(const Point& p, const std::vector<Patch>& others, const TailIntegrals& flat,
                    bool high) {
    const Tables<T>& t = in_.tables;
    std::vector<double> c6(present_.size() * max_refs);
    for (int slot = 0; slot < int(present_.size()); ++slot)
      contract(this->w(p.atom), present_.c6_ref(p.slot, slot), t.n_refs, present_.n_refs(p.slot),
               present_.n_refs(slot), &c6[slot * max_refs]);
    const double scale = -0.5 / periods_.measure, height = high ? this->heights_[p.atom] : 0.0;
    for (const Patch& other : others) {
      const double up = std::abs(other.height - height);
      TailIntegrals at = flat;
      if (high && up > this->nearest_height()) {
        const auto plane = plane_integrals(up, double(range_.cutoff), double(range_.width));
        at = {plane.i6.value, plane.i8.value};
      }
      const double q = 3.0 * t.r4r2[present_[p.slot]] * t.r4r2[present_[other.slot]];
      row(p.atom)[other.label] +=
          scale * dot(&c6[other.slot * max_refs], other.w, present_.n_refs(other.slot)) *
          (damping_[0] * at.i6 + damping_[1] * q * at.i8);
    }
  }

  // Adds up the rows by label; the two directions of a pair differ by rounding.
  void write(T* out) {
    const int64_t n = labels_.n;
    std::vector<double> sums(n * n, 0.0);
    for (int i = 0; i < n_; ++i)
      for (int64_t b = 0; b < n; ++b) sums[label(i) * n + b] += row(i)[b];
    for (int64_t a = 0; a < n; ++a)
      for (int64_t b = 0; b < n; ++b) out[a * n + b] = T(0.5 * (sums[a * n + b] + sums[b * n + a]));
  }

  const Labels labels_;
  const PairwiseKernel<T> kernel_;
  std::vector<double> rows_;    // (n, n_labels)
  std::vector<int64_t> label_;  // (n_clusters, lanes)
  std::vector<Memory> memory_;  // one a thread
};

}  // namespace d3

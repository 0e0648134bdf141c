// One system of the lattice engine after another: three sweeps over its clusters (coordination
// numbers, energies, gradient through the coordination numbers), and one over triangles where the
// three-body term is asked for.
#pragma once
#include <algorithm>
#include <vector>

#include "engine/formulas/cell_gradient.h"
#include "engine/lattice/three_body.h"

namespace d3 {

// Runs one system after another through the sweeps.
template <class T, class Types> class Driver : public ThreeBodySweep<T, Types> {
 protected:
  using Base = ThreeBodySweep<T, Types>;
  using Base::cn_, Base::dcn_, Base::energy_, Base::gradient_, Base::virial_, Base::by_damping_;
  using Base::dual, Base::in_, Base::n_, Base::first_, Base::present_, Base::centres_, Base::range_;
  using Base::w;
  using typename Base::A;
  using typename Base::S;

 public:
  Driver(const LatticeInput<T>& in, const LatticeTangents<T>* tangents, Find find,
         const LatticeKernels<T, S, A>& kernels)
      : Base(in, tangents, find, kernels) {}

  // Evaluates a system with some threads and writes its results. After an error they mean nothing.
  LatticeError run(int64_t system, int threads, const Evaluation<T>& out) {
    const LatticeError error = begin(system, threads);
    if (error.kind) return error;
    this->sum_energies(threads);
    if (this->triangles()) this->add_three_body(threads);
    if (range_.tail) {
      const std::vector<A> weights = this->weights_of_slots();
      this->add_tail(weights, present_.species(), weights, threads);
    }
    if (in_.gradients) {
      this->for_lanes(
          [this](size_t c, int lane, int atom) { this->put_row(c, row_dcn, lane, dcn_[atom]); });
      this->add_count_gradients(threads);
    }
    if (this->stopping()) return {LatticeError::stopped, system};
    write(out);
    return error;
  }

 protected:
  // Reads a system, and does all that comes before energies: coordination numbers and weights.
  LatticeError begin(int64_t system, int threads) {
    const LatticeError error = this->prepare(system);
    if (error.kind) return error;
    const double around = this->neighbours_of_one(range_.farthest());
    if (around > most_neighbours || around * n_ > most_pairs)
      return too_much(LatticeError::too_much, system, around);
    const double corners = this->corners_of_one();
    if (this->too_many_triangles(corners))
      return too_much(LatticeError::too_many_triangles, system, corners);
    this->allocate(threads);
    this->no_tail();
    const int same = this->count_all(threads);
    if (same >= 0) return {LatticeError::same_spot, system, same};
    if (this->stopping()) return {LatticeError::stopped, system};
    this->fill_weights();
    return error;
  }

 private:
  static LatticeError too_much(LatticeError::Kind kind, int64_t system, double neighbours) {
    LatticeError error{kind, system};
    error.neighbours = neighbours;
    return error;
  }

  // Writes the results of the system: values, or in a dual evaluation tangents.
  void write(const Evaluation<T>& out) const {
    const int64_t b = this->system_;
    A energy(0.0), virial[3][3];
    for (const Point& p : centres_->points) out.c6[first_ + p.atom] = T(output(like_c6(p)));
    for (int i = 0; i < n_; ++i) {
      energy += energy_[i];
      out.energies[first_ + i] = T(output(energy_[i]));
      out.cn[first_ + i] = T(output(cn_[i]));
      for (int k = 0; k < 3; ++k)
        out.gradient[3 * (first_ + i) + k] = in_.gradients ? T(output(gradient_[3 * i + k])) : T(0);
    }
    out.energy[b] = T(output(energy));
    sum_virial(virial);
    for (int k = 0; k < 9; ++k) out.virial[9 * b + k] = T(output(virial[k / 3][k % 3]));
    write_cell(virial, out.cell + 9 * b);
    const int n_damping = in_.n_damping();
    for (int k = 0; k < n_damping; ++k) {
      A sum = in_.learn ? this->tail_by_damping(k) : A(0.0);
      for (size_t c = 0; c < centres_->clusters.size(); ++c)
        sum += by_damping_[most_damping * c + k];
      if (this->triangles() && k == n_damping - 1)
        for (const A& by : this->by_s9_) sum += in_.learn ? by : A(0.0);
      out.damping[n_damping * b + k] = T(output(sum));
    }
  }

  // C6 of an atom with one of its kind.
  A like_c6(const Point& p) const {
    A row[max_refs] = {};
    contract(w(p.atom), present_.c6_ref(p.slot, p.slot), in_.tables.n_refs, present_.n_refs(p.slot),
             present_.n_refs(p.slot), row);
    return dot(row, w(p.atom), present_.n_refs(p.slot));
  }

  // Adds up the virials of the clusters and of the tail.
  void sum_virial(A virial[3][3]) const {
    A packed[6] = {};
    for (size_t c = 0; c < centres_->clusters.size(); ++c)
      for (int k = 0; k < 6; ++k) packed[k] += virial_[6 * c + k];
    for (int k = 0; k < 6 && in_.gradients; ++k) packed[k] += this->tail_virial(k);
    for (size_t c = 0; this->triangles() && c < this->virial3_.size(); ++c)
      packed[c % 6] += this->virial3_[c];
    const int order[9] = {0, 1, 2, 1, 3, 4, 2, 4, 5};
    for (int k = 0; k < 9; ++k) virial[k / 3][k % 3] = packed[order[k]];
  }

  // The gradient by the cell at fixed positions, from the virial: see cell_gradient.h.
  void write_cell(const A virial[3][3], T* out) const {
    A rest[3][3], by_cell[3][3];
    for (int k = 0; k < 9; ++k) rest[k / 3][k % 3] = virial[k / 3][k % 3];
    for (int i = 0; i < n_ && in_.gradients; ++i)
      for (int k = 0; k < 9; ++k)
        rest[k / 3][k % 3] +=
            -(this->input(in_.systems.positions, this->t_positions(), 3 * (first_ + i) + k / 3) *
              gradient_[3 * i + k % 3]);
    gradient_by_cell(this->frame_.inverse, this->cell_, this->frame_.periodic, rest, by_cell);
    for (int k = 0; k < 9; ++k) out[k] = T(output(by_cell[k / 3][k % 3]));
  }
};

}  // namespace d3

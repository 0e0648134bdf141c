// A molecule of few atoms: every pair of them, row by row, in double precision, without any search.
#pragma once
#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "engine/lattice/lattice.h"
#include "engine/present_species.h"

namespace d3 {

// Inputs, work and results of the kernels of a small molecule. A column is `stride` numbers: one
// for each atom, then padding to a whole register. A slot is a species among those present.
struct Dense {
  int n;        // atoms
  int stride;   // n rounded up to a register of the widest instruction set
  int n_slots;  // species present
  int n_refs;   // references of all species present, together

  const int* slot;       // (n), of each atom
  const int* first_ref;  // (n_slots + 1), first reference of each species among the n_refs

  const double* position[3];  // columns, relative to the first atom; padding is out of reach
  const double* slots;        // column: the slot as a number, -1 for padding
  const double* rcov;         // column
  const double* r4r2;         // column
  const double* radii;        // n_slots columns: the radius of a species with every atom
  const double* cn_ref;       // max_refs columns, padding < 0
  const double* c6_ref;       // (n_refs, n_refs)

  double damping[most_parameters];
  double cutoff;
  double cn_cutoff;
  double same;  // distance up to which atoms are on one spot
  double width;
  bool learn;  // sum up by_damping

  // work
  double* w_by_ref;   // n_refs columns: the weight of a reference, 0 for atoms of other species
  double* c6_by_ref;  // n_refs columns: C6 of an atom with a reference
  double* w;          // max_refs columns: weights of the atom's own references
  double* dw;         // max_refs columns: their derivatives by the atom's CN
  double* constants;  // n_constants columns for each slot: its damping with every atom
  double* slope;      // n columns: df/dr divided by r of the counting function, for each pair

  // results
  double* cn;           // column
  double* dcn;          // column, derivative of the energy of the molecule by the atom's CN
  double* energy;       // column
  double* c6;           // column, of each atom with its like
  double* gradient[3];  // columns
  double* by_damping;   // most_parameters numbers
};

// Runs small molecules, one after the other, and keeps its memory and tables in between.
template <class T> class Molecule {
 public:
  Molecule(const LatticeInput<T>& in, EvaluateDense evaluate)
      : in_(in), evaluate_(evaluate), present_(in.tables) {}

  // Says whether a system goes without clusters: few atoms, no images, no triangles.
  static bool fits(const LatticeInput<T>& in, int64_t system) {
    const bool* pbc = in.systems.pbc + 3 * system;
    return in.systems.offsets[system + 1] - in.systems.offsets[system] <= most_dense &&
           !(pbc[0] || pbc[1] || pbc[2]) && !(in.three_body.cutoff > 0);
  }

  LatticeError run(int64_t system, const Evaluation<T>& out) {
    first_ = in_.systems.offsets[system];
    d_.n = int(in_.systems.offsets[system + 1] - first_);
    for (int k = 0; k < 3 * d_.n; ++k) {
      const double x = in_.systems.positions[3 * first_ + k];
      if (!std::isfinite(x)) return {LatticeError::not_finite, system, k / 3};
      if (std::abs(x) > farthest) return {LatticeError::too_far, system, k / 3};
    }
    find_species();
    lay_out();
    fill_atoms();
    for (int k = 0; k < n_parameters(in_.form); ++k)
      d_.damping[k] = in_.damping[in_.n_damping() * system + k];
    const Range<T> range = in_.range.of(true);
    d_.same = in_.range.same_spot();
    d_.cutoff = range.cutoff;
    d_.cn_cutoff = range.cn_cutoff;
    d_.width = range.width;
    d_.learn = in_.learn;
    const int same = evaluate_(d_);
    if (same >= 0) return {LatticeError::same_spot, system, same};
    write(system, out);
    return {};
  }

 private:
  // Numbers the species in rising order, and packs their tables, unless the last molecule had the
  // same.
  void find_species() {
    const int64_t* species = in_.systems.species + first_;
    rising_.clear();
    for (int i = 0; i < d_.n; ++i) {
      const auto at = std::lower_bound(rising_.begin(), rising_.end(), int(species[i]));
      if (at == rising_.end() || *at != species[i]) rising_.insert(at, int(species[i]));
    }
    if (rising_ != present_.species()) {
      present_.clear();
      for (int s : rising_) present_.add(s);
      fill_tables();
    }
    slot_.resize(d_.n);
    for (int i = 0; i < d_.n; ++i) slot_[i] = present_.slot(species[i]);
  }

  // Packs the references of the species present side by side, without their padding.
  void fill_tables() {
    first_ref_.assign(1, 0);
    for (size_t s = 0; s < present_.size(); ++s)
      first_ref_.push_back(first_ref_.back() + present_.n_refs(s));
    const int n = first_ref_.back();
    c6_ref_.resize(n * n);
    for (size_t s = 0; s < present_.size(); ++s)
      for (size_t u = 0; u < present_.size(); ++u) {
        const T* c6 = present_.c6_ref(int(s), int(u));
        for (int a = first_ref_[s]; a < first_ref_[s + 1]; ++a)
          for (int b = first_ref_[u]; b < first_ref_[u + 1]; ++b)
            c6_ref_[a * n + b] = c6[(a - first_ref_[s]) * in_.tables.n_refs + b - first_ref_[u]];
      }
  }

  // Cuts the memory into columns.
  void lay_out() {
    d_.stride = (d_.n + lanes<double> - 1) / lanes<double> * lanes<double>;
    d_.n_slots = int(present_.size());
    d_.n_refs = first_ref_.empty() ? 0 : first_ref_.back();
    const int columns =
        6 + 3 * max_refs + 2 * d_.n_refs + (n_constants + 1) * d_.n_slots + d_.n + 8;
    memory_.resize(std::max<size_t>(memory_.size(), size_t(columns) * d_.stride));
    double* next = memory_.data();
    const auto take = [&](int n) { return std::exchange(next, next + n * d_.stride); };
    for (int k = 0; k < 3; ++k) d_.position[k] = position_[k] = take(1);
    d_.slots = slots_ = take(1);
    d_.rcov = rcov_ = take(1);
    d_.r4r2 = r4r2_ = take(1);
    d_.radii = radii_ = take(d_.n_slots);
    d_.cn_ref = cn_ref_ = take(max_refs);
    d_.w_by_ref = take(d_.n_refs);
    d_.c6_by_ref = take(d_.n_refs);
    d_.w = take(max_refs);
    d_.dw = take(max_refs);
    d_.constants = take(n_constants * d_.n_slots);
    d_.slope = take(d_.n);
    d_.cn = take(1);
    d_.dcn = take(1);
    d_.energy = take(1);
    d_.c6 = take(1);
    for (double*& g : d_.gradient) g = take(1);
    d_.by_damping = take(1);
    d_.slot = slot_.data();
    d_.first_ref = first_ref_.data();
    d_.c6_ref = c6_ref_.data();
  }

  // Fills the columns of the inputs.
  void fill_atoms() {
    const double nowhere =
        padding_farthest * farthest + padding_reaches * double(in_.range.farthest());
    const Tables<T>& t = in_.tables;
    for (int i = 0; i < d_.stride; ++i) {
      const bool real = i < d_.n;
      const int species = present_.size() == 0 ? 0 : real ? present_[slot_[i]] : present_[0];
      for (int k = 0; k < 3;
           ++k)  // from the first atom, so that no digits are lost far from the origin
        position_[k][i] = real ? double(in_.systems.positions[3 * (first_ + i) + k]) -
                                     double(in_.systems.positions[3 * first_ + k])
                               : nowhere;
      slots_[i] = real ? slot_[i] : -1;
      rcov_[i] = in_.tables.rcov[species];
      r4r2_[i] = t.r4r2[species];
      for (int s = 0; s < d_.n_slots; ++s)
        radii_[s * d_.stride + i] =
            t.radii ? double(t.radii[int64_t(present_[s]) * t.n_species + species]) : 0.0;
      for (int a = 0; a < max_refs; ++a)
        cn_ref_[a * d_.stride + i] = a < t.n_refs ? double(t.cn_ref[species * t.n_refs + a]) : -1.0;
    }
  }

  // Without images, the virial is the sum of x (x) dE/dx.
  void write(int64_t system, const Evaluation<T>& out) const {
    double energy = 0, virial[3][3] = {};
    for (int i = 0; i < d_.n; ++i) {
      energy += d_.energy[i];
      out.energies[first_ + i] = T(d_.energy[i]);
      out.cn[first_ + i] = T(d_.cn[i]);
      out.c6[first_ + i] = T(d_.c6[i]);
      for (int k = 0; k < 3; ++k) {
        out.gradient[3 * (first_ + i) + k] = in_.gradients ? T(d_.gradient[k][i]) : T(0);
        for (int l = 0; l < 3; ++l) virial[k][l] += position_[k][i] * d_.gradient[l][i];
      }
    }
    out.energy[system] = T(energy);
    for (int k = 0; k < 9; ++k) {
      out.virial[9 * system + k] =
          in_.gradients ? T(0.5 * (virial[k / 3][k % 3] + virial[k % 3][k / 3])) : T(0);
      out.cell[9 * system + k] = T(0);
    }
    const int n_damping = in_.n_damping();
    for (int k = 0; k < n_damping; ++k)
      out.damping[n_damping * system + k] =
          in_.learn && d_.n && k < n_parameters(in_.form) ? T(d_.by_damping[k]) : T(0);
  }

  const LatticeInput<T>& in_;
  const EvaluateDense evaluate_;
  int64_t first_ = 0;
  Dense d_{};
  PresentSpecies<T> present_;
  std::vector<int> rising_, slot_, first_ref_;
  std::vector<double> c6_ref_, memory_;
  double *position_[3], *slots_, *rcov_, *r4r2_, *radii_, *cn_ref_;
};

}  // namespace d3

// The atoms of one MPI rank among all atoms of a system: the sweeps of the lattice engine with one
// rank's atoms in the middle, and between them what the ranks have to tell each other. Knows
// neither MPI nor LAMMPS.
#pragma once
#include "engine/lattice/three_body.h"
#include "rank_kernels.h"

namespace d3 {

class RankSweeps : private ThreeBodySweep<double, PlainTypes<double>> {
  using Base = ThreeBodySweep<double, PlainTypes<double>>;

 public:
  explicit RankSweeps(const LatticeInput<double>& in)
      : RankSweeps(in, kernels_for<RankKernelSet>(in.instruction_set)) {}

  // Evaluates system 0 for its first n_own atoms. share(column) is called twice, with CN and with
  // dE/dCN of all atoms: it puts the owners' values in the place of the other atoms'. With a tail,
  // sum(numbers, n) adds up numbers of all ranks. Every rank must come to both, also one without
  // atoms.
  template <class Share, class Sum>
  LatticeError run(int n_own, bool virials, Share&& share, Sum&& sum) {
    const LatticeError error = this->prepare(0, n_own);
    if (error.kind) return error;
    if (this->too_many_triangles(this->corners_of_one())) return {LatticeError::too_many_triangles};
    this->allocate(in_.threads);
    this->no_tail();
    atom_virial_.assign(virials ? 6 * n_ : 0, 0.0);
    const int same = this->count_all(in_.threads);
    if (same >= 0) return {LatticeError::same_spot, 0, same};
    share(cn_.data());
    this->fill_weights();
    this->sum_energies(in_.threads);
    if (this->triangles()) this->add_three_body(in_.threads);
    if (range_.tail) add_tail_of_ranks(sum);
    share(dcn_.data());
    this->for_lanes(
        [this](size_t c, int lane, int atom) { this->put_row(c, row_dcn, lane, dcn_[atom]); });
    this->add_count_gradients(in_.threads);
    return error;
  }

  double energy_of(int atom) const { return energy_[atom]; }
  const double* gradient_of(int atom) const { return &gradient_[3 * atom]; }
  const double* virial_of(int atom) const {
    return &atom_virial_[6 * atom];
  }  // xx xy xz yy yz zz of dE/dstrain

  // That of this rank's atoms.
  void add_virial_to(double* sum) const {
    for (size_t c = 0; c < centres_->clusters.size(); ++c)
      for (int k = 0; k < 6; ++k) sum[k] += virial_[6 * c + k];
    for (int k = 0; k < 6; ++k) sum[k] += this->tail_virial(k);
    for (size_t c = 0; c < this->virial3_.size(); ++c) sum[c % 6] += this->virial3_[c];
  }

 private:
  RankSweeps(const LatticeInput<double>& in, const RankKernelSet& kernels)
      : Base(in, nullptr, kernels.find, kernels.sweeps) {}

  // The ranks add up the weights of every species, whether they have atoms of it or not.
  template <class Sum> void add_tail_of_ranks(Sum&& sum) {
    const int n_refs = in_.tables.n_refs;
    const std::vector<double> own = this->weights_of_slots();
    std::vector<double> all(size_t(in_.tables.n_species) * n_refs, 0.0);
    std::vector<int> species(in_.tables.n_species);
    for (size_t k = 0; k < own.size(); ++k)
      all[present_[k / n_refs] * n_refs + k % n_refs] = own[k];
    for (size_t s = 0; s < species.size(); ++s) species[s] = int(s);
    sum(all.data(), int(all.size()));
    this->add_tail(own, species, all, in_.threads);
  }
};

// Which atoms of a periodic cell may have an image within `reach` of a box: positions and box in
// fractional coordinates.
struct Surroundings {
  double low[3], high[3];  // of the box of a rank's atoms
  double reach[3];         // in fractions of the cell
  bool periodic[3];

  bool hold(const double* fractional) const {
    for (int k = 0; k < 3; ++k) {
      double ahead = fractional[k] - (low[k] - reach[k]);
      if (periodic[k]) ahead -= std::floor(ahead);
      if (!(ahead >= 0 && ahead <= high[k] - low[k] + 2 * reach[k])) return false;
    }
    return true;
  }
};

}  // namespace d3

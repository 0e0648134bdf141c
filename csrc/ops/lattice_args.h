// Arguments of the ops on whole structures, on any device: every check, contiguous inputs, and
// results of the right shape, which are also the Meta kernels.
#pragma once
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <array>
#include <string>
#include <tuple>

#include "engine/lattice/lattice.h"
#include "ops/checks.h"
#include "ops/flat.h"

namespace d3 {

using at::Tensor;
using Tensors2 = std::tuple<Tensor, Tensor>;
using Tensors3 = std::tuple<Tensor, Tensor, Tensor>;
using Tensors8 = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

// ---- the lists, in the order of the schemas ----

// Structures of a batch, damping, tables and range: shapes as in engine/types.h.
struct LatticeArgs {
  Tensor positions, cell, pbc, species, offsets, damping, rcov, r4r2, cn_ref, c6_ref;
  double cutoff, cn_cutoff, width;
  bool tail;

  template <class Self> static auto fields(Self& s) {
    return std::tie(s.positions, s.cell, s.pbc, s.species, s.offsets, s.damping, s.rcov, s.r4r2,
                    s.cn_ref, s.c6_ref, s.cutoff, s.cn_cutoff, s.width, s.tail);
  }
  int64_t n_atoms() const { return positions.size(0); }
  int64_t n_systems() const { return offsets.size(0) - 1; }
};

// The choice of what is computed, and with which instruction set of a CPU.
struct How {
  bool gradients, learn;
  c10::string_view instruction_set;
  template <class Self> static auto fields(Self& s) {
    return std::tie(s.gradients, s.learn, s.instruction_set);
  }
};

// What the schemas have grown by: the damping function, and the three-body term.
struct LatticeForm {
  MaybeTensor radii;
  int64_t form;
  double atm_cutoff, atm_width;
  template <class Self> static auto fields(Self& s) {
    return std::tie(s.radii, s.form, s.atm_cutoff, s.atm_width);
  }
  bool three_body() const { return atm_cutoff > 0; }
  int64_t n_damping() const { return n_parameters(DampingForm(form)) + three_body(); }
};

// Labels of the atoms, of which energies are told by pairs.
struct PairLabels {
  Tensor labels;
  int64_t n_labels;
  template <class Self> static auto fields(Self& s) { return std::tie(s.labels, s.n_labels); }
};

// Directions of second derivatives.
struct LatticeTangent {
  Tensor positions, cell, damping;
  template <class Self> static auto fields(Self& s) {
    return std::tie(s.positions, s.cell, s.damping);
  }
};

// The gradients of each energy by the inputs, and grad_energy, the gradient of a loss by the
// energies, which backward multiplies them with.
struct Slopes {
  Tensor grad_energy, by_positions, by_cell, by_damping;
  template <class Self> static auto fields(Self& s) {
    return std::tie(s.grad_energy, s.by_positions, s.by_cell, s.by_damping);
  }
};

// ---- checks ----

inline void check_tables(const LatticeArgs& a) {
  TORCH_CHECK_VALUE(a.cn_ref.dim() == 2 && a.cn_ref.sym_size(1) <= max_refs,
                    "d3torch: expected cn_ref of shape (n_species, n_refs <= ", max_refs, "), got ",
                    a.cn_ref.sym_sizes(), ".");
  const auto s = a.cn_ref.sym_size(0), r = a.cn_ref.sym_size(1);
  check_shape(a.rcov, {s}, "rcov", "(n_species,)");
  check_shape(a.r4r2, {s}, "r4r2", "(n_species,)");
  check_shape(a.c6_ref, {s, s, r, r}, "c6_ref", "(n_species, n_species, n_refs, n_refs)");
}

inline void check_kinds(const LatticeArgs& a) {
  const Tensor* reals[] = {&a.cell, &a.damping, &a.rcov, &a.r4r2, &a.cn_ref, &a.c6_ref};
  const char* names[] = {"cell", "damping", "rcov", "r4r2", "cn_ref", "c6_ref"};
  for (int k = 0; k < 6; ++k) check_real(*reals[k], a.positions, names[k], "positions");
  check_index(a.species, a.positions, "species", "positions");
  check_index(a.offsets, a.positions, "offsets", "positions");
  TORCH_CHECK_TYPE(a.pbc.scalar_type() == at::kBool, "d3torch: expected pbc of dtype bool, got ",
                   a.pbc.scalar_type(), ".");
  check_device(a.pbc, a.positions, "pbc", "positions");
}

// The columns of damping, for a sentence.
inline std::string damping_columns(const LatticeForm& f) {
  return c10::str("(n_systems, ", f.n_damping(), "), ", parameter_names(f.form),
                  f.three_body() ? " and s9" : "", " of each");
}

inline void check_three_body(const LatticeForm& f) {
  TORCH_CHECK_VALUE(f.atm_cutoff >= 0 && f.atm_cutoff <= 1e5,
                    "d3torch: expected an atm_cutoff of at least 0 and at most 1e5, got ",
                    f.atm_cutoff, ".");
  TORCH_CHECK_VALUE(f.atm_width == 0 || (0 < f.atm_width && f.atm_width < f.atm_cutoff),
                    "d3torch: expected an atm_width of at least 0 and below the atm_cutoff ",
                    f.atm_cutoff, ", got ", f.atm_width, ".");
}

// Shapes, dtypes and devices of all arguments; values are checked where a device can look at them.
inline void check(const LatticeArgs& a, const LatticeForm& f) {
  check_floating(a.positions, "positions");
  TORCH_CHECK_VALUE(a.positions.dim() == 2 && a.positions.sym_size(1) == 3,
                    "d3torch: expected positions of shape (n_atoms, 3), got ",
                    a.positions.sym_sizes(), ".");
  TORCH_CHECK_VALUE(a.offsets.dim() == 1 && a.offsets.sym_size(0) >= 1,
                    "d3torch: expected offsets of shape (n_systems + 1,), got ",
                    a.offsets.sym_sizes(), ".");
  check_kinds(a);
  const auto n_systems = a.offsets.sym_size(0) - 1;
  check_shape(a.cell, {n_systems, 3, 3}, "cell", "(n_systems, 3, 3)");
  check_shape(a.pbc, {n_systems, 3}, "pbc", "(n_systems, 3)");
  check_three_body(f);
  check_form(f.form, f.radii, f.three_body(), a.cn_ref.dim() ? a.cn_ref.sym_size(0) : 0,
             a.positions, "positions");
  check_shape(a.damping, {n_systems, f.n_damping()}, "damping", damping_columns(f).c_str());
  check_shape(a.species, {a.positions.sym_size(0)}, "species", "(n_atoms,)");
  check_tables(a);
  check_cutoff(a.cutoff, a.width);
  TORCH_CHECK_VALUE(a.cn_cutoff > 0, "d3torch: expected a positive cn_cutoff, got ", a.cn_cutoff,
                    ".");
  const double largest = std::max(a.cutoff, a.cn_cutoff);
  TORCH_CHECK_VALUE(largest <= 1e5, "d3torch: expected cutoffs of at most 1e5, got ", largest, ".");
}

// Checks the fields of a gradient or a tangent: three tensors of the shapes of positions, cell and
// damping.
inline void check_three(const Tensors3& t, const LatticeArgs& a,
                        const std::array<const char*, 3>& names) {
  const Tensor *given[] = {&std::get<0>(t), &std::get<1>(t), &std::get<2>(t)},
               *of[] = {&a.positions, &a.cell, &a.damping};
  for (int k = 0; k < 3; ++k) {
    check_real(*given[k], a.positions, names[k], "positions");
    check_shape(*given[k], of[k]->sym_sizes(), names[k], "its argument");
  }
}

inline void check(const PairLabels& l, const LatticeArgs& a) {
  check_index(l.labels, a.positions, "labels", "positions");
  check_shape(l.labels, {a.positions.sym_size(0)}, "labels", "(n_atoms,)");
  TORCH_CHECK_VALUE(l.n_labels >= 0, "d3torch: expected n_labels of at least 0, got ", l.n_labels,
                    ".");
}

inline void check(const LatticeTangent& t, const LatticeArgs& a) {
  check_three({t.positions, t.cell, t.damping}, a,
              {"tangent_positions", "tangent_cell", "tangent_damping"});
}

inline void check(const Slopes& s, const LatticeArgs& a) {
  check_three({s.by_positions, s.by_cell, s.by_damping}, a, {"gradient", "by_cell", "by_damping"});
  check_real(s.grad_energy, a.positions, "grad_energy", "positions");
  check_shape(s.grad_energy, {a.offsets.sym_size(0) - 1}, "grad_energy", "(n_systems,)");
}

// ---- results, which are the Meta kernels ----

inline Tensor empty_for(const LatticeArgs& a, c10::SymIntArrayRef shape) {
  return at::empty_symint(shape, a.positions.options());
}

// energy, energies, cn, c6, gradient, virial, cell, damping
inline Tensors8 allocate(const LatticeArgs& a) {
  const auto n = a.positions.sym_size(0), b = a.offsets.sym_size(0) - 1;
  return {empty_for(a, {b}),       empty_for(a, {n}),
          empty_for(a, {n}),       empty_for(a, {n}),
          empty_for(a, {n, 3}),    empty_for(a, {b, 3, 3}),
          empty_for(a, {b, 3, 3}), empty_for(a, a.damping.sym_sizes())};
}

// L is ListArgs where the pairs are given, and nothing where they are found.
template <class... L> struct Meta {
  static Tensors8 evaluate(const LatticeArgs& a, const L&... list, const How&,
                           const LatticeForm& f) {
    check_all(a, list..., f);
    return allocate(a);
  }

  static Tensors8 tangent(const LatticeTangent& t, const LatticeArgs& a, const L&... list,
                          const LatticeForm& f) {
    check_all(a, list..., f);
    check(t, a);
    return allocate(a);
  }

  // energy, energies
  static Tensors2 shares(const LatticeArgs& a, const L&... list, const LatticeForm& f) {
    check_all(a, list..., f);
    const auto n = a.positions.sym_size(0), b = a.offsets.sym_size(0) - 1;
    return {empty_for(a, {b}), empty_for(a, {n})};
  }

  static Tensor dispersion(const LatticeArgs& a, const L&... list, const LatticeForm& f) {
    return std::get<0>(shares(a, list..., f));
  }

  // Energies by pair of labels, of every system.
  static Tensor pairwise(const LatticeArgs& a, const PairLabels& l, const LatticeForm& f) {
    check(a, f);
    check(l, a);
    return empty_for(a, {a.offsets.sym_size(0) - 1, l.n_labels, l.n_labels});
  }

  // Gradients of the loss sum_b grad_energy_b E_b.
  static Tensors3 backward(const Slopes& s, const LatticeArgs& a, const L&... list,
                           const LatticeForm& f) {
    check_all(a, list..., f);
    check(s, a);
    return {empty_for(a, a.positions.sym_sizes()), empty_for(a, a.cell.sym_sizes()),
            empty_for(a, a.damping.sym_sizes())};
  }

 private:
  static void check_all(const LatticeArgs& a, const L&... list, const LatticeForm& f) {
    check(a, f);
    (check(list, a, f), ...);
  }
};

// ---- inputs of the kernels, whose tensors are contiguous ----

template <class X>
LatticeInput<X> input_of(const LatticeArgs& a, const How& how, const LatticeForm& f, int threads,
                         InstructionSet set) {
  const Tables<X> tables{a.rcov.const_data_ptr<X>(),
                         a.r4r2.const_data_ptr<X>(),
                         a.cn_ref.const_data_ptr<X>(),
                         a.c6_ref.const_data_ptr<X>(),
                         int(a.cn_ref.size(0)),
                         int(a.cn_ref.size(1)),
                         f.radii ? f.radii->const_data_ptr<X>() : nullptr};
  const Systems<X> systems{a.positions.const_data_ptr<X>(),     a.cell.const_data_ptr<X>(),
                           a.pbc.const_data_ptr<bool>(),        a.species.const_data_ptr<int64_t>(),
                           a.offsets.const_data_ptr<int64_t>(), a.n_systems()};
  const Range<X> range{X(a.cutoff), X(a.cn_cutoff), X(a.width), a.tail};
  return {systems,
          a.damping.const_data_ptr<X>(),
          tables,
          range,
          threads,
          set,
          how.gradients || how.learn,
          how.learn,
          nullptr,
          DampingForm(f.form),
          {X(f.atm_cutoff), X(f.atm_width)}};
}

template <class X> LatticeTangents<X> tangents_of(const LatticeTangent& t) {
  return {t.positions.const_data_ptr<X>(), t.cell.const_data_ptr<X>(),
          t.damping.const_data_ptr<X>()};
}

template <class X> Evaluation<X> output_of(Tensors8& tensors) {
  return std::apply([](auto&... t) { return Evaluation<X>{t.template mutable_data_ptr<X>()...}; },
                    tensors);
}

}  // namespace d3

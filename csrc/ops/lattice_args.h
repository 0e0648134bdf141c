// Arguments of the ops of the lattice engine on any device: every check, contiguous inputs, and
// results of the right shape, which are also the Meta kernels.
#pragma once
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <tuple>

#include "engine/lattice/lattice.h"
#include "ops/checks.h"

namespace d3 {

using at::Tensor;
using TensorRef = const Tensor&;
using Tensors3 = std::tuple<Tensor, Tensor, Tensor>;
using Tensors8 = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

struct LatticeArgs {
  TensorRef positions, cell, pbc, species, offsets, damping, rcov, r4r2, cn_ref, c6_ref;
  double cutoff, cn_cutoff, width;
  bool tail;

  void check() const {
    check_floating(positions, "positions");
    TORCH_CHECK_VALUE(positions.dim() == 2 && positions.sym_size(1) == 3,
                      "d3torch: expected positions of shape (n_atoms, 3), got ",
                      positions.sym_sizes(), ".");
    TORCH_CHECK_VALUE(offsets.dim() == 1 && offsets.sym_size(0) >= 1,
                      "d3torch: expected offsets of shape (n_systems + 1,), got ",
                      offsets.sym_sizes(), ".");
    const Tensor* reals[] = {&cell, &damping, &rcov, &r4r2, &cn_ref, &c6_ref};
    const char* names[] = {"cell", "damping", "rcov", "r4r2", "cn_ref", "c6_ref"};
    for (int k = 0; k < 6; ++k) check_real(*reals[k], positions, names[k], "positions");
    check_index(species, positions, "species", "positions");
    check_index(offsets, positions, "offsets", "positions");
    TORCH_CHECK_TYPE(pbc.scalar_type() == at::kBool, "d3torch: expected pbc of dtype bool, got ",
                     pbc.scalar_type(), ".");
    check_device(pbc, positions, "pbc", "positions");
    const auto n_systems = offsets.sym_size(0) - 1;
    check_shape(cell, {n_systems, 3, 3}, "cell", "(n_systems, 3, 3)");
    check_shape(pbc, {n_systems, 3}, "pbc", "(n_systems, 3)");
    check_shape(damping, {n_systems, 4}, "damping", "(n_systems, 4), s6 s8 a1 a2 of each");
    check_shape(species, {positions.sym_size(0)}, "species", "(n_atoms,)");
    check_tables();
    check_cutoff(cutoff, width);
    TORCH_CHECK_VALUE(cn_cutoff > 0, "d3torch: expected a positive cn_cutoff, got ", cn_cutoff,
                      ".");
    const double largest =
        std::max(cutoff, cn_cutoff);  // infinity would ask for infinitely many images
    TORCH_CHECK_VALUE(largest <= 1e5, "d3torch: expected cutoffs of at most 1e5, got ", largest,
                      ".");
  }

  void check_tables() const {
    TORCH_CHECK_VALUE(cn_ref.dim() == 2 && cn_ref.sym_size(1) <= max_refs,
                      "d3torch: expected cn_ref of shape (n_species, n_refs <= ", max_refs,
                      "), got ", cn_ref.sym_sizes(), ".");
    const auto s = cn_ref.sym_size(0), r = cn_ref.sym_size(1);
    check_shape(rcov, {s}, "rcov", "(n_species,)");
    check_shape(r4r2, {s}, "r4r2", "(n_species,)");
    check_shape(c6_ref, {s, s, r, r}, "c6_ref", "(n_species, n_species, n_refs, n_refs)");
  }
};

inline Tensor empty_for(const LatticeArgs& a, c10::SymIntArrayRef shape) {
  return at::empty_symint(shape, a.positions.options());
}

// energy, energies, cn, c6, gradient, virial, cell, damping
inline Tensors8 allocate(const LatticeArgs& a) {
  const auto n = a.positions.sym_size(0), b = a.offsets.sym_size(0) - 1;
  return {empty_for(a, {b}),       empty_for(a, {n}),    empty_for(a, {n}),
          empty_for(a, {n}),       empty_for(a, {n, 3}), empty_for(a, {b, 3, 3}),
          empty_for(a, {b, 3, 3}), empty_for(a, {b, 4})};
}

// Contiguous tensors, kept alive while the kernel reads their pointers.
struct LatticeHold {
  Tensor positions, cell, pbc, species, offsets, damping, rcov, r4r2, cn_ref, c6_ref;
  const LatticeArgs& args;
  explicit LatticeHold(const LatticeArgs& a)
      : positions(a.positions.contiguous()),
        cell(a.cell.contiguous()),
        pbc(a.pbc.contiguous()),
        species(a.species.contiguous()),
        offsets(a.offsets.contiguous()),
        damping(a.damping.contiguous()),
        rcov(a.rcov.contiguous()),
        r4r2(a.r4r2.contiguous()),
        cn_ref(a.cn_ref.contiguous()),
        c6_ref(a.c6_ref.contiguous()),
        args(a) {}

  template <class X>
  LatticeInput<X> input(bool gradients, bool learn, int threads, InstructionSet set) const {
    const Tables<X> tables{r4r2.const_data_ptr<X>(), cn_ref.const_data_ptr<X>(),
                           c6_ref.const_data_ptr<X>(), int(cn_ref.size(0)), int(cn_ref.size(1))};
    return {positions.const_data_ptr<X>(),
            cell.const_data_ptr<X>(),
            pbc.const_data_ptr<bool>(),
            species.const_data_ptr<int64_t>(),
            offsets.const_data_ptr<int64_t>(),
            offsets.size(0) - 1,
            damping.const_data_ptr<X>(),
            rcov.const_data_ptr<X>(),
            tables,
            X(args.cutoff),
            X(args.cn_cutoff),
            X(args.width),
            args.tail,
            threads,
            set,
            gradients,
            learn};
  }
};

template <class X> LatticeOutput<X> output_of(Tensors8& tensors) {
  return std::apply(
      [](auto&... t) { return LatticeOutput<X>{t.template mutable_data_ptr<X>()...}; }, tensors);
}

inline Tensors8 evaluate_meta(TensorRef positions, TensorRef cell, TensorRef pbc, TensorRef species,
                              TensorRef offsets, TensorRef damping, TensorRef rcov, TensorRef r4r2,
                              TensorRef cn_ref, TensorRef c6_ref, double cutoff, double cn_cutoff,
                              double width, bool tail, bool, bool, c10::string_view) {
  const LatticeArgs args{positions, cell,   pbc,    species, offsets,   damping, rcov,
                         r4r2,      cn_ref, c6_ref, cutoff,  cn_cutoff, width,   tail};
  args.check();
  return allocate(args);
}

inline void check_tangents(const LatticeArgs& a, TensorRef t_positions, TensorRef t_cell,
                           TensorRef t_damping) {
  const Tensor *tangents[] = {&t_positions, &t_cell, &t_damping},
               *of[] = {&a.positions, &a.cell, &a.damping};
  const char* names[] = {"tangent_positions", "tangent_cell", "tangent_damping"};
  for (int k = 0; k < 3; ++k) {
    check_real(*tangents[k], a.positions, names[k], "positions");
    check_shape(*tangents[k], of[k]->sym_sizes(), names[k], "its argument");
  }
}

inline Tensors8 tangent_meta(TensorRef t_positions, TensorRef t_cell, TensorRef t_damping,
                             TensorRef positions, TensorRef cell, TensorRef pbc, TensorRef species,
                             TensorRef offsets, TensorRef damping, TensorRef rcov, TensorRef r4r2,
                             TensorRef cn_ref, TensorRef c6_ref, double cutoff, double cn_cutoff,
                             double width, bool tail) {
  const LatticeArgs args{positions, cell,   pbc,    species, offsets,   damping, rcov,
                         r4r2,      cn_ref, c6_ref, cutoff,  cn_cutoff, width,   tail};
  args.check();
  check_tangents(args, t_positions, t_cell, t_damping);
  return allocate(args);
}

inline Tensor dispersion_meta(TensorRef positions, TensorRef cell, TensorRef pbc, TensorRef species,
                              TensorRef offsets, TensorRef damping, TensorRef rcov, TensorRef r4r2,
                              TensorRef cn_ref, TensorRef c6_ref, double cutoff, double cn_cutoff,
                              double width, bool tail) {
  const LatticeArgs args{positions, cell,   pbc,    species, offsets,   damping, rcov,
                         r4r2,      cn_ref, c6_ref, cutoff,  cn_cutoff, width,   tail};
  args.check();
  return std::get<0>(allocate(args));
}

// Gradients of sum_b grad_energy_b E_b from those of the energies.
inline Tensors3 backward_meta(TensorRef grad_energy, TensorRef gradient, TensorRef by_cell,
                              TensorRef by_damping, TensorRef positions, TensorRef cell,
                              TensorRef pbc, TensorRef species, TensorRef offsets,
                              TensorRef damping, TensorRef rcov, TensorRef r4r2, TensorRef cn_ref,
                              TensorRef c6_ref, double cutoff, double cn_cutoff, double width,
                              bool tail) {
  const LatticeArgs args{positions, cell,   pbc,    species, offsets,   damping, rcov,
                         r4r2,      cn_ref, c6_ref, cutoff,  cn_cutoff, width,   tail};
  args.check();
  const Tensor *grads[] = {&gradient, &by_cell, &by_damping}, *of[] = {&positions, &cell, &damping};
  const char* names[] = {"gradient", "by_cell", "by_damping"};
  for (int k = 0; k < 3; ++k) check_shape(*grads[k], of[k]->sym_sizes(), names[k], "its argument");
  check_shape(grad_energy, {offsets.sym_size(0) - 1}, "grad_energy", "(n_systems,)");
  return {empty_for(args, positions.sym_sizes()), empty_for(args, cell.sym_sizes()),
          empty_for(args, damping.sym_sizes())};
}

}  // namespace d3

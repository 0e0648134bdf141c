// The ops of the lattice engine: schemas, argument checks, CPU and Meta kernels.
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <string>
#include <tuple>

#include "checks.h"
#include "lattice.h"

namespace {

using namespace d3;
using at::Tensor;
using T = const Tensor&;
using Tensors3 = std::tuple<Tensor, Tensor, Tensor>;
using Tensors8 = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

struct Args {
  T positions, cell, pbc, species, offsets, damping, rcov, r4r2, cn_ref, c6_ref;
  double cutoff, cn_cutoff, width;
  bool tail;

  void check() const {
    check_floating(positions, "positions");
    TORCH_CHECK_VALUE(positions.dim() == 2 && positions.sym_size(1) == 3, "d3torch: expected positions of shape (n_atoms, 3), got ",
                      positions.sym_sizes(), ".");
    TORCH_CHECK_VALUE(offsets.dim() == 1 && offsets.sym_size(0) >= 1, "d3torch: expected offsets of shape (n_systems + 1,), got ",
                      offsets.sym_sizes(), ".");
    const Tensor* reals[] = {&cell, &damping, &rcov, &r4r2, &cn_ref, &c6_ref};
    const char* names[] = {"cell", "damping", "rcov", "r4r2", "cn_ref", "c6_ref"};
    for (int k = 0; k < 6; ++k) check_real(*reals[k], positions, names[k], "positions");
    check_index(species, positions, "species", "positions");
    check_index(offsets, positions, "offsets", "positions");
    TORCH_CHECK_TYPE(pbc.scalar_type() == at::kBool, "d3torch: expected pbc of dtype bool, got ", pbc.scalar_type(), ".");
    check_device(pbc, positions, "pbc", "positions");
    const auto n_systems = offsets.sym_size(0) - 1;
    check_shape(cell, {n_systems, 3, 3}, "cell", "(n_systems, 3, 3)");
    check_shape(pbc, {n_systems, 3}, "pbc", "(n_systems, 3)");
    check_shape(damping, {n_systems, 4}, "damping", "(n_systems, 4), s6 s8 a1 a2 of each");
    check_shape(species, {positions.sym_size(0)}, "species", "(n_atoms,)");
    check_tables();
    check_cutoff(cutoff, width);
    TORCH_CHECK_VALUE(cn_cutoff > 0, "d3torch: expected a positive cn_cutoff, got ", cn_cutoff, ".");
    const double largest = std::max(cutoff, cn_cutoff);  // infinity would ask for infinitely many images
    TORCH_CHECK_VALUE(largest <= 1e5, "d3torch: expected cutoffs of at most 1e5, got ", largest, ".");
  }

  void check_tables() const {
    TORCH_CHECK_VALUE(cn_ref.dim() == 2 && cn_ref.sym_size(1) <= max_refs, "d3torch: expected cn_ref of shape (n_species, n_refs <= ",
                      max_refs, "), got ", cn_ref.sym_sizes(), ".");
    const auto s = cn_ref.sym_size(0), r = cn_ref.sym_size(1);
    check_shape(rcov, {s}, "rcov", "(n_species,)");
    check_shape(r4r2, {s}, "r4r2", "(n_species,)");
    check_shape(c6_ref, {s, s, r, r}, "c6_ref", "(n_species, n_species, n_refs, n_refs)");
  }
};

Tensor empty_for(const Args& a, c10::SymIntArrayRef shape) { return at::empty_symint(shape, a.positions.options()); }

// energy, energies, cn, c6, gradient, virial, cell, damping
Tensors8 allocate(const Args& a) {
  const auto n = a.positions.sym_size(0), b = a.offsets.sym_size(0) - 1;
  return {empty_for(a, {b}),    empty_for(a, {n}),       empty_for(a, {n}),       empty_for(a, {n}),
          empty_for(a, {n, 3}), empty_for(a, {b, 3, 3}), empty_for(a, {b, 3, 3}), empty_for(a, {b, 4})};
}

InstructionSet parse_instruction_set(c10::string_view name) {
  const InstructionSet sets[] = {InstructionSet::best, InstructionSet::avx512, InstructionSet::avx2, InstructionSet::baseline};
  const char* names[] = {"best", "avx512", "avx2", "baseline"};
  for (int k = 0; k < 4; ++k)
    if (name == names[k]) {
      TORCH_CHECK_VALUE(supported(sets[k]), "d3torch: expected an instruction set that this processor has, got ", names[k], ".");
      return sets[k];
    }
  TORCH_CHECK_VALUE(false, "d3torch: expected instruction_set to be best, avx512, avx2 or baseline, got ", name, ".");
}

void check_offsets(const int64_t* offsets, int64_t n_systems, int64_t n_atoms) {
  bool rising = offsets[0] == 0 && offsets[n_systems] == n_atoms;
  for (int64_t b = 0; b < n_systems; ++b) rising = rising && offsets[b] <= offsets[b + 1];
  TORCH_CHECK_VALUE(rising, "d3torch: expected offsets that rise from 0 to the number of atoms, ", n_atoms, ".");
}

void check_error(const LatticeError& e) {
  const char* sentences[] = {"", "expected finite positions, got NaN or infinity",
                             "expected positions within 1e9 of the origin and 1e9 cells of it, got one beyond",
                             "expected atoms at distinct positions, got two on one spot",
                             "expected linearly independent lattice vectors for the periodic axes, got a singular cell",
                             "expected three periodic directions for the tail correction, got fewer"};
  const bool of_atom = e.kind <= LatticeError::same_spot;
  TORCH_CHECK_VALUE(!e.kind, "d3torch: ", sentences[e.kind], of_atom ? " for atom " + std::to_string(e.atom) : "", " in system ",
                    e.system, ".");
}

// Contiguous tensors, kept alive while the kernel reads their pointers.
struct Hold {
  Tensor positions, cell, pbc, species, offsets, damping, rcov, r4r2, cn_ref, c6_ref;
  const Args& args;
  explicit Hold(const Args& a)
      : positions(a.positions.contiguous()), cell(a.cell.contiguous()), pbc(a.pbc.contiguous()), species(a.species.contiguous()),
        offsets(a.offsets.contiguous()), damping(a.damping.contiguous()), rcov(a.rcov.contiguous()), r4r2(a.r4r2.contiguous()),
        cn_ref(a.cn_ref.contiguous()), c6_ref(a.c6_ref.contiguous()), args(a) {}

  template <class X> LatticeInput<X> input(bool gradients, bool learn, InstructionSet set) const {
    const int64_t n_systems = offsets.size(0) - 1, n_atoms = positions.size(0);
    const int64_t *s = species.const_data_ptr<int64_t>(), *o = offsets.const_data_ptr<int64_t>();
    check_species(s, n_atoms, cn_ref.size(0));
    check_offsets(o, n_systems, n_atoms);
    const Tables<X> tables{r4r2.const_data_ptr<X>(), cn_ref.const_data_ptr<X>(), c6_ref.const_data_ptr<X>(), int(cn_ref.size(0)),
                           int(cn_ref.size(1))};
    const int threads = at::in_parallel_region() ? 1 : at::get_num_threads();
    return {positions.const_data_ptr<X>(), cell.const_data_ptr<X>(), pbc.const_data_ptr<bool>(), s, o, n_systems,
            damping.const_data_ptr<X>(), rcov.const_data_ptr<X>(), tables, X(args.cutoff), X(args.cn_cutoff), X(args.width), args.tail,
            threads, set, gradients, learn};
  }
};

template <class X> LatticeOutput<X> output_of(Tensors8& tensors) {
  return std::apply([](auto&... t) { return LatticeOutput<X>{t.template mutable_data_ptr<X>()...}; }, tensors);
}

Tensors8 evaluate_meta(T positions, T cell, T pbc, T species, T offsets, T damping, T rcov, T r4r2, T cn_ref, T c6_ref, double cutoff,
                       double cn_cutoff, double width, bool tail, bool, bool, c10::string_view) {
  const Args args{positions, cell, pbc, species, offsets, damping, rcov, r4r2, cn_ref, c6_ref, cutoff, cn_cutoff, width, tail};
  args.check();
  return allocate(args);
}

Tensors8 evaluate_cpu(T positions, T cell, T pbc, T species, T offsets, T damping, T rcov, T r4r2, T cn_ref, T c6_ref, double cutoff,
                      double cn_cutoff, double width, bool tail, bool gradients, bool learn, c10::string_view instruction_set) {
  const Args args{positions, cell, pbc, species, offsets, damping, rcov, r4r2, cn_ref, c6_ref, cutoff, cn_cutoff, width, tail};
  args.check();
  const InstructionSet set = parse_instruction_set(instruction_set);
  const Hold hold(args);
  Tensors8 out = allocate(args);
  AT_DISPATCH_FLOATING_TYPES(positions.scalar_type(), "dispersion_evaluate", [&] {
    check_error(Lattice<scalar_t>::evaluate(hold.input<scalar_t>(gradients || learn, learn, set), nullptr, output_of<scalar_t>(out)));
  });
  return out;
}

void check_tangents(const Args& a, T t_positions, T t_cell, T t_damping) {
  const Tensor *tangents[] = {&t_positions, &t_cell, &t_damping}, *of[] = {&a.positions, &a.cell, &a.damping};
  const char* names[] = {"tangent_positions", "tangent_cell", "tangent_damping"};
  for (int k = 0; k < 3; ++k) {
    check_real(*tangents[k], a.positions, names[k], "positions");
    check_shape(*tangents[k], of[k]->sym_sizes(), names[k], "its argument");
  }
}

Tensors8 tangent_meta(T t_positions, T t_cell, T t_damping, T positions, T cell, T pbc, T species, T offsets, T damping, T rcov,
                      T r4r2, T cn_ref, T c6_ref, double cutoff, double cn_cutoff, double width, bool tail) {
  const Args args{positions, cell, pbc, species, offsets, damping, rcov, r4r2, cn_ref, c6_ref, cutoff, cn_cutoff, width, tail};
  args.check();
  check_tangents(args, t_positions, t_cell, t_damping);
  return allocate(args);
}

Tensors8 tangent_cpu(T t_positions, T t_cell, T t_damping, T positions, T cell, T pbc, T species, T offsets, T damping, T rcov,
                     T r4r2, T cn_ref, T c6_ref, double cutoff, double cn_cutoff, double width, bool tail) {
  const Args args{positions, cell, pbc, species, offsets, damping, rcov, r4r2, cn_ref, c6_ref, cutoff, cn_cutoff, width, tail};
  args.check();
  check_tangents(args, t_positions, t_cell, t_damping);
  const Hold hold(args);
  const Tensor tp = t_positions.contiguous(), tc = t_cell.contiguous(), td = t_damping.contiguous();
  Tensors8 out = allocate(args);
  AT_DISPATCH_FLOATING_TYPES(positions.scalar_type(), "dispersion_tangent", [&] {
    const LatticeTangents<scalar_t> tangents{tp.const_data_ptr<scalar_t>(), tc.const_data_ptr<scalar_t>(), td.const_data_ptr<scalar_t>()};
    check_error(Lattice<scalar_t>::evaluate(hold.input<scalar_t>(true, true, InstructionSet::best), &tangents, output_of<scalar_t>(out)));
  });
  return out;
}

Tensor dispersion_meta(T positions, T cell, T pbc, T species, T offsets, T damping, T rcov, T r4r2, T cn_ref, T c6_ref,
                       double cutoff, double cn_cutoff, double width, bool tail) {
  const Args args{positions, cell, pbc, species, offsets, damping, rcov, r4r2, cn_ref, c6_ref, cutoff, cn_cutoff, width, tail};
  args.check();
  return std::get<0>(allocate(args));
}

Tensor dispersion_cpu(T positions, T cell, T pbc, T species, T offsets, T damping, T rcov, T r4r2, T cn_ref, T c6_ref,
                      double cutoff, double cn_cutoff, double width, bool tail) {
  return std::get<0>(evaluate_cpu(positions, cell, pbc, species, offsets, damping, rcov, r4r2, cn_ref, c6_ref, cutoff, cn_cutoff,
                                  width, tail, false, false, "best"));
}

// Gradients of sum_b grad_energy_b E_b from those of the energies.
Tensors3 backward_meta(T grad_energy, T gradient, T by_cell, T by_damping, T positions, T cell, T pbc, T species, T offsets,
                       T damping, T rcov, T r4r2, T cn_ref, T c6_ref, double cutoff, double cn_cutoff, double width, bool tail) {
  const Args args{positions, cell, pbc, species, offsets, damping, rcov, r4r2, cn_ref, c6_ref, cutoff, cn_cutoff, width, tail};
  args.check();
  const Tensor *grads[] = {&gradient, &by_cell, &by_damping}, *of[] = {&positions, &cell, &damping};
  const char* names[] = {"gradient", "by_cell", "by_damping"};
  for (int k = 0; k < 3; ++k) check_shape(*grads[k], of[k]->sym_sizes(), names[k], "its argument");
  check_shape(grad_energy, {offsets.sym_size(0) - 1}, "grad_energy", "(n_systems,)");
  return {empty_for(args, positions.sym_sizes()), empty_for(args, cell.sym_sizes()), empty_for(args, damping.sym_sizes())};
}

Tensors3 backward_cpu(T grad_energy, T gradient, T by_cell, T by_damping, T positions, T cell, T pbc, T species, T offsets,
                      T damping, T rcov, T r4r2, T cn_ref, T c6_ref, double cutoff, double cn_cutoff, double width, bool tail) {
  Tensors3 out = backward_meta(grad_energy, gradient, by_cell, by_damping, positions, cell, pbc, species, offsets, damping, rcov,
                               r4r2, cn_ref, c6_ref, cutoff, cn_cutoff, width, tail);
  const Tensor scale = grad_energy.contiguous(), g = gradient.contiguous(), c = by_cell.contiguous(), d = by_damping.contiguous();
  const Tensor first = offsets.contiguous();
  AT_DISPATCH_FLOATING_TYPES(positions.scalar_type(), "dispersion_backward", [&] {
    const int64_t* o = first.const_data_ptr<int64_t>();
    const auto scaled = [&](const Tensor& from, Tensor& to, int64_t b, int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k)
        to.mutable_data_ptr<scalar_t>()[k] = scale.const_data_ptr<scalar_t>()[b] * from.const_data_ptr<scalar_t>()[k];
    };
    for (int64_t b = 0; b < scale.size(0); ++b) {
      scaled(g, std::get<0>(out), b, 3 * o[b], 3 * o[b + 1]);
      scaled(c, std::get<1>(out), b, 9 * b, 9 * (b + 1));
      scaled(d, std::get<2>(out), b, 4 * b, 4 * (b + 1));
    }
  });
  return out;
}

}  // namespace

#define D3_LATTICE                                                                                                  \
  "Tensor positions, Tensor cell, Tensor pbc, Tensor species, Tensor offsets, Tensor damping, Tensor rcov, Tensor r4r2, " \
  "Tensor cn_ref, Tensor c6_ref, float cutoff, float cn_cutoff, float width, bool tail"
#define D3_EIGHT "(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)"

TORCH_LIBRARY_FRAGMENT(d3torch, m) {
  m.def("dispersion(" D3_LATTICE ") -> Tensor");
  m.def("dispersion_backward(Tensor grad_energy, Tensor gradient, Tensor by_cell, Tensor by_damping, " D3_LATTICE
        ") -> (Tensor, Tensor, Tensor)");
  m.def("dispersion_evaluate(" D3_LATTICE ", bool gradients=True, bool learn=False, str instruction_set=\"best\") -> " D3_EIGHT);
  m.def("dispersion_tangent(Tensor tangent_positions, Tensor tangent_cell, Tensor tangent_damping, " D3_LATTICE ") -> " D3_EIGHT);
}

TORCH_LIBRARY_IMPL(d3torch, CPU, m) {
  m.impl("dispersion", dispersion_cpu);
  m.impl("dispersion_backward", backward_cpu);
  m.impl("dispersion_evaluate", evaluate_cpu);
  m.impl("dispersion_tangent", tangent_cpu);
}

TORCH_LIBRARY_IMPL(d3torch, Meta, m) {
  m.impl("dispersion", dispersion_meta);
  m.impl("dispersion_backward", backward_meta);
  m.impl("dispersion_evaluate", evaluate_meta);
  m.impl("dispersion_tangent", tangent_meta);
}

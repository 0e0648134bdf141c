// The ops of the lattice engine: schemas, argument checks, CPU and Meta kernels.
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <string>

#include "ops/lattice_args.h"
#include "ops/signals.h"

namespace {

using namespace d3;
using T = const Tensor&;

InstructionSet parse_instruction_set(c10::string_view name) {
  const InstructionSet sets[] = {InstructionSet::best, InstructionSet::avx512, InstructionSet::avx2,
                                 InstructionSet::baseline};
  const char* names[] = {"best", "avx512", "avx2", "baseline"};
  for (int k = 0; k < 4; ++k)
    if (name == names[k]) {
      TORCH_CHECK_VALUE(supported(sets[k]),
                        "d3torch: expected an instruction set that this processor has, got ",
                        names[k], ".");
      return sets[k];
    }
  TORCH_CHECK_VALUE(false,
                    "d3torch: expected instruction_set to be best, avx512, avx2 or baseline, got ",
                    name, ".");
}

void check_offsets(const int64_t* offsets, int64_t n_systems, int64_t n_atoms) {
  bool rising = offsets[0] == 0 && offsets[n_systems] == n_atoms;
  for (int64_t b = 0; b < n_systems; ++b) rising = rising && offsets[b] <= offsets[b + 1];
  TORCH_CHECK_VALUE(rising, "d3torch: expected offsets that rise from 0 to the number of atoms, ",
                    n_atoms, ".");
}

std::string in_cell(const LatticeError& e) {
  return c10::str(" in cell [", e.image[0], ", ", e.image[1], ", ", e.image[2], "]");
}

std::string same_spot(const LatticeError& e) {
  const bool image = e.image[0] || e.image[1] || e.image[2];
  const auto other = e.other == e.atom ? "an image of its own" : c10::str("atom ", e.other);
  return c10::str("expected atoms at distinct positions, got atom ", e.atom, " and ", other,
                  image ? in_cell(e) : "", " on one spot");
}

// Atoms count from the first of their system, which is named where there are several.
std::string sentence(const LatticeError& e) {
  const std::string atom = c10::str(" for atom ", e.atom);
  switch (e.kind) {
    case LatticeError::not_finite:
      return "expected finite positions, got NaN or infinity" + atom;
    case LatticeError::too_far:
      return "expected positions within 1e9 of the origin and 1e9 cells of it, got one beyond" +
             atom;
    case LatticeError::same_spot:
      return same_spot(e);
    case LatticeError::singular_cell:
      return "expected linearly independent lattice vectors for the periodic axes, got a singular "
             "cell";
    case LatticeError::tail_needs_volume:
      return "expected three periodic directions for the tail correction, got fewer";
    default:
      return c10::str("expected at most ", most_neighbours, " neighbours of an atom and ",
                      most_pairs, " pairs within the cutoffs, got some ", e.neighbours,
                      " of each atom: is a cutoff a square, or in another unit");
  }
}

void check_error(const LatticeError& e, int64_t n_systems) {
  if (!e.kind) return;
  const std::string system = n_systems > 1 ? c10::str(" in system ", e.system) : "";
  TORCH_CHECK_VALUE(false, "d3torch: ", sentence(e), system, ".");
}

// The input of a CPU kernel.
template <class X>
LatticeInput<X> checked(const LatticeHold& hold, bool gradients, bool learn, InstructionSet set) {
  const int threads = at::in_parallel_region() ? 1 : at::get_num_threads();
  const LatticeInput<X> in = hold.input<X>(gradients, learn, threads, set);
  const int64_t n_atoms = hold.positions.size(0);
  check_species(in.species, n_atoms, in.tables.n_species);
  check_offsets(in.offsets, in.n_systems, n_atoms);
  return in;
}

// Runs the engine on checked input.
template <class X>
void run(const LatticeHold& hold, bool gradients, bool learn, InstructionSet set,
         const LatticeTangents<X>* tangents, Tensors8& out) {
  LatticeInput<X> in = checked<X>(hold, gradients, learn, set);
  Signals signals;
  in.watch = signals.watch();
  const LatticeError error = Lattice<X>::evaluate(in, tangents, output_of<X>(out));
  signals.rethrow();
  check_error(error, in.n_systems);
}

Tensors8 evaluate_cpu(T positions, T cell, T pbc, T species, T offsets, T damping, T rcov, T r4r2,
                      T cn_ref, T c6_ref, double cutoff, double cn_cutoff, double width, bool tail,
                      bool gradients, bool learn, c10::string_view instruction_set) {
  const LatticeArgs args{positions, cell,   pbc,    species, offsets,   damping, rcov,
                         r4r2,      cn_ref, c6_ref, cutoff,  cn_cutoff, width,   tail};
  args.check();
  const InstructionSet set = parse_instruction_set(instruction_set);
  const LatticeHold hold(args);
  Tensors8 out = allocate(args);
  AT_DISPATCH_FLOATING_TYPES(positions.scalar_type(), "dispersion_evaluate", [&] {
    run<scalar_t>(hold, gradients || learn, learn, set, nullptr, out);
  });
  return out;
}

Tensors8 tangent_cpu(T t_positions, T t_cell, T t_damping, T positions, T cell, T pbc, T species,
                     T offsets, T damping, T rcov, T r4r2, T cn_ref, T c6_ref, double cutoff,
                     double cn_cutoff, double width, bool tail) {
  const LatticeArgs args{positions, cell,   pbc,    species, offsets,   damping, rcov,
                         r4r2,      cn_ref, c6_ref, cutoff,  cn_cutoff, width,   tail};
  args.check();
  check_tangents(args, t_positions, t_cell, t_damping);
  const LatticeHold hold(args);
  const Tensor tp = t_positions.contiguous(), tc = t_cell.contiguous(), td = t_damping.contiguous();
  Tensors8 out = allocate(args);
  AT_DISPATCH_FLOATING_TYPES(positions.scalar_type(), "dispersion_tangent", [&] {
    const LatticeTangents<scalar_t> tangents{tp.const_data_ptr<scalar_t>(),
                                             tc.const_data_ptr<scalar_t>(),
                                             td.const_data_ptr<scalar_t>()};
    run<scalar_t>(hold, true, true, InstructionSet::best, &tangents, out);
  });
  return out;
}

Tensor dispersion_cpu(T positions, T cell, T pbc, T species, T offsets, T damping, T rcov, T r4r2,
                      T cn_ref, T c6_ref, double cutoff, double cn_cutoff, double width,
                      bool tail) {
  return std::get<0>(evaluate_cpu(positions, cell, pbc, species, offsets, damping, rcov, r4r2,
                                  cn_ref, c6_ref, cutoff, cn_cutoff, width, tail, false, false,
                                  "best"));
}

Tensors3 backward_cpu(T grad_energy, T gradient, T by_cell, T by_damping, T positions, T cell,
                      T pbc, T species, T offsets, T damping, T rcov, T r4r2, T cn_ref, T c6_ref,
                      double cutoff, double cn_cutoff, double width, bool tail) {
  Tensors3 out =
      backward_meta(grad_energy, gradient, by_cell, by_damping, positions, cell, pbc, species,
                    offsets, damping, rcov, r4r2, cn_ref, c6_ref, cutoff, cn_cutoff, width, tail);
  const Tensor scale = grad_energy.contiguous(), g = gradient.contiguous(),
               c = by_cell.contiguous(), d = by_damping.contiguous();
  const Tensor first = offsets.contiguous();
  AT_DISPATCH_FLOATING_TYPES(positions.scalar_type(), "dispersion_backward", [&] {
    const int64_t* o = first.const_data_ptr<int64_t>();
    const auto scaled = [&](const Tensor& from, Tensor& to, int64_t b, int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k)
        to.mutable_data_ptr<scalar_t>()[k] =
            scale.const_data_ptr<scalar_t>()[b] * from.const_data_ptr<scalar_t>()[k];
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

#define D3_LATTICE                                                                              \
  "Tensor positions, Tensor cell, Tensor pbc, Tensor species, Tensor offsets, Tensor damping, " \
  "Tensor rcov, Tensor r4r2, "                                                                  \
  "Tensor cn_ref, Tensor c6_ref, float cutoff, float cn_cutoff, float width, bool tail"
#define D3_EIGHT "(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)"

TORCH_LIBRARY_FRAGMENT(d3torch, m) {
  m.def("dispersion(" D3_LATTICE ") -> Tensor");
  m.def(
      "dispersion_backward(Tensor grad_energy, Tensor gradient, Tensor by_cell, Tensor "
      "by_damping, " D3_LATTICE ") -> (Tensor, Tensor, Tensor)");
  m.def("dispersion_evaluate(" D3_LATTICE
        ", bool gradients=True, bool learn=False, str instruction_set=\"best\") -> " D3_EIGHT);
  m.def(
      "dispersion_tangent(Tensor tangent_positions, Tensor tangent_cell, Tensor "
      "tangent_damping, " D3_LATTICE ") -> " D3_EIGHT);
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

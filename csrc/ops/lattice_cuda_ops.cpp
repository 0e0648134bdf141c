// The ops of the lattice engine on CUDA tensors: the checks of the CPU, keys and clusters put in
// order by torch, the current stream. Nothing here waits for the GPU, so that what is wrong with
// values (NaN, atoms on one spot, a singular cell, a tail without three periodic directions) makes
// the results of that system NaN.
#include <ATen/Dispatch.h>
#include <ATen/ops/cumsum.h>
#include <ATen/ops/sort.h>
#include <c10/core/DeviceGuard.h>
#include <torch/library.h>

#include <limits>

#include "engine/cuda/lattice/lattice_cuda.h"
#include "ops/cuda_args.h"
#include "ops/lattice_args.h"

namespace {

using namespace d3;
using T = const Tensor&;

void check_cuda_limits(const LatticeArgs& a) {
  const int64_t n = a.positions.size(0), n_systems = a.offsets.size(0) - 1,
                n_species = a.cn_ref.size(0);
  TORCH_CHECK_VALUE(n_species <= lattice_species, "d3torch: expected at most ", lattice_species,
                    " species on a GPU, got ", n_species, ".");
  TORCH_CHECK_VALUE(n_systems < lattice_systems, "d3torch: expected fewer than ", lattice_systems,
                    " systems on a GPU, got ", n_systems, ".");
  TORCH_CHECK_VALUE(n < std::numeric_limits<int>::max() / 4,
                    "d3torch: expected fewer than 5e8 atoms on a GPU, got ", n, ".");
  TORCH_CHECK_VALUE(n_systems > 0 || n == 0,
                    "d3torch: expected offsets that rise from 0 to the number of atoms, ", n, ".");
}

Tensor empty_like_kind(const Tensor& like, int64_t n, at::ScalarType kind) {
  return at::empty({n}, like.options().dtype(kind));
}

template <class X>
void evaluate_into(const LatticeHold& hold, const LatticeTangents<X>* tangents, bool gradients,
                   bool learn, Tensors8& out) {
  const int64_t n = hold.positions.size(0);
  const LatticeInput<X> in = hold.input<X>(gradients, learn, 0, InstructionSet::best);
  if (in.n_systems == 0) return;
  const Tensor memory = scratch(CudaLattice<X>::scratch(in, n, tangents), hold.positions);
  const Tensor keys = empty_like_kind(hold.positions, n, at::kLong),
               starts = empty_like_kind(hold.positions, n, at::kInt);
  CudaLattice<X>::keys(in, n, memory.mutable_data_ptr(), stream(),
                       keys.mutable_data_ptr<int64_t>());
  const auto [sorted, order] = at::sort(keys, /*stable=*/true, /*dim=*/0, /*descending=*/false);
  CudaLattice<X>::starts(sorted.const_data_ptr<int64_t>(), n, stream(),
                         starts.mutable_data_ptr<int>());
  const Tensor clusters = at::cumsum(starts, 0, at::kInt);
  const SortedAtoms atoms{sorted.const_data_ptr<int64_t>(), order.const_data_ptr<int64_t>(),
                          clusters.const_data_ptr<int>()};
  CudaLattice<X>::evaluate(in, tangents, n, atoms, memory.mutable_data_ptr(), stream(),
                           output_of<X>(out));
}

Tensors8 evaluate_cuda(T positions, T cell, T pbc, T species, T offsets, T damping, T rcov, T r4r2,
                       T cn_ref, T c6_ref, double cutoff, double cn_cutoff, double width, bool tail,
                       bool gradients, bool learn, c10::string_view instruction_set) {
  const c10::DeviceGuard guard(positions.device());
  TORCH_CHECK_VALUE(instruction_set == "best",
                    "d3torch: expected instruction_set to be best on a GPU, got ", instruction_set,
                    ".");
  Tensors8 out =
      evaluate_meta(positions, cell, pbc, species, offsets, damping, rcov, r4r2, cn_ref, c6_ref,
                    cutoff, cn_cutoff, width, tail, gradients, learn, instruction_set);
  const Padded tables(cn_ref, c6_ref);
  const LatticeArgs args{positions, cell,      pbc,   species,       offsets,
                         damping,   rcov,      r4r2,  tables.cn_ref, tables.c6_ref,
                         cutoff,    cn_cutoff, width, tail};
  check_cuda_limits(args);
  const LatticeHold hold(args);
  AT_DISPATCH_FLOATING_TYPES(positions.scalar_type(), "dispersion_evaluate", [&] {
    evaluate_into<scalar_t>(hold, nullptr, gradients || learn, learn, out);
  });
  return out;
}

Tensors8 tangent_cuda(T t_positions, T t_cell, T t_damping, T positions, T cell, T pbc, T species,
                      T offsets, T damping, T rcov, T r4r2, T cn_ref, T c6_ref, double cutoff,
                      double cn_cutoff, double width, bool tail) {
  const c10::DeviceGuard guard(positions.device());
  Tensors8 out =
      tangent_meta(t_positions, t_cell, t_damping, positions, cell, pbc, species, offsets, damping,
                   rcov, r4r2, cn_ref, c6_ref, cutoff, cn_cutoff, width, tail);
  const Padded tables(cn_ref, c6_ref);
  const LatticeArgs args{positions, cell,      pbc,   species,       offsets,
                         damping,   rcov,      r4r2,  tables.cn_ref, tables.c6_ref,
                         cutoff,    cn_cutoff, width, tail};
  check_cuda_limits(args);
  const LatticeHold hold(args);
  const Tensor tp = t_positions.contiguous(), tc = t_cell.contiguous(), td = t_damping.contiguous();
  AT_DISPATCH_FLOATING_TYPES(positions.scalar_type(), "dispersion_tangent", [&] {
    const LatticeTangents<scalar_t> tangents{tp.const_data_ptr<scalar_t>(),
                                             tc.const_data_ptr<scalar_t>(),
                                             td.const_data_ptr<scalar_t>()};
    evaluate_into<scalar_t>(hold, &tangents, true, true, out);
  });
  return out;
}

Tensor dispersion_cuda(T positions, T cell, T pbc, T species, T offsets, T damping, T rcov, T r4r2,
                       T cn_ref, T c6_ref, double cutoff, double cn_cutoff, double width,
                       bool tail) {
  return std::get<0>(evaluate_cuda(positions, cell, pbc, species, offsets, damping, rcov, r4r2,
                                   cn_ref, c6_ref, cutoff, cn_cutoff, width, tail, false, false,
                                   "best"));
}

Tensors3 backward_cuda(T grad_energy, T gradient, T by_cell, T by_damping, T positions, T cell,
                       T pbc, T species, T offsets, T damping, T rcov, T r4r2, T cn_ref, T c6_ref,
                       double cutoff, double cn_cutoff, double width, bool tail) {
  const c10::DeviceGuard guard(positions.device());
  Tensors3 out =
      backward_meta(grad_energy, gradient, by_cell, by_damping, positions, cell, pbc, species,
                    offsets, damping, rcov, r4r2, cn_ref, c6_ref, cutoff, cn_cutoff, width, tail);
  const Tensor by = grad_energy.contiguous(), g = gradient.contiguous(), c = by_cell.contiguous(),
               d = by_damping.contiguous();
  const Tensor first = offsets.contiguous();
  AT_DISPATCH_FLOATING_TYPES(positions.scalar_type(), "dispersion_backward", [&] {
    const ScaledGradients<const scalar_t> from{
        g.const_data_ptr<scalar_t>(), c.const_data_ptr<scalar_t>(), d.const_data_ptr<scalar_t>()};
    const ScaledGradients<scalar_t> to{std::get<0>(out).mutable_data_ptr<scalar_t>(),
                                       std::get<1>(out).mutable_data_ptr<scalar_t>(),
                                       std::get<2>(out).mutable_data_ptr<scalar_t>()};
    CudaLattice<scalar_t>::scale(first.const_data_ptr<int64_t>(), by.size(0), positions.size(0),
                                 by.const_data_ptr<scalar_t>(), from, stream(), to);
  });
  return out;
}

}  // namespace

TORCH_LIBRARY_IMPL(d3torch, CUDA, m) {
  m.impl("dispersion", dispersion_cuda);
  m.impl("dispersion_backward", backward_cuda);
  m.impl("dispersion_evaluate", evaluate_cuda);
  m.impl("dispersion_tangent", tangent_cuda);
}

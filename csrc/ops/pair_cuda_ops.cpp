// The pair ops on CUDA tensors: the checks of the CPU, scratch memory from torch, the current
// stream. Nothing here waits for the GPU, so that what is wrong with values (an index out of range)
// comes out as NaN.
#include <ATen/Dispatch.h>
#include <c10/core/DeviceGuard.h>
#include <torch/library.h>

#include "engine/cuda/pairs/pairs_cuda.h"
#include "ops/cuda_args.h"
#include "ops/pair_args.h"

namespace {

using namespace d3;

void check_atoms(const Tensor& vectors, const Tensor& species, int64_t n_species) {
  TORCH_CHECK_INDEX(species.size(0) > 0 || vectors.size(0) == 0,
                    "d3torch: expected no pairs where there are no atoms, got ", vectors.size(0),
                    ".");
  TORCH_CHECK_VALUE(n_species <= cuda_species, "d3torch: expected at most ", cuda_species,
                    " species on a GPU, got ", n_species, ".");
}

Tensor cn_cuda(const Tensor& vectors, const Tensor& pairs, const Tensor& species,
               const Tensor& rcov, double cutoff) {
  const c10::DeviceGuard guard(vectors.device());
  Tensor cn = cn_meta(vectors, pairs, species, rcov, cutoff);
  check_atoms(vectors, species, rcov.size(0));
  const CountingHold hold(vectors, pairs, species, rcov, cutoff);
  AT_DISPATCH_FLOATING_TYPES(vectors.scalar_type(), "coordination_number", [&] {
    const auto in = hold.input<scalar_t>(0);
    const Tensor memory = scratch(CudaCounting<scalar_t>::scratch(in), vectors);
    CudaCounting<scalar_t>::forward(in, memory.mutable_data_ptr(), stream(),
                                    cn.mutable_data_ptr<scalar_t>());
  });
  return cn;
}

Tensor cn_backward_cuda(const Tensor& grad_cn, const Tensor& vectors, const Tensor& pairs,
                        const Tensor& species, const Tensor& rcov, double cutoff) {
  const c10::DeviceGuard guard(vectors.device());
  Tensor out = cn_backward_meta(grad_cn, vectors, pairs, species, rcov, cutoff);
  check_atoms(vectors, species, rcov.size(0));
  const CountingHold hold(vectors, pairs, species, rcov, cutoff);
  const Tensor grad = grad_cn.contiguous();
  AT_DISPATCH_FLOATING_TYPES(vectors.scalar_type(), "coordination_number_backward", [&] {
    CudaCounting<scalar_t>::backward(hold.input<scalar_t>(0), stream(),
                                     grad.const_data_ptr<scalar_t>(),
                                     out.mutable_data_ptr<scalar_t>());
  });
  return out;
}

Tensors2 cn_double_backward_cuda(const Tensor& tangent_vectors, const Tensor& grad_cn,
                                 const Tensor& vectors, const Tensor& pairs, const Tensor& species,
                                 const Tensor& rcov, double cutoff) {
  const c10::DeviceGuard guard(vectors.device());
  auto [grad_grad_cn, grad_vectors] =
      cn_double_backward_meta(tangent_vectors, grad_cn, vectors, pairs, species, rcov, cutoff);
  check_atoms(vectors, species, rcov.size(0));
  const CountingHold hold(vectors, pairs, species, rcov, cutoff);
  const Tensor tangent = tangent_vectors.contiguous(), grad = grad_cn.contiguous();
  AT_DISPATCH_FLOATING_TYPES(vectors.scalar_type(), "coordination_number_double_backward", [&] {
    const auto in = hold.input<scalar_t>(0);
    const Tensor memory = scratch(CudaCounting<scalar_t>::scratch(in), vectors);
    CudaCounting<scalar_t>::double_backward(
        in, memory.mutable_data_ptr(), stream(), grad.const_data_ptr<scalar_t>(),
        tangent.const_data_ptr<scalar_t>(), grad_grad_cn.mutable_data_ptr<scalar_t>(),
        grad_vectors.mutable_data_ptr<scalar_t>());
  });
  return {grad_grad_cn, grad_vectors};
}

Tensor energy_cuda(const Tensor& vectors, const Tensor& cn, const Tensor& damping,
                   const Tensor& pairs, const Tensor& species, const Tensor& r4r2,
                   const Tensor& cn_ref, const Tensor& c6_ref, double cutoff, double width) {
  const c10::DeviceGuard guard(vectors.device());
  Tensor energy =
      energy_meta(vectors, cn, damping, pairs, species, r4r2, cn_ref, c6_ref, cutoff, width);
  check_atoms(vectors, species, cn_ref.size(0));
  const Padded tables(cn_ref, c6_ref);
  const EnergyHold hold(
      {vectors, cn, damping, pairs, species, r4r2, tables.cn_ref, tables.c6_ref, cutoff, width});
  AT_DISPATCH_FLOATING_TYPES(vectors.scalar_type(), "dispersion_energy", [&] {
    const auto in = hold.input<scalar_t>(0);
    const Tensor memory = scratch(CudaEnergy<scalar_t>::scratch(in), vectors);
    CudaEnergy<scalar_t>::forward(in, memory.mutable_data_ptr(), stream(),
                                  energy.mutable_data_ptr<scalar_t>());
  });
  return energy;
}

Tensors3 energy_by_centre_cuda(const Tensor& vectors, const Tensor& cn, const Tensor& damping,
                               const Tensor& pairs, const Tensor& species, const Tensor& r4r2,
                               const Tensor& cn_ref, const Tensor& c6_ref, double cutoff,
                               double width) {
  const c10::DeviceGuard guard(vectors.device());
  Tensors3 out = energy_by_centre_meta(vectors, cn, damping, pairs, species, r4r2, cn_ref, c6_ref,
                                       cutoff, width);
  check_atoms(vectors, species, cn_ref.size(0));
  const Padded tables(cn_ref, c6_ref);
  const EnergyHold hold(
      {vectors, cn, damping, pairs, species, r4r2, tables.cn_ref, tables.c6_ref, cutoff, width});
  auto& [energy, by_cn, by_vectors] = out;
  AT_DISPATCH_FLOATING_TYPES(vectors.scalar_type(), "dispersion_energy_by_centre", [&] {
    const auto in = hold.input<scalar_t>(0);
    const Tensor memory = scratch(CudaEnergy<scalar_t>::scratch(in), vectors);
    CudaEnergy<scalar_t>::by_centre(
        in, memory.mutable_data_ptr(), stream(), energy.mutable_data_ptr<scalar_t>(),
        by_cn.mutable_data_ptr<scalar_t>(), by_vectors.mutable_data_ptr<scalar_t>());
  });
  return out;
}

template <class T>
EnergyGradients<T> gradients(const Tensor& vectors, const Tensor& cn, const Tensor& damping) {
  return {vectors.mutable_data_ptr<T>(), cn.mutable_data_ptr<T>(), damping.mutable_data_ptr<T>()};
}

Tensors3 energy_backward_cuda(const Tensor& grad_energy, const Tensor& vectors, const Tensor& cn,
                              const Tensor& damping, const Tensor& pairs, const Tensor& species,
                              const Tensor& r4r2, const Tensor& cn_ref, const Tensor& c6_ref,
                              double cutoff, double width) {
  const c10::DeviceGuard guard(vectors.device());
  Tensors3 out = energy_backward_meta(grad_energy, vectors, cn, damping, pairs, species, r4r2,
                                      cn_ref, c6_ref, cutoff, width);
  check_atoms(vectors, species, cn_ref.size(0));
  const Padded tables(cn_ref, c6_ref);
  const EnergyHold hold(
      {vectors, cn, damping, pairs, species, r4r2, tables.cn_ref, tables.c6_ref, cutoff, width});
  const Tensor grad = grad_energy.contiguous();
  AT_DISPATCH_FLOATING_TYPES(vectors.scalar_type(), "dispersion_energy_backward", [&] {
    const auto in = hold.input<scalar_t>(0);
    const Tensor memory = scratch(CudaEnergy<scalar_t>::scratch(in), vectors);
    CudaEnergy<scalar_t>::backward(in, memory.mutable_data_ptr(), stream(),
                                   grad.const_data_ptr<scalar_t>(),
                                   std::apply(gradients<scalar_t>, out));
  });
  return out;
}

Tensors4 energy_double_backward_cuda(const Tensor& tangent_vectors, const Tensor& tangent_cn,
                                     const Tensor& tangent_damping, const Tensor& grad_energy,
                                     const Tensor& vectors, const Tensor& cn, const Tensor& damping,
                                     const Tensor& pairs, const Tensor& species, const Tensor& r4r2,
                                     const Tensor& cn_ref, const Tensor& c6_ref, double cutoff,
                                     double width) {
  const c10::DeviceGuard guard(vectors.device());
  auto out = energy_double_backward_meta(tangent_vectors, tangent_cn, tangent_damping, grad_energy,
                                         vectors, cn, damping, pairs, species, r4r2, cn_ref, c6_ref,
                                         cutoff, width);
  check_atoms(vectors, species, cn_ref.size(0));
  const Padded tables(cn_ref, c6_ref);
  const EnergyHold hold(
      {vectors, cn, damping, pairs, species, r4r2, tables.cn_ref, tables.c6_ref, cutoff, width});
  auto& [grad_grad_energy, grad_vectors, grad_cn, grad_damping] = out;
  const Tensor t_vectors = tangent_vectors.contiguous(), t_cn = tangent_cn.contiguous();
  const Tensor t_damping = tangent_damping.contiguous(), grad = grad_energy.contiguous();
  AT_DISPATCH_FLOATING_TYPES(vectors.scalar_type(), "dispersion_energy_double_backward", [&] {
    const EnergyTangents<scalar_t> tangents{t_vectors.const_data_ptr<scalar_t>(),
                                            t_cn.const_data_ptr<scalar_t>(),
                                            t_damping.const_data_ptr<scalar_t>()};
    const auto in = hold.input<scalar_t>(0);
    const Tensor memory = scratch(CudaEnergy<scalar_t>::scratch(in), vectors);
    CudaEnergy<scalar_t>::double_backward(in, memory.mutable_data_ptr(), stream(),
                                          grad.const_data_ptr<scalar_t>(), tangents,
                                          grad_grad_energy.mutable_data_ptr<scalar_t>(),
                                          gradients<scalar_t>(grad_vectors, grad_cn, grad_damping));
  });
  return out;
}

}  // namespace

TORCH_LIBRARY_IMPL(d3torch, CUDA, m) {
  m.impl("coordination_number", cn_cuda);
  m.impl("coordination_number_backward", cn_backward_cuda);
  m.impl("coordination_number_double_backward", cn_double_backward_cuda);
  m.impl("dispersion_energy", energy_cuda);
  m.impl("dispersion_energy_by_centre", energy_by_centre_cuda);
  m.impl("dispersion_energy_backward", energy_backward_cuda);
  m.impl("dispersion_energy_double_backward", energy_double_backward_cuda);
}

// Every schema, every argument check, and the CPU and Meta kernels behind them.
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <omp.h>
#include <pthread.h>
#include <torch/library.h>

#include <tuple>

#include "engine/pairs/kernels.h"
#include "ops/pair_args.h"
#include "ops/signals.h"

namespace {

using namespace d3;

// A process keeps its threads waiting for the next parallel loop; a forked one has none of them,
// and would wait for them for ever. They are let go before a fork, and come back when they are
// needed.
[[maybe_unused]] const int without_threads =
    pthread_atfork([] { omp_pause_resource_all(omp_pause_soft); }, nullptr, nullptr);

// ---- values: indices are checked where they are read, so that no kernel leaves its arrays ----

int threads() { return at::in_parallel_region() ? 1 : at::get_num_threads(); }

// Runs a CPU kernel on checked input. The kernel returns the first pair of length 0, or -1.
template <class T, class Hold, class F> void run(const Hold& hold, F&& kernel) {
  auto in = hold.template input<T>(threads());
  const d3::PairList<T>& list = in.list;
  check_species(list.species, list.n_atoms, hold.n_species());
  const auto pair = [&](int64_t p) {
    return c10::str("(", list.centre[p], ", ", list.neighbour[p], ")");
  };
  int64_t bad =
      d3::first_bad_pair(list.centre, list.neighbour, list.n_pairs, list.n_atoms, threads());
  TORCH_CHECK_INDEX(bad < 0, "d3torch: expected atom indices in [0, ", list.n_atoms,
                    ") in pairs, got ", pair(bad), " for pair ", bad, ".");
  Signals signals;
  in.watch = signals.watch();
  bad = kernel(in);
  signals.rethrow();
  TORCH_CHECK_VALUE(bad < 0, "d3torch: expected pairs of distinct positions, got pair ", bad, " ",
                    pair(bad), " with a vector of length 0.");
}

// ---- coordination number ----

Tensor cn_cpu(const Tensor& vectors, const Tensor& pairs, const Tensor& species, const Tensor& rcov,
              double cutoff) {
  const CountingHold hold(vectors, pairs, species, rcov, cutoff);
  Tensor cn = empty_per_atom(vectors, species);
  AT_DISPATCH_FLOATING_TYPES(vectors.scalar_type(), "coordination_number", [&] {
    run<scalar_t>(hold, [&](const auto& in) {
      return d3::Counting<scalar_t>::forward(in, cn.mutable_data_ptr<scalar_t>());
    });
  });
  return cn;
}

Tensor cn_backward_cpu(const Tensor& grad_cn, const Tensor& vectors, const Tensor& pairs,
                       const Tensor& species, const Tensor& rcov, double cutoff) {
  const CountingHold hold(vectors, pairs, species, rcov, cutoff);
  Tensor out = cn_backward_meta(grad_cn, vectors, pairs, species, rcov, cutoff);
  const Tensor grad = grad_cn.contiguous();
  AT_DISPATCH_FLOATING_TYPES(vectors.scalar_type(), "coordination_number_backward", [&] {
    run<scalar_t>(hold, [&](const auto& in) {
      return d3::Counting<scalar_t>::backward(in, grad.const_data_ptr<scalar_t>(),
                                              out.mutable_data_ptr<scalar_t>());
    });
  });
  return out;
}

Tensors2 cn_double_backward_cpu(const Tensor& tangent_vectors, const Tensor& grad_cn,
                                const Tensor& vectors, const Tensor& pairs, const Tensor& species,
                                const Tensor& rcov, double cutoff) {
  const CountingHold hold(vectors, pairs, species, rcov, cutoff);
  auto [grad_grad_cn, grad_vectors] =
      cn_double_backward_meta(tangent_vectors, grad_cn, vectors, pairs, species, rcov, cutoff);
  const Tensor tangent = tangent_vectors.contiguous(), grad = grad_cn.contiguous();
  AT_DISPATCH_FLOATING_TYPES(vectors.scalar_type(), "coordination_number_double_backward", [&] {
    run<scalar_t>(hold, [&](const auto& in) {
      return d3::Counting<scalar_t>::double_backward(
          in, grad.const_data_ptr<scalar_t>(), tangent.const_data_ptr<scalar_t>(),
          grad_grad_cn.mutable_data_ptr<scalar_t>(), grad_vectors.mutable_data_ptr<scalar_t>());
    });
  });
  return {grad_grad_cn, grad_vectors};
}

// ---- energy ----

Tensor energy_cpu(const Tensor& vectors, const Tensor& cn, const Tensor& damping,
                  const Tensor& pairs, const Tensor& species, const Tensor& r4r2,
                  const Tensor& cn_ref, const Tensor& c6_ref, double cutoff, double width) {
  const EnergyHold hold(
      {vectors, cn, damping, pairs, species, r4r2, cn_ref, c6_ref, cutoff, width});
  Tensor energy = empty_contiguous(cn);
  AT_DISPATCH_FLOATING_TYPES(vectors.scalar_type(), "dispersion_energy", [&] {
    run<scalar_t>(hold, [&](const auto& in) {
      return d3::Energy<scalar_t>::forward(in, energy.mutable_data_ptr<scalar_t>());
    });
  });
  return energy;
}

Tensors3 energy_by_centre_cpu(const Tensor& vectors, const Tensor& cn, const Tensor& damping,
                              const Tensor& pairs, const Tensor& species, const Tensor& r4r2,
                              const Tensor& cn_ref, const Tensor& c6_ref, double cutoff,
                              double width) {
  const EnergyHold hold(
      {vectors, cn, damping, pairs, species, r4r2, cn_ref, c6_ref, cutoff, width});
  Tensors3 out{empty_contiguous(cn), empty_contiguous(cn), empty_contiguous(vectors)};
  auto& [energy, by_cn, by_vectors] = out;
  AT_DISPATCH_FLOATING_TYPES(vectors.scalar_type(), "dispersion_energy_by_centre", [&] {
    run<scalar_t>(hold, [&](const auto& in) {
      return d3::Energy<scalar_t>::by_centre(in, energy.mutable_data_ptr<scalar_t>(),
                                             by_cn.mutable_data_ptr<scalar_t>(),
                                             by_vectors.mutable_data_ptr<scalar_t>());
    });
  });
  return out;
}

template <class T>
d3::EnergyGradients<T> gradients(const Tensor& vectors, const Tensor& cn, const Tensor& damping) {
  return {vectors.mutable_data_ptr<T>(), cn.mutable_data_ptr<T>(), damping.mutable_data_ptr<T>()};
}

Tensors3 energy_backward_cpu(const Tensor& grad_energy, const Tensor& vectors, const Tensor& cn,
                             const Tensor& damping, const Tensor& pairs, const Tensor& species,
                             const Tensor& r4r2, const Tensor& cn_ref, const Tensor& c6_ref,
                             double cutoff, double width) {
  const EnergyHold hold(
      {vectors, cn, damping, pairs, species, r4r2, cn_ref, c6_ref, cutoff, width});
  check_per_atom(grad_energy, vectors, species, "grad_energy");
  Tensors3 out{empty_contiguous(vectors), empty_contiguous(cn), empty_contiguous(damping)};
  const Tensor grad = grad_energy.contiguous();
  AT_DISPATCH_FLOATING_TYPES(vectors.scalar_type(), "dispersion_energy_backward", [&] {
    run<scalar_t>(hold, [&](const auto& in) {
      return d3::Energy<scalar_t>::backward(in, grad.const_data_ptr<scalar_t>(),
                                            std::apply(gradients<scalar_t>, out));
    });
  });
  return out;
}

Tensors4 energy_double_backward_cpu(const Tensor& tangent_vectors, const Tensor& tangent_cn,
                                    const Tensor& tangent_damping, const Tensor& grad_energy,
                                    const Tensor& vectors, const Tensor& cn, const Tensor& damping,
                                    const Tensor& pairs, const Tensor& species, const Tensor& r4r2,
                                    const Tensor& cn_ref, const Tensor& c6_ref, double cutoff,
                                    double width) {
  const EnergyHold hold(
      {vectors, cn, damping, pairs, species, r4r2, cn_ref, c6_ref, cutoff, width});
  auto out = energy_double_backward_meta(tangent_vectors, tangent_cn, tangent_damping, grad_energy,
                                         vectors, cn, damping, pairs, species, r4r2, cn_ref, c6_ref,
                                         cutoff, width);
  auto& [grad_grad_energy, grad_vectors, grad_cn, grad_damping] = out;
  const Tensor t_vectors = tangent_vectors.contiguous(), t_cn = tangent_cn.contiguous();
  const Tensor t_damping = tangent_damping.contiguous(), grad = grad_energy.contiguous();
  AT_DISPATCH_FLOATING_TYPES(vectors.scalar_type(), "dispersion_energy_double_backward", [&] {
    const d3::EnergyTangents<scalar_t> tangents{t_vectors.const_data_ptr<scalar_t>(),
                                                t_cn.const_data_ptr<scalar_t>(),
                                                t_damping.const_data_ptr<scalar_t>()};
    run<scalar_t>(hold, [&](const auto& in) {
      return d3::Energy<scalar_t>::double_backward(
          in, grad.const_data_ptr<scalar_t>(), tangents,
          grad_grad_energy.mutable_data_ptr<scalar_t>(),
          gradients<scalar_t>(grad_vectors, grad_cn, grad_damping));
    });
  });
  return out;
}

}  // namespace

#define D3_COUNTING "Tensor vectors, Tensor pairs, Tensor species, Tensor rcov, float cutoff"
#define D3_ENERGY                                                                                 \
  "Tensor vectors, Tensor cn, Tensor damping, Tensor pairs, Tensor species, Tensor r4r2, Tensor " \
  "cn_ref, Tensor c6_ref, "                                                                       \
  "float cutoff, float width"

TORCH_LIBRARY(d3torch, m) {
  m.def("check_signals() -> ()");  // see signals_args.h
  m.def("coordination_number(" D3_COUNTING ") -> Tensor");
  m.def("coordination_number_backward(Tensor grad_cn, " D3_COUNTING ") -> Tensor");
  m.def("coordination_number_double_backward(Tensor tangent_vectors, Tensor grad_cn, " D3_COUNTING
        ") -> (Tensor, Tensor)");
  m.def("dispersion_energy(" D3_ENERGY ") -> Tensor");
  m.def("dispersion_energy_by_centre(" D3_ENERGY ") -> (Tensor, Tensor, Tensor)");
  m.def("dispersion_energy_backward(Tensor grad_energy, " D3_ENERGY
        ") -> (Tensor, Tensor, Tensor)");
  m.def(
      "dispersion_energy_double_backward(Tensor tangent_vectors, Tensor tangent_cn, Tensor "
      "tangent_damping, "
      "Tensor grad_energy, " D3_ENERGY ") -> (Tensor, Tensor, Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(d3torch, CPU, m) {
  m.impl("coordination_number", cn_cpu);
  m.impl("coordination_number_backward", cn_backward_cpu);
  m.impl("coordination_number_double_backward", cn_double_backward_cpu);
  m.impl("dispersion_energy", energy_cpu);
  m.impl("dispersion_energy_by_centre", energy_by_centre_cpu);
  m.impl("dispersion_energy_backward", energy_backward_cpu);
  m.impl("dispersion_energy_double_backward", energy_double_backward_cpu);
}

TORCH_LIBRARY_IMPL(d3torch, Meta, m) {
  m.impl("coordination_number", cn_meta);
  m.impl("coordination_number_backward", cn_backward_meta);
  m.impl("coordination_number_double_backward", cn_double_backward_meta);
  m.impl("dispersion_energy", energy_meta);
  m.impl("dispersion_energy_by_centre", energy_by_centre_meta);
  m.impl("dispersion_energy_backward", energy_backward_meta);
  m.impl("dispersion_energy_double_backward", energy_double_backward_meta);
}

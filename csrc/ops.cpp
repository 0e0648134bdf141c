// Every schema, every argument check, and the CPU and Meta kernels behind them.
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <tuple>

#include "checks.h"
#include "kernels.h"

namespace {

using at::Tensor;
using namespace d3;
using Tensors2 = std::tuple<Tensor, Tensor>;
using Tensors3 = std::tuple<Tensor, Tensor, Tensor>;
using Tensors4 = std::tuple<Tensor, Tensor, Tensor, Tensor>;

void check_list(const Tensor& vectors, const Tensor& pairs, const Tensor& species) {
  check_floating(vectors, "vectors");
  TORCH_CHECK_VALUE(vectors.dim() == 2 && vectors.sym_size(1) == 3, "d3torch: expected vectors of shape (n_pairs, 3), got ",
                    vectors.sym_sizes(), ".");
  check_index(pairs, vectors, "pairs");
  check_shape(pairs, {2, vectors.sym_size(0)}, "pairs", "(2, n_pairs)");
  check_index(species, vectors, "species");
  TORCH_CHECK_VALUE(species.dim() == 1, "d3torch: expected species of shape (n_atoms,), got ", species.sym_sizes(), ".");
}

void check_counting(const Tensor& vectors, const Tensor& pairs, const Tensor& species, const Tensor& rcov, double cutoff) {
  check_list(vectors, pairs, species);
  check_real(rcov, vectors, "rcov");
  TORCH_CHECK_VALUE(rcov.dim() == 1, "d3torch: expected rcov of shape (n_species,), got ", rcov.sym_sizes(), ".");
  check_cutoff(cutoff, 0.0);
}

struct EnergyArgs {
  const Tensor &vectors, &cn, &damping, &pairs, &species, &r4r2, &cn_ref, &c6_ref;
  double cutoff, width;

  void check() const {
    check_list(vectors, pairs, species);
    const Tensor* reals[] = {&cn, &damping, &r4r2, &cn_ref, &c6_ref};
    const char* names[] = {"cn", "damping", "r4r2", "cn_ref", "c6_ref"};
    for (int k = 0; k < 5; ++k) check_real(*reals[k], vectors, names[k]);
    check_shape(cn, {species.sym_size(0)}, "cn", "(n_atoms,)");
    check_shape(damping, {4}, "damping", "(s6, s8, a1, a2)");
    TORCH_CHECK_VALUE(cn_ref.dim() == 2, "d3torch: expected cn_ref of shape (n_species, n_refs), got ", cn_ref.sym_sizes(), ".");
    const auto s = cn_ref.sym_size(0), r = cn_ref.sym_size(1);
    check_shape(r4r2, {s}, "r4r2", "(n_species,)");
    check_shape(c6_ref, {s, s, r, r}, "c6_ref", "(n_species, n_species, n_refs, n_refs)");
    check_cutoff(cutoff, width);
  }
};

// A gradient or tangent has the shape, dtype and device of what it belongs to.
void check_like(const Tensor& t, const Tensor& like, const char* name) {
  check_real(t, like, name);
  check_shape(t, like.sym_sizes(), name, "its argument");
}

void check_per_atom(const Tensor& t, const Tensor& vectors, const Tensor& species, const char* name) {
  check_real(t, vectors, name);
  check_shape(t, {species.sym_size(0)}, name, "(n_atoms,)");
}

// ---- values: indices are checked where they are read, so that no kernel leaves its arrays ----

int threads() { return at::in_parallel_region() ? 1 : at::get_num_threads(); }

template <class T> d3::PairList<T> make_list(const Tensor& vectors, const Tensor& pairs, const Tensor& species, int64_t n_species) {
  const int64_t n_pairs = vectors.size(0), n_atoms = species.size(0);
  const int64_t *centre = pairs.const_data_ptr<int64_t>(), *s = species.const_data_ptr<int64_t>();
  check_species(s, n_atoms, n_species);
  const int64_t bad = d3::first_bad_pair(centre, centre + n_pairs, n_pairs, n_atoms, threads());
  TORCH_CHECK_INDEX(bad < 0, "d3torch: expected atom indices in [0, ", n_atoms, ") in pairs, got (", centre[bad], ", ",
                    centre[n_pairs + bad], ") for pair ", bad, ".");
  return {vectors.const_data_ptr<T>(), centre, centre + n_pairs, s, n_pairs, n_atoms};
}

// Contiguous tensors, kept alive while the kernel reads their pointers.
struct CountingHold {
  Tensor vectors, pairs, species, rcov;
  double cutoff;
  CountingHold(const Tensor& v, const Tensor& p, const Tensor& s, const Tensor& r, double c)
      : vectors(v.contiguous()), pairs(p.contiguous()), species(s.contiguous()), rcov(r.contiguous()), cutoff(c) {
    check_counting(v, p, s, r, c);
  }
  template <class T> d3::CountingInput<T> input() const {
    return {make_list<T>(vectors, pairs, species, rcov.size(0)), rcov.const_data_ptr<T>(), T(cutoff), threads()};
  }
};

struct EnergyHold {
  Tensor vectors, cn, damping, pairs, species, r4r2, cn_ref, c6_ref;
  double cutoff, width;
  explicit EnergyHold(const EnergyArgs& a)
      : vectors(a.vectors.contiguous()), cn(a.cn.contiguous()), damping(a.damping.contiguous()),
        pairs(a.pairs.contiguous()), species(a.species.contiguous()), r4r2(a.r4r2.contiguous()),
        cn_ref(a.cn_ref.contiguous()), c6_ref(a.c6_ref.contiguous()), cutoff(a.cutoff), width(a.width) {
    a.check();
  }
  template <class T> d3::EnergyInput<T> input() const {
    const d3::Tables<T> tables{r4r2.const_data_ptr<T>(), cn_ref.const_data_ptr<T>(), c6_ref.const_data_ptr<T>(),
                               int(cn_ref.size(0)), int(cn_ref.size(1))};
    return {make_list<T>(vectors, pairs, species, tables.n_species), cn.const_data_ptr<T>(), damping.const_data_ptr<T>(),
            tables, T(cutoff), T(width), threads()};
  }
};

Tensor empty_contiguous(const Tensor& like) { return at::empty_like(like, like.options(), at::MemoryFormat::Contiguous); }

Tensor empty_per_atom(const Tensor& vectors, const Tensor& species) {
  return at::empty_symint({species.sym_size(0)}, vectors.options());
}

// ---- coordination number ----

Tensor cn_meta(const Tensor& vectors, const Tensor& pairs, const Tensor& species, const Tensor& rcov, double cutoff) {
  check_counting(vectors, pairs, species, rcov, cutoff);
  return empty_per_atom(vectors, species);
}

Tensor cn_cpu(const Tensor& vectors, const Tensor& pairs, const Tensor& species, const Tensor& rcov, double cutoff) {
  const CountingHold hold(vectors, pairs, species, rcov, cutoff);
  Tensor cn = empty_per_atom(vectors, species);
  AT_DISPATCH_FLOATING_TYPES(vectors.scalar_type(), "coordination_number", [&] {
    d3::Counting<scalar_t>::forward(hold.input<scalar_t>(), cn.mutable_data_ptr<scalar_t>());
  });
  return cn;
}

Tensor cn_backward_meta(const Tensor& grad_cn, const Tensor& vectors, const Tensor& pairs, const Tensor& species,
                        const Tensor& rcov, double cutoff) {
  check_counting(vectors, pairs, species, rcov, cutoff);
  check_per_atom(grad_cn, vectors, species, "grad_cn");
  return empty_contiguous(vectors);
}

Tensor cn_backward_cpu(const Tensor& grad_cn, const Tensor& vectors, const Tensor& pairs, const Tensor& species,
                       const Tensor& rcov, double cutoff) {
  const CountingHold hold(vectors, pairs, species, rcov, cutoff);
  Tensor out = cn_backward_meta(grad_cn, vectors, pairs, species, rcov, cutoff);
  const Tensor grad = grad_cn.contiguous();
  AT_DISPATCH_FLOATING_TYPES(vectors.scalar_type(), "coordination_number_backward", [&] {
    d3::Counting<scalar_t>::backward(hold.input<scalar_t>(), grad.const_data_ptr<scalar_t>(), out.mutable_data_ptr<scalar_t>());
  });
  return out;
}

Tensors2 cn_double_backward_meta(const Tensor& tangent_vectors, const Tensor& grad_cn, const Tensor& vectors,
                                 const Tensor& pairs, const Tensor& species, const Tensor& rcov, double cutoff) {
  Tensor out = cn_backward_meta(grad_cn, vectors, pairs, species, rcov, cutoff);
  check_like(tangent_vectors, vectors, "tangent_vectors");
  return {empty_per_atom(vectors, species), out};
}

Tensors2 cn_double_backward_cpu(const Tensor& tangent_vectors, const Tensor& grad_cn, const Tensor& vectors,
                                const Tensor& pairs, const Tensor& species, const Tensor& rcov, double cutoff) {
  const CountingHold hold(vectors, pairs, species, rcov, cutoff);
  auto [grad_grad_cn, grad_vectors] = cn_double_backward_meta(tangent_vectors, grad_cn, vectors, pairs, species, rcov, cutoff);
  const Tensor tangent = tangent_vectors.contiguous(), grad = grad_cn.contiguous();
  AT_DISPATCH_FLOATING_TYPES(vectors.scalar_type(), "coordination_number_double_backward", [&] {
    d3::Counting<scalar_t>::double_backward(hold.input<scalar_t>(), grad.const_data_ptr<scalar_t>(),
                                            tangent.const_data_ptr<scalar_t>(), grad_grad_cn.mutable_data_ptr<scalar_t>(),
                                            grad_vectors.mutable_data_ptr<scalar_t>());
  });
  return {grad_grad_cn, grad_vectors};
}

// ---- energy ----

Tensor energy_meta(const Tensor& vectors, const Tensor& cn, const Tensor& damping, const Tensor& pairs, const Tensor& species,
                   const Tensor& r4r2, const Tensor& cn_ref, const Tensor& c6_ref, double cutoff, double width) {
  EnergyArgs{vectors, cn, damping, pairs, species, r4r2, cn_ref, c6_ref, cutoff, width}.check();
  return empty_contiguous(cn);
}

Tensor energy_cpu(const Tensor& vectors, const Tensor& cn, const Tensor& damping, const Tensor& pairs, const Tensor& species,
                  const Tensor& r4r2, const Tensor& cn_ref, const Tensor& c6_ref, double cutoff, double width) {
  const EnergyHold hold({vectors, cn, damping, pairs, species, r4r2, cn_ref, c6_ref, cutoff, width});
  Tensor energy = empty_contiguous(cn);
  AT_DISPATCH_FLOATING_TYPES(vectors.scalar_type(), "dispersion_energy", [&] {
    d3::Energy<scalar_t>::forward(hold.input<scalar_t>(), energy.mutable_data_ptr<scalar_t>());
  });
  return energy;
}

Tensors3 energy_by_centre_meta(const Tensor& vectors, const Tensor& cn, const Tensor& damping, const Tensor& pairs,
                               const Tensor& species, const Tensor& r4r2, const Tensor& cn_ref, const Tensor& c6_ref,
                               double cutoff, double width) {
  const Tensor energy = energy_meta(vectors, cn, damping, pairs, species, r4r2, cn_ref, c6_ref, cutoff, width);
  return {energy, empty_contiguous(cn), empty_contiguous(vectors)};
}

Tensors3 energy_by_centre_cpu(const Tensor& vectors, const Tensor& cn, const Tensor& damping, const Tensor& pairs,
                              const Tensor& species, const Tensor& r4r2, const Tensor& cn_ref, const Tensor& c6_ref,
                              double cutoff, double width) {
  const EnergyHold hold({vectors, cn, damping, pairs, species, r4r2, cn_ref, c6_ref, cutoff, width});
  Tensors3 out{empty_contiguous(cn), empty_contiguous(cn), empty_contiguous(vectors)};
  auto& [energy, by_cn, by_vectors] = out;
  AT_DISPATCH_FLOATING_TYPES(vectors.scalar_type(), "dispersion_energy_by_centre", [&] {
    d3::Energy<scalar_t>::by_centre(hold.input<scalar_t>(), energy.mutable_data_ptr<scalar_t>(),
                                    by_cn.mutable_data_ptr<scalar_t>(), by_vectors.mutable_data_ptr<scalar_t>());
  });
  return out;
}

template <class T> d3::EnergyGradients<T> gradients(const Tensor& vectors, const Tensor& cn, const Tensor& damping) {
  return {vectors.mutable_data_ptr<T>(), cn.mutable_data_ptr<T>(), damping.mutable_data_ptr<T>()};
}

Tensors3 energy_backward_meta(const Tensor& grad_energy, const Tensor& vectors, const Tensor& cn, const Tensor& damping,
                              const Tensor& pairs, const Tensor& species, const Tensor& r4r2, const Tensor& cn_ref,
                              const Tensor& c6_ref, double cutoff, double width) {
  EnergyArgs{vectors, cn, damping, pairs, species, r4r2, cn_ref, c6_ref, cutoff, width}.check();
  check_per_atom(grad_energy, vectors, species, "grad_energy");
  return {empty_contiguous(vectors), empty_contiguous(cn), empty_contiguous(damping)};
}

Tensors3 energy_backward_cpu(const Tensor& grad_energy, const Tensor& vectors, const Tensor& cn, const Tensor& damping,
                             const Tensor& pairs, const Tensor& species, const Tensor& r4r2, const Tensor& cn_ref,
                             const Tensor& c6_ref, double cutoff, double width) {
  const EnergyHold hold({vectors, cn, damping, pairs, species, r4r2, cn_ref, c6_ref, cutoff, width});
  check_per_atom(grad_energy, vectors, species, "grad_energy");
  Tensors3 out{empty_contiguous(vectors), empty_contiguous(cn), empty_contiguous(damping)};
  const Tensor grad = grad_energy.contiguous();
  AT_DISPATCH_FLOATING_TYPES(vectors.scalar_type(), "dispersion_energy_backward", [&] {
    d3::Energy<scalar_t>::backward(hold.input<scalar_t>(), grad.const_data_ptr<scalar_t>(),
                                   std::apply(gradients<scalar_t>, out));
  });
  return out;
}

Tensors4 energy_double_backward_meta(const Tensor& tangent_vectors, const Tensor& tangent_cn, const Tensor& tangent_damping,
                                     const Tensor& grad_energy, const Tensor& vectors, const Tensor& cn,
                                     const Tensor& damping, const Tensor& pairs, const Tensor& species, const Tensor& r4r2,
                                     const Tensor& cn_ref, const Tensor& c6_ref, double cutoff, double width) {
  check_like(tangent_vectors, vectors, "tangent_vectors");
  check_like(tangent_cn, cn, "tangent_cn");
  check_like(tangent_damping, damping, "tangent_damping");
  auto [grad_vectors, grad_cn, grad_damping] =
      energy_backward_meta(grad_energy, vectors, cn, damping, pairs, species, r4r2, cn_ref, c6_ref, cutoff, width);
  return {empty_contiguous(cn), grad_vectors, grad_cn, grad_damping};
}

Tensors4 energy_double_backward_cpu(const Tensor& tangent_vectors, const Tensor& tangent_cn, const Tensor& tangent_damping,
                                    const Tensor& grad_energy, const Tensor& vectors, const Tensor& cn,
                                    const Tensor& damping, const Tensor& pairs, const Tensor& species, const Tensor& r4r2,
                                    const Tensor& cn_ref, const Tensor& c6_ref, double cutoff, double width) {
  const EnergyHold hold({vectors, cn, damping, pairs, species, r4r2, cn_ref, c6_ref, cutoff, width});
  auto out = energy_double_backward_meta(tangent_vectors, tangent_cn, tangent_damping, grad_energy, vectors, cn, damping,
                                         pairs, species, r4r2, cn_ref, c6_ref, cutoff, width);
  auto& [grad_grad_energy, grad_vectors, grad_cn, grad_damping] = out;
  const Tensor t_vectors = tangent_vectors.contiguous(), t_cn = tangent_cn.contiguous();
  const Tensor t_damping = tangent_damping.contiguous(), grad = grad_energy.contiguous();
  AT_DISPATCH_FLOATING_TYPES(vectors.scalar_type(), "dispersion_energy_double_backward", [&] {
    const d3::EnergyTangents<scalar_t> tangents{t_vectors.const_data_ptr<scalar_t>(), t_cn.const_data_ptr<scalar_t>(),
                                                t_damping.const_data_ptr<scalar_t>()};
    d3::Energy<scalar_t>::double_backward(hold.input<scalar_t>(), grad.const_data_ptr<scalar_t>(), tangents,
                                          grad_grad_energy.mutable_data_ptr<scalar_t>(),
                                          gradients<scalar_t>(grad_vectors, grad_cn, grad_damping));
  });
  return out;
}

}  // namespace

#define D3_COUNTING "Tensor vectors, Tensor pairs, Tensor species, Tensor rcov, float cutoff"
#define D3_ENERGY                                                                                             \
  "Tensor vectors, Tensor cn, Tensor damping, Tensor pairs, Tensor species, Tensor r4r2, Tensor cn_ref, Tensor c6_ref, " \
  "float cutoff, float width"

TORCH_LIBRARY(d3torch, m) {
  m.def("coordination_number(" D3_COUNTING ") -> Tensor");
  m.def("coordination_number_backward(Tensor grad_cn, " D3_COUNTING ") -> Tensor");
  m.def("coordination_number_double_backward(Tensor tangent_vectors, Tensor grad_cn, " D3_COUNTING ") -> (Tensor, Tensor)");
  m.def("dispersion_energy(" D3_ENERGY ") -> Tensor");
  m.def("dispersion_energy_by_centre(" D3_ENERGY ") -> (Tensor, Tensor, Tensor)");
  m.def("dispersion_energy_backward(Tensor grad_energy, " D3_ENERGY ") -> (Tensor, Tensor, Tensor)");
  m.def("dispersion_energy_double_backward(Tensor tangent_vectors, Tensor tangent_cn, Tensor tangent_damping, "
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

TORCH_LIBRARY_IMPL(d3torch, CUDA, m) {
  for (const char* op : {"coordination_number", "coordination_number_backward", "coordination_number_double_backward",
                         "dispersion_energy", "dispersion_energy_by_centre", "dispersion_energy_backward",
                         "dispersion_energy_double_backward"})
    m.impl(op, torch::CppFunction::makeFromBoxedFunction<&refuse_cuda>());
}

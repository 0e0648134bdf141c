// Arguments of the ops on a pair list, on any device: every check, contiguous inputs, and results
// of the right shape, which are also the Meta kernels.
#pragma once
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <tuple>

#include "engine/pairs/kernels.h"
#include "ops/checks.h"
#include "ops/flat.h"

namespace d3 {

using at::Tensor;
using Tensors2 = std::tuple<Tensor, Tensor>;
using Tensors3 = std::tuple<Tensor, Tensor, Tensor>;
using Tensors4 = std::tuple<Tensor, Tensor, Tensor, Tensor>;

// ---- the lists, in the order of the schemas ----

// Arguments of coordination_number: vectors (n_pairs, 3), pairs (2, n_pairs), species (n_atoms,).
struct CountingArgs {
  Tensor vectors, pairs, species, rcov;
  double cutoff;

  template <class Self> static auto fields(Self& s) {
    return std::tie(s.vectors, s.pairs, s.species, s.rcov, s.cutoff);
  }
  int64_t n_species() const { return rcov.size(0); }
};

// Arguments of dispersion_energy: the same list, cn (n_atoms,), damping (n_damping,), the tables
// and the damping function.
struct EnergyArgs {
  Tensor vectors, cn, damping, pairs, species, r4r2, cn_ref, c6_ref;
  double cutoff, width;
  MaybeTensor radii;
  int64_t form;

  template <class Self> static auto fields(Self& s) {
    return std::tie(s.vectors, s.cn, s.damping, s.pairs, s.species, s.r4r2, s.cn_ref, s.c6_ref,
                    s.cutoff, s.width, s.radii, s.form);
  }
  int64_t n_species() const { return cn_ref.size(0); }
};

// Gradients of a loss by the results of the forward ops, and directions of second derivatives.
struct GradCn {
  Tensor grad_cn;
  template <class Self> static auto fields(Self& s) { return std::tie(s.grad_cn); }
};

struct CountingTangent {
  Tensor vectors;
  template <class Self> static auto fields(Self& s) { return std::tie(s.vectors); }
};

struct GradEnergy {
  Tensor grad_energy;
  template <class Self> static auto fields(Self& s) { return std::tie(s.grad_energy); }
};

struct EnergyTangent {
  Tensor vectors, cn, damping;
  template <class Self> static auto fields(Self& s) { return std::tie(s.vectors, s.cn, s.damping); }
};

// ---- checks ----

template <class Args> void check_list(const Args& a) {
  check_floating(a.vectors, "vectors");
  TORCH_CHECK_VALUE(a.vectors.dim() == 2 && a.vectors.sym_size(1) == 3,
                    "d3torch: expected vectors of shape (n_pairs, 3), got ", a.vectors.sym_sizes(),
                    ".");
  check_index(a.pairs, a.vectors, "pairs");
  check_shape(a.pairs, {2, a.vectors.sym_size(0)}, "pairs", "(2, n_pairs)");
  check_index(a.species, a.vectors, "species");
  TORCH_CHECK_VALUE(a.species.dim() == 1, "d3torch: expected species of shape (n_atoms,), got ",
                    a.species.sym_sizes(), ".");
}

inline void check(const CountingArgs& a) {
  check_list(a);
  check_real(a.rcov, a.vectors, "rcov");
  TORCH_CHECK_VALUE(a.rcov.dim() == 1, "d3torch: expected rcov of shape (n_species,), got ",
                    a.rcov.sym_sizes(), ".");
  check_cutoff(a.cutoff, 0.0);
}

inline void check(const EnergyArgs& a) {
  check_list(a);
  const Tensor* reals[] = {&a.cn, &a.damping, &a.r4r2, &a.cn_ref, &a.c6_ref};
  const char* names[] = {"cn", "damping", "r4r2", "cn_ref", "c6_ref"};
  for (int k = 0; k < 5; ++k) check_real(*reals[k], a.vectors, names[k]);
  check_shape(a.cn, {a.species.sym_size(0)}, "cn", "(n_atoms,)");
  check_form(a.form, a.radii, false, a.cn_ref.sym_size(0), a.vectors, "vectors");
  check_shape(a.damping, {n_parameters(DampingForm(a.form))}, "damping", parameter_names(a.form));
  TORCH_CHECK_VALUE(a.cn_ref.dim() == 2,
                    "d3torch: expected cn_ref of shape (n_species, n_refs), got ",
                    a.cn_ref.sym_sizes(), ".");
  const auto s = a.cn_ref.sym_size(0), r = a.cn_ref.sym_size(1);
  check_shape(a.r4r2, {s}, "r4r2", "(n_species,)");
  check_shape(a.c6_ref, {s, s, r, r}, "c6_ref", "(n_species, n_species, n_refs, n_refs)");
  check_cutoff(a.cutoff, a.width);
}

// A gradient or tangent has the shape, dtype and device of what it belongs to.
inline void check_like(const Tensor& t, const Tensor& like, const char* name) {
  check_real(t, like, name);
  check_shape(t, like.sym_sizes(), name, "its argument");
}

template <class Args> void check_per_atom(const Tensor& t, const Args& a, const char* name) {
  check_real(t, a.vectors, name);
  check_shape(t, {a.species.sym_size(0)}, name, "(n_atoms,)");
}

inline void check(const GradCn& g, const CountingArgs& a) {
  check_per_atom(g.grad_cn, a, "grad_cn");
}

inline void check(const GradEnergy& g, const EnergyArgs& a) {
  check_per_atom(g.grad_energy, a, "grad_energy");
}

inline void check(const CountingTangent& t, const CountingArgs& a) {
  check_like(t.vectors, a.vectors, "tangent_vectors");
}

inline void check(const EnergyTangent& t, const EnergyArgs& a) {
  check_like(t.vectors, a.vectors, "tangent_vectors");
  check_like(t.cn, a.cn, "tangent_cn");
  check_like(t.damping, a.damping, "tangent_damping");
}

// ---- results, which are the Meta kernels ----

inline Tensor empty_contiguous(const Tensor& like) {
  return at::empty_like(like, like.options(), at::MemoryFormat::Contiguous);
}

template <class Args> Tensor empty_per_atom(const Args& a) {
  return at::empty_symint({a.species.sym_size(0)}, a.vectors.options());
}

inline Tensor cn_meta(const CountingArgs& a) {
  check(a);
  return empty_per_atom(a);
}

inline Tensor cn_backward_meta(const GradCn& g, const CountingArgs& a) {
  check(a);
  check(g, a);
  return empty_contiguous(a.vectors);
}

inline Tensors2 cn_double_backward_meta(const CountingTangent& t, const GradCn& g,
                                        const CountingArgs& a) {
  Tensor by_vectors = cn_backward_meta(g, a);
  check(t, a);
  return {empty_per_atom(a), by_vectors};
}

inline Tensor energy_meta(const EnergyArgs& a) {
  check(a);
  return empty_contiguous(a.cn);
}

inline Tensors3 energy_by_centre_meta(const EnergyArgs& a) {
  const Tensor energy = energy_meta(a);
  return {energy, empty_contiguous(a.cn), empty_contiguous(a.vectors)};
}

inline Tensors3 energy_backward_meta(const GradEnergy& g, const EnergyArgs& a) {
  check(a);
  check(g, a);
  return {empty_contiguous(a.vectors), empty_contiguous(a.cn), empty_contiguous(a.damping)};
}

inline Tensors4 energy_double_backward_meta(const EnergyTangent& t, const GradEnergy& g,
                                            const EnergyArgs& a) {
  check(t, a);
  auto [by_vectors, by_cn, by_damping] = energy_backward_meta(g, a);
  return {empty_contiguous(a.cn), by_vectors, by_cn, by_damping};
}

// ---- inputs of the kernels ----

template <class T, class Args> Pairs<T> list_of(const Args& a) {
  const int64_t n_pairs = a.vectors.size(0);
  const int64_t* centre = a.pairs.template const_data_ptr<int64_t>();
  return {a.vectors.template const_data_ptr<T>(),       centre,  centre + n_pairs,
          a.species.template const_data_ptr<int64_t>(), n_pairs, a.species.size(0)};
}

template <class T> CountingInput<T> input_of(const CountingArgs& a, int threads) {
  return {list_of<T>(a), a.rcov.const_data_ptr<T>(), int(a.rcov.size(0)), T(a.cutoff), threads};
}

template <class T> EnergyInput<T> input_of(const EnergyArgs& a, int threads) {
  const Tables<T> tables{nullptr,
                         a.r4r2.const_data_ptr<T>(),
                         a.cn_ref.const_data_ptr<T>(),
                         a.c6_ref.const_data_ptr<T>(),
                         int(a.cn_ref.size(0)),
                         int(a.cn_ref.size(1)),
                         a.radii ? a.radii->const_data_ptr<T>() : nullptr};
  return {list_of<T>(a),
          a.cn.const_data_ptr<T>(),
          a.damping.const_data_ptr<T>(),
          tables,
          T(a.cutoff),
          T(a.width),
          threads,
          nullptr,
          DampingForm(a.form)};
}

}  // namespace d3

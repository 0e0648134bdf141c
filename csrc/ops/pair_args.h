// Arguments of the pair ops on any device: every check, contiguous inputs, and results of the right
// shape, which are also the Meta kernels.
#pragma once
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <tuple>

#include "engine/pairs/kernels.h"
#include "ops/checks.h"

namespace d3 {

using at::Tensor;
using Tensors2 = std::tuple<Tensor, Tensor>;
using Tensors3 = std::tuple<Tensor, Tensor, Tensor>;
using Tensors4 = std::tuple<Tensor, Tensor, Tensor, Tensor>;

inline void check_list(const Tensor& vectors, const Tensor& pairs, const Tensor& species) {
  check_floating(vectors, "vectors");
  TORCH_CHECK_VALUE(vectors.dim() == 2 && vectors.sym_size(1) == 3,
                    "d3torch: expected vectors of shape (n_pairs, 3), got ", vectors.sym_sizes(),
                    ".");
  check_index(pairs, vectors, "pairs");
  check_shape(pairs, {2, vectors.sym_size(0)}, "pairs", "(2, n_pairs)");
  check_index(species, vectors, "species");
  TORCH_CHECK_VALUE(species.dim() == 1, "d3torch: expected species of shape (n_atoms,), got ",
                    species.sym_sizes(), ".");
}

inline void check_counting(const Tensor& vectors, const Tensor& pairs, const Tensor& species,
                           const Tensor& rcov, double cutoff) {
  check_list(vectors, pairs, species);
  check_real(rcov, vectors, "rcov");
  TORCH_CHECK_VALUE(rcov.dim() == 1, "d3torch: expected rcov of shape (n_species,), got ",
                    rcov.sym_sizes(), ".");
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
    TORCH_CHECK_VALUE(cn_ref.dim() == 2,
                      "d3torch: expected cn_ref of shape (n_species, n_refs), got ",
                      cn_ref.sym_sizes(), ".");
    const auto s = cn_ref.sym_size(0), r = cn_ref.sym_size(1);
    check_shape(r4r2, {s}, "r4r2", "(n_species,)");
    check_shape(c6_ref, {s, s, r, r}, "c6_ref", "(n_species, n_species, n_refs, n_refs)");
    check_cutoff(cutoff, width);
  }
};

// A gradient or tangent has the shape, dtype and device of what it belongs to.
inline void check_like(const Tensor& t, const Tensor& like, const char* name) {
  check_real(t, like, name);
  check_shape(t, like.sym_sizes(), name, "its argument");
}

inline void check_per_atom(const Tensor& t, const Tensor& vectors, const Tensor& species,
                           const char* name) {
  check_real(t, vectors, name);
  check_shape(t, {species.sym_size(0)}, name, "(n_atoms,)");
}

template <class T>
PairList<T> list_of(const Tensor& vectors, const Tensor& pairs, const Tensor& species) {
  const int64_t n_pairs = vectors.size(0);
  const int64_t* centre = pairs.const_data_ptr<int64_t>();
  return {vectors.const_data_ptr<T>(),       centre,  centre + n_pairs,
          species.const_data_ptr<int64_t>(), n_pairs, species.size(0)};
}

// Contiguous tensors, kept alive while the kernel reads their pointers.
struct CountingHold {
  Tensor vectors, pairs, species, rcov;
  double cutoff;
  CountingHold(const Tensor& v, const Tensor& p, const Tensor& s, const Tensor& r, double c)
      : vectors(v.contiguous()),
        pairs(p.contiguous()),
        species(s.contiguous()),
        rcov(r.contiguous()),
        cutoff(c) {
    check_counting(v, p, s, r, c);
  }
  int64_t n_species() const { return rcov.size(0); }
  template <class T> CountingInput<T> input(int threads) const {
    return {list_of<T>(vectors, pairs, species), rcov.const_data_ptr<T>(), int(rcov.size(0)),
            T(cutoff), threads};
  }
};

struct EnergyHold {
  Tensor vectors, cn, damping, pairs, species, r4r2, cn_ref, c6_ref;
  double cutoff, width;
  explicit EnergyHold(const EnergyArgs& a)
      : vectors(a.vectors.contiguous()),
        cn(a.cn.contiguous()),
        damping(a.damping.contiguous()),
        pairs(a.pairs.contiguous()),
        species(a.species.contiguous()),
        r4r2(a.r4r2.contiguous()),
        cn_ref(a.cn_ref.contiguous()),
        c6_ref(a.c6_ref.contiguous()),
        cutoff(a.cutoff),
        width(a.width) {
    a.check();
  }
  int64_t n_species() const { return cn_ref.size(0); }
  template <class T> EnergyInput<T> input(int threads) const {
    const Tables<T> tables{r4r2.const_data_ptr<T>(), cn_ref.const_data_ptr<T>(),
                           c6_ref.const_data_ptr<T>(), int(cn_ref.size(0)), int(cn_ref.size(1))};
    return {list_of<T>(vectors, pairs, species),
            cn.const_data_ptr<T>(),
            damping.const_data_ptr<T>(),
            tables,
            T(cutoff),
            T(width),
            threads};
  }
};

inline Tensor empty_contiguous(const Tensor& like) {
  return at::empty_like(like, like.options(), at::MemoryFormat::Contiguous);
}

inline Tensor empty_per_atom(const Tensor& vectors, const Tensor& species) {
  return at::empty_symint({species.sym_size(0)}, vectors.options());
}

inline Tensor cn_meta(const Tensor& vectors, const Tensor& pairs, const Tensor& species,
                      const Tensor& rcov, double cutoff) {
  check_counting(vectors, pairs, species, rcov, cutoff);
  return empty_per_atom(vectors, species);
}

inline Tensor cn_backward_meta(const Tensor& grad_cn, const Tensor& vectors, const Tensor& pairs,
                               const Tensor& species, const Tensor& rcov, double cutoff) {
  check_counting(vectors, pairs, species, rcov, cutoff);
  check_per_atom(grad_cn, vectors, species, "grad_cn");
  return empty_contiguous(vectors);
}

inline Tensors2 cn_double_backward_meta(const Tensor& tangent_vectors, const Tensor& grad_cn,
                                        const Tensor& vectors, const Tensor& pairs,
                                        const Tensor& species, const Tensor& rcov, double cutoff) {
  Tensor out = cn_backward_meta(grad_cn, vectors, pairs, species, rcov, cutoff);
  check_like(tangent_vectors, vectors, "tangent_vectors");
  return {empty_per_atom(vectors, species), out};
}

inline Tensor energy_meta(const Tensor& vectors, const Tensor& cn, const Tensor& damping,
                          const Tensor& pairs, const Tensor& species, const Tensor& r4r2,
                          const Tensor& cn_ref, const Tensor& c6_ref, double cutoff, double width) {
  EnergyArgs{vectors, cn, damping, pairs, species, r4r2, cn_ref, c6_ref, cutoff, width}.check();
  return empty_contiguous(cn);
}

inline Tensors3 energy_by_centre_meta(const Tensor& vectors, const Tensor& cn,
                                      const Tensor& damping, const Tensor& pairs,
                                      const Tensor& species, const Tensor& r4r2,
                                      const Tensor& cn_ref, const Tensor& c6_ref, double cutoff,
                                      double width) {
  const Tensor energy =
      energy_meta(vectors, cn, damping, pairs, species, r4r2, cn_ref, c6_ref, cutoff, width);
  return {energy, empty_contiguous(cn), empty_contiguous(vectors)};
}

inline Tensors3 energy_backward_meta(const Tensor& grad_energy, const Tensor& vectors,
                                     const Tensor& cn, const Tensor& damping, const Tensor& pairs,
                                     const Tensor& species, const Tensor& r4r2,
                                     const Tensor& cn_ref, const Tensor& c6_ref, double cutoff,
                                     double width) {
  EnergyArgs{vectors, cn, damping, pairs, species, r4r2, cn_ref, c6_ref, cutoff, width}.check();
  check_per_atom(grad_energy, vectors, species, "grad_energy");
  return {empty_contiguous(vectors), empty_contiguous(cn), empty_contiguous(damping)};
}

inline Tensors4 energy_double_backward_meta(const Tensor& tangent_vectors, const Tensor& tangent_cn,
                                            const Tensor& tangent_damping,
                                            const Tensor& grad_energy, const Tensor& vectors,
                                            const Tensor& cn, const Tensor& damping,
                                            const Tensor& pairs, const Tensor& species,
                                            const Tensor& r4r2, const Tensor& cn_ref,
                                            const Tensor& c6_ref, double cutoff, double width) {
  check_like(tangent_vectors, vectors, "tangent_vectors");
  check_like(tangent_cn, cn, "tangent_cn");
  check_like(tangent_damping, damping, "tangent_damping");
  auto [grad_vectors, grad_cn, grad_damping] = energy_backward_meta(
      grad_energy, vectors, cn, damping, pairs, species, r4r2, cn_ref, c6_ref, cutoff, width);
  return {empty_contiguous(cn), grad_vectors, grad_cn, grad_damping};
}

}  // namespace d3

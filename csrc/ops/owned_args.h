// Arguments of the ops for hosts that own some of the atoms: checks, results (the Meta kernels),
// and inputs of the engine. The tables say in which dtype is computed; vectors may be wider, so
// that a host's float64 is read where it lies.
#pragma once
#include "engine/pairs/owned.h"
#include "ops/pair_args.h"

namespace d3 {

// ---- the lists, in the order of the schemas ----

// Pairs in the order of their centres: vectors (n_pairs, 3), centre and neighbour (n_pairs,).
struct OwnedList {
  Tensor vectors, centre, neighbour, species;
  template <class Self> static auto fields(Self& s) {
    return std::tie(s.vectors, s.centre, s.neighbour, s.species);
  }
};

struct OwnedCounting {
  Tensor rcov;
  double cutoff;
  template <class Self> static auto fields(Self& s) { return std::tie(s.rcov, s.cutoff); }
};

struct OwnedEnergy {
  Tensor cn, damping, rcov, r4r2, cn_ref, c6_ref;
  double cutoff, cn_cutoff, width;
  MaybeTensor radii;
  int64_t form;
  template <class Self> static auto fields(Self& s) {
    return std::tie(s.cn, s.damping, s.rcov, s.r4r2, s.cn_ref, s.c6_ref, s.cutoff, s.cn_cutoff,
                    s.width, s.radii, s.form);
  }
};

// Forces on the atoms, (n_atoms, 3), which an op adds to.
struct AtomForces {
  Tensor atom_forces;
  template <class Self> static auto fields(Self& s) { return std::tie(s.atom_forces); }
};

// ---- checks ----

inline void check_indices(const Tensor& t, const OwnedList& l, const char* name) {
  TORCH_CHECK_TYPE(t.scalar_type() == at::kInt || t.scalar_type() == at::kLong,
                   "d3torch: expected ", name, " of dtype int32 or int64, got ", t.scalar_type(),
                   ".");
  TORCH_CHECK_TYPE(t.scalar_type() == l.centre.scalar_type(), "d3torch: expected ", name,
                   " of the dtype of the centres, ", l.centre.scalar_type(), ", got ",
                   t.scalar_type(), ".");
  check_device(t, l.vectors, name, "vectors");
  check_shape(t, {l.vectors.sym_size(0)}, name, "(n_pairs,)");
}

inline void check(const OwnedList& l, const Tensor& rcov) {
  check_floating(l.vectors, "vectors");
  TORCH_CHECK_VALUE(l.vectors.dim() == 2 && l.vectors.sym_size(1) == 3,
                    "d3torch: expected vectors of shape (n_pairs, 3), got ", l.vectors.sym_sizes(),
                    ".");
  check_indices(l.centre, l, "centre");
  check_indices(l.neighbour, l, "neighbour");
  check_index(l.species, l.vectors, "species");
  TORCH_CHECK_VALUE(l.species.dim() == 1, "d3torch: expected species of shape (n_atoms,), got ",
                    l.species.sym_sizes(), ".");
  check_floating(rcov, "rcov");
  check_device(rcov, l.vectors, "rcov", "vectors");
  TORCH_CHECK_VALUE(rcov.dim() == 1, "d3torch: expected rcov of shape (n_species,), got ",
                    rcov.sym_sizes(), ".");
  TORCH_CHECK_TYPE(l.vectors.scalar_type() == at::kDouble || rcov.scalar_type() == at::kFloat,
                   "d3torch: expected vectors of dtype float64 where rcov is float64, got ",
                   l.vectors.scalar_type(), ".");
}

inline void check(const OwnedList& l, const OwnedCounting& c) {
  check(l, c.rcov);
  check_cutoff(c.cutoff, 0.0);
}

inline void check(const OwnedList& l, const OwnedEnergy& e) {
  check(l, e.rcov);
  const Tensor* reals[] = {&e.cn, &e.damping, &e.r4r2, &e.cn_ref, &e.c6_ref};
  const char* names[] = {"cn", "damping", "r4r2", "cn_ref", "c6_ref"};
  for (int k = 0; k < 5; ++k) check_real(*reals[k], e.rcov, names[k], "rcov");
  const auto s = e.rcov.sym_size(0);
  check_shape(e.cn, {l.species.sym_size(0)}, "cn", "(n_atoms,)");
  check_form(e.form, e.radii, false, s, e.rcov, "rcov");
  check_shape(e.damping, {n_parameters(DampingForm(e.form))}, "damping", parameter_names(e.form));
  TORCH_CHECK_VALUE(e.cn_ref.dim() == 2,
                    "d3torch: expected cn_ref of shape (n_species, n_refs), got ",
                    e.cn_ref.sym_sizes(), ".");
  const auto r = e.cn_ref.sym_size(1);
  check_shape(e.r4r2, {s}, "r4r2", "(n_species,)");
  check_shape(e.cn_ref, {s, r}, "cn_ref", "(n_species, n_refs)");
  check_shape(e.c6_ref, {s, s, r, r}, "c6_ref", "(n_species, n_species, n_refs, n_refs)");
  check_cutoff(e.cutoff, e.width);
  check_cutoff(e.cn_cutoff, 0.0);
}

inline void check(const AtomForces& f, const OwnedList& l) {
  const Tensor& t = f.atom_forces;
  TORCH_CHECK_TYPE(t.scalar_type() == at::kDouble,
                   "d3torch: expected atom_forces of dtype float64, got ", t.scalar_type(), ".");
  check_device(t, l.vectors, "atom_forces", "vectors");
  check_shape(t, {l.species.sym_size(0), 3}, "atom_forces", "(n_atoms, 3)");
  TORCH_CHECK_VALUE(t.is_contiguous(), "d3torch: expected contiguous atom_forces, got strides ",
                    t.sym_strides(), ".");
}

// ---- results, which are the Meta kernels ----

inline Tensor owned_cn_meta(const OwnedList& l, const OwnedCounting& c) {
  check(l, c);
  return at::empty_symint({l.species.sym_size(0)}, c.rcov.options());
}

inline Tensors2 owned_forces_meta(const OwnedList& l, const OwnedEnergy& e) {
  check(l, e);
  return {empty_contiguous(e.cn), empty_contiguous(l.vectors)};
}

inline Tensor owned_add_forces_meta(const AtomForces& f, const OwnedList& l, const OwnedEnergy& e) {
  check(l, e);
  check(f, l);
  return empty_contiguous(e.cn);
}

// ---- inputs of the engine ----

template <class V, class I> OwnedPairs<V, I> list_of(const OwnedList& l) {
  return {l.vectors.const_data_ptr<V>(),
          l.centre.const_data_ptr<I>(),
          l.neighbour.const_data_ptr<I>(),
          l.species.const_data_ptr<int64_t>(),
          l.vectors.size(0),
          l.species.size(0)};
}

template <class T, class V, class I>
OwnedInput<T, V, I> input_of(const OwnedList& l, const OwnedCounting& c, int threads) {
  Tables<T> tables{};
  tables.rcov = c.rcov.const_data_ptr<T>();
  tables.n_species = int(c.rcov.size(0));
  return {list_of<V, I>(l), tables, nullptr, nullptr, T(c.cutoff), T(c.cutoff), T(0), threads};
}

template <class T, class V, class I>
OwnedInput<T, V, I> input_of(const OwnedList& l, const OwnedEnergy& e, int threads) {
  const Tables<T> tables{e.rcov.const_data_ptr<T>(),
                         e.r4r2.const_data_ptr<T>(),
                         e.cn_ref.const_data_ptr<T>(),
                         e.c6_ref.const_data_ptr<T>(),
                         int(e.cn_ref.size(0)),
                         int(e.cn_ref.size(1)),
                         e.radii ? e.radii->const_data_ptr<T>() : nullptr};
  return {list_of<V, I>(l),
          tables,
          e.cn.const_data_ptr<T>(),
          e.damping.const_data_ptr<T>(),
          T(e.cutoff),
          T(e.cn_cutoff),
          T(e.width),
          threads,
          nullptr,
          DampingForm(e.form)};
}

}  // namespace d3

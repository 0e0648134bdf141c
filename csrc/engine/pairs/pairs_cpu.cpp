// CPU traversal of a given pair list. Sorted lists go row by row: see sorted.h. Others, and those
// with a wrong pair, of which the first is to be named, go pair by pair, in chunks: see chunks.h.
#include <omp.h>

#include <algorithm>
#include <vector>

#include "engine/pairs/chunks.h"
#include "engine/pairs/inputs.h"
#include "engine/pairs/kernels.h"
#include "engine/pairs/sorted.h"
#include "engine/present_species.h"

namespace d3 {
namespace {

// Whether a pair names an atom that is not there. Every kernel looks before it reads: a list may
// change between two calls, and a pass of its own over the list takes longer than this does.
template <class T> bool outside(const Pairs<T>& list, int64_t i, int64_t j) {
  return std::max(uint64_t(i), uint64_t(j)) >= uint64_t(list.n_atoms);
}

// ---- coordination number ----

// Adds the counts (when `cn`) and writes grad_vectors (when given) of a block of pairs; returns the
// first that is wrong, or `none`.
template <class V, class T>
int64_t count_block(const CountingInput<T>& in, const V& vectors, int64_t begin, int64_t end,
                    double* cn, const T* grad_cn, T* grad_vectors) {
  using X = typename V::X;
  const Pairs<T>& list = in.list;
  int64_t bad = none;
  for (int64_t p = begin; p < end; ++p) {
    const int64_t i = list.centre[p], j = list.neighbour[p];
    if (outside(list, i, j)) {
      bad = std::min(bad, p);
      continue;
    }
    const Vector3<X> r = vector_at(vectors, p);
    const X r2 = r.norm2();
    if (beyond(value(r2), in.cutoff)) {
      if (grad_vectors) std::fill_n(grad_vectors + 3 * p, 3, T(0));
      continue;
    }
    if (value(r2) == T(0)) bad = std::min(bad, p);
    const T rc = in.rcov[list.species[i]] + in.rcov[list.species[j]];
    const Counted<X> f = counting(r2, rc);
    if (cn) cn[i] += output(f.value);
    if (grad_vectors) store(X(grad_cn[i]) * f.slope_over_r, r, grad_vectors + 3 * p);
  }
  return bad;
}

// Coordination numbers or their gradients over a whole list; outputs that are null are not wanted.
template <class V, class T>
int64_t count_all(const CountingInput<T>& in, const V& vectors, T* cn, const T* grad_cn,
                  T* grad_vectors) {
  const int threads = useful_threads(in.list.n_pairs, in.list.n_atoms, in.threads);
  const Chunks chunks(in.list.n_pairs, in.list.n_atoms);
  ChunkSums sums(cn ? chunks.count() : 0, in.list.n_atoms);
  const int64_t bad =
      for_chunks(chunks, threads, in.watch, [&](int64_t c, int64_t begin, int64_t end) {
        return count_block(in, vectors, begin, end, cn ? sums.chunk(c) : nullptr, grad_cn,
                           grad_vectors);
      });
  if (cn) sums.reduce(cn, threads);
  return bad;
}

// ---- energy ----

// Quantities of each atom alone: its weights, and its C6 rows against every species that is
// present, so that a pair needs one short dot product.
template <class X, class T> class AtomRows {
 public:
  template <class CN>
  AtomRows(const EnergyInput<T>& in, const CN& cn, bool slopes)
      : present_(in.tables, in.list.species, in.list.n_atoms),
        refs_(in.tables.n_refs),
        row_(int64_t(present_.size()) * refs_) {
    const int64_t n = in.list.n_atoms;
    const int threads = useful_threads(in.list.n_pairs, n, in.threads);
    w_.resize(n * refs_);
    dw_.resize(n * refs_);
    c6_.resize(n * row_);
    dc6_.resize(slopes ? n * row_ : 0);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < n; ++i) fill(i, cn[i], present_.slot(in.list.species[i]));
  }

  const X* w(int64_t i) const { return &w_[i * refs_]; }
  const X* dw(int64_t i) const { return &dw_[i * refs_]; }
  const X* c6(int64_t i, int64_t species) const {
    return &c6_[i * row_ + present_.slot(species) * refs_];
  }
  const X* dc6(int64_t i, int64_t species) const {
    return &dc6_[i * row_ + present_.slot(species) * refs_];
  }

 private:
  void fill(int64_t i, X cn, int slot) {
    reference_weights(cn, present_.cn_ref(slot), refs_, &w_[i * refs_], &dw_[i * refs_]);
    for (int k = 0; k < int(present_.size()); ++k) {
      const T* c6_ref = present_.c6_ref(slot, k);
      contract(w(i), c6_ref, refs_, refs_, refs_, &c6_[i * row_ + k * refs_]);
      if (!dc6_.empty()) contract(dw(i), c6_ref, refs_, refs_, refs_, &dc6_[i * row_ + k * refs_]);
    }
  }

  const PresentSpecies<T> present_;
  const int refs_;
  const int64_t row_;   // numbers of an atom in c6_
  std::vector<X> w_;    // (n_atoms, n_refs)
  std::vector<X> dw_;   // (n_atoms, n_refs), derivatives by CN
  std::vector<X> c6_;   // (n_atoms, present, n_refs)
  std::vector<X> dc6_;  // the same of the derivatives; empty without slopes
};

// Damping constants of every ordered pair of species.
template <DampingForm form, class X, class T, class D>
std::vector<Damping<X>> damping_table(const EnergyInput<T>& in, const D& damping) {
  X parameters[n_parameters(form)];
  for (int k = 0; k < n_parameters(form); ++k) parameters[k] = damping[k];
  const Tables<T>& t = in.tables;
  std::vector<Damping<X>> table;
  for (int a = 0; a < t.n_species; ++a)
    for (int b = 0; b < t.n_species; ++b) table.push_back(damping_of<form>(parameters, t, a, b));
  return table;
}

// Everything a chunk needs; outputs that are not wanted are null.
template <class T, class V, class X> struct EnergyTask {
  const EnergyInput<T>& in;
  const V& vectors;
  const AtomRows<X, T>& rows;
  const std::vector<Damping<X>>& damping;
  const T* grad_energy;  // null: 1 for every centre
  T* grad_vectors;
};

// Adds and writes what is wanted of a block of pairs; returns the first that is wrong, or `none`.
template <DampingForm form, class T, class V, class X>
int64_t energy_block(const EnergyTask<T, V, X>& task, int64_t begin, int64_t end, double* energy,
                     double* grad_cn, double* grad_damping) {
  const Pairs<T>& list = task.in.list;
  const int n_refs = task.in.tables.n_refs;
  const Cutoff<T> cutoff{task.in.cutoff, task.in.width};
  int64_t bad = none;
  for (int64_t p = begin; p < end; ++p) {
    const int64_t i = list.centre[p], j = list.neighbour[p];
    if (outside(list, i, j)) {
      bad = std::min(bad, p);
      continue;
    }
    const int64_t s_i = list.species[i], s_j = list.species[j];
    const Vector3<X> r = vector_at(task.vectors, p);
    const X r2 = r.norm2();
    if (beyond(value(r2), cutoff.cutoff)) {
      if (task.grad_vectors) std::fill_n(task.grad_vectors + 3 * p, 3, T(0));
      continue;
    }
    if (value(r2) == T(0)) bad = std::min(bad, p);
    const Damping<X>& constants = task.damping[s_i * task.in.tables.n_species + s_j];
    const Damped<form, X> g = switched<form>(constants, r2, cutoff);
    const X c6 = dot(task.rows.c6(i, s_j), task.rows.w(j), n_refs);
    if (energy) add_to(energy[i], PairTerm<form, X>{X(T(-0.5)) * c6, g}.energy());
    if (!task.grad_vectors) continue;
    const X half = X(task.grad_energy ? T(-0.5) * task.grad_energy[i] : T(-0.5));
    const PairTerm<form, X> pair{half * c6, g};
    store(pair.slope_over_r(), r, task.grad_vectors + 3 * p);
    add_to(grad_cn[i], pair.by_c6(dot(task.rows.dc6(i, s_j), task.rows.w(j), n_refs), half));
    if (!grad_damping) continue;
    add_to(grad_cn[j], pair.by_c6(dot(task.rows.c6(i, s_j), task.rows.dw(j), n_refs), half));
    pair.add_damping(constants, grad_damping);
  }
  return bad;
}

enum class Wanted {
  energies,
  own_slopes,  // derivatives of E_i by the CN of its centre i alone
  all_slopes   // derivatives by the CN of both atoms of a pair, and by the damping
};

// Energies over a whole list when `energy`, slopes when wanted; on dual inputs their tangents.
template <DampingForm form, class T, class V, class C, class D>
int64_t energy_of_form(Wanted wanted, const EnergyInput<T>& in, const V& vectors, const C& cn,
                       const D& damping, T* energy, const T* grad_energy, EnergyGradients<T> out) {
  using X = typename V::X;
  const bool slopes = wanted != Wanted::energies, shared = wanted == Wanted::all_slopes;
  const AtomRows<X, T> rows(in, cn, slopes);
  const auto constants = damping_table<form, X>(in, damping);
  const EnergyTask<T, V, X> task{in, vectors, rows, constants, grad_energy, out.vectors};
  const Chunks chunks(in.list.n_pairs, in.list.n_atoms);
  const int64_t n = in.list.n_atoms;
  const int threads = useful_threads(in.list.n_pairs, n, in.threads);
  ChunkSums energies(energy ? chunks.count() : 0, n), grad_cn(slopes ? chunks.count() : 0, n);
  ChunkSums grad_damping(shared ? chunks.count() : 0, n_parameters(form));
  const int64_t bad =
      for_chunks(chunks, threads, in.watch, [&](int64_t c, int64_t begin, int64_t end) {
        return energy_block<form>(task, begin, end, energy ? energies.chunk(c) : nullptr,
                                  slopes ? grad_cn.chunk(c) : nullptr,
                                  shared ? grad_damping.chunk(c) : nullptr);
      });
  if (energy) energies.reduce(energy, threads);
  if (slopes) grad_cn.reduce(out.cn, threads);
  if (shared) grad_damping.reduce(out.damping, 1);
  return bad;
}

// The same, by the form of the input.
template <class T, class V, class C, class D>
int64_t energy_all(Wanted wanted, const EnergyInput<T>& in, const V& vectors, const C& cn,
                   const D& damping, T* energy, const T* grad_energy, EnergyGradients<T> out) {
  return with_form(in.form, [&](auto form) {
    return energy_of_form<decltype(form)::value>(wanted, in, vectors, cn, damping, energy,
                                                 grad_energy, out);
  });
}

// The same on plain inputs.
template <class T>
int64_t energy_plain(Wanted wanted, const EnergyInput<T>& in, T* energy, const T* grad_energy,
                     EnergyGradients<T> out) {
  if (countable(in.list.n_atoms)) {
    const std::vector<double> cn(in.cn, in.cn + in.list.n_atoms);
    double damping[most_parameters];
    std::copy_n(in.damping, n_parameters(in.form), damping);
    if (energy_sorted<T, double>(in, nullptr, cn, damping, grad_energy, {energy, out})) return -1;
  }
  return energy_all<T>(wanted, in, PlainInput<T>{in.list.vectors}, PlainInput<T>{in.cn},
                       PlainInput<T>{in.damping}, energy, grad_energy, out);
}

}  // namespace

template <class T> int64_t Counting<T>::forward(const CountingInput<T>& in, T* cn) {
  if (count_sorted<T>(in, nullptr, cn, nullptr, nullptr)) return -1;
  return count_all<PlainInput<T>, T>(in, {in.list.vectors}, cn, nullptr, nullptr);
}

template <class T>
int64_t Counting<T>::backward(const CountingInput<T>& in, const T* grad_cn, T* grad_vectors) {
  if (count_sorted<T>(in, nullptr, nullptr, grad_cn, grad_vectors)) return -1;
  return count_all<PlainInput<T>, T>(in, {in.list.vectors}, nullptr, grad_cn, grad_vectors);
}

template <class T>
int64_t Counting<T>::double_backward(const CountingInput<T>& in, const T* grad_cn,
                                     const T* tangent_vectors, T* grad_grad_cn, T* grad_vectors) {
  if (count_sorted<T>(in, tangent_vectors, grad_grad_cn, grad_cn, grad_vectors)) return -1;
  const DualInput<T> vectors{in.list.vectors, tangent_vectors};
  return count_all<DualInput<T>, T>(in, vectors, grad_grad_cn, grad_cn, grad_vectors);
}

template <class T> int64_t Energy<T>::forward(const EnergyInput<T>& in, T* energy) {
  return energy_plain<T>(Wanted::energies, in, energy, nullptr, {});
}

template <class T> int64_t Energy<T>::by_centre(const EnergyInput<T>& in, ByCentre<T> out) {
  const EnergyGradients<T> slopes{out.vectors, out.by_cn, nullptr};
  return energy_plain<T>(Wanted::own_slopes, in, out.energies, nullptr, slopes);
}

template <class T>
int64_t Energy<T>::backward(const EnergyInput<T>& in, const T* grad_energy,
                            EnergyGradients<T> out) {
  return energy_plain<T>(Wanted::all_slopes, in, nullptr, grad_energy, out);
}

template <class T>
int64_t Energy<T>::double_backward(const EnergyInput<T>& in, const T* grad_energy,
                                   EnergyTangents<T> tangents, T* grad_grad_energy,
                                   EnergyGradients<T> out) {
  if (countable(in.list.n_atoms)) {
    using A = Dual<double>;
    std::vector<A> cn(in.list.n_atoms);
    for (size_t i = 0; i < cn.size(); ++i) cn[i] = {in.cn[i], tangents.cn[i]};
    A damping[most_parameters];
    for (int k = 0; k < n_parameters(in.form); ++k)
      damping[k] = {in.damping[k], tangents.damping[k]};
    if (energy_sorted<T, A>(in, tangents.vectors, cn, damping, grad_energy,
                            {grad_grad_energy, out}))
      return -1;
  }
  return energy_all<T>(Wanted::all_slopes, in, DualInput<T>{in.list.vectors, tangents.vectors},
                       DualInput<T>{in.cn, tangents.cn}, DualInput<T>{in.damping, tangents.damping},
                       grad_grad_energy, grad_energy, out);
}

template struct Counting<float>;
template struct Counting<double>;
template struct Energy<float>;
template struct Energy<double>;

}  // namespace d3

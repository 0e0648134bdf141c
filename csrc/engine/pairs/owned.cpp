#include "engine/pairs/owned.h"

#include <algorithm>
#include <vector>

#include "engine/pairs/inputs.h"
#include "engine/pairs/kernels.h"

namespace d3 {
namespace {

template <class T, class V, class I> OwnedFault check(const OwnedInput<T, V, I>& in) {
  const auto& l = in.list;
  for (int64_t p = 0; p < l.n_pairs; ++p) {
    const int64_t i = l.centre[p], j = l.neighbour[p];
    if (std::max(uint64_t(i), uint64_t(j)) >= uint64_t(l.n_atoms)) return {OwnedFault::index, p};
    const V* v = l.vectors + 3 * p;
    if (l.species[i] >= 0 && l.species[j] >= 0 && v[0] == 0 && v[1] == 0 && v[2] == 0)
      return {OwnedFault::length_zero, p};
    if (p && l.centre[p - 1] > l.centre[p]) return {OwnedFault::unsorted, p};
  }
  return {};
}

// Copies of the pairs that count, in the order of the list.
template <class T> struct Copy {
  std::vector<T> vectors;
  std::vector<int64_t> centre, neighbour, species, place;
};
template <class T, class V, class I> Copy<T> copied(const OwnedInput<T, V, I>& in) {
  const auto& l = in.list;
  Copy<T> c;
  for (int64_t k = 0; k < l.n_atoms; ++k) c.species.push_back(std::max<int64_t>(l.species[k], 0));
  for (int64_t p = 0; p < l.n_pairs; ++p) {
    if (l.species[l.centre[p]] < 0 || l.species[l.neighbour[p]] < 0) continue;
    c.place.push_back(p);
    c.centre.push_back(l.centre[p]);
    c.neighbour.push_back(l.neighbour[p]);
    for (int k = 0; k < 3; ++k) c.vectors.push_back(T(l.vectors[3 * p + k]));
  }
  return c;
}
template <class T> Pairs<T> list_of(const Copy<T>& c) {
  return {c.vectors.data(), c.centre.data(),          c.neighbour.data(),
          c.species.data(), int64_t(c.centre.size()), int64_t(c.species.size())};
}

template <class T, class V, class I, class F>
OwnedFault each(const OwnedInput<T, V, I>& in, T* energies, F&& out) {
  if (const OwnedFault fault = check(in); fault.kind) return fault;
  const Copy<T> c = copied(in);
  const Pairs<T> list = list_of(c);
  std::vector<T> by_cn(list.n_atoms), by_vectors(3 * list.n_pairs), more(3 * list.n_pairs);
  Energy<T>::by_centre(
      {list, in.cn, in.damping, in.tables, in.cutoff, in.width, in.threads, in.watch, in.form},
      {energies, by_cn.data(), by_vectors.data()});
  for (T& x : by_cn) x *= 2;
  Counting<T>::backward(
      {list, in.tables.rcov, in.tables.n_species, in.cn_cutoff, in.threads, in.watch}, by_cn.data(),
      more.data());
  for (int64_t q = 0; q < list.n_pairs; ++q)
    for (int k = 0; k < 3; ++k) out(c.place[q], k, by_vectors[3 * q + k] + more[3 * q + k]);
  return {};
}

}  // namespace

template <class T, class V, class I>
OwnedFault Owned<T, V, I>::coordination_numbers(const OwnedInput<T, V, I>& in, T* cn) {
  if (const OwnedFault fault = check(in); fault.kind) return fault;
  const Copy<T> c = copied(in);
  Counting<T>::forward(
      {list_of(c), in.tables.rcov, in.tables.n_species, in.cn_cutoff, in.threads, in.watch}, cn);
  return {};
}

template <class T, class V, class I>
OwnedFault Owned<T, V, I>::energies_and_forces(const OwnedInput<T, V, I>& in, T* energies,
                                               V* forces) {
  std::fill_n(forces, 3 * in.list.n_pairs, V(0));
  return each(in, energies, [&](int64_t p, int k, T f) { forces[3 * p + k] = V(f); });
}

template <class T, class V, class I>
OwnedFault Owned<T, V, I>::energies_adding_forces(const OwnedInput<T, V, I>& in, T* energies,
                                                  double* atom_forces) {
  return each(in, energies, [&](int64_t p, int k, T f) {
    atom_forces[3 * in.list.centre[p] + k] += f;
    atom_forces[3 * in.list.neighbour[p] + k] -= f;
  });
}

template struct Owned<float, float, int32_t>;
template struct Owned<float, float, int64_t>;
template struct Owned<float, double, int32_t>;
template struct Owned<float, double, int64_t>;
template struct Owned<double, double, int32_t>;
template struct Owned<double, double, int64_t>;

}  // namespace d3

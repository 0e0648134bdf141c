// The batch that a list belongs to: its systems, and the numbers of its atoms as rows read them.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/formulas/cell.h"
#include "engine/lattice/system.h"
#include "engine/pairs/list_rows.h"
#include "engine/present_species.h"

namespace d3 {

// A system of the batch. Vectors along axes that are not periodic are 0.
template <class A> struct ListSystem {
  int64_t first, end;  // its atoms
  A cell[3][3];
  Geometry geometry;
};

// Everything of a batch that does not depend on the list.
template <class T, class Types> class ListBatch {
 public:
  using S = typename Types::S;
  using A = typename Types::A;
  static constexpr bool dual = !std::is_same_v<S, T>;

  ListBatch(const LatticeInput<T>& input, const LatticeTangents<T>* tangents)
      : in(input),
        tangents_(tangents),
        n_atoms(input.systems.offsets[input.systems.n_systems]),
        present(input.tables, input.systems.species, n_atoms) {}

  // Reads and checks atoms and systems.
  ListError prepare() {
    const T* tangents = tangents_ ? tangents_->positions : nullptr;
    records.resize(n_atoms);
    t_records.resize(dual ? n_atoms : 0);
    for (int64_t i = 0; i < n_atoms; ++i) {
      const T* x = in.systems.positions + 3 * i;
      if (!std::isfinite(double(x[0]) + double(x[1]) + double(x[2])))
        return {ListError::not_finite, -1, system_of(i), i};
      records[i] = {{x[0], x[1], x[2]}, 0};
      if constexpr (dual) {
        const T* t = tangents + 3 * i;
        t_records[i] = {{t[0], t[1], t[2]}, 0};
      }
    }
    return read_systems();
  }

  // Fills the last number of every record with f(slot).
  template <class F> void set_kinds(F&& f) {
    for (int64_t i = 0; i < n_atoms; ++i) records[i].kind = T(f(slot(i)));
  }

  // An input as a number to compute with: its value, and its tangent where there is one.
  A input(const T* values, const T* tangents, int64_t k) const {
    if constexpr (dual)
      return {double(values[k]), double(tangents[k])};
    else
      return double(values[k]);
  }
  A position(int64_t i, int d) const {
    return input(in.systems.positions, tangents_ ? tangents_->positions : nullptr, 3 * i + d);
  }
  A damping(int64_t system, int k) const {
    return input(in.damping, tangents_ ? tangents_->damping : nullptr, system * in.n_damping() + k);
  }

  int64_t system_of(int64_t atom) const {
    const int64_t* first = in.systems.offsets;
    return std::upper_bound(first, first + in.systems.n_systems, atom) - first - 1;
  }
  int slot(int64_t atom) const { return present.slot(in.systems.species[atom]); }
  int n_slots() const { return int(present.size()); }

  const LatticeInput<T>& in;

 private:
  const LatticeTangents<T>* tangents_;

 public:
  const int64_t n_atoms;
  const PresentSpecies<T> present;
  std::vector<AtomRecord<T>> records, t_records;  // (n_atoms); tangents: empty unless dual
  std::vector<ListSystem<A>> systems;

 private:
  ListError read_systems() {
    const Systems<T>& s = in.systems;
    systems.resize(s.n_systems);
    for (int64_t b = 0; b < s.n_systems; ++b) {
      ListSystem<A>& system = systems[b];
      system.first = s.offsets[b];
      system.end = s.offsets[b + 1];
      for (int k = 0; k < 3; ++k) {
        const bool periodic = s.pbc[3 * b + k];
        system.geometry.periodic[k] = periodic;
        for (int d = 0; d < 3; ++d) {
          const A x = input(s.cell, tangents_ ? tangents_->cell : nullptr, 9 * b + 3 * k + d);
          system.cell[k][d] = periodic ? x : A(0.0);
          system.geometry.cell[k][d] = value(system.cell[k][d]);
        }
      }
      if (!complete_and_invert(system.geometry))
        return {ListError::singular_cell, -1, b, system.first};
    }
    return {};
  }
};

}  // namespace d3

// The numbers of atoms and species that the loops over rows read, in the order they read them.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include "engine/pairs/rows.h"
#include "engine/present_species.h"
#include "engine/tuning.h"

namespace d3 {

// Zeros that start at a register.
template <class T> class Zeros {
 public:
  Zeros() = default;
  explicit Zeros(int64_t n) {
    const size_t bytes = (n * sizeof(T) / register_bytes + 1) * register_bytes;
    data_.reset(static_cast<T*>(std::aligned_alloc(register_bytes, bytes)));
    if (!data_) throw std::bad_alloc();
    std::fill_n(data_.get(), bytes / sizeof(T), T(0));
  }
  T* get() const { return data_.get(); }

 private:
  struct Free {
    void operator()(T* p) const { std::free(p); }
  };
  std::unique_ptr<T, Free> data_;
};

// The tables for lists of some atoms. A is the scalar that inputs come in: double, or Dual<double>
// in a dual sweep; it is rounded to T at the end.
template <class T, class A> class RowTables {
 public:
  static constexpr bool dual = !std::is_same_v<A, double>;

  // Slots of the atoms, and their radii where there are some. A negative species is an atom that is
  // not there.
  RowTables(const Tables<T>& tables, const int64_t* species, int64_t n_atoms)
      : tables_(tables),
        n_atoms_(n_atoms),
        present_(tables, species, n_atoms),
        slot_(n_atoms),
        rcov_(tables.rcov ? n_atoms : 0) {
    for (int64_t i = 0; i < n_atoms; ++i)
      slot_[i] = species[i] < 0 ? -1 : present_.slot(species[i]);
    absent_ = std::any_of(slot_.begin(), slot_.end(), [](int32_t s) { return s < 0; });
    if (!tables.rcov) return;
    for (int64_t i = 0; i < n_atoms; ++i)
      if (species[i] >= 0) rcov_[i] = tables.rcov[species[i]];
  }

  // Makes room for weights, and sets what belongs to pairs of species.
  void set_energies(DampingForm form, const A* parameters) {
    const int64_t n = int64_t(present_.size());
    for (Zeros<T>* rows : {&w_, &dw_}) *rows = Zeros<T>(n_atoms_ * row_numbers);
    constants_ = Zeros<T>(n * n_constants * n_padded());
    c6_ref_ = Zeros<T>(n * n * max_refs * row_numbers);
    if (dual) {
      for (Zeros<T>* rows : {&w_along_, &dw_along_}) *rows = Zeros<T>(n_atoms_ * row_numbers);
      constants_along_ = Zeros<T>(n * n_constants * n_padded());
    }
    for (int a = 0; a < n; ++a)
      for (int b = 0; b < n; ++b) {
        set_constants(a, b, damping_of(form, parameters, tables_, present_[a], present_[b]));
        set_c6(a, b);
      }
  }

  // Sets the weights of an atom. Threads may do so for different atoms.
  void set_weights(int64_t i, A cn) {
    if (slot_[i] < 0) return;
    A w[max_refs], dw[max_refs];
    const int n_refs = tables_.n_refs;
    reference_weights(cn, present_.cn_ref(slot_[i]), n_refs, w, dw);
    for (int a = 0; a < n_refs; ++a) {
      put(w_, w_along_, i * row_numbers + a, w[a]);
      put(dw_, dw_along_, i * row_numbers + a, dw[a]);
    }
  }

  RowAtoms<T> view() const {
    return {slot_.data(),
            rcov_.data(),
            {w_.get(), w_along_.get()},
            {dw_.get(), dw_along_.get()},
            {constants_.get(), constants_along_.get()},
            c6_ref_.get(),
            n_slots(),
            n_padded(),
            absent_};
  }
  int n_slots() const { return int(present_.size()); }

 private:
  // Room for a register behind the last slot.
  int n_padded() const {
    constexpr int lanes = register_bytes / int(sizeof(T));
    return (n_slots() + lanes - 1) / lanes * lanes;
  }

  static void put(const Zeros<T>& values, const Zeros<T>& tangents, int64_t at, A x) {
    values.get()[at] = T(value(x));
    if constexpr (dual) tangents.get()[at] = T(x.d);
  }

  void set_constants(int a, int b, const Damping<A>& d) {
    const int64_t first = int64_t(a) * n_constants * n_padded() + b;
    const A all[] = {d.s6, d.s8q, d.q, d.of_form[0], d.of_form[1], d.of_form[2], d.of_form[3]};
    for (int c = 0; c < n_constants; ++c)
      put(constants_, constants_along_, first + c * n_padded(), all[c]);
  }

  void set_c6(int a, int b) {
    const int n_refs = tables_.n_refs;
    const T* given = present_.c6_ref(a, b);
    T* to = c6_ref_.get() + int64_t(a * n_slots() + b) * max_refs * row_numbers;
    for (int k = 0; k < n_refs; ++k) std::copy_n(given + k * n_refs, n_refs, to + k * row_numbers);
  }

  const Tables<T> tables_;
  const int64_t n_atoms_;
  const PresentSpecies<T> present_;
  std::vector<int32_t> slot_;
  std::vector<T> rcov_;
  Zeros<T> w_, w_along_, dw_, dw_along_, constants_, constants_along_, c6_ref_;
  bool absent_ = false;
};

}  // namespace d3

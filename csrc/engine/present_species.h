// The species that are present, where the tables have more: what is kept for each species, or for
// two, is as small as can be.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/types.h"

namespace d3 {

// Numbers species in the order in which they come, from 0: their slots.
template <class T> class PresentSpecies {
 public:
  explicit PresentSpecies(const Tables<T>& tables)
      : tables_(tables), slots_(tables.n_species, -1) {}

  // Those of n atoms; a negative one is an atom that is not there.
  PresentSpecies(const Tables<T>& tables, const int64_t* species, int64_t n)
      : PresentSpecies(tables) {
    for (int64_t i = 0; i < n; ++i)
      if (species[i] >= 0) add(species[i]);
  }

  // The slot of a species, which gets one if it has none.
  int add(int64_t species) {
    int& slot = slots_[species];
    if (slot >= 0) return slot;
    slot = int(species_.size());
    species_.push_back(int(species));
    n_refs_.push_back(0);
    for (int a = 0; a < (tables_.cn_ref ? tables_.n_refs : 0); ++a)
      if (cn_ref(slot)[a] >= 0) n_refs_.back() = a + 1;
    return slot;
  }

  // Begins anew.
  void clear() {
    for (int species : species_) slots_[species] = -1;
    species_.clear();
    n_refs_.clear();
  }

  size_t size() const { return species_.size(); }
  int slot(int64_t species) const { return slots_[species]; }
  int operator[](size_t slot) const { return species_[slot]; }
  const std::vector<int>& species() const { return species_; }  // of each slot
  int n_refs(size_t slot) const { return n_refs_[slot]; }       // references

  // The tables of a slot, and of two.
  const T* cn_ref(int slot) const {
    return tables_.cn_ref + int64_t(species_[slot]) * tables_.n_refs;
  }
  const T* c6_ref(int slot, int other) const {
    return tables_.c6_ref + (int64_t(species_[slot]) * tables_.n_species + species_[other]) *
                                tables_.n_refs * tables_.n_refs;
  }

 private:
  const Tables<T> tables_;
  std::vector<int> slots_;  // of each species, or -1
  std::vector<int> species_, n_refs_;
};

}  // namespace d3

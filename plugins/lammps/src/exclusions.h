// Which atoms neigh_modify takes out of all pairs: they are not there for D3.
#pragma once
#include <set>
#include <string>
#include <vector>

#include "pointers.h"

namespace LAMMPS_NS {

// Reads the rules of neigh_modify exclude and include from Neighbor. Fixes that delete atoms on
// trial, such as fix gcmc, add rules and change the groups of atoms within a step: update() asks
// at every step.
//
// Atoms of one type and the same groups are excluded from the same others: they are of one kind. A
// kind that is excluded from all kinds is taken out. D3 of the rest needs every pair of it: a rule
// that parts some of it cannot be obeyed.
class Exclusions : protected Pointers {
 public:
  explicit Exclusions(LAMMPS* lmp) : Pointers(lmp) {}

  // Whether Neighbor's members are where the headers said: adds rules, reads and removes them.
  bool laid_out_as_compiled();

  // Finds the kinds of this step; called by all ranks. `element` is -1 for types of NULL.
  // Returns the first rule that parts atoms which are there, such as "type 1 2", or nothing.
  std::string update(const int* element);

  bool take_out(int atom) const;

 private:
  using Kind = long long;  // the type, and in the lower 32 bits the groups that rules name

  bool settings_as_compiled();
  bool rules_as_compiled();

  unsigned groups_of_rules() const;
  Kind kind_of(int atom) const;
  bool included(Kind) const;
  bool excluded_by_type(int rule, Kind, Kind) const;
  bool excluded_by_group(int rule, Kind, Kind) const;
  bool excluded(Kind, Kind) const;
  std::set<Kind> kinds_there(const int* element) const;
  std::set<Kind> of_all_ranks(const std::set<Kind>& own) const;
  std::string rule_among(const std::set<Kind>&) const;
  std::string group_name(int) const;

  bool active_ = false;
  unsigned groups_ = 0;
  std::set<Kind> taken_out_;
};

}  // namespace LAMMPS_NS

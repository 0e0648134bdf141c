#include "exclusions.h"

#include <mpi.h>

#include <algorithm>

#include "atom.h"
#include "comm.h"
#include "library.h"
#include "neighbor.h"

namespace LAMMPS_NS {
namespace {

unsigned bit(int group) { return 1u << group; }

// Group 0 is `all`: every atom is in it, also one that fix gcmc has taken the bit of `all` from.
bool in_group(long long kind, int group) { return group == 0 || (kind & bit(group)); }

}  // namespace

// ---- layout ----

bool Exclusions::laid_out_as_compiled() { return settings_as_compiled() && rules_as_compiled(); }

// includegroup stands between dist_check and build_once, which can be switched and read.
bool Exclusions::settings_as_compiled() {
  const auto switches = [this](const std::string& word, const int& member) {
    const int before = member;
    neighbor->modify_params(word + (before ? " no" : " yes"));
    const int between = member;
    neighbor->modify_params(word + (before ? " yes" : " no"));
    return (before == 0 || before == 1) && between == 1 - before && member == before;
  };
  return switches("check", neighbor->dist_check) && switches("once", neighbor->build_once);
}

bool Exclusions::rules_as_compiled() {
  const auto grows = [this](const std::string& rule, int& number, int*& first, int*& second,
                            int value) {
    const int before = number;
    neighbor->modify_params("exclude " + rule);
    const bool grown = number == before + 1 && first[before] == value && second[before] == value;
    if (grown) number = before;
    return grown;
  };
  auto& n = *neighbor;
  if (!grows("type 1 1", n.nex_type, n.ex1_type, n.ex2_type, 1)) return false;
  if (!grows("group all all", n.nex_group, n.ex1_group, n.ex2_group, 0)) return false;
  if (!atom->molecule_flag) return n.nex_mol == 0;
  return grows("molecule/inter all", n.nex_mol, n.ex_mol_group, n.ex_mol_intra, 0);
}

// ---- kinds of atoms ----

unsigned Exclusions::groups_of_rules() const {
  unsigned groups = bit(neighbor->includegroup);
  for (int k = 0; k < neighbor->nex_group; ++k)
    groups |= bit(neighbor->ex1_group[k]) | bit(neighbor->ex2_group[k]);
  for (int k = 0; k < neighbor->nex_mol; ++k) groups |= bit(neighbor->ex_mol_group[k]);
  return groups & ~bit(0);
}

Exclusions::Kind Exclusions::kind_of(int i) const {
  return (Kind(atom->type[i]) << 32) | (unsigned(atom->mask[i]) & groups_);
}

bool Exclusions::included(Kind kind) const { return in_group(kind, neighbor->includegroup); }

bool Exclusions::excluded_by_type(int rule, Kind a, Kind b) const {
  const int first = neighbor->ex1_type[rule], second = neighbor->ex2_type[rule];
  const int of_a = int(a >> 32), of_b = int(b >> 32);
  return (of_a == first && of_b == second) || (of_a == second && of_b == first);
}

bool Exclusions::excluded_by_group(int rule, Kind a, Kind b) const {
  const int first = neighbor->ex1_group[rule], second = neighbor->ex2_group[rule];
  return (in_group(a, first) && in_group(b, second)) || (in_group(a, second) && in_group(b, first));
}

bool Exclusions::excluded(Kind a, Kind b) const {
  for (int k = 0; k < neighbor->nex_type; ++k)
    if (excluded_by_type(k, a, b)) return true;
  for (int k = 0; k < neighbor->nex_group; ++k)
    if (excluded_by_group(k, a, b)) return true;
  return false;
}

// ---- a step ----

std::string Exclusions::update(const int* element) {
  const bool rules = neighbor->nex_type || neighbor->nex_group || neighbor->nex_mol;
  taken_out_.clear();
  active_ = rules || neighbor->includegroup;
  if (!active_) return "";
  groups_ = groups_of_rules();
  if (!rules) return "";
  const std::set<Kind> there = of_all_ranks(kinds_there(element));
  std::set<Kind> left;
  for (Kind a : there) {
    const auto from_it = [=](Kind b) { return excluded(a, b); };
    const bool from_all = std::all_of(there.begin(), there.end(), from_it);
    (from_all ? taken_out_ : left).insert(a);
  }
  return rule_among(left);
}

bool Exclusions::take_out(int i) const {
  return active_ && (!included(kind_of(i)) || taken_out_.count(kind_of(i)));
}

std::set<Exclusions::Kind> Exclusions::kinds_there(const int* element) const {
  std::set<Kind> kinds;
  for (int i = 0; i < atom->nlocal; ++i)
    if (element[atom->type[i]] >= 0 && included(kind_of(i))) kinds.insert(kind_of(i));
  return kinds;
}

std::set<Exclusions::Kind> Exclusions::of_all_ranks(const std::set<Kind>& own) const {
  std::vector<Kind> sent(own.begin(), own.end());
  int n = int(sent.size());
  std::vector<int> counts(comm->nprocs), starts(comm->nprocs + 1, 0);
  MPI_Allgather(&n, 1, MPI_INT, counts.data(), 1, MPI_INT, world);
  for (int r = 0; r < comm->nprocs; ++r) starts[r + 1] = starts[r] + counts[r];
  std::vector<Kind> all(starts.back());
  MPI_Allgatherv(sent.data(), n, MPI_LONG_LONG, all.data(), counts.data(), starts.data(),
                 MPI_LONG_LONG, world);
  return {all.begin(), all.end()};
}

// Kinds do not tell molecules: a rule on molecules parts whatever is in its group.
std::string Exclusions::rule_among(const std::set<Kind>& kinds) const {
  const auto some_pair = [&kinds](auto&& parted) {
    for (Kind a : kinds)
      for (Kind b : kinds)
        if (parted(a, b)) return true;
    return false;
  };
  const Neighbor& n = *neighbor;
  for (int k = 0; k < n.nex_type; ++k)
    if (some_pair([=](Kind a, Kind b) { return excluded_by_type(k, a, b); }))
      return "type " + std::to_string(n.ex1_type[k]) + " " + std::to_string(n.ex2_type[k]);
  for (int k = 0; k < n.nex_group; ++k)
    if (some_pair([=](Kind a, Kind b) { return excluded_by_group(k, a, b); }))
      return "group " + group_name(n.ex1_group[k]) + " " + group_name(n.ex2_group[k]);
  for (int k = 0; k < n.nex_mol; ++k)
    if (some_pair([&](Kind a, Kind) { return in_group(a, n.ex_mol_group[k]); }))
      return (n.ex_mol_intra[k] ? "molecule/intra " : "molecule/inter ") +
             group_name(n.ex_mol_group[k]);
  return "";
}

std::string Exclusions::group_name(int group) const {
  char name[256] = "";
  lammps_id_name(lmp, "group", group, name, sizeof name);
  return name;
}

}  // namespace LAMMPS_NS

// Damping parameters and reference tables of the pair style, from the data that the build writes
// into d3_data.h.
#pragma once
#include <string>
#include <vector>

namespace d3 {

// How many of the host's units one atomic unit is.
struct HostUnits {
  double length, energy;
};

// eV and angstrom, or kcal/mol and angstrom (CODATA 2018).
HostUnits metal_units();
HostUnits real_units();

// Fills in s6 s8 a1 a2 (a2 in bohr) of Becke-Johnson damping, and whether the method is defined
// with the three-body term; false for an unknown functional. The table has names with -D3(BJ),
// -D3BJ or -D3 at their end too, where that is no other functional.
bool find_functional(const std::string& name, double* damping, bool* three_body);

// Atomic number of a symbol, in any case, or 0.
int atomic_number(const std::string& symbol);

// The largest atomic number of a generation of references, "2010" or "2024"; 0 if there is no such
// generation.
int last_element(const std::string& reference);

// The tables of some elements in the units of the host, laid out as d3::Tables has them.
struct HostTables {
  std::vector<double> rcov, r4r2, cn_ref, c6_ref;
  int n_refs;
};
HostTables host_tables(const std::vector<int>& numbers, const std::string& reference,
                       HostUnits units);

}  // namespace d3

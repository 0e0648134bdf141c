// Damping parameters and reference tables of the pair style, from the data that the build writes
// into d3_data.h.
#pragma once
#include <string>
#include <vector>

#include "engine/formulas/damping.h"

namespace d3 {

// How many of the host's units one atomic unit is.
struct HostUnits {
  double length, energy;
};

// eV and angstrom, or kcal/mol and angstrom (CODATA 2018).
HostUnits metal_units();
HostUnits real_units();

// A variant of D3: zero, zerom, bj or bjm.
struct Variant {
  std::string name;
  std::string words;  // such as "modified zero damping"
  DampingForm form;
};

// How many there are, their place by name, or -1, and back. `original` is the name of zero damping
// in dispersion/d3.
extern const int n_variants;
int variant_of(const std::string& name);
Variant variant_at(int place);

// Fills in the damping parameters of a variant in atomic units, see DampingForm, and whether the
// method is defined with the three-body term; false for an unknown functional. The table has names
// with what the literature writes behind them too, such as -D3(BJ) or -D3(0), where that is no
// other functional.
bool find_functional(const std::string& name, int variant, double* damping, bool* three_body);

// The variants that a name has parameters of, such as "bj, zero", or nothing.
std::string variants_with(const std::string& name);

// Parameters of the damping in the units of the host, with the weight of the three-body term behind
// them.
void convert_damping(DampingForm form, double s9, HostUnits units, double* damping);

// Atomic number of a symbol, in any case, or 0.
int atomic_number(const std::string& symbol);

// The largest atomic number of a generation of references, "2010" or "2024"; 0 if there is no such
// generation.
int last_element(const std::string& reference);

// The tables of some elements in the units of the host, laid out as d3::Tables has them.
struct HostTables {
  std::vector<double> rcov, r4r2, cn_ref, c6_ref, radii;
  int n_refs;
};
HostTables host_tables(const std::vector<int>& numbers, const std::string& reference,
                       HostUnits units);

}  // namespace d3

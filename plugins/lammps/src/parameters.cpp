#include "parameters.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstring>
#include <iterator>

#include "d3_data.h"  // written by d3torch_lammps/tables.py: lists of d3::data

namespace d3 {
namespace {

std::string lower(std::string text) {
  for (char& c : text) c = char(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

// The spelling of the keys: without case and punctuation.
std::string key(const std::string& name) {
  std::string out;
  for (char c : lower(name))
    if (!std::strchr("-_/.() ", c)) out += c;
  return out;
}

const data::Generation* generation(const std::string& reference) {
  for (const data::Generation& g : data::generations)
    if (reference == g.name) return &g;
  return nullptr;
}

// Place of an element's first reference among all.
int first_reference(const data::Generation& g, int number) {
  int first = 0;
  for (int k = 0; k < number * g.n_refs; ++k) first += g.cn_ref[k] >= 0;
  return first;
}

double c6(const data::Generation& g, int row, int column) {
  if (row < column) std::swap(row, column);
  return g.c6[size_t(row) * (row + 1) / 2 + column] / data::c6_unit;
}

// The pair radius of two elements, A.
double radius(int z, int other) {
  const size_t row = std::max(z, other) - 1, column = std::min(z, other) - 1;
  return data::radii[row * (row + 1) / 2 + column] / data::radii_unit;
}

const data::Functional* functional(const std::string& wanted, const data::Variant& variant) {
  const data::Functional* end = variant.functionals + variant.n_functionals;
  const auto named = [&](const data::Functional& f) { return wanted == f.key; };
  const data::Functional* found = std::find_if(variant.functionals, end, named);
  return found == end ? nullptr : found;
}

}  // namespace

HostUnits metal_units() { return {data::bohr, data::hartree}; }

HostUnits real_units() {
  constexpr double joules_in_ev = 1.602176634e-19, avogadro = 6.02214076e23, joules_in_kcal = 4184;
  return {data::bohr, data::hartree * joules_in_ev * avogadro / joules_in_kcal};
}

const int n_variants = int(std::size(data::variants));

int variant_of(const std::string& name) {
  const std::string wanted = lower(name) == "original" ? "zero" : lower(name);
  for (int k = 0; k < n_variants; ++k)
    if (wanted == data::variants[k].name) return k;
  return -1;
}

Variant variant_at(int place) {
  const data::Variant& v = data::variants[place];
  return {v.name, v.words, DampingForm(v.form)};
}

bool find_functional(const std::string& name, int variant, double* damping, bool* three_body) {
  const data::Functional* found = functional(key(name), data::variants[variant]);
  if (!found) return false;
  std::copy(std::begin(found->damping), std::end(found->damping), damping);
  *three_body = found->three_body;
  return true;
}

std::string variants_with(const std::string& name) {
  std::string out;
  for (const data::Variant& v : data::variants)
    if (functional(key(name), v)) out += (out.empty() ? "" : ", ") + std::string(v.name);
  return out;
}

// a2 is a length, bet the inverse of one; s9 goes as one over the root of an energy.
void convert_damping(DampingForm form, double s9, HostUnits units, double* damping) {
  if (form == DampingForm::rational) damping[3] *= units.length;
  if (form == DampingForm::modified_zero) damping[4] /= units.length;
  damping[n_parameters(form)] = s9 / std::sqrt(units.energy);
}

int atomic_number(const std::string& symbol) {
  const auto at = std::find_if(std::begin(data::symbols) + 1, std::end(data::symbols),
                               [&](const char* known) { return lower(known) == lower(symbol); });
  return at == std::end(data::symbols) ? 0 : int(at - std::begin(data::symbols));
}

int last_element(const std::string& reference) {
  const data::Generation* g = generation(reference);
  return g ? g->n_numbers - 1 : 0;
}

HostTables host_tables(const std::vector<int>& numbers, const std::string& reference,
                       HostUnits units) {
  const data::Generation& g = *generation(reference);
  const int n = int(numbers.size()), n_refs = g.n_refs;
  HostTables t{{}, {}, {}, std::vector<double>(size_t(n) * n * n_refs * n_refs), {}, n_refs};
  for (int z : numbers) {
    t.rcov.push_back(data::rcov[z] * units.length);
    t.r4r2.push_back(data::r4r2[z] * units.length);
    t.cn_ref.insert(t.cn_ref.end(), g.cn_ref + z * n_refs, g.cn_ref + (z + 1) * n_refs);
    for (int other : numbers) t.radii.push_back(radius(z, other) / data::bohr * units.length);
  }
  const double scale = units.energy * std::pow(units.length, 6);
  for (int s = 0; s < n; ++s)
    for (int p = 0; p < n; ++p)
      for (int a = 0; a < n_refs; ++a)
        for (int b = 0; b < n_refs; ++b) {
          if (t.cn_ref[s * n_refs + a] < 0 || t.cn_ref[p * n_refs + b] < 0) continue;
          t.c6_ref[((size_t(s) * n + p) * n_refs + a) * n_refs + b] =
              scale * c6(g, first_reference(g, numbers[s]) + a, first_reference(g, numbers[p]) + b);
        }
  return t;
}

}  // namespace d3

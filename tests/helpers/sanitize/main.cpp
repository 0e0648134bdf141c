// Runs the lattice core and the pair kernels without torch, for sanitizers: every buffer is a
// vector of its exact size. Prints one line and returns 0 if all went well, and results agree
// between instruction sets and dtypes.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "engine/lattice/lattice.h"
#include "engine/pairs/kernels.h"
#include "engine/pairs/owned.h"
#include "engine/watch.h"

using namespace d3;
using Doubles = std::vector<double>;

namespace {

constexpr int n_species = 5, n_refs = 7;
std::mt19937_64 engine(20);
double uniform(double low, double high) {
  return std::uniform_real_distribution<double>(low, high)(engine);
}

void require(bool good, const std::string& what) {
  if (good) return;
  std::printf("sanitize: %s\n", what.c_str());
  std::exit(1);
}

// A batch in double precision; as<T>() narrows it.
struct Batch {
  Doubles positions, cell, damping;
  std::vector<char> pbc;  // read as bool
  std::vector<int64_t> species, offsets{0};

  void add(const Doubles& x, const Doubles& vectors, int periodic_axes) {
    for (size_t k = 0; k < x.size(); ++k) positions.push_back(x[k]);
    for (size_t k = 0; k < x.size() / 3; ++k) species.push_back(int64_t(engine() % n_species));
    cell.insert(cell.end(), vectors.begin(), vectors.end());
    for (int axis = 0; axis < 3; ++axis) pbc.push_back((periodic_axes >> axis) & 1);
    damping.insert(damping.end(), {1.0, 0.8, 0.4, 2.3});
    offsets.push_back(int64_t(species.size()));
  }
  int64_t n_systems() const { return int64_t(offsets.size()) - 1; }
  int64_t n_atoms() const { return int64_t(species.size()); }
};

// Atoms on a jittered grid with this spacing, some moved by whole lattice vectors.
Doubles atoms(int n, const Doubles& cell, double spread) {
  const int side = int(std::ceil(std::cbrt(double(n))));
  Doubles x;
  for (int k = 0; k < n; ++k) {
    const int at[3] = {k % side, k / side % side, k / side / side};
    double f[3];
    for (int d = 0; d < 3; ++d)
      f[d] = (at[d] + uniform(-0.15, 0.15)) / side + std::floor(uniform(-spread, spread + 1));
    for (int d = 0; d < 3; ++d)
      x.push_back(f[0] * cell[d] + f[1] * cell[3 + d] + f[2] * cell[6 + d]);
  }
  return x;
}

const Doubles cube{12, 0, 0, 0, 12, 0, 0, 0, 12}, skewed{7, 0, 0, 6, 6, 0, -5, 5, 8}, none(9, 0.0);
const Doubles tiny{2.1, 0, 0, 1.9, 2.0, 0, 1.5, -1.7, 1.8}, thin{2.0, 0, 0, 0, 30, 0, 0, 1, 25};

Batch crystals() {
  Batch b;
  b.add(atoms(1, tiny, 3), tiny, 7);
  b.add(atoms(200, cube, 1), cube, 7);
  b.add(atoms(9, skewed, 2), skewed, 7);
  b.add({}, cube, 7);
  b.add(atoms(30, thin, 0), thin, 7);
  return b;
}

Batch all() {
  Batch b = crystals();
  b.add({}, none, 0);
  b.add({0.5, 0.5, 0.5}, none, 0);
  b.add(atoms(70, cube, 0), none, 0);
  b.add(atoms(400, Doubles{60, 0, 0, 0, 4, 0, 0, 0, 5}, 0), none, 0);
  for (int axes = 1; axes < 7; ++axes) b.add(atoms(20, skewed, 1), skewed, axes);
  for (int k = 0; k < 12; ++k) b.add(atoms(3, cube, 0), none, 0);
  return b;
}

Batch single(const Doubles& x, const Doubles& vectors, int periodic_axes) {
  Batch b;
  b.add(x, vectors, periodic_axes);
  return b;
}

template <class T> std::vector<T> as(const Doubles& x) {
  return std::vector<T>(x.begin(), x.end());
}

// Smooth tables; each species has fewer references than the one before.
template <class T> struct TestTables {
  std::vector<T> rcov, r4r2, cn_ref, c6_ref, radii;
  TestTables() {
    for (int s = 0; s < n_species; ++s) {
      rcov.push_back(T(0.8 + 0.3 * s));
      r4r2.push_back(T(1.1 + 0.5 * s));
      for (int a = 0; a < n_refs; ++a) cn_ref.push_back(a < n_refs - s ? T(0.9 * a) : T(-1));
    }
    for (int s = 0; s < n_species; ++s)
      for (int t = 0; t < n_species; ++t) {
        radii.push_back(T(2.1 + 0.2 * (s + t)));
        for (int a = 0; a < n_refs; ++a)
          for (int b = 0; b < n_refs; ++b)
            c6_ref.push_back(T(20.0 * (1 + s) * (1 + t) / (2 + a) / (2 + b)));
      }
  }
  Tables<T> view() const {
    return {rcov.data(), r4r2.data(), cn_ref.data(), c6_ref.data(),
            n_species,   n_refs,      radii.data()};
  }
};

struct Mode {
  InstructionSet set = InstructionSet::best;
  int threads = 1;
  bool gradients = true, learn = true, tail = false, dual = false;
  double cutoff = 9.3, cn_cutoff = 7.1, width = 1.5, atm_cutoff = 0;
  Watch* watch = nullptr;
};

void finite(const Doubles& values, const char* where) {
  for (double v : values) require(std::isfinite(v), std::string("not finite: ") + where);
}

// Energies by pair of labels, of which there are three.
template <class T> Doubles pairwise(const LatticeInput<T>& in, int64_t n_atoms) {
  std::vector<int64_t> labels(n_atoms);
  for (int64_t i = 0; i < n_atoms; ++i) labels[i] = i % 3;
  std::vector<T> out(9 * in.systems.n_systems);
  const LatticeError error = Lattice<T>::pairwise(in, {labels.data(), 3}, out.data());
  require(error.kind == LatticeError::none, "an error where there is none");
  return Doubles(out.begin(), out.end());
}

// All outputs one after the other.
template <class T> Doubles evaluate(const Batch& b, const Mode& m, LatticeError& error) {
  const TestTables<T> tables;
  const std::vector<T> x = as<T>(b.positions), cell = as<T>(b.cell);
  std::vector<T> damping;
  for (size_t k = 0; k < b.damping.size(); ++k) {
    damping.push_back(T(b.damping[k]));
    if (m.atm_cutoff > 0 && k % 4 == 3) damping.push_back(T(0.9));
  }
  std::vector<T> tx(x.size()), tc(cell.size()), td(damping.size(), T(0.3));
  for (size_t k = 0; k < tx.size(); ++k) tx[k] = T(std::sin(double(k)));
  for (size_t k = 0; k < tc.size(); ++k) tc[k] = T(0.1 * std::cos(double(k)));
  const int64_t n = b.n_atoms(), s = b.n_systems();
  std::vector<T> out[8] = {std::vector<T>(s),     std::vector<T>(n),
                           std::vector<T>(n),     std::vector<T>(n),
                           std::vector<T>(3 * n), std::vector<T>(9 * s),
                           std::vector<T>(9 * s), std::vector<T>(damping.size())};
  const Systems<T> systems{
      x.data(),         cell.data(),      reinterpret_cast<const bool*>(b.pbc.data()),
      b.species.data(), b.offsets.data(), s};
  const Range<T> range{T(m.cutoff), T(m.cn_cutoff), T(m.width), m.tail};
  LatticeInput<T> in{systems, damping.data(), tables.view(), range,  m.threads,
                     m.set,   m.gradients,    m.learn,       m.watch};
  in.three_body = {T(m.atm_cutoff), T(m.width)};
  const LatticeTangents<T> tangents{tx.data(), tc.data(), td.data()};
  error = Lattice<T>::evaluate(in, m.dual ? &tangents : nullptr,
                               {out[0].data(), out[1].data(), out[2].data(), out[3].data(),
                                out[4].data(), out[5].data(), out[6].data(), out[7].data()});
  Doubles flat;
  for (const auto& o : out) flat.insert(flat.end(), o.begin(), o.end());
  if (!m.dual && !m.gradients && !error.kind) {
    const Doubles pairs = pairwise(in, n);
    flat.insert(flat.end(), pairs.begin(), pairs.end());
  }
  if (!error.kind) finite(flat, "lattice");
  return flat;
}

template <class T> Doubles good(const Batch& b, const Mode& m) {
  LatticeError error;
  const Doubles out = evaluate<T>(b, m, error);
  require(error.kind == LatticeError::none, "an error where there is none");
  return out;
}

void agree(const Doubles& a, const Doubles& b, double tolerance, const char* what) {
  double largest = 0, apart = 0;
  for (size_t k = 0; k < a.size(); ++k) {
    largest = std::max(largest, std::abs(a[k]));
    apart = std::max(apart, std::abs(a[k] - b[k]));
  }
  require(a.size() == b.size() && apart <= tolerance * largest,
          std::string("results differ between ") + what);
}

// Runs all modes; returns how many evaluations that were.
int lattice(InstructionSet set) {
  const Batch everything = all(), nothing;
  int runs = 0;
  for (bool dual : {false, true})
    for (bool tail : {false, true})
      for (int level = 0; level < 3; ++level)
        for (double width : {0.0, 1.5}) {
          Mode m;
          m.set = set;
          m.tail = tail;
          m.dual = dual;
          m.width = width;
          m.atm_cutoff = !tail && width > 0 ? 4.7 : 0;
          m.gradients = level > 0 || dual;
          m.learn = level > 1 || dual;
          if (dual && level < 2) continue;
          const Doubles wide = good<double>(everything, m);
          agree(wide, good<float>(everything, m), dual ? 1e-3 : 1e-4, "float and double");
          m.set = InstructionSet::baseline;
          agree(wide, good<double>(everything, m), 1e-10, "instruction sets");
          m.set = set;
          m.threads = 3;
          agree(wide, good<double>(everything, m), 0, "numbers of threads");
          agree(good<double>(nothing, m), {}, 0, "nothing and no systems");
          runs += 5;
        }
  return runs;
}

template <class T> void errors() {
  LatticeError e;
  Mode m;
  const auto kind = [&](const Batch& b) { return evaluate<T>(b, m, e), e.kind; };
  require(kind(single({0, 0, 0, NAN, 1, 1}, none, 0)) == LatticeError::not_finite && e.atom == 1,
          "NaN not found");
  require(kind(single({0, 0, 0, 3, INFINITY, 1}, cube, 7)) == LatticeError::not_finite,
          "infinity not found");
  for (int axes : {0, 1, 7}) {
    require(kind(single({0, 0, 0, 1e8, 1, 1}, cube, axes)) == LatticeError::none,
            "an atom far away refused");
    require(kind(single({0, 0, 0, 1e12, 1, 1}, cube, axes)) == LatticeError::too_far,
            "an atom too far away not found");
  }
  require(kind(single({9e8, 0, 0}, {0.1, 0, 0, 0, 9, 0, 0, 0, 9}, 7)) == LatticeError::too_far,
          "cells too far away not found");
  require(kind(single({1, 1, 1, 5, 5, 5, 1, 1, 1}, none, 0)) == LatticeError::same_spot,
          "one spot not found");
  require(e.atom == 0 && e.other == 2, "other atoms named on one spot");
  require(kind(single({1, 1, 1, 13, 1, 1}, cube, 7)) == LatticeError::same_spot,
          "one spot in another cell not found");
  require(e.atom == 0 && e.other == 1 && e.image[0] == -1, "another image named on one spot");
  require(kind(single({1, 1, 1}, none, 7)) == LatticeError::singular_cell,
          "singular cell not found");
  require(kind(single({1, 1, 1}, {1, 0, 0, 2, 0, 0, 0, 0, 1}, 3)) == LatticeError::singular_cell,
          "parallel vectors not found");
  require(kind(single({1, 1, 1}, {NAN, 0, 0, 0, 9, 0, 0, 0, 9}, 7)) == LatticeError::singular_cell,
          "NaN cell not found");
  require(kind(single({1, 1, 1}, {NAN, 0, 0, 0, 9, 0, 0, 0, 9}, 6)) == LatticeError::none,
          "a vector without pbc read");
  m.cutoff = 1e5;
  require(kind(single({1, 1, 1}, cube, 7)) == LatticeError::too_much,
          "work without end not refused");
  m.cutoff = 9.3;
  m.atm_cutoff = 1e4;
  require(kind(single({1, 1, 1}, cube, 7)) == LatticeError::too_many_triangles,
          "triangles without end not refused");
}

// A host that wants to stop is heard, by any number of threads, and nothing else is wrong.
template <class T> void stops() {
  const Batch b = all();
  for (int threads : {1, 3}) {
    Watch watch([](void*) { return true; }, nullptr);
    while (!watch.stop()) continue;  // it asks every 50 ms
    Mode m;
    m.threads = threads;
    m.watch = &watch;
    m.atm_cutoff = 4.7;
    LatticeError error;
    evaluate<T>(b, m, error);
    require(error.kind == LatticeError::none || error.kind == LatticeError::stopped,
            "a stop is an error");
  }
}

// All directed pairs of some atoms, sorted by centre.
struct List {
  Doubles vectors;
  std::vector<int64_t> centre, neighbour, species;
  int64_t n_pairs() const { return int64_t(centre.size()); }
  int64_t n_atoms() const { return int64_t(species.size()); }
};

List all_pairs(int n_atoms) {
  const Doubles x = atoms(n_atoms, cube, 0);
  List l;
  for (int i = 0; i < n_atoms; ++i) {
    l.species.push_back(i % n_species);
    for (int j = 0; j < n_atoms; ++j) {
      if (i == j) continue;
      l.centre.push_back(i);
      l.neighbour.push_back(j);
      for (int d = 0; d < 3; ++d) l.vectors.push_back(x[3 * j + d] - x[3 * i + d]);
    }
  }
  return l;
}

// The same with its pairs in this order.
List in_order(const List& l, const std::vector<size_t>& order) {
  List out;
  out.species = l.species;
  for (size_t p : order) {
    out.centre.push_back(l.centre[p]);
    out.neighbour.push_back(l.neighbour[p]);
    for (int d = 0; d < 3; ++d) out.vectors.push_back(l.vectors[3 * p + d]);
  }
  return out;
}

template <class T> void append(Doubles& out, const std::vector<T>& more) {
  out.insert(out.end(), more.begin(), more.end());
}

// Results by atom and by parameter of all pair ops.
template <class T>
Doubles pair_ops(const List& l, DampingForm form, InstructionSet set, int threads) {
  const TestTables<T> tables;
  const std::vector<T> vectors = as<T>(l.vectors);
  const int64_t n = l.n_atoms(), n_pairs = l.n_pairs();
  const Pairs<T> list{vectors.data(),   l.centre.data(), l.neighbour.data(),
                      l.species.data(), n_pairs,         n};
  std::vector<T> cn(n), energy(n), one(n, T(1)), slope(3 * n_pairs), along(3 * n_pairs, T(0.1)),
      by_cn(n), by_damping(5), tangents(5, T(0.2)), again(n), own(n);
  const std::vector<T> damping{T(1), T(0.8), T(0.7), T(1.3), T(0.01)};
  CountingInput<T> counting{list, tables.rcov.data(), n_species, T(7.1), threads};
  counting.instruction_set = set;
  require(Counting<T>::forward(counting, cn.data()) == -1, "a good pair refused");
  Counting<T>::backward(counting, one.data(), slope.data());
  Doubles out;
  append(out, cn);
  finite(Doubles(slope.begin(), slope.end()), "gradient of CN");
  Counting<T>::double_backward(counting, one.data(), along.data(), again.data(), slope.data());
  append(out, again);
  EnergyInput<T> in{list, cn.data(), damping.data(), tables.view(), T(9.3), T(1.5), threads};
  in.form = form;
  in.instruction_set = set;
  require(Energy<T>::forward(in, energy.data()) == -1, "a good pair refused");
  append(out, energy);
  Energy<T>::by_centre(in, {energy.data(), own.data(), slope.data()});
  append(out, own);
  Energy<T>::backward(in, one.data(), {slope.data(), by_cn.data(), by_damping.data()});
  append(out, by_cn);
  append(out, by_damping);
  finite(Doubles(slope.begin(), slope.end()), "gradient of the energy");
  Energy<T>::double_backward(in, one.data(), {along.data(), one.data(), tangents.data()},
                             again.data(), {slope.data(), by_cn.data(), by_damping.data()});
  for (const auto* v : {&again, &by_cn, &by_damping}) append(out, *v);
  finite(Doubles(slope.begin(), slope.end()), "second derivatives of pairs");
  finite(out, "pairs");
  return out;
}

// Lists in order and out of order, and wrong pairs at the end.
void pairs(int n_atoms, InstructionSet set) {
  const List sorted = all_pairs(n_atoms);
  std::vector<size_t> order(sorted.n_pairs());
  for (size_t k = 0; k < order.size(); ++k) order[k] = k;
  std::shuffle(order.begin(), order.end(), engine);
  const List mixed = in_order(sorted, order);
  for (DampingForm form : {DampingForm::rational, DampingForm::zero, DampingForm::modified_zero}) {
    const Doubles rows = pair_ops<double>(sorted, form, set, 1);
    agree(rows, pair_ops<double>(sorted, form, set, 3), 0, "threads of pairs");
    agree(rows, pair_ops<double>(mixed, form, set, 1), 1e-11, "sorted and shuffled pairs");
    agree(rows, pair_ops<float>(sorted, form, set, 1), 1e-4, "float and double of pairs");
    agree(rows, pair_ops<float>(mixed, form, set, 3), 1e-4, "float and double of shuffled pairs");
  }
}

template <class T> void wrong_pairs(InstructionSet set) {
  List l = all_pairs(90);
  const int64_t last = l.n_pairs() - 1;
  const TestTables<T> tables;
  const std::vector<T> damping{T(1), T(0.8), T(0.4), T(2.3)};
  std::vector<T> cn(90, T(1)), out(90);
  const auto found = [&](const List& list) {
    const std::vector<T> vectors = as<T>(list.vectors);
    const Pairs<T> pairs{vectors.data(),      list.centre.data(), list.neighbour.data(),
                         list.species.data(), list.n_pairs(),     90};
    CountingInput<T> counting{pairs, tables.rcov.data(), n_species, T(7.1), 2};
    counting.instruction_set = set;
    EnergyInput<T> in{pairs, cn.data(), damping.data(), tables.view(), T(9.3), T(1.5), 2};
    in.instruction_set = set;
    const int64_t first = Counting<T>::forward(counting, out.data());
    require(Energy<T>::forward(in, out.data()) == first, "another pair found by the energy");
    return first;
  };
  std::fill_n(l.vectors.end() - 3, 3, 0.0);
  require(found(l) == last, "a pair of length 0 not found");
  l.neighbour[last - 7] = 90;
  require(found(l) == last - 7, "an atom that is not there not found");
  l.centre[0] = -1;
  require(found(l) == 0, "a centre that is not there not found");
}

// The pairs of a process: energies and forces in both ways.
template <class T, class V, class I>
Doubles owned(const List& l, InstructionSet set, int threads, OwnedFault& fault) {
  const TestTables<T> tables;
  const std::vector<V> vectors = as<V>(l.vectors);
  const std::vector<I> centre(l.centre.begin(), l.centre.end()),
      neighbour(l.neighbour.begin(), l.neighbour.end());
  const int64_t n = l.n_atoms();
  const std::vector<T> damping{T(1), T(0.8), T(0.4), T(2.3)};
  std::vector<T> cn(n), energy(n), again(n);
  std::vector<V> forces(3 * l.n_pairs());
  Doubles by_atom(3 * n), out;
  OwnedInput<T, V, I> in{
      {vectors.data(), centre.data(), neighbour.data(), l.species.data(), l.n_pairs(), n},
      tables.view(),
      cn.data(),
      damping.data(),
      T(9.3),
      T(7.1),
      T(1.5),
      threads};
  in.instruction_set = set;
  fault = Owned<T, V, I>::coordination_numbers(in, cn.data());
  if (fault.kind) return {};
  fault = Owned<T, V, I>::energies_and_forces(in, energy.data(), forces.data());
  Owned<T, V, I>::energies_adding_forces(in, again.data(), by_atom.data());
  append(out, cn);
  append(out, energy);
  append(out, again);
  append(out, by_atom);
  Doubles summed(3 * n);
  for (int64_t p = 0; p < l.n_pairs(); ++p)
    for (int d = 0; d < 3; ++d) {
      summed[3 * l.centre[p] + d] += forces[3 * p + d];
      summed[3 * l.neighbour[p] + d] -= forces[3 * p + d];
    }
  agree(by_atom, summed, sizeof(V) == 4 || sizeof(T) == 4 ? 1e-5 : 1e-12, "forces of pairs, atoms");
  return out;
}

void owned_pairs(int n_atoms, InstructionSet set) {
  List l = all_pairs(n_atoms);
  for (int k = 5; k < n_atoms; k += 6) l.species[k] = -1;
  OwnedFault fault;
  const Doubles wide = owned<double, double, int64_t>(l, set, 1, fault);
  require(fault.kind == OwnedFault::none, "a good pair refused");
  agree(wide, owned<double, double, int32_t>(l, set, 3, fault), 0, "threads of owned pairs");
  agree(wide, owned<float, double, int32_t>(l, set, 1, fault), 1e-4, "arithmetic of owned pairs");
  agree(wide, owned<float, float, int32_t>(l, set, 3, fault), 1e-4, "types of owned pairs");
  if (n_atoms < 9) return;
  std::swap(l.centre[3], l.centre[l.n_pairs() - 1]);
  owned<double, double, int32_t>(l, set, 1, fault);
  require(fault.kind == OwnedFault::unsorted, "pairs out of order not found");
  std::swap(l.centre[3], l.centre[l.n_pairs() - 1]);
  l.neighbour[20] = -1;
  owned<float, float, int32_t>(l, set, 1, fault);
  require(fault.kind == OwnedFault::index && fault.pair == 20, "a wrong owned pair not found");
}

}  // namespace

int main() {
  int runs = 0;
  for (InstructionSet set :
       {InstructionSet::avx512, InstructionSet::avx2, InstructionSet::baseline})
    if (supported(set)) runs += lattice(set);
  errors<double>();
  errors<float>();
  stops<double>();
  stops<float>();
  for (InstructionSet set :
       {InstructionSet::avx512, InstructionSet::avx2, InstructionSet::baseline}) {
    if (!supported(set)) continue;
    for (int n : {0, 1, 2, 17, 90}) {
      pairs(n, set);
      owned_pairs(n, set);
      ++runs;
    }
    wrong_pairs<double>(set);
    wrong_pairs<float>(set);
  }
  std::printf("sanitize: %d evaluations, nothing found\n", runs);
}

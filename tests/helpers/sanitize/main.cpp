// Runs the lattice core, the pair kernels and the list engine without torch, for sanitizers: every
// buffer is a vector of its exact size. Prints one line and returns 0 if all went well, and results
// agree between instruction sets and dtypes.
#include "engine/pairs/kernels.h"
#include "engine/pairs/owned.h"
#include "lists.h"

namespace {

// Energies by pair of labels, of which there are three.
template <class T> Doubles pairwise(const Batch& b, const Mode& m) {
  std::vector<int64_t> labels(b.n_atoms());
  for (int64_t i = 0; i < b.n_atoms(); ++i) labels[i] = i % 3;
  std::vector<T> energies(9 * b.n_systems());
  outputs<T>(b, m, [&](const auto& in, const auto*, const auto&) {
    const LatticeError error = Lattice<T>::pairwise(in, {labels.data(), 3}, energies.data());
    require(error.kind == LatticeError::none, "an error where there is none");
  });
  return Doubles(energies.begin(), energies.end());
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
          if (!m.dual && !m.gradients)
            agree(pairwise<double>(everything, m), pairwise<float>(everything, m), 1e-4,
                  "pairwise");
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
  runs += lists();
  std::printf("sanitize: %d evaluations, nothing found\n", runs);
}

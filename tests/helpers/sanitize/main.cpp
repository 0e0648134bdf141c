// Runs the lattice core, the pair kernels and the list engine without torch, for sanitizers. Prints
// one line and returns 0 if all went well, and results agree between instruction sets and dtypes.
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

// The pair ops on all directed pairs of some atoms, in shuffled order.
template <class T> void pairs(int n_atoms, int threads) {
  const Doubles x = atoms(n_atoms, cube, 0);
  std::vector<int64_t> centre, neighbour, species;
  for (int i = 0; i < n_atoms; ++i) {
    species.push_back(i % n_species);
    for (int j = 0; j < n_atoms; ++j)
      if (i != j) {
        centre.push_back(i);
        neighbour.push_back(j);
      }
  }
  for (size_t k = 1; k < centre.size(); ++k) {
    const size_t other = engine() % (k + 1);
    std::swap(centre[k], centre[other]);
    std::swap(neighbour[k], neighbour[other]);
  }
  std::vector<T> vectors;
  for (size_t k = 0; k < centre.size(); ++k)
    for (int d = 0; d < 3; ++d)
      vectors.push_back(T(x[3 * neighbour[k] + d] - x[3 * centre[k] + d]));
  const int64_t n_pairs = int64_t(centre.size());

  const TestTables<T> tables;
  const Pairs<T> list{vectors.data(), centre.data(), neighbour.data(),
                      species.data(), n_pairs,       n_atoms};
  std::vector<T> cn(n_atoms), energy(n_atoms), one(n_atoms, T(1)), slope(3 * n_pairs),
      along(3 * n_pairs, T(0.1)), by_cn(n_atoms), by_damping(4), tangent4(4, T(0.2)),
      again(n_atoms);
  const std::vector<T> damping{T(1), T(0.8), T(0.4), T(2.3)};
  const CountingInput<T> counting{list, tables.rcov.data(), n_species, T(7.1), threads};
  require(Counting<T>::forward(counting, cn.data()) == -1, "a good pair refused");
  Counting<T>::backward(counting, one.data(), slope.data());
  Counting<T>::double_backward(counting, one.data(), along.data(), again.data(), slope.data());
  const EnergyInput<T> in{list, cn.data(), damping.data(), tables.view(), T(9.3), T(1.5), threads};
  Energy<T>::forward(in, energy.data());
  Energy<T>::backward(in, one.data(), {slope.data(), by_cn.data(), by_damping.data()});
  Energy<T>::double_backward(in, one.data(), {along.data(), one.data(), tangent4.data()},
                             again.data(), {slope.data(), by_cn.data(), by_damping.data()});
  for (const auto* v : {&cn, &energy, &slope, &by_cn, &by_damping, &again})
    finite(Doubles(v->begin(), v->end()), "pairs");
  if (n_pairs == 0) return;
  std::fill_n(vectors.end() - 3, 3, T(0));
  require(Counting<T>::forward(counting, cn.data()) == n_pairs - 1, "a pair of length 0 not found");
  require(Energy<T>::forward(in, energy.data()) == n_pairs - 1, "a pair of length 0 not found");
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
  for (int n : {0, 1, 2, 17, 90})
    for (int threads : {1, 3}) {
      pairs<double>(n, threads);
      pairs<float>(n, threads);
      ++runs;
    }
  runs += lists();
  std::printf("sanitize: %d evaluations, nothing found\n", runs);
}

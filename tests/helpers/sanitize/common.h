// What the runs under sanitizers share: batches, tables, and evaluations by the lattice engine.
// Every buffer is a vector of its exact size.
#pragma once
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "engine/lattice/lattice.h"
#include "engine/pairs/kernels.h"
#include "engine/watch.h"

using namespace d3;
using Doubles = std::vector<double>;

constexpr int n_species = 5, n_refs = 7;
inline std::mt19937_64 engine(20);
inline double uniform(double low, double high) {
  return std::uniform_real_distribution<double>(low, high)(engine);
}

inline void require(bool good, const std::string& what) {
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
inline Doubles atoms(int n, const Doubles& cell, double spread) {
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

inline const Doubles cube{12, 0, 0, 0, 12, 0, 0, 0, 12}, skewed{7, 0, 0, 6, 6, 0, -5, 5, 8},
    none(9, 0.0);
inline const Doubles tiny{2.1, 0, 0, 1.9, 2.0, 0, 1.5, -1.7, 1.8},
    thin{2.0, 0, 0, 0, 30, 0, 0, 1, 25};

inline Batch crystals() {
  Batch b;
  b.add(atoms(1, tiny, 3), tiny, 7);
  b.add(atoms(200, cube, 1), cube, 7);
  b.add(atoms(9, skewed, 2), skewed, 7);
  b.add({}, cube, 7);
  b.add(atoms(30, thin, 0), thin, 7);
  return b;
}

inline Batch all() {
  Batch b = crystals();
  b.add({}, none, 0);
  b.add({0.5, 0.5, 0.5}, none, 0);
  b.add(atoms(70, cube, 0), none, 0);
  b.add(atoms(400, Doubles{60, 0, 0, 0, 4, 0, 0, 0, 5}, 0), none, 0);
  for (int axes = 1; axes < 7; ++axes) b.add(atoms(20, skewed, 1), skewed, axes);
  for (int k = 0; k < 12; ++k) b.add(atoms(3, cube, 0), none, 0);
  return b;
}

inline Batch single(const Doubles& x, const Doubles& vectors, int periodic_axes) {
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

inline void finite(const Doubles& values, const char* where) {
  for (double v : values) require(std::isfinite(v), std::string("not finite: ") + where);
}

// All outputs of f, which is called with the inputs of a batch, tangents or null, and room for
// them, one after the other.
template <class T, class F> Doubles outputs(const Batch& b, const Mode& m, F&& f) {
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
  const Evaluation<T> to{out[0].data(), out[1].data(), out[2].data(), out[3].data(),
                         out[4].data(), out[5].data(), out[6].data(), out[7].data()};
  f(in, m.dual ? &tangents : nullptr, to);
  Doubles flat;
  for (const auto& o : out) flat.insert(flat.end(), o.begin(), o.end());
  return flat;
}

// All outputs one after the other.
template <class T> Doubles evaluate(const Batch& b, const Mode& m, LatticeError& error) {
  Doubles flat = outputs<T>(b, m, [&](const auto& in, const auto* tangents, const auto& out) {
    error = Lattice<T>::evaluate(in, tangents, out);
  });
  if (!error.kind) finite(flat, "lattice");
  return flat;
}

template <class T> Doubles good(const Batch& b, const Mode& m) {
  LatticeError error;
  const Doubles out = evaluate<T>(b, m, error);
  require(error.kind == LatticeError::none, "an error where there is none");
  return out;
}

inline void agree(const Doubles& a, const Doubles& b, double tolerance, const char* what) {
  double largest = 0, apart = 0;
  for (size_t k = 0; k < a.size(); ++k) {
    largest = std::max(largest, std::abs(a[k]));
    apart = std::max(apart, std::abs(a[k] - b[k]));
  }
  require(a.size() == b.size() && apart <= tolerance * largest,
          std::string("results differ between ") + what);
}

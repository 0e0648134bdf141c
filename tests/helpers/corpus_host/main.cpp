// Evaluates structures without torch, for processors that it is not at hand for: reads them from
// the standard input as doubles, written by scripts/checks/corpus_file.py, and writes all results
// to the standard output as doubles, each structure in double and in single precision.
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "engine/lattice/lattice.h"

using namespace d3;
using Doubles = std::vector<double>;

namespace {

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "corpus_host: %s\n", what);
  std::exit(1);
}

Doubles read(size_t count) {
  Doubles values(count);
  if (std::fread(values.data(), sizeof(double), count, stdin) != count) fail("a short file");
  return values;
}

struct Structure {
  int n_species, n_refs;
  bool pbc[3], tail;
  double cutoff, cn_cutoff, width;
  std::vector<int64_t> species, offsets;
  Doubles positions, cell, damping, rcov, r4r2, cn_ref, c6_ref;

  explicit Structure(size_t n_atoms) {
    const Doubles head = read(9);
    n_species = int(head[0]);
    n_refs = int(head[1]);
    for (int axis = 0; axis < 3; ++axis) pbc[axis] = head[2 + axis] != 0;
    cutoff = head[5];
    cn_cutoff = head[6];
    width = head[7];
    tail = head[8] != 0;
    const size_t s = size_t(n_species), r = size_t(n_refs);
    for (double value : read(n_atoms)) species.push_back(int64_t(value));
    offsets = {0, int64_t(n_atoms)};
    positions = read(3 * n_atoms);
    cell = read(9);
    damping = read(4);
    rcov = read(s);
    r4r2 = read(s);
    cn_ref = read(s * r);
    c6_ref = read(s * s * r * r);
  }
};

template <class T> void evaluate(const Structure& s) {
  const auto as = [](const Doubles& x) { return std::vector<T>(x.begin(), x.end()); };
  const std::vector<T> x = as(s.positions), cell = as(s.cell), damping = as(s.damping),
                       rcov = as(s.rcov), r4r2 = as(s.r4r2), cn = as(s.cn_ref), c6 = as(s.c6_ref);
  const size_t n = s.species.size();
  std::vector<T> out[8] = {std::vector<T>(1), std::vector<T>(n),     std::vector<T>(n),
                           std::vector<T>(n), std::vector<T>(3 * n), std::vector<T>(9),
                           std::vector<T>(9), std::vector<T>(4)};
  const Systems<T> systems{x.data(), cell.data(), s.pbc, s.species.data(), s.offsets.data(), 1};
  const Tables<T> tables{rcov.data(), r4r2.data(), cn.data(), c6.data(), s.n_species, s.n_refs};
  const Range<T> range{T(s.cutoff), T(s.cn_cutoff), T(s.width), s.tail};
  const LatticeInput<T> in{systems, damping.data(),       tables, range,
                           2,       InstructionSet::best, true,   true};
  const LatticeError error =
      Lattice<T>::evaluate(in, nullptr,
                           {out[0].data(), out[1].data(), out[2].data(), out[3].data(),
                            out[4].data(), out[5].data(), out[6].data(), out[7].data()});
  if (error.kind != LatticeError::none) fail("a structure is refused");
  for (const auto& values : out) {
    const Doubles wide(values.begin(), values.end());
    std::fwrite(wide.data(), sizeof(double), wide.size(), stdout);
  }
}

}  // namespace

int main() {
  double n_atoms;
  while (std::fread(&n_atoms, sizeof n_atoms, 1, stdin) == 1) {
    const Structure structure{size_t(n_atoms)};
    evaluate<double>(structure);
    evaluate<float>(structure);
  }
}

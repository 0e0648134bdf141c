// The arithmetic of indices at its limits, without arrays of that size: lists of 2^33 pairs, keys
// of the last system, 1e7 atoms, the curve of a crystal.
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "engine/cuda/lattice/lattice_search.cu"
#include "engine/cuda/pairs/list_call.cuh"
#include "engine/cuda/pairs/list_rows.cuh"
#include "engine/cuda/pairs/pair_list.cuh"

namespace d3 {

// ---- by types ----

constexpr int64_t most_int = std::numeric_limits<int>::max();
static_assert(std::is_same_v<decltype(thread_index()), int64_t>);
static_assert(std::is_same_v<decltype(thread_count()), int64_t>);
static_assert(std::is_same_v<decltype(Pairs<float>::n_pairs), int64_t>);
static_assert(std::is_same_v<decltype(Chunk::begin), int64_t>);
static_assert(std::is_same_v<decltype(GivenPairs<float>::n_pairs), int64_t>);
// a thread steps over directed pairs with int, beyond the last by less than a block
static_assert(cuda_directed_pairs + list_threads <= most_int);
static_assert(cuda_directed_pairs + row_threads <= most_int);
// and clusters, places and blocks of the lattice engine are int: fewer than 2^31 / 4 atoms
static_assert(most_int / 4 * blocks_of_cluster <= most_int);
// the bits of a key, of which none is the sign
static_assert(group_shift + species_bits + 23 == 63 && (int64_t(1) << 23) == lattice_systems);
static_assert((int64_t(1) << species_bits) == lattice_species);

namespace {

void expect(bool right, const char* what) {
  if (!right) emulation::fail(nullptr, "expected %s", what);
}

// The pieces of a list of 2^33 pairs that is not sorted meet, and are all of it.
void check_chunks() {
  Pairs<float> list{};
  list.n_pairs = (int64_t(1) << 33) + 5;
  const int64_t warps = 1056 * 8;
  int64_t end = 0;
  for (int64_t warp = 0; warp < warps; ++warp) {
    const Chunk chunk = chunk_of(list, nullptr, false, warp, warps);
    expect(chunk.begin == end && chunk.end >= chunk.begin, "pieces of a list that meet");
    end = chunk.end;
  }
  expect(end == list.n_pairs, "pieces that are the whole list");
  expect(inspect_blocks(list.n_pairs, 1) == most_inspect_blocks, "no more blocks than most");
  expect(blocks_for(list.n_pairs, 4 * pair_threads) < most_int, "a grid that CUDA takes");
}

// Keys rise with system, species and place on the curve, up to the last of each; the search for the
// end of a group does not overflow.
void check_keys() {
  const int64_t system = lattice_systems - 2, species = lattice_species - 1;
  const int64_t group = (system << species_bits) + species;
  const int64_t last = (group << group_shift) + ((int64_t(1) << group_shift) - 1);
  expect(last > 0 && last >> system_shift == system, "the last system in its key");
  expect(((last >> group_shift) & ((1 << species_bits) - 1)) == species, "the species in its key");
  const int64_t keys[3] = {0, last - 1, last};
  expect(first_place(keys, 3, (group + 1) << group_shift) == 3, "the end behind the last group");
  expect(first_place(keys, 3, group << group_shift) == 1, "the start of the last group");
  unsigned corner[3];
  int64_t highest = 0;
  for (int k = 0; k < 8; ++k) {
    for (int d = 0; d < 3; ++d) corner[d] = (k >> d & 1) ? (1u << curve_bits) - 1 : 0;
    const int64_t place = curve_index(corner);
    expect(place >= 0 && place < int64_t(1) << group_shift, "a place on the curve in its bits");
    highest = place > highest ? place : highest;
  }
  expect(highest == (int64_t(1) << group_shift) - 1, "the end of the curve in a corner");
}

// The curve goes through all cells of a cubic crystal, one beside the other, before it leaves it;
// along an axis of any length it has a power of two of cells, within its bits.
void check_curve() {
  const unsigned side = 16;
  std::vector<int> cells(side * side * side, -1);
  for (unsigned cell = 0; cell < cells.size(); ++cell) {
    unsigned at[3] = {cell / (side * side), cell / side % side, cell % side};
    const int64_t place = curve_index(at);
    expect(place < int64_t(cells.size()), "a curve that does not leave the cell");
    cells[place] = int(cell);
  }
  for (size_t place = 1; place < cells.size(); ++place) {
    const int a = cells[place - 1], b = cells[place], n = side;
    const int steps = std::abs(a / (n * n) - b / (n * n)) + std::abs(a / n % n - b / n % n) +
                      std::abs(a % n - b % n);
    expect(a >= 0 && b >= 0 && steps == 1, "places of the curve side by side");
  }
  for (double height = 1e-3; height < 1e6; height *= 1.5) {
    const int n = curve_cells(height, 8.0);
    const double size = height / n * curve_cells_of_cutoff / 8.0;
    expect(n > 0 && (n & (n - 1)) == 0 && n <= 1 << curve_bits, "cells that fill the curve");
    expect(n == 1                 ? size < 1.415
           : n == 1 << curve_bits ? size > 0.7
                                  : size > 0.7 && size < 1.415,
           "cells of about one size");
  }
}

// Atoms of large systems, and scratch memory for them.
void check_atoms() {
  const int64_t offsets[3] = {0, 10000000, 20000000};
  expect(system_of(offsets, 2, 9999999) == 0 && system_of(offsets, 2, 10000000) == 1,
         "systems of 1e7 atoms");
  LatticeCall<double, double> c{};
  c.n_atoms = 20000000;
  c.in.systems.n_systems = 2;
  c.in.tables.n_species = 2;
  const size_t bytes = lay_out(c, nullptr);
  expect(c.max_clusters == c.n_atoms / cluster_atoms + 5, "clusters of 2e7 atoms");
  expect(bytes > size_t(4) << 30, "scratch memory beyond 32 bits");
}

}  // namespace

void check_limits() {
  check_chunks();
  check_keys();
  check_curve();
  check_atoms();
}

}  // namespace d3

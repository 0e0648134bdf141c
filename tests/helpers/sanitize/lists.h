// The list engine on the same batches as the lattice engine, whose results it must have.
#pragma once
#include <algorithm>
#include <array>

#include "common.h"
#include "engine/formulas/cell.h"
#include "engine/pairs/list.h"

// A list of pairs in the order of their centres; shifts in numbers of any kind.
struct List {
  std::vector<int64_t> centre, neighbour;
  std::vector<std::array<int, 3>> shift;
  bool half = false;

  void add(int64_t i, int64_t j, const std::array<int, 3>& s) {
    centre.push_back(i);
    neighbour.push_back(j);
    shift.push_back(s);
  }
  size_t size() const { return centre.size(); }
};

// All pairs of a batch within a cutoff, by trying all images.
inline List pairs_within(const Batch& b, double cutoff) {
  List list;
  for (int64_t s = 0; s < b.n_systems(); ++s) {
    const double* a = &b.cell[9 * s];
    Geometry g;
    for (int k = 0; k < 3; ++k) {
      g.periodic[k] = b.pbc[3 * s + k];
      for (int d = 0; d < 3; ++d) g.cell[k][d] = g.periodic[k] ? a[3 * k + d] : 0.0;
    }
    complete_and_invert(g);
    for (int64_t i = b.offsets[s]; i < b.offsets[s + 1]; ++i)
      for (int64_t j = b.offsets[s]; j < b.offsets[s + 1]; ++j) {
        Vec3 r;
        for (int d = 0; d < 3; ++d) r[d] = b.positions[3 * j + d] - b.positions[3 * i + d];
        const Vec3 f = fractional(g, r);
        int low[3], high[3];
        for (int k = 0; k < 3; ++k) {
          low[k] = g.periodic[k] ? int(std::ceil(-f[k] - cutoff / g.height[k])) : 0;
          high[k] = g.periodic[k] ? int(std::floor(-f[k] + cutoff / g.height[k])) : 0;
        }
        for (int x = low[0]; x <= high[0]; ++x)
          for (int y = low[1]; y <= high[1]; ++y)
            for (int z = low[2]; z <= high[2]; ++z) {
              double r2 = 0;
              for (int d = 0; d < 3; ++d) {
                const double c = r[d] + x * g.cell[0][d] + y * g.cell[1][d] + z * g.cell[2][d];
                r2 += c * c;
              }
              if (r2 <= cutoff * cutoff && (i != j || x || y || z)) list.add(i, j, {x, y, z});
            }
      }
  }
  return list;
}

inline List shuffled(const List& list) {
  std::vector<size_t> order(list.size());
  for (size_t k = 0; k < order.size(); ++k) order[k] = k;
  std::shuffle(order.begin(), order.end(), engine);
  List out;
  out.half = list.half;
  for (size_t k : order) out.add(list.centre[k], list.neighbour[k], list.shift[k]);
  return out;
}

// Each pair once: where the neighbour is later, or the shift first points upwards.
inline List halved(const List& list) {
  List out;
  out.half = true;
  const std::array<int, 3> zero{0, 0, 0};
  for (size_t p = 0; p < list.size(); ++p) {
    const int64_t i = list.centre[p], j = list.neighbour[p];
    if (i < j || (i == j && list.shift[p] > zero)) out.add(i, j, list.shift[p]);
  }
  return out;
}

// All outputs one after the other, as evaluate in common.h.
template <class T, class I, class N>
Doubles on_list(const Batch& b, const List& list, const Mode& m, ShiftKind kind, ListError& error) {
  const std::vector<I> centre(list.centre.begin(), list.centre.end()),
      neighbour(list.neighbour.begin(), list.neighbour.end());
  std::vector<N> shifts;
  for (const auto& s : list.shift)
    for (int k : s) shifts.push_back(N(k));
  const Doubles flat = outputs<T>(b, m, [&](const auto& in, const auto* tangents, const auto& out) {
    const ListInput<T, I> input{in,   centre.data(),        neighbour.data(), shifts.data(),
                                kind, int64_t(list.size()), list.half};
    error = ListEngine<T, I>::evaluate(input, tangents, out);
  });
  if (!error.kind) finite(flat, "list");
  return flat;
}

template <class T, class I, class N>
Doubles good_list(const Batch& b, const List& list, const Mode& m, ShiftKind kind) {
  ListError error;
  const Doubles out = on_list<T, I, N>(b, list, m, kind, error);
  require(error.kind == ListError::none, "a good list refused, kind " + std::to_string(error.kind));
  return out;
}

// Every way to hand over the list gives the results of the lattice engine.
template <class T> int same_as_lattice(const Batch& b, Mode m, double tolerance) {
  const List full = pairs_within(b, m.cutoff), skin = pairs_within(b, 1.1 * m.cutoff);
  const List mixed = shuffled(full), half = shuffled(halved(full));
  const Doubles lattice = good<T>(b, m);
  const Doubles plain = good_list<T, int64_t, int64_t>(b, full, m, ShiftKind::int64);
  agree(lattice, plain, tolerance, "lattice and list");
  agree(plain, good_list<T, int32_t, int32_t>(b, full, m, ShiftKind::int32), 0, "kinds of lists");
  agree(plain, good_list<T, int64_t, T>(b, full, m, ShiftKind::same), 0, "kinds of shifts");
  agree(plain, good_list<T, int32_t, int64_t>(b, skin, m, ShiftKind::int64), tolerance, "skins");
  m.threads = 3;
  agree(plain, good_list<T, int64_t, int64_t>(b, full, m, ShiftKind::int64), 0, "threads of lists");
  agree(plain, good_list<T, int64_t, int32_t>(b, mixed, m, ShiftKind::int32), tolerance, "orders");
  const Doubles once = good_list<T, int32_t, T>(b, half, m, ShiftKind::same);
  agree(plain, once, tolerance, "full and half lists");
  m.threads = 1;
  agree(once, good_list<T, int32_t, T>(b, half, m, ShiftKind::same), 0, "threads of half lists");
  return 8;
}

// What is wrong with a list is found, and the first pair named.
template <class T> void list_errors() {
  const Batch b = crystals();
  const List full = pairs_within(b, 9.3);
  const auto refused = [&](const List& list, ListError::Kind kind, int64_t pair) {
    for (int threads : {1, 3}) {
      Mode m;
      m.threads = threads;
      ListError e;
      on_list<T, int64_t, T>(b, list, m, ShiftKind::same, e);
      require(e.kind == kind && (pair < 0 || e.pair == pair),
              "expected a refusal of kind " + std::to_string(kind) + ", got " +
                  std::to_string(e.kind) + " for pair " + std::to_string(e.pair));
    }
  };
  const auto changed = [&](auto&& change) {
    List list = full;
    change(list);
    return list;
  };
  const int64_t n = b.n_atoms(), last = int64_t(full.size()) - 1;
  for (int64_t p : {int64_t(0), last / 2, last}) {
    for (int64_t wrong : {int64_t(-1), n, int64_t(1) << 40}) {
      refused(changed([&](List& l) { l.neighbour[p] = wrong; }), ListError::index, p);
      refused(changed([&](List& l) { l.centre[p] = wrong; }), ListError::index, p);
    }
    refused(changed([&](List& l) { l.neighbour[p] = l.centre[p] == 0 ? n - 1 : 0; }),
            ListError::systems, p);
    refused(changed([&](List& l) { l.shift[p] = {0, 1100000000, 0}; }), ListError::shift, p);
    refused(changed([&](List& l) {
              l.neighbour[p] = l.centre[p];
              l.shift[p] = {0, 0, 0};
            }),
            ListError::same_spot, p);
    refused(changed([&](List& l) {
              l.centre.erase(l.centre.begin() + p);
              l.neighbour.erase(l.neighbour.begin() + p);
              l.shift.erase(l.shift.begin() + p);
            }),
            ListError::no_reverse, -1);
  }
  refused(changed([](List& l) { l.half = true; }), ListError::both_ways, -1);
  List half = halved(full);
  half.half = false;
  refused(half, ListError::no_reverse, 0);
}

inline int lists() {
  int runs = 0;
  const Batch everything = all(), nothing;
  for (bool dual : {false, true})
    for (int level = dual ? 2 : 0; level < 3; ++level) {
      Mode m;
      m.dual = dual;
      m.gradients = level > 0 || dual;
      m.learn = level > 1 || dual;
      for (InstructionSet set :
           {InstructionSet::avx512, InstructionSet::avx2, InstructionSet::baseline}) {
        m.set = set;
        if (!supported(set)) continue;
        runs += same_as_lattice<double>(everything, m, 1e-12);
        runs += same_as_lattice<float>(everything, m, dual ? 1e-3 : 1e-5);
      }
      agree(good_list<double, int64_t, int64_t>(nothing, {}, m, ShiftKind::int64), {}, 0,
            "nothing and no systems");
    }
  list_errors<double>();
  list_errors<float>();
  return runs;
}

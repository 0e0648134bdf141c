// A list as the sweeps read it: sorted by centre, both ways round. A full list that is sorted is
// read as it is; any other is put in order by a counting sort into a compact copy.
#pragma once
#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "engine/pairs/list_rows.h"

namespace d3 {

// A pair of a list.
struct PairAt {
  int64_t neighbour;
  double shift[3];
  bool operator==(const PairAt& o) const {
    return neighbour == o.neighbour && std::equal(shift, shift + 3, o.shift);
  }
};
template <class T> PairAt pair_at(const ListColumns& list, int64_t p) {
  PairAt at{list.wide ? static_cast<const int64_t*>(list.neighbour)[p]
                      : static_cast<const int32_t*>(list.neighbour)[p],
            {}};
  for (int k = 0; k < 3; ++k)
    at.shift[k] = list.kind == ShiftKind::int64
                      ? double(static_cast<const int64_t*>(list.shifts)[3 * p + k])
                  : list.kind == ShiftKind::int32
                      ? double(static_cast<const int32_t*>(list.shifts)[3 * p + k])
                      : double(static_cast<const T*>(list.shifts)[3 * p + k]);
  return at;
}

enum class Sorted { yes, no, outside };  // outside: a centre is not there

// Whether sixteen centres are an atom.
template <class I> bool all_of(const I* centre, I atom) {
  I other = 0;
  for (int k = 0; k < 16; ++k) other |= centre[k] ^ atom;
  return other == 0;
}

// Finds the first pair of each of n atoms, rows (n + 1), in a list that is sorted by centre.
template <class I>
Sorted find_rows(const I* centre, int64_t n_pairs, int64_t n, int threads, Watch* watch,
                 int64_t* rows) {
  const int64_t n_parts = (n_pairs + watched_pairs - 1) / watched_pairs;
  int worst = int(Sorted::yes);
#pragma omp parallel for num_threads(threads) schedule(static) \
    reduction(max : worst) if (threads > 1)
  for (int64_t part = 0; part < n_parts; ++part) {
    const int64_t begin = part * watched_pairs, end = std::min(begin + watched_pairs, n_pairs);
    int64_t last = begin > 0 ? int64_t(centre[begin - 1]) : -1;
    if (stopped(watch) || (begin > 0 && uint64_t(last) >= uint64_t(n))) continue;
    for (int64_t p = begin; p < end; ++p) {
      while (last >= 0 && p + 16 <= end && all_of(centre + p, I(last))) p += 16;
      if (p == end) break;
      const int64_t i = centre[p];
      if (i == last && i >= 0) continue;
      if (uint64_t(i) >= uint64_t(n)) {
        worst = int(Sorted::outside);
        break;
      }
      if (i < last) worst = std::max(worst, int(Sorted::no));
      for (int64_t k = last + 1; k <= i; ++k) rows[k] = p;
      last = i;
    }
  }
  const int64_t last = n_pairs > 0 ? int64_t(centre[n_pairs - 1]) : -1;
  for (int64_t k = last + 1; worst == int(Sorted::yes) && k <= n; ++k) rows[k] = n_pairs;
  return Sorted(worst);
}

// A list that was put in order.
class OrderedCopy {
 public:
  // Sorts a list whose pairs name atoms that are there, with shifts that are good. Half a list gets
  // its reverse pairs. The order within a row is that of the list, for any number of threads. The
  // watch may stop it half-way.
  template <class T, class I>
  void sort(const ListInput<T, I>& list, int64_t n, int threads, int64_t* rows) {
    const ListColumns columns{list.neighbour, sizeof(I) == 8, list.shifts, list.shift_kind,
                              list.n_pairs};
    wide_ = n > INT32_MAX;
    const int64_t size = list.n_pairs * (list.half ? 2 : 1);
    neighbour_.reset(new char[size * (wide_ ? 8 : 4)]);
    shifts_.reset(new int32_t[3 * size]);
    const int parts = list.n_pairs < n * threads ? 1 : threads;
    std::vector<int64_t> next(parts * n, 0);  // the place of the next pair of each part and atom
    const auto for_part = [&](int part, auto&& f) {
      const int64_t end = list.n_pairs * (part + 1) / parts;
      for (int64_t begin = list.n_pairs * part / parts; begin < end && !stopped(list.in.watch);
           begin += watched_pairs)
        for (int64_t p = begin; p < std::min(begin + watched_pairs, end); ++p)
          f(p, &next[part * n]);
    };
#pragma omp parallel for num_threads(parts) schedule(static) if (parts > 1)
    for (int part = 0; part < parts; ++part)
      for_part(part, [&](int64_t p, int64_t* count) {
        ++count[list.centre[p]];
        if (list.half) ++count[list.neighbour[p]];
      });
    if (stopped(list.in.watch)) return;  // not all are counted
    int64_t sum = 0;
    for (int64_t i = 0; i < n; ++i) {
      rows[i] = sum;
      for (int part = 0; part < parts; ++part) {
        const int64_t count = next[part * n + i];
        next[part * n + i] = sum;
        sum += count;
      }
    }
    rows[n] = n_pairs_ = sum;
#pragma omp parallel for num_threads(parts) schedule(static) if (parts > 1)
    for (int part = 0; part < parts; ++part)
      for_part(part, [&](int64_t p, int64_t* place) {
        const PairAt at = pair_at<T>(columns, p);
        put(place[list.centre[p]]++, at.neighbour, at.shift, 1);
        if (list.half) put(place[at.neighbour]++, list.centre[p], at.shift, -1);
      });
  }

  ListColumns columns() const {
    return {neighbour_.get(), wide_, shifts_.get(), ShiftKind::int32, n_pairs_};
  }

 private:
  void put(int64_t at, int64_t neighbour, const double* shift, int sign) {
    if (wide_)
      reinterpret_cast<int64_t*>(neighbour_.get())[at] = neighbour;
    else
      reinterpret_cast<int32_t*>(neighbour_.get())[at] = int32_t(neighbour);
    for (int k = 0; k < 3; ++k) shifts_[3 * at + k] = sign * int32_t(shift[k]);
  }

  bool wide_ = false;
  int64_t n_pairs_ = 0;
  std::unique_ptr<char[]> neighbour_;
  std::unique_ptr<int32_t[]> shifts_;
};

}  // namespace d3

// Pairs that are wrong: bad indices and shifts, atoms on one spot, pairs without their reverse.
#pragma once
#include <cmath>
#include <cstdint>

#include "engine/pairs/chunks.h"
#include "engine/pairs/list_batch.h"
#include "engine/pairs/list_directions.h"
#include "engine/pairs/list_order.h"

namespace d3 {

// See list_directions.h.
inline Direction<uint32_t> direction_of(int64_t i, const PairAt& at) {
  const auto part = [&](int k) { return uint32_t(int64_t(at.shift[k])); };
  return pair_direction(atom_direction(uint32_t(i)), atom_direction(uint32_t(at.neighbour)),
                        shift_direction(part(0), part(1), part(2)));
}

// Squared distance up to which pairs must have their reverse: hosts round where their lists end, so
// that of a pair there one direction may be missing.
template <class T> double reverse_reach2(const Range<T>& range) {
  const double reach = (1 - reverse_margin) * double(range.farthest());
  return reach * reach;
}

// The vector of a pair, values alone.
template <class T, class A>
inline Vec3 pair_vector(const AtomRecord<T>* records, const ListSystem<A>& system, int64_t i,
                        const PairAt& at) {
  Vec3 r;
  for (int d = 0; d < 3; ++d) {
    r[d] = double(records[at.neighbour].x[d]) - double(records[i].x[d]);
    for (int k = 0; k < 3; ++k) r[d] += at.shift[k] * value(system.cell[k][d]);
  }
  return r;
}

// Sums over half a list of a system; without pairs there is no direction to tell.
struct DirectionSum {
  Direction<uint32_t> sum{};
  int64_t pairs = 0;
  void add(Direction<uint32_t> h) {
    sum += h;
    ++pairs;
  }
  bool both_ways() const { return pairs > 0 && sum.zero(); }
};
struct HalfSums {
  DirectionSum others, images;  // of pairs of two atoms; of an atom with its own images
  HalfSums& operator+=(const HalfSums& more) {
    for (auto part : {&HalfSums::others, &HalfSums::images}) {
      (this->*part).sum += (more.*part).sum;
      (this->*part).pairs += (more.*part).pairs;
    }
    return *this;
  }
};

// Looks at the pairs of a list one by one, in the order of the list.
template <class T, class I, class Batch> class PairCheck {
 public:
  PairCheck(const ListInput<T, I>& list, const Batch& batch)
      : list_(list),
        batch_(batch),
        columns_{list.neighbour, sizeof(I) == 8, list.shifts, list.shift_kind, list.n_pairs} {}

  // The first wrong pair, if any; where `sums` has a place for each system, sums up half a list on
  // the way.
  ListError first(int threads, std::vector<HalfSums>& sums) const {
    const int64_t n_parts = (list_.n_pairs + watched_pairs - 1) / watched_pairs;
    int64_t bad = list_.n_pairs;
#pragma omp parallel num_threads(threads) reduction(min : bad) if (threads > 1)
    {
      std::vector<HalfSums> own(sums.size());
#pragma omp for schedule(static)
      for (int64_t part = 0; part < n_parts; ++part)
        bad = std::min(bad, look(part * watched_pairs, own));
#pragma omp critical(d3_list_sums)
      for (size_t b = 0; b < sums.size(); ++b) sums[b] += own[b];
    }
    int64_t system = -1;
    std::vector<HalfSums> none;
    return bad == list_.n_pairs ? ListError{} : error(bad, fault(bad, system, none));
  }

  // Names a pair within the cutoffs that lacks its reverse, in a list that is in order; `rows` as
  // in find_rows.
  ListError without_reverse(const ListColumns& ordered, const int64_t* rows) const {
    std::vector<Direction<uint32_t>> sums(batch_.n_atoms);
    for (int64_t i = 0; i < batch_.n_atoms && !stopping(); ++i)
      for (int64_t p = rows[i]; p < rows[i + 1]; ++p) {
        const PairAt at = pair_at<T>(ordered, p);
        if (!within(i, at)) continue;
        sums[i] += direction_of(i, at);
        sums[at.neighbour] += direction_of(i, at);
      }
    for (int64_t i = 0; i < batch_.n_atoms; ++i)
      for (int64_t p = rows[i]; !sums[i].zero() && p < rows[i + 1] && !stopping(); ++p) {
        const PairAt at = pair_at<T>(ordered, p);
        const PairAt back{i, {-at.shift[0], -at.shift[1], -at.shift[2]}};
        if (within(i, at) && times(ordered, rows, i, at) > times(ordered, rows, at.neighbour, back))
          return {ListError::no_reverse, place(i, at), batch_.system_of(i), i};
      }
    return {stopping() ? ListError::stopped : ListError::no_reverse};
  }

 private:
  bool stopping() const { return stopped(batch_.in.watch); }

  ListError error(int64_t p, ListError::Kind kind) const {
    const int64_t i = list_.centre[p];
    const bool there = kind != ListError::index;
    return {kind, p, there ? batch_.system_of(i) : 0, there ? i : 0};
  }

  // The first wrong pair of a part that begins with a pair, or n_pairs.
  int64_t look(int64_t begin, std::vector<HalfSums>& sums) const {
    if (stopped(batch_.in.watch)) return list_.n_pairs;
    int64_t system = -1;
    const int64_t end = std::min(begin + watched_pairs, list_.n_pairs);
    for (int64_t p = begin; p < end; ++p)
      if (fault(p, system, sums)) return p;
    return list_.n_pairs;
  }

  // What is wrong with a pair. `system` is that of the pair before, and becomes that of this one.
  ListError::Kind fault(int64_t p, int64_t& system, std::vector<HalfSums>& sums) const {
    const int64_t i = list_.centre[p], n = batch_.n_atoms;
    const PairAt at = pair_at<T>(columns_, p);
    if (std::max(uint64_t(i), uint64_t(at.neighbour)) >= uint64_t(n)) return ListError::index;
    if (system < 0 || i < batch_.systems[system].first || i >= batch_.systems[system].end)
      system = batch_.system_of(i);
    const auto& s = batch_.systems[system];
    if (at.neighbour < s.first || at.neighbour >= s.end) return ListError::systems;
    for (int k = 0; k < 3; ++k) {
      const double x = at.shift[k];
      if (!(std::abs(x) <= farthest) || x != std::floor(x)) return ListError::shift;
      if (x != 0 && !s.geometry.periodic[k]) return ListError::shift;
    }
    const Vec3 r = pair_vector(batch_.records.data(), s, i, at);
    const double r2 = inner(r, r), reach = double(batch_.in.range.cn_cutoff);
    if (r2 <= same_spot_distance2 * (1 + reverse_margin) * reach * reach)
      return ListError::same_spot;
    if (!sums.empty() && r2 <= reverse_reach2(batch_.in.range))
      (i == at.neighbour ? sums[system].images : sums[system].others).add(direction_of(i, at));
    return ListError::none;
  }

  bool within(int64_t i, const PairAt& at) const {
    const auto& system = batch_.systems[batch_.system_of(i)];
    const Vec3 r = pair_vector(batch_.records.data(), system, i, at);
    return inner(r, r) <= reverse_reach2(batch_.in.range);
  }

  // How often a row has a pair.
  static int64_t times(const ListColumns& ordered, const int64_t* rows, int64_t i,
                       const PairAt& at) {
    int64_t n = 0;
    for (int64_t p = rows[i]; p < rows[i + 1]; ++p) n += pair_at<T>(ordered, p) == at;
    return n;
  }

  // Where a pair is in the list that was given.
  int64_t place(int64_t i, const PairAt& at) const {
    for (int64_t p = 0; p < list_.n_pairs; ++p)
      if (list_.centre[p] == i && pair_at<T>(columns_, p) == at) return p;
    return -1;
  }

  const ListInput<T, I>& list_;
  const Batch& batch_;
  const ListColumns columns_;
};

}  // namespace d3

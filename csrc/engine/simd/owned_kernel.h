// The kernels of the pairs that a process owns: see OwnedKernels in pairs/rows.h. A row is read
// twice while it is in the cache: for the energy of its centre, its slope by the CN, and the direct
// forces; then, with that slope, for the forces through the CN.
#pragma once
#include "engine/simd/pair_kernel.h"

namespace d3 {
namespace D3_ISA {

// Pairs [begin, end) of centre i.
template <class I> struct OneRow {
  I i;
  int64_t begin, end;
};

// The row at the start of a span.
template <class V, class I>
D3_INLINE OneRow<I> row_at(const RowList<V, I>& list, int64_t begin, int64_t last) {
  OneRow<I> row{list.centre[begin], begin, begin};
  int n = 0;
  do {
    n = pairs_of(list.centre + row.end, int(std::min<int64_t>(last - row.end, 1 << 20)), row.i);
    row.end += n;
  } while (n && row.end < last);
  return row;
}

// Calls take(b, size before packing, place in the row) for the blocks of a row within a cutoff.
// Says whether all is well.
template <class T, class V, class I, class F>
D3_INLINE bool for_row(const RowList<V, I>& list, const RowAtoms<T>& atoms, const OneRow<I>& row,
                       PairBlock<PlainRegisters<T>, T>& b, T cutoff, F&& take) {
  for (int64_t p = row.begin; p < row.end; p += block_pairs) {
    const int size = b.n = int(std::min<int64_t>(block_pairs, row.end - p));
    if (!read(list, atoms, row.i, p, b) || b.template pack<false>(cutoff)) return false;
    take(b, size, p - row.begin);
  }
  return true;
}

// Energy and direct factors of a row; returns dE/dCN of its centre, or NaN where a pair is wrong.
template <class T, class V, class I>
D3_INLINE bool own_energy(const RowList<V, I>& list, const RowAtoms<T>& atoms,
                          const OwnedJob<T, V>& job, const OneRow<I>& row,
                          PairBlock<PlainRegisters<T>, T>& b,
                          EnergyBlock<PlainRegisters<T>, T> add_block, T& dcn) {
  using K = PlainRegisters<T>;
  const CentreRow<T> c6 = row_of<K>(atoms, row.i, job.c6);
  Sums<K, n_row_sums> sums;
  const auto take = [&](PairBlock<K, T>& block, int size, int64_t at) D3_LAMBDA {
    block.find_slots(atoms.slot);
    add_block(block, atoms, c6, job.cutoff, T(-0.5), sums);
    T* f = job.factors + at;
    if (block.packed) std::fill_n(f, size, T(0));
    for (int k = 0; k < block.n; ++k) f[block.packed ? block.place[k] : k] = block.u.values[k];
  };
  const bool good = for_row(list, atoms, row, b, job.cutoff.cutoff, take);
  sums.empty();
  job.energy[row.i] = -0.5 * sums.before[row_energy];
  dcn = T(-sums.before[row_dcn_own]);
  return good;
}

// Adds the factors through the CN.
template <class T, class V, class I>
D3_INLINE bool own_counting(const RowList<V, I>& list, const RowAtoms<T>& atoms,
                            const OwnedJob<T, V>& job, const OneRow<I>& row,
                            PairBlock<PlainRegisters<T>, T>& b, T dcn) {
  using K = PlainRegisters<T>;
  Sums<K, 1> none;
  const auto take = [&](PairBlock<K, T>& block, int, int64_t at) D3_LAMBDA {
    count_block<K, T, false, true>(block, atoms.rcov[row.i], atoms.rcov, dcn, none);
    T* f = job.factors + at;
    for (int k = 0; k < block.n; ++k) f[block.packed ? block.place[k] : k] += block.u.values[k];
  };
  return for_row(list, atoms, row, b, job.cn_cutoff, take);
}

// Adds the forces of a row to its atoms.
template <class T, class V, class I>
D3_INLINE void add_to_atoms(const RowList<V, I>& list, const T* f, const OneRow<I>& row,
                            double* out) {
  double own[3] = {};
  for (int64_t p = row.begin; p < row.end; ++p) {
    if (f[p - row.begin] == T(0)) continue;  // beyond the cutoffs, perhaps infinitely far
    double* other = out + 3 * int64_t(list.neighbour[p]);
    for (int d = 0; d < 3; ++d) {
      const double part = f[p - row.begin] * T(list.vectors[3 * p + d]);
      own[d] += part;
      other[d] -= part;
    }
  }
  for (int d = 0; d < 3; ++d) out[3 * int64_t(row.i) + d] += own[d];
}

template <class T, class V, class I>
RowEnd owned_rows(const RowList<V, I>& list, const RowAtoms<T>& atoms, const OwnedJob<T, V>& job,
                  RowSpan span, EnergyBlock<PlainRegisters<T>, T> add_block) {
  PairBlock<PlainRegisters<T>, T> b;
  int64_t p = span.begin;
  while (p < span.end && p - span.begin < span.most) {
    const OneRow<I> row = row_at(list, p, span.end);
    if (p > 0 && list.centre[p - 1] >= row.i) return {RowEnd::unsorted, p};
    if (row.i < 0 || row.i >= list.n_atoms) return {RowEnd::bad, p};
    if (row.end - p > job.room) return {RowEnd::long_row, p};
    T dcn;
    if (!own_energy(list, atoms, job, row, b, add_block, dcn) ||
        !own_counting(list, atoms, job, row, b, dcn))
      return {RowEnd::bad, p};
    if (job.forces)
      write_scaled(job.factors, list.vectors + 3 * p, int(row.end - p), job.forces + 3 * p);
    else
      add_to_atoms(list, job.factors, row, job.atom_forces);
    p = row.end;
  }
  return {RowEnd::good, p};
}

template <class T, class V, class I, DampingForm form>
RowEnd owned_list(const RowList<V, I>& list, const RowAtoms<T>& atoms, const OwnedJob<T, V>& job,
                  RowSpan span) {
  constexpr auto add_block = energy_block<PlainRegisters<T>, T, form, EnergyMode::gradient, false>;
  return owned_rows<T, V, I>(list, atoms, job, span, add_block);
}

template <class T, class V, class I> constexpr OwnedKernels<T, V, I> owned_kernels() {
  return {count_rows<PlainRegisters<T>, T, V, I, true, false>,
          {owned_list<T, V, I, DampingForm::rational>, owned_list<T, V, I, DampingForm::zero>,
           owned_list<T, V, I, DampingForm::modified_zero>}};
}

}  // namespace D3_ISA
}  // namespace d3

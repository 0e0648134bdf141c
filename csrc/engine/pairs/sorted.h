// The traversals of pair lists that are sorted by centre, row by row in registers: see rows.h. A
// list that is not sorted, or has a wrong pair, is found on the way and left to pairs_cpu.cpp.
#pragma once
#include <omp.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <vector>

#include "engine/pairs/chunks.h"
#include "engine/pairs/kernel_set.h"
#include "engine/pairs/kernels.h"
#include "engine/pairs/row_tables.h"

namespace d3 {

// The list of an op, with the tangents of its vectors or null.
template <class T> RowList<T, int64_t> rows_of(const Pairs<T>& list, const T* tangents) {
  return {list.vectors, tangents, list.centre, list.neighbour, list.n_atoms};
}

// Calls kernel(chunk, span) for all pairs, chunk by chunk; chunks are cut between rows. Says
// whether the list is sorted and good. When the watch stops it, the rest is left undone.
template <class I, class F>
bool for_sorted(const Chunks& chunks, const I* centre, int64_t n_pairs, int threads, Watch* watch,
                F&& kernel) {
  const auto first = [&](int64_t chunk) {
    int64_t p = chunks.begin(chunk);
    while (p > 0 && p < n_pairs && centre[p] == centre[p - 1]) ++p;
    return p;
  };
  std::atomic<bool> good{true};
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t c = 0; c < chunks.count(); ++c) {
    RowSpan span{first(c), first(c + 1), watched_pairs};
    while (span.begin < span.end && good.load(std::memory_order_relaxed) && !stopped(watch)) {
      const RowEnd end = kernel(c, span);
      if (end.kind != RowEnd::good) good.store(false, std::memory_order_relaxed);
      span.begin = end.next;
    }
  }
  return good;
}

// Asks the system for large pages under a result that is about to be written for the first time.
inline void ask_huge_pages(void* data, int64_t bytes) {
  if (!data || bytes < least_huge_bytes) return;
  const auto first = reinterpret_cast<uintptr_t>(data);
  const uintptr_t begin = (first + huge_page_bytes - 1) & -uintptr_t(huge_page_bytes),
                  end = (first + bytes) & -uintptr_t(huge_page_bytes);
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
}

// Whether a list may go row by row: its atoms are counted in 32 bits there.
inline bool countable(int64_t n_atoms) { return n_atoms < std::numeric_limits<int32_t>::max(); }

// Coordination numbers, and the gradient through them; what is null is not wanted. Says whether
// the list is sorted and good: else nothing is to be used.
template <class T>
bool count_sorted(const CountingInput<T>& in, const T* tangents, T* cn, const T* grad_cn,
                  T* grad_vectors) {
  const int64_t n = in.list.n_atoms;
  if (!countable(n)) return false;
  const int threads = useful_threads(in.list.n_pairs, n, in.threads);
  const Tables<T> tables{in.rcov, nullptr, nullptr, nullptr, in.n_species, 0};
  const RowTables<T, double> atoms(tables, in.list.species, n);
  const auto& set = kernels_for<PairKernelSet<T>>(in.instruction_set);
  const auto kernel = (tangents ? set.dual_rows : set.rows).count;
  const RowList<T, int64_t> list = rows_of(in.list, tangents);
  const RowAtoms<T> view = atoms.view();
  ask_huge_pages(grad_vectors, 3 * in.list.n_pairs * sizeof(T));
  std::vector<double> sums(cn ? n : 0);
  const CountJob<T, T> job{in.cutoff, grad_cn, cn ? sums.data() : nullptr, grad_vectors};
  const bool good =
      for_sorted(Chunks(in.list.n_pairs, n), in.list.centre, in.list.n_pairs, threads, in.watch,
                 [&](int64_t, const RowSpan& span) { return kernel(list, view, job, span); });
  if (good) std::copy(sums.begin(), sums.end(), cn);
  return good;
}

// Outputs of the energies that are wanted; energies alone where `vectors` is null, derivatives by
// the CN of the neighbours and by the damping where `damping` is not.
template <class T> struct EnergyResults {
  T* energy;
  EnergyGradients<T> gradients;
};

// Energies and what is wanted of their derivatives, as count_sorted. `cn` and `damping` are arrays
// of A.
template <class T, class A>
bool energy_sorted(const EnergyInput<T>& in, const T* tangents, const std::vector<A>& cn,
                   const A* damping, const T* grad_energy, EnergyResults<T> out) {
  const int64_t n = in.list.n_atoms;
  const int threads = useful_threads(in.list.n_pairs, n, in.threads);
  RowTables<T, A> atoms(in.tables, in.list.species, n);
  atoms.set_energies(in.form, damping);
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t i = 0; i < n; ++i) atoms.set_weights(i, cn[i]);
  const auto& set = kernels_for<PairKernelSet<T>>(in.instruction_set);
  const auto kernel = (tangents ? set.dual_rows : set.rows).energy[int(in.form)];
  const RowList<T, int64_t> list = rows_of(in.list, tangents);
  const RowAtoms<T> view = atoms.view();
  const bool slopes = out.gradients.cn, shared = out.gradients.damping;
  const EnergyMode mode = shared   ? EnergyMode::learn
                          : slopes ? EnergyMode::gradient
                                   : EnergyMode::energy;
  const Chunks chunks(in.list.n_pairs, n);
  ask_huge_pages(out.gradients.vectors, 3 * in.list.n_pairs * sizeof(T));
  std::vector<double> energy(out.energy ? n : 0);
  ChunkSums by_cn(slopes ? (shared ? chunks.count() : 1) : 0, n),
      by_damping(shared ? chunks.count() : 0, most_parameters);
  const int64_t row = 4 * int64_t(atoms.n_slots()) * row_numbers;
  Zeros<T> memory(row * threads);
  const bool good =
      for_sorted(chunks, in.list.centre, in.list.n_pairs, threads, in.watch,
                 [&](int64_t c, const RowSpan& span) {
                   double* own = slopes ? by_cn.chunk(shared ? c : 0) : nullptr;
                   const EnergyJob<T, T> job{{in.cutoff, in.width},
                                             mode,
                                             grad_energy,
                                             out.energy ? energy.data() : nullptr,
                                             own,
                                             shared ? own : nullptr,
                                             shared ? by_damping.chunk(c) : nullptr,
                                             out.gradients.vectors,
                                             memory.get() + row * omp_get_thread_num()};
                   return kernel(list, view, job, span);
                 });
  if (!good) return false;
  std::copy(energy.begin(), energy.end(), out.energy);
  if (slopes) by_cn.reduce(out.gradients.cn, threads);
  if (shared) by_damping.reduce_first(n_parameters(in.form), out.gradients.damping);
  return true;
}

}  // namespace d3

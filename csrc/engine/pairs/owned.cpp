// The traversals of the pairs that a process owns, row by row: see rows.h.
#include "engine/pairs/owned.h"

#include <algorithm>
#include <type_traits>
#include <vector>

#include "engine/pairs/sorted.h"

namespace d3 {
namespace {

// The kernels for lists stored in V and I.
template <class T, class V, class I>
const OwnedKernels<T, V, I>& owned_kernels_for(InstructionSet wanted) {
  const auto& set = kernels_for<PairKernelSet<T>>(wanted);
  constexpr bool narrow_index = sizeof(I) == 4;
  if constexpr (std::is_same_v<V, T> && narrow_index)
    return set.owned_32;
  else if constexpr (std::is_same_v<V, T>)
    return set.owned_64;
  else if constexpr (narrow_index)
    return set.owned_wide_32;
  else
    return set.owned_wide_64;
}

// The first pair that is wrong in the arithmetic of T.
template <class T, class V, class I>
OwnedFault first_fault(const OwnedPairs<V, I>& l, Watch* watch) {
  if (stopped(watch)) return {OwnedFault::stopped, -1};
  for (int64_t p = 0; p < l.n_pairs; ++p) {
    const int64_t i = l.centre[p], j = l.neighbour[p];
    if (std::max(uint64_t(i), uint64_t(j)) >= uint64_t(l.n_atoms)) return {OwnedFault::index, p};
    if (p && l.centre[p - 1] > l.centre[p]) return {OwnedFault::unsorted, p};
    const T x = T(l.vectors[3 * p]), y = T(l.vectors[3 * p + 1]), z = T(l.vectors[3 * p + 2]);
    const T r2 = x * x + y * y + z * z;
    if (l.species[i] >= 0 && l.species[j] >= 0 && r2 == 0) return {OwnedFault::length_zero, p};
  }
  return {};
}

// One call.
template <class T, class V, class I> class OwnedCall {
 public:
  explicit OwnedCall(const OwnedInput<T, V, I>& in)
      : in_(in),
        list_{in.list.vectors, nullptr, in.list.centre, in.list.neighbour, in.list.n_atoms},
        atoms_(in.tables, in.list.species, in.list.n_atoms),
        threads_(useful_threads(in.list.n_pairs, in.list.n_atoms, in.threads)) {}

  OwnedFault count(T* cn) {
    std::vector<double> sums(in_.list.n_atoms);
    const CountJob<T, V> job{in_.cn_cutoff, nullptr, sums.data(), nullptr};
    const RowAtoms<T> view = atoms_.view();
    const auto kernel = owned_kernels_for<T, V, I>(in_.instruction_set).count;
    const Chunks chunks(in_.list.n_pairs, in_.list.n_atoms);
    const bool good =
        sweep(chunks, [&](int64_t, const RowSpan& span) { return kernel(list_, view, job, span); });
    if (!good || stopped(in_.watch)) return first_fault<T>(in_.list, in_.watch);
    std::copy(sums.begin(), sums.end(), cn);
    return {};
  }

  // Forces go to `forces`, or are added to `atom_forces`.
  OwnedFault evaluate(T* energies, V* forces, double* atom_forces) {
    prepare();
    const int64_t n = in_.list.n_atoms;
    const Chunks chunks(in_.list.n_pairs, n, forces ? most_chunks : most_force_chunks);
    std::vector<double> sums(n);
    ChunkSums by_atom(forces ? 0 : chunks.count(), 3 * n);
    ask_huge_pages(forces, 3 * in_.list.n_pairs * sizeof(V));
    const bool good = sweep(chunks, [&](int64_t c, const RowSpan& span) {
      return run(span, {{in_.cutoff, in_.width},
                        in_.cn_cutoff,
                        sums.data(),
                        forces,
                        forces ? nullptr : by_atom.chunk(c),
                        nullptr,
                        nullptr,
                        0});
    });
    if (!good || stopped(in_.watch)) return first_fault<T>(in_.list, in_.watch);
    std::copy(sums.begin(), sums.end(), energies);
    if (!forces) by_atom.add_to(atom_forces, threads_);
    return {};
  }

 private:
  template <class F> bool sweep(const Chunks& chunks, F&& kernel) {
    return countable(in_.list.n_atoms) &&
           for_sorted(chunks, in_.list.centre, in_.list.n_pairs, threads_, in_.watch, kernel);
  }

  void prepare() {
    double damping[most_parameters];
    std::copy_n(in_.damping, n_parameters(in_.form), damping);
    atoms_.set_energies(in_.form, damping);
#pragma omp parallel for num_threads(threads_) schedule(static)
    for (int64_t i = 0; i < in_.list.n_atoms; ++i) atoms_.set_weights(i, in_.cn[i]);
    c6_ = Zeros<T>(row_size() * threads_);
    factors_.resize(threads_);
    kernel_ = owned_kernels_for<T, V, I>(in_.instruction_set).forces[int(in_.form)];
  }

  int64_t row_size() const { return 4 * int64_t(atoms_.n_slots()) * row_numbers; }

  // Runs the kernel with memory of this thread, which grows with the rows.
  RowEnd run(const RowSpan& span, OwnedJob<T, V> job) {
    const int thread = omp_get_thread_num();
    std::vector<T>& factors = factors_[thread];
    job.c6 = c6_.get() + row_size() * thread;
    job.factors = factors.data();
    job.room = int64_t(factors.size());
    RowEnd end = kernel_(list_, atoms_.view(), job, span);
    if (end.kind != RowEnd::long_row) return end;
    factors.resize(2 * factors.size() + first_factors);
    return {RowEnd::good, end.next};
  }

  const OwnedInput<T, V, I>& in_;
  const RowList<V, I> list_;
  RowTables<T, double> atoms_;
  const int threads_;
  Zeros<T> c6_;
  std::vector<std::vector<T>> factors_;  // of each thread
  typename OwnedKernels<T, V, I>::Forces kernel_ = nullptr;
};

}  // namespace

template <class T, class V, class I>
OwnedFault Owned<T, V, I>::coordination_numbers(const OwnedInput<T, V, I>& in, T* cn) {
  return OwnedCall<T, V, I>(in).count(cn);
}

template <class T, class V, class I>
OwnedFault Owned<T, V, I>::energies_and_forces(const OwnedInput<T, V, I>& in, T* energies,
                                               V* forces) {
  V nowhere[3];  // a list without pairs may have no memory
  return OwnedCall<T, V, I>(in).evaluate(energies, forces ? forces : nowhere, nullptr);
}

template <class T, class V, class I>
OwnedFault Owned<T, V, I>::energies_adding_forces(const OwnedInput<T, V, I>& in, T* energies,
                                                  double* atom_forces) {
  return OwnedCall<T, V, I>(in).evaluate(energies, nullptr, atom_forces);
}

template struct Owned<float, float, int32_t>;
template struct Owned<float, float, int64_t>;
template struct Owned<float, double, int32_t>;
template struct Owned<float, double, int64_t>;
template struct Owned<double, double, int32_t>;
template struct Owned<double, double, int64_t>;

}  // namespace d3

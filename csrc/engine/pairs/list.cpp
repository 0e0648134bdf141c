// The engine on a given list: checks, order, the sweeps of list_sweeps.h, and results.
#include "engine/pairs/list.h"

#include "engine/formulas/cell_gradient.h"
#include "engine/pairs/list_sweeps.h"

namespace d3 {
namespace {

// Writes the results of a system: values, or in a dual evaluation tangents.
template <class T, class Types> class Results {
 public:
  using A = typename Types::A;

  Results(const ListBatch<T, Types>& batch, const ListSweeps<T, Types>& sweeps)
      : batch_(batch), sweeps_(sweeps), sums_(sweeps.sums) {}

  void write(int64_t b, const Evaluation<T>& out) const {
    const ListSystem<A>& system = batch_.systems[b];
    const bool gradients = batch_.in.gradients;
    A energy(0.0), virial[6] = {};
    for (int64_t i = system.first; i < system.end; ++i) {
      energy += sums_.energy[i];
      out.energies[i] = T(output(sums_.energy[i]));
      out.cn[i] = T(output(sums_.cn[i]));
      out.c6[i] = T(output(sweeps_.like_c6(i)));
      for (int k = 0; k < 3; ++k)
        out.gradient[3 * i + k] = gradients ? T(output(sums_.gradient[3 * i + k])) : T(0);
      for (int k = 0; k < 6 && gradients; ++k) virial[k] += sums_.virial[6 * i + k];
    }
    out.energy[b] = T(output(energy));
    write_cell(system, virial, out.virial + 9 * b, out.cell + 9 * b);
    const int n_damping = batch_.in.n_damping();
    for (int k = 0; k < n_damping; ++k) {
      A sum(0.0);
      for (int64_t i = system.first; i < system.end && batch_.in.learn; ++i)
        sum += sums_.damping[most_parameters * i + k];
      out.damping[n_damping * b + k] = T(output(sum));
    }
  }

 private:
  // The virial, and from it the gradient by the cell at fixed positions: see cell_gradient.h.
  void write_cell(const ListSystem<A>& system, const A* virial, T* out_virial, T* out_cell) const {
    const int order[9] = {0, 1, 2, 1, 3, 4, 2, 4, 5};
    A rest[3][3], by_cell[3][3];
    for (int k = 0; k < 9; ++k) {
      rest[k / 3][k % 3] = virial[order[k]];
      out_virial[k] = T(output(virial[order[k]]));
    }
    for (int64_t i = system.first; i < system.end && batch_.in.gradients; ++i)
      for (int k = 0; k < 9; ++k)
        rest[k / 3][k % 3] += -(batch_.position(i, k / 3) * sums_.gradient[3 * i + k % 3]);
    gradient_by_cell(system.geometry.inverse, system.cell, system.geometry.periodic, rest, by_cell);
    for (int k = 0; k < 9; ++k) out_cell[k] = T(output(by_cell[k / 3][k % 3]));
  }

  const ListBatch<T, Types>& batch_;
  const ListSweeps<T, Types>& sweeps_;
  const AtomSums<A>& sums_;
};

// One call.
template <class T, class I, class Types> class ListCall {
 public:
  using A = typename Types::A;

  ListCall(const ListInput<T, I>& list, const LatticeTangents<T>* tangents)
      : list_(list), batch_(list.in, tangents), check_(list, batch_) {}

  ListError run(const Evaluation<T>& out) {
    const ListError error = prepare();
    if (error.kind) return error;
    ListSweeps<T, Types> sweeps(batch_, columns_, rows_.data(), threads_);
    const bool good = sweeps.count();
    if (stopping()) return stop();
    if (!good) return named();
    if (!sweeps.both_ways()) return check_.without_reverse(columns_, rows_.data());
    sweeps.weigh();
    sweeps.energies();
    if (list_.in.gradients) sweeps.count_gradient();
    if (stopping()) return stop();
    const Results<T, Types> results(batch_, sweeps);
    const int64_t n = list_.in.systems.n_systems;
#pragma omp parallel for num_threads(threads_) schedule(static) if (threads_ > 1 && n > 1)
    for (int64_t b = 0; b < n; ++b) results.write(b, out);
    return {};
  }

 private:
  bool stopping() const { return stopped(list_.in.watch); }
  static ListError stop() { return {ListError::stopped}; }

  // The first wrong pair, after the kernels found one; a list that changes meanwhile may have none.
  ListError named() const {
    std::vector<HalfSums> none;
    const ListError error = check_.first(threads_, none);
    if (stopping()) return stop();
    return error.kind ? error : ListError{ListError::same_spot};
  }

  // Reads the batch and puts the list in order.
  ListError prepare() {
    ListError error = batch_.prepare();
    if (error.kind) return error;
    const int64_t n = batch_.n_atoms;
    threads_ = useful_threads(list_.n_pairs, n, list_.in.threads);
    rows_.assign(n + 1, 0);
    columns_ = {list_.neighbour, sizeof(I) == 8, list_.shifts, list_.shift_kind, list_.n_pairs};
    const Sorted sorted =
        find_rows(list_.centre, list_.n_pairs, n, threads_, list_.in.watch, rows_.data());
    if (stopping()) return stop();
    if (sorted == Sorted::yes && !list_.half) return error;
    std::vector<HalfSums> sums(list_.half ? list_.in.systems.n_systems : 0);
    error = check_.first(threads_, sums);
    if (stopping()) return stop();
    if (error.kind) return error;
    for (size_t b = 0; b < sums.size(); ++b)
      if (sums[b].others.both_ways() || sums[b].images.both_ways())
        return {ListError::both_ways, -1, int64_t(b)};
    copy_.sort(list_, n, threads_, rows_.data());
    columns_ = copy_.columns();
    return stopping() ? stop() : error;
  }

  const ListInput<T, I>& list_;
  ListBatch<T, Types> batch_;
  const PairCheck<T, I, ListBatch<T, Types>> check_;
  int threads_ = 1;
  std::vector<int64_t> rows_;  // (n_atoms + 1), first pair of each
  OrderedCopy copy_;           // of a list that is not in order
  ListColumns columns_{};
};

}  // namespace

template <class T, class I>
ListError ListEngine<T, I>::evaluate(const ListInput<T, I>& in, const LatticeTangents<T>* tangents,
                                     const Evaluation<T>& out) {
  if (tangents) return ListCall<T, I, DualTypes<T>>(in, tangents).run(out);
  return ListCall<T, I, PlainTypes<T>>(in, nullptr).run(out);
}

template struct ListEngine<float, int32_t>;
template struct ListEngine<float, int64_t>;
template struct ListEngine<double, int32_t>;
template struct ListEngine<double, int64_t>;

}  // namespace d3

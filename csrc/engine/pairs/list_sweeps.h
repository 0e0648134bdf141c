// The three sweeps over the rows of a list: coordination numbers with the checks of the pairs;
// energies with their direct derivatives; the gradient through the coordination numbers.
#pragma once
#include <omp.h>

#include <atomic>

#include "engine/pairs/kernel_set.h"
#include "engine/pairs/list_damping.h"
#include "engine/pairs/list_faults.h"

namespace d3 {

// Sums of the atoms of a batch over their rows; each row writes those of its own atom.
template <class A> struct AtomSums {
  std::vector<A> cn, energy, dcn;  // (n)
  std::vector<A> gradient;         // (n, 3)
  std::vector<A> virial;           // (n, 6): xx xy xz yy yz zz
  std::vector<A> damping;          // (n, most_parameters), empty unless they are asked for

  AtomSums(int64_t n, bool gradients, bool learn)
      : cn(n),
        energy(n),
        dcn(n),
        gradient(gradients ? 3 * n : 0),
        virial(gradients ? 6 * n : 0),
        damping(learn ? most_parameters * n : 0) {}
};

// See system.h for Types.
template <class T, class Types> class ListSweeps {
 public:
  using S = typename Types::S;
  using A = typename Types::A;
  using Batch = ListBatch<T, Types>;
  static constexpr bool dual = Batch::dual;

  ListSweeps(Batch& batch, const ListColumns& list, const int64_t* rows, int threads)
      : sums(batch.n_atoms, batch.in.gradients, batch.in.learn),
        batch_(batch),
        list_(list),
        rows_(rows),
        threads_(threads),
        kernels_(kernels(batch.in.instruction_set)),
        w_(2 * batch.in.tables.n_refs * batch.n_atoms),
        weights_(row_numbers * batch.n_atoms),
        t_weights_(dual ? row_numbers * batch.n_atoms : 0),
        dcn_(batch.n_atoms),
        t_dcn_(dual ? batch.n_atoms : 0) {}

  // Coordination numbers. False if a pair is wrong; sums up the directions of all pairs.
  bool count() {
    std::atomic<bool> bad{false};
    std::atomic<uint32_t> directions[2]{};
    const ListAtoms<T> atoms = atoms_within(batch_.in.range.cn_cutoff);
    set_radii();
    for_rows([&](Worker& worker, int64_t i) {
      Found found;
      const ListRow<S> of = row(worker, i);
      kernels_.count(atoms, of, worker.buckets.data(), sums.cn[i], found);
      if (found.bad) bad.store(true, std::memory_order_relaxed);
      for (int k = 0; k < 2; ++k)
        directions[k].fetch_add(found.directions.part[k], std::memory_order_relaxed);
    });
    directions_ = {{directions[0], directions[1]}};
    return !bad;
  }
  bool both_ways() const { return directions_.zero(); }

  // Energies and, where they are asked for, their direct derivatives (at fixed CN).
  void energies() {
    const EnergyMode mode = batch_.in.learn       ? EnergyMode::learn
                            : batch_.in.gradients ? EnergyMode::gradient
                                                  : EnergyMode::energy;
    const Range<T>& range = batch_.in.range;
    const ListAtoms<T> atoms = atoms_within(range.cutoff);
    batch_.set_kinds([](int slot) { return slot; });
    for_rows([&](Worker& worker, int64_t i) {
      const ListRow<S> of = row(worker, i);
      fill_slots(worker, i);
      EnergySums<A> found;
      kernels_.energy[int(batch_.in.form)](atoms, of, worker.slots.data(), int(worker.slots.size()),
                                           worker.buckets.data(), {range.cutoff, range.width}, mode,
                                           found);
      add_energy(i, found);
    });
  }

  // Adds the gradient through the coordination numbers.
  void count_gradient() {
    const ListAtoms<T> atoms = atoms_within(batch_.in.range.cn_cutoff);
    set_radii();
    for_rows([&](Worker& worker, int64_t i) {
      const ListRow<S> of = row(worker, i);
      EnergySums<A> found;
      kernels_.count_gradient(atoms, of, worker.buckets.data(), narrow<S>(sums.dcn[i]), found);
      for (int k = 0; k < 3; ++k) sums.gradient[3 * i + k] += -found.gradient[k];
      for (int k = 0; k < 6; ++k) sums.virial[6 * i + k] += A(0.5) * found.virial[k];
    });
  }

  // Weights of all atoms, from their coordination numbers.
  void weigh() {
    const int n_refs = batch_.in.tables.n_refs;
#pragma omp parallel for num_threads(threads_) schedule(static) if (threads_ > 1)
    for (int64_t i = 0; i < batch_.n_atoms; ++i) {
      A* at = &w_[2 * n_refs * i];
      reference_weights(sums.cn[i], batch_.present.cn_ref(batch_.slot(i)), n_refs, at, at + n_refs);
      for (int a = 0; a < n_refs; ++a) put(weights_, t_weights_, row_numbers * i + a, at[a]);
    }
  }

  bool stopping() const { return stopped(batch_.in.watch); }

  // C6 of an atom with one of its kind.
  A like_c6(int64_t i) const {
    const int slot = batch_.slot(i), n = batch_.present.n_refs(slot);
    A c6_row[max_refs] = {};
    contract(w(i), batch_.present.c6_ref(slot, slot), batch_.in.tables.n_refs, n, n, c6_row);
    return n > 0 ? dot(c6_row, w(i), n) : A(0.0);
  }

  AtomSums<A> sums;

 private:
  // What a thread keeps from one row to the next: the species of the system, as the centre sees
  // them.
  struct Worker {
    int64_t system = -1;
    int64_t slot = -1;  // of the centre
    DampingCache<T, Types> damping;
    std::vector<ListSlot<S>> slots;
    std::vector<int32_t> place;  // of each species of the batch among these
    std::vector<Bucket<T, dual>, Aligned<Bucket<T, dual>>> buckets;
    explicit Worker(const Batch& batch) : damping(batch), place(batch.n_slots()) {}
  };

  static const ListKernels<T, S, A>& kernels(InstructionSet set) {
    const auto& all = kernels_for<PairKernelSet<T>>(set);
    if constexpr (dual)
      return all.dual_list;
    else
      return all.list;
  }

  // What rows read in a sweep with a cutoff.
  ListAtoms<T> atoms_within(T cutoff) const {
    const double same = same_spot_distance * double(cutoff);
    return {list_,
            batch_.records.data(),
            batch_.t_records.data(),
            {weights_.data(), dual ? t_weights_.data() : nullptr},
            {dcn_.data(), dual ? t_dcn_.data() : nullptr},
            T(double(cutoff) * double(cutoff)),
            T(same * same),
            T(reverse_reach2(batch_.in.range))};
  }

  // Calls body(worker, i) for all atoms, some rows at a time. Only what belongs to an atom is
  // written, so that it does not matter which thread takes which.
  template <class F> void for_rows(F&& body) {
    const int64_t n = batch_.n_atoms, parts = (rows_[n] + n + pairs_at_once - 1) / pairs_at_once;
    const auto first = [&](int64_t part) {  // the first atom with as much work before it
      int64_t low = 0, high = n;
      while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (rows_[middle] + middle < part * pairs_at_once)
          low = middle + 1;
        else
          high = middle;
      }
      return low;
    };
#pragma omp parallel num_threads(threads_) if (threads_ > 1)
    {
      Worker worker(batch_);
#pragma omp for schedule(dynamic, 1)
      for (int64_t part = 0; part < parts; ++part) {
        const int64_t begin = first(part), end = part + 1 < parts ? first(part + 1) : n;
        for (int64_t i = begin; i < end && !stopping(); ++i) body(worker, i);
      }
    }
  }

  // The row of an atom; makes the worker's species those of its system.
  ListRow<S> row(Worker& worker, int64_t i) const {
    const auto& systems = batch_.systems;
    if (worker.system < 0 || i < systems[worker.system].first || i >= systems[worker.system].end)
      enter_system(worker, batch_.system_of(i));
    const ListSystem<A>& system = systems[worker.system];
    return {rows_[i],
            rows_[i + 1],
            i,
            system.first,
            system.end - system.first,
            system.cell,
            system.geometry.periodic.data(),
            worker.place.data()};
  }

  void enter_system(Worker& worker, int64_t system) const {
    worker.system = system;
    worker.slot = -1;
    worker.damping.set_system(system);
    worker.slots.clear();
    std::fill(worker.place.begin(), worker.place.end(), -1);
    for (int64_t i = batch_.systems[system].first; i < batch_.systems[system].end; ++i) {
      const int slot = batch_.slot(i);
      if (worker.place[slot] >= 0) continue;
      worker.place[slot] = int32_t(worker.slots.size());
      worker.slots.push_back({});
      worker.slots.back().slot = slot;
      worker.slots.back().n_refs = batch_.present.n_refs(slot);
    }
    if (worker.buckets.size() < worker.slots.size()) worker.buckets.resize(worker.slots.size());
  }

  static void put(std::vector<T, Aligned<T>>& values, std::vector<T, Aligned<T>>& tangents,
                  int64_t at, A x) {
    if constexpr (dual) {
      values[at] = T(x.v);
      tangents[at] = T(x.d);
    } else {
      values[at] = T(x);
    }
  }

  const A* w(int64_t i) const { return &w_[2 * batch_.in.tables.n_refs * i]; }
  const A* dw(int64_t i) const { return w(i) + batch_.in.tables.n_refs; }

  void set_radii() {
    const T* rcov = batch_.in.tables.rcov;
    batch_.set_kinds([&](int slot) { return rcov[batch_.present[slot]]; });
  }

  // Constants of the damping and C6 rows of an atom against every species of its system.
  void fill_slots(Worker& worker, int64_t i) const {
    const int slot = batch_.slot(i);
    const bool same = worker.slot == slot;
    worker.slot = slot;
    for (ListSlot<S>& s : worker.slots) {
      const int other = s.slot;
      if (!same) s.damping = worker.damping(slot, other);
      const auto fill = [&](const A* weights, S* out) {
        A wide[max_refs] = {};
        contract(weights, batch_.present.c6_ref(slot, other), batch_.in.tables.n_refs,
                 batch_.present.n_refs(slot), s.n_refs, wide);
        for (int b = 0; b < max_refs; ++b) out[b] = narrow<S>(wide[b]);
      };
      fill(w(i), s.row.c6);
      fill(dw(i), s.row.dc6);
    }
  }

  // E = -1/2 sum C6 g; dE/dCN and dE/dx take both directions of each pair.
  void add_energy(int64_t i, const EnergySums<A>& found) {
    const A half(-0.5);
    sums.energy[i] = half * found.energy;
    if (!batch_.in.gradients) return;
    sums.dcn[i] = -found.dcn;
    put(dcn_, t_dcn_, i, sums.dcn[i]);
    for (int k = 0; k < 3; ++k) sums.gradient[3 * i + k] = found.gradient[k];
    for (int k = 0; k < 6; ++k) sums.virial[6 * i + k] = half * found.virial[k];
    for (int k = 0; k < most_parameters && batch_.in.learn; ++k)
      sums.damping[most_parameters * i + k] = half * found.damping[k];
  }

  Batch& batch_;
  const ListColumns list_;
  const int64_t* rows_;
  const int threads_;
  const ListKernels<T, S, A> kernels_;
  std::vector<A> w_;                                // (n, 2, n_refs): weights and derivatives by CN
  std::vector<T, Aligned<T>> weights_, t_weights_;  // (n, row_numbers), as neighbours read them
  std::vector<T, Aligned<T>> dcn_, t_dcn_;          // (n), likewise
  Direction<uint32_t> directions_{};
};

}  // namespace d3

// The three sweeps over the rows of a list: coordination numbers with the checks of the pairs;
// energies with their direct derivatives; the gradient through the coordination numbers.
#pragma once
#include <omp.h>

#include <atomic>

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

// The constants of the damping of pairs of species, made when they are first asked for, and again
// when the parameters are others than those of the system before.
template <class T, class Types> class DampingCache {
 public:
  using S = typename Types::S;
  using A = typename Types::A;

  explicit DampingCache(const ListBatch<T, Types>& batch)
      : batch_(batch),
        known_(batch.n_slots() * batch.n_slots(), 0),
        constants_(batch.n_slots() * batch.n_slots()) {}

  void set_system(int64_t system) {
    const int n = batch_.in.n_damping();
    bool same = generation_ > 0;
    for (int k = 0; k < n; ++k) {
      const A x = batch_.damping(system, k);
      same = same && equal(x, parameters_[k]);
      parameters_[k] = x;
    }
    if (!same) ++generation_;
  }

  const Damping<S>& operator()(int slot, int other) {
    const int at = slot * batch_.n_slots() + other;
    if (known_[at] != generation_) {
      const auto d = damping_of(batch_.in.form, parameters_, batch_.in.tables, batch_.present[slot],
                                batch_.present[other]);
      constants_[at] = converted(d, [](A x) { return narrow<S>(x); });
      known_[at] = generation_;
    }
    return constants_[at];
  }

 private:
  static bool equal(double a, double b) { return a == b; }
  static bool equal(Dual<double> a, Dual<double> b) { return a.v == b.v && a.d == b.d; }

  const ListBatch<T, Types>& batch_;
  int64_t generation_ = 0;
  A parameters_[most_damping];
  std::vector<int64_t> known_;  // generation that each pair of slots was made in
  std::vector<Damping<S>> constants_;
};

// See system.h for Types.
template <class T, class Types> class ListSweeps {
 public:
  using S = typename Types::S;
  using A = typename Types::A;
  using Batch = ListBatch<T, Types>;

  ListSweeps(const Batch& batch, const PairColumns& list, const int64_t* rows, int threads)
      : sums(batch.n_atoms, batch.in.gradients, batch.in.learn),
        batch_(batch),
        list_(list),
        rows_(rows),
        threads_(threads),
        w_(2 * batch.in.tables.n_refs * batch.n_atoms) {}

  // Coordination numbers. False if a pair is wrong; sums up the directions of all pairs.
  bool count() {
    std::atomic<bool> bad{false};
    std::atomic<uint64_t> directions{0};
    for_rows([&](Worker& worker, int64_t begin, int64_t end) {
      uint64_t own = 0;
      for (int64_t i = begin; i < end && !stopping(); ++i)
        if (!count_row(worker, i, own)) bad = true;
      directions += own;
    });
    directions_ = directions;
    return !bad;
  }
  bool both_ways() const { return directions_ == 0; }

  // Weights of all atoms, from their coordination numbers.
  void weigh() {
    const int n_refs = batch_.in.tables.n_refs;
    for_rows([&](Worker&, int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        A* at = &w_[2 * n_refs * i];
        reference_weights(sums.cn[i], batch_.cn_ref(batch_.slot(i)), n_refs, at, at + n_refs);
      }
    });
  }

  void energies() {
    with_form(batch_.in.form, [&](auto form) {
      for_rows([&](Worker& worker, int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end && !stopping(); ++i)
          energy_row<decltype(form)::value>(worker, i);
      });
    });
  }

  void count_gradient() {
    for_rows([&](Worker& worker, int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end && !stopping(); ++i) count_gradient_row(worker, i);
    });
  }

  bool stopping() const { return stopped(batch_.in.watch); }

  // C6 of an atom with one of its kind.
  A like_c6(int64_t i) const {
    const int slot = batch_.slot(i), n = batch_.n_refs[slot];
    A row[max_refs] = {};
    contract(w(i), batch_.c6_ref(slot, slot), batch_.in.tables.n_refs, n, n, row);
    return n > 0 ? dot(row, w(i), n) : A(0.0);
  }

  AtomSums<A> sums;

 private:
  // What a thread keeps from one row to the next.
  struct Worker {
    int64_t system = -1;
    DampingCache<T, Types> damping;
    std::vector<std::array<S, 2 * max_refs>> c6;  // rows of each species, and their derivatives
    explicit Worker(const Batch& batch) : damping(batch), c6(batch.n_slots()) {}
  };

  // Calls body(worker, begin, end) for all atoms, some rows at a time. Only what atoms write to is
  // shared, so that it does not matter which thread takes which.
  template <class F> void for_rows(F&& body) {
    const int64_t n = batch_.n_atoms, work = rows_[n] + n;
    const int64_t parts = (work + pairs_at_once - 1) / pairs_at_once;
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
        if (begin < end && !stopping()) body(worker, begin, end);
      }
    }
  }

  const ListSystem<A>& system_of(Worker& worker, int64_t i) const {
    const auto& systems = batch_.systems;
    if (worker.system < 0 || i < systems[worker.system].first || i >= systems[worker.system].end) {
      worker.system = batch_.system_of(i);
      worker.damping.set_system(worker.system);
    }
    return systems[worker.system];
  }

  const A* w(int64_t i) const { return &w_[2 * batch_.in.tables.n_refs * i]; }
  const A* dw(int64_t i) const { return w(i) + batch_.in.tables.n_refs; }

  Vector3<S> vector(const ListSystem<A>& system, int64_t i, const PairAt& at) const {
    S r[3];
    for (int d = 0; d < 3; ++d) {
      A x = batch_.position(at.neighbour, d) - batch_.position(i, d);
      for (int k = 0; k < 3; ++k) x += A(at.shift[k]) * system.cell[k][d];
      r[d] = narrow<S>(x);
    }
    return {r[0], r[1], r[2]};
  }

  T rc(int64_t i, int64_t j) const {
    const T* rcov = batch_.in.tables.rcov;
    return rcov[batch_.present[batch_.slot(i)]] + rcov[batch_.present[batch_.slot(j)]];
  }

  bool good(const ListSystem<A>& system, const PairAt& at) const {
    bool good = at.neighbour >= system.first && at.neighbour < system.end;
    for (int k = 0; k < 3; ++k) {
      const double x = at.shift[k];
      good = good && std::abs(x) <= farthest && x == std::floor(x);
      good = good && (x == 0 || system.geometry.periodic[k]);
    }
    return good;
  }

  bool count_row(Worker& worker, int64_t i, uint64_t& directions) {
    const ListSystem<A>& system = system_of(worker, i);
    const T cutoff = batch_.in.range.cn_cutoff, same = T(same_spot_distance) * cutoff;
    const double reach2 = reverse_reach2(batch_.in.range);
    A cn(0.0);
    for (int64_t p = rows_[i]; p < rows_[i + 1]; ++p) {
      const PairAt at = pair_at<T>(list_, p);
      if (!good(system, at)) return false;
      const Vec3 plain = pair_vector(batch_.records.data(), system, i, at);
      if (inner(plain, plain) <= reach2) directions += pair_direction(i, at);
      const S r2 = vector(system, i, at).norm2();
      if (value(r2) <= same * same) return false;
      if (!(value(r2) <= cutoff * cutoff)) continue;
      cn += widen(counting(r2, rc(i, at.neighbour)).value);
    }
    sums.cn[i] = cn;
    return true;
  }

  template <DampingForm form> void energy_row(Worker& worker, int64_t i) {
    const ListSystem<A>& system = system_of(worker, i);
    const Cutoff<T> cutoff{batch_.in.range.cutoff, batch_.in.range.width};
    fill_c6(worker, i);
    A columns[of_damping + most_parameters] = {};
    for (int64_t p = rows_[i]; p < rows_[i + 1]; ++p) {
      const PairAt at = pair_at<T>(list_, p);
      const Vector3<S> r = vector(system, i, at);
      const S r2 = r.norm2();
      if (!(value(r2) <= cutoff.cutoff * cutoff.cutoff)) continue;
      const int other = batch_.slot(at.neighbour);
      const Damping<S>& damping = worker.damping(batch_.slot(i), other);
      const Damped<form, S> g = switched<form>(damping, r2, cutoff);
      S c6(T(0)), dc6(T(0));
      for (int b = 0; b < batch_.n_refs[other]; ++b) {
        c6 += worker.c6[other][b] * narrow<S>(w(at.neighbour)[b]);
        dc6 += worker.c6[other][max_refs + b] * narrow<S>(w(at.neighbour)[b]);
      }
      S own[of_damping + most_parameters] = {};
      add_columns<EnergyMode::learn, true>(PairTerm<form, S>{c6, g}, dc6, damping, r, r, own);
      for (int k = 0; k < of_damping + n_parameters(form); ++k) columns[k] += widen(own[k]);
    }
    add_energy(i, columns);
  }

  // C6 rows of an atom against every species.
  void fill_c6(Worker& worker, int64_t i) const {
    const int slot = batch_.slot(i);
    for (int other = 0; other < batch_.n_slots(); ++other)
      for (int part = 0; part < 2; ++part) {
        A wide[max_refs] = {};
        contract(part ? dw(i) : w(i), batch_.c6_ref(slot, other), batch_.in.tables.n_refs,
                 batch_.n_refs[slot], batch_.n_refs[other], wide);
        for (int b = 0; b < max_refs; ++b)
          worker.c6[other][part * max_refs + b] = narrow<S>(wide[b]);
      }
  }

  // E = -1/2 sum C6 g; dE/dCN and dE/dx take both directions of each pair.
  void add_energy(int64_t i, const A* columns) {
    const A half(-0.5);
    sums.energy[i] = half * columns[of_energy];
    sums.dcn[i] = -columns[of_dcn];
    if (batch_.in.gradients) {
      for (int k = 0; k < 3; ++k) sums.gradient[3 * i + k] = columns[of_gradient + k];
      for (int k = 0; k < 6; ++k) sums.virial[6 * i + k] = half * columns[of_virial + k];
    }
    for (int k = 0; k < most_parameters && batch_.in.learn; ++k)
      sums.damping[most_parameters * i + k] = half * columns[of_damping + k];
  }

  void count_gradient_row(Worker& worker, int64_t i) {
    const ListSystem<A>& system = system_of(worker, i);
    const T cutoff = batch_.in.range.cn_cutoff;
    A columns[9] = {};
    for (int64_t p = rows_[i]; p < rows_[i + 1]; ++p) {
      const PairAt at = pair_at<T>(list_, p);
      const Vector3<S> r = vector(system, i, at);
      const S r2 = r.norm2();
      if (!(value(r2) <= cutoff * cutoff)) continue;
      const S dcn = narrow<S>(sums.dcn[i]) + narrow<S>(sums.dcn[at.neighbour]);
      const S f = counting(r2, rc(i, at.neighbour)).slope_over_r * dcn;
      S own[9] = {};
      add_gradient<true>(f, r, r, own, own + 3);
      for (int k = 0; k < 9; ++k) columns[k] += widen(own[k]);
    }
    for (int k = 0; k < 3; ++k) sums.gradient[3 * i + k] += -columns[k];
    for (int k = 0; k < 6; ++k) sums.virial[6 * i + k] += A(0.5) * columns[3 + k];
  }

  const Batch& batch_;
  const PairColumns list_;
  const int64_t* rows_;
  const int threads_;
  std::vector<A> w_;  // (n, 2, n_refs): weights, then their derivatives
  uint64_t directions_ = 0;
};

}  // namespace d3

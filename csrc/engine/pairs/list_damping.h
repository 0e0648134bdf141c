// The damping constants of the systems of a batch, as the sweeps over a list ask for them.
#pragma once
#include <vector>

#include "engine/pairs/list_batch.h"

namespace d3 {

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

}  // namespace d3

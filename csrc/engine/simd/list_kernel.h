// The kernels of the three sweeps over a list, for the instruction set of the including file: see
// ListKernels in pairs/list_rows.h. The pairs of a row are decoded a register at a time, and those
// within the cutoff put into a bucket, or one for each species; a bucket then goes through the same
// loops as the tiles of the lattice engine.
//
//   atoms    what all rows read
//   row      centre, pairs and system
//   slots    species of the system, n of them, each with its bucket
#pragma once
#include "engine/simd/list_decode.h"

namespace d3 {
namespace D3_ISA {

// ---- buckets ----

template <class X, class B> D3_INLINE X get(const B& b, int column, int k) {
  using V = decltype(value(X()));
  if constexpr (std::is_same_v<X, V>)
    return V::load(b.values[column] + k);
  else
    return {V::load(b.values[column] + k), V::load(b.tangents[column] + k)};
}
template <class V, class B> D3_INLINE void set(B& b, int column, int k, V x) {
  x.store(b.values[column] + k);
}
template <class V, class B> D3_INLINE void set(B& b, int column, int k, Dual<V> x) {
  x.v.store(b.values[column] + k);
  x.d.store(b.tangents[column] + k);
}

// Puts harmless pairs behind the last of a bucket.
template <class X, int columns, class B> D3_INLINE void pad(B& b) {
  using V = decltype(value(X()));
  for (int c = 0; c < columns; ++c) set(b, c, b.n, X(V(1.0f)));
  V(1.0f).store(b.rc + b.n);
  for (int k = b.n; k < b.n + V::size; ++k) b.neighbour[k] = 0;
}

// Moves what is behind the first n pairs of a bucket, less than a register, to its front.
template <class X, int columns, class B> D3_INLINE void take(B& b, int n) {
  using V = decltype(value(X()));
  for (int c = 0; c < columns; ++c) set(b, c, 0, get<X>(b, c, n));
  V::load(b.rc + n).store(b.rc);
  for (int k = 0; k < V::size; ++k) b.neighbour[k] = b.neighbour[n + k];
  b.n -= n;
}

// Goes over a row: whenever a block of its pairs is in the buckets, calls work(s, bucket, size) for
// the first pairs of each, which fill registers; at last for what is left, with harmless pairs
// behind it. False if a pair is wrong.
template <class K, class T, Wanted wanted, class S, class F>
D3_INLINE bool for_buckets(const ListAtoms<T>& atoms, const ListRow<S>& row,
                           const ListSlot<S>* slots, int n, BucketOf<K, T>* buckets, Found& found,
                           F&& work) {
  using X = typename K::X;
  constexpr int size = Vec<T>::size, columns = wanted == Wanted::distances ? 1 : 3;
  for (int s = 0; s < n; ++s) buckets[s].n = 0;
  for (int64_t p = row.begin; p < row.end; p += pairs_of_block<T>) {
    const bool last = p + pairs_of_block<T> >= row.end;
    const int64_t end = last ? row.end : p + pairs_of_block<T>;
    if (!fill<K, T, wanted>(atoms, row, slots, n, buckets, p, end, found)) return false;
    for (int s = 0; s < n; ++s) {
      BucketOf<K, T>& b = buckets[s];
      const int ready = last ? b.n : b.n / size * size;
      if (last) pad<X, columns>(b);
      if (ready > 0) work(s, b, ready);
      if (!last) take<X, columns>(b, ready);
    }
  }
  return true;
}

// ---- coordination number ----

template <class K, class T, class S, class A>
void list_count(const ListAtoms<T>& atoms, const ListRow<S>& row, BucketOf<K, T>* bucket, A& cn,
                Found& found) {
  using X = typename K::X;
  Sums<K, 1> sums;
  const auto work = [&](int, BucketOf<K, T>& b, int size) D3_LAMBDA {
    const X one(T(1));
    const auto rc = [&](int k) D3_LAMBDA { return Vec<T>::load(b.rc + k); };
    // one loop for each step, so that the processor works on several registers at once
    for (int k = 0; k < size; k += Vec<T>::size)
      set(b, 0, k, counting_exponent(get<X>(b, 0, k), rc(k)).exponent);
    for (int k = 0; k < size; k += Vec<T>::size) set(b, 0, k, exp(get<X>(b, 0, k)));
    X sum(T(0));
    for (int k = 0; k < size; k += Vec<T>::size) {
      const X f = counted(get<X>(b, 0, k), one, rc(k)).value;
      sum += k + Vec<T>::size <= size ? f : select(first_lanes<T>(size - k), f, X(T(0)));
    }
    sums.now[0] += sum;
    sums.end_block();
  };
  found.bad = !for_buckets<K, T, Wanted::distances, S>(atoms, row, nullptr, 1, bucket, found, work);
  sums.empty();
  cn = sums.before[0];
}

// ---- energy ----

template <class T> D3_INLINE ClusterRows<T> from(ClusterRows<T> table, int64_t at) {
  return {table.values + at, table.tangents ? table.tangents + at : nullptr};
}

// Adds C6 g and its derivatives over a bucket, as energy_run of the lattice engine.
template <class K, class T, DampingForm form, EnergyMode mode, int R, class S>
D3_INLINE void energy_bucket(const ListAtoms<T>& atoms, const ListRow<S>& row,
                             const ListSlot<S>& slot, const BucketOf<K, T>& b, int size,
                             Cutoff<T> cutoff, typename K::X* sums) {
  using X = typename K::X;
  const auto broadcast = [](S x) D3_LAMBDA { return K::broadcast(x); };
  const Damping<X> damping = converted(slot.damping, broadcast);
  const X zero(T(0));
  X c6_row[R], dc6_row[R];
  for (int a = 0; a < R; ++a) {
    c6_row[a] = K::broadcast(slot.row.c6[a]);
    dc6_row[a] = K::broadcast(slot.row.dc6[a]);
  }
  constexpr int columns = energy_columns<mode, form>;
  X sum[columns];
  for (int k = 0; k < columns; ++k) sum[k] = sums[k];
  const auto weights = [&](int column) D3_LAMBDA {
    return from(atoms.weights, row.first * row_numbers + column);
  };
  for (int k = 0; k < size; k += Vec<T>::size) {
    X w[2][4], c6 = zero, dc6 = zero;
    load_columns(weights(0), b.neighbour + k, w[0]);
    if constexpr (R > 4) load_columns(weights(4), b.neighbour + k, w[1]);
    for (int a = 0; a < R; ++a) {
      c6 += c6_row[a] * w[a / 4][a % 4];
      if (mode != EnergyMode::energy) dc6 += dc6_row[a] * w[a / 4][a % 4];
    }
    if (k + Vec<T>::size > size) {
      const auto real = first_lanes<T>(size - k);
      c6 = select(real, c6, zero);
      dc6 = select(real, dc6, zero);
    }
    const Vector3<X> r{get<X>(b, 0, k), get<X>(b, 1, k), get<X>(b, 2, k)};
    const PairTerm<form, X> pair{c6, switched<form>(damping, r.norm2(), cutoff)};
    add_columns<mode, true>(pair, dc6, damping, r, r, sum);
  }
  for (int k = 0; k < columns; ++k) sums[k] = sum[k];
}

template <class K, class T, DampingForm form, EnergyMode mode, class S, class A>
D3_INLINE void list_energy(const ListAtoms<T>& atoms, const ListRow<S>& row,
                           const ListSlot<S>* slots, int n, BucketOf<K, T>* buckets,
                           Cutoff<T> cutoff, EnergySums<A>& out) {
  Sums<K, energy_columns<mode, form>> sums;
  Found found;
  const auto work = [&](int s, const BucketOf<K, T>& b, int size) D3_LAMBDA {
    const auto run = [&](auto refs) D3_LAMBDA {
      energy_bucket<K, T, form, mode, refs.value>(atoms, row, slots[s], b, size, cutoff, sums.now);
    };
    if constexpr (std::is_same_v<S, T>)
      with_refs(slots[s].n_refs, run);
    else
      run(std::integral_constant<int, max_refs>());
    sums.end_block();
  };
  for_buckets<K, T, Wanted::species>(atoms, row, slots, n, buckets, found, work);
  sums.empty();
  out.energy = sums.before[of_energy];
  if constexpr (mode == EnergyMode::energy) return;
  out.dcn = sums.before[of_dcn];
  for (int k = 0; k < 3; ++k) out.gradient[k] = sums.before[of_gradient + k];
  for (int k = 0; k < 6; ++k) out.virial[k] = sums.before[of_virial + k];
  if constexpr (mode == EnergyMode::learn)
    for (int k = 0; k < n_parameters(form); ++k) out.damping[k] = sums.before[of_damping + k];
}

// Dual numbers take the one loop that does everything, as in the lattice engine.
template <class K, class T, DampingForm form, class S, class A>
void list_energy(const ListAtoms<T>& atoms, const ListRow<S>& row, const ListSlot<S>* slots, int n,
                 BucketOf<K, T>* buckets, Cutoff<T> cutoff, EnergyMode mode, EnergySums<A>& out) {
  if (std::is_same_v<S, T> && mode == EnergyMode::energy)
    list_energy<K, T, form, EnergyMode::energy>(atoms, row, slots, n, buckets, cutoff, out);
  else if (std::is_same_v<S, T> && mode == EnergyMode::gradient)
    list_energy<K, T, form, EnergyMode::gradient>(atoms, row, slots, n, buckets, cutoff, out);
  else
    list_energy<K, T, form, EnergyMode::learn>(atoms, row, slots, n, buckets, cutoff, out);
}

// ---- gradient through the coordination numbers ----

template <class K, class T, class S, class A>
void list_count_gradient(const ListAtoms<T>& atoms, const ListRow<S>& row, BucketOf<K, T>* bucket,
                         S dcn, EnergySums<A>& out) {
  using X = typename K::X;
  const X dcn_i = K::broadcast(dcn);
  const ClusterRows<T> dcn_j = from(atoms.dcn, row.first);
  Sums<K, 9> sums;
  Found found;
  const auto work = [&](int, const BucketOf<K, T>& b, int size) D3_LAMBDA {
    Packed<K, T, 2> u;
    const auto r = [&](int k) D3_LAMBDA {
      return Vector3<X>{get<X>(b, 0, k), get<X>(b, 1, k), get<X>(b, 2, k)};
    };
    const auto rc = [&](int k) D3_LAMBDA { return Vec<T>::load(b.rc + k); };
    for (int k = 0; k < size; k += Vec<T>::size) {
      const CountingExponent<X> e = counting_exponent(r(k).norm2(), rc(k));
      u.store(0, k, e.exponent);
      u.store(1, k, e.inverse_r);
    }
    for (int k = 0; k < size; k += Vec<T>::size) u.store(0, k, exp(u.load(0, k)));
    X sum[9];
    for (int k = 0; k < 9; ++k) sum[k] = sums.now[k];
    for (int k = 0; k < size; k += Vec<T>::size) {
      X f = counted(u.load(0, k), u.load(1, k), rc(k)).slope_over_r *
            (dcn_i + gathered<K>(dcn_j, b.neighbour + k));
      if (k + Vec<T>::size > size) f = select(first_lanes<T>(size - k), f, X(T(0)));
      add_gradient<true>(f, r(k), r(k), sum, sum + 3);
    }
    for (int k = 0; k < 9; ++k) sums.now[k] = sum[k];
    sums.end_block();
  };
  for_buckets<K, T, Wanted::vectors, S>(atoms, row, nullptr, 1, bucket, found, work);
  sums.empty();
  for (int k = 0; k < 3; ++k) out.gradient[k] = sums.before[k];
  for (int k = 0; k < 6; ++k) out.virial[k] = sums.before[3 + k];
}

template <class K, class T, class S, class A> constexpr ListKernels<T, S, A> list_kernels() {
  return {
      list_count<K, T, S, A>,
      {list_energy<K, T, DampingForm::rational, S, A>, list_energy<K, T, DampingForm::zero, S, A>,
       list_energy<K, T, DampingForm::modified_zero, S, A>},
      list_count_gradient<K, T, S, A>};
}

}  // namespace D3_ISA
}  // namespace d3

// The kernels of the three sweeps over a list, for the instruction set of the including file: see
// ListKernels in pairs/list_rows.h. The pairs of a row are decoded a register at a time, in double
// precision, and those within the cutoff put into a bucket, or one for each species; a bucket then
// goes through the same loops as the tiles of the lattice engine.
//
//   atoms    what all rows read
//   row      centre, pairs and system
//   slots    species of the system, n of them, each with its bucket
#pragma once
#include "engine/pairs/list_directions.h"
#include "engine/pairs/list_rows.h"
#include "engine/simd/lattice_kernel.h"
#include "engine/simd/list_registers.h"

namespace d3 {
namespace D3_ISA {

template <class K, class T> using BucketOf = Bucket<T, !std::is_same_v<typename K::S, T>>;

// ---- decoding ----

// Shifts of a register of pairs: as numbers, and as integers below 2^51; `odd` has a bit set in a
// lane that is not integral or too large.
struct ShiftVec {
  Three<Doubles> numbers;
  Three<Integers> integers;
  Integers odd;
};
template <bool checked> D3_INLINE Integers too_large(const Three<Integers>& s) {
  constexpr uint64_t limit = uint64_t(1) << 30;
  if (!checked) return Integers{};
  return ((s.x + limit) | (s.y + limit) | (s.z + limit)) >> 31;
}
template <bool checked, class N> D3_INLINE ShiftVec load_shifts(const N* p) {
  ShiftVec s;
  if constexpr (std::is_integral_v<N>) {
    s.integers = taken_apart(load_integers(p), load_integers(p + pair_lanes),
                             load_integers(p + 2 * pair_lanes));
    s.numbers = {to_doubles(s.integers.x), to_doubles(s.integers.y), to_doubles(s.integers.z)};
    s.odd = too_large<checked>(s.integers);
  } else {
    s.numbers = taken_apart(load_doubles(p), load_doubles(p + pair_lanes),
                            load_doubles(p + 2 * pair_lanes));
    if (!checked) return s;
    s.integers = {to_integers(s.numbers.x), to_integers(s.numbers.y), to_integers(s.numbers.z)};
    const auto rest = [](Doubles x) D3_LAMBDA {
      return Integers(((x + integer_offset) - integer_offset) - x);
    };
    s.odd =
        too_large<checked>(s.integers) | rest(s.numbers.x) | rest(s.numbers.y) | rest(s.numbers.z);
  }
  return s;
}

// The last pairs of a list, with the last one repeated to fill a register.
template <class I, class N> struct LastPairs {
  I neighbour[pair_lanes];
  N shifts[3 * pair_lanes];
};
template <class I, class N>
LastPairs<I, N> last_pairs(const I* neighbour, const N* shifts, int64_t n) {
  LastPairs<I, N> last;
  for (int k = 0; k < pair_lanes; ++k) {
    const int64_t from = std::min<int64_t>(k, n - 1);
    last.neighbour[k] = neighbour[from];
    for (int d = 0; d < 3; ++d) last.shifts[3 * k + d] = shifts[3 * from + d];
  }
  return last;
}

// Position of the centre and cell of its system, or their tangents, in all lanes.
struct Frames {
  DoubleVec centre[3], cell[3][3];

  // Components of x_j - x_i + S . cell, which changes its sign with the direction to the last bit.
  D3_INLINE DoubleVec vector(int d, DoubleVec other, const ShiftVec& s) const {
    return (other - centre[d]) +
           (DoubleVec(s.numbers.x) * cell[0][d] + DoubleVec(s.numbers.y) * cell[1][d] +
            DoubleVec(s.numbers.z) * cell[2][d]);
  }
};
template <class S>
D3_INLINE void fill_frames(Frames& f, const AtomRecord& record, const ListRow<S>& row) {
  for (int d = 0; d < 3; ++d) {
    f.centre[d] = DoubleVec(record.x[d]);
    for (int k = 0; k < 3; ++k) f.cell[k][d] = DoubleVec(d3::value(row.cell[k][d]));
  }
}
template <class S>
D3_INLINE void fill_tangent_frames(Frames& f, const AtomRecord& record, const ListRow<S>& row) {
  for (int d = 0; d < 3; ++d) {
    f.centre[d] = DoubleVec(record.x[d]);
    for (int k = 0; k < 3; ++k) f.cell[k][d] = DoubleVec(row.cell[k][d].d);
  }
}

// What the sweep that counts sums up of the pairs of a row besides.
struct Checks {
  Integers directions{}, wrong{};
  Integers open[3];  // all bits for axes that are not periodic
  Integers centre;   // see atom_direction

  template <class S> D3_INLINE explicit Checks(const ListRow<S>& row) {
    for (int k = 0; k < 3; ++k) open[k] = Integers{} - (row.periodic[k] ? 0ull : 1ull);
    centre = Integers{} + atom_direction(uint64_t(row.atom));
  }

  // Looks at a register of pairs; `real` are the lanes with a pair.
  D3_INLINE void add(Mask<double> real, Integers atom, const ShiftVec& s, DoubleVec r2,
                     DoubleVec same2, DoubleVec reverse2) {
    const Three<Integers>& x = s.integers;
    const Integers astray = (x.x & open[0]) | (x.y & open[1]) | (x.z & open[2]);
    const Integers same = Integers(select(r2 <= same2, DoubleVec(1.0), DoubleVec(0.0)).v);
    wrong |= keep(real, s.odd | astray | same);
    const Integers h = pair_direction(centre, atom_direction(atom), shift_direction(x.x, x.y, x.z));
    directions += keep((r2 <= reverse2) & real, h);
  }
  D3_INLINE bool any_wrong() const {
    uint64_t bits = 0;
    for (int k = 0; k < pair_lanes; ++k) bits |= wrong[k];
    return bits != 0;
  }
};

// What a sweep wants of the pairs: squared distances, with checks; vectors; vectors by species.
enum class Wanted { distances, vectors, species };

// A register of pairs on its way into the buckets.
template <class T, bool dual, Wanted wanted> struct Packer {
  static constexpr int columns = wanted == Wanted::distances ? 1 : 3;
  typename PairNumbers<T>::type values[columns], tangents[columns], rc;
  HalfInts neighbour;

  D3_INLINE void set(int column, DoubleVec x) { narrow_pairs(x, values[column]); }
  D3_INLINE void set_tangent(int column, DoubleVec x) { narrow_pairs(x, tangents[column]); }

  // Calls f for every column with its place in a bucket.
  template <class F> D3_INLINE void for_columns(Bucket<T, dual>& b, F&& f) const {
    const int n = b.n;
    for (int c = 0; c < columns; ++c) {
      f(values[c], b.values[c] + n);
      if constexpr (dual) f(tangents[c], b.tangents[c] + n);
    }
    if constexpr (wanted != Wanted::species) f(rc, b.rc + n);
    if constexpr (wanted != Wanted::distances) f(neighbour, b.neighbour + n);
  }
  D3_INLINE void put(Mask<double> mask, Bucket<T, dual>& b) const {
    for_columns(b, [&](auto x, auto* out) D3_LAMBDA { pack_pairs(mask, x, out); });
    b.n += __builtin_popcount(bits_of(mask));
  }
  // The same where most registers are full.
  D3_INLINE void put_full(Mask<double> mask, Bucket<T, dual>& b) const {
    if (bits_of(mask) != (1 << pair_lanes) - 1) return put(mask, b);
    for_columns(b, [](auto x, auto* out) D3_LAMBDA { __builtin_memcpy(out, &x, sizeof(x)); });
    b.n += pair_lanes;
  }
  // Each pair on its own, where there are many species.
  D3_INLINE void scatter(Mask<double> mask, DoubleVec slot, const int32_t* place,
                         Bucket<T, dual>* buckets) const {
    const int bits = bits_of(mask);
    for (int k = 0; k < pair_lanes; ++k) {
      Bucket<T, dual>& b = buckets[place[int(slot.v[k])]];
      for_columns(b, [k](auto x, auto* out) D3_LAMBDA { *out = x[k]; });
      b.n += bits >> k & 1;
    }
  }
};

// Asks for what will be read some rounds later, of `registers` registers each.
template <class N> D3_INLINE void prefetch(const N* p, int registers) {
  const char* from = reinterpret_cast<const char*>(p) + list_ahead * registers;
  for (int k = 0; k < registers * D3_BYTES; k += 64) __builtin_prefetch(from + k);
}

// Puts pairs [begin, end) of a row into the buckets, which have room for them. False if a pair is
// wrong, which is looked at with distances.
template <class K, class T, class I, class N, Wanted wanted, class S>
bool fill(const ListAtoms<T>& atoms, const ListRow<S>& row, const ListSlot<S>* slots, int n,
          BucketOf<K, T>* buckets, int64_t begin, int64_t end, Found& found) {
  constexpr bool dual = !std::is_same_v<S, T>, checked = wanted == Wanted::distances;
  Frames frames, t_frames;
  fill_frames(frames, atoms.records[row.atom], row);
  if constexpr (dual) fill_tangent_frames(t_frames, atoms.t_records[row.atom], row);
  Checks checks(row);
  const DoubleVec cutoff2(atoms.cutoff2), same2(atoms.same2), reverse2(atoms.reverse2),
      own(atoms.records[row.atom].kind);
  const auto all = DoubleVec(0.0) <= DoubleVec(0.0);
  LastPairs<I, N> last;
  const I* neighbour = static_cast<const I*>(atoms.list.neighbour) + begin;
  const N* shift = static_cast<const N*>(atoms.list.shifts) + 3 * begin;
  for (int64_t p = begin; p < end;
       p += pair_lanes, neighbour += pair_lanes, shift += 3 * pair_lanes) {
    Mask<double> real = all;
    if (end - p < pair_lanes) {
      real = first_lanes<double>(int(end - p));
      if (atoms.list.n_pairs - p < pair_lanes) {
        last = last_pairs(neighbour, shift, atoms.list.n_pairs - p);
        neighbour = last.neighbour;
        shift = last.shifts;
      }
    }
    prefetch(neighbour, 1);
    prefetch(shift, 3);
    const Integers j = keep(real, load_integers(neighbour) - uint64_t(row.first));
    if (checked && any_negative(j | (uint64_t(row.n - 1) - j))) return false;
    const ShiftVec shifts = load_shifts<checked>(shift);
    Packer<T, dual, wanted> pack;
    pack.neighbour = __builtin_convertvector(j, HalfInts);
    Integers offsets = j * sizeof(AtomRecord);
    asm volatile("" : "+m"(offsets));  // through memory, which takes fewer steps than lane by lane
    const auto record = [&](const AtomRecord* table) D3_LAMBDA {
      return [&offsets, table](int k) D3_LAMBDA {
        return reinterpret_cast<const double*>(reinterpret_cast<const char*>(table) + offsets[k]);
      };
    };
    Vec<double> other[4];
    load_columns(record(atoms.records + row.first), other);
    const Vector3<DoubleVec> r{frames.vector(0, other[0], shifts),
                               frames.vector(1, other[1], shifts),
                               frames.vector(2, other[2], shifts)};
    const DoubleVec r2 = r.norm2();
    if constexpr (checked) {
      checks.add(real, j + uint64_t(row.first), shifts, r2, same2, reverse2);
      pack.set(0, r2);
    } else {
      pack.set(0, r.x);
      pack.set(1, r.y);
      pack.set(2, r.z);
    }
    if constexpr (dual) {
      Vec<double> t[4];
      load_columns(record(atoms.t_records + row.first), t);
      const Vector3<DoubleVec> d{t_frames.vector(0, t[0], shifts), t_frames.vector(1, t[1], shifts),
                                 t_frames.vector(2, t[2], shifts)};
      if constexpr (checked) {
        pack.set_tangent(0, DoubleVec(2.0) * (r.x * d.x + r.y * d.y + r.z * d.z));
      } else {
        pack.set_tangent(0, d.x);
        pack.set_tangent(1, d.y);
        pack.set_tangent(2, d.z);
      }
    }
    const Mask<double> inside = (r2 <= cutoff2) & real;
    if constexpr (wanted != Wanted::species) {
      narrow_pairs(own + other[3], pack.rc);
      pack.put_full(inside, *buckets);
    } else if (n > most_packed_species) {
      pack.scatter(inside, other[3], row.place, buckets);
    } else {
#pragma GCC unroll 1
      for (int s = 0; s < n; ++s)
        pack.put(inside & equal(other[3], DoubleVec(slots[s].slot)), buckets[s]);
    }
  }
  found.directions += wrapped_sum(checks.directions);
  return !checked || !checks.any_wrong();
}

// The same, for the way in which a list is stored.
template <class K, class T, Wanted wanted, class S>
bool fill(const ListAtoms<T>& atoms, const ListRow<S>& row, const ListSlot<S>* slots, int n,
          BucketOf<K, T>* buckets, int64_t begin, int64_t end, Found& found) {
  const ListColumns& list = atoms.list;
  const auto with = [&](auto index, auto shift) {
    return fill<K, T, decltype(index), decltype(shift), wanted>(atoms, row, slots, n, buckets,
                                                                begin, end, found);
  };
  const auto with_shifts = [&](auto index) {
    if (list.kind == ShiftKind::int64) return with(index, int64_t());
    if (list.kind == ShiftKind::int32) return with(index, int32_t());
    return with(index, T());
  };
  return list.wide ? with_shifts(int64_t()) : with_shifts(int32_t());
}

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
  for (int64_t p = row.begin; p < row.end; p += list_block) {
    const bool last = p + list_block >= row.end;
    const int64_t end = last ? row.end : p + list_block;
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

template <class K, class T, class S, class A> ListKernels<T, S, A> list_kernels() {
  return {
      list_count<K, T, S, A>,
      {list_energy<K, T, DampingForm::rational, S, A>, list_energy<K, T, DampingForm::zero, S, A>,
       list_energy<K, T, DampingForm::modified_zero, S, A>},
      list_count_gradient<K, T, S, A>};
}

// The kernels of this instruction set as function pointers.
template <class T> const ListKernelSet<T>* list_kernel_set() {
  static const ListKernelSet<T> set{list_kernels<PlainRegisters<T>, T, T, double>(),
                                    list_kernels<DualRegisters<T>, T, Dual<T>, Dual<double>>()};
  return &set;
}

}  // namespace D3_ISA
}  // namespace d3

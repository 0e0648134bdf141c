// How the kernels on a list decode its pairs: a register at a time, in double precision, they are
// checked, and what lies within the cutoff is put into buckets. For the instruction set of the
// including file.
#pragma once
#include "engine/pairs/list_directions.h"
#include "engine/pairs/list_rows.h"
#include "engine/simd/list_registers.h"

namespace d3 {
namespace D3_ISA {

template <class K, class T> using BucketOf = Bucket<T, !std::is_same_v<typename K::S, T>>;

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

  // x_j - x_i + S . cell, which changes its sign with the direction to the last bit.
  D3_INLINE Vector3<DoubleVec> vector(const DoubleVec (&other)[4], const ShiftVec& s) const {
    const auto component = [&](int d) D3_LAMBDA {
      return (other[d] - centre[d]) +
             (DoubleVec(s.numbers.x) * cell[0][d] + DoubleVec(s.numbers.y) * cell[1][d] +
              DoubleVec(s.numbers.z) * cell[2][d]);
    };
    return {component(0), component(1), component(2)};
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

  D3_INLINE void set(const Vector3<DoubleVec>& r, DoubleVec r2) {
    if constexpr (wanted == Wanted::distances)
      narrow_pairs(r2, values[0]);
    else
      narrow_all(r, values);
  }
  // With the tangent of r.
  D3_INLINE void set_tangent(const Vector3<DoubleVec>& r, const Vector3<DoubleVec>& t) {
    if constexpr (wanted == Wanted::distances)
      narrow_pairs(DoubleVec(2.0) * (r.x * t.x + r.y * t.y + r.z * t.z), tangents[0]);
    else
      narrow_all(t, tangents);
  }
  template <class N> D3_INLINE static void narrow_all(const Vector3<DoubleVec>& r, N (&out)[3]) {
    narrow_pairs(r.x, out[0]);
    narrow_pairs(r.y, out[1]);
    narrow_pairs(r.z, out[2]);
  }

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

// Where a row is read; the last register of the list is read from a copy.
template <class I, class N> struct PairReader {
  const I* neighbour;
  const N* shift;
  LastPairs<I, N> last;

  D3_INLINE PairReader(const ListColumns& list, int64_t p)
      : neighbour(static_cast<const I*>(list.neighbour) + p),
        shift(static_cast<const N*>(list.shifts) + 3 * p) {}

  // Makes `left` pairs of the row from p on readable, and says which lanes they are.
  D3_INLINE Mask<double> ready(const ListColumns& list, int64_t p, int64_t left) {
    prefetch(neighbour, 1);
    prefetch(shift, 3);
    if (left >= pair_lanes) return DoubleVec(0.0) <= DoubleVec(0.0);
    if (list.n_pairs - p < pair_lanes) {
      last = last_pairs(neighbour, shift, list.n_pairs - p);
      neighbour = last.neighbour;
      shift = last.shifts;
    }
    return first_lanes<double>(int(left));
  }
  D3_INLINE void next() {
    neighbour += pair_lanes;
    shift += 3 * pair_lanes;
  }
};

// Records of the atoms j of a table, as columns.
D3_INLINE void load_records(const AtomRecord* table, Integers j, DoubleVec (&out)[4]) {
  Integers offsets = j * sizeof(AtomRecord);
  asm volatile("" : "+m"(offsets));  // through memory, which takes fewer steps than lane by lane
  const auto record = [&](int k) D3_LAMBDA {
    return reinterpret_cast<const double*>(reinterpret_cast<const char*>(table) + offsets[k]);
  };
  load_columns(record, out);
}

// Puts a register of pairs into the buckets: `kind` is that of the neighbours, `own` of the centre.
template <class T, bool dual, Wanted wanted, class S>
D3_INLINE void distribute(Packer<T, dual, wanted>& pack, Mask<double> inside, DoubleVec kind,
                          DoubleVec own, const ListRow<S>& row, const ListSlot<S>* slots, int n,
                          Bucket<T, dual>* buckets) {
  if constexpr (wanted != Wanted::species) {
    narrow_pairs(own + kind, pack.rc);
    pack.put_full(inside, *buckets);
  } else if (n > most_packed_species) {
    pack.scatter(inside, kind, row.place, buckets);
  } else {
#pragma GCC unroll 1
    for (int s = 0; s < n; ++s)
      pack.put(inside & equal(kind, DoubleVec(slots[s].slot)), buckets[s]);
  }
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
  PairReader<I, N> reader(atoms.list, begin);
  for (int64_t p = begin; p < end; p += pair_lanes, reader.next()) {
    const Mask<double> real = reader.ready(atoms.list, p, end - p);
    const Integers j = keep(real, load_integers(reader.neighbour) - uint64_t(row.first));
    if (checked && any_negative(j | (uint64_t(row.n - 1) - j))) return false;
    const ShiftVec shifts = load_shifts<checked>(reader.shift);
    Vec<double> other[4], t_other[4];
    load_records(atoms.records + row.first, j, other);
    const Vector3<DoubleVec> r = frames.vector(other, shifts);
    const DoubleVec r2 = r.norm2();
    Packer<T, dual, wanted> pack;
    pack.neighbour = __builtin_convertvector(j, HalfInts);
    pack.set(r, r2);
    if constexpr (checked) checks.add(real, j + uint64_t(row.first), shifts, r2, same2, reverse2);
    if constexpr (dual) {
      load_records(atoms.t_records + row.first, j, t_other);
      pack.set_tangent(r, t_frames.vector(t_other, shifts));
    }
    distribute(pack, (r2 <= cutoff2) & real, other[3], own, row, slots, n, buckets);
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

}  // namespace D3_ISA
}  // namespace d3

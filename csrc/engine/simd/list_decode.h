// How the kernels on a list decode its pairs: a register at a time they are checked, and what lies
// within the cutoff is put into buckets. For the instruction set of the including file.
#pragma once
#include "engine/pairs/list_directions.h"
#include "engine/pairs/list_rows.h"
#include "engine/simd/list_reader.h"
#include "engine/simd/list_registers.h"

namespace d3 {
namespace D3_ISA {

template <class K, class T> using BucketOf = Bucket<T, !std::is_same_v<typename K::S, T>>;

// Shifts of a register of pairs, as numbers and as integers; `odd` has its highest bit set in a
// lane that is not integral or too large.
template <class T> struct ShiftVec {
  Three<Vec<T>> numbers;
  Three<Words<T>> integers;
  Words<T> odd;
};
template <class W> D3_INLINE W too_large(const Three<W>& s) {
  constexpr uint32_t limit = uint32_t(1) << 30;
  return (s.x + limit) | (s.y + limit) | (s.z + limit);
}

// Of integers that are no int32, the largest of these.
template <bool checked, class T, class N> D3_INLINE Words<T> load_shift(const N* p) {
  const Loaded<T> x = load_integers<T>(p, 0);
  if (!checked || sizeof(N) == 4) return x.lower;
  const Words<T> far = Words<T>(x.more != 0);
  return (x.lower & ~far) | (far >> 1);
}
template <bool checked, class T, class N> D3_INLINE ShiftVec<T> load_shifts(const N* p) {
  constexpr int size = Vec<T>::size;
  ShiftVec<T> s;
  if constexpr (std::is_integral_v<N>) {
    s.integers = taken_apart(load_shift<checked, T>(p), load_shift<checked, T>(p + size),
                             load_shift<checked, T>(p + 2 * size));
    s.numbers = {to_numbers<T>(s.integers.x), to_numbers<T>(s.integers.y),
                 to_numbers<T>(s.integers.z)};
    if (checked) s.odd = too_large(s.integers);
  } else {
    const auto lanes =
        taken_apart(Vec<T>::load(p).v, Vec<T>::load(p + size).v, Vec<T>::load(p + 2 * size).v);
    s.numbers = {Vec<T>(lanes.x), Vec<T>(lanes.y), Vec<T>(lanes.z)};
    if (!checked) return s;
    s.integers = {to_integers(s.numbers.x), to_integers(s.numbers.y), to_integers(s.numbers.z)};
    const auto whole = [](Words<T> whole, Vec<T> x)
                           D3_LAMBDA { return equal(to_numbers<T>(whole), x); };
    const Mask<T> good = whole(s.integers.x, s.numbers.x) & whole(s.integers.y, s.numbers.y) &
                         whole(s.integers.z, s.numbers.z);
    s.odd = too_large(s.integers) | ~keep(good, Words<T>{} - 1);
  }
  return s;
}

// Position of the centre and cell of its system, or their tangents, in all lanes.
template <class T> struct Frames {
  Vec<T> centre[3], cell[3][3];

  // x_j - x_i + S . cell, which changes its sign with the direction to the last bit.
  D3_INLINE Vector3<Vec<T>> vector(const Vec<T> (&other)[4], const ShiftVec<T>& s) const {
    const auto component = [&](int d) D3_LAMBDA {
      return (other[d] - centre[d]) +
             (s.numbers.x * cell[0][d] + s.numbers.y * cell[1][d] + s.numbers.z * cell[2][d]);
    };
    return {component(0), component(1), component(2)};
  }
};
template <class T, class S>
D3_INLINE void fill_frames(Frames<T>& f, const AtomRecord<T>& record, const ListRow<S>& row) {
  for (int d = 0; d < 3; ++d) {
    f.centre[d] = Vec<T>(record.x[d]);
    for (int k = 0; k < 3; ++k) f.cell[k][d] = Vec<T>(T(d3::value(row.cell[k][d])));
  }
}
template <class T, class S>
D3_INLINE void fill_tangent_frames(Frames<T>& f, const AtomRecord<T>& record,
                                   const ListRow<S>& row) {
  for (int d = 0; d < 3; ++d) {
    f.centre[d] = Vec<T>(record.x[d]);
    for (int k = 0; k < 3; ++k) f.cell[k][d] = Vec<T>(T(row.cell[k][d].d));
  }
}

// What the sweep that counts sums up of the pairs of a row besides.
template <class T> struct Checks {
  Direction<Words<T>> directions{};
  Words<T> wrong{};
  Mask<T> same{};
  Words<T> open[3];  // all bits for axes that are not periodic
  Direction<Words<T>> centre;

  template <class S> D3_INLINE explicit Checks(const ListRow<S>& row) {
    for (int k = 0; k < 3; ++k) open[k] = Words<T>{} - (row.periodic[k] ? 0u : 1u);
    centre = atom_direction(Words<T>{} + uint32_t(row.atom));
  }

  // Looks at a register of pairs; `real` are the lanes with a pair.
  D3_INLINE void add(Mask<T> real, Words<T> atom, const ShiftVec<T>& s, Vec<T> r2, Vec<T> same2,
                     Vec<T> reverse2) {
    const Three<Words<T>>& x = s.integers;
    const Words<T> astray = (x.x & open[0]) | (x.y & open[1]) | (x.z & open[2]);
    wrong |= s.odd | astray | (Words<T>{} - astray);
    same = same | (r2 <= same2);
    const Mask<T> within = (r2 <= reverse2) & real;
    const Direction<Words<T>> h =
        pair_direction(centre, atom_direction(atom), shift_direction(x.x, x.y, x.z));
    for (int k = 0; k < 2; ++k) directions.part[k] += keep(within, h.part[k]);
  }
  D3_INLINE bool any_wrong() const { return any(same) || any_negative<T>(wrong); }
};

// What a sweep wants of the pairs: squared distances, with checks; vectors; vectors by species.
enum class Wanted { distances, vectors, species };

// A register of pairs on its way into the buckets.
template <class T, bool dual, Wanted wanted> struct Packer {
  static constexpr int columns = wanted == Wanted::distances ? 1 : 3;
  Vec<T> values[columns], tangents[columns], rc;
  Ints<T> neighbour;

  D3_INLINE void set(const Vector3<Vec<T>>& r, Vec<T> r2) {
    if constexpr (wanted == Wanted::distances)
      values[0] = r2;
    else
      set_all(r, values);
  }
  // With the tangent of r.
  D3_INLINE void set_tangent(const Vector3<Vec<T>>& r, const Vector3<Vec<T>>& t) {
    if constexpr (wanted == Wanted::distances)
      tangents[0] = Vec<T>(T(2)) * (r.x * t.x + r.y * t.y + r.z * t.z);
    else
      set_all(t, tangents);
  }
  D3_INLINE static void set_all(const Vector3<Vec<T>>& r, Vec<T> (&out)[3]) {
    out[0] = r.x;
    out[1] = r.y;
    out[2] = r.z;
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
  D3_INLINE void put(Mask<T> mask, Bucket<T, dual>& b) const {
    for_columns(b, [&](auto x, auto* out) D3_LAMBDA { pack_pairs(mask, x, out); });
    b.n += __builtin_popcount(bits_of(mask));
  }
  // The same where most registers are full.
  D3_INLINE void put_full(Mask<T> mask, Bucket<T, dual>& b) const {
    if (bits_of(mask) != (1u << Vec<T>::size) - 1) return put(mask, b);
    for_columns(b, [](auto x, auto* out) D3_LAMBDA { __builtin_memcpy(out, &x, sizeof(x)); });
    b.n += Vec<T>::size;
  }
  // Each pair on its own, where there are many species.
  D3_INLINE void scatter(Mask<T> mask, Vec<T> slot, const int32_t* place,
                         Bucket<T, dual>* buckets) const {
    const unsigned bits = bits_of(mask);
    for (int k = 0; k < Vec<T>::size; ++k) {
      Bucket<T, dual>& b = buckets[place[int(slot.v[k])]];
      for_columns(b, [k](auto x, auto* out) D3_LAMBDA { *out = lane(x, k); });
      b.n += bits >> k & 1;
    }
  }
  D3_INLINE static T lane(Vec<T> x, int k) { return x.v[k]; }
  D3_INLINE static int32_t lane(Ints<T> x, int k) { return x[k]; }
};

// Records of a register of atoms of a table, as columns.
template <class T, class I>
D3_INLINE void load_records(const AtomRecord<T>* table, const I* atom, Vec<T> (&out)[4]) {
  load_columns([&](int k) D3_LAMBDA { return table[atom[k]].x; }, out);
}

// Puts a register of pairs into the buckets: `kind` is that of the neighbours, `own` of the centre.
template <class T, bool dual, Wanted wanted, class S>
D3_INLINE void distribute(Packer<T, dual, wanted>& pack, Mask<T> inside, Vec<T> kind, Vec<T> own,
                          const ListRow<S>& row, const ListSlot<S>* slots, int n,
                          Bucket<T, dual>* buckets) {
  if constexpr (wanted != Wanted::species) {
    pack.rc = own + kind;
    pack.put_full(inside, *buckets);
  } else if (n > most_packed_species) {
    pack.scatter(inside, kind, row.place, buckets);
  } else {
#pragma GCC unroll 1
    for (int s = 0; s < n; ++s)
      pack.put(inside & equal(kind, Vec<T>(T(slots[s].slot))), buckets[s]);
  }
}

// Neighbours of a register of pairs, counted from the first atom of the system; `far` has its
// highest bit set in a lane where there is no such atom.
template <class T> struct Neighbours {
  Words<T> atom, far;
};
template <class T, class I, class S>
D3_INLINE Neighbours<T> load_neighbours(const I* p, const ListRow<S>& row) {
  const Loaded<T> j = load_integers<T>(p, row.first);
  Words<T> far = j.lower | (uint32_t(row.n - 1) - j.lower);
  if constexpr (sizeof(I) == 8) far |= j.more | (Words<T>{} - j.more);
  return {j.lower, far};
}

// Puts pairs [begin, end) of a row into the buckets, which have room for them. False if a pair is
// wrong, which is looked at with distances.
template <class K, class T, class I, class N, Wanted wanted, class S>
bool fill(const ListAtoms<T>& atoms, const ListRow<S>& row, const ListSlot<S>* slots, int n,
          BucketOf<K, T>* buckets, int64_t begin, int64_t end, Found& found) {
  constexpr bool dual = !std::is_same_v<S, T>, checked = wanted == Wanted::distances;
  Frames<T> frames, t_frames;
  fill_frames(frames, atoms.records[row.atom], row);
  if constexpr (dual) fill_tangent_frames(t_frames, atoms.t_records[row.atom], row);
  Checks<T> checks(row);
  const Vec<T> cutoff2(atoms.cutoff2), same2(atoms.same2), reverse2(atoms.reverse2),
      own(atoms.records[row.atom].kind);
  PairReader<T, I, N> reader(atoms.list, begin);
  for (int64_t p = begin; p < end; p += Vec<T>::size, reader.next()) {
    const Mask<T> real = reader.ready(end - p);
    const Neighbours<T> j = load_neighbours<T>(reader.neighbour, row);
    if (checked && any_negative<T>(j.far)) return false;
    const ShiftVec<T> shifts = load_shifts<checked, T>(reader.shift);
    Vec<T> other[4], t_other[4];
    load_records(atoms.records, reader.neighbour, other);
    const Vector3<Vec<T>> r = frames.vector(other, shifts);
    const Vec<T> r2 = r.norm2();
    Packer<T, dual, wanted> pack;
    pack.neighbour = Ints<T>(j.atom);
    pack.set(r, r2);
    if constexpr (checked)
      checks.add(real, j.atom + uint32_t(row.first), shifts, r2, same2, reverse2);
    if constexpr (dual) {
      load_records(atoms.t_records, reader.neighbour, t_other);
      pack.set_tangent(r, t_frames.vector(t_other, shifts));
    }
    distribute(pack, (r2 <= cutoff2) & real, other[3], own, row, slots, n, buckets);
  }
  for (int k = 0; k < 2; ++k) found.directions.part[k] += wrapped_sum(checks.directions.part[k]);
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

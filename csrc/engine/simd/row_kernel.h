// The loops over the rows of a pair list, for the instruction set of the including file. What
// depends on where vectors come from fills a PairBlock of the pairs of one centre; the loops over a
// block (for_counted, for_energies) call their last argument with a register of pairs.
//
//   b      up to block_pairs pairs of one centre: columns x y z r2 and the neighbours
//   atoms  numbers of the atoms and of the species, see pairs/rows.h
//   row    what belongs to the centre: C6 rows against each slot
#pragma once
#include "engine/pairs/rows.h"
#include "engine/simd/row_registers.h"

namespace d3 {
namespace D3_ISA {

// ---- a block of pairs ----

// Pairs of one centre. Columns have room for a register behind the last pair; `pad` fills it.
template <class K, class T> struct PairBlock {
  using X = typename K::X;
  static constexpr int room = block_pairs + register_bytes / int(sizeof(T));
  typename K::template Column<room> x, y, z, r2;
  alignas(register_bytes) int32_t neighbour[room];
  alignas(register_bytes) int32_t place[room];  // where a pair was before packing
  alignas(register_bytes) int32_t slot[room];   // of the neighbours, where energies are asked
  typename K::template Column<room> u, v;       // memory of the loops
  alignas(register_bytes) T radii[room];
  int n;        // pairs
  bool packed;  // some pairs were left out

  D3_INLINE Vector3<X> r(int k) const { return {x.load(k), y.load(k), z.load(k)}; }

  // Fills r2 from x y z.
  D3_INLINE void measure() {
    for (int k = 0; k < n; k += Vec<T>::size) r2.store(k, r(k).norm2());
  }

  // Makes the lanes behind the last pair harmless.
  D3_INLINE void pad() {
    r2.store(n, X(Vec<T>(T(1))));
    for (int k = n; k < n + Vec<T>::size; ++k) neighbour[k] = slot[k] = 0;
  }

  // Leaves out the pairs beyond the cutoff, but not those of NaN, and pads. Vectors are packed only
  // where they are wanted. Says whether some pair has length 0.
  template <bool vectors> D3_INLINE bool pack(T cutoff) {
    const Vec<T> cutoff2(cutoff * cutoff), zero(T(0));
    bool outside = false, on_spot = false;
    pad();
    for (int k = 0; k < n; k += Vec<T>::size) {
      outside = outside | any(value(r2.load(k)) > cutoff2);
      on_spot = on_spot | any(value(r2.load(k)) <= zero);
    }
    packed = outside;
    if (outside) pack_columns<vectors>(cutoff2);
    return on_spot;
  }

  template <bool vectors> D3_INLINE void pack_columns(Vec<T> cutoff2) {
    int size = 0;
    for (int k = 0; k < n; k += Vec<T>::size) {
      const X square = r2.load(k);
      const auto inside = not_greater(value(square), cutoff2) & first_lanes<T>(n - k);
      if (vectors) {
        const Vector3<X> vector = r(k);
        x.pack(inside, vector.x, size);
        y.pack(inside, vector.y, size);
        z.pack(inside, vector.z, size);
      }
      pack_indices(inside, neighbour + k, neighbour + size);
      r2.pack(inside, square, size);
      size += compress(inside, k, place + size);
    }
    n = size;
    pad();
  }

  // Puts pairs with an atom that is not there, or all of them, out of reach.
  D3_INLINE void hide(const int32_t* slots, bool all) {
    for (int k = 0; k < n; ++k)
      if (all || slots[neighbour[k]] < 0) r2.values[k] = std::numeric_limits<T>::infinity();
  }

  // Looks up the slots of the neighbours.
  D3_INLINE void find_slots(const int32_t* slots) {
    for (int k = 0; k < n; ++k) {
      slot[k] = slots[neighbour[k]];
      asm volatile("");  // no gather, which is slower
    }
  }
};

// ---- coordination number ----

// Calls use(k, f) with the counting function of the registers of a block, from pair k on; in the
// last register, lanes behind the last pair hold something finite.
template <class K, class T, class F>
D3_INLINE void for_counted(PairBlock<K, T>& b, T rcov_i, const T* rcov, F&& use) {
  using X = typename K::X;
  for (int k = 0; k < b.n + Vec<T>::size; ++k) {
    b.radii[k] = rcov_i + rcov[b.neighbour[k]];
    asm volatile("");  // no gather, which is slower
  }
  // one loop for each step, so that the processor works on several registers at once
  for (int k = 0; k < b.n; k += Vec<T>::size) {
    const CountingExponent<X> e = counting_exponent(b.r2.load(k), Vec<T>::load(b.radii + k));
    b.u.store(k, e.exponent);
    b.v.store(k, e.inverse_r);
  }
  for (int k = 0; k < b.n; k += Vec<T>::size) b.u.store(k, exp(b.u.load(k)));
  for (int k = 0; k < b.n; k += Vec<T>::size)
    use(k, counted(b.u.load(k), b.v.load(k), Vec<T>::load(b.radii + k)));
}

// ---- energy ----

// C6 rows of the centre against each slot, (n_slots, 8), and their derivatives by its CN.
template <class T> struct CentreRow {
  Numbers<T> c6, dc6;
  int64_t constants;  // place of its Damping against all slots in atoms.constants
};

// row[s] = sum_a w_a C6ref[a] for every slot s.
template <class T>
D3_INLINE void contract_row(const T* w, const RowAtoms<T>& atoms, int64_t slot, T* row) {
  for (int s = 0; s < atoms.n_slots; ++s) {
    const T* ref = atoms.c6_ref + (slot * atoms.n_slots + s) * max_refs * row_numbers;
    T sum[row_numbers] = {};
    for (int a = 0; a < max_refs; ++a)
      for (int b = 0; b < row_numbers; ++b) sum[b] += w[a] * ref[a * row_numbers + b];
    for (int b = 0; b < row_numbers; ++b) row[s * row_numbers + b] = sum[b];
  }
}

// The row of centre i, in `memory` for 4 n_slots rows.
template <class K, class T>
D3_INLINE CentreRow<T> row_of(const RowAtoms<T>& atoms, int64_t i, T* memory) {
  const int64_t size = int64_t(atoms.n_slots) * row_numbers,
                slot = std::max(atoms.slot[i], 0);  // an atom that is not there has no pairs
  CentreRow<T> row{{memory, memory + size},
                   {memory + 2 * size, memory + 3 * size},
                   slot * n_constants * atoms.n_padded};
  contract_row(atoms.w.values + i * row_numbers, atoms, slot, memory);
  contract_row(atoms.dw.values + i * row_numbers, atoms, slot, memory + 2 * size);
  if (std::is_same_v<typename K::X, Vec<T>>) return row;
  contract_row(atoms.w.tangents + i * row_numbers, atoms, slot, memory + size);
  contract_row(atoms.dw.tangents + i * row_numbers, atoms, slot, memory + 3 * size);
  return row;
}

// Damping constants of the centre's species with those of a register of neighbours.
template <class K, class T>
D3_INLINE Damping<typename K::X> constants_of(const RowAtoms<T>& atoms, int64_t first,
                                              const int32_t* slots) {
  const auto get = [&](int c) D3_LAMBDA {
    return look_up<K>(atoms.constants, first + c * atoms.n_padded, atoms.n_slots, slots);
  };
  return {get(0), get(1), get(2), {get(3), get(4), get(5), get(6)}};
}

// A register of pairs of a block: C6 and damped kernel, derivatives of C6 by the CN of the centre
// and of the neighbour, damping constants. C6 and its derivatives are 0 in lanes behind the last
// pair.
template <class X, DampingForm form> struct RowPairs {
  PairTerm<form, X> pair;
  X by_own, by_other;
  Damping<X> constants;
};

// Calls use(k, pairs) for the registers of a block, whose slots must be there; by_other is 0
// unless `others`.
template <class K, class T, DampingForm form, EnergyMode mode, bool others, class F>
D3_INLINE void for_energies(const PairBlock<K, T>& b, const RowAtoms<T>& atoms,
                            const CentreRow<T>& row, Cutoff<T> cutoff, F&& use) {
  using X = typename K::X;
  const X zero(Vec<T>(T(0)));
  for (int k = 0; k < b.n; k += Vec<T>::size) {
    const auto real = first_lanes<T>(b.n - k);
    const auto product = [&](Numbers<T> of_slot, Numbers<T> of_atom) D3_LAMBDA {
      return select(real, dot_rows<K>(of_slot, b.slot + k, of_atom, b.neighbour + k), zero);
    };
    RowPairs<X, form> p{{product(row.c6, atoms.w), {}},
                        zero,
                        zero,
                        constants_of<K>(atoms, row.constants, b.slot + k)};
    if (mode != EnergyMode::energy) p.by_own = product(row.dc6, atoms.w);
    if (others) p.by_other = product(row.c6, atoms.dw);
    p.pair.g = switched<form>(p.constants, b.r2.load(k), cutoff);
    use(k, p);
  }
}

}  // namespace D3_ISA
}  // namespace d3

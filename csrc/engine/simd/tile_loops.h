// The common parts of the loops over tiles, for the instruction set of the including file: plain
// and dual registers, vectors to a register of neighbours, the search for tiles, packing, sums.
//
//   name    shape                        meaning
//   rows    (n_clusters, n_rows, lanes)  neighbours: x y z, weights, dE/dCN; Row in lattice.h
//   centre  one                          the central atom
//   list    one                          its tiles of one species: near ones, far ones
//   run     up to block_tiles tiles      what is worked on between two emptyings of the sums
//   near    compile-time bool            whether the atom may meet itself in these tiles
//   shell   one                          squared distances between which an atom is a neighbour
#pragma once
#include "engine/lattice/lattice.h"
#include "engine/simd/registers.h"

namespace d3 {
namespace D3_ISA {

template <class T> using Vec = Simd<T>;

// The plain kind of evaluation. The two kinds differ in what they load, broadcast, pack and sum up.
template <class T> struct PlainRegisters {
  template <int n> struct Column {
    alignas(register_bytes) T values[n];
    D3_INLINE Vec<T> load(int k) const { return Vec<T>::load(values + k); }
    D3_INLINE void store(int k, Vec<T> x) { x.store(values + k); }
    template <class M> D3_INLINE int pack(M mask, Vec<T> x, int k) {
      return compress(mask, x, values + k);
    }
  };
  using S = T;
  using X = Vec<T>;
  using A = double;
  static constexpr bool single = sizeof(T) == 4;
  static D3_INLINE X broadcast(S s) { return X(s); }
  static D3_INLINE X load(ClusterRows<T> rows, int64_t at) { return X::load(rows.values + at); }
  static D3_INLINE A sum(X x) { return total(x); }
};

// The dual kind: every register comes with one of tangents.
template <class T> struct DualRegisters {
  template <int n> struct Column {
    alignas(register_bytes) T values[n];
    alignas(register_bytes) T tangents[n];
    D3_INLINE Dual<Vec<T>> load(int k) const {
      return {Vec<T>::load(values + k), Vec<T>::load(tangents + k)};
    }
    D3_INLINE void store(int k, Dual<Vec<T>> x) {
      x.v.store(values + k);
      x.d.store(tangents + k);
    }
    template <class M> D3_INLINE int pack(M mask, Dual<Vec<T>> x, int k) {
      compress(mask, x.d, tangents + k);
      return compress(mask, x.v, values + k);
    }
  };
  using S = Dual<T>;
  using X = Dual<Vec<T>>;
  using A = Dual<double>;
  static constexpr bool single = sizeof(T) == 4;
  static D3_INLINE X broadcast(S s) { return X(Vec<T>(s.v), Vec<T>(s.d)); }
  static D3_INLINE X load(ClusterRows<T> rows, int64_t at) {
    return X(Vec<T>::load(rows.values + at), Vec<T>::load(rows.tangents + at));
  }
  static D3_INLINE A sum(X x) { return A(total(x.v), total(x.d)); }
};

// Vectors r_ij from the central atom to one register of neighbours, with the mask of the neighbours
// in the shell. Lanes outside are put at distance 1, where every formula is finite.
template <class K, class T> struct Meeting {
  Vector3<typename K::X> r;
  typename K::X r2;
  decltype(Vec<T>() > Vec<T>()) inside;

  D3_INLINE Meeting(ClusterRows<T> rows, int64_t at, const Centre<typename K::S>& centre,
                    const Tile<typename K::S>& tile, Shell<T> shell, bool near)
      : r(vector_to(rows, at, centre, tile)), r2(r.norm2()) {
    inside = value(r2) <= Vec<T>(shell.cutoff2);
    if (near) inside = inside & (value(r2) > Vec<T>(shell.same2));
    r2 = select(inside, r2, typename K::X(T(1)));
  }

  D3_INLINE static Vector3<typename K::X> vector_to(ClusterRows<T> rows, int64_t at,
                                                    const Centre<typename K::S>& centre,
                                                    const Tile<typename K::S>& tile) {
    const auto to_tile = [&](int k) D3_LAMBDA {
      return K::broadcast(narrow<typename K::S>(tile.offset[k] - centre.position[k]));
    };
    return {K::load(rows, at + row_x * lanes<T>) + to_tile(0),
            K::load(rows, at + row_y * lanes<T>) + to_tile(1),
            K::load(rows, at + row_z * lanes<T>) + to_tile(2)};
  }

  // Lanes that are on the spot of the atom itself.
  D3_INLINE auto same(Shell<T> shell) const {
    const Vector3<Vec<T>> values{value(r.x), value(r.y), value(r.z)};
    return values.norm2() <= Vec<T>(shell.same2);
  }
};

// See Find in lattice.h.
inline int find(const Boxes& boxes, int first, int last, const float* shift, const float* half,
                float reach, int* found) {
  const Vec<float> zero(0.0f), reach2(reach * reach);
  const Vec<float> by[3] = {shift[0], shift[1], shift[2]}, side[3] = {half[0], half[1], half[2]};
  int n = 0;
  for (int b = first; b < last; b += Vec<float>::size) {
    Vec<float> gap2 = zero;
    for (int k = 0; k < 3; ++k) {
      const Vec<float> d = Vec<float>::load(boxes.columns[k] + b) + by[k];
      const Vec<float> gap =
          max(max(d, -d) - Vec<float>::load(boxes.columns[3 + k] + b) - side[k], zero);
      gap2 += gap * gap;
    }
    n += compress(gap2 <= reach2, b, found + n);
  }
  while (n > 0 && found[n - 1] >= last) --n;  // the register may have run over the end
  return n;
}

// The first n lanes.
template <class T> D3_INLINE auto first_lanes(int n) {
  Vec<T> lane;
  for (int k = 0; k < Vec<T>::size; ++k) lane.v[k] = T(k);
  return Vec<T>(T(n)) > lane;
}

// One bit for each lane that is set.
template <class T> D3_INLINE uint32_t bits_of(Mask<T> mask) {
#if D3_BYTES == 64 && defined(__x86_64__)
  return mask.m;
#elif D3_BYTES == 32 && defined(__x86_64__)
  if constexpr (sizeof(T) == 8)
    return _mm256_movemask_pd(__m256d(mask.m));
  else
    return _mm256_movemask_ps(__m256(mask.m));
#else
  uint32_t bits = 0;
  for (int k = 0; k < Vec<T>::size; ++k) bits |= uint32_t(mask.m[k] != 0) << k;
  return bits;
#endif
}

// Indices of the far tiles that have something within the cutoff of the atom in the middle.
template <class T, class S>
int select_tiles(const TileList<T, S>& list, const Centre<S>& centre, Shell<T> shell) {
  using V = Vec<float>;
  const V zero(0.0f), cutoff2{float(shell.cutoff2)};
  const V position[3] = {float(d3::value(centre.position[0])), float(d3::value(centre.position[1])),
                         float(d3::value(centre.position[2]))};
  const float *offset[3], *half[3];  // apart from the list, which `found` might overwrite
  for (int k = 0; k < 3; ++k) {
    offset[k] = list.boxes[k];
    half[k] = list.boxes[3 + k];
  }
  const int n_far = list.n_far;
  int* found = list.in_reach;
  for (int t = 0; t < n_far; t += V::size) {
    V gap2 = zero;
    for (int k = 0; k < 3; ++k) {
      const V d = V::load(offset[k] + t) - position[k];
      const V gap = max(max(d, -d) - V::load(half[k] + t), zero);
      gap2 += gap * gap;
    }
    found += compress(gap2 <= cutoff2, t, found);
  }
  return int(found - list.in_reach);
}

// A run of tiles, side by side, or picked by indices.
template <class S> struct Run {
  const Tile<S>* tiles;
  const int* index;
  int n;
  D3_INLINE const Tile<S>& operator[](int k) const { return index ? tiles[index[k]] : tiles[k]; }
};

template <class T, class S> D3_INLINE Run<S> near_run(const TileList<T, S>& list, int begin) {
  return {list.near + begin, nullptr, std::min(block_tiles, list.n_near - begin)};
}
template <class T, class S> D3_INLINE Run<S> far_run(const TileList<T, S>& list, int begin, int n) {
  return {list.far, list.in_reach + begin, std::min(block_tiles, n - begin)};
}

// Neighbours of a block of tiles that are in the shell, packed side by side in n columns. Costly
// functions are then computed for no lane in vain, except the lanes that pad the last register.
template <class K, class T, int n> struct Packed {
  using X = typename K::X;
  typename K::template Column<block_tiles * lanes<T> + Vec<T>::size> columns[n];

  D3_INLINE X load(int column, int k) const { return columns[column].load(k); }
  D3_INLINE void store(int column, int k, X x) { columns[column].store(k, x); }
  D3_INLINE void add(decltype(Vec<T>() > Vec<T>()) mask, const X (&values)[n], int& size) {
    int more = 0;
    for (int c = 0; c < n; ++c) more = columns[c].pack(mask, values[c], size);
    size += more;
  }
};

// Calls add(meeting, index of the first lane) for the registers of a run. Returns the number of
// neighbours on the spot of the central atom, by lane.
template <class K, bool near, class T, class S, class F>
D3_INLINE Vec<T> for_meetings(const Run<S>& run, ClusterRows<T> rows, const Centre<S>& centre,
                              Shell<T> shell, F&& add) {
  Vec<T> coincident(T(0));
  for (int t = 0; t < run.n; ++t) {
    const Tile<S>& tile = run[t];
    const int64_t base = int64_t(tile.cluster) * n_rows * lanes<T>;
    for (int v = 0; v < lanes<T>; v += Vec<T>::size) {
      const Meeting<K, T> m(rows, base + v, centre, tile, shell, near);
      add(m, base + v);
      if (near) coincident += select(m.same(shell), Vec<T>(T(1)), Vec<T>(T(0)));
    }
  }
  return coincident;
}

// n sums in registers. Sums in single precision are emptied into double precision after every
// block, before rounding adds up.
template <class K, int n> struct Sums {
  typename K::X now[n];     // of this block, or of all with doubles
  typename K::A before[n];  // of the blocks before

  D3_INLINE Sums() {
    for (int k = 0; k < n; ++k) {
      now[k] = typename K::X(0.0f);
      before[k] = typename K::A(0.0);
    }
  }
  D3_INLINE void empty() {
    for (int k = 0; k < n; ++k) {
      before[k] += K::sum(now[k]);
      now[k] = typename K::X(0.0f);
    }
  }
  D3_INLINE void end_block() {
    if (K::single) empty();
  }
};

// Calls body(run, near) for the blocks of tiles of a group that the central atom meets.
template <class T, class S, class F>
D3_INLINE void for_blocks(const TileList<T, S>& list, const Centre<S>& centre, Shell<T> shell,
                          F&& body) {
  for (int b = 0; b < list.n_near; b += block_tiles) body(near_run(list, b), std::true_type{});
  const int n = list.n_far ? select_tiles(list, centre, shell) : 0;
  for (int b = 0; b < n; b += block_tiles) body(far_run(list, b, n), std::false_type{});
}

// Picks the loop compiled for the number of references of the neighbours: 2, 3, 5 or 7, the next
// one up. Rows are padded with zeros, so that a longer loop gives the same sums.
template <class F> D3_INLINE void with_refs(int n_refs, F&& body) {
  if (n_refs <= 2) return body(std::integral_constant<int, 2>());
  if (n_refs <= 3) return body(std::integral_constant<int, 3>());
  if (n_refs <= 5) return body(std::integral_constant<int, 5>());
  body(std::integral_constant<int, max_refs>());
}

}  // namespace D3_ISA
}  // namespace d3

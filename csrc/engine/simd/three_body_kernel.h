// The kernels of the three-body sweep, for the instruction set of the including file: see
// lattice/three_body.h for the walk, corners.h for the names.
//
//   name      shape                meaning
//   corner    of in.n              the atom that sums
//   J, K      of in.n_tiles        tiles of neighbours; K is J or comes after it
//   side      Side of registers    from a corner to the neighbours of a tile
//   block     (registers, lanes)   the sides from each atom j of J to the registers of atoms k of K
#pragma once
#include "engine/formulas/three_body.h"
#include "engine/lattice/corners.h"
#include "engine/simd/tile_loops.h"

namespace d3 {
namespace D3_ISA {

template <class T> constexpr int registers = lanes<T> / Vec<T>::size;  // of a cluster

// The lanes behind lane k of a cluster, in its register that starts at `first`.
template <class T> D3_INLINE Mask<T> lanes_behind(int first, int k) {
  Vec<T> lane;
  for (int l = 0; l < Vec<T>::size; ++l) lane.v[l] = T(first + l);
  return lane > Vec<T>(T(k));
}

// ---- numbers in columns ----

template <class K, class T> D3_INLINE typename K::X load(Columns<T> from, int64_t at) {
  return K::load(ClusterRows<T>{from.values, from.tangents}, at);
}
template <class T> D3_INLINE void store(Columns<T> to, int64_t at, Vec<T> x) {
  x.store(to.values + at);
}
template <class T> D3_INLINE void store(Columns<T> to, int64_t at, Dual<Vec<T>> x) {
  x.v.store(to.values + at);
  x.d.store(to.tangents + at);
}

// Adds a register to sums in double precision, and reads them as a register.
D3_INLINE void add(double* to, Vec<double> x) { (Vec<double>::load(to) + x).store(to); }
D3_INLINE void add(double* to, Vec<float> x) {
  typedef double Wider __attribute__((vector_size(2 * D3_BYTES)));
  Wider sum;
  __builtin_memcpy(&sum, to, sizeof(sum));
  sum += __builtin_convertvector(x.v, Wider);
  __builtin_memcpy(to, &sum, sizeof(sum));
}
template <class T> D3_INLINE void add(Columns<double> to, int64_t at, Vec<T> x) {
  add(to.values + at, x);
}
template <class T> D3_INLINE void add(Columns<double> to, int64_t at, Dual<Vec<T>> x) {
  add(to.values + at, x.v);
  add(to.tangents + at, x.d);
}
D3_INLINE void add(Columns<double> to, int64_t at, double x) { to.values[at] += x; }
D3_INLINE void add(Columns<double> to, int64_t at, Dual<double> x) {
  to.values[at] += x.v;
  to.tangents[at] += x.d;
}
template <class T> D3_INLINE Vec<T> narrowed(const double* from) {
  Vec<T> x;
  for (int k = 0; k < Vec<T>::size; ++k) x.v[k] = T(from[k]);
  return x;
}
template <class T> D3_INLINE void read(Columns<double> from, int64_t at, Vec<T>& x) {
  x = narrowed<T>(from.values + at);
}
template <class T> D3_INLINE void read(Columns<double> from, int64_t at, Dual<Vec<T>>& x) {
  x = {narrowed<T>(from.values + at), narrowed<T>(from.tangents + at)};
}

// ---- sides ----

// C6 of an atom with a register of neighbours, from the atom's row against the references of all
// species, and the 1/(4/3 r0)^2.
template <class K, class T> struct SidesOfSpecies {
  typename K::X c6;
  Vec<T> scale;
};

template <class K, class T, class S>
D3_INLINE SidesOfSpecies<K, T> of_species(const Corners<T, S>& in, const S* row, const T* scale,
                                          int cluster, int64_t at) {
  using X = typename K::X;
  SidesOfSpecies<K, T> out{X(T(0)), Vec<T>(T(1))};
  const Vec<T> slots = Vec<T>::load(in.rows.values + at + corner_slot * lanes<T>);
  for (int n = in.first_species[cluster]; n < in.first_species[cluster + 1]; ++n) {
    const int slot = in.species[n], first = in.first_ref[slot];
    X c6(T(0));
    for (int b = 0; b < in.first_ref[slot + 1] - first; ++b)
      c6 += K::broadcast(row[first + b]) * K::load(in.rows, at + (corner_w + b) * lanes<T>);
    const auto here = (slots > Vec<T>(T(slot - 0.5))) & (slots <= Vec<T>(T(slot + 0.5)));
    out.c6 = select(here, c6, out.c6);
    out.scale = select(here, Vec<T>(scale[slot]), out.scale);
  }
  return out;
}

// The place of a tile and a corner in the columns of sides or sums, and in `reached`.
template <class T, class S> D3_INLINE int64_t place(const Corners<T, S>& in, int tile, int corner) {
  return int64_t(tile) * in.n + corner;
}

template <class K, class T>
D3_INLINE Side<typename K::X> load_side(Columns<T> sides, int64_t place, int lane) {
  const int64_t at = place * n_side_columns * lanes<T> + lane;
  return {load<K>(sides, at + side_r2 * lanes<T>), load<K>(sides, at + side_v * lanes<T>),
          load<K>(sides, at + side_u * lanes<T>), load<K>(sides, at + side_t * lanes<T>)};
}

// Computes the sides from all corners to all tiles, and which of them count.
template <class K, class T, class S> void fill_sides(const Corners<T, S>& in) {
  for (int tile = 0; tile < in.n_tiles; ++tile) {
    const int cluster = in.tiles[tile].cluster;
    const int64_t base = int64_t(cluster) * n_corner_rows * lanes<T>;
    for (int i = 0; i < in.n; ++i) {
      const int64_t to = place(in, tile, i) * n_side_columns * lanes<T>;
      uint32_t reached = 0;
      for (int v = 0; v < lanes<T>; v += Vec<T>::size) {
        const Meeting<K, T> m(in.rows, base + v, in.corners[i], in.tiles[tile], in.shell, true);
        const auto pair = of_species<K>(in, in.c6_rows[i], in.scale + in.slots[i] * in.n_slots,
                                        cluster, base + v);
        const auto side = make_side(m.r2, pair.c6, pair.scale, in.cutoff, m.inside);
        store(in.sides, to + side_r2 * lanes<T> + v, side.r2);
        store(in.sides, to + side_v * lanes<T> + v, side.v);
        store(in.sides, to + side_u * lanes<T> + v, side.u);
        store(in.sides, to + side_t * lanes<T> + v, side.t);
        reached |= bits_of(value(side.v) > Vec<T>(T(0))) << v;
      }
      in.reached[place(in, tile, i)] = reached;
    }
  }
}

// The sides between two tiles, with 3/8 of their u. Those that are to count once have factors of 0
// the other time.
template <class K, class T> struct Block {
  using X = typename K::X;
  Side<X> sides[registers<T>][lanes<T>];
  uint32_t meets[registers<T>];  // a bit for each j that has a side to the register

  template <class S>
  D3_INLINE void fill(const Corners<T, S>& in, int J, int other, const Centre<S>* atoms) {
    const int cluster = in.tiles[other].cluster;
    const int64_t base = int64_t(cluster) * n_corner_rows * lanes<T>;
    const int* of_j = in.atoms + int64_t(in.tiles[J].cluster) * lanes<T>;
    const int n_refs = in.first_ref[in.n_slots];
    for (int r = 0; r < registers<T>; ++r) {
      meets[r] = 0;
      for (int j = 0; j < lanes<T> && of_j[j] >= 0; ++j) {
        const int v = r * Vec<T>::size;
        const Meeting<K, T> m(in.rows, base + v, atoms[j], in.tiles[other], in.shell, true);
        const auto inside = J == other ? m.inside & lanes_behind<T>(v, j) : m.inside;
        if (!any(inside)) continue;
        const auto pair =
            of_species<K>(in, in.atom_c6_rows + int64_t(of_j[j]) * n_refs,
                          in.scale + in.atom_slots[of_j[j]] * in.n_slots, cluster, base + v);
        Side<X>& side = sides[r][j];
        side = make_side(m.r2, pair.c6, pair.scale, in.cutoff, inside);
        side.u = X(T(0.375)) * side.u;
        meets[r] |= uint32_t(1) << j;
      }
    }
  }
};

// Positions of the atoms of a tile, as of corners.
template <class T> D3_INLINE T scalar(ClusterRows<T> rows, int64_t at, T) {
  return rows.values[at];
}
template <class T> D3_INLINE Dual<T> scalar(ClusterRows<T> rows, int64_t at, Dual<T>) {
  return {rows.values[at], rows.tangents[at]};
}
template <class T, class S>
D3_INLINE void atoms_of_tile(const Corners<T, S>& in, const Tile<S>& tile, Centre<S>* atoms) {
  const int64_t base = int64_t(tile.cluster) * n_corner_rows * lanes<T>;
  for (int j = 0; j < lanes<T>; ++j)
    for (int d = 0; d < 3; ++d)
      atoms[j].position[d] =
          tile.offset[d] + widen(scalar(in.rows, base + (corner_x + d) * lanes<T> + j, S()));
}

// Whether the boxes of two tiles come within the cutoff of each other.
template <class T, class S> D3_INLINE bool within_reach(const Corners<T, S>& in, int J, int other) {
  const Tile<S>&a = in.tiles[J], &b = in.tiles[other];
  double gap2 = 0;
  for (int d = 0; d < 3; ++d) {
    const double apart = std::abs(d3::value(b.offset[d]) - d3::value(a.offset[d])) -
                         in.half[3 * a.cluster + d] - in.half[3 * b.cluster + d];
    gap2 += apart > 0 ? apart * apart : 0;
  }
  return gap2 <= double(in.shell.cutoff2) * (1 + box_slack);
}

// ---- triangles ----

// The sums of the sides to the atoms of one tile J, by lanes of the atoms k: emptied now and then.
template <class K, class T> struct SumsOfTile {
  using X = typename K::X;
  X energy[most_corners][lanes<T>];
  X slope[most_corners][lanes<T>];

  D3_INLINE void clear(int n) {
    for (int i = 0; i < n; ++i)
      for (int j = 0; j < lanes<T>; ++j) energy[i][j] = slope[i][j] = X(T(0));
  }
  template <class S> D3_INLINE void empty(const Corners<T, S>& in, int J) {
    for (int i = 0; i < in.n; ++i) {
      const int64_t to = place(in, J, i) * n_side_sums * lanes<T>;
      for (int j = 0; j < lanes<T>; ++j) {
        add(in.sums, to + sum_energy * lanes<T> + j, K::sum(energy[i][j]));
        add(in.sums, to + sum_slope * lanes<T> + j, K::sum(slope[i][j]));
      }
    }
    clear(in.n);
  }
};

// One number of a column in all lanes.
template <class K, class T> D3_INLINE typename K::X spread(Columns<T> from, int64_t at) {
  return K::broadcast(scalar(ClusterRows<T>{from.values, from.tangents}, at, typename K::S()));
}

// The triangles of a corner i with the sides of a block, for the atoms j in `which`.
template <class K, class T, bool slopes, class S>
D3_INLINE void corner_and_block(const Corners<T, S>& in, int i, int J, int other, uint32_t which,
                                const Block<K, T>& block, SumsOfTile<K, T>& sums) {
  using X = typename K::X;
  const int64_t from = place(in, J, i) * n_side_columns * lanes<T>,
                to = place(in, other, i) * n_side_sums * lanes<T>;
  const uint32_t reached = in.reached[place(in, other, i)],
                 all = (uint32_t(2) << (Vec<T>::size - 1)) - 1;
  for (int r = 0; r < registers<T>; ++r) {
    const int v = r * Vec<T>::size;
    uint32_t bits = reached >> v & all ? which & block.meets[r] : 0;
    if (!bits) continue;
    const Side<X> ik = load_side<K>(in.sides, place(in, other, i), v);
    X energy(T(0)), slope(T(0));
    for (; bits; bits &= bits - 1) {
      const int j = __builtin_ctz(bits);
      const Side<X> ij{spread<K>(in.sides, from + side_r2 * lanes<T> + j),
                       spread<K>(in.sides, from + side_v * lanes<T> + j),
                       spread<K>(in.sides, from + side_u * lanes<T> + j),
                       spread<K>(in.sides, from + side_t * lanes<T> + j)};
      const Triangle<X> one = triangle<slopes>(ij, ik, block.sides[r][j]);
      energy += one.energy;
      sums.energy[i][j] += one.energy;
      if constexpr (slopes) {
        slope += one.by_ik;
        sums.slope[i][j] += one.by_ij;
      }
    }
    add(in.sums, to + sum_energy * lanes<T> + v, energy);
    if constexpr (slopes) add(in.sums, to + sum_slope * lanes<T> + v, slope);
  }
}

// All triangles of the corners with an atom of tile J and one of a tile from J on.
template <class K, class T, bool slopes, class S>
D3_INLINE void triangles_of(const Corners<T, S>& in, int J) {
  uint32_t any_of_j = 0;
  for (int i = 0; i < in.n; ++i) any_of_j |= in.reached[place(in, J, i)];
  if (!any_of_j) return;
  Centre<S> atoms[lanes<T>];
  atoms_of_tile(in, in.tiles[J], atoms);
  SumsOfTile<K, T> sums;
  sums.clear(in.n);
  Block<K, T> block;
  for (int other = J, since = 0; other < in.n_tiles; ++other) {
    if (!within_reach(in, J, other)) continue;
    uint32_t any_of_k = 0;
    for (int i = 0; i < in.n; ++i)
      any_of_k |= in.reached[place(in, J, i)] ? in.reached[place(in, other, i)] : 0;
    if (!any_of_k) continue;
    block.fill(in, J, other, atoms);
    for (int i = 0; i < in.n; ++i)
      corner_and_block<K, T, slopes>(in, i, J, other, in.reached[place(in, J, i)], block, sums);
    if (K::single && ++since == block_tiles) {
      sums.empty(in, J);
      since = 0;
    }
  }
  sums.empty(in, J);
}

// Energies alone where nothing else is asked for; dual numbers always want all.
template <class K, class T, class S> void triangles(const Corners<T, S>& in, int J) {
  if (std::is_same_v<S, T> && !in.slopes) return triangles_of<K, T, false>(in, J);
  triangles_of<K, T, true>(in, J);
}

// Sums up the sides of every corner.
template <class K, class T, class S, class A>
void finish_corners(const Corners<T, S>& in, EnergySums<A>* out) {
  using X = typename K::X;
  for (int i = 0; i < in.n; ++i) {
    Sums<K, of_damping> sums;
    for (int tile = 0; tile < in.n_tiles; ++tile) {
      if (!in.reached[place(in, tile, i)]) continue;
      const int cluster = in.tiles[tile].cluster;
      const int64_t base = int64_t(cluster) * n_corner_rows * lanes<T>,
                    from = place(in, tile, i) * n_side_sums * lanes<T>;
      const T* scale = in.scale + in.slots[i] * in.n_slots;
      for (int v = 0; v < lanes<T>; v += Vec<T>::size) {
        const Meeting<K, T> m(in.rows, base + v, in.corners[i], in.tiles[tile], in.shell, true);
        const X c6 = of_species<K>(in, in.c6_rows[i], scale, cluster, base + v).c6;
        const X dc6 = of_species<K>(in, in.dc6_rows[i], scale, cluster, base + v).c6;
        X energy, slope;
        read(in.sums, from + sum_energy * lanes<T> + v, energy);
        read(in.sums, from + sum_slope * lanes<T> + v, slope);
        add_side<true>(energy, slope, c6, dc6, m.r, m.r, m.r2, in.cutoff, sums.now);
      }
      sums.end_block();
    }
    sums.empty();
    out[i].energy = sums.before[of_energy];
    out[i].dcn = sums.before[of_dcn];
    for (int k = 0; k < 3; ++k) out[i].gradient[k] = sums.before[of_gradient + k];
    for (int k = 0; k < 6; ++k) out[i].virial[k] = sums.before[of_virial + k];
  }
}

template <class K, class T, class S, class A>
constexpr ThreeBodyKernels<T, S, A> three_body_kernels() {
  return {fill_sides<K, T, S>, triangles<K, T, S>, finish_corners<K, T, S, A>};
}

}  // namespace D3_ISA
}  // namespace d3

// The loops over tiles, for the instruction set of the including file (D3_ISA, D3_BYTES): see lattice.h.
#pragma once
#include "dense_kernel.h"
#include "lattice.h"
#include "simd.h"

namespace d3 {
namespace D3_ISA {

template <class T> using Vec = Simd<T>;

// How the plain and the dual evaluation differ: in what they load, broadcast and sum up.
template <class T> struct Plain {
  template <int n> struct Column {
    T values[n];
    D3_INLINE Vec<T> load(int k) const { return Vec<T>::load(values + k); }
    D3_INLINE void store(int k, Vec<T> x) { x.store(values + k); }
    template <class M> D3_INLINE int pack(M mask, Vec<T> x, int k) { return compress(mask, x, values + k); }
  };
  using S = T;
  using X = Vec<T>;
  using A = double;
  static constexpr bool single = sizeof(T) == 4;
  static D3_INLINE X broadcast(S s) { return X(s); }
  static D3_INLINE X load(ClusterRows<T> rows, int64_t at) { return X::load(rows.values + at); }
  static D3_INLINE A sum(X x) { return total(x); }
};

template <class T> struct Dualised {
  template <int n> struct Column {
    T values[n], tangents[n];
    D3_INLINE Dual<Vec<T>> load(int k) const { return {Vec<T>::load(values + k), Vec<T>::load(tangents + k)}; }
    D3_INLINE void store(int k, Dual<Vec<T>> x) { x.v.store(values + k), x.d.store(tangents + k); }
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

// Vectors to one register of neighbours, with the mask of those in the shell; the others are put at distance 1.
template <class K, class T> struct Meeting {
  typename K::X x, y, z, r2;
  decltype(Vec<T>() > Vec<T>()) inside;

  D3_INLINE Meeting(ClusterRows<T> rows, int64_t at, const Centre<typename K::S>& centre, const Tile<typename K::S>& tile, Shell<T> shell, bool near) {
    const auto to_tile = [&](int k) D3_LAMBDA { return K::broadcast(narrow<typename K::S>(tile.offset[k] - centre.position[k])); };
    x = K::load(rows, at + row_x * lanes<T>) + to_tile(0);
    y = K::load(rows, at + row_y * lanes<T>) + to_tile(1);
    z = K::load(rows, at + row_z * lanes<T>) + to_tile(2);
    r2 = x * x + y * y + z * z;
    inside = value(r2) <= Vec<T>(shell.cutoff2);
    if (near) inside = inside & (value(r2) > Vec<T>(shell.same2));
    r2 = select(inside, r2, typename K::X(T(1)));
  }

  // Lanes that are on the spot of the atom itself.
  D3_INLINE auto same(Shell<T> shell) const {
    const Vec<T> a = value(x), b = value(y), c = value(z);
    return a * a + b * b + c * c <= Vec<T>(shell.same2);
  }
};

inline int find(const Boxes& boxes, int first, int last, const float* shift, const float* half, float reach, int* found) {
  const Vec<float> zero(0.0f), reach2(reach * reach);
  const Vec<float> by[3] = {shift[0], shift[1], shift[2]}, side[3] = {half[0], half[1], half[2]};
  int n = 0;
  for (int b = first; b < last; b += Vec<float>::size) {
    Vec<float> gap2 = zero;
    for (int k = 0; k < 3; ++k) {
      const Vec<float> d = Vec<float>::load(boxes.columns[k] + b) + by[k];
      const Vec<float> gap = max(max(d, -d) - Vec<float>::load(boxes.columns[3 + k] + b) - side[k], zero);
      gap2 += gap * gap;
    }
    n += compress(gap2 <= reach2, b, found + n);
  }
  while (n > 0 && found[n - 1] >= last) --n;  // the register may have run over the end
  return n;
}

// Tiles taken together: float sums are emptied into double ones, and exponentials evaluated, this often.
constexpr int block = 32;

// The first n lanes.
template <class T> D3_INLINE auto first_lanes(int n) {
  Vec<T> lane;
  for (int k = 0; k < Vec<T>::size; ++k) lane.v[k] = T(k);
  return Vec<T>(T(n)) > lane;
}

// Indices of the far tiles that have something within the cutoff of the atom in the middle.
template <class T, class S> int select_tiles(const TileList<T, S>& list, const Centre<S>& centre, Shell<T> shell) {
  using V = Vec<float>;
  const V zero(0.0f), cutoff2{float(shell.cutoff2)};
  const V position[3] = {float(d3::value(centre.position[0])), float(d3::value(centre.position[1])), float(d3::value(centre.position[2]))};
  const float* const* boxes = list.boxes;
  const int n_far = list.n_far;
  int* found = list.in_reach;
  for (int t = 0; t < n_far; t += V::size) {
    V gap2 = zero;
    for (int k = 0; k < 3; ++k) {
      const V d = V::load(boxes[k] + t) - position[k];
      const V gap = max(max(d, -d) - V::load(boxes[3 + k] + t), zero);
      gap2 += gap * gap;
    }
    found += compress(gap2 <= cutoff2, t, found);
  }
  return int(found - list.in_reach);
}

// A run of tiles: all of them, or those named by indices.
template <class S> struct Run {
  const Tile<S>* tiles;
  const int* index;
  int n;
  D3_INLINE const Tile<S>& operator[](int k) const { return index ? tiles[index[k]] : tiles[k]; }
};

template <class T, class S> D3_INLINE Run<S> near_run(const TileList<T, S>& list, int begin) {
  return {list.near + begin, nullptr, std::min(block, list.n_near - begin)};
}
template <class T, class S> D3_INLINE Run<S> far_run(const TileList<T, S>& list, int begin, int n) {
  return {list.far, list.in_reach + begin, std::min(block, n - begin)};
}


// ---- coordination number ----

// Neighbours of a block of tiles that are in the shell, packed side by side in columns: what is costly is then computed
// for no lane in vain, but those that pad the last register.
template <class K, class T, int n> struct Packed {
  using X = typename K::X;
  typename K::template Column<block * lanes<T> + Vec<T>::size> columns[n];

  D3_INLINE X load(int column, int k) const { return columns[column].load(k); }
  D3_INLINE void store(int column, int k, X x) { columns[column].store(k, x); }
  D3_INLINE void add(decltype(Vec<T>() > Vec<T>()) mask, const X (&values)[n], int& size) {
    int more = 0;
    for (int c = 0; c < n; ++c) more = columns[c].pack(mask, values[c], size);
    size += more;
  }
};

// Calls add(meeting, index of the first lane) for the registers of a run; the number of lanes on the spot of the atom itself.
template <class K, bool near, class T, class S, class F>
D3_INLINE Vec<T> for_meetings(const Run<S>& run, ClusterRows<T> rows, const Centre<S>& centre, Shell<T> shell, F&& add) {
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

// Sums in registers; float ones are emptied into double ones after every block.
template <class K, int n> struct Sums {
  typename K::X now[n];
  typename K::A before[n];

  D3_INLINE Sums() {
    for (int k = 0; k < n; ++k) now[k] = typename K::X(0.0f), before[k] = typename K::A(0.0);
  }
  D3_INLINE void empty() {
    for (int k = 0; k < n; ++k) before[k] += K::sum(now[k]), now[k] = typename K::X(0.0f);
  }
  D3_INLINE void end_block() {
    if (K::single) empty();
  }
};

// Calls body(run, near) for the blocks of a group that the atom meets.
template <class T, class S, class F> D3_INLINE void for_blocks(const TileList<T, S>& list, const Centre<S>& centre, Shell<T> shell, F&& body) {
  for (int b = 0; b < list.n_near; b += block) body(near_run(list, b), std::true_type{});
  const int n = list.n_far ? select_tiles(list, centre, shell) : 0;
  for (int b = 0; b < n; b += block) body(far_run(list, b, n), std::false_type{});
}

template <class K, class T, class S, class A>
void count(const Group<T, S>* groups, int n, ClusterRows<T> rows, const Centre<S>& centre, Shell<T> shell, CountSums<A>& out) {
  using X = typename K::X;
  Sums<K, 1> cn;
  Vec<T> coincident(T(0));
  for (const Group<T, S>* g = groups; g != groups + n; ++g)
    for_blocks(g->list, centre, shell, [&](const Run<S>& run, auto near) D3_LAMBDA {
      Packed<K, T, 1> b;
      int size = 0;
      coincident += for_meetings<K, near.value>(run, rows, centre, shell, [&](const Meeting<K, T>& m, int64_t) D3_LAMBDA {
        b.add(m.inside, {m.r2}, size);
      });
      b.store(0, size, X(T(1)));
      const auto f = [&](int k) D3_LAMBDA {
        const CountingExponent<X> u = counting_exponent(b.load(0, k), g->rc);
        return counted(exp(u.exponent), u.inverse_r, g->rc).value;
      };
      int k = 0;
      for (; k + Vec<T>::size <= size; k += Vec<T>::size) cn.now[0] += f(k);
      if (k < size) cn.now[0] += select(first_lanes<T>(size - k), f(k), X(T(0)));
      cn.end_block();
    });
  cn.empty();
  out.cn = cn.before[0], out.coincident = total(coincident);
}

// ---- energy ----

// Columns of the sums.
enum Column { of_energy, of_dcn, of_gradient, of_virial = of_gradient + 3, of_damping = of_virial + 6, n_columns = of_damping + 4 };

// dE/dr and its outer product with r.
template <class X> D3_INLINE void add_gradient(X f, X x, X y, X z, X* gradient, X* virial) {
  const X fx = f * x, fy = f * y, fz = f * z;
  gradient[0] += fx, gradient[1] += fy, gradient[2] += fz;
  virial[0] += fx * x, virial[1] += fx * y, virial[2] += fx * z;
  virial[3] += fy * y, virial[4] += fy * z, virial[5] += fz * z;
}

// Sums of C6 g and its derivatives, without the signs and halves that the driver puts in.
template <class K, class T, EnergyMode mode, int R, bool near, class S>
D3_INLINE void energy_run(const Run<S>& run, ClusterRows<T> rows, const Centre<S>& centre, const RationalDamping<typename K::X>& damping,
                          const typename K::X* c6_row, const typename K::X* dc6_row, Cutoff<T> cutoff, Shell<T> shell,
                          typename K::X* sums) {
  using X = typename K::X;
  const X zero(T(0));
  constexpr int columns = mode == EnergyMode::energy ? 1 : mode == EnergyMode::gradient ? of_damping : n_columns;
  X sum[columns];
  for (int k = 0; k < columns; ++k) sum[k] = sums[k];
  for (int t = 0; t < run.n; ++t) {
    const Tile<S>& tile = run[t];
    const int64_t base = int64_t(tile.cluster) * n_rows * lanes<T>;
    for (int v = 0; v < lanes<T>; v += Vec<T>::size) {
      const Meeting<K, T> m(rows, base + v, centre, tile, shell, near);
      const Damped<X> g = switched(damping, m.r2, cutoff);
      X c6 = zero, dc6 = zero;
      for (int b = 0; b < R; ++b) {
        const X w = K::load(rows, base + v + (row_w + b) * lanes<T>);
        c6 += c6_row[b] * w;
        if (mode != EnergyMode::energy) dc6 += dc6_row[b] * w;
      }
      c6 = select(m.inside, c6, zero);
      sum[of_energy] += c6 * g.value;
      if constexpr (mode != EnergyMode::energy) {
        sum[of_dcn] += select(m.inside, dc6, zero) * g.value;
        add_gradient(c6 * g.slope_over_r, m.x, m.y, m.z, sum + of_gradient, sum + of_virial);
      }
      if constexpr (mode == EnergyMode::learn) {
        sum[of_damping] += c6 * g.by_s6, sum[of_damping + 1] += c6 * g.by_s8;
        sum[of_damping + 2] += c6 * g.by_r0 * damping.root, sum[of_damping + 3] += c6 * g.by_r0;
      }
    }
  }
  for (int k = 0; k < columns; ++k) sums[k] = sum[k];
}

template <class K, class T, EnergyMode mode, int R, class S>
void energy_group(const Group<T, S>& group, const C6Row<S>& row, ClusterRows<T> rows, const Centre<S>& centre, Cutoff<T> cutoff,
                  Shell<T> shell, Sums<K, n_columns>& sums) {
  const RationalDamping<S>& d = group.damping;
  const RationalDamping<typename K::X> damping{K::broadcast(d.s6), K::broadcast(d.s8q), K::broadcast(d.q), K::broadcast(d.root),
                                               K::broadcast(d.r0), K::broadcast(d.r0_6), K::broadcast(d.r0_8)};
  typename K::X c6[R], dc6[R];
  for (int b = 0; b < R; ++b) c6[b] = K::broadcast(row.c6[b]), dc6[b] = K::broadcast(row.dc6[b]);
  for_blocks(group.list, centre, shell, [&](const Run<S>& run, auto near) D3_LAMBDA {
    energy_run<K, T, mode, R, near.value>(run, rows, centre, damping, c6, dc6, cutoff, shell, sums.now);
    sums.end_block();
  });
}

// Picks the loop compiled for the number of references of the neighbours (rows are padded with zeros to 7).
template <class K, class T, EnergyMode mode, class... Args> D3_INLINE void energy_by_refs(int n_refs, Args&&... args) {
  if (n_refs <= 2) return energy_group<K, T, mode, 2>(args...);
  if (n_refs <= 3) return energy_group<K, T, mode, 3>(args...);
  if (n_refs <= 5) return energy_group<K, T, mode, 5>(args...);
  energy_group<K, T, mode, max_refs>(args...);
}

template <class K, class T, class S, class A>
void energy(const Group<T, S>* groups, const C6Row<S>* c6, int n, ClusterRows<T> rows, const Centre<S>& centre, Cutoff<T> cutoff,
            Shell<T> shell, EnergyMode mode, EnergySums<A>& out) {
  Sums<K, n_columns> sums;
  for (int k = 0; k < n; ++k) {
    const Group<T, S>& g = groups[k];
    if (std::is_same_v<S, T> && mode == EnergyMode::energy)
      energy_by_refs<K, T, EnergyMode::energy>(g.n_refs, g, c6[k], rows, centre, cutoff, shell, sums);
    else if (std::is_same_v<S, T> && mode == EnergyMode::gradient)
      energy_by_refs<K, T, EnergyMode::gradient>(g.n_refs, g, c6[k], rows, centre, cutoff, shell, sums);
    else
      energy_group<K, T, EnergyMode::learn, max_refs>(g, c6[k], rows, centre, cutoff, shell, sums);
  }
  sums.empty();
  out.energy = sums.before[of_energy], out.dcn = sums.before[of_dcn];
  for (int k = 0; k < 3; ++k) out.gradient[k] = sums.before[of_gradient + k];
  for (int k = 0; k < 6; ++k) out.virial[k] = sums.before[of_virial + k];
  for (int k = 0; k < 4; ++k) out.damping[k] = sums.before[of_damping + k];
}

// ---- gradient through the coordination numbers ----

template <class K, class T, class S, class A>
void count_gradient(const Group<T, S>* groups, int n, ClusterRows<T> rows, const Centre<S>& centre, Shell<T> shell, EnergySums<A>& out) {
  using X = typename K::X;
  const X dcn_i = K::broadcast(centre.dcn);
  Sums<K, 9> sums;
  for (const Group<T, S>* g = groups; g != groups + n; ++g)
    for_blocks(g->list, centre, shell, [&](const Run<S>& run, auto near) D3_LAMBDA {
      Packed<K, T, 4> b;
      int size = 0;
      Packed<K, T, 2> u;
      for_meetings<K, near.value>(run, rows, centre, shell, [&](const Meeting<K, T>& m, int64_t at) D3_LAMBDA {
        b.add(m.inside, {m.x, m.y, m.z, dcn_i + K::load(rows, at + row_dcn * lanes<T>)}, size);
      });
      for (int c = 0; c < 4; ++c) b.store(c, size, X(T(c < 3)));
      for (int k = 0; k < size; k += Vec<T>::size) {
        const X x = b.load(0, k), y = b.load(1, k), z = b.load(2, k);
        const CountingExponent<X> e = counting_exponent(x * x + y * y + z * z, g->rc);
        u.store(0, k, exp(e.exponent)), u.store(1, k, e.inverse_r);
      }
      X sum[9];
      for (int k = 0; k < 9; ++k) sum[k] = sums.now[k];
      for (int k = 0; k < size; k += Vec<T>::size) {
        const X f = counted(u.load(0, k), u.load(1, k), g->rc).slope_over_r * b.load(3, k);
        add_gradient(f, b.load(0, k), b.load(1, k), b.load(2, k), sum, sum + 3);
      }
      for (int k = 0; k < 9; ++k) sums.now[k] = sum[k];
      sums.end_block();
    });
  sums.empty();
  for (int k = 0; k < 3; ++k) out.gradient[k] = sums.before[k];
  for (int k = 0; k < 6; ++k) out.virial[k] = sums.before[3 + k];
}

template <class T> KernelSet<T> kernel_set() {
  using P = Plain<T>;
  using D = Dualised<T>;
  return {find,
          dense,
          {count<P, T, T, double>, energy<P, T, T, double>, count_gradient<P, T, T, double>},
          {count<D, T, Dual<T>, Dual<double>>, energy<D, T, Dual<T>, Dual<double>>, count_gradient<D, T, Dual<T>, Dual<double>>}};
}

}  // namespace D3_ISA
}  // namespace d3

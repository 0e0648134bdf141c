// The kernels of the three sweeps, for the instruction set of the including file (D3_ISA,
// D3_BYTES): see LatticeKernels in lattice.h.
//
//   name          shape                        meaning
//   groups        (n)                          the neighbours of the central atom, by species
//   c6            (n)                          its C6 rows against each species
//   rows          (n_clusters, n_rows, lanes)  the neighbours' numbers
//   centre        one                          the central atom
//   cutoff        one                          cutoff and switching width of the energy
//   shell         one                          squared distances of neighbours
//   out           one                          the sums of the central atom, overwritten
#pragma once
#include "engine/simd/dense_kernel.h"
#include "engine/simd/mutual_kernel.h"
#include "engine/simd/pairwise_kernel.h"
#include "engine/simd/three_body_kernel.h"
#include "engine/simd/tile_loops.h"

namespace d3 {
namespace D3_ISA {

// Whether a kind of evaluation can meet tiles from one side alone.
template <class K, class T> constexpr bool mutual = std::is_same_v<typename K::X, Vec<T>>;

// ---- coordination number ----

// CN of the central atom. The distances of a block of tiles are packed first, then go through the
// exponential, a register at a time, and are summed up.
template <class K, class T, class S, class A>
void count(const Group<T, S>* groups, int n, ClusterRows<T> rows, const Centre<S>& centre,
           Shell<T> shell, CountSums<A>& out) {
  using X = typename K::X;
  Sums<K, 1> cn;
  Vec<T> coincident(T(0));
  for (const Group<T, S>* g = groups; g != groups + n; ++g) {
    for_blocks(g->list, centre, shell, [&](const Run<S>& run, auto near) D3_LAMBDA {
      Packed<K, T, 1> b;
      int size = 0;
      coincident += for_meetings<K, near.value>(run, rows, centre, shell,
                                                [&](const Meeting<K, T>& m, int64_t)
                                                    D3_LAMBDA { b.add(m.inside, {m.r2}, size); });
      b.store(0, size, X(T(1)));
      // one loop for each step, so that the processor works on several registers at once
      for (int k = 0; k < size; k += Vec<T>::size)
        b.store(0, k, counting_exponent(b.load(0, k), g->rc).exponent);
      for (int k = 0; k < size; k += Vec<T>::size) b.store(0, k, exp(b.load(0, k)));
      const X one(T(1));
      X sum(T(0));
      int k = 0;
      for (; k + Vec<T>::size <= size; k += Vec<T>::size)
        sum += counted(b.load(0, k), one, g->rc).value;
      if (k < size)
        sum += select(first_lanes<T>(size - k), counted(b.load(0, k), one, g->rc).value, X(T(0)));
      cn.now[0] += sum;
      cn.end_block();
    });
    if constexpr (mutual<K, T>)
      for_blocks(g->mutual, centre, shell, [&](const Run<T>& run, auto near) D3_LAMBDA {
        coincident +=
            count_mutual<near.value>(run, rows, centre, shell, g->rc, g->reactions, cn.now[0]);
        cn.end_block();
      });
  }
  cn.empty();
  out.cn = cn.before[0];
  out.coincident = total(coincident);
}

// ---- energy ----

// Tiles that go together through the steps of the energy, a loop for each step. With the sixteen
// registers of narrower sets, one loop for all steps would keep its sums in memory, and hold so
// many operations that the processor sees hardly more than one iteration at a time. AVX-512 has
// room.
template <class T> constexpr int staged_tiles = Vec<T>::size == lanes<T> ? 1 : block_tiles;

// Pairs of some tiles in columns; those beyond the cutoff have a C6 of 0. `slope` is dE/dr divided
// by r.
template <class K, class T> struct PairColumns {
  using Column = typename K::template Column<staged_tiles<T> * lanes<T>>;
  Column x, y, z, squared, c6, dc6, slope;
};

// The first step: columns of r, r^2, C6 and dC6/dCN of n tiles.
template <class K, class T, bool slopes, int R, bool near, class S>
D3_INLINE void fill_pairs(const Run<S>& run, int first, int n, ClusterRows<T> rows,
                          const Centre<S>& centre, const typename K::X* c6_row,
                          const typename K::X* dc6_row, Shell<T> shell, PairColumns<K, T>& out) {
  using X = typename K::X;
  const X zero(T(0));
  for (int t = 0; t < n; ++t) {
    const Tile<S>& tile = run[first + t];
    const int64_t base = int64_t(tile.cluster) * n_rows * lanes<T>;
    for (int v = 0; v < lanes<T>; v += Vec<T>::size) {
      const Meeting<K, T> m(rows, base + v, centre, tile, shell, near);
      X c6 = zero, dc6 = zero;
      for (int b = 0; b < R; ++b) {
        const X w = loaded(K::load(rows, base + v + (row_w + b) * lanes<T>));
        c6 += c6_row[b] * w;
        if (slopes) dc6 += dc6_row[b] * w;
      }
      const int k = t * lanes<T> + v;
      out.squared.store(k, m.r2);
      out.c6.store(k, select(m.inside, c6, zero));
      if (slopes) {
        out.x.store(k, m.r.x);
        out.y.store(k, m.r.y);
        out.z.store(k, m.r.z);
        out.dc6.store(k, select(m.inside, dc6, zero));
      }
    }
  }
}

// Adds C6 g and its derivatives over a run of tiles, without the signs and halves that the driver
// puts in. `sums` are registers, of which the mode uses the first.
template <class K, class T, DampingForm form, EnergyMode mode, int R, bool near, class S>
D3_INLINE void energy_run(const Run<S>& run, ClusterRows<T> rows, const Centre<S>& centre,
                          const Damping<typename K::X>& damping, const typename K::X* c6_row,
                          const typename K::X* dc6_row, Cutoff<T> cutoff, Shell<T> shell,
                          typename K::X* sums) {
  using X = typename K::X;
  constexpr bool slopes = mode != EnergyMode::energy;
  constexpr int columns = energy_columns<mode, form>, staged = staged_tiles<T>;
  X sum[columns];
  for (int k = 0; k < columns; ++k) sum[k] = sums[k];
  for (int first = 0; first < run.n; first += staged) {
    const int n = staged == 1 ? 1 : std::min(staged, run.n - first);
    PairColumns<K, T> pairs;
    fill_pairs<K, T, slopes, R, near>(run, first, n, rows, centre, c6_row, dc6_row, shell, pairs);
    for (int k = 0; k < n * lanes<T>; k += Vec<T>::size) {
      const Damped<form, X> g = switched<form>(damping, pairs.squared.load(k), cutoff);
      const PairTerm<form, X> pair{loaded(pairs.c6.load(k)), g};
      add_energy<mode>(pair, slopes ? pairs.dc6.load(k) : X(T(0)), damping, sum);
      if (slopes) pairs.slope.store(k, pair.slope_over_r());
    }
    for (int k = 0; slopes && k < n * lanes<T>; k += Vec<T>::size) {
      const Vector3<X> r{pairs.x.load(k), pairs.y.load(k), pairs.z.load(k)};
      add_gradient<true>(pairs.slope.load(k), r, r, sum + of_gradient, sum + of_virial);
    }
  }
  for (int k = 0; k < columns; ++k) sums[k] = sum[k];
}

// All tiles of one species, with the constants of the pair of species in registers.
template <class K, class T, DampingForm form, EnergyMode mode, int R, class S, class Totals>
void energy_group(const Group<T, S>& group, const C6Row<S>& row, ClusterRows<T> rows,
                  const Centre<S>& centre, Cutoff<T> cutoff, Shell<T> shell, Totals& sums) {
  const auto broadcast = [](S x) D3_LAMBDA { return K::broadcast(x); };
  const Damping<typename K::X> damping = converted(group.damping, broadcast);
  typename K::X c6[R], dc6[R];
  for (int b = 0; b < R; ++b) {
    c6[b] = K::broadcast(row.c6[b]);
    dc6[b] = K::broadcast(row.dc6[b]);
  }
  for_blocks(group.list, centre, shell, [&](const Run<S>& run, auto near) D3_LAMBDA {
    energy_run<K, T, form, mode, R, near.value>(run, rows, centre, damping, c6, dc6, cutoff, shell,
                                                sums.now);
    sums.end_block();
  });
  if constexpr (mutual<K, T>)
    for_blocks(group.mutual, centre, shell, [&](const Run<T>& run, auto near) D3_LAMBDA {
      energy_mutual<T, form, mode, R, near.value>(run, rows, centre, damping, c6, dc6, cutoff,
                                                  shell, group.reactions, sums.now);
      sums.end_block();
    });
}

template <class K, class T, DampingForm form, EnergyMode mode, class... Args>
D3_INLINE void energy_by_refs(int n_refs, Args&&... args) {
  with_refs(n_refs,
            [&](auto refs) D3_LAMBDA { energy_group<K, T, form, mode, refs.value>(args...); });
}

// Energy sums of the central atom. Dual numbers take the one loop that does everything: second
// derivatives always want all of it.
template <class K, class T, DampingForm form, class S, class A>
void energy(const Group<T, S>* groups, const C6Row<S>* c6, int n, ClusterRows<T> rows,
            const Centre<S>& centre, Cutoff<T> cutoff, Shell<T> shell, EnergyMode mode,
            EnergySums<A>& out) {
  Sums<K, energy_columns<EnergyMode::learn, form>> sums;
  for (int k = 0; k < n; ++k) {
    const Group<T, S>& g = groups[k];
    if (std::is_same_v<S, T> && mode == EnergyMode::energy)
      energy_by_refs<K, T, form, EnergyMode::energy>(g.n_refs, g, c6[k], rows, centre, cutoff,
                                                     shell, sums);
    else if (std::is_same_v<S, T> && mode == EnergyMode::gradient)
      energy_by_refs<K, T, form, EnergyMode::gradient>(g.n_refs, g, c6[k], rows, centre, cutoff,
                                                       shell, sums);
    else
      energy_group<K, T, form, EnergyMode::learn, max_refs>(g, c6[k], rows, centre, cutoff, shell,
                                                            sums);
  }
  sums.empty();
  out.energy = sums.before[of_energy];
  out.dcn = sums.before[of_dcn];
  for (int k = 0; k < 3; ++k) out.gradient[k] = sums.before[of_gradient + k];
  for (int k = 0; k < 6; ++k) out.virial[k] = sums.before[of_virial + k];
  for (int k = 0; k < n_parameters(form); ++k) out.damping[k] = sums.before[of_damping + k];
}

// ---- gradient through the coordination numbers ----

// Adds a run of tiles to gradient and virial. Columns of b: x y z of the pair vector, then the sum
// of the two slopes; columns of u: the exponent, then 1/r.
template <class K, bool near, class T, class S>
D3_INLINE void count_gradient_run(const Run<S>& run, ClusterRows<T> rows, const Centre<S>& centre,
                                  Shell<T> shell, T rc, typename K::X* sums) {
  using X = typename K::X;
  const X dcn_i = K::broadcast(centre.dcn);
  Packed<K, T, 4> b;
  int size = 0;
  Packed<K, T, 2> u;
  for_meetings<K, near>(
      run, rows, centre, shell, [&](const Meeting<K, T>& m, int64_t at) D3_LAMBDA {
        b.add(m.inside, {m.r.x, m.r.y, m.r.z, dcn_i + K::load(rows, at + row_dcn * lanes<T>)},
              size);
      });
  for (int c = 0; c < 4; ++c) b.store(c, size, X(T(c < 3)));
  for (int k = 0; k < size; k += Vec<T>::size) {
    const Vector3<X> r{b.load(0, k), b.load(1, k), b.load(2, k)};
    const CountingExponent<X> e = counting_exponent(r.norm2(), rc);
    u.store(0, k, e.exponent);
    u.store(1, k, e.inverse_r);
  }
  for (int k = 0; k < size; k += Vec<T>::size) u.store(0, k, exp(u.load(0, k)));
  for (int k = 0; k < size; k += Vec<T>::size)
    u.store(0, k, counted(u.load(0, k), u.load(1, k), rc).slope_over_r * b.load(3, k));
  X sum[9];
  for (int k = 0; k < 9; ++k) sum[k] = sums[k];
  for (int k = 0; k < size; k += Vec<T>::size) {
    const Vector3<X> r{b.load(0, k), b.load(1, k), b.load(2, k)};
    add_gradient<true>(u.load(0, k), r, r, sum, sum + 3);
  }
  for (int k = 0; k < 9; ++k) sums[k] = sum[k];
}

// Sums over (dE/dCN_i + dE/dCN_j) dCN_ij/dr.
template <class K, class T, class S, class A>
void count_gradient(const Group<T, S>* groups, int n, ClusterRows<T> rows, const Centre<S>& centre,
                    Shell<T> shell, EnergySums<A>& out) {
  Sums<K, 9> sums;
  for (const Group<T, S>* g = groups; g != groups + n; ++g) {
    for_blocks(g->list, centre, shell, [&](const Run<S>& run, auto near) D3_LAMBDA {
      count_gradient_run<K, near.value>(run, rows, centre, shell, g->rc, sums.now);
      sums.end_block();
    });
    if constexpr (mutual<K, T>)
      for_blocks(g->mutual, centre, shell, [&](const Run<T>& run, auto near) D3_LAMBDA {
        count_gradient_mutual<near.value>(run, rows, centre, shell, g->rc, g->reactions, sums.now);
        sums.end_block();
      });
  }
  sums.empty();
  for (int k = 0; k < 3; ++k) out.gradient[k] = sums.before[k];
  for (int k = 0; k < 6; ++k) out.virial[k] = sums.before[3 + k];
}

// The kernels of this instruction set as function pointers.
template <class K, class T, class S, class A> constexpr LatticeKernels<T, S, A> lattice_kernels() {
  return {count<K, T, S, A>,
          {energy<K, T, DampingForm::rational, S, A>, energy<K, T, DampingForm::zero, S, A>,
           energy<K, T, DampingForm::modified_zero, S, A>},
          count_gradient<K, T, S, A>,
          three_body_kernels<K, T, S, A>()};
}
template <class T> constexpr KernelSet<T> kernel_set() {
  constexpr DampingForm rational = DampingForm::rational, zero = DampingForm::zero,
                        modified = DampingForm::modified_zero;
  return {find,
          {dense<rational>, dense<zero>, dense<modified>},
          lattice_kernels<PlainRegisters<T>, T, T, double>(),
          lattice_kernels<DualRegisters<T>, T, Dual<T>, Dual<double>>(),
          {pairwise<T, rational>, pairwise<T, zero>, pairwise<T, modified>}};
}

}  // namespace D3_ISA
}  // namespace d3

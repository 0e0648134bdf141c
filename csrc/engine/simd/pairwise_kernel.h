// Energies of a central atom and its single neighbours, for the instruction set of the including
// file: see PairwiseKernel in lattice.h.
#pragma once
#include "engine/simd/three_body_kernel.h"
#include "engine/simd/tile_loops.h"

namespace d3 {
namespace D3_ISA {

// All tiles of one species.
template <class T, DampingForm form, int R>
void pairwise_group(const Group<T, T>& group, const C6Row<T>& row, ClusterRows<T> rows,
                    const Centre<T>& centre, Cutoff<T> cutoff, Shell<T> shell, double* energies) {
  using K = PlainRegisters<T>;
  const auto broadcast = [](T x) D3_LAMBDA { return K::broadcast(x); };
  const Damping<Vec<T>> damping = converted(group.damping, broadcast);
  Vec<T> c6_row[R];
  for (int b = 0; b < R; ++b) c6_row[b] = K::broadcast(row.c6[b]);
  for_blocks(group.list, centre, shell, [&](const Run<T>& run, auto near) D3_LAMBDA {
    for (int t = 0; t < run.n; ++t) {
      const int64_t cluster = run[t].cluster, base = cluster * n_rows * lanes<T>;
      for (int v = 0; v < lanes<T>; v += Vec<T>::size) {
        const Meeting<K, T> m(rows, base + v, centre, run[t], shell, near.value);
        const Vec<T> g = switched<form>(damping, m.r2, cutoff).value;
        Vec<T> c6(T(0));
        for (int b = 0; b < R; ++b)
          c6 += c6_row[b] * K::load(rows, base + v + (row_w + b) * lanes<T>);
        add(energies + cluster * lanes<T> + v, select(m.inside, c6, Vec<T>(T(0))) * g);
      }
    }
  });
}

template <class T, DampingForm form>
void pairwise(const Group<T, T>* groups, const C6Row<T>* c6, int n, ClusterRows<T> rows,
              const Centre<T>& centre, Cutoff<T> cutoff, Shell<T> shell, double* energies) {
  for (int k = 0; k < n; ++k)
    with_refs(groups[k].n_refs, [&](auto refs) D3_LAMBDA {
      pairwise_group<T, form, refs.value>(groups[k], c6[k], rows, centre, cutoff, shell, energies);
    });
}

}  // namespace D3_ISA
}  // namespace d3

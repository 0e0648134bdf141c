// What the kernels on batches of systems share, whether they find the pairs or are given them: the
// call, cells, weights of the references, sums, the results of a system.
#pragma once
#include "engine/cuda/device.h"
#include "engine/formulas/cell_gradient.h"
#include "engine/lattice/lattice.h"

namespace d3 {

// Atoms of a system on average above which its sums take a warp for each of the n_parts.
constexpr int64_t many_atoms = 4096;

// An atom's weights, padded for wide loads.
template <class X> struct alignas(16) SiteWeights {
  X v[8];
};

// Sums for a system: energy, virial, x (x) dE/dx, damping.
enum Part {
  part_energy,
  part_virial,
  part_moment = part_virial + 6,
  part_damping = part_moment + 9,
  n_parts = part_damping + most_damping
};

// The inputs and results of one call.
template <class T, class S> struct SystemsCall {
  using X = S;
  using A = Wide<S>;
  static constexpr bool dual = !std::is_same_v<S, T>;
  LatticeInput<T> in;
  LatticeTangents<T> tangents;
  Evaluation<T> out;
  int64_t n_atoms;

  __device__ A input(const T* values, const T* tangents_, int64_t k) const {
    if constexpr (dual)
      return A(double(values[k]), double(tangents_[k]));
    else
      return A(values[k]);
  }
  __device__ A position(int64_t atom, int d) const {
    return input(in.systems.positions, tangents.positions, 3 * atom + d);
  }
  __device__ A damping(int64_t system, int k) const {
    return input(in.damping, tangents.damping, in.n_damping() * system + k);
  }
  __device__ A cell(int64_t system, int k, int d) const {
    return input(in.systems.cell, tangents.cell, 9 * system + 3 * k + d);
  }
};

// n sums; `now` is emptied into double precision after every tile, before rounding adds up.
template <class S, int n> struct Sums {
  S now[n];
  Wide<S> before[n];
  __device__ Sums() {
    for (int k = 0; k < n; ++k) {
      now[k] = S(0.0f);
      before[k] = Wide<S>(0.0);
    }
  }
  __device__ void empty() {
    for (int k = 0; k < n; ++k) {
      before[k] += widen(now[k]);
      now[k] = S(0.0f);
    }
  }
};

// The last system whose first atom is not beyond an atom.
__device__ inline int64_t system_of(const int64_t* offsets, int64_t n_systems, int64_t atom) {
  int64_t low = 0, high = n_systems;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    if (offsets[middle] <= atom)
      low = middle;
    else
      high = middle;
  }
  return low;
}

// The cell of a system, completed where it is not periodic. False if it is singular.
template <class T> __device__ bool read_cell(const Systems<T>& systems, int64_t b, Geometry& g) {
  for (int k = 0; k < 3; ++k) {
    g.periodic[k] = systems.pbc[3 * b + k];
    for (int d = 0; d < 3; ++d)
      g.cell[k][d] = g.periodic[k] ? double(systems.cell[9 * b + 3 * k + d]) : 0.0;
  }
  return complete_and_invert(g);
}

// Whether the offsets rise from 0 to n_atoms at a system.
template <class T>
__device__ inline bool offsets_rise(const Systems<T>& systems, int64_t b, int64_t n_atoms) {
  const int64_t first = systems.offsets[b], last = systems.offsets[b + 1];
  return first <= last && first >= 0 && last <= n_atoms && (b > 0 || first == 0) &&
         (b + 1 < systems.n_systems || last == n_atoms);
}

// Writes the weights of an atom and their derivatives by its CN. Returns C6 with its like.
template <int R, class T, class S>
__device__ Wide<S> weigh(const Tables<T>& t, int64_t species, Wide<S> cn, SiteWeights<S>& to_w,
                         SiteWeights<S>& to_dw) {
  using A = Wide<S>;
  T cn_ref[R];
  for (int a = 0; a < R; ++a) cn_ref[a] = t.cn_ref[species * R + a];
  A w[R], dw[R], row[R];
  reference_weights(cn, cn_ref, R, w, dw);
  contract(w, t.c6_ref + species * (t.n_species + 1) * R * R, R, R, R, row);
  SiteWeights<S> narrow_w{}, narrow_dw{};
  for (int a = 0; a < R; ++a) {
    narrow_w.v[a] = narrow<S>(w[a]);
    narrow_dw.v[a] = narrow<S>(dw[a]);
  }
  to_w = narrow_w;
  to_dw = narrow_dw;
  return dot(row, w, R);
}

// Writes the results of a system from its sums, by one thread; NaN where it is bad.
template <class Call>
__device__ void write_system(const Call& c, int64_t b, bool bad, const typename Call::A* sums) {
  using A = typename Call::A;
  const auto put = [&](auto* out, A x) {
    *out = std::decay_t<decltype(*out)>(bad ? not_a_number() : output(x));
  };
  A virial[3][3], rest[3][3], cell[3][3], by_cell[3][3];
  const int packed[9] = {0, 1, 2, 1, 3, 4, 2, 4, 5};
  for (int k = 0; k < 9; ++k) {
    virial[k / 3][k % 3] = c.in.gradients ? sums[part_virial + packed[k]] : A(0.0);
    rest[k / 3][k % 3] = c.in.gradients ? virial[k / 3][k % 3] - sums[part_moment + k] : A(0.0);
    cell[k / 3][k % 3] = c.cell(b, k / 3, k % 3);
  }
  gradient_by_cell(c.frames[b].inverse, cell, c.frames[b].periodic, rest, by_cell);
  put(c.out.energy + b, sums[part_energy]);
  for (int k = 0; k < 9; ++k) {
    put(c.out.virial + 9 * b + k, virial[k / 3][k % 3]);
    put(c.out.cell + 9 * b + k, by_cell[k / 3][k % 3]);
  }
  const int n_damping = c.in.n_damping();
  for (int k = 0; k < n_damping; ++k)
    put(c.out.damping + n_damping * b + k, c.in.learn ? sums[part_damping + k] : A(0.0));
}

}  // namespace d3

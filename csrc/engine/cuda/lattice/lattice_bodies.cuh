// The sums over the neighbours of an atom: coordination number, energy with its derivatives, the
// gradient through the coordination numbers.
//
// A body is the sums of one lane, for the atom of its column over the neighbours of its row:
//   species(s)   prepares for neighbours of species s
//   add(...)     adds one pair: whether it counts, the vector r_ij and its square, the neighbour,
//                the offset of its cluster; with_virial: add to the virial at once
//   end_tile(o)  adds the virial of a whole tile at offset o, for pairs added without
//   empty()      empties the sums into double precision
//   same         counts neighbours on the spot of the atom, where counts_same
//   most_tiles   between two emptyings
#pragma once
#include "engine/cuda/lattice/lattice_meet.cuh"

namespace d3 {

// A value as it comes from a shuffle of a lane with itself: otherwise the compiler would repeat the
// conversion from double precision for every pair.
__device__ inline float settled(float x) { return __shfl_sync(all_lanes, x, lane_index()); }
__device__ inline double settled(double x) { return x; }
template <class T> __device__ inline Dual<T> settled(Dual<T> x) {
  return {settled(x.v), settled(x.d)};
}

// The gradient of the tile at hand, whose pairs have one arm.
template <class S> struct TileGradient {
  S now[3] = {S(0.0f), S(0.0f), S(0.0f)};

  // Adds it, and its virial, to the sums.
  __device__ void end(const Vector3<S>& arm, S* gradient, S* virial) {
    add_virial(Vector3<S>{now[0], now[1], now[2]}, arm, virial);
    for (int k = 0; k < 3; ++k) {
      gradient[k] += now[k];
      now[k] = S(0.0f);
    }
  }
};

// Sums up the coordination number.
template <class T, class S> struct CountBody : Sums<S, 1> {
  static constexpr bool counts_same = true;
  static constexpr int most_tiles = tiles_of_sums;
  const LatticeCall<T, S>& call;
  const T rcov;
  T rc = 0;
  unsigned same = 0;

  __device__ CountBody(const LatticeCall<T, S>& c, const BlockCentre<S>& m)
      : call(c), rcov(c.in.tables.rcov[m.species]) {}
  __device__ void species(int s) { rc = rcov + call.in.tables.rcov[s]; }
  template <bool>
  __device__ void add(bool inside, const Vector3<S>&, S r2, const Neighbour<S>&,
                      const Vector3<S>&) {
    this->now[0] += select(inside, counting(r2, rc).value, S(T(0)));
  }
  __device__ void end_tile(const Vector3<S>&) {}
};

// With r = x_j - x_i + offset, from cluster to cluster, the virial is 1/2 sum dE/dr (x) r =
// 1/2 sum dE/dr (x) offset - sum_i (sum_j dE/dr) (x) x_i, as every pair has its reverse: the arm of
// a pair is the offset, the same for a tile; the rest is left to the end.

// Sums up the energy and what the mode adds, in the order of Column. The tables' rows are R long.
// Without `smooth`, the width must be 0.
template <class T, class S, DampingForm form, EnergyMode mode, int R, bool smooth>
struct EnergyBody : Sums<S, energy_columns<mode, form>> {
  static constexpr bool counts_same = false;
  // Otherwise registers are too short for the gradient of a tile beside the sums: these are emptied
  // after every tile, and it is theirs.
  static constexpr bool has_tile = mode != EnergyMode::learn;
  static constexpr int most_tiles = has_tile ? tiles_of_sums : 1;
  const LatticeCall<T, S>& call;
  const BlockCentre<S>& centre;
  const Cutoff<T> cutoff;
  Damping<S> damping;
  TileGradient<S> tile;
  S c6_row[R], dc6_row[R];
  unsigned same = 0;

  __device__ EnergyBody(const LatticeCall<T, S>& c, const BlockCentre<S>& m)
      : call(c), centre(m), cutoff{c.range_of(m.system).cutoff, c.range_of(m.system).width} {}

  // Constants against a species: the damping, the C6 row of this lane's atom and its derivative.
  // Damping first: in double precision it does not fit into the registers beside the rows.
  __device__ void species(int s) {
    const Tables<T>& t = call.in.tables;
    constexpr int n = n_parameters(form);
    Wide<S> parameters[n];
    for (int k = 0; k < n; ++k) parameters[k] = call.damping(centre.system, k);
    damping = converted(damping_of<form>(parameters, t, centre.species, s),
                        [](Wide<S> x) { return settled(narrow<S>(x)); });
    const T* c6_ref = t.c6_ref + (int64_t(centre.species) * t.n_species + s) * R * R;
    contract(call.neighbours[centre.place].w.v, c6_ref, R, R, R, c6_row);
    leave_out_last(c6_row);
    if (mode == EnergyMode::energy) return;
    contract(call.dw[centre.place].v, c6_ref, R, R, R, dc6_row);
    leave_out_last(dc6_row);
  }

  // Rows against weights whose sum is 1: sum_b row[b] w_b = row[last] + sum_{b < last}
  // (row[b] - row[last]) w_b, so that the last weight is neither loaded nor multiplied. Of five
  // references the last has the smallest C6, of seven at most 2.6 times that: no digits are lost.
  __device__ static void leave_out_last(S (&row)[R]) {
    for (int b = 0; b < R - 1; ++b) row[b] = row[b] - row[R - 1];
  }
  __device__ static S at_weights(const S (&row)[R], const S* w) {
    S sum = row[R - 1];
    for (int b = 0; b < R - 1; ++b) sum += row[b] * w[b];
    return sum;
  }

  template <bool with_virial>
  __device__ void add(bool inside, const Vector3<S>& r, S r2, const Neighbour<S>& n,
                      const Vector3<S>& offset) {
    const SiteWeights<S> w = n.w;
    const Damped<form, S> g =
        smooth ? switched<form>(damping, r2, cutoff) : DampingFunction<form>::at(damping, r2);
    const S zero(T(0));
    const PairTerm<form, S> pair{select(inside, at_weights(c6_row, w.v), zero), g};
    S dc6 = zero;
    if constexpr (mode != EnergyMode::energy) dc6 = select(inside, at_weights(dc6_row, w.v), zero);
    add_energy<mode>(pair, dc6, damping, this->now);
    if constexpr (mode != EnergyMode::energy)
      add_gradient<with_virial>(pair.slope_over_r(), r, offset,
                                has_tile && !with_virial ? tile.now : this->now + of_gradient,
                                this->now + of_virial);
  }
  __device__ void end_tile(const Vector3<S>& offset) {
    S* gradient = this->now + of_gradient;
    S* virial = this->now + of_virial;
    if constexpr (mode == EnergyMode::learn)
      add_virial(Vector3<S>{gradient[0], gradient[1], gradient[2]}, offset, virial);
    else if constexpr (mode != EnergyMode::energy)
      tile.end(offset, gradient, virial);
  }
};

// Sums up the gradient through the coordination numbers, 3 columns, and its virial, 6.
template <class T, class S> struct CountGradientBody : Sums<S, count_gradient_columns> {
  static constexpr bool counts_same = false;
  static constexpr int most_tiles = tiles_of_sums;
  const LatticeCall<T, S>& call;
  const T rcov;
  const S dcn;
  T rc = 0;
  TileGradient<S> tile;
  unsigned same = 0;

  __device__ CountGradientBody(const LatticeCall<T, S>& c, const BlockCentre<S>& m)
      : call(c), rcov(c.in.tables.rcov[m.species]), dcn(m.site.dcn) {}
  __device__ void species(int s) { rc = rcov + call.in.tables.rcov[s]; }
  template <bool with_virial>
  __device__ void add(bool inside, const Vector3<S>& r, S r2, const Neighbour<S>& n,
                      const Vector3<S>& offset) {
    const S f = select(inside, counting(r2, rc).slope_over_r * (dcn + n.site.dcn), S(T(0)));
    add_gradient<with_virial>(f, r, offset, with_virial ? this->now : tile.now, this->now + 3);
  }
  __device__ void end_tile(const Vector3<S>& offset) { tile.end(offset, this->now, this->now + 3); }
};

}  // namespace d3

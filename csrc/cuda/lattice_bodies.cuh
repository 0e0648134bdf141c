// What is summed over the neighbours of an atom: coordination number, energy with its derivatives, the gradient through
// the coordination numbers. `now` is emptied into double precision after every cluster.
#pragma once
#include "lattice_meet.cuh"

namespace d3 {

template <class S, int n> struct RunningSums {
  S now[n];
  Wide<S> total[n];
  __device__ RunningSums() {
    for (int k = 0; k < n; ++k) now[k] = S(0.0f), total[k] = Wide<S>(0.0);
  }
  __device__ void flush() {
    for (int k = 0; k < n; ++k) total[k] += widen(now[k]), now[k] = S(0.0f);
  }
};

// A value as it comes from a shuffle of a lane with itself: otherwise the compiler would repeat the conversion from double
// precision for every pair.
__device__ inline float settled(float x) { return __shfl_sync(all_lanes, x, lane_index()); }
__device__ inline double settled(double x) { return x; }
template <class T> __device__ inline Dual<T> settled(Dual<T> x) { return {settled(x.v), settled(x.d)}; }

template <class T, class S> struct CountBody : RunningSums<S, 1> {
  static constexpr bool counts_same = true;
  const LatticeCall<T, S>& call;
  const T rcov;
  T rc = 0;
  unsigned same = 0;

  __device__ CountBody(const LatticeCall<T, S>& c, const Middle<S>& m) : call(c), rcov(c.in.rcov[m.species]) {}
  __device__ void species(int s) { rc = rcov + call.in.rcov[s]; }
  __device__ void add(bool inside, S, S, S, S r2, int64_t) {
    this->now[0] += select(inside, counting(r2, rc).value, S(T(0)));
  }
};

// Columns of the sums.
enum EnergyColumn { of_energy, of_dcn, of_gradient, of_virial = of_gradient + 3, of_damping = of_virial + 6, n_energy_columns = of_damping + 4 };

template <EnergyMode mode> constexpr int energy_columns =
    mode == EnergyMode::energy ? 1 : mode == EnergyMode::gradient ? int(of_damping) : int(n_energy_columns);

// dE/dr and its outer product with r.
template <class S> __device__ inline void add_gradient(S f, S x, S y, S z, S* gradient, S* virial) {
  const S fx = f * x, fy = f * y, fz = f * z;
  gradient[0] += fx, gradient[1] += fy, gradient[2] += fz;
  virial[0] += fx * x, virial[1] += fx * y, virial[2] += fx * z;
  virial[3] += fy * y, virial[4] += fy * z, virial[5] += fz * z;
}

// R references; the tables' rows are R long.
template <class T, class S, EnergyMode mode, int R> struct EnergyBody : RunningSums<S, energy_columns<mode>> {
  static constexpr bool counts_same = false;
  const LatticeCall<T, S>& call;
  const Middle<S>& middle;
  const Cutoff<T> cutoff;
  RationalDamping<S> damping;
  S c6_row[R], dc6_row[R];
  unsigned same = 0;

  __device__ EnergyBody(const LatticeCall<T, S>& c, const Middle<S>& m) : call(c), middle(m), cutoff{c.in.cutoff, c.in.width} {}

  // Constants against a species: the C6 row of this lane's atom and its derivative, the damping.
  __device__ void species(int s) {
    const Tables<T>& t = call.in.tables;
    const T* c6_ref = t.c6_ref + (int64_t(middle.species) * t.n_species + s) * R * R;
    contract(call.w[middle.place].v, c6_ref, R, R, R, c6_row);
    if (mode != EnergyMode::energy) contract(call.dw[middle.place].v, c6_ref, R, R, R, dc6_row);
    Wide<S> parameters[4];
    for (int k = 0; k < 4; ++k) parameters[k] = call.damping(middle.system, k);
    const auto d = RationalDamping<Wide<S>>::make(parameters, double(t.r4r2[middle.species]), double(t.r4r2[s]));
    const auto narrowed = [](Wide<S> x) { return settled(narrow<S>(x)); };
    damping = {narrowed(d.s6), narrowed(d.s8q), narrowed(d.q), narrowed(d.root), narrowed(d.r0), narrowed(d.r0_6), narrowed(d.r0_8)};
  }

  __device__ void add(bool inside, S x, S y, S z, S r2, int64_t place) {
    auto& sum = this->now;
    const SiteWeights<S> w = call.w[place];
    const Damped<S> g = switched(damping, r2, cutoff);
    const S zero(T(0)), c6 = select(inside, dot(c6_row, w.v, R), zero);
    sum[of_energy] += c6 * g.value;
    if constexpr (mode != EnergyMode::energy) {
      sum[of_dcn] += select(inside, dot(dc6_row, w.v, R), zero) * g.value;
      add_gradient(c6 * g.slope_over_r, x, y, z, sum + of_gradient, sum + of_virial);
    }
    if constexpr (mode == EnergyMode::learn) {
      sum[of_damping] += c6 * g.by_s6, sum[of_damping + 1] += c6 * g.by_s8;
      sum[of_damping + 2] += c6 * g.by_r0 * damping.root, sum[of_damping + 3] += c6 * g.by_r0;
    }
  }
};

template <class T, class S> struct CountGradientBody : RunningSums<S, 9> {
  static constexpr bool counts_same = false;
  const LatticeCall<T, S>& call;
  const T rcov;
  const S dcn;
  T rc = 0;
  unsigned same = 0;

  __device__ CountGradientBody(const LatticeCall<T, S>& c, const Middle<S>& m) : call(c), rcov(c.in.rcov[m.species]), dcn(c.dcn[m.place]) {}
  __device__ void species(int s) { rc = rcov + call.in.rcov[s]; }
  __device__ void add(bool inside, S x, S y, S z, S r2, int64_t place) {
    const S f = select(inside, counting(r2, rc).slope_over_r * (dcn + call.dcn[place]), S(T(0)));
    add_gradient(f, x, y, z, this->now, this->now + 3);
  }
};

// Sums over the lanes and warps that worked for an atom: n columns of block_atoms numbers in shared memory.
template <class A, int n, class S> __device__ A* gather(const Middle<S>& m, const A (&totals)[n]) {
  A* shared = shared_memory<A>() + reach_bytes / sizeof(A);
  for (int k = 0; k < n; ++k) {
    A sum = totals[k];
    for (int step = warp_lanes / 2; step >= m.width; step /= 2) sum += shuffle_xor(sum, step);
    if (lane_index() < m.width) shared[(warp_index() * n + k) * block_atoms + lane_index()] = m.active() ? sum : A(0.0);
  }
  __syncthreads();
  for (int t = threadIdx.x; t < n * block_atoms; t += blockDim.x) {
    A sum(0.0);
    for (int warp = 0; warp < warp_count() && t % block_atoms < m.count; ++warp) sum += shared[warp * n * block_atoms + t];
    shared[t] = sum;
  }
  __syncthreads();
  return shared;
}

// The sum of a column over the atoms of the block.
template <class A> __device__ inline A column_sum(const A* columns, int k) {
  A sum(0.0);
  for (int i = 0; i < block_atoms; ++i) sum += columns[k * block_atoms + i];
  return sum;
}

}  // namespace d3

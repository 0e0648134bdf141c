// How a warp, or several, walk the directed pairs of their atom, and the sums they take.
#pragma once
#include "engine/cuda/pairs/list_call.cuh"

namespace d3 {

// Warps of a block that walks rows, at most.
constexpr int most_row_warps = 4;
constexpr int row_threads = most_row_warps * warp_lanes;
// Pairs of a lane between two emptyings of its sums.
constexpr int pairs_of_sums = 32;

// n sums of a lane: in double precision from the start where that is their type.
template <class S, int n, bool wide = std::is_same_v<S, Wide<S>>> struct RowSums : Sums<S, n> {
  int pairs = 0;
  __device__ void added() {
    if (++pairs % pairs_of_sums == 0) this->empty();
  }
  __device__ const Wide<S> (&totals()) [n] {
    this->empty();
    return this->before;
  }
};
template <class S, int n> struct RowSums<S, n, true> {
  S now[n];
  __device__ RowSums() {
    for (int k = 0; k < n; ++k) now[k] = S(0.0);
  }
  __device__ void added() {}
  __device__ const S (&totals() const)[n] { return now; }
};

// A whole number of cells times a component of a cell vector.
__device__ inline double times(double n, double x) { return n * x; }
__device__ inline Dual<double> times(double n, Dual<double> x) { return {n * x.v, n * x.d}; }

// An atom as the centre of its pairs, and which of them a lane takes. A block has blockDim / warps
// / warp_lanes atoms; those beyond the last work on no pair.
template <class T, class S> struct RowCentre {
  using A = Wide<S>;
  const ListCall<T, S>& call;
  const int threads;  // that share the atom
  const bool active;
  const int64_t atom;
  const ListSite<A> site;
  const Periodic periodic;
  const bool loose;
  A cell[3][3];  // 0 along axes that are not periodic

  __device__ RowCentre(const ListCall<T, S>& c, int warps)
      : call(c),
        threads(warps * warp_lanes),
        active(thread_index() / threads < c.n_atoms),
        atom(active ? thread_index() / threads : 0),
        site(c.sites[atom]),
        periodic(c.frames[site.system].periodic),
        loose(c.loose()) {
    for (int k = 0; k < 3; ++k)
      for (int d = 0; d < 3; ++d) cell[k][d] = periodic[k] ? c.cell(site.system, k, d) : A(0.0);
  }

  // The vector to a neighbour, in double precision before it is narrowed: that of the reverse pair
  // is its opposite to the last bit.
  __device__ Vector3<S> vector_to(const ListSite<A>& other, const double (&shift)[3]) const {
    A x = other.x - site.x, y = other.y - site.y, z = other.z - site.z;
    for (int k = 0; k < 3; ++k) {
      x += times(shift[k], cell[k][0]);
      y += times(shift[k], cell[k][1]);
      z += times(shift[k], cell[k][2]);
    }
    return {narrow<S>(x), narrow<S>(y), narrow<S>(z)};
  }

  // Calls f(pair, site of the neighbour, vector) for the pairs of a lane.
  template <class F> __device__ void for_pairs(F&& f) const {
    if (!active) return;
    const int end = call.rows[atom + 1];
    for (int q = call.rows[atom] + int(threadIdx.x % unsigned(threads)); q < end; q += threads) {
      const DirectedPair pair = call.directed(q, loose);
      const ListSite<A> other = call.sites[pair.j];
      f(pair, other, vector_to(other, pair.shift));
    }
  }

  // Sums over the threads of the atom: its thread k gets column k, and the others nothing.
  template <int n> __device__ A gather(const A (&totals)[n]) const {
    A* shared = shared_memory<A>();
    for (int k = 0; k < n; ++k) {
      const A sum = warp_sum(totals[k]);
      if (lane_index() == 0) shared[n * warp_index() + k] = sum;
    }
    __syncthreads();
    const int k = int(threadIdx.x) % threads, first = int(threadIdx.x) / threads * threads;
    A sum(0.0);
    for (int warp = first / warp_lanes; warp < (first + threads) / warp_lanes && k < n; ++warp)
      sum += shared[n * warp + k];
    return sum;
  }
  // Whether this thread has column k < n of an atom.
  __device__ bool has(int n) const { return active && int(threadIdx.x) % threads < n; }
  __device__ int column() const { return int(threadIdx.x) % threads; }
};

}  // namespace d3

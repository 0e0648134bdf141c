// The inspection of a pair list before it is walked: whether it is sorted by centre, whether it
// holds the reverse of every pair, whether all its indices are in range; and the first pair of
// every atom.
#pragma once
#include "engine/cuda/device.h"
#include "engine/pairs/inputs.h"
#include "engine/pairs/kernels.h"

namespace d3 {

// The findings, zeroed before the list is inspected.
struct ListState {
  unsigned long long hash;  // 0: every pair has its reverse
  unsigned unsorted;        // centres do not rise
  unsigned bad;             // an index is out of range
  unsigned lopsided;        // C6 tables differ between (s, t) and (t, s)
  __device__ bool sorted() const { return !unsorted && !bad; }
  __device__ bool symmetric() const { return sorted() && !hash && !lopsided; }
};

// The bits of a number, the same for 0 and -0.
__device__ inline unsigned long long bits(float x) { return __float_as_uint(x + 0.0f); }
__device__ inline unsigned long long bits(double x) {
  return (unsigned long long)__double_as_longlong(x + 0.0);
}
template <class T> __device__ inline unsigned long long bits(Dual<T> x) {
  return bits(x.v) + 0x9e3779b97f4a7c15ull * bits(x.d);
}

// A hash of a directed pair. The sum over all pairs of the hash less that of the reverse pair is 0
// where every pair has its reverse, and otherwise 0 once in 2^64 by chance.
template <class X>
__device__ inline unsigned long long pair_hash(int64_t i, int64_t j, X x, X y, X z) {
  unsigned long long h = 0xff51afd7ed558ccdull * (unsigned long long)i +
                         0xc4ceb9fe1a85ec53ull * (unsigned long long)j +
                         0xd6e8feb86659fd93ull * bits(x) + 0xa0761d6478bd642full * bits(y) +
                         0xe7037ed1a0b428dbull * bits(z);
  h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9ull;
  h = (h ^ (h >> 27)) * 0x94d049bb133111ebull;
  return h ^ (h >> 31);
}

// The ends of a pair; `ok` is false, and the species are 0, where an index is out of range.
struct Ends {
  int64_t i;  // centre
  int64_t j;  // neighbour
  int s_i;    // species
  int s_j;
  bool ok;
};

template <class T>
__device__ inline Ends ends_of(const Pairs<T>& list, int64_t i, int64_t j, int n_species) {
  Ends e{i, j, 0, 0, uint64_t(i) < uint64_t(list.n_atoms) && uint64_t(j) < uint64_t(list.n_atoms)};
  if (!e.ok) return e;
  const int64_t s = list.species[i], t = list.species[j];
  e.ok = uint64_t(s) < uint64_t(n_species) && uint64_t(t) < uint64_t(n_species);
  if (e.ok) {
    e.s_i = int(s);
    e.s_j = int(t);
  }
  return e;
}

// Squared length of a pair vector; NaN for length 0, which is refused where values can be looked
// at.
template <class X> __device__ inline X squared_length(const Vector3<X>& r) {
  using T = typename value_type<X>::type;
  const X r2 = r.norm2();
  return value(r2) == T(0) ? r2 + X(T(not_a_number())) : r2;
}

// Pairs [begin, end) of a warp: all pairs of its atom, or its piece of a list that is not sorted.
struct Chunk {
  int64_t begin;
  int64_t end;
};

template <class T>
__device__ inline Chunk chunk_of(const Pairs<T>& list, const int64_t* rows, bool sorted,
                                 int64_t warp, int64_t warps) {
  if (sorted) return {rows[warp], warp + 1 < list.n_atoms ? rows[warp + 1] : list.n_pairs};
  return {list.n_pairs * warp / warps, list.n_pairs * (warp + 1) / warps};
}

// Fills the state and the first pair of every atom. Also notes which species occur, where `present`
// is given, and hashes the pairs where `with_hash`.
template <bool with_hash, class V, class T>
__global__ void inspect(Pairs<T> list, V vectors, int n_species, ListState* state, int* present,
                        int64_t* rows) {
  bool unsorted = false, bad = false;
  unsigned long long hash = 0;
  for (int64_t p = thread_index(); p < list.n_pairs; p += thread_count()) {
    const int64_t i = list.centre[p], j = list.neighbour[p];
    unsorted = unsorted || (p > 0 && list.centre[p - 1] > i);
    bad = bad || uint64_t(i) >= uint64_t(list.n_atoms) || uint64_t(j) >= uint64_t(list.n_atoms);
    if constexpr (with_hash) {
      const auto r = vector_at(vectors, p);
      hash += pair_hash(i, j, r.x, r.y, r.z) - pair_hash(j, i, -r.x, -r.y, -r.z);
    }
  }
  for (int64_t i = thread_index(); i < list.n_atoms; i += thread_count()) {
    const int64_t species = list.species[i];
    const bool known = uint64_t(species) < uint64_t(n_species);
    bad = bad || !known;
    if (known && present) atomicOr(present + species, 1);
    int64_t low = 0, high = list.n_pairs;  // the first pair whose centre is i or more
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (list.centre[middle] < i)
        low = middle + 1;
      else
        high = middle;
    }
    rows[i] = low;
  }
  if (unsorted) atomicOr(&state->unsorted, 1u);
  if (bad) atomicOr(&state->bad, 1u);
  if (with_hash && hash) atomicAdd(&state->hash, hash);
}

// Writes sums of the atoms as results, NaN where the list is bad.
template <class T>
__global__ void finish(const double* sums, int64_t n, const ListState* state, T* out) {
  const int64_t i = thread_index();
  if (i < n) out[i] = state->bad ? T(not_a_number()) : T(sums[i]);
}

// Writes one number into all components of a gradient.
template <class T> __device__ inline void store_same(T x, T* out) {
  out[0] = x;
  out[1] = x;
  out[2] = x;
}

// Threads of a block.
constexpr int pair_threads = 256;
// Blocks of `inspect`, at most: 8 for each of the 132 multiprocessors of an H100, which fill it.
constexpr int64_t most_inspect_blocks = 1056;

// Blocks of `inspect`: enough to fill a card, few enough to add up their hashes quickly.
inline int64_t inspect_blocks(int64_t n_pairs, int64_t n_atoms) {
  const int64_t blocks = blocks_for(n_pairs > n_atoms ? n_pairs : n_atoms, pair_threads);
  return blocks < most_inspect_blocks ? blocks : most_inspect_blocks;
}

}  // namespace d3

// Where the kernels on a list read its pairs, for the instruction set of the including file.
#pragma once
#include "engine/pairs/list_rows.h"
#include "engine/simd/tile_loops.h"

namespace d3 {
namespace D3_ISA {

// The last pairs of a row, with the last one repeated to fill a register of n.
template <class I, class N, int n> struct LastPairs {
  I neighbour[n];
  N shifts[3 * n];
};
template <class I, class N, int n>
void take_last(LastPairs<I, N, n>& last, const I* neighbour, const N* shifts, int64_t left) {
  for (int k = 0; k < n; ++k) {
    const int64_t from = std::min<int64_t>(k, left - 1);
    last.neighbour[k] = neighbour[from];
    for (int d = 0; d < 3; ++d) last.shifts[3 * k + d] = shifts[3 * from + d];
  }
}

// Asks for what will be read some rounds later, of n numbers a round.
template <int n, class N> D3_INLINE void prefetch(const N* p) {
  const char* from = reinterpret_cast<const char*>(p) + list_ahead * n * sizeof(N) / D3_BYTES;
  for (size_t k = 0; k < n * sizeof(N); k += 64) __builtin_prefetch(from + k);
}

// Where a row is read; its last pairs are read from a copy if they fill no register.
template <class T, class I, class N> struct PairReader {
  static constexpr int size = Vec<T>::size;
  const I* neighbour;
  const N* shift;
  LastPairs<I, N, size> last;

  D3_INLINE PairReader(const ListColumns& list, int64_t p)
      : neighbour(static_cast<const I*>(list.neighbour) + p),
        shift(static_cast<const N*>(list.shifts) + 3 * p) {}

  // Makes `left` pairs of the row readable, and says which lanes they are.
  D3_INLINE Mask<T> ready(int64_t left) {
    prefetch<size>(neighbour);
    prefetch<3 * size>(shift);
    if (left >= size) return Vec<T>(T(0)) <= Vec<T>(T(0));
    take_last(last, neighbour, shift, left);
    neighbour = last.neighbour;
    shift = last.shifts;
    return first_lanes<T>(int(left));
  }
  D3_INLINE void next() {
    neighbour += size;
    shift += 3 * size;
  }
};

}  // namespace D3_ISA
}  // namespace d3

// Whether every pair of a list has its reverse is told by a sum over pairs of a number that changes
// its sign with the direction, h(j, i, -S) = -h(i, j, S), and is otherwise as good as random, in
// integers that wrap: it vanishes where every pair has its reverse, else by chance once in some
// 2^60 times.
#pragma once
#include <cstdint>

#include "engine/formulas/d3_math.h"

namespace d3 {

// Odd numbers without a pattern: fractional parts of roots.
constexpr uint64_t direction_atom[2] = {0x9e3779b97f4a7c15, 0xbb67ae8584caa73b};
constexpr uint64_t direction_shift[3] = {0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
                                         0x510e527fade682d1};

// A number of an atom, another for each. U: unsigned integers, or registers of them.
template <class U> D3_HD inline U atom_direction(U atom) {
  const U x = (atom + 1) * direction_atom[0];
  return (x ^ (x >> 31)) * direction_atom[1];
}

// A number of a shift; it is linear in it.
template <class U> D3_HD inline U shift_direction(U x, U y, U z) {
  return x * direction_shift[0] + y * direction_shift[1] + z * direction_shift[2];
}

// h of a pair, from the numbers of its atoms and of its shift. It is not linear: around a ring of
// pairs, or over shifts that cancel, it does not vanish.
template <class U> D3_HD inline U pair_direction(U centre, U neighbour, U shift) {
  const U d = neighbour - centre + shift, square = d * d;
  return d * ((square ^ (square >> 32)) | 1);
}

}  // namespace d3

// Whether every pair of a list has its reverse is told by a sum over pairs of numbers that change
// their sign with the direction, h(j, i, -S) = -h(i, j, S), and are otherwise as good as random, in
// integers that wrap: it vanishes where every pair has its reverse, else by chance once in some
// 2^60 times. Two numbers of 32 bits, each with constants of its own, do that with the integers
// that every instruction set multiplies.
#pragma once
#include <cstdint>

#include "engine/formulas/d3_math.h"

namespace d3 {

// Two numbers of an atom, a shift or a pair, or their sums. U: unsigned integers of 32 bits, or
// registers of them.
template <class U> struct Direction {
  U part[2];
  D3_HD inline Direction& operator+=(const Direction& more) {
    for (int k = 0; k < 2; ++k) part[k] += more.part[k];
    return *this;
  }
  D3_HD inline bool zero() const { return part[0] == 0 && part[1] == 0; }
};

// Odd numbers without a pattern: fractional parts of roots.
constexpr uint32_t direction_mix = 0x9e3779b9;
constexpr uint32_t direction_atom[2] = {0xbb67ae85, 0x84caa73b};
constexpr uint32_t direction_shift[2] = {0x3c6ef373, 0xa54ff53b};

// Numbers of an atom, others for each.
template <class U> D3_HD inline Direction<U> atom_direction(U atom) {
  const U x = (atom + 1) * direction_mix, mixed = x ^ (x >> 15);
  return {{mixed * direction_atom[0], mixed * direction_atom[1]}};
}

// Numbers of a shift; they are linear in it, and others for shifts that differ by less than 1024
// cells along each axis.
template <class U> D3_HD inline Direction<U> shift_direction(U x, U y, U z) {
  const U all = x + (y << 11) + (z << 22);
  return {{all * direction_shift[0], all * direction_shift[1]}};
}

// h of a pair, from the numbers of its atoms and of its shift. It is not linear: around a ring of
// pairs, or over shifts that cancel, it does not vanish. The sum of the atoms tells apart images of
// different atoms, whose d is that of the shift alone.
template <class U> D3_HD inline U odd_in_direction(U centre, U neighbour, U shift) {
  const U d = neighbour - centre + shift, even = d * d + (centre + neighbour);
  return d * ((even ^ (even >> 16)) | 1);
}
template <class U>
D3_HD inline Direction<U> pair_direction(const Direction<U>& centre, const Direction<U>& neighbour,
                                         const Direction<U>& shift) {
  return {{odd_in_direction(centre.part[0], neighbour.part[0], shift.part[0]),
           odd_in_direction(centre.part[1], neighbour.part[1], shift.part[1])}};
}

}  // namespace d3

// The geometry of a cell in double precision, for the engines on a CPU and on a GPU: reciprocal
// vectors, heights, volume, wrapping, extents.
#pragma once
#include <array>
#include <cmath>
#include <limits>

#include "engine/formulas/dual.h"
#include "engine/tuning.h"

namespace d3 {

using Vec3 = std::array<double, 3>;
using Cell = std::array<Vec3, 3>;      // rows are the lattice vectors
using Periodic = std::array<bool, 3>;  // of the axes
using Shift = std::array<int, 3>;      // in lattice vectors

D3_HD inline double inner(const Vec3& a, const Vec3& b) {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}
D3_HD inline double norm(const Vec3& a) { return std::sqrt(inner(a, a)); }
D3_HD inline Vec3 cross(const Vec3& a, const Vec3& b) {
  return {a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]};
}

// A cell completed to three vectors, and what follows from them.
struct Geometry {
  Cell cell;
  Cell inverse;  // fractional = x @ inverse; its columns are the reciprocal vectors
  Vec3 height;   // distance of the faces across each vector
  Periodic periodic;
  double volume;
};

D3_HD inline Vec3 normalised(const Vec3& v) {
  const double length = norm(v);
  return {v[0] / length, v[1] / length, v[2] / length};
}

// Up to two orthonormal vectors; 0 where there is none yet. Named, not numbered: an array that is
// indexed at run time would be in slow memory on a GPU.
struct Basis {
  Vec3 first{};
  Vec3 second{};
  int n = 0;

  D3_HD inline void add(const Vec3& v) {
    if (n == 0) first = v;
    if (n == 1) second = v;
    ++n;
  }

  // What they leave of a vector. The second pass removes what rounding leaves of the first.
  D3_HD inline Vec3 residual(Vec3 v) const {
    for (int pass = 0; pass < 2; ++pass) {
      const double a = inner(v, first);
      v = {v[0] - a * first[0], v[1] - a * first[1], v[2] - a * first[2]};
      const double b = inner(v, second);
      v = {v[0] - b * second[0], v[1] - b * second[1], v[2] - b * second[2]};
    }
    return v;
  }

  // What they leave of the Cartesian unit vector of which they leave most.
  D3_HD inline Vec3 largest_residual() const {
    const Vec3 x = residual({1, 0, 0}), y = residual({0, 1, 0}), z = residual({0, 0, 1});
    const Vec3 most = norm(x) < norm(y) ? y : x;
    return norm(most) < norm(z) ? z : most;
  }
};

// Puts unit vectors orthogonal to the periodic ones along the axes that are not periodic.
D3_HD inline void complete(Cell& cell, const Periodic& periodic) {
  Basis basis;
  for (int axis = 0; axis < 3; ++axis)
    if (periodic[axis]) basis.add(normalised(basis.residual(cell[axis])));
  for (int axis = 0; axis < 3; ++axis) {
    if (periodic[axis]) continue;
    cell[axis] = normalised(basis.largest_residual());
    basis.add(cell[axis]);
  }
}

// Fills inverse, heights and volume from three vectors.
D3_HD inline void invert(Geometry& g) {
  const Cell normal{cross(g.cell[1], g.cell[2]), cross(g.cell[2], g.cell[0]),
                    cross(g.cell[0], g.cell[1])};
  const double det = inner(g.cell[0], normal[0]);
  g.volume = std::fabs(det);
  for (int k = 0; k < 3; ++k) {
    g.height[k] = g.volume / norm(normal[k]);
    for (int d = 0; d < 3; ++d) g.inverse[d][k] = normal[k][d] / det;
  }
}

// Completes a cell and fills the rest. False if the periodic vectors do not span a volume.
D3_HD inline bool complete_and_invert(Geometry& g) {
  double product = 1;
  for (int k = 0; k < 3; ++k)
    if (g.periodic[k]) product *= norm(g.cell[k]);
  complete(g.cell, g.periodic);
  invert(g);
  return product > 0 && g.volume > least_relative_volume * product &&
         g.volume < std::numeric_limits<double>::max();
}

// Coordinates in units of the cell vectors.
D3_HD inline Vec3 fractional(const Geometry& g, const Vec3& x) {
  Vec3 f;
  for (int k = 0; k < 3; ++k)
    f[k] = x[0] * g.inverse[0][k] + x[1] * g.inverse[1][k] + x[2] * g.inverse[2][k];
  return f;
}

// Moves a position, whose fractional coordinates are given, into the cell along periodic axes, and
// says by how many lattice vectors. False if it is too many cells away.
D3_HD inline bool wrap(const Geometry& g, const Vec3& fractional, Vec3& x, Shift& shift) {
  shift = {0, 0, 0};
  for (int k = 0; k < 3; ++k) {
    if (!g.periodic[k]) continue;
    if (!(std::fabs(fractional[k]) < farthest)) return false;
    shift[k] = -int(std::floor(fractional[k]));
    for (int d = 0; d < 3; ++d) x[d] += shift[k] * g.cell[k][d];
  }
  return true;
}

// Half the extent of a box of half sides `half` along an axis, in fractional coordinates.
template <class Half> D3_HD inline double extent(const Geometry& g, int axis, const Half& half) {
  double e = 0;
  for (int d = 0; d < 3; ++d) e += std::fabs(g.inverse[d][axis]) * half[d];
  return e;
}

// The volume of a cell of any numbers, positive whatever its handedness.
template <class A> D3_HD inline A volume_of(const A (&c)[3][3]) {
  const A det = c[0][0] * (c[1][1] * c[2][2] - c[1][2] * c[2][1]) +
                c[0][1] * (c[1][2] * c[2][0] - c[1][0] * c[2][2]) +
                c[0][2] * (c[1][0] * c[2][1] - c[1][1] * c[2][0]);
  return value(det) < 0 ? -det : det;
}

}  // namespace d3

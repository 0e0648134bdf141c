// The gradient by the cell at fixed positions, from the virial and the gradient by the positions.
#pragma once
#include "engine/formulas/cell.h"

namespace d3 {

// An entry of dE/dcell, k the vector and d the direction.
// Virial = sum_i x_i (x) dE/dx_i + sum_k a_k (x) dE/da_k: `rest`, what the cell vectors a_k leave
// of it, solved for dE/da_k with the reciprocal vectors (columns; the columns of axes that are not
// periodic are not used).
D3_HD inline double solve_cell(const Cell& reciprocal, const double rest[3][3], int k, int d) {
  return reciprocal[0][k] * rest[0][d] + reciprocal[1][k] * rest[1][d] +
         reciprocal[2][k] * rest[2][d];
}

// All entries, 0 along axes that are not periodic.
D3_HD inline void gradient_by_cell(const Cell& reciprocal, const double[3][3],
                                   const Periodic& periodic, const double rest[3][3],
                                   double by_cell[3][3]) {
  for (int k = 0; k < 3; ++k)
    for (int d = 0; d < 3; ++d)
      by_cell[k][d] = periodic[k] ? solve_cell(reciprocal, rest, k, d) : 0.0;
}

// The same on dual numbers; the reciprocal vectors move with the cell.
D3_HD inline void gradient_by_cell(const Cell& reciprocal, const Dual<double> cell[3][3],
                                   const Periodic& periodic, const Dual<double> rest[3][3],
                                   Dual<double> by_cell[3][3]) {
  double values[3][3], tangents[3][3];
  for (int e = 0; e < 9; ++e) {
    values[e / 3][e % 3] = rest[e / 3][e % 3].v;
    tangents[e / 3][e % 3] = rest[e / 3][e % 3].d;
  }
  for (int e = 0; e < 9; ++e)
    by_cell[e / 3][e % 3] =
        Dual<double>(periodic[e / 3] ? solve_cell(reciprocal, values, e / 3, e % 3) : 0.0);
  for (int e = 0; e < 9; ++e)
    for (int k = 0; k < 3; ++k)
      if (periodic[k]) tangents[e / 3][e % 3] -= cell[k][e / 3].d * by_cell[k][e % 3].v;
  for (int e = 0; e < 9; ++e)
    if (periodic[e / 3]) by_cell[e / 3][e % 3].d = solve_cell(reciprocal, tangents, e / 3, e % 3);
}

}  // namespace d3

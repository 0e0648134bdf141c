// What the kernels of the three-body sweep read and write for a few atoms that lie together.
#pragma once
#include <cstdint>

#include "engine/lattice/lattice.h"

namespace d3 {

// Rows of `lanes` numbers for each cluster, whose atoms may be of several species: x y z relative
// to its centre, the slot of the species, and max_refs weights over the references of that species.
enum CornerRow {
  corner_x,
  corner_y,
  corner_z,
  corner_slot,
  corner_w,
  n_corner_rows = corner_w + max_refs
};

// Columns of the sides from a corner to the neighbours of a tile, and of their sums.
enum SideColumn { side_r2, side_v, side_u, side_t, n_side_columns };
enum SideSum { sum_energy, sum_slope, n_side_sums };

// Columns of numbers with their tangents.
template <class T> struct Columns {
  T* values;
  T* tangents;  // used if dual
};

// The atoms in the middle, all atoms around them, and the memory of a thread.
template <class T, class S> struct Corners {
  const Tile<S>* tiles;  // the clusters and images within the cutoff of the box of the corners
  int n_tiles;
  const Centre<S>* corners;
  const int* slots;          // of the corners
  const S* const* c6_rows;   // of each corner, against the references of all species present
  const S* const* dc6_rows;  // their derivatives by its CN
  int n;                     // corners

  // of the neighbours
  ClusterRows<T> rows;       // (n_clusters, n_corner_rows, lanes)
  const double* half;        // (n_clusters, 3), half sides of the boxes
  const int* atoms;          // (n_clusters, lanes), -1 without an atom
  const int* atom_slots;     // (n_atoms)
  const S* atom_c6_rows;     // (n_atoms, references of all species present)
  const int* species;        // slots in a cluster, one cluster after the other
  const int* first_species;  // (n_clusters + 1)

  const int* first_ref;  // (n_slots + 1), first reference of each species
  const T* scale;        // (n_slots, n_slots), 1/(4/3 r0)^2
  int n_slots;
  Cutoff<T> cutoff;
  Shell<T> shell;
  bool slopes;  // else energies alone

  Columns<T> sides;      // (n_tiles, n, n_side_columns, lanes)
  Columns<double> sums;  // (n_tiles, n, n_side_sums, lanes), 0 at first
  uint32_t* reached;     // (n_tiles, n), a bit for each lane whose side counts
};

}  // namespace d3

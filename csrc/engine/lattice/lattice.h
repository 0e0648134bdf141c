// The lattice engine: positions and cells in; energies, gradients and virials out; no pair is ever
// stored. Atoms are grouped into clusters of one species, one SIMD width of lanes each. A cluster
// meets every cluster (and image) whose box comes within the cutoff: a tile. Each atom sums over
// its tiles and writes only its own slot, so results do not depend on the number of threads.
#pragma once
#include <cstdint>

#include "engine/formulas/d3_math.h"
#include "engine/formulas/dual.h"
#include "engine/pairs/kernels.h"
#include "engine/tuning.h"

namespace d3 {

enum class InstructionSet { best, avx512, avx2, baseline };

template <class T> struct LatticeInput {
  Systems<T> systems;
  const T* damping;  // (n_systems, 4): s6 s8 a1 a2
  Tables<T> tables;
  Range<T> range;
  int threads;
  InstructionSet instruction_set;
  bool gradients;  // else energies and CN alone
  bool learn;      // with gradients: those of the damping parameters too
  Watch* watch = nullptr;
};

// Directions of the shapes of positions, cell and damping: with them every output is the derivative
// along them.
template <class T> struct LatticeTangents {
  const T *positions, *cell, *damping;
};

// What went wrong, for a message; `kind` 0 is success. Atoms count from the first of the system.
struct LatticeError {
  enum Kind {
    none,
    not_finite,
    too_far,
    same_spot,
    singular_cell,
    tail_needs_volume,
    too_much,
    stopped  // by the watch
  };
  Kind kind = none;
  int64_t system = 0, atom = 0;
  int64_t other = 0;         // on the spot of `atom`: this atom, or its image
  int image[3] = {0, 0, 0};  // in this cell
  double neighbours = 0;     // of an atom, roughly, where they are too many
};

template <class T> struct Lattice {
  static LatticeError evaluate(const LatticeInput<T>& in, const LatticeTangents<T>* tangents,
                               const Evaluation<T>& out);
};

bool supported(InstructionSet set);

// ---- between the driver and the kernels of one instruction set ----

template <class T> constexpr int lanes = register_bytes / sizeof(T);  // atoms in a cluster
constexpr int box_lanes = lanes<float>;  // boxes are in single precision

// Rows of `lanes` numbers for each cluster: x y z, then 7 weights, then dE/dCN.
enum Row { row_x, row_y, row_z, row_w, row_dcn = row_w + max_refs, n_rows };

// S is T or Dual<T>; Wide<S> is the same in double precision, in which vectors are taken before
// they are narrowed: small differences of large numbers keep their digits in float.
template <class S> struct Widened {
  using type = double;
};
template <class T> struct Widened<Dual<T>> {
  using type = Dual<double>;
};
template <class S> using Wide = typename Widened<S>::type;

template <class S> D3_HD inline S narrow(double x) { return S(x); }
template <class S> D3_HD inline S narrow(Dual<double> x) {
  using T = typename value_type<S>::type;
  return {T(x.v), T(x.d)};
}

// A cluster of neighbours with the vector from an origin near the atom in the middle to its centre,
// image included.
template <class S> struct Tile {
  int cluster;
  Wide<S> offset[3];
};

// Tiles of one species of neighbour, for all atoms of a cluster. In the near ones the boxes touch,
// so that an atom may meet itself. The far ones come with their boxes, so that each atom can leave
// out what is beyond its own reach.
template <class T, class S> struct TileList {
  const Tile<S>*near, *far;
  const float*
      boxes[6];   // offsets x y z, then half sides; padded with a register that is out of reach
  int* in_reach;  // room for indices of far tiles, n_far and two registers
  int n_near, n_far;
};

template <class T> struct ClusterRows {
  const T* values;
  const T* tangents;  // null unless dual
};

// Sums of one atom over its neighbours; A is double or Dual<double>.
template <class A> struct CountSums {
  A cn{};
  double coincident = 0;
};
template <class A> struct EnergySums {
  A energy{}, dcn{}, gradient[3]{}, virial[6]{}, damping[4]{};
};

// The atom in the middle: its position relative to the origin of the tiles' offsets, and its
// dE/dCN.
template <class S> struct Centre {
  Wide<S> position[3];
  S dcn;
};

// Its neighbours of one species.
template <class T, class S> struct Group {
  TileList<T, S> list;
  T rc;                        // sum of the covalent radii
  int n_refs;                  // of the neighbours
  RationalDamping<S> damping;  // of the two species
};

// C6 row of the atom against a species, and its derivative by the atom's CN; padded with zeros.
template <class S> struct C6Row {
  S c6[max_refs], dc6[max_refs];
};

template <class T> struct Shell {
  T cutoff2, same2;  // neighbours have same2 < r^2 <= cutoff2
};

enum class EnergyMode { energy, gradient, learn };

// All neighbours of one atom: n groups.
template <class T, class S, class A> struct LatticeKernels {
  using Count = void (*)(const Group<T, S>*, int n, ClusterRows<T>, const Centre<S>&, Shell<T>,
                         CountSums<A>&);
  using Energy = void (*)(const Group<T, S>*, const C6Row<S>*, int n, ClusterRows<T>,
                          const Centre<S>&, Cutoff<T>, Shell<T>, EnergyMode, EnergySums<A>&);
  using CountGradient = void (*)(const Group<T, S>*, int n, ClusterRows<T>, const Centre<S>&,
                                 Shell<T>, EnergySums<A>&);
  Count count;
  Energy energy;
  CountGradient count_gradient;
};

// Boxes in single precision, for the search: six columns of n numbers, offsets x y z, then half
// sides, and room for one register behind each.
struct Boxes {
  const float* columns[6];
};

// Indices in [first, last) of the boxes within `reach` of a box of half sides `half`, after a
// shift; says how many.
using Find = int (*)(const Boxes&, int first, int last, const float* shift, const float* half,
                     float reach, int* found);

// A small molecule, all pairs at once: see dense.h. The first atom that sits on another, or -1.
struct Dense;
using EvaluateDense = int (*)(const Dense&);
constexpr int n_constants = 6;  // of the damping of two species: s8 q, q, its root, R0, R0^6, R0^8

template <class T> struct KernelSet {
  Find find;
  EvaluateDense dense;
  LatticeKernels<T, T, double> plain;
  LatticeKernels<T, Dual<T>, Dual<double>> dual;
};

template <class T> KernelSet<T> kernels_for(InstructionSet set);
template <class T> KernelSet<T> kernels_avx512();
template <class T> KernelSet<T> kernels_avx2();
template <class T> KernelSet<T> kernels_baseline();

}  // namespace d3

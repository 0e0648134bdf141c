// The lattice engine: positions and cells in; energies, gradients and virials out; no pair is ever
// stored. Atoms are grouped into clusters of one species, one SIMD width of lanes each. A cluster
// meets every cluster (and image) whose box comes within the cutoff: a tile. Each atom sums over
// its tiles and writes only its own slot; what pairs add to the neighbours is added up in one order
// (reactions.h). So results do not depend on the number of threads.
#pragma once
#include <cstdint>

#include "engine/formulas/pair_sums.h"
#include "engine/instruction_sets.h"
#include "engine/tuning.h"

namespace d3 {

class Watch;  // see watch.h

// Everything that one call of the lattice engine reads.
template <class T> struct LatticeInput {
  Systems<T> systems;
  const T* damping;  // (n_systems, n_damping): see DampingForm; then s9 with a three-body term
  Tables<T> tables;
  Range<T> range;
  int threads;
  InstructionSet instruction_set;
  bool gradients;          // else energies and CN alone
  bool learn;              // besides the gradients, the derivatives by the damping parameters
  Watch* watch = nullptr;  // null: nothing stops the call
  DampingForm form = DampingForm::rational;
  ThreeBody<T> three_body{};

  D3_HD int n_damping() const { return n_parameters(form) + (three_body.cutoff > 0); }
};

// Directions of the shapes of positions, cell and damping: with them every output is the derivative
// along them.
template <class T> struct LatticeTangents {
  const T* positions;  // (n_atoms, 3)
  const T* cell;       // (n_systems, 3, 3)
  const T* damping;    // (n_systems, n_damping)
};

// The reason why a call failed, for a message; `kind` 0 is success. Atoms count from the first of
// the system.
struct LatticeError {
  enum Kind {
    none,
    not_finite,          // a position is NaN or infinite
    too_far,             // a position beyond `farthest`, see tuning.h
    same_spot,           // two atoms, or an atom and an image
    singular_cell,       // the periodic vectors do not span a volume
    too_much,            // more neighbours or pairs than tuning.h allows
    too_many_triangles,  // the same within the three-body cutoff
    stopped              // by the watch
  };
  Kind kind = none;
  int64_t system = 0;
  int64_t atom = 0;
  int64_t other = 0;         // on the spot of `atom`: this atom, or its image
  int image[3] = {0, 0, 0};  // in this cell
  double neighbours = 0;     // of an atom, roughly, where they are too many
};

// Labels of all atoms, each in [0, n).
struct Labels {
  const int64_t* of;  // (n_atoms)
  int64_t n;
};

// The engine. Writes every field of `out`; without gradients, gradient, virial, cell and damping
// are 0. With tangents, every result is its derivative along them.
template <class T> struct D3_API Lattice {
  static LatticeError evaluate(const LatticeInput<T>& in, const LatticeTangents<T>* tangents,
                               const Evaluation<T>& out);
  // Energies by pair of labels, (n_systems, n_labels, n_labels): see pairwise.h.
  static LatticeError pairwise(const LatticeInput<T>& in, const Labels& labels, T* out);
};

// ---- between the driver and the kernels of one instruction set ----

template <class T> constexpr int lanes = register_bytes / sizeof(T);  // atoms in a cluster
constexpr int box_lanes = lanes<float>;  // boxes are in single precision

// Rows of `lanes` numbers for each cluster: x y z relative to the centre of the cluster, then
// max_refs weights, then their derivatives by the CN, then dE/dCN.
enum Row {
  row_x,
  row_y,
  row_z,
  row_w,
  row_dw = row_w + max_refs,
  row_dcn = row_dw + max_refs,
  n_rows
};

// Columns of what pairs add to the sums of the neighbour, where a tile is met from one side alone:
// the kernels add it to (n_clusters, columns, lanes) numbers. The sweep that counts has one column,
// that for the gradient through the coordination numbers three, energies the first of these, with
// gradients all.
enum ReactionColumn { reaction_energy, reaction_dcn, reaction_gradient, n_reactions = 5 };
constexpr int count_reactions = 1, count_gradient_reactions = 3;
D3_HD constexpr int energy_reactions(EnergyMode mode) {
  return mode == EnergyMode::energy ? 1 : int(n_reactions);
}

// A cluster of neighbours at one image.
template <class S> struct Tile {
  int cluster;        // index into the rows of the neighbours
  Wide<S> offset[3];  // from an origin near the central atom to the centre of the image's box
};

// Tiles of one species of neighbour, for all atoms of a cluster. In the near ones the boxes touch,
// so that an atom may meet itself. The far ones come with their boxes, so that each atom can leave
// out what is beyond its own reach.
template <class T, class S> struct TileList {
  const Tile<S>* near;    // (n_near)
  const Tile<S>* far;     // (n_far)
  const float* boxes[6];  // (n_far) each: offsets x y z, half sides; and a register out of reach
  int* in_reach;          // room for indices of far tiles, n_far and two registers
  int n_near;
  int n_far;
};

// Numbers of the clusters, (n_clusters, n_rows, lanes): a register of neighbours is one load.
template <class T> struct ClusterRows {
  const T* values;
  const T* tangents;  // null unless dual
};

// Sums of one atom i over its neighbours j in the sweep that counts.
template <class A> struct CountSums {
  A cn{};
  double coincident = 0;  // neighbours on the spot of the atom, itself included
};

// Sums of one atom i over its neighbours j, with the damped kernel g of d3_math.h and without the
// factor -1/2 of the energy.
template <class A> struct EnergySums {
  A energy{};                    // C6_ij g
  A dcn{};                       // dC6_ij/dCN_i g
  A gradient[3]{};               // C6_ij dg/dr r/|r|
  A virial[6]{};                 // the outer product of that with r: xx xy xz yy yz zz
  A damping[most_parameters]{};  // C6_ij dg/d(parameter)
};

// The central atom i.
template <class S> struct Centre {
  Wide<S> position[3];  // relative to the origin of the tiles' offsets
  S dcn;                // dE/dCN_i of the total energy, in the sweep that needs it
};

// The neighbours of the central atom that belong to one species.
template <class T, class S> struct Group {
  TileList<T, S> list;    // met from both sides
  TileList<T, S> mutual;  // met from this side alone: see reactions
  T* reactions;           // (n_clusters, columns, lanes), see ReactionColumn
  T rc;                   // sum of the covalent radii
  int n_refs;             // of the neighbours
  Damping<S> damping;     // of the two species
};

// C6 row of the atom against a species, and its derivative by the atom's CN; padded with zeros.
template <class S> struct C6Row {
  S c6[max_refs];
  S dc6[max_refs];
};

// Squared distances between which an atom is a neighbour: same2 < r^2 <= cutoff2. Below it is the
// atom itself, or one on its spot.
template <class T> struct Shell {
  T cutoff2;
  T same2;
};

// The kernels of the sweep over triangles, for a few central atoms: see corners.h.
//   fill       the sides to all their neighbours
//   triangles  sums over the triangles with an atom of one tile, and of it or a later one
//   finish     the sums of each central atom
template <class T, class S> struct Corners;
template <class T, class S, class A> struct ThreeBodyKernels {
  void (*fill)(const Corners<T, S>&);
  void (*triangles)(const Corners<T, S>&, int tile);
  void (*finish)(const Corners<T, S>&, EnergySums<A>*);
};

// The kernels of the three sweeps. Each handles one central atom and all its neighbours, n groups
// of one species each, and overwrites its sums:
//   count           CN, and how many atoms sit on the spot of this one
//   energy          sums over C6_ij g(r_ij) and its derivatives
//   count_gradient  sums over (dE/dCN_i + dE/dCN_j) dCN/dr: gradient and virial
template <class T, class S, class A> struct LatticeKernels {
  using Count = void (*)(const Group<T, S>*, int n, ClusterRows<T>, const Centre<S>&, Shell<T>,
                         CountSums<A>&);
  using Energy = void (*)(const Group<T, S>*, const C6Row<S>*, int n, ClusterRows<T>,
                          const Centre<S>&, Cutoff<T>, Shell<T>, EnergyMode, EnergySums<A>&);
  using CountGradient = void (*)(const Group<T, S>*, int n, ClusterRows<T>, const Centre<S>&,
                                 Shell<T>, EnergySums<A>&);
  Count count;
  Energy energy[n_forms];
  CountGradient count_gradient;
  ThreeBodyKernels<T, S, A> three_body;
};

// Adds C6_ij g(r_ij) of one central atom and each of its neighbours to the neighbours' numbers,
// (n_clusters, lanes).
template <class T>
using PairwiseKernel = void (*)(const Group<T, T>*, const C6Row<T>*, int n, ClusterRows<T>,
                                const Centre<T>&, Cutoff<T>, Shell<T>, double* energies);

// Bounding boxes of clusters in single precision, for the search: six columns, centres x y z, then
// half sides, with room for one register behind each.
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

// The kernels that are compiled once for each instruction set: see instruction_sets.h.
template <class T> struct KernelSet {
  Find find;
  EvaluateDense dense[n_forms];
  LatticeKernels<T, T, double> plain;
  LatticeKernels<T, Dual<T>, Dual<double>> dual;
  PairwiseKernel<T> pairwise[n_forms];
};

}  // namespace d3

// The kernels that the sweeps of a rank call, out of those of the lattice engine: in double
// precision and without second derivatives. Each of kernels_*.cpp has them for one instruction set,
// see instruction_sets.h.
#pragma once
#include "engine/lattice/lattice.h"

namespace d3 {

struct RankKernelSet {
  Find find;
  LatticeKernels<double, double, double> sweeps;
};

}  // namespace d3

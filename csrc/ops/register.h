// The kernels of all ops for one device, as its key of the dispatcher takes them.
#pragma once
#include <torch/library.h>

#include "ops/lattice_ops.h"
#include "ops/list_args.h"
#include "ops/pair_ops.h"

namespace d3 {

template <class Device> void register_kernels(torch::Library& m) {
  using Pair = PairOps<Device>;
  m.impl("coordination_number", unpacked<&Pair::cn>);
  m.impl("coordination_number_backward", unpacked<&Pair::cn_backward>);
  m.impl("coordination_number_double_backward", unpacked<&Pair::cn_double_backward>);
  m.impl("dispersion_energy", unpacked<&Pair::energy>);
  m.impl("dispersion_energy_by_centre", unpacked<&Pair::energy_by_centre>);
  m.impl("dispersion_energy_backward", unpacked<&Pair::energy_backward>);
  m.impl("dispersion_energy_double_backward", unpacked<&Pair::energy_double_backward>);
  using Lattice = LatticeOps<Device>;
  m.impl("dispersion", unpacked<&Lattice::dispersion>);
  m.impl("dispersion_shares", unpacked<&Lattice::shares>);
  m.impl("dispersion_backward", unpacked<&Lattice::backward>);
  m.impl("dispersion_evaluate", unpacked<&Lattice::evaluate>);
  m.impl("dispersion_tangent", unpacked<&Lattice::tangent>);
  m.impl("dispersion_pairwise", unpacked<&Lattice::pairwise>);
  using List = LatticeOps<Device, ListArgs>;
  m.impl("dispersion_on_list", unpacked<&List::shares>);
  m.impl("dispersion_on_list_backward", unpacked<&List::backward>);
  m.impl("dispersion_on_list_evaluate", unpacked<&List::evaluate>);
  m.impl("dispersion_on_list_tangent", unpacked<&List::tangent>);
}

}  // namespace d3

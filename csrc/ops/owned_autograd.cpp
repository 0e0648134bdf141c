// The ops for hosts that own some of the atoms have no derivatives, which they are: what they
// return says so. Nor have they CUDA kernels.
#include <torch/library.h>

#include "ops/graph.h"
#include "ops/owned_args.h"

namespace {

using namespace d3;

[[noreturn]] void refuse_owned(const char* name, const char* other) {
  TORCH_CHECK_NOT_IMPLEMENTED(false, "d3torch: ", name,
                              " is for inference and not differentiable: use ", other, ".");
}

struct Cn {
  using Structs = Types<OwnedList, OwnedCounting>;
  static const auto& op() {
    static const Op<Tensor, OwnedList, OwnedCounting> op("d3torch::owned_coordination_number");
    return op;
  }
  [[noreturn]] static void refuse() {
    refuse_owned("owned_coordination_number", "coordination_number");
  }
};

struct Forces {
  using Structs = Types<OwnedList, OwnedEnergy>;
  static const auto& op() {
    static const Op<Tensors2, OwnedList, OwnedEnergy> op("d3torch::owned_energy_forces");
    return op;
  }
  [[noreturn]] static void refuse() { refuse_owned("owned_energy_forces", "dispersion_energy"); }
};

struct AddForces {
  using Structs = Types<AtomForces, OwnedList, OwnedEnergy>;
  static const auto& op() {
    static const Op<Tensor, AtomForces, OwnedList, OwnedEnergy> op(
        "d3torch::owned_energy_add_forces");
    return op;
  }
  [[noreturn]] static void refuse() {
    refuse_owned("owned_energy_add_forces", "dispersion_energy");
  }
};

Tensor cn(const OwnedList& l, const OwnedCounting& c) { return in_graph<Leaf<Cn>, Tensor>(l, c); }

Tensors2 forces(const OwnedList& l, const OwnedEnergy& e) {
  return in_graph<Leaf<Forces>, Tensors2>(l, e);
}

Tensor add_forces(const AtomForces& f, const OwnedList& l, const OwnedEnergy& e) {
  refuse_grad(f.atom_forces, "atom_forces");
  return in_graph<Leaf<AddForces>, Tensor>(f, l, e);
}

void refuse_owned_cuda(const c10::OperatorHandle& op, torch::jit::Stack*) {
  TORCH_CHECK_NOT_IMPLEMENTED(false, op.schema().name(),
                              " has no CUDA kernel and got a CUDA tensor: use ",
                              "coordination_number and dispersion_energy_by_centre.");
}

}  // namespace

TORCH_LIBRARY_IMPL(d3torch, Autograd, m) {
  m.impl("owned_coordination_number", unpacked<cn>);
  m.impl("owned_energy_forces", unpacked<forces>);
  m.impl("owned_energy_add_forces", unpacked<add_forces>);
}

TORCH_LIBRARY_IMPL(d3torch, CUDA, m) {
  for (const char* op :
       {"owned_coordination_number", "owned_energy_forces", "owned_energy_add_forces"})
    m.impl(op, torch::CppFunction::makeFromBoxedFunction<&refuse_owned_cuda>());
}

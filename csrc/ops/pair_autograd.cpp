// Autograd of the ops on a pair list: the derivative of each is another op.
#include <torch/library.h>

#include "ops/graph.h"
#include "ops/pair_args.h"

namespace {

using namespace d3;

// Every op, found by name once.
const Op<Tensor, CountingArgs>& cn_op() {
  static const Op<Tensor, CountingArgs> op("d3torch::coordination_number");
  return op;
}

const Op<Tensor, GradCn, CountingArgs>& cn_backward_op() {
  static const Op<Tensor, GradCn, CountingArgs> op("d3torch::coordination_number_backward");
  return op;
}

const Op<Tensors2, CountingTangent, GradCn, CountingArgs>& cn_double_backward_op() {
  static const Op<Tensors2, CountingTangent, GradCn, CountingArgs> op(
      "d3torch::coordination_number_double_backward");
  return op;
}

const Op<Tensor, EnergyArgs>& energy_op() {
  static const Op<Tensor, EnergyArgs> op("d3torch::dispersion_energy");
  return op;
}

const Op<Tensors3, EnergyArgs>& energy_by_centre_op() {
  static const Op<Tensors3, EnergyArgs> op("d3torch::dispersion_energy_by_centre");
  return op;
}

const Op<Tensors3, GradEnergy, EnergyArgs>& energy_backward_op() {
  static const Op<Tensors3, GradEnergy, EnergyArgs> op("d3torch::dispersion_energy_backward");
  return op;
}

const Op<Tensors4, EnergyTangent, GradEnergy, EnergyArgs>& energy_double_backward_op() {
  static const Op<Tensors4, EnergyTangent, GradEnergy, EnergyArgs> op(
      "d3torch::dispersion_energy_double_backward");
  return op;
}

// ---- coordination number ----

struct CnDoubleBackward {
  using Structs = Types<CountingTangent, GradCn, CountingArgs>;
  static const auto& op() { return cn_double_backward_op(); }
  [[noreturn]] static void refuse() { refuse_third_order(); }
};

struct CnBackward {
  using Structs = Types<GradCn, CountingArgs>;
  static const auto& op() { return cn_backward_op(); }
  static variable_list backward(const variable_list& g, const GradCn& grad, const CountingArgs& a) {
    return listed(cn_double_backward_op()({g[0]}, grad, a));
  }
};

struct Cn {
  using Structs = Types<CountingArgs>;
  static const auto& op() { return cn_op(); }
  static variable_list backward(const variable_list& g, const CountingArgs& a) {
    return {cn_backward_op()({g[0]}, a)};
  }
};

Tensor cn(const CountingArgs& a) {
  refuse_grad(a.rcov, "rcov");
  return in_graph<Graph<Cn>, Tensor>(a);
}

Tensor cn_backward(const GradCn& g, const CountingArgs& a) {
  return in_graph<Graph<CnBackward>, Tensor>(g, a);
}

Tensors2 cn_double_backward(const CountingTangent& t, const GradCn& g, const CountingArgs& a) {
  return in_graph<Leaf<CnDoubleBackward>, Tensors2>(t, g, a);
}

// ---- energy ----

struct EnergyDoubleBackward {
  using Structs = Types<EnergyTangent, GradEnergy, EnergyArgs>;
  static const auto& op() { return energy_double_backward_op(); }
  [[noreturn]] static void refuse() { refuse_third_order(); }
};

struct EnergyBackward {
  using Structs = Types<GradEnergy, EnergyArgs>;
  static const auto& op() { return energy_backward_op(); }
  static variable_list backward(const variable_list& g, const GradEnergy& grad,
                                const EnergyArgs& a) {
    return listed(energy_double_backward_op()({g[0], g[1], g[2]}, grad, a));
  }
};

struct Energy {
  using Structs = Types<EnergyArgs>;
  static const auto& op() { return energy_op(); }
  static variable_list backward(const variable_list& g, const EnergyArgs& a) {
    return listed(energy_backward_op()({g[0]}, a));
  }
};

// For hosts that apply the chain rule themselves: what it returns carries no graph, and it says so.
struct EnergyByCentre {
  using Structs = Types<EnergyArgs>;
  static const auto& op() { return energy_by_centre_op(); }
  [[noreturn]] static void refuse() {
    TORCH_CHECK_NOT_IMPLEMENTED(
        false, "d3torch: dispersion_energy_by_centre is for inference and not differentiable: ",
        "use dispersion_energy.");
  }
};

Tensor energy(const EnergyArgs& a) {
  refuse_grad(a.r4r2, "r4r2");
  refuse_grad(a.cn_ref, "cn_ref");
  refuse_grad(a.c6_ref, "c6_ref");
  refuse_grad(a.radii, "radii");
  return in_graph<Graph<Energy>, Tensor>(a);
}

Tensors3 energy_by_centre(const EnergyArgs& a) {
  return in_graph<Leaf<EnergyByCentre>, Tensors3>(a);
}

Tensors3 energy_backward(const GradEnergy& g, const EnergyArgs& a) {
  return in_graph<Graph<EnergyBackward>, Tensors3>(g, a);
}

Tensors4 energy_double_backward(const EnergyTangent& t, const GradEnergy& g, const EnergyArgs& a) {
  return in_graph<Leaf<EnergyDoubleBackward>, Tensors4>(t, g, a);
}

}  // namespace

TORCH_LIBRARY_IMPL(d3torch, Autograd, m) {
  m.impl("coordination_number", unpacked<cn>);
  m.impl("coordination_number_backward", unpacked<cn_backward>);
  m.impl("coordination_number_double_backward", unpacked<cn_double_backward>);
  m.impl("dispersion_energy", unpacked<energy>);
  m.impl("dispersion_energy_by_centre", unpacked<energy_by_centre>);
  m.impl("dispersion_energy_backward", unpacked<energy_backward>);
  m.impl("dispersion_energy_double_backward", unpacked<energy_double_backward>);
}

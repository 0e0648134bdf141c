// Autograd of the lattice engine: the forward sweep also computes the gradients when they are
// wanted, backward scales them, and double backward is one sweep on dual numbers.
#include <ATen/core/grad_mode.h>
#include <torch/library.h>

#include "ops/graph.h"
#include "ops/lattice_args.h"

namespace {

using namespace d3;

// Every op, found by name once.
const Op<Tensors8, LatticeArgs, How>& evaluate_op() {
  static const Op<Tensors8, LatticeArgs, How> op("d3torch::dispersion_evaluate");
  return op;
}

const Op<Tensors8, LatticeTangent, LatticeArgs>& tangent_op() {
  static const Op<Tensors8, LatticeTangent, LatticeArgs> op("d3torch::dispersion_tangent");
  return op;
}

const Op<Tensors3, Slopes, LatticeArgs>& backward_op() {
  static const Op<Tensors3, Slopes, LatticeArgs> op("d3torch::dispersion_backward");
  return op;
}

// Gradients in the order of the fields of LatticeArgs, behind `before`.
variable_list in_order(variable_list before, const Tensors3& gradients) {
  const auto& [positions, cell, damping] = gradients;
  before.insert(before.end(), {positions, cell, Tensor(), Tensor(), Tensor(), damping});
  return before;
}

struct Backward {
  using Structs = Types<Slopes, LatticeArgs>;
  static const auto& op() { return backward_op(); }
  // The gradients are functions of positions, cell and damping: their derivative along g is one
  // sweep on dual numbers.
  static variable_list backward(const variable_list& g, const Slopes& s, const LatticeArgs& a) {
    const auto [energy, energies, cn, c6, gradient, virial, by_cell, by_damping] =
        tangent_op()({g[0], g[1], g[2]}, a);
    const Tensors3 scaled = backward_op()({s.grad_energy, gradient, by_cell, by_damping}, a);
    return in_order({energy, Tensor(), Tensor(), Tensor()}, scaled);
  }
};

Tensors3 backward(const Slopes& s, const LatticeArgs& a) {
  return in_graph<Graph<Backward>, Tensors3>(s, a);
}

// Energies in the graph, and outside of it the shares of atoms, which the same sweep gives. Not a
// Graph: its forward computes what its backward needs.
template <class Fields> struct DispersionNode;
template <class... P> struct DispersionNode<Types<P...>> : Function<DispersionNode<Types<P...>>> {
  static variable_list forward(AutogradContext* ctx, bool gradients, P... fields) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const auto structs = packed(Types<LatticeArgs>(), fields...);
    const LatticeArgs& a = std::get<0>(structs);
    const How how{gradients, gradients && a.damping.requires_grad(), "best"};
    const auto [energy, energies, cn, c6, gradient, virial, by_cell, by_damping] =
        evaluate_op()(a, how);
    keep(ctx, structs, {gradient, by_cell, by_damping});
    ctx->mark_non_differentiable({energies});
    return {energy, energies};
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& g) {
    const auto [structs, slopes] = kept<LatticeArgs>(ctx);
    const Tensors3 scaled =
        backward_op()({g[0], slopes[0], slopes[1], slopes[2]}, std::get<0>(structs));
    variable_list grads = in_order({Tensor()}, scaled);
    grads.resize(1 + sizeof...(P));
    return grads;
  }
};

Tensors2 shares(const LatticeArgs& a) {
  refuse_grad(a.rcov, "rcov");
  refuse_grad(a.r4r2, "r4r2");
  refuse_grad(a.cn_ref, "cn_ref");
  refuse_grad(a.c6_ref, "c6_ref");
  const bool wanted =
      a.positions.requires_grad() || a.cell.requires_grad() || a.damping.requires_grad();
  const bool gradients = at::GradMode::is_enabled() && wanted;
  const auto call = [&](const auto&... field) {
    return apply<DispersionNode<Flat<LatticeArgs>>>(gradients, field...);
  };
  return unlisted<Tensors2>(std::apply(call, fields_of(a)));
}

Tensor dispersion(const LatticeArgs& a) { return std::get<0>(shares(a)); }

struct Tangent {
  using Structs = Types<LatticeTangent, LatticeArgs>;
  static const auto& op() { return tangent_op(); }
  [[noreturn]] static void refuse() { refuse_third_order(); }
};

Tensors8 tangent(const LatticeTangent& t, const LatticeArgs& a) {
  return in_graph<Leaf<Tangent>, Tensors8>(t, a);
}

// The inference op: what it returns carries no graph, and it says so.
struct Evaluate {
  using Structs = Types<LatticeArgs, How>;
  static const auto& op() { return evaluate_op(); }
  [[noreturn]] static void refuse() {
    TORCH_CHECK_NOT_IMPLEMENTED(
        false, "d3torch: dispersion_evaluate is for inference and not differentiable: ",
        "use dispersion.");
  }
};

Tensors8 evaluate(const LatticeArgs& a, const How& how) {
  return in_graph<Leaf<Evaluate>, Tensors8>(a, how);
}

}  // namespace

TORCH_LIBRARY_IMPL(d3torch, Autograd, m) {
  m.impl("dispersion", unpacked<dispersion>);
  m.impl("dispersion_shares", unpacked<shares>);
  m.impl("dispersion_backward", unpacked<backward>);
  m.impl("dispersion_tangent", unpacked<tangent>);
  m.impl("dispersion_evaluate", unpacked<evaluate>);
}

// Autograd of the lattice engine: the forward sweep also computes the gradients when they are
// wanted, backward scales them, and double backward is one sweep on dual numbers.
#include <ATen/core/grad_mode.h>
#include <torch/library.h>

#include "ops/graph.h"
#include "ops/lattice_args.h"

namespace {

using namespace d3;

// Every op, found by name once.
const Op<Tensors8, LatticeArgs, How, LatticeForm>& evaluate_op() {
  static const Op<Tensors8, LatticeArgs, How, LatticeForm> op("d3torch::dispersion_evaluate");
  return op;
}

const Op<Tensors8, LatticeTangent, LatticeArgs, LatticeForm>& tangent_op() {
  static const Op<Tensors8, LatticeTangent, LatticeArgs, LatticeForm> op(
      "d3torch::dispersion_tangent");
  return op;
}

const Op<Tensors3, Slopes, LatticeArgs, LatticeForm>& backward_op() {
  static const Op<Tensors3, Slopes, LatticeArgs, LatticeForm> op("d3torch::dispersion_backward");
  return op;
}

// Gradients in the order of the fields of LatticeArgs, behind `before`.
variable_list in_order(variable_list before, const Tensors3& gradients) {
  const auto& [positions, cell, damping] = gradients;
  before.insert(before.end(), {positions, cell, Tensor(), Tensor(), Tensor(), damping});
  return before;
}

struct Backward {
  using Structs = Types<Slopes, LatticeArgs, LatticeForm>;
  static const auto& op() { return backward_op(); }
  // The gradients are functions of positions, cell and damping: their derivative along g is one
  // sweep on dual numbers.
  static variable_list backward(const variable_list& g, const Slopes& s, const LatticeArgs& a,
                                const LatticeForm& f) {
    const auto [energy, energies, cn, c6, gradient, virial, by_cell, by_damping] =
        tangent_op()({g[0], g[1], g[2]}, a, f);
    const Tensors3 scaled = backward_op()({s.grad_energy, gradient, by_cell, by_damping}, a, f);
    return in_order({energy, Tensor(), Tensor(), Tensor()}, scaled);
  }
};

Tensors3 backward(const Slopes& s, const LatticeArgs& a, const LatticeForm& f) {
  return in_graph<Graph<Backward>, Tensors3>(s, a, f);
}

// Energies in the graph, and outside of it the shares of atoms, which the same sweep gives. Not a
// Graph: its forward computes what its backward needs.
template <class Fields> struct DispersionNode;
template <class... P> struct DispersionNode<Types<P...>> : Function<DispersionNode<Types<P...>>> {
  static variable_list forward(AutogradContext* ctx, bool gradients, P... fields) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const auto structs = packed(Types<LatticeArgs, LatticeForm>(), fields...);
    const auto& [a, f] = structs;
    const How how{gradients, gradients && a.damping.requires_grad(), "best"};
    const auto [energy, energies, cn, c6, gradient, virial, by_cell, by_damping] =
        evaluate_op()(a, how, f);
    keep(ctx, structs, {gradient, by_cell, by_damping});
    ctx->mark_non_differentiable({energies});
    return {energy, energies};
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& g) {
    const auto [structs, slopes] = kept<LatticeArgs, LatticeForm>(ctx);
    const auto& [a, f] = structs;
    const Tensors3 scaled = backward_op()({g[0], slopes[0], slopes[1], slopes[2]}, a, f);
    variable_list grads = in_order({Tensor()}, scaled);
    grads.resize(1 + sizeof...(P));
    return grads;
  }
};

Tensors2 shares(const LatticeArgs& a, const LatticeForm& f) {
  refuse_grad(a.rcov, "rcov");
  refuse_grad(a.r4r2, "r4r2");
  refuse_grad(a.cn_ref, "cn_ref");
  refuse_grad(a.c6_ref, "c6_ref");
  refuse_grad(f.radii, "radii");
  const bool wanted =
      a.positions.requires_grad() || a.cell.requires_grad() || a.damping.requires_grad();
  const bool gradients = at::GradMode::is_enabled() && wanted;
  const auto call = [&](const auto&... field) {
    return apply<DispersionNode<Flat<LatticeArgs, LatticeForm>>>(gradients, field...);
  };
  return unlisted<Tensors2>(std::apply(call, fields_of(a, f)));
}

Tensor dispersion(const LatticeArgs& a, const LatticeForm& f) { return std::get<0>(shares(a, f)); }

struct Tangent {
  using Structs = Types<LatticeTangent, LatticeArgs, LatticeForm>;
  static const auto& op() { return tangent_op(); }
  [[noreturn]] static void refuse() { refuse_third_order(); }
};

Tensors8 tangent(const LatticeTangent& t, const LatticeArgs& a, const LatticeForm& f) {
  return in_graph<Leaf<Tangent>, Tensors8>(t, a, f);
}

// The inference op: what it returns carries no graph, and it says so.
struct Evaluate {
  using Structs = Types<LatticeArgs, How, LatticeForm>;
  static const auto& op() { return evaluate_op(); }
  [[noreturn]] static void refuse() {
    TORCH_CHECK_NOT_IMPLEMENTED(
        false, "d3torch: dispersion_evaluate is for inference and not differentiable: ",
        "use dispersion.");
  }
};

const Op<Tensor, LatticeArgs, PairLabels, LatticeForm>& pairwise_op() {
  static const Op<Tensor, LatticeArgs, PairLabels, LatticeForm> op("d3torch::dispersion_pairwise");
  return op;
}

struct Pairwise {
  using Structs = Types<LatticeArgs, PairLabels, LatticeForm>;
  static const auto& op() { return pairwise_op(); }
  [[noreturn]] static void refuse() {
    TORCH_CHECK_NOT_IMPLEMENTED(
        false, "d3torch: dispersion_pairwise is for analysis and not differentiable: ",
        "use dispersion, or backend=\"eager\".");
  }
};

Tensor pairwise(const LatticeArgs& a, const PairLabels& l, const LatticeForm& f) {
  return in_graph<Leaf<Pairwise>, Tensor>(a, l, f);
}

Tensors8 evaluate(const LatticeArgs& a, const How& how, const LatticeForm& f) {
  return in_graph<Leaf<Evaluate>, Tensors8>(a, how, f);
}

}  // namespace

TORCH_LIBRARY_IMPL(d3torch, Autograd, m) {
  m.impl("dispersion", unpacked<dispersion>);
  m.impl("dispersion_shares", unpacked<shares>);
  m.impl("dispersion_backward", unpacked<backward>);
  m.impl("dispersion_tangent", unpacked<tangent>);
  m.impl("dispersion_evaluate", unpacked<evaluate>);
  m.impl("dispersion_pairwise", unpacked<pairwise>);
}

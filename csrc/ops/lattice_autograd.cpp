// Autograd of the ops on whole structures: the forward sweep also computes the gradients when they
// are wanted, backward scales them, and double backward is one sweep on dual numbers. The same for
// pairs that are found and for pairs that are given.
#include <ATen/core/grad_mode.h>
#include <torch/library.h>

#include <string>

#include "ops/graph.h"
#include "ops/list_args.h"

namespace {

using namespace d3;

// Gradients in the order of the fields of LatticeArgs, behind `before`.
variable_list in_order(variable_list before, const Tensors3& gradients) {
  const auto& [positions, cell, damping] = gradients;
  before.insert(before.end(), {positions, cell, Tensor(), Tensor(), Tensor(), damping});
  return before;
}

void refuse_grads(const LatticeArgs& a) {
  refuse_grad(a.rcov, "rcov");
  refuse_grad(a.r4r2, "r4r2");
  refuse_grad(a.cn_ref, "cn_ref");
  refuse_grad(a.c6_ref, "c6_ref");
}
void refuse_grads(const LatticeForm& f) { refuse_grad(f.radii, "radii"); }
void refuse_grads(const ListArgs& l) { refuse_grad(l.shifts, "shifts"); }

bool differentiable(const LatticeArgs& a) {
  return a.positions.requires_grad() || a.cell.requires_grad() || a.damping.requires_grad();
}

// L is ListArgs where the pairs are given, and nothing where they are found.
template <class... L> struct Autograd {
  static std::string name() { return sizeof...(L) ? "dispersion_on_list" : "dispersion"; }
  static std::string full_name(const char* end) { return "d3torch::" + name() + end; }

  // Every op, found by name once.
  using EvaluateOp = Op<Tensors8, LatticeArgs, L..., How, LatticeForm>;
  using TangentOp = Op<Tensors8, LatticeTangent, LatticeArgs, L..., LatticeForm>;
  using BackwardOp = Op<Tensors3, Slopes, LatticeArgs, L..., LatticeForm>;
  static const EvaluateOp& evaluate_op() {
    static const EvaluateOp op(full_name("_evaluate").c_str());
    return op;
  }
  static const TangentOp& tangent_op() {
    static const TangentOp op(full_name("_tangent").c_str());
    return op;
  }
  static const BackwardOp& backward_op() {
    static const BackwardOp op(full_name("_backward").c_str());
    return op;
  }

  struct Backward {
    using Structs = Types<Slopes, LatticeArgs, L..., LatticeForm>;
    static const auto& op() { return backward_op(); }
    // The gradients are functions of positions, cell and damping: their derivative along g is one
    // sweep on dual numbers.
    static variable_list backward(const variable_list& g, const Slopes& s, const LatticeArgs& a,
                                  const L&... l, const LatticeForm& f) {
      const auto [energy, energies, cn, c6, gradient, virial, by_cell, by_damping] =
          tangent_op()({g[0], g[1], g[2]}, a, l..., f);
      const Slopes slopes{s.grad_energy, gradient, by_cell, by_damping};
      return in_order({energy, Tensor(), Tensor(), Tensor()}, backward_op()(slopes, a, l..., f));
    }
  };

  // Energies in the graph, and outside of it the shares of atoms, which the same sweep gives. Not a
  // Graph: its forward computes what its backward needs. What it keeps of a list is the caller's.
  template <class Fields> struct Node;
  template <class... P> struct Node<Types<P...>> : Function<Node<Types<P...>>> {
    static variable_list forward(AutogradContext* ctx, bool gradients, P... fields) {
      at::AutoDispatchBelowADInplaceOrView guard;
      const auto structs = packed(Types<LatticeArgs, L..., LatticeForm>(), fields...);
      const bool learn = gradients && std::get<LatticeArgs>(structs).damping.requires_grad();
      const auto evaluated = [&](const LatticeArgs& a, const L&... l, const LatticeForm& f) {
        return evaluate_op()(a, l..., How{gradients, learn, "best"}, f);
      };
      const auto [energy, energies, cn, c6, gradient, virial, by_cell, by_damping] =
          std::apply(evaluated, structs);
      keep(ctx, structs, {gradient, by_cell, by_damping});
      ctx->mark_non_differentiable({energies});
      return {energy, energies};
    }
    static variable_list backward(AutogradContext* ctx, const variable_list& g) {
      const auto [structs, slopes] = kept<LatticeArgs, L..., LatticeForm>(ctx);
      const Slopes given{g[0], slopes[0], slopes[1], slopes[2]};
      const auto scaled = [&](const auto&... s) { return backward_op()(given, s...); };
      variable_list grads = in_order({Tensor()}, std::apply(scaled, structs));
      grads.resize(1 + sizeof...(P));
      return grads;
    }
  };

  struct Tangent {
    using Structs = Types<LatticeTangent, LatticeArgs, L..., LatticeForm>;
    static const auto& op() { return tangent_op(); }
    [[noreturn]] static void refuse() { refuse_third_order(); }
  };

  // The inference op: what it returns carries no graph, and it says so.
  struct Evaluate {
    using Structs = Types<LatticeArgs, L..., How, LatticeForm>;
    static const auto& op() { return evaluate_op(); }
    [[noreturn]] static void refuse() {
      TORCH_CHECK_NOT_IMPLEMENTED(false, "d3torch: ", name(),
                                  "_evaluate is for inference and not differentiable: use ", name(),
                                  ".");
    }
  };

  static Tensors2 shares(const LatticeArgs& a, const L&... l, const LatticeForm& f) {
    refuse_grads(a);
    (refuse_grads(l), ...);
    refuse_grads(f);
    const bool gradients = at::GradMode::is_enabled() && differentiable(a);
    const auto call = [&](const auto&... field) {
      return apply<Node<Flat<LatticeArgs, L..., LatticeForm>>>(gradients, field...);
    };
    return unlisted<Tensors2>(std::apply(call, fields_of(a, l..., f)));
  }

  static Tensor dispersion(const LatticeArgs& a, const L&... l, const LatticeForm& f) {
    return std::get<0>(shares(a, l..., f));
  }
  static Tensors3 backward(const Slopes& s, const LatticeArgs& a, const L&... l,
                           const LatticeForm& f) {
    return in_graph<Graph<Backward>, Tensors3>(s, a, l..., f);
  }
  static Tensors8 tangent(const LatticeTangent& t, const LatticeArgs& a, const L&... l,
                          const LatticeForm& f) {
    return in_graph<Leaf<Tangent>, Tensors8>(t, a, l..., f);
  }
  static Tensors8 evaluate(const LatticeArgs& a, const L&... l, const How& how,
                           const LatticeForm& f) {
    return in_graph<Leaf<Evaluate>, Tensors8>(a, l..., how, f);
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

}  // namespace

TORCH_LIBRARY_IMPL(d3torch, Autograd, m) {
  using Found = Autograd<>;
  m.impl("dispersion", unpacked<&Found::dispersion>);
  m.impl("dispersion_shares", unpacked<&Found::shares>);
  m.impl("dispersion_backward", unpacked<&Found::backward>);
  m.impl("dispersion_tangent", unpacked<&Found::tangent>);
  m.impl("dispersion_evaluate", unpacked<&Found::evaluate>);
  m.impl("dispersion_pairwise", unpacked<pairwise>);
  using Given = Autograd<ListArgs>;
  m.impl("dispersion_on_list", unpacked<&Given::shares>);
  m.impl("dispersion_on_list_backward", unpacked<&Given::backward>);
  m.impl("dispersion_on_list_tangent", unpacked<&Given::tangent>);
  m.impl("dispersion_on_list_evaluate", unpacked<&Given::evaluate>);
}

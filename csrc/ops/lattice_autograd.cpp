// Autograd of the lattice engine: the forward sweep also computes the gradients when they are
// wanted, backward scales them, and double backward is one sweep on dual numbers.
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <tuple>
#include <utility>

#include "ops/checks.h"

namespace {

using namespace d3;
using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;
using Tensors3 = std::tuple<Tensor, Tensor, Tensor>;
using Tensors8 = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;
using T = const Tensor&;

// The common tail of the ops' arguments, as a pack: tensors in the order of the schema, then the
// cutoffs.
struct Rest {
  Tensor positions, cell, pbc, species, offsets, damping, rcov, r4r2, cn_ref, c6_ref;
  double cutoff, cn_cutoff, width;
  bool tail;
};

Tensors8 call_evaluate(const Rest& a, bool gradients, bool learn,
                       c10::string_view instruction_set) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("d3torch::dispersion_evaluate", "")
                             .typed<Tensors8(T, T, T, T, T, T, T, T, T, T, double, double, double,
                                             bool, bool, bool, c10::string_view)>();
  return op.call(a.positions, a.cell, a.pbc, a.species, a.offsets, a.damping, a.rcov, a.r4r2,
                 a.cn_ref, a.c6_ref, a.cutoff, a.cn_cutoff, a.width, a.tail, gradients, learn,
                 instruction_set);
}

Tensors8 call_tangent(T t_positions, T t_cell, T t_damping, const Rest& a) {
  static const auto op =
      c10::Dispatcher::singleton()
          .findSchemaOrThrow("d3torch::dispersion_tangent", "")
          .typed<Tensors8(T, T, T, T, T, T, T, T, T, T, T, T, T, double, double, double, bool)>();
  return op.call(t_positions, t_cell, t_damping, a.positions, a.cell, a.pbc, a.species, a.offsets,
                 a.damping, a.rcov, a.r4r2, a.cn_ref, a.c6_ref, a.cutoff, a.cn_cutoff, a.width,
                 a.tail);
}

Tensors3 call_backward(T grad_energy, T gradient, T by_cell, T by_damping, const Rest& a) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("d3torch::dispersion_backward", "")
                             .typed<Tensors3(T, T, T, T, T, T, T, T, T, T, T, T, T, T, double,
                                             double, double, bool)>();
  return op.call(grad_energy, gradient, by_cell, by_damping, a.positions, a.cell, a.pbc, a.species,
                 a.offsets, a.damping, a.rcov, a.r4r2, a.cn_ref, a.c6_ref, a.cutoff, a.cn_cutoff,
                 a.width, a.tail);
}

void save(AutogradContext* ctx, const Rest& a, variable_list more) {
  variable_list all{a.positions, a.cell, a.pbc,  a.species, a.offsets,
                    a.damping,   a.rcov, a.r4r2, a.cn_ref,  a.c6_ref};
  all.insert(all.end(), more.begin(), more.end());
  ctx->save_for_backward(all);
  ctx->saved_data["cutoff"] = a.cutoff;
  ctx->saved_data["cn_cutoff"] = a.cn_cutoff;
  ctx->saved_data["width"] = a.width;
  ctx->saved_data["tail"] = a.tail;
}

Rest restore(AutogradContext* ctx, const variable_list& s) {
  return {s[0],
          s[1],
          s[2],
          s[3],
          s[4],
          s[5],
          s[6],
          s[7],
          s[8],
          s[9],
          ctx->saved_data["cutoff"].toDouble(),
          ctx->saved_data["cn_cutoff"].toDouble(),
          ctx->saved_data["width"].toDouble(),
          ctx->saved_data["tail"].toBool()};
}

// Gradients in the order of (positions, cell, pbc, species, offsets, damping, ...) after `before`,
// as long as the arguments.
variable_list in_order(variable_list before, T positions, T cell, T damping) {
  before.insert(before.end(), {positions, cell, Tensor(), Tensor(), Tensor(), damping});
  before.resize(before.size() + 8);  // four tables, three cutoffs, the tail
  return before;
}

struct DispersionBackward : Function<DispersionBackward> {
  static variable_list forward(AutogradContext* ctx, T grad_energy, T gradient, T by_cell,
                               T by_damping, T positions, T cell, T pbc, T species, T offsets,
                               T damping, T rcov, T r4r2, T cn_ref, T c6_ref, double cutoff,
                               double cn_cutoff, double width, bool tail) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const Rest rest{positions, cell,   pbc,    species, offsets,   damping, rcov,
                    r4r2,      cn_ref, c6_ref, cutoff,  cn_cutoff, width,   tail};
    save(ctx, rest, {grad_energy});
    auto [a, b, c] = call_backward(grad_energy, gradient, by_cell, by_damping, rest);
    return {a, b, c};
  }
  // The gradients are functions of positions, cell and damping: their derivative along (g0, g1, g2)
  // is one dual sweep.
  static variable_list backward(AutogradContext* ctx, const variable_list& g) {
    const auto saved = ctx->get_saved_variables();
    const Rest rest = restore(ctx, saved);
    auto [energy, energies, cn, c6, gradient, virial, by_cell, by_damping] =
        call_tangent(g[0], g[1], g[2], rest);
    auto [a, b, c] = call_backward(saved[10], gradient, by_cell, by_damping, rest);
    return in_order({energy, Tensor(), Tensor(), Tensor()}, a, b, c);
  }
};

Tensors3 backward_autograd(T grad_energy, T gradient, T by_cell, T by_damping, T positions, T cell,
                           T pbc, T species, T offsets, T damping, T rcov, T r4r2, T cn_ref,
                           T c6_ref, double cutoff, double cn_cutoff, double width, bool tail) {
  auto out = apply<DispersionBackward>(grad_energy, gradient, by_cell, by_damping, positions, cell,
                                       pbc, species, offsets, damping, rcov, r4r2, cn_ref, c6_ref,
                                       cutoff, cn_cutoff, width, tail);
  return {out[0], out[1], out[2]};
}

struct Dispersion : Function<Dispersion> {
  static Tensor forward(AutogradContext* ctx, T positions, T cell, T pbc, T species, T offsets,
                        T damping, T rcov, T r4r2, T cn_ref, T c6_ref, double cutoff,
                        double cn_cutoff, double width, bool tail, bool gradients) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const Rest rest{positions, cell,   pbc,    species, offsets,   damping, rcov,
                    r4r2,      cn_ref, c6_ref, cutoff,  cn_cutoff, width,   tail};
    auto [energy, energies, cn, c6, gradient, virial, by_cell, by_damping] =
        call_evaluate(rest, gradients, gradients && damping.requires_grad(), "best");
    save(ctx, rest, {gradient, by_cell, by_damping});
    return energy;
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& g) {
    const auto saved = ctx->get_saved_variables();
    auto [a, b, c] = call_backward(g[0], saved[10], saved[11], saved[12], restore(ctx, saved));
    variable_list grads = in_order({}, a, b, c);
    grads.emplace_back();
    return grads;
  }
};

Tensor dispersion(T positions, T cell, T pbc, T species, T offsets, T damping, T rcov, T r4r2,
                  T cn_ref, T c6_ref, double cutoff, double cn_cutoff, double width, bool tail) {
  refuse_grad(rcov, "rcov");
  refuse_grad(r4r2, "r4r2");
  refuse_grad(cn_ref, "cn_ref");
  refuse_grad(c6_ref, "c6_ref");
  const bool gradients =
      at::GradMode::is_enabled() &&
      (positions.requires_grad() || cell.requires_grad() || damping.requires_grad());
  return apply<Dispersion>(positions, cell, pbc, species, offsets, damping, rcov, r4r2, cn_ref,
                           c6_ref, cutoff, cn_cutoff, width, tail, gradients);
}

struct Tangent : Function<Tangent> {
  static variable_list forward(AutogradContext*, T t_positions, T t_cell, T t_damping, T positions,
                               T cell, T pbc, T species, T offsets, T damping, T rcov, T r4r2,
                               T cn_ref, T c6_ref, double cutoff, double cn_cutoff, double width,
                               bool tail) {
    at::AutoDispatchBelowADInplaceOrView guard;
    auto [a, b, c, d, e, f, g, h] =
        call_tangent(t_positions, t_cell, t_damping,
                     {positions, cell, pbc, species, offsets, damping, rcov, r4r2, cn_ref, c6_ref,
                      cutoff, cn_cutoff, width, tail});
    return {a, b, c, d, e, f, g, h};
  }
  static variable_list backward(AutogradContext*, const variable_list&) { refuse_third_order(); }
};

Tensors8 tangent_autograd(T t_positions, T t_cell, T t_damping, T positions, T cell, T pbc,
                          T species, T offsets, T damping, T rcov, T r4r2, T cn_ref, T c6_ref,
                          double cutoff, double cn_cutoff, double width, bool tail) {
  auto o = apply<Tangent>(t_positions, t_cell, t_damping, positions, cell, pbc, species, offsets,
                          damping, rcov, r4r2, cn_ref, c6_ref, cutoff, cn_cutoff, width, tail);
  return {o[0], o[1], o[2], o[3], o[4], o[5], o[6], o[7]};
}

// The inference op: what it returns carries no graph, and it says so.
struct Evaluate : Function<Evaluate> {
  static variable_list forward(AutogradContext*, T positions, T cell, T pbc, T species, T offsets,
                               T damping, T rcov, T r4r2, T cn_ref, T c6_ref, double cutoff,
                               double cn_cutoff, double width, bool tail, bool gradients,
                               bool learn, c10::string_view instruction_set) {
    at::AutoDispatchBelowADInplaceOrView guard;
    auto [a, b, c, d, e, f, g, h] =
        call_evaluate({positions, cell, pbc, species, offsets, damping, rcov, r4r2, cn_ref, c6_ref,
                       cutoff, cn_cutoff, width, tail},
                      gradients, learn, instruction_set);
    return {a, b, c, d, e, f, g, h};
  }
  static variable_list backward(AutogradContext*, const variable_list&) {
    TORCH_CHECK_NOT_IMPLEMENTED(
        false,
        "d3torch: dispersion_evaluate is for inference and not differentiable: use dispersion.");
  }
};

Tensors8 evaluate_autograd(T positions, T cell, T pbc, T species, T offsets, T damping, T rcov,
                           T r4r2, T cn_ref, T c6_ref, double cutoff, double cn_cutoff,
                           double width, bool tail, bool gradients, bool learn,
                           c10::string_view instruction_set) {
  auto o =
      apply<Evaluate>(positions, cell, pbc, species, offsets, damping, rcov, r4r2, cn_ref, c6_ref,
                      cutoff, cn_cutoff, width, tail, gradients, learn, instruction_set);
  return {o[0], o[1], o[2], o[3], o[4], o[5], o[6], o[7]};
}

}  // namespace

TORCH_LIBRARY_IMPL(d3torch, Autograd, m) {
  m.impl("dispersion", dispersion);
  m.impl("dispersion_backward", backward_autograd);
  m.impl("dispersion_tangent", tangent_autograd);
  m.impl("dispersion_evaluate", evaluate_autograd);
}

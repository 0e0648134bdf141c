// Autograd of the pair ops (that of the lattice engine is in lattice_autograd.cpp): it connects the
// forward, backward and double-backward ops.
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/dispatch/Dispatcher.h>
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
using Tensors2 = std::tuple<Tensor, Tensor>;
using Tensors3 = std::tuple<Tensor, Tensor, Tensor>;
using Tensors4 = std::tuple<Tensor, Tensor, Tensor, Tensor>;
using T = const Tensor&;

template <class Signature, class... Args> auto call_op(const char* name, Args&&... args) {
  static const auto op =
      c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>();
  return op.call(std::forward<Args>(args)...);
}

// One C++ type a signature: distinct signatures make distinct handles in call_op.
Tensor cn_op(T vectors, T pairs, T species, T rcov, double cutoff) {
  return call_op<Tensor(T, T, T, T, double)>("d3torch::coordination_number", vectors, pairs,
                                             species, rcov, cutoff);
}

Tensor cn_backward_op(T grad_cn, T vectors, T pairs, T species, T rcov, double cutoff) {
  return call_op<Tensor(T, T, T, T, T, double)>("d3torch::coordination_number_backward", grad_cn,
                                                vectors, pairs, species, rcov, cutoff);
}

Tensors2 cn_double_backward_op(T tangent, T grad_cn, T vectors, T pairs, T species, T rcov,
                               double cutoff) {
  return call_op<Tensors2(T, T, T, T, T, T, double)>("d3torch::coordination_number_double_backward",
                                                     tangent, grad_cn, vectors, pairs, species,
                                                     rcov, cutoff);
}

Tensor energy_op(T vectors, T cn, T damping, T pairs, T species, T r4r2, T cn_ref, T c6_ref,
                 double cutoff, double width) {
  return call_op<Tensor(T, T, T, T, T, T, T, T, double, double)>(
      "d3torch::dispersion_energy", vectors, cn, damping, pairs, species, r4r2, cn_ref, c6_ref,
      cutoff, width);
}

Tensors3 energy_by_centre_op(T vectors, T cn, T damping, T pairs, T species, T r4r2, T cn_ref,
                             T c6_ref, double cutoff, double width) {
  return call_op<Tensors3(T, T, T, T, T, T, T, T, double, double)>(
      "d3torch::dispersion_energy_by_centre", vectors, cn, damping, pairs, species, r4r2, cn_ref,
      c6_ref, cutoff, width);
}

Tensors3 energy_backward_op(T grad, T vectors, T cn, T damping, T pairs, T species, T r4r2,
                            T cn_ref, T c6_ref, double cutoff, double width) {
  return call_op<Tensors3(T, T, T, T, T, T, T, T, T, double, double)>(
      "d3torch::dispersion_energy_backward", grad, vectors, cn, damping, pairs, species, r4r2,
      cn_ref, c6_ref, cutoff, width);
}

Tensors4 energy_double_backward_op(T t_vectors, T t_cn, T t_damping, T grad, T vectors, T cn,
                                   T damping, T pairs, T species, T r4r2, T cn_ref, T c6_ref,
                                   double cutoff, double width) {
  return call_op<Tensors4(T, T, T, T, T, T, T, T, T, T, T, T, double, double)>(
      "d3torch::dispersion_energy_double_backward", t_vectors, t_cn, t_damping, grad, vectors, cn,
      damping, pairs, species, r4r2, cn_ref, c6_ref, cutoff, width);
}

// The tensors after the differentiable ones, as None.
variable_list padded(variable_list grads, size_t n) {
  grads.resize(n);
  return grads;
}

// ---- coordination number ----

struct CnDoubleBackward : Function<CnDoubleBackward> {
  static variable_list forward(AutogradContext*, T tangent, T grad_cn, T vectors, T pairs,
                               T species, T rcov, double cutoff) {
    at::AutoDispatchBelowADInplaceOrView guard;
    auto [a, b] = cn_double_backward_op(tangent, grad_cn, vectors, pairs, species, rcov, cutoff);
    return {a, b};
  }
  static variable_list backward(AutogradContext*, const variable_list&) { refuse_third_order(); }
};

Tensors2 cn_double_backward(T tangent, T grad_cn, T vectors, T pairs, T species, T rcov,
                            double cutoff) {
  auto out = apply<CnDoubleBackward>(tangent, grad_cn, vectors, pairs, species, rcov, cutoff);
  return {out[0], out[1]};
}

struct CnBackward : Function<CnBackward> {
  static Tensor forward(AutogradContext* ctx, T grad_cn, T vectors, T pairs, T species, T rcov,
                        double cutoff) {
    at::AutoDispatchBelowADInplaceOrView guard;
    ctx->save_for_backward({grad_cn, vectors, pairs, species, rcov});
    ctx->saved_data["cutoff"] = cutoff;
    return cn_backward_op(grad_cn, vectors, pairs, species, rcov, cutoff);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto s = ctx->get_saved_variables();
    auto [grad_grad_cn, grad_vectors] = cn_double_backward_op(
        grads[0], s[0], s[1], s[2], s[3], s[4], ctx->saved_data["cutoff"].toDouble());
    return padded({grad_grad_cn, grad_vectors}, 6);
  }
};

Tensor cn_backward(T grad_cn, T vectors, T pairs, T species, T rcov, double cutoff) {
  return apply<CnBackward>(grad_cn, vectors, pairs, species, rcov, cutoff);
}

struct Cn : Function<Cn> {
  static Tensor forward(AutogradContext* ctx, T vectors, T pairs, T species, T rcov,
                        double cutoff) {
    refuse_grad(rcov, "rcov");
    at::AutoDispatchBelowADInplaceOrView guard;
    ctx->save_for_backward({vectors, pairs, species, rcov});
    ctx->saved_data["cutoff"] = cutoff;
    return cn_op(vectors, pairs, species, rcov, cutoff);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto s = ctx->get_saved_variables();
    return padded(
        {cn_backward_op(grads[0], s[0], s[1], s[2], s[3], ctx->saved_data["cutoff"].toDouble())},
        5);
  }
};

Tensor cn(T vectors, T pairs, T species, T rcov, double cutoff) {
  return apply<Cn>(vectors, pairs, species, rcov, cutoff);
}

// ---- energy ----

struct EnergyDoubleBackward : Function<EnergyDoubleBackward> {
  static variable_list forward(AutogradContext*, T t_vectors, T t_cn, T t_damping, T grad,
                               T vectors, T cn, T damping, T pairs, T species, T r4r2, T cn_ref,
                               T c6_ref, double cutoff, double width) {
    at::AutoDispatchBelowADInplaceOrView guard;
    auto [a, b, c, d] =
        energy_double_backward_op(t_vectors, t_cn, t_damping, grad, vectors, cn, damping, pairs,
                                  species, r4r2, cn_ref, c6_ref, cutoff, width);
    return {a, b, c, d};
  }
  static variable_list backward(AutogradContext*, const variable_list&) { refuse_third_order(); }
};

Tensors4 energy_double_backward(T t_vectors, T t_cn, T t_damping, T grad, T vectors, T cn,
                                T damping, T pairs, T species, T r4r2, T cn_ref, T c6_ref,
                                double cutoff, double width) {
  auto out = apply<EnergyDoubleBackward>(t_vectors, t_cn, t_damping, grad, vectors, cn, damping,
                                         pairs, species, r4r2, cn_ref, c6_ref, cutoff, width);
  return {out[0], out[1], out[2], out[3]};
}

void save_settings(AutogradContext* ctx, double cutoff, double width) {
  ctx->saved_data["cutoff"] = cutoff;
  ctx->saved_data["width"] = width;
}

struct EnergyBackward : Function<EnergyBackward> {
  static variable_list forward(AutogradContext* ctx, T grad, T vectors, T cn, T damping, T pairs,
                               T species, T r4r2, T cn_ref, T c6_ref, double cutoff, double width) {
    at::AutoDispatchBelowADInplaceOrView guard;
    ctx->save_for_backward({grad, vectors, cn, damping, pairs, species, r4r2, cn_ref, c6_ref});
    save_settings(ctx, cutoff, width);
    auto [a, b, c] = energy_backward_op(grad, vectors, cn, damping, pairs, species, r4r2, cn_ref,
                                        c6_ref, cutoff, width);
    return {a, b, c};
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& g) {
    const auto s = ctx->get_saved_variables();
    auto [grad_grad, grad_vectors, grad_cn, grad_damping] = energy_double_backward_op(
        g[0], g[1], g[2], s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[8],
        ctx->saved_data["cutoff"].toDouble(), ctx->saved_data["width"].toDouble());
    return padded({grad_grad, grad_vectors, grad_cn, grad_damping}, 11);
  }
};

Tensors3 energy_backward(T grad, T vectors, T cn, T damping, T pairs, T species, T r4r2, T cn_ref,
                         T c6_ref, double cutoff, double width) {
  auto out = apply<EnergyBackward>(grad, vectors, cn, damping, pairs, species, r4r2, cn_ref, c6_ref,
                                   cutoff, width);
  return {out[0], out[1], out[2]};
}

struct Energy : Function<Energy> {
  static Tensor forward(AutogradContext* ctx, T vectors, T cn, T damping, T pairs, T species,
                        T r4r2, T cn_ref, T c6_ref, double cutoff, double width) {
    refuse_grad(r4r2, "r4r2");
    refuse_grad(cn_ref, "cn_ref");
    refuse_grad(c6_ref, "c6_ref");
    at::AutoDispatchBelowADInplaceOrView guard;
    ctx->save_for_backward({vectors, cn, damping, pairs, species, r4r2, cn_ref, c6_ref});
    save_settings(ctx, cutoff, width);
    return energy_op(vectors, cn, damping, pairs, species, r4r2, cn_ref, c6_ref, cutoff, width);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& g) {
    const auto s = ctx->get_saved_variables();
    auto [grad_vectors, grad_cn, grad_damping] = energy_backward_op(
        g[0], s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], ctx->saved_data["cutoff"].toDouble(),
        ctx->saved_data["width"].toDouble());
    return padded({grad_vectors, grad_cn, grad_damping}, 10);
  }
};

Tensor energy(T vectors, T cn, T damping, T pairs, T species, T r4r2, T cn_ref, T c6_ref,
              double cutoff, double width) {
  return apply<Energy>(vectors, cn, damping, pairs, species, r4r2, cn_ref, c6_ref, cutoff, width);
}

// For hosts that apply the chain rule themselves: what it returns carries no graph, and it says so.
struct EnergyByCentre : Function<EnergyByCentre> {
  static variable_list forward(AutogradContext*, T vectors, T cn, T damping, T pairs, T species,
                               T r4r2, T cn_ref, T c6_ref, double cutoff, double width) {
    at::AutoDispatchBelowADInplaceOrView guard;
    auto [a, b, c] = energy_by_centre_op(vectors, cn, damping, pairs, species, r4r2, cn_ref, c6_ref,
                                         cutoff, width);
    return {a, b, c};
  }
  static variable_list backward(AutogradContext*, const variable_list&) {
    TORCH_CHECK_NOT_IMPLEMENTED(
        false, "d3torch: dispersion_energy_by_centre is for inference and not differentiable: ",
        "use dispersion_energy.");
  }
};

Tensors3 energy_by_centre(T vectors, T cn, T damping, T pairs, T species, T r4r2, T cn_ref,
                          T c6_ref, double cutoff, double width) {
  auto out = apply<EnergyByCentre>(vectors, cn, damping, pairs, species, r4r2, cn_ref, c6_ref,
                                   cutoff, width);
  return {out[0], out[1], out[2]};
}

}  // namespace

TORCH_LIBRARY_IMPL(d3torch, Autograd, m) {
  m.impl("coordination_number", cn);
  m.impl("coordination_number_backward", cn_backward);
  m.impl("coordination_number_double_backward", cn_double_backward);
  m.impl("dispersion_energy", energy);
  m.impl("dispersion_energy_by_centre", energy_by_centre);
  m.impl("dispersion_energy_backward", energy_backward);
  m.impl("dispersion_energy_double_backward", energy_double_backward);
}

// The ops on whole structures for any device; see pair_ops.h for what a device is. Here it has
//
//   check_how(how)                       refuses what the device does not know
//   evaluate<T>(args, how, form, tangents, out)  the engine on checked values; tangents may be null
//   pairwise<T>(args, labels, form, out)  energies by pair of labels; refuses where there is none
//   scale<T>(slopes, args, out)          gradients of a loss from the gradients of the energies
#pragma once
#include <ATen/Dispatch.h>

#include "ops/lattice_args.h"

namespace d3 {

template <class Device> struct LatticeOps {
  using Guard = typename Device::Guard;

  static Tensors8 evaluate(const LatticeArgs& args, const How& how, const LatticeForm& form) {
    const Guard guard(args.positions.device());
    Tensors8 out = evaluate_meta(args, how, form);
    Device::check_how(how);
    const LatticeArgs a = contiguous(Device::prepared(args));
    const LatticeForm f = contiguous(form);
    AT_DISPATCH_FLOATING_TYPES(a.positions.scalar_type(), "dispersion_evaluate", [&] {
      Device::template evaluate<scalar_t>(a, how, f, nullptr, out);
    });
    return out;
  }

  static Tensors8 tangent(const LatticeTangent& tangent, const LatticeArgs& args,
                          const LatticeForm& form) {
    const Guard guard(args.positions.device());
    Tensors8 out = tangent_meta(tangent, args, form);
    const LatticeTangent t = contiguous(tangent);
    const LatticeArgs a = contiguous(Device::prepared(args));
    const LatticeForm f = contiguous(form);
    AT_DISPATCH_FLOATING_TYPES(a.positions.scalar_type(), "dispersion_tangent", [&] {
      const LatticeTangents<scalar_t> tangents = tangents_of<scalar_t>(t);
      Device::template evaluate<scalar_t>(a, {true, true, "best"}, f, &tangents, out);
    });
    return out;
  }

  static Tensor pairwise(const LatticeArgs& args, const PairLabels& labels,
                         const LatticeForm& form) {
    const Guard guard(args.positions.device());
    Tensor out = pairwise_meta(args, labels, form);
    const LatticeArgs a = contiguous(args);
    const PairLabels l = contiguous(labels);
    const LatticeForm f = contiguous(form);
    AT_DISPATCH_FLOATING_TYPES(a.positions.scalar_type(), "dispersion_pairwise",
                               [&] { Device::template pairwise<scalar_t>(a, l, f, out); });
    return out;
  }

  static Tensors2 shares(const LatticeArgs& args, const LatticeForm& form) {
    const Tensors8 all = evaluate(args, {false, false, "best"}, form);
    return {std::get<0>(all), std::get<1>(all)};
  }

  static Tensor dispersion(const LatticeArgs& args, const LatticeForm& form) {
    return std::get<0>(shares(args, form));
  }

  static Tensors3 backward(const Slopes& slopes, const LatticeArgs& args, const LatticeForm& form) {
    const Guard guard(args.positions.device());
    Tensors3 out = backward_meta(slopes, args, form);
    const Slopes s = contiguous(slopes);
    const LatticeArgs a = contiguous(args);
    AT_DISPATCH_FLOATING_TYPES(a.positions.scalar_type(), "dispersion_backward",
                               [&] { Device::template scale<scalar_t>(s, a, out); });
    return out;
  }
};

}  // namespace d3

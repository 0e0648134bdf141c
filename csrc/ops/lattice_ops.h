// The ops on whole structures for any device; see pair_ops.h for what a device is. L is ListArgs
// where the pairs are given, and nothing where they are found. Here a device has
//
//   check_how(how)                       refuses what the device does not know
//   evaluate<T>(args, list..., how, form, tangents, out)  the engine on checked values; tangents
//                                        may be null
//   pairwise<T>(args, labels, form, out)  energies by pair of labels; refuses where there is none
//   scale<T>(slopes, args, out)          gradients of a loss from the gradients of the energies
#pragma once
#include <ATen/Dispatch.h>

#include "ops/lattice_args.h"

namespace d3 {

template <class Device, class... L> struct LatticeOps {
  using Guard = typename Device::Guard;

  static Tensors8 evaluate(const LatticeArgs& args, const L&... list, const How& how,
                           const LatticeForm& form) {
    const Guard guard(args.positions.device());
    Tensors8 out = Meta<L...>::evaluate(args, list..., how, form);
    Device::check_how(how);
    run(args, list..., how, form, nullptr, out);
    return out;
  }

  static Tensors8 tangent(const LatticeTangent& tangent, const LatticeArgs& args, const L&... list,
                          const LatticeForm& form) {
    const Guard guard(args.positions.device());
    Tensors8 out = Meta<L...>::tangent(tangent, args, list..., form);
    const LatticeTangent t = contiguous(tangent);
    run(args, list..., {true, true, "best"}, form, &t, out);
    return out;
  }

  static Tensor pairwise(const LatticeArgs& args, const PairLabels& labels,
                         const LatticeForm& form) {
    const Guard guard(args.positions.device());
    Tensor out = Meta<>::pairwise(args, labels, form);
    const LatticeArgs a = contiguous(args);
    const PairLabels l = contiguous(labels);
    const LatticeForm f = contiguous(form);
    AT_DISPATCH_FLOATING_TYPES(a.positions.scalar_type(), "dispersion_pairwise",
                               [&] { Device::template pairwise<scalar_t>(a, l, f, out); });
    return out;
  }

  static Tensors2 shares(const LatticeArgs& args, const L&... list, const LatticeForm& form) {
    const Tensors8 all = evaluate(args, list..., {false, false, "best"}, form);
    return {std::get<0>(all), std::get<1>(all)};
  }

  static Tensor dispersion(const LatticeArgs& args, const L&... list, const LatticeForm& form) {
    return std::get<0>(shares(args, list..., form));
  }

  static Tensors3 backward(const Slopes& slopes, const LatticeArgs& args, const L&... list,
                           const LatticeForm& form) {
    const Guard guard(args.positions.device());
    Tensors3 out = Meta<L...>::backward(slopes, args, list..., form);
    const Slopes s = contiguous(slopes);
    const LatticeArgs a = contiguous(args);
    AT_DISPATCH_FLOATING_TYPES(a.positions.scalar_type(), "dispersion_backward",
                               [&] { Device::template scale<scalar_t>(s, a, out); });
    return out;
  }

 private:
  // Runs the engine; with `tangent`, for the derivatives along it.
  static void run(const LatticeArgs& args, const L&... list, const How& how,
                  const LatticeForm& form, const LatticeTangent* tangent, Tensors8& out) {
    const LatticeArgs a = contiguous(Device::prepared(args));
    const LatticeForm f = contiguous(form);
    AT_DISPATCH_FLOATING_TYPES(a.positions.scalar_type(), "dispersion_evaluate", [&] {
      LatticeTangents<scalar_t> tangents{};
      if (tangent) tangents = tangents_of<scalar_t>(*tangent);
      Device::template evaluate<scalar_t>(a, contiguous(list)..., how, f,
                                          tangent ? &tangents : nullptr, out);
    });
  }
};

}  // namespace d3

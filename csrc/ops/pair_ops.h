// The ops on a pair list for any device. A device says how kernels are run:
//
//   Guard(device)            for as long as an op runs
//   large(result)            where a result for each pair is written
//   prepared(args)           the arguments as the kernels take them, checked by value
//   run<T>(args, f)          f(input) for the input of a kernel
//   Counting<T>, Energy<T>   the kernels, as in engine/pairs/kernels.h
#pragma once
#include <ATen/Dispatch.h>

#include "ops/pair_args.h"

namespace d3 {

template <class Device> struct PairOps {
  using Guard = typename Device::Guard;
  template <class T> using Counting = typename Device::template Counting<T>;
  template <class T> using Energy = typename Device::template Energy<T>;

  static Tensor cn(const CountingArgs& args) {
    const Guard guard(args.vectors.device());
    Tensor out = cn_meta(args);
    const CountingArgs a = contiguous(Device::prepared(args));
    AT_DISPATCH_FLOATING_TYPES(a.vectors.scalar_type(), "coordination_number", [&] {
      Device::template run<scalar_t>(a, [&](const auto& in) {
        return Counting<scalar_t>::forward(in, out.mutable_data_ptr<scalar_t>());
      });
    });
    return out;
  }

  static Tensor cn_backward(const GradCn& grad, const CountingArgs& args) {
    const Guard guard(args.vectors.device());
    Tensor out = Device::large(cn_backward_meta(grad, args));
    const GradCn g = contiguous(grad);
    const CountingArgs a = contiguous(Device::prepared(args));
    AT_DISPATCH_FLOATING_TYPES(a.vectors.scalar_type(), "coordination_number_backward", [&] {
      Device::template run<scalar_t>(a, [&](const auto& in) {
        return Counting<scalar_t>::backward(in, g.grad_cn.const_data_ptr<scalar_t>(),
                                            out.mutable_data_ptr<scalar_t>());
      });
    });
    return out;
  }

  static Tensors2 cn_double_backward(const CountingTangent& tangent, const GradCn& grad,
                                     const CountingArgs& args) {
    const Guard guard(args.vectors.device());
    Tensors2 out = cn_double_backward_meta(tangent, grad, args);
    std::get<1>(out) = Device::large(std::get<1>(out));
    const CountingTangent t = contiguous(tangent);
    const GradCn g = contiguous(grad);
    const CountingArgs a = contiguous(Device::prepared(args));
    AT_DISPATCH_FLOATING_TYPES(a.vectors.scalar_type(), "coordination_number_double_backward", [&] {
      Device::template run<scalar_t>(a, [&](const auto& in) {
        return Counting<scalar_t>::double_backward(in, g.grad_cn.const_data_ptr<scalar_t>(),
                                                   t.vectors.const_data_ptr<scalar_t>(),
                                                   std::get<0>(out).mutable_data_ptr<scalar_t>(),
                                                   std::get<1>(out).mutable_data_ptr<scalar_t>());
      });
    });
    return out;
  }

  static Tensor energy(const EnergyArgs& args) {
    const Guard guard(args.vectors.device());
    Tensor out = energy_meta(args);
    const EnergyArgs a = contiguous(Device::prepared(args));
    AT_DISPATCH_FLOATING_TYPES(a.vectors.scalar_type(), "dispersion_energy", [&] {
      Device::template run<scalar_t>(a, [&](const auto& in) {
        return Energy<scalar_t>::forward(in, out.mutable_data_ptr<scalar_t>());
      });
    });
    return out;
  }

  static Tensors3 energy_by_centre(const EnergyArgs& args) {
    const Guard guard(args.vectors.device());
    Tensors3 out = energy_by_centre_meta(args);
    std::get<2>(out) = Device::large(std::get<2>(out));
    const EnergyArgs a = contiguous(Device::prepared(args));
    AT_DISPATCH_FLOATING_TYPES(a.vectors.scalar_type(), "dispersion_energy_by_centre", [&] {
      Device::template run<scalar_t>(a, [&](const auto& in) {
        const ByCentre<scalar_t> results{std::get<0>(out).mutable_data_ptr<scalar_t>(),
                                         std::get<1>(out).mutable_data_ptr<scalar_t>(),
                                         std::get<2>(out).mutable_data_ptr<scalar_t>()};
        return Energy<scalar_t>::by_centre(in, results);
      });
    });
    return out;
  }

  static Tensors3 energy_backward(const GradEnergy& grad, const EnergyArgs& args) {
    const Guard guard(args.vectors.device());
    Tensors3 out = energy_backward_meta(grad, args);
    std::get<0>(out) = Device::large(std::get<0>(out));
    const GradEnergy g = contiguous(grad);
    const EnergyArgs a = contiguous(Device::prepared(args));
    AT_DISPATCH_FLOATING_TYPES(a.vectors.scalar_type(), "dispersion_energy_backward", [&] {
      Device::template run<scalar_t>(a, [&](const auto& in) {
        return Energy<scalar_t>::backward(in, g.grad_energy.const_data_ptr<scalar_t>(),
                                          std::apply(gradients<scalar_t>, out));
      });
    });
    return out;
  }

  static Tensors4 energy_double_backward(const EnergyTangent& tangent, const GradEnergy& grad,
                                         const EnergyArgs& args) {
    const Guard guard(args.vectors.device());
    Tensors4 out = energy_double_backward_meta(tangent, grad, args);
    std::get<1>(out) = Device::large(std::get<1>(out));
    const EnergyTangent t = contiguous(tangent);
    const GradEnergy g = contiguous(grad);
    const EnergyArgs a = contiguous(Device::prepared(args));
    AT_DISPATCH_FLOATING_TYPES(a.vectors.scalar_type(), "dispersion_energy_double_backward", [&] {
      const EnergyTangents<scalar_t> tangents{t.vectors.const_data_ptr<scalar_t>(),
                                              t.cn.const_data_ptr<scalar_t>(),
                                              t.damping.const_data_ptr<scalar_t>()};
      Device::template run<scalar_t>(a, [&](const auto& in) {
        return Energy<scalar_t>::double_backward(
            in, g.grad_energy.const_data_ptr<scalar_t>(), tangents,
            std::get<0>(out).mutable_data_ptr<scalar_t>(),
            gradients<scalar_t>(std::get<1>(out), std::get<2>(out), std::get<3>(out)));
      });
    });
    return out;
  }

 private:
  template <class T>
  static EnergyGradients<T> gradients(const Tensor& vectors, const Tensor& cn,
                                      const Tensor& damping) {
    return {vectors.mutable_data_ptr<T>(), cn.mutable_data_ptr<T>(), damping.mutable_data_ptr<T>()};
  }
};

}  // namespace d3

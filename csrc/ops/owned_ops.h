// The ops for hosts that own some of the atoms, on the CPU: the arithmetic is that of the tables,
// vectors and forces stay in the host's dtype, indices in the host's integer.
#pragma once
#include <ATen/Dispatch.h>

#include <string>

#include "ops/owned_args.h"
#include "ops/signals.h"

namespace d3 {

// Calls f(T, V, I) with numbers that stand for their types.
template <class F> void with_types(const OwnedList& l, const Tensor& rcov, F&& f) {
  const bool wide = l.vectors.scalar_type() == at::kDouble;
  const auto with_index = [&](auto t, auto v) {
    if (l.centre.scalar_type() == at::kInt)
      f(t, v, int32_t());
    else
      f(t, v, int64_t());
  };
  if (rcov.scalar_type() == at::kDouble)
    with_index(double(), double());
  else if (wide)
    with_index(float(), double());
  else
    with_index(float(), float());
}

// Species of the tables, or -1 for an atom that is not there.
inline void check_owned_species(const int64_t* species, int64_t n_atoms, int64_t n_species) {
  for (int64_t i = 0; i < n_atoms; ++i)
    TORCH_CHECK_INDEX(species[i] >= -1 && species[i] < n_species,
                      "d3torch: expected species indices in [-1, ", n_species, "), got ",
                      species[i], " for atom ", i, ".");
}

// Says what is wrong with the pair that the engine found, if any.
template <class V, class I> void check_fault(const OwnedPairs<V, I>& list, OwnedFault fault) {
  if (fault.kind == OwnedFault::none || fault.kind == OwnedFault::stopped) return;
  const int64_t p = fault.pair;
  const std::string pair = c10::str("(", list.centre[p], ", ", list.neighbour[p], ")");
  TORCH_CHECK_INDEX(fault.kind != OwnedFault::index, "d3torch: expected atom indices in [0, ",
                    list.n_atoms, ") in pairs, got ", pair, " for pair ", p, ".");
  TORCH_CHECK_VALUE(fault.kind != OwnedFault::length_zero,
                    "d3torch: expected pairs of distinct positions, got pair ", p, " ", pair,
                    " with a vector of length 0.");
  TORCH_CHECK_VALUE(false, "d3torch: expected pairs in the order of their centres, got pair ", p,
                    " ", pair, " behind one of centre ", list.centre[p - 1], ".");
}

template <class Device> struct OwnedOps {
  // Runs kernel(input of the engine, T, V).
  template <class Args, class F>
  static void run(const OwnedList& list, const Args& args, F&& kernel) {
    const OwnedList l = contiguous(list);
    const Args a = contiguous(args);
    check_owned_species(l.species.const_data_ptr<int64_t>(), l.species.size(0), a.rcov.size(0));
    with_types(l, a.rcov, [&](auto t, auto v, auto index) {
      auto in = input_of<decltype(t), decltype(v), decltype(index)>(l, a, Device::n_threads());
      Signals signals;
      in.watch = signals.watch();
      const OwnedFault fault = kernel(Owned<decltype(t), decltype(v), decltype(index)>(), in, t, v);
      signals.rethrow();
      check_fault(in.list, fault);
    });
  }

  static Tensor cn(const OwnedList& l, const OwnedCounting& c) {
    Tensor out = owned_cn_meta(l, c);
    run(l, c, [&](auto engine, const auto& in, auto t, auto) {
      return engine.coordination_numbers(in, out.mutable_data_ptr<decltype(t)>());
    });
    return out;
  }

  static Tensors2 forces(const OwnedList& l, const OwnedEnergy& e) {
    Tensors2 out = owned_forces_meta(l, e);
    std::get<1>(out) = Device::large(std::get<1>(out));
    run(l, e, [&](auto engine, const auto& in, auto t, auto v) {
      return engine.energies_and_forces(in, std::get<0>(out).mutable_data_ptr<decltype(t)>(),
                                        std::get<1>(out).mutable_data_ptr<decltype(v)>());
    });
    return out;
  }

  static Tensor add_forces(const AtomForces& f, const OwnedList& l, const OwnedEnergy& e) {
    Tensor out = owned_add_forces_meta(f, l, e);
    run(l, e, [&](auto engine, const auto& in, auto t, auto) {
      return engine.energies_adding_forces(in, out.mutable_data_ptr<decltype(t)>(),
                                           f.atom_forces.mutable_data_ptr<double>());
    });
    if (!f.atom_forces.is_inference()) f.atom_forces.unsafeGetTensorImpl()->bump_version();
    return out;
  }
};

template <class Device> void register_owned(torch::Library& m) {
  using Ops = OwnedOps<Device>;
  m.impl("owned_coordination_number", unpacked<&Ops::cn>);
  m.impl("owned_energy_forces", unpacked<&Ops::forces>);
  m.impl("owned_energy_add_forces", unpacked<&Ops::add_forces>);
}

}  // namespace d3

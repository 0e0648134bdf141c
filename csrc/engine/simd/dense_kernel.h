// The loops over all pairs of a small molecule, for the instruction set of the including file. The
// columns are described at Dense in dense.h. Each atom i runs over all columns j, itself included:
// the mask of Separation leaves it out.
#pragma once
#include <utility>

#include "engine/lattice/dense.h"
#include "engine/simd/registers.h"

namespace d3 {
namespace D3_ISA {

using DoubleVec = Simd<double>;  // a register of atoms j

// Vectors from atom i to a register of others, with the mask of the atoms within a cutoff. The rest
// are put at distance 1, where every formula is finite.
struct Separation {
  Vector3<DoubleVec> r;
  DoubleVec r2;
  Mask<double> inside, same;

  D3_INLINE Separation(const Dense& d, int i, int j, double cutoff) {
    r.x = DoubleVec::load(d.position[0] + j) - DoubleVec(d.position[0][i]);
    r.y = DoubleVec::load(d.position[1] + j) - DoubleVec(d.position[1][i]);
    r.z = DoubleVec::load(d.position[2] + j) - DoubleVec(d.position[2][i]);
    const DoubleVec distance2 = r.norm2(), same2(d.same * d.same);
    same = distance2 <= same2;
    inside = (distance2 <= DoubleVec(cutoff * cutoff)) & (distance2 > same2);
    r2 = select(inside, distance2, DoubleVec(1.0));
  }
};

// Coordination numbers, and for each pair the slope of the counting function over the distance,
// which the gradient needs again. Returns the first atom that sits on another, or -1.
inline int dense_count(const Dense& d) {
  const DoubleVec zero(0.0), one(1.0);
  for (int i = 0; i < d.n; ++i) {
    DoubleVec cn = zero, same = zero;
    for (int j = 0; j < d.stride; j += DoubleVec::size) {
      const Separation s(d, i, j, d.cn_cutoff);
      const Counted<DoubleVec> f =
          counting(s.r2, DoubleVec(d.rcov[i]) + DoubleVec::load(d.rcov + j));
      cn += select(s.inside, f.value, zero);
      same += select(s.same, one, zero);
      select(s.inside, f.slope_over_r, zero).store(d.slope + i * d.stride + j);
    }
    d.cn[i] = total(cn);
    if (total(same) > 1) return i;
  }
  std::fill(d.cn + d.n, d.cn + d.stride, 0.0);
  return -1;
}

// Weights of every atom, and once more with a column for each reference of each species, 0 for
// atoms of another.
inline void dense_weights(const Dense& d) {
  for (int j = 0; j < d.stride; j += DoubleVec::size) {
    DoubleVec ref[max_refs], w[max_refs], dw[max_refs];
    for (int a = 0; a < max_refs; ++a) ref[a] = DoubleVec::load(d.cn_ref + a * d.stride + j);
    reference_weights(DoubleVec::load(d.cn + j), ref, max_refs, w, dw);
    for (int a = 0; a < max_refs; ++a) {
      w[a].store(d.w + a * d.stride + j);
      dw[a].store(d.dw + a * d.stride + j);
    }
    const DoubleVec slot = DoubleVec::load(d.slots + j);
    for (int s = 0; s < d.n_slots; ++s) {
      const auto of_species = (slot > DoubleVec(s - 0.5)) & (slot <= DoubleVec(s + 0.5));
      for (int a = d.first_ref[s]; a < d.first_ref[s + 1]; ++a)
        select(of_species, w[a - d.first_ref[s]], DoubleVec(0.0))
            .store(d.w_by_ref + a * d.stride + j);
    }
  }
}

// C6 of every atom with each reference, sum_b w_b C6ref[a][b].
inline void dense_c6(const Dense& d) {
  for (int a = 0; a < d.n_refs; ++a)
    for (int j = 0; j < d.stride; j += DoubleVec::size) {
      DoubleVec sum(0.0);
      for (int b = 0; b < d.n_refs; ++b)
        sum +=
            DoubleVec(d.c6_ref[a * d.n_refs + b]) * DoubleVec::load(d.w_by_ref + b * d.stride + j);
      sum.store(d.c6_by_ref + a * d.stride + j);
    }
}

// The constants of the damping of each species with every atom.
template <DampingForm form> void dense_constants(const Dense& d) {
  DoubleVec parameters[n_parameters(form)];
  for (int k = 0; k < n_parameters(form); ++k) parameters[k] = DoubleVec(d.damping[k]);
  for (int i = 0, s = 0; s < d.n_slots; ++s) {
    while (d.slot[i] != s) i = i + 1 < d.n ? i + 1 : 0;
    for (int j = 0; j < d.stride; j += DoubleVec::size) {
      const auto c =
          DampingFunction<form>::make(parameters, DoubleVec(d.r4r2[i]), DoubleVec::load(d.r4r2 + j),
                                      DoubleVec::load(d.radii + s * d.stride + j));
      double* column = d.constants + s * n_constants * d.stride + j;
      converted(c, [&](DoubleVec x) D3_LAMBDA {
        x.store(std::exchange(column, column + d.stride));
        return x;
      });
    }
  }
}

// The damping of a species with a register of atoms, from its columns.
D3_INLINE Damping<DoubleVec> dense_damping(const Dense& d, int slot, int j) {
  const auto constant = [&](int k) D3_LAMBDA {
    return DoubleVec::load(d.constants + (slot * n_constants + k) * d.stride + j);
  };
  return {DoubleVec(d.damping[0]),
          constant(1),
          constant(2),
          {constant(3), constant(4), constant(5), constant(6)}};
}

// Energies, derivatives by CN and damping, and the direct gradient (at fixed CN). Each pair is met
// from both sides, and all factors are as in Sweeps::add_energy.
template <DampingForm form> void dense_energy(const Dense& d) {
  const DoubleVec zero(0.0);
  DoubleVec by_damping[n_parameters(form)];
  for (DoubleVec& sum : by_damping) sum = zero;
  for (int i = 0; i < d.n; ++i) {
    const int slot = d.slot[i], first = d.first_ref[slot], n_refs = d.first_ref[slot + 1] - first;
    DoubleVec sums[of_damping];
    for (DoubleVec& sum : sums) sum = zero;
    for (int j = 0; j < d.stride; j += DoubleVec::size) {
      const Separation s(d, i, j, d.cutoff);
      const Damping<DoubleVec> damping = dense_damping(d, slot, j);
      const auto g = switched<form>(damping, s.r2, Cutoff<double>{d.cutoff, d.width});
      DoubleVec c6 = zero, dc6 = zero;
      for (int a = 0; a < n_refs; ++a) {
        const DoubleVec by_ref = DoubleVec::load(d.c6_by_ref + (first + a) * d.stride + j);
        c6 += DoubleVec(d.w[a * d.stride + i]) * by_ref;
        dc6 += DoubleVec(d.dw[a * d.stride + i]) * by_ref;
      }
      const PairTerm<form, DoubleVec> pair{select(s.inside, c6, zero), g};
      add_columns<EnergyMode::gradient, false>(pair, select(s.inside, dc6, zero), damping, s.r, s.r,
                                               sums);
      if (d.learn) pair.add_damping(damping, by_damping);
    }
    d.energy[i] = -0.5 * total(sums[of_energy]);
    d.dcn[i] = -total(sums[of_dcn]);
    d.c6[i] = 0;
    for (int a = 0; a < n_refs; ++a)
      d.c6[i] += d.w[a * d.stride + i] * d.c6_by_ref[(first + a) * d.stride + i];
    for (int k = 0; k < 3; ++k) d.gradient[k][i] = total(sums[of_gradient + k]);
  }
  std::fill(d.dcn + d.n, d.dcn + d.stride, 0.0);
  for (int k = 0; k < n_parameters(form) && d.n > 0; ++k)
    d.by_damping[k] = -0.5 * total(by_damping[k]);
}

// Adds the gradient through the coordination numbers.
inline void dense_count_gradient(const Dense& d) {
  for (int i = 0; i < d.n; ++i)
    for (int k = 0; k < 3; ++k) {
      const DoubleVec x(d.position[k][i]), dcn(d.dcn[i]);
      DoubleVec sum(0.0);
      for (int j = 0; j < d.stride; j += DoubleVec::size)
        sum += DoubleVec::load(d.slope + i * d.stride + j) * (dcn + DoubleVec::load(d.dcn + j)) *
               (DoubleVec::load(d.position[k] + j) - x);
      d.gradient[k][i] += -total(sum);
    }
}

// The whole molecule. Returns the first atom that sits on another, or -1.
template <DampingForm form> int dense(const Dense& d) {
  const int same = dense_count(d);
  if (same >= 0) return same;
  dense_weights(d);
  dense_c6(d);
  dense_constants<form>(d);
  dense_energy<form>(d);
  dense_count_gradient(d);
  return -1;
}

}  // namespace D3_ISA
}  // namespace d3

// What one pair adds to the sums over pairs, written once for every engine: energy, derivative by
// the CN, gradient, virial, derivatives by the damping parameters. X is any number type: a scalar,
// a dual number, a register of pairs.
//
// Callers bring the pairs, leave out those beyond the cutoff (with a C6 of 0, or not at all), and
// put in signs and halves: E = -1/2 sum C6_ij g(r_ij).
#pragma once
#include <type_traits>

#include "engine/formulas/damping.h"
#include "engine/formulas/dual.h"

namespace d3 {

// A vector in space.
template <class X> struct Vector3 {
  X x, y, z;
  D3_HD inline X norm2() const { return x * x + y * y + z * z; }
};

// How much is summed up; each mode adds to the one before: energies; CN slopes, gradient and
// virial; derivatives by the damping parameters.
enum class EnergyMode { energy, gradient, learn };

// Columns of the sums of an atom i over its neighbours j.
enum Column {
  of_energy,                    // C6_ij g
  of_dcn,                       // dC6_ij/dCN_i g
  of_gradient,                  // C6_ij dg/dr r/|r|
  of_virial = of_gradient + 3,  // the outer product of that with r: xx xy xz yy yz zz
  of_damping = of_virial + 6    // C6_ij dg/d(parameter), of each parameter
};

// Columns that a mode sums up.
template <EnergyMode mode, DampingForm form>
constexpr int energy_columns = mode == EnergyMode::energy     ? 1
                               : mode == EnergyMode::gradient ? int(of_damping)
                                                              : of_damping + n_parameters(form);

// A pair within the cutoff: its C6 times the weight of its energy in what is summed up, and its
// damped kernel g.
template <DampingForm form, class X> struct PairTerm {
  X c6;
  Damped<form, X> g;

  D3_HD inline X energy() const { return c6 * g.value; }
  D3_HD inline X slope_over_r() const { return c6 * g.slope_over_r; }

  // The derivative of the energy where C6 has the derivative dc6.
  D3_HD inline X by_c6(X dc6) const { return dc6 * g.value; }
  D3_HD inline X by_c6(X dc6, X weight) const { return weight * g.value * dc6; }

  // Adds the derivatives by the parameters.
  template <class A> D3_HD inline void add_damping(const Damping<X>& constants, A* sums) const {
    DampingFunction<form>::add_slopes(c6, g, constants, sums);
  }
};

// Adds the outer product of a gradient with an arm, which is symmetric in the sum over all pairs.
template <class X>
D3_HD inline void add_virial(const Vector3<X>& gradient, const Vector3<X>& arm, X* virial) {
  virial[0] += gradient.x * arm.x;
  virial[1] += gradient.x * arm.y;
  virial[2] += gradient.x * arm.z;
  virial[3] += gradient.y * arm.y;
  virial[4] += gradient.y * arm.z;
  virial[5] += gradient.z * arm.z;
}

// Adds f r, for f = dE/dr divided by r, to a gradient, and its outer product with an arm to a
// virial: with r itself, or with a vector that the caller makes up for.
template <bool with_virial, class X>
D3_HD inline void add_gradient(X f, const Vector3<X>& r, const Vector3<X>& arm, X* gradient,
                               X* virial) {
  const Vector3<X> part{f * r.x, f * r.y, f * r.z};
  gradient[0] += part.x;
  gradient[1] += part.y;
  gradient[2] += part.z;
  if constexpr (with_virial) add_virial(part, arm, virial);
}

// Adds a pair to the columns of a mode that know no direction. `dc6` is dC6_ij/dCN_i.
template <EnergyMode mode, DampingForm form, class X>
D3_HD inline void add_energy(const PairTerm<form, X>& pair, X dc6, const Damping<X>& constants,
                             X* sums) {
  sums[of_energy] += pair.energy();
  if constexpr (mode != EnergyMode::energy) sums[of_dcn] += pair.by_c6(dc6);
  if constexpr (mode == EnergyMode::learn) pair.add_damping(constants, sums + of_damping);
}

// Adds a pair to all columns of a mode; the arm is as above.
template <EnergyMode mode, bool with_virial, DampingForm form, class X>
D3_HD inline void add_columns(const PairTerm<form, X>& pair, X dc6, const Damping<X>& constants,
                              const Vector3<X>& r, const Vector3<X>& arm, X* sums) {
  add_energy<mode>(pair, dc6, constants, sums);
  if constexpr (mode != EnergyMode::energy)
    add_gradient<with_virial>(pair.slope_over_r(), r, arm, sums + of_gradient, sums + of_virial);
}

}  // namespace d3

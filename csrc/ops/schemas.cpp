// The schemas of all ops, which saved models call: a released one grows only at its end, by
// arguments with defaults that leave its meaning as it was. Their argument lists are the fields of
// the structs in pair_args.h, lattice_args.h and list_args.h. With them the Meta kernels, which
// check shapes and say what comes out.
#include <torch/library.h>

#include <string>

#include "ops/list_args.h"
#include "ops/pair_args.h"

namespace {

using namespace d3;

const std::string counting =
    "Tensor vectors, Tensor pairs, Tensor species, Tensor rcov, float cutoff";

const std::string energy =
    "Tensor vectors, Tensor cn, Tensor damping, Tensor pairs, Tensor species, Tensor r4r2, "
    "Tensor cn_ref, Tensor c6_ref, float cutoff, float width, Tensor? radii=None, int form=0";

const std::string lattice =
    "Tensor positions, Tensor cell, Tensor pbc, Tensor species, Tensor offsets, Tensor damping, "
    "Tensor rcov, Tensor r4r2, Tensor cn_ref, Tensor c6_ref, float cutoff, float cn_cutoff, "
    "float width, bool tail";

const std::string list = lattice + ", Tensor pairs, Tensor shifts, bool half";

const std::string how = ", bool gradients=True, bool learn=False, str instruction_set=\"best\"";

const std::string slopes =
    "Tensor grad_energy, Tensor gradient, Tensor by_cell, Tensor by_damping, ";

const std::string tangents =
    "Tensor tangent_positions, Tensor tangent_cell, Tensor tangent_damping, ";

const std::string form =
    ", Tensor? radii=None, int form=0, float atm_cutoff=0.0, float atm_width=0.0";

const std::string eight = "(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)";

void define(torch::Library& m, const std::string& schema) { m.def(schema.c_str()); }

void define_pair_ops(torch::Library& m) {
  define(m, "check_signals() -> ()");  // see signals.h
  define(m, "coordination_number(" + counting + ") -> Tensor");
  define(m, "coordination_number_backward(Tensor grad_cn, " + counting + ") -> Tensor");
  define(m, "coordination_number_double_backward(Tensor tangent_vectors, Tensor grad_cn, " +
                counting + ") -> (Tensor, Tensor)");
  define(m, "dispersion_energy(" + energy + ") -> Tensor");
  define(m, "dispersion_energy_by_centre(" + energy + ") -> (Tensor, Tensor, Tensor)");
  define(m, "dispersion_energy_backward(Tensor grad_energy, " + energy +
                ") -> (Tensor, Tensor, Tensor)");
  define(m,
         "dispersion_energy_double_backward(Tensor tangent_vectors, Tensor tangent_cn, "
         "Tensor tangent_damping, Tensor grad_energy, " +
             energy + ") -> (Tensor, Tensor, Tensor, Tensor)");
}

void define_lattice_ops(torch::Library& m) {
  define(m, "dispersion(" + lattice + form + ") -> Tensor");
  define(m, "dispersion_shares(" + lattice + form + ") -> (Tensor, Tensor)");
  define(m, "dispersion_backward(" + slopes + lattice + form + ") -> (Tensor, Tensor, Tensor)");
  define(m, "dispersion_evaluate(" + lattice + how + form + ") -> " + eight);
  define(m,
         "dispersion_pairwise(" + lattice + ", Tensor labels, int n_labels" + form + ") -> Tensor");
  define(m, "dispersion_tangent(" + tangents + lattice + form + ") -> " + eight);
}

void define_list_ops(torch::Library& m) {
  define(m, "dispersion_on_list(" + list + form + ") -> (Tensor, Tensor)");
  define(m,
         "dispersion_on_list_backward(" + slopes + list + form + ") -> (Tensor, Tensor, Tensor)");
  define(m, "dispersion_on_list_evaluate(" + list + how + form + ") -> " + eight);
  define(m, "dispersion_on_list_tangent(" + tangents + list + form + ") -> " + eight);
}

}  // namespace

TORCH_LIBRARY(d3torch, m) {
  define_pair_ops(m);
  define_lattice_ops(m);
  define_list_ops(m);
}

TORCH_LIBRARY_IMPL(d3torch, Meta, m) {
  m.impl("coordination_number", unpacked<cn_meta>);
  m.impl("coordination_number_backward", unpacked<cn_backward_meta>);
  m.impl("coordination_number_double_backward", unpacked<cn_double_backward_meta>);
  m.impl("dispersion_energy", unpacked<energy_meta>);
  m.impl("dispersion_energy_by_centre", unpacked<energy_by_centre_meta>);
  m.impl("dispersion_energy_backward", unpacked<energy_backward_meta>);
  m.impl("dispersion_energy_double_backward", unpacked<energy_double_backward_meta>);
  m.impl("dispersion", unpacked<&Meta<>::dispersion>);
  m.impl("dispersion_shares", unpacked<&Meta<>::shares>);
  m.impl("dispersion_backward", unpacked<&Meta<>::backward>);
  m.impl("dispersion_evaluate", unpacked<&Meta<>::evaluate>);
  m.impl("dispersion_tangent", unpacked<&Meta<>::tangent>);
  m.impl("dispersion_pairwise", unpacked<&Meta<>::pairwise>);
  m.impl("dispersion_on_list", unpacked<&Meta<ListArgs>::shares>);
  m.impl("dispersion_on_list_backward", unpacked<&Meta<ListArgs>::backward>);
  m.impl("dispersion_on_list_evaluate", unpacked<&Meta<ListArgs>::evaluate>);
  m.impl("dispersion_on_list_tangent", unpacked<&Meta<ListArgs>::tangent>);
}

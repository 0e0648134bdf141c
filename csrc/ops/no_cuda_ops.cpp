// Stands on the CUDA key of a build without CUDA kernels, in place of cuda_ops.cpp: a CUDA tensor
// is answered in one sentence.
#include <torch/library.h>

#include "ops/checks.h"

TORCH_LIBRARY_IMPL(d3torch, CUDA, m) {
  for (const char* op :
       {"coordination_number", "coordination_number_backward",
        "coordination_number_double_backward", "dispersion_energy", "dispersion_energy_by_centre",
        "dispersion_energy_backward", "dispersion_energy_double_backward", "dispersion",
        "dispersion_shares", "dispersion_backward", "dispersion_evaluate", "dispersion_tangent",
        "dispersion_pairwise", "dispersion_on_list", "dispersion_on_list_backward",
        "dispersion_on_list_evaluate", "dispersion_on_list_tangent"})
    m.impl(op, torch::CppFunction::makeFromBoxedFunction<&d3::refuse_cuda>());
}

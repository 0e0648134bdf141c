// Refusals of wrong shapes, dtypes and devices, in one sentence each; on every call, Meta tensors
// included.
#pragma once
#include <ATen/FuncTorchTLS.h>
#include <ATen/core/Tensor.h>
#include <torch/library.h>

#include <optional>
#include <utility>

#include "engine/formulas/damping.h"

namespace d3 {

inline void check_shape(const at::Tensor& t, c10::SymIntArrayRef expected, const char* name,
                        const char* shape) {
  bool same = t.dim() == int64_t(expected.size());
  for (int64_t k = 0; same && k < t.dim(); ++k) same = t.sym_size(k) == expected[k];
  TORCH_CHECK_VALUE(same, "d3torch: expected ", name, " of shape ", shape, " = ", expected,
                    ", got ", t.sym_sizes(), ".");
}

inline void check_device(const at::Tensor& t, const at::Tensor& like, const char* name,
                         const char* like_name) {
  TORCH_CHECK_VALUE(t.device() == like.device(), "d3torch: expected ", name,
                    " on the device of the ", like_name, ", ", like.device(), ", got ", t.device(),
                    ".");
}

inline void check_real(const at::Tensor& t, const at::Tensor& like, const char* name,
                       const char* like_name = "vectors") {
  TORCH_CHECK_TYPE(t.scalar_type() == like.scalar_type(), "d3torch: expected ", name,
                   " of the dtype of the ", like_name, ", ", like.scalar_type(), ", got ",
                   t.scalar_type(), ".");
  check_device(t, like, name, like_name);
}

inline void check_floating(const at::Tensor& t, const char* name) {
  TORCH_CHECK_TYPE(t.scalar_type() == at::kDouble || t.scalar_type() == at::kFloat,
                   "d3torch: expected ", name, " of dtype float64 or float32, got ",
                   t.scalar_type(), ".");
}

inline void check_index(const at::Tensor& t, const at::Tensor& like, const char* name,
                        const char* like_name = "vectors") {
  TORCH_CHECK_TYPE(t.scalar_type() == at::kLong, "d3torch: expected ", name,
                   " of dtype int64, got ", t.scalar_type(), ".");
  check_device(t, like, name, like_name);
}

inline void check_cutoff(double cutoff, double width) {
  TORCH_CHECK_VALUE(cutoff > 0, "d3torch: expected a positive cutoff, got ", cutoff, ".");
  TORCH_CHECK_VALUE(width >= 0 && width < cutoff,
                    "d3torch: expected a switching width of at least 0 and below the cutoff ",
                    cutoff, ", got ", width, ".");
}

// Names of damping functions and of their parameters, for sentences.
inline const char* form_name(int64_t form) {
  const char* names[n_forms] = {"rational damping", "zero damping", "modified zero damping"};
  return names[form];
}
inline const char* parameter_names(int64_t form) {
  const char* names[n_forms] = {"(s6, s8, a1, a2)", "(s6, s8, rs6, rs8)",
                                "(s6, s8, rs6, rs8, bet)"};
  return names[form];
}

// The damping function of an op, and the pair radii that it needs; `three_body` needs them too.
inline void check_form(int64_t form, const std::optional<at::Tensor>& radii, bool three_body,
                       const c10::SymInt& n_species, const at::Tensor& like,
                       const char* like_name) {
  TORCH_CHECK_VALUE(0 <= form && form < n_forms,
                    "d3torch: expected form 0 (rational), 1 (zero) or 2 (modified zero), got ",
                    form, ".");
  const bool needed = form != 0 || three_body;
  TORCH_CHECK_VALUE(radii.has_value() == needed, "d3torch: expected ", needed ? "" : "no ",
                    "radii with ", needed && form == 0 ? "a three-body term" : form_name(form),
                    ", got ", needed ? "none." : "some.");
  if (!needed) return;
  check_real(*radii, like, "radii", like_name);
  check_shape(*radii, {n_species, n_species}, "radii", "(n_species, n_species)");
}

inline void check_species(const int64_t* species, int64_t n_atoms, int64_t n_species) {
  for (int64_t i = 0; i < n_atoms; ++i)
    TORCH_CHECK_INDEX(species[i] >= 0 && species[i] < n_species,
                      "d3torch: expected species indices in [0, ", n_species, "), got ", species[i],
                      " for atom ", i, ".");
}

// The kernel of every op on the CUDA key of a build without CUDA: a refusal.
inline void refuse_cuda(const c10::OperatorHandle& op, torch::jit::Stack*) {
  TORCH_CHECK_NOT_IMPLEMENTED(false, op.schema().name(),
                              " was built without CUDA kernels and got a CUDA tensor: ",
                              "move it to the CPU, or choose backend=\"eager\".");
}

inline void refuse_grad(const at::Tensor& t, const char* name) {
  TORCH_CHECK_NOT_IMPLEMENTED(!t.requires_grad(), "d3torch: ", name,
                              " is not differentiable: expected a tensor without requires_grad.");
}

inline void refuse_grad(const std::optional<at::Tensor>& t, const char* name) {
  if (t) refuse_grad(*t, name);
}

// The chain ends here: backward of a double backward would be a third derivative.
[[noreturn]] inline void refuse_third_order() {
  TORCH_CHECK_NOT_IMPLEMENTED(
      false, "d3torch: third derivatives are not implemented by the kernels, nor is ",
      "torch.autograd.functional.hvp: use backend=\"eager\", or vhp in place of hvp.");
}

// Whether a transform of torch.func is active that the autograd of C++ does not take part in.
inline bool in_transform() {
  const auto& transforms = at::functorch::functorchTLSAccessor();
  if (!transforms) return false;
  try {
    transforms->checkSupportsCppAutogradFunction();
    return false;
  } catch (const c10::Error&) {
    return true;
  }
}

template <class X> bool has_tangent(const X&) { return false; }
inline bool has_tangent(const at::Tensor& t) { return t.defined() && t._fw_grad(0).defined(); }
inline bool has_tangent(const std::optional<at::Tensor>& t) { return t && has_tangent(*t); }

// Applies an autograd function, unless derivatives are asked for in a way that it does not know.
template <class F, class... Args> auto apply(Args&&... args) {
  TORCH_CHECK_NOT_IMPLEMENTED(
      !in_transform(), "d3torch: transforms of torch.func are not implemented by the kernels: ",
      "use backend=\"eager\", or torch.autograd.functional.");
  TORCH_CHECK_NOT_IMPLEMENTED(!(has_tangent(args) || ...),
                              "d3torch: forward mode is not implemented by the kernels: ",
                              "use backend=\"eager\", or torch.autograd.functional.jvp.");
  return F::apply(std::forward<Args>(args)...);
}

}  // namespace d3

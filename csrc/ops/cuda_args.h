// What the ops on CUDA tensors share: the current stream, scratch memory, tables of a width that
// there are kernels for.
#pragma once
#include <ATen/core/Tensor.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAStream.h>

#include "engine/lattice/lattice.h"
#include "ops/checks.h"

namespace d3 {

using at::Tensor;

inline cudaStream_t stream() { return c10::cuda::getCurrentCUDAStream().stream(); }

// Tables of 5 or 7 references, for which there are kernels; others are padded.
struct Padded {
  Tensor cn_ref, c6_ref;
  Padded(const Tensor& cn, const Tensor& c6) : cn_ref(cn), c6_ref(c6) {
    const int64_t n = cn.dim() == 2 ? cn.size(1) : max_refs;
    TORCH_CHECK_VALUE(n <= max_refs, "d3torch: expected at most ", max_refs,
                      " references of a species on a GPU, got ", n, ".");
    if (n == 5 || n == max_refs) return;
    cn_ref = at::constant_pad_nd(cn, {0, max_refs - n}, -1);
    c6_ref = at::constant_pad_nd(c6, {0, max_refs - n, 0, max_refs - n}, 0);
  }
};

inline Tensor scratch(size_t bytes, const Tensor& like) {
  return at::empty({int64_t(bytes)}, like.options().dtype(at::kByte));
}

}  // namespace d3

// Services of torch for the ops on CUDA tensors: scratch memory, tables of a width that there are
// kernels for.
#pragma once
#include <ATen/core/Tensor.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty.h>

#include "engine/lattice/lattice.h"
#include "ops/checks.h"
#include "ops/cuda_stream.h"

namespace d3 {

using at::Tensor;

// Arguments with tables of 5 or 7 references, for which there are kernels; others are padded.
template <class Args> Args with_padded_tables(Args a) {
  const int64_t n = a.cn_ref.dim() == 2 ? a.cn_ref.size(1) : max_refs;
  TORCH_CHECK_VALUE(n <= max_refs, "d3torch: expected at most ", max_refs,
                    " references of a species on a GPU, got ", n, ".");
  if (n == 5 || n == max_refs) return a;
  a.cn_ref = at::constant_pad_nd(a.cn_ref, {0, max_refs - n}, -1);
  a.c6_ref = at::constant_pad_nd(a.c6_ref, {0, max_refs - n, 0, max_refs - n}, 0);
  return a;
}

inline Tensor scratch(size_t bytes, const Tensor& like) {
  return at::empty({int64_t(bytes)}, like.options().dtype(at::kByte));
}

}  // namespace d3

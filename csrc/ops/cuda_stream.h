// The current stream of torch, without a header or a library of CUDA: one build of these ops serves
// a torch with CUDA and one without.
#pragma once
#include <ATen/core/Tensor.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>

#include "engine/cuda/stream.h"

namespace d3 {

// The CUDA stream behind a stream of torch: a function of the libc10_cuda that torch has loaded,
// found by the name of c10::cuda::CUDAStream::stream() const, whose object holds a c10::Stream and
// nothing else.
using NativeStream = cudaStream_t (*)(const c10::Stream*);

inline NativeStream native_stream() {
  void* library = dlopen("libc10_cuda.so", RTLD_LAZY | RTLD_NOLOAD);
  void* found = library ? dlsym(library, "_ZNK3c104cuda10CUDAStream6streamEv") : nullptr;
  TORCH_CHECK_NOT_IMPLEMENTED(found, "d3torch: expected a torch with CUDA for its CUDA kernels, ",
                              "got one without libc10_cuda: move the tensors to the CPU.");
  return reinterpret_cast<NativeStream>(found);
}

inline cudaStream_t stream(const at::Tensor& like) {
  static const NativeStream native = native_stream();
  const c10::Stream now = c10::impl::VirtualGuardImpl(c10::kCUDA).getStream(like.device());
  return native(&now);
}

}  // namespace d3

// A CUDA device for a torch without CUDA: tensors on cuda:0 and cuda:1 whose memory is that of
// memory.cpp, current devices and streams, and torch's own ops on them, done on the CPU. The stream
// behind one of torch is found as in a torch with CUDA: this library calls itself libc10_cuda.so.
//
// While an op is watched (`emulation::watch`), as when a graph is captured, whatever would wait for
// the device ends in an error.
#include <ATen/EmptyTensor.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/native/TensorFactories.h>
#include <ATen/ops/_local_scalar_dense.h>
#include <ATen/ops/_local_scalar_dense_cpu_dispatch.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/view_native.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <set>

#include "emulation.h"

namespace {

using at::Tensor;
using c10::Device;
using c10::Stream;

// ---- devices and streams ----

thread_local int current = 0;
// Streams of each device; kept for the whole program, as threads of autograd set their own.
int64_t streams[emulation::devices] = {};
bool watched = false;
int inside = 0;  // of an op of torch, which may copy as it likes
int64_t waits = 0;

CUstream_st* handle(int device, int64_t stream) {
  return reinterpret_cast<CUstream_st*>(0x10000 + 0x1000 * uintptr_t(device) + 16 * stream);
}

void waited(const char* what) {
  if (inside) return;
  ++waits;
  TORCH_CHECK(!watched, "emulation: expected an op that does not wait for the device, got ", what);
}

struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return c10::kCUDA; }
  Device exchangeDevice(Device d) const override {
    const Device old = getDevice();
    setDevice(d);
    return old;
  }
  Device getDevice() const override { return {c10::kCUDA, c10::DeviceIndex(current)}; }
  void setDevice(Device d) const override { current = d.index() < 0 ? current : d.index(); }
  void uncheckedSetDevice(Device d) const noexcept override { current = d.index(); }
  Stream getStream(Device d) const override {
    return Stream(Stream::UNSAFE, d, streams[d.index()]);
  }
  Stream getDefaultStream(Device d) const override { return Stream(Stream::UNSAFE, d, 0); }
  Stream exchangeStream(Stream s) const override {
    const Stream old = getStream(s.device());
    streams[s.device_index()] = s.id();
    current = s.device_index();
    return old;
  }
  c10::DeviceIndex deviceCount() const noexcept override { return emulation::devices; }
  void record(void** event, const Stream&, c10::DeviceIndex, c10::EventFlag) const override {
    *event = nullptr;
  }
  void block(void*, const Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void destroyEvent(void*, c10::DeviceIndex) const noexcept override {}
  bool queryStream(const Stream&) const override { return true; }
  void synchronizeStream(const Stream&) const override { waited("synchronizeStream"); }
  void synchronizeEvent(void*) const override { waited("synchronizeEvent"); }
  void synchronizeDevice(c10::DeviceIndex) const override { waited("synchronizeDevice"); }
  void recordDataPtrOnStream(const c10::DataPtr&, const Stream&) const override {}
};
C10_REGISTER_GUARD_IMPL(CUDA, Guard)

// ---- memory ----

struct Open {
  Open() { emulation::open_memory(); }
  ~Open() { emulation::close_memory(); }
};
struct Inside {
  Inside() { ++inside; }
  ~Inside() { --inside; }
};

struct Allocator final : c10::Allocator {
  c10::DataPtr allocate(size_t n) override {
    void* at = emulation::allocate(n, current);
    return {at, at, &emulation::release, Device(c10::kCUDA, c10::DeviceIndex(current))};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &emulation::release; }
  void copy_data(void* to, const void* from, size_t n) const override {
    const Open open;
    default_copy_data(to, from, n);
  }
};
Allocator allocator;

struct On {  // a device, for a while
  int before = current;
  explicit On(std::optional<Device> d) {
    if (d && d->index() >= 0) current = d->index();
  }
  ~On() { current = before; }
};

const c10::DispatchKeySet keys(c10::DispatchKey::CUDA);

Tensor empty(at::IntArrayRef size, std::optional<at::ScalarType> type, std::optional<at::Layout>,
             std::optional<Device> device, std::optional<bool>,
             std::optional<at::MemoryFormat> format) {
  const On on(device);
  return at::detail::empty_generic(size, &allocator, keys, c10::dtype_or_default(type), format);
}

Tensor empty_strided(at::IntArrayRef size, at::IntArrayRef stride,
                     std::optional<at::ScalarType> type, std::optional<at::Layout>,
                     std::optional<Device> device, std::optional<bool>) {
  const On on(device);
  return at::detail::empty_strided_generic(size, stride, &allocator, keys,
                                           c10::dtype_or_default(type));
}

// The bytes from the first element of a tensor to its last.
size_t span(const Tensor& x) {
  if (x.numel() == 0) return 0;
  int64_t last = 0;
  for (int64_t d = 0; d < x.dim(); ++d) last += (x.size(d) - 1) * x.stride(d);
  return size_t(last + 1) * x.element_size();
}

// The same memory as a tensor of the CPU, to be touched while the memory is open.
Tensor on_cpu(const Tensor& x) {
  if (x.is_cpu()) return x;
  void* at = x.numel() ? const_cast<void*>(x.const_data_ptr()) : nullptr;
  return at::from_blob(at, x.sizes(), x.strides(), x.options().device(at::kCPU));
}

Tensor& copy(Tensor& self, const Tensor& from, bool non_blocking) {
  if (from.is_cuda() && !self.is_cuda()) waited("a copy to the host");
  if (!from.is_cuda() && self.is_cuda() && !non_blocking) waited("a copy from the host");
  const Open open;
  const at::AutoDispatchBelowADInplaceOrView below;
  if (from.is_cuda() && !inside && from.is_non_overlapping_and_dense())
    emulation::host_read(from.const_data_ptr(), span(from), from.get_device(), "a copy");
  on_cpu(self).copy_(on_cpu(from));
  if (self.is_cuda()) emulation::host_write(self.data_ptr(), span(self), self.get_device());
  return self;
}

Tensor copy_from_and_resize(const Tensor& from, const Tensor& to) {
  Tensor out = to;
  return copy(out, from, false);
}

Tensor& fill(Tensor& self, const at::Scalar& value) {
  const Open open;
  on_cpu(self).fill_(value);
  emulation::host_write(self.data_ptr(), span(self), self.get_device());
  return self;
}
Tensor& zero(Tensor& self) { return fill(self, 0); }

at::Scalar item(const Tensor& self) {
  waited("the value of a tensor");
  const Open open;
  emulation::host_read(self.const_data_ptr(), span(self), self.get_device(), "item");
  return at::cpu::_local_scalar_dense(on_cpu(self));
}

// Looks at what an op reads: all its tensors but those that it writes.
void check_read(const c10::OperatorHandle& op, const torch::jit::Stack& stack) {
  const auto& arguments = op.schema().arguments();
  for (size_t k = 0; k < arguments.size(); ++k) {
    const auto& value = stack[stack.size() - arguments.size() + k];
    const auto* alias = arguments[k].alias_info();
    if (!value.isTensor() || (alias && alias->isWrite())) continue;
    const Tensor& x = value.toTensor();
    if (x.defined() && x.is_cuda() && x.is_non_overlapping_and_dense())
      emulation::host_read(x.const_data_ptr(), span(x), x.get_device(), "an op of torch");
  }
}

// Any other op of torch: on copies of its tensors. Some wait for the device on a GPU too.
void on_copies(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  static const std::set<std::string> waiting{"aten::nonzero", "aten::masked_select", "aten::equal",
                                             "aten::_unique2", "aten::unique_consecutive"};
  if (waiting.count(op.schema().name())) waited(op.schema().name().c_str());
  check_read(op, *stack);
  const Inside here;
  at::native::cpu_fallback(op, stack);
}

// ---- for tests ----

Tensor to_device(const Tensor& x, int64_t device) {
  return x.to(Device(c10::kCUDA, c10::DeviceIndex(device)));
}
Tensor to_host(const Tensor& x) { return x.cpu(); }
void watch(bool now) { watched = now; }
void set_stream(int64_t device, int64_t stream) { streams[device] = stream; }
void set_device(int64_t device) { current = int(device); }
int64_t get_device() { return current; }
int64_t counted_waits() { return waits; }

const bool ready = [] {
  emulation::host.stream = [] { return handle(current, streams[current]); };
  emulation::host.device = [] { return current; };
  return true;
}();

}  // namespace

// c10::cuda::CUDAStream::stream() const, of an object that holds a c10::Stream and nothing else.
extern "C" CUstream_st* _ZNK3c104cuda10CUDAStream6streamEv(const Stream* s) {
  return handle(s->device_index(), s->id());
}

TORCH_LIBRARY_IMPL(_, CUDA, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&on_copies>());
}

TORCH_LIBRARY_IMPL(aten, CUDA, m) {
  m.impl("empty.memory_format", empty);
  m.impl("empty_strided", empty_strided);
  m.impl("as_strided", at::native::as_strided_tensorimpl);
  m.impl("view", static_cast<Tensor (*)(const Tensor&, at::IntArrayRef)>(at::native::view));
  m.impl("_reshape_alias", at::native::_reshape_alias);
  m.impl("copy_", copy);
  m.impl("_copy_from_and_resize", copy_from_and_resize);
  m.impl("fill_.Scalar", fill);
  m.impl("zero_", zero);
  m.impl("_local_scalar_dense", item);
}

TORCH_LIBRARY(emulation, m) {
  m.def("to_device(Tensor x, int device) -> Tensor", to_device);
  m.def("to_host(Tensor x) -> Tensor", to_host);
  m.def("watch(bool now) -> ()", watch);
  m.def("set_stream(int device, int stream) -> ()", set_stream);
  m.def("set_device(int device) -> ()", set_device);
  m.def("get_device() -> int", get_device);
  m.def("waits() -> int", counted_waits);
}

// Ctrl-C in the middle of a kernel: the op d3torch::check_signals runs now and then on the main
// thread of the process. Its kernel is the host's, and throws to stop the work; without one nothing
// is asked. That of Python does nothing, but before it the interpreter runs the handlers of its
// signals.
#pragma once
#include <ATen/core/dispatch/Dispatcher.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <exception>

#include "engine/watch.h"

namespace d3 {

class Signals {
 public:
  Signals() : watch_(heard() ? ask : nullptr, this) {}

  Watch* watch() { return &watch_; }

  // Throws what stopped the work, if it was stopped.
  void rethrow() const {
    if (raised_) std::rethrow_exception(raised_);
  }

 private:
  using Op = c10::TypedOperatorHandle<void()>;

  static const Op& op() {
    static const Op handle = c10::Dispatcher::singleton()
                                 .findSchemaOrThrow("d3torch::check_signals", "")
                                 .typed<void()>();
    return handle;
  }

  // Signals belong to the main thread; another one must not wait for what the main thread may hold.
  static bool heard() {
    return op().hasKernelForDispatchKey(c10::DispatchKey::CompositeExplicitAutograd) &&
           syscall(SYS_gettid) == getpid();
  }

  static bool ask(void* self) noexcept {
    try {
      op().call();
      return false;
    } catch (...) {
      static_cast<Signals*>(self)->raised_ = std::current_exception();
      return true;
    }
  }

  std::exception_ptr raised_;
  Watch watch_;
};

}  // namespace d3

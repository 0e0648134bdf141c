// Long work asks its host now and then whether to stop (Ctrl-C): nothing here knows who the host
// is.
#pragma once
#include <atomic>
#include <cstdint>
#include <ctime>
#include <thread>

#include "engine/tuning.h"

namespace d3 {

// The question whether to stop, one object for each call of a kernel, shared by its threads. The
// thread that made it asks the host; the others see its answer.
class Watch {
 public:
  // Says whether to stop; called only on the thread that made the watch.
  using Ask = bool (*)(void* host);

  Watch(Ask ask, void* host) : ask_(ask), host_(host), caller_(std::this_thread::get_id()) {}

  // Whether to stop. Threads call it as often as they like: it costs some nanoseconds, and the host
  // is asked every `watch_interval` at most.
  bool stop() {
    if (stopped_.load(std::memory_order_relaxed)) return true;
    if (!ask_ || std::this_thread::get_id() != caller_) return false;
    const int64_t now = milliseconds();
    if (now - asked_ < watch_interval) return false;
    asked_ = now;
    if (ask_(host_)) stopped_.store(true, std::memory_order_relaxed);
    return stopped_.load(std::memory_order_relaxed);
  }

 private:
  // The coarse clock ticks every few milliseconds and is read in a fifth of the time of a fine one.
  static int64_t milliseconds() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return int64_t(now.tv_sec) * 1000 + now.tv_nsec / 1000000;
  }

  const Ask ask_;
  void* const host_;
  const std::thread::id caller_;
  int64_t asked_ = milliseconds();  // when the host was asked last
  std::atomic<bool> stopped_{false};
};

// Whether the work that `watch` looks after, if there is one, is to stop.
inline bool stopped(Watch* watch) { return watch && watch->stop(); }

}  // namespace d3

// Memory for registers.
#pragma once
#include <cstddef>
#include <new>

#include "engine/tuning.h"

namespace d3 {

// Memory that starts where a register does: a load never straddles two cache lines.
template <class T> struct Aligned {
  using value_type = T;
  static constexpr std::align_val_t alignment{register_bytes};
  Aligned() = default;
  template <class U> Aligned(const Aligned<U>&) {}
  T* allocate(size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), alignment)); }
  void deallocate(T* p, size_t) { ::operator delete(p, alignment); }
  template <class U> bool operator==(const Aligned<U>&) const { return true; }
  template <class U> bool operator!=(const Aligned<U>&) const { return false; }
};

}  // namespace d3

// What headers of GCC 12 call in a libstdc++ or glibc that manylinux_2_28 does not have, for
// libraries that are built with them; see glibc_2_28.h.
#include <exception>
#include <new>

// glibc 2.32 says here whether the process has one thread only, to save an atomic addition.
extern "C" {
char __libc_single_threaded = 0;
}

// The constructors and the destructor of exception_ptr, which GCC 11 made inline, as older
// libraries have them, too.
extern "C" void copy_exception_ptr(void* to, const void* from) __asm__(
    "_ZNSt15__exception_ptr13exception_ptrC1ERKS0_");
extern "C" void destroy_exception_ptr(void* at) __asm__(
    "_ZNSt15__exception_ptr13exception_ptrD1Ev");

namespace std {

void __throw_bad_array_new_length() { throw bad_array_new_length(); }

void __exception_ptr::exception_ptr::_M_addref() noexcept {
  void* copy;
  copy_exception_ptr(&copy, this);
}

void __exception_ptr::exception_ptr::_M_release() noexcept {
  void* copy = _M_exception_object;
  destroy_exception_ptr(&copy);
  _M_exception_object = nullptr;
}

}  // namespace std

// What LLVM calls the instructions of a GPU, as functions, for kernels that clang compiled for one
// (host_ir.py). Approximate instructions are as exact as single precision has them, that of 1/x in
// double precision as coarse as on a card: both ends cut to their upper 32 bits. Only clang's code
// calls these.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "cuda_runtime.h"

namespace {

using emulation::Site;

// Calls in different places of the machine code are different collectives.
#define HERE \
  Site { "code", int(intptr_t(__builtin_return_address(0)) & 0x7fffffff) }

uint64_t bits_of(double x) {
  uint64_t u;
  std::memcpy(&u, &x, 8);
  return u;
}
double double_of(uint64_t u) {
  double x;
  std::memcpy(&x, &u, 8);
  return x;
}
float flushed(float x) { return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x; }

unsigned lane() { return threadIdx.x % emulation::warp_lanes; }

// Whole warps alone are shuffled here: bounds of 31 lanes, no segments.
void check_bounds(int bounds) {
  if (bounds != 31) emulation::fail(nullptr, "expected a shuffle of whole warps, got %d", bounds);
}

}  // namespace

extern "C" {

int nvvm_read_ptx_sreg_tid_x() { return int(threadIdx.x); }
int nvvm_read_ptx_sreg_ntid_x() { return int(blockDim.x); }
int nvvm_read_ptx_sreg_ctaid_x() { return int(blockIdx.x); }
int nvvm_read_ptx_sreg_nctaid_x() { return int(gridDim.x); }

void nvvm_barrier0() { emulation::block_barrier(HERE); }
void nvvm_bar_warp_sync(int mask) { emulation::warp_barrier(HERE, unsigned(mask)); }
int nvvm_vote_ballot_sync(int mask, int vote) {
  return int(emulation::ballot("vote.ballot", HERE, unsigned(mask), vote & 1));
}
bool nvvm_vote_any_sync(int mask, int vote) {
  return emulation::ballot("vote.any", HERE, unsigned(mask), vote & 1) != 0;
}
int nvvm_shfl_sync_bfly_i32(int mask, int value, int other, int bounds) {
  check_bounds(bounds);
  return emulated_shuffle("shfl.bfly", HERE, unsigned(mask), value, lane() ^ unsigned(other));
}
float nvvm_shfl_sync_bfly_f32(int mask, float value, int other, int bounds) {
  check_bounds(bounds);
  return emulated_shuffle("shfl.bfly", HERE, unsigned(mask), value, lane() ^ unsigned(other));
}
int nvvm_shfl_sync_idx_i32(int mask, int value, int from, int bounds) {
  check_bounds(bounds);
  return emulated_shuffle("shfl.idx", HERE, unsigned(mask), value, unsigned(from) % 32);
}
float nvvm_shfl_sync_idx_f32(int mask, float value, int from, int bounds) {
  check_bounds(bounds);
  return emulated_shuffle("shfl.idx", HERE, unsigned(mask), value, unsigned(from) % 32);
}

double nvvm_add_rn_d(double a, double b) { return a + b; }
float nvvm_fabs_f(float x) { return std::fabs(x); }
float nvvm_sqrt_approx_f(float x) { return std::sqrt(x); }
float nvvm_ex2_approx_ftz_f(float x) { return flushed(std::exp2(flushed(x))); }
float nvvm_lg2_approx_f(float x) { return std::log2(x); }
float nvvm_lg2_approx_ftz_f(float x) { return std::log2(flushed(x)); }
float nvvm_saturate_f(float x) { return x > 0 ? (x < 1 ? x : 1) : 0; }
int nvvm_f2i_rn(float x) { return int(std::rint(x)); }
int nvvm_d2i_lo(double x) { return int(uint32_t(bits_of(x))); }
int nvvm_d2i_hi(double x) { return int(bits_of(x) >> 32); }
double nvvm_lohi_i2d(int low, int high) {
  return double_of(uint64_t(uint32_t(high)) << 32 | uint32_t(low));
}
double nvvm_rcp_approx_ftz_d(double x) {
  const uint64_t upper = ~uint64_t(0) << 32;
  const double y = 1 / double_of(bits_of(x) & upper);
  return std::isfinite(y) ? double_of(bits_of(y) & upper) : y;
}
// Rounded down: in double precision a product is exact, the sum nearly.
float nvvm_fma_rm_f(float a, float b, float c) {
  const double exact = double(a) * b + c;
  const float near = float(exact);
  return near > exact ? std::nextafter(near, -std::numeric_limits<float>::infinity()) : near;
}

int nvvm_atomic_add_i32(int* at, int more) { return atomicAdd(at, more); }
int nvvm_atomic_or_i32(int* at, int more) { return atomicOr(at, more); }
int64_t nvvm_atomic_add_i64(int64_t* at, int64_t more) { return atomicAdd(at, more); }
double nvvm_atomic_fadd_double(double* at, double more) { return atomicAdd(at, more); }

// PTX that is written out in CUDA's library of functions.
int nvvm_bfind_shiftamt(int x) { return x ? __builtin_clz(unsigned(x)) : -1; }
double nvvm_select_equal(double a, double b, double equal, double other) {
  return a == b || a != a || b != b ? equal : other;
}

}  // extern "C"

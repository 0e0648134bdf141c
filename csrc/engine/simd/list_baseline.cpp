// The kernels on a list for any processor: registers of 16 bytes, which every x86-64 has (SSE2).
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>

#define D3_ISA baseline
#define D3_BYTES 16
#include "engine/simd/list_kernel.h"

namespace d3 {
template const ListKernelSet<float>* baseline::list_kernel_set<float>();
template const ListKernelSet<double>* baseline::list_kernel_set<double>();
}  // namespace d3

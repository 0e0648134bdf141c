// The stream of CUDA, declared as CUDA declares it: callers of the kernels need none of its
// headers.
#pragma once

struct CUstream_st;
using cudaStream_t = CUstream_st*;

// What follows is compiled for any processor, registers of 16 bytes, which every x86-64 has (SSE2);
// target_end.h ends it.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#define D3_ISA baseline
#define D3_BYTES 16

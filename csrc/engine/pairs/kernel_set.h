// The kernels on given pairs that are compiled once for each instruction set, see
// instruction_sets.h: those on rows of vectors, those of the pairs that a process owns, those on
// lists.
#pragma once
#include "engine/instruction_sets.h"
#include "engine/pairs/list_rows.h"
#include "engine/pairs/rows.h"

namespace d3 {

template <class T> struct PairKernelSet {
  RowKernels<T, T, int64_t> rows, dual_rows;
  OwnedKernels<T, T, int32_t> owned_32;
  OwnedKernels<T, T, int64_t> owned_64;
  OwnedKernels<T, double, int32_t> owned_wide_32;
  OwnedKernels<T, double, int64_t> owned_wide_64;
  ListKernels<T, T, double> list;
  ListKernels<T, Dual<T>, Dual<double>> dual_list;
};

}  // namespace d3

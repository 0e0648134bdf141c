// Kernels are compiled once for each instruction set, in simd/. A call chooses one, and finds its
// kernels as function pointers in a set: KernelSet<T> of the lattice engine, PairKernelSet<T> of
// given pairs. A host that calls one engine alone needs the files of its set only.
#pragma once
#include "engine/api.h"
#include "engine/types.h"

namespace d3 {

// Says whether this processor has an instruction set.
D3_API bool supported(InstructionSet set);

// The instruction set that a call means: for `best`, the widest that this processor has.
InstructionSet chosen(InstructionSet set);

// The kernels of each instruction set; Set is one of the two above.
template <class Set> const Set& kernels_avx512();
template <class Set> const Set& kernels_avx2();
template <class Set> const Set& kernels_baseline();

// The kernels of an instruction set, which this processor must have.
template <class Set> const Set& kernels_for(InstructionSet set) {
#if defined(__x86_64__)
  if (chosen(set) == InstructionSet::avx512) return kernels_avx512<Set>();
  if (chosen(set) == InstructionSet::avx2) return kernels_avx2<Set>();
#endif
  return kernels_baseline<Set>();
}

}  // namespace d3

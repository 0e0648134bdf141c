// The engine on given pairs of structures, on the GPU: device pointers, a stream and one block of
// scratch memory in, launches out; nothing waits. The directed pairs of an atom are walked by a
// warp, or by several where atoms are few, in three sweeps: coordination numbers, energies with
// their derivatives, the gradient through the coordination numbers. Every atom sums over its own
// pairs and writes only its own slot: no atomic sums of floating point, so that results repeat to
// the last bit.
//
// A full list whose centres rise is taken as it is. Others, and half lists, are put in order once
// for the call: counted by centre, placed, and the pairs of each atom sorted by their number. A
// host cannot know which it is without waiting, so that there is room for the order in any case: 8
// bytes of scratch memory for each directed pair.
//
// Values cannot be refused without waiting for the GPU either: a system comes out as NaN where a
// position is not finite, its cell is singular, a pair goes to another system or has no length, a
// shift is not integral or goes along an axis without pbc, a full list lacks the reverse of a pair
// within the larger cutoff, or a half list holds the reverse of all its pairs of two atoms or of
// all those of atoms with their own images; everything does where an index, a species or an offset
// is out of range. Reverses are told by a hash of the pairs, which errs once in 2^64.
#pragma once
#include "engine/api.h"
#include "engine/cuda/stream.h"
#include "engine/pairs/list.h"

namespace d3 {

// Directed pairs, at most: twice those of a half list. The threads of a block step over them with
// int, at most 1024 beyond the last.
constexpr int64_t cuda_directed_pairs = (int64_t(1) << 31) - 1 - 1024;

// ListEngine of engine/pairs/list.h on the GPU; `scratch` says how many bytes of memory a call
// takes. Tables have 5 or max_refs references.
template <class T, class I> struct D3_API CudaList {
  static size_t scratch(const ListInput<T, I>& in, int64_t n_atoms, bool dual);
  static void evaluate(const ListInput<T, I>& in, const LatticeTangents<T>* tangents,
                       int64_t n_atoms, void* scratch, cudaStream_t stream,
                       const Evaluation<T>& out);
};

}  // namespace d3

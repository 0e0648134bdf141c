// The engine on a given list of pairs: positions, cells and a list in; energies, gradients and
// virials out, as the lattice engine has them, and nothing stored per pair. The pairs of a centre
// stand together: they are a row. Each row is summed up by itself and writes only what belongs to
// its atom, so results do not depend on the number of threads.
#pragma once
#include <cstdint>

#include "engine/lattice/lattice.h"

namespace d3 {

enum class ShiftKind { int64, int32, same };  // how shifts are stored; same: as T

// A directed list of pairs of a batch, with the batch. r_ij = x_j - x_i + S . cell of the system;
// pairs beyond the cutoffs do not count. A list that is not sorted by centre, and half a list, is
// put in order for the call. `in` has no tail and no three-body term.
template <class T, class I> struct ListInput {
  LatticeInput<T> in;
  const I* centre;     // (n_pairs)
  const I* neighbour;  // (n_pairs)
  const void* shifts;  // (n_pairs, 3), S: cells that the neighbour is displaced by
  ShiftKind shift_kind;
  int64_t n_pairs;
  bool half;  // each pair once, either way round
};

// The reason why a call failed, for a message; `kind` 0 is success. Atoms count over the batch.
struct ListError {
  enum Kind {
    none,
    index,          // a pair names an atom that is not there
    systems,        // a pair of two systems
    same_spot,      // a pair of no distance
    shift,          // not integral, too large, or along an axis that is not periodic
    not_finite,     // a position is NaN or infinite
    singular_cell,  // the periodic vectors do not span a volume
    no_reverse,     // a pair within the cutoffs without its reverse
    both_ways,      // half a list that has pairs both ways round
    stopped         // by the watch
  };
  Kind kind = none;
  int64_t pair = -1;  // the first that is wrong, where it is known
  int64_t system = 0;
  int64_t atom = 0;
};

// The engine; outputs and tangents are those of Lattice::evaluate.
template <class T, class I> struct D3_API ListEngine {
  static ListError evaluate(const ListInput<T, I>& in, const LatticeTangents<T>* tangents,
                            const Evaluation<T>& out);
};

}  // namespace d3

// Arguments of the ops on whole structures whose pairs are given: what they have beside those of
// lattice_args.h, their checks, and the input of the kernels.
#pragma once
#include "engine/pairs/list.h"
#include "ops/lattice_args.h"

namespace d3 {

// A list of pairs of a batch: indices of atoms (2, n_pairs), and the shifts (n_pairs, 3), in cells,
// by which the neighbours are displaced. Half: each pair once, either way round.
struct ListArgs {
  Tensor pairs, shifts;
  bool half;
  template <class Self> static auto fields(Self& s) { return std::tie(s.pairs, s.shifts, s.half); }
};

inline void check_pairs(const ListArgs& l, const LatticeArgs& a) {
  const auto kind = l.pairs.scalar_type();
  TORCH_CHECK_TYPE(kind == at::kLong || kind == at::kInt,
                   "d3torch: expected pairs of dtype int64 or int32, got ", kind, ".");
  TORCH_CHECK_VALUE(l.pairs.dim() == 2 && l.pairs.sym_size(0) == 2,
                    "d3torch: expected pairs of shape (2, n_pairs), got ", l.pairs.sym_sizes(),
                    ".");
  check_device(l.pairs, a.positions, "pairs", "positions");
}

inline void check_shifts(const ListArgs& l, const LatticeArgs& a) {
  const auto kind = l.shifts.scalar_type(), real = a.positions.scalar_type();
  TORCH_CHECK_TYPE(kind == at::kLong || kind == at::kInt || kind == real,
                   "d3torch: expected shifts of dtype int64, int32 or that of the positions, ",
                   real, ", got ", kind, ".");
  check_shape(l.shifts, {l.pairs.sym_size(1), 3}, "shifts", "(n_pairs, 3)");
  check_device(l.shifts, a.positions, "shifts", "positions");
}

// Nothing is known beyond a list, nor of the third sides of triangles.
inline void check(const ListArgs& l, const LatticeArgs& a, const LatticeForm& f) {
  TORCH_CHECK_VALUE(!a.tail, "d3torch: expected no tail for a list of pairs, got one: ",
                    "dispersion, which finds the pairs, has it.");
  TORCH_CHECK_VALUE(!f.three_body(), "d3torch: expected an atm_cutoff of 0 for a list of pairs, ",
                    "which has no triangles, got ", f.atm_cutoff,
                    ": dispersion, which finds the pairs, has them.");
  check_pairs(l, a);
  check_shifts(l, a);
}

// The input of the kernels: I is the type of the indices.
template <class X, class I>
ListInput<X, I> with_list(const LatticeInput<X>& in, const ListArgs& l) {
  const int64_t n_pairs = l.pairs.size(1);
  const I* centre = l.pairs.const_data_ptr<I>();
  const auto kind = l.shifts.scalar_type();
  const ShiftKind shifts = kind == at::kLong  ? ShiftKind::int64
                           : kind == at::kInt ? ShiftKind::int32
                                              : ShiftKind::same;
  return {in, centre, centre + n_pairs, l.shifts.const_data_ptr(), shifts, n_pairs, l.half};
}

}  // namespace d3

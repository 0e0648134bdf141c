// Thresholds and sizes of the CPU engine, each with its reason. Sizes of work (atoms, pairs, tiles,
// threads) change the speed, and at most the order in which sums are taken; tolerances of the
// geometry are far below what a position resolves; limits refuse what no computation is meant to
// reach. Sizes of the CUDA kernels stand beside these kernels.
#pragma once
#include <cstdint>

namespace d3 {

// ---- limits: beyond them a call is refused with a sentence ----

// Largest coordinate, in the unit of length of the caller, and largest number of cells that an atom
// lies away from the origin: far less than an int holds, far more than the digits of a position
// allow.
constexpr double farthest = 1e9;

// Neighbours of one atom. What a thread keeps of the neighbours of a few atoms, at 8 bytes a
// neighbour, then fits into 4 GB.
constexpr double most_neighbours = 5e8;

// Pairs of one system: some days of work for a core.
constexpr double most_pairs = 1e14;

// Triangles of one system that its atoms look at, each from three corners: some days of work for a
// core; and neighbours of one atom within the three-body cutoff: a thread keeps some 60 bytes of
// each, for every corner at work.
constexpr double most_triangles = 1e14;
constexpr double most_three_body_neighbours = 1e6;

// Smallest volume of a cell, relative to the product of the lengths of its vectors along periodic
// axes. Below it they lie in a plane, or so nearly that their inverse has lost its digits.
constexpr double least_relative_volume = 1e-10;

// ---- tolerances of the geometry ----

// Distance below which two atoms count as on one spot, in the longer of the two cutoffs that the
// caller gave, whatever is summed: above the rounding of positions in single precision near the
// origin, below any distance of nuclei.
constexpr double same_spot_distance = 1e-6;
constexpr double same_spot_distance2 = 1e-12;

// Part of the cutoffs before their end in which a pair of a list may lack its reverse: hosts that
// list in single precision round there.
constexpr double reverse_margin = 1e-4;

// Gap between two boxes below which they count as touching, in the longer of these cutoffs. It is
// larger than `same_spot_distance`, so that an atom that may meet itself is always looked for.
constexpr double touching_gap = 1e-4;

// Rounding of box coordinates in single precision (24 bits, 6e-8), in the largest coordinate, with
// room for the few sums of the search.
constexpr double box_slack = 1e-6;

// Rounding of fractional coordinates in double precision, with room for the clamp into the bins.
constexpr double fractional_slack = 1e-9;

// A non-periodic axis gets a vector that is longer than the atoms are apart, by a factor and a
// length: the last atom stays inside despite rounding, and a plane of atoms gets some height.
constexpr double open_axis_stretch = 1e-9;
constexpr double open_axis_margin = 1e-3;

// Lanes without an atom are put where no cutoff reaches: this many times the reach of an atom and
// the size of its cluster away, and by a further length.
constexpr double padding_reaches = 4;
constexpr double padding_margin = 1e6;

// Small molecules are laid out from their first atom, so that coordinates go up to 2 farthest; the
// padding lies at a multiple of that.
constexpr double padding_farthest = 8;

// Offset of a box that stands for no tile: its square, 1e30, still fits into a float, and is larger
// than the square of any cutoff.
constexpr float no_tile_offset = 1e15f;

// Cell vectors count as at least this long where work is estimated, so that a bad cell, which is
// refused later, gives a finite estimate.
constexpr double least_cell_vector = 1e-3;

// ---- registers and clusters ----

// Bytes of the widest register (AVX-512) and of a cache line. A cluster has as many atoms as fit,
// for every instruction set: its results then differ by the rounding of the kernels alone.
constexpr int register_bytes = 64;

// Clusters of neighbours, at least, that a cell is repeated to: an image of a small cell would
// otherwise be a tile with few of its lanes used.
constexpr int least_clusters = 24;

// Clusters that lie together and share one search for their neighbours: the search costs less, and
// the tiles that only some of them meet cost more.
constexpr int largest_bunch = 4;

// Growth of the summed sides of a box by joining another to the bunch, at most: clusters that lie
// further apart would meet too many tiles in vain.
constexpr double most_widening = 1.6;

// Squared radius of the three-body damping that counts as at least: that of an element without one
// is 0. Its power stays within the range of a float.
constexpr double least_radius2 = 1e-6;

// Corners at work together, at most: they share the sides between their neighbours. More corners
// share more, and keep more of these sides' sums out of the fast caches.
constexpr int most_corners = 16;

// Clusters of a bin of the search on average, and bins of an axis at most. Fewer clusters a bin
// make more bins to visit, more make more boxes to test; the bound keeps the table of bins small
// for long thin systems.
constexpr int clusters_of_bin = 4;
constexpr int most_bins = 1024;

// Tiles taken together: their neighbours are packed side by side and go through the exponential at
// once, and sums in single precision are emptied into double precision. 32 tiles of 16 floats are
// 512 neighbours: their columns stay in the first-level cache.
constexpr int block_tiles = 32;

// Pairs of a row of a list that are worked on together. Memory is read while the registers of the
// block before are still at work: with 512 pairs the two take turns, and a sweep over 4.4 M pairs
// takes a quarter longer.
constexpr int block_pairs = 64;

// Blocks of a row whose sums in single precision are taken together before they are emptied into
// double precision: 512 pairs, as in a block of tiles.
constexpr int summed_blocks = 8;

// How many pairs ahead of a block the memory of a list, and that of its results, is asked for: it
// saves a tenth of the time each.
constexpr int pairs_ahead = 128;

// Bytes of a result from which its memory comes in large pages and is kept for the next one: to
// write 106 MB takes 58 ms in fresh pages of 4 KiB, 11 ms in fresh ones of 2 MiB, 4 ms where they
// are there; on a virtual machine that gives free memory back to its host, 100 to 370 ms.
constexpr int64_t least_huge_bytes = 8 << 20;
constexpr int64_t huge_page_bytes = 2 << 20;

// Pieces of such memory that are kept while nobody uses them, and bytes of each, at most: the
// gradient of the energy and that through the CN, which are there together.
constexpr int most_kept_blocks = 2;
constexpr int64_t most_kept_bytes = int64_t(1) << 30;

// Pairs of a row that the memory of a thread starts with; it doubles from there.
constexpr int64_t first_factors = 4096;

// Atoms of a system up to which each pair is computed once: every thread has five numbers an atom
// for what it adds to neighbours, here 10 MiB. Beyond, it is computed from both sides.
constexpr int most_mutual_atoms = 1 << 18;

// Chunks of bunches, for each of which the sums of the neighbours are added up apart, as soon as
// there are so many bunches; and bunches of a chunk, at most. A chunk with more bunches has less to
// add up, a system of more chunks keeps more threads busy to the end.
constexpr int wanted_chunks = 128;
constexpr int most_bunches_of_chunk = 16;

// Room for far tiles of a species that a list starts with; it doubles from there.
constexpr int first_tiles = 64;

// Pairs of a row that are sorted by species before they are worked on: their columns stay in the
// first-level cache.
constexpr int list_block = 256;

// Species of a system up to which a register of pairs is packed once for each; beyond, pair by
// pair.
constexpr int most_packed_species = 4;

// Bytes of each column of a list between what is read and what is asked for.
constexpr int list_ahead = 1024;

// Atoms of a molecule that goes without clusters, at most: up to here all pairs are twice as fast
// as clusters, or more, and their columns fit into the second-level cache.
constexpr int most_dense = 128;

// ---- threads ----

// Pairs of all systems of a lattice call, roughly, from which several threads are used: below,
// waking them costs more than it gains.
constexpr double least_threaded_work = 5e4;

// Parts that the work of one thread is thought of as: a system larger than such a part goes to all
// threads together, a smaller one to one thread. With four, the last small system to end keeps the
// other threads waiting for a quarter of the time at most.
constexpr int shares_of_thread = 4;

// Systems that a thread takes at a time: molecules take microseconds each.
constexpr int systems_at_once = 4;

// Pairs and atoms of a list below which one thread is used: waking others costs more than it gains.
constexpr int64_t least_threaded_pairs = 8192;
constexpr int64_t least_threaded_atoms = 512;

// Pairs of a chunk of a list, at least, and chunks of a list, at most. Each chunk has its own copy
// of the sums of all atoms, which has to be zeroed and added up: a chunk must have work to match,
// and 64 are enough to share among the cores of a machine. The number must not depend on threads.
constexpr int64_t least_chunk_pairs = 4096;
constexpr int64_t most_chunks = 64;

// The same of the copies of forces on atoms, three numbers each of an atom.
constexpr int64_t most_force_chunks = 8;

// Pairs and atoms of a list that a thread takes at a time, together: some tenths of a millisecond.
constexpr int64_t pairs_at_once = 8192;

// ---- interruption ----

// Milliseconds between two questions to the host whether to stop: short enough that
// Ctrl-C seems to work at once, long enough that asking costs nothing.
constexpr int64_t watch_interval = 50;

// Pairs of a list between two looks at the watch: about a millisecond.
constexpr int64_t watched_pairs = 1 << 16;

}  // namespace d3

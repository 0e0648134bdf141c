// How a block of eight atoms meets all clusters and images within a cutoff.
//
//   name            meaning
//   m               the central atoms of the block, and this lane's atom among them
//   search          the box of these atoms, and the images that may be in reach
//   image           a lattice translation
//   offset          from the centre of the central cluster to the centre of another one's image
//   from            the central atom as seen from the other cluster's image: m.site - offset
//   cutoff2, same2  squared distances between which an atom is a neighbour, as in Shell
//   body            what is summed up: see lattice_bodies.cuh
#pragma once
#include "engine/cuda/lattice/lattice_call.cuh"

namespace d3 {

// Growth of a block's box, so that rounding to single precision leaves no atom outside.
constexpr float block_box_growth = 1.00001f;
// Rounding of fractional coordinates, with much room: an image more costs one test of a box.
constexpr double image_slack = 1e-6;
// Rounding of the search in single precision, in the largest coordinate; the CPU's box_slack.
constexpr float search_slack = 1e-6f;
// Registers of neighbours between two emptyings of sums, at most, and tiles of so many.
constexpr int steps_of_sums = 32;
constexpr int tiles_of_sums = steps_of_sums / block_atoms;

// The central atoms of a block, as one lane sees them. A warp is a table: a column for each atom,
// and a row for each of the neighbours that it takes at once.
template <class S> struct BlockCentre {
  int cluster;
  int system;
  int species;
  int split;      // which of the blocks with these atoms this is
  int64_t first;  // place of the block's first atom
  int64_t place;  // place of this lane's atom
  int count;      // atoms, at most block_atoms
  int width;      // columns: count rounded up to 1, 2, 4 or 8
  int rows;       // rows: the lanes of a warp divided by width
  int column;     // of this lane
  int row;        // of this lane
  Site<S> site;   // this lane's atom
  // Whether the column has an atom; other columns work along with the first one's.
  __device__ bool active() const { return column < count; }
};

// Where a block searches: in shared memory, since registers are short.
struct BlockSearch {
  double centre[3];     // of the central cluster, which positions are relative to
  float box_centre[3];  // of the box of the block's atoms, relative to the system's origin
  float half[3];        // half sides of that box
  int low[3];           // images [low, high] may come within the cutoff
  int high[3];
};
constexpr size_t search_bytes = 128;  // at the start of shared memory
static_assert(sizeof(BlockSearch) <= search_bytes);

__device__ inline BlockSearch& search_of_block() { return *shared_memory<BlockSearch>(); }

// Smallest and largest of a value of the block's atoms, over the lanes of a warp.
__device__ inline void block_span(float& low, float& high) {
  for (int step = block_atoms / 2; step > 0; step /= 2) {
    const float a = __shfl_xor_sync(all_lanes, low, step),
                b = __shfl_xor_sync(all_lanes, high, step);
    low = a < low ? a : low;
    high = b > high ? b : high;
  }
}

// Fills the search of a block from the box of its atoms; each warp computes it, one thread writes.
template <class T, class S>
__device__ void set_search(const ClusterBox& box, const ClusterInfo& info, const SystemFrame& f,
                           T cutoff, const Site<S>& site) {
  const S xyz[3] = {site.x, site.y, site.z};
  BlockSearch search;
  double middle[3] = {0, 0, 0};  // fractional, of the box
  for (int d = 0; d < 3; ++d) {
    float low = float(value(xyz[d])), high = low;
    block_span(low, high);
    search.centre[d] = info.centre[d];
    search.half[d] = 0.5f * (high - low) * block_box_growth;
    search.box_centre[d] = box.centre[d] + 0.5f * (low + high);
    for (int k = 0; k < 3; ++k)
      middle[k] += (info.centre[d] + 0.5 * (low + high)) * f.inverse[d][k];
  }
  for (int k = 0; k < 3; ++k) {
    const double far = extent(f, k, search.half) + double(cutoff) / f.height[k] + image_slack;
    search.low[k] = f.periodic[k] ? int(ceil(middle[k] - far - 1)) : 0;
    search.high[k] = f.periodic[k] ? int(floor(middle[k] + far)) : 0;
  }
  if (threadIdx.x == 0) search_of_block() = search;
}

// Finds the atoms of this block and prepares its search, within the cutoff of the CN or that of the
// energy. False if there is nothing to do for it.
template <class T, class S>
__device__ bool make_centre(const LatticeCall<T, S>& c, bool counts, BlockCentre<S>& m) {
  const int block = int(blockIdx.x / unsigned(c.splits));
  m.split = int(blockIdx.x % unsigned(c.splits));
  m.cluster = block / blocks_of_cluster;
  if (c.state->bad || m.cluster >= c.atoms.clusters[c.n_atoms - 1]) return false;
  const ClusterBox box = c.boxes[m.cluster];
  const ClusterInfo& info = c.infos[m.cluster];
  const int part = block % blocks_of_cluster * block_atoms;
  m.count = box.count - part < block_atoms ? box.count - part : block_atoms;
  m.system = info.system;
  m.species = info.species;
  const SystemFrame& f = c.frames[m.system];
  if (m.count <= 0 || f.bad) return false;
  m.width = m.count > 4 ? 8 : m.count > 2 ? 4 : m.count;
  m.rows = warp_lanes / m.width;
  m.column = lane_index() % m.width;
  m.row = lane_index() / m.width;
  m.first = box.first + part;
  m.place = m.first + (m.active() ? m.column : 0);
  m.site = c.neighbours[m.place].site;
  const T cutoff = counts ? c.in.range.cn_cutoff : c.range_of(m.system).cutoff;
  set_search(box, info, f, cutoff, m.site);
  __syncthreads();
  return true;
}

// A lattice translation.
struct Image {
  int shift[3];      // in cell vectors
  double vector[3];  // shift @ cell
  __device__ bool home() const { return (shift[0] | shift[1] | shift[2]) == 0; }
};

// Images that a block has to look at, and one of them by its number.
__device__ inline int count_images(const BlockSearch& r) {
  int n = 1;
  for (int k = 0; k < 3; ++k) n *= r.high[k] - r.low[k] + 1;
  return n;
}

__device__ inline Image image_at(const BlockSearch& r, const SystemFrame& f, int number) {
  Image image;
  for (int k = 2; k >= 0; --k) {
    const int n = r.high[k] - r.low[k] + 1;
    image.shift[k] = r.low[k] + number % n;
    number /= n;
  }
  for (int d = 0; d < 3; ++d) {
    image.vector[d] = 0;
    for (int k = 0; k < 3; ++k) image.vector[d] += image.shift[k] * f.cell[k][d];
  }
  return image;
}

// Vector from the central cluster to another one's image, taken in double precision.
template <class T, class S>
__device__ inline Vector3<S> tile_offset(const LatticeCall<T, S>& c, const BlockCentre<S>& m,
                                         int cluster, const Image& image) {
  S out[3];
  for (int d = 0; d < 3; ++d) {
    const double x = c.infos[cluster].centre[d] - search_of_block().centre[d] + image.vector[d];
    if constexpr (LatticeCall<T, S>::dual) {
      double t = 0;
      for (int k = 0; k < 3; ++k) t += image.shift[k] * c.cell(m.system, k, d).d;
      out[d] = {T(x), T(t)};
    } else {
      out[d] = T(x);
    }
  }
  return {out[0], out[1], out[2]};
}

// Whether a box comes within the cutoff of the block's box, in single precision with room for its
// rounding.
__device__ inline bool in_reach(const float (&shift)[3], const float* centre, const float* half,
                                float cutoff) {
  const BlockSearch& m = search_of_block();
  float gap2 = 0;
  for (int d = 0; d < 3; ++d) {
    const float slack =
        search_slack * (fabsf(m.box_centre[d]) + fabsf(shift[d]) + fabsf(centre[d]) + cutoff);
    const float gap = fabsf(centre[d] + shift[d] - m.box_centre[d]) - m.half[d] - half[d] - slack;
    if (gap > 0) gap2 += gap * gap;
  }
  return gap2 <= cutoff * cutoff;
}

// Vector from b to an atom.
template <class S> __device__ inline Vector3<S> difference(const Site<S>& a, const Vector3<S>& b) {
  return {a.x - b.x, a.y - b.y, a.z - b.z};
}

// One register of neighbours: lanes that have none within the cutoff are masked, and nothing is
// computed if none has.
template <bool with_virial, class T, class S, class Body>
__device__ inline void meet(const Vector3<S>& from, const Vector3<S>& offset, const Neighbour<S>& n,
                            bool valid, T cutoff2, T same2, Body& body) {
  const Vector3<S> r = difference(n.site, from);
  const S r2 = r.norm2();
  const bool apart = value(r2) > same2, inside = valid && apart && value(r2) <= cutoff2;
  if (Body::counts_same) body.same += valid && !apart;
  if (!__any_sync(all_lanes, inside)) return;
  body.template add<with_virial>(inside, r, select(inside, r2, S(T(1))), n, offset);
}

// One register of neighbours that are all there, in a tile without the atoms of the block: a branch
// around the pairs beyond the cutoff leaves nothing to mask.
template <class T, class S, class Body>
__device__ inline void meet_others(const Vector3<S>& from, const Vector3<S>& offset,
                                   const Neighbour<S>& n, T cutoff2, T same2, Body& body) {
  const Vector3<S> r = difference(n.site, from);
  const S r2 = r.norm2();
  if (Body::counts_same) body.same += value(r2) <= same2;
  if (value(r2) <= cutoff2) body.template add<false>(true, r, r2, n, offset);
}

// A cluster at one image. Most are whole, and so are most blocks: without masks, and with a number
// of steps that is known when compiling. In others lanes without a neighbour read what lies behind
// the cluster, and are masked.
template <class T, class S, class Body>
__device__ inline void meet_tile(const LatticeCall<T, S>& c, const BlockCentre<S>& m, int cluster,
                                 const Image& image, T cutoff2, T same2, Body& body) {
  const int count = c.boxes[cluster].count;
  const Vector3<S> offset = tile_offset(c, m, cluster, image), from = difference(m.site, offset);
  const Neighbour<S>* n = c.neighbours + c.boxes[cluster].first + m.row;
  const bool whole = count == cluster_atoms && m.count == block_atoms;
  if (whole && !(cluster == m.cluster && image.home())) {
    constexpr int rows = warp_lanes / block_atoms;
#pragma unroll 4
    for (int t = 0; t < cluster_atoms; t += rows)
      meet_others(from, offset, n[t], cutoff2, same2, body);
  } else {
    const unsigned rows = m.rows;
    const int mine = m.active() ? count - m.row : 0;
    for (int t = 0; t < count; t += int(rows), n += rows)
      meet<false>(from, offset, *n, t < mine, cutoff2, same2, body);
  }
  body.end_tile(difference(m.site, from));  // the offset again: registers are short
}

// A small cluster at all images: lanes take different ones.
template <class T, class S, class Body>
__device__ inline void meet_images(const LatticeCall<T, S>& c, const BlockCentre<S>& m, int cluster,
                                   T cutoff2, T same2, Body& body) {
  const int first = c.boxes[cluster].first, count = c.boxes[cluster].count, rows = m.rows;
  const int64_t n = int64_t(count_images(search_of_block())) * count;
  const int64_t stride = int64_t(c.splits) * warp_count() * rows;
  int steps = 0;
  for (int64_t t = (int64_t(m.split) * warp_count() + warp_index()) * rows; t < n; t += stride) {
    const bool valid = t + m.row < n;
    const int64_t q = valid ? t + m.row : 0;
    const Vector3<S> offset =
        tile_offset(c, m, cluster, image_at(search_of_block(), c.frames[m.system], int(q / count)));
    meet<true>(difference(m.site, offset), offset, c.neighbours[first + q % count],
               valid && m.active(), cutoff2, same2, body);
    if (++steps % steps_of_sums == 0) body.empty();
  }
  body.empty();
}

// Whether the clusters of a super box may come within the cutoff at an image.
template <class T, class S>
__device__ inline bool super_in_reach(const LatticeCall<T, S>& c, int super, const Image& image,
                                      T cutoff) {
  const float shift[3] = {float(image.vector[0]), float(image.vector[1]), float(image.vector[2])};
  const SuperBox box = c.supers[super];
  float centre[3], half[3];
  for (int d = 0; d < 3; ++d) {
    centre[d] = 0.5f * (box.low[d] + box.high[d]);
    half[d] = 0.5f * (box.high[d] - box.low[d]);
  }
  return in_reach(shift, centre, half, float(cutoff));
}

// The clusters of a super box that are in [begin, end) and come within the cutoff at an image: a
// bit for each.
template <class T, class S>
__device__ inline unsigned clusters_in_reach(const LatticeCall<T, S>& c, int super, int begin,
                                             int end, const Image& image, T cutoff) {
  const float shift[3] = {float(image.vector[0]), float(image.vector[1]), float(image.vector[2])};
  const int id = super_clusters * super + lane_index();
  bool near = id >= begin && id < end;
  if (near) near = in_reach(shift, c.boxes[id].centre, c.boxes[id].half, float(cutoff));
  return __ballot_sync(all_lanes, near);
}

// Calls found(cluster, image) for those of clusters [begin, end) that come within the cutoff at
// some image, by all lanes of a warp, which searches for itself: first super boxes, of which each
// lane tests one at one image, then boxes of clusters.
template <class T, class S, class F>
__device__ inline void for_clusters(const LatticeCall<T, S>& c, const SystemFrame& f, int begin,
                                    int end, T cutoff, F&& found) {
  const BlockSearch& search = search_of_block();
  const int images = count_images(search), first = begin / super_clusters;
  const int supers = (end - 1) / super_clusters - first + 1;
  for (int number = 0, super = 0; number < images;) {
    const int my_number = number + (super + lane_index()) / supers;
    const int my_super = first + (super + lane_index()) % supers;
    const bool hit =
        my_number < images && super_in_reach(c, my_super, image_at(search, f, my_number), cutoff);
    for (unsigned hits = __ballot_sync(all_lanes, hit); hits; hits &= hits - 1) {
      const int ahead = super + __ffs(int(hits)) - 1, base = first + ahead % supers;
      const Image image = image_at(search, f, number + ahead / supers);
      unsigned tiles = clusters_in_reach(c, base, begin, end, image, cutoff);
      for (; tiles; tiles &= tiles - 1) found(super_clusters * base + __ffs(int(tiles)) - 1, image);
    }
    number += (super + warp_lanes) / supers;
    super = (super + warp_lanes) % supers;
  }
}

// A super box that is in reach at an image, and those of its clusters that are: a bit for each.
struct Hit {
  Image image;
  int super;
  unsigned tiles;
};

// What the warps of a block find together, in shared memory behind the search: the hits at hand,
// and of every warp the lanes whose test was one, in this round and in the one before.
struct Found {
  Hit* hits;
  unsigned* lanes;
};
D3_HD inline int most_hits(int threads) { return threads + 64; }
D3_HD inline size_t found_bytes(int threads) {
  return most_hits(threads) * sizeof(Hit) +
         (2 * threads / warp_lanes * sizeof(unsigned) + 15) / 16 * 16;
}
__device__ inline Found found_of_block() {
  Hit* hits = reinterpret_cast<Hit*>(shared_memory<char>() + search_bytes);
  return {hits, reinterpret_cast<unsigned*>(hits + most_hits(blockDim.x))};
}

// The warps of a block take tiles in turns: warp w the tiles w, w + n, ... of n warps, which are a
// power of two.
struct Turns {
  unsigned tiles = 0;  // that were found
  __device__ unsigned mine(unsigned found) {
    const unsigned below = (1u << lane_index()) - 1, turn = tiles + __popc(found & below);
    const bool here = found >> lane_index() & 1;
    tiles += __popc(found);
    return __ballot_sync(all_lanes, here && (turn & (warp_count() - 1)) == unsigned(warp_index()));
  }
};

// A search of a block: where it is. Blocks with the same atoms take hits in turns.
struct Progress {
  int round;  // of tests, the next
  int turn;   // which of these blocks takes the next hit
  __device__ int64_t test() const { return int64_t(round) * blockDim.x; }
};

// Super boxes of clusters [begin, end), and tests of them: at the images that a block looks at.
__device__ inline int count_supers(int begin, int end) {
  return (end - 1) / super_clusters - begin / super_clusters + 1;
}
__device__ inline int64_t count_tests(int begin, int end) {
  return int64_t(count_images(search_of_block())) * count_supers(begin, end);
}

// One round of tests, by each thread of a block. Puts the hits that are this block's into shared
// memory behind n others, and returns how many there are then.
template <class T, class S>
__device__ inline int test_round(const LatticeCall<T, S>& c, const BlockCentre<S>& m, int begin,
                                 int end, T cutoff, Progress& at, int n) {
  const auto [hits, all_warps] = found_of_block();
  unsigned* lanes = all_warps + at.round % 2 * warp_count();
  const int64_t test = at.test() + threadIdx.x;
  const bool any = test < count_tests(begin, end);
  const int supers = count_supers(begin, end);
  const int super = begin / super_clusters + (any ? int(test % supers) : 0);
  const Image image = image_at(search_of_block(), c.frames[m.system], any ? int(test / supers) : 0);
  const bool hit = any && super_in_reach(c, super, image, cutoff);
  const unsigned mine = __ballot_sync(all_lanes, hit);
  if (lane_index() == 0) lanes[warp_index()] = mine;
  __syncthreads();
  int number = at.turn + __popc(mine & ((1u << lane_index()) - 1)), all = at.turn;
  for (int warp = 0; warp < warp_count(); ++warp) {
    const int found = __popc(lanes[warp]);
    if (warp < warp_index()) number += found;
    all += found;
  }
  const int first = n - (at.turn > m.split);
  if (hit && number % c.splits == m.split) hits[first + number / c.splits] = {image, super, 0};
  at = {at.round + 1, all % c.splits};
  return first + (all + c.splits - 1 - m.split) / c.splits;
}

// Finds the next hits of clusters [begin, end), until room for those of another round is short, and
// their clusters within the cutoff, a warp for each. The number of these hits.
template <class T, class S>
__device__ inline int find_hits(const LatticeCall<T, S>& c, const BlockCentre<S>& m, int begin,
                                int end, T cutoff, Progress& at) {
  const int room = most_hits(blockDim.x) - (int(blockDim.x) + c.splits - 1) / c.splits;
  int n = 0;
  while (at.test() < count_tests(begin, end) && n <= room)
    n = test_round(c, m, begin, end, cutoff, at, n);
  __syncthreads();
  Hit* hits = found_of_block().hits;
  for (int h = warp_index(); h < n; h += warp_count()) {
    const unsigned tiles = clusters_in_reach(c, hits[h].super, begin, end, hits[h].image, cutoff);
    if (lane_index() == 0) hits[h].tiles = tiles;
  }
  __syncthreads();
  return n;
}

// The bits of a super box's clusters that are in [begin, end).
__device__ inline unsigned bits_between(int super, int begin, int end) {
  const int base = super_clusters * super, low = begin > base ? begin - base : 0,
            high = end < base + super_clusters ? end - base : super_clusters;
  return low < high ? ~0u >> (super_clusters - high + low) << low : 0u;
}

// Whether a species, by its first cluster, is met at several images at once: if its only cluster is
// small, it would leave most rows of a warp idle at one image.
template <class T, class S>
__device__ inline bool met_by_images(const LatticeCall<T, S>& c, int begin) {
  return c.boxes[begin].count <= block_atoms && count_images(search_of_block()) > 1;
}

// Meets all neighbours. All warps of a block search together, then each takes its share of the
// tiles, one species after the other.
template <class T, class S, class Body>
__device__ void meet_all(const LatticeCall<T, S>& c, const BlockCentre<S>& m, T cutoff,
                         Body& body) {
  const T same = c.in.range.same_spot(), same2 = same * same;
  const int first = c.first_cluster(m.system), end = c.first_cluster(m.system + 1);
  bool others = false;
  for (int begin = first; begin < end; begin = c.infos[begin].next) {
    others = others || !met_by_images(c, begin);
    if (!met_by_images(c, begin)) continue;
    body.species(c.infos[begin].species);
    meet_images(c, m, begin, cutoff * cutoff, same2, body);
  }
  Turns turns;
  int met = 0;
  for (Progress at{0, 0}; others && at.test() < count_tests(first, end);) {
    const int n = find_hits(c, m, first, end, cutoff, at);
    const Hit* hits = found_of_block().hits;
    for (int begin = first; begin < end && n > 0; begin = c.infos[begin].next) {
      if (met_by_images(c, begin)) continue;
      body.species(c.infos[begin].species);
      for (int h = 0; h < n; ++h) {
        unsigned tiles =
            turns.mine(hits[h].tiles & bits_between(hits[h].super, begin, c.infos[begin].next));
        for (; tiles; tiles &= tiles - 1) {
          meet_tile(c, m, super_clusters * hits[h].super + __ffs(int(tiles)) - 1, hits[h].image,
                    cutoff * cutoff, same2, body);
          if (++met % Body::most_tiles == 0) body.empty();
        }
      }
    }
  }
  body.empty();
}

}  // namespace d3

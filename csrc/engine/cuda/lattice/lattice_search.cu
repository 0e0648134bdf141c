// From positions to clusters: frames of the cells, keys along a space-filling curve, bounding
// boxes.
#include "engine/cuda/lattice/lattice_search.cuh"

namespace d3 {

// Cells of the curve within a cutoff: fine enough that atoms of a cluster lie together, while
// 2^curve_bits cells an axis reach 64 cutoffs. A periodic axis has a power of two of about this
// size, so that the curve does not leave the cell of the crystal: atoms that follow each other
// where it comes back are far apart.
constexpr int curve_cells_of_cutoff = 32;
__device__ inline int curve_cells(double height, double cutoff) {
  int cells = 1;
  while (cells < 1 << curve_bits && 1.414 * cells * cutoff < curve_cells_of_cutoff * height)
    cells *= 2;
  return cells;
}
// Boxes grow by this factor, so that rounding to single precision leaves no atom outside.
constexpr float box_growth = 1.000001f;

// ---- frames ----

// Images that can be counted, with room for what a block adds: a system of more is marked as bad.
constexpr double most_images = 1 << 30;
template <class T>
__device__ bool images_can_be_counted(const SystemFrame& f, const LatticeInput<T>& in) {
  const double cutoff = fmax(fmax(in.range.cutoff, in.range.cn_cutoff), in.three_body.cutoff);
  double images = 1;
  for (int k = 0; k < 3; ++k)
    if (f.periodic[k]) images *= 4 + 2 * cutoff / f.height[k];
  return images <= most_images;
}

// The frame of each system, by one thread; also checks that the offsets rise from 0 to n_atoms.
template <class T>
__global__ void make_frames(LatticeInput<T> in, int64_t n_atoms, LatticeState* state,
                            SystemFrame* frames) {
  const int64_t b = thread_index();
  if (b >= in.systems.n_systems) return;
  SystemFrame f;
  f.origin = {0, 0, 0};
  f.bad = !read_cell(in.systems, b, f) || !images_can_be_counted(f, in);
  f.periodic_directions = f.periodic[0] + f.periodic[1] + f.periodic[2];
  f.coincident = 0;
  for (int k = 0; k < 3; ++k)
    f.cells[k] = f.periodic[k] ? curve_cells(f.height[k], double(in.range.cutoff)) : 0;
  const int64_t first = in.systems.offsets[b], last = in.systems.offsets[b + 1];
  const bool rising = offsets_rise(in.systems, b, n_atoms);
  if (!rising) atomicOr(&state->bad, 1u);
  if (rising && first < last) {
    Shift shift;
    for (int d = 0; d < 3; ++d) f.origin[d] = in.systems.positions[3 * first + d];
    f.bad = f.bad || !wrap(f, fractional(f, f.origin), f.origin, shift);
  }
  frames[b] = f;
}

// ---- keys ----

// Place on a Hilbert curve of `curve_bits` bits an axis; J. Skilling, AIP Conf. Proc. 707, 381
// (2004), doi:10.1063/1.1751381.
__device__ inline int64_t curve_index(unsigned (&x)[3]) {
  for (unsigned q = 1u << (curve_bits - 1); q > 1; q /= 2) {
    const unsigned p = q - 1;
    for (int k = 0; k < 3; ++k) {
      const unsigned t = (x[0] ^ x[k]) & p;
      if (x[k] & q)
        x[0] ^= p;
      else {
        x[0] ^= t;
        x[k] ^= t;
      }
    }
  }
  x[1] ^= x[0];
  x[2] ^= x[1];
  unsigned t = 0;
  for (unsigned q = 1u << (curve_bits - 1); q > 1; q /= 2)
    if (x[2] & q) t ^= q - 1;
  int64_t place = 0;
  for (int bit = curve_bits - 1; bit >= 0; --bit)
    for (int k = 0; k < 3; ++k) place = 2 * place + (((x[k] ^ t) >> bit) & 1);
  return place;
}

// The key of each atom, by one thread. Atoms that cannot be placed mark their system as bad and get
// some key; an unknown species marks the whole call.
template <class T>
__global__ void make_keys(LatticeInput<T> in, int64_t n_atoms, LatticeState* state,
                          SystemFrame* frames, int64_t* keys) {
  const int64_t i = thread_index();
  if (i >= n_atoms) return;
  const int64_t system = system_of(in.systems.offsets, in.systems.n_systems, i);
  SystemFrame& f = frames[system];
  Vec3 x;
  Shift shift;
  for (int d = 0; d < 3; ++d) x[d] = in.systems.positions[3 * i + d];
  const bool near = fabs(x[0]) + fabs(x[1]) + fabs(x[2]) <= farthest;  // false for NaN
  if (!near || !wrap(f, fractional(f, x), x, shift)) atomicOr(&f.bad, 1u);
  int64_t species = in.systems.species[i];
  if (uint64_t(species) >= uint64_t(in.tables.n_species)) {
    atomicOr(&state->bad, 1u);
    species = 0;
  }
  unsigned cell[3];
  const Vec3 at = fractional(f, x), origin = fractional(f, f.origin);
  for (int k = 0; k < 3; ++k) {
    const int cells = f.cells[k] ? f.cells[k] : 1 << curve_bits;
    const double from_origin =
        (at[k] - origin[k]) * (curve_cells_of_cutoff / double(in.range.cutoff));
    const double c = f.cells[k] ? floor(at[k] * cells) : floor(from_origin) + cells / 2;
    cell[k] = c > 0 ? c < cells - 1 ? unsigned(c) : cells - 1 : 0;  // 0 for NaN
  }
  keys[i] = (((system << species_bits) + species) << group_shift) + curve_index(cell);
}

// 1 where a cluster starts: at every 32nd atom of a species of a system.
__global__ void make_starts(const int64_t* keys, int64_t n, int* starts) {
  const int64_t p = thread_index();
  if (p < n)
    starts[p] =
        (p - first_place(keys, n, keys[p] >> group_shift << group_shift)) % cluster_atoms == 0;
}

// ---- clusters ----

// Lowest and highest value over the lanes of a warp.
template <class V> __device__ inline void warp_span(V& low, V& high) {
  for (int step = warp_lanes / 2; step > 0; step /= 2) {
    const V a = __shfl_xor_sync(all_lanes, low, step), b = __shfl_xor_sync(all_lanes, high, step);
    low = a < low ? a : low;
    high = b > high ? b : high;
  }
}

// Writes the cluster that starts at a place, of which box and centre are known; by one lane.
template <class T, class S>
__device__ void write_cluster(const LatticeCall<T, S>& c, int64_t first, int count, ClusterBox box,
                              ClusterInfo info) {
  const int64_t group = c.atoms.keys[first] >> group_shift;
  const int64_t end = first_place(c.atoms.keys, c.n_atoms, (group + 1) << group_shift);
  const int id = c.atoms.clusters[first] - 1;
  box.first = int(first);
  box.count = count;
  info.system = int(group >> species_bits);
  info.species = int(group & ((1 << species_bits) - 1));
  info.next = id + int(blocks_for(end - first, cluster_atoms));
  c.boxes[id] = box;
  c.infos[id] = info;
}

// Makes the cluster that starts at a place: its box, its atoms relative to the box. By a warp, a
// lane for each atom; lanes beyond the last atom take part in the sums only.
template <class T, class S>
__device__ void make_cluster(const LatticeCall<T, S>& c, int64_t first) {
  using A = Wide<S>;
  const int64_t group = c.atoms.keys[first] >> group_shift, p = first + lane_index();
  const int64_t system = group >> species_bits;
  const bool member = p < c.n_atoms && c.atoms.keys[p] >> group_shift == group;
  const int count = __popc(__ballot_sync(all_lanes, member));
  const SystemFrame& f = c.frames[system];
  const int64_t atom = member ? c.atoms.order[p] : 0;
  Vec3 x{0, 0, 0};
  Shift shift{0, 0, 0};
  for (int d = 0; d < 3 && member; ++d) x[d] = c.in.systems.positions[3 * atom + d];
  if (member) wrap(f, fractional(f, x), x, shift);
  ClusterBox box;
  ClusterInfo info;
  A relative[3];
  for (int d = 0; d < 3; ++d) {
    const double far = std::numeric_limits<double>::max();
    double low = member ? x[d] : far, high = member ? x[d] : -far;
    warp_span(low, high);
    info.centre[d] = 0.5 * (low + high);
    box.centre[d] = float(info.centre[d] - f.origin[d]);
    box.half[d] = float(0.5 * (high - low)) * box_growth;
    relative[d] = A(x[d] - info.centre[d]);
    if constexpr (LatticeCall<T, S>::dual) {
      if (!member) continue;
      relative[d].d = c.position(atom, d).d;
      for (int k = 0; k < 3; ++k) relative[d].d += shift[k] * c.cell(system, k, d).d;
    }
  }
  // lanes without a neighbour read what lies behind a cluster: zero times it must be zero
  for (int d = 0; d < 3 && f.bad; ++d) relative[d] = A(0.0);
  if (member)
    c.neighbours[p].site = {narrow<S>(relative[0]), narrow<S>(relative[1]), narrow<S>(relative[2]),
                            S(T(0))};
  if (lane_index() == 0) write_cluster(c, first, count, box, info);
}

// Each warp makes the clusters that start among 32 places.
template <class T, class S> __global__ void make_clusters(LatticeCall<T, S> c) {
  const int64_t base = thread_index() / warp_lanes * warp_lanes, p = base + lane_index();
  if (thread_index() < cluster_atoms) c.neighbours[c.n_atoms + thread_index()] = {};
  if (base >= c.n_atoms) return;
  const bool start = p < c.n_atoms && (p == 0 || c.atoms.clusters[p] != c.atoms.clusters[p - 1]);
  unsigned starts = __ballot_sync(all_lanes, start);
  for (; starts; starts &= starts - 1) make_cluster(c, base + __ffs(int(starts)) - 1);
}

// The boxes of super_clusters clusters each, by a warp.
template <class T, class S> __global__ void make_supers(LatticeCall<T, S> c) {
  const int64_t super = thread_index() / warp_lanes, id = super * warp_lanes + lane_index();
  const int n_clusters = c.atoms.clusters[c.n_atoms - 1];
  if (super * warp_lanes >= n_clusters) return;
  SuperBox out;
  for (int d = 0; d < 3; ++d) {
    const bool here = id < n_clusters;
    out.low[d] =
        here ? c.boxes[id].centre[d] - c.boxes[id].half[d] : std::numeric_limits<float>::max();
    out.high[d] =
        here ? c.boxes[id].centre[d] + c.boxes[id].half[d] : std::numeric_limits<float>::lowest();
    warp_span(out.low[d], out.high[d]);
  }
  if (lane_index() == 0) c.supers[super] = out;
}

// ---- launches ----

template <class T>
void CudaLattice<T>::keys(const LatticeInput<T>& in, int64_t n_atoms, void* scratch,
                          cudaStream_t stream, int64_t* keys) {
  LatticeCall<T, T> c{{in, {}, {}, n_atoms}};
  lay_out(c, scratch);
  check_cuda(cudaMemsetAsync(c.state, 0, sizeof(LatticeState), stream));
  launch(make_frames<T>, blocks_for(in.systems.n_systems, lattice_threads), lattice_threads, 0,
         stream, in, n_atoms, c.state, c.frames);
  launch(make_keys<T>, blocks_for(n_atoms, lattice_threads), lattice_threads, 0, stream, in,
         n_atoms, c.state, c.frames, keys);
}

template <class T>
void CudaLattice<T>::starts(const int64_t* sorted, int64_t n_atoms, cudaStream_t stream,
                            int* starts) {
  launch(make_starts, blocks_for(n_atoms, lattice_threads), lattice_threads, 0, stream, sorted,
         n_atoms, starts);
}

// Launches the kernels that turn sorted atoms into clusters.
template <class T, class S> void find_clusters(const LatticeCall<T, S>& c, cudaStream_t stream) {
  launch(make_clusters<T, S>, blocks_for(c.n_atoms, lattice_threads), lattice_threads, 0, stream,
         c);
  launch(make_supers<T, S>, blocks_for(c.max_clusters, lattice_threads), lattice_threads, 0, stream,
         c);
}

template void find_clusters(const LatticeCall<float, float>&, cudaStream_t);
template void find_clusters(const LatticeCall<double, double>&, cudaStream_t);
template void find_clusters(const LatticeCall<float, Dual<float>>&, cudaStream_t);
template void find_clusters(const LatticeCall<double, Dual<double>>&, cudaStream_t);
template void CudaLattice<float>::keys(const LatticeInput<float>&, int64_t, void*, cudaStream_t,
                                       int64_t*);
template void CudaLattice<double>::keys(const LatticeInput<double>&, int64_t, void*, cudaStream_t,
                                        int64_t*);
template void CudaLattice<float>::starts(const int64_t*, int64_t, cudaStream_t, int*);
template void CudaLattice<double>::starts(const int64_t*, int64_t, cudaStream_t, int*);

}  // namespace d3

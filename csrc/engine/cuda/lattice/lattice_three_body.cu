// The three-body energy on the GPU; see formulas/three_body.h. A block for each atom i, the corner.
// Its warps take turns at the tiles K around it: each lane has an atom k and its side ik, and all
// lanes together go over the tiles J, of which every atom j that the corner reaches makes a
// triangle with each k. So each triangle of the corner is met twice, once for each of its two sides
// that meet there, and nothing has to be kept but the sums of the side ik. Nothing of a side is
// stored: the sides jk are computed anew for each corner.
#include "engine/cuda/lattice/lattice_bodies.cuh"
#include "engine/cuda/lattice/lattice_three_body.cuh"
#include "engine/formulas/three_body.h"

namespace d3 {

constexpr int corner_warps = 4;

// Makes the atom at a place the only one of its block. False if there is nothing to do for it.
template <class T, class S>
__device__ bool make_corner(const LatticeCall<T, S>& c, T cutoff, BlockCentre<S>& m) {
  if (c.state->bad) return false;
  m.first = m.place = blockIdx.x;
  m.cluster = c.atoms.clusters[m.place] - 1;
  m.system = c.infos[m.cluster].system;
  m.species = c.infos[m.cluster].species;
  const SystemFrame& f = c.frames[m.system];
  if (f.bad) return false;
  m.count = m.width = 1;
  m.rows = warp_lanes;
  m.split = m.column = 0;
  m.row = lane_index();
  m.site = c.neighbours[m.place].site;
  set_search(c.boxes[m.cluster], c.infos[m.cluster], f, cutoff, m.site);
  __syncthreads();
  return true;
}

// Calls found(cluster, image) for all within the cutoff of the corner, by all lanes of a warp.
template <class T, class S, class F>
__device__ inline void for_tiles(const LatticeCall<T, S>& c, const BlockCentre<S>& m, T cutoff,
                                 F&& found) {
  const int begin = c.first_cluster(m.system), end = c.first_cluster(m.system + 1);
  for_clusters(c, c.frames[m.system], begin, end, cutoff, std::forward<F>(found));
}

// Vector from the centre of one tile to that of another, taken in double precision.
template <class T, class S>
__device__ inline Vector3<S> between(const LatticeCall<T, S>& c, int64_t system, int from,
                                     const Image& from_image, int to, const Image& to_image) {
  S out[3];
  for (int d = 0; d < 3; ++d) {
    const double x = c.infos[to].centre[d] - c.infos[from].centre[d] +
                     (to_image.vector[d] - from_image.vector[d]);
    if constexpr (LatticeCall<T, S>::dual) {
      double t = 0;
      for (int k = 0; k < 3; ++k)
        t += (to_image.shift[k] - from_image.shift[k]) * c.cell(system, k, d).d;
      out[d] = {T(x), T(t)};
    } else {
      out[d] = T(x);
    }
  }
  return {out[0], out[1], out[2]};
}

// A number of one lane, for all.
__device__ inline float of_lane(float x, int lane) { return __shfl_sync(all_lanes, x, lane); }
__device__ inline double of_lane(double x, int lane) { return __shfl_sync(all_lanes, x, lane); }
template <class T> __device__ inline Dual<T> of_lane(Dual<T> x, int lane) {
  return {of_lane(x.v, lane), of_lane(x.d, lane)};
}
template <class S> __device__ inline Side<S> of_lane(const Side<S>& x, int lane) {
  return {of_lane(x.r2, lane), of_lane(x.v, lane), of_lane(x.u, lane), of_lane(x.t, lane)};
}

// The side from the corner to the atom of this lane in a tile, and its C6 with the derivative by
// the corner's CN.
template <class S> struct CornerSide {
  Vector3<S> r;
  Vector3<S> offset;  // of the tile
  S r2, c6, dc6;
  Side<S> side;
};

template <int R, class T, class S>
__device__ CornerSide<S> corner_side(const LatticeCall<T, S>& c, const BlockCentre<S>& m,
                                     int cluster, const Image& image) {
  const Tables<T>& t = c.in.tables;
  const T cutoff = c.in.three_body.cutoff, same = c.in.range.same_spot();
  const bool valid = lane_index() < c.boxes[cluster].count;
  const Neighbour<S>& n = c.neighbours[c.boxes[cluster].first + (valid ? lane_index() : 0)];
  const int64_t pair = int64_t(m.species) * t.n_species + c.infos[cluster].species;
  CornerSide<S> out;
  out.offset = tile_offset(c, m, cluster, image);
  out.r = difference(n.site, difference(m.site, out.offset));
  const S r2 = out.r.norm2();
  const bool inside = valid && value(r2) > same * same && value(r2) <= cutoff * cutoff;
  out.r2 = select(inside, r2, S(T(1)));
  S row[R];
  contract(c.dw[m.place].v, t.c6_ref + pair * R * R, R, R, R, row);
  out.dc6 = dot(row, n.w.v, R);
  contract(c.neighbours[m.place].w.v, t.c6_ref + pair * R * R, R, R, R, row);
  out.c6 = dot(row, n.w.v, R);
  out.side = make_side(out.r2, out.c6, T(side_scale(t.radii[pair])),
                       Cutoff<T>{cutoff, c.in.three_body.width}, inside);
  return out;
}

// What a lane sums up at its side ik over the atoms of all tiles J.
template <class T, class S> struct SideSums {
  Wide<S> energy{};
  Wide<S> slope{};
};

// Adds the triangles of a side ik with all atoms of a tile J that the corner reaches.
template <int R, bool slopes, class T, class S>
__device__ void add_tile(const LatticeCall<T, S>& c, const BlockCentre<S>& m, const Side<S>& ik,
                         int K, const Image& image_k, int J, const Image& image_j,
                         SideSums<T, S>& sums) {
  const Tables<T>& t = c.in.tables;
  const Cutoff<T> cutoff{c.in.three_body.cutoff, c.in.three_body.width};
  const T same = c.in.range.same_spot();
  const Side<S> ij = corner_side<R>(c, m, J, image_j).side;
  unsigned reached = __ballot_sync(all_lanes, value(ij.v) > T(0));
  if (!reached) return;
  const Vector3<S> offset = between(c, m.system, J, image_j, K, image_k);
  const bool valid = lane_index() < c.boxes[K].count;
  const Neighbour<S>& k = c.neighbours[c.boxes[K].first + (valid ? lane_index() : 0)];
  const Vector3<S> to_k{k.site.x + offset.x, k.site.y + offset.y, k.site.z + offset.z};
  const int64_t pair = int64_t(c.infos[K].species) * t.n_species + c.infos[J].species;
  const T scale = T(side_scale(t.radii[pair]));
  S column[R], energy(T(0)), slope(T(0));
  contract(k.w.v, t.c6_ref + pair * R * R, R, R, R, column);
  for (; reached; reached &= reached - 1) {
    const int lane = __ffs(int(reached)) - 1;
    const Neighbour<S>& j = c.neighbours[c.boxes[J].first + lane];
    const Vector3<S> r{to_k.x - j.site.x, to_k.y - j.site.y, to_k.z - j.site.z};
    const S r2 = r.norm2();
    const bool inside =
        valid && value(r2) > same * same && value(r2) <= cutoff.cutoff * cutoff.cutoff;
    Side<S> jk =
        make_side(select(inside, r2, S(T(1))), dot(column, j.w.v, R), scale, cutoff, inside);
    jk.u = S(T(0.375)) * jk.u;
    const Triangle<S> one = triangle<slopes>(of_lane(ij, lane), ik, jk);
    energy += one.energy;
    if constexpr (slopes) slope += one.by_ik;
  }
  sums.energy += widen(energy);
  sums.slope += widen(slope);
}

// Adds what a side comes to, with the sums over its triangles, to those of the warp.
template <int R, bool slopes, class T, class S>
__device__ void finish_side(const LatticeCall<T, S>& c, const BlockCentre<S>& m, int cluster,
                            const Image& image, const SideSums<T, S>& side, Wide<S>* of_warp) {
  const CornerSide<S> ik = corner_side<R>(c, m, cluster, image);
  S sums[of_damping];
  for (S& sum : sums) sum = S(T(0));
  add_side<slopes>(narrow<S>(side.energy), narrow<S>(side.slope), ik.c6, ik.dc6, ik.r, ik.offset,
                   ik.r2, Cutoff<T>{c.in.three_body.cutoff, c.in.three_body.width}, sums);
  for (int k = 0; k < (slopes ? int(of_damping) : 1); ++k) {
    const Wide<S> sum = warp_sum(widen(sums[k]));
    if (lane_index() == 0) of_warp[k] += sum;
  }
}

// Writes what a corner comes to, by one thread.
template <bool slopes, class T, class S>
__device__ void write_corner(const LatticeCall<T, S>& c, const BlockCentre<S>& m,
                             const Wide<S>* sums) {
  using A = Wide<S>;
  const A s9 = c.damping(m.system, c.in.n_damping() - 1);
  A* parts = c.three_body_parts + m.place * n_three_body_parts;
  parts[0] = A(1.0 / 6.0) * sums[of_energy];
  c.energy[m.place] += s9 * parts[0];
  if constexpr (!slopes) return;
  c.neighbours[m.place].site.dcn += narrow<S>(s9 * sums[of_dcn]);
  for (int k = 0; k < 3; ++k) c.gradient[3 * m.place + k] += -(s9 * sums[of_gradient + k]);
  for (int k = 0; k < 6; ++k) parts[1 + k] = s9 * (A(0.5) * sums[of_virial + k]);
}

// The sums of a corner, by its block: of_damping for each warp, in shared memory.
template <int R, bool slopes, class T, class S>
__global__ void __launch_bounds__(corner_warps* warp_lanes, 1)
    three_body_sweep(LatticeCall<T, S> c) {
  using A = Wide<S>;
  const T cutoff = c.in.three_body.cutoff;
  BlockCentre<S> m;
  if (!make_corner(c, cutoff, m)) return;
  A* shared = shared_memory<A>() + search_bytes / sizeof(A);
  for (int k = threadIdx.x; k < of_damping * warp_count(); k += blockDim.x) shared[k] = A(0.0);
  __syncthreads();
  int turn = warp_index();
  for_tiles(c, m, cutoff, [&](int K, const Image& image_k) {
    if (turn-- > 0) return;
    turn = warp_count() - 1;
    const Side<S> ik = corner_side<R>(c, m, K, image_k).side;
    if (!__any_sync(all_lanes, value(ik.v) > T(0))) return;
    SideSums<T, S> side;
    for_tiles(c, m, cutoff, [&](int J, const Image& image_j) {
      add_tile<R, slopes>(c, m, ik, K, image_k, J, image_j, side);
    });
    finish_side<R, slopes>(c, m, K, image_k, side, shared + of_damping * warp_index());
  });
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int k = of_damping; k < of_damping * warp_count(); ++k) shared[k % of_damping] += shared[k];
  write_corner<slopes>(c, m, shared);
}

// Adds the parts of the atoms of a block of the other sweeps to those of the block, by a thread.
template <class T, class S> __global__ void add_three_body_parts(LatticeCall<T, S> c) {
  using A = Wide<S>;
  const int64_t block = thread_index(), cluster = block / blocks_of_cluster;
  if (c.state->bad || cluster >= c.atoms.clusters[c.n_atoms - 1]) return;
  const int64_t system = c.infos[cluster].system;
  if (c.frames[system].bad) return;
  const int n_damping = c.in.n_damping();
  const A s9 = c.damping(system, n_damping - 1);
  A* parts = c.parts + block * n_parts;
  const int begin = int(block % blocks_of_cluster) * block_atoms, count = c.boxes[cluster].count;
  for (int i = begin; i < begin + block_atoms && i < count; ++i) {
    const int64_t place = c.boxes[cluster].first + i;
    const A* of_atom = c.three_body_parts + place * n_three_body_parts;
    parts[part_energy] += s9 * of_atom[0];
    parts[part_damping + n_damping - 1] += of_atom[0];
    for (int k = 0; k < 6 && c.in.gradients; ++k) parts[part_virial + k] += of_atom[1 + k];
  }
}

template <int R, class T, class S>
void add_three_body(const LatticeCall<T, S>& c, cudaStream_t stream) {
  constexpr bool dual = LatticeCall<T, S>::dual;
  const int threads = corner_warps * warp_lanes;
  const size_t shared = search_bytes + sizeof(Wide<S>) * of_damping * corner_warps;
  if (dual || c.in.gradients)
    launch(three_body_sweep<R, true, T, S>, c.n_atoms, threads, shared, stream, c);
  else if constexpr (!dual)
    launch(three_body_sweep<R, false, T, S>, c.n_atoms, threads, shared, stream, c);
  launch(add_three_body_parts<T, S>,
         blocks_for(c.max_clusters * blocks_of_cluster, lattice_threads), lattice_threads, 0,
         stream, c);
}

template void add_three_body<5>(const LatticeCall<float, float>&, cudaStream_t);
template void add_three_body<5>(const LatticeCall<double, double>&, cudaStream_t);
template void add_three_body<5>(const LatticeCall<float, Dual<float>>&, cudaStream_t);
template void add_three_body<5>(const LatticeCall<double, Dual<double>>&, cudaStream_t);
template void add_three_body<max_refs>(const LatticeCall<float, float>&, cudaStream_t);
template void add_three_body<max_refs>(const LatticeCall<double, double>&, cudaStream_t);
template void add_three_body<max_refs>(const LatticeCall<float, Dual<float>>&, cudaStream_t);
template void add_three_body<max_refs>(const LatticeCall<double, Dual<double>>&, cudaStream_t);

}  // namespace d3

// The three sweeps of the lattice engine on the GPU, and what lies between and after them.
#include "engine/cuda/lattice/lattice_bodies.cuh"
#include "engine/cuda/lattice/lattice_search.cuh"
#include "engine/cuda/lattice/lattice_tail.cuh"
#include "engine/cuda/lattice/lattice_three_body.cuh"

namespace d3 {

// Warps and threads of a block that sweeps, at most.
constexpr int most_warps = 8;
constexpr int sweep_threads = most_warps * warp_lanes;
// Warps of a launch from which blocks need not be wider: about twice as many as an H100 holds at a
// time (132 multiprocessors of 64 warps).
constexpr int64_t enough_warps = 16384;
// Blocks that a multiprocessor shall hold, by which the compiler limits their registers.
template <class S, bool learn = false>
constexpr int sweep_blocks = sizeof(S) == 4 && !learn ? 2 : 1;

// The three sweeps: a block for each eight atoms of a cluster. First the coordination numbers.
template <class T, class S>
__global__ void __launch_bounds__(sweep_threads, sweep_blocks<S>) count_sweep(LatticeCall<T, S> c) {
  using A = Wide<S>;
  BlockCentre<S> m;
  if (!make_centre(c, true, m)) return;
  CountBody<T, S> body(c, m);
  meet_all(c, m, c.in.range.cn_cutoff, body);
  const A totals[2] = {body.before[0], A(double(body.same))};
  const A* sums = gather(m, totals);
  if (threadIdx.x >= unsigned(m.count)) return;
  c.cn[m.place] = sums[threadIdx.x];
  if (value(sums[block_atoms + threadIdx.x]) > 1.5)
    atomicOr(&c.frames[m.system].coincident, 1u);  // it met more than itself
}

// Weights of each atom and C6 with its like, by one thread.
template <int R, class T, class S> __global__ void fill_site_weights(LatticeCall<T, S> c) {
  const int64_t p = thread_index();
  if (p >= c.n_atoms || c.state->bad) return;
  const int64_t species = (c.atoms.keys[p] >> group_shift) & ((1 << species_bits) - 1);
  const bool counted = !c.frames[c.atoms.keys[p] >> system_shift].bad;
  const Wide<S> cn = counted ? c.cn[p] : Wide<S>(0.0);
  const Wide<S> c6 = weigh<R>(c.in.tables, species, cn, c.neighbours[p].w, c.dw[p]);
  c.c6[p] = c6;
}

// Energies and their direct derivatives, at fixed CN. E = -1/2 sum C6 g; dE/dCN and dE/dx take both
// directions of each pair.
template <int R, DampingForm form, bool smooth, EnergyMode mode, class T, class S>
__global__ void __launch_bounds__(sweep_threads, sweep_blocks<S, mode == EnergyMode::learn>)
    energy_sweep(LatticeCall<T, S> c) {
  using A = Wide<S>;
  BlockCentre<S> m;
  if (!make_centre(c, false, m)) return;
  EnergyBody<T, S, form, mode, R, smooth> body(c, m);
  meet_all(c, m, c.range_of(m.system).cutoff, body);
  const A* sums = gather(m, body.before);
  const A half(-0.5);
  A* parts = c.parts + int64_t(blockIdx.x) * n_parts;
  const int t = threadIdx.x;
  if (t < m.count) {
    c.energy[m.place] = half * sums[t];
    if constexpr (mode != EnergyMode::energy) {
      c.neighbours[m.place].site.dcn = narrow<S>(-sums[of_dcn * block_atoms + t]);
      for (int k = 0; k < 3; ++k)
        c.gradient[3 * m.place + k] = sums[(of_gradient + k) * block_atoms + t];
    }
  }
  if (t == 0) parts[part_energy] = half * column_sum(sums, of_energy);
  if constexpr (mode != EnergyMode::energy)
    for (int k = t; k < 6; k += blockDim.x)
      parts[part_virial + k] = half * column_sum(sums, of_virial + k);
  if constexpr (mode == EnergyMode::learn)
    for (int k = t; k < n_parameters(form); k += blockDim.x)
      parts[part_damping + k] = half * column_sum(sums, of_damping + k);
}

// Adds the gradient through the coordination numbers, and completes virial and moment, x (x) dE/dx.
template <class T, class S>
__global__ void __launch_bounds__(sweep_threads, sweep_blocks<S>)
    count_gradient_sweep(LatticeCall<T, S> c) {
  using A = Wide<S>;
  BlockCentre<S> m;
  if (!make_centre(c, true, m)) return;
  CountGradientBody<T, S> body(c, m);
  meet_all(c, m, c.in.range.cn_cutoff, body);
  A* sums = gather(m, body.before);
  A* parts = c.parts + int64_t(blockIdx.x) * n_parts;
  const int t = threadIdx.x;
  if (t < m.count)
    for (int d = 0; d < 3; ++d) {
      sums[d * block_atoms + t] = c.gradient[3 * m.place + d] - sums[d * block_atoms + t];
      c.gradient[3 * m.place + d] = sums[d * block_atoms + t];
    }
  __syncthreads();
  for (int k = t; k < 6; k += blockDim.x) {  // the rest of the virial: see add_gradient
    const int row = k < 3 ? 0 : k < 5 ? 1 : 2, column = k < 3 ? k : k < 5 ? k - 2 : 2;
    A sum = A(0.5) * column_sum(sums, 3 + k);
    for (int i = 0; i < m.count; ++i) {
      const Site<S>& site = c.neighbours[m.first + i].site;
      sum += sums[row * block_atoms + i] * widen(column == 0   ? site.x
                                                 : column == 1 ? site.y
                                                               : site.z);
    }
    parts[part_virial + k] += sum;
  }
  for (int k = t; k < 9; k += blockDim.x) {
    A sum(0.0);
    for (int i = 0; i < m.count; ++i)
      sum += c.position(c.atoms.order[m.first + i], k / 3) * sums[k % 3 * block_atoms + i];
    parts[part_moment + k] = sum;
  }
}

// Writes the results of every atom, in the caller's order.
template <class T, class S> __global__ void write_atoms(LatticeCall<T, S> c) {
  const int64_t p = thread_index();
  if (p >= c.n_atoms) return;
  const bool bad = c.state->bad || c.frames[c.atoms.keys[p] >> system_shift].spoilt();
  const int64_t atom = c.atoms.order[p];
  const auto put = [&](T* out, const Wide<S>& x) { *out = T(bad ? not_a_number() : output(x)); };
  put(c.out.energies + atom, c.energy[p]);
  put(c.out.cn + atom, c.cn[p]);
  put(c.out.c6 + atom, c.c6[p]);
  for (int d = 0; d < 3; ++d)
    put(c.out.gradient + 3 * atom + d,
        c.in.gradients && !bad ? c.gradient[3 * p + d] : Wide<S>(0.0));
}

// Adds up the parts of a system's blocks and writes its results, by a block.
template <class T, class S> __global__ void write_systems(LatticeCall<T, S> c) {
  using A = Wide<S>;
  A* shared = shared_memory<A>();
  const int64_t b = blockIdx.x;
  const bool any = c.n_atoms > 0 && !c.state->bad && !c.frames[b].bad;  // else nobody wrote parts
  const int64_t begin = any ? c.first_cluster(b) : 0, end = any ? c.first_cluster(b + 1) : 0;
  for (int k = warp_index(); k < n_parts; k += warp_count()) {
    A sum(0.0);
    for (int64_t block = begin * blocks_of_cluster + lane_index(); block < end * blocks_of_cluster;
         block += warp_lanes)
      sum += c.parts[block * n_parts + k];
    sum = warp_sum(sum);
    if (lane_index() == 0) shared[k] = sum;
  }
  __syncthreads();
  if (threadIdx.x == 0) write_system(c, b, c.state->bad || c.frames[b].spoilt(), shared);
}

namespace {

// Warps that share the neighbours of eight atoms: many where there are few atoms, so that a card is
// filled.
inline int warps_of_block(int64_t blocks) {
  int warps = most_warps;
  while (warps > 1 && blocks * warps > enough_warps) warps /= 2;
  return warps;
}

// Shared memory of a block that sweeps.
template <class S> size_t sweep_bytes(int columns, int threads) {
  return search_bytes + sizeof(Wide<S>) * columns * block_atoms * (threads / warp_lanes);
}

// Launches the sweep of the energies in the mode that is asked for. Duals want everything.
template <int R, DampingForm form, class T, class S>
void sweep_energies(const LatticeCall<T, S>& c, int64_t blocks, int threads, cudaStream_t stream) {
  const auto run = [&](auto smooth, auto mode) {
    constexpr EnergyMode wanted = decltype(mode)::value;
    launch(energy_sweep<R, form, decltype(smooth)::value, wanted, T, S>, blocks, threads,
           sweep_bytes<S>(energy_columns<wanted, form>, threads), stream, c);
  };
  using Learn = std::integral_constant<EnergyMode, EnergyMode::learn>;
  using Gradient = std::integral_constant<EnergyMode, EnergyMode::gradient>;
  using Energies = std::integral_constant<EnergyMode, EnergyMode::energy>;
  if constexpr (!LatticeCall<T, S>::dual) {
    if (!c.in.gradients) return run(std::true_type(), Energies());
    if (!c.in.learn && c.in.range.width > 0) return run(std::true_type(), Gradient());
    if (!c.in.learn) return run(std::false_type(), Gradient());
  }
  run(std::true_type(), Learn());
}

// Launches everything between the clusters and the results of the systems.
template <int R, class T, class S> void sweep(const LatticeCall<T, S>& c, cudaStream_t stream) {
  const int64_t blocks = c.max_clusters * blocks_of_cluster,
                atom_blocks = blocks_for(c.n_atoms, lattice_threads);
  const int warps = warps_of_block(blocks), threads = warps * warp_lanes;
  const auto shared = [&](int columns) { return sweep_bytes<S>(columns, threads); };
  launch(count_sweep<T, S>, blocks, threads, shared(2), stream, c);
  launch(fill_site_weights<R, T, S>, atom_blocks, lattice_threads, 0, stream, c);
  with_form(c.in.form,
            [&](auto tag) { sweep_energies<R, decltype(tag)::value>(c, blocks, threads, stream); });
  if (c.in.three_body.cutoff > 0) add_three_body<R>(c, stream);
  if (c.in.range.tail) add_tail<R>(c, stream);
  if (c.in.gradients) launch(count_gradient_sweep<T, S>, blocks, threads, shared(9), stream, c);
  launch(write_atoms<T, S>, atom_blocks, lattice_threads, 0, stream, c);
}

// Launches a whole evaluation; tables have 5 or max_refs references, as the caller pads them.
template <class T, class S>
void evaluate_all(const LatticeInput<T>& in, const LatticeTangents<T>& tangents, int64_t n_atoms,
                  const SortedAtoms& sorted, void* scratch, cudaStream_t stream,
                  const Evaluation<T>& out) {
  LatticeCall<T, S> c{{in, tangents, out, n_atoms}, sorted};
  lay_out(c, scratch);
  check_cuda(cudaMemsetAsync(
      c.parts, 0, sizeof(Wide<S>) * n_parts * blocks_of_cluster * c.max_clusters, stream));
  if (n_atoms > 0) find_clusters(c, stream);
  if (n_atoms > 0 && in.tables.n_refs == 5) sweep<5>(c, stream);
  if (n_atoms > 0 && in.tables.n_refs == max_refs) sweep<max_refs>(c, stream);
  const int threads =
      n_atoms > many_atoms * in.systems.n_systems ? n_parts * warp_lanes : lattice_threads;
  launch(write_systems<T, S>, in.systems.n_systems, threads, sizeof(Wide<S>) * n_parts, stream, c);
}

}  // namespace

template <class T>
size_t CudaLattice<T>::scratch(const LatticeInput<T>& in, int64_t n_atoms, bool dual) {
  LatticeCall<T, T> plain{{in, {}, {}, n_atoms}};
  LatticeCall<T, Dual<T>> directed{{in, {}, {}, n_atoms}};
  return dual ? lay_out(directed, nullptr) : lay_out(plain, nullptr);
}

template <class T>
void CudaLattice<T>::evaluate(const LatticeInput<T>& in, const LatticeTangents<T>* tangents,
                              int64_t n_atoms, SortedAtoms sorted, void* scratch,
                              cudaStream_t stream, const Evaluation<T>& out) {
  if (tangents)
    evaluate_all<T, Dual<T>>(in, *tangents, n_atoms, sorted, scratch, stream, out);
  else
    evaluate_all<T, T>(in, {}, n_atoms, sorted, scratch, stream, out);
}

template size_t CudaLattice<float>::scratch(const LatticeInput<float>&, int64_t, bool);
template size_t CudaLattice<double>::scratch(const LatticeInput<double>&, int64_t, bool);
template void CudaLattice<float>::evaluate(const LatticeInput<float>&,
                                           const LatticeTangents<float>*, int64_t, SortedAtoms,
                                           void*, cudaStream_t, const Evaluation<float>&);
template void CudaLattice<double>::evaluate(const LatticeInput<double>&,
                                            const LatticeTangents<double>*, int64_t, SortedAtoms,
                                            void*, cudaStream_t, const Evaluation<double>&);

}  // namespace d3

// The three sweeps of the lattice engine on the GPU, and what lies between and after them.
#include "engine/cuda/lattice/lattice_bodies.cuh"
#include "engine/cuda/lattice/lattice_search.cuh"
#include "engine/cuda/lattice/lattice_sums.cuh"
#include "engine/cuda/lattice/lattice_tail.cuh"
#include "engine/cuda/lattice/lattice_three_body.cuh"

namespace d3 {

// Warps and threads of a block that sweeps, at most.
constexpr int most_warps = 4;
constexpr int sweep_threads = most_warps * warp_lanes;
// Warps of a launch from which blocks need not be wider: about twice as many as an H100 holds at a
// time (132 multiprocessors of 64 warps).
constexpr int64_t enough_warps = 16384;
// Blocks that a multiprocessor shall hold, by which the compiler limits their registers.
template <class S, bool learn = false>
constexpr int sweep_blocks = sizeof(S) == 4 && !learn ? 4 : 2;

// The three sweeps: a block for each eight atoms of a cluster, or some that share their neighbours.
// First the coordination numbers.
template <class T, class S>
__global__ void __launch_bounds__(sweep_threads, sweep_blocks<S>) count_sweep(LatticeCall<T, S> c) {
  using A = Wide<S>;
  BlockCentre<S> m;
  if (!make_centre(c, true, m)) return;
  CountBody<T, S> body(c, m);
  meet_all(c, m, c.in.range.cn_cutoff, body);
  const A totals[count_columns] = {body.before[0], A(double(body.same))};
  write_sums(c, m, totals);
}

// Coordination number, weights and C6 with its like of each atom, by one thread.
template <int R, class T, class S> __global__ void fill_site_weights(LatticeCall<T, S> c) {
  const int64_t p = thread_index();
  if (p >= c.n_atoms || c.state->bad) return;
  const int64_t species = (c.atoms.keys[p] >> group_shift) & ((1 << species_bits) - 1);
  const SummedAtom a = atom_at(c, p);
  const Wide<S> cn = a.here ? summed(c, a, count_columns, 0) : Wide<S>(0.0);
  if (a.here && value(summed(c, a, count_columns, 1)) > 1.5)
    atomicOr(&c.frames[a.system].coincident, 1u);  // it met more than itself
  c.cn[p] = cn;
  c.c6[p] = weigh<R>(c.in.tables, species, cn, c.neighbours[p].w, c.dw[p]);
}

// Energies and their direct derivatives, at fixed CN.
template <int R, DampingForm form, bool smooth, EnergyMode mode, class T, class S>
__global__ void __launch_bounds__(sweep_threads, sweep_blocks<S, mode == EnergyMode::learn>)
    energy_sweep(LatticeCall<T, S> c) {
  BlockCentre<S> m;
  if (!make_centre(c, false, m)) return;
  EnergyBody<T, S, form, mode, R, smooth> body(c, m);
  meet_all(c, m, c.range_of(m.system).cutoff, body);
  write_sums(c, m, body.before);
}

// The gradient through the coordination numbers.
template <class T, class S>
__global__ void __launch_bounds__(sweep_threads, sweep_blocks<S>)
    count_gradient_sweep(LatticeCall<T, S> c) {
  BlockCentre<S> m;
  if (!make_centre(c, true, m)) return;
  CountGradientBody<T, S> body(c, m);
  meet_all(c, m, c.in.range.cn_cutoff, body);
  write_sums(c, m, body.before);
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

// How the sweeps are launched: a block for each eight atoms and each split, and a thread for each
// atom of these blocks to finish.
struct SweepShape {
  int64_t blocks;
  int threads;
  int64_t finishing;
};

// Launches the sweep of the energies in the mode that is asked for. Duals want everything.
template <int R, DampingForm form, class T, class S>
void sweep_energies(const LatticeCall<T, S>& c, SweepShape shape, cudaStream_t stream) {
  const auto run = [&](auto smooth, auto mode) {
    constexpr EnergyMode wanted = decltype(mode)::value;
    constexpr int columns = energy_columns<wanted, form>;
    launch(energy_sweep<R, form, decltype(smooth)::value, wanted, T, S>, shape.blocks,
           shape.threads, sweep_bytes<S>(columns, shape.threads), stream, c);
    launch(finish_energies<T, S>, shape.finishing, lattice_threads, 0, stream, c, columns);
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
  const int64_t eights = c.max_clusters * blocks_of_cluster,
                atom_blocks = blocks_for(c.n_atoms, lattice_threads);
  const SweepShape shape{eights * c.splits, warps_of_block(eights) * warp_lanes,
                         blocks_for(eights * block_atoms, lattice_threads)};
  const auto sweep_counts = [&](auto kernel, int columns) {
    launch(kernel, shape.blocks, shape.threads, sweep_bytes<S>(columns, shape.threads), stream, c);
  };
  sweep_counts(count_sweep<T, S>, count_columns);
  launch(fill_site_weights<R, T, S>, atom_blocks, lattice_threads, 0, stream, c);
  with_form(c.in.form,
            [&](auto tag) { sweep_energies<R, decltype(tag)::value>(c, shape, stream); });
  if (c.in.three_body.cutoff > 0) add_three_body<R>(c, stream);
  if (c.in.range.tail) add_tail<R>(c, stream);
  if (c.in.gradients) {
    sweep_counts(count_gradient_sweep<T, S>, count_gradient_columns);
    launch(finish_gradients<T, S>, shape.finishing, lattice_threads, 0, stream, c);
  }
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

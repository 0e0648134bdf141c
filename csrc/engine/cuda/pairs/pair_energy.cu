// Energies of a given list on the GPU: scratch, weights, launches.
#include "engine/cuda/pairs/pair_energy.cuh"

namespace d3 {

// Warps of a block that walks rows, at most: 256 threads, as in the other kernels.
constexpr size_t most_row_warps = 8;

// Weights of every atom; and whether the table of C6 is the same from either side of a pair.
template <int R, class V, class T> __global__ void fill_weights(EnergyCall<V, T> c) {
  using X = typename V::X;
  const Tables<T>& t = c.in.tables;
  for (int64_t i = thread_index(); i < c.in.list.n_atoms; i += thread_count()) {
    const int64_t s = c.in.list.species[i];
    if (uint64_t(s) >= uint64_t(t.n_species)) continue;
    T cn_ref[R];
    for (int a = 0; a < R; ++a) cn_ref[a] = t.cn_ref[s * R + a];
    SiteWeights<X> w{}, dw{};
    reference_weights(c.cn[i], cn_ref, R, w.v, dw.v);
    c.w[i] = w;
    c.dw[i] = dw;
  }
  if (!c.grad_energy || c.own) return;
  const int64_t n = t.n_species, size = n * n * R * R;
  for (int64_t k = thread_index(); k < size; k += thread_count()) {
    const int64_t b = k % R, a = k / R % R, v = k / (R * R) % n, u = k / (R * R) / n;
    if (t.c6_ref[k] != t.c6_ref[((v * n + u) * R + b) * R + a]) atomicOr(&c.state->lopsided, 1u);
  }
}

// One block of a warp for each parameter: each adds up one component of the blocks' sums.
template <class T>
__global__ void finish_damping(const double* sums, int64_t blocks, const ListState* state, T* out) {
  double sum = 0;
  for (int64_t b = lane_index(); b < blocks; b += warp_lanes)
    sum += sums[warp_count() * b + warp_index()];
  sum = warp_sum(sum);
  if (lane_index() == 0) out[warp_index()] = state->bad ? T(not_a_number()) : T(sum);
}

namespace {

// Warps of a block that walks rows: each has a row of constants for every species in shared memory.
template <class X> int row_warps(int n_species) {
  const size_t warps =
      shared_bytes / (sizeof(SpeciesRow<X>) * size_t(n_species > 0 ? n_species : 1));
  return warps < 1 ? 1 : warps > most_row_warps ? int(most_row_warps) : int(warps);
}

// Blocks of the two walks: of a sorted list, a warp for each atom; of any list, a thread for each
// pair.
template <class V, class T> int64_t row_blocks(const EnergyCall<V, T>& c) {
  return blocks_for(c.in.list.n_atoms, row_warps<typename V::X>(c.in.tables.n_species));
}

template <class V, class T> int64_t scatter_blocks(const EnergyCall<V, T>& c) {
  return inspect_blocks(c.in.list.n_pairs, c.in.list.n_atoms);
}

// Bytes of scratch memory: at its start to be zeroed, and in all.
struct EnergySizes {
  size_t zeroed;
  size_t used;
};

// Cuts the scratch memory into the arrays of a call; with a null start it only counts.

template <class V, class T>
EnergySizes lay_out(EnergyCall<V, T>& c, void* start, bool energy, bool slopes) {
  using X = typename V::X;
  const int64_t n = c.in.list.n_atoms, rows = row_blocks(c), scattered = scatter_blocks(c);
  Arena arena(start);
  c.state = arena.take<ListState>(1);
  c.present = arena.take<int>(c.in.tables.n_species);
  c.energy = energy ? arena.take<double>(n) : nullptr;
  c.grad_cn = slopes ? arena.take<double>(n) : nullptr;
  c.block_damping =
      slopes ? arena.take<double>(most_parameters * (rows > scattered ? rows : scattered))
             : nullptr;
  const size_t zeroed = arena.used();
  c.rows = arena.take<int64_t>(n);
  c.w = arena.take<SiteWeights<X>>(n);
  c.dw = arena.take<SiteWeights<X>>(n);
  return {zeroed, arena.used()};
}

// Launches both walks; the state, which the host does not know, decides which of them works.
template <int R, DampingForm form, bool slopes, class V, class T>
void walk(EnergyCall<V, T>& c, void* memory, cudaStream_t stream, T* energy,
          EnergyGradients<T> out) {
  using X = typename V::X;
  const Pairs<T>& list = c.in.list;
  const EnergySizes sizes = lay_out(c, memory, energy != nullptr, slopes);
  const int64_t atom_blocks = blocks_for(list.n_atoms, pair_threads);
  const int warps = row_warps<X>(c.in.tables.n_species), rows_threads = warp_lanes * warps;
  const size_t shared = sizeof(SpeciesRow<X>) * c.in.tables.n_species * warps,
               sums = n_parameters(form) * sizeof(double) * pair_threads / warp_lanes;
  c.grad_vectors = out.vectors;
  check_cuda(cudaMemsetAsync(c.state, 0, sizes.zeroed, stream));
  launch(inspect<slopes, V, T>, inspect_blocks(list.n_pairs, list.n_atoms), pair_threads, 0, stream,
         list, c.vectors, c.in.tables.n_species, c.state, c.present, c.rows);
  launch(fill_weights<R, V, T>, atom_blocks, pair_threads, 0, stream, c);
  launch(energy_rows<R, form, slopes, V, T>, row_blocks(c), rows_threads,
         shared > sums ? shared : sums, stream, c);
  launch(energy_scattered<R, form, slopes, V, T>, scatter_blocks(c), pair_threads, sums, stream, c);
  if (energy)
    launch(finish<T>, atom_blocks, pair_threads, 0, stream, c.energy, list.n_atoms, c.state,
           energy);
  if (!slopes) return;
  launch(finish<T>, atom_blocks, pair_threads, 0, stream, c.grad_cn, list.n_atoms, c.state, out.cn);
  if (c.own) return;
  const int64_t blocks = row_blocks(c) > scatter_blocks(c) ? row_blocks(c) : scatter_blocks(c);
  launch(finish_damping<T>, 1, n_parameters(form) * warp_lanes, 0, stream, c.block_damping, blocks,
         c.state, out.damping);
}

// Picks the kernels for the form and the number of references, to which the caller pads the tables.
template <bool slopes, class V, class T>
void walk_any(EnergyCall<V, T> c, void* memory, cudaStream_t stream, T* energy,
              EnergyGradients<T> out) {
  with_form(c.in.form, [&](auto tag) {
    constexpr DampingForm form = decltype(tag)::value;
    if (c.in.tables.n_refs == 5)
      walk<5, form, slopes>(c, memory, stream, energy, out);
    else if (c.in.tables.n_refs == max_refs)
      walk<max_refs, form, slopes>(c, memory, stream, energy, out);
    else
      throw std::invalid_argument("d3torch: expected tables of 5 or 7 references on a GPU.");
  });
}

template <class T>
EnergyCall<PlainInput<T>, T> plain_call(const EnergyInput<T>& in, const T* grad_energy) {
  return {in, {in.list.vectors}, {in.cn}, {in.damping}, grad_energy};
}

template <class T>
EnergyCall<DualInput<T>, T> dual_call(const EnergyInput<T>& in, const T* grad_energy,
                                      EnergyTangents<T> t) {
  return {in, {in.list.vectors, t.vectors}, {in.cn, t.cn}, {in.damping, t.damping}, grad_energy};
}

}  // namespace

template <class T> size_t CudaEnergy<T>::scratch(const EnergyInput<T>& in) {
  auto call = dual_call(in, static_cast<const T*>(nullptr), {});
  return lay_out(call, nullptr, true, true).used;
}

template <class T>
void CudaEnergy<T>::forward(const EnergyInput<T>& in, void* scratch, cudaStream_t stream,
                            T* energy) {
  walk_any<false>(plain_call<T>(in, nullptr), scratch, stream, energy, EnergyGradients<T>{});
}

template <class T>
void CudaEnergy<T>::by_centre(const EnergyInput<T>& in, void* scratch, cudaStream_t stream,
                              ByCentre<T> out) {
  auto call = plain_call<T>(in, nullptr);
  call.own = true;
  const EnergyGradients<T> slopes{out.vectors, out.by_cn, nullptr};
  walk_any<true>(call, scratch, stream, out.energies, slopes);
}

template <class T>
void CudaEnergy<T>::backward(const EnergyInput<T>& in, void* scratch, cudaStream_t stream,
                             const T* grad_energy, EnergyGradients<T> out) {
  walk_any<true>(plain_call(in, grad_energy), scratch, stream, static_cast<T*>(nullptr), out);
}

template <class T>
void CudaEnergy<T>::double_backward(const EnergyInput<T>& in, void* scratch, cudaStream_t stream,
                                    const T* grad_energy, EnergyTangents<T> tangents,
                                    T* grad_grad_energy, EnergyGradients<T> out) {
  walk_any<true>(dual_call(in, grad_energy, tangents), scratch, stream, grad_grad_energy, out);
}

template struct CudaEnergy<float>;
template struct CudaEnergy<double>;

}  // namespace d3

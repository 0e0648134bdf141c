// Coordination numbers of a given list on the GPU: a warp for each atom.
#include "engine/cuda/pairs/pair_list.cuh"
#include "engine/cuda/pairs/pairs_cuda.h"

namespace d3 {

// Adds the counts (when `sums`) and writes grad_vectors (when given). Without a state the list is
// taken as it comes: for gradients alone the order does not matter.
template <class V, class T>
__global__ void count_rows(CountingInput<T> in, V vectors, const ListState* state,
                           const int64_t* rows, double* sums, const T* grad_cn, T* grad_vectors) {
  using X = typename V::X;
  const Pairs<T>& list = in.list;
  const bool sorted = state && state->sorted();
  const int64_t warp = thread_index() / warp_lanes,
                warps = sorted ? list.n_atoms : thread_count() / warp_lanes;
  if (warp >= warps) return;
  const Chunk chunk = chunk_of(list, rows, sorted, warp, warps);
  double sum = 0;
  for (int64_t p = chunk.begin + lane_index(); p < chunk.end; p += warp_lanes) {
    const Ends e = ends_of(list, sorted ? warp : list.centre[p], list.neighbour[p], in.n_species);
    const Vector3<X> r = vector_at(vectors, p);
    const X r2 = squared_length(r);
    if (!e.ok || beyond(value(r2), in.cutoff)) {
      if (grad_vectors) store_same(e.ok ? T(0) : T(not_a_number()), grad_vectors + 3 * p);
      continue;
    }
    const Counted<X> f = counting(r2, in.rcov[e.s_i] + in.rcov[e.s_j]);
    if (grad_vectors) store(X(grad_cn[e.i]) * f.slope_over_r, r, grad_vectors + 3 * p);
    if (!sums) continue;
    if (sorted)
      sum += output(f.value);
    else
      atomicAdd(sums + e.i, output(f.value));
  }
  if (!sums || !sorted) return;
  sum = warp_sum(sum);
  if (lane_index() == 0) sums[warp] = sum;
}

namespace {

// Scratch memory of a call: state, sums of the atoms, first pair of each atom.
struct CountScratch {
  ListState* state;
  double* sums;
  int64_t* rows;
  size_t zeroed;  // bytes at the start to be zeroed
  size_t used;    // bytes in all
  CountScratch(void* start, int64_t n_atoms) {
    Arena arena(start);
    state = arena.take<ListState>(1);
    sums = arena.take<double>(n_atoms);
    zeroed = arena.used();
    rows = arena.take<int64_t>(n_atoms);
    used = arena.used();
  }
};

template <class V, class T>
void count(const CountingInput<T>& in, V vectors, void* memory, cudaStream_t stream, T* cn,
           const T* grad_cn, T* grad_vectors) {
  const Pairs<T>& list = in.list;
  const CountScratch s(memory, list.n_atoms);
  check_cuda(cudaMemsetAsync(s.state, 0, s.zeroed, stream));
  launch(inspect<false, V, T>, inspect_blocks(list.n_pairs, list.n_atoms), pair_threads, 0, stream,
         list, vectors, in.n_species, s.state, nullptr, s.rows);
  launch(count_rows<V, T>, blocks_for(list.n_atoms, pair_threads / warp_lanes), pair_threads, 0,
         stream, in, vectors, s.state, s.rows, s.sums, grad_cn, grad_vectors);
  launch(finish<T>, blocks_for(list.n_atoms, pair_threads), pair_threads, 0, stream, s.sums,
         list.n_atoms, s.state, cn);
}

}  // namespace

template <class T> size_t CudaCounting<T>::scratch(const CountingInput<T>& in) {
  return CountScratch(nullptr, in.list.n_atoms).used;
}

template <class T>
void CudaCounting<T>::forward(const CountingInput<T>& in, void* scratch, cudaStream_t stream,
                              T* cn) {
  count(in, PlainInput<T>{in.list.vectors}, scratch, stream, cn, static_cast<const T*>(nullptr),
        static_cast<T*>(nullptr));
}

template <class T>
void CudaCounting<T>::backward(const CountingInput<T>& in, cudaStream_t stream, const T* grad_cn,
                               T* grad_vectors) {
  launch(count_rows<PlainInput<T>, T>, blocks_for(in.list.n_pairs, 4 * pair_threads), pair_threads,
         0, stream, in, PlainInput<T>{in.list.vectors}, nullptr, nullptr, nullptr, grad_cn,
         grad_vectors);
}

template <class T>
void CudaCounting<T>::double_backward(const CountingInput<T>& in, void* scratch,
                                      cudaStream_t stream, const T* grad_cn,
                                      const T* tangent_vectors, T* grad_grad_cn, T* grad_vectors) {
  count(in, DualInput<T>{in.list.vectors, tangent_vectors}, scratch, stream, grad_grad_cn, grad_cn,
        grad_vectors);
}

template struct CudaCounting<float>;
template struct CudaCounting<double>;

}  // namespace d3

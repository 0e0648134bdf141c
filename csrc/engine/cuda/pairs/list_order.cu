// A given list before it is walked: cells, atoms, checks of the indices, and the order of its
// pairs.
#include "engine/cuda/pairs/list_call.cuh"

namespace d3 {

// Threads of the only block that sums up the pairs of the atoms.
constexpr int scan_threads = 1024;

// The frame of each system, by one thread; also checks the offsets.
template <class T, class S> __global__ void make_list_frames(ListCall<T, S> c) {
  const int64_t b = thread_index();
  if (b >= c.in.systems.n_systems) return;
  ListFrame f;
  f.bad = !read_cell(c.in.systems, b, f);
  for (int kind = 0; kind < pair_kinds; ++kind) {
    f.any[kind] = 0;
    f.hash[kind] = 0;
  }
  c.frames[b] = f;
  if (!offsets_rise(c.in.systems, b, c.n_atoms)) atomicOr(&c.state->bad, 1u);
}

// The first directed pair, in a list whose centres rise, whose centre is i or more.
template <class T> __device__ inline int first_pair(const GivenPairs<T>& pairs, int64_t i) {
  int64_t low = 0, high = pairs.n_pairs;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (pairs.centre[middle] < i)
      low = middle + 1;
    else
      high = middle;
  }
  return int(low);
}

// An atom as its pairs read it. What is wrong with it spoils its system, or with its species all.
template <class T, class S> __device__ void make_site(const ListCall<T, S>& c, int64_t i) {
  const int64_t system = system_of(c.in.systems.offsets, c.in.systems.n_systems, i),
                species = c.in.systems.species[i];
  const bool known = uint64_t(species) < uint64_t(c.in.tables.n_species);
  const ListSite<Wide<S>> site{c.position(i, 0), c.position(i, 1), c.position(i, 2),
                               known ? int(species) : 0, int(system)};
  const double size = fabs(value(site.x)) + fabs(value(site.y)) + fabs(value(site.z));
  c.sites[i] = site;
  if (!(size <= std::numeric_limits<double>::max())) atomicOr(&c.frames[system].bad, 1u);
  if (known)
    atomicOr(c.present + species, 1);
  else
    atomicOr(&c.state->bad, 1u);
}

// Looks at all indices; makes the sites; and the first pair of every atom, as if centres rose.
template <class T, class S> __global__ void inspect_list(ListCall<T, S> c) {
  const GivenPairs<T>& pairs = c.pairs;
  const uint64_t n = uint64_t(c.n_atoms);
  bool loose = false, bad = false;
  for (int64_t p = thread_index(); p < pairs.n_pairs; p += thread_count()) {
    const int64_t i = pairs.centre[p], j = pairs.neighbour[p];
    loose = loose || (p > 0 && pairs.centre[p - 1] > i);
    bad = bad || uint64_t(i) >= n || uint64_t(j) >= n;
  }
  for (int64_t i = thread_index(); i < c.n_atoms; i += thread_count()) {
    make_site(c, i);
    c.rows[i] = first_pair(pairs, i);
    c.cursor[i] = 0;
  }
  if (thread_index() == 0) c.rows[c.n_atoms] = int(pairs.n_pairs);
  if (loose) atomicOr(&c.state->loose, 1u);
  if (bad) atomicOr(&c.state->bad, 1u);
}

// Whether there are pairs to be put in order.
template <class T, class S> __device__ inline bool to_order(const ListCall<T, S>& c) {
  return c.loose() && !c.state->bad;
}

// Counts the pairs of the atoms.
template <class T, class S> __global__ void count_centres(ListCall<T, S> c) {
  if (!to_order(c)) return;
  for (int64_t q = thread_index(); q < c.pairs.n_directed(); q += thread_count())
    atomicAdd(c.cursor + c.pairs.centre_of(q), 1);
}

// Running sums of these counts, by one block: the first pair of each atom.
template <class T, class S> __global__ void sum_centres(ListCall<T, S> c) {
  if (!to_order(c)) return;
  int* shared = shared_memory<int>();
  const int64_t each = blocks_for(c.n_atoms, scan_threads), begin = each * threadIdx.x,
                end = begin + each < c.n_atoms ? begin + each : c.n_atoms;
  int sum = 0;
  for (int64_t i = begin; i < end; ++i) sum += c.cursor[i];
  shared[threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.x == 0)
    for (int t = 0, before = 0; t < scan_threads; ++t) {
      const int here = shared[t];
      shared[t] = before;
      before += here;
    }
  __syncthreads();
  sum = shared[threadIdx.x];
  for (int64_t i = begin; i < end; ++i) {
    const int here = c.cursor[i];
    c.rows[i] = c.cursor[i] = sum;
    sum += here;
  }
  if (threadIdx.x == 0) c.rows[c.n_atoms] = int(c.pairs.n_directed());
}

// Puts every pair to those of its atom, as they happen to come.
template <class T, class S> __global__ void place_pairs(ListCall<T, S> c) {
  if (!to_order(c)) return;
  for (int64_t q = thread_index(); q < c.pairs.n_directed(); q += thread_count())
    c.placed[atomicAdd(c.cursor + c.pairs.centre_of(q), 1)] = int(q);
}

// Sorts the pairs of each atom, by a block: each goes behind those with a lower number.
template <class T, class S> __global__ void sort_rows(ListCall<T, S> c) {
  if (!to_order(c)) return;
  for (int64_t i = blockIdx.x; i < c.n_atoms; i += gridDim.x) {
    const int begin = c.rows[i], end = c.rows[i + 1];
    for (int k = begin + int(threadIdx.x); k < end; k += int(blockDim.x)) {
      const int mine = c.placed[k];
      int lower = 0;
      for (int other = begin; other < end; ++other) lower += c.placed[other] < mine;
      c.order[begin + lower] = mine;
    }
  }
}

template <class T, class S> void prepare_list(const ListCall<T, S>& c, cudaStream_t stream) {
  const auto filling = [](int64_t n) {
    const int64_t blocks = blocks_for(n, list_threads);
    return blocks < most_list_blocks ? blocks : most_list_blocks;
  };
  const int64_t directed = c.pairs.n_directed(), n = c.n_atoms,
                rows = n < most_list_blocks ? n : most_list_blocks;
  check_cuda(cudaMemsetAsync(c.state, 0, sizeof(CallState), stream));
  check_cuda(cudaMemsetAsync(c.present, 0, sizeof(int) * c.in.tables.n_species, stream));
  launch(make_list_frames<T, S>, blocks_for(c.in.systems.n_systems, list_threads), list_threads, 0,
         stream, c);
  launch(inspect_list<T, S>, filling(directed > n ? directed : n), list_threads, 0, stream, c);
  if (n == 0) return;
  launch(count_centres<T, S>, filling(directed), list_threads, 0, stream, c);
  launch(sum_centres<T, S>, 1, scan_threads, scan_threads * sizeof(int), stream, c);
  launch(place_pairs<T, S>, filling(directed), list_threads, 0, stream, c);
  launch(sort_rows<T, S>, rows, list_threads, 0, stream, c);
}

template void prepare_list(const ListCall<float, float>&, cudaStream_t);
template void prepare_list(const ListCall<double, double>&, cudaStream_t);
template void prepare_list(const ListCall<float, Dual<float>>&, cudaStream_t);
template void prepare_list(const ListCall<double, Dual<double>>&, cudaStream_t);

}  // namespace d3

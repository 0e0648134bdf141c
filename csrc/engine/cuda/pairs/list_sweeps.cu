// The three sweeps over a given list on the GPU, and the results.
#include "engine/cuda/pairs/list_rows.cuh"
#include "engine/cuda/pairs/pair_list.cuh"
#include "engine/cuda/pairs/species_row.cuh"

namespace d3 {

// Warps of a launch from which an atom needs no more than one: as many as an H100 holds at a time,
// 132 multiprocessors of 64. And pairs of a lane, at least, where an atom gets more.
constexpr int64_t enough_row_warps = 8448;
constexpr int64_t least_lane_pairs = 4;
// Blocks that a multiprocessor shall hold, by which the compiler limits their registers.
template <class T, class S, bool learn = false>
constexpr int row_blocks = !std::is_same_v<S, T> ? 2
                           : learn               ? 3
                                                 : 4;

// What is wrong with the pairs of a lane, and the hash of those that must have their reverse.
struct PairFindings {
  bool bad = false;
  bool any[pair_kinds] = {};
  unsigned long long hash[pair_kinds] = {};
};

// Whether a shift is a whole number of cells, and 0 along an axis that is not periodic.
__device__ inline bool is_shift(double x, bool periodic) {
  return rint(x) == x && fabs(x) <= farthest && (periodic || x == 0);
}

// Looks at a pair. Those near the end of the larger cutoff may lack their reverse: hosts round
// there.
template <class T, class S>
__device__ inline void check_pair(const RowCentre<T, S>& m, const DirectedPair& pair,
                                  const ListSite<Wide<S>>& other, T r2, PairFindings& found) {
  const double (&s)[3] = pair.shift;
  const bool same = other.system == m.site.system;
  if (!same) atomicOr(&m.call.frames[other.system].bad, 1u);
  found.bad = found.bad || !same || r2 <= m.call.same2 || !is_shift(s[0], m.periodic[0]) ||
              !is_shift(s[1], m.periodic[1]) || !is_shift(s[2], m.periodic[2]);
  if (r2 > m.call.reverse_reach2 || pair.reversed) return;
  const unsigned long long hash =
      pair_hash(m.atom, pair.j, s[0], s[1], s[2]) - pair_hash(pair.j, m.atom, -s[0], -s[1], -s[2]);
  const bool image = pair.j == m.atom;
  found.any[0] = found.any[0] || !image;
  found.any[1] = found.any[1] || image;
  found.hash[0] += image ? 0 : hash;
  found.hash[1] += image ? hash : 0;
}

// Tells the system what the lanes of a warp have found.
__device__ inline void tell(const PairFindings& found, ListFrame& frame) {
  if (__any_sync(all_lanes, found.bad) && lane_index() == 0) atomicOr(&frame.bad, 1u);
  for (int kind = 0; kind < pair_kinds; ++kind) {
    if (!__any_sync(all_lanes, found.any[kind])) continue;
    unsigned long long hash = found.hash[kind];
    for (int step = warp_lanes / 2; step > 0; step /= 2)
      hash += __shfl_xor_sync(all_lanes, hash, step);
    if (lane_index() > 0) continue;
    atomicOr(&frame.any[kind], 1u);
    atomicAdd(&frame.hash[kind], hash);
  }
}

// Coordination numbers; and whether the pairs are such as there can be.
template <class T, class S>
__global__ void __launch_bounds__(row_threads, row_blocks<T, S>)
    count_list(ListCall<T, S> c, int warps) {
  if (c.state->bad) return;
  const RowCentre<T, S> m(c, warps);
  const T rcov = c.in.tables.rcov[m.site.species], cutoff = c.in.range.cn_cutoff;
  RowSums<S, 1> sums;
  PairFindings found;
  m.for_pairs([&](const DirectedPair& pair, const ListSite<Wide<S>>& other, const Vector3<S>& r) {
    const S r2 = r.norm2();
    check_pair(m, pair, other, value(r2), found);
    if (beyond(value(r2), cutoff)) return;
    sums.now[0] += counting(r2, rcov + c.in.tables.rcov[other.species]).value;
    sums.added();
  });
  tell(found, c.frames[m.site.system]);
  const Wide<S> cn = m.gather(sums.totals());
  if (m.has(1)) c.cn[m.atom] = cn;
}

// Weights of each atom and C6 with its like, by one thread.
template <int R, class T, class S> __global__ void weigh_atoms(ListCall<T, S> c) {
  const int64_t i = thread_index();
  if (i >= c.n_atoms || c.state->bad) return;
  const Wide<S> c6 = weigh<R>(c.in.tables, c.sites[i].species, c.cn[i], c.w[i], c.dw[i]);
  c.c6[i] = c6;
}

// The constants of an atom against the species that occur, by its threads.
template <int R, DampingForm form, class T, class S>
__device__ void fill_rows(const RowCentre<T, S>& m, SpeciesRow<S>* rows) {
  const ListCall<T, S>& c = m.call;
  Wide<S> parameters[n_parameters(form)];
  for (int k = 0; k < n_parameters(form); ++k) parameters[k] = c.damping(m.site.system, k);
  fill_species_rows<R, form>(c.in.tables, c.present, c.w[m.atom], c.dw[m.atom], parameters,
                             m.site.species, m.column(), m.threads, rows);
}

// What a column of pair_sums.h is to be multiplied with: E = -1/2 sum C6 g over directed pairs, and
// dE/dCN and dE/dx take both directions of each.
__device__ inline double weight_of(int column) {
  if (column == of_dcn) return -1;
  return of_gradient <= column && column < of_virial ? 1 : -0.5;
}

// Energies and their direct derivatives, at fixed CN.
template <int R, DampingForm form, EnergyMode mode, class T, class S>
__global__ void __launch_bounds__(row_threads, row_blocks<T, S, mode == EnergyMode::learn>)
    energy_list(ListCall<T, S> c, int warps) {
  if (c.state->bad) return;
  constexpr int n = energy_columns<mode, form>;
  const RowCentre<T, S> m(c, warps);
  const int atoms = int(blockDim.x) / m.threads, mine = int(threadIdx.x) / m.threads;
  SpeciesRow<S>* rows =
      reinterpret_cast<SpeciesRow<S>*>(shared_memory<Wide<S>>() + n * warps * atoms) +
      mine * c.in.tables.n_species;
  fill_rows<R, form>(m, rows);
  __syncthreads();
  const Cutoff<T> cutoff{c.in.range.cutoff, c.in.range.width};
  RowSums<S, n> sums;
  m.for_pairs([&](const DirectedPair& pair, const ListSite<Wide<S>>& other, const Vector3<S>& r) {
    const S r2 = r.norm2();
    if (beyond(value(r2), cutoff.cutoff)) return;
    const SpeciesRow<S>& row = rows[other.species];
    const SiteWeights<S> w = c.w[pair.j];
    S dc6(T(0));
    if constexpr (mode != EnergyMode::energy) dc6 = dot(row.dc6, w.v, R);
    const PairTerm<form, S> term{dot(row.c6, w.v, R), switched<form>(row.damping, r2, cutoff)};
    add_columns<mode, true>(term, dc6, row.damping, r, r, sums.now);
    sums.added();
  });
  const Wide<S> sum = Wide<S>(weight_of(m.column())) * m.gather(sums.totals());
  if (!m.has(n)) return;
  c.column(m.column(), m.atom) = sum;
  if (m.column() == of_dcn) c.dcn[m.atom] = narrow<S>(sum);
}

// Adds the gradient through the coordination numbers, and its virial.
template <class T, class S>
__global__ void __launch_bounds__(row_threads, row_blocks<T, S>)
    count_gradient_list(ListCall<T, S> c, int warps) {
  if (c.state->bad) return;
  const RowCentre<T, S> m(c, warps);
  const T rcov = c.in.tables.rcov[m.site.species], cutoff = c.in.range.cn_cutoff;
  const S dcn = c.dcn[m.atom];
  RowSums<S, 9> sums;
  m.for_pairs([&](const DirectedPair& pair, const ListSite<Wide<S>>& other, const Vector3<S>& r) {
    const S r2 = r.norm2();
    if (beyond(value(r2), cutoff)) return;
    const S slope = counting(r2, rcov + c.in.tables.rcov[other.species]).slope_over_r;
    add_gradient<true>(slope * (dcn + c.dcn[pair.j]), r, r, sums.now, sums.now + 3);
    sums.added();
  });
  const int k = m.column();
  const Wide<S> sum = Wide<S>(k < 3 ? -1.0 : 0.5) * m.gather(sums.totals());
  if (m.has(9)) c.column(of_gradient + k, m.atom) += sum;
}

// Writes the results of every atom.
template <class T, class S> __global__ void write_list_atoms(ListCall<T, S> c) {
  const int64_t i = thread_index();
  if (i >= c.n_atoms) return;
  const bool bad = c.state->bad || c.frames[c.sites[i].system].spoilt(c.pairs.half);
  const auto put = [&](T* out, const Wide<S>& x) { *out = T(bad ? not_a_number() : output(x)); };
  put(c.out.energies + i, c.column(of_energy, i));
  put(c.out.cn + i, c.cn[i]);
  put(c.out.c6 + i, c.c6[i]);
  for (int d = 0; d < 3; ++d)
    put(c.out.gradient + 3 * i + d,
        c.in.gradients && !bad ? c.column(of_gradient + d, i) : Wide<S>(0.0));
}

// What an atom adds to a part of its system. Moments are taken from the first atom, which changes
// nothing, as the gradients of all atoms add up to 0, and keeps digits far from the origin.
template <class T, class S>
__device__ Wide<S> part_of(const ListCall<T, S>& c, int part, int64_t i, int64_t first) {
  if (part == part_energy) return c.column(of_energy, i);
  if (part < part_moment) return c.column(of_virial + part - part_virial, i);
  if (part >= part_damping) return c.column(of_damping + part - part_damping, i);
  const int row = (part - part_moment) / 3, column = (part - part_moment) % 3;
  return (c.position(i, row) - c.position(first, row)) * c.column(of_gradient + column, i);
}

// Adds up a system's atoms and writes its results, by a block.
template <class T, class S> __global__ void write_list_systems(ListCall<T, S> c) {
  using A = Wide<S>;
  A* shared = shared_memory<A>();
  const int64_t b = blockIdx.x, first = c.in.systems.offsets[b];
  const int64_t end = c.state->bad ? first : c.in.systems.offsets[b + 1];
  const int computed = c.in.learn       ? part_damping + c.in.n_damping()
                       : c.in.gradients ? int(part_damping)
                                        : part_energy + 1;
  for (int k = warp_index(); k < n_parts; k += warp_count()) {
    A sum(0.0);
    for (int64_t i = first + lane_index(); i < end && k < computed; i += warp_lanes)
      sum += part_of(c, k, i, first);
    sum = warp_sum(sum);
    if (lane_index() == 0) shared[k] = sum;
  }
  __syncthreads();
  const bool bad = c.state->bad || c.frames[b].spoilt(c.pairs.half);
  if (threadIdx.x == 0) write_system(c, b, bad, shared);
}

namespace {

// How a sweep is launched: warps that share an atom, and atoms of a block.
struct RowShape {
  int warps;
  int atoms;
  int64_t blocks;
  int threads() const { return warps * atoms * warp_lanes; }
};

// Many warps share an atom where there are few atoms, so that a card is filled. `bytes` of shared
// memory go to each atom beside the sums of the warps.
template <class T, class S> RowShape shape_of(const ListCall<T, S>& c, size_t bytes) {
  int warps = 1;
  while (warps < most_row_warps && 2 * warps * c.n_atoms <= enough_row_warps &&
         c.pairs.n_directed() >= 2 * warps * warp_lanes * least_lane_pairs * c.n_atoms)
    warps *= 2;
  const size_t room = shared_bytes - sizeof(Wide<S>) * n_list_columns * most_row_warps;
  int atoms = most_row_warps / warps;
  while (atoms > 1 && atoms * bytes > room) --atoms;
  return {warps, atoms, blocks_for(c.n_atoms, atoms)};
}

template <class S> size_t row_sums_bytes(const RowShape& shape, int columns) {
  return sizeof(Wide<S>) * columns * shape.warps * shape.atoms;
}

// Launches the sweep of the energies in the mode that is asked for. Duals want everything.
template <int R, DampingForm form, class T, class S>
void sweep_energies(const ListCall<T, S>& c, cudaStream_t stream) {
  const size_t bytes = sizeof(SpeciesRow<S>) * c.in.tables.n_species;
  const RowShape shape = shape_of(c, bytes);
  const auto run = [&](auto mode) {
    constexpr EnergyMode wanted = decltype(mode)::value;
    launch(energy_list<R, form, wanted, T, S>, shape.blocks, shape.threads(),
           row_sums_bytes<S>(shape, energy_columns<wanted, form>) + shape.atoms * bytes, stream, c,
           shape.warps);
  };
  if constexpr (!ListCall<T, S>::dual) {
    if (!c.in.gradients) return run(std::integral_constant<EnergyMode, EnergyMode::energy>());
    if (!c.in.learn) return run(std::integral_constant<EnergyMode, EnergyMode::gradient>());
  }
  run(std::integral_constant<EnergyMode, EnergyMode::learn>());
}

// Launches everything between the order of the pairs and the results of the systems.
template <int R, class T, class S> void sweep(const ListCall<T, S>& c, cudaStream_t stream) {
  const int64_t atom_blocks = blocks_for(c.n_atoms, list_threads);
  const RowShape shape = shape_of(c, 0);
  launch(count_list<T, S>, shape.blocks, shape.threads(), row_sums_bytes<S>(shape, 1), stream, c,
         shape.warps);
  launch(weigh_atoms<R, T, S>, atom_blocks, list_threads, 0, stream, c);
  with_form(c.in.form, [&](auto tag) { sweep_energies<R, decltype(tag)::value>(c, stream); });
  if (c.in.gradients)
    launch(count_gradient_list<T, S>, shape.blocks, shape.threads(), row_sums_bytes<S>(shape, 9),
           stream, c, shape.warps);
  launch(write_list_atoms<T, S>, atom_blocks, list_threads, 0, stream, c);
}

template <class S, class T, class I>
ListCall<T, S> call_of(const ListInput<T, I>& in, int64_t n_atoms) {
  constexpr bool wide = sizeof(I) == 8;
  const double longest = in.in.range.farthest(), reach = (1 - reverse_margin) * longest;
  return {{in.in, {}, {}, n_atoms},
          {{in.centre, wide}, {in.neighbour, wide}, in.shifts, in.shift_kind, in.n_pairs, in.half},
          T(reach * reach),
          T(same_spot_distance2 * (1 + reverse_margin) * longest * longest)};
}

template <class T, class S>
void evaluate_list(ListCall<T, S> c, void* scratch, cudaStream_t stream) {
  lay_out(c, scratch);
  prepare_list(c, stream);
  if (c.in.tables.n_refs == 5)
    sweep<5>(c, stream);
  else if (c.in.tables.n_refs == max_refs)
    sweep<max_refs>(c, stream);
  else
    throw std::invalid_argument("d3torch: expected tables of 5 or 7 references on a GPU.");
  const int threads =
      c.n_atoms > many_atoms * c.in.systems.n_systems ? n_parts * warp_lanes : list_threads;
  launch(write_list_systems<T, S>, c.in.systems.n_systems, threads, sizeof(Wide<S>) * n_parts,
         stream, c);
}

}  // namespace

template <class T, class I>
size_t CudaList<T, I>::scratch(const ListInput<T, I>& in, int64_t n_atoms, bool dual) {
  auto plain = call_of<T>(in, n_atoms);
  auto directed = call_of<Dual<T>>(in, n_atoms);
  return dual ? lay_out(directed, nullptr) : lay_out(plain, nullptr);
}

template <class T, class I>
void CudaList<T, I>::evaluate(const ListInput<T, I>& in, const LatticeTangents<T>* tangents,
                              int64_t n_atoms, void* scratch, cudaStream_t stream,
                              const Evaluation<T>& out) {
  const auto run = [&](auto call) {
    call.out = out;
    if (tangents) call.tangents = *tangents;
    evaluate_list(call, scratch, stream);
  };
  if (tangents)
    run(call_of<Dual<T>>(in, n_atoms));
  else
    run(call_of<T>(in, n_atoms));
}

template struct CudaList<float, int>;
template struct CudaList<float, int64_t>;
template struct CudaList<double, int>;
template struct CudaList<double, int64_t>;

}  // namespace d3

// The kernels over sorted pair lists whose vectors are given: see RowKernels in pairs/rows.h.
#pragma once
#include "engine/simd/row_kernel.h"

namespace d3 {
namespace D3_ISA {

// ---- reading a list ----

// How many of the next pairs, `most` at most, have this centre.
template <class I> D3_INLINE int pairs_of(const I* centre, int most, I i) {
  constexpr int step = 16;
  int k = 0;
  for (; k + step <= most; k += step) {
    I different = 0;
    for (int lane = 0; lane < step; ++lane) different |= centre[k + lane] ^ i;
    if (different) break;
  }
  while (k < most && centre[k] == i) ++k;
  return k;
}

// Reads the neighbours of pairs [p, p + b.n). Says whether all are atoms.
template <class K, class T, class V, class I>
D3_INLINE bool read_neighbours(const RowList<V, I>& list, int64_t p, PairBlock<K, T>& b) {
  using U = std::make_unsigned_t<I>;
  const I* neighbour = list.neighbour + p;
  const U last = U(list.n_atoms - 1);
  U outside = 0;  // its upper bit: below 0, or above the last
  for (int k = 0; k < b.n; ++k) {
    outside |= U(neighbour[k]) | (last - U(neighbour[k]));
    b.neighbour[k] = int32_t(neighbour[k]);
  }
  return outside >> (8 * sizeof(I) - 1) == 0;
}

template <class T, class V> D3_INLINE void split(const V* vectors, int n, T* x, T* y, T* z) {
  for (int k = 0; k < n; ++k) {
    x[k] = T(vectors[3 * k]);
    y[k] = T(vectors[3 * k + 1]);
    z[k] = T(vectors[3 * k + 2]);
  }
}

// Asks for the memory of the pairs that come after [p, p + n).
template <class V, class I> D3_INLINE void ask_ahead(const RowList<V, I>& list, int64_t p, int n) {
  const auto ask = [&](const auto* from, int numbers) D3_LAMBDA {
    const char* bytes = reinterpret_cast<const char*>(from + numbers * (p + pairs_ahead));
    for (int k = 0; k < n * numbers * int(sizeof(*from)); k += 64) __builtin_prefetch(bytes + k);
  };
  ask(list.vectors, 3);
  ask(list.centre, 1);
  ask(list.neighbour, 1);
}

// Reads pairs [p, p + b.n) of centre i. Says whether their neighbours are atoms.
template <class K, class T, class V, class I>
D3_INLINE bool read(const RowList<V, I>& list, const RowAtoms<T>& atoms, I i, int64_t p,
                    PairBlock<K, T>& b) {
  ask_ahead(list, p, b.n);
  split(list.vectors + 3 * p, b.n, b.x.values, b.y.values, b.z.values);
  if constexpr (!std::is_same_v<typename K::X, Vec<T>>)
    split(list.tangents + 3 * p, b.n, b.x.tangents, b.y.tangents, b.z.tangents);
  b.measure();
  if (!read_neighbours(list, p, b)) return false;
  if (atoms.absent) b.hide(atoms.slot, atoms.slot[i] < 0);
  return true;
}

// Calls start(i), take(b, p) for each block of the row, finish(i), for the rows of a span. `take`
// says whether the block is good.
template <class K, class T, class V, class I, class Start, class Take, class Finish>
D3_INLINE RowEnd for_rows(const RowList<V, I>& list, const RowAtoms<T>& atoms, RowSpan span,
                          Start&& start, Take&& take, Finish&& finish) {
  PairBlock<K, T> b;
  int64_t p = span.begin;
  while (p < span.end && p - span.begin < span.most) {
    const I i = list.centre[p];
    if (p > 0 && list.centre[p - 1] >= i) return {RowEnd::unsorted, p};
    if (i < 0 || i >= list.n_atoms) return {RowEnd::bad, p};
    start(i);
    do {
      b.n = pairs_of(list.centre + p, int(std::min<int64_t>(block_pairs, span.end - p)), i);
      const int n = b.n;
      if (!read(list, atoms, i, p, b) || !take(b, p)) return {RowEnd::bad, p};
      p += n;
    } while (p < span.end && list.centre[p] == i);
    finish(i);
  }
  return {RowEnd::good, p};
}

// ---- writing vectors ----

// out = f r for n pairs; in a dual sweep its tangent. A factor of 0 is that of a pair beyond the
// cutoff, which may be infinitely far.
template <class V, class T> D3_INLINE void write_scaled(const T* f, const V* r, int n, V* out) {
  for (int k = 0; k < n; ++k)
    for (int d = 0; d < 3; ++d) out[3 * k + d] = f[k] == T(0) ? V(0) : V(f[k] * T(r[3 * k + d]));
}
template <class V, class T>
D3_INLINE void write_scaled(const T* f, const T* f_along, const V* r, const V* r_along, int n,
                            V* out) {
  for (int k = 0; k < n; ++k) {
    const bool beyond = f[k] == T(0) && f_along[k] == T(0);
    for (int d = 0; d < 3; ++d)
      out[3 * k + d] =
          beyond ? V(0) : V(f[k] * T(r_along[3 * k + d]) + f_along[k] * T(r[3 * k + d]));
  }
}

// Factors f of the vectors f r of a run of pairs, which are collected over several rows before
// these are written.
template <class K, class T, class V, class I> struct Factors {
  static constexpr int room = 2 * block_pairs + register_bytes / int(sizeof(T));
  typename K::template Column<room> f;
  const RowList<V, I>& list;
  V* out;
  int64_t begin;  // pair of f[0]
  int n = 0;

  D3_INLINE Factors(const RowList<V, I>& given, V* to, int64_t first)
      : list(given), out(to), begin(first) {}

  // Makes room for the pairs of a block that had `size` before it was packed; returns the place of
  // the first of them.
  D3_INLINE int add(int size, bool packed) {
    if (n + size > 2 * block_pairs) write();
    const int at = n;
    n += size;
    if (packed)
      for (int k = 0; k < size; k += Vec<T>::size) f.store(at + k, typename K::X(Vec<T>(T(0))));
    return at;
  }

  // Puts the factors of a block, which are in its column u, to their places.
  D3_INLINE void put(const PairBlock<K, T>& b, int at) {
    if (!b.packed) {
      for (int k = 0; k < b.n; k += Vec<T>::size) f.store(at + k, b.u.load(k));
      return;
    }
    for (int k = 0; k < b.n; ++k) f.values[at + b.place[k]] = b.u.values[k];
    if constexpr (!std::is_same_v<typename K::X, Vec<T>>)
      for (int k = 0; k < b.n; ++k) f.tangents[at + b.place[k]] = b.u.tangents[k];
  }

  D3_INLINE void write() {
    const V* r = list.vectors + 3 * begin;
    V* to = out + 3 * begin;
    if constexpr (std::is_same_v<typename K::X, Vec<T>>)
      write_scaled(f.values, r, n, to);
    else
      write_scaled(f.values, f.tangents, r, list.tangents + 3 * begin, n, to);
    begin += n;
    n = 0;
  }
};

// ---- coordination number ----

// Counts a block: adds up the function where `cn`, and leaves the factors weight df/dr / r in
// column u where `slopes`.
template <class K, class T, bool cn, bool slopes>
void count_block(PairBlock<K, T>& b, T rcov_i, const T* rcov, T weight, Sums<K, 1>& sums) {
  using X = typename K::X;
  const X zero(Vec<T>(T(0))), w(Vec<T>{weight});
  X sum = sums.now[0];
  for_counted<K>(b, rcov_i, rcov, [&](int k, const Counted<X>& f) D3_LAMBDA {
    if (cn) sum += select(first_lanes<T>(b.n - k), f.value, zero);
    if (slopes) b.u.store(k, w * f.slope_over_r);
  });
  sums.now[0] = sum;
  sums.end_block();
}

template <class K, class T, class V, class I, bool cn, bool slopes>
RowEnd count_rows(const RowList<V, I>& list, const RowAtoms<T>& atoms, const CountJob<T, V>& job,
                  RowSpan span) {
  Factors<K, T, V, I> factors(list, job.grad_vectors, span.begin);
  Sums<K, 1> sums;
  T rcov_i = 0, weight = 0;
  const auto start = [&](I i) D3_LAMBDA {
    rcov_i = atoms.rcov[i];
    weight = slopes ? job.grad_cn[i] : T(0);
    sums = Sums<K, 1>();
  };
  const auto take = [&](PairBlock<K, T>& b, int64_t) D3_LAMBDA {
    const int size = b.n;
    if (b.template pack<false>(job.cutoff)) return false;
    count_block<K, T, cn, slopes>(b, rcov_i, atoms.rcov, weight, sums);
    if (slopes) factors.put(b, factors.add(size, b.packed));
    return true;
  };
  const auto finish = [&](I i) D3_LAMBDA {
    sums.empty();
    if (cn) job.cn[i] = output(sums.before[0]);
  };
  const RowEnd end = for_rows<K, T>(list, atoms, span, start, take, finish);
  if (slopes) factors.write();
  return end;
}

template <class K, class T, class V, class I>
RowEnd count_list(const RowList<V, I>& list, const RowAtoms<T>& atoms, const CountJob<T, V>& job,
                  RowSpan span) {
  if (!job.grad_vectors) return count_rows<K, T, V, I, true, false>(list, atoms, job, span);
  if (!job.cn) return count_rows<K, T, V, I, false, true>(list, atoms, job, span);
  return count_rows<K, T, V, I, true, true>(list, atoms, job, span);
}

// ---- energy ----

// What is summed up of a row: energy, derivative by the CN of the centre, by the damping.
enum RowSum { row_energy, row_dcn_own, row_damping, n_row_sums = row_damping + most_parameters };

// Adds up a block; leaves the factors of the gradient by the vectors in column u and the
// derivatives by the CN of the neighbours in column v, both with the weight.
template <class K, class T, DampingForm form, EnergyMode mode, bool others>
void energy_block(PairBlock<K, T>& b, const RowAtoms<T>& atoms, const CentreRow<T>& row,
                  Cutoff<T> cutoff, T weight, Sums<K, n_row_sums>& sums) {
  using X = typename K::X;
  constexpr int columns = mode == EnergyMode::energy     ? 1
                          : mode == EnergyMode::gradient ? int(row_damping)
                                                         : row_damping + n_parameters(form);
  const X w(Vec<T>{weight});
  X sum[n_row_sums];
  for (int k = 0; k < columns; ++k) sum[k] = sums.now[k];
  for_energies<K, T, form, mode, others>(b, atoms, row, cutoff,
                                         [&](int k, const RowPairs<X, form>& p) D3_LAMBDA {
                                           sum[row_energy] += p.pair.energy();
                                           if (mode == EnergyMode::energy) return;
                                           sum[row_dcn_own] += p.pair.by_c6(p.by_own);
                                           b.u.store(k, w * p.pair.slope_over_r());
                                           if (others) b.v.store(k, p.pair.by_c6(p.by_other, w));
                                           if (mode == EnergyMode::learn)
                                             p.pair.add_damping(p.constants, sum + row_damping);
                                         });
  for (int k = 0; k < columns; ++k) sums.now[k] = sum[k];
  sums.end_block();
}

// Adds column v to the numbers of the neighbours.
template <class K, class T>
D3_INLINE void add_to_neighbours(const PairBlock<K, T>& b, double* out) {
  const T* v = b.v.values;
  if constexpr (!std::is_same_v<typename K::X, Vec<T>>) v = b.v.tangents;
  for (int k = 0; k < b.n; ++k) out[b.neighbour[k]] += double(v[k]);
}

template <class K, class T>
using EnergyBlock = void (*)(PairBlock<K, T>&, const RowAtoms<T>&, const CentreRow<T>&, Cutoff<T>,
                             T weight, Sums<K, n_row_sums>&);

template <class K, class T, class V, class I, EnergyMode mode, bool others>
RowEnd energy_rows(const RowList<V, I>& list, const RowAtoms<T>& atoms, const EnergyJob<T, V>& job,
                   RowSpan span, EnergyBlock<K, T> add_block) {
  constexpr bool slopes = mode != EnergyMode::energy;
  Factors<K, T, V, I> factors(list, job.grad_vectors, span.begin);
  Sums<K, n_row_sums> sums;
  CentreRow<T> row{};
  T weight = 0;
  const auto start = [&](I i) D3_LAMBDA {
    row = row_of<K>(atoms, i, job.c6);
    weight = T(-0.5) * (job.grad_energy ? job.grad_energy[i] : T(1));
    sums = Sums<K, n_row_sums>();
  };
  const auto take = [&](PairBlock<K, T>& b, int64_t) D3_LAMBDA {
    const int size = b.n;
    if (b.template pack<false>(job.cutoff.cutoff)) return false;
    b.find_slots(atoms.slot);
    add_block(b, atoms, row, job.cutoff, weight, sums);
    if (slopes) factors.put(b, factors.add(size, b.packed));
    if (others) add_to_neighbours(b, job.by_neighbour);
    return true;
  };
  const auto finish = [&](I i) D3_LAMBDA {
    sums.empty();
    if (job.energy) job.energy[i] = -0.5 * output(sums.before[row_energy]);
    if (slopes) job.by_cn[i] += weight * output(sums.before[row_dcn_own]);
    if (mode == EnergyMode::learn)
      for (int k = 0; k < most_parameters; ++k)
        job.damping[k] += weight * output(sums.before[row_damping + k]);
  };
  const RowEnd end = for_rows<K, T>(list, atoms, span, start, take, finish);
  if (slopes) factors.write();
  return end;
}

// Dual numbers always want all of it.
template <class K, class T, class V, class I, DampingForm form>
RowEnd energy_list(const RowList<V, I>& list, const RowAtoms<T>& atoms, const EnergyJob<T, V>& job,
                   RowSpan span) {
  constexpr EnergyMode energy = EnergyMode::energy, gradient = EnergyMode::gradient,
                       learn = EnergyMode::learn;
  if constexpr (std::is_same_v<typename K::X, Vec<T>>) {
    if (job.mode == energy)
      return energy_rows<K, T, V, I, energy, false>(list, atoms, job, span,
                                                    energy_block<K, T, form, energy, false>);
    if (job.mode == gradient)
      return energy_rows<K, T, V, I, gradient, false>(list, atoms, job, span,
                                                      energy_block<K, T, form, gradient, false>);
  }
  return energy_rows<K, T, V, I, learn, true>(list, atoms, job, span,
                                              energy_block<K, T, form, learn, true>);
}

// The kernels of this instruction set as function pointers.
template <class K, class T, class V, class I> constexpr RowKernels<T, V, I> row_kernels() {
  return {
      count_list<K, T, V, I>,
      {energy_list<K, T, V, I, DampingForm::rational>, energy_list<K, T, V, I, DampingForm::zero>,
       energy_list<K, T, V, I, DampingForm::modified_zero>}};
}

}  // namespace D3_ISA
}  // namespace d3

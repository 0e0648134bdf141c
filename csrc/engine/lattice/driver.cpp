// The CPU driver of the lattice engine: for every system three sweeps over its clusters
// (coordination numbers, energies, gradient through the coordination numbers), and one over
// triangles where the three-body term is asked for, with the kernels of
// the chosen instruction set; small molecules go without clusters. Small systems go to one thread
// each, large ones to all threads, one after the other.
#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/formulas/cell_gradient.h"
#include "engine/lattice/dense.h"
#include "engine/lattice/three_body.h"

namespace d3 {
namespace {

// Runs one system after another through the sweeps.
template <class T, class Types> class Driver : public ThreeBodySweep<T, Types> {
  using Base = ThreeBodySweep<T, Types>;
  using Base::cn_, Base::dcn_, Base::energy_, Base::gradient_, Base::virial_, Base::by_damping_;
  using Base::dual, Base::in_, Base::n_, Base::first_, Base::present_, Base::n_refs_,
      Base::centres_, Base::range_;
  using Base::w;
  using typename Base::A;
  using typename Base::S;

 public:
  Driver(const LatticeInput<T>& in, const LatticeTangents<T>* tangents, Find find,
         const LatticeKernels<T, S, A>& kernels)
      : Base(in, tangents, find, kernels) {}

  // Evaluates a system with some threads and writes its results. After an error they mean nothing.
  LatticeError run(int64_t system, int threads, const Evaluation<T>& out) {
    const LatticeError error = this->prepare(system);
    if (error.kind) return error;
    const double around = this->neighbours_of_one(range_.farthest());
    if (around > most_neighbours || around * n_ > most_pairs)
      return too_much(LatticeError::too_much, system, around);
    const double corners = this->corners_of_one();
    if (this->too_many_triangles(corners))
      return too_much(LatticeError::too_many_triangles, system, corners);
    this->allocate(threads);
    this->no_tail();
    const int same = this->sweep(in_.range.cn_cutoff, threads, &Driver::count);
    if (same >= 0) return {LatticeError::same_spot, system, same};
    if (this->stopping()) return {LatticeError::stopped, system};
    this->fill_weights();
    this->sweep(range_.cutoff, threads, &Driver::energy);
    if (this->triangles()) this->add_three_body(threads);
    if (range_.tail) {
      const std::vector<A> weights = this->weights_of_slots();
      this->add_tail(weights, present_, weights, threads);
    }
    if (in_.gradients) {
      this->for_lanes(
          [this](size_t c, int lane, int atom) { this->put_row(c, row_dcn, lane, dcn_[atom]); });
      this->sweep(in_.range.cn_cutoff, threads, &Driver::count_gradient);
    }
    if (this->stopping()) return {LatticeError::stopped, system};
    write(out);
    return error;
  }

 private:
  static LatticeError too_much(LatticeError::Kind kind, int64_t system, double neighbours) {
    LatticeError error{kind, system};
    error.neighbours = neighbours;
    return error;
  }

  // Writes the results of the system: values, or in a dual evaluation tangents.
  void write(const Evaluation<T>& out) const {
    const int64_t b = this->system_;
    A energy(0.0), virial[3][3];
    for (const Point& p : centres_->points) out.c6[first_ + p.atom] = T(output(like_c6(p)));
    for (int i = 0; i < n_; ++i) {
      energy += energy_[i];
      out.energies[first_ + i] = T(output(energy_[i]));
      out.cn[first_ + i] = T(output(cn_[i]));
      for (int k = 0; k < 3; ++k)
        out.gradient[3 * (first_ + i) + k] = in_.gradients ? T(output(gradient_[3 * i + k])) : T(0);
    }
    out.energy[b] = T(output(energy));
    sum_virial(virial);
    for (int k = 0; k < 9; ++k) out.virial[9 * b + k] = T(output(virial[k / 3][k % 3]));
    write_cell(virial, out.cell + 9 * b);
    const int n_damping = in_.n_damping();
    for (int k = 0; k < n_damping; ++k) {
      A sum = in_.learn ? this->tail_by_damping(k) : A(0.0);
      for (size_t c = 0; c < centres_->clusters.size(); ++c)
        sum += by_damping_[most_damping * c + k];
      if (this->triangles() && k == n_damping - 1)
        for (const A& by : this->by_s9_) sum += in_.learn ? by : A(0.0);
      out.damping[n_damping * b + k] = T(output(sum));
    }
  }

  // C6 of an atom with one of its kind.
  A like_c6(const Point& p) const {
    A row[max_refs] = {};
    contract(w(p.atom), this->c6_ref(p.slot, p.slot), in_.tables.n_refs, n_refs_[p.slot],
             n_refs_[p.slot], row);
    return dot(row, w(p.atom), n_refs_[p.slot]);
  }

  // Adds up the virials of the clusters and of the tail.
  void sum_virial(A virial[3][3]) const {
    A packed[6] = {};
    for (size_t c = 0; c < centres_->clusters.size(); ++c)
      for (int k = 0; k < 6; ++k) packed[k] += virial_[6 * c + k];
    for (int k = 0; k < 6 && in_.gradients; ++k) packed[k] += this->tail_virial(k);
    for (size_t c = 0; this->triangles() && c < this->virial3_.size(); ++c)
      packed[c % 6] += this->virial3_[c];
    const int order[9] = {0, 1, 2, 1, 3, 4, 2, 4, 5};
    for (int k = 0; k < 9; ++k) virial[k / 3][k % 3] = packed[order[k]];
  }

  // The gradient by the cell at fixed positions, from the virial: see cell_gradient.h.
  void write_cell(const A virial[3][3], T* out) const {
    A rest[3][3], by_cell[3][3];
    for (int k = 0; k < 9; ++k) rest[k / 3][k % 3] = virial[k / 3][k % 3];
    for (int i = 0; i < n_ && in_.gradients; ++i)
      for (int k = 0; k < 9; ++k)
        rest[k / 3][k % 3] +=
            -(this->input(in_.systems.positions, this->t_positions(), 3 * (first_ + i) + k / 3) *
              gradient_[3 * i + k % 3]);
    gradient_by_cell(this->frame_.inverse, this->cell_, this->frame_.periodic, rest, by_cell);
    for (int k = 0; k < 9; ++k) out[k] = T(output(by_cell[k / 3][k % 3]));
  }
};

// Atoms within a reach along each vector of a cell, roughly.
template <class T> double within(const LatticeInput<T>& in, int64_t b, double reach) {
  double images = double(in.systems.offsets[b + 1] - in.systems.offsets[b]);
  for (int k = 0; k < 3; ++k) {
    const T* a = in.systems.cell + 9 * b + 3 * k;
    if (in.systems.pbc[3 * b + k])
      images *= 1 + 2 * reach /
                        std::max(std::sqrt(double(a[0] * a[0] + a[1] * a[1] + a[2] * a[2])),
                                 least_cell_vector);
  }
  return images;
}

// Pairs of a system, and triangles, which take as long, roughly: enough to decide how threads share
// the work. Of two neighbours in a ball, about half are neighbours of each other.
template <class T> double work(const LatticeInput<T>& in, int64_t b) {
  const double n = double(in.systems.offsets[b + 1] - in.systems.offsets[b]),
               pairs = within(in, b, in.range.farthest()),
               corners = in.three_body.cutoff > 0 ? within(in, b, in.three_body.cutoff) : 0;
  return n * (pairs + 0.25 * corners * corners);
}

// Evaluates all systems: first the small ones, each on one thread, then the large ones, each on all
// threads. A molecule counts as small in any case. Returns the error of the first system that has
// one, so that the message does not depend on the order in which threads came to it.
template <class T, class Types, class Kernels>
LatticeError run_all(const LatticeInput<T>& in, const LatticeTangents<T>* tangents,
                     const KernelSet<T>& set, const Kernels& kernels, const Evaluation<T>& out) {
  double total = 0;
  for (int64_t b = 0; b < in.systems.n_systems; ++b) total += work(in, b);
  const int threads = total > least_threaded_work ? in.threads : 1;
  const double small = std::max(total / (shares_of_thread * threads), threads > 1 ? 0.0 : total);
  const auto dense = [&](int64_t b) { return !tangents && Molecule<T>::fits(in, b); };
  std::vector<int64_t> large;
  for (int64_t b = 0; b < in.systems.n_systems; ++b)
    if (work(in, b) > small && !dense(b)) large.push_back(b);
  int64_t failed = in.systems.n_systems;
  LatticeError error;
  const auto note = [&](const LatticeError& e) {
    if (e.kind && e.system < failed) {
      failed = e.system;
      error = e;
    }
  };
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    Driver<T, Types> driver(in, tangents, set.find, kernels);
    Molecule<T> molecule(in, set.dense[int(in.form)]);
#pragma omp for schedule(dynamic, systems_at_once)
    for (int64_t b = 0; b < in.systems.n_systems; ++b) {
      if ((work(in, b) > small && !dense(b)) || stopped(in.watch)) continue;
      const LatticeError e = dense(b) ? molecule.run(b, out) : driver.run(b, 1, out);
      if (e.kind) {
#pragma omp critical(d3_lattice_error)
        note(e);
      }
    }
  }
  if (large.empty() || stopped(in.watch)) return error;
  Driver<T, Types> driver(in, tangents, set.find, kernels);
  for (int64_t b : large) note(driver.run(b, threads, out));
  return error;
}

// Finds, slowly, the atom or image that is on the spot of the atom that an error names.
template <class T> void find_partner(const LatticeInput<T>& in, LatticeError& e) {
  const int64_t first = in.systems.offsets[e.system], n = in.systems.offsets[e.system + 1] - first;
  std::vector<Point> atoms;
  for (int64_t i = first; i < first + n; ++i) {
    const T* x = in.systems.positions + 3 * i;
    atoms.push_back({{double(x[0]), double(x[1]), double(x[2])}, int(i - first), 0, {0, 0, 0}});
  }
  Cell cell{};
  Periodic periodic;
  for (int k = 0; k < 3; ++k) {
    periodic[k] = in.systems.pbc[3 * e.system + k];
    for (int d = 0; d < 3 && periodic[k]; ++d)
      cell[k][d] = in.systems.cell[9 * e.system + 3 * k + d];
  }
  const Partner partner = closest(int(e.atom), atoms, cell, periodic);
  e.other = partner.atom;
  std::copy_n(partner.image.begin(), 3, e.image);
}

}  // namespace

template <class T> KernelSet<T> kernels_for(InstructionSet set) {
  if (set == InstructionSet::best)
    set = supported(InstructionSet::avx512) ? InstructionSet::avx512
          : supported(InstructionSet::avx2) ? InstructionSet::avx2
                                            : InstructionSet::baseline;
#if defined(__x86_64__)
  if (set == InstructionSet::avx512) return kernels_avx512<T>();
  if (set == InstructionSet::avx2) return kernels_avx2<T>();
#endif
  return kernels_baseline<T>();
}

bool supported(InstructionSet set) {
#if defined(__x86_64__)
  if (set == InstructionSet::avx512)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
  if (set == InstructionSet::avx2)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
  if (set == InstructionSet::avx512 || set == InstructionSet::avx2) return false;
#endif
  return true;
}

template <class T>
LatticeError Lattice<T>::evaluate(const LatticeInput<T>& in, const LatticeTangents<T>* tangents,
                                  const Evaluation<T>& out) {
  const KernelSet<T> kernels = kernels_for<T>(in.instruction_set);
  LatticeError error;
  if (tangents)
    error = run_all<T, DualTypes<T>>(in, tangents, kernels, kernels.dual, out);
  else
    error = run_all<T, PlainTypes<T>>(in, nullptr, kernels, kernels.plain, out);
  if (error.kind == LatticeError::same_spot) find_partner(in, error);
  return error;
}

template KernelSet<float> kernels_for(InstructionSet);
template KernelSet<double> kernels_for(InstructionSet);
template struct Lattice<float>;
template struct Lattice<double>;

}  // namespace d3

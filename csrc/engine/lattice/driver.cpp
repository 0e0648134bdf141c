// The lattice engine on a CPU: every system goes through the sweeps of driver.h with the kernels of
// the chosen instruction set; small molecules go without clusters. Small systems go to one thread
// each, large ones to all threads, one after the other.
#include "engine/lattice/driver.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/lattice/dense.h"
#include "engine/lattice/pairwise.h"

namespace d3 {
namespace {

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

// Energies by pair of labels, of one system after the other.
template <class T>
LatticeError pairwise_all(const LatticeInput<T>& in, const Labels& labels, const KernelSet<T>& set,
                          T* out) {
  PairwiseDriver<T> driver(in, labels, set);
  LatticeError error;
  for (int64_t b = 0; b < in.systems.n_systems && !error.kind; ++b) {
    const int threads = work(in, b) > least_threaded_work ? in.threads : 1;
    error = driver.run(b, threads, out + b * labels.n * labels.n);
  }
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

template <class T>
LatticeError Lattice<T>::evaluate(const LatticeInput<T>& in, const LatticeTangents<T>* tangents,
                                  const Evaluation<T>& out) {
  const auto& kernels = kernels_for<KernelSet<T>>(in.instruction_set);
  LatticeError error;
  if (tangents)
    error = run_all<T, DualTypes<T>>(in, tangents, kernels, kernels.dual, out);
  else
    error = run_all<T, PlainTypes<T>>(in, nullptr, kernels, kernels.plain, out);
  if (error.kind == LatticeError::same_spot) find_partner(in, error);
  return error;
}

template <class T>
LatticeError Lattice<T>::pairwise(const LatticeInput<T>& in, const Labels& labels, T* out) {
  const auto& kernels = kernels_for<KernelSet<T>>(in.instruction_set);
  LatticeError error = pairwise_all(in, labels, kernels, out);
  if (error.kind == LatticeError::same_spot) find_partner(in, error);
  return error;
}

template struct Lattice<float>;
template struct Lattice<double>;

}  // namespace d3

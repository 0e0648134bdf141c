// The ops on a CPU: values are checked before a kernel reads them, so that no kernel leaves its
// arrays.
#include <ATen/Parallel.h>
#include <omp.h>
#include <pthread.h>

#include <string>

#include "ops/owned_ops.h"
#include "ops/register.h"
#include "ops/result_memory.h"
#include "ops/signals.h"

// Not in the OpenMP that torch 2.6 brings: weak, so that it may be absent.
#pragma weak omp_pause_resource_all

namespace {

using namespace d3;

// A process keeps its threads waiting for the next parallel loop; a forked one has none of them,
// and would wait for them for ever. They are let go before a fork, and come back when they are
// needed. Where they cannot be let go, a forked process uses one thread.
bool alone = false;

void let_threads_go() {
  if (omp_pause_resource_all) omp_pause_resource_all(omp_pause_soft);
}

void be_alone() { alone = !omp_pause_resource_all; }

[[maybe_unused]] const int without_threads = pthread_atfork(let_threads_go, nullptr, be_alone);

int threads() { return alone || at::in_parallel_region() ? 1 : at::get_num_threads(); }

InstructionSet parse_instruction_set(c10::string_view name) {
  const InstructionSet sets[] = {InstructionSet::best, InstructionSet::avx512, InstructionSet::avx2,
                                 InstructionSet::baseline};
  const char* names[] = {"best", "avx512", "avx2", "baseline"};
  for (int k = 0; k < 4; ++k)
    if (name == names[k]) {
      TORCH_CHECK_VALUE(supported(sets[k]),
                        "d3torch: expected an instruction set that this processor has, got ",
                        names[k], ".");
      return sets[k];
    }
  TORCH_CHECK_VALUE(false,
                    "d3torch: expected instruction_set to be best, avx512, avx2 or baseline, got ",
                    name, ".");
}

template <class I> std::string pair_of(const I* centre, const I* neighbour, int64_t p) {
  return c10::str("(", centre[p], ", ", neighbour[p], ")");
}

[[noreturn]] void refuse_index(int64_t n_atoms, const std::string& pair, int64_t p) {
  TORCH_CHECK_INDEX(false, "d3torch: expected atom indices in [0, ", n_atoms, ") in pairs, got ",
                    pair, " for pair ", p, ".");
}

// Says what is wrong with the pair that a kernel found, if any.
template <class T> void check_pair(const Pairs<T>& list, int64_t bad) {
  if (bad < 0) return;
  const auto inside = [&](int64_t atom) { return 0 <= atom && atom < list.n_atoms; };
  const std::string pair = pair_of(list.centre, list.neighbour, bad);
  if (!inside(list.centre[bad]) || !inside(list.neighbour[bad]))
    refuse_index(list.n_atoms, pair, bad);
  TORCH_CHECK_VALUE(false, "d3torch: expected pairs of distinct positions, got pair ", bad, " ",
                    pair, " with a vector of length 0.");
}

void check_offsets(const int64_t* offsets, int64_t n_systems, int64_t n_atoms) {
  bool rising = offsets[0] == 0 && offsets[n_systems] == n_atoms;
  for (int64_t b = 0; b < n_systems; ++b) rising = rising && offsets[b] <= offsets[b + 1];
  TORCH_CHECK_VALUE(rising, "d3torch: expected offsets that rise from 0 to the number of atoms, ",
                    n_atoms, ".");
}

void check_labels(const Labels& labels, int64_t n_atoms) {
  for (int64_t i = 0; i < n_atoms; ++i)
    TORCH_CHECK_INDEX(labels.of[i] >= 0 && labels.of[i] < labels.n,
                      "d3torch: expected labels in [0, ", labels.n, "), got ", labels.of[i],
                      " for atom ", i, ".");
}

std::string in_cell(const LatticeError& e) {
  return c10::str(" in cell [", e.image[0], ", ", e.image[1], ", ", e.image[2], "]");
}

std::string same_spot(const LatticeError& e) {
  const bool image = e.image[0] || e.image[1] || e.image[2];
  const auto other = e.other == e.atom ? "an image of its own" : c10::str("atom ", e.other);
  return c10::str("expected atoms at distinct positions, got atom ", e.atom, " and ", other,
                  image ? in_cell(e) : "", " on one spot");
}

// Atoms count from the first of their system, which is named where there are several.
std::string sentence(const LatticeError& e) {
  const std::string atom = c10::str(" for atom ", e.atom);
  switch (e.kind) {
    case LatticeError::not_finite:
      return "expected finite positions, got NaN or infinity" + atom;
    case LatticeError::too_far:
      return "expected positions within 1e9 of the origin and 1e9 cells of it, got one beyond" +
             atom;
    case LatticeError::same_spot:
      return same_spot(e);
    case LatticeError::singular_cell:
      return "expected linearly independent lattice vectors for the periodic axes, got a singular "
             "cell";
    case LatticeError::too_many_triangles:
      return c10::str("expected at most ", most_three_body_neighbours,
                      " neighbours of an atom and ", most_triangles,
                      " triangles within atm_cutoff, got some ", e.neighbours,
                      " neighbours of each atom: is the cutoff a square, or in another unit");
    default:
      return c10::str("expected at most ", most_neighbours, " neighbours of an atom and ",
                      most_pairs, " pairs within the cutoffs, got some ", e.neighbours,
                      " of each atom: is a cutoff a square, or in another unit");
  }
}

void check_error(const LatticeError& e, int64_t n_systems) {
  if (!e.kind) return;
  const std::string system = n_systems > 1 ? c10::str(" in system ", e.system) : "";
  TORCH_CHECK_VALUE(false, "d3torch: ", sentence(e), system, ".");
}

// The shift of a pair, as given.
template <class T, class I> std::string shift_of(const ListInput<T, I>& list, int64_t p) {
  const auto three = [p](const auto* s) {
    return c10::str("[", s[3 * p], ", ", s[3 * p + 1], ", ", s[3 * p + 2], "]");
  };
  if (list.shift_kind == ShiftKind::int64) return three(static_cast<const int64_t*>(list.shifts));
  if (list.shift_kind == ShiftKind::int32) return three(static_cast<const int32_t*>(list.shifts));
  return three(static_cast<const T*>(list.shifts));
}

// Says what is wrong with a list; pairs and atoms count over the whole batch.
template <class T, class I> std::string sentence(const ListInput<T, I>& list, const ListError& e) {
  const std::string pair =
      e.pair < 0 ? "one"
                 : c10::str("pair ", e.pair, " ", pair_of(list.centre, list.neighbour, e.pair));
  switch (e.kind) {
    case ListError::systems:
      return "expected pairs of two atoms of one system, got " + pair + " of two systems";
    case ListError::same_spot:
      return "expected pairs of distinct positions, got " + pair + " with a vector of length 0";
    case ListError::shift:
      return c10::str(
          "expected whole numbers of cells, up to 1e9, as shifts, and 0 along axes without pbc, "
          "got ",
          shift_of(list, e.pair), " for ", pair);
    case ListError::not_finite:
      return c10::str("expected finite positions, got NaN or infinity for atom ", e.atom);
    case ListError::singular_cell:
      return c10::str(sentence({LatticeError::singular_cell}),
                      list.in.systems.n_systems > 1 ? c10::str(" in system ", e.system) : "");
    case ListError::no_reverse:
      return c10::str("expected every pair within the cutoffs both ways round, got ", pair,
                      " without its reverse: half=True is for lists that have each once");
    default:
      return "expected every pair once in a list with half=True, got pairs both ways round: "
             "half=False is for lists that have each twice";
  }
}

template <class T, class I>
void check_error(const ListInput<T, I>& list, const ListError& e, int64_t n_atoms) {
  if (e.kind == ListError::none) return;
  if (e.kind == ListError::index)
    refuse_index(n_atoms, pair_of(list.centre, list.neighbour, e.pair), e.pair);
  TORCH_CHECK_VALUE(false, "d3torch: ", sentence(list, e), ".");
}

// The input of an engine on whole structures, of checked values.
template <class T>
LatticeInput<T> checked(const LatticeArgs& a, const How& how, const LatticeForm& f) {
  const auto in = input_of<T>(a, how, f, threads(), parse_instruction_set(how.instruction_set));
  check_species(in.systems.species, a.n_atoms(), in.tables.n_species);
  check_offsets(in.systems.offsets, in.systems.n_systems, a.n_atoms());
  return in;
}

struct Cpu {
  struct Guard {
    explicit Guard(c10::Device) {}
  };
  template <class T> using Counting = d3::Counting<T>;
  template <class T> using Energy = d3::Energy<T>;

  static Tensor large(const Tensor& result) { return in_kept_memory(result); }
  template <class Args> static const Args& prepared(const Args& args) { return args; }

  static int n_threads() { return threads(); }

  // The kernel checks the indices of the pairs itself; it returns the first wrong pair, or -1.
  template <class T, class Args, class F> static void run(const Args& args, F&& kernel) {
    auto in = input_of<T>(args, threads());
    check_species(in.list.species, in.list.n_atoms, args.n_species());
    Signals signals;
    in.watch = signals.watch();
    const int64_t bad = kernel(in);
    signals.rethrow();
    check_pair(in.list, bad);
  }

  static void check_how(const How& how) { parse_instruction_set(how.instruction_set); }

  template <class T>
  static void evaluate(const LatticeArgs& a, const How& how, const LatticeForm& f,
                       const LatticeTangents<T>* tangents, Tensors8& out) {
    auto in = checked<T>(a, how, f);
    Signals signals;
    in.watch = signals.watch();
    const LatticeError error = Lattice<T>::evaluate(in, tangents, output_of<T>(out));
    signals.rethrow();
    check_error(error, in.systems.n_systems);
  }

  template <class T>
  static void evaluate(const LatticeArgs& a, const ListArgs& l, const How& how,
                       const LatticeForm& f, const LatticeTangents<T>* tangents, Tensors8& out) {
    auto in = checked<T>(a, how, f);
    Signals signals;
    in.watch = signals.watch();
    AT_DISPATCH_INDEX_TYPES(l.pairs.scalar_type(), "dispersion_on_list", [&] {
      const auto list = with_list<T, index_t>(in, l);
      const ListError error = ListEngine<T, index_t>::evaluate(list, tangents, output_of<T>(out));
      signals.rethrow();
      check_error(list, error, a.n_atoms());
    });
  }

  template <class T>
  static void pairwise(const LatticeArgs& a, const PairLabels& l, const LatticeForm& f,
                       Tensor& out) {
    auto in = checked<T>(a, {false, false, "best"}, f);
    const Labels labels{l.labels.const_data_ptr<int64_t>(), l.n_labels};
    check_labels(labels, a.n_atoms());
    Signals signals;
    in.watch = signals.watch();
    const LatticeError error = Lattice<T>::pairwise(in, labels, out.mutable_data_ptr<T>());
    signals.rethrow();
    check_error(error, in.systems.n_systems);
  }

  template <class T> static void scale(const Slopes& s, const LatticeArgs& a, Tensors3& out) {
    const int64_t* first = a.offsets.const_data_ptr<int64_t>();
    const int64_t n_damping = a.damping.size(1);
    const T* by = s.grad_energy.const_data_ptr<T>();
    const auto scaled = [&](const Tensor& from, Tensor& to, int64_t b, int64_t begin, int64_t end) {
      const T* x = from.const_data_ptr<T>();
      T* y = to.mutable_data_ptr<T>();
      for (int64_t k = begin; k < end; ++k) y[k] = by[b] * x[k];
    };
    for (int64_t b = 0; b < a.n_systems(); ++b) {
      scaled(s.by_positions, std::get<0>(out), b, 3 * first[b], 3 * first[b + 1]);
      scaled(s.by_cell, std::get<1>(out), b, 9 * b, 9 * (b + 1));
      scaled(s.by_damping, std::get<2>(out), b, n_damping * b, n_damping * (b + 1));
    }
  }
};

}  // namespace

TORCH_LIBRARY_IMPL(d3torch, CPU, m) {
  register_kernels<Cpu>(m);
  register_owned<Cpu>(m);
}

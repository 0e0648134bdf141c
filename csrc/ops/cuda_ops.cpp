// The ops on CUDA tensors: scratch memory from torch, keys and clusters put in order by torch, the
// current stream. Nothing here waits for the GPU, so that what is wrong with values (an index out
// of range, NaN, atoms on one spot, a singular cell, a tail without three periodic directions)
// makes the results NaN.
#include <ATen/ops/cumsum.h>
#include <ATen/ops/sort.h>
#include <c10/core/DeviceGuard.h>

#include <limits>

#include "engine/cuda/lattice/lattice_cuda.h"
#include "engine/cuda/pairs/list_cuda.h"
#include "engine/cuda/pairs/pairs_cuda.h"
#include "ops/cuda_args.h"
#include "ops/register.h"

namespace {

using namespace d3;

Tensor empty_like_kind(const Tensor& like, int64_t n, at::ScalarType kind) {
  return at::empty({n}, like.options().dtype(kind));
}

// The input of a kernel on a pair list, with scratch memory of its own.
template <class In> struct OnGpu {
  In in;
  const Tensor& like;
};

// The kernels under the names and arguments by which the kernels of the CPU are called.
template <class T> struct CountingOnGpu {
  using In = OnGpu<CountingInput<T>>;
  using Kernels = CudaCounting<T>;

  static void forward(const In& x, T* cn) {
    const Tensor memory = scratch(Kernels::scratch(x.in), x.like);
    Kernels::forward(x.in, memory.mutable_data_ptr(), stream(x.like), cn);
  }
  static void backward(const In& x, const T* grad_cn, T* by_vectors) {
    Kernels::backward(x.in, stream(x.like), grad_cn, by_vectors);
  }
  static void double_backward(const In& x, const T* grad_cn, const T* tangent, T* by_grad,
                              T* by_vectors) {
    const Tensor memory = scratch(Kernels::scratch(x.in), x.like);
    Kernels::double_backward(x.in, memory.mutable_data_ptr(), stream(x.like), grad_cn, tangent,
                             by_grad, by_vectors);
  }
};

template <class T> struct EnergyOnGpu {
  using In = OnGpu<EnergyInput<T>>;
  using Kernels = CudaEnergy<T>;

  static void forward(const In& x, T* energy) {
    const Tensor memory = scratch(Kernels::scratch(x.in), x.like);
    Kernels::forward(x.in, memory.mutable_data_ptr(), stream(x.like), energy);
  }
  static void by_centre(const In& x, ByCentre<T> out) {
    const Tensor memory = scratch(Kernels::scratch(x.in), x.like);
    Kernels::by_centre(x.in, memory.mutable_data_ptr(), stream(x.like), out);
  }
  static void backward(const In& x, const T* grad_energy, EnergyGradients<T> out) {
    const Tensor memory = scratch(Kernels::scratch(x.in), x.like);
    Kernels::backward(x.in, memory.mutable_data_ptr(), stream(x.like), grad_energy, out);
  }
  static void double_backward(const In& x, const T* grad_energy, EnergyTangents<T> tangents,
                              T* by_grad, EnergyGradients<T> out) {
    const Tensor memory = scratch(Kernels::scratch(x.in), x.like);
    Kernels::double_backward(x.in, memory.mutable_data_ptr(), stream(x.like), grad_energy, tangents,
                             by_grad, out);
  }
};

void check_pairs_have_atoms(int64_t n_pairs, int64_t n_atoms) {
  TORCH_CHECK_INDEX(n_atoms > 0 || n_pairs == 0,
                    "d3torch: expected no pairs where there are no atoms, got ", n_pairs, ".");
}

void check_list_limits(const ListArgs& l, int64_t n_atoms) {
  const int64_t n_pairs = l.pairs.size(1), directed = l.half ? 2 * n_pairs : n_pairs;
  check_pairs_have_atoms(n_pairs, n_atoms);
  TORCH_CHECK_VALUE(directed <= cuda_directed_pairs, "d3torch: expected at most ",
                    cuda_directed_pairs, " directed pairs on a GPU, got ", directed, ".");
}

template <class Args> void check_list_limits(const Args& a) {
  check_pairs_have_atoms(a.vectors.size(0), a.species.size(0));
  TORCH_CHECK_VALUE(a.n_species() <= cuda_species, "d3torch: expected at most ", cuda_species,
                    " species on a GPU, got ", a.n_species(), ".");
}

void check_lattice_limits(const LatticeArgs& a) {
  const int64_t n = a.n_atoms(), n_systems = a.n_systems(), n_species = a.cn_ref.size(0);
  TORCH_CHECK_VALUE(n_species <= lattice_species, "d3torch: expected at most ", lattice_species,
                    " species on a GPU, got ", n_species, ".");
  TORCH_CHECK_VALUE(n_systems < lattice_systems, "d3torch: expected fewer than ", lattice_systems,
                    " systems on a GPU, got ", n_systems, ".");
  TORCH_CHECK_VALUE(n < std::numeric_limits<int>::max() / 4,
                    "d3torch: expected fewer than 5e8 atoms on a GPU, got ", n, ".");
  TORCH_CHECK_VALUE(n_systems > 0 || n == 0,
                    "d3torch: expected offsets that rise from 0 to the number of atoms, ", n, ".");
}

struct Cuda {
  using Guard = c10::DeviceGuard;
  template <class T> using Counting = CountingOnGpu<T>;
  template <class T> using Energy = EnergyOnGpu<T>;

  static Tensor large(const Tensor& result) { return result; }
  static const CountingArgs& prepared(const CountingArgs& a) {
    check_list_limits(a);
    return a;
  }
  static EnergyArgs prepared(const EnergyArgs& a) {
    check_list_limits(a);
    return with_padded_tables(a);
  }
  static LatticeArgs prepared(const LatticeArgs& a) {
    check_lattice_limits(a);
    return with_padded_tables(a);
  }

  template <class T, class Args, class F> static void run(const Args& a, F&& kernel) {
    kernel(OnGpu<decltype(input_of<T>(a, 0))>{input_of<T>(a, 0), a.vectors});
  }

  static void check_how(const How& how) {
    TORCH_CHECK_VALUE(how.instruction_set == "best",
                      "d3torch: expected instruction_set to be best on a GPU, got ",
                      how.instruction_set, ".");
  }

  template <class T>
  static void evaluate(const LatticeArgs& a, const How& how, const LatticeForm& f,
                       const LatticeTangents<T>* tangents, Tensors8& out) {
    const int64_t n = a.n_atoms();
    const auto in = input_of<T>(a, how, f, 0, InstructionSet::best);
    if (in.systems.n_systems == 0) return;
    const Tensor memory = scratch(CudaLattice<T>::scratch(in, n, tangents), a.positions);
    const Tensor keys = empty_like_kind(a.positions, n, at::kLong);
    const Tensor starts = empty_like_kind(a.positions, n, at::kInt);
    CudaLattice<T>::keys(in, n, memory.mutable_data_ptr(), stream(a.positions),
                         keys.mutable_data_ptr<int64_t>());
    const auto [sorted, order] = at::sort(keys, /*stable=*/true, /*dim=*/0, /*descending=*/false);
    CudaLattice<T>::starts(sorted.const_data_ptr<int64_t>(), n, stream(a.positions),
                           starts.mutable_data_ptr<int>());
    const Tensor clusters = at::cumsum(starts, 0, at::kInt);
    const SortedAtoms atoms{sorted.const_data_ptr<int64_t>(), order.const_data_ptr<int64_t>(),
                            clusters.const_data_ptr<int>()};
    CudaLattice<T>::evaluate(in, tangents, n, atoms, memory.mutable_data_ptr(), stream(a.positions),
                             output_of<T>(out));
  }

  template <class T>
  static void evaluate(const LatticeArgs& a, const ListArgs& l, const How& how,
                       const LatticeForm& f, const LatticeTangents<T>* tangents, Tensors8& out) {
    check_list_limits(l, a.n_atoms());
    const int64_t n = a.n_atoms();
    const auto in = input_of<T>(a, how, f, 0, InstructionSet::best);
    AT_DISPATCH_INDEX_TYPES(l.pairs.scalar_type(), "dispersion_on_list", [&] {
      using Engine = CudaList<T, index_t>;
      const auto list = with_list<T, index_t>(in, l);
      const Tensor memory = scratch(Engine::scratch(list, n, tangents), a.positions);
      Engine::evaluate(list, tangents, n, memory.mutable_data_ptr(), stream(a.positions),
                       output_of<T>(out));
    });
  }

  template <class T>
  static void pairwise(const LatticeArgs&, const PairLabels&, const LatticeForm&, Tensor&) {
    TORCH_CHECK_NOT_IMPLEMENTED(false,
                                "d3torch: dispersion_pairwise has no CUDA kernel and got a CUDA "
                                "tensor: move it to the CPU, or choose backend=\"eager\".");
  }

  template <class T> static void scale(const Slopes& s, const LatticeArgs& a, Tensors3& out) {
    const ScaledGradients<const T> from{s.by_positions.const_data_ptr<T>(),
                                        s.by_cell.const_data_ptr<T>(),
                                        s.by_damping.const_data_ptr<T>()};
    const ScaledGradients<T> to{std::get<0>(out).mutable_data_ptr<T>(),
                                std::get<1>(out).mutable_data_ptr<T>(),
                                std::get<2>(out).mutable_data_ptr<T>()};
    CudaLattice<T>::scale(a.offsets.const_data_ptr<int64_t>(), a.n_systems(), a.n_atoms(),
                          int(a.damping.size(1)), s.grad_energy.const_data_ptr<T>(), from,
                          stream(a.positions), to);
  }
};

}  // namespace

TORCH_LIBRARY_IMPL(d3torch, CUDA, m) { register_kernels<Cuda>(m); }

"""What only a GPU can show of the CUDA kernels: autograd, the dispatcher, graphs, sizes."""

from __future__ import annotations

from typing import Any

import lists
import numpy as np
import pytest
import torch
from ase.io import read
from cuda_device import assert_close, moved, on_gpu, run, waiting_refused
from systems import Case, small_case
from test_cuda_lattice import BULK, STRUCTURES, compare, lattice_arguments, structure_of
from test_cuda_list import SHAPES, arguments, last, reshaped
from test_cuda_pairs import CUTOFF, WIDTH, dtypes, in_order, names, pair_arguments
from torch import Tensor
from torch.autograd import grad, gradcheck, gradgradcheck

from d3torch import D3Calculator, ops
from d3torch.examples import glass_path
from d3torch.units import BOHR

pytestmark = on_gpu

# ---- pair ops ----


def _on_gpu(case: Case) -> Case:
    return Case(*moved(tuple(case), "cuda"))


def _pair_energy(case: Case, *x: Tensor) -> Tensor:
    cn = ops.coordination_number(x[0], case.pairs, case.species, case.tables.rcov, CUTOFF)
    last = (case.pairs, case.species, case.tables, CUTOFF, WIDTH)
    return 1e3 * ops.dispersion_energy(x[0], cn + x[1], x[2], *last)


@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
def test_derivatives_of_the_pair_ops(check: Any) -> None:
    case = _on_gpu(in_order(small_case(n_atoms=4)))
    inputs = [x.clone().requires_grad_() for x in (case.vectors, case.cn, case.damping)]
    # sums of lists without their reverse pairs are atomic: equal to rounding, not to the last bit
    assert check(lambda *x: _pair_energy(case, *x), inputs, nondet_tol=1e-12)


@dtypes
@names
@pytest.mark.parametrize("suffix", ["", "_backward", "_double_backward"])
def test_opcheck_of_the_pair_ops(suffix: str, name: str, dtype: torch.dtype) -> None:
    case = _on_gpu(in_order(small_case(dtype, n_atoms=4)))
    arguments = moved(pair_arguments(name, case, suffix), "cuda")
    torch.library.opcheck(getattr(torch.ops.d3torch, name + suffix).default, arguments)


def test_a_cuda_graph_replays_the_pair_ops() -> None:
    case = _on_gpu(in_order(small_case(torch.float32, n_atoms=200)))
    vectors = case.vectors.clone().requires_grad_()

    def step(vectors: Tensor = vectors) -> tuple[Tensor, Tensor]:
        energy = _pair_energy(case, vectors, torch.zeros_like(case.cn), case.damping).sum()
        return energy, grad(energy, vectors)[0]

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    with torch.no_grad():
        vectors.mul_(1.01)
    graph.replay()
    torch.cuda.synchronize()
    replayed = [t.clone() for t in captured]
    fresh = vectors.detach().clone().requires_grad_()  # the other is of the captured stream
    assert all(map(torch.equal, replayed, step(fresh)))


def test_the_pair_ops_wait_for_nothing() -> None:
    case = _on_gpu(in_order(small_case(torch.float32, n_atoms=50)))
    vectors = case.vectors.clone().requires_grad_()
    with waiting_refused():
        energy = _pair_energy(case, vectors, torch.zeros_like(case.cn), case.damping).sum()
        grad(energy, vectors)


# ---- lattice engine ----


@pytest.mark.parametrize("tail", [False, True])
def test_the_calculator_on_a_gpu_is_that_on_the_cpu(tail: bool) -> None:
    atoms = read(glass_path())
    settings = {"preset": "mace_mp", "tail": tail}
    found, expected = (D3Calculator(device=device, **settings) for device in ("cuda", "cpu"))
    for name in ("energy", "forces", "stress"):
        a, b = (np.asarray(c.get_property(name, atoms)) for c in (found, expected))
        assert np.abs(a - b).max() <= 1e-11 * np.abs(b).max(), name


def _glass(cutoff: float, dtype: torch.dtype, tail: bool = False) -> tuple[Any, ...]:
    glass = structure_of(read(glass_path()), cutoff, 40 * BOHR)
    return lattice_arguments([glass], dtype, tail=tail)


@dtypes
@pytest.mark.parametrize("cutoff", [40 * BOHR, 60 * BOHR, 95 * BOHR])
def test_glass(cutoff: float, dtype: torch.dtype) -> None:
    compare(_glass(cutoff, dtype), learn=False)


def test_a_million_atoms() -> None:
    """8 x 9 x 10 cells of the glass and their energy; float32, a short cutoff."""
    atoms = read(glass_path())
    short = structure_of(atoms, 12.0, 12.0)
    one = run("dispersion_evaluate", *lattice_arguments([short], torch.float32))
    large = structure_of(atoms * (8, 9, 10), 12.0, 12.0)
    arguments = lattice_arguments([large], torch.float32)
    assert len(arguments[0]) == 1_080_000
    found = run("dispersion_evaluate", *arguments)
    assert abs(found[0].item() / (720 * one[0].item()) - 1) < 1e-5
    assert found[4].isfinite().all()


def _system(leaves: list[Tensor], arguments: tuple[Any, ...]) -> Tensor:
    positions, cell, damping = leaves
    systems = ops.Systems(positions, cell, *arguments[2:5])
    reach = ops.Range(*arguments[10:14])
    return 1e3 * ops.dispersion(systems, damping, ops.Tables(*arguments[6:10]), reach)


@pytest.mark.parametrize("tail", [False, True])
@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
def test_derivatives_of_the_lattice_engine(check: Any, tail: bool) -> None:
    structure = BULK[0] if tail else STRUCTURES[3]
    arguments = lattice_arguments([structure], torch.float64, width=2.0, tail=tail)
    arguments = moved(arguments, "cuda")
    leaves = [arguments[k].clone().requires_grad_() for k in (0, 1, 5)]
    assert check(lambda *x: _system([*x], arguments), leaves)


@pytest.mark.parametrize("tail", [False, True])
def test_the_lattice_engine_waits_for_nothing(tail: bool) -> None:
    batch = BULK[:8] if tail else STRUCTURES[:8]
    arguments = moved(lattice_arguments(batch, torch.float32, tail=tail), "cuda")
    leaves = [arguments[k].clone().requires_grad_() for k in (0, 1, 5)]
    with waiting_refused():
        grad(_system(leaves, arguments).sum(), leaves)


@pytest.mark.parametrize("tail", [False, True])
def test_a_cuda_graph_replays_the_lattice_engine(tail: bool) -> None:
    arguments = moved(_glass(21.17, torch.float32, tail), "cuda")
    op = torch.ops.d3torch.dispersion_evaluate
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            op(*arguments)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = op(*arguments)
    generator = torch.Generator("cuda").manual_seed(1)
    noise = torch.randn(arguments[0].shape, generator=generator, device="cuda")
    arguments[0].add_(0.05 * noise)
    graph.replay()
    torch.cuda.synchronize()
    replayed = [t.clone() for t in captured]
    assert all(map(torch.equal, replayed, op(*arguments)))


# ---- a given list ----

shapes = pytest.mark.parametrize("shape", SHAPES)


def _list_case(shape: str, dtype: torch.dtype = torch.float64) -> lists.Case:
    """A case on the GPU; its model stays where it was."""
    case = reshaped(lists.case_of("slab", dtype=dtype), shape)
    return lists.Case(*moved(case[:-1], "cuda"), model=case.model)


@pytest.mark.parametrize("shape", ["sorted", "half"])
@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
def test_derivatives_of_the_op_on_a_list(check: Any, shape: str) -> None:
    case = _list_case(shape)
    energy = lists.energy_of(case)
    assert check(lambda *x: 1e3 * energy(*x), lists.inputs_of(case))


@dtypes
@shapes
def test_opcheck_of_the_op_on_a_list(shape: str, dtype: torch.dtype) -> None:
    case = _list_case(shape, dtype)
    given = (*arguments(case), *last(case))
    torch.library.opcheck(torch.ops.d3torch.dispersion_on_list.default, given)


@shapes
def test_the_op_on_a_list_waits_for_nothing(shape: str) -> None:
    case = _list_case(shape, torch.float32)
    leaves = lists.inputs_of(case)
    with waiting_refused():
        grad(lists.energy_of(case)(*leaves).sum(), leaves)


@dtypes
@pytest.mark.parametrize("shape", ["sorted", "unsorted", "half"])
def test_the_glass_on_its_list(shape: str, dtype: torch.dtype) -> None:
    """The lattice engine of the same card finds the same pairs; and again, to the last bit."""
    cutoff = 25 * BOHR
    glass = structure_of(read(glass_path()), cutoff, cutoff)
    given = lattice_arguments([glass], dtype, width=1.0)
    pairs = lists.list_of(ops.Systems(*given[:5]), cutoff)
    rest = moved((*SHAPES[shape](pairs), True, True), "cuda")
    given = moved(given, "cuda")
    found = torch.ops.d3torch.dispersion_on_list_evaluate(*given, *rest)
    expected = torch.ops.d3torch.dispersion_evaluate(*given, True, True)
    assert_close(moved(found, "cpu"), moved(expected, "cpu"), 10.0)
    for _ in range(5):
        again = torch.ops.d3torch.dispersion_on_list_evaluate(*given, *rest)
        assert all(map(torch.equal, found, again))


@pytest.mark.parametrize("shape", ["sorted", "half"])
def test_a_cuda_graph_replays_the_op_on_a_list(shape: str) -> None:
    case = _list_case(shape, torch.float32)
    given = (*arguments(case), True, True, "best", *last(case))
    op = torch.ops.d3torch.dispersion_on_list_evaluate
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            op(*given)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = op(*given)
    case.systems.positions.mul_(1.001)
    graph.replay()
    torch.cuda.synchronize()
    replayed = [t.clone() for t in captured]
    assert all(map(torch.equal, replayed, op(*given)))

"""D3 on a given list on CUDA: that of the CPU for lists of every kind, repeatable, never silent.

Without a GPU it runs emulated, from test_cuda_emulation.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lists
import numpy as np
import pytest
import torch
from cuda_device import EMULATED, assert_close, on_either, run, run_cpu
from lists import Case, case_of, halved, list_of, shuffled
from torch import Tensor

from d3torch import D3, ops

pytestmark = on_either
dtypes = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
kinds = pytest.mark.parametrize("kind", lists.KINDS)

SHAPES: dict[str, Callable[[ops.PairList], ops.PairList]] = {
    "sorted": lambda p: p,
    "unsorted": shuffled,
    "half": halved,
    "int32": lambda p: p._replace(indices=p.indices.int()),
    "half int32": lambda p: halved(p)._replace(indices=halved(p).indices.int()),
    "shifts int64": lambda p: p._replace(shifts=p.shifts.long()),
}
shapes = pytest.mark.parametrize("shape", SHAPES)


def arguments(case: Case) -> tuple[Any, ...]:
    """Systems, damping, tables, range and list, as an op takes them."""
    return (*case.systems, case.damping, *case.tables[:4], *case.reach[:4], *case.pairs)


def last(case: Case) -> tuple[Any, ...]:
    """What stands at the end of the arguments of an op."""
    return case.tables.radii, case.form


def evaluate(case: Case, gradients: bool = True, learn: bool = True) -> ops.Evaluation:
    """All results of the kernels on CUDA."""
    given = (*arguments(case), gradients, learn, "best", *last(case))
    return ops.Evaluation(*run("dispersion_on_list_evaluate", *given))


def expected(case: Case, gradients: bool = True, learn: bool = True) -> ops.Evaluation:
    """The same from the lattice engine on the CPU, which finds the pairs itself."""
    rest = (gradients, learn, "best", case.form)
    return ops.evaluate(case.systems, case.damping, case.tables, case.reach, *rest)


def tangents_of(case: Case) -> list[Tensor]:
    """Directions of positions, cell and damping; rows of the cell without pbc do not matter."""
    given = (case.systems.positions, case.systems.cell, case.damping)
    x, cell, damping = (torch.cos(torch.arange(t.numel())).view_as(t).to(t) for t in given)
    return [x, cell * case.systems.pbc[:, :, None], damping]


def same(first: Any, second: Any) -> bool:
    """Whether all tensors are the same to the last bit."""
    return all(map(torch.equal, first, second))


def reshaped(case: Case, shape: str) -> Case:
    return case._replace(pairs=SHAPES[shape](case.pairs))


@dtypes
@kinds
@pytest.mark.parametrize("shape", ["sorted", "unsorted", "half"])
@pytest.mark.parametrize("width", [0.0, 1.6])
def test_results_are_those_of_the_cpu(
    width: float, shape: str, kind: str, dtype: torch.dtype
) -> None:
    case = case_of(kind, width, dtype)
    found = evaluate(reshaped(case, shape))
    assert_close(found, expected(case), 10.0 if dtype == torch.float64 else 1.0)


@dtypes
@shapes
@pytest.mark.parametrize("name", ["evaluate", "tangent"])
def test_results_are_those_of_the_same_op_on_the_cpu(
    name: str, shape: str, dtype: torch.dtype
) -> None:
    case = reshaped(case_of("slab", dtype=dtype), shape)
    given = arguments(case)
    given = (*given, True, True, "best") if name == "evaluate" else (*tangents_of(case), *given)
    found, cpu = (f(f"dispersion_on_list_{name}", *given, *last(case)) for f in (run, run_cpu))
    assert_close(found, cpu, 20.0 if dtype == torch.float64 else 2.0)


@dtypes
@kinds
@pytest.mark.parametrize("shape", ["sorted", "half"])
def test_tangents_are_those_of_the_lattice_engine(
    shape: str, kind: str, dtype: torch.dtype
) -> None:
    case = case_of(kind, dtype=dtype)
    given, tangents = arguments(case), tangents_of(case)
    cpu = run_cpu("dispersion_tangent", *tangents, *given[:-3], *last(case))
    given = arguments(reshaped(case, shape))
    found = run("dispersion_on_list_tangent", *tangents, *given, *last(case))
    assert_close(found, cpu, 100.0 if dtype == torch.float64 else 2.0)


@dtypes
@pytest.mark.parametrize(("gradients", "learn"), [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("form", ["", "zero ", "modified_zero "])
def test_modes(form: str, gradients: bool, learn: bool, dtype: torch.dtype) -> None:
    case = case_of(f"{form}crystal", dtype=dtype)
    found = evaluate(case, gradients, learn)
    assert_close(found, expected(case, gradients, learn), 10.0)
    shares = run("dispersion_on_list", *arguments(case), *last(case))
    assert_close(shares, found[:2], 0.0 if not (gradients or learn) else 1.0)


@dtypes
def test_tables_of_other_widths_and_of_species_that_do_not_occur(dtype: torch.dtype) -> None:
    """Five references have kernels of their own; three are padded; rows of a hundred species."""
    for reference, elements in (("2010", lists.ELEMENTS), ("2024", list(range(1, 87)))):
        case = case_of("slab", dtype=dtype)
        settings = {"cutoff": 6.2, "cn_cutoff": 5.3, "width": 1.6, "dtype": dtype}
        model = D3(elements, "pbe", reference=reference, **settings)
        species = model.species(torch.tensor([1, 6, 8, 11])[case.systems.species])
        systems = case.systems._replace(species=species)
        case = case._replace(systems=systems, tables=model.tables())
        assert_close(evaluate(case), expected(case), 10.0)
    t = case.tables
    few = t._replace(cn_ref=t.cn_ref[:, :3], c6_ref=t.c6_ref[..., :3, :3])
    case = case._replace(tables=few)
    assert_close(evaluate(case), expected(case), 10.0)


@shapes
def test_a_list_with_a_skin(shape: str) -> None:
    case = case_of()
    skin = case._replace(pairs=list_of(case.systems, 9.0))
    assert_close(evaluate(reshaped(skin, shape)), expected(case), 10.0)


def test_pairs_beyond_the_cutoffs_need_no_reverse() -> None:
    case = case_of(skin=0.0)
    near = evaluate(case)
    more = list_of(case.systems, 9.0)
    i, j = more.indices
    s = more.shifts.to(case.systems.positions)
    cell = case.systems.cell[(i > 3).long() * 2]
    x = case.systems.positions
    r = (x[j] - x[i] + torch.einsum("pk,pkd->pd", s, cell)).norm(dim=1)
    keep = (r < 6.2) | (i < j)
    assert (~keep).any()
    pairs = more._replace(indices=more.indices[:, keep], shifts=more.shifts[keep])
    assert_close(evaluate(case._replace(pairs=pairs)), near, 1.0)


def _one(
    numbers: Any, positions: Any, cell: Any, pbc: bool, dtype: torch.dtype, reach: float
) -> Case:
    """A case of one system, or of as many as there are rows of numbers."""
    numbers = np.atleast_2d(numbers)
    count, n = numbers.shape
    given = {"cutoff": reach, "cn_cutoff": 0.9 * reach, "width": 1.0, "dtype": dtype}
    model = D3(lists.ELEMENTS, "pbe", **given)
    systems = model.systems(
        torch.tensor(np.asarray(positions).reshape(-1, 3)).to(dtype),
        model.species(torch.tensor(numbers.reshape(-1))),
        torch.tensor(np.broadcast_to(cell, (count, 3, 3)).copy()).to(dtype),
        torch.full((count, 3), pbc),
        torch.arange(count + 1) * n,
    )
    damping = model.damping().expand(count, -1)
    pairs = list_of(systems, reach)
    return Case(systems, pairs, damping, model.tables(), model.reach(), ops.RATIONAL, model)


@dtypes
@pytest.mark.parametrize("shape", ["sorted", "half"])
def test_a_batch_of_many_small_molecules(shape: str, dtype: torch.dtype) -> None:
    """Several atoms of a block, of different systems."""
    rng = np.random.default_rng(5)
    positions = np.array(list(np.ndindex(2, 2, 1))) * 1.5 + rng.uniform(-0.2, 0.2, (60, 4, 3))
    case = _one(rng.choice([1, 6, 8], (60, 4)), positions, np.eye(3), False, dtype, 6.0)
    assert_close(evaluate(reshaped(case, shape)), expected(case), 10.0)


@dtypes
@pytest.mark.parametrize(("shape", "warps"), [("sorted", 4), ("unsorted", 4), ("sorted", 2)])
def test_long_rows_of_few_atoms(shape: str, warps: int, dtype: torch.dtype) -> None:
    """Two warps, or four, share an atom."""
    cell = [[3.1, 0, 0], [0.4, 2.9, 0], [0, -0.3, 3.0]]
    cutoff = {4: 15.0, 2: 10.0}[warps]
    case = _one([[11, 8]], [[0, 0, 0], [1.5, 1.4, 1.6]], cell, True, dtype, cutoff)
    pairs_of_lane = case.pairs.indices.shape[1] / (2 * warps * 32)
    assert pairs_of_lane >= 4
    assert warps == 4 or pairs_of_lane < 8
    assert_close(evaluate(reshaped(case, shape)), expected(case), 20.0)


def test_a_crystal_far_from_the_origin_in_single_precision() -> None:
    """Its cell gradient keeps digits: that of the same positions in double precision."""
    case = case_of(dtype=torch.float32)
    x = (case.systems.positions + torch.tensor([2000.0, -1500.0, 500.0])).double()
    x = x.float().double()
    systems = case.systems._replace(positions=x, cell=case.systems.cell.double())
    tables = ops.Tables(*(t if t is None else t.double() for t in case.tables))
    exact = case._replace(systems=systems, damping=case.damping.double(), tables=tables)
    exact = exact._replace(pairs=list_of(exact.systems, 6.9))
    single = case._replace(systems=case.systems._replace(positions=x.float()), pairs=exact.pairs)
    found = tuple(t.double() for t in evaluate(single))
    for a, b in zip(found, evaluate(exact), strict=True):
        assert (a - b).abs().max() <= 1e-5 * b.abs().max()


@dtypes
def test_no_pairs_no_atoms_and_no_systems(dtype: torch.dtype) -> None:
    case = case_of(dtype=dtype)
    s, none = case.systems, ops.PairList(case.pairs.indices[:, :0], case.pairs.shifts[:0])
    apart = evaluate(case._replace(pairs=none))
    assert not any(t.any() for t in (apart.energy, apart.cn, apart.gradient, apart.by_cell))
    assert apart.c6.isfinite().all()
    for half in (False, True):
        for n in (2, 0):
            nobody = ops.Systems(
                *(s.positions[:0], s.cell[:n], s.pbc[:n], s.species[:0]),
                torch.zeros(n + 1, dtype=torch.long),
            )
            pairs = none._replace(half=half)
            empty = case._replace(systems=nobody, pairs=pairs, damping=case.damping[:n])
            found = evaluate(empty)
            assert [len(t) for t in found] == [n, 0, 0, 0, 0, n, n, n]
            assert not any(t.any() for t in found)


# ---- order, and repeats ----


def in_order(pairs: ops.PairList) -> ops.PairList:
    """Every pair both ways, sorted by centre; those of an atom stay in order."""
    indices, shifts = pairs.indices, pairs.shifts
    if pairs.half:
        indices, shifts = torch.cat([indices, indices.flip(0)], 1), torch.cat([shifts, -shifts])
    order = torch.argsort(indices[0], stable=True)
    return ops.PairList(indices[:, order], shifts[order])


@dtypes
@pytest.mark.parametrize("shape", ["unsorted", "half"])
def test_a_list_is_put_in_order(shape: str, dtype: torch.dtype) -> None:
    """The same to the last bit as the list that is in order already."""
    case = reshaped(case_of(dtype=dtype), shape)
    ordered = case._replace(pairs=in_order(case.pairs))
    assert same(evaluate(case), evaluate(ordered))


@dtypes
@pytest.mark.parametrize("shape", ["sorted", "unsorted", "half"])
def test_results_repeat_to_the_last_bit(shape: str, dtype: torch.dtype) -> None:
    """Emulated blocks run forwards and backwards in turn: with one more in between, the other way
    round.
    """
    case = reshaped(case_of(dtype=dtype), shape)
    first = evaluate(case)
    for _ in range(2 if EMULATED else 20):
        backward(case, first)
        assert same(first, evaluate(case))


def backward(case: Case, of: ops.Evaluation) -> tuple[Tensor, ...]:
    """Gradients of a loss: one launch of one block."""
    grads = (torch.linspace(-1.0, 2.0, len(of.energy)).to(of.energy), of.gradient)
    given = (*grads, of.by_cell, of.by_damping, *arguments(case), *last(case))
    return run("dispersion_on_list_backward", *given)


@dtypes
def test_backward_scales_the_gradients_of_every_system(dtype: torch.dtype) -> None:
    case = case_of(dtype=dtype)
    all_of = evaluate(case)
    by = torch.linspace(-1.0, 2.0, 3).to(dtype)
    positions, cell, damping = backward(case, all_of)
    of_atom = by.repeat_interleave(torch.tensor([4, 0, 3]))
    assert torch.equal(positions, of_atom[:, None] * all_of.gradient)
    assert torch.equal(cell, by[:, None, None] * all_of.by_cell)
    assert torch.equal(damping, by[:, None] * all_of.by_damping)

"""What the CPU refuses of a given list comes out as NaN on CUDA, for the system that it concerns.

Without a GPU the kernels run emulated, from test_cuda_emulation.py.
"""

from __future__ import annotations

from collections.abc import Callable

import lists
import pytest
import torch
from cuda_device import on_either, run
from lists import Case, case_of, halved, shuffled
from test_cuda_list import arguments, dtypes, evaluate, reshaped

from d3torch import ops

pytestmark = on_either


def _with_pair(case: Case, i: int, j: int, shift: tuple[float, float, float]) -> Case:
    """With one more pair and its reverse."""
    indices = torch.cat([case.pairs.indices, torch.tensor([[i, j], [j, i]])], dim=1)
    s = torch.tensor([shift]).to(case.pairs.shifts)
    pairs = case.pairs._replace(indices=indices, shifts=torch.cat([case.pairs.shifts, s, -s]))
    return case._replace(pairs=pairs)


def _shuffled(case: Case) -> Case:
    return case._replace(pairs=shuffled(case.pairs))


def _moved(case: Case, value: float) -> Case:
    x = case.systems.positions.clone()
    x[5, 1] = value
    return case._replace(systems=case.systems._replace(positions=x))


def _almost_on_one_spot(case: Case) -> Case:
    x = case.systems.positions.clone()
    x[6] = x[5] + 1e-7
    return _with_pair(case._replace(systems=case.systems._replace(positions=x)), 5, 6, (0, 0, 0))


def _real_shifts(case: Case, value: float) -> Case:
    shifts = case.pairs.shifts.to(case.systems.positions)
    shifts[-1, 0] += value
    return case._replace(pairs=case.pairs._replace(shifts=shifts))


def _flat(case: Case) -> Case:
    cell = case.systems.cell.clone()
    cell[2, 2] = cell[2, 0]
    return case._replace(systems=case.systems._replace(cell=cell))


def _without_last(case: Case) -> Case:
    pairs = case.pairs
    fewer = pairs._replace(indices=pairs.indices[:, :-1], shifts=pairs.shifts[:-1])
    return case._replace(pairs=fewer)


SPOILT: dict[str, Callable[[Case], Case]] = {
    "NaN": lambda c: _moved(c, float("nan")),
    "infinity": lambda c: _moved(c, float("inf")),
    "singular cell": _flat,
    "atom with itself": lambda c: _with_pair(c, 5, 5, (0, 0, 0)),
    "almost on one spot": _almost_on_one_spot,
    "shift across": lambda c: _with_pair(c, 5, 6, (0, 1, 0)),
    "broken shift": lambda c: _real_shifts(c, 0.5),
    "broken shift both ways": lambda c: _with_pair(_real_shifts(c, 0.0), 5, 6, (0.5, 0, 0)),
    "NaN shift": lambda c: _real_shifts(c, float("nan")),
    "infinite shift": lambda c: _real_shifts(c, float("inf")),
    "no reverse": _without_last,
    "unsorted without a reverse": lambda c: _shuffled(_without_last(c)),
}


@dtypes
@pytest.mark.parametrize("what", SPOILT)
def test_a_system_that_the_cpu_refuses_is_nan(what: str, dtype: torch.dtype) -> None:
    """And no other: the first is as without it."""
    case = case_of("slab", dtype=dtype, skin=0.0)
    spoilt = SPOILT[what](case)
    with pytest.raises(ValueError, match="d3torch: expected"):
        lists.call(spoilt)
    found, good = evaluate(spoilt), evaluate(case)
    for a, b in zip(found, good, strict=True):
        bad = slice(4, 7) if len(a) == 7 else slice(2, 3)
        assert a[bad].isnan().all()
        rounding = {torch.float64: 1e-11, torch.float32: 1e-5}[dtype]
        assert (a[: bad.start] - b[: bad.start]).abs().max() <= rounding * b.abs().max()


@dtypes
def test_a_half_list_that_has_pairs_both_ways_is_nan(dtype: torch.dtype) -> None:
    """One that is full, and one that is full for the last system alone."""
    case = case_of(dtype=dtype, skin=0.0)
    (i, _), half = case.pairs.indices, halved(case.pairs)
    full = case._replace(pairs=case.pairs._replace(half=True))
    with pytest.raises(ValueError, match="d3torch: expected"):
        lists.call(full)
    assert evaluate(full).energy.isnan().tolist() == [True, False, True]
    first = half.indices[0] < 4
    indices = torch.cat([half.indices[:, first], case.pairs.indices[:, i > 3]], dim=1)
    shifts = torch.cat([half.shifts[first], case.pairs.shifts[i > 3]])
    part = case._replace(pairs=ops.PairList(indices, shifts, True))
    assert evaluate(part).energy.isnan().tolist() == [False, False, True]


@dtypes
@pytest.mark.parametrize("both_ways", [True, False])
def test_a_pair_of_two_systems_makes_both_nan(both_ways: bool, dtype: torch.dtype) -> None:
    case = _with_pair(case_of("molecule", dtype=dtype), 1, 5, (0, 0, 0))
    found = evaluate(case if both_ways else _without_last(case))
    assert found.energy.isnan().tolist() == [True, False, True]


WRONG: dict[str, Callable[[Case], Case]] = {
    "centre": lambda c: _with_index(c, 0, 7),
    "neighbour": lambda c: _with_index(c, 1, 7),
    "negative": lambda c: _with_index(c, 1, -1),
    "large": lambda c: _with_index(c, 1, 1 << 32),
    "species": lambda c: c._replace(systems=_replaced(c.systems, "species", 200)),
    "offsets": lambda c: c._replace(systems=_replaced(c.systems, "offsets", 200)),
}


def _with_index(case: Case, row: int, value: int) -> Case:
    indices = case.pairs.indices.clone()
    indices[row, 3] = value
    return case._replace(pairs=case.pairs._replace(indices=indices))


def _replaced(systems: ops.Systems, name: str, value: int) -> ops.Systems:
    field = getattr(systems, name).clone()
    field[1] = value
    return systems._replace(**{name: field})


@dtypes
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("what", WRONG)
def test_indices_out_of_range_make_everything_nan(
    what: str, half: bool, dtype: torch.dtype
) -> None:
    case = case_of(dtype=dtype)
    case = WRONG[what](reshaped(case, "half") if half else case)
    assert all(t.isnan().all() for t in evaluate(case))


def test_refusals_are_one_sentence() -> None:
    case = case_of()
    given = arguments(case)
    with pytest.raises(
        ValueError, match=r"expected instruction_set to be best on a GPU, got avx2\."
    ):
        run("dispersion_on_list_evaluate", *given, True, False, "avx2")
    nobody = case.systems._replace(
        positions=case.systems.positions[:0],
        species=case.systems.species[:0],
        offsets=torch.zeros(4, dtype=torch.long),
    )
    with pytest.raises(IndexError, match=r"expected no pairs where there are no atoms, got \d+\."):
        evaluate(case._replace(systems=nobody))
    wide = case.tables._replace(
        cn_ref=torch.ones(4, 8, dtype=torch.float64),
        c6_ref=torch.ones(4, 4, 8, 8, dtype=torch.float64),
    )
    with pytest.raises(ValueError, match="n_refs <= 7"):
        evaluate(case._replace(tables=wide))

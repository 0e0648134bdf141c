"""The list engine against the lattice engine: long rows, many species, one-atom cells."""

from __future__ import annotations

from itertools import product
from typing import Any

import lists
import numpy as np
import pytest
import torch
from ase.io import read
from instruction_sets import FLAGS, require
from lists import assert_close, halved, shuffled
from torch import Tensor

from d3torch import D3, ops
from d3torch.examples import glass_path

CUTOFF = 12.0
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5}
MANY = ["H", "C", "N", "O", "F", "Si", "P", "S", "Cl"]
dtypes = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)


class _Given:
    """A model with a batch of one system: the arguments of both engines."""

    def __init__(self, elements: list[Any], systems: tuple[Any, ...], dtype: torch.dtype) -> None:
        model = D3(elements, "pbe", cutoff=CUTOFF, cn_cutoff=CUTOFF - 1.5, width=1.0, dtype=dtype)
        x, numbers, cell, pbc = systems
        self.batch = model.systems(
            torch.tensor(x).to(dtype),
            model.species(torch.tensor(numbers)),
            torch.tensor(cell).to(dtype),
            torch.tensor(pbc),
        )
        self.last = (model.damping()[None], model.tables(), model.reach())

    def lattice(self, **given: Any) -> ops.Evaluation:
        return ops.evaluate(self.batch, *self.last, learn=True, **given)

    def on_list(self, pairs: ops.PairList, **given: Any) -> ops.Evaluation:
        return ops.evaluate_on_list(self.batch, pairs, *self.last, learn=True, **given)

    def tangent(self, pairs: ops.PairList | None) -> tuple[Tensor, ...]:
        """Derivatives of everything along a direction of positions, cell and damping."""
        leaves = (self.batch.positions, self.batch.cell, self.last[0])
        along = [torch.sin(torch.arange(x.numel()).to(x)).reshape(x.shape) for x in leaves]
        whole = (*self.batch, *self.last[0:1], *self.last[1][:4], *self.last[2][:4])
        if pairs is None:
            return tuple(torch.ops.d3torch.dispersion_tangent(*along, *whole))
        return tuple(torch.ops.d3torch.dispersion_on_list_tangent(*along, *whole, *pairs))


def _glass(dtype: torch.dtype = torch.float64) -> _Given:
    atoms: Any = read(glass_path())
    given = (atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc)
    return _Given(sorted(set(atoms.numbers.tolist())), given, dtype)


def _many_species(dtype: torch.dtype = torch.float64) -> _Given:
    """Some 150 atoms of nine species, periodic along two axes."""
    rng = np.random.default_rng(3)
    grid = np.stack(np.meshgrid(*3 * [np.arange(5.0)]), axis=-1).reshape(-1, 3)
    x = 1.9 * (grid + rng.uniform(-0.15, 0.15, grid.shape))
    numbers = rng.choice([1, 6, 7, 8, 9, 14, 15, 16, 17], len(x))
    return _Given(MANY, (x, numbers, 9.5 * np.eye(3), [True, False, True]), dtype)


def _with_instruction_set(given: _Given, pairs: ops.PairList, name: str) -> ops.Evaluation:
    require(name)
    return given.on_list(pairs, instruction_set=name)


@dtypes
@pytest.mark.parametrize("instruction_set", FLAGS)
@pytest.mark.parametrize("make", [_glass, _many_species])
def test_each_instruction_set_gives_what_the_lattice_engine_gives(
    make: Any, instruction_set: str, dtype: torch.dtype
) -> None:
    given = make(dtype)
    pairs = lists.list_of(given.batch, CUTOFF)
    found = _with_instruction_set(given, pairs, instruction_set)
    expected = given.lattice(instruction_set=instruction_set)
    assert_close(found, expected, TOLERANCE[dtype])
    assert found.energy.item() == pytest.approx(
        expected.energy.item(), rel=1e-13 if dtype == torch.float64 else 1e-6
    )


@pytest.mark.parametrize("make", [_glass, _many_species])
def test_tangents_are_those_of_the_lattice_engine(make: Any) -> None:
    given = make()
    pairs = lists.list_of(given.batch, CUTOFF + 0.5)
    assert_close(given.tangent(pairs), given.tangent(None), 1e-11)


def test_orders_halves_and_kinds_of_long_rows_give_the_same() -> None:
    given = _glass()
    pairs = lists.list_of(given.batch, CUTOFF)
    expected = given.on_list(pairs)
    narrow = ops.PairList(pairs.indices.int(), pairs.shifts.long())
    for same in (narrow, narrow._replace(shifts=pairs.shifts.double())):
        assert all(map(torch.equal, given.on_list(same), expected))
    for other in (shuffled(pairs), halved(pairs), lists.list_of(given.batch, CUTOFF + 1)):
        assert_close(given.on_list(other), expected, 1e-12)


# ---- one atom: its pairs differ in their shifts alone ----


def _one_atom() -> tuple[_Given, ops.PairList]:
    cell = np.array([[2.9, 0.0, 0.0], [0.3, 3.1, 0.0], [0.2, -0.4, 3.0]])
    given = _Given(["Si"], (np.zeros((1, 3)), [14], cell, [True] * 3), torch.float64)
    return given, lists.list_of(given.batch, CUTOFF)


def _kept(pairs: ops.PairList, keep: Tensor) -> ops.PairList:
    return pairs._replace(indices=pairs.indices[:, keep], shifts=pairs.shifts[keep])


@pytest.mark.parametrize("order", list(product((1, -1), (1, 100, 10000), (1, 100, 10000))))
def test_half_of_the_images_of_one_atom_is_no_full_list(order: tuple[int, int, int]) -> None:
    """Whichever half: each has as many pairs at every atom as a list that is whole."""
    given, pairs = _one_atom()
    sign, first, second = order
    weights = pairs.shifts.new_tensor([sign, first, -second])
    side = pairs.shifts @ weights
    keep = (side > 0) | ((side == 0) & (pairs.shifts[:, 0] > 0))
    once, twice = _kept(pairs, keep), torch.cat([_kept(pairs, keep).shifts] * 2)
    with pytest.raises(ValueError, match=r"both ways round, got pair \d+ \(0, 0\) without"):
        given.on_list(once)
    indices = torch.zeros(2, len(twice), dtype=torch.long)
    with pytest.raises(ValueError, match=r"both ways round, got pair \d+ \(0, 0\) without"):
        given.on_list(ops.PairList(indices, twice))


@pytest.mark.parametrize("seed", range(20))
def test_the_pair_without_its_reverse_is_named(seed: int) -> None:
    given = _many_species()
    pairs = shuffled(lists.list_of(given.batch, CUTOFF), seed)
    (i, j), shifts = pairs.indices, pairs.shifts
    x = given.batch.positions
    r = (x[j] - x[i] + shifts.double() @ given.batch.cell[0]).norm(dim=1)
    missing = int(torch.nonzero(r < 0.99 * CUTOFF)[seed])
    keep = torch.arange(len(i)) != missing
    left = _kept(pairs, keep)
    back = (left.indices[0] == j[missing]) & (left.indices[1] == i[missing])
    p = int(torch.nonzero(back & (left.shifts == -shifts[missing]).all(dim=1)))
    named = rf"got pair {p} \({int(j[missing])}, {int(i[missing])}\) without its reverse"
    with pytest.raises(ValueError, match=named):
        given.on_list(left)


def test_pairs_at_the_cutoff_may_lack_their_reverse() -> None:
    """Hosts in single precision round where their lists end; and beyond, nothing counts."""
    given = _many_species()
    pairs = lists.list_of(given.batch, CUTOFF + 0.5)
    (i, j), x = pairs.indices, given.batch.positions
    r = (x[j] - x[i] + pairs.shifts.double() @ given.batch.cell[0]).norm(dim=1)
    edge = torch.nonzero((r < CUTOFF + 0.3) & (r > CUTOFF * (1 - 5e-5)))[:, 0]
    keep = torch.ones(len(i), dtype=torch.bool)
    keep[edge[::3]] = False
    assert_close(given.on_list(_kept(pairs, keep)), given.on_list(pairs), 1e-9)

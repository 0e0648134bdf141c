"""Neighbour lists of batches, whole and in other shapes, and a batch of every periodicity."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from systems import CELL, DAMPING, FORMS, PERIODIC
from torch import Tensor

from d3torch import D3, eager, neighbor_pairs, ops
from d3torch.reference import reference_tables
from d3torch.units import BOHR

ELEMENTS = ["H", "C", "O", "Na"]
KINDS = [*PERIODIC, "zero crystal", "modified_zero slab"]
"""Periodicities, and damping where it is not rational."""


def list_of(systems: ops.Systems, cutoff: float) -> ops.PairList:
    """All pairs of a batch within a cutoff, sorted by centre; int64, shifts int32."""
    pairs = [torch.zeros(2, 0, dtype=torch.long)]
    shifts = [torch.zeros(0, 3, dtype=torch.int32)]
    offsets = systems.offsets.tolist()
    for b, (first, last) in enumerate(pairwise(offsets)):
        x, cell = systems.positions[first:last].detach(), systems.cell[b].detach()
        near = neighbor_pairs(x.double(), cell.double(), systems.pbc[b], cutoff)
        pairs.append(near.pairs + first)
        shifts.append(near.shifts)
    return ops.PairList(torch.cat(pairs, dim=1), torch.cat(shifts))


def shuffled(pairs: ops.PairList, seed: int = 5) -> ops.PairList:
    """The same pairs in another order."""
    order = torch.tensor(np.random.default_rng(seed).permutation(pairs.indices.shape[1]))
    return pairs._replace(indices=pairs.indices[:, order], shifts=pairs.shifts[order])


def halved(pairs: ops.PairList, seed: int = 5) -> ops.PairList:
    """Each pair once, either way round, in an order of its own."""
    (i, j), s = pairs.indices, pairs.shifts
    rising = (s @ s.new_tensor([10000, 100, 1])) > 0
    once = (i < j) | ((i == j) & rising)
    half = shuffled(pairs._replace(indices=pairs.indices[:, once], shifts=s[once]), seed)
    turned = torch.tensor(np.random.default_rng(seed).random(half.indices.shape[1]) < 0.5)
    indices = torch.where(turned, half.indices.flip(0), half.indices)
    return ops.PairList(indices, torch.where(turned[:, None], -half.shifts, half.shifts), True)


class Case(NamedTuple):
    """The arguments of the op on a list, and the module that they are of."""

    systems: ops.Systems
    pairs: ops.PairList
    damping: Tensor
    tables: ops.Tables
    reach: ops.Range
    form: int
    model: D3


def case_of(
    kind: str = "crystal",
    width: float = 1.6,
    dtype: torch.dtype = torch.float64,
    skin: float = 0.7,
) -> Case:
    """Three systems of one periodicity, of 4, 0 and 3 atoms, with cells and damping of their own.

    The kind is a periodicity, after the name of a damping where that is not rational.
    """
    name, _, rest = kind.partition(" ")
    form, kind = (FORMS[name], rest) if name in FORMS else (ops.RATIONAL, kind)
    model = D3(ELEMENTS, "pbe", cutoff=6.2, cn_cutoff=5.3, width=width, dtype=dtype)
    rng = np.random.default_rng(8)
    grid = np.stack(np.meshgrid(*3 * [np.arange(2)]), axis=-1).reshape(-1, 3)[:7] * 0.5
    fractional = torch.tensor(grid + rng.uniform(-0.06, 0.06, (7, 3)))
    cells = torch.stack([CELL, CELL, 1.07 * CELL.flip(0)])
    positions = torch.cat([fractional[:4] @ cells[0], fractional[4:] @ cells[2]])
    positions[[1, 5]] += (cells[[0, 2]] * torch.tensor(PERIODIC[kind])[:, None]).sum(dim=1)
    batch = model.systems(
        positions.to(dtype),
        torch.tensor([0, 1, 2, 3, 1, 2, 1]),
        cells.to(dtype),
        torch.tensor([PERIODIC[kind]] * 3),
        torch.tensor([0, 4, 4, 7]),
    )
    damping, tables = _damping(model, form)
    pairs = list_of(batch, 6.2 + skin)
    return Case(batch, pairs, damping, tables, model.reach(), form, model)


def _damping(model: D3, form: int) -> tuple[Tensor, ops.Tables]:
    """Parameters of three systems, and the tables that the form needs."""
    like = model.rcov
    if form == ops.RATIONAL:
        other = D3(ELEMENTS, "b3-lyp", dtype=like.dtype).damping()
        return torch.stack([model.damping(), other, other]), model.tables()
    radii = torch.tensor(reference_tables(ELEMENTS).radii * BOHR, dtype=like.dtype)
    first = torch.tensor(DAMPING[form], dtype=like.dtype)
    first[4:] /= BOHR
    return torch.stack([first, first, 1.03 * first]), model.tables()._replace(radii=radii)


def doubled(case: Case) -> Case:
    """A case of float32 in float64, at the same rounded numbers."""
    systems, tables = (
        type(values)(
            *(t.double() if t is not None and t.is_floating_point() else t for t in values)
        )
        for values in (case.systems, case.tables)
    )
    return case._replace(systems=systems, tables=tables, damping=case.damping.double())


def call(case: Case, backend: str = "kernel") -> ops.Shares:
    """Energies and shares of a case."""
    op: Callable[..., ops.Shares] = ops.on_list if backend == "kernel" else eager.dispersion_on_list
    return op(*case[:6])


def energy_of(case: Case, backend: str = "kernel") -> Callable[..., Tensor]:
    """Energies (n_systems,) of positions, cell and damping."""

    def energy(positions: Tensor, cell: Tensor, damping: Tensor) -> Tensor:
        systems = case.systems._replace(positions=positions, cell=cell)
        return call(case._replace(systems=systems, damping=damping), backend).energy

    return energy


def inputs_of(case: Case) -> list[Tensor]:
    """Leaves of what the energy is differentiable in."""
    values = (case.systems.positions, case.systems.cell, case.damping)
    return [v.detach().clone().requires_grad_() for v in values]


def evaluated(case: Case, **given: Any) -> ops.Evaluation:
    """All results of a case, with those of learning."""
    return ops.evaluate_on_list(*case[:5], learn=True, form=case.form, **given)


def assert_close(found: Any, expected: Any, tolerance: float) -> None:
    """Tensors equal relative to their largest component."""
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        if a.numel():
            assert (a - b).abs().max() <= tolerance * b.abs().max()


def is_one_sentence(text: str) -> bool:
    """Whether a refusal says what was expected and got, in one line."""
    return re.fullmatch(r"d3torch: expected [^\n]*, got [^\n]*\.", text) is not None

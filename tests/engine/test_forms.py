"""Every damping function against simple-dftd3, on the corpus, by every instruction set."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import oracle
import pytest
import torch
from corpus import Structure, random_structures
from instruction_sets import FLAGS, require
from systems import DAMPING, FORMS, from_pairs, pair_list, small_tables
from test_lattice import _deviations, _result

from d3torch import eager, ops
from d3torch.units import BOHR

STRUCTURES = random_structures(220)
CURVED = [ops.ZERO, ops.MODIFIED_ZERO]
TOLERANCE = {torch.float64: (1e-12, 1e-10, 1e-10), torch.float32: (1e-5, 2e-5, 2e-5)}
DISTANCES = [
    (form, distance)
    for form in FORMS.values()
    for distance in (1e-6, 1e-3, 0.1, 300.0, 500.0)
    if form != ops.MODIFIED_ZERO or distance >= 0.1
]
forms = pytest.mark.parametrize("form", CURVED, ids=["zero", "modified_zero"])
dtypes = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)


@cache
def _expected(key: int, form: int, dtype: torch.dtype) -> oracle.Oracle:
    """The oracle's result in hartree and bohr, of a structure rounded to the dtype."""
    s = STRUCTURES[key]
    x, cell = (
        (torch.tensor(v / BOHR, dtype=dtype).double() * BOHR).numpy() for v in (s.positions, s.cell)
    )
    return oracle.of_form(DAMPING[form], form, s.numbers, x, cell, s.pbc, s.cutoff, s.cn_cutoff)


def _arguments(s: Structure, form: int, dtype: torch.dtype) -> tuple[Any, ...]:
    """Systems, damping, tables and range in hartree and bohr."""
    elements = np.unique(s.numbers)
    positions, cell = (
        torch.tensor(v / BOHR, dtype=dtype) for v in (s.positions, s.cell.reshape(1, 3, 3))
    )
    species = torch.tensor(np.searchsorted(elements, s.numbers))
    offsets = torch.tensor([0, len(s.numbers)])
    systems = ops.Systems(positions, cell, torch.tensor(s.pbc)[None], species, offsets)
    reach = ops.Range(s.cutoff / BOHR, s.cn_cutoff / BOHR)
    damping = torch.tensor([DAMPING[form]], dtype=dtype)
    return systems, damping, small_tables(elements.tolist(), dtype, form), reach


@forms
@dtypes
@pytest.mark.parametrize("instruction_set", FLAGS)
def test_lattice_engine_on_the_corpus(instruction_set: str, dtype: torch.dtype, form: int) -> None:
    require(instruction_set)
    for key, s in enumerate(STRUCTURES):
        given = _arguments(s, form, dtype)
        e = ops.evaluate(*given, instruction_set=instruction_set, form=form)
        found = _deviations(_result(e), _expected(key, form, dtype), s.cutoff / BOHR)
        assert (found <= TOLERANCE[dtype]).all(), (s.name, found)


@forms
@pytest.mark.parametrize("backend", [ops, eager], ids=["kernel", "eager"])
def test_pair_list_on_the_corpus(backend: Any, form: int) -> None:
    for key, s in list(enumerate(STRUCTURES))[::4]:
        systems, damping, tables, reach = _arguments(s, form, torch.float64)
        farthest = max(s.cutoff, s.cn_cutoff)
        pairs, vectors = pair_list(s.positions, s.cell, s.pbc, farthest)
        vectors = (vectors / BOHR).requires_grad_()
        species = systems.species
        cn = backend.coordination_number(vectors, pairs, species, tables.rcov, reach.cn_cutoff)
        last = (pairs, species, tables, reach.cutoff, 0.0, form)
        energy = backend.dispersion_energy(vectors, cn, damping[0], *last).sum()
        result = from_pairs(energy, vectors, pairs, len(species))
        found = _deviations(result, _expected(key, form, torch.float64), reach.cutoff)
        assert (found <= TOLERANCE[torch.float64]).all(), (s.name, found)


@dtypes
@pytest.mark.parametrize(("form", "distance"), DISTANCES)
def test_far_and_near_pairs_are_finite(distance: float, dtype: torch.dtype, form: int) -> None:
    """With first and second derivatives; a power of r that leaves a float's range would not be.

    With modified zero damping the energy itself is infinite at r = 0, and too large for a float
    where atoms nearly meet.
    """
    tables = small_tables(["H", "Cs"], dtype, form)
    damping = torch.tensor(DAMPING[form], dtype=dtype).requires_grad_()
    r = torch.tensor([[distance, 0.0, 0.0]], dtype=dtype).requires_grad_()
    last = (torch.tensor([[0], [1]]), torch.tensor([0, 1]), tables, 600.0, 0.0, form)
    cn = torch.tensor([0.9, 0.9], dtype=dtype)
    energy = ops.dispersion_energy(r, cn, damping, *last).sum()
    first = torch.autograd.grad(energy, [r, damping], create_graph=True)
    second = torch.autograd.grad(sum(g.sum() for g in first), [r, damping])
    assert all(x.isfinite().all() for x in (energy, *first, *second))
    if distance >= 0.1:
        twin = eager.dispersion_energy(
            r.double(),
            cn.double(),
            damping.double(),
            *last[:2],
            ops.Tables(*(None if t is None else t.double() for t in tables)),
            *last[3:],
        ).sum()
        scale = 1e-12 if dtype == torch.float64 else 1e-4
        assert abs(energy.item() - twin.item()) <= scale * abs(twin.item())

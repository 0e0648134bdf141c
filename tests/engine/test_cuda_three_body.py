"""The three-body term on CUDA: that of the CPU.

Without a GPU it runs emulated, from test_cuda_emulation.py.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ase.build import bulk
from corpus import random_structures
from cuda_device import GPU, on_either, run, run_cpu
from three_body import PERIODIC, Case, case, flat, small, structure_of

from d3torch.excluded import excluding

pytestmark = on_either
STRUCTURES = random_structures(120 if GPU else 15)
dtypes = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
BEST = (True, True, "best")


def assert_agree(found: Any, expected: Any) -> None:
    """Relative to the largest component; where parts cancel, to 1e-5 or a tenth of the energies."""
    energy = expected[0].abs().sum().item()
    for a, b in zip(found, expected, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        tolerance = {torch.float64: 1e-11, torch.float32: 2e-5}[a.dtype]
        assert (a - b).abs().max() <= tolerance * max(b.abs().max().item(), 1e-5, 0.1 * energy)


def compare(given: Case, *how: Any, form: int = 0) -> None:
    arguments = flat(given, *(how or BEST), form=form)
    assert_agree(run("dispersion_evaluate", *arguments), run_cpu("dispersion_evaluate", *arguments))


@dtypes
@pytest.mark.parametrize("key", range(len(STRUCTURES)))
def test_clusters_and_crystals(key: int, dtype: torch.dtype) -> None:
    compare(case(STRUCTURES[key], 4.5, 1.0 if key % 2 else 0.0, dtype))


@dtypes
@pytest.mark.parametrize("kind", PERIODIC)
def test_batches_and_modes(kind: str, dtype: torch.dtype) -> None:
    given = small(kind, 1.0, dtype)
    for how in (BEST, (True, False, "best"), (False, False, "best")):
        compare(given, *how)


@dtypes
@pytest.mark.parametrize("form", [1, 2])
def test_other_dampings_of_pairs(form: int, dtype: torch.dtype) -> None:
    systems, _, tables, reach = small("slab", 1.0, dtype)
    parameters = [1.0, 0.722, 1.217, 1.0, 0.03][: 3 + form]
    other = torch.tensor([[*parameters, 1.1], [*parameters, 0.7]], dtype=dtype)
    compare((systems, other, tables, reach), form=form)


@dtypes
@pytest.mark.parametrize("kind", PERIODIC)
def test_second_derivatives(kind: str, dtype: torch.dtype) -> None:
    given = small(kind, 1.0, dtype)
    generator = torch.Generator().manual_seed(1)
    along = [
        torch.rand(x.shape, generator=generator, dtype=torch.float64).to(dtype)
        for x in (given[0].positions, given[0].cell, given[1])
    ]
    arguments = (*along, *flat(given))
    found, expected = (f("dispersion_tangent", *arguments) for f in (run, run_cpu))
    assert_agree(found, expected)


@dtypes
@pytest.mark.parametrize("kind", PERIODIC)
def test_atoms_left_out(kind: str, dtype: torch.dtype) -> None:
    """Where C6 are 0, in values and second derivatives, which stay finite."""
    systems, damping, tables, reach = small(kind, 1.0, dtype)
    out = torch.tensor([False, True, False, True, True, True, True])
    tables, species = excluding(tables, systems.species, out)
    given = (systems._replace(species=species), damping, tables, reach)
    compare(given)
    found = run("dispersion_evaluate", *flat(given, *BEST))
    assert not found[1][out].any()
    along = [torch.ones_like(x) for x in (systems.positions, systems.cell, damping)]
    along[0][::2] = 0.5
    tangents = run("dispersion_tangent", *along, *flat(given))
    assert all(x.isfinite().all() for x in tangents)
    assert_agree(tangents, run_cpu("dispersion_tangent", *along, *flat(given)))


@dtypes
def test_a_cell_far_smaller_than_the_cutoff(dtype: torch.dtype) -> None:
    atoms = bulk("NaCl", "rocksalt", a=5.6)
    atoms.rattle(0.1, seed=1)
    compare(case(structure_of(atoms, 4.0, 4.0), 4.5, 0.0, dtype))


def test_several_clusters() -> None:
    atoms = bulk("Cu", cubic=True) * (4, 2, 2)
    atoms.rattle(0.1, seed=2)
    atoms.numbers[::3] = 8
    atoms.pbc = False
    compare(case(structure_of(atoms, 4.0, 4.0), 4.2))


def test_results_repeat_to_the_last_bit() -> None:
    arguments = flat(case(STRUCTURES[3], 4.5), *BEST)
    found = [run("dispersion_evaluate", *arguments) for _ in range(2)]
    assert all(map(torch.equal, *found))

"""Forces, virials and stress follow from derivatives in one place, in the signs of the hosts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import d3torch
from d3torch.results import forces_of_pairs, mace_virials, stress, symmetric

PACKAGE = Path(d3torch.__file__).parent


def test_forces_of_pairs_are_the_slope_of_the_energy_in_positions() -> None:
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(5, 3, dtype=torch.float64, generator=rng, requires_grad=True)
    pairs = torch.tensor([[0, 0, 1, 4, 4], [1, 2, 0, 2, 4]])  # the last: an image of its own
    vectors = x[pairs[1]] - x[pairs[0]] + torch.tensor([0.0, 0.0, 3.0], dtype=torch.float64)
    energy = (vectors**4).sum()
    by_x, slopes = torch.autograd.grad(energy, (x, vectors))
    found = forces_of_pairs(slopes, pairs, 5)
    torch.testing.assert_close(found, -by_x, rtol=1e-14, atol=1e-12)
    assert torch.equal(torch.jit.script(forces_of_pairs)(slopes, pairs, 5), found)


def test_stress_is_the_slope_of_the_energy_in_strain_by_volume() -> None:
    """E = sum over k of (k-th lattice vector)^2; MACE: virials = -dE/dstrain."""
    cell = torch.tensor([[[3.0, 0, 0], [1, 4, 0], [0, 2, 5]], [[0, 0, 0]] * 3])
    cell = cell.to(torch.float64)
    strain = torch.zeros_like(cell, requires_grad=True)
    energy = ((cell + torch.bmm(cell, strain)) ** 2).sum()
    (virial,) = torch.autograd.grad(energy, strain)
    found = stress(virial, cell)
    torch.testing.assert_close(found[0], virial[0] / 60.0)
    assert torch.equal(found[1], torch.zeros_like(found[1]))
    assert torch.equal(mace_virials(virial), -symmetric(virial))
    assert torch.equal(torch.jit.script(stress)(virial, cell), found)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_flat_cell_has_no_stress_and_a_needle_has(dtype: torch.dtype) -> None:
    """Whatever rounding makes of its determinant."""
    a, b = torch.tensor([[3.1, 0.3, 0.7], [1.3, 4.7, 0.2]], dtype=dtype)
    needle = torch.stack((a, b / 30 + 5 * a, torch.tensor([0.0, 0.0, 0.2]).to(dtype) + 7 * a))
    cell = torch.stack((torch.stack((a, b, a / 3 + b / 7)), needle))
    found = stress(torch.ones(2, 3, 3, dtype=dtype), cell)
    assert not found[0].any()
    torch.testing.assert_close(found[1] * torch.linalg.det(needle).abs(), torch.ones_like(cell[0]))


def test_a_molecule_beside_a_crystal_has_a_slope_of_its_stress() -> None:
    """By its cell and by its virial: 0."""
    cell = torch.zeros(1, 3, 3, dtype=torch.float64, requires_grad=True)
    virial = torch.ones(1, 3, 3, dtype=torch.float64, requires_grad=True)
    for slope in torch.autograd.grad(stress(virial, cell).sum(), (cell, virial)):
        assert not slope.any()
        assert slope.isfinite().all()


def test_symmetric_is_the_mean_with_the_transpose() -> None:
    virial = torch.randn(2, 3, 3, dtype=torch.float64)
    assert torch.equal(symmetric(virial), (virial + virial.mT) / 2)
    assert torch.equal(symmetric(virial[0]), symmetric(virial)[0])


def test_pairs_and_virials_are_translated_once() -> None:
    """``index_add_`` on atoms and minus half a virial stand in results.py alone."""
    once = re.compile(r"index_add_\(|0\.5 \* \((virial|found\.virial) \+|\(virial \+ virial")
    found = {path.name for path in PACKAGE.rglob("*.py") if once.search(path.read_text("utf-8"))}
    assert found == {"results.py"}

"""Pairs that the lattice engine computes once, against a list that has them from both sides."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from d3torch import D3, neighbor_pairs, ops

BOXES = {
    "skew crystal": ((True, True, True), 16.0),
    "images of itself": ((True, True, True), 40.0),
    "slab": ((True, False, True), 16.0),
    "cluster of atoms": ((False, False, False), 16.0),
}
"""Periodic axes and cutoff in bohr; the cells are some 30 bohr long."""

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}


def _jittered_grid(n: int = 8, spacing: float = 3.9) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions of n^3 atoms of three elements, their numbers, and a skew cell around them."""
    rng = np.random.default_rng(5)
    cell = n * spacing * np.array([[1.0, 0.0, 0.0], [0.2, 1.0, 0.0], [-0.1, 0.15, 1.0]])
    grid = np.stack(np.meshgrid(*3 * [np.arange(n)], indexing="ij"), -1).reshape(-1, 3)
    positions = ((grid + rng.uniform(-0.2, 0.2, grid.shape)) / n) @ cell
    return positions, rng.choice([8, 11, 14], n**3), cell


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("box", BOXES)
def test_pairs_computed_once_give_what_a_list_of_both_directions_gives(
    box: str, dtype: torch.dtype
) -> None:
    (pbc, cutoff), (positions, numbers, cell) = BOXES[box], _jittered_grid()
    settings = {"cutoff": cutoff, "cn_cutoff": 0.75 * cutoff, "units": "hartree/bohr"}
    model = D3([8, 11, 14], "pbe", dtype=dtype, **settings)
    x, a = (torch.tensor(v, dtype=dtype) for v in (positions, cell))
    systems = model.systems(x, model.species(torch.tensor(numbers)), a, torch.tensor(pbc))
    near = neighbor_pairs(x.double().numpy(), a.double().numpy(), pbc, cutoff + 1e-3)
    rest = (model.damping().detach()[None], model.tables(), model.reach())
    pairs = ops.PairList(near.pairs, near.shifts)
    for gradients, learn in ((False, False), (True, False), (True, True)):
        found = ops.evaluate(systems, *rest, gradients, learn)
        expected = ops.evaluate_on_list(systems, pairs, *rest, gradients, learn)
        for name, one, other in zip(found._fields, found, expected, strict=True):
            bound = TOLERANCE[dtype] * max(float(other.abs().max()), 1e-3)
            assert float((one - other).abs().max()) <= bound, (name, gradients, learn)


@pytest.mark.parametrize("box", BOXES)
def test_two_atoms_on_one_spot_are_found_from_either_side(box: str) -> None:
    (pbc, cutoff), (positions, numbers, cell) = BOXES[box], _jittered_grid()
    model = D3([8, 11, 14], "pbe", cutoff=cutoff, cn_cutoff=cutoff, units="hartree/bohr")
    rest = (model.damping().detach()[None], model.tables(), model.reach())
    species = model.species(torch.tensor(numbers))
    for first, other in ((0, 1), (3, 500), (17, 300)):
        x = positions.copy()
        x[other] = x[first] + (cell[0] if pbc[0] else 0.0)
        systems = model.systems(torch.tensor(x), species, torch.tensor(cell), torch.tensor(pbc))
        with pytest.raises(ValueError, match=rf"\b{first}\b.*\b{other}\b"):
            ops.evaluate(systems, *rest)

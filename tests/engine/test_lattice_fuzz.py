"""Seeded fuzz of the lattice engine against its eager twin, which visits every image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import grad

from d3torch import D3BJ, eager, ops

Array = NDArray[np.float64]
CASES = 300
BLOCKS = 12
MOST_VISITS = 150_000  # vectors that the twin makes in a case


def _cell(rng: np.random.Generator) -> Array:
    """Any cell: tiny, thin, long, skewed by up to three lattice vectors, left-handed, rotated."""
    lengths = rng.uniform(2.2, 8.0, 3)
    kind = rng.integers(4)
    if kind == 1:
        lengths[rng.integers(3)] = rng.uniform(1.0, 1.6)
    if kind == 2:
        lengths[rng.integers(3)] = rng.uniform(20.0, 60.0)
    cell = np.diag(lengths)
    cell += np.tril(rng.uniform(-1, 1, (3, 3)) * rng.choice([0.0, 0.5, 3.0]) * lengths, -1)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return rng.permutation(cell @ rotation)


def _images(cell: Array, pbc: NDArray[np.bool_], reach: float, spread: float) -> float:
    """How many images the twin visits."""
    inverse = np.linalg.pinv(np.where(pbc[:, None], cell, 0.0))
    return float(np.prod(2 * np.ceil(reach * np.linalg.norm(inverse, axis=0) + spread) * pbc + 1))


def _closest(positions: Array, cell: Array, pbc: NDArray[np.bool_]) -> float:
    """Shortest distance of two atoms or of an atom and its image."""
    x, periodic = torch.tensor(positions), torch.tensor(pbc)
    vectors, _ = eager.all_pairs(x, torch.tensor(cell), periodic, 1.0)
    return float(vectors.norm(dim=1).min()) if len(vectors) > 0 else 1.0


def _positions(rng: np.random.Generator, cell: Array, pbc: NDArray[np.bool_], n: int) -> Array:
    """Random atoms, in clumps or spread out, some of them a few cells away."""
    fractional = rng.random((n, 3)) * rng.choice([0.3, 1.0, 1.0]) + rng.uniform(-2, 2, 3)
    return (fractional + rng.integers(-1, 2, (n, 3)) * pbc) @ cell


def _structure(rng: np.random.Generator) -> tuple[Array, Array, NDArray[np.bool_], float, float]:
    """Positions, cell, pbc and cutoffs that the twin can afford, no two atoms within 0.7 A."""
    while True:
        pbc, n = rng.random(3) < rng.choice([0.0, 0.5, 0.9]), int(rng.integers(1, 12))
        cell = _cell(rng)
        positions = _positions(rng, cell, pbc, n)
        cutoffs = rng.uniform(3.0, 20.0, 2)
        visits = n * n * _images(cell, pbc, cutoffs.max(), 3.0)
        if visits < MOST_VISITS and _closest(positions, cell, pbc) > 0.7:
            return positions, cell, pbc, float(cutoffs[0]), float(cutoffs[1])


def _with_gradients(
    backend: str, systems: ops.Systems, damping: Tensor, model: D3BJ
) -> list[Tensor]:
    """Energy and its gradients by positions, cell and damping."""
    inputs = [t.clone().requires_grad_() for t in (*systems[:2], damping)]
    op = ops.dispersion if backend == "kernel" else eager.dispersion
    moved = systems._replace(positions=inputs[0], cell=inputs[1])
    energy = op(moved, inputs[2], model.tables(), model.reach())
    first = grad(energy.sum(), inputs, allow_unused=True)  # no pair: no graph in the twin
    zeros = map(torch.zeros_like, inputs)
    return [energy, *(z if f is None else f for f, z in zip(first, zeros, strict=True))]


def _case(seed: int) -> tuple[ops.Systems, Tensor, D3BJ]:
    rng = np.random.default_rng([17, seed])
    positions, cell, pbc, cutoff, cn_cutoff = _structure(rng)
    numbers = rng.choice(rng.integers(1, 104, 4), len(positions))
    width = float(rng.choice([0.0, rng.uniform(0.1, 0.9) * cutoff]))
    xc = str(rng.choice(["pbe", "b3-lyp", "b97-d"]))
    elements = np.unique(numbers).tolist()
    tail = bool(pbc.all() and width == 0.0)  # with a width, the twin integrates it to 1e-7
    model = D3BJ(elements, xc, cutoff=cutoff, cn_cutoff=cn_cutoff, width=width, tail=tail)
    species = model.species(torch.tensor(numbers))
    tensors = torch.tensor(positions), species, torch.tensor(cell), torch.tensor(pbc)
    return model.systems(*tensors), model.damping()[None], model


@pytest.mark.filterwarnings("ignore:a tail at a hard cutoff")
@pytest.mark.parametrize("block", range(BLOCKS))
def test_random_structures_are_those_of_eager(block: int) -> None:
    """Every result relative to its largest component, or to the energy where it vanishes."""
    for seed in range(block, CASES, BLOCKS):
        case = _case(seed)
        found, expected = (_with_gradients(b, *case) for b in ("kernel", "eager"))
        energy = expected[0].abs().max().item()
        for a, b in zip(found, expected, strict=True):
            apart = (a - b).abs().max().item()
            assert apart <= 1e-11 * max(b.abs().max().item(), energy), (seed, apart)

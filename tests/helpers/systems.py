"""Pair lists by brute force, and energies with their derivatives on them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from d3torch import D3BJ
from d3torch.ops import MODIFIED_ZERO, RATIONAL, ZERO, Tables
from d3torch.reference import reference_tables

Array = NDArray[np.float64]

FORMS = {"rational": RATIONAL, "zero": ZERO, "modified_zero": MODIFIED_ZERO}
forms = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
DAMPING = {
    RATIONAL: [1.0, 0.7875, 0.4289, 4.4407],
    ZERO: [1.0, 0.722, 1.217, 1.0],
    MODIFIED_ZERO: [0.9, 0.5, 2.340218, 1.1, 0.129434],
}
"""Parameters of each form, in bohr: of PBE, with a C8 term and an rs8 of its own in the last."""

CELL = torch.tensor([[5.1, 0.0, 0.0], [1.4, 4.6, 0.3], [-0.8, 0.9, 5.4]], dtype=torch.float64)
PERIODIC = {
    "molecule": (False, False, False),
    "chain": (False, True, False),
    "slab": (True, False, True),
    "crystal": (True, True, True),
}


class Result(NamedTuple):
    """Energy (), forces (n, 3) and virial = dE/dstrain (3, 3)."""

    energy: float
    forces: Array
    virial: Array


class Case(NamedTuple):
    """The arguments of the pair ops for one small cluster, in hartree and bohr."""

    vectors: Tensor
    pairs: Tensor
    species: Tensor
    cn: Tensor
    damping: Tensor
    tables: Tables
    form: int = RATIONAL


def pair_list(
    positions: ArrayLike, cell: ArrayLike, pbc: ArrayLike, cutoff: float
) -> tuple[Tensor, Tensor]:
    """Every directed pair within the cutoff: (2, n_pairs) and (n_pairs, 3), ordered by image."""
    x, periodic = np.array(positions, dtype=float), np.broadcast_to(np.asarray(pbc, dtype=bool), 3)
    images, lattice = np.zeros((1, 3)), np.zeros((3, 3))
    if periodic.any():
        lattice[periodic] = np.asarray(cell, dtype=float)[periodic]
        inverse = np.linalg.pinv(lattice)
        x -= np.floor(x @ inverse) @ lattice
        reach = np.where(periodic, np.floor(cutoff * np.linalg.norm(inverse, axis=0)) + 1, 0)
        axes = [np.arange(-n, n + 1) for n in reach]
        images = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    pairs, vectors = [], []
    for image in images:
        r = x[None] + image @ lattice - x[:, None]
        r2 = (r**2).sum(axis=-1)
        i, j = np.nonzero((r2 <= cutoff**2) & (image.any() | ~np.eye(len(x), dtype=bool)))
        pairs.append(np.stack([i, j]))
        vectors.append(r[i, j])
    return torch.tensor(np.concatenate(pairs, axis=1)), torch.tensor(np.concatenate(vectors))


def from_pairs(energy: Tensor, vectors: Tensor, pairs: Tensor, n_atoms: int) -> Result:
    """Forces and virial of an energy computed from pair vectors, the sums over pairs in float64."""
    (slope,) = torch.autograd.grad(energy, vectors)
    slope = slope.double()
    forces = torch.zeros(n_atoms, 3, dtype=slope.dtype)
    forces = forces.index_add(0, pairs[0], slope).index_add(0, pairs[1], -slope)
    virial = vectors.detach().double().T @ slope
    return Result(energy.item(), forces.numpy(), virial.numpy())


def evaluate(
    model: D3BJ, numbers: ArrayLike, positions: ArrayLike, cell: ArrayLike, pbc: ArrayLike
) -> Result:
    """Energy, forces and virial of a structure in the dtype of the model."""
    pairs, vectors = pair_list(positions, cell, pbc, max(model.cutoff, model.cn_cutoff))
    vectors = vectors.to(model.rcov.dtype).requires_grad_()
    species = model.species(torch.as_tensor(np.asarray(numbers)))
    energy = model(vectors, pairs, species).sum()
    return from_pairs(energy, vectors, pairs, len(species))


def deviations(result: Result, expected: Any) -> tuple[float, float, float]:
    """Relative errors: of the energy, and of forces and virial to their largest component."""
    energy = abs(result.energy - expected.energy) / (abs(expected.energy) or 1.0)
    forces = _largest(result.forces - expected.forces) / (_largest(expected.forces) or 1.0)
    virial = _largest(result.virial - expected.virial) / (_largest(expected.virial) or 1.0)
    return energy, forces, virial


def _largest(values: Array) -> float:
    return float(np.abs(values).max(initial=0.0))


def small_tables(
    elements: list[str | int], dtype: torch.dtype = torch.float64, form: int = RATIONAL
) -> Tables:
    """Tables of some elements in hartree and bohr, with the radii that a form needs."""
    t = reference_tables(elements)
    names = ("rcov", "r4r2", "cn_ref", "c6_ref", "radii")[: 4 if form == RATIONAL else 5]
    return Tables(*(torch.tensor(getattr(t, name), dtype=dtype) for name in names))


def small_case(
    dtype: torch.dtype = torch.float64,
    n_atoms: int = 5,
    reach: float = 30.0,
    seed: int = 3,
    form: int = RATIONAL,
) -> Case:
    """A random cluster of H, C, O and Na with its pairs shuffled and CN between the references."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*3 * [np.arange(np.ceil(n_atoms ** (1 / 3)))]), axis=-1)
    x = 2.9 * grid.reshape(-1, 3)[:n_atoms] + rng.uniform(-0.6, 0.6, (n_atoms, 3))
    pairs, vectors = pair_list(x, np.eye(3), False, reach)
    order = torch.tensor(rng.permutation(pairs.shape[1]))
    return Case(
        vectors[order].to(dtype),
        pairs[:, order].contiguous(),
        torch.tensor(np.arange(n_atoms) % 4),
        torch.tensor(rng.uniform(0.3, 3.6, n_atoms), dtype=dtype),
        torch.tensor(DAMPING[form], dtype=dtype),
        small_tables(["H", "C", "O", "Na"], dtype, form),
        form,
    )

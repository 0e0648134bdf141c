"""Dimers of all elements, by d3torch and by simple-dftd3."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from oracle import dispersion

from d3torch import D3BJ
from d3torch.reference import reference_tables
from d3torch.units import BOHR

CURIUM, MENDELEVIUM = 96, 101


def dimers() -> tuple[np.ndarray, np.ndarray]:
    """Atomic numbers and distances (A) of one dimer of every two elements, near their bond."""
    first, second = np.triu_indices(103)
    rcov = reference_tables(range(1, 104)).rcov * (0.75 * BOHR)
    stretch = np.random.default_rng(4).uniform(0.9, 1.6, len(first))
    return np.stack([first, second], axis=1) + 1, (rcov[first] + rcov[second]) * stretch


@cache
def dimers_of_the_oracle() -> np.ndarray:
    """Energy (eV) and force on the second atom (eV/A) of every dimer."""
    out = []
    for numbers, r in zip(*dimers(), strict=True):
        x = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, r]])
        result = dispersion(numbers, x, np.zeros((3, 3)), np.zeros(3, dtype=bool))
        out.append([result.energy, result.forces[1, 2]])
    return np.array(out)


def dimers_of(model: D3BJ) -> np.ndarray:
    """The same, all dimers in one call: pairs of atoms that know nothing of each other."""
    numbers, r = dimers()
    forth = torch.arange(2 * len(r)).reshape(-1, 2).T
    pairs = torch.cat([forth, forth.flip(0)], dim=1)
    distance = torch.tensor(r, dtype=model.rcov.dtype, requires_grad=True)
    z = torch.cat([distance, -distance])
    vectors = torch.stack([torch.zeros_like(z), torch.zeros_like(z), z], dim=1)
    species = model.species(torch.tensor(numbers.ravel()))
    energy = model(vectors, pairs, species).reshape(-1, 2).sum(dim=1)
    (slope,) = torch.autograd.grad(energy.sum(), distance)
    return np.stack([energy.detach().double().numpy(), -slope.double().numpy()], axis=1)


def slipped(numbers: np.ndarray) -> np.ndarray:
    """Which dimers hold an element whose references simple-dftd3 miscounts."""
    return np.isin(numbers, [CURIUM, MENDELEVIUM]).any(axis=1)

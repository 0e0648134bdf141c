"""Structures that every engine is held against the oracle on, seeded."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Structure(NamedTuple):
    """Numbers, positions (A), cell rows (A), pbc, and the cutoffs to use (A)."""

    name: str
    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray
    cutoff: float
    cn_cutoff: float


def _cell(rng: np.random.Generator) -> np.ndarray:
    """A random cell: cubic to strongly skewed, sometimes thin in one direction."""
    lengths = rng.uniform(4.0, 9.0, 3)
    if rng.random() < 0.3:
        lengths[rng.integers(3)] = rng.uniform(2.5, 3.5)
    cell = np.diag(lengths)
    if rng.random() < 0.7:
        cell += np.tril(rng.uniform(-0.6, 0.6, (3, 3)) * lengths, -1)
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return cell @ (q * np.sign(np.linalg.det(q)))


def _separated(rng, cell, pbc, n, closest) -> np.ndarray:
    """Up to n random positions in the cell (some pushed outside), no two closer than `closest`."""
    images = np.array(list(np.ndindex(3, 3, 3)), dtype=float) - 1.0
    shifts = (images[~(images.astype(bool) & ~pbc).any(axis=1)]) @ cell
    kept: list[np.ndarray] = []
    for trial in rng.random((40 * n, 3)) @ cell:
        if len(kept) == n:
            break
        d = np.array([trial - k for k in kept]).reshape(-1, 1, 3) + shifts
        if not kept or np.linalg.norm(d, axis=-1).min() > closest:
            kept.append(trial)
    outside = rng.integers(-2, 3, (len(kept), 3)) * pbc
    return np.array(kept) + outside @ cell


def random_structures(count: int = 200, max_z: int = 86, seed: int = 7) -> list[Structure]:
    """Random clusters (pbc none) and crystals periodic in one, two and three directions."""
    rng = np.random.default_rng(seed)
    out = []
    for k in range(count):
        pbc = np.arange(3) < k % 4
        rng.shuffle(pbc)
        cell = _cell(rng)
        positions = _separated(rng, cell, pbc, int(rng.integers(1, 13)), rng.uniform(1.0, 2.2))
        elements = rng.integers(1, max_z + 1, int(rng.integers(1, 5)))
        numbers = rng.choice(elements, len(positions))
        cutoff = rng.uniform(6.0, 16.0)
        cn_cutoff = rng.uniform(5.0, 14.0)
        name = f"random{k}-{int(pbc.sum())}d"
        out.append(Structure(name, numbers, positions, cell, pbc, cutoff, cn_cutoff))
    return out

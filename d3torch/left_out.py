"""The dispersion energy beyond a cutoff, from the density of a periodic structure on a grid."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from .structure import Floats, Structure

SPACING = 4.0
"""Spacing of the grid in bohr, at most."""

FARTHEST = 120.0
"""Distance in bohr up to which the grid is summed; beyond, its density there is continued."""

NEAREST = 40.0
"""Least such distance in bohr, for cells so small that they are uniform from there on."""

RUNG = 2.0
"""Step of the cutoffs in bohr: a cutoff stays what it is while a structure moves a little."""


MARGIN = 1.1
"""Factor on what is left out, for what the grid misses, and C6 that exceed the mean they are held
for: in the tables of 2024, some pairs of references do by 8 %."""

MOST_POINTS = 10_000_000
"""Of the grid; more would take gigabytes."""

SMEARED = 4
"""Rungs by which the grid moves a pair at most."""

FEW = 200
"""Atoms whose images beyond ``FARTHEST`` are summed one by one: too few to be a uniform density."""

AROUND = np.array([(i, j) for i in (0, -1, 1) for j in (0, -1, 1)])
"""How often two lattice vectors are added to the nearest sum of theirs, that sum itself first."""


class Term(NamedTuple):
    """Pair energies -scale w_i w_j / r^power.

    Attributes:
        power: 6 or 8.
        scale: s6, or 3 s8.
        weights: w, (n,).
    """

    power: int
    scale: float
    weights: Floats


def reduced(cell: Floats) -> Floats:
    """Three short vectors of the same lattice: none is shortened by the other two.

    A grid along the vectors of a skewed cell has long steps, however close its planes are, and
    would spread atoms into vacuum.
    """
    cell = cell.copy()
    for _ in range(100):
        before = np.linalg.norm(cell, axis=1)
        for i in range(3):
            others = cell[[(i + 1) % 3, (i + 2) % 3]]
            nearest = np.rint(np.linalg.lstsq(others.T, cell[i], rcond=None)[0])
            tries = cell[i] - np.matmul(nearest + AROUND, others)
            cell[i] = tries[np.argmin(np.linalg.norm(tries, axis=1))]
        if (np.linalg.norm(cell, axis=1) > before * (1.0 - 1e-9)).all():
            break
    return cell


def _spread(structure: Structure, weights: Floats, shape: tuple[int, ...]) -> Floats:
    """Weights of atoms on the points of a grid along the lattice vectors, each shared by eight."""
    places = np.matmul(structure.positions, np.linalg.inv(structure.cell)) * shape
    first = np.floor(places).astype(np.int64)
    beyond = places - first
    grid = np.zeros(int(np.prod(shape)))
    for corner in np.ndindex(2, 2, 2):
        share = np.where(np.array(corner) == 1, beyond, 1.0 - beyond).prod(axis=1)
        index = np.ravel_multi_index(tuple(((first + corner) % shape).T), shape)
        grid += np.bincount(index, weights * share, minlength=grid.size)
    return grid.reshape(shape)


def _pairs_of_grid(grid: Floats) -> Floats:
    """Sum over pairs of grid points of the product of their weights, by displacement."""
    squared = np.abs(np.fft.fftn(grid)) ** 2
    pairs: Floats = np.fft.ifftn(squared).real
    return pairs


def _displacements(
    step: Floats, shape: tuple[int, ...], far: float
) -> Iterator[tuple[int, Any, Floats]]:
    """Displacements on the grid up to a distance, one layer after the other.

    Yields:
        How often the layer counts, the index of its points in the grid, and their distances.
    """
    heights = np.linalg.norm(np.linalg.inv(step), axis=0)
    a, b, c = (int(n) for n in np.floor(far * heights))
    j, k = np.meshgrid(np.arange(-b, b + 1), np.arange(-c, c + 1), indexing="ij")
    for i in range(a + 1):  # the other half of the layers is the same
        r = np.sqrt(sum((i * step[0, x] + j * step[1, x] + k * step[2, x]) ** 2 for x in range(3)))
        near = r <= far
        index = (i % shape[0], j[near] % shape[1], k[near] % shape[2])
        yield (1 if i == 0 else 2), index, r[near]


def _beyond(term: Term, density: float, far: float) -> float:
    """Energy of a uniform density beyond a distance, without its sign."""
    power = term.power
    return 2.0 * math.pi * term.scale * density * far ** (3 - power) / (power - 3)


def _of_pairs(
    structure: Structure, terms: list[Term], rung: float, first: int, last: int
) -> Floats:
    """Energies per atom, without their sign, of the pairs of each rung between two."""
    cell, x = structure.cell, structure.positions
    apart = x - x[:, None]
    reach = last * rung + float(np.linalg.norm(apart, axis=-1).max())
    most = np.floor(reach * np.linalg.norm(np.linalg.inv(cell), axis=0)).astype(int)
    energies = np.zeros(last - first)
    products = [0.5 * t.scale * np.multiply.outer(t.weights, t.weights) for t in terms]
    for image in np.ndindex(*(2 * most + 1)):
        offset = np.matmul(np.array(image) - most, cell)
        if np.linalg.norm(offset) > reach:
            continue
        r = np.linalg.norm(apart + offset, axis=-1)
        inside = (r >= first * rung) & (r < last * rung)
        which = (r[inside] / rung).astype(np.int64) - first
        for term, product in zip(terms, products, strict=True):
            shares = product[inside] / r[inside] ** term.power
            energies += np.bincount(which, shares, minlength=last - first)
    return energies / len(x)


def left_out(structure: Structure, terms: list[Term], bohr: float) -> tuple[Floats, float]:
    r"""Energy per atom, without its sign, beyond each of the cutoffs 0, 1, 2, ... rungs.

    .. math:: \frac{1}{2N} \sum_{r_{ij} > R} \frac{s\, w_i w_j}{r_{ij}^p}

    The pairs are those of the density on a grid, all images included, up to 2.5 times the longest
    height of the cell, or ``FARTHEST``; of few atoms in a cell that is too long for it, pairs of
    atoms from there on. Beyond, the structure goes on with its mean density or with that up to
    there, whichever is larger: an upper bound where the rest is vacuum. The grid spreads atoms a
    little, which gives more, not less.

    Args:
        structure: periodic in three directions, with atoms.
        terms: of the pair energies, undamped.
        bohr: one bohr in the unit of length.

    Returns:
        Energies, (n_rungs,), the last one beyond all that is summed; the length of a rung.

    Raises:
        ValueError: for a cell of more than ``MOST_POINTS`` grid points.
    """
    structure = structure._replace(cell=reduced(structure.cell))
    n, volume = len(structure.positions), abs(float(np.linalg.det(structure.cell)))
    heights = 1.0 / np.linalg.norm(np.linalg.inv(structure.cell), axis=0)
    shape = tuple(max(1, round(height / (SPACING * bohr))) for height in heights)
    if math.prod(shape) > MOST_POINTS:
        most = MOST_POINTS * (SPACING * bohr) ** 3
        raise ValueError(
            f"expected a cell of a volume of at most {most:.2g} for cutoff='auto', got "
            f"{volume:.2g}: give a number, or a molecule without pbc"
        )
    rung = RUNG * bohr
    rungs = round(min(max(2.5 * heights.max(), NEAREST * bohr), FARTHEST * bohr) / rung)
    far, step = rungs * rung, structure.cell / np.array(shape)[:, None]
    pairs = [_pairs_of_grid(_spread(structure, t.weights, shape)) / n for t in terms]
    energies, within = np.zeros(rungs + 1), np.zeros(len(terms))
    for times, index, r in _displacements(step, shape, far):
        near = np.minimum((r / rung).astype(np.int64), rungs)
        r = np.maximum(r, rung)  # the first rungs are not asked for
        for number, (term, table) in enumerate(zip(terms, pairs, strict=True)):
            counts = times * table[index]
            within[number] += counts.sum()
            shares = 0.5 * term.scale * counts / r**term.power
            energies += np.bincount(near, shares, minlength=rungs + 1)
    means = np.array([term.weights.sum() ** 2 / (n * volume) for term in terms])
    densities = np.maximum(within / (4.0 / 3.0 * math.pi * far**3), means)
    last = math.ceil(2.5 * heights.max() / rung)
    if last > rungs and n <= FEW:
        first = rungs - SMEARED  # from there on the grid has put some pairs beyond its end
        more = _of_pairs(structure, terms, rung, first, last)
        more[:SMEARED] = np.maximum(more[:SMEARED], energies[first:-1])
        energies = np.concatenate([energies[:first], more, [0.0]])
        far, densities = last * rung, means
    energies[-1] = sum(_beyond(t, d, far) for t, d in zip(terms, densities, strict=True))
    return np.cumsum(energies[::-1])[::-1], rung


def cutoff_for(structure: Structure, terms: list[Term], bohr: float, tolerance: float) -> float:
    """The least number of rungs, as a length, beyond which no more than a tolerance lies.

    Args:
        structure: as of :func:`left_out`.
        terms: as of :func:`left_out`.
        bohr: one bohr in the unit of length.
        tolerance: energy per atom, above 0.
    """
    energies, rung = left_out(structure, terms, bohr)
    energies = energies * MARGIN
    enough = np.flatnonzero(energies <= tolerance)
    if len(enough):
        return float(enough[0] * rung)
    far = (len(energies) - 1) * rung * float(energies[-1] / tolerance) ** (1.0 / 3.0)
    return float(math.ceil(far / rung) * rung)

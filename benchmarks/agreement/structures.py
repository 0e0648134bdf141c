"""The ten structures that every program is given, as ASE's Atoms; lengths in angstrom."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.cases import _turned, glass

Atoms = Any


def shaken(atoms: Atoms, by: float = 0.05) -> Atoms:
    """The atoms, each moved at random, so that symmetry makes no force vanish.

    Positions and cell are rounded to 1e-6 A: every program reads the same numbers, also from text.
    """
    moves = np.random.default_rng(7).normal(scale=by, size=(len(atoms), 3))
    atoms.set_cell(np.round(atoms.cell.array, 6))
    atoms.positions = np.round(atoms.positions + moves, 6)
    return atoms


def dimer() -> Atoms:
    from ase.collections import s22

    return shaken(s22["Benzene_dimer_parallel_displaced"].copy(), 0.01)


def dry_ice() -> Atoms:
    from ase.spacegroup import crystal

    sites = [(0, 0, 0), (0.1185, 0.1185, 0.1185)]
    return shaken(crystal("CO", sites, spacegroup=205, cellpar=[5.624] * 3 + [90] * 3))


def salt() -> Atoms:
    from ase.build import bulk

    return shaken(bulk("NaCl", "rocksalt", a=5.64, cubic=True))


def copper() -> Atoms:
    from ase.build import bulk

    return shaken(bulk("Cu", "fcc", a=3.615, cubic=True))


def graphene() -> Atoms:
    """Two layers, periodic in two directions."""
    from ase.build import graphene as sheet

    low = sheet(a=2.46, vacuum=None)
    low.cell[2, 2], low.pbc = 20.0, (True, True, False)
    high = low.copy()
    high.positions += np.array([0.0, 2.46 / np.sqrt(3), 3.35])
    return shaken(low + high)


def polyethylene() -> Atoms:
    """An all-trans chain, periodic along the first axis."""
    from ase import Atoms as New

    carbon = np.array([[0.0, 0.42, 0.0], [1.275, -0.42, 0.0]])
    up = np.array([0.0, 0.63, 0.89])
    around = [c + s * up * [1, 1, d] for c, s in zip(carbon, (1, -1), strict=True) for d in (1, -1)]
    cell = np.diag([2.55, 12.0, 12.0])
    chain = New("C2H4", np.concatenate([carbon, around]), cell=cell, pbc=(True, False, False))
    chain.positions += 6.0 * np.array([0.0, 1.0, 1.0])
    return shaken(chain)


def glass_part() -> Atoms:
    from ase import Atoms as New

    part = glass(40)
    return shaken(New(part.numbers, part.positions, cell=part.cell, pbc=True), 0.0)


def water() -> Atoms:
    """Eight molecules in a cube at 1 g/cm^3, each turned at random."""
    from ase import Atoms as New
    from ase.build import molecule

    one, rng, side = molecule("H2O"), np.random.default_rng(11), 6.207
    places = (
        (np.stack(np.meshgrid(*3 * [np.arange(2)], indexing="ij"), -1).reshape(-1, 3)) * side / 2
    )
    x = np.concatenate([_turned(one.positions, rng) + place for place in places])
    return shaken(New("OH2" * 8, x, cell=side * np.eye(3), pbc=True), 0.0)


def actinide() -> Atoms:
    """Uranium dioxide: the tables of 2010 and 2024 differ from Fr on."""
    from ase.build import bulk

    return shaken(bulk("UO2", "fluorite", a=5.47, cubic=True))


def small_cell() -> Atoms:
    """Diamond in its skewed cell of two atoms, a fifteenth of the cutoff."""
    from ase.build import bulk

    return shaken(bulk("C", "diamond", a=3.567))


STRUCTURES: dict[str, Callable[[], Atoms]] = {
    "molecules: benzene dimer": dimer,
    "molecular crystal: CO2": dry_ice,
    "ionic crystal: NaCl": salt,
    "metal: Cu": copper,
    "slab: two layers of graphene": graphene,
    "chain: polyethylene": polyethylene,
    "glass: part of NS33": glass_part,
    "water: 8 molecules": water,
    "actinide: UO2": actinide,
    "small cell: diamond": small_cell,
}

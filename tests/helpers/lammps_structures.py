"""Small structures for LAMMPS, rattled, of every periodicity."""

from __future__ import annotations

from ase import Atoms, build


def standing(atoms: Atoms) -> Atoms:
    """Turned so that the cell is lower triangular, as LAMMPS wants it, and rattled."""
    atoms.set_cell(atoms.cell.standard_form()[0], scale_atoms=True)
    atoms.rattle(0.05, seed=3)
    return atoms


def triclinic() -> Atoms:
    atoms = build.bulk("NaCl", "rocksalt", a=5.64) * (2, 2, 1)
    atoms.set_cell(atoms.cell.array @ [[1, 0.1, 0], [0, 1, -0.2], [0, 0, 1]], scale_atoms=True)
    return standing(atoms)


def slab() -> Atoms:
    atoms = build.fcc111("Cu", (2, 2, 3), vacuum=9.0)
    atoms.pbc = [True, True, False]
    return standing(atoms)


def molecule() -> Atoms:
    atoms = build.molecule("CH3CH2OH", vacuum=8.0)
    atoms.pbc = False
    return standing(atoms)


def two_far_apart() -> Atoms:
    """Ranks between the two own nothing."""
    atoms = build.molecule("H2O") + Atoms("CO", [[40, 0, 0], [40, 0, 1.1]])
    atoms.set_cell([60, 10, 10])
    atoms.center()
    return standing(atoms)

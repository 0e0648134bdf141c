"""Crystals with known answers: springs on a ring and fcc argon of Lennard-Jones atoms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes

SIGMA, EPSILON, CUTOFF = 3.4, 0.0104, 7.5


def _terms(r: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lennard-Jones energy and its first two derivatives, shifted in force at the cutoff."""

    def bare(d: Any) -> tuple[Any, Any, Any]:
        s6 = (SIGMA / d) ** 6
        e = 4 * EPSILON * (s6**2 - s6)
        return e, -24 * EPSILON * (2 * s6**2 - s6) / d, 24 * EPSILON * (26 * s6**2 - 7 * s6) / d**2

    e, g, h = bare(r)
    ec, gc, _ = bare(CUTOFF)
    return e - ec - gc * (r - CUTOFF), g - gc, h


def shells(a: float) -> np.ndarray:
    """Lattice vectors of fcc within the cutoff."""
    grid = np.stack(np.meshgrid(*[np.arange(-8, 9)] * 3, indexing="ij"), -1).reshape(-1, 3)
    even = grid[(grid.sum(1) % 2 == 0) & (np.abs(grid).sum(1) > 0)] * 0.5 * a
    return even[np.linalg.norm(even, axis=1) < CUTOFF]


def lattice_constant() -> float:
    """Where the crystal has no pressure, by bisection."""
    low, high = 4.8, 5.6
    for _ in range(60):
        a = 0.5 * (low + high)
        r = np.linalg.norm(shells(a), axis=1)
        low, high = (low, a) if (_terms(r)[1] * r).sum() > 0 else (a, high)
    return a


def analytic_stiffness(a: float) -> tuple[float, float, float]:
    """C11, C12, C44 in GPa, by the lattice sum of Born and Huang for central forces at rest."""
    x = shells(a)
    r = np.linalg.norm(x, axis=1)
    _, g, h = _terms(r)
    factor = (h - g / r) / r**2 / (2 * a**3 / 4) / units.GPa
    c11, c12 = (factor * x[:, 0] ** 4).sum(), (factor * x[:, 0] ** 2 * x[:, 1] ** 2).sum()
    return float(c11), float(c12), float(c12)


class Argon(Calculator):
    """The same by pairs of the nearest images of a small orthogonal cell: quick and plain."""

    implemented_properties = ("energy", "free_energy", "forces", "stress")

    def calculate(
        self, atoms: Atoms | None = None, properties: Any = (), system_changes: Any = all_changes
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        x, cell = self.atoms.positions, self.atoms.cell.array
        fractional = np.linalg.solve(cell.T, x.T).T
        d = fractional[None] - fractional[:, None]
        d -= np.round(d)
        d = d @ cell
        r2 = (d**2).sum(-1)
        np.fill_diagonal(r2, np.inf)
        near = r2 < CUTOFF**2
        r = np.sqrt(np.where(near, r2, 1.0))
        e, g, _ = _terms(r)
        pull = np.where(near, g / r, 0.0)
        forces = (pull[..., None] * d).sum(1)
        virial = 0.5 * np.einsum("ij,ija,ijb->ab", pull, d, d) / self.atoms.get_volume()
        energy = 0.5 * float(e[near].sum())
        stress = virial.ravel()[[0, 4, 8, 5, 2, 1]]
        self.results = {
            "energy": energy, "free_energy": energy, "forces": forces, "stress": stress,
        }  # fmt: skip


def argon(cells: int = 3) -> Atoms:
    """A cube of the crystal at rest, wide enough for nearest images."""
    atoms = bulk("Ar", cubic=True, a=lattice_constant()) * (cells, cells, cells)
    atoms.calc = Argon()
    return atoms


def answers(many: Sequence[Atoms]) -> list[dict[str, Any]]:
    """What a potential of many structures at once gives for argon."""
    found, calculator = [], Argon()
    for atoms in many:
        atoms.calc = calculator
        forces, stress = atoms.get_forces(), atoms.get_stress()
        energy = atoms.get_potential_energy()
        found.append({"energy": energy, "forces": forces, "stress": stress})
    return found


def modes(atoms: Atoms, step: float = 1e-3) -> tuple[np.ndarray, np.ndarray]:
    """Wavenumbers, 1/cm, and mass-weighted eigenvectors (columns), from differences of forces."""
    n, still = len(atoms), atoms.positions.copy()
    hessian = np.zeros((3 * n, 3 * n))
    for k in range(3 * n):
        ends = []
        for sign in (1, -1):
            atoms.positions[:] = still
            atoms.positions[k // 3, k % 3] += sign * step
            ends.append(atoms.get_forces().ravel())
        hessian[k] = (ends[1] - ends[0]) / (2 * step)
    atoms.positions[:] = still
    root = np.sqrt(np.repeat(atoms.get_masses(), 3))
    values, vectors = np.linalg.eigh(0.5 * (hessian + hessian.T) / np.outer(root, root))
    frequency = np.sqrt(np.clip(values, 0, None)) * units.fs / (2 * np.pi)  # per fs
    return frequency * 1e15 / 2.99792458e10, vectors

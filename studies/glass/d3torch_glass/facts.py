"""Compositions of the study, and what its results are held against."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers
from ase.units import _amu  # the atomic mass constant, kg

ELEMENTS = ("O", "Na", "Si")


class Composition(NamedTuple):
    """A glass (100 - x) SiO2 - x Na2O.

    Attributes:
        name: as in the study, such as ``"NS33"``.
        na2o: x, mole percent.
        density: experimental, g/cm^3.
    """

    name: str
    na2o: float
    density: float

    def counts(self, units: int = 500) -> dict[str, int]:
        """Atoms of each element in that many oxide units, three atoms each.

        Na2O units are rounded half to even, as the study's 112 for 22.5 % of 500.
        """
        sodium = round(units * self.na2o / 100.0)
        return {"O": 2 * units - sodium, "Na": 2 * sodium, "Si": units - sodium}

    def of_units(self, units: int) -> Composition:
        """What a glass of that many oxide units is: x after rounding, and its measured density.

        Between the eight compositions the density is interpolated; beyond them it is the last.
        """
        x = 50.0 * self.counts(units)["Na"] / units
        known = compositions()
        measured = np.interp(x, [c.na2o for c in known], [c.density for c in known])
        return Composition(self.name, x, float(measured))

    def mean_qn(self) -> float:
        """Bridging oxygens per silicon, 4 - 2x/(1-x), if Si is four-fold and no oxygen is free."""
        x = self.na2o / 100.0
        return 4.0 - 2.0 * x / (1.0 - x)


@cache
def facts() -> Mapping[str, Any]:
    """Reference data with their sources, see ``data/README.md``."""
    path = resources.files(__package__) / "data" / "reference.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


@cache
def compositions() -> tuple[Composition, ...]:
    """The eight compositions, from silica to 50 % Na2O."""
    rows = facts()["compositions"]
    return tuple(Composition(row["name"], row["na2o"], row["rho_exp"]) for row in rows)


def composition(name: str) -> Composition:
    """The composition of that name, however capitalised.

    Raises:
        ValueError: if there is none.
    """
    for found in compositions():
        if found.name.casefold() == name.casefold():
            return found
    known = ", ".join(c.name for c in compositions())
    raise ValueError(f"expected a composition, one of {known}, got {name!r}")


def real_composition(name: str, atoms: int) -> Composition:
    """That of a glass of so many atoms, which in a small one is rounded.

    Raises:
        ValueError: for a name of none.
    """
    return composition(name).of_units(atoms // 3)


def box_length(counts: Mapping[str, int], density: float) -> float:
    """Edge of the cube, A, in which these atoms have that density, g/cm^3."""
    mass = sum(n * float(atomic_masses[atomic_numbers[s]]) for s, n in counts.items())
    return float((mass * _amu * 1e27 / density) ** (1.0 / 3.0))


def mass_density(mass: float, volume: Any) -> Any:
    """Density, g/cm^3, of a mass in atomic mass units in a volume in A^3."""
    return mass * _amu * 1e27 / np.asarray(volume)


def density_of(atoms: Atoms, volume: Any = None) -> Any:
    """Density of a structure, g/cm^3, in its own volume or in another, A^3."""
    volume = atoms.get_volume() if volume is None else volume
    return mass_density(float(atoms.get_masses().sum()), volume)


class Moduli(NamedTuple):
    """Elastic constants of an isotropic body: moduli in GPa, Poisson's ratio.

    With C11 and C44: E = C44 (3 C11 - 4 C44)/(C11 - C44), K = C11 - 4 C44/3,
    nu = (C11 - 2 C44)/(2 (C11 - C44)).
    """

    youngs: float
    bulk: float
    poisson: float


def isotropic_moduli(c11: float, c44: float) -> Moduli:
    """Young's modulus, bulk modulus and Poisson's ratio of C11 and C44, GPa."""
    gap = c11 - c44
    return Moduli(
        c44 * (3.0 * c11 - 4.0 * c44) / gap, c11 - 4.0 * c44 / 3.0, (c11 - 2.0 * c44) / (2.0 * gap)
    )


def measured_moduli(na2o: float) -> Moduli | None:
    """Those by Brillouin light scattering, interpolated; None beyond the range of the data."""
    values = []
    for name in ("C11", "C44"):
        data = facts()["experiment_BLS"][name]
        if not data["na2o"][0] <= na2o <= data["na2o"][-1]:
            return None
        values.append(float(np.interp(na2o, data["na2o"], data["GPa"])))
    return isotropic_moduli(*values)

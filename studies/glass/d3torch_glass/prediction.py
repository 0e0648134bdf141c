r"""What dispersion will do to a density, before anything is run with it.

.. math:: \frac{\Delta V}{V_0} \approx \frac{P_{D3}}{K}, \quad K = -V_0 \frac{p}{V(p) - V_0}

First order in the pressure of dispersion: the structure is relaxed without it, then under a
pressure p as large as dispersion pulls with. Forces of dispersion within the cell are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms, units

from .facts import mass_density
from .relaxing import Tolerance, relax


class Prediction(NamedTuple):
    """Outcome.

    Attributes:
        density: at rest without dispersion, g/cm^3.
        pressure: of dispersion there, GPa; negative where it pulls.
        bulk: K of the potential from 0 to that pressure, GPa.
        change: of the volume, relative.
        expected: density with dispersion, g/cm^3.
    """

    density: float
    pressure: float
    bulk: float
    change: float
    expected: float


def pressure_of(atoms: Atoms, calculator: Any) -> float:
    """Pressure, GPa, that a calculator finds in a structure."""
    copy = atoms.copy()
    copy.calc = calculator
    return float(-np.mean(copy.get_stress()[:3]) / units.GPa)


def predict(
    atoms: Atoms,
    potential: Any,
    dispersion: Any,
    folder: Path,
    tolerance: Tolerance,
    tell: Callable[[int], None] = lambda steps: None,
) -> Prediction:
    """Relax twice and compare; checkpoints are in the folder.

    Args:
        atoms: a solid in a periodic cell; they are moved.
        potential: calculator without dispersion.
        dispersion: calculator of it alone.
        folder: of the two relaxations.
        tolerance: of both.
        tell: is told of steps.

    Raises:
        ValueError: for a structure that is not periodic in three directions, or one in which
            dispersion does not pull.
        RuntimeError: if a relaxation does not come to an end.
    """
    if not all(atoms.pbc):
        raise ValueError(f"expected a structure with three periodic directions, got {atoms.pbc}")
    atoms.calc = potential
    rest = relax(atoms, folder / "rest.npz", tolerance, 0.0, tell)
    pull = pressure_of(atoms, dispersion)
    if not pull < 0:
        raise ValueError(f"expected dispersion to pull, got its pressure as {pull:.4g} GPa")
    if tolerance.pressure > -0.1 * pull:
        raise ValueError(
            f"expected a tolerance of pressures below a tenth of what dispersion pulls with, "
            f"{-pull:.4g} GPa, got {tolerance.pressure:g}"
        )
    pressed = relax(atoms, folder / "pressed.npz", tolerance, -pull, tell)
    change = pressed.volume / rest.volume - 1.0
    mass = float(atoms.get_masses().sum())
    density, expected = (float(mass_density(mass, r.volume)) for r in (rest, pressed))
    return Prediction(density, pull, pull / change, change, expected)

r"""What of dispersion shrinks a glass: its pressure, or its forces between the atoms.

Seven minima from one structure, without temperature. With P the pressure of dispersion,
:math:`V_0` at rest without it and :math:`V_a` with it,

.. math:: \frac{V_a - V_0}{V_0} = \frac{P(0)}{K} \cdot \frac{P_c}{P(0)} \cdot \frac{K}{K_a}

where K is that of the potential up to the pressure of dispersion, :math:`P_c` the pressure that the
glass with dispersion has at :math:`V_0` once its atoms followed the forces of dispersion, and
:math:`K_a = P_c V_0 / (V_a - V_0)`. The three factors: pressure to first order, rearrangement at
fixed volume, and the stiffness with dispersion, whose pull grows as the glass shrinks.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ase import Atoms
from ase.calculators.mixing import SumCalculator

from .prediction import pressure_of
from .relaxing import Relaxed, Tolerance, relax


class Response(NamedTuple):
    """Outcome; pressures in GPa, changes relative to the volume without dispersion.

    Attributes:
        volume: at rest without dispersion, A^3.
        pull: pressure of dispersion there, P(0).
        pull_held: of dispersion in the same volume, after the atoms followed its forces.
        held: pressure of both there, :math:`P_c`.
        pull_full: of dispersion in the glass that is at rest with it.
        full: change of the volume with dispersion.
        pressed: change under the pressure -P(0) alone.
        pressed_full: change under the pressure -pull_full alone.
        back: change after dispersion was taken away again: 0 if all was elastic.
        released: the same of the pressure -pull_full.
    """

    volume: float
    pull: float
    pull_held: float
    held: float
    pull_full: float
    full: float
    pressed: float
    pressed_full: float
    back: float
    released: float

    @property
    def bulk(self) -> float:
        """K of the potential up to the pull of dispersion, GPa."""
        return self.pull / self.pressed

    @property
    def factors(self) -> tuple[float, float]:
        """Rearrangement and stiffness: what multiplies ``pressed`` to give ``full``."""
        return self.held / self.pull, self.full / self.pressed * self.pull / self.held

    @property
    def forces(self) -> float:
        """What the forces alone do: change with dispersion less that at the same pressure."""
        return self.full - self.pressed_full


def response(
    atoms: Atoms,
    potential: Any,
    dispersion: Any,
    folder: Path,
    tolerance: Tolerance,
    tell: Callable[[int], None] = lambda steps: None,
) -> Response:
    """Relax seven times and compare; checkpoints are in the folder.

    Args:
        atoms: a solid in a periodic cell; they are moved.
        potential: calculator without dispersion.
        dispersion: calculator of it alone.
        folder: of the relaxations.
        tolerance: of all; that of pressures should be small beside the pull.
        tell: is told of steps.

    Raises:
        RuntimeError: if a relaxation does not come to an end.
    """

    def at(start: Atoms, calc: Any, name: str, pressure: float | None = 0.0) -> Atoms:
        moved = start.copy()
        moved.calc = calc
        found: Relaxed = relax(moved, folder / f"{name}.npz", tolerance, pressure, tell)
        return found.structure(moved)

    both = SumCalculator([potential, dispersion])
    rest = at(atoms, potential, "rest")
    pull, volume = pressure_of(rest, dispersion), rest.get_volume()
    full, held = at(rest, both, "full"), at(rest, both, "held", None)
    pull_full = pressure_of(full, dispersion)
    pressed = at(rest, potential, "pressed", -pull)
    alike = at(pressed, potential, "pressed_full", -pull_full)
    back, released = at(full, potential, "back"), at(alike, potential, "released")
    ends = (full, pressed, alike, back, released)
    changes = (float(x.get_volume()) / volume - 1.0 for x in ends)
    given = (pull, pressure_of(held, dispersion), pressure_of(held, both), pull_full)
    return Response(volume, *given, *changes)

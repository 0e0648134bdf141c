r"""How much dispersion densifies a glass, beside what its pressure over the bulk modulus predicts.

.. math:: \frac{\Delta V}{V_0} = -\frac{-P_{D3}}{K}, \quad K = -V_0 \frac{p}{V(p) - V_0}

Three NPT runs from one structure: the potential at no pressure, the potential at a pressure p near
-P_D3, and the potential with dispersion at no pressure. In balance the potential pushes as hard as
dispersion pulls, so V(p) at p = -P_D3 is the volume with dispersion unless the network rearranges.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.calculators.mixing import SumCalculator

from .averages import Mean, block_mean
from .levels import SHARE
from .prediction import pressure_of
from .protocol import Chain, Protocol, Stage
from .runner import Followed, follow, load, start_state


class Densification(NamedTuple):
    """Outcome; changes of volume are relative to that without dispersion.

    Attributes:
        pressure_before: of dispersion in the glass without it, GPa.
        pressure_after: of dispersion in the glass with it, GPa.
        bulk: K of the potential between 0 and p, GPa.
        predicted: change of volume, pressure_after / K.
        measured: change of volume.
    """

    pressure_before: Mean
    pressure_after: Mean
    bulk: Mean
    predicted: Mean
    measured: Mean


def _hold(
    atoms: Atoms, calculator: Any, pressure: float, p: Protocol, folder: Path, seed: int
) -> Followed:
    """NPT at one pressure, from the structure as it is."""
    steps, every = round(p.hold_ps * 1e3 / p.dt_fs), max(1, round(p.frame_ps * 1e3 / p.dt_fs))
    temperature = (p.low, p.low)
    stage = Stage("hold", steps, temperature, (pressure, pressure), frames=every)
    chain = Chain("hold", "isotropic", p.dt_fs, (stage,))
    moving = atoms.copy()
    moving.calc = calculator
    follow(chain, p, moving, lambda: start_state(atoms, p.low, seed), folder)
    return load(chain, folder)


def _pull(run: Followed, atoms: Atoms, dispersion: Any) -> Mean:
    """Pressure of dispersion in the frames of the second half, GPa."""
    values = []
    x, cells = run.frames["positions"], run.frames["cells"]
    for k in range(len(x) - round(SHARE * len(x)), len(x)):
        frame = Atoms(atoms.numbers, x[k], cell=cells[k], pbc=True)
        values.append(pressure_of(frame, dispersion))
    return block_mean(values)


def _ratio(top: Mean, bottom: Mean) -> Mean:
    value = top.value / bottom.value
    parts = (top.error / top.value, bottom.error / bottom.value)
    return Mean(value, abs(value) * float(np.hypot(*parts)))


def check_densification(pressure: float, p: Protocol) -> None:
    """Refuse what no run can be made of.

    Raises:
        ValueError: for a pressure that is not positive, or fewer than two frames.
    """
    if not pressure > 0:
        raise ValueError(f"expected a positive pressure, got {pressure}")
    if p.hold_ps < 2.0 * p.frame_ps:
        each = f"each {p.frame_ps:g} ps"
        raise ValueError(f"expected two frames or more, {each}, got {p.hold_ps:g} ps of each run")


def densification(
    atoms: Atoms,
    potential: Any,
    dispersion: Any,
    pressure: float,
    p: Protocol,
    folder: Path,
    seed: int = 1,
) -> Densification:
    """Run the three holds, or go on with them, and compare.

    Args:
        atoms: a glass.
        potential: calculator without dispersion.
        dispersion: calculator of it alone.
        pressure: p, GPa, near what dispersion pulls with.
        p: ``hold_ps``, of which the second half counts, ``frame_ps``, ``low`` and steps are used.
        folder: of the three runs.
        seed: of their velocities.

    Raises:
        ValueError: as :func:`check_densification`.
    """
    check_densification(pressure, p)
    both = SumCalculator([potential, dispersion])
    free = _hold(atoms, potential, 0.0, p, folder / "free", seed)
    pressed = _hold(atoms, potential, pressure, p, folder / "pressed", seed)
    pulled = _hold(atoms, both, 0.0, p, folder / "pulled", seed)
    v0, v1, v2 = (block_mean(r.column("volume", share=SHARE)) for r in (free, pressed, pulled))
    squeezed, measured = (Mean(r.value - 1.0, r.error) for r in (_ratio(v1, v0), _ratio(v2, v0)))
    bulk = _ratio(Mean(-pressure, 0.0), squeezed)
    before, after = _pull(free, atoms, dispersion), _pull(pulled, atoms, dispersion)
    return Densification(before, after, bulk, _ratio(after, bulk), measured)

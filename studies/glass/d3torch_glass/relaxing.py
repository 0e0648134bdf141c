"""Relaxation of atoms, and of the size of their cell, with checkpoints.

L-BFGS of ASE in the variables of its ``FrechetCellFilter``. Killed and called again, it goes on
where it was: a checkpoint holds the structure and what the optimiser has learned of it, and is
written aside and renamed. With a calculator that remembers nothing between calls, in one thread,
the end is bitwise that of a run that was left alone.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms, units
from ase.filters import FrechetCellFilter
from ase.optimize import LBFGS

from .files import read_arrays, write_arrays

CHECKPOINT_STEPS = 10
LONGEST_STEP = 0.1  # A, of an atom


@dataclass(frozen=True)
class Tolerance:
    """When a structure counts as relaxed.

    Attributes:
        force: largest force on an atom, eV/A.
        pressure: deviation from the pressure asked for, GPa.
        steps: after which a relaxation gives up.
    """

    force: float
    pressure: float
    steps: int = 2000

    def __post_init__(self) -> None:
        """Refuse what never ends."""
        for name, value in dataclasses.asdict(self).items():
            if not (value > 0 and np.isfinite(value)):
                raise ValueError(f"expected a positive {name} as tolerance, got {value}")


class Relaxed(NamedTuple):
    """A structure at its minimum, or on the way.

    Attributes:
        positions: (n, 3), A.
        cell: (3, 3), A.
        energy: eV.
        stress: (6,), GPa, ASE's order and sign.
        steps: done.
        seconds: wall time spent.
        done: whether it came to its minimum.
    """

    positions: Any
    cell: Any
    energy: float
    stress: Any
    steps: int
    seconds: float
    done: bool

    @property
    def volume(self) -> float:
        """A^3."""
        return float(abs(np.linalg.det(self.cell)))

    @property
    def pressure(self) -> float:
        """GPa."""
        return float(-np.mean(self.stress[:3]))

    def structure(self, atoms: Atoms) -> Atoms:
        """A copy of atoms in this state, with their calculator."""
        copy: Atoms = atoms.copy()
        copy.set_cell(self.cell)
        copy.positions[:] = self.positions
        copy.calc = atoms.calc
        return copy


class _Remembering(LBFGS):
    """L-BFGS that keeps what it would write into a file of its own, to be written elsewhere."""

    learned: tuple[Any, ...] | None = None

    def dump(self, data: Any) -> None:
        self.learned = data

    def load(self) -> Any:
        return self.learned


def _packed(learned: tuple[Any, ...] | None) -> dict[str, Any]:
    """What an optimiser learned, as arrays."""
    if learned is None:
        return {}
    iteration, s, y, rho, r0, f0, _, _ = learned
    arrays = {"s": s, "y": y, "rho": rho, "r0": r0, "f0": f0, "iteration": iteration}
    return {f"learned_{name}": np.asarray(value) for name, value in arrays.items()}


def _unpacked(found: dict[str, Any]) -> tuple[Any, ...]:
    s, y, rho, r0, f0, iteration = (
        found[f"learned_{name}"] for name in ("s", "y", "rho", "r0", "f0", "iteration")
    )
    return int(iteration), list(s), list(y), [float(x) for x in rho], r0, f0, None, "START"


def read_relaxed(path: Path) -> Relaxed | None:
    """What a relaxation left so far, if anything."""
    if not path.exists():
        return None
    found = read_arrays(path)
    kept = {name: found[name] for name in Relaxed._fields}
    return Relaxed(**{k: v if v.ndim else v.item() for k, v in kept.items()})


def _state(atoms: Atoms, steps: int, seconds: float, done: bool) -> Relaxed:
    stress = atoms.get_stress() / units.GPa
    energy = float(atoms.get_potential_energy())
    found = (atoms.positions.copy(), atoms.cell.array.copy(), energy, stress, steps, seconds)
    return Relaxed(*found, done)


def _at_rest(atoms: Atoms, pressure: float | None, tolerance: Tolerance) -> bool:
    force = float(np.linalg.norm(atoms.get_forces(), axis=1).max())
    if pressure is None:
        return force <= tolerance.force
    off = abs(-np.mean(atoms.get_stress()[:3]) / units.GPa - pressure)
    return force <= tolerance.force and off <= tolerance.pressure


def relax(
    atoms: Atoms,
    path: Path,
    tolerance: Tolerance,
    pressure: float | None = 0.0,
    tell: Callable[[int], None] = lambda steps: None,
) -> Relaxed:
    """Relax to a minimum, from the last checkpoint if there is one.

    The cell keeps its shape; where it changes at all, it grows or shrinks to the pressure.

    Args:
        atoms: with a calculator; they are moved to the minimum.
        path: of the checkpoint, which in the end is the result.
        tolerance: when to stop.
        pressure: GPa; None leaves the cell as it is.
        tell: is told how many steps were done since it was told last.

    Raises:
        RuntimeError: if the minimum is not reached within ``tolerance.steps``; called again with
            more steps, it goes on.
    """
    found = read_arrays(path) if path.exists() else {}
    given = read_relaxed(path)
    if given is not None and given.done:
        atoms.set_cell(given.cell)
        atoms.positions[:] = given.positions
        return given
    reference = found.get("reference", atoms.cell.array.copy())
    atoms.set_cell(reference)  # the variables of the cell are relative to it
    moving: Any = atoms
    if pressure is not None:
        given_pressure = pressure * units.GPa
        moving = FrechetCellFilter(atoms, hydrostatic_strain=True, scalar_pressure=given_pressure)
    steps, spent = 0, 0.0
    silent: Any = None
    optimiser = _Remembering(moving, logfile=silent, maxstep=LONGEST_STEP)
    if given is not None:
        atoms.set_cell(given.cell)
        atoms.positions[:] = given.positions
        steps, spent = given.steps, given.seconds
        if "learned_s" in found:
            optimiser.learned = _unpacked(found)
            optimiser.read()

    def save(done: bool) -> Relaxed:
        now = _state(atoms, steps, spent + time.perf_counter() - began, done)
        learned = {} if done else _packed(optimiser.learned)
        write_arrays(path, now._asdict() | {"reference": reference} | learned)
        return now

    began = time.perf_counter()
    path.parent.mkdir(parents=True, exist_ok=True)
    while not _at_rest(atoms, pressure, tolerance):
        if steps >= tolerance.steps:
            save(False)
            raise RuntimeError(
                f"expected a minimum within {tolerance.steps} steps for {path.stem}, got none: "
                "allow more steps or larger forces"
            )
        optimiser.step()
        steps += 1
        tell(1)
        if steps % CHECKPOINT_STEPS == 0:
            save(False)
    return save(True)

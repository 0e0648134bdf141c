r"""The static route: what a glass is at rest, without dynamics, for potentials too slow for it.

From a PMMCS glass: atoms and size of the cell relaxed at zero pressure, then under pressure, C_ij
by small strains with relaxed atoms, and the dynamical matrix by displacements. Nothing has a
temperature, and a relaxation stays in the basin where it starts: the density remembers the glass
that it came from, see ``start`` of :class:`StaticJob`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.vibrations import Vibrations

from .elasticity import static_stiffness
from .files import at_work, read_arrays, write_arrays
from .jobs import Job, classical_glass, log, read_manifest, write_manifest
from .protocol import Protocol, level_name
from .relaxing import Relaxed, Tolerance, read_relaxed, relax

STIFFNESS, HESSIAN = "stiffness.npz", "hessian.npz"
REST = "rest"


@dataclass(frozen=True)
class StaticProtocol:
    """Settings of the static route.

    Attributes:
        force: largest force on an atom at a minimum, eV/A.
        pressure: deviation from the wanted pressure there, GPa.
        steps: after which a relaxation gives up.
        pressures: GPa, rising from 0; fewer than two leave out the compression.
        strain: to both sides for C_ij; 0 leaves them out.
        displacement: of an atom to both sides for the vibrations, A; 0 leaves them out.
        low: temperature of the classical glass at the start, K.
        initial_high: of the classical melt it comes from, K.
        initial_rate: of its cooling, K/ps.
        initial_hold_ps: its time at both temperatures, ps.
    """

    force: float = 0.01
    pressure: float = 0.01
    steps: int = 2000
    pressures: tuple[float, ...] = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)
    strain: float = 0.005
    displacement: float = 0.01
    low: float = 300.0
    initial_high: float = 3500.0
    initial_rate: float = 200.0
    initial_hold_ps: float = 10.0

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        may_be_zero = {"strain", "displacement", "initial_hold_ps"}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, tuple):
                continue
            if (
                not math.isfinite(value)
                or value < 0
                or (value == 0 and field.name not in may_be_zero)
            ):
                raise ValueError(f"expected a positive {field.name}, got {value}")
        if self.pressures and self.pressures[0] != 0.0:
            raise ValueError(f"expected pressures from 0, got {self.pressures}")
        rising = all(b > a for a, b in zip(self.pressures, self.pressures[1:], strict=False))
        if not rising or len({*map(level_name, self.pressures)}) < len(self.pressures):
            raise ValueError(f"expected rising pressures, got {self.pressures}")
        self.classical()

    @property
    def tolerance(self) -> Tolerance:
        """When a structure counts as relaxed."""
        return Tolerance(self.force, self.pressure, self.steps)

    def classical(self) -> Protocol:
        """The protocol of the classical glass."""
        names = ("low", "initial_high", "initial_rate", "initial_hold_ps")
        given = {name: getattr(self, name) for name in names}
        return Protocol(**given, high=self.initial_high)


STATIC_PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "demo": {"force": 0.02, "pressures": (0.0, 2.5, 5.0), "displacement": 0.0},
    "toy": {
        "force": 0.05, "pressure": 0.05, "pressures": (0.0, 4.0), "strain": 0.01,
        "initial_high": 2000.0, "initial_rate": 2000.0, "initial_hold_ps": 0.2,
    },
}  # fmt: skip
"""Values beside the defaults, under the names of the presets of dynamics."""


@dataclass(frozen=True)
class StaticJob(Job):
    """One glass on the static route.

    Attributes:
        protocol: settings.
        start: density of the structure that is relaxed first, in percent above that of experiment.
    """

    protocol: StaticProtocol  # type: ignore[assignment]
    start: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a start where there is no glass."""
        if not -50.0 < self.start < 100.0:
            raise ValueError(f"expected a start between -50 and 100 %, got {self.start}")

    @property
    def name(self) -> str:
        """Name of the folder."""
        start = f"_{self.start:+g}" if self.start else ""
        return f"{super().name}_static{start}"

    def used_by(self) -> dict[str, tuple[str, ...]]:
        """Settings that a job may get later, and the names of files that they made."""
        return {
            "pressures": ("at_*.npz",),
            "strain": ("strain_*.npz", STIFFNESS),
            "displacement": ("displaced/*", HESSIAN),
        }

    def settings(self) -> dict[str, Any]:
        """All of it that decides results, as JSON has it: more steps may be allowed later."""
        found = {**super().settings(), "route": "static"}
        del found["protocol"]["steps"]
        return found


def initial(job: StaticJob, parent: Path) -> Atoms:
    """The classical glass, made once for all potentials, at the density where the job starts."""
    found = classical_glass(job, job.protocol.classical(), parent)
    factor = (1.0 + 0.01 * job.start) ** (-1.0 / 3.0)
    found.set_cell(found.cell.array * factor, scale_atoms=True)
    return found


def read_static_job(folder: Path) -> StaticJob:
    """The job of a folder, from its manifest.

    Raises:
        ValueError: if it has none, or one of another route.
    """
    settings = read_manifest(folder)["settings"]
    if route_of(folder) != "static":
        raise ValueError(f"expected a job of the static route in {folder}, got another")
    protocol = settings["protocol"]
    given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in protocol.items()}
    names = ("composition", "seed", "model", "d3", "units", "start")
    fields = {name: settings[name] for name in names}
    return StaticJob(**fields, protocol=StaticProtocol(**given))


def route_of(folder: Path) -> str:
    """``"static"`` or ``"dynamics"``, by the manifest of a job."""
    return str(read_manifest(folder)["settings"].get("route", "dynamics"))


Bar = Callable[[int, str], None]
"""Is told of steps that were done, and of what they are for."""


def _compress(job: StaticJob, rest: Atoms, folder: Path, bar: Bar) -> None:
    """Relax under one pressure after the other."""
    for pressure in job.protocol.pressures[1:]:
        name = level_name(pressure)
        path = folder / f"{name}.npz"
        relax(rest, path, job.protocol.tolerance, pressure, partial(_tell, bar, name))


def _tell(bar: Bar, name: str, steps: int) -> None:
    bar(steps, name)


STRAINED = tuple(f"strain_{number:02d}" for number in range(1, 13))
"""Names of the strained structures."""

LEFT = 0.3
"""Displacement of an atom, A, beyond which a strained structure counts as out of its minimum."""


def farthest_move(rest: Relaxed, strained: Iterable[Relaxed]) -> float:
    """How far an atom is from where a strain alone would have put it, A, at most; 0 of none."""
    before = rest.positions @ np.linalg.inv(rest.cell)
    farthest = 0.0
    for state in strained:
        moved = state.positions @ np.linalg.inv(state.cell) - before
        moved -= np.round(moved)
        moved -= moved.mean(axis=0)
        farthest = max(farthest, float(np.linalg.norm(moved @ rest.cell, axis=1).max()))
    return farthest


def _strain(job: StaticJob, rest: Atoms, folder: Path, bar: Bar) -> None:
    """C_ij, from twelve strained structures."""
    if (folder / STIFFNESS).exists():
        return
    names = iter(STRAINED)

    def rested(strained: Atoms) -> None:
        name = next(names)
        path = folder / f"{name}.npz"
        relax(strained, path, job.protocol.tolerance, None, partial(_tell, bar, name))

    matrix = static_stiffness(rest, rested, job.protocol.strain)
    write_arrays(folder / STIFFNESS, {"matrix": matrix})


def _vibrate(job: StaticJob, rest: Atoms, folder: Path, bar: Bar) -> None:
    """The Hessian, from displacements, each of which ASE keeps in a file of its own."""
    if (folder / HESSIAN).exists():
        return
    displaced = folder / "displaced"
    vibrations = Vibrations(rest, name=str(displaced), delta=job.protocol.displacement)
    vibrations.clean(empty_files=True)  # left by a kill
    vibrations.run()
    bar(6 * len(rest), "displaced")
    write_arrays(folder / HESSIAN, {"hessian": vibrations.get_vibrations().get_hessian_2d()})
    vibrations.clean()
    displaced.rmdir()


def run_static(
    job: StaticJob,
    parent: Path,
    calculator: Any,
    bar: Bar = lambda steps, name: None,
    extra: dict[str, Any] | None = None,
) -> Path:
    """Run a job of the static route to its end, from where it is.

    Args:
        job: the job.
        parent: folder of the study.
        calculator: any calculator of ASE with stresses, that of ``job.model`` and ``job.d3``.
        bar: is told of progress.
        extra: settings beside those of the job, for the manifest.

    Returns:
        The folder.

    Raises:
        ValueError: a folder that was begun with other settings, or in which another process works.
        RuntimeError: if a relaxation does not come to an end.
    """
    folder = parent / job.name
    with at_work(folder):
        _run(job, folder, calculator, bar, extra)
    return folder


def _run(
    job: StaticJob, folder: Path, calculator: Any, bar: Bar, extra: dict[str, Any] | None
) -> None:
    write_manifest(job, folder, extra)
    atoms = initial(job, folder.parent)
    atoms.calc = calculator
    p = job.protocol
    found = relax(atoms, folder / f"{REST}.npz", p.tolerance, 0.0, lambda n: bar(n, REST))
    log(folder, f"at rest: {found.steps} steps, {found.seconds:.1f} s, {found.volume:.3f} A^3")
    if len(p.pressures) > 1:
        _compress(job, found.structure(atoms), folder, bar)
    if p.strain > 0:
        _strain(job, found.structure(atoms), folder, bar)
    if p.displacement > 0:
        _vibrate(job, found.structure(atoms), folder, bar)
    log(folder, "all ended")


def begin_at(folder: Path, other: Path) -> None:
    """Let relaxations that have not begun start where those of a job with larger tolerances are.

    Args:
        folder: of the job.
        other: of that job, alike in all else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in [*other.glob(f"{REST}.npz"), *other.glob("at_*.npz")]:
        if not (folder / path.name).exists():
            found = read_arrays(path)
            write_arrays(folder / path.name, found | {"done": np.array(False)})


def read_static(folder: Path, names: list[str]) -> dict[str, Relaxed]:
    """Relaxed structures of a job by name, those that came to their end."""
    found = {name: read_relaxed(folder / f"{name}.npz") for name in names}
    return {name: state for name, state in found.items() if state is not None and state.done}


def read_matrix(path: Path, name: str) -> Any:
    """An array of a file; None where there is no file."""
    return read_arrays(path)[name] if path.exists() else None

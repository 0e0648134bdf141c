"""Molecular dynamics in short segments, each a function of the state before it.

ASE's MTK and Nose-Hoover chain integrators (``ase.md.nose_hoover_chain``) have one temperature and
pressure for life, so a ramp is a chain of short segments, each with an integrator of its own; the
variables of thermostat and barostat go from one to the next, hence nothing jumps but the set
values. ``MelchionnaNPT`` could ramp, but holds its state of the last two steps in more than a dozen
attributes and has no thermostat chain.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms, units
from ase.md.md import MolecularDynamics
from ase.md.nose_hoover_chain import IsotropicMTKNPT, MaskedMTKNPT, NoseHooverChainNVT
from ase.md.verlet import VelocityVerlet
from numpy.typing import NDArray

from .protocol import Chain, Protocol, Stage

Floats = NDArray[np.float64]

_THERMOSTAT = ("_thermostat._eta", "_thermostat._p_eta")
_BAROSTAT = ("_barostat._xi", "_barostat._p_xi")
INNER = {
    "nve": (),
    "nvt": _THERMOSTAT,
    "isotropic": (*_THERMOSTAT, *_BAROSTAT, "_p_eps"),
    "lateral": (*_THERMOSTAT, *_BAROSTAT, "_p_c"),
}
"""The variables of the integrators beside positions, momenta and cell (ASE 3.29)."""

COLUMNS = (
    "stage", "step", "temperature", "energy", "volume",
    "xx", "yy", "zz", "yz", "xz", "xy", "lx", "ly", "lz", "target", "strain",
)  # fmt: skip
"""A sample: number of the stage, steps in it, K, potential energy in eV, A^3, stress with the
kinetic part in GPa (ASE's sign), lengths of the cell in A, set temperature in K, set strain."""


class State(NamedTuple):
    """Everything that the rest of a chain depends on.

    Velocities are drawn once, before the first step, so no random numbers are part of it.

    Attributes:
        positions: (n, 3), A, unwrapped.
        momenta: (n, 3), in ASE's units.
        cell: (3, 3), A.
        reference: cell at the start of the chain, which strain refers to.
        inner: variables of thermostat and barostat, flat; empty before the first segment.
        stage: number of the stage.
        step: steps done in it.
        chunks: files of samples written.
        seconds: wall time spent.
    """

    positions: Floats
    momenta: Floats
    cell: Floats
    reference: Floats
    inner: Floats
    stage: int = 0
    step: int = 0
    chunks: int = 0
    seconds: float = 0.0


def moving(atoms: Atoms) -> float:
    """Share of the 3 N momenta in ASE's temperature that are free: all but 3, of the total one."""
    return 1.0 - 1.0 / len(atoms)


def make_integrator(
    chain: Chain, p: Protocol, atoms: Atoms, temperature: float, pressure: float
) -> Any:
    """ASE's integrator of the ensemble of a chain; temperature in K, pressure in GPa."""
    temperature *= moving(atoms)
    dt, tdamp = chain.dt * units.fs, p.tdamp_fs * units.fs
    if chain.ensemble == "nve":
        return VelocityVerlet(atoms, dt)
    given: dict[str, Any] = {"timestep": dt, "temperature_K": temperature, "tdamp": tdamp}
    if chain.ensemble == "nvt":
        return NoseHooverChainNVT(atoms, **given)
    given |= {"pressure_au": pressure * units.GPa, "pdamp": p.pdamp_fs * units.fs}
    if chain.ensemble == "isotropic":
        return IsotropicMTKNPT(atoms, **given)
    free = np.arange(3) != chain.axis  # ASE indexes with it: a tuple would choose nothing
    return MaskedMTKNPT(atoms, mask=free, **given)


def inner_state(integrator: MolecularDynamics, ensemble: str) -> Floats:
    """The variables of thermostat and barostat, in one row."""
    values = [np.atleast_1d(attrgetter(name)(integrator)) for name in INNER[ensemble]]
    return np.concatenate([np.zeros(0), *values])


def set_inner_state(integrator: MolecularDynamics, ensemble: str, values: Floats) -> None:
    """Give an integrator what :func:`inner_state` read.

    Raises:
        ValueError: if it has another number of variables, as in another version of ASE.
    """
    if len(values) == 0:
        return
    at = 0
    for name in INNER[ensemble]:
        owner, _, attribute = name.rpartition(".")
        holder = attrgetter(owner)(integrator) if owner else integrator
        present = getattr(holder, attribute)
        size = np.size(present)
        part = values[at : at + size]
        setattr(holder, attribute, part.copy() if np.ndim(present) else float(part[0]))
        at += size
    if at != len(values):
        raise ValueError(f"expected {at} variables of the integrator, got {len(values)}")


def _between(ends: tuple[float, float], fraction: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * fraction


def _place(atoms: Atoms, chain: Chain, state: State, strain: float) -> None:
    """Give atoms a state, with the strained axis at its length; they follow it affinely."""
    atoms.set_cell(state.cell)
    atoms.positions[:] = state.positions
    atoms.set_momenta(state.momenta)
    if chain.ensemble not in ("lateral", "nvt"):
        return
    cell = atoms.cell.array.copy()
    cell[chain.axis] = state.reference[chain.axis] * (1.0 + strain)
    if not np.array_equal(cell, atoms.cell.array):
        atoms.set_cell(cell, scale_atoms=True)


def sample(atoms: Atoms, stage: int, step: int, target: float, strain: float) -> list[float]:
    """One row of :data:`COLUMNS`."""
    stress = atoms.get_stress(include_ideal_gas=True) / units.GPa
    temperature = atoms.get_temperature() / moving(atoms)
    return [
        stage, step, temperature, atoms.get_potential_energy(), atoms.get_volume(),
        *stress, *atoms.cell.lengths(), target, strain,
    ]  # fmt: skip


class Recorder:
    """What a chain leaves between two checkpoints."""

    def __init__(self) -> None:
        self.rows: list[list[float]] = []
        self.frames: dict[str, list[Any]] = {}

    def frame(self, atoms: Atoms, stage: Stage) -> None:
        """Store a structure, or its velocities, A / fs, in single precision."""
        parts: dict[str, Any] = {}
        if stage.velocities:
            parts["velocities"] = (atoms.get_velocities() * units.fs).astype(np.float32)
        else:
            parts["positions"], parts["cells"] = atoms.positions.copy(), atoms.cell.array.copy()
        for name, value in parts.items():
            self.frames.setdefault(name, []).append(value)

    def arrays(self) -> dict[str, Any]:
        """All of it as arrays."""
        rows = np.array(self.rows, dtype=np.float64).reshape(-1, len(COLUMNS))
        return {"rows": rows} | {name: np.array(values) for name, values in self.frames.items()}


def run_segment(chain: Chain, p: Protocol, atoms: Atoms, state: State, recorder: Recorder) -> State:
    """Follow a chain for one segment.

    Args:
        chain: the chain.
        p: its protocol.
        atoms: with calculator and masses; takes positions, momenta and cell of the state.
        state: where the chain is.
        recorder: gets samples and frames.

    Returns:
        Where it is afterwards.

    Raises:
        RuntimeError: if the atoms have flown apart.
    """
    stage = chain.stages[state.stage]
    n = min(max(1, round(p.segment_fs / chain.dt)), stage.steps - state.step)
    middle = (state.step + 0.5 * n) / stage.steps
    temperature, strain = _between(stage.temperature, middle), _between(stage.strain, middle)
    _place(atoms, chain, state, strain)
    pressure = _between(stage.pressure, middle)
    integrator = make_integrator(chain, p, atoms, temperature, pressure)
    set_inner_state(integrator, chain.ensemble, state.inner)
    every = max(1, round(p.sample_fs / chain.dt))
    for step in range(state.step + 1, state.step + n + 1):
        integrator.step()
        if step % every == 0:
            recorder.rows.append(sample(atoms, state.stage, step, temperature, strain))
        if stage.frames and step % stage.frames == 0:
            recorder.frame(atoms, stage)
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.get_momenta()).all()):
        raise RuntimeError(f"expected atoms at finite places in stage {stage.name}, got others")
    done = state.step + n == stage.steps
    return state._replace(
        positions=atoms.positions.copy(),
        momenta=atoms.get_momenta(),
        cell=atoms.cell.array.copy(),
        inner=inner_state(integrator, chain.ensemble),
        stage=state.stage + done,
        step=0 if done else state.step + n,
    )

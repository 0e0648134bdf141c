"""The protocol: what is done to a glass, as chains of stages of molecular dynamics.

A chain is followed without a break from a starting structure: the melt-quench from the initial
one, all others from the quenched glass. A stage changes temperature, pressure or one axis linearly.
What the study prints is a default here; what it does not print is an option with its reason.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

AXES = "xyz"


@dataclass(frozen=True)
class Protocol:
    """Settings of a run.

    Printed in the study (and defaults): the temperatures, ``rate``, ``melt_ps``, ``final_ps``,
    ``dt_fs``, ``tdamp_fs``, all ``vdos_*``, ``strains``, ``pressures``. Not printed, or not to be
    taken literally: the others. The printed strain rate (2e-9 /s) and compression rate (1e-13 /s)
    would take a thousand seconds: ``strain_ps`` and ``pressure_ps`` are ramps of 2e9 /s and
    1 GPa in 10 ps, each followed by a hold that is averaged over.

    Attributes:
        low: temperature of the glass, K.
        high: temperature of the melt, K.
        rate: of heating and cooling, K/ps.
        heating: of heating alone, K/ps; 0 is that of ``rate``, as printed.
        melt_ps: time at ``high``, ps.
        final_ps: time at ``low`` after the quench, ps; its second half is averaged over.
        dt_fs: time step, fs.
        tdamp_fs: time of the thermostat, fs.
        pdamp_fs: time of the barostat, fs; not printed.
        segment_fs: time between changes of temperature, pressure and strain, fs.
        checkpoint_ps: time between checkpoints, ps.
        sample_fs: time between samples of temperature, stress and cell, fs.
        frame_ps: time between stored structures of the final stage, ps.
        vdos_ps: length of the run for the vibrations, ps, at constant energy (ensemble not
            printed); 0 leaves it out.
        vdos_dt_fs: its time step, fs.
        vdos_sample_fs: time between stored velocities, fs.
        strains: strains of one axis after another, the other two at zero pressure; empty
            leaves out the strain runs and those at fixed sides.
        strain_ps: time of a ramp of 0.01, ps (5 ps are 2e9 /s).
        pressures: GPa; fewer than two leave out the compression.
        pressure_ps: time of a ramp of 1 GPa, ps.
        hold_ps: time at each strain and pressure, ps; its second half is averaged over.
        initial_high: temperature of the classical melt that the initial structure comes from, K.
        initial_rate: its cooling, K/ps.
        initial_hold_ps: its time at both temperatures, ps.
    """

    low: float = 300.0
    high: float = 2500.0
    rate: float = 5.0
    heating: float = 0.0
    melt_ps: float = 50.0
    final_ps: float = 100.0
    dt_fs: float = 1.0
    tdamp_fs: float = 25.0
    pdamp_fs: float = 250.0
    segment_fs: float = 50.0
    checkpoint_ps: float = 1.0
    sample_fs: float = 10.0
    frame_ps: float = 1.0
    vdos_ps: float = 50.0
    vdos_dt_fs: float = 0.1
    vdos_sample_fs: float = 10.0
    strains: tuple[float, ...] = (0.01, 0.02, 0.03)
    strain_ps: float = 5.0
    pressures: tuple[float, ...] = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)
    pressure_ps: float = 10.0
    hold_ps: float = 20.0
    initial_high: float = 3500.0
    initial_rate: float = 200.0
    initial_hold_ps: float = 10.0

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        may_be_zero = {"heating", "melt_ps", "vdos_ps", "initial_hold_ps"}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, tuple):
                if not all(map(math.isfinite, value)):
                    raise ValueError(f"expected finite {field.name}, got {value}")
                continue
            if not math.isfinite(value) or not (
                value > 0 or (value == 0 and field.name in may_be_zero)
            ):
                raise ValueError(f"expected a positive {field.name}, got {value}")
        for name in ("initial_high", "high"):
            if getattr(self, name) <= self.low:
                got = f"{name} = {getattr(self, name)}"
                raise ValueError(f"expected {name} above low = {self.low} K, got {got}")
        steps = [b - a for a, b in zip((0.0, *self.strains), self.strains, strict=False)]
        if any(step <= 0 for step in steps):
            raise ValueError(f"expected rising strains above 0, got {self.strains}")
        for name, levels in (("strains", (0.0, *self.strains)), ("pressures", self.pressures)):
            if len({*map(level_name, levels)}) < len(levels):
                raise ValueError(f"expected each of {name} once, to six digits, got {levels}")


PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "demo": {
        "rate": 100.0, "melt_ps": 6.0, "final_ps": 16.0, "dt_fs": 2.0, "tdamp_fs": 100.0,
        "pdamp_fs": 500.0, "frame_ps": 0.2, "vdos_ps": 6.0, "vdos_dt_fs": 1.0,
        "strains": (0.015, 0.03), "strain_ps": 1.0, "pressures": (0.0, 2.5, 5.0),
        "pressure_ps": 1.0, "hold_ps": 4.0, "initial_hold_ps": 2.0,
    },
    "toy": {
        "high": 2000.0, "rate": 2000.0, "melt_ps": 0.2, "final_ps": 0.4, "dt_fs": 2.0,
        "tdamp_fs": 50.0, "pdamp_fs": 300.0, "checkpoint_ps": 0.2, "frame_ps": 0.05,
        "vdos_ps": 0.8, "vdos_dt_fs": 1.0, "strains": (0.02,), "strain_ps": 0.1,
        "pressures": (0.0, 4.0), "pressure_ps": 0.05, "hold_ps": 0.2, "initial_rate": 2000.0,
        "initial_hold_ps": 0.2,
    },
}  # fmt: skip
"""Values beside the defaults: as printed, for a laptop in an hour or so, and for a test."""


def level_name(level: float) -> str:
    """Name of the stage at a strain or pressure, by which its samples are found."""
    return f"at_{level:g}"


class Stage(NamedTuple):
    """Some steps of one ensemble, with linear changes.

    Attributes:
        name: unique in its chain.
        steps: number of steps of ``dt`` fs.
        temperature: at the beginning and at the end, K.
        pressure: GPa.
        strain: of the axis of the chain, relative to the start of the chain.
        frames: steps between stored structures; 0 stores none.
        velocities: whether velocities are stored with them.
    """

    name: str
    steps: int
    temperature: tuple[float, float]
    pressure: tuple[float, float] = (0.0, 0.0)
    strain: tuple[float, float] = (0.0, 0.0)
    frames: int = 0
    velocities: bool = False


class Chain(NamedTuple):
    """Stages one after the other.

    Attributes:
        name: unique in the study of a glass.
        ensemble: ``"nve"``, ``"nvt"``, ``"isotropic"`` (NPT of a cell that keeps its shape), or
            ``"lateral"`` (NPT of the two axes that are not strained).
        dt: time step, fs.
        stages: the stages.
        axis: 0, 1 or 2, the strained one.
    """

    name: str
    ensemble: str
    dt: float
    stages: tuple[Stage, ...]
    axis: int = 0

    @property
    def steps(self) -> int:
        """Of all stages."""
        return sum(stage.steps for stage in self.stages)

    @property
    def picoseconds(self) -> float:
        """Length in time."""
        return self.steps * self.dt * 1e-3


def quench_chain(p: Protocol) -> Chain:
    """Heating, melt, quench, and the glass at rest."""

    def steps(ps: float) -> int:
        return max(1, round(ps * 1e3 / p.dt_fs))

    warming = steps((p.high - p.low) / (p.heating or p.rate))
    ramp = steps((p.high - p.low) / p.rate)
    final = steps(p.final_ps)
    frames = min(final, max(1, round(p.frame_ps * 1e3 / p.dt_fs)))  # at least the last structure
    stages = [Stage("heat", warming, (p.low, p.high))]
    if p.melt_ps > 0:
        stages.append(Stage("melt", steps(p.melt_ps), (p.high, p.high)))
    stages.append(Stage("quench", ramp, (p.high, p.low)))
    stages.append(Stage("final", final, (p.low, p.low), frames=frames))
    return Chain("quench", "isotropic", p.dt_fs, tuple(stages))


def vdos_chain(p: Protocol) -> Chain:
    """The glass at constant energy, with its velocities."""
    steps = max(1, round(p.vdos_ps * 1e3 / p.vdos_dt_fs))
    every = max(1, round(p.vdos_sample_fs / p.vdos_dt_fs))
    stage = Stage("vdos", steps, (p.low, p.low), frames=every, velocities=True)
    return Chain("vdos", "nve", p.vdos_dt_fs, (stage,))


def _series(p: Protocol, levels: tuple[float, ...], ramp_ps: float, key: str) -> tuple[Stage, ...]:
    """A hold at each level, and ramps of ``ramp_ps`` per unit between them."""
    stages: list[Stage] = []
    hold, before = max(1, round(p.hold_ps * 1e3 / p.dt_fs)), levels[0]
    fixed: dict[str, Any] = {"temperature": (p.low, p.low)}
    for level in levels:
        ramp = round(abs(level - before) * ramp_ps * 1e3 / p.dt_fs)
        if ramp > 0:
            stages.append(Stage(f"to_{level:g}", ramp, **(fixed | {key: (before, level)})))
        stages.append(Stage(level_name(level), hold, **(fixed | {key: (level, level)})))
        before = level
    return tuple(stages)


def chains(p: Protocol) -> dict[str, Chain]:
    """All chains of a protocol by name, the quench first."""
    found = [quench_chain(p)]
    if p.vdos_ps > 0:
        found.append(vdos_chain(p))
    if len(p.pressures) > 1:
        stages = _series(p, p.pressures, p.pressure_ps, "pressure")
        found.append(Chain("compress", "isotropic", p.dt_fs, stages))
    if p.strains:
        stages = _series(p, (0.0, *p.strains), p.strain_ps * 100.0, "strain")
        for ensemble, name in (("lateral", "strain"), ("nvt", "uniaxial")):
            for axis in range(3):
                found.append(Chain(f"{name}_{AXES[axis]}", ensemble, p.dt_fs, stages, axis))
    return {chain.name: chain for chain in found}

"""What a step costs with one backend of dispersion and another."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.md.nose_hoover_chain import IsotropicMTKNPT
from ase.md.velocitydistribution import thermalize_momenta


def step_time(atoms: Atoms, calculator: Any, steps: int, dt: float = 1.0) -> float:
    """Median wall time of a step of NPT at 300 K, s; one step before is not counted.

    Args:
        atoms: structure.
        calculator: with stress.
        steps: steps that are timed.
        dt: time step, fs.
    """
    moving = atoms.copy()
    moving.calc = calculator
    thermalize_momenta(moving, temperature_K=300.0, rng=np.random.default_rng(1))
    tdamp, pdamp = 25.0 * units.fs, 250.0 * units.fs
    given: dict[str, Any] = {
        "temperature_K": 300.0,
        "pressure_au": 0.0,
        "tdamp": tdamp,
        "pdamp": pdamp,
    }
    integrator = IsotropicMTKNPT(moving, dt * units.fs, **given)
    integrator.step()
    times = []
    for _ in range(steps):
        began = time.perf_counter()
        integrator.step()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def rates(
    atoms: Atoms, calculators: Mapping[str, Any], steps: int, dt: float, conditions: str
) -> dict[str, Any]:
    """Time of a step, ps/h and time relative to the first, for each calculator.

    Args:
        atoms: structure.
        calculators: by the name of the backend, that without dispersion first.
        steps: steps that are timed.
        dt: time step, fs.
        conditions: a sentence about machine, threads and cutoffs.
    """
    seconds = {name: step_time(atoms, calc, steps, dt) for name, calc in calculators.items()}
    first = next(iter(seconds.values()))
    backends = {
        name: {
            "ms_per_step": s * 1e3,
            "ps_per_hour": dt * 1e-3 * 3600.0 / s,
            "relative": s / first,
        }
        for name, s in seconds.items()
    }
    return {"atoms": len(atoms), "dt_fs": dt, "conditions": conditions, "backends": backends}

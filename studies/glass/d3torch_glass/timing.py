"""What a step costs with one backend of dispersion and another."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.calculators.mixing import SumCalculator
from ase.md.nose_hoover_chain import IsotropicMTKNPT
from ase.md.velocitydistribution import thermalize_momenta


def _integrator(atoms: Atoms, calculator: Any, dt: float) -> Any:
    """NPT at 300 K, one step on its way."""
    moving = atoms.copy()
    moving.calc = calculator
    thermalize_momenta(moving, temperature_K=300.0, rng=np.random.default_rng(1))
    tdamp, pdamp = 25.0 * units.fs, 250.0 * units.fs
    given: dict[str, Any] = {"temperature_K": 300.0, "tdamp": tdamp, "pdamp": pdamp}
    integrator = IsotropicMTKNPT(moving, dt * units.fs, pressure_au=0.0, **given)
    integrator.step()
    return integrator


def rates(
    atoms: Atoms, calculators: Mapping[str, Any], steps: int, dt: float, conditions: str
) -> dict[str, Any]:
    """Time of a step of NPT, ps/h and time relative to the first, for each calculator.

    Medians of wall times; the calculators take turns, step by step, so that what else the machine
    does meets all of them. ``cpu_ms_per_step`` is of processor time, of all threads: on a busy
    machine it says more. ``dispersion_cpu_ms`` is that of dispersion alone in the same structures,
    where it is the second part of a sum: less than steps of a potential differ by.

    Args:
        atoms: structure.
        calculators: by the name of the backend, that without dispersion first.
        steps: steps that are timed.
        dt: time step, fs.
        conditions: a sentence about machine, threads and cutoffs.
    """
    integrators = {name: _integrator(atoms, calc, dt) for name, calc in calculators.items()}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in integrators}
    alone = {
        name: copy.deepcopy(calc.mixer.calcs[1])
        for name, calc in calculators.items()
        if isinstance(calc, SumCalculator)
    }
    spent: dict[str, list[float]] = {name: [] for name in alone}
    for _ in range(steps):
        for name, integrator in integrators.items():
            wall, processor = time.perf_counter(), time.process_time()
            integrator.step()
            times[name].append((time.perf_counter() - wall, time.process_time() - processor))
            if name in alone:
                processor = time.process_time()
                alone[name].calculate(integrator.atoms, ("energy", "forces", "stress"))
                spent[name].append(time.process_time() - processor)
    seconds = {name: np.median(values, axis=0).tolist() for name, values in times.items()}
    first = next(iter(seconds.values()))[0]
    backends = {
        name: {
            "ms_per_step": s * 1e3,
            "ps_per_hour": dt * 1e-3 * 3600.0 / s,
            "relative": s / first,
            "cpu_ms_per_step": processor * 1e3,
        }
        for name, (s, processor) in seconds.items()
    }
    for name, values in spent.items():
        backends[name]["dispersion_cpu_ms"] = float(np.median(values)) * 1e3
    return {"atoms": len(atoms), "dt_fs": dt, "conditions": conditions, "backends": backends}

"""What 300 K does to a relaxed glass: constant pressure, from the structure at rest."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .files import at_work
from .jobs import log, velocity_seed, write_manifest
from .protocol import Chain, Protocol, Stage
from .relaxing import read_relaxed
from .runner import follow, start_state
from .static import REST, StaticJob, initial

FOLDER = "expansion"
PROTOCOL = Protocol(
    dt_fs=2.0, tdamp_fs=100.0, pdamp_fs=300.0, final_ps=20.0, frame_ps=0.2, checkpoint_ps=0.2
)
"""Settings; its low temperature is that of the run."""


def expansion_chain(p: Protocol) -> Chain:
    """Constant pressure at the low temperature, in a cell that keeps its shape."""
    steps, every = round(p.final_ps * 1e3 / p.dt_fs), round(p.frame_ps * 1e3 / p.dt_fs)
    stage = Stage("hold", steps, (p.low, p.low), frames=every)
    return Chain("hold", "isotropic", p.dt_fs, (stage,))


def run_expansion(
    job: StaticJob,
    parent: Path,
    calculator: Any,
    tell: Callable[[Any], None] = lambda state: None,
    extra: dict[str, Any] | None = None,
    p: Protocol = PROTOCOL,
) -> Path:
    """Warm the glass of a job to ``p.low`` at no pressure, from where that is.

    The velocities at the start are those of twice the temperature: at a minimum half of their
    energy goes into the potential.

    Args:
        job: on the static route, at rest.
        parent: folder of the study.
        calculator: that of the job.
        tell: is told of every segment.
        extra: settings beside those of the job, for the manifest.
        p: time and steps.

    Raises:
        ValueError: if the glass is not at rest, or as :func:`d3torch_glass.jobs.write_manifest`.
    """
    rest = read_relaxed(parent / job.name / f"{REST}.npz")
    if rest is None or not rest.done:
        raise ValueError(f"expected a relaxed structure in {job.name}, got none")
    folder = parent / FOLDER / job.name
    with at_work(folder):
        settings = json.loads(json.dumps(dataclasses.asdict(p)))  # as a manifest has them
        write_manifest(job, folder, {**(extra or {}), FOLDER: settings})
        atoms = initial(job, parent)
        atoms.calc = calculator
        glass = rest.structure(atoms)
        seed = velocity_seed(job, FOLDER)
        start = start_state(glass, 2.0 * p.low, seed)
        chain = expansion_chain(p)
        state = follow(chain, p, glass, lambda: start, folder / chain.name, tell)
        log(folder, f"hold ended: {chain.picoseconds:g} ps, {state.seconds:.1f} s")
    return folder

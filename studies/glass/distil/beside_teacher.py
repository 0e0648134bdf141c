"""Melts cooled by a distilled potential beside the same by its teacher: densities on the way.

Usage: python studies/glass/distil/beside_teacher.py TEACHER_STUDY STUDENT_STUDY

Both folders have melt-quenches (``d3torch glass run``, ``d3torch glass lammps``) of the same
protocol; those of the student were analysed. The teacher's may have come less far: a stretch
counts as soon as all of it was run. ``STUDENT_STUDY/beside_teacher.json`` gets, by potential,
glass, seed and D3, the mean densities of each stretch by ``teacher`` and ``student``, g/cm^3.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from d3torch_glass.facts import mass_density
from d3torch_glass.files import write_json
from d3torch_glass.jobs import Job, initial, read_job
from d3torch_glass.protocol import Protocol, quench_chain
from d3torch_glass.runner import Followed, load, read_state
from d3torch_glass.static import route_of

BETWEEN = ((2500.0, 1900.0), (1900.0, 1500.0), (1500.0, 1100.0), (1100.0, 700.0), (700.0, 300.0))
"""Temperatures of the stretches of the cooling, K."""


def stretches(p: Protocol) -> dict[str, tuple[str, int, int]]:
    """Name of a stretch, its stage, and its first and last step there.

    Of the melt the last two thirds, of the cooling 400 K or so each, of the glass the last half.
    """
    steps = {stage.name: stage.steps for stage in quench_chain(p).stages}
    found = {}
    if "melt" in steps:
        found[f"{p.high:g} K"] = ("melt", steps["melt"] // 3, steps["melt"])
    for above, below in BETWEEN:
        if not p.high >= above > below >= p.low:
            continue
        ends = [round(steps["quench"] * (p.high - t) / (p.high - p.low)) for t in (above, below)]
        found[f"{above:g} to {below:g} K"] = ("quench", ends[0], ends[1])
    return found | {f"{p.low:g} K": ("final", steps["final"] // 2, steps["final"])}


def densities(job: Job, folder: Path) -> dict[str, float]:
    """Mean density of each stretch that the run has all of; none of one that left nothing yet."""
    if read_state(folder / "quench") is None:
        return {}
    run: Followed = load(quench_chain(job.protocol), folder / "quench")
    names = [stage.name for stage in run.chain.stages]
    mass, found = float(initial(job, folder).get_masses().sum()), {}
    stage, step, density = (
        run.column("stage"), run.column("step"), mass_density(mass, run.column("volume"))
    )  # fmt: skip
    for name, (wanted, first, last) in stretches(job.protocol).items():
        of_stage = stage == names.index(wanted)
        if of_stage.any() and step[of_stage].max() >= last:
            found[name] = float(np.mean(density[of_stage & (step > first) & (step <= last)]))
    return found


def jobs(study: Path) -> dict[tuple[Any, ...], tuple[Job, Path]]:
    """Melt-quenches of a folder by all that they should have in common with others."""
    found = {}
    for path in sorted(study.glob("*/manifest.json")):
        if route_of(path.parent) == "dynamics":
            job = read_job(path.parent)
            stages = quench_chain(job.protocol).stages
            timing = (job.protocol.dt_fs, *((s.name, s.steps, s.temperature) for s in stages))
            key = (job.composition, job.seed, job.d3, job.units, timing)
            if key in found:
                one, other = found[key][1].name, path.parent.name
                raise SystemExit(f"expected one potential in {study}, got {one} and {other}")
            found[key] = job, path.parent
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("teacher", type=Path)
    parser.add_argument("student", type=Path)
    args = parser.parse_args()
    teacher, found = jobs(args.teacher), {}
    for key, (job, folder) in jobs(args.student).items():
        if key not in teacher:
            continue
        of_glass = found.setdefault(f"deepmd:{Path(job.model).stem}", {}).setdefault(
            job.composition, {}
        )
        both = {"teacher": densities(*teacher[key]), "student": densities(job, folder)}
        of_glass.setdefault(str(job.seed), {})[job.d3] = both
        print(folder.name, both)
    if not found:
        raise SystemExit("expected a melt-quench of one protocol in both folders, got none")
    write_json(args.student / "beside_teacher.json", found)


if __name__ == "__main__":
    main()

"""From the folders of runs to the small data of the result page: scalars and relaxed structures."""

from __future__ import annotations

import lzma
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.io.extxyz import write_extxyz
from collect_dynamics import PAIRS, add_dynamics, data_name

from d3torch import D3Calculator
from d3torch.cli.records import IN_REPORTS
from d3torch.settings import Settings
from d3torch_glass.analyse import BULK_AT_ZERO
from d3torch_glass.averages import block_mean
from d3torch_glass.expansion import FOLDER as EXPANSION
from d3torch_glass.expansion import PROTOCOL, expansion_chain
from d3torch_glass.facts import mass_density
from d3torch_glass.files import read_json, write_json, written_aside
from d3torch_glass.potentials import settings_for
from d3torch_glass.prediction import pressure_of
from d3torch_glass.relaxing import Relaxed, read_relaxed
from d3torch_glass.runner import load, read_state
from d3torch_glass.static import (
    REST,
    STIFFNESS,
    initial,
    level_name,
    read_static,
    read_static_job,
    route_of,
)
from d3torch_glass.static_analysis import analyse_static

HERE = Path(__file__).parent
DATA, STRUCTURES = HERE / "data.json", HERE / "structures.extxyz.xz"
SETTLE_PS = 1.0
PARTS = ("jobs", "dynamics", "distilled", "against_teacher")
TABLES = (
    "crystals", "rearrangement", "densification", "memory", "at_rest", "beside_teacher",
)  # fmt: skip
"""Left by scripts, as files of these names."""


def pulls(atoms: Atoms) -> dict[str, float]:
    """Pressure of D3 in a structure, GPa, without and with the three-body term."""
    settings = Settings(xc="pbe", preset="converged")
    kinds = {"pull": "d3torch", "pull_abc": "d3torch-abc"}
    return {
        key: pressure_of(atoms, D3Calculator(settings=settings_for(d3, settings)))
        for key, d3 in kinds.items()
    }


def ended_levels(folder: Path) -> dict[str, Relaxed]:
    """Structures of a job that came to rest, by the names of their pressures."""
    pressures = read_static_job(folder).protocol.pressures[1:]
    return read_static(folder, [REST, *map(level_name, pressures)])


def ended_parts(folder: Path) -> list[str]:
    """What a job has run to its end, whether its elastic constants are told or not."""
    stiffness = ["stiffness"] if (folder / STIFFNESS).exists() else []
    return [*ended_levels(folder), *stiffness]


def job_record(folder: Path) -> tuple[dict[str, Any], Atoms]:
    """Numbers of a job that is at rest, and its structure."""
    found, job, levels = analyse_static(folder), read_static_job(folder), ended_levels(folder)
    glass: Any = levels[REST].structure(initial(job, folder.parent))
    structure, stiffness = found["structure"], found["stiffness"]
    names = ("composition", "seed", "model", "d3", "start")
    record = {name: found["settings"][name] for name in names} | {
        "atoms": found["atoms"],
        "force": job.protocol.force,
        "settings": found["settings"].get(IN_REPORTS),
        "density": found["density"]["value"],
        "volumes": {f"{r.pressure:.3f}": r.volume for r in levels.values()},
        "peaks": {name: r for name, r in structure["peaks"].items() if name in PAIRS},
        "angle": structure["angles"]["mean"].get("Si-O-Si"),
        "mean_qn": structure["network"]["mean_qn"],
        "qn": structure["network"]["qn"],
        "steps": sum(r.steps for r in levels.values()),
        "ended": ended_parts(folder),
        **pulls(glass),
    }
    compressed = all(level_name(pressure) in levels for pressure in job.protocol.pressures[1:])
    moduli = ("youngs", "poisson", *(("bulk", BULK_AT_ZERO) if compressed else ()))
    record |= {key: stiffness[key]["value"] for key in moduli if key in stiffness}
    glass.info = {"name": folder.name, "density": round(record["density"], 5)}
    return record, glass


def add_static(folder: Path, data: dict[str, Any], structures: dict[str, Atoms]) -> None:
    """Add a job, unless it is in the data as far as it has come, or farther.

    Of two that came as far, that with the smaller forces stays.
    """
    job, ended = read_static_job(folder), ended_parts(folder)
    name = f"{job.name}_{3 * job.units}"
    there = data["jobs"].get(name)
    known = (len(there["ended"]), -there["force"]) if there else (0, 0.0)
    if REST in ended and (len(ended), -job.protocol.force) > known:
        print(name, flush=True)
        data["jobs"][name], structures[name] = job_record(folder)


def check_tolerances(data: dict[str, Any]) -> None:
    """Refuse a glass of which one job is relaxed farther than another: they make no pair.

    Raises:
        ValueError: if there is one.
    """
    forces: dict[tuple[Any, ...], set[float]] = {}
    for job in data["jobs"].values():
        of = tuple(job[name] for name in ("model", "composition", "seed", "atoms", "start"))
        forces.setdefault(of, set()).add(job["force"])
    for of, found in forces.items():
        if len(found) > 1:
            model, glass, seed = of[:3]
            told = " and ".join(f"{force:g} eV/A" for force in sorted(found))
            raise ValueError(
                f"expected all jobs of {glass}, seed {seed}, with {model} to be relaxed to the "
                f"same forces, got {told}: collect their folder once all of them have ended"
            )


def add_distilled(folder: Path, data: dict[str, Any]) -> None:
    """Add the errors of a distilled potential, and those in the glasses of its jobs.

    ``error.json`` is of the potential of the jobs in the folder, without jobs of that which the
    folder is named after; ``teacher.json`` names jobs by their folders.
    """
    names = {p.parent.name: data_name(p.parent) for p in dynamics_manifests(folder)}
    models = {data["dynamics"][n]["model"] for n in names.values() if n in data["dynamics"]}
    of = models.pop() if len(models) == 1 else f"deepmd:{folder.resolve().name}"
    if errors := read_json(folder / "error.json"):
        data["distilled"][of] = errors
    for job, found in read_json(folder / "teacher.json").items():
        data["against_teacher"][names.get(job, job)] = found


def add_warmed(folder: Path, data: dict[str, Any]) -> None:
    """Add densities at 300 K of glasses that began at rest: of what is behind the first ps."""
    chain = expansion_chain(PROTOCOL)
    for path in sorted((folder / EXPANSION).glob("*/manifest.json")):
        job = read_static_job(path.parent)
        rest = read_relaxed(folder / job.name / f"{REST}.npz")
        if rest is None or read_state(path.parent / chain.name) is None:
            continue
        run = load(chain, path.parent / chain.name)
        ps = run.column("step") * chain.dt * 1e-3
        settled = ps > SETTLE_PS
        if not settled.any():
            continue
        mass = float(initial(job, folder).get_masses().sum())
        warm = block_mean(mass_density(mass, run.column("volume")[settled]))
        of_glass = data.setdefault("warmed", {}).setdefault(job.model, {})
        of_seed = of_glass.setdefault(job.composition, {}).setdefault(str(job.seed), {})
        of_seed[job.d3] = {
            "rest": mass_density(mass, rest.volume), "warm": warm.value, "warm_error": warm.error,
            "ps": float(ps[-1]),
        }  # fmt: skip


def dynamics_manifests(folder: Path) -> list[Path]:
    """Manifests of the jobs of the dynamics route in a folder."""
    return [p for p in sorted(folder.glob("*/manifest.json")) if route_of(p.parent) == "dynamics"]


def add_study(folder: Path, data: dict[str, Any], structures: dict[str, Atoms]) -> None:
    """Add what a folder has: jobs, and tables that scripts and ``glass timing`` left."""
    for path in sorted(folder.glob("*/manifest.json")):
        add = add_static if route_of(path.parent) == "static" else add_dynamics
        add(path.parent, data, structures)
    add_distilled(folder, data)
    add_warmed(folder, data)
    for kind in TABLES:
        data[kind] = merged(data.get(kind, {}), read_json(folder / f"{kind}.json"))
    for path in sorted(folder.glob("timing_*.json")):
        data.setdefault("timing", {})[path.stem.removeprefix("timing_")] = read_json(path)


def merged(old: Any, new: Any) -> Any:
    """What two files of one kind tell, entry by entry; of an entry of both, the new one."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    return old | {key: merged(old.get(key), each) for key, each in new.items()}


def rounded(value: Any) -> Any:
    """Six significant digits everywhere."""
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def collect(folders: list[Path]) -> None:
    """Write the data of these folders, beside what was there of others."""
    data: dict[str, Any] = {part: {} for part in PARTS} | read_json(DATA)
    structures = read_structures()
    for folder in folders:
        add_study(folder, data, structures)
    check_tolerances(data)
    for part in PARTS:
        data[part] = dict(sorted(data[part].items()))
    with written_aside(STRUCTURES) as partial, lzma.open(partial, "wt", encoding="utf-8") as file:
        for name in (*data["jobs"], *data["dynamics"]):
            glass = structures[name].copy()
            glass.info["name"] = name
            glass.positions[:] = np.round(glass.positions, 4)
            write_extxyz(file, [glass], columns=["symbols", "positions"])
    write_json(DATA, rounded(data))


def read_structures() -> dict[str, Atoms]:
    """Relaxed structures by the names of their jobs."""
    if not STRUCTURES.exists():
        return {}
    with lzma.open(STRUCTURES, "rt", encoding="utf-8") as file:
        found: Any = ase.io.read(file, ":", format="extxyz")  # type: ignore[arg-type]
    return {atoms.info["name"]: atoms for atoms in found}

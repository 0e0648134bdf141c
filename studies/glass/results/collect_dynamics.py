"""From the folder of a job of the dynamics route to its numbers and its glass."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list

from d3torch import D3Calculator
from d3torch.cli.records import IN_REPORTS
from d3torch.settings import Settings
from d3torch_glass.analyse import BULK_AT_ZERO, analyse_job, ended_chains, frames_of
from d3torch_glass.files import FILES
from d3torch_glass.jobs import MODEL_FILE, glass, initial, read_job, read_manifest
from d3torch_glass.prediction import pressure_of
from d3torch_glass.structure import BONDS

PAIRS = ("Si-O", "Si-Si", "Na-O", "Na-Na")
MODULI = ("bulk", BULK_AT_ZERO, "youngs", "poisson")
PROTOCOL = ("low", "high", "rate", "heating", "melt_ps", "final_ps", "dt_fs")
DEEPMD = (".pb", ".pth", ".dp")
NETWORK = {("Si", "O"): BONDS["Si", "O"]}
MOST_FRAMES = 10
"""In which the pressure of D3 is computed."""


def plain_model(model: str) -> str:
    """Name of a potential without the folder of its file, such as ``deepmd:7net-0``."""
    family, colon, name = model.rpartition(":")
    path = Path(name)
    if colon:
        return f"{family}:{path.stem}" if family in FILES or os.sep in name else model
    if path.suffix in DEEPMD:
        return f"deepmd:{path.stem}"
    return f"mace:{path.stem}" if path.suffix else model


def data_name(folder: Path) -> str:
    """Name of a job in the data: of its folder, its cooling and its size."""
    job = read_job(folder)
    return f"{job.name}_{job.protocol.rate:g}Kps_{3 * job.units}"


def recorded_settings(settings: dict[str, Any]) -> Settings:
    """D3 of a job; without D3 that of the jobs beside it, by the options that all of them had."""
    if IN_REPORTS in settings:
        return Settings.from_dict(settings[IN_REPORTS])
    cutoff = settings["d3_cutoff"]
    return Settings(xc=settings["xc"], cutoff=cutoff, cn_cutoff=cutoff)


def mean_pull(frames: Sequence[Atoms], settings: Settings) -> float:
    """Mean pressure of D3 in structures, GPa, of ten at most, evenly in time."""
    chosen = np.linspace(0, len(frames) - 1, min(MOST_FRAMES, len(frames))).round().astype(int)
    calculator = D3Calculator(settings=settings)
    return float(np.mean([pressure_of(frames[k], calculator) for k in chosen]))


def kept_bonds(before: Atoms, after: Atoms) -> float:
    """Share of the Si-O bonds of a structure that another of the same atoms still has."""

    def bonds(atoms: Atoms) -> set[tuple[int, int]]:
        pairs = zip(*neighbor_list("ij", atoms, NETWORK), strict=True)
        return {(int(i), int(j)) for i, j in pairs if i < j}

    start = bonds(before)
    return len(start & bonds(after)) / len(start)


def with_error(name: str, mean: dict[str, float | None]) -> dict[str, float | None]:
    """A value and its error as two entries of a record."""
    return {name: mean["value"], f"{name}_error": mean["error"]}


def told_protocol(manifest: dict[str, Any]) -> dict[str, Any]:
    """Settings of melting and cooling that the page tells."""
    protocol = manifest["settings"]["protocol"]
    return {name: protocol[name] for name in PROTOCOL if name in protocol}


def dynamics_record(folder: Path) -> tuple[dict[str, Any], Atoms]:
    """Numbers of a job whose quench ended, and its glass in a cube of the mean volume."""
    found, job, begun = analyse_job(folder), read_job(folder), read_manifest(folder)
    structure, stiffness = found["structure"], found["stiffness"]
    settings, network = begun["settings"], structure["network"]
    frames = frames_of(ended_chains(folder)["quench"], initial(job, folder))
    record = {name: settings[name] for name in ("composition", "seed", "d3")} | {
        "model": plain_model(job.model),
        "atoms": found["atoms"],
        "model_file": begun.get(MODEL_FILE),
        "begun": begun["begun"],
        "ended": found["ended"],
        "protocol": told_protocol(begun),
        "settings": settings.get(IN_REPORTS),
        **with_error("density", found["density"]),
        "peaks": {name: r for name, r in structure["peaks"].items() if name in PAIRS},
        "angle": structure["angles"]["mean"].get("Si-O-Si"),
        "mean_qn": network["mean_qn"],
        "ideal_qn": network["sum_rule"],
        "qn": network["qn"],
        "coordination": structure["coordination"]["Si-O"],
        "kept_bonds": kept_bonds(initial(job, folder), frames[-1]),
        "pull": mean_pull(frames, recorded_settings(settings)),
    }
    for key in MODULI:
        record |= with_error(key, stiffness[key]) if key in stiffness else {}
    atoms = glass(job, folder)
    atoms.wrap()
    atoms.info = {"name": data_name(folder), "density": round(record["density"], 5)}
    return record, atoms


def add_dynamics(folder: Path, data: dict[str, Any], structures: dict[str, Atoms]) -> None:
    """Add a job whose quench ended, unless the same run is in the data as far, or farther.

    Raises:
        ValueError: for a job that is in the data with another protocol.
    """
    name, ended = data_name(folder), {*ended_chains(folder)}
    known, manifest = data["dynamics"].get(name, {}), read_manifest(folder)
    same = known.get("begun") == manifest["begun"]
    if "quench" not in ended or (same and ended <= {*known["ended"]}):
        return
    if known and known["protocol"] != told_protocol(manifest):
        raise ValueError(
            f"expected the protocol that {name} has in the data, got that of {folder}: only the "
            "rate and the number of atoms are in the name"
        )
    print(name, flush=True)
    data["dynamics"][name], structures[name] = dynamics_record(folder)

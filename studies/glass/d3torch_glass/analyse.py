"""From the folder of a job to its results: density, structure, vibrations, stiffness, rate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from .averages import Mean, block_mean
from .elasticity import (
    bulk_at_zero,
    bulk_modulus,
    consistency,
    poissons_ratio,
    stiffness,
    youngs_modulus,
)
from .facts import composition, density_of, isotropic_moduli
from .files import write_json
from .jobs import Job, initial, read_job, read_manifest
from .lammps_results import collect
from .levels import SHARE, levels
from .protocol import AXES, chains
from .runner import Followed, load, read_state
from .structure import angles, coordination, network, neutron_factors, pair_distributions
from .vibrations import WEIGHTS, vdos

RESULTS = "results.json"
BULK_AT_ZERO = "bulk_at_zero"
SMOOTH = 15.0
"""Standard deviation, 1/cm, of the Gaussian that spectra are folded with."""
ANGLE_EDGES = np.arange(80.0, 181.0, 2.0)


def as_list(values: Any) -> list[float]:
    """Five significant digits, for JSON."""
    return [float(f"{v:.5g}") for v in np.asarray(values)]


def as_mean(mean: Mean) -> dict[str, float | None]:
    error = mean.error if np.isfinite(mean.error) else None
    return {"value": mean.value, "error": error}


def frames_of(run: Followed, atoms: Atoms) -> list[Atoms]:
    """Structures of the second half of the final stage, 40 at most, evenly in time."""
    x, cells = run.frames["positions"], run.frames["cells"]
    first = len(x) - max(1, round(SHARE * len(x)))
    chosen = np.unique(np.linspace(first, len(x) - 1, min(40, len(x) - first)).astype(int))
    numbers = atoms.numbers
    return [Atoms(numbers, x[k], cell=cells[k], pbc=True) for k in chosen]


def density(run: Followed, atoms: Atoms) -> Mean:
    """Density over the second half of the final stage, g/cm^3, error from five blocks."""
    volume = run.column("volume", "final", SHARE)
    return block_mean(density_of(atoms, volume))


def describe_structure(frames: Sequence[Atoms]) -> dict[str, Any]:
    """Distances, angles, coordination, network and S(Q) of structures."""
    pairs, found = pair_distributions(frames, bins=300), angles(frames)
    q, total, partial = neutron_factors(frames, q_max=15.0, bins=300)
    net = network(frames)
    means = {name: float(values.mean()) for name, values in found.items() if len(values)}
    histograms = {
        name: as_list(np.histogram(values, ANGLE_EDGES, density=True)[0])
        for name, values in found.items()
        if len(values)
    }
    return {
        "frames": len(frames),
        "peaks": dict(pairs.peaks),
        "pdf": {"r": as_list(pairs.r)} | {name: as_list(g) for name, g in pairs.g.items()},
        "coordination": coordination(frames),
        "angles": {"mean": means, "edges": as_list(ANGLE_EDGES), "density": histograms},
        "network": net._asdict(),
        "factor": {"q": as_list(q), "total": as_list(total)}
        | {name: as_list(s) for name, s in partial.items()},
    }


def describe_vibrations(run: Followed, atoms: Atoms, interval: float) -> dict[str, Any]:
    """Densities of states with all weights up to 1500 1/cm; partial ones with masses."""
    found: dict[str, Any] = {"smooth": SMOOTH}
    for weighting in WEIGHTS:
        s = vdos(run.frames["velocities"], atoms, interval, weighting, SMOOTH)
        near = s.wavenumbers <= 1500.0
        step = max(1, int(near.sum()) // 400)
        found["wavenumbers"] = as_list(s.wavenumbers[near][::step])
        found["resolution"] = s.resolution
        found[weighting] = as_list(s.total[near][::step])
        if weighting == "mass":
            found["partial"] = {e: as_list(y[near][::step]) for e, y in s.partial.items()}
    return found


def describe_stiffness(runs: dict[str, Followed]) -> dict[str, Any]:
    """E, nu, K, C11, C12, C44 and how far they agree; what was not run is missing."""
    series = {
        kind: [levels(runs[f"{kind}_{a}"]) for a in AXES if f"{kind}_{a}" in runs]
        for kind in ("strain", "uniaxial")
    }
    found: dict[str, Any] = {"axes": {kind: len(each) for kind, each in series.items()}}
    if series["strain"]:
        e, nu = youngs_modulus(series["strain"]).mean, poissons_ratio(series["strain"]).mean
        found |= {"youngs": as_mean(e), "poisson": as_mean(nu)}
    if "compress" in runs:
        pressed = levels(runs["compress"])
        k = bulk_modulus(pressed).mean
        at_zero = bulk_at_zero([p.pressure.value for p in pressed], [p.volume for p in pressed])
        found |= {"bulk": as_mean(k)} | ({BULK_AT_ZERO: as_mean(at_zero)} if at_zero else {})
        if series["strain"]:
            found["residual"] = as_mean(consistency(e, k, nu))
    if series["uniaxial"]:
        c11, c12, c44 = stiffness(series["uniaxial"])
        found |= {"C11": as_mean(c11.mean), "C12": as_mean(c12.mean), "C44": as_mean(c44)}
        found["from_C11_C44"] = isotropic_moduli(c11.mean.value, c44.value)._asdict()
    return found


def ended_chains(folder: Path) -> dict[str, Followed]:
    """Chains of a job that came to their end."""
    found, job = {}, read_job(folder)
    for name, chain in chains(job.protocol).items():
        source = folder / "lammps" / name
        if source.exists():
            collect(chain, source, folder / name, initial(job, folder))
        state = read_state(folder / name)
        if state is not None and state.stage == len(chain.stages):
            found[name] = load(chain, folder / name)
    return found


def identity(
    job: Job, begun: dict[str, Any], atoms: Atoms, ended: list[str], planned: Sequence[str]
) -> dict[str, Any]:
    """What the results of each route begin with: the job, its manifest, what ended and what not."""
    return {
        "name": job.name,
        "settings": begun["settings"],
        "versions": begun.get("versions", {}),
        "na2o": composition(job.composition).na2o,
        "atoms": len(atoms),
        "ended": ended,
        "missing": [name for name in planned if name not in ended],
    }


def analyse_job(folder: Path) -> dict[str, Any]:
    """All results of a job, also written to ``results.json``.

    Args:
        folder: of the job.

    Returns:
        ``settings`` and ``versions`` of the manifest, ``ended`` and ``missing`` chains,
        ``density``, ``structure``, ``stiffness``, ``vibrations``, ``timing``; the last four where
        the chains ended.

    Raises:
        ValueError: for a folder of no job, or before the quench has ended.
    """
    job, runs, begun = read_job(folder), ended_chains(folder), read_manifest(folder)
    planned = chains(job.protocol)
    if "quench" not in runs:
        raise ValueError(f"expected the end of the quench in {folder.name}, got {sorted(runs)}")
    atoms, quench = initial(job, folder), runs["quench"]
    found: dict[str, Any] = identity(job, begun, atoms, sorted(runs), sorted(planned)) | {
        "density": as_mean(density(quench, atoms)),
        "structure": describe_structure(frames_of(quench, atoms)),
        "stiffness": describe_stiffness(runs),
        "timing": {
            "ps_per_hour": planned["quench"].picoseconds / quench.state.seconds * 3600.0,
            "steps_per_second": planned["quench"].steps / quench.state.seconds,
        },
    }
    if "vdos" in runs:
        interval = planned["vdos"].stages[0].frames * planned["vdos"].dt
        found["vibrations"] = describe_vibrations(runs["vdos"], atoms, interval)
    write_json(folder / RESULTS, found)
    return found

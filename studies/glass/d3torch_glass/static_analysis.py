"""Results of the static route, in the form of those of dynamics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.vibrations import VibrationsData

from .analyse import BULK_AT_ZERO, RESULTS, SMOOTH, as_list, as_mean, describe_structure, identity
from .averages import Mean, fit_line
from .elasticity import bulk_at_zero, bulk_of, consistency
from .facts import Moduli, density_of, isotropic_moduli
from .files import write_json
from .jobs import read_manifest
from .protocol import level_name
from .relaxing import Relaxed
from .static import (
    HESSIAN,
    LEFT,
    REST,
    STIFFNESS,
    STRAINED,
    StaticJob,
    farthest_move,
    initial,
    read_matrix,
    read_static,
    read_static_job,
)
from .vibrations import WEIGHTS, weights_of

UNKNOWN = float("nan")


def compression(levels: list[Relaxed]) -> Mean:
    """K, GPa, of a line through V(P), as :func:`d3torch_glass.elasticity.bulk_modulus`."""
    fit = fit_line([level.pressure for level in levels], [level.volume for level in levels])
    return bulk_of(fit)


def hill(matrix: Any) -> Moduli:
    r"""Moduli of a body whose grains have C_ij, GPa, (6, 6), and lie in all directions.

    .. math:: 9 K_V = \sum_{i,j \le 3} C_{ij}, \quad
        15 G_V = \sum_i C_{ii} - \sum_{i<j} C_{ij} + 3 \sum_{i > 3} C_{ii}

    and the same of the inverse for the Reuss bound; K and G are the means of both bounds. For one
    small piece of glass: what is left of its own directions, averaged out.

    Source: R. Hill, Proc. Phys. Soc. A 65, 349 (1952), doi:10.1088/0370-1298/65/5/307.
    """
    c, s = np.asarray(matrix), np.linalg.inv(matrix)
    voigt_k = c[:3, :3].sum() / 9.0
    reuss_k = 1.0 / s[:3, :3].sum()
    own, mixed = np.trace(c[:3, :3]), c[0, 1] + c[0, 2] + c[1, 2]
    voigt_g = (own - mixed + 3.0 * np.trace(c[3:, 3:])) / 15.0
    own, mixed = np.trace(s[:3, :3]), s[0, 1] + s[0, 2] + s[1, 2]
    reuss_g = 15.0 / (4.0 * own - 4.0 * mixed + 3.0 * np.trace(s[3:, 3:]))
    k, g = 0.5 * (voigt_k + reuss_k), 0.5 * (voigt_g + reuss_g)
    return Moduli(9 * k * g / (3 * k + g), k, (3 * k - 2 * g) / (2 * (3 * k + g)))


def describe_stiffness(levels: list[Relaxed], matrix: Any) -> dict[str, Any]:
    """E, nu, K, C11, C12, C44, as those of dynamics; K by compression, the rest from C_ij."""
    found: dict[str, Any] = {}
    if len(levels) > 1:
        bulk = compression(levels)
        volumes = [Mean(level.volume, UNKNOWN) for level in levels]
        at_zero = bulk_at_zero([level.pressure for level in levels], volumes)
        found |= {"bulk": as_mean(bulk)} | ({BULK_AT_ZERO: as_mean(at_zero)} if at_zero else {})
    if matrix is not None:
        youngs, k, poisson = hill(matrix)
        c11, c44 = np.trace(matrix[:3, :3]) / 3.0, np.trace(matrix[3:, 3:]) / 3.0
        c12 = (matrix[0, 1] + matrix[0, 2] + matrix[1, 2]) / 3.0
        values = {"youngs": youngs, "poisson": poisson, "C11": c11, "C12": c12, "C44": c44}
        found |= {name: as_mean(Mean(float(v), UNKNOWN)) for name, v in values.items()}
        found |= {"bulk_of_stiffness": k, "matrix": [as_list(row) for row in matrix]}
        found["from_C11_C44"] = isotropic_moduli(c11, c44)._asdict()
        if len(levels) > 1:
            e, nu = Mean(youngs, UNKNOWN), Mean(poisson, UNKNOWN)
            found["residual"] = as_mean(consistency(e, bulk, nu))
    return found


def describe_vibrations(atoms: Atoms, hessian: Any) -> dict[str, Any]:
    """Densities of states of the modes, as those of dynamics.

    The three modes nearest 0 are translations of the whole, and left out; imaginary ones are
    counted apart.
    """
    data = VibrationsData.from_2d(atoms, hessian)
    vibrating = np.sort(np.argsort(np.abs(data.get_frequencies()))[3:])
    frequency = data.get_frequencies()[vibrating]
    modes = data.get_modes(all_atoms=True)[vibrating]
    real = np.abs(frequency.imag) < 1e-9
    power = (modes[real] ** 2).sum(axis=2)  # of each mode and atom
    x = np.arange(0.0, 1500.0, 4.0)
    lines = np.exp(-0.5 * ((x[:, None] - frequency.real[real]) / SMOOTH) ** 2)
    found: dict[str, Any] = {
        "smooth": SMOOTH,
        "resolution": SMOOTH,
        "wavenumbers": as_list(x),
        "imaginary": int((~real).sum()),
    }
    for weighting in WEIGHTS:
        weighted = lines @ (power * weights_of(atoms, weighting))  # (n_x, n_atoms)
        area = np.trapezoid(weighted.sum(axis=1), x)
        found[weighting] = as_list(weighted.sum(axis=1) / area)
        if weighting == "mass":
            elements = sorted(set(atoms.symbols))
            share = {e: weighted[:, atoms.symbols == e].sum(axis=1) / area for e in elements}
            found["partial"] = {e: as_list(y) for e, y in share.items()}
    return found


def _planned(job: StaticJob) -> list[str]:
    """Names of all that a job does."""
    p = job.protocol
    names = [REST, *(level_name(pressure) for pressure in p.pressures[1:])]
    names += ["stiffness"] if p.strain > 0 else []
    return names + (["vibrations"] if p.displacement > 0 else [])


def analyse_static(folder: Path) -> dict[str, Any]:
    """All results of a job, also written to ``results.json``: keys as of ``analyse_job``.

    C_ij and what follows from them are missing where a strained structure left its minimum.

    Raises:
        ValueError: for a folder of no job of this route, or one that is not at rest yet.
    """
    job, begun = read_static_job(folder), read_manifest(folder)
    levels = read_static(folder, [level_name(p) for p in job.protocol.pressures[1:]])
    rest = read_static(folder, [REST]).get(REST)
    if rest is None:
        raise ValueError(f"expected a relaxed structure in {folder.name}, got none")
    atoms = initial(job, folder.parent)
    glass = rest.structure(atoms)
    matrix = read_matrix(folder / STIFFNESS, "matrix")
    moved = farthest_move(rest, read_static(folder, [*STRAINED]).values())
    hessian = read_matrix(folder / HESSIAN, "hessian")
    matrix = matrix if moved <= LEFT else None  # else a difference of two stresses is no stiffness
    ended = [REST, *levels]
    ended += ["stiffness"] if matrix is not None else []
    ended += ["vibrations"] if hessian is not None else []
    every = [rest, *levels.values()]
    density = float(density_of(atoms, rest.volume))
    found: dict[str, Any] = identity(job, begun, atoms, ended, _planned(job)) | {
        "density": as_mean(Mean(density, UNKNOWN)),
        "structure": describe_structure([glass]),
        "stiffness": describe_stiffness(every, matrix),
        "timing": {
            "seconds_per_step": sum(r.seconds for r in every) / max(1, sum(r.steps for r in every))
        },
    }
    if moved > LEFT:
        why = f"under strain an atom moved by {moved:.2f} A"
        found["missing"] = [
            f"{name} ({why})" if name == "stiffness" else name for name in found["missing"]
        ]
    if hessian is not None:
        found["vibrations"] = describe_vibrations(glass, hessian)
    write_json(folder / RESULTS, found)
    return found

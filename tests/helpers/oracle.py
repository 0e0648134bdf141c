"""simple-dftd3 through its Python wheel, in eV and angstrom: the oracle of the tests."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from dftd3.interface import (
    DispersionModel,
    ModifiedRationalDampingParam,
    ModifiedZeroDampingParam,
    RationalDampingParam,
    ZeroDampingParam,
)

from d3torch.units import BOHR, HARTREE

DAMPINGS = {
    "bj": RationalDampingParam,
    "bjm": ModifiedRationalDampingParam,
    "zero": ZeroDampingParam,
    "zerom": ModifiedZeroDampingParam,
}
"""What the oracle calls the variants."""


class Oracle(NamedTuple):
    """Energy (eV), forces (n, 3) (eV/A), virial = dE/dstrain (3, 3) (eV)."""

    energy: float
    forces: np.ndarray
    virial: np.ndarray


def _in_vacuum(positions, cell, periodic, reach):
    """The same chain or slab, periodic in three directions, with images of it out of reach.

    dftd3 1.7.0 misses images of some chains and slabs (up to 1 % of the energy in the corpus,
    against a sum over all images by brute force), so one or two periodic directions are given to
    it as three.
    """
    positions, cell = np.asarray(positions), np.array(cell, dtype=float)
    basis, _ = np.linalg.qr(cell[periodic].T, mode="complete")
    normals = basis.T[periodic.sum() :]
    for axis, normal in zip(np.flatnonzero(~periodic), normals, strict=True):
        cell[axis] = normal * (np.ptp(positions @ normal) + 1.01 * reach)
    if np.linalg.det(cell) < 0:
        cell[np.flatnonzero(~periodic)[0]] *= -1
    return cell, np.ones(3, dtype=bool)


def model(
    numbers, positions, cell, pbc, cutoff, cn_cutoff, atm_cutoff=0.0, widths=(0.0, 0.0)
) -> DispersionModel:
    """The oracle's model of a structure; lengths in angstrom, widths of pairs and of triples."""
    periodic = np.asarray(pbc, dtype=bool)
    if periodic.sum() in (1, 2):
        cell, periodic = _in_vacuum(positions, cell, periodic, max(cutoff, cn_cutoff, atm_cutoff))
    lattice = np.asarray(cell, dtype=float) / BOHR if periodic.any() else None
    m = DispersionModel(
        np.asarray(numbers),
        np.asarray(positions) / BOHR,
        lattice,
        periodic if periodic.any() else None,
    )
    cutoffs = (cutoff / BOHR, max(atm_cutoff / BOHR, 1e-9), cn_cutoff / BOHR)
    m.set_realspace_cutoff(*cutoffs, *(width / BOHR for width in widths))
    return m


def damping(xc="pbe", variant="bj", s9=0.0) -> Any:
    """Damping parameters of a functional, or of a dict, without the three-body term by default."""
    if isinstance(xc, dict):
        return DAMPINGS[variant](**xc, s9=s9)
    from d3torch import damping_parameters

    return DAMPINGS[variant](**damping_parameters(xc, variant)._asdict(), s9=s9)


def dispersion(
    numbers,
    positions,
    cell,
    pbc,
    xc="pbe",
    cutoff=60 * BOHR,
    cn_cutoff=40 * BOHR,
    atm_cutoff=0.0,
    *,
    variant="bj",
    s9=None,
    widths=(0.0, 0.0),
) -> Oracle:
    """Energy, forces and virial of a structure; with the three-body term within atm_cutoff."""
    s9 = float(atm_cutoff > 0) if s9 is None else s9
    reach = (cutoff, cn_cutoff, atm_cutoff or (40 * BOHR if s9 else 0.0))
    m = model(numbers, positions, cell, pbc, *reach, widths)
    result = m.get_dispersion(damping(xc, variant, s9), grad=True)
    return Oracle(
        float(result["energy"]) * HARTREE,
        -np.asarray(result["gradient"]) * (HARTREE / BOHR),
        np.asarray(result["virial"]) * HARTREE,
    )


PARAMETERS = (RationalDampingParam, ZeroDampingParam, ModifiedZeroDampingParam)
NAMES = (("s6", "s8", "a1", "a2"), ("s6", "s8", "rs6", "rs8"), ("s6", "s8", "rs6", "rs8", "bet"))


def of_form(values, form, numbers, positions, cell, pbc, cutoff, cn_cutoff) -> Oracle:
    """Energy, forces and virial in hartree and bohr, by a form and its parameters."""
    param = PARAMETERS[form](**dict(zip(NAMES[form], values, strict=True)), s9=0.0)
    result = model(numbers, positions, cell, pbc, cutoff, cn_cutoff).get_dispersion(
        param, grad=True
    )
    gradient, virial = np.asarray(result["gradient"]), np.asarray(result["virial"])
    return Oracle(float(result["energy"]), -gradient, virial)

"""D3 of several structures in one sweep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from d3torch.integrations.ase import voigt_stress
from d3torch.model import D3
from d3torch.ops import Systems
from d3torch.structure import about_origin, check_structure

from ase import Atoms  # isort: skip  after ours: it names what is missing


def systems_of(model: D3, structures: Sequence[Atoms]) -> Systems:
    """A batch of structures, of the dtype and on the device of a module.

    Raises:
        TypeError, ValueError: see :mod:`d3torch.structure`; an element that the module lacks.
    """
    like = model.rcov
    checked = [check_structure(x.positions, x.cell.array, x.pbc) for x in structures]
    if like.dtype != torch.float64:
        checked = [about_origin(structure) for structure in checked]
    numbers = torch.from_numpy(np.concatenate([x.numbers for x in structures]))
    sizes = torch.tensor([0, *map(len, structures)], device=like.device)
    return Systems(
        torch.from_numpy(np.concatenate([x.positions for x in checked])).to(like),
        torch.from_numpy(np.stack([x.cell for x in checked])).to(like),
        torch.from_numpy(np.stack([x.pbc for x in checked])).to(like.device),
        model.species(numbers.to(like.device, torch.int64)),
        sizes.cumsum(0),
    )


def evaluate_all(model: D3, structures: Sequence[Atoms], derivatives: bool) -> list[dict[str, Any]]:
    """Energy, eV, of each structure, and, with derivatives, forces, eV/A, and stress, eV/A^3.

    The stress is that of ASE, there where :class:`d3torch.D3Calculator` has one.

    Raises:
        TypeError, ValueError: as :func:`systems_of`; two atoms on one spot.
    """
    systems = systems_of(model, structures)
    found = model.evaluate(systems, derivatives)
    results: list[dict[str, Any]] = [{"energy": energy} for energy in found.energy.tolist()]
    if not derivatives:
        return results
    forces = torch.split((-found.gradient).double().cpu(), [len(x) for x in structures])
    virials = found.virial.double().cpu()
    for result, force, virial, atoms in zip(results, forces, virials, structures, strict=True):
        result["forces"] = force.numpy()
        stress = voigt_stress(virial, atoms)
        if stress is not None:
            result["stress"] = stress
    return results

"""Structures with a three-body term, as arguments of the ops, in hartree and bohr."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from ase import Atoms
from corpus import Structure
from systems import CELL, PERIODIC
from torch import Tensor

from d3torch import ops
from d3torch.reference import reference_tables
from d3torch.units import BOHR

PBE = {"s6": 1.0, "s8": 0.7875, "a1": 0.4289, "a2": 4.4407}
Case = tuple[ops.Systems, Tensor, ops.Tables, ops.Range]


def case(
    structure: Structure, atm_cutoff: float, width: float = 0.0, dtype: torch.dtype = torch.float64
) -> Case:
    """Arguments of the ops for one structure, in hartree and bohr; the cutoff in angstrom."""
    elements = np.unique(structure.numbers).tolist()
    t = reference_tables(elements)
    values = (t.rcov, t.r4r2, t.cn_ref, t.c6_ref, t.radii)
    tables = ops.Tables(*(torch.tensor(v, dtype=dtype) for v in values))
    systems = ops.Systems(
        torch.tensor(structure.positions / BOHR, dtype=dtype),
        torch.tensor(structure.cell / BOHR, dtype=dtype)[None],
        torch.tensor(np.broadcast_to(structure.pbc, 3).copy())[None],
        torch.tensor(np.searchsorted(elements, structure.numbers)),
        torch.tensor([0, len(structure.numbers)]),
    )
    damping = torch.tensor([[*PBE.values(), 1.0]], dtype=dtype)
    cutoffs = (structure.cutoff / BOHR, structure.cn_cutoff / BOHR)
    reach = ops.Range(*cutoffs, atm_cutoff=atm_cutoff / BOHR, atm_width=width)
    return systems, damping, tables, reach


def structure_of(atoms: Atoms, cutoff: float = 4.0, cn_cutoff: float = 6.0) -> Structure:
    cell, pbc = np.array(atoms.cell), np.array(atoms.pbc)
    return Structure(
        str(atoms.symbols), atoms.numbers, atoms.positions, cell, pbc, cutoff, cn_cutoff
    )


def small(kind: str, width: float = 0.0, dtype: torch.dtype = torch.float64) -> Case:
    """Two systems of one periodicity, of 4 and 3 atoms, with different cells and damping."""
    rng = np.random.default_rng(8)
    grid = np.stack(np.meshgrid(*3 * [np.arange(2)]), axis=-1).reshape(-1, 3)[:7] * 0.5
    fractional = torch.tensor(grid + rng.uniform(-0.06, 0.06, (7, 3)))
    cells = torch.stack([CELL, 1.07 * CELL.flip(0)]) / BOHR
    positions = torch.cat([fractional[:4] @ cells[0], fractional[4:] @ cells[1]])
    species, offsets = torch.tensor([0, 1, 2, 3, 1, 2, 1]), torch.tensor([0, 4, 7])
    first = structure_of(Atoms("HCONa", positions=np.eye(4, 3) * 3), 4.0, 3.0)
    _, _, tables, reach = case(first, 4.2, width, dtype)
    pbc = torch.tensor([PERIODIC[kind]] * 2)
    systems = ops.Systems(positions.to(dtype), cells.to(dtype), pbc, species, offsets)
    damping = torch.tensor([[*PBE.values(), 1.1], [1.0, 1.4, 0.4, 4.9, 0.7]], dtype=dtype)
    return systems, damping, tables, reach


def flat(given: Case, *how: Any, form: int = 0) -> tuple[Any, ...]:
    """The arguments of an op of the dispatcher; `how` stands where that of evaluate does."""
    systems, damping, tables, reach = given
    first = (*systems, damping, *tables[:4], *reach[:4])
    return (*first, *how, tables.radii, form, *reach[4:])

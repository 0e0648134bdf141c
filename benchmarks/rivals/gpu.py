"""Inputs and rivals of ``benchmarks.suites.gpu``. Lengths in angstrom."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.rivals.nvalchemi import Nvalchemi
from benchmarks.rivals.torch_dftd import torch_dftd as torch_dftd_calculator
from d3torch.units import BOHR

SIDE = 4.119
"""Lattice constant of CsCl."""


class Input(NamedTuple):
    """Structures one after the other, what is asked of an engine, and where.

    ``pairs`` are directed, ``room`` is the memory that a list may take, bytes.
    """

    positions: NDArray[np.float64]
    numbers: NDArray[np.int64]
    cell: NDArray[np.float64] | None
    sizes: list[int]
    cutoff: float
    cn_cutoff: float
    pairs: float
    device: str
    room: float
    crystal: CsCl | None


NEEDS = {"nvalchemi": ("nvalchemiops", "warp"), "torch-dftd": ("torch_dftd", "pymatgen", "monty")}
"""What the rivals import."""


@cache
def installed(rival: str) -> bool:
    """Whether a rival can be imported; says so once if it cannot."""
    missing = [name for name in NEEDS[rival] if not find_spec(name)]
    if missing:
        print(f"{rival}: left out (no {', '.join(missing)})", flush=True)
    return not missing


class CsCl(NamedTuple):
    """A cube of n^3 cells."""

    n: int

    def input(self, cutoff: float, device: str, room: float) -> Input:
        """The crystal as a case; coordination numbers reach as far as energies, as in rivals."""
        grid = np.stack(np.meshgrid(*3 * [np.arange(self.n)], indexing="ij"), axis=-1)
        corners = SIDE * grid.reshape(-1, 3)
        x = np.concatenate([corners, corners + SIDE / 2])
        z = np.repeat([55, 17], len(corners))
        pairs = float(len(z) * len(neighbours(cutoff)[0]))
        cell = SIDE * self.n * np.eye(3)
        return Input(x, z, cell, [len(z)], cutoff, cutoff, pairs, device, room, self)


def neighbours(cutoff: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Neighbours of a corner in half lattice constants, and whether they are centres."""
    reach = int(2 * cutoff / SIDE) + 1
    grid = np.stack(np.meshgrid(*3 * [np.arange(-reach, reach + 1)], indexing="ij"), axis=-1)
    steps = grid.reshape(-1, 3)
    odd = steps % 2
    steps = steps[(odd == odd[:, :1]).all(axis=1)]
    r = np.linalg.norm(steps * SIDE / 2, axis=1)
    steps = steps[(r > 0) & (r <= cutoff)]
    return steps, steps[:, 0] % 2


def crystal_list(
    crystal: CsCl, cutoff: float, dtype: torch.dtype, device: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """The list of all pairs, sorted by centre, made from the lattice."""
    n, (steps, other) = crystal.n, neighbours(cutoff)
    step = torch.tensor(steps, device=device)
    shifted, change = step[None], torch.tensor(other, device=device)
    atoms = torch.arange(2 * n**3, device=device)
    kind, cell = atoms // n**3, atoms % n**3
    at = 2 * torch.stack([cell // n**2, cell // n % n, cell % n], dim=1) + kind[:, None]
    centres, ends = [], []
    for first in range(0, len(atoms), 4096):
        to = at[first : first + 4096, None] + shifted
        kinds = (kind[first : first + 4096, None] + change) % 2
        index = ((to - kinds[..., None]) // 2) % n
        j = kinds * n**3 + (index[..., 0] * n + index[..., 1]) * n + index[..., 2]
        ends.append(j.flatten())
        centres.append(atoms[first : first + 4096].repeat_interleave(len(step)))
    pairs = torch.stack([torch.cat(centres), torch.cat(ends)])
    vectors = (step.to(dtype) * (SIDE / 2)).repeat(len(atoms), 1)
    return pairs, vectors


def nvalchemi(given: Input) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    """Its search for neighbours, and its energies, forces and virials on what that found."""
    cell = None if given.cell is None else given.cell / BOHR
    d3 = Nvalchemi(given.numbers, given.sizes, given.cutoff / BOHR, cell, given.device)
    x = torch.tensor(given.positions / BOHR, dtype=torch.float32, device=given.device)
    return lambda: d3.search(x), lambda near: d3.evaluate(x, near)


def torch_dftd(given: Input) -> Callable[[], Any]:
    """Its calculator as ASE calls it."""
    from ase import Atoms

    calculator = torch_dftd_calculator(given.cutoff, given.cn_cutoff, device=given.device)
    periodic = given.cell is not None
    atoms = Atoms(given.numbers, given.positions, cell=given.cell, pbc=periodic)

    def step() -> Any:
        calculator.calculate(atoms, ["energy", "forces", *(["stress"] if periodic else [])])
        return calculator.results

    return step

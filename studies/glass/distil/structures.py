"""Structures to train a potential on: PMMCS melts that cool, and strained glasses.

Usage: python studies/glass/distil/structures.py FILE.extxyz [--units N] [--seed K]
                                                 [--glasses FILE] [--near FILE]

Melts of all eight compositions at constant volumes from 20 % less to 10 % more dense than the glass
is measured to be, from 4000 K to 300 K at 1000 K/ps. ``--glasses`` adds copies of relaxed glasses
in that file, with strained cells and displaced atoms; ``--near`` makes only copies, near to rest.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms

from d3torch_glass.facts import ELEMENTS, Composition, box_length, compositions
from d3torch_glass.files import written_aside
from d3torch_glass.initial import box_commands
from d3torch_glass.potential import lammps_errors, lammps_library, pmmcs_commands

DENSITIES = (0.80, 0.88, 0.95, 1.02, 1.10)
"""Of a melt, relative to experiment."""
HIGH, LOW, RATE = 4000.0, 300.0, 1000.0
"""K, K, K/ps."""
FRAMES = 20
"""Structures kept of a melt."""


def melt(composition: Composition, units: int, relative: float, seed: int) -> list[Atoms]:
    """Structures of a PMMCS melt that is cooled at constant volume."""
    counts = composition.counts(units)
    length = box_length(counts, composition.density * relative)
    every = round((HIGH - LOW) / RATE * 1e3 / FRAMES)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frames"
        lmp = lammps_library()
        try:
            with lammps_errors():
                lmp.commands_list([
                    *box_commands(counts, length, seed), *pmmcs_commands(),
                    "minimize 1e-6 1e-4 500 5000", f"velocity all create {HIGH} {seed} mom yes",
                    "timestep 0.001", f"fix move all nvt temp {HIGH} {HIGH} 0.1", "run 1000",
                    "unfix move", f"fix move all nvt temp {HIGH} {LOW} 0.1",
                    f"dump frames all custom {every} {path} id type x y z",
                    "dump_modify frames sort id first no", f"run {every * FRAMES}", "undump frames",
                ])  # fmt: skip
        finally:
            lmp.close()
        found = ase.io.read(path, ":", format="lammps-dump-text")
    for atoms in found:
        atoms.symbols = [ELEMENTS[k - 1] for k in atoms.arrays.pop("type")]
        atoms.info = {"name": composition.name, "source": f"PMMCS melt, {relative:g}"}
    return list(found)


def at_rest(found: list[Atoms]) -> list[Atoms]:
    """Those that are no glasses from dynamics, named by their composition, not by their job."""
    kept = [atoms for atoms in found if "Kps" not in atoms.info["name"]]
    for atoms in kept:
        atoms.info["name"] = atoms.info["name"].split("_")[0]
    return kept


def strained(glass: Atoms, rng: np.random.Generator) -> Atoms:
    """A copy with a cell strained by up to 6 %, sheared, and atoms displaced by up to 0.15 A."""
    found = Atoms(glass.symbols, glass.positions, cell=glass.cell, pbc=True)
    strain = np.eye(3) * (1.0 + rng.uniform(-0.03, 0.05)) + rng.uniform(-0.02, 0.02, (3, 3))
    found.set_cell(found.cell.array @ strain, scale_atoms=True)
    found.positions += rng.normal(0.0, rng.uniform(0.02, 0.15), found.positions.shape)
    found.info = {"name": glass.info["name"], "source": "strained glass"}
    return found


def near(glass: Atoms, rng: np.random.Generator) -> Atoms:
    """A copy up to 6 % less or more dense, with atoms displaced by up to 0.05 A."""
    found = Atoms(glass.symbols, glass.positions, cell=glass.cell, pbc=True)
    found.set_cell(found.cell.array * (1.0 + rng.uniform(-0.015, 0.02)), scale_atoms=True)
    found.positions += rng.normal(0.0, rng.uniform(0.01, 0.05), found.positions.shape)
    found.info = {"name": glass.info["name"], "source": "glass near rest"}
    return found


def _structures(units: int, seed: int) -> Iterator[Atoms]:
    for composition in compositions():
        for k, relative in enumerate(DENSITIES):
            yield from melt(composition, units, relative, 10 * seed + k)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--units", type=int, default=25, help="oxide units of a melt")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--glasses", type=Path)
    parser.add_argument("--near", type=Path)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    if args.near is not None:
        found = [near(glass, rng) for glass in at_rest(ase.io.read(args.near, ":"))]
    else:
        found = list(_structures(args.units, args.seed))
    if args.glasses is not None:
        found += [strained(glass, rng) for glass in at_rest(ase.io.read(args.glasses, ":"))]
    order = np.random.default_rng(args.seed).permutation(len(found))  # any part is of all
    with written_aside(args.file) as partial:
        ase.io.write(partial, [found[k] for k in order], format="extxyz")
    print(f"{len(found)} structures in {args.file}")


if __name__ == "__main__":
    main()

"""Structures that a distilled potential visits, to be labelled and trained on next.

Usage: python studies/glass/distil/explore.py MODEL.pb STRUCTURES.extxyz FILE.extxyz [--seed K]
                                              [--part K/N] [--high 3500] [--glasses]

One structure of each composition in STRUCTURES is heated in NPT to ``--high`` K and cooled to 300
K, in 10 ps, by the LAMMPS that ``LMP`` names (with DeePMD), under each of two pressures;
``--glasses`` does so with every structure, under one of them. K/N takes every N-th run. One that is
lost ends where two atoms come nearer than 0.9 A, or where LAMMPS stops.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list

from d3torch_glass.facts import ELEMENTS
from d3torch_glass.files import written_aside
from d3torch_glass.potential import mass_commands

PRESSURES = (-1.0, 3.0)
"""GPa: lighter than without D3, and denser than with it."""
QUIET = subprocess.DEVNULL
STEPS, EVERY = 5_000, 125
INPUT = """units metal
atom_style atomic
read_data initial.data
{masses}
pair_style deepmd {model}
pair_coeff * * O Na Si
velocity all create 600 {seed} mom yes
timestep 0.001
fix move all nvt temp 300 300 0.05
run 500
unfix move
timestep 0.002
dump frames all custom {every} frames id type x y z
dump_modify frames sort id first no
fix move all npt temp 300 {high} 0.1 iso {bar} {bar} 0.5
run {part}
unfix move
fix move all npt temp {high} 300 0.1 iso {bar} {bar} 0.5
run {rest}
"""


def frames(atoms: Atoms, model: Path, pressure: float, seed: int, high: float) -> list[Atoms]:
    """What a run passes through, up to where it is lost."""
    lmp = os.environ.get("LMP", "lmp").split()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ase.io.write(folder / "initial.data", atoms, format="lammps-data", specorder=ELEMENTS)
        part = STEPS // 4
        text = INPUT.format(
            masses="\n".join(mass_commands()), model=model, seed=seed, every=EVERY,
            bar=pressure * 1e4, high=high, part=part, rest=STEPS - part,
        )  # fmt: skip
        (folder / "in").write_text(text, encoding="utf-8")
        subprocess.run(
            [*lmp, "-in", "in", "-log", "log", "-screen", "none"], cwd=folder, stderr=QUIET
        )
        dump = folder / "frames"
        if not dump.exists() or dump.stat().st_size == 0:
            return []
        found = ase.io.read(dump, ":", format="lammps-dump-text")
    kept = []
    for each in found:
        each.symbols = [ELEMENTS[k - 1] for k in each.arrays.pop("type")]
        if len(neighbor_list("i", each, 0.9)):
            break
        kept.append(each)
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("structures", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--high", type=float, default=3500.0, help="K")
    parser.add_argument("--glasses", action="store_true")
    parser.add_argument("--part", default="1/1")
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    structures = ase.io.read(args.structures, ":")
    if args.glasses:
        runs = [(atoms, PRESSURES[k % 2]) for k, atoms in enumerate(structures)]
    else:
        of_name: dict[str, list[Atoms]] = {}
        for atoms in structures:
            of_name.setdefault(str(atoms.info["name"]), []).append(atoms)
        runs = [(each[rng.choice(len(each))], p) for each in of_name.values() for p in PRESSURES]
    part, parts = map(int, args.part.split("/"))
    found = []
    for start, pressure in runs[part - 1 :: parts]:
        seed, name = int(rng.integers(1, 10**6)), start.info["name"]
        visited = frames(start, args.model.resolve(), pressure, seed, args.high)
        source = f"own {'glass' if args.glasses else 'dynamics'}, {pressure:g} GPa"
        for atoms in visited:
            atoms.info = {"name": name, "source": source}
        print(name, pressure, len(visited), flush=True)
        found += visited
    found = [found[k] for k in rng.permutation(len(found))]
    with written_aside(args.file) as partial:
        ase.io.write(partial, found, format="extxyz")
    print(f"{len(found)} structures in {args.file}")


if __name__ == "__main__":
    main()

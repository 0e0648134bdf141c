"""Structures that a distilled potential visits, to be labelled and trained on next.

Usage: python studies/glass/distil/explore.py MODEL.pb STRUCTURES.extxyz FILE.extxyz [--seed K]
                                              [--part K/N] [--high 3500] [--source NAME]

One structure of each composition in STRUCTURES is heated in NPT to ``--high`` K and cooled to 300
K, in 10 ps, by the LAMMPS that ``LMP`` names (with DeePMD), under each of two pressures. K/N takes
every N-th run. One that is lost ends where two atoms come nearer than 0.9 A, where the density
leaves 0.7 to 1.4 of what the glass is measured to have (it boils, or falls in on itself), or where
LAMMPS stops.
``--source`` is what the structures are said to come from where errors are listed.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list
from program import failed
from structures import at_rest

from d3torch_glass.facts import ELEMENTS, composition, density_of
from d3torch_glass.files import part_of, written_aside
from d3torch_glass.potential import mass_commands

PRESSURES = (-0.3, 3.0)
"""GPa: lighter than without D3, and denser than with it."""
NEAREST, LIGHTEST, DENSEST = 0.9, 0.7, 1.4
"""A, and densities relative to experiment, that a run may reach."""
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


def lost(atoms: Atoms, measured: float) -> bool:
    """Whether atoms are on top of each other, or the density is far from the measured one."""
    density = density_of(atoms)
    near = len(neighbor_list("i", atoms, NEAREST)) > 0
    return near or not LIGHTEST < density / measured < DENSEST


def frames(atoms: Atoms, model: Path, pressure: float, seed: int, high: float) -> list[Atoms]:
    """What a run passes through, up to where it is lost."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ase.io.write(folder / "initial.data", atoms, format="lammps-data", specorder=ELEMENTS)
        part = STEPS // 4
        text = INPUT.format(
            masses="\n".join(mass_commands()), model=model, seed=seed, every=EVERY,
            bar=pressure * 1e4, high=high, part=part, rest=STEPS - part,
        )  # fmt: skip
        (folder / "in").write_text(text, encoding="utf-8")
        why, dump = failed(folder), folder / "frames"
        if not dump.exists() or dump.stat().st_size == 0:
            raise RuntimeError(why or "expected frames from LAMMPS, got none")
        found = ase.io.read(dump, ":", format="lammps-dump-text")
    kept = []
    for each in found:
        each.symbols = [ELEMENTS[k - 1] for k in each.arrays.pop("type")]
        if lost(each, composition(atoms.info["name"]).density):
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
    parser.add_argument("--source", default="own dynamics")
    parser.add_argument("--part", type=part_of, default="1/1")
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    of_name: dict[str, list[Atoms]] = {}
    for atoms in at_rest(ase.io.read(args.structures, ":")):
        of_name.setdefault(atoms.info["name"], []).append(atoms)
    runs = [(each[rng.choice(len(each))], p) for each in of_name.values() for p in PRESSURES]
    seeds = rng.integers(1, 10**6, len(runs))
    part, parts = args.part
    found = []
    for (start, pressure), seed in list(zip(runs, seeds, strict=True))[part - 1 :: parts]:
        name = start.info["name"]
        visited = frames(start, args.model.resolve(), pressure, seed, args.high)
        for atoms in visited:
            atoms.info = {"name": name, "source": f"{args.source}, {pressure:g} GPa"}
        print(name, pressure, len(visited), flush=True)
        found += visited
    found = [found[k] for k in rng.permutation(len(found))]
    with written_aside(args.file) as partial:
        ase.io.write(partial, found, format="extxyz")
    print(f"{len(found)} structures in {args.file}")


if __name__ == "__main__":
    main()

"""Energies, forces and virials of structures by a trained potential, without D3.

Usage: python studies/glass/distil/label.py STRUCTURES.extxyz LABELS.extxyz --model sevenn:7net-0
                                            [--part K/N] [--force 30]

Adds to LABELS what is not there yet, in the order of STRUCTURES, so it goes on after a kill; K/N
takes every N-th structure, for several processes with a file of labels each. Structures with a
force above ``--force`` eV/A are labelled and marked ``too_far`` in their info: training skips them.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from d3torch.recognise import dispersion_in
from d3torch_glass.files import alone, one_sentence, part_of, settle_results, write_text
from d3torch_glass.jobs import model_file
from d3torch_glass.potentials import base_calculator


def labelled(path: Path) -> int:
    """How many whole structures a file has; a last one that was cut off is removed."""
    if not path.exists():
        return 0
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    first = count = 0
    while first < len(lines):
        after = first + 2 + int(lines[first])
        if after > len(lines) or not lines[after - 1].endswith("\n"):
            write_text(path, "".join(lines[:first]))
            break
        first, count = after, count + 1
    return count


def label(atoms: Atoms, calculator: object, most: float) -> Atoms:
    """A copy with energy, forces and stress of the calculator."""
    atoms = atoms.copy()
    atoms.calc = calculator
    results = {
        "energy": atoms.get_potential_energy(),
        "forces": atoms.get_forces(),
        "stress": atoms.get_stress(),
    }
    atoms.info["too_far"] = bool(np.abs(results["forces"]).max() > most)
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("structures", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--part", type=part_of, default="1/1")
    parser.add_argument("--force", type=float, default=30.0)
    args = parser.parse_args()
    beside = args.labels.with_name(f".{args.labels.name}")
    with alone(beside):
        part = "/".join(map(str, args.part))
        begun = {"model": args.model, "part": part, "force": args.force, **model_file(args.model)}
        with one_sentence():
            there = args.labels.exists()
            settle_results(beside / "settings.json", begun, args.labels, there)
            calculator = base_calculator(args.model)
            inside = dispersion_in(calculator)
            if inside is not None:
                raise ValueError(
                    f"expected a potential without dispersion, got {args.model} with {inside}"
                )
        run(args, calculator)


def run(args: argparse.Namespace, calculator: object) -> None:
    """One structure after another."""
    part, parts = args.part
    structures = list(ase.io.iread(args.structures))[part - 1 :: parts]
    done = labelled(args.labels)
    began = time.perf_counter()
    for count, atoms in enumerate(structures[done:], 1):
        with args.labels.open("a", encoding="utf-8") as file:
            ase.io.write(file, label(atoms, calculator, args.force), format="extxyz")
        if count % 20 == 0:
            each = (time.perf_counter() - began) / count
            print(f"{done + count} of {len(structures)}, {each:.2f} s each", flush=True)


if __name__ == "__main__":
    main()

"""Does D3 shrink a PMMCS glass by its pressure or its forces? Seven minima a glass, no dynamics.

Usage: python studies/glass/rearrangement.py FOLDER ATOMS SEED... for SiO2 and NS33, or
python studies/glass/rearrangement.py FOLDER STRUCTURE... for given glasses. Goes on where it was
stopped; FOLDER/rearrangement.json has what :class:`d3torch_glass.response.Response` has.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from ase import Atoms

from d3torch import D3Calculator
from d3torch_glass.files import alone, digest, one_sentence, settle, write_json
from d3torch_glass.potential import PMMCS
from d3torch_glass.predicting import one_structure
from d3torch_glass.relaxing import Tolerance
from d3torch_glass.response import response
from d3torch_glass.static import StaticJob, StaticProtocol, initial

QUENCH = StaticProtocol(initial_rate=1000.0, initial_hold_ps=2.0)
TOLERANCE = Tolerance(force=0.005, pressure=0.002, steps=5000)


def check_words(words: list[str]) -> None:
    """See that glasses can be made, or files read, before any of them is.

    Raises:
        ValueError: for a number of atoms that no glass has, no seeds, or no structure.
    """
    if not words[0].isdigit():
        for word in words:
            one_structure(word)
        return
    if int(words[0]) < 96 or int(words[0]) % 3:
        raise ValueError(f"expected a multiple of 3 atoms, 96 or more, got {words[0]}")
    if len(words) < 2 or not all(word.isdigit() and int(word) > 0 for word in words[1:]):
        raise ValueError(f"expected seeds from 1 after the atoms, got {' '.join(words[1:])!r}")


def glasses(folder: Path, words: list[str]) -> Iterator[tuple[str, Atoms]]:
    """Names and structures that the arguments ask for."""
    if not words[0].isdigit():
        for word in words:
            yield Path(word).stem, one_structure(word)
        return
    for seed in map(int, words[1:]):
        for name in ("SiO2", "NS33"):
            units = int(words[0]) // 3
            job = StaticJob(name, seed, "pmmcs", "d3torch", units, QUENCH)
            yield f"{name}_{3 * units}_s{seed}", initial(job, folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("words", nargs="+", metavar="ATOMS SEED... or STRUCTURE...")
    args = parser.parse_args()
    with alone(args.folder / "rearrangement"):
        run(args.folder, args.words)


def run(folder: Path, words: list[str]) -> None:
    """One glass after another."""
    with one_sentence():
        check_words(words)
    path = folder / "rearrangement.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    d3 = D3Calculator("pbe", preset="converged")
    for name, atoms in glasses(folder, words):
        begun = {"structure": digest(atoms.numbers, atoms.positions, atoms.cell.array)}
        with one_sentence():
            settle(folder / name / "settings.json", begun)
        if name not in found:
            outcome = response(atoms, PMMCS(), d3, folder / name, TOLERANCE)
            found[name] = {"atoms": len(atoms), **outcome._asdict()}
            write_json(path, found)
        print(name, found[name], flush=True)


if __name__ == "__main__":
    main()

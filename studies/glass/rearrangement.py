"""Does D3 shrink a PMMCS glass by its pressure or its forces? Seven minima a glass, no dynamics.

Usage: python studies/glass/rearrangement.py FOLDER ATOMS SEED... for SiO2 and NS33, or
python studies/glass/rearrangement.py FOLDER STRUCTURE... for given glasses. Goes on where it was
stopped; FOLDER/rearrangement.json has what :class:`d3torch_glass.response.Response` has.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from ase import Atoms

from d3torch import D3Calculator
from d3torch_glass.files import alone, digest, one_sentence, read_json, settle, write_json
from d3torch_glass.planning import check_glasses
from d3torch_glass.potential import PMMCS
from d3torch_glass.predicting import one_structure
from d3torch_glass.relaxing import Tolerance
from d3torch_glass.response import response
from d3torch_glass.static import StaticJob, StaticProtocol, initial

QUENCH = StaticProtocol(initial_rate=1000.0, initial_hold_ps=2.0)
TOLERANCE = Tolerance(force=0.005, pressure=0.002, steps=5000)


def glasses(folder: Path, words: list[str]) -> Iterator[tuple[str, Atoms]]:
    """Names and structures that the arguments ask for; files are read before the first is given.

    Raises:
        ValueError: for a number of atoms that no glass has, no seeds, or no structure.
    """
    if not words[0].isdigit():
        return iter([(Path(word).stem, one_structure(word)) for word in words])
    atoms, seeds = int(words[0]), words[1:]
    if not seeds or not all(seed.isdigit() and int(seed) > 0 for seed in seeds):
        raise ValueError(f"expected seeds from 1 after the atoms, got {' '.join(seeds)!r}")
    check_glasses(atoms, [*map(int, seeds)])
    jobs = (
        StaticJob(name, int(seed), "pmmcs", "d3torch", atoms // 3, QUENCH)
        for seed in seeds
        for name in ("SiO2", "NS33")
    )
    return ((f"{job.composition}_{atoms}_s{job.seed}", initial(job, folder)) for job in jobs)


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
        asked = glasses(folder, words)
    path = folder / "rearrangement.json"
    found = read_json(path)
    d3 = D3Calculator("pbe", preset="converged")
    for name, atoms in asked:
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

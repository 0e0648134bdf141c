"""D3 in PMMCS glasses at 300 K: densification beside the pressure of D3 over the bulk modulus.

Usage: python studies/glass/densify.py FOLDER STRUCTURE [--hold PS] [--pressure GPA] [--seed N...]
Goes on where it was stopped, with the same structure, time and pressure. Each seed gives velocities
to three runs; FOLDER/densification.json has, by the name of the structure and the seed, what
:class:`d3torch_glass.densification.Densification` has.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from d3torch import D3Calculator
from d3torch_glass.analyse import as_mean
from d3torch_glass.densification import check_densification, densification
from d3torch_glass.files import alone, digest, one_sentence, read_json, settle, write_json
from d3torch_glass.potential import PMMCS
from d3torch_glass.predicting import one_structure
from d3torch_glass.protocol import Protocol


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("structure", type=Path)
    kept = "of which the second half counts (default: %(default)s)"
    parser.add_argument("--hold", type=float, default=8.0, metavar="PS", help=f"each run, {kept}")
    near = "best what dispersion pulls with, since K depends on it (default: %(default)s)"
    parser.add_argument("--pressure", type=float, default=2.0, metavar="GPA", help=near)
    parser.add_argument("--seed", type=int, nargs="+", default=[1], metavar="N", help="velocities")
    args = parser.parse_args()
    steps = {"dt_fs": 2.0, "tdamp_fs": 100.0, "pdamp_fs": 300.0}
    with one_sentence():
        p = Protocol(**steps, hold_ps=args.hold, frame_ps=0.2, checkpoint_ps=0.5)
        atoms = one_structure(str(args.structure))
    d3 = D3Calculator("pbe", preset="mace_mp")  # 40 bohr, as the study's
    path = args.folder / "densification.json"
    begun = {"structure": digest(atoms.numbers, atoms.positions, atoms.cell.array)}
    begun |= {"ps": args.hold, "pressure": args.pressure}
    folders = {seed: args.folder / args.structure.stem / f"s{seed}" for seed in args.seed}
    with alone(args.folder / "densification"):
        with one_sentence():
            check_densification(args.pressure, p)
            for folder in folders.values():
                settle(folder / "settings.json", begun)
        for seed, folder in folders.items():
            outcome = densification(atoms, PMMCS(), d3, args.pressure, p, folder, seed)
            for name, mean in outcome._asdict().items():
                print(f"seed {seed} {name:16} {mean.value:10.5f} +- {mean.error:.5f}", flush=True)
            found = read_json(path)
            glass = found.setdefault(args.structure.stem, {"atoms": len(atoms), "runs": {}})
            values = {name: as_mean(mean) for name, mean in outcome._asdict().items()}
            glass["runs"][str(seed)] = {"ps": args.hold, "pressure": args.pressure, **values}
            write_json(path, found)


if __name__ == "__main__":
    main()

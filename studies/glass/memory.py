"""How far does the density of a relaxed glass remember the density that its network was made at?

Usage: python studies/glass/memory.py FOLDER ATOMS SEED... [--model MODEL]. PMMCS melts of SiO2 and
NS33 are cooled 5 % lighter than experiment, at it, and 5 % denser, at constant volume, and then
relaxed with the model (default: pmmcs), without D3. FOLDER/memory.json has the ends.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from d3torch_glass.facts import composition, density_of
from d3torch_glass.files import alone, one_sentence, read_json, settle, write_json
from d3torch_glass.initial import initial_structure
from d3torch_glass.jobs import model_file
from d3torch_glass.planning import check_glasses
from d3torch_glass.potentials import base_calculator
from d3torch_glass.protocol import Protocol
from d3torch_glass.relaxing import Tolerance, relax

QUENCH = Protocol(initial_rate=1000.0, initial_hold_ps=2.0)
TOLERANCE = Tolerance(force=0.03, pressure=0.02, steps=5000)


def end(name: str, seed: int, percent: float, atoms: int, potential: Any, folder: Path) -> float:
    """Density at rest, percent above experiment, of a network made at another density."""
    made = composition(name)
    made = made._replace(density=made.density * (1.0 + 0.01 * percent))
    glass = initial_structure(made, atoms // 3, seed, QUENCH)
    glass.calc = potential
    rest = relax(glass, folder / f"{name}_s{seed}_{percent:+g}.npz", TOLERANCE)
    density = float(density_of(glass, rest.volume))
    return 100.0 * (density / composition(name).density - 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("atoms", type=int)
    parser.add_argument("seed", type=int, nargs="+")
    parser.add_argument("--model", default="pmmcs")
    args = parser.parse_args()
    folder = args.folder / args.model.replace(":", "-").replace("/", "-")
    with alone(args.folder / "memory"):
        with one_sentence():
            check_glasses(args.atoms, args.seed)
            potential = base_calculator(args.model)
            begun = {"atoms": args.atoms, **model_file(args.model)}
            settle(folder / "settings.json", begun)
        run(args, potential, folder)


def run(args: argparse.Namespace, potential: Any, folder: Path) -> None:
    """One glass after another."""
    path = args.folder / "memory.json"
    found = read_json(path)
    for seed in args.seed:
        for name in ("SiO2", "NS33"):
            of_model = found.setdefault(args.model, {}).setdefault(name, {})
            for percent in (-5.0, 0.0, 5.0):
                ends = of_model.setdefault(f"{percent:+g}", {})
                if str(seed) not in ends:
                    given = (name, seed, percent, args.atoms)
                    ends[str(seed)] = end(*given, potential, folder)
                    write_json(path, found)
                    print(*given, args.model, ends[str(seed)], flush=True)


if __name__ == "__main__":
    main()

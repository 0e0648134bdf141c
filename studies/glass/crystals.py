"""Alpha-quartz and alpha-cristobalite at rest, with and without D3, beside experiment.

Usage: python studies/glass/crystals.py FILE.json MODEL... (``chgnet:0.3.0`` and other names as
``--model`` of ``d3torch glass run`` takes them). Atoms and all of the cell are relaxed at zero
pressure, with the symmetry of the crystal left free. What FILE.json has already is not run again.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.filters import FrechetCellFilter
from ase.optimize import LBFGS
from ase.spacegroup import crystal

from d3torch.settings import Settings
from d3torch_glass.facts import density_of
from d3torch_glass.files import alone, one_sentence, read_json, write_json
from d3torch_glass.potentials import base_calculator, calculator
from d3torch_glass.structure import angles

FORCE = 0.005  # eV/A, and the same for the forces on the cell
STEPS = 1000


def quartz() -> Atoms:
    """Alpha-quartz as measured: Levien, Prewitt, Weidner, Am. Mineral. 65, 920 (1980)."""
    sites = [(0.4697, 0.0, 1 / 3), (0.4133, 0.2672, 0.2145)]
    cell = [4.9160, 4.9160, 5.4054, 90, 90, 120]
    return crystal(("Si", "O"), sites, spacegroup=152, cellpar=cell)


def cristobalite() -> Atoms:
    """Alpha-cristobalite as measured: Downs, Palmer, Am. Mineral. 79, 9 (1994)."""
    sites = [(0.3003, 0.3003, 0.0), (0.2392, 0.1044, 0.1787)]
    cell = [4.9717, 4.9717, 6.9223, 90, 90, 90]
    return crystal(("Si", "O"), sites, spacegroup=92, cellpar=cell)


CRYSTALS = {"alpha-quartz": quartz, "alpha-cristobalite": cristobalite}


def described(atoms: Atoms) -> dict[str, float]:
    """Edges, density and the mean Si-O-Si angle of a crystal."""
    a, _, c = atoms.cell.lengths()
    density = float(density_of(atoms))
    angle = float(angles([atoms.repeat(3)])["Si-O-Si"].mean())
    return {"a": float(a), "c": float(c), "density": density, "angle": angle}


def relaxed(atoms: Atoms, model: str, d3: str) -> dict[str, Any]:
    """The crystal at rest with a potential: :func:`described`, steps and seconds a step.

    Raises:
        RuntimeError: if it does not come to rest.
    """
    settings = Settings(xc="pbe", preset="converged")
    atoms.calc = calculator(model, d3, "pbe", 0.0, settings=settings)
    optimiser = LBFGS(FrechetCellFilter(atoms), logfile=None, maxstep=0.05)
    began = time.perf_counter()
    if not optimiser.run(fmax=FORCE, steps=STEPS):
        raise RuntimeError(f"expected a minimum within {STEPS} steps, got none")
    steps = max(1, optimiser.nsteps)
    spent = time.perf_counter() - began
    return {**described(atoms), "steps": steps, "seconds_per_step": round(spent / steps, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("model", nargs="+")
    args = parser.parse_args()
    with alone(args.file.with_name(f".{args.file.name}")):  # of two, one would lose what it found
        with one_sentence():
            for model in args.model:
                base_calculator(model)  # refused before anything is run
        run(args.file, args.model)


def run(path: Path, models: list[str]) -> None:
    """One crystal after another."""
    found = read_json(path)
    for name, make in CRYSTALS.items():
        found.setdefault(name, {"experiment": described(make())})
        for model in models:
            for d3 in ("none",) if "r2scan" in model else ("none", "d3torch"):
                key = f"{model} {d3}"
                if key not in found[name]:
                    found[name][key] = relaxed(make(), model, d3)
                    write_json(path, found)
                print(name, key, found[name][key], flush=True)


if __name__ == "__main__":
    main()

"""Time of the damping variants and of the three-body term, beside simple-dftd3 in one run.

    python -m benchmarks.suites.family --out benchmarks/results

Energy, forces and virial of PBE-D3, float64 unless said otherwise, one thread. The variants: at 60
and 40 bohr. The three-body term: what it adds to a sum whose other cutoffs are 12 bohr, against its
own cutoff, with the triangles that it counts. Each time is the least of some turns of all methods;
simple-dftd3's three-body term, which takes minutes, is timed once. Needs the extras cli and oracle.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before dftd3 and torch read it

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.io import read
from scipy.spatial import cKDTree
from tqdm import tqdm

from benchmarks import report
from benchmarks.suites.convergence import water
from d3torch import Settings, damping_parameters
from d3torch.evaluate import Evaluator
from d3torch.examples import glass_path
from d3torch.units import BOHR, HARTREE
from d3torch.variants import VARIANTS

Run = Callable[[], float]

NEAR = 12.0
"""Bohr: the cutoffs of pairs beside a three-body term."""


def ours(atoms: Atoms, settings: Settings, dtype: torch.dtype = torch.float64) -> Run:
    """A sum of d3torch; gives the energy in hartree."""
    module = settings.module(sorted({int(z) for z in atoms.numbers}), dtype=dtype)
    ready = Evaluator(module)
    given = (atoms.positions, atoms.cell.array, atoms.pbc, atoms.numbers)
    return lambda: float(ready(*given).energy) / HARTREE


def theirs(atoms: Atoms, cutoffs: tuple[float, float, float], variant: str, s9: float) -> Run:
    """The same of simple-dftd3; cutoffs of pairs, triangles and CN, in bohr."""
    from dftd3 import interface

    names = {
        "bj": "RationalDampingParam",
        "bjm": "ModifiedRationalDampingParam",
        "zero": "ZeroDampingParam",
        "zerom": "ModifiedZeroDampingParam",
    }
    numbers = damping_parameters("pbe", variant)._asdict()
    param = getattr(interface, names[variant])(**numbers, s9=s9)
    periodic = np.ones(3, dtype=bool)
    cell = atoms.cell.array / BOHR
    model = interface.DispersionModel(atoms.numbers, atoms.positions / BOHR, cell, periodic)
    model.set_realspace_cutoff(*cutoffs)
    return lambda: float(model.get_dispersion(param, grad=True)["energy"])


def turns_of(runs: dict[str, Run], turns: int) -> dict[str, tuple[float, float]]:
    """The least time of each, in seconds, and what came out."""
    found = {name: run() for name, run in runs.items()}
    least = dict.fromkeys(runs, np.inf)
    for _ in range(turns):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            least[name] = min(least[name], time.perf_counter() - start)
    return {name: (least[name], found[name]) for name in runs}


def once(run: Run) -> tuple[float, float]:
    """Seconds of the first call, and what came out."""
    start = time.perf_counter()
    energy = run()
    return time.perf_counter() - start, energy


def variants(glass: Atoms, turns: int) -> list[list[str]]:
    """Rows of the table of variants."""
    runs = {}
    for variant in VARIANTS:
        settings = Settings(xc="pbe", variant=variant)
        runs[f"d3torch {variant}"] = ours(glass, settings)
        runs[f"float32 {variant}"] = ours(glass, settings, torch.float32)
        runs[f"simple-dftd3 {variant}"] = theirs(glass, (60.0, 1e-9, 40.0), variant, 0.0)
    found = turns_of(runs, turns)
    rows = []
    for variant in VARIANTS:
        (mine, a), (single, _), (other, b) = (
            found[f"{who} {variant}"] for who in ("d3torch", "float32", "simple-dftd3")
        )
        base = found["d3torch bj"][0]
        row = [1e3 * mine, mine / base, 1e3 * single, 1e3 * other, other / mine]
        rows.append([variant, *(f"{x:.3g}" for x in row), f"{abs(a / b - 1):.0e}"])
    return rows


def triangles(atoms: Atoms, cutoff: float) -> float:
    """Triangles an atom, each counted once, with sides within a cutoff in A; of some atoms."""
    reach = np.ceil(cutoff / np.abs(np.linalg.det(atoms.cell.array)) ** (1 / 3)).astype(int) + 1
    shifts = np.array(list(np.ndindex(*(2 * reach + 1,) * 3))) - reach
    images = (atoms.positions[None] + (shifts @ atoms.cell.array)[:, None]).reshape(-1, 3)
    tree, rng = cKDTree(images), np.random.default_rng(0)
    chosen = rng.choice(len(atoms), min(20, len(atoms)), replace=False)
    counts = []
    for x in atoms.positions[chosen]:
        around = images[tree.query_ball_point(x, cutoff)]
        around = around[np.linalg.norm(around - x, axis=1) > 1e-6]
        counts.append(len(cKDTree(around).query_pairs(cutoff)))
    return float(np.mean(counts)) / 3


def three_body(name: str, atoms: Atoms, cutoff: float, turns: int, rival: bool) -> list[str]:
    """A row of the table of the three-body term."""
    pairs = {"xc": "pbe", "cutoff": NEAR * BOHR, "cn_cutoff": NEAR * BOHR}
    with_it = Settings(**pairs, s9=1.0, atm_cutoff=cutoff * BOHR)
    runs = {"with": ours(atoms, with_it), "without": ours(atoms, Settings(**pairs))}
    runs["single"] = ours(atoms, with_it, torch.float32)
    found = turns_of(runs, turns)
    mine = found["with"][0] - found["without"][0]
    count = triangles(atoms, cutoff * BOHR)
    row = [count, mine, 1e9 * mine / (count * len(atoms)), found["single"][0]]
    shown = [name, str(len(atoms)), f"{cutoff:.0f}", *(f"{x:.3g}" for x in row)]
    if not rival:
        return [*shown, "-", "-", "-"]
    slow, energy = once(theirs(atoms, (NEAR, cutoff, NEAR), "bj", 1.0))
    slow -= once(theirs(atoms, (NEAR, 1e-9, NEAR), "bj", 0.0))[0]
    return [
        *shown,
        f"{slow:.3g}",
        f"{slow / mine:.3g}",
        f"{abs(found['with'][1] / energy - 1):.0e}",
    ]


VARIANT_HEAD = ["variant", "ms", "of bj", "ms, float32", "simple-dftd3, ms", "ratio", "deviation"]
ATM_HEAD = [
    *("structure", "atoms", "bohr", "triangles an atom", "s", "ns a triangle", "s, float32"),
    *("simple-dftd3, s", "ratio", "deviation"),
]


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--turns", type=int, default=3, help="calls of each method")
    parser.add_argument("--slow", action="store_true", help="simple-dftd3 at 40 bohr as well")
    options = parser.parse_args()
    torch.set_num_threads(1)
    told: dict[str, Any] = report.conditions([1])
    glass, small = read(glass_path()), water()
    large = small * (4, 2, 2)
    first = report.markdown_table(VARIANT_HEAD, variants(glass, options.turns))
    cases = [("NS33 glass", glass, c) for c in (15.0, 20.0, 25.0, 40.0)]
    cases += [(f"water x {n}", w, c) for n, w in ((1, small), (16, large)) for c in (25.0, 40.0)]
    rows = [
        three_body(name, atoms, c, options.turns, len(atoms) < 3000 and (c < 40 or options.slow))
        for name, atoms, c in tqdm(cases)
    ]
    text = (
        f"# Variants and the three-body term, {told['date']}\n\n{told['processor']}, one thread, "
        f"{told['instructions']}; load {told['load_before']:.2f} before. "
        f"torch {torch.__version__}, dftd3 {report._version('dftd3')}.\n\n"
        f"{' '.join((__doc__ or '').split('results', 1)[1].split())}\n\n{first}\n"
        f"{report.markdown_table(ATM_HEAD, rows)}"
    )
    stem = options.out / f"family_{told['date']}_{told['slug']}.md"
    report.replace_file(stem, text)


if __name__ == "__main__":
    main()

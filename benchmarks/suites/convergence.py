"""Error and time of D3 sums against their cutoff, beside simple-dftd3 and its particle mesh.

    python -m benchmarks.suites.convergence --out benchmarks/results

PBE-D3(BJ) with a CN cutoff of 40 bohr throughout, so that nothing but the sum over pairs differs.
The reference of every structure is its sum to 150 bohr with the smooth width and the tail. Errors:
energy per atom, largest component of the forces, and pressure, which is the mean of the diagonal
stress along the periodic directions. Each time is the least of some calls on one thread, with
energy, forces and virial; the methods of a structure take turns. Needs the extras cli, oracle and
benchmark.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before dftd3 and torch read it

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from ase import Atoms, units
from ase.build import bulk, fcc111, molecule
from ase.io import read
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks import report
from benchmarks.cases import crystal
from d3torch import Settings
from d3torch.evaluate import Evaluator
from d3torch.examples import glass_path
from d3torch.units import BOHR, HARTREE

CUTOFFS = (9.0, 12.0, 15.0, 20.0, 30.0, 40.0, 60.0, 95.0)
"""Bohr."""

FARTHEST = 150.0
"""Cutoff of the reference, bohr."""

WIDTH = 2.0
"""Of the smooth switch, A."""

MESHES = (32, 64, 96)
"""Points of simple-dftd3's particle mesh along each axis."""

CN = 40.0 * BOHR

VACUUM = 60.0
"""A, around the slab for simple-dftd3, which takes three periodic directions only."""


class Sum(NamedTuple):
    """What a sum comes to: eV, eV/A, eV."""

    energy: float
    forces: NDArray[Any]
    virial: NDArray[Any]


class Method(NamedTuple):
    """A way to sum: its family, its cutoff in bohr or its mesh, and what computes it."""

    family: str
    size: float
    run: Callable[[], Sum]


def water() -> Atoms:
    """64 molecules in random orientations on a grid, 0.997 g/cm^3."""
    rng, side = np.random.default_rng(5), (64 * 18.015 / 0.997 / 0.60221408) ** (1 / 3)
    box = Atoms(cell=[side] * 3, pbc=True)
    for place in np.ndindex(4, 4, 4):
        one = molecule("H2O")
        one.rotate(360 * rng.random(), rng.normal(size=3), center="COM")
        one.translate((np.array(place) + 0.5) * side / 4 - one.get_center_of_mass())
        box += one
    return box


def structures() -> dict[str, Atoms]:
    """The structures, by what they are called in the table."""
    benzene = crystal()
    copper = bulk("Cu", cubic=True) * 2
    gold = fcc111("Au", (2, 2, 4), vacuum=10.0, orthogonal=True)
    copper.rattle(0.05, seed=1)
    gold.rattle(0.05, seed=2)
    gold.pbc = [True, True, False]
    return {
        "NS33 glass": read(glass_path()),
        "benzene crystal": Atoms(benzene.numbers, benzene.positions, cell=benzene.cell, pbc=True),
        "copper": copper,
        "gold slab": gold,
        "water": water(),
    }


def ours(atoms: Atoms, settings: Settings) -> Callable[[], Sum]:
    """A sum of d3torch."""
    module = settings.module(sorted({int(z) for z in atoms.numbers}))
    ready, given = (
        Evaluator(module),
        (atoms.positions, atoms.cell.array, atoms.pbc, atoms.numbers),
    )

    def run() -> Sum:
        found = ready(*given)
        return Sum(float(found.energy), found.forces.numpy(), found.virial.numpy())

    return run


def theirs(atoms: Atoms, cutoff: float, mesh: int = 0) -> Callable[[], Sum]:
    """A sum of simple-dftd3, over a particle mesh if there is one."""
    from dftd3.interface import DispersionModel, RationalDampingParam

    param, cell = RationalDampingParam(method="pbe"), atoms.cell.array.copy()
    if not atoms.pbc.all():
        cell[2, 2] += VACUUM
    periodic = np.ones(3, dtype=bool)
    model = DispersionModel(atoms.numbers, atoms.positions / BOHR, cell / BOHR, periodic)
    model.set_realspace_cutoff(cutoff, cutoff, CN / BOHR)
    if mesh:
        model.set_ewald_summation(mesh=mesh)

    def run() -> Sum:
        found = model.get_dispersion(param, grad=True)
        forces = -found["gradient"] * HARTREE / BOHR
        return Sum(float(found["energy"]) * HARTREE, forces, found["virial"] * HARTREE)

    return run


def methods(atoms: Atoms) -> list[Method]:
    """All ways to sum a structure."""
    found = []
    families: dict[str, dict[str, Any]] = {
        "hard": {"width": 0.0},
        "smooth": {"width": WIDTH},
        "smooth, tail": {"width": WIDTH, "tail": True},
    }
    for family, more in families.items():
        for cutoff in CUTOFFS:
            settings = Settings(xc="pbe", cutoff=cutoff * BOHR, cn_cutoff=CN, **more)
            found.append(Method(f"d3torch, {family}", cutoff, ours(atoms, settings)))
    found += [Method("simple-dftd3", c, theirs(atoms, c)) for c in (40.0, 60.0, 95.0)]
    if atoms.pbc.all():
        found += [Method("simple-dftd3, mesh", m, theirs(atoms, 40.0, m)) for m in MESHES]
    return found


def pressure(atoms: Atoms, virial: NDArray[Any]) -> float:
    """Minus the mean diagonal stress along periodic directions, GPa."""
    stress = virial.diagonal()[atoms.pbc] / atoms.cell.volume
    return float(-stress.mean() / units.GPa)


def compare(name: str, atoms: Atoms, turns: int) -> list[dict[str, Any]]:
    """Records of every method on a structure."""
    settings = Settings(xc="pbe", cutoff=FARTHEST * BOHR, cn_cutoff=CN, width=WIDTH, tail=True)
    truth, all_methods = ours(atoms, settings)(), methods(atoms)
    times: list[list[float]] = [[] for _ in all_methods]
    sums = [m.run() for m in all_methods]
    for _ in tqdm(range(turns), desc=name):
        for method, spent in zip(all_methods, times, strict=True):
            start = time.perf_counter()
            method.run()
            spent.append(time.perf_counter() - start)
    return [
        {
            "structure": name,
            "atoms": len(atoms),
            "family": m.family,
            "size": m.size,
            "energy": 1e3 * abs(s.energy - truth.energy) / len(atoms),
            "force": 1e3 * float(np.abs(s.forces - truth.forces).max()),
            "pressure": abs(pressure(atoms, s.virial) - pressure(atoms, truth.virial)),
            "seconds": min(spent),
        }
        for m, s, spent in zip(all_methods, sums, times, strict=True)
    ]


HEAD = ["sum", "bohr or mesh", "energy, meV/atom", "force, meV/A", "pressure, GPa", "ms"]


def section(records: list[dict[str, Any]]) -> str:
    """The table of one structure."""
    rows = [
        [
            r["family"],
            f"{r['size']:.0f}",
            *(f"{r[key]:.1e}" for key in ("energy", "force", "pressure")),
            f"{1e3 * r['seconds']:.3g}",
        ]
        for r in records
    ]
    title = f"### {records[0]['structure']}, {records[0]['atoms']} atoms\n\n"
    return title + report.markdown_table(HEAD, rows)


def draw(groups: list[list[dict[str, Any]]], path: Path) -> None:
    """Error in energy and pressure against time, a column for each structure."""
    plt = report._style()
    figure, axes = plt.subplots(2, len(groups), figsize=(3 * len(groups), 5.6), squeeze=False)
    for column, records in zip(axes.T, groups, strict=True):
        for axis, key in zip(column, ("energy", "pressure"), strict=True):
            for family in dict.fromkeys(r["family"] for r in records):
                line = [r for r in records if r["family"] == family]
                x, y = [1e3 * r["seconds"] for r in line], [r[key] for r in line]
                axis.loglog(x, np.maximum(y, 1e-9), marker="o", ms=3, lw=1, label=family)
            axis.set_xlabel("ms")
        column[0].set_title(records[0]["structure"])
    axes[0, 0].set_ylabel("error of the energy, meV/atom")
    axes[1, 0].set_ylabel("error of the pressure, GPa")
    axes[0, -1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    report._save_figure(plt, figure, path)


def write(results: dict[str, Any], stem: Path) -> None:
    """Raw numbers, tables and the figure."""
    records = results["records"]
    groups = [[r for r in records if r["structure"] == n] for n in results["structures"]]
    figure = stem.with_name(f"{stem.name}.png")
    report.save(results, stem)
    draw(groups, figure)
    versions = ", ".join(f"{name} {v}" for name, v in results["versions"].items())
    text = (
        f"# Sums of D3 against their cutoff, {results['date']}\n\n{results['processor']}, one "
        f"thread, {results['instructions']}; load {results['load_before']:.2f} before. {versions}."
        f"\n\n{' '.join((__doc__ or '').split('    python')[1].split(chr(10), 1)[1].split())}\n\n"
    )
    report.replace_file(
        stem.with_name(f"{stem.name}.md"),
        text + "\n".join(map(section, groups)) + f"\n![errors against time]({figure.name})\n",
    )


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--turns", type=int, default=5, help="calls of each method")
    parser.add_argument("--only", help="structures whose name has this")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = report.conditions([1])
    results["versions"] = {
        name: report._version(name) for name in ("d3torch", "torch", "numpy", "dftd3")
    }
    wanted = {n: a for n, a in structures().items() if not options.only or options.only in n}
    results["structures"] = list(wanted)
    for name, atoms in wanted.items():
        results["records"] += compare(name, atoms, options.turns)
    write(results, options.out / f"convergence_{results['date']}_{results['slug']}")


if __name__ == "__main__":
    main()

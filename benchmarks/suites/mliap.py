"""D3(BJ) in LAMMPS through ML-IAP: time of a step and memory, beside LAMMPS's own dispersion/d3.

Steps of constant energy on one core of a silicate glass of 1500 atoms with D3 alone, and with
--mace-atoms of cristobalite with a MACE model of the size of MACE-MP-0 medium (random weights)
alone, fused with D3, and beside D3 in hybrid/overlay. Needs the LAMMPS of build_lammps.sh, and
mace-torch for the second part.

    python -m benchmarks.suites.mliap --lmp PREFIX/bin/lmp --out benchmarks/results
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import torch
from ase.io import read

from benchmarks import report
from benchmarks.rivals.lammps import d3_style
from d3torch.examples import glass_path
from d3torch.integrations.lammps import D3MLIAP

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "helpers"))
from real_lammps import KOKKOS, environment, write_data

CUTOFFS = (12.0, 21.167, 31.75)
INPUT = """
units metal
read_data data.lmp
{style}
neigh_modify one 40000 page 4000000 every 1 delay 0 check yes
velocity all create 300 1
fix 1 all nve
timestep 0.0005
thermo_style custom step pe
thermo_modify norm no format float %.10g
run {steps}
"""


class Run(NamedTuple):
    """Of one style: s a step, GB at most, energy in eV."""

    seconds: float
    memory: float
    energy: float


def lammps(lmp: Path, folder: Path, style: str, options: str, steps: int) -> Run:
    """A run on one core, outside mpiexec.

    Raises:
        SystemExit: with the end of LAMMPS's output, if it fails.
    """
    (folder / "in.lmp").write_text(INPUT.format(style=style, steps=steps))
    with open(folder / "screen", "w") as screen:
        process = subprocess.Popen(
            [str(lmp), *options.split(), "-in", "in.lmp"],
            cwd=folder, env=environment(lmp), stdout=screen, stderr=screen,
        )  # fmt: skip
        _, code, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(code)
    text = (folder / "screen").read_text()
    loop = re.search(r"Loop time of (\S+)", text)
    if process.returncode or not loop:
        raise SystemExit(f"benchmark_mliap: LAMMPS failed:\n{text[-2000:]}")
    rows = re.findall(r"^ +0 +(-?\d\S*) *$", text, flags=re.MULTILINE)
    return Run(float(loop[1]) / steps, usage.ru_maxrss / 1e6, float(rows[0]))


WIDE = "\nfix buffers all property/atom d2_buffers 512 ghost yes"
"""MACE exchanges 512 columns itself, and overruns LAMMPS's buffers on the CPU without this."""


def row(name: str, run: Run, base: Run) -> list[str]:
    """A line of a table."""
    ratio = run.seconds / base.seconds
    return [name, f"{run.seconds:.4f}", f"{ratio:.2f}", f"{run.memory:.2f}", f"{run.energy:.4f}"]


def table(title: str, rows: list[list[str]]) -> str:
    """A title and its table."""
    head = ["", "s a step", "ratio", "GB", "energy / eV"]
    return f"## {title}\n\n{report.markdown_table(head, rows)}\n"


def dispersion(lmp: Path, folder: Path, steps: int) -> str:
    """D3 alone at every cutoff."""
    tables, elements = [], ["O", "Na", "Si"]
    write_data(read(glass_path()), folder / "data.lmp", elements)
    types = " ".join(elements)
    for cutoff in CUTOFFS:
        near = min(cutoff, 21.167)
        own = f"pair_style {d3_style(cutoff, near)}\npair_coeff * * {types}"
        base = lammps(lmp, folder, own, "", steps)
        rows = [row("LAMMPS dispersion/d3", base, base)]
        for dtype in (torch.float64, torch.float32):
            D3MLIAP(elements, "pbe", cutoff=cutoff, cn_cutoff=near, dtype=dtype).save(
                folder / "d3.pt"
            )
            style = f"pair_style mliap unified d3.pt 0\npair_coeff * * {types}"
            name = f"d3torch, ML-IAP, {str(dtype).removeprefix('torch.')}"
            rows.append(row(name, lammps(lmp, folder, style, KOKKOS, steps), base))
        title = f"Glass, 1500 atoms, cutoff {cutoff} A, CN cutoff {near} A, {steps} steps"
        tables.append(table(title, rows))
    return "\n".join(tables)


def mace(lmp: Path, folder: Path, n_atoms: int, steps: int) -> str:
    """MACE alone, fused, and beside D3."""
    from mace.calculators.lammps_mliap_mace import LAMMPS_MLIAP_MACE

    from benchmarks.suites import mace as benchmark_mace
    from d3torch.integrations.lammps.mace import MACED3MLIAP
    from d3torch.integrations.mace import MACED3

    atoms = benchmark_mace.structure(n_atoms)
    elements = sorted(set(atoms.symbols))
    write_data(atoms, folder / "data.lmp", elements)
    types = " ".join(elements)

    def model() -> Any:
        return benchmark_mace.medium(torch.float32)

    os.environ["MACE_ALLOW_CPU"] = "true"
    plain = model()
    plain.lammps_mliap = True
    torch.save(LAMMPS_MLIAP_MACE(plain), folder / "mace.pt")
    one = f"pair_style mliap unified {{}} 0\npair_coeff * * {types}"
    base = lammps(lmp, folder, one.format("mace.pt") + WIDE, KOKKOS, steps)
    rows = [row("MACE", base, base)]
    for cutoff in CUTOFFS[:2]:
        reach = {"cutoff": cutoff, "cn_cutoff": cutoff}
        MACED3MLIAP(MACED3(model(), "pbe", **reach)).save(folder / "fused.pt")
        D3MLIAP(elements, "pbe", **reach, dtype=torch.float32).save(folder / "d3.pt")
        run = lammps(lmp, folder, one.format("fused.pt"), KOKKOS, steps)
        rows.append(row(f"MACE + D3 in one file, {cutoff} A", run, base))
        both = "pair_style hybrid/overlay mliap unified mace.pt 0 mliap unified d3.pt 0"
        both += "".join(f"\npair_coeff * * mliap {k} {types}" for k in (1, 2))
        run = lammps(lmp, folder, both + WIDE, KOKKOS, steps)
        rows.append(row(f"MACE beside D3, hybrid/overlay, {cutoff} A", run, base))
    title = f"MACE, size of MACE-MP-0 medium, float32, {n_atoms} atoms, {steps} steps"
    return table(title, rows)


def main() -> None:
    """Run and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lmp", type=Path, required=True, help="LAMMPS of build_lammps.sh")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--mace-atoms", type=int, nargs="*", default=[192])
    parser.add_argument("--mace-steps", type=int, default=5)
    parser.add_argument("--out", type=Path, help="folder for the table")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of MACE and e3nn at import
    version = subprocess.run([args.lmp, "-h"], capture_output=True, text=True).stdout.split("\n")[1]
    c = report.conditions([1])
    text = f"# D3(BJ) in LAMMPS through ML-IAP on the CPU, {c['date']}\n\n"
    text += f"{version.strip()}; {c['processor']}, {c['cores']} cores, one used; "
    text += f"load {c['load_before']:.2f} at the start. torch {c['versions']['torch']}.\n"
    text += "s a step: LAMMPS's loop time; GB: the most that the process held.\n\n"
    with tempfile.TemporaryDirectory() as name:
        text += dispersion(args.lmp, Path(name), args.steps)
        for n_atoms in args.mace_atoms:
            text += "\n" + mace(args.lmp, Path(name), n_atoms, args.mace_steps)
    print(text)
    if args.out:
        report.replace_file(args.out / f"mliap_{c['date']}_{c['slug']}.md", text)


if __name__ == "__main__":
    main()

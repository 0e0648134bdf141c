"""Runs of a real LAMMPS with ML-IAP, where there is one: ``LMP``, or scripts/build_lammps.sh's."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.io.lammpsdata import write_lammps_data
from lammps_runs import PRESSURE

import d3torch

LMP = Path(os.environ.get("LMP") or Path.home() / ".cache/d3torch/lammps/bin/lmp")

KOKKOS = "-k on t 1 -sf kk -pk kokkos newton on neigh half"

ENVIRONMENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "OMPI_MCA_btl_vader_single_copy_mechanism": "none",
    "OMP_NUM_THREADS": "1",
    "OMP_PROC_BIND": "false",
}

INPUT = """
units metal
boundary {boundary}
{before}
read_data {data}
{style}
{settings}
compute pe all pe/atom
{stress}
compute total all reduce sum c_pe
thermo_style custom step pe c_total pxx pyy pzz pxy pxz pyz vol
thermo_modify norm no format float %.17g
dump dump all custom 1 dump.txt id fx fy fz c_pe {columns}
dump_modify dump sort id format float %.17g
run 0
print "answer $(pe:%.17g) $(c_total:%.17g) $(pxx:%.17g) $(pyy:%.17g) $(pzz:%.17g) $(pxy:%.17g) &
$(pxz:%.17g) $(pyz:%.17g)"
"""


class Answer(NamedTuple):
    """Of one step: eV and A; virial = sum of r (x) dE/dr over the pairs, and its atoms' shares.

    The shares are NaN in a step without stresses of atoms.
    """

    energy: float
    energies: np.ndarray
    forces: np.ndarray
    virial: np.ndarray
    virials: np.ndarray


def environment(program: Path = LMP) -> dict[str, str]:
    """That of a user who has activated the virtual environment, and can import ``lammps``."""
    here = Path(d3torch.__file__).parents[1]
    path = [str(program.parents[1] / "python"), str(here)]
    added = {"PYTHONPATH": os.pathsep.join(path)}
    added["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    kept = {k: v for k, v in os.environ.items() if k != "LAMMPS_PLUGIN_PATH"}  # another LAMMPS's
    return {**kept, **ENVIRONMENT, **added}


def lmp(
    folder: Path, text: str, ranks: int = 1, options: str = KOKKOS, timeout: float = 300.0
) -> subprocess.CompletedProcess[str]:
    """Run an input in a folder."""
    (folder / "in.lmp").write_text(text)
    mpiexec = LMP.parent / "mpiexec"
    launcher = [str(mpiexec) if mpiexec.exists() else "mpiexec", "-n", str(ranks)]
    command = [*launcher, str(LMP), *shlex.split(options), "-in", "in.lmp", "-log", "log.lammps"]
    return subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=timeout
    )


def _matrix(six: Any) -> np.ndarray:
    """From LAMMPS's order xx yy zz xy xz yz, over the last axis."""
    return np.asarray(six)[..., [[0, 3, 4], [3, 1, 5], [4, 5, 2]]]


def write_data(atoms: Atoms, path: Path, elements: list[str]) -> None:
    """The atoms as LAMMPS reads them; the cell must be lower triangular."""
    write_lammps_data(path, atoms, specorder=elements, atom_style="atomic", masses=True)


def single_point(
    folder: Path, atoms: Atoms, style: str, elements: list[str], ranks: int = 1, **given: Any
) -> Answer:
    """Energy, forces and stresses of atoms with ``pair_style`` and ``pair_coeff`` lines.

    Without those of single atoms if ``stresses=False``.
    """
    folder.mkdir(exist_ok=True)
    stresses = given.pop("stresses", True)
    write_data(atoms, folder / "data.lmp", elements)
    text = INPUT.format(
        boundary=" ".join("p" if p else "f" for p in atoms.pbc),
        data="data.lmp",
        style=style,
        before=given.pop("before", ""),
        settings=given.pop("settings", ""),
        stress="compute stress all stress/atom NULL virial" if stresses else "",
        columns="c_stress[*]" if stresses else "",
    )
    run = lmp(folder, text, ranks, **given)
    lines = [x for x in run.stdout.splitlines() if x.startswith("answer ")]
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    assert len(lines) == 1, run.stdout[-3000:]
    numbers = [float(x) for x in lines[0].split()[1:]]
    rows = np.loadtxt(folder / "dump.txt", skiprows=9, ndmin=2)
    volume = atoms.get_volume()
    assert abs(numbers[1] - rows[:, 4].sum()) < 1e-9 * max(1.0, abs(numbers[1]))
    return Answer(
        numbers[0],
        rows[:, 4],
        rows[:, 1:4],
        -_matrix(numbers[2:8]) * volume / PRESSURE,
        _matrix(rows[:, 5:11] if stresses else np.full((len(rows), 6), np.nan)) / PRESSURE,
    )

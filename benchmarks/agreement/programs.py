"""The programs, each as its users run it: with the defaults that it documents."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any, NamedTuple

from benchmarks.agreement.hosts import lammps, metatomic, original
from benchmarks.agreement.libraries import (
    disprs,
    fourier_d3,
    mlipops,
    nvalchemi,
    simple_dftd3,
    tad_dftd3,
    torch_dftd,
    torch_sim,
)
from benchmarks.agreement.question import Answer, Question


class Program(NamedTuple):
    """A program: how it is run, what has to be there, and the settings in words."""

    run: Callable[[Any, Question], Answer]
    needs: tuple[str, ...]
    packages: tuple[str, ...]
    settings: str


PROGRAMS: dict[str, Program] = {
    "simple-dftd3": Program(simple_dftd3, ("dftd3",), ("dftd3",), "60/40 bohr, its defaults"),
    "simple-dftd3, in vacuum": Program(
        partial(simple_dftd3, vacuum=True),
        ("dftd3",),
        ("dftd3",),
        "60/40 bohr; slab and chain with 50 A of vacuum in three periodic directions",
    ),
    "DFT-D3 (original)": Program(
        original, ("dftd3 program",), (), "sqrt(9000)/40 bohr, its defaults"
    ),
    "torch-dftd": Program(
        torch_dftd, ("torch_dftd",), ("torch-dftd",), "95/40 bohr, float32, its defaults; bj"
    ),
    "torch-dftd, float64": Program(
        partial(torch_dftd, dtype="float64"),
        ("torch_dftd",),
        ("torch-dftd",),
        "the same with dtype=torch.float64",
    ),
    "torch-dftd as mace_mp": Program(
        partial(torch_dftd, dtype="float64", bohr=40.0),
        ("torch_dftd",),
        ("torch-dftd",),
        "40/40 bohr, float64: what mace_mp(dispersion=True, default_dtype='float64') makes",
    ),
    "tad-dftd3": Program(
        tad_dftd3, ("tad_dftd3",), ("tad-dftd3", "tad-mctc"), "60/40 bohr, its defaults; float64"
    ),
    "nvalchemi": Program(
        nvalchemi,
        ("nvalchemiops", "warp"),
        ("nvalchemi-toolkit-ops", "warp-lang"),
        "15 A, switched off from 12 A on, as nvalchemi-toolkit's model calls it",
    ),
    "torch-sim": Program(
        torch_sim,
        ("torch_sim.models.dispersion", "nvalchemiops"),
        ("torch-sim-atomistic", "nvalchemi-toolkit-ops"),
        "95 bohr, its default, on its list",
    ),
    "metatomic": Program(
        metatomic, ("metatomic",), ("metatomic-torch",), "50/25 bohr, its defaults; float64"
    ),
    "LAMMPS dispersion/d3": Program(
        lammps, ("lammps",), ("lammps",), "30/20 A, the example of its manual"
    ),
    "disprs": Program(disprs, ("disprs",), ("disprs",), "its defaults"),
    "mlipops": Program(mlipops, ("mlipops",), ("mlipops",), "all pairs, as in its guide; float32"),
    "FourierD3": Program(fourier_d3, ("fourierd3",), ("fourierd3",), "its defaults"),
    "FourierD3, fine": Program(
        partial(fourier_d3, fine=True),
        ("fourierd3",),
        ("fourierd3",),
        "mesh_spacing=0.4, c6tol=1e-4 (%), float64",
    ),
}


def missing(program: Program) -> list[str]:
    """What a program needs and is not there."""

    def there(name: str) -> bool:
        if name == "dftd3 program":
            return shutil.which("dftd3") is not None
        try:
            return find_spec(name) is not None
        except ModuleNotFoundError:
            return False

    return [name for name in program.needs if not there(name)]


def versions(program: Program) -> str:
    """Names and versions of the packages of a program."""
    if not program.packages:
        text = subprocess.run(["dftd3", "-version"], capture_output=True, text=True).stdout
        return " ".join(["dftd3", *text.split()])
    found = []
    for name in program.packages:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(name)
    return ", ".join(found)

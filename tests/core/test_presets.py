"""Presets are what the programs compute that they are named after (docs/agreement.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracle import dispersion as oracle

from benchmarks.agreement.causes import deviation, properties
from benchmarks.agreement.libraries import torch_dftd
from benchmarks.agreement.programs import PROGRAMS, missing
from benchmarks.agreement.question import Answer, Question
from benchmarks.agreement.structures import STRUCTURES
from benchmarks.agreement.twin import evaluate
from d3torch import PRESETS, D3Calculator, Settings
from d3torch.cli import main
from d3torch.units import BOHR

STORED = json.loads((Path(__file__).parents[1] / "data" / "agreement.json").read_text())
"""Answers of the programs, with their versions; ``python -m benchmarks.agreement`` writes them."""

UNDERFLOW = "glass: part of NS33"
"""Where the original and LAMMPS lose the derivative of C6 (docs/agreement.md)."""

FLAT = "slab: two layers of graphene"
"""Where simple-dftd3 moves atoms along the vector without periodicity."""

VALUES: dict[str, tuple[float, ...]] = {
    "s-dftd3": (60 * BOHR, 40 * BOHR, 0.0),
    "mace_mp": (40 * BOHR, 40 * BOHR, 0.0),
    "converged": (40 * BOHR, 40 * BOHR, 2.0),
    "dftd3": (94.86832980505139 * BOHR, 40 * BOHR, 0.0),
    "torch-dftd": (95 * BOHR, 40 * BOHR, 0.0),
    "vasp": (50.2, 20.0, 0.0),
    "lammps": (30.0, 20.0, 0.0),
    "metatomic": (50 * BOHR, 25 * BOHR, 0.0),
    "nvalchemi": (15.0, 15.0, 3.0),
    "torch-sim": (95 * BOHR, 95 * BOHR, 0.0),
}
OF_2024 = ("s-dftd3", "converged", "metatomic")

PROGRAM = {
    "s-dftd3": ("simple-dftd3", 1e-12, 1e-10),
    "mace_mp": ("torch-dftd as mace_mp", 1e-6, 1e-5),
    "dftd3": ("DFT-D3 (original)", 1e-6, 1e-5),
    "torch-dftd": ("torch-dftd, float64", 1e-6, 1e-5),
    "lammps": ("LAMMPS dispersion/d3", 2e-6, 1e-5),
    "metatomic": ("metatomic", 1e-7, 2e-6),
    "nvalchemi": ("nvalchemi", 1e-6, 1e-3),
    "torch-sim": ("torch-sim", 3e-5, 2e-3),
}
"""Preset: the program, and how far its constants and its float32 leave energy and forces off."""


def ours(atoms: Any, preset: str) -> Answer:
    atoms.calc = D3Calculator("pbe", preset=preset)
    return Answer(atoms.get_potential_energy(), atoms.get_forces())


def stored(program: str) -> dict[str, Answer]:
    """Its answers to the structures that it computes."""
    given = STORED[program]["answers"].items()
    return {name: Answer(a["energy"], np.array(a["forces"])) for name, a in given if "energy" in a}


def test_every_preset_is_listed() -> None:
    assert {*VALUES} == {*PRESETS}
    assert {*PROGRAM} | {"converged", "vasp"} == {*PRESETS}


@pytest.mark.parametrize("preset", VALUES)
def test_values(preset: str) -> None:
    made = Settings(preset=preset)
    assert (made.cutoff, made.cn_cutoff, made.width) == pytest.approx(VALUES[preset], rel=1e-14)
    assert made.reference == ("2024" if preset in OF_2024 else "2010")
    assert made.tail is (preset == "converged")
    assert Settings.from_dict(made.as_dict()) == made


def test_what_is_given_goes_before_the_preset() -> None:
    made = Settings(preset="nvalchemi", width=0.5, reference="2024", cn_cutoff=9.0)
    assert (made.cutoff, made.cn_cutoff, made.width) == pytest.approx((15.0, 9.0, 0.5))
    assert made.reference == "2024"
    smooth = Settings(width=1.0, reference="2024")
    assert smooth.replace(preset="dftd3") == Settings(preset="dftd3")
    assert smooth.replace(preset="dftd3", width=1.0) == Settings(preset="dftd3", width=1.0)
    assert smooth.replace(preset="nvalchemi") == Settings(preset="nvalchemi")
    assert Settings(preset="nvalchemi", tail=True).width == pytest.approx(2.0)


@pytest.mark.parametrize("preset", PROGRAM)
def test_a_preset_is_its_program(preset: str) -> None:
    program, of_energy, of_force = PROGRAM[preset]
    for name, theirs in stored(program).items():
        if (program, name) in (("simple-dftd3", FLAT), ("LAMMPS dispersion/d3", UNDERFLOW)):
            continue
        if (program, name) == ("DFT-D3 (original)", UNDERFLOW):
            continue
        found = deviation(theirs, ours(STRUCTURES[name](), preset))
        assert abs(found.energy) < of_energy, name
        assert found.force < of_force, name


def test_a_preset_is_not_another_program() -> None:
    name = "molecular crystal: CO2"
    for preset in PROGRAM:
        others = [p for p in PROGRAM if p != preset and {p, preset} != {"dftd3", "torch-dftd"}]
        mine = ours(STRUCTURES[name](), preset).energy
        for other in others:
            theirs = stored(PROGRAM[other][0])[name].energy
            assert abs(mine / theirs - 1) > 2e-6, (preset, other)


def test_lammps_loses_a_derivative_where_weights_underflow() -> None:
    theirs, atoms = stored("LAMMPS dispersion/d3")[UNDERFLOW], STRUCTURES[UNDERFLOW]()
    made = properties("LAMMPS dispersion/d3")
    assert deviation(theirs, evaluate(atoms, made._replace(nearest=False))).force > 0.1
    assert deviation(theirs, evaluate(atoms, made)).force < 1e-10


EXACT = "simple-dftd3", "torch-dftd, float64", "torch-dftd as mace_mp", "metatomic", "tad-dftd3"
QUICK = "molecules: benzene dimer", "ionic crystal: NaCl", FLAT, "chain: polyethylene"


@pytest.mark.parametrize("program", EXACT)
def test_all_causes_together_leave_rounding(program: str) -> None:
    for name in QUICK:
        found = evaluate(STRUCTURES[name](), properties(program))
        left = deviation(stored(program)[name], found)
        assert abs(left.energy) < 1e-12, name
        assert left.force < 1e-10, name


def test_simple_dftd3_live() -> None:
    name = "water: 8 molecules"
    atoms, made = STRUCTURES[name](), Settings(preset="s-dftd3")
    given = atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc
    live = oracle(*given, "pbe", made.cutoff, made.cn_cutoff)
    found = deviation(Answer(live.energy, live.forces), ours(atoms, "s-dftd3"))
    assert abs(found.energy) < 1e-12
    assert found.force < 1e-10
    assert live.energy == pytest.approx(stored("simple-dftd3")[name].energy, rel=1e-13)


@pytest.mark.skipif(missing(PROGRAMS["torch-dftd"]) != [], reason="torch-dftd is not installed")
def test_torch_dftd_live() -> None:
    atoms = STRUCTURES["slab: two layers of graphene"]()
    live = torch_dftd(atoms, Question(), dtype="float64")
    found = deviation(live, ours(atoms, "torch-dftd"))
    assert abs(found.energy) < 1e-6
    assert found.force < 1e-5


def test_the_command_takes_presets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "salt.extxyz"
    atoms = STRUCTURES["ionic crystal: NaCl"]()
    atoms.write(path)
    assert main(["energy", str(path), "--preset", "vasp", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["frames"]
    assert row["energy"] == pytest.approx(ours(atoms, "vasp").energy, rel=1e-10)

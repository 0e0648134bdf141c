"""PMMCS through LAMMPS, and D3 on the two shipped glasses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.mixing import SumCalculator
from checkout import TESTS

from d3torch import D3Calculator
from d3torch.examples import glass_path
from d3torch_glass.facts import composition, facts
from d3torch_glass.initial import initial_structure
from d3torch_glass.potential import PMMCS, d3_style
from d3torch_glass.protocol import PRESETS, Protocol

NS33 = glass_path()
SILICA = TESTS / "data" / "SiO2_1500.extxyz"


def _small() -> Any:
    return initial_structure(composition("NS33"), 32, 1, Protocol(**PRESETS["toy"]))


def test_pmmcs_pulls_as_its_energy_falls() -> None:
    """Forces and stress against differences of the energy, in a skewed cell too."""
    atoms = _small()
    skewed = atoms.copy()
    skewed.set_cell(atoms.cell.array @ [[1, 0.05, 0], [0, 1, -0.03], [0, 0, 1]], scale_atoms=True)
    for structure in (atoms, skewed):
        structure.calc = PMMCS()
        forces, stress = structure.get_forces().copy(), structure.get_stress(voigt=False)
        for i, axis in ((0, 0), (50, 1), (90, 2)):
            ends = []
            for sign in (1, -1):
                moved = structure.copy()
                moved.calc = structure.calc
                moved.positions[i, axis] += sign * 1e-3
                ends.append(moved.get_potential_energy())
            assert (ends[1] - ends[0]) / 2e-3 == pytest.approx(forces[i, axis], abs=0.01)
        ends = []
        for sign in (1, -1):
            strained = structure.copy()
            strained.calc = structure.calc
            strained.set_cell(structure.cell.array * (1 + sign * 5e-4), scale_atoms=True)
            ends.append(strained.get_potential_energy())
        pressure = -(ends[0] - ends[1]) / (3e-3 * structure.get_volume())
        assert pressure / units.GPa == pytest.approx(-np.trace(stress) / 3 / units.GPa, abs=0.05)


def test_pmmcs_remembers_nothing() -> None:
    """Bitwise equal results whatever was computed before, and by another calculator."""
    atoms = _small()
    atoms.calc = PMMCS()
    expected = atoms.get_potential_energy(), atoms.get_forces().copy(), atoms.get_stress().copy()
    other = atoms.copy()
    other.rattle(0.3, seed=1)
    other.set_cell(other.cell * 1.03, scale_atoms=True)
    other.calc = atoms.calc
    other.get_forces()
    for calculator in (atoms.calc, PMMCS()):
        again = atoms.copy()
        again.calc = calculator
        assert again.get_potential_energy() == expected[0]
        assert np.array_equal(again.get_forces(), expected[1])
        assert np.array_equal(again.get_stress(), expected[2])


def test_lammps_d3_in_pmmcs_is_d3torch() -> None:
    """Both to 9 A: two codes, one dispersion; LAMMPS's own is good to 1e-6 or so."""
    atoms = _small()
    d3 = D3Calculator("pbe", cutoff=9.0, cn_cutoff=9.0)
    inside = PMMCS(d3=d3_style("dispersion/d3", "pbe", 9.0, 9.0)).get_potential_energy(atoms)
    added = SumCalculator([PMMCS(), d3]).get_potential_energy(atoms)
    assert inside == pytest.approx(added, abs=5e-5 * len(atoms))


def test_what_lammps_says_is_one_sentence_and_the_next_call_works() -> None:
    atoms = _small()
    atoms.calc = PMMCS()
    energy = atoms.get_potential_energy()
    moved = atoms.copy()
    moved.calc = atoms.calc
    moved.positions[3] = np.nan
    with pytest.raises(RuntimeError, match=r"^LAMMPS stopped: ERROR.*Non-numeric atom coords.*$"):
        moved.get_forces()
    assert atoms.get_potential_energy() == energy
    atoms.calc = PMMCS(d3=d3_style("dispersion/d3", "nope", 9.0, 9.0))
    with pytest.raises(RuntimeError, match=r"^LAMMPS stopped: ERROR: Functional nope.*$"):
        atoms.get_forces()


def test_pmmcs_refuses_other_elements() -> None:
    with pytest.raises(ValueError, match="expected O, Na and Si with three periodic directions"):
        Atoms("Ar", cell=[9] * 3, pbc=True, calculator=PMMCS()).get_forces()
    with pytest.raises(ValueError, match="expected coulomb 'pppm' or 'dsf', got 'wolf'"):
        PMMCS("wolf")


@pytest.mark.parametrize(("name", "path"), [("SiO2", SILICA), ("NS33", NS33)])
def test_dispersion_of_the_shipped_glasses(name: str, path: Path) -> None:
    """-119.829 meV and -1.3583 GPa, -164.025 meV and -2.0218 GPa, of simple-dftd3."""
    atoms, anchor = ase.io.read(path), facts()["d3bj_pbe_anchor"][name]
    atoms.calc = D3Calculator("pbe", cutoff=anchor["cut_A"])
    energy = atoms.get_potential_energy() / len(atoms) * 1e3
    pressure = -np.trace(atoms.get_stress(voigt=False)) / 3 / units.GPa
    assert energy == pytest.approx(anchor["E_meV_atom"], abs=2e-3)
    assert pressure == pytest.approx(anchor["P_GPa"], abs=2e-4)

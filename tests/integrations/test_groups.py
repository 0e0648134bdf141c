"""Energies by groups of atoms in ASE: atoms, species, fragments, own labels."""

from __future__ import annotations

import tracemalloc
from typing import Any

import ase.build
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.constraints import FixSymmetry

from d3torch import D3Calculator
from d3torch.integrations.ase import Pairwise
from d3torch.integrations.groups import fragments, groups_of

REACH: dict[str, Any] = {"cutoff": 12.0, "cn_cutoff": 10.0}


def _two_waters() -> Atoms:
    """One of them cut by the wall of the cell."""
    water = molecule("H2O")
    other = water.copy()
    other.translate([3.0, 0.0, 0.0])
    atoms = water + other
    atoms.set_cell([7.0, 8.0, 9.0])
    atoms.pbc = True
    atoms.translate([0.0, 0.2, 0.0])
    atoms.wrap()
    return atoms


def test_fragments_are_what_bonds_hold_together() -> None:
    atoms = _two_waters()
    assert np.ptp(atoms.positions[:3, 1]) > 4.0  # cut
    found = fragments(atoms)
    assert found.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert found.names == ("H2O 0", "H2O 1")
    assert fragments(bulk("Si") * 2).names == ("Si16 0",)
    assert fragments(Atoms("He2", [[0, 0, 0], [0, 0, 3.0]])).names == ("He 0", "He 1")


def test_fragments_of_a_slab_do_not_ask_for_its_third_vector() -> None:
    """Where it lies in the plane of the others; and constraints of all atoms are no hindrance."""
    atoms = _two_waters()
    atoms.pbc = (True, True, False)
    atoms.cell[2] = atoms.cell[0]
    atoms.set_constraint(FixSymmetry(bulk("Si")))
    atoms.positions[:, 2] = (atoms.positions[:, 2] + 4.0) % 9.0
    assert fragments(atoms).names == ("H2O 0", "H2O 1")
    atoms.pbc = False  # which leaves both cut in two
    assert len(fragments(atoms).names) == 4


@pytest.mark.parametrize("size", [0.0, 60.0])
def test_fragments_of_many_molecules_take_no_time_of_all_pairs(size: float) -> None:
    """Without periodicity, with a cell or without: 9 million pairs took seconds and gigabytes."""
    water = molecule("H2O")
    water.set_cell([4.0, 4.0, 4.0])
    atoms = water.repeat((10, 10, 10))
    atoms.set_cell([size] * 3)
    tracemalloc.start()
    found = fragments(atoms)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.names) == 1000
    assert np.ptp(found.labels.reshape(1000, 3), axis=1).max() == 0
    assert peak < 5e7
    assert fragments(Atoms()).names == ()


def test_groups() -> None:
    atoms = _two_waters()
    atoms.arrays["molecule"] = np.array([7, 7, 7, 2, 2, 2])
    assert groups_of(atoms, "atoms").names == ("O0", "H1", "H2", "O3", "H4", "H5")
    assert groups_of(atoms, "species").names == ("H", "O")
    assert groups_of(atoms, "species").labels.tolist() == [1, 0, 0, 1, 0, 0]
    assert groups_of(atoms, "molecule").names == ("2", "7")
    assert groups_of(atoms, "molecule").labels.tolist() == [1, 1, 1, 0, 0, 0]
    own = groups_of(atoms, ["left"] * 3 + ["right"] * 3)
    assert (own.names, own.labels.tolist()) == (("left", "right"), [0, 0, 0, 1, 1, 1])


@pytest.mark.parametrize(
    ("by", "words"),
    [
        ("molecules", "expected by to be one of atoms, species, fragments or numbers, got 'molecu"),
        ([0, 1], r"expected a label, .* of each of 6 atoms, got int64 of shape \(2,\)"),
        ([0.5] * 6, "expected a label, a string or an integer, of each of 6 atoms, got float64"),
        ("positions", "expected a label, a string or an integer, of each of 6 atoms, got float64"),
    ],
)
def test_groups_are_refused(by: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        groups_of(_two_waters(), by)


@pytest.mark.parametrize("by", ["atoms", "species", "fragments"])
def test_the_calculator_tells_energies_of_groups(by: str) -> None:
    atoms = _two_waters()
    calc = D3Calculator("pbe", s9=1.0, atm_cutoff=6.0, tail=True, **REACH)
    found = calc.pairwise(atoms, by)
    assert found.energies.sum() == pytest.approx(calc.get_potential_energy(atoms), rel=1e-12)
    assert np.array_equal(found.energies, calc.pairwise(by=by).energies)
    rows = found.rows()
    assert len(rows) == len(found.names) * (len(found.names) + 1) // 2
    assert sum(energy for _, _, energy in rows) == pytest.approx(found.energies.sum(), rel=1e-12)


def test_two_molecules_have_what_they_have_together() -> None:
    """So far apart that CN hardly change, it is the energy of both less that of each."""
    one = molecule("CH3CH2OH")
    atoms = one.copy()
    atoms.translate([0.0, 0.0, 8.0])
    atoms = one + atoms
    calc = D3Calculator("pbe")
    found = calc.pairwise(atoms, "fragments")
    alone = D3Calculator("pbe").get_potential_energy(one)
    both = D3Calculator("pbe").get_potential_energy(atoms)
    assert found.names == ("C2H6O 0", "C2H6O 1")
    assert found.rows()[1][2] == pytest.approx(both - 2 * alone, rel=1e-3)
    assert found.rows()[1][2] < 0


def test_atoms_left_out_and_automatic_cutoffs() -> None:
    atoms = ase.build.bulk("NaCl", "rocksalt", a=5.64)
    calc = D3Calculator("pbe", cutoff="auto", tolerance=1e-3, exclude_atoms=[0])
    found = calc.pairwise(atoms, "species")
    assert found.names == ("Na", "Cl")
    assert found.energies[1, 1] == found.energies.sum()
    assert found.energies.sum() == pytest.approx(calc.get_potential_energy(atoms), rel=1e-13)


def test_without_a_structure_it_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a structure with atoms, got none"):
        D3Calculator("pbe").pairwise()


def test_rows_of_a_single_group() -> None:
    assert Pairwise(("Si",), np.array([[-2.0]])).rows() == [("Si", "Si", -2.0)]


@pytest.mark.parametrize("by", ["atoms", "species", "fragments"])
def test_atoms_of_no_element_are_refused(by: str) -> None:
    atoms = Atoms(numbers=[200], positions=[[0, 0, 0]])
    with pytest.raises(ValueError, match="expected an atomic number from 1 to 103, got 200"):
        D3Calculator("pbe").pairwise(atoms, by)

"""The automatic cutoff: what it leaves out, measured; nothing before a structure matters."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import ase.io
import numpy as np
import oracle
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, graphene, molecule
from ase.cluster import Icosahedron

from d3torch import D3BJ, D3Calculator
from d3torch.cli import main
from d3torch.evaluate import auto_cutoff, evaluate
from d3torch.examples import glass_path
from d3torch.units import BOHR, HARTREE


def boxed(atoms: Atoms, *edges: float) -> Atoms:
    """The structure in a cell that is periodic in three directions and mostly vacuum."""
    cell = atoms.cell.array.copy()
    for axis, edge in enumerate(edges):
        if edge:
            cell[axis] = np.eye(3)[axis] * edge
    return Atoms(atoms.numbers, atoms.positions, cell=cell, pbc=True)


def glass() -> Atoms:
    return ase.io.read(glass_path())


def slab() -> Atoms:
    """8 A of the glass in 100 A."""
    atoms = glass()
    return boxed(atoms[atoms.positions[:, 2] < 8.0], 0, 0, 100.0)


def porous() -> Atoms:
    """The glass without a ball of 11 A."""
    atoms = glass()
    away = atoms.positions - atoms.cell.array.sum(axis=0) / 2
    edge = atoms.cell.lengths()
    away -= np.round(away / edge) * edge
    return atoms[np.linalg.norm(away, axis=1) > 11.0]


def oblique() -> Atoms:
    atoms = bulk("NaCl", "rocksalt", a=5.64)
    cell = atoms.cell.array.copy()
    cell[2] += 5 * cell[0] - 3 * cell[1]
    return Atoms(atoms.numbers, atoms.positions, cell=cell, pbc=True)


def skewed(atoms: Atoms, n: int, m: int = 0) -> Atoms:
    """The same crystal by other lattice vectors: c + n (a + b), and b + m a after it."""
    cell = atoms.cell.array.copy()
    cell[2] += n * (cell[0] + cell[1])
    cell[1] += m * cell[0]
    return Atoms(atoms.numbers, atoms.positions, cell=cell, pbc=True)


STRUCTURES: dict[str, Callable[[], Atoms]] = {
    "glass": glass,
    "slab of glass in 100 A": slab,
    "porous glass": porous,
    "copper slab in 45 A": lambda: boxed(fcc111("Cu", (1, 1, 6), vacuum=15), 0, 0, 45.0),
    "gold wire in 20 A": lambda: boxed(bulk("Au", cubic=True) * (2, 2, 1), 20.0, 20.0),
    "gold wire in 60 A": lambda: boxed(bulk("Au", cubic=True) * (2, 2, 1), 60.0, 60.0),
    "graphene in 20 A": lambda: boxed(graphene(vacuum=10.0), 0, 0, 20.0),
    "benzene in 12 A": lambda: boxed(molecule("C6H6"), 12.0, 12.0, 12.0),
    "benzene in 40 A": lambda: boxed(molecule("C6H6"), 40.0, 40.0, 40.0),
    "copper cluster in 40 A": lambda: boxed(bulk("Cu", cubic=True) * (3, 3, 3), 40.0, 40.0, 40.0),
    "water in 3.1 A": lambda: boxed(molecule("H2O"), 3.1, 3.1, 3.1),
    "copper": lambda: bulk("Cu"),
    "sodium": lambda: bulk("Na"),
    "caesium": lambda: bulk("Cs"),
    "salt": lambda: bulk("NaCl", "rocksalt", a=5.64),
    "salt, oblique": oblique,
    "graphene in 20 A, skewed": lambda: skewed(boxed(graphene(vacuum=10.0), 0, 0, 20.0), 7),
    "graphene 8 x 8, skewed": lambda: skewed(graphene(size=(8, 8, 1), vacuum=12.0), 9),
    "copper cluster in 30 A, skewed": lambda: skewed(
        boxed(Icosahedron("Cu", 3), 30.0, 30.0, 30.0), 4, 4
    ),
}


def automatic(atoms: Atoms, tolerance: float) -> tuple[float, float]:
    """Energy per atom and the cutoff that was taken."""
    calculator = D3Calculator("pbe", cutoff="auto", tolerance=tolerance)
    calculator.calculate(atoms)
    return calculator.results["energy"] / len(atoms), calculator.results["cutoff"]


@pytest.mark.parametrize("name", STRUCTURES)
def test_what_is_left_out_is_below_the_tolerance(name: str) -> None:
    """And not far below it, but where the least cutoff or the box has all there is."""
    atoms = STRUCTURES[name]()
    far = 150.0 if len(atoms) < 50 else 90.0
    everything = D3Calculator("pbe", cutoff=far, tail=True).get_potential_energy(atoms)
    for tolerance in (1e-2, 1e-3, 1e-4):
        energy, cutoff = automatic(atoms, tolerance)
        left_out = energy - everything / len(atoms)
        assert -1e-3 * tolerance < left_out < tolerance
        if cutoff > 20.0 and "cluster" not in name:
            assert left_out > 0.6 * tolerance


# ---- molecules ----

SEPARATIONS = (4.3, 5.2, 5.4, 6.0, 30.0, 4.3)


def test_a_molecule_is_whole_whatever_came_before() -> None:
    """Against simple-dftd3 at 60 bohr; xenon at 5.4 A: -0.009036 eV."""
    calculator = D3Calculator("pbe", cutoff="auto", tolerance=1e-6)
    found = []
    for r in SEPARATIONS:
        atoms = Atoms("Xe2", [[0, 0, 0], [0, 0, r]])
        geometry = atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc
        expected = oracle.dispersion(*geometry).energy
        found.append(calculator.get_potential_energy(atoms))
        assert found[-1] == pytest.approx(expected, rel=1e-12)
    assert found[2] == pytest.approx(-0.009036, abs=5e-7)
    assert found[0] == found[5]


def test_a_width_takes_nothing_from_a_molecule() -> None:
    atoms = molecule("C60")
    expected = D3Calculator("pbe", cutoff=200.0).get_potential_energy(atoms)
    for backend in ("kernel", "eager"):
        calculator = D3Calculator("pbe", cutoff="auto", width=3.0, backend=backend)
        assert calculator.get_potential_energy(atoms) == pytest.approx(expected, rel=1e-13)


# ---- history ----


def test_results_do_not_depend_on_what_was_computed_before() -> None:
    base = bulk("NaCl", "rocksalt", a=5.64)
    structures = [base.copy(), bulk("Cu"), molecule("CO2"), Atoms("Xe2", [[0, 0, 0], [0, 0, 5.0]])]
    for factor in (0.9, 1.3, 3.0):  # of the same atoms
        other = base.copy()
        other.set_cell(base.cell * factor, scale_atoms=True)
        structures.append(other)
    alone = [automatic(atoms, 1e-4) for atoms in structures]
    for order in itertools.islice(itertools.permutations(range(len(structures))), 0, 5040, 720):
        calculator = D3Calculator("pbe", cutoff="auto", tolerance=1e-4)
        for k in order:
            calculator.calculate(structures[k])
            energy = calculator.results["energy"] / len(structures[k])
            assert (energy, calculator.results["cutoff"]) == alone[k]


def test_the_command_line_says_the_cutoff_of_each_frame_and_does_not_mind_their_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [str(tmp_path / f"{k}.extxyz") for k in range(3)]
    base = bulk("NaCl", "rocksalt", a=5.64)
    for name, factor in zip(names, (0.9, 1.0, 2.0), strict=True):
        other = base.copy()
        other.set_cell(base.cell * factor, scale_atoms=True)
        ase.io.write(name, other)
    found = []
    for order in (names, names[::-1]):
        assert main(["energy", *order, "--cutoff", "auto", "--json"]) == 0
        frames = json.loads(capsys.readouterr().out)["frames"]
        found.append({f["file"]: (f["energy"], f["cutoff"]) for f in frames})
    assert found[0] == found[1]
    assert len({cutoff for _, cutoff in found[0].values()}) == 3


# ---- small changes ----


def test_the_cutoff_stays_while_a_structure_moves_a_little() -> None:
    """In steps of 2 bohr: one cutoff in most short runs at constant volume."""
    atoms, tolerance = bulk("NaCl", cubic=True, crystalstructure="rocksalt", a=5.64), 1e-3
    cutoffs = set()
    for seed in range(10):
        moved = atoms.copy()
        moved.rattle(0.1, seed=seed)
        moved.positions += 10.0 * seed
        cutoffs.add(automatic(moved, tolerance)[1])
    assert len(cutoffs) <= 2
    assert max(cutoffs) - min(cutoffs) < 2.001 * BOHR
    assert all(abs(c / (2 * BOHR) - round(c / (2 * BOHR))) < 1e-9 for c in cutoffs)


def test_a_changing_cell_stays_within_the_tolerance() -> None:
    """Where the cutoff steps, the energy does by a part of the tolerance, not more."""
    tolerance, errors = 1e-3, []
    for factor in np.linspace(0.97, 1.03, 13):
        atoms = bulk("NaCl", "rocksalt", a=5.64 * factor)
        far = D3Calculator("pbe", cutoff=150.0, tail=True).get_potential_energy(atoms)
        errors.append(automatic(atoms, tolerance)[0] - far / 2)
    assert 0.6 * tolerance < min(errors) < max(errors) < tolerance
    assert np.abs(np.diff(errors)).max() < 0.25 * tolerance


def test_a_cell_and_its_multiples_take_the_same_cutoff_to_a_step_or_two() -> None:
    cutoffs = [automatic(bulk("NaCl", "rocksalt", a=5.64) * (n, n, n), 1e-3)[1] for n in (1, 2, 4)]
    assert max(cutoffs) - min(cutoffs) < 4.001 * BOHR


def test_units_do_not_matter() -> None:
    atoms = bulk("NaCl", "rocksalt", a=5.64)
    ev, atomic = (D3BJ(["Na", "Cl"], "pbe", units=u) for u in ("eV/A", "hartree/bohr"))
    x, cell, z = atoms.positions, atoms.cell.array, atoms.numbers
    a = auto_cutoff(ev, x, cell, True, z, 1e-3)
    b = auto_cutoff(atomic, x / BOHR, cell / BOHR, True, z, 1e-3 / HARTREE)
    assert a == pytest.approx(b * BOHR, rel=1e-12)


@pytest.mark.parametrize("apart", [100.0, 121.0, 123.0, 141.0, 200.0])
def test_images_one_by_one_beyond_the_grid_count_as_what_they_are(apart: float) -> None:
    """Twelve neighbours of one atom just outside: 2.4 times what a uniform density would be."""
    cell = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / np.sqrt(2.0) * apart * BOHR
    given = np.zeros((1, 3)), cell, True, [55]
    for tolerance in (1e-6, 3e-7, 1e-7):
        cutoff = auto_cutoff(D3BJ(["Cs"], "pbe"), *given, tolerance)
        near, far = (
            evaluate(D3BJ(["Cs"], "pbe", cutoff=x), *given).energy.item()
            for x in (cutoff, 12.0 * apart * BOHR if apart < 150.0 else 980.0)
        )
        assert near - far < tolerance


def test_a_cell_too_large_for_a_grid_is_refused_before_it_is_made() -> None:
    water = molecule("H2O")
    model = D3BJ(["H", "O"], "pbe")
    words = "expected a cell of a volume of at most .* for cutoff='auto', got 1e.12: give a number"
    with pytest.raises(ValueError, match=words):
        auto_cutoff(model, water.positions, 1e4 * np.eye(3), True, water.numbers, 1e-4)


@pytest.mark.parametrize("units", ["eV/A", "hartree/bohr"])
def test_a_tolerance_that_no_cutoff_meets_is_named(units: str) -> None:
    atoms = bulk("NaCl", "rocksalt", a=5.64)
    a = 1.0 if units == "eV/A" else 1.0 / BOHR
    model = D3BJ(["Na", "Cl"], "pbe", units=units)
    with pytest.raises(
        ValueError, match=r"^expected a tolerance .*, got 1e-12, which takes \d+ A$"
    ):
        auto_cutoff(model, a * atoms.positions, a * atoms.cell.array, True, atoms.numbers, 1e-12)

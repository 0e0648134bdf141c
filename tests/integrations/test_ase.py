"""The ASE calculator: against simple-dftd3, and as ASE expects it to behave."""

from __future__ import annotations

import ase.db
import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, graphene, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.emt import EMT
from ase.calculators.mixing import SumCalculator
from ase.calculators.singlepoint import SinglePointCalculator
from oracle import dispersion

from d3torch import D3Calculator, DampingParameters, Settings, ZeroParameters, damping_parameters
from d3torch.units import BOHR

CUTOFFS = {"cutoff": 11.0, "cn_cutoff": 9.0}


def skewed() -> Atoms:
    """A small crystal with no symmetry left."""
    atoms = bulk("NaCl", "rocksalt", a=5.64)
    atoms.set_cell([[0.2, 2.8, 2.9], [2.8, 0.3, 2.8], [2.9, 2.6, 0.1]], scale_atoms=True)
    atoms.positions[1] += (0.2, -0.1, 0.15)
    return atoms


def slab() -> Atoms:
    """One layer, periodic in two directions, the third in vacuum."""
    atoms = graphene(vacuum=6.0)
    atoms.pbc = (True, True, False)
    atoms.positions[0] += (0.1, 0.05, 0.3)
    return atoms


def chain() -> Atoms:
    """Periodic along x only, without other lattice vectors."""
    atoms = Atoms("HF", [[0, 0, 0], [0.9, 0.2, 0.1]], cell=[[2.6, 0.3, 0], [0] * 3, [0] * 3])
    atoms.pbc = (True, False, False)
    return atoms


STRUCTURES = {
    "ethanol": lambda: molecule("CH3CH2OH"),
    "skewed": skewed,
    "copper": lambda: bulk("Cu"),
    "slab": slab,
    "chain": chain,
}


def reference(atoms, **kwargs):
    x = atoms
    return dispersion(x.numbers, x.positions, x.cell.array, x.pbc, **kwargs)


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("backend", ["kernel", "eager"])
def test_energy_forces_stress_are_those_of_simple_dftd3(name, backend):
    atoms = STRUCTURES[name]()
    atoms.calc = D3Calculator("pbe", **CUTOFFS, backend=backend)
    expected = reference(atoms, **CUTOFFS)
    assert atoms.get_potential_energy() == pytest.approx(expected.energy, rel=1e-12)
    scale = max(np.abs(expected.forces).max(), 1e-3)
    np.testing.assert_allclose(atoms.get_forces(), expected.forces, atol=1e-10 * scale)
    if atoms.pbc.any() and atoms.cell.rank == 3:
        stress = expected.virial / atoms.get_volume()
        found = atoms.get_stress(voigt=False)
        np.testing.assert_allclose(found, stress, atol=1e-10 * np.abs(stress).max())


@pytest.mark.parametrize("make", [skewed, slab])
def test_stress_is_the_strain_derivative_of_the_energy(make):
    atoms = make()
    atoms.calc = D3Calculator("pbe", cutoff=9.0, cn_cutoff=7.0, width=3.0)
    stress, volume, h = atoms.get_stress(voigt=False), atoms.get_volume(), 1e-5
    for a, b in np.ndindex(3, 3):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += sign * h / 2
            strain[b, a] += sign * h / 2
            strained = atoms.copy()
            strained.set_cell(atoms.cell.array @ strain, scale_atoms=False)
            strained.positions = atoms.positions @ strain
            strained.calc = atoms.calc
            energies.append(strained.get_potential_energy())
        slope = (energies[0] - energies[1]) / (2 * h * volume)
        assert stress[a, b] == pytest.approx(slope, abs=1e-6 * np.abs(stress).max())


def flat():
    """A periodic sheet whose third vector, which is not periodic, lies in its plane."""
    atoms = skewed()
    cell = atoms.cell.array.copy()
    cell[2] = cell[0] + cell[1]
    atoms.set_cell(cell)
    atoms.pbc = (True, True, False)
    return atoms


@pytest.mark.parametrize(
    "atoms",
    [molecule("H2O", vacuum=3.0), chain(), flat()],
    ids=["molecule in a box", "chain, no volume", "sheet, third vector in its plane"],
)
def test_no_stress_without_a_periodic_volume(atoms):
    atoms.calc = D3Calculator(**CUTOFFS)
    assert atoms.get_potential_energy() < 0.0
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_stress()


def test_presets_are_their_cutoffs():
    atoms = skewed()
    mace = D3Calculator(cutoff=40 * BOHR, cn_cutoff=40 * BOHR)
    default = D3Calculator(cutoff=60 * BOHR, cn_cutoff=40 * BOHR)
    for calculator, same in ((D3Calculator(preset="mace_mp"), mace), (D3Calculator(), default)):
        assert calculator.get_potential_energy(atoms) == same.get_potential_energy(atoms)
    assert mace.get_potential_energy(atoms) > default.get_potential_energy(atoms)


def test_explicit_cutoffs_override_the_preset():
    model = D3Calculator(preset="mace_mp", cutoff=12.0).model([1])
    assert model.cutoff == 12.0
    assert model.cn_cutoff == pytest.approx(40 * BOHR)


def test_results_per_atom():
    atoms = molecule("CH4")
    calculator = D3Calculator(**CUTOFFS)
    atoms.calc = calculator
    assert atoms.get_potential_energies().sum() == pytest.approx(atoms.get_potential_energy())
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()
    cn = calculator.get_property("coordination_numbers", atoms)
    c6 = calculator.get_property("c6", atoms)
    np.testing.assert_allclose(cn, [4, 1, 1, 1, 1], atol=0.03)
    # C6 of sp3 carbon and of hydrogen on carbon are near 18.2 and 3.1 hartree bohr^6
    np.testing.assert_allclose(c6 / (27.2114 * BOHR**6), [18.2] + [3.1] * 4, rtol=0.03)


def test_elements_may_change_between_calls():
    calculator = D3Calculator(**CUTOFFS)
    for name in ("H2O", "CH4", "SiH4", "H2O"):
        atoms = molecule(name)
        expected = reference(atoms, **CUTOFFS).energy
        assert calculator.get_potential_energy(atoms) == pytest.approx(expected, rel=1e-12)


def test_an_atom_alone_and_no_atom_have_no_dispersion():
    for atoms in (Atoms("Ar"), Atoms()):
        atoms.calc = D3Calculator()
        assert atoms.get_potential_energy() == 0.0
        assert atoms.get_forces().shape == (len(atoms), 3)


def test_float32_is_close_to_float64():
    atoms = skewed()
    double = D3Calculator(**CUTOFFS)
    for dtype in ("float32", torch.float32):
        single = D3Calculator(**CUTOFFS, dtype=dtype)
        for name in ("energy", "forces", "stress"):
            a, b = double.get_property(name, atoms), single.get_property(name, atoms)
            np.testing.assert_allclose(b, a, atol=1e-5 * np.abs(a).max())
            assert np.asarray(b).dtype == np.float64


def test_smooth_cutoff_and_explicit_damping_reach_the_module():
    pbe = damping_parameters("pbe")
    named = D3Calculator("pbe", cutoff=8.0, width=2.0)
    given = D3Calculator(damping=DampingParameters(*pbe), cutoff=8.0, width=2.0)
    hard = D3Calculator("pbe", cutoff=8.0)
    energies = [c.get_potential_energy(skewed()) for c in (named, given, hard)]
    assert energies[0] == energies[1] != energies[2]


def test_sum_with_another_calculator():
    atoms = bulk("Cu", cubic=True)
    atoms.positions[0, 0] += 0.1
    parts = [EMT(), D3Calculator(**CUTOFFS)]
    atoms.calc = SumCalculator(parts)
    for name in ("energy", "free_energy", "energies", "forces", "stress"):
        total = sum(part.get_property(name, atoms) for part in parts)
        np.testing.assert_allclose(atoms.calc.get_property(name, atoms), total)


def test_results_are_kept_until_something_changes(monkeypatch):
    calls = []
    calculate = D3Calculator.calculate
    monkeypatch.setattr(
        D3Calculator, "calculate", lambda self, *args: (calls.append(1), calculate(self, *args))
    )
    atoms = skewed()
    atoms.calc = D3Calculator(**CUTOFFS)
    energy = atoms.get_potential_energy()
    atoms.get_forces()
    atoms.get_stress()
    atoms.set_initial_charges([1.0, -1.0])
    atoms.get_potential_energy()
    assert len(calls) == 1
    atoms.positions += 0.1 * atoms.positions
    assert atoms.get_potential_energy() != energy
    assert len(calls) == 2


def test_set_changes_what_is_computed():
    atoms = skewed()
    atoms.calc = D3Calculator("pbe", **CUTOFFS)
    atoms.get_potential_energy()
    assert atoms.calc.set(xc="b3lyp", cutoff=10.0) == {"xc": "b3lyp", "cutoff": 10.0}
    expected = reference(atoms, xc="b3lyp", cutoff=10.0, cn_cutoff=9.0)
    assert atoms.get_potential_energy() == pytest.approx(expected.energy, rel=1e-12)
    atoms.calc.set(damping={"s6": 1.0, "s8": 0.0, "a1": 0.0, "a2": 5.0})
    assert atoms.calc.parameters["xc"] is None
    assert atoms.get_potential_energy() != pytest.approx(expected.energy, rel=1e-3)


def test_set_changes_the_variant_and_the_three_body_term():
    atoms = skewed()
    atoms.calc = D3Calculator("pbe", **CUTOFFS)
    pairs = atoms.get_potential_energy()
    assert atoms.calc.set(variant="zero") == {"variant": "zero"}
    assert atoms.calc.settings == Settings(variant="zero", **CUTOFFS)
    zero = atoms.get_potential_energy()
    atoms.calc.set(variant="bj", s9=1.0, atm_cutoff=6.0)
    assert atoms.calc.settings == Settings(s9=1.0, atm_cutoff=6.0, **CUTOFFS)
    assert len({pairs, zero, atoms.get_potential_energy()}) == 3
    atoms.calc.set(s9=0.0)
    assert atoms.get_potential_energy() == pairs
    with pytest.raises(TypeError, match="expected damping of variant 'zero' to give s6, s8, rs6"):
        atoms.calc.set(variant="zero", damping={"s6": 1.0, "s8": 0.0, "a1": 0.0, "a2": 5.0})


def test_set_takes_a_preset():
    """As of settings: what it stands for is replaced, whatever was given before."""
    for calc in (D3Calculator("pbe", **CUTOFFS), D3Calculator(settings=Settings(**CUTOFFS))):
        before = calc.settings
        calc.set(preset="nvalchemi")
        assert calc.settings == before.replace(preset="nvalchemi") == Settings(preset="nvalchemi")
        calc.set(preset="converged", cn_cutoff=9.0)
        assert calc.settings == Settings(preset="converged", cn_cutoff=9.0)
        calc.set(cutoff=12.0)
        assert calc.settings == Settings(preset="converged", cn_cutoff=9.0, cutoff=12.0)


def test_a_refused_set_changes_nothing():
    atoms = skewed()
    atoms.calc = D3Calculator(**CUTOFFS)
    energy, parameters = atoms.get_potential_energy(), dict(atoms.calc.parameters)
    with pytest.raises(ValueError, match="positive cutoff"):
        atoms.calc.set(xc="b3lyp", cutoff=-1.0)
    assert atoms.calc.parameters == parameters
    assert atoms.get_potential_energy() == energy


@pytest.mark.parametrize(
    "given",
    [
        {"damping": DampingParameters(1.0, 0.7, 0.4, 4.5)},
        {"damping": ZeroParameters(1.0, 0.7, 1.2), "variant": "zero", "s9": 1.0},
    ],
)
def test_todict_makes_an_equal_calculator(given):
    calculator = D3Calculator(**given, preset="mace_mp", dtype=torch.float32)
    again = D3Calculator(**calculator.todict())
    assert dict(again.parameters) == dict(calculator.parameters)


@pytest.mark.parametrize("suffix", ["traj", "extxyz", "db", "json"])
def test_ase_writes_and_reads_the_results(tmp_path, suffix):
    atoms = skewed()
    atoms.calc = D3Calculator("b3lyp", **CUTOFFS)
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    path = str(tmp_path / f"a.{suffix}")
    ase.io.write(path, atoms)
    back = ase.io.read(path)
    assert back.get_potential_energy() == pytest.approx(energy)
    np.testing.assert_allclose(back.get_forces(), forces, atol=1e-7)
    if suffix == "db":
        row = ase.db.connect(path).get(1)
        assert (row.calculator, row.calculator_parameters["xc"]) == ("d3torch", "b3lyp")


def test_exported_properties_are_those_ase_knows():
    atoms = skewed()
    atoms.calc = D3Calculator(**CUTOFFS)
    atoms.get_potential_energy()
    exported = atoms.calc.export_properties()
    kept = {name: exported[name] for name in ("energy", "forces", "stress")}
    assert SinglePointCalculator(atoms, **kept).get_potential_energy() < 0.0
    assert "c6" not in exported


@pytest.mark.parametrize("tolerance", [1e-3, 1e-4])
def test_automatic_cutoff_keeps_its_tolerance(tolerance):
    atoms = bulk("NaCl", "rocksalt", a=5.64)
    atoms.calc = D3Calculator("pbe", cutoff="auto", tolerance=tolerance)
    found = atoms.get_potential_energy() / len(atoms)
    far = D3Calculator("pbe", cutoff=150 * BOHR).get_potential_energy(atoms) / len(atoms)
    assert 0.2 * tolerance < found - far < 1.2 * tolerance


def test_automatic_cutoff_of_a_molecule_leaves_nothing_out():
    atoms = molecule("CH3CH2OH")
    far = D3Calculator("pbe").get_potential_energy(atoms)
    assert D3Calculator("pbe", cutoff="auto").get_potential_energy(atoms) == far


def test_automatic_cutoff_is_refused_where_it_means_nothing():
    with pytest.raises(ValueError, match="expected three periodic directions or none"):
        D3Calculator("pbe", cutoff="auto").get_potential_energy(slab())
    with pytest.raises(TypeError, match="expected tolerance to be a number, got '1e-3'"):
        D3Calculator("pbe", cutoff="auto", tolerance="1e-3")


def test_a_module_that_was_asked_for_is_not_that_of_the_structure():
    calc, atoms = D3Calculator("pbe", **CUTOFFS), molecule("H2O")
    expected = calc.get_property("energy", atoms)
    assert calc.model([6]).numbers.tolist() == [6]
    atoms.rattle(1e-9)
    assert calc.get_property("energy", atoms) == pytest.approx(expected, rel=1e-6)


def test_of_a_structure_that_is_refused_there_are_no_results():
    calc, atoms = D3Calculator("pbe", **CUTOFFS), molecule("H2O")
    calc.calculate(atoms)
    wrong = atoms.copy()
    wrong.positions[1] = wrong.positions[0]
    for ask in (calc.calculate, lambda atoms: calc.get_property("energy", atoms)):
        with pytest.raises(ValueError, match="on one spot"):
            ask(wrong)
    with pytest.raises(ValueError, match=r"^expected a structure, got none and no calculation"):
        D3Calculator("pbe").get_property("energy")

"""D3 on top of any calculator: all results stay, those that D3 changes are those of the sum."""

from __future__ import annotations

import copy
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ase.db
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.calculator import Calculator, PropertyNotImplementedError
from ase.calculators.emt import EMT
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.calculators.lj import LennardJones
from ase.calculators.mixing import SumCalculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import Trajectory, read, write
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress

import d3torch
from d3torch import D3Calculator, DispersionWarning, Settings, with_dispersion
from d3torch.integrations.any_calculator import DispersionCalculator

NEAR: dict[str, Any] = {"cutoff": 8.0, "cn_cutoff": 6.0, "width": 2.0}
OWN = {"dispersion_energy", "dispersion_forces", "dispersion_stress"}


def crystal() -> Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=1)
    return atoms


def slab() -> Atoms:
    atoms = fcc111("Ag", (1, 1, 2), vacuum=4.0)
    atoms.rattle(0.05, seed=2)
    return atoms


def boxed() -> Atoms:
    """Atoms in a cell without periodic directions, for which EMT has a stress."""
    atoms = Atoms("Cu3", [[0, 0, 0], [2.4, 0, 0.3], [1.0, 2.2, 0]], cell=[9, 8, 7])
    atoms.center()
    return atoms


class Rich(Calculator):
    """A calculator with everything that a model may give, in single precision as it comes."""

    implemented_properties = ("energy", "forces", "stress", "magmoms", "uncertainty")

    def calculate(self, atoms: Any = None, properties: Any = (), system_changes: Any = ()) -> None:
        super().calculate(atoms, properties, system_changes)
        n = len(self.atoms)
        shares = np.linspace(-1.0, -2.0, n, dtype=np.float32)
        self.results = {
            "energy": shares.sum(),
            "free_energy": np.float64(shares.sum()),
            "energies": shares,
            "node_energy": shares + 1.0,
            "forces": np.full((n, 3), 0.25, dtype=np.float32),
            "stress": voigt_6_to_full_3x3_stress(np.arange(6) * 0.1),
            "magmoms": np.arange(n) * 0.5,
            "magmom": 3.0,
            "charges": np.full(n, 0.125),
            "dipole": np.ones(3),
            "uncertainty": 0.01,
            "crystal_fea": np.ones(64),
            "band_gap": 1.5,
        }


def summed(calc: Any, atoms: Atoms, **settings: Any) -> tuple[Any, Any]:
    """Both parts, computed apart."""
    parts = copy.deepcopy(calc), D3Calculator(**(settings or NEAR))
    for part in parts:
        part.get_property("energy", atoms)
    return parts


# ---- results ----


def test_all_results_stay_and_d3_is_added() -> None:
    atoms = crystal()
    atoms.calc = calc = with_dispersion(Rich(), **NEAR)
    atoms.get_forces()
    base, d3 = (part.results for part in summed(Rich(), atoms))
    assert {*calc.results} == {*base} | OWN
    for name in ("node_energy", "magmoms", "magmom", "charges", "dipole", "uncertainty"):
        np.testing.assert_array_equal(calc.results[name], base[name])
    for name in ("crystal_fea", "band_gap"):
        np.testing.assert_array_equal(calc.results[name], base[name])
    for name in ("energy", "free_energy", "energies", "forces"):
        added = np.asarray(base[name], dtype=float) + d3[name]
        np.testing.assert_allclose(calc.results[name], added, rtol=0, atol=1e-14)
    stress = d3["stress"] + full_3x3_to_voigt_6_stress(base["stress"])
    np.testing.assert_allclose(calc.results["stress"], stress, rtol=0, atol=1e-14)
    for name in OWN:
        np.testing.assert_array_equal(calc.get_property(name, atoms), d3[name.split("_")[1]])
    assert isinstance(calc.results["energy"], float)
    assert atoms.get_charges()[0] == 0.125
    assert atoms.get_magnetic_moments()[1] == 0.5


@pytest.mark.parametrize("make", [EMT, lambda: LennardJones(sigma=2.2, rc=6.0, smooth=True)])
@pytest.mark.parametrize("structure", [crystal, slab, boxed])
def test_forces_and_stress_are_derivatives_of_the_sum(make: Any, structure: Any) -> None:
    atoms = structure()
    atoms.calc = calc = with_dispersion(make(), **NEAR)
    assert abs(calc.get_property("dispersion_energy", atoms)) > 1e-3
    forces, stress = atoms.get_forces(), atoms.get_stress()
    expected = calculate_numerical_forces(atoms, eps=1e-4, iatoms=[0])
    np.testing.assert_allclose(forces[:1], expected, rtol=0, atol=1e-6)
    expected = calculate_numerical_stress(atoms, eps=1e-5)
    np.testing.assert_allclose(stress, expected, rtol=0, atol=1e-7)
    assert atoms.get_potential_energies().sum() == pytest.approx(atoms.get_potential_energy())


def test_what_a_calculator_has_and_does_not_say_is_found_for_the_next_structure() -> None:
    """CHGNet has a free energy, and refuses it."""
    atoms = crystal()
    calc = with_dispersion(Rich(), **NEAR)
    first = calc.get_property("energy", atoms)
    atoms.rattle(0.01, seed=5)
    assert calc.get_property("free_energy", atoms) == calc.get_property("energy", atoms) != first
    with pytest.raises(PropertyNotImplementedError):
        with_dispersion(EMT(), **NEAR).get_property("charges", atoms)


class NoStress(EMT):
    implemented_properties = ("energy", "forces")

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        super().calculate(*args, **kwargs)
        self.results = {name: self.results[name] for name in ("energy", "forces")}


def test_what_the_calculator_does_not_give_the_sum_does_not() -> None:
    atoms = crystal()
    atoms.calc = calc = with_dispersion(NoStress(), **NEAR)
    assert atoms.get_potential_energy() != EMT().get_property("energy", atoms)
    for name in ("stress", "energies", "free_energy"):
        with pytest.raises(PropertyNotImplementedError):
            calc.get_property(name, atoms)
    assert calc.get_property("dispersion_stress", atoms).shape == (6,)
    atoms.calc = calc = with_dispersion(NoStress(), **NEAR)
    lonely = molecule("H2O")
    with pytest.raises(PropertyNotImplementedError):
        calc.get_property("dispersion_stress", lonely)


def test_energies_of_a_committee_are_not_those_of_atoms() -> None:
    class Committee(Rich):
        def calculate(self, *args: Any, **kwargs: Any) -> None:
            super().calculate(*args, **kwargs)
            self.results["energies"] = np.full(len(self.atoms), self.results["energy"])

    atoms = crystal()
    calc = with_dispersion(Committee(), **NEAR)
    calc.get_property("energy", atoms)
    np.testing.assert_array_equal(calc.results["energies"], calc.calculator.results["energies"])


class Old:
    """A calculator as they were before ``get_property``."""

    __slots__ = ("calls", "emt")

    def __init__(self) -> None:
        self.emt, self.calls = EMT(), 0

    def get_potential_energy(self, atoms: Atoms) -> float:
        self.calls += 1
        return float(self.emt.get_property("energy", atoms))

    def get_forces(self, atoms: Atoms) -> Any:
        return self.emt.get_property("forces", atoms)


def test_an_old_calculator() -> None:
    atoms = crystal()
    atoms.calc = calc = with_dispersion(Old(), **NEAR)
    base, d3 = (part.results for part in summed(EMT(), atoms))
    np.testing.assert_allclose(atoms.get_forces(), base["forces"] + d3["forces"], atol=1e-14)
    assert atoms.get_potential_energy() == base["energy"] + d3["energy"]
    atoms.get_potential_energy()
    assert calc.calculator.calls == 1
    assert calc.name == "old+d3torch"
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_stress()


def test_a_single_point() -> None:
    """It has no list of properties, and refuses another structure."""
    atoms = crystal()
    held = {"energy": -1.0, "forces": np.ones((4, 3)), "magmoms": np.arange(4.0)}
    calc = with_dispersion(SinglePointCalculator(atoms, **held), **NEAR)
    added = D3Calculator(**NEAR).get_property("energy", atoms)
    assert calc.get_property("energy", atoms) == -1.0 + added
    assert calc.get_property("magmoms", atoms)[3] == 3.0
    atoms.positions[0, 0] += 0.1
    with pytest.raises(PropertyNotImplementedError):
        calc.get_property("energy", atoms)


def test_a_sum_and_settings_of_every_kind() -> None:
    atoms = crystal()
    both = SumCalculator([EMT(), LennardJones()])
    expected = both.get_property("energy", atoms)
    settings = Settings(xc="r2scan", s9=1.0, **NEAR)
    for given in ({"settings": settings}, {"xc": "r2scan", "s9": 1.0, **NEAR}):
        calc = with_dispersion(copy.deepcopy(both), **given, exclude_atoms=[0])
        d3 = D3Calculator(settings=settings, exclude_atoms=[0]).get_property("energy", atoms)
        assert calc.get_property("energy", atoms) == pytest.approx(expected + d3, abs=1e-12)
        assert calc.dispersion.settings == settings


# ---- when something is computed ----


class Counting(LennardJones):
    calls = 0

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        self.calls += 1
        super().calculate(*args, **kwargs)


def test_nothing_is_computed_twice_or_too_early() -> None:
    atoms = crystal()
    inner = Counting()
    atoms.calc = calc = with_dispersion(inner, **NEAR)
    assert calc.get_property("energy", atoms, allow_calculation=False) is None
    assert calc.calculation_required(atoms, ["energy"])
    atoms.get_potential_energy()
    atoms.get_forces()
    atoms.get_stress()
    assert inner.calls == 1
    assert not calc.calculation_required(atoms, ["energy", "forces", "dispersion_energy"])
    assert calc.check_state(atoms) == []
    assert calc.get_property("forces", atoms, allow_calculation=False) is not None
    atoms.positions[0, 0] += 0.1
    assert calc.check_state(atoms) == ["positions"]
    assert calc.get_property("energy", atoms, allow_calculation=False) is None
    atoms.get_forces()
    assert inner.calls == 2


def test_the_part_of_d3_does_not_run_the_calculator() -> None:
    atoms, inner = crystal(), Counting()
    calc = with_dispersion(inner, **NEAR)
    part = calc.get_property("dispersion_forces", atoms)
    assert inner.calls == 0
    total = calc.get_property("forces", atoms)
    np.testing.assert_allclose(total - part, inner.results["forces"], rtol=0, atol=1e-14)
    assert {*calc.results} > OWN


def test_a_calculator_that_was_used_or_reset_elsewhere_is_asked_again() -> None:
    atoms, other, inner = crystal(), crystal(), Counting()
    other.rattle(0.1, seed=3)
    calc = with_dispersion(inner, **NEAR)
    first = calc.get_property("energy", atoms)
    inner.get_property("energy", other)
    assert calc.get_property("energy", atoms) == first
    assert inner.calls == 3
    inner.reset()
    assert calc.check_state(atoms)
    assert calc.get_property("energy", atoms) == first
    calc.reset()
    assert calc.results == inner.results == {}
    assert calc.get_property("energy", atoms) == first


@pytest.mark.parametrize("ignored", ["cell", "pbc"])
def test_what_the_calculator_does_not_mind_changes_d3(ignored: str) -> None:
    class Blind(EMT):
        ignored_changes = frozenset({ignored})

    atoms, moved = crystal(), crystal()
    atoms.calc = with_dispersion(Blind(), **NEAR)
    before = atoms.get_potential_energy()
    for x in (atoms, moved):
        x.pbc = (True, ignored != "pbc", True)
        x.cell *= 1.0 + 0.1 * (ignored == "cell")
    moved.calc = D3Calculator("pbe", **NEAR)
    assert atoms.get_potential_energy() != before
    assert atoms.calc.results["dispersion_energy"] == moved.get_potential_energy()


def test_d3_that_was_changed_or_reset_is_computed_again() -> None:
    atoms, other = crystal(), crystal()
    atoms.calc = with_dispersion(EMT(), **NEAR)
    atoms.get_potential_energy()
    atoms.calc.dispersion.set(xc="r2scan")
    other.calc = with_dispersion(EMT(), "r2scan", **NEAR)
    assert atoms.get_potential_energy() == other.get_potential_energy()
    assert atoms.calc.results["dispersion_energy"] == other.calc.results["dispersion_energy"]


def test_results_are_copies() -> None:
    atoms = crystal()
    calc = with_dispersion(Rich(), **NEAR)
    calc.get_property("forces", atoms)[:] = 0.0
    calc.results["magmoms"][:] = 9.0
    assert (calc.calculator.results["magmoms"] < 9.0).all()
    assert calc.get_property("forces", atoms).any()


def test_set_changes_d3() -> None:
    atoms = crystal()
    calc = with_dispersion(EMT(), **NEAR)
    before = calc.get_property("energy", atoms)
    assert calc.set(xc="pbe") == {}
    assert calc.set(xc="b3lyp") == {"xc": "b3lyp"}
    after = with_dispersion(EMT(), "b3lyp", **NEAR).get_property("energy", atoms)
    assert calc.get_property("energy", atoms) == after != before
    assert calc.parameters["dispersion"]["xc"] == "b3lyp"
    with pytest.raises(ValueError, match="expected a keyword of D3Calculator"):
        calc.set(asap_cutoff=True)


# ---- copies, files, other threads ----


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
@pytest.mark.parametrize("ran", [False, True])
def test_copies_compute_the_same(copied: Any, ran: bool) -> None:
    atoms = crystal()
    calc = with_dispersion(Counting(), **NEAR)
    if ran:
        calc.get_property("energy", atoms)
    other = copied(calc)
    energy = calc.get_property("energy", atoms)
    assert other.get_property("energy", atoms) == energy
    assert other.calculator is not calc.calculator
    assert other.calculator.calls == 1


def test_copies_in_threads() -> None:
    calc = with_dispersion(LennardJones(), **NEAR)
    frames = [crystal() for _ in range(4)]
    for seed, atoms in enumerate(frames):
        atoms.rattle(0.1, seed=seed + 10)
    expected = [calc.get_property("energy", atoms) for atoms in frames]

    def energy(atoms: Atoms) -> Any:
        return copy.deepcopy(calc).get_property("energy", atoms)

    with ThreadPoolExecutor(4) as pool:
        assert [*pool.map(energy, frames)] == expected


def test_files_hold_the_sum_and_which_d3(tmp_path: Path) -> None:
    """As of ASE's own calculators: trajectory, database, extended XYZ."""
    atoms = crystal()
    atoms.calc = calc = with_dispersion(Rich(), **NEAR)
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    with Trajectory(tmp_path / "a.traj", "w") as trajectory:
        trajectory.write(atoms)
    write(tmp_path / "a.xyz", atoms)
    with ase.db.connect(tmp_path / "a.db") as database:
        database.write(atoms)
        row = database.get(1)
    found = read(tmp_path / "a.traj"), read(tmp_path / "a.xyz"), row.toatoms()
    for each in found:
        assert each.get_potential_energy() == pytest.approx(energy, abs=1e-8)
        np.testing.assert_allclose(each.get_forces(), forces, rtol=0, atol=1e-8)
        np.testing.assert_allclose(each.get_stress(), calc.results["stress"], rtol=0, atol=1e-8)
        assert each.get_magnetic_moments()[3] == 1.5
    assert row.calculator == found[0].calc.name == "rich+d3torch"
    told = row.calculator_parameters["dispersion"]
    assert Settings.from_dict(told) == Settings(xc="pbe", **NEAR)
    assert found[0].calc.parameters["dispersion"]["xc"] == "pbe"


# ---- second derivatives, shares of stress ----


class Second(LennardJones):
    """A calculator with a Hessian, in the form of MACE, or of each member of a committee."""

    members = 1

    def get_hessian(self, atoms: Atoms) -> Any:
        n = len(atoms)
        found = np.arange(9.0 * n * n).reshape(3 * n, n, 3)
        return found if self.members == 1 else [found] * self.members


@pytest.mark.parametrize("members", [1, 2])
def test_hessian_is_that_of_the_sum(members: int) -> None:
    atoms = boxed()
    inner = Second()
    inner.members = members
    calc = with_dispersion(inner, **NEAR)
    atoms.calc = D3Calculator(**NEAR)
    rows = []
    for k in range(9):
        forces = []
        for step in (1e-4, -1e-4):
            atoms.positions.flat[k] += step
            forces.append(atoms.get_forces())
            atoms.positions.flat[k] -= step
        rows.append((forces[1] - forces[0]) / 2e-4)
    found = calc.get_hessian(atoms)
    for each in found if members > 1 else [found]:
        expected = Second().get_hessian(atoms) + np.array(rows)
        np.testing.assert_allclose(each, expected, rtol=0, atol=1e-5)


def test_no_hessian_is_a_sentence() -> None:
    with pytest.raises(
        NotImplementedError, match="expected a calculator with get_hessian, got EMT"
    ):
        with_dispersion(EMT()).get_hessian(crystal())
    with pytest.raises(ValueError, match="expected a cutoff in A for a Hessian, got 'auto'"):
        with_dispersion(Second(), cutoff="auto").get_hessian(boxed())


def test_stresses_of_atoms_add_up_to_the_stress() -> None:
    pytest.importorskip("vesin")
    atoms = slab()
    atoms.calc = calc = with_dispersion(LennardJones(sigma=2.2, rc=6.0, smooth=True), **NEAR)
    inner = calc.calculator
    stresses = atoms.get_stresses()
    own = stresses - inner.results["stresses"]
    assert (np.abs(own) > 1e-6).any(axis=1).all()
    np.testing.assert_allclose(own.sum(axis=0), calc.results["dispersion_stress"], atol=1e-12)


def test_nothing_of_no_value_is_a_result() -> None:
    """ASE's Vasp keeps None for a stress that a run did not give."""

    class Run(EMT):
        def calculate(self, atoms: Any = None, *args: Any) -> None:
            super().calculate(atoms, *args)
            self.results["stress"] = None

    atoms = crystal()
    atoms.calc = calc = with_dispersion(Run(), **NEAR)
    assert atoms.get_potential_energy() < 0.0
    assert "stress" not in calc.results
    with pytest.raises(PropertyNotImplementedError, match="stress not present"):
        atoms.get_stress()


def test_what_takes_long_is_computed_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """LennardJones always has stresses of atoms, for which D3 needs all pairs."""
    pytest.importorskip("vesin")
    atoms = crystal()
    atoms.calc = calc = with_dispersion(LennardJones(sigma=2.2, rc=6.0, smooth=True), **NEAR)
    with monkeypatch.context() as context:
        context.setattr(d3torch.integrations.any_calculator, "virials_of_atoms", None)
        assert atoms.get_stress().any()
        assert "stresses" in calc.calculator.results
        assert "stresses" not in calc.results
    stresses = atoms.get_stresses()
    np.testing.assert_allclose(stresses.sum(axis=0), atoms.get_stress(), atol=1e-12)
    assert {"energy", "forces", "stress", "stresses"} <= calc.results.keys()


def test_second_derivatives_do_not_ask_how_the_caller_computes() -> None:
    """The same where no graph is wanted, and of a calculator that was made there."""
    pytest.importorskip("vesin")
    atoms = crystal()
    expected = with_dispersion(Second(), **NEAR).get_hessian(atoms)
    stresses = with_dispersion(LennardJones(), **NEAR).get_property("stresses", atoms)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            inner = with_dispersion(LennardJones(), **NEAR)
            made = with_dispersion(Second(), **NEAR)
            made.get_property("energy", atoms)
            assert np.array_equal(made.get_hessian(atoms), expected)
            assert np.array_equal(inner.get_property("stresses", atoms), stresses)
        assert np.array_equal(made.get_hessian(atoms), expected)


def test_stresses_that_d3_cannot_share_are_not_there() -> None:
    """Everything else is."""
    atoms = slab()
    three = {"s9": 1.0, "atm_cutoff": 5.0}
    atoms.calc = calc = with_dispersion(LennardJones(sigma=2.2, rc=6.0), **NEAR, **three)
    assert atoms.get_forces().any()
    assert "stresses" not in calc.results
    with pytest.raises(PropertyNotImplementedError, match=r"^stresses: expected .*three-body"):
        atoms.get_stresses()


@pytest.mark.parametrize("third", [(0.0, 0.0, 0.0), (3.7, 3.7, 0.0)])
def test_a_cell_without_volume_has_no_stress_of_d3(third: tuple[float, ...]) -> None:
    """That of the calculator stays as it is; shares of atoms are not there."""
    atoms = Atoms("Ar", cell=[(3.7, 0, 0), (0, 3.7, 0), third], pbc=(True, True, False))
    given = {"energy": 0.0, "forces": np.zeros((1, 3)), "stress": np.ones(6)}
    inner = SinglePointCalculator(atoms, **given, stresses=np.ones((1, 6)))
    atoms.calc = calc = with_dispersion(inner, **NEAR)
    assert np.array_equal(atoms.get_stress(), np.ones(6))
    assert "dispersion_stress" not in calc.results
    with pytest.raises(PropertyNotImplementedError, match=r"^stresses: expected a cell with a vol"):
        atoms.get_stresses()


# ---- what is refused ----


@pytest.mark.parametrize("what", ["pbe", EMT, None, crystal()])
def test_what_is_no_calculator_is_refused(what: Any) -> None:
    with pytest.raises(TypeError, match=r"^expected an ASE calculator, got "):
        with_dispersion(what)


def test_dispersion_is_not_added_twice() -> None:
    once = with_dispersion(EMT(), **NEAR)
    for inside in (once, D3Calculator(), SumCalculator([EMT(), D3Calculator()])):
        with pytest.raises(ValueError, match="in it already; allow_double_counting=True"):
            with_dispersion(inside)
    with pytest.warns(DispersionWarning, match="DispersionCalculator in it already"):
        twice = with_dispersion(once, allow_double_counting=True, **NEAR)
    atoms = crystal()
    part = once.get_property("dispersion_energy", atoms)
    total = twice.get_property("energy", atoms)
    assert total == pytest.approx(once.get_property("energy", atoms) + part, abs=1e-12)


class MACECalculator(EMT):
    """A calculator that says of itself what a model of MACE would."""

    head = "matpes_r2scan"


MACECalculator.__module__ = "mace.calculators.mace"


def test_the_level_of_a_model_is_checked() -> None:
    with pytest.warns(DispersionWarning, match="expected xc r2scan, on which mace-mh-1") as told:
        calc = with_dispersion(MACECalculator(), "pbe")
    assert told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calc.set(xc="r2scan")
        with_dispersion(MACECalculator(), "r2scan")
    with pytest.warns(DispersionWarning, match="expected xc r2scan"):
        calc.set(xc="b3lyp")
    with pytest.raises(ValueError, match="spice_wB97M, which has it already"):
        with_dispersion(MACECalculator(), task="spice_wB97M")


def test_it_is_exported() -> None:
    assert d3torch.with_dispersion is with_dispersion
    assert "with_dispersion" in d3torch.__all__
    assert isinstance(with_dispersion(EMT()), DispersionCalculator)

"""D3 on top of machine-learned potentials and tight binding, where these are installed."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.calculators.mixing import LinearCombinationCalculator, SumCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from d3torch import D3Calculator, DispersionWarning, with_dispersion
from d3torch.integrations.torch_dftd import TorchDFTD3Calculator
from d3torch.levels import levels_of

pytestmark = pytest.mark.filterwarnings(  # of these packages
    "ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"
)

NEAR: dict[str, Any] = {"cutoff": 8.0, "cn_cutoff": 6.0, "width": 2.0}


def salt() -> Atoms:
    atoms = bulk("NaCl", "rocksalt", a=5.6)
    atoms.rattle(0.06, seed=1)
    return atoms


def check_sum(calc: Any, bare: Any, atoms: Atoms, xc: str = "pbe") -> None:
    """All results of the model, D3 in those that it changes."""
    d3 = D3Calculator(xc, **NEAR)
    for part in (calc, bare, d3):
        part.get_property("energy", atoms)
        part.get_property("forces", atoms)
    assert {*bare.results} < {*calc.results}
    for name, value in bare.results.items():
        if name not in ("energy", "free_energy", "energies", "forces", "stress", "stresses"):
            np.testing.assert_array_equal(calc.results[name], value)
    for name in ("energy", "forces"):
        expected = np.asarray(bare.results[name], dtype=float) + d3.results[name]
        np.testing.assert_allclose(calc.results[name], expected, rtol=0, atol=1e-12)
    if "stress" in bare.results and atoms.pbc.any():
        stress = np.asarray(bare.results["stress"], dtype=float)
        stress = full_3x3_to_voigt_6_stress(stress) if stress.ndim == 2 else stress
        expected = stress + d3.results["stress"]
        np.testing.assert_allclose(calc.results["stress"], expected, rtol=0, atol=1e-12)


def check_derivatives(calc: Any, atoms: Atoms, forces: float, stress: float) -> None:
    """Forces and stress of the sum against differences of its energy, within what a model has."""
    moved = atoms.copy()
    moved.calc = calc
    found = moved.get_forces()[:1], moved.get_stress()
    expected = calculate_numerical_forces(moved, eps=1e-3, iatoms=[0])
    np.testing.assert_allclose(found[0], expected, rtol=0, atol=forces)
    expected = calculate_numerical_stress(moved, eps=1e-3)
    np.testing.assert_allclose(found[1], expected, rtol=0, atol=stress)


# ---- MACE ----


def mace(atoms: Atoms, heads: Any = ("Default",), model: Any = None) -> Any:
    models = pytest.importorskip("mace_models", reason="needs mace-torch")
    calculators = pytest.importorskip("mace.calculators", reason="needs mace-torch")
    numbers = sorted({*atoms.numbers.tolist()})
    made = model or models.build(heads=heads, numbers=numbers)
    head = {"head": heads[0]} if len(heads) > 1 else {}
    return calculators.MACECalculator(models=[made], device="cpu", default_dtype="float64", **head)


def test_mace() -> None:
    atoms = salt()
    bare = mace(atoms)
    calc = with_dispersion(mace(atoms), **NEAR)
    check_sum(calc, bare, atoms)
    assert "node_energy" in calc.results
    energies = calc.get_property("energies", atoms)
    assert energies.sum() == pytest.approx(calc.get_property("energy", atoms), abs=1e-12)
    check_derivatives(calc, atoms, forces=1e-5, stress=1e-5)
    assert len(calc.calculator.models) == 1
    check_sum(copy.deepcopy(calc), bare, atoms)


def _slab() -> Atoms:
    atoms = salt()
    atoms.set_cell(atoms.cell.array + np.diag([0.0, 0.0, 9.0]))
    atoms.pbc = (True, True, False)
    return atoms


NO_STRESS = "stress: expected three periodic directions, as MACE divides by"


def test_a_slab_of_mace_has_no_stress_with_d3() -> None:
    """MACE divides by the volume of a longer cell; energies and forces are those of the sum."""
    atoms = _slab()
    bare, calc = mace(atoms), with_dispersion(mace(atoms), **NEAR)
    assert bare.get_property("stress", atoms) is not None
    calc.get_property("energy", atoms)
    assert {*bare.results} - {*calc.results} == {"stress"}
    assert calc.get_property("dispersion_stress", atoms).any()
    with pytest.raises(PropertyNotImplementedError, match=NO_STRESS):
        calc.get_property("stress", atoms)
    atoms.pbc = True
    check_derivatives(calc, atoms, forces=1e-5, stress=1e-5)


@pytest.mark.parametrize("kind", ["sum", "linear", "sum of sums", "torch-dftd"])
def test_nor_has_a_slab_of_mace_inside_another_calculator(kind: str) -> None:
    atoms = _slab()
    inside: Any = mace(atoms)
    if kind == "torch-dftd":
        calc: Any = TorchDFTD3Calculator(dft=inside, damping="bj", cutoff=9.0, cnthr=7.0)
    else:
        inside = SumCalculator([inside]) if kind != "linear" else inside
        inside = LinearCombinationCalculator([inside], [1.0]) if kind != "sum" else inside
        calc = with_dispersion(inside, **NEAR)
    calc.get_property("energy", atoms)
    calc.get_property("forces", atoms)
    assert "stress" not in calc.results
    energy, forces = (calc.get_property(name, atoms) for name in ("energy", "forces"))
    calc.reset()
    for _ in range(2):
        with pytest.raises(PropertyNotImplementedError, match=NO_STRESS):
            calc.get_property("stress", atoms)
        assert calc.get_property("energy", atoms) == pytest.approx(energy, rel=1e-12)
        assert np.allclose(calc.get_property("forces", atoms), forces, rtol=0, atol=1e-12)
    atoms.pbc = True
    assert calc.get_property("stress", atoms).any()


def test_hessian_of_mace_is_that_of_the_fused_model() -> None:
    atoms = molecule("H2O")
    models = pytest.importorskip("mace_models", reason="needs mace-torch")
    host = pytest.importorskip("d3torch.integrations.mace", reason="needs mace-torch")
    fused = host.MACED3(models.build(numbers=[1, 8]), "pbe", **NEAR)
    calc = with_dispersion(mace(atoms), **NEAR)
    expected = mace(atoms, model=fused).get_hessian(atoms)
    np.testing.assert_allclose(calc.get_hessian(atoms), expected, rtol=0, atol=1e-10)


def test_heads_of_mace_are_judged() -> None:
    atoms = salt()
    host = pytest.importorskip("d3torch.integrations.mace", reason="needs mace-torch")
    heads = ["matpes_r2scan", "spice_wB97M"]
    with pytest.warns(DispersionWarning, match="expected xc r2scan, on which mace-mh-1"):
        with_dispersion(mace(atoms, heads), "pbe")
    with pytest.raises(ValueError, match="spice_wB97M, which has it already"):
        with_dispersion(mace(atoms, heads[::-1]), "pbe")
    with pytest.raises(ValueError, match="MACED3 in it already"):
        with_dispersion(mace(atoms, model=host.MACED3(mace(atoms).models[0])))


# ---- models of other packages ----


def test_sevennet() -> None:
    sevenn = pytest.importorskip("sevenn.calculator", reason="needs sevenn")
    atoms, model = salt(), sevenn.SevenNetCalculator("7net-0", device="cpu")
    assert [level.label for level in levels_of(model)] == ["7net-0"]
    calc = with_dispersion(model, **NEAR)
    check_sum(calc, sevenn.SevenNetCalculator("7net-0", device="cpu"), atoms)
    check_derivatives(calc, atoms, forces=1e-3, stress=1e-4)


def test_chgnet() -> None:
    dynamics = pytest.importorskip("chgnet.model.dynamics", reason="needs chgnet")
    atoms, model = salt(), dynamics.CHGNetCalculator(use_device="cpu")
    assert [level.label for level in levels_of(model)] == ["chgnet-0.3.0"]
    calc = with_dispersion(model, **NEAR)
    check_sum(calc, dynamics.CHGNetCalculator(use_device="cpu"), atoms)
    assert {"magmoms", "crystal_fea"} < {*calc.results}
    check_derivatives(calc, atoms, forces=1e-3, stress=1e-4)
    with pytest.warns(DispersionWarning, match="on which chgnet-0.3.0 was trained"):
        with_dispersion(model, "r2scan")


def test_tight_binding() -> None:
    """Charges and dipoles stay; its own D4 is known."""
    tblite = pytest.importorskip("tblite.ase", reason="needs tblite")
    atoms = molecule("CH3OH")
    given = {"method": "GFN2-xTB", "verbosity": 0}
    with pytest.raises(ValueError, match="D4, a part of the method"):
        with_dispersion(tblite.TBLite(**given))
    with pytest.warns(DispersionWarning, match="D4"):
        calc = with_dispersion(tblite.TBLite(**given), allow_double_counting=True, **NEAR)
    check_sum(calc, tblite.TBLite(**given), atoms)
    assert {"charges", "dipole"} < {*calc.results}

"""torch-dftd's calculator by d3torch: its numbers, its keywords, and programs that import it."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ase.build
import numpy as np
import oracle
import pytest
import torch
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.emt import EMT
from ase.calculators.mixing import SumCalculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.units import Bohr
from importing import importing_from

from d3torch import D3Calculator
from d3torch.integrations.torch_dftd import TorchDFTD3Calculator, install, uninstall
from d3torch.integrations.torch_dftd.__main__ import main as run_program
from d3torch.parameters import DispersionWarning

DOUBLE = {"dtype": torch.float64}
SHORT = {"cutoff": 9.0, "cnthr": 7.0, **DOUBLE}


def _crystal() -> Atoms:
    atoms = ase.build.bulk("Cu", "fcc", a=3.615, cubic=True)
    return _shaken(atoms)


def _slab() -> Atoms:
    return _shaken(ase.build.graphene(a=2.46, vacuum=6.0, size=(2, 1, 1)))


def _molecule() -> Atoms:
    return ase.build.molecule("CH3CH2OH")


def _shaken(atoms: Atoms) -> Atoms:
    atoms.positions += np.random.default_rng(5).normal(scale=0.05, size=(len(atoms), 3))
    return atoms


# ---- numbers ----


@pytest.mark.parametrize("abc", [False, True])
@pytest.mark.parametrize("damping", ["zero", "bj", "zerom", "bjm"])
def test_numbers_are_those_of_the_oracle(damping: str, abc: bool) -> None:
    calc = TorchDFTD3Calculator(damping=damping, abc=abc, **SHORT)
    for atoms in (_crystal(), _molecule()):
        reach = {"cutoff": 9.0, "cn_cutoff": 7.0, "atm_cutoff": 7.0 * abc}
        where = (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
        expected = oracle.dispersion(*where, **reach, variant=damping)
        assert calc.get_property("energy", atoms) == pytest.approx(expected.energy, abs=1e-10)
        forces = calc.get_property("forces", atoms)
        np.testing.assert_allclose(forces, expected.forces, rtol=0, atol=1e-10)


@pytest.mark.filterwarnings("ignore:Creating a tensor from a list:UserWarning")  # torch-dftd's
@pytest.mark.parametrize("damping", ["zero", "bj", "zerom", "bjm"])
def test_numbers_are_those_of_torch_dftd(damping: str) -> None:
    theirs = pytest.importorskip("torch_dftd.torch_dftd3_calculator").TorchDFTD3Calculator
    both = [made(damping=damping, **SHORT) for made in (theirs, TorchDFTD3Calculator)]
    for atoms in (_crystal(), _slab(), _molecule()):
        energies = [calc.get_property("energy", atoms) for calc in both]
        assert energies[1] == pytest.approx(energies[0], rel=2e-6)
        for name in ("forces", "stress") if atoms.cell.rank == 3 else ("forces",):
            expected, found = (calc.get_property(name, atoms) for calc in both)
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_defaults_are_zero_damping_in_float32_to_95_bohr() -> None:
    calc, atoms = TorchDFTD3Calculator(), _molecule()
    s = calc.settings
    assert (s.xc, calc.damping, calc.dtype, calc.abc, s.reference) == (
        *("pbe", "zero", torch.float32, False),
        "2010",
    )
    assert calc.cutoff == 95.0 * Bohr
    assert s.cn_cutoff == 40.0 * Bohr
    assert calc.device == torch.device("cpu")
    own = D3Calculator("pbe", variant="zero", preset="torch-dftd")
    assert calc.get_property("energy", atoms) == pytest.approx(
        own.get_property("energy", atoms), rel=1e-6
    )


def test_poly_is_a_switch_over_the_last_bohr() -> None:
    smooth = TorchDFTD3Calculator(damping="bj", cutoff_smoothing="poly", **SHORT)
    assert smooth.settings.width == Bohr
    atoms = _crystal()
    reference = D3Calculator("pbe", cutoff=9.0, cn_cutoff=7.0, width=Bohr)
    assert smooth.get_property("energy", atoms) == reference.get_property("energy", atoms)


def test_cnthr_beyond_the_cutoff_is_the_cutoff() -> None:
    with pytest.warns(DispersionWarning, match="expected cnthr of at most cutoff = 9 A, got 21.16"):
        calc = TorchDFTD3Calculator(cutoff=9.0)
    assert calc.settings.cn_cutoff == 9.0


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_batch_has_the_numbers_of_each(dtype: torch.dtype) -> None:
    calc = TorchDFTD3Calculator(damping="bj", cutoff=9.0, cnthr=7.0, dtype=dtype)
    structures = [_crystal(), _molecule(), _slab()]
    found = calc.batch_calculate(structures, ["energy", "forces", "stress"])
    close = 1e-12 if dtype == torch.float64 else 1e-6
    for result, atoms in zip(found, structures, strict=True):
        atoms.calc = calc
        assert result["energy"] == pytest.approx(atoms.get_potential_energy(), rel=close)
        np.testing.assert_allclose(result["forces"], atoms.get_forces(), rtol=0, atol=close)
        assert ("stress" in result) == bool(atoms.pbc.any())
        if "stress" in result:
            np.testing.assert_allclose(result["stress"], atoms.get_stress(), rtol=0, atol=close)
    assert [{*one} for one in calc.batch_calculate(structures)] == 3 * [{"energy"}]
    assert calc.batch_calculate([]) == []


def test_a_batch_refuses_what_is_of_one_structure() -> None:
    calc = TorchDFTD3Calculator(damping="bj")
    calc.set(exclude_atoms=[0])
    with pytest.raises(ValueError, match=r"^expected no exclude_atoms for a batch, got \[0\]"):
        calc.batch_calculate([_molecule()])
    calc.set(exclude_atoms=None, cutoff="auto", tolerance=1e-2)
    with pytest.raises(ValueError, match=r"^expected a cutoff in A for a batch, got 'auto'"):
        calc.batch_calculate([_molecule()])


# ---- with another calculator ----


def test_a_batch_is_several_structures() -> None:
    calculator = TorchDFTD3Calculator(damping="bj")
    water = _molecule()
    assert calculator.batch_calculate([]) == []
    assert calculator.batch_calculate(iter([water])) == calculator.batch_calculate((water,))
    for wrong, got in ((water, "Atoms"), (None, "NoneType"), ([water, "H2O"], "one of str")):
        with pytest.raises(TypeError, match=f"^expected a list of structures, got {got}$"):
            calculator.batch_calculate(wrong)


def test_with_dft_every_result_is_the_sum_or_that_of_dft() -> None:
    atoms, emt = _crystal(), EMT()
    calc = TorchDFTD3Calculator(dft=emt, atoms=atoms, damping="bj", **SHORT)
    assert atoms.calc is calc
    d3 = TorchDFTD3Calculator(damping="bj", **SHORT)
    for name in ("energy", "free_energy", "energies", "forces", "stress"):
        parts = [one.get_property(name, atoms) for one in (EMT(), d3)]
        np.testing.assert_allclose(calc.get_property(name, atoms), sum(parts), atol=1e-14)
        np.testing.assert_allclose(calc.results[name], sum(parts), atol=1e-14)
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()
    atoms.positions[0] += 0.01
    moved = atoms.get_potential_energy()
    assert moved == pytest.approx(sum(c.get_property("energy", atoms) for c in (EMT(), d3)))


class Magnetic(EMT):
    """EMT with a moment that follows the initial ones, a stress of an atom, and an uncertainty."""

    implemented_properties = (*EMT.implemented_properties, "magmoms", "stresses", "uncertainty")

    def calculate(self, atoms: Any = None, *args: Any) -> None:
        super().calculate(atoms, *args)
        more = {"magmoms": atoms.get_initial_magnetic_moments(), "uncertainty": 0.5}
        self.results.update(more, stresses=np.zeros((len(atoms), 6)))


def test_with_dft_other_results_stay_and_incomplete_ones_are_refused() -> None:
    atoms = _crystal()
    calc = TorchDFTD3Calculator(dft=Magnetic(), damping="bj", **SHORT)
    with pytest.raises(PropertyNotImplementedError):
        calc.get_property("dipole")
    for moment in (1.0, 2.0):
        atoms.set_initial_magnetic_moments(4 * [moment])
        assert calc.get_property("magmoms", atoms).tolist() == 4 * [moment]
    assert calc.get_property("uncertainty", atoms) == 0.5
    assert len(calc.get_property("coordination_numbers", atoms)) == 4
    with pytest.raises(PropertyNotImplementedError):
        calc.get_property("stresses", atoms)
    atoms.positions[0] += 0.01
    assert calc.get_property("energy", atoms, allow_calculation=False) is None


class Committee(EMT):
    """EMT with energies of its members."""

    members = 3

    def calculate(self, atoms: Any = None, *args: Any) -> None:
        super().calculate(atoms, *args)
        self.results["energies"] = np.full(self.members, self.results["energy"])


def test_of_nothing_that_dft_keeps_there_is_no_sum() -> None:
    class Run(EMT):
        def calculate(self, atoms: Any = None, *args: Any) -> None:
            super().calculate(atoms, *args)
            self.results["stress"] = None

    calc = TorchDFTD3Calculator(dft=Run(), damping="bj", **SHORT)
    assert calc.get_property("energy", _crystal()) < 0.0
    with pytest.raises(PropertyNotImplementedError):
        calc.get_property("stress", _crystal())


@pytest.mark.parametrize("members", [1, 3, 4])
def test_energies_of_a_committee_are_not_those_of_atoms(members: int) -> None:
    class Of(Committee):
        pass

    Of.members = members
    atoms = _crystal()
    atoms.calc = TorchDFTD3Calculator(dft=Of(), damping="bj", **SHORT)
    parts = [EMT(), TorchDFTD3Calculator(damping="bj", **SHORT)]
    total = sum(one.get_property("energy", atoms) for one in parts)
    assert atoms.get_potential_energy() == pytest.approx(total)
    alone = EMT().get_property("energy", atoms)
    np.testing.assert_array_equal(atoms.calc.results["energies"], np.full(members, alone))


class Old:
    """A calculator of the oldest kind."""

    def get_potential_energy(self, atoms: Any) -> float:
        return 1.0

    def get_forces(self, atoms: Any) -> Any:
        return np.zeros((len(atoms), 3))


def test_dft_may_be_old_or_results_of_a_file() -> None:
    atoms = _crystal()
    d3 = TorchDFTD3Calculator(damping="bj", **SHORT).get_property("energy", atoms)
    held = SinglePointCalculator(atoms, energy=1.0, forces=np.zeros((4, 3)), magmom=2.0)
    for dft in (Old(), held):
        atoms.calc = TorchDFTD3Calculator(dft=dft, damping="bj", **SHORT)
        assert atoms.get_potential_energy() == pytest.approx(1.0 + d3)
        assert atoms.get_forces().any()
    assert atoms.get_magnetic_moment() == 2.0


def test_in_a_sum_of_ase_nothing_is_lost() -> None:
    atoms = _crystal()
    atoms.calc = SumCalculator([EMT(), TorchDFTD3Calculator(damping="bj", **SHORT)])
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()
    assert len(atoms.get_potential_energies()) == 4


# ---- refusals ----


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"old": True}, ValueError, "expected old=False, got True: DFT-D2 is not included"),
        ({"old": "no"}, TypeError, "expected old to be True or False, got 'no'"),
        ({"damping": "dftd2"}, ValueError, "'dftd2': DFT-D2 is not included"),
        ({"damping": "d4"}, ValueError, "expected damping to be one of bj, bjm, zero, zerom"),
        ({"abc": "False"}, TypeError, "expected abc to be True or False"),
        ({"cutoff_smoothing": "cosine"}, ValueError, "cutoff_smoothing to be one of none, poly"),
        ({"dtype": torch.float16}, ValueError, "expected dtype to be one of float64, float32"),
        ({"cutoff": "10"}, TypeError, "expected cutoff to be a number, got '10'"),
        ({"cnthr": None}, TypeError, "expected cnthr to be a number, got None"),
        ({"xc": "unheard of"}, ValueError, "expected a known functional"),
    ],
    ids=str,
)
def test_what_is_not_there_is_refused(
    given: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        TorchDFTD3Calculator(**given)
    assert "\n" not in str(caught.value)


def test_keywords_that_change_nothing_are_warned_of() -> None:
    with pytest.warns(DispersionWarning, match="got dispersion_xc, which changes nothing here"):
        TorchDFTD3Calculator(dispersion_xc="blyp", directory="here")


# ---- in the place of torch_dftd ----


@pytest.fixture
def installed() -> Iterator[None]:
    if "torch_dftd" in sys.modules:
        install(force=True)
    else:
        install()
    yield
    uninstall()


@pytest.mark.usefixtures("installed")
def test_import_finds_ours_once_installed() -> None:
    install()
    module = importlib.import_module("torch_dftd.torch_dftd3_calculator")
    assert module.TorchDFTD3Calculator is TorchDFTD3Calculator
    assert importlib.util.find_spec("torch_dftd") is not None
    assert "d3torch" in importlib.import_module("torch_dftd").__version__
    with pytest.raises(ModuleNotFoundError, match=r"got torch_dftd.nn$"):
        importlib.import_module("torch_dftd.nn.dftd3_module")
    uninstall()
    assert "torch_dftd.torch_dftd3_calculator" not in sys.modules or (
        sys.modules["torch_dftd.torch_dftd3_calculator"] is not module
    )


def test_what_is_imported_already_is_not_replaced_unless_forced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = type(sys)("torch_dftd")
    real.__file__ = "/there/torch_dftd/__init__.py"
    for name in [m for m in sys.modules if m.startswith("torch_dftd.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch_dftd", real)
    with pytest.raises(RuntimeError, match=r"expected install\(\) before .* imported from /there"):
        install()
    install(force=True)
    assert importlib.import_module("torch_dftd") is not real
    uninstall()
    assert sys.modules["torch_dftd"] is real


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: None) -> Path:
    """A folder from which this process imports."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


PROGRAM = """
import sys
from torch_dftd.torch_dftd3_calculator import TorchDFTD3Calculator
print(TorchDFTD3Calculator.__module__, sys.argv[1:])
"""


def _run(*arguments: str, **given: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "d3torch.integrations.torch_dftd", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **given)


def test_a_program_runs_with_ours_in_place(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    run = _run(str(tmp_path / "program.py"), "-x", "1")
    expected = "d3torch.integrations.torch_dftd.calculator ['-x', '1']\n"
    assert (run.stdout, run.returncode) == (expected, 0), run.stderr


def test_a_module_runs_with_ours_in_place(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    run = _run("-m", "program", "2", env=importing_from(tmp_path))
    assert run.stdout == "d3torch.integrations.torch_dftd.calculator ['2']\n", run.stderr


@pytest.mark.parametrize(
    "arguments",
    [["no-such-program"], ["no/such.py"], ["-m", "nosuch"], ["-m", "nosuch.part"], ["-m", "empty"]],
    ids=" ".join,
)
def test_what_is_no_program_is_refused(
    arguments: list[str], packages: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (packages / "empty").mkdir()
    (packages / "empty" / "__init__.py").touch()
    code = run_program(arguments)
    words = "expected a Python program, by file, command or -m MODULE, got "
    assert (code, *capsys.readouterr()) == (2, "", f"{words}{' '.join(arguments)}\n")


def test_what_a_module_itself_lacks_is_told_by_python(packages: Path) -> None:
    (packages / "lacking").mkdir()
    (packages / "lacking" / "__init__.py").write_text("import nosuch")
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'nosuch'$"):
        run_program(["-m", "lacking.part"])


# ---- real programs ----


@pytest.mark.usefixtures("installed")
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_mace_mp_takes_it(tmp_path: Path) -> None:
    """``mace_mp(dispersion=True)`` unchanged; the numbers are those of our fused one."""
    models = pytest.importorskip("mace_models", reason="needs mace-torch: pip install mace-torch")
    from mace.calculators import mace_mp

    from d3torch.integrations.mace import mace_mp_d3

    torch.save(models.build(), tmp_path / "random.model")
    given = {"device": "cpu", "default_dtype": "float64"}
    for atoms in (models.crystal(), models.molecule()):
        calc = mace_mp(str(tmp_path / "random.model"), dispersion=True, **given)
        assert isinstance(calc.mixer.calcs[1], TorchDFTD3Calculator)
        fused = mace_mp_d3(str(tmp_path / "random.model"), **given)
        for name in ("energy", "forces"):
            expected = fused.get_property(name, atoms)
            np.testing.assert_allclose(calc.get_property(name, atoms), expected, atol=1e-8)


@pytest.mark.usefixtures("installed")
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_janus_core_takes_it(tmp_path: Path) -> None:
    janus = pytest.importorskip(
        "janus_core.helpers.mlip_calculators", reason="needs janus-core: pip install janus-core"
    )
    import mace_models as models

    torch.save(models.build(), tmp_path / "random.model")
    model = str(tmp_path / "random.model")
    calc = janus.choose_calculator("mace_mp", model=model, dispersion=True)
    d3 = calc.mixer.calcs[1]
    assert isinstance(d3, TorchDFTD3Calculator)
    assert (d3.damping, d3.cutoff) == ("bj", 40.0 * Bohr)
    janus.check_calculator(calc, "get_hessian")
    assert calc.get_hessian == calc.mixer.calcs[0].get_hessian

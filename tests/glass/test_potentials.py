"""Potentials of the study with and without dispersion, which is never counted twice."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("mace", reason="needs mace-torch: pip install mace-torch")

from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.mixing import SumCalculator
from dftd3.ase import DFTD3
from glass_crystals import argon
from mace_models import build

from d3torch import D3Calculator
from d3torch.cli import main
from d3torch.integrations.lammps.mace import MACED3MLIAP
from d3torch.integrations.mace import MACED3, torchscript
from d3torch.recognise import dispersion_in
from d3torch.settings import Settings
from d3torch.units import BOHR
from d3torch_glass import potentials
from d3torch_glass.potential import PMMCS
from d3torch_glass.potentials import base_calculator, calculator, settings_for
from d3torch_glass.prediction import pressure_of


class Holder:
    """An object that is no calculator."""

    def __init__(self, held: object) -> None:
        self.held = held


class Mixture(EMT):
    """A calculator that keeps others by name, as users write them."""

    def __init__(self, **parts: object) -> None:
        super().__init__()
        self.parts = parts


@pytest.mark.parametrize(
    ("potential", "inside"),
    [
        (Mixture(short=EMT()), None),
        (Mixture(short=EMT(), far=D3Calculator()), "D3Calculator"),
        (Mixture(far=Holder([Holder(D3Calculator())])), "D3Calculator"),
        (Mixture(far=D3Calculator().get_forces), "D3Calculator"),
        (Mixture(far=Holder(LennardJones()), kind=D3Calculator), None),
        (EMT(), None),
        (SumCalculator([EMT(), LennardJones()]), None),
        (PMMCS(), None),
        (D3Calculator(), "D3Calculator"),
        (SumCalculator([EMT(), D3Calculator()]), "D3Calculator"),
        (SumCalculator([EMT(), SumCalculator([LennardJones(), D3Calculator()])]), "D3Calculator"),
        (SumCalculator([EMT(), DFTD3(method="pbe", damping="d3bj")]), "DFTD3"),
    ],
)
def test_dispersion_is_found_in_any_sum(potential: object, inside: str | None) -> None:
    assert dispersion_in(potential) == inside


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("def made():\n    raise KeyError('weights')", "KeyError: 'weights'"),
        ("made = 3", "TypeError: 'int' object is not callable"),
        ("def made():\n    return 3", "expected a calculator of ASE from {}:made, got 3"),
        ("def made():\n    assert False, 'no GPU'", "AssertionError: no GPU"),
    ],
)
def test_a_function_that_gives_no_calculator_is_one_sentence(
    code: str,
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The module is named, and the cause is kept for whoever debugs it."""
    monkeypatch.syspath_prepend(tmp_path)
    name = f"potential_{abs(hash(code))}"
    (tmp_path / f"{name}.py").write_text(code)
    study = ["glass", "run", str(tmp_path / "study"), "--composition", "NS33"]
    assert main([*study, "--model", f"{name}:made"]) == 2
    said = capsys.readouterr().err
    assert sentence.format(name) in said
    assert f"{name}:made" in said
    assert said.count("\n") == 1
    if "Error" in sentence:
        with pytest.raises(ValueError, match=name) as refused:
            base_calculator(f"{name}:made")
        assert type(refused.value.__cause__).__name__ in sentence


def test_a_modal_that_a_model_does_not_have_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """SevenNet warns of it, and computes something else."""
    kind = lambda name, device, modal: Holder(None)  # noqa: E731
    package = Holder(None)
    package.SevenNetCalculator = kind  # type: ignore[attr-defined]
    monkeypatch.setattr(Holder, "modal", None, raising=False)
    monkeypatch.setattr(potentials, "_require", lambda family: None)
    monkeypatch.setitem(sys.modules, "sevenn.calculator", package)  # type: ignore[arg-type]
    assert isinstance(base_calculator("sevenn:7net-0"), Holder)
    with pytest.raises(ValueError, match="got '7net-0@nosuch': it has no modals"):
        base_calculator("sevenn:7net-0@nosuch")


def test_the_three_body_term_is_cut_where_it_is_cheap_and_close() -> None:
    """d3torch-abc: within 10 % of the pull of the term to 40 bohr, for a crystal of argon."""
    found = settings_for("d3torch-abc", Settings(preset="converged"))
    assert (found.s9, found.atm_cutoff, found.atm_width) == (1.0, 12.0, 2.0)
    pulls = {}
    for name, settings in {
        "none": found.replace(s9=0.0),
        "near": found,
        "far": found.replace(atm_cutoff=40.0 * BOHR, atm_width=0.0),
    }.items():
        pulls[name] = pressure_of(argon(1), D3Calculator(settings=settings))
    near, far = (pulls[name] - pulls["none"] for name in ("near", "far"))
    assert far > 0
    assert near == pytest.approx(far, rel=0.1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("scripted", [False, True])
def test_a_fused_model_gets_no_second_dispersion(
    tmp_path: Path, scripted: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same file without D3 gets one; the command says what is inside."""
    bare, fused = tmp_path / "bare.model", tmp_path / "fused.model"
    torch.save(build(), bare)
    model = MACED3(build())
    if scripted:
        torch.jit.save(torchscript(model), fused)
    else:
        torch.save(model, fused)
    assert dispersion_in(base_calculator(str(bare))) is None
    assert dispersion_in(calculator(str(bare), "d3torch", "pbe", 9.0)) == "D3Calculator"
    assert dispersion_in(calculator(str(fused), "none", "pbe", 9.0)) is not None
    with pytest.raises(ValueError, match=r"expected --d3 none .* it would count twice"):
        calculator(str(fused), "d3torch", "pbe", 9.0)
    study = ["glass", "run", str(tmp_path), "--atoms", "96", "--composition", "NS33"]
    study += ["--composition", "all"]
    assert main([*study, "--model", str(fused), "--d3", "d3torch"]) == 2
    assert capsys.readouterr().err.count("count twice") == 1


@pytest.mark.filterwarnings("ignore")
def test_a_fused_file_for_ml_iap_gets_no_second_dispersion(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "fused.pt"
    MACED3MLIAP(MACED3(build()), None).save(file)
    study = ["glass", "lammps", str(tmp_path / "study"), "--atoms", "96", "--composition", "NS33"]
    assert main([*study, "--model", str(file), "--d3", "d3torch"]) == 2
    assert "count twice" in capsys.readouterr().err
    assert main([*study, "--model", str(file), "--initial-rate", "8000"]) == 0

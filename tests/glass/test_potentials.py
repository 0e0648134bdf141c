"""Potentials of the study with and without dispersion, which is never counted twice."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("mace", reason="needs mace-torch: pip install mace-torch")

from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.mixing import SumCalculator
from dftd3.ase import DFTD3
from mace_models import build

from d3torch import D3Calculator
from d3torch.cli import main
from d3torch.integrations.lammps.mace import MACED3MLIAP
from d3torch.integrations.mace import MACED3, torchscript
from d3torch.recognise import dispersion_in
from d3torch_glass.potential import PMMCS
from d3torch_glass.potentials import base_calculator, calculator


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

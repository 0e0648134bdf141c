"""A MACE file with D3 in it goes the whole way of the glass study."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

pytest.importorskip("mace", reason="needs mace-torch: pip install mace-torch")

import ase.io
from mace_models import RANGE, build

from d3torch import D3Calculator, Settings
from d3torch.cli import main
from d3torch.cli.records import read_record
from d3torch_glass.potentials import base_calculator
from d3torch_glass.protocol import chains
from d3torch_glass.runner import load

FAST = ["--preset", "toy", "--high", "350", "--rate", "5000", "--melt-ps", "0", "--dt-fs", "0.5"]
FAST += ["--final-ps", "0.02", "--frame-ps", "0.001", "--pressures", "none", "--strains", "none"]
FAST += ["--vdos-ps", "0.01", "--vdos-dt-fs", "0.5"]
FAST += ["--vdos-sample-fs", "1", "--sample-fs", "1", "--initial-rate", "8000"]


@pytest.mark.filterwarnings("ignore")
def test_a_fused_model_goes_the_whole_way(tmp_path: Path) -> None:
    """What it samples is MACE plus D3."""
    bare, fused = tmp_path / "bare.model", tmp_path / "fused.model"
    torch.save(build(), bare)
    reach = [f"--{name.replace('_', '-')}={value}" for name, value in RANGE.items()]
    assert main(["fuse", str(bare), "--xc", "pbe", "-o", str(fused), *reach]) == 0
    study = tmp_path / "study"
    given = ["--model", str(fused), "--atoms", "96", "--composition", "NS33", *FAST]
    assert main(["glass", "run", str(study), *given]) == 0
    assert main(["glass", "analyse", str(study)]) == 0
    assert main(["glass", "report", str(study)]) == 0
    assert (study / "report.html").read_text().count("NS33_fused_none_s1") > 1
    told = Settings.from_dict(read_record(str(study / "report.html")))
    assert told == Settings(xc="pbe", **RANGE)
    folder = study / "NS33_fused_none_s1"
    assert json.loads((folder / "results.json").read_text())["missing"] == []
    _check_energy(folder, bare)


def _check_energy(folder: Path, bare: Path) -> None:
    from d3torch_glass.jobs import read_job

    run = load(chains(read_job(folder).protocol)["quench"], folder / "quench")
    atoms = ase.io.read(folder / "initial.extxyz")
    atoms.set_cell(run.frames["cells"][-1])
    atoms.positions[:] = run.frames["positions"][-1]
    energies = [base_calculator(str(bare)), D3Calculator("pbe", **RANGE)]
    total = sum(calculator.get_potential_energy(atoms) for calculator in energies)
    assert run.column("energy")[-1] == pytest.approx(total, abs=1e-5)

"""The stored numbers of simple-dftd3, which machines without it are held against."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkout import checkout
from modules import module_at
from oracle import dispersion

from d3torch.units import BOHR

ROOT = checkout()


script = module_at(ROOT / "scripts" / "checks" / "stored_oracle.py")
CASES = {case.name: case for case in script.stored()}


def test_the_file_holds_every_structure() -> None:
    assert [*CASES] == [case.name for case, _ in script.structures()]
    assert sum(case.pbc.any() for case in CASES.values()) == 7


@pytest.mark.parametrize("name", CASES)
def test_stored_numbers_are_those_of_the_oracle(name: str) -> None:
    case = CASES[name]
    cutoffs = {"cutoff": case.cutoff * BOHR, "cn_cutoff": case.cn_cutoff * BOHR}
    live = dispersion(*case[1:6], **cutoffs)
    assert case.energy == pytest.approx(live.energy, rel=1e-12)
    near = {"rtol": 0.0, "atol": 1e-12 * case.forces_largest}
    np.testing.assert_allclose(case.forces, live.forces[: len(case.forces)], **near)
    assert case.forces_norm == pytest.approx(np.linalg.norm(live.forces), rel=1e-12)
    assert case.forces_largest == pytest.approx(np.abs(live.forces).max(), rel=1e-12)
    virial = {"rtol": 0.0, "atol": 1e-12 * np.abs(case.virial).max()}
    np.testing.assert_allclose(case.virial, live.virial, **virial)


def test_the_cpu_agrees_with_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main(["--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if "| float" in line]) == 2 * len(CASES)


@pytest.mark.parametrize("name", ["energy", "forces", "forces_norm", "virial"])
def test_a_wrong_number_is_found(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content: dict[str, Any] = json.loads(script.FILE.read_text())
    case = next(c for c in content["cases"] if c["name"].startswith("triclinic"))
    value = np.array(case[name])
    value.flat[-1] *= 1 + 1e-8
    content["cases"] = [{**case, name: value.tolist()}]
    changed = tmp_path / "oracle.json"
    changed.write_text(json.dumps(content))
    assert script.main(["--device", "cpu", "--file", str(changed)]) == 1
    assert "TOO FAR" in capsys.readouterr().out

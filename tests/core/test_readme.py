"""The code blocks of the README run as they stand."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import ase.io
import pytest
from ase.build import molecule

from d3torch.cli import main

README = (Path(__file__).parents[2] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_python_blocks_run_one_after_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    printed = capsys.readouterr().out
    shown = re.search(r"# (-[0-9.]+ eV)", README)
    assert shown is not None
    assert shown.group(1) in printed
    assert names["energy"].item() == pytest.approx(names["energies"].sum().item(), rel=1e-6)  # type: ignore[attr-defined]


def test_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ase.io.write("structure.xyz", molecule("CH3CH2OH"))
    ase.io.write("md.extxyz", [molecule("CH3CH2OH"), molecule("H2O")])
    text = "\n".join(blocks("bash"))
    lines = re.findall(r"^d3torch (?:energy|functionals) .*$", text, flags=re.MULTILINE)
    assert len(lines) == 3
    for line in lines:
        assert main(shlex.split(line)[1:]) == 0, line
    assert "d3_energy" in ase.io.read("with_d3.extxyz").info

"""What scripts/setup.sh installs for which extras; a Python that notes its arguments takes part."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from checkout import checkout

SCRIPT = checkout() / "scripts" / "setup.sh"
PLUGIN, STUDY = "-e plugins/lammps", "-e studies/glass"


@pytest.mark.parametrize(
    ("words", "installed"),
    [
        ([], "-e ."),
        (["cli,oracle"], "-e .[cli,oracle]"),
        (["lammps"], f"-e .[lammps] {PLUGIN}"),
        (["glass"], f"-e . {PLUGIN} {STUDY}"),
        (["cli,glass,ase"], f"-e .[cli,ase] {PLUGIN} {STUDY}"),
        (["test,lint"], f"-e .[test,lint] {PLUGIN} {STUDY}"),
    ],
)
def test_extras_bring_their_houses(words: list[str], installed: str, tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    shutil.copy(SCRIPT, tmp_path / "scripts")
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/asked\n')
    python.chmod(0o755)
    command = ["bash", str(tmp_path / "scripts" / "setup.sh"), *words]
    out = subprocess.run(command, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[-1].split("install ")[1] == f"--no-build-isolation {installed}"
    needs_lammps = PLUGIN in installed
    assert any("lammps>=" in line for line in asked[:-1]) == needs_lammps

"""Shells complete commands, options, values and files, by what ``d3torch completion`` prints."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from d3torch.cli import main

pytest.importorskip("shtab")

ASK = """
source ./script
cd files
COMP_WORDS=({words})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_shtab_d3torch
echo "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the script of bash, and a file to complete."""
    folder: Path = tmp_path_factory.mktemp("shell")
    with pytest.MonkeyPatch.context() as patch, (folder / "script").open("w") as script:
        patch.setattr("sys.stdout", script)
        assert main(["completion", "bash"]) == 0
    (folder / "files").mkdir()
    (folder / "files" / "glass.extxyz").touch()
    return folder


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("d3torch en", "energy"),
        ("d3torch energy --var", "--variant"),
        ("d3torch energy --variant z", "zero zerom"),
        ("d3torch energy gl", "glass.extxyz"),
        ("d3torch labels su", "subtract"),
        ("d3torch doctor --l", "--list"),
    ],
)
def test_bash_completes(shell: Path, typed: str, found: str) -> None:
    done = subprocess.run(
        ["bash", "-c", ASK.format(words=typed)], cwd=shell, capture_output=True, text=True
    )
    assert done.stdout.split() == found.split(), done.stderr


@pytest.mark.parametrize("name", ["zsh", "tcsh"])
def test_other_shells_have_a_script(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", name]) == 0
    assert "energy" in capsys.readouterr().out

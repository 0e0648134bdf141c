"""``d3torch --version`` and ``d3torch info``; every command where the library does not fit."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from importing import importing_from

import d3torch
from d3torch import _library
from d3torch.__main__ import main

PACKAGE = Path(d3torch.__file__).parent
SCRIPT = "import sys\nfrom d3torch.__main__ import main\nsys.exit(main())\n"
"""What pip writes for the command."""

HIDES_TORCH = "import sys\nsys.modules['torch'] = None\n"


def _run(path: Path, *words: str) -> tuple[int, str, list[str]]:
    """Exit code, stdout and lines of stderr of a Python that finds d3torch in a folder."""
    command = [sys.executable, *words]
    out = subprocess.run(
        command, env=importing_from(path), cwd=path, capture_output=True, text=True
    )
    return out.returncode, out.stdout, out.stderr.splitlines()


@pytest.fixture
def script(tmp_path: Path) -> str:
    """The installed command."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "d3torch").write_text(SCRIPT)
    return str(tmp_path / "bin" / "d3torch")


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Folder of a package without libraries."""
    shutil.copytree(PACKAGE, tmp_path / "d3torch", ignore=shutil.ignore_patterns("lib"))
    return tmp_path


def test_the_version_does_not_wait_for_torch(script: str) -> None:
    for words in (["-m", "d3torch"], [script]):
        code, out, err = _run(PACKAGE.parent, "-X", "importtime", *words, "--version")
        assert (code, out) == (0, f"d3torch {d3torch.__version__}\n")
        loaded = {line.split("|")[-1].strip() for line in err}
        assert "d3torch" in loaded
        assert not {"torch", "numpy"} & loaded


@pytest.mark.parametrize(
    ("argv", "orig_argv", "is_it"),
    [
        (["-m", "energy"], ["python", "-W", "error", "-m", "d3torch", "energy"], True),
        (["-m"], ["python", "-md3torch"], True),
        (["/bin/d3torch", "info"], ["python", "/bin/d3torch", "info"], True),
        (["-m", "d3torch"], ["python", "-m", "pytest", "d3torch"], False),
        (["script.py", "d3torch"], ["python", "script.py", "d3torch"], False),
        (["-c", "d3torch"], ["python", "-c", "import d3torch", "d3torch"], False),
        ([""], ["python"], False),
        # a child of the command by multiprocessing, which is told the arguments of its parent
        (["/bin/d3torch", "a", "b"], ["python", "-c", "from multiprocessing.spawn"], False),
        (["/bin/d3torch"], ["python", "-c", "from multiprocessing.spawn", "--fork"], False),
    ],
)
def test_the_library_waits_in_the_command_alone(
    argv: list[str], orig_argv: list[str], is_it: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "orig_argv", orig_argv)
    assert d3torch._is_the_command() == is_it


def test_importing_registers_the_ops_and_brings_the_names() -> None:
    words = "import d3torch, torch; torch.ops.d3torch.dispersion; print(*sorted(vars(d3torch)))"
    code, out, _ = _run(PACKAGE.parent, "-c", words)
    assert code == 0
    of_extras = {"D3Calculator", "neighbor_pairs", "with_dispersion"}
    assert {*d3torch.__all__} - {*out.split()} == of_extras


@pytest.mark.parametrize("module", ["__main__", "cli"])
def test_the_command_has_the_library(script: str, module: str, tmp_path: Path) -> None:
    """Also where an older d3torch has written it, which called ``d3torch.cli``."""
    Path(script).write_text(SCRIPT.replace("__main__", module))
    (tmp_path / "h2.xyz").write_text("2\n\nH 0 0 0\nH 0 0 0.74\n")
    words = ["energy", str(tmp_path / "h2.xyz"), "--json"]
    code, out, err = _run(PACKAGE.parent, script, *words)
    assert (code, err) == (0, [])
    assert json.loads(out)["frames"][0]["energy"] < 0


@pytest.mark.parametrize("words", [["functionals"], [], ["energy", "--help"]])
def test_every_command_has_a_line_on_a_library_that_is_not_built(
    broken: Path, words: list[str]
) -> None:
    code, out, err = _run(broken, "-m", "d3torch", *words)
    assert (code, out, len(err)) == (1, "", 1)
    assert err[0].startswith("d3torch: the C++ library of d3torch is not built, expected it in ")


def test_a_damaged_library_is_a_line_too(broken: Path, script: str) -> None:
    library = broken / "d3torch" / "lib" / d3torch.library_path().parent.name / "libd3torch.so"
    library.parent.mkdir(parents=True)
    library.write_text("no library")
    code, out, err = _run(broken, script, "functionals")
    assert (code, out, len(err)) == (1, "", 1)
    assert "libd3torch.so" in err[0]
    shutil.copy(d3torch.library_path(), library)
    code, out, err = _run(broken, script, "functionals")
    assert (code, out, len(err)) == (1, "", 1)
    assert "libd3torch_kernels.so: cannot open shared object file" in err[0]


def test_info_works_without_a_library_for_this_torch(broken: Path) -> None:
    (broken / "d3torch" / "lib" / "torch-2.1").mkdir(parents=True)
    (broken / "d3torch" / "lib" / "torch-2.1" / "libd3torch.so").touch()
    code, out, err = _run(broken, "-m", "d3torch", "info")
    assert (code, err) == (1, [])
    assert "\nlibrary     none: d3torch was built for torch 2.1, but torch 2." in out
    assert "\nbuilt for   torch-2.1\n" in out
    assert "\npair_style  " in out


def test_info_works_without_torch(broken: Path) -> None:
    (broken / "sitecustomize.py").write_text(HIDES_TORCH)
    code, out, err = _run(broken, "-m", "d3torch", "info")
    assert (code, err) == (1, [])
    assert "none: expected torch to be installed: run `pip install torch`" in out
    code, out, err = _run(broken, "-m", "d3torch", "energy", "x.xyz")
    assert (code, out) == (1, "")
    assert err == ["d3torch: expected torch to be installed: run `pip install torch`"]


def test_info_tells_the_torch_that_is_imported(broken: Path) -> None:
    (broken / "torch.py").write_text("__version__ = '2.99.0+x'\ncompiled_with_cxx11_abi = bool\n")
    code, out, _ = _run(broken, "-m", "d3torch", "info")
    assert code == 1
    assert "\ntorch       2.99.0+x\n" in out


def test_a_folder_called_torch_is_no_torch(broken: Path) -> None:
    """As the removal of one may leave it behind."""
    (broken / "torch").mkdir()
    code, out, err = _run(broken, "-S", "-m", "d3torch", "energy", "x.xyz")
    assert (code, out) == (1, "")
    assert err == ["d3torch: expected torch to be installed: run `pip install torch`"]


def test_a_program_with_python_in_it_need_not_set_the_words() -> None:
    words = "import sys; del sys.argv; import d3torch, torch; print(torch.ops.d3torch.dispersion)"
    assert _run(PACKAGE.parent, "-c", words) == (0, "d3torch.dispersion\n", [])


def test_info_tells_what_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    lines = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    assert lines["torch"] == torch.__version__
    assert lines["library"] == str(d3torch.library_path())
    assert f"{torch.get_num_threads()} threads" in lines["processor"]


def test_info_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["builds"] == _library.builds()
    assert found["cuda"]["kernels"] == _library.has_cuda()
    flags = Path("/proc/cpuinfo").read_text()
    best = "avx512" if "avx512f" in flags else "avx2" if "avx2" in flags else "baseline"
    assert found["processor"]["instruction_set"] == best
    if found["pair_style"]["file"]:
        assert 20200000 < int(found["pair_style"]["built_for"]) < 21000000
    for brought in found["extras"].values():
        assert all(version is None or version[0].isdigit() for version in brought.values())

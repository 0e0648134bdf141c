"""The compiled libraries and the torch that they are for."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from checkout import checkout
from modules import module_at

import d3torch
from d3torch import _library

HERE = ".".join(torch.__version__.split(".")[:2])


def _built(folder: Path, *names: str) -> None:
    """An installation with libraries for some torches, empty ones."""
    for name in names:
        (folder / "lib" / name).mkdir(parents=True)
        (folder / "lib" / name / "libd3torch.so").touch()


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A package elsewhere, without libraries yet, and a torch of the usual ABI."""
    monkeypatch.setattr(torch, "compiled_with_cxx11_abi", lambda: True)
    monkeypatch.setattr(_library, "__file__", str(tmp_path / "_library.py"))
    return tmp_path


def test_the_library_is_that_of_the_torch_that_runs() -> None:
    path = d3torch.library_path()
    assert path.is_file()
    assert path.parent.name.removesuffix("-old-abi") == f"torch-{HERE}"
    assert path.parent.name in _library.builds()


@pytest.mark.parametrize("running", ["2.13.0", "2.13.0+cu130", "2.13.2", "2.13.0a0+git1234"])
def test_every_torch_of_a_minor_version_takes_its_library(running: str, installed: Path) -> None:
    _built(installed, "torch-2.12", "torch-2.13", "torch-2.14")
    assert _library.library_path(running).parent.name == "torch-2.13"


def test_builds_are_listed_from_the_oldest_torch(installed: Path) -> None:
    _built(installed, "torch-2.13", "torch-3.0", "torch-2.9", "torch-2.6-old-abi", "torch-mine")
    builds = ["torch-mine", "torch-2.6-old-abi", "torch-2.9", "torch-2.13", "torch-3.0"]
    assert _library.builds() == builds


def test_the_older_abi_of_cpp_has_a_library_of_its_own(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _built(installed, "torch-2.6-old-abi", "torch-2.6")
    assert _library.library_path("2.6.0").parent.name == "torch-2.6"
    monkeypatch.setattr(torch, "compiled_with_cxx11_abi", lambda: False)
    assert _library.library_path("2.6.0").parent.name == "torch-2.6-old-abi"


@pytest.mark.parametrize("running", ["2.12.1", "2.16.0+cu130", "3.13.0", "2.1.3"])
def test_another_torch_is_refused_in_one_sentence(running: str, installed: Path) -> None:
    _built(installed, "torch-2.13", "torch-2.9")
    with pytest.raises(ImportError) as caught:
        _library.library_path(running)
    text = str(caught.value)
    assert text.startswith(
        f"d3torch was built for torch 2.9, 2.13, but torch {running} is imported"
    )
    assert "--no-build-isolation --no-cache-dir --force-reinstall" in text
    assert "\n" not in text


def test_a_torch_of_the_other_abi_is_refused_in_one_sentence(installed: Path) -> None:
    _built(installed, "torch-2.6-old-abi", "torch-2.7")
    expected = "was built for torch 2.6 with the older C++ ABI, 2.7, but torch 2.6.0 with the newer"
    with pytest.raises(ImportError, match=re.escape(expected)):
        _library.library_path("2.6.0")


def test_a_missing_library_is_refused_in_one_sentence(installed: Path) -> None:
    with pytest.raises(ImportError) as caught:
        _library.load()
    text = str(caught.value)
    assert text.startswith("the C++ library of d3torch is not built, expected it in ")
    assert "pip install --no-build-isolation" in text
    assert "\n" not in text


def test_a_second_import_from_anew_finds_the_ops() -> None:
    """As after edits in a notebook."""
    program = """
import gc, sys, d3torch
for name in [name for name in sys.modules if name.split(".")[0] == "d3torch"]:
    del sys.modules[name]
import d3torch, torch
gc.collect()
d3torch.D3BJ(["H"], "pbe")
heard = ("d3torch::check_signals", "CompositeExplicitAutograd")
print(torch._C._dispatch_has_kernel_for_dispatch_key(*heard))
"""
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert out.stdout == "True\n", out.stderr


def test_the_library_finds_its_kernels_without_python() -> None:
    """By relative paths, and it links torch_cpu and c10 of torch, nothing of Python or CUDA."""
    said = subprocess.run(
        ["readelf", "-d", d3torch.library_path()], capture_output=True, text=True, check=True
    ).stdout
    needed = {line.split("[")[1].rstrip("]") for line in said.splitlines() if "(NEEDED)" in line}
    ours = {name for name in needed if name.startswith("libd3torch")}
    assert "libd3torch_kernels.so" in ours
    assert {name for name in needed if "torch" in name or "c10" in name} - ours == {
        "libtorch_cpu.so",
        "libc10.so",
    }
    assert not any("python" in name or "cudart" in name for name in needed)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("==2.13.*", {"2.13"}),
        ("<2.16,>=2.13", {"2.13", "2.14", "2.15"}),
        ("!=2.14.*,<2.16,>=2.13", {"2.13", "2.15"}),
        (">=2.6", set()),
    ],
)
def test_the_check_of_a_wheel_reads_what_it_asks_for(words: str, expected: set[str]) -> None:
    """In the order in which setuptools writes it."""
    check = module_at(checkout() / "packaging" / "check_wheel.py")
    assert (
        check.minors(f"Name: d3torch\nRequires-Dist: torch{words}\nRequires-Dist: x\n") == expected
    )


def test_the_path_is_one_line_for_other_languages() -> None:
    command = [sys.executable, "-c", "import d3torch; print(d3torch.library_path())"]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    assert Path(out.stdout.strip()) == d3torch.library_path()

"""What decides which libraries are built, and that the build says so."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import setuptools
from checkout import checkout
from modules import module_at

from d3torch import _library
from d3torch.integrations import ase as integration

ROOT = checkout()


@pytest.fixture(scope="module")
def setup() -> ModuleType:
    return module_at(ROOT / "setup.py")


def _torch(folder: Path, version: str, cuda: str | None = None, library: bytes = b"") -> Path:
    """A torch package of which there is what a build looks at."""
    (folder / "include" / "torch").mkdir(parents=True)
    (folder / "version.py").write_text(f"__version__ = '{version}'\ncuda: str | None = {cuda!r}\n")
    if library:
        (folder / "lib").mkdir()
        (folder / "lib" / "libc10.so").write_bytes(library)
    return folder


@pytest.fixture
def two(setup: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """A newer torch with CUDA and an older one without, named in that order."""
    new = _torch(tmp_path / "new", "2.15.0+cu132", "13.2")
    old = _torch(tmp_path / "old", "2.6.0", library=b"..._ZN3c105Error, older strings...")
    monkeypatch.setenv("D3TORCH_TORCH", f"{new}{os.pathsep}{old}")
    found: list[object] = setup.torches()
    return found


@pytest.mark.parametrize("house", [ROOT, ROOT / "plugins" / "lammps"], ids=["core", "plugin"])
def test_an_old_setuptools_is_refused_in_one_sentence(
    house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setuptools, "__version__", "65.5.0")
    with pytest.raises(SystemExit, match=r"expected setuptools 77 or later to build, got 65\.5\.0"):
        module_at(house / "setup.py")


def test_torches_are_read_without_importing_them(two: list[object]) -> None:
    old, new = two
    assert (old.minor, old.cuda, old.new_abi) == ((2, 6), None, False)
    assert (new.minor, new.cuda, new.new_abi) == ((2, 15), "13.2", True)


def test_a_package_needs_a_torch_that_it_has_a_library_for(
    setup: ModuleType, two: list[object]
) -> None:
    gaps = ",".join(f"!=2.{minor}.*" for minor in range(7, 15))
    assert setup.requirement(two) == f"torch>=2.6,<2.16,{gaps}"
    assert setup.requirement(two[1:]) == "torch==2.15.*"
    assert setup.requirement([]) == "torch>=2.6"


def test_two_torches_of_a_minor_version_need_one_library(
    setup: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of two environments."""
    folders = [_torch(tmp_path / version, version) for version in ("2.13.0", "2.13.1", "2.14.0")]
    monkeypatch.setenv("D3TORCH_TORCH", os.pathsep.join(map(str, folders)))
    found = setup.torches()
    assert [torch.minor for torch in found] == [(2, 13), (2, 14)]
    assert setup.requirement(found) == "torch>=2.13,<2.15"


def test_a_torch_that_is_too_old_is_refused(setup: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"expected torch 2\.6 or later, got 2\.5\.1 in /"):
        setup.torch_at(_torch(tmp_path / "torch", "2.5.1"))


def test_libraries_have_the_names_that_are_looked_for(two: list[object]) -> None:
    for torch in two:
        assert torch.name == _library._build_of(torch.version, torch.new_abi)


def _program(folder: Path, name: str, said: str) -> str:
    """A program that says something."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{said}\n")
    (folder / name).chmod(0o755)
    return str(folder / name)


def test_the_cmake_that_runs_is_taken(
    setup: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In pip's isolation that beside Python does not; outside it that on the path may be old."""
    path, beside = tmp_path / "path", tmp_path / "beside"
    monkeypatch.setenv("PATH", f"{path}:/bin")
    monkeypatch.setattr(setup.sys, "executable", str(beside / "python"))
    broken, good, old = (
        "echo no module >&2; exit 1",
        "echo cmake version 4.1.0",
        "echo cmake version 3.22.1",
    )
    for on_path, near, expected in ((good, broken, path), (old, good, beside), (good, good, path)):
        _program(path, "cmake", on_path)
        _program(beside, "cmake", near)
        assert setup.find_cmake() == str(expected / "cmake")
    _program(path, "cmake", old)
    _program(beside, "cmake", broken)
    with pytest.raises(SystemExit, match=r"expected CMake of 3\.24 or later"):
        setup.find_cmake()


def test_nvcc_is_found_on_the_path_where_its_home_has_none(
    setup: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDACXX", raising=False)
    on_path = _program(tmp_path / "path", "nvcc", "true")
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "home"))
    assert setup.find_nvcc() == on_path
    (tmp_path / "home").mkdir()
    of_home = _program(tmp_path / "home" / "bin", "nvcc", "true")
    assert setup.find_nvcc() == of_home


@pytest.mark.parametrize("name", ["CXX", "CMAKE_ARGS"])
def test_what_cmake_keeps_is_forgotten_for_another_compiler(
    name: str, setup: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And for a folder of an unknown build; kept for the same."""
    kept = tmp_path / "cmake" / "CMakeCache.txt"
    kept.parent.mkdir()
    for value, stays in (("", False), ("", True), ("-other", False), ("-other", True)):
        kept.touch()
        monkeypatch.setenv(name, value)
        setup.forget_other_build(kept.parent)
        assert kept.exists() == stays


def test_what_is_no_torch_is_refused(setup: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="expected a torch package with its headers, got /"):
        setup.torch_at(tmp_path)


@pytest.mark.parametrize(
    ("setting", "which", "nvcc", "expected"),
    [
        ("", slice(0, 2), "/bin/nvcc", True),
        ("", slice(0, 2), None, False),
        ("", slice(0, 1), "/bin/nvcc", False),
        ("0", slice(0, 2), "/bin/nvcc", False),
        ("1", slice(0, 1), "/bin/nvcc", True),
    ],
)
def test_cuda_is_built_where_torch_has_it_and_nvcc_is_there(
    setting: str,
    which: slice,
    nvcc: str | None,
    expected: bool,
    setup: ModuleType,
    two: list[object],
) -> None:
    assert setup.with_cuda(setting, two[which], nvcc) == expected


@pytest.mark.parametrize(
    ("setting", "nvcc", "message"),
    [
        ("1", None, "expected nvcc for D3TORCH_CUDA=1, found none."),
        ("yes", "/bin/nvcc", "expected D3TORCH_CUDA to be 0 or 1, got 'yes'."),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_sentence(
    setting: str, nvcc: str | None, message: str, setup: ModuleType, two: list[object]
) -> None:
    with pytest.raises(SystemExit) as caught:
        setup.with_cuda(setting, two, nvcc)
    assert str(caught.value) == f"d3torch: {message}"


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ("compute_75\ncompute_80\ncompute_90\ncompute_103", "7.5;8.0;9.0+PTX"),
        ("compute_50 compute_60", "native"),
    ],
)
def test_default_architectures_are_those_that_nvcc_knows(
    known: str, expected: str, setup: ModuleType
) -> None:
    assert setup.architectures(known) == expected


def test_architectures_are_written_as_for_torch(setup: ModuleType) -> None:
    assert setup.cmake_architectures("9.0") == "90-real"
    assert setup.cmake_architectures("8.0;9.0a+PTX 12.0") == "80-real;90a-real;90a-virtual;120-real"
    assert setup.cmake_architectures("native") == "native"
    with pytest.raises(SystemExit, match="expected TORCH_CUDA_ARCH_LIST such as "):
        setup.cmake_architectures("Hopper")


@pytest.mark.parametrize("built", [False, True])
def test_calculator_asks_whether_the_build_has_cuda(
    built: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(_library, "__file__", str(tmp_path / "_library.py"))
    (tmp_path / "lib").mkdir()
    if built:
        (tmp_path / "lib" / "libd3torch_cuda.so").touch()
    assert _library.has_cuda() == built
    assert integration._has_kernel("cuda") == built
    assert integration._has_kernel("cpu")
    assert not integration._has_kernel("mps")


# ---- the backend of pip ----


@pytest.fixture(scope="module")
def backend() -> ModuleType:
    return module_at(ROOT / "packaging" / "build_backend.py")


def test_torch_is_asked_for_to_build_and_not_to_pack(
    backend: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("D3TORCH_TORCH", raising=False)
    assert "torch>=2.6" in backend.to_compile()
    assert backend.get_requires_for_build_editable is backend.get_requires_for_build_wheel
    assert backend.get_requires_for_build_sdist.__module__ == "setuptools.build_meta"
    monkeypatch.setenv("D3TORCH_TORCH", "/somewhere")
    assert not any(name.startswith("torch") for name in backend.to_compile())


def test_programs_are_asked_for_where_there_are_none(
    backend: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    asked = {re.split("[<>=]", name)[0] for name in backend.to_compile()}
    assert {"cmake", "ninja"} <= asked
    for name, said in (("cmake", "cmake version 3.30.1"), ("ninja", "1.11")):
        (tmp_path / name).write_text(f"#!/bin/sh\necho {said}\n")
        (tmp_path / name).chmod(0o755)
    asked = {re.split("[<>=]", name)[0] for name in backend.to_compile()}
    assert not {"cmake", "ninja"} & asked
    (tmp_path / "cmake").write_text("#!/bin/sh\necho cmake version 3.18.4\n")
    assert any(name.startswith("cmake") for name in backend.to_compile())


# ---- the number of the sources ----


def _built(setup: ModuleType, folder: Path, cmake: Callable[..., None]) -> Path:
    """Where a build whose CMake is a stand-in leaves the number of its sources."""
    command = setup.Build(setuptools.Distribution({"ext_modules": []}))
    command.inplace, command.build_lib, command.build_temp = False, str(folder), str(folder)
    command.cmake = cmake
    for name in ("torch-2.6-old-abi", "torch-2.12"):
        (folder / "d3torch" / "lib" / name).mkdir(parents=True)
    stamp = folder / "d3torch" / "lib" / "sources.txt"
    stamp.write_text("of older sources")
    setup.Build.built = False
    with contextlib.suppress(SystemExit):
        command.run()
    return stamp


def _fail(*words: str) -> None:
    raise SystemExit("CMake failed")


def test_a_build_says_of_which_sources_it_is(
    setup: ModuleType, two: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("D3TORCH_CUDA", "0")
    sources = module_at(ROOT / "packaging" / "sources.py")
    stamp = _built(setup, tmp_path / "good", lambda *words: None)
    assert stamp.read_text() == f"{sources.digest(ROOT)}\n"
    assert {path.name for path in stamp.parent.glob("torch-*")} == {"torch-2.6-old-abi"}
    failed = _built(setup, tmp_path / "bad", _fail)
    assert not failed.exists()
    assert len([*failed.parent.glob("torch-*")]) == 2  # what was there works still

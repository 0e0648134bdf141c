"""The compiled library and the torch it was built with."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from d3torch import _library


@pytest.mark.parametrize("running", ["2.12.1", "2.14.0+cu130", "3.13.0", "2.1.3"])
def test_another_minor_version_of_torch_is_refused_in_one_sentence(running: str) -> None:
    with pytest.raises(ImportError) as caught:
        _library.check_torch("2.13.0+cpu", running)
    text = str(caught.value)
    assert text.startswith(f"d3torch was built with torch 2.13.0+cpu, but torch {running} is ")
    assert "reinstall d3torch" in text
    assert "\n" not in text


@pytest.mark.parametrize("running", ["2.13.0", "2.13.0+cu130", "2.13.2", "2.13.0a0+git1234"])
def test_same_minor_version_of_torch_is_accepted(running: str) -> None:
    _library.check_torch("2.13.0+cpu", running)


def test_version_is_recorded_by_the_build() -> None:
    from d3torch._built_with import TORCH_VERSION

    assert torch.__version__ == TORCH_VERSION


def test_missing_build_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "d3torch._built_with", None)
    with pytest.raises(ImportError) as caught:
        _library.load()
    text = str(caught.value)
    assert text.startswith("the C++ library of d3torch is not built, expected ")
    assert "pip install --no-build-isolation" in text
    assert "\n" not in text


def test_missing_library_file_is_refused_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The record of the build is there, the library is not: as after a deleted _C.so."""
    monkeypatch.setattr(_library, "__file__", str(tmp_path / "_library.py"))
    with pytest.raises(ImportError, match="the C\\+\\+ library of d3torch is not built") as caught:
        _library.load()
    assert "\n" not in str(caught.value)

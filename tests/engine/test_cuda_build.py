"""What decides whether CUDA kernels are built, and that the build says so."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from modules import module_at

from d3torch import _library
from d3torch.integrations import ase as integration

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def setup() -> ModuleType:
    return module_at(ROOT / "setup.py")


@pytest.mark.parametrize(
    ("setting", "torch_cuda", "nvcc", "expected"),
    [
        ("", "13.0", "/bin/nvcc", True),
        ("", "13.0", None, False),
        ("", None, "/bin/nvcc", False),
        ("0", "13.0", "/bin/nvcc", False),
        ("1", "13.0", "/bin/nvcc", True),
    ],
)
def test_cuda_is_built_where_torch_has_it_and_nvcc_is_there(
    setting: str, torch_cuda: str | None, nvcc: str | None, expected: bool, setup: ModuleType
) -> None:
    assert setup.with_cuda(setting, torch_cuda, nvcc) == expected


@pytest.mark.parametrize(
    ("setting", "torch_cuda", "nvcc", "message"),
    [
        ("1", None, "/bin/nvcc", "expected a torch with CUDA for D3TORCH_CUDA=1, got one without."),
        ("1", "13.0", None, "expected nvcc for D3TORCH_CUDA=1, found none."),
        ("yes", "13.0", "/bin/nvcc", "expected D3TORCH_CUDA to be 0 or 1, got 'yes'."),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_sentence(
    setting: str, torch_cuda: str | None, nvcc: str | None, message: str, setup: ModuleType
) -> None:
    with pytest.raises(SystemExit) as caught:
        setup.with_cuda(setting, torch_cuda, nvcc)
    assert str(caught.value) == f"d3torch: {message}"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("sm_75 sm_80 sm_90 compute_90", "7.5;8.0;9.0+PTX"),
        ("sm_90a sm_100 sm_120 compute_120", "9.0a;10.0;12.0+PTX"),
        ("", ""),
    ],
)
def test_architectures_are_those_of_torch(flags: str, expected: str, setup: ModuleType) -> None:
    assert setup.arch_list(flags) == expected


@pytest.mark.parametrize("built", [False, True])
def test_calculator_asks_whether_the_build_has_cuda(
    built: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("d3torch._built_with.CUDA", built)
    assert _library.has_cuda() == built
    assert integration._has_kernel("cuda") == built
    assert integration._has_kernel("cpu")
    assert not integration._has_kernel("mps")

"""The segment sum of the eager twin, and torch-scatter as its witness where that is installed.

A witness is all it is worth (torch-scatter 2.1.2, torch 2.13, one thread of a busy CPU, so rough).
Of 1e5 to 4.4e6 values its ``scatter_sum`` takes 0.6 to 1.0 of the time of ``index_add``, of rows
of three 1.0 to 1.1, and with its derivative 1.0 to 1.5; ``segment_csr`` on sorted values is within
15 % of ``index_add``. The two sums are 0.6 ms of the 105 ms that the eager twin needs for energy
and gradient of 1e5 pairs, which became 125 ms with ``scatter_sum`` and are 6 ms with the kernels.
On a GPU nothing was measured.
"""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from pair_ops import CUTOFF, counter
from systems import small_case
from torch import Tensor

from d3torch import eager


def test_segment_sum() -> None:
    values = torch.arange(1.0, 6.0, dtype=torch.float64)
    index = torch.tensor([3, 0, 3, 1, 0])
    assert eager.segment_sum(values, index, 5).tolist() == [7.0, 4.0, 0.0, 4.0, 0.0]


@pytest.fixture
def scatter_sum() -> Any:
    """``torch_scatter.scatter_sum``, which d3torch itself never imports."""
    why = "needs torch-scatter: pip install --no-build-isolation torch-scatter"
    pytest.importorskip("torch_scatter", reason=why)
    return importlib.import_module("torch_scatter").scatter_sum


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_torch_scatter_gives_the_same_sums_and_derivatives(
    scatter_sum: Any, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(2000, dtype=dtype, generator=generator, requires_grad=True)
    weights = torch.randn(101, dtype=dtype, generator=generator)
    index = torch.randint(0, 100, (2000,), generator=generator)  # nothing falls on the last
    mine = eager.segment_sum(values, index, 101)
    theirs = scatter_sum(values, index, dim=0, dim_size=101)
    torch.testing.assert_close(mine, theirs)
    (a,), (b,) = (torch.autograd.grad((x * weights).sum(), values) for x in (mine, theirs))
    assert torch.equal(a, b)


def test_coordination_numbers_are_those_of_torch_scatter(
    scatter_sum: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def summed(values: Tensor, index: Tensor, n: int) -> Tensor:
        calls.append(n)
        return scatter_sum(values, index, dim=0, dim_size=n)

    case = small_case()
    expected = counter("eager", case)(case.vectors)
    monkeypatch.setattr(eager, "segment_sum", summed)
    found = eager.coordination_number(case.vectors, *case[1:3], case.tables.rcov, CUTOFF)
    assert calls == [5]
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-14)

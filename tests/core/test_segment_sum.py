"""The segment sum of the eager twin, with and without torch-scatter."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest
import torch
from pair_ops import CUTOFF, counter
from systems import small_case
from torch import Tensor

from d3torch import eager


def _segments() -> tuple[Tensor, Tensor, Tensor]:
    values = torch.arange(1.0, 6.0, dtype=torch.float64)
    return values, torch.tensor([3, 0, 3, 1, 0]), torch.tensor([7.0, 4.0, 0.0, 4.0, 0.0])


def test_segment_sum() -> None:
    values, index, expected = _segments()
    assert eager.segment_sum(values, index, 5).tolist() == expected.tolist()


def _reloaded(scatter_sum: Any, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A second copy of eager.py that finds this torch_scatter (None: finds none)."""
    module = None
    if scatter_sum is not None:
        module = types.ModuleType("torch_scatter")
        module.scatter_sum = scatter_sum  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch_scatter", module)
    copy = types.ModuleType("d3torch.eager_copy")
    copy.__package__ = "d3torch"
    with open(eager.__file__) as source:
        exec(compile(source.read(), eager.__file__, "exec"), copy.__dict__)
    return copy


def test_torch_scatter_is_used_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def scatter_sum(src: Tensor, index: Tensor, dim: int, dim_size: int) -> Tensor:
        calls.append(dim_size)
        return torch.zeros(dim_size, dtype=src.dtype).scatter_add(dim, index, src)

    case, module = small_case(), _reloaded(scatter_sum, monkeypatch)
    mine = module.coordination_number(case.vectors, *case[1:3], case.tables.rcov, CUTOFF)
    assert calls == [5]
    assert torch.equal(mine, counter("eager", case)(case.vectors))


def test_segment_sum_is_equal_with_and_without_torch_scatter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scatter = pytest.importorskip("torch_scatter", reason="torch_scatter is not installed")
    values, index, expected = _segments()
    for scatter_sum in (scatter.scatter_sum, None):
        module = _reloaded(scatter_sum, monkeypatch)
        assert module.segment_sum(values, index, 5).tolist() == expected.tolist()

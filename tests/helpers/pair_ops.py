"""Arguments, functions and comparisons for the tests of the pair ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from systems import Case, small_case
from torch import Tensor
from torch.autograd import grad

from d3torch import eager, ops

BACKENDS: dict[str, Any] = {"kernel": ops, "eager": eager}
DTYPES = [torch.float64, torch.float32]
CUTOFF = 4.4
WIDTHS = [0.0, 1.6]
OPS = torch.ops.d3torch
NAMES = [
    f"{name}{suffix}"
    for name in ("coordination_number", "dispersion_energy")
    for suffix in ("", "_backward", "_double_backward")
] + ["dispersion_energy_by_centre"]
backends = pytest.mark.parametrize("backend", BACKENDS)
widths = pytest.mark.parametrize("width", WIDTHS)
dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def counter(backend: str, case: Case, cutoff: float = CUTOFF) -> Callable[[Tensor], Tensor]:
    count = BACKENDS[backend].coordination_number
    return lambda vectors: count(vectors, case.pairs, case.species, case.tables.rcov, cutoff)


def energy_of(backend: str, case: Case, width: float = 0.0) -> Callable[..., Tensor]:
    energy = BACKENDS[backend].dispersion_energy
    last = (case.pairs, case.species, case.tables, CUTOFF, width, case.form)
    return lambda vectors, cn, damping: energy(vectors, cn, damping, *last)


def leaves(*tensors: Tensor) -> list[Tensor]:
    return [t.detach().clone().requires_grad_() for t in tensors]


def inputs_of(case: Case) -> list[Tensor]:
    return leaves(case.vectors, case.cn, case.damping)


def first_and_second(function: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor]:
    """Value, gradient, and the gradient of a fixed random projection of the gradient."""
    generator = torch.Generator().manual_seed(5)

    def random(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like.dtype)

    value = function(*inputs)
    weights = random(value).requires_grad_()
    first = grad((value * weights).sum(), inputs, create_graph=True)
    projection = torch.stack([(g * random(g)).sum() for g in first]).sum()
    second = grad(projection, [*inputs, weights])
    return [value, *first, *second]


def assert_close(a: Tensor, b: Tensor, dtype: torch.dtype, float64: float = 1e-12) -> None:
    """Equal relative to the largest component."""
    assert a.dtype == b.dtype == dtype
    assert a.shape == b.shape
    if a.numel():
        tolerance = {torch.float64: float64, torch.float32: 1e-5}[dtype]
        assert (a - b).abs().max() <= tolerance * b.abs().max()


def op_arguments(
    name: str, dtype: torch.dtype, requires_grad: bool, form: int = 0
) -> tuple[Any, ...]:
    """Arguments for each of the ops."""
    case = small_case(dtype, n_atoms=4, form=form)
    v, cn, d = (
        x.clone().requires_grad_(requires_grad) for x in (case.vectors, case.cn, case.damping)
    )
    per_atom = torch.linspace(0.5, 1.5, len(cn), dtype=dtype).requires_grad_(requires_grad)
    if name.startswith("coordination_number"):
        base: tuple[Any, ...] = (v, case.pairs, case.species, case.tables.rcov, CUTOFF)
        tangents = (torch.ones_like(v),)
    else:
        base = (v, cn, d, case.pairs, case.species, *case.tables[1:4], CUTOFF, 1.6)
        base = (*base, case.tables.radii, form)
        tangents = (torch.ones_like(v), torch.ones_like(cn), torch.ones_like(d))
    if name.endswith("_double_backward"):
        return (*tangents, per_atom, *base)
    return (per_atom, *base) if name.endswith("_backward") else base

"""Where the tests of the CUDA kernels run: on a GPU, or emulated on the CPU, or not at all.

``D3TORCH_EMULATED_CUDA`` names the library that ``scripts/checks/emulate_cuda.sh`` writes: then the
kernels of the CUDA key are called on CPU tensors. Loaded once, they stay on that key: a process of
its own.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from torch import Tensor

import d3torch  # noqa: F401

EMULATED = os.environ.get("D3TORCH_EMULATED_CUDA", "")
GPU = not EMULATED and torch.cuda.is_available()
KEYS = torch._C.DispatchKeySet(torch._C.DispatchKey.CUDA)
if EMULATED:
    torch.ops.load_library(EMULATED)

on_either = pytest.mark.skipif(not (GPU or EMULATED), reason="no GPU here")
on_gpu = pytest.mark.skipif(not GPU, reason="no GPU here")


def moved(values: Any, device: str) -> Any:
    """The same nest of tuples with every tensor on a device."""
    if isinstance(values, Tensor):
        return values.to(device)
    if isinstance(values, (tuple, list)):
        items = [moved(value, device) for value in values]
        return type(values)(*items) if hasattr(values, "_fields") else type(values)(items)
    return values


def run(name: str, *arguments: Any) -> tuple[Tensor, ...]:
    """Results of an op's CUDA kernel, on the CPU."""
    op = getattr(torch.ops.d3torch, name).default
    if EMULATED:
        out = op.redispatch(KEYS, *arguments)
    else:
        out = moved(op(*moved(arguments, "cuda")), "cpu")
    return out if isinstance(out, tuple) else (out,)


def run_cpu(name: str, *arguments: Any) -> tuple[Tensor, ...]:
    """Results of the same op on the CPU."""
    out = getattr(torch.ops.d3torch, name).default(*arguments)
    return out if isinstance(out, tuple) else (out,)


def assert_close(
    found: tuple[Tensor, ...], expected: tuple[Tensor, ...], scale: float = 1.0
) -> None:
    """Equal relative to the largest component: 1e-12 in float64, 1e-5 in float32."""
    assert len(found) == len(expected)
    for k, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        tolerance = scale * {torch.float64: 1e-12, torch.float32: 1e-5}[a.dtype]
        if a.numel():
            error, largest = (a - b).abs().max().item(), b.abs().max().item()
            assert error <= tolerance * largest, (k, error, largest)

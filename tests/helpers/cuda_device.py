"""Where the tests of the CUDA kernels run: on a GPU, or emulated on the CPU, or not at all.

``D3TORCH_EMULATED_CUDA`` names the library that ``scripts/checks/emulate_cuda.sh`` writes. It takes
the CUDA key of the dispatcher and brings tensors on ``cuda:0`` and ``cuda:1``: a process of its
own. Kernels then run on ``cuda:1``, on a stream of its own, while ``cuda:0`` is the current device,
and under the rules of a graph that is captured: an op that waits for the device is an error.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

import d3torch  # noqa: F401

EMULATED = os.environ.get("D3TORCH_EMULATED_CUDA", "")
GPU = not EMULATED and torch.cuda.is_available()
if EMULATED:
    torch.ops.load_library(EMULATED)
    torch.ops.emulation.set_stream(1, 7)

on_either = pytest.mark.skipif(not (GPU or EMULATED), reason="no GPU here")
on_gpu = pytest.mark.skipif(not GPU, reason="no GPU here")


@contextmanager
def waiting_refused() -> Iterator[None]:
    """On a GPU, whatever waits for it is an error."""
    try:
        with warnings.catch_warnings():  # torch says that it does not notice every kind of waiting
            warnings.simplefilter("ignore")
            torch.cuda.set_sync_debug_mode("error")
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def mapped(values: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """The same nest of tuples with a function of every tensor."""
    if isinstance(values, Tensor):
        return function(values)
    if isinstance(values, (tuple, list)):
        items = [mapped(value, function) for value in values]
        return type(values)(*items) if hasattr(values, "_fields") else type(values)(items)
    return values


def moved(values: Any, device: str) -> Any:
    """The same nest of tuples with every tensor on a device."""
    return mapped(values, lambda x: x.to(device))


def _emulated(op: Any, arguments: Any, device: int = 1) -> Any:
    """Results of an op on an emulated device, on the CPU."""
    host = torch.ops.emulation
    given = mapped(arguments, lambda x: host.to_device(x, device))
    host.watch(True)
    try:
        out = op(*given)
    finally:
        host.watch(False)
    assert host.get_device() == 0
    mapped(out, lambda x: _on(x, device))
    return mapped(out, host.to_host)


def _on(x: Tensor, device: int) -> Tensor:
    assert x.device == torch.device("cuda", device)
    return x


def run(name: str, *arguments: Any) -> tuple[Tensor, ...]:
    """Results of an op's CUDA kernel, on the CPU."""
    op = getattr(torch.ops.d3torch, name).default
    out = _emulated(op, arguments) if EMULATED else moved(op(*moved(arguments, "cuda")), "cpu")
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

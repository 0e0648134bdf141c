"""Where the time of the lattice engine goes, by leaving out sweeps."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from benchmarks.cases import glass
from benchmarks.rivals.cpu import Task, _module

CUTOFF = 60.0
NOTHING = 0.5
"""A cutoff, bohr, within which there is no pair: what remains is search and bookkeeping."""


def _seconds(call: Callable[[], Any], repeats: int = 9) -> float:
    """Median time of a call after a warm-up."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _evaluation(cutoff: float, cn_cutoff: float, gradients: bool = True) -> float:
    model, _, systems = _module(Task([glass(1500)], cutoff, cn_cutoff))
    return _seconds(lambda: model.evaluate(systems, gradients))


class Measured(NamedTuple):
    """Milliseconds of NS33 in float64 on one thread.

    Attributes:
        whole, energies: everything, and without gradients.
        bare, counting, sweep: with nothing within the cutoffs, within that of the energy, of CN.
    """

    whole: float
    energies: float
    bare: float
    counting: float
    sweep: float


def measure() -> Measured:
    """All of it, on an otherwise idle machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    times = [
        1e3 * _evaluation(CUTOFF, 40.0),
        1e3 * _evaluation(CUTOFF, 40.0, gradients=False),
        1e3 * _evaluation(NOTHING, NOTHING),
        1e3 * _evaluation(NOTHING, 40.0),
        1e3 * _evaluation(CUTOFF, NOTHING),
    ]
    torch.set_num_threads(before)
    return Measured(*times)


def limit() -> str:
    """The section of the report."""
    m = measure()
    return f"""## Where the time goes

NS33, 1500 atoms, float64, one thread, {CUTOFF:.0f}/40 bohr: {m.whole:.1f} ms, without gradients
{m.energies:.1f} ms. With a cutoff that leaves nothing to do in one of the sweeps:

| sweep | ms |
| --- | --- |
| neither (grouping, weights, bookkeeping) | {m.bare:.2f} |
| energy, gradient, virial, dE/dCN within {CUTOFF:.0f} bohr, with its search | {m.sweep:.1f} |
| CN and the gradient through CN within 40 bohr, with their search | {m.counting:.1f} |
"""

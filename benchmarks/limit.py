"""Where the time of the lattice engine goes: counted work against the measured peak."""

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

LANES_PER_PAIR = 1.46
"""Of the sweep at 60 bohr over NS33, counted once with an instrumented build: 21.8 M lanes for
14.9 M directed pairs. Clusters have 8 atoms of one species; a tile is met with all its lanes by
each atom that has something of it within the cutoff."""


def operations(n_refs: int) -> int:
    """Vector operations for one register of neighbours in the energy and gradient sweep.

    Counted by hand in ``csrc/lattice_kernel.h``, a fused multiply-add as one, loads folded in:

    - vector to the centre 3, r^2 3, comparison with the cutoff 1, selection 1: 8
    - damping: r^4, r^6, two denominators and their product 5; reciprocal (estimate and two Newton
      steps) 5; both fractions 2; their squares with factors 4; value 2, slope 2: 20
    - C6 and dC6/dCN: one multiply-add for each reference of the neighbour: 2 n_refs
    - masking of both 2, sums of the energy and of dE/dCN 2, C6 times slope 1: 5
    - gradient 3 products and 3 sums, virial 6 multiply-adds: 12
    """
    return 8 + 20 + 2 * n_refs + 5 + 12


def _seconds(call: Callable[[], Any], repeats: int = 9) -> float:
    """Median time of a call after a warm-up."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _peak() -> float:
    """Fused multiply-adds a second of one core in float64, by a product of matrices."""
    a = torch.rand(1200, 1200, dtype=torch.float64)
    return 1200**3 / _seconds(lambda: a @ a)


def _evaluation(cutoff: float, cn_cutoff: float, gradients: bool = True) -> float:
    model, _, systems = _module(Task([glass(1500)], cutoff, cn_cutoff))
    return _seconds(lambda: model.evaluate(systems, gradients))


def _pairs() -> tuple[int, float]:
    """Directed pairs of NS33 within the cutoff, and operations per register over its species."""
    from d3torch import neighbor_pairs

    model, species, systems = _module(Task([glass(1500)], CUTOFF, 40.0))
    near = neighbor_pairs(systems.positions, systems.cell[0], True, CUTOFF)
    known = (model.cn_ref >= 0).sum(1)[species]
    compiled = [min(r for r in (2, 3, 5, 7) if r >= n) for n in known.tolist()]
    return near.pairs.shape[1], statistics.mean(operations(n) for n in compiled)


class Measured(NamedTuple):
    """Milliseconds of NS33 in float64 on one thread, and what they are held against.

    Attributes:
        whole, energies: everything, and without gradients.
        bare, counting, sweep: with nothing within the cutoffs, within that of the energy, of CN.
        pairs: directed, within the cutoff of the energy.
        per_register: vector operations for a register of neighbours.
        peak: vector multiply-adds a second.
    """

    whole: float
    energies: float
    bare: float
    counting: float
    sweep: float
    pairs: int
    per_register: float
    peak: float


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
    peak = _peak() / _width()
    torch.set_num_threads(before)
    return Measured(*times, *_pairs(), peak)


def limit() -> str:
    """The section of the report."""
    m, width, waste = measure(), _width(), LANES_PER_PAIR
    lanes = waste * m.pairs
    count = lanes / width * m.per_register
    bound = 1e3 * count / m.peak
    share, flops = 100 * bound / m.sweep, 2 * width * m.peak
    return f"""## Where the time goes

NS33, 1500 atoms, float64, one thread, {CUTOFF:.0f}/40 bohr: {m.whole:.1f} ms, without gradients
{m.energies:.1f} ms. With a cutoff that leaves nothing to do in one of the sweeps:

| sweep | ms |
| --- | --- |
| neither (grouping, weights, bookkeeping) | {m.bare:.2f} |
| energy, gradient, virial, dE/dCN within {CUTOFF:.0f} bohr, with its search | {m.sweep:.1f} |
| CN and the gradient through CN within 40 bohr, with their search | {m.counting:.1f} |

The energy sweep has {m.pairs / 1e6:.1f} M directed pairs (counted here) in
{lanes / 1e6:.1f} M lanes ({waste} per pair, counted with an instrumented AVX-512 build):
{100 - 100 / waste:.0f} % of the lanes are masked. A register of {width} lanes takes
{m.per_register:.1f} vector operations in the mean over the species, counted by hand in
`benchmarks/limit.py`: {count / 1e6:.0f} M operations. A product of matrices reaches
{m.peak / 1e9:.2f} G vector multiply-adds a second on this core ({flops / 1e9:.0f} GFLOP/s);
at that rate the sweep would take {bound:.1f} ms. So it runs at {share:.0f} % of the rate of
a product of matrices, {share / waste:.0f} % counting only lanes that hold a pair.
What is lost: masked lanes; the search for tiles, their broadcasts and loads; sums over lanes;
operations that wait for each other. Operations that are no multiply-adds count as one, too.
"""


def _width() -> int:
    """Lanes of a float64 register."""
    capability = torch.backends.cpu.get_cpu_capability()
    return {"AVX512": 8, "AVX2": 4}.get(capability, 2)

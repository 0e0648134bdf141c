"""D3(BJ) on a GPU: d3torch beside nvalchemi-toolkit-ops and torch-dftd, in one run.

Energy, forces and virial. Medians of many calls between CUDA events, after a warm-up; lists are
timed apart and together with what they are for. Prints a table and, with --out, writes it into a
dated file. Rivals that are not installed are left out and named.

    python -m benchmarks.suites.gpu --out benchmarks/results/FILE
    python -m benchmarks.suites.gpu --headline        # three cases, d3torch alone
    python -m benchmarks.suites.gpu --kernels         # and what each kernel takes in them
    python -m benchmarks.suites.gpu --rehearse        # tiny sizes on the CPU: does the script run?
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks import report
from benchmarks.cases import glass, molecules
from benchmarks.rivals.cpu import System
from benchmarks.rivals.gpu import CsCl, Input, crystal_list, installed, nvalchemi, torch_dftd
from d3torch import D3BJ, ops
from d3torch.ops import Evaluation
from d3torch.units import BOHR

FLOPS = 56.0
"""Of the energy sweep for a pair of five references, width 0, as compiled for sm_90; FMA as two."""


class Row(NamedTuple):
    """A line of the table: seconds, those of a list in them, bytes, directed pairs, deviation."""

    case: str
    engine: str
    seconds: float
    list_seconds: float
    memory: int
    pairs: float
    deviation: float | None


class Clock:
    """Times calls on a device."""

    def __init__(self, device: str, budget: float) -> None:
        self.device, self.budget = device, budget

    def once(self, call: Callable[[], Any]) -> float:
        """Seconds of one call."""
        if self.device == "cpu":
            start = time.perf_counter()
            call()
            return time.perf_counter() - start
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        call()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3

    def measure(self, call: Callable[[], Any]) -> tuple[float, int]:
        """Median seconds of at most 50 calls within the budget, and peak bytes beyond before."""
        base = 0
        if self.device != "cpu":
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            base = torch.cuda.memory_allocated()
        warm = 3 if self.device != "cpu" else 1
        seconds = [self.once(call) for _ in range(warm)][-1:]
        while len(seconds) < 50 and sum(seconds) < self.budget:
            seconds.append(self.once(call))
        peak = torch.cuda.max_memory_allocated() - base if self.device != "cpu" else 0
        return median(seconds), peak


def ceilings(device: str) -> tuple[float, float]:
    """Bytes per second of a copy, and float32 operations per second of a matrix product."""
    n = 8192 if device != "cpu" else 512
    torch.backends.cuda.matmul.allow_tf32 = False
    a, clock = torch.randn(n, n, device=device), Clock(device, 1.0)
    large = torch.empty(n * n * (8 if device != "cpu" else 1), device=device)
    other = torch.empty_like(large)
    copy, _ = clock.measure(lambda: other.copy_(large))
    product, _ = clock.measure(lambda: a @ a)
    return 2 * large.numel() * 4 / copy, 2 * n**3 / product


def graphed(call: Callable[[], Any]) -> Callable[[], Any]:
    """The same call captured once and replayed."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def module(given: Input, dtype: torch.dtype) -> tuple[D3BJ, Any, Any]:
    """A module in angstrom and eV, species, and systems on the device."""
    model = D3BJ(
        np.unique(given.numbers).tolist(),
        "pbe",
        cutoff=given.cutoff,
        cn_cutoff=given.cn_cutoff,
        dtype=dtype,
    ).to(given.device)
    x = torch.tensor(given.positions, dtype=dtype, device=given.device)
    cell = None if given.cell is None else x.new_tensor(given.cell)
    species = model.species(torch.tensor(given.numbers, device=given.device))
    offsets = torch.tensor(np.cumsum([0, *given.sizes]), device=given.device)
    return model, species, model.systems(x, species, cell, None, offsets)


def kernel_lines(call: Callable[[], Any], calls: int = 20) -> list[str]:
    """Microseconds of each kernel in a call, by CUPTI, and between them: a mean of many calls."""
    from torch.profiler import ProfilerActivity, profile

    call()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        for _ in range(calls):
            call()
        torch.cuda.synchronize()
    events = [e for e in found.events() if e.device_type == torch.autograd.DeviceType.CUDA]
    names: dict[str, list[float]] = {}
    for e in events:
        names.setdefault(e.name, []).append(e.time_range.elapsed_us())
    first = min(e.time_range.start for e in events)
    whole = max(e.time_range.end for e in events) - first
    lines = [
        f"{sum(t) / calls:10.1f} us  {len(t) / calls:4.1f} x  {name[:120]}"
        for name, t in sorted(names.items(), key=lambda item: -sum(item[1]))
    ]
    busy = sum(sum(t) for t in names.values())
    return [f"{busy / calls:10.1f} us  in kernels, {whole / calls:.1f} from first to last", *lines]


def deviation(e: Evaluation, truth: Evaluation | None) -> float | None:
    """Of the total energy, relative."""
    if truth is None:
        return None
    return abs(e.energy.double().sum().item() / truth.energy.double().sum().item() - 1)


def lattice_call(given: Input, dtype: torch.dtype) -> Callable[[], Any]:
    """Energy, forces and virial by the lattice engine."""
    model, _, systems = module(given, dtype)
    damping = model.damping().detach().expand(len(given.sizes), 4).contiguous()
    arguments = (systems, damping, model.tables(), model.reach())
    return lambda: ops.evaluate(*arguments)


def lattice_rows(case: str, given: Input, clock: Clock) -> list[Row]:
    """The lattice engine in both precisions, and replayed as a graph."""
    rows, truth = [], None
    for dtype in (torch.float64, torch.float32):
        call = lattice_call(given, dtype)
        seconds, memory = clock.measure(call)
        e = call()
        name = f"d3torch lattice {str(dtype).removeprefix('torch.')}"
        rows.append(Row(case, name, seconds, 0.0, memory, given.pairs, deviation(e, truth)))
        truth = truth or e
        if clock.device != "cpu" and dtype == torch.float32:
            replay, _ = clock.measure(graphed(call))
            rows.append(Row(case, f"{name}, graph", replay, 0.0, memory, given.pairs, None))
    return rows


def list_rows(case: str, given: Input, clock: Clock) -> list[Row]:
    """The op on a given list: energy, and forces and virial of positions in the same sweeps."""
    if given.crystal is None:
        return []
    rows = []
    for dtype in (torch.float32, torch.float64):
        if given.pairs * (110 if dtype == torch.float32 else 150) > given.room:
            continue
        model, _, systems = module(given, dtype)
        pairs, vectors = crystal_list(given.crystal, given.cutoff, dtype, given.device)
        within = systems.positions[pairs[1]] - systems.positions[pairs[0]]
        shifts = ((vectors - within) @ torch.linalg.inv(systems.cell[0])).round().int()
        del vectors, within
        arguments = (systems, ops.PairList(pairs, shifts), model.damping().detach()[None])

        def call(arguments: Any = arguments, model: Any = model) -> Any:
            return ops.evaluate_on_list(*arguments, model.tables(), model.reach())

        seconds, memory = clock.measure(call)
        name = f"d3torch list {str(dtype).removeprefix('torch.')}"
        rows.append(Row(case, name, seconds, 0.0, memory, given.pairs, None))
    return rows


def pair_rows(case: str, given: Input, clock: Clock) -> list[Row]:
    """The pair ops on a given list: energy, and forces on pairs by autograd."""
    if given.crystal is None:
        return []
    rows = []
    for dtype in (torch.float32, torch.float64):
        model, species, _ = module(given, dtype)
        if given.pairs * (110 if dtype == torch.float32 else 150) > given.room:
            continue
        pairs, vectors = crystal_list(given.crystal, given.cutoff, dtype, given.device)
        vectors.requires_grad_()

        def call(model: Any = model, pairs: Any = pairs, vectors: Any = vectors) -> Any:
            energy = model(vectors, pairs, species).sum()  # noqa: B023
            return energy.detach(), torch.autograd.grad(energy, vectors)[0]

        seconds, memory = clock.measure(call)
        name = f"d3torch pairs {str(dtype).removeprefix('torch.')}"
        rows.append(Row(case, name, seconds, 0.0, memory, given.pairs, None))
        if clock.device != "cpu" and given.pairs < 1e7 and dtype == torch.float32:
            replay, _ = clock.measure(graphed(call))
            rows.append(Row(case, f"{name}, graph", replay, 0.0, memory, given.pairs, None))
    return rows


def rival_rows(case: str, given: Input, clock: Clock) -> list[Row]:
    """Rivals that are installed and have the memory: nvalchemi with its list, torch-dftd."""
    rows = []
    if installed("nvalchemi") and given.pairs * 200 < given.room:
        search, step = nvalchemi(given)
        listed, _ = clock.measure(search)
        near = search()
        seconds, memory = clock.measure(lambda: step(near))
        rows.append(
            Row(case, "nvalchemi float32", listed + seconds, listed, memory, given.pairs, None)
        )
    if installed("torch-dftd") and len(given.sizes) == 1 and given.pairs < 3e7:
        seconds, memory = clock.measure(torch_dftd(given))
        rows.append(Row(case, "torch-dftd float32", seconds, 0.0, memory, given.pairs, None))
    return rows


def of_system(systems: list[System], cutoff: float, device: str, room: float) -> Input:
    """A case from structures."""
    x = np.concatenate([s.positions for s in systems])
    z = np.concatenate([s.numbers for s in systems])
    sizes = [len(s.numbers) for s in systems]
    cell = systems[0].cell
    if cell is None:
        pairs = float(sum(n * (n - 1) for n in sizes))
    else:
        pairs = len(z) ** 2 / abs(np.linalg.det(cell)) * 4.18879 * cutoff**3  # by the density
    return Input(x, z, cell, sizes, cutoff, min(cutoff, 40 * BOHR), pairs, device, room, None)


def repeated(system: System, n: int) -> System:
    """A crystal n times along each axis."""
    grid = np.stack(np.meshgrid(*3 * [np.arange(n)], indexing="ij"), axis=-1).reshape(-1, 3)
    x = (system.positions[None] + (grid @ system.cell)[:, None]).reshape(-1, 3)
    return System(np.tile(system.numbers, n**3), x, system.cell * n)


def headline(rehearse: bool) -> list[str]:
    """The cases that say most, which come first."""
    if rehearse:
        return ["20 molecules", "CsCl 54 atoms, 6 A", "NS33 1500 atoms, 4.00 A"]
    return [f"NS33 1500 atoms, {95 * BOHR:.2f} A", "CsCl 137842 atoms, 25 A", "1000 molecules"]


def cases(rehearse: bool, device: str, room: float) -> list[tuple[str, Input]]:
    """Everything that is timed: crystals, glasses, a batch of molecules; the headline first."""
    found = []
    for cutoff in (6.0,) if rehearse else (15.0, 25.0):
        for n in (2, 3) if rehearse else (4, 8, 16, 26, 41):
            crystal = CsCl(n)
            given = crystal.input(cutoff, device, room)
            found.append((f"CsCl {2 * n**3} atoms, {cutoff:g} A", given))
    for cutoff in (4.0,) if rehearse else (40 * BOHR, 60 * BOHR, 95 * BOHR):
        for n in (1,) if rehearse else (1, 2, 3, 5):
            system = repeated(glass(1500), n)
            given = of_system([system], cutoff, device, room)
            found.append((f"NS33 {len(system.numbers)} atoms, {cutoff:.2f} A", given))
    batch = molecules(20 if rehearse else 1000)
    found.append((f"{len(batch)} molecules", of_system(batch, 60 * BOHR, device, room)))
    first = headline(rehearse)
    return sorted(found, key=lambda case: first.index(case[0]) if case[0] in first else len(first))


def table(rows: list[Row], bandwidth: float, flops: float) -> str:
    """Rows as markdown."""
    head = ["case", "engine", "ms", "of it list", "MB", "pairs/s", "of FP32 peak", "deviation"]
    body = []
    for r in rows:
        rate = r.pairs / r.seconds
        share = f"{rate * FLOPS / flops:.1%}" if "lattice" in r.engine else ""
        dev = "" if r.deviation is None else f"{r.deviation:.1e}"
        times = [f"{1e3 * r.seconds:.3f}", f"{1e3 * r.list_seconds:.3f}" if r.list_seconds else ""]
        body.append([r.case, r.engine, *times, f"{r.memory / 1e6:.1f}", f"{rate:.2e}", share, dev])
    note = (
        f"Measured ceilings: copy {bandwidth / 1e12:.2f} TB/s, float32 matrix product "
        f"{flops / 1e12:.1f} TFLOP/s. Pairs are directed; those of glasses from their density.\n\n"
    )
    return note + report.markdown_table(head, body)


OURS = (lattice_rows, list_rows, pair_rows)


def all_rows(case: str, given: Input, clock: Clock, parts: Any) -> list[Row]:
    """Every engine on a case, printed; what has no memory or is not installed is left out."""
    rows: list[Row] = []
    for part in parts:
        try:
            rows += part(case, given, clock)
        except (torch.OutOfMemoryError, ImportError) as error:
            print(f"{case}, {part.__name__}: left out ({str(error)[:60]})", flush=True)
            torch.cuda.empty_cache()
    for row in rows:
        print(f"{case:32} {row.engine:32} {1e3 * row.seconds:10.3f} ms", flush=True)
    return rows


def by_kernel(chosen: list[tuple[str, Input]]) -> int:
    """Print what each kernel of the lattice engine takes, in both precisions."""
    for name, given in chosen:
        for dtype in (torch.float32, torch.float64):
            print(f"{name}, {dtype}:", *kernel_lines(lattice_call(given, dtype)), sep="\n")
    return 0


def main() -> int:
    """Measure and print; write the file anew after every case. 75 if time was up before the end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the table there")
    parser.add_argument("--headline", action="store_true", help="three cases, d3torch alone")
    parser.add_argument("--kernels", action="store_true", help="what each kernel takes, in three")
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes, on the CPU")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="then no more cases")
    parser.add_argument("--budget", type=float, default=0.6, help="seconds a measurement")
    args = parser.parse_args()
    if not args.rehearse and not torch.cuda.is_available():
        raise SystemExit("benchmark_gpu: expected a GPU, torch sees none (--rehearse: on the CPU)")
    device = "cpu" if args.rehearse else "cuda"
    room = 4e9 if args.rehearse else 0.8 * torch.cuda.get_device_properties(0).total_memory
    clock = Clock(device, 0.01 if args.rehearse else args.budget)
    found, rows, late, text = ceilings(device), [], [], ""
    start, parts = time.monotonic(), OURS if args.headline else (*OURS, rival_rows)
    chosen = cases(args.rehearse, device, room)
    if args.kernels:
        return by_kernel(chosen[:3])
    for name, given in chosen[: 3 if args.headline else None]:
        if time.monotonic() - start > args.seconds:
            late.append(name)
        else:
            rows += all_rows(name, given, clock, parts)
        note = f"\nNot measured, time was up: {'; '.join(late)}.\n" if late else ""
        text = f"{table(rows, *found)}\n{note}"
        if args.out:
            report.replace_file(args.out, text)
    print(text)
    return 75 if late else 0


if __name__ == "__main__":
    sys.exit(main())

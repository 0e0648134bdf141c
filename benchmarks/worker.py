"""The processes that ``benchmarks.suites.cpu`` times its rivals in."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import resource
import time
import warnings
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.cases import RIVALS
from benchmarks.rivals.cpu import Outcome, Run, System, Task


class Timing(NamedTuple):
    """Seconds of a call, and cores that were busy with it."""

    seconds: float
    cores: float


class Loaded(NamedTuple):
    """A first timing, what came out, and bytes that inputs and call grew the process by."""

    first: Timing
    outcome: Outcome
    grown: int


class Failure(NamedTuple):
    """Why a rival has no number."""

    reason: str


def _memory(key: str) -> int:
    """VmRSS or VmHWM, bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return 1024 * int(line.split()[1])
    raise OSError(f"expected {key} in /proc/self/status")


def _timed(run: Run, inner: int) -> tuple[Timing, Any]:
    """The mean of some calls, and what the last one gave."""
    busy, start = time.process_time(), time.perf_counter()
    for _ in range(inner):
        raw = run[0]()
    wall, busy = time.perf_counter() - start, time.process_time() - busy
    return Timing(wall / inner, busy / wall), raw


def _tiny(kind: str, dtype: str) -> Task:
    """A task that loads a rival's code: carbon monoxide, alone or as a crystal."""
    cell = {"crystal": 4.0 * np.eye(3), "list": 14.0 * np.eye(3)}.get(kind)
    one = System(np.array([6, 8]), np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.1]]), cell)
    return Task([one] * (2 if kind == "batch" else 1), 12.0, 12.0, dtype)


def work(pipe: Connection, name: str, threads: int, memory: int) -> None:
    """Answer requests for one rival until the pipe closes."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    warnings.simplefilter("ignore")
    import torch

    torch.set_num_threads(threads)
    runs: dict[str, Run] = {}
    while (request := pipe.recv()) is not None:
        try:
            pipe.send(_answer(RIVALS[name].setup, runs, *request))
        except Exception as error:
            runs.clear()
            pipe.send(Failure(_reason(error)))


def _reason(error: Exception) -> str:
    """One short sentence, without paths."""
    text = str(error).strip().splitlines()
    first = " ".join(word for word in (text[0] if text else "").split() if "/" not in word)
    memory = isinstance(error, MemoryError) or "alloc" in first or "memory" in first
    return "out of memory" if memory else f"{type(error).__name__}: {first[:80]}"


def _answer(setup: Any, runs: dict[str, Run], verb: str, slot: str, argument: Any) -> Any:
    """Load a task and run it, or time the one that is loaded, or forget all."""
    if verb == "forget":
        return runs.clear()
    if verb == "time":
        return _timed(runs[slot], argument)[0]
    runs.pop(slot, None)
    return _load(setup, runs, slot, *argument)


def _load(setup: Any, runs: dict[str, Run], slot: str, task: Task, kind: str) -> Loaded:
    """Warm up with a tiny task, then set up and run the real one."""
    setup(_tiny(kind, task.dtype))[0]()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _memory("VmRSS")
    runs[slot] = setup(task)
    first, raw = _timed(runs[slot], 1)
    grown = max(0, _memory("VmHWM") - before)
    again = _timed(runs[slot], 1)[0] if first.seconds < 1.0 else first
    return Loaded(again, runs[slot][1](raw), grown)


class Worker:
    """The process of one rival."""

    def __init__(self, name: str, threads: int, memory: int) -> None:
        os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        arguments = (other, name, threads, memory)
        self._process = context.Process(target=work, args=arguments, daemon=True)
        self._process.start()
        other.close()

    def ask(self, verb: str, slot: str, argument: Any, patience: float) -> Any:
        """The answer, or a Failure that says what happened to the worker."""
        try:
            self._pipe.send((verb, slot, argument))
            if self._pipe.poll(patience):
                return self._pipe.recv()
        except (EOFError, OSError):
            return Failure("worker ended (out of memory?)")
        self._process.terminate()
        return Failure(f"more than {patience:.0f} s")

    def close(self) -> None:
        if self._process.is_alive():
            self._process.terminate()
        self._process.join()

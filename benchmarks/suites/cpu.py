"""d3torch beside its rivals on the CPU: time, peak memory and deviation from simple-dftd3.

    pip install --no-build-isolation .[benchmark]
    python -m benchmarks.suites.cpu --out benchmarks/results

Every rival lives in a worker process of its own, one for each number of threads. After a warm-up
the workers take turns (A B C A B C ...), one at a time, on the same structures. Memory is the
growth of the resident set (Linux: VmHWM, reset before) by the inputs of a rival, in its own form,
and its first call. What cannot run is listed with the reason. Takes more than an hour with
everything, on an idle machine; try ``--quick`` first.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.cases import RIVALS, Case, cases
from benchmarks.limit import limit
from benchmarks.rivals.cpu import Outcome, System, Task
from benchmarks.worker import Failure, Loaded, Timing, Worker

ORACLE = "simple-dftd3"
SHORTEST = 0.02
"""Seconds that one timing takes at least: quick calls are repeated within it."""


class Bench:
    """Workers for one number of threads, and the history that predicts what would take too long."""

    def __init__(self, options: argparse.Namespace, threads: int) -> None:
        self.options, self.threads = options, threads
        self.workers: dict[str, Worker] = {}
        self.history: dict[tuple[str, str], list[tuple[float, float]]] = {}

    def ask(self, name: str, verb: str, slot: str, argument: Any = None) -> Any:
        """Put a question to a worker, which is started or replaced where needed."""
        if importlib.util.find_spec(RIVALS[name].module) is None:
            return Failure("not installed")
        if name not in self.workers:
            threads = 1 if RIVALS[name].serial else self.threads
            self.workers[name] = Worker(name, threads, int(self.options.memory * 1e9))
        answer = self.workers[name].ask(verb, slot, argument, self.options.patience)
        if isinstance(answer, Failure):
            self.workers.pop(name).close()
        return answer

    def close(self) -> None:
        for worker in self.workers.values():
            worker.close()
        self.workers.clear()

    def _too_slow(self, name: str, dtype: str, work: float) -> Failure | None:
        """A prediction from crystals measured before; work: atoms times cutoff cubed."""
        points = [p for p in self.history.get((name, dtype), []) if p[0] <= work]
        if not points:
            return None
        (w1, t1), power = points[-1], 1.0
        if t1 == np.inf:
            return Failure("skipped, too much already for less")
        if len(points) > 1 and points[-2][0] < w1:
            w0, t0 = points[-2]
            power = min(max(float(np.log(t1 / t0) / np.log(w1 / w0)), 1.0), 2.0)
        predicted = t1 * (work / w1) ** power
        return (
            Failure(f"skipped, about {predicted:.0f} s") if predicted > self.options.slow else None
        )

    def load(self, name: str, dtype: str, case: Case, systems: list[System]) -> Any:
        """The warm-up: a first timing with the outcome, or a Failure."""
        work = sum(len(s.numbers) for s in systems) * case.cutoff**3
        predictable = case.kind == "crystal"
        if predictable and (failure := self._too_slow(name, dtype, work)):
            return failure
        task = Task(systems, case.cutoff, case.cn_cutoff, dtype)
        answer = self.ask(name, "load", dtype, (task, case.kind))
        if predictable:
            seconds = np.inf if isinstance(answer, Failure) else answer.first.seconds
            history = self.history.setdefault((name, dtype), [])
            history[:] = sorted([*history, (work, seconds)])
        return answer

    def oracle(self, case: Case, systems: list[System], cn_cutoff: float) -> Outcome | None:
        """simple-dftd3 at given cutoffs, where it is not too slow."""
        if case.name == "scaling" and sum(len(s.numbers) for s in systems) > 6000:
            return None
        task = Task(systems, case.cutoff, cn_cutoff)
        answer = self.ask(ORACLE, "load", "oracle", (task, case.kind))
        return None if isinstance(answer, Failure) else answer.outcome

    def entrants(self, case: Case) -> Iterator[tuple[str, str]]:
        """Rivals and dtypes of a case; serial ones only once."""
        chosen = self.options.rivals or list(RIVALS)
        for name in chosen:
            rival = RIVALS[name]
            again = rival.serial and case.every_count and self.threads != self.options.threads[0]
            if case.kind in rival.kinds.split() and not again:
                yield from ((name, dtype) for dtype in rival.dtypes.split())

    def measure(self, case: Case) -> list[dict[str, Any]]:
        """Records of all rivals in a case."""
        systems = case.build()
        answers = {e: self.load(*e, case, systems) for e in self.entrants(case)}
        ready = {e: a for e, a in answers.items() if isinstance(a, Loaded)}
        timings: dict[tuple[str, str], list[Timing]] = {e: [] for e in ready}
        for turn in range(self.options.repeats):
            for entrant, loaded in ready.items():
                seconds = loaded.first.seconds
                if turn == 0 or turn < self.options.budget / seconds:
                    inner = max(1, int(SHORTEST / seconds))
                    answer = self.ask(entrant[0], "time", entrant[1], inner)
                    if isinstance(answer, Timing):
                        timings[entrant].append(answer)
        truth = {c: self.oracle(case, systems, c) for c in sorted({case.cn_cutoff, case.cutoff})}
        for name in list(self.workers):
            self.ask(name, "forget", "")
        return [
            self._record(case, systems, entrant, answer, timings.get(entrant, []), truth)
            for entrant, answer in answers.items()
        ]

    def _record(
        self, case: Case, systems: Any, entrant: Any, answer: Any, timings: Any, truth: Any
    ) -> dict[str, Any]:
        """One line of the results, printed and returned."""
        name, dtype = entrant
        rival, n = RIVALS[name], sum(len(s.numbers) for s in systems)
        record = {"case": case.name, "title": case.title, "rival": name, "dtype": dtype}
        record |= {"atoms": n, "cutoff": case.cutoff, "cn_cutoff": case.cn_cutoff}
        record |= {"round": self.threads, "threads": 1 if rival.serial else self.threads}
        record |= {"note": rival.note, "failure": "", "times": [t.seconds for t in timings]}
        if not timings:
            record["failure"] = answer.reason if isinstance(answer, Failure) else "worker ended"
        else:
            record["memory"] = answer.grown
            record["cores"] = float(np.median([t.cores for t in timings]))
            found = truth[case.cn_cutoff if rival.own_cn else case.cutoff]
            record["deviation"] = report.deviation(answer.outcome, found)
        print(report.line(record), file=sys.stderr, flush=True)
        return record


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add(
        "--cases",
        nargs="+",
        help="by name: " + ", ".join(dict.fromkeys(c.name for c in cases(1500))),
    )
    add("--rivals", nargs="+", choices=RIVALS, help="by name (default: all)")
    add("--threads", nargs="+", type=int, default=[1, 2], help="ascending")
    add("--repeats", type=int, default=9, help="turns of each rival")
    add("--budget", type=float, default=60.0, help="seconds for the turns of one rival in a case")
    add("--slow", type=float, default=60.0, help="seconds a call that crystals may take")
    add("--patience", type=float, default=600.0, help="seconds after which a call is given up")
    add("--largest", type=int, default=202500, help="atoms of the largest glass")
    add("--memory", type=float, default=16.0, help="GB of data a worker may have")
    add("--quick", action="store_true", help="few repeats, small sizes, no slow rival")
    add("--limit", action="store_true", help="only the section on where the time goes")
    add("--render", type=Path, help="write table and figures of results measured before (JSON)")
    add("--stem", default="cpu", help="first word of the names of the results")
    add("--out", type=Path, default=Path("benchmarks"), help="folder of the results")
    options = parser.parse_args()
    if options.quick:
        options.repeats, options.budget, options.slow = 3, 5.0, 2.0
        options.largest, options.patience = min(options.largest, 6000), 60.0
    return options


def main() -> None:
    options = parse()
    if options.limit:
        return print(limit())
    if options.render:
        return report.write(report.load(options.render), options.render.with_suffix(""))
    results = report.conditions(options.threads)
    stem = options.out / f"{options.stem}_{results['date']}_{results['slug']}"
    chosen = [c for c in cases(options.largest) if not options.cases or c.name in options.cases]
    for threads in options.threads:
        bench = Bench(options, threads)
        for case in chosen:
            if case.every_count or threads == options.threads[-1]:
                results["records"] += bench.measure(case)
                report.save(results, stem)
        bench.close()
    results["load_after"], results["limit"] = os.getloadavg()[0], limit()
    report.write(results, stem)


if __name__ == "__main__":
    main()

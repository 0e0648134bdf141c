"""The runs of docs/glass_results.md on a GPU: many glasses side by side, what is worth most first.

Usage: python studies/glass/many.py FOLDER SECONDS [--device NAME] [--plan ROLE:NxTHREADS...]

Each process holds a potential and answers its threads, one job each, from one call. What time ends
goes on from its checkpoint when this is called again with the same folder. FOLDER/many.log tells of
every job, and each process leaves a many_*.json that tells of its calls.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, NamedTuple

import torch

from d3torch import D3Calculator
from d3torch.settings import Settings
from d3torch_glass.batches import Asking, Batch, TimeIsUp, many_at_once
from d3torch_glass.cli import add_glass
from d3torch_glass.dispersion import recorded, recorded_device, settle_dispersion
from d3torch_glass.expansion import run_expansion
from d3torch_glass.facts import compositions
from d3torch_glass.files import AtWork, alone
from d3torch_glass.jobs import Job, run_job, write_manifest
from d3torch_glass.planning import planned_jobs
from d3torch_glass.potentials import settings_for
from d3torch_glass.relaxing import read_relaxed
from d3torch_glass.static import REST, StaticJob, begin_at, run_static

SEVENNET, CHGNET, WIDE = "sevenn:7net-0", "chgnet:0.3.0", "sevenn:7net-l3i5"
ALL = tuple(c.name for c in compositions())
LARGE = ("NS33", "SiO2")
TOLERANCE = ("--force", "0.03", "--pressure", "0.02", "--strain", "0")
TIGHT = ("--force", "0.005", "--pressure", "0.01", "--strain", "0.005")
"""Of glasses that are strained: their C_ij come from small stresses."""
STRAINED = "strained"
"""Folder of these."""
QUENCH = (
    *("--rate", "200", "--heating", "1000", "--melt-ps", "3", "--final-ps", "4"),
    *("--initial-rate", "200", "--initial-hold-ps", "10", "--checkpoint-ps", "0.25"),
)
ROLES = ("expansion", "melts", "sevenn", "l3i5", "chgnet", "chgnet_expansion", "chgnet_melts")
PLAN = ("expansion:1x4", "melts:2x6", "sevenn:5x9", "chgnet:14x2")


class Task(NamedTuple):
    """A job and how far it goes: ``rest``, ``levels`` (to its end), ``expansion``, ``quench``."""

    job: Job
    args: argparse.Namespace
    kind: str

    @property
    def name(self) -> str:
        """Unique among tasks."""
        strained = "strained_" if self.args.folder.name == STRAINED else ""
        return f"{strained}{self.job.name}_{3 * self.job.units}_{self.kind}"

    @property
    def static(self) -> StaticJob:
        """The job of one on the static route."""
        assert isinstance(self.job, StaticJob)
        return self.job


class NextTask(Exception):
    """Ends a job that has come as far as it should."""


def tasks(
    folder: Path,
    device: str,
    model: str,
    kind: str,
    seeds: tuple[int, ...],
    names: tuple[str, ...] = ALL,
    d3: tuple[str, ...] = ("none", "d3torch"),
    atoms: int = 102,
    strained: bool = False,
) -> list[Task]:
    """Those of ``d3torch glass run`` with the settings of the study."""
    parent = folder if atoms == 102 else folder / f"atoms_{atoms}"
    parent = parent / STRAINED if strained else parent
    words = ["glass", "run", str(parent), "--route", "static", "--model", model, "--d3", *d3]
    words += ["--d3-preset", "converged", "--composition", *names, "--seed", *map(str, seeds)]
    words += ["--atoms", str(atoms), "--preset", "demo", *(TIGHT if strained else TOLERANCE)]
    words += ["--pressures", "0,2.5,5", "--displacement", "0", "--device", device]
    return _planned(words, kind)


def _planned(words: list[str], kind: str) -> list[Task]:
    """Tasks of a command line."""
    parser = argparse.ArgumentParser()
    add_glass(parser.add_subparsers())
    args = parser.parse_args(words)
    settle_dispersion(args)
    return [Task(job, args, kind) for job in planned_jobs(args)]


def quenches(folder: Path, device: str, model: str) -> list[Task]:
    """Melts of 102 atoms by a universal potential itself, cooled at 200 K/ps, a seed at a time."""
    words = ["glass", "run", str(folder), "--model", model, "--d3", "none", "d3torch"]
    words += ["--d3-preset", "converged", "--atoms", "102", "--preset", "demo", *QUENCH]
    words += ["--device", device]
    words += ["--composition", *LARGE, "--seed", "1", "2", "3"]
    return sorted(_planned(words, "quench"), key=lambda task: task.job.seed)


def lists(folder: Path, device: str) -> dict[str, list[tuple[str, list[Task]]]]:
    """Tasks of each role, in their order, by the potential that they need."""

    def some(*given: Any, **more: Any) -> list[Task]:
        return tasks(folder, device, *given, **more)

    warm = some(SEVENNET, "expansion", (1,), LARGE)
    warmed = {task.job for task in warm}
    seven = [task for task in some(SEVENNET, "rest", (1, 2, 3)) if task.job not in warmed]
    seven += some(SEVENNET, "levels", (1,), strained=True) + some(SEVENNET, "levels", (2, 3))
    seven += some(SEVENNET, "rest", (1,), LARGE, atoms=300)
    seven += some(SEVENNET, "rest", (1,), d3=("d3torch-abc",)) + some(SEVENNET, "rest", (1,), LARGE)
    wide = []
    for kind, seeds, strained in (
        ("rest", (1, 2, 3), False), ("levels", (1,), False), ("levels", (1,), True),
    ):  # fmt: skip
        found = some(WIDE, kind, seeds, strained=strained)
        wide += sorted(found, key=lambda task: (task.job.seed, task.job.composition not in LARGE))
    chg = some(CHGNET, "rest", (1,), LARGE, atoms=300)
    for seed in (1, 2, 3):
        chg += some(CHGNET, "rest", (seed,), d3=("d3torch-abc",))
    chg += some(CHGNET, "levels", (1,), strained=True)
    chg += some(CHGNET, "rest", (1,), d3=("d3torch-abc",), strained=True)
    chg += some(CHGNET, "levels", (1, 2, 3))
    return {
        "expansion": [(SEVENNET, warm)],
        "melts": [(SEVENNET, quenches(folder, device, SEVENNET))],
        "sevenn": [(SEVENNET, seven), (WIDE, wide)],
        "l3i5": [(WIDE, wide)],
        "chgnet": [(CHGNET, chg)],
        "chgnet_expansion": [(CHGNET, some(CHGNET, "expansion", (1,), LARGE))],
        "chgnet_melts": [(CHGNET, quenches(folder, device, CHGNET))],
    }


def _taken(path: Path) -> bool:
    """Take what a name stands for, unless another thread or process has it."""
    try:
        path.open("x").close()
    except FileExistsError:
        return False
    return True


class Worker:
    """A process: one potential after another, and threads that take tasks.

    Args:
        role: which list of tasks.
        number: of the process, for the log.
        threads: at once.
        folder: of the study.
        device: of torch.
        until: wall clock, s.
    """

    def __init__(
        self, role: str, number: int, threads: int, folder: Path, device: str, until: float
    ) -> None:
        self.name, self.role, self.threads = f"{role}{number}", role, threads
        self.folder, self.device, self.until = folder, device, until
        self.failed = 0
        self.made: dict[str, D3Calculator] = {}
        self.lock = threading.Lock()

    def say(self, words: str) -> None:
        """Add a line to the log."""
        with self.lock, (self.folder / "many.log").open("a", encoding="utf-8") as file:
            left = self.until - time.time()
            file.write(f"{left:7.1f} s left  {self.name:12} {words}\n")

    def _next(self, planned: list[Task]) -> Task | None:
        """The first task that no other thread or process has taken; none after two failures."""
        if self.failed > 1 or time.time() > self.until - 2.0:
            return None
        for task in planned:
            path, folder = self._claim(task.name), self._claim_of_folder(task)
            if path.exists() or not _taken(folder):
                continue
            if _taken(path):
                return task
            folder.unlink()
        return None

    def _claim(self, name: str) -> Path:
        return self.folder / "claims" / name

    def _claim_of_folder(self, task: Task) -> Path:
        """Tasks of one folder, at rest and then under pressure, are not done side by side."""
        parts = task.args.folder.relative_to(self.folder).parts
        return self._claim("_".join([*parts, task.job.name, "at_work"]))

    def run(self) -> None:
        """Work through the lists of the role."""
        for model, planned in lists(self.folder, self.device)[self.role]:
            if time.time() > self.until - 15.0 or self.failed > 1:
                return
            potential = many_at_once(model)
            potential.to(self.device)
            batch = Batch(potential, self._dispersion, self.threads, self.until)
            self.say(f"{model} on {self.device}")
            threads = [
                threading.Thread(target=self._thread, args=(planned, batch), daemon=True)
                for _ in range(self.threads)
            ]
            for thread in threads:
                thread.start()
            batch.serve()
            for thread in threads:
                thread.join()
            self._tell(model, batch)

    def _dispersion(self, d3: str) -> D3Calculator:
        if d3 not in self.made:
            settings = settings_for(d3, Settings(xc="pbe", preset="converged"))
            self.made[d3] = D3Calculator(settings=settings, device=self.device)
        return self.made[d3]

    def _tell(self, model: str, batch: Batch) -> None:
        found = {"model": model, "calls": batch.calls, "structures": batch.structures}
        path = self.folder / f"many_{self.name}_{model.replace(':', '-')}.json"
        path.write_text(json.dumps({**found, "seconds": batch.seconds}), encoding="utf-8")
        self.say(f"{model}: {batch.structures} structures in {batch.calls} calls, {batch.seconds}")

    def _thread(self, planned: list[Task], batch: Batch) -> None:
        try:
            while (task := self._next(planned)) is not None:
                began, end = time.time(), "ended"
                try:
                    self._do(task, Asking(batch, task.job.d3))
                except NextTask:
                    end = "at rest"
                except TimeIsUp:
                    end = "stopped"
                except AtWork:
                    end = "left to another process"
                except Exception:
                    with self.lock:
                        self.failed += 1
                    end = "FAILED\n" + traceback.format_exc()
                finally:
                    self._claim_of_folder(task).unlink(missing_ok=True)
                self.say(f"{task.name}: {time.time() - began:.1f} s, {end}")
        finally:
            batch.leave()

    def _do(self, task: Task, calculator: Any) -> None:
        parent = task.args.folder
        extra = {**recorded(task.job, task.args), **recorded_device(task.args.device)}
        rest = read_relaxed(parent / task.job.name / f"{REST}.npz")
        if task.kind == "rest" and rest is not None and rest.done:
            write_manifest(task.job, parent / task.job.name, extra)  # which refuses other settings
            raise NextTask  # before the potential takes a step of what comes next

        def tell(steps: int, name: str) -> None:
            if task.kind != "levels" and name != REST:
                raise NextTask

        if task.kind == "quench":
            run_job(task.job, parent, calculator, only=("quench",), extra=extra)
        elif task.kind == "expansion":
            try:
                run_static(task.static, parent, calculator, tell, extra)
            except NextTask:
                self.say(f"{task.name}: at rest")
            run_expansion(task.static, parent, calculator, extra=extra)
        else:
            if parent.name == STRAINED:
                begin_at(parent / task.job.name, parent.parent / task.job.name)
            run_static(task.static, parent, calculator, tell, extra)


def _work(args: argparse.Namespace) -> int:
    """In a process of its own; the exit code, 1 if a job failed."""
    role, number, threads, until = args.one
    torch.set_num_threads(1)
    torch._C._jit_set_texpr_fuser_enabled(False)  # it would compile kernels for each new size
    worker = Worker(role, int(number), int(threads), args.folder, args.device, float(until))
    try:
        worker.run()
    except BaseException:
        worker.say("FAILED\n" + traceback.format_exc())
        raise
    return 1 if worker.failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--device", default="cuda")
    roles = ", ".join(ROLES)
    told = f"roles: {roles} (default: {' '.join(PLAN)})"
    parser.add_argument("--plan", nargs="+", default=PLAN, metavar="ROLE:NxTHREADS", help=told)
    one = ("ROLE", "NUMBER", "THREADS", "UNTIL")
    parser.add_argument("--one", nargs=4, metavar=one, help="one process of a plan")
    return parser.parse_args()


def _wait(processes: list[subprocess.Popen[bytes]], until: float) -> int:
    """Until all have ended; how many did with an error, without those killed after some grace."""
    late = set()
    for process in processes:
        try:
            process.wait(max(0.0, until + 8.0 - time.time()))
        except subprocess.TimeoutExpired:
            process.kill()
            late.add(process.pid)
    return sum(process.wait() != 0 for process in processes if process.pid not in late)


def main() -> int:
    """The exit code."""
    args = _options()
    for word in args.plan:
        if not re.fullmatch(rf"({'|'.join(ROLES)}):[1-9]\d*x[1-9]\d*", word):
            raise SystemExit(
                f"many.py: expected a plan such as {PLAN[0]} of known roles, got {word}"
            )
    if args.one:
        return _work(args)
    (args.folder / "claims").mkdir(parents=True, exist_ok=True)
    with alone(args.folder) as descriptor:
        return _share_out(args, descriptor)


def _share_out(args: argparse.Namespace, descriptor: int) -> int:
    """Run the processes of a plan, which keep the folder if this one is killed; the exit code."""
    for claim in (args.folder / "claims").iterdir():
        claim.unlink()
    until = time.time() + args.seconds
    processes = []
    planned = lists(args.folder, args.device)
    for role, count in (word.split(":") for word in args.plan):
        jobs = sum(len(of_model) for _, of_model in planned[role])
        print(f"{role}: {jobs} jobs, as far as {args.seconds:g} s go", flush=True)
        number_of, threads = count.split("x")
        for number in range(int(number_of)):
            words = [__file__, str(args.folder), "0", "--device", args.device]
            words += ["--one", role, str(number), threads, str(until)]
            command = [sys.executable, *words]
            processes.append(subprocess.Popen(command, pass_fds=(descriptor,)))
    return 1 if _wait(processes, until) else 0


if __name__ == "__main__":
    sys.exit(main())

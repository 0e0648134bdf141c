"""Breaks the CUDA kernels at one place at a time, and says which check of the emulation finds it.

    .venv/bin/python scripts/checks/break_cuda.py [--only TEXT...] [--part K/N] [--record FILE]

The breaks are those of ``cuda_breaks.txt``. All are compiled into one emulated library, each behind
its number; every break then runs a short set of tests in a process of its own, with every load and
store looked at, and where that ends in a finding once more with results alone to go by. Exit status
1 if a break survives that is not said to be harmless.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
BREAKS = Path(__file__).with_name("cuda_breaks.txt")
SECONDS = 600  # of this process, for tests without a break; with one, four times what they took
SWITCH = """
#include <torch/library.h>
#include "emulation.h"
extern "C" int emulation_broken;
int emulation_broken = -1;
TORCH_LIBRARY_FRAGMENT(emulation, m) {
  m.def("set_broken(int number, bool checks) -> ()", [](int64_t number, bool checks) {
    emulation_broken = int(number);
    emulation::checks_wanted = checks;
  });
}
"""


class Break(NamedTuple):
    """A place in a file, and what stands there instead."""

    file: str
    where: str
    kind: str
    new: str
    harmless: str

    def __str__(self) -> str:
        piece = self.where.split("«")[1].split("»")[0]
        return f"{self.file}: {piece} {self.kind} {self.new}".rstrip()


def read_breaks(text: str) -> list[Break]:
    """The breaks of a file like ``cuda_breaks.txt``."""
    found: list[Break] = []
    file = where = ""
    for line in text.splitlines():
        if line.startswith("@ "):
            file = line[2:].strip()
        elif line.startswith(("->", "--")):
            found.append(Break(file, where, line[:2], line[2:].strip(), ""))
        elif line.startswith("harmless: "):
            found[-1] = found[-1]._replace(harmless=line[10:])
        elif line and not line.startswith("#"):
            where = line
    return found


def span(source: str, where: str) -> tuple[int, int]:
    """Where in a source the piece between « and » is."""
    parts = [r"\s*".join(map(re.escape, part.split())) for part in re.split("[«»]", where)]
    matches = list(re.finditer(rf"{parts[0]}\s*({parts[1]})\s*{parts[2]}", source))
    if len(matches) != 1:
        raise SystemExit(f"break_cuda: expected one place like {where!r}, got {len(matches)}.")
    return matches[0].span(1)


def switched(source: str, breaks: list[tuple[int, Break]]) -> str:
    """A source with all its breaks, each behind its number."""
    inserts: list[tuple[int, int, int, str]] = []
    for number, b in breaks:
        first, last = span(source, b.where)
        if b.kind == "->":
            before, after = f"(emulation_broken == {number} ? ({b.new}) : (", "))"
        else:
            before, after = f"if (emulation_broken == {number}) {{ {b.new} }} else {{ ", " }"
        inserts += [(first, 1, first - last, before), (last, 0, last - first, after)]
    out, done = "", 0
    for at, _, _, text in sorted(inserts):  # ends before starts, the inner one first
        out += source[done:at] + text
        done = at
    return 'extern "C" int emulation_broken;\n' + out + source[done:]


def build(breaks: list[Break], folder: Path) -> Path:
    """The emulated library with all breaks."""
    for name in ("csrc", "scripts/checks", "tests/helpers/cuda_emulation"):
        shutil.copytree(ROOT / name, folder / name)
    cuda = folder / "csrc" / "engine" / "cuda"
    for file in sorted({b.file for b in breaks}):
        source = (cuda / file).read_text()
        mine = [(k, b) for k, b in enumerate(breaks) if b.file == file]
        (cuda / file).write_text(switched(source, mine))
    (folder / "tests" / "helpers" / "cuda_emulation" / "breaks.cpp").write_text(SWITCH)
    library = folder / "broken.so"
    script = folder / "scripts" / "checks" / "emulate_cuda.sh"
    environment = {**os.environ, "PYTHON": sys.executable}
    subprocess.run(["bash", str(script), str(library), "checked"], env=environment, check=True)
    return library


# ---- the tests that every break runs ----


seconds_of: dict[str, float] = {}  # of a test, without a break


def probes(file: str = "") -> list[tuple[str, Callable[[], Any]]]:
    """Short tests that go through the kernels of a file, the shortest first: names, and calls."""
    from cuda_probes import probes_of

    return sorted(probes_of(file), key=lambda probe: seconds_of.get(probe[0], 0.0))


def outcome(number: int, file: str, checks: bool) -> int:
    """Runs the tests with a break, in this process, until one fails. 0 if none does."""
    import torch

    torch.ops.emulation.set_broken(number, checks)
    for name, probe in probes(file):
        start = time.process_time()
        try:
            probe()
        except BaseException as error:  # whatever a test says of a break
            print(f"{name}: {type(error).__name__} {str(error).splitlines()[:1]}", file=sys.stderr)
            return 1
        if number < 0:
            print(f"{time.process_time() - start:.4f} s {name}", file=sys.stderr)
    return 0


def tried(number: int, file: str = "", checks: bool = True) -> str:
    """What becomes of the tests with a break, in a process of its own."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writing, 2)
        usual = sum(seconds_of.get(name, 0.0) for name, _ in probes(file))
        signal.setitimer(signal.ITIMER_PROF, 20 + 4 * usual if number >= 0 else SECONDS)
        os._exit(outcome(number, file, checks))
    os.close(writing)
    with os.fdopen(reading, errors="replace") as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    for taken, name in re.findall(r"^([\d.]+) s (.*)$", text, re.MULTILINE):
        seconds_of[name] = float(taken)
    return verdict(status, text)


KINDS = (
    ("expected no read of what nobody wrote", "initcheck"),
    ("there and was written", "initcheck"),
    ("expected accesses in order", "racecheck"),
    ("expected memory that is there", "memcheck"),
    ("expected a write of memory", "memcheck"),
    ("expected memory of the device", "memcheck"),
    ("outside of allocations", "red zones"),
    ("__syncthreads", "barriers"),
    ("mask", "masks"),
    ("lanes to meet", "masks"),
    ("wait for each other in vain", "barriers"),
    ("current stream", "streams"),
    ("emulation:", "other"),
)


def verdict(status: int, text: str) -> str:
    """One word for how the tests ended."""
    if status == 0:
        return "survives"
    for words, kind in KINDS:
        if "emulation:" in text and words in text:
            return kind
    if os.WIFSIGNALED(status):
        died = signal.Signals(os.WTERMSIG(status)).name
        return {"SIGPROF": "hangs"}.get(died, f"crash ({died})")
    return "results"


def table(breaks: list[Break], found: list[tuple[str, str]]) -> str:
    """A line for each break: by results alone, by the checks."""
    lines = ["| break | results alone | with checks |", "|---|---|---|"]
    for b, (alone, checked) in zip(breaks, found, strict=True):
        note = f" (harmless: {b.harmless})" if b.harmless else ""
        lines.append(f"| `{b}`{note} | {alone} | {checked} |".replace("||", "\\|\\|"))
    return "\n".join(lines)


def load(library: Path) -> None:
    """The library and the tests, with everything in one thread."""
    os.environ["D3TORCH_EMULATED_CUDA"] = str(library)
    sys.path[:0] = [str(ROOT / "tests" / part) for part in ("helpers", "engine")]
    import torch

    torch.set_num_threads(1)
    probes()


def both(number: int, b: Break) -> tuple[str, str]:
    """How a break is found by results alone, and with the checks."""
    checked = tried(number, b.file)
    alone = checked in ("results", "survives")
    return (checked if alone else tried(number, b.file, False)), checked


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[""], help="breaks whose line has a text")
    parser.add_argument("--part", default="1/1", help="every Nth break, from the Kth on")
    parser.add_argument("--library", type=Path, help="made before with --keep")
    parser.add_argument("--keep", type=Path, help="a folder for the library")
    parser.add_argument("--record", type=Path, help="a file for the table")
    options = parser.parse_args()
    breaks = read_breaks(BREAKS.read_text())
    first, step = map(int, options.part.split("/"))
    wanted = [(k, b) for k, b in enumerate(breaks) if any(t in str(b) for t in options.only)]
    chosen = wanted[first - 1 :: step]
    with contextlib.ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        load(options.library or build(breaks, folder))
        found = []
        groups = {tuple(name for name, _ in probes(b.file)): b.file for _, b in chosen}
        for file in groups.values():
            if (now := tried(-1, file)) != "survives":
                raise SystemExit(f"break_cuda: expected tests of {file} to pass, got {now}.")
        for k, b in chosen:
            found.append(both(k, b))
            print(f"{k:4} {b}: {found[-1][0]}, {found[-1][1]}", flush=True)
    if options.record:
        options.record.write_text(table([b for _, b in chosen], found) + "\n")
    left = [b for (_, b), pair in zip(chosen, found, strict=True) if set(pair) == {"survives"}]
    print(f"{len(chosen)} breaks, {len(chosen) - len(left)} found, {len(left)} left")
    return int(any(not b.harmless for b in left))


if __name__ == "__main__":
    sys.exit(main())

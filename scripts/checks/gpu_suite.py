"""Runs test files side by side, each in a pytest of its own, until time is up.

    python scripts/checks/gpu_suite.py --seconds 120 tests/*/test_*.py

Says of every file what came of it. Exit status: 0 if all passed; 1 if one failed; 75 if none
failed but some did not run: for time, or for a package that is not installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

FAILED, NOT_RUN = 1, 75


class Outcome(NamedTuple):
    """Of a file: 0, FAILED or NOT_RUN, a line about it, and its output."""

    status: int
    line: str
    output: str = ""


def lacks(output: str) -> str | None:
    """The package that a file could not be read without, if it is not installed."""
    found = re.search(r"ModuleNotFoundError: No module named '(\w+)", output)
    return found[1] if found and importlib.util.find_spec(found[1]) is None else None


def run(file: str, deadline: float) -> Outcome:
    """The outcome of a file."""
    left = deadline - time.monotonic()
    if left < 5:
        return Outcome(NOT_RUN, f"{file}: not run (time)")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", file]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=left)
    except subprocess.TimeoutExpired:
        return Outcome(NOT_RUN, f"{file}: not finished (time)")
    output = done.stdout + done.stderr
    counts = (re.findall(r"\d+ \w+\b.* in [\d.]+s", output) or ["nothing counted"])[-1]
    package = lacks(output)
    if done.returncode == 2 and package:
        return Outcome(NOT_RUN, f"{file}: not run (no {package})")
    if done.returncode not in (0, 5):  # 5: no test, since the file skips itself
        return Outcome(FAILED, f"{file}: FAILED (exit {done.returncode}), {counts}", output)
    if " passed" not in counts:
        why = (re.findall(r"^SKIPPED .*?: (.*)$", output, re.M) or ["no test"])[-1]
        return Outcome(NOT_RUN, f"{file}: not run ({why})")
    return Outcome(0, f"{file}: passed, {counts}")


def main() -> int:
    """Run all files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+")
    parser.add_argument("--seconds", type=float, required=True, help="until time is up")
    jobs = max((os.cpu_count() or 1) // 2, 1)  # the tests take two threads each
    parser.add_argument("--jobs", type=int, default=jobs, help=f"at once (default: {jobs})")
    args = parser.parse_args()
    deadline = time.monotonic() + args.seconds
    with ThreadPoolExecutor(args.jobs) as pool:
        outcomes = list(pool.map(lambda file: run(file, deadline), args.files))
    for outcome in outcomes:
        if outcome.status == FAILED:
            print(f"\n{outcome.line}\n{outcome.output[-3000:]}")
    for outcome in sorted(outcomes, key=lambda o: o.status):  # last: the report keeps the end
        print(outcome.line)
    statuses = {outcome.status for outcome in outcomes}
    return FAILED if FAILED in statuses else max(statuses)


if __name__ == "__main__":
    sys.exit(main())

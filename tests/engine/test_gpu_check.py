"""The logic of scripts/checks/gpu_check.sh, with stand-ins of its programs, and of gpu_suite.py."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from checkout import checkout

ROOT = checkout()
# Stands in for Python: says what the machine is, then goes by lines "part of a call|command".
PYTHON = """#!/usr/bin/env bash
if [ "$1" = -c ]; then
  [ -n "$NO_GPU" ] || printf '%s\\n' "Stub A100 40GB" 8.0 "torch 2 CUDA 13" "$MISSING"
  exit
fi
while IFS='|' read -r part command; do
  [ -z "$part" ] || [[ "$*" != *"$part"* ]] || { eval "$command"; exit; }
done <<< "$ANSWERS"
echo "$*" >> "$CALLS"
echo "12 passed in 0.01s"
"""
SANITIZER = '#!/usr/bin/env bash\nshift 4\nexec "$@"\n'
STEPS = [
    "Build",
    "Tests of the CUDA kernels",
    "Against simple-dftd3 and the CPU",
    "compute-sanitizer memcheck",
    "compute-sanitizer racecheck",
    "Speed",
    "MACE, float32",
    "MACE, float64",
    "MACE with cuEquivariance",
    "The rest of the suite",
]


class Check:
    """gpu_check.sh in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        programs = {"python": PYTHON, "compute-sanitizer": SANITIZER, "nvidia-smi": "#!/bin/sh\n"}
        for name, text in programs.items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)

    def start(self, *steps: str, answers: str = "", **environment: str) -> subprocess.Popen[str]:
        variables = {
            "PATH": f"{self.folder}:{os.environ['PATH']}",
            "PYTHON": str(self.folder / "python"),
            "OUT": str(self.folder / "out"),
            "CALLS": str(self.folder / "calls"),
            "ANSWERS": answers,
            **{"MISSING": "", "NO_GPU": "", "BUDGET": "570", **environment},
        }
        command = ["bash", str(ROOT / "scripts" / "checks" / "gpu_check.sh"), *steps]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(command, env={**os.environ, **variables}, **pipes)

    def run(self, *steps: str, answers: str = "", **environment: str) -> tuple[int, str]:
        """Exit status and the file."""
        process = self.start(*steps, answers=answers, **environment)
        self.said, _ = process.communicate()
        return process.returncode, self.file()

    def file(self) -> str:
        found = [*(self.folder / "out").glob("gpu_20??-??-??_stub-a100-40gb.md")]
        return found[0].read_text() if found else ""


@pytest.fixture
def check(tmp_path: Path) -> Check:
    return Check(tmp_path)


def _titles(text: str) -> list[str]:
    return [line[3:].split(": ")[0] for line in text.splitlines() if line.startswith("## ")]


def test_every_step_runs_and_the_file_says_passed(check: Check) -> None:
    status, text = check.run()
    assert (status, text.splitlines()[2]) == (0, "**Passed.**")
    assert _titles(text) == STEPS
    assert text.count(": passed, ") == len(STEPS)
    calls = (check.folder / "calls").read_text()
    assert all(name in calls for name in ("setup.py", "stored_oracle.py", "test_gpu.py", "--cueq"))
    assert not [*(check.folder / "out").glob("*.tmp")]


def test_a_failure_is_said_at_the_top_and_the_rest_still_runs(check: Check) -> None:
    status, text = check.run(answers="stored_oracle.py --device|echo it is TOO FAR; false")
    assert (status, text.splitlines()[2]) == (1, f"**FAILED: {STEPS[2]}.**")
    assert _titles(text) == STEPS
    assert "it is TOO FAR" in text
    assert f"{STEPS[2]}: FAILED (exit 1)" in text


def test_nothing_runs_on_a_build_that_failed(check: Check) -> None:
    status, text = check.run(answers="setup.py|exit 3")
    assert (status, text.splitlines()[2]) == (1, "**FAILED: Build.**")
    assert _titles(text) == STEPS[:1]


def test_tests_that_all_skip_themselves_have_not_passed(check: Check) -> None:
    status, text = check.run("kernels", answers="pytest|echo 31 skipped in 1.57s")
    assert status == 1
    assert "Tests of the CUDA kernels: FAILED (no test ran)" in text


def test_what_is_not_installed_is_said(check: Check) -> None:
    status, text = check.run("speed", "mace", MISSING="mace warp")
    assert (status, text.splitlines()[2]) == (75, "**Nothing failed, but not everything ran.**")
    assert text.count(": not run (no mace)") == 3
    assert "- not installed: mace warp\n" in text
    assert "nvalchemi left out of the comparison" in check.said


def test_a_step_that_runs_out_of_time_has_not_passed(check: Check) -> None:
    status, text = check.run(answers="stored_oracle.py --device|sleep 60", BUDGET="8")
    assert (status, text.splitlines()[2]) == (75, "**Nothing failed, but not everything ran.**")
    assert f"{STEPS[2]}: not finished (time)" in text
    assert text.count(": not run (time)") == len(STEPS) - 3


def test_a_step_may_say_itself_that_time_was_up(check: Check) -> None:
    status, text = check.run("speed", answers="benchmarks.suites.gpu|exit 75")
    assert status == 75
    assert "Speed: not finished (time)" in text


def test_the_file_is_complete_when_the_check_is_killed(check: Check) -> None:
    process = check.start("oracle", "speed", answers="benchmarks.suites.gpu|sleep 10")
    while "during: Speed" not in check.file():
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.communicate()
    text = check.file()
    assert text.splitlines()[2].startswith("**FAILED: ended early, during: Speed.")
    assert _titles(text) == STEPS[2:3]


@pytest.mark.parametrize(
    ("steps", "environment", "words"),
    [
        ((), {"NO_GPU": "1"}, "expected a GPU, torch sees none"),
        (("speed", "fly"), {}, "got fly"),
        ((), {"BUDGET": "ten"}, "expected BUDGET in seconds, got ten"),
    ],
)
def test_refusals(
    steps: tuple[str, ...], environment: dict[str, str], words: str, check: Check
) -> None:
    status, text = check.run(*steps, **environment)
    assert (status, text) == (1, "")
    assert words in check.said
    assert check.said.startswith("gpu_check: expected ")
    assert check.said.count("\n") == 1


# ---- gpu_suite.py ----

FILES = {
    "test_good.py": "def test_good(): pass",
    "test_wrong.py": "def test_wrong(): assert 1 == 2",
    "test_alien.py": "import no_such_package\ndef test_alien(): pass",
    "test_broken.py": "import os.no_such_part\ndef test_broken(): pass",
    "test_shy.py": "import pytest\npytest.importorskip('no_such_package', reason='needs it')",
    "test_slow.py": "import time\ndef test_slow(): time.sleep(60)",
}


def _suite(folder: Path, *names: str, seconds: float = 100) -> tuple[int, dict[str, str]]:
    """Exit status, and what is said of each file."""
    for name in names:
        (folder / name).write_text(FILES[name] + "\n")
    script = str(ROOT / "scripts" / "checks" / "gpu_suite.py")
    command = [sys.executable, script, "--jobs", "2", "--seconds", str(seconds), *names]
    out = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    lines = [line.split(": ", 1) for line in out.stdout.splitlines()[: len(names)]]
    return out.returncode, {line[0]: line[1] for line in lines}


def test_the_suite_fails_if_a_file_does(tmp_path: Path) -> None:
    names = ["test_good.py", "test_wrong.py", "test_broken.py"]
    status, said = _suite(tmp_path, *names)
    assert status == 1
    assert said["test_good.py"].startswith("passed, 1 passed in ")
    assert said["test_wrong.py"].startswith("FAILED (exit 1), 1 failed in ")
    assert said["test_broken.py"].startswith("FAILED (exit 2)")


def test_the_suite_names_what_did_not_run(tmp_path: Path) -> None:
    status, said = _suite(tmp_path, "test_alien.py", "test_shy.py", "test_good.py")
    assert status == 75
    assert said["test_alien.py"] == "not run (no no_such_package)"
    assert said["test_shy.py"].startswith("not run (")


def test_the_suite_ends_in_time(tmp_path: Path) -> None:
    status, said = _suite(tmp_path, "test_slow.py", "test_good.py", seconds=6)
    assert status == 75
    assert said["test_slow.py"] == "not finished (time)"
    assert _suite(tmp_path, "test_good.py", seconds=1) == (75, {"test_good.py": "not run (time)"})

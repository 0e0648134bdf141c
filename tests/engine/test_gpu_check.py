"""The logic of scripts/checks/gpu_check.sh, with stand-ins of its programs, and of gpu_suite.py."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
from checkout import checkout
from modules import module_at

ROOT = checkout()
# Stands in for Python: says what the machine is, then goes by lines "part of a call|command".
PYTHON = """#!/usr/bin/env bash
if [ "$1" = -c ]; then
  card="Stub A100 40GB"
  [ -z "$D3TORCH_EMULATED_CUDA" ] || card=EMULATED
  [ -n "$NO_GPU" ] || printf '%s\\n' "$card" 8.0 "torch 2 CUDA 13" "MISSING $MISSING"
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
    "Packages",
    "Prebuilt libraries",
    "Against simple-dftd3 and the CPU",
    "compute-sanitizer memcheck",
    "Speed",
    "MACE, float32",
    "MACE, float64",
    "MACE with cuEquivariance",
    "Speed beside rivals",
    "MACE beside nvalchemi",
    "Tests of the CUDA kernels",
    "compute-sanitizer racecheck",
    "The rest of the suite",
]
BUILD = "Build, since no prebuilt library serves"


class Check:
    """gpu_check.sh in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        programs = {"python": PYTHON, "compute-sanitizer": SANITIZER, "nvidia-smi": "#!/bin/sh\n"}
        for name, text in programs.items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        (folder / "pack" / "wheels").mkdir(parents=True)
        (folder / "pack" / "wheels" / "dftd3-1-py3-none-any.whl").touch()
        (folder / "pack" / "d3torch-9-py3-none-any.whl").touch()

    def start(self, *steps: str, answers: str = "", **environment: str) -> subprocess.Popen[str]:
        variables = {
            "PATH": f"{self.folder}:{os.environ['PATH']}",
            "PYTHON": str(self.folder / "python"),
            "OUT": str(self.folder / "out"),
            "PACK": str(self.folder / "pack"),
            "CALLS": str(self.folder / "calls"),
            "ANSWERS": answers,
            **{"MISSING": "", "NO_GPU": "", "BUDGET": "570", "D3TORCH_EMULATED_CUDA": ""},
            **environment,
        }
        command = ["bash", str(ROOT / "scripts" / "checks" / "gpu_check.sh"), *steps]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(command, env={**os.environ, **variables}, **pipes)

    def run(self, *steps: str, answers: str = "", **environment: str) -> tuple[int, str]:
        """Exit status and the file."""
        process = self.start(*steps, answers=answers, **environment)
        self.said, _ = process.communicate()
        return process.returncode, self.file()

    def file(self, name: str = "gpu_20??-??-??_stub-a100-40gb.md") -> str:
        found = [*(self.folder / "out").glob(name)]
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
    names = (
        "dftd3-1-py3",
        "gpu_library.py",
        "d3torch-9-py3",
        "--headline",
        "test_gpu.py",
        "--cueq",
    )
    assert [name for name in names if name not in calls] == []
    assert "setup.py" not in calls
    assert not [*(check.folder / "out").glob("*.tmp")]


def test_a_failure_is_said_at_the_top_and_the_rest_still_runs(check: Check) -> None:
    status, text = check.run(answers="stored_oracle.py --device|echo it is TOO FAR; false")
    assert (status, text.splitlines()[2]) == (1, f"**FAILED: {STEPS[2]}.**")
    assert _titles(text) == STEPS
    assert "it is TOO FAR" in text
    assert f"{STEPS[2]}: FAILED (exit 1)" in text


def test_what_no_prebuilt_library_serves_is_built_and_said(check: Check) -> None:
    status, text = check.run("library", "oracle", answers="gpu_library.py|echo not these; exit 1")
    assert (status, text.splitlines()[2]) == (0, "**Passed.**")
    assert _titles(text) == [STEPS[1], BUILD, STEPS[2]]
    assert "not these" in text
    assert "BUILDING for 8.0" in check.said
    assert "setup.py build_ext --inplace" in (check.folder / "calls").read_text()


def test_nothing_runs_on_a_build_that_failed(check: Check) -> None:
    status, text = check.run(answers="gpu_library.py|exit 1\nsetup.py|exit 3")
    assert (status, text.splitlines()[2]) == (1, f"**FAILED: {BUILD}.**")
    assert _titles(text) == [*STEPS[:2], BUILD]


def test_a_step_that_is_killed_leaves_its_output_and_the_rest_runs(check: Check) -> None:
    status, text = check.run(
        "oracle", "speed", "kernels", answers="suites.gpu|echo 12 ms so far; kill -9 $$"
    )
    assert (status, text.splitlines()[2]) == (1, "**FAILED: Speed.**")
    assert "Speed: FAILED (exit 137)" in text
    assert "12 ms so far" in text
    assert f"{STEPS[10]}: passed" in text


def test_a_killed_step_leaves_no_process_on_the_card(check: Check) -> None:
    """Its children would keep memory of the GPU and slow what comes after."""
    left = check.folder / "left"
    answers = f"suites.gpu|sleep 300 & echo $! > {left}; kill -9 $$"
    check.run("speed", answers=answers)
    assert not Path(f"/proc/{left.read_text().strip()}").exists()


def test_a_second_run_of_a_day_keeps_the_file_of_the_first(check: Check) -> None:
    check.run("oracle")
    check.run("speed")
    assert _titles(check.file()) == STEPS[2:3]
    assert _titles(check.file("gpu_20??-??-??_stub-a100-40gb_2.md")) == STEPS[4:5]


def test_a_rehearsal_is_called_one(check: Check) -> None:
    """In the name of its file and in its first line; compute-sanitizer does not run there."""
    status, text = check.run(D3TORCH_EMULATED_CUDA=str(check.folder / "python"))
    assert (status, text) == (75, "")
    text = check.file("gpu_20??-??-??_EMULATED.md")
    assert text.startswith("# EMULATED: d3torch without a GPU, ")
    assert "nothing here is a result of a GPU" in text
    assert text.count(": not run (emulated)") == 2
    assert text.count(": passed, ") == len(STEPS)
    calls = (check.folder / "calls").read_text()
    assert "--device emulated" in calls
    assert calls.count("tests/helpers/emulated_card.py -m benchmarks.suites.gpu") == 2
    assert calls.count("-m benchmarks.suites.mace --device cpu") == 4
    assert "cuda" not in calls.replace("test_cuda", "")


def test_a_rehearsal_builds_nothing(check: Check) -> None:
    emulated = str(check.folder / "python")
    status, _ = check.run(answers="gpu_library.py|exit 1", D3TORCH_EMULATED_CUDA=emulated)
    text = check.file("gpu_20??-??-??_EMULATED.md")
    assert (status, _titles(text)) == (1, STEPS[:2])
    assert "**FAILED: Prebuilt libraries.**" in text


def test_tests_that_all_skip_themselves_have_not_passed(check: Check) -> None:
    status, text = check.run("kernels", answers="pytest|echo 31 skipped in 1.57s")
    assert status == 1
    assert "Tests of the CUDA kernels: FAILED (no test ran)" in text


def test_what_is_not_installed_is_said(check: Check) -> None:
    status, text = check.run("mace", "rivals", MISSING="mace warp")
    assert (status, text.splitlines()[2]) == (75, "**Nothing failed, but not everything ran.**")
    assert text.count(": not run (no mace)") == 3
    assert "- not installed: mace warp\n" in text
    assert "nvalchemi left out of the comparison" in check.said


def test_a_step_that_runs_out_of_time_has_not_passed(check: Check) -> None:
    status, text = check.run(answers="stored_oracle.py --device|sleep 60", BUDGET="9")
    assert (status, text.splitlines()[2]) == (75, "**Nothing failed, but not everything ran.**")
    assert f"{STEPS[2]}: not finished (time)" in text
    assert text.count(": not run (time)") == len(STEPS) - 3


def test_a_step_may_say_itself_that_time_was_up(check: Check) -> None:
    status, text = check.run("speed", answers="benchmarks.suites.gpu|exit 75")
    assert status == 75
    assert "Speed: not finished (time)" in text


def test_the_file_is_complete_when_the_check_is_killed(check: Check) -> None:
    answers = "benchmarks.suites.gpu|echo 12 ms so far; sleep 10"
    process = check.start("oracle", "speed", answers=answers)
    while "12 ms so far" not in check.file():
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.communicate()
    text = check.file()
    assert text.splitlines()[2].startswith("**FAILED: ended early, during: Speed.")
    assert _titles(text) == [STEPS[2], STEPS[4]]
    assert "## Speed: running" in text


@pytest.mark.parametrize(
    ("steps", "environment", "words"),
    [
        ((), {"NO_GPU": "1"}, "expected a GPU, torch sees none"),
        (("speed", "fly"), {}, "got fly"),
        ((), {"BUDGET": "ten"}, "expected BUDGET in seconds, got ten"),
        ((), {"D3TORCH_EMULATED_CUDA": "/no"}, "D3TORCH_EMULATED_CUDA to be a library, got /no"),
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


# ---- gpu_library.py ----


def _wheel(folder: Path, sources: str) -> Path:
    """A wheel whose libraries say what they are compiled of."""
    wheel = folder / "d3torch-9-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("d3torch/lib/sources.txt", f"{sources}\n")
        archive.writestr("d3torch/lib/torch-9.9/libd3torch.so", "a library")
        archive.writestr("d3torch/model.py", "not taken")
    return wheel


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """gpu_library.py of a checkout with one source."""
    script = module_at(ROOT / "scripts" / "checks" / "gpu_library.py")
    (tmp_path / "csrc").mkdir()
    (tmp_path / "csrc" / "kernels.cu").write_text("one")
    (tmp_path / "CMakeLists.txt").write_text("two")
    monkeypatch.setattr(script, "ROOT", tmp_path)
    return script


def test_libraries_of_these_sources_are_taken(library: ModuleType, tmp_path: Path) -> None:
    library.take(_wheel(tmp_path, library.SOURCES["digest"](tmp_path)))
    files = {path.name for path in (tmp_path / "d3torch").rglob("*") if path.is_file()}
    assert files == {"sources.txt", "libd3torch.so"}


@pytest.mark.parametrize("change", ["csrc/kernels.cu", "csrc/more.cu", "CMakeLists.txt"])
def test_libraries_of_other_sources_are_refused(
    change: str, library: ModuleType, tmp_path: Path
) -> None:
    wheel = _wheel(tmp_path, library.SOURCES["digest"](tmp_path))
    (tmp_path / change).write_text("changed")
    with pytest.raises(SystemExit, match="expected libraries of these sources, got those of sour"):
        library.take(wheel)
    assert not (tmp_path / "d3torch").exists()


def test_libraries_that_do_not_say_their_sources_are_refused(
    library: ModuleType, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit, match="got those of unknown ones in"):
        library.refuse_others("", tmp_path)


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
    lines = [line.split(": ", 1) for line in out.stdout.splitlines()[-len(names) :]]
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

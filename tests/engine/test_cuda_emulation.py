"""The CUDA kernels and their torch glue, emulated on the CPU: no GPU, and no CUDA, is needed.

The emulated kernels take the CUDA key of the dispatcher, so the tests of ``test_cuda_*.py`` run in
a process of their own, on CPU tensors.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import checkout

ROOT = checkout()
NAMES = ("pairs", "list", "list_refusals", "lattice", "three_body")
SUITES = [f"test_cuda_{name}.py" for name in NAMES]
pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")


@pytest.fixture(scope="module")
def emulation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("emulation") / "emulated.so"
    command = ["bash", str(ROOT / "scripts" / "checks" / "emulate_cuda.sh"), str(library)]
    environment = {**os.environ, "PYTHON": sys.executable}
    out = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert out.returncode == 0, out.stdout + out.stderr
    return library


@pytest.mark.parametrize("suite", SUITES)
def test_cuda_kernels_are_those_of_the_cpu(suite: str, emulation: Path) -> None:
    environment = {**os.environ, "D3TORCH_EMULATED_CUDA": str(emulation)}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"tests/engine/{suite}"]
    out = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, cwd=ROOT
    )
    assert out.returncode == 0, out.stdout + out.stderr
    passed = re.search(r"(\d+) passed", out.stdout)
    assert passed is not None
    assert int(passed[1]) > 50

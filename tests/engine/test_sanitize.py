"""The C++ core under the address and undefined-behaviour sanitizers, without torch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import lammps_runs
import pytest
from checkout import checkout

SCRIPT = checkout() / "scripts" / "checks" / "sanitize.sh"


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_sanitizers_find_nothing() -> None:
    out = subprocess.run([str(SCRIPT)], capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stdout + out.stderr
    assert "nothing found" in out.stdout


LAMMPS = SCRIPT.with_name("sanitize_lammps.sh")


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
@pytest.mark.skipif(bool(lammps_runs.missing()), reason=lammps_runs.missing())
def test_sanitizers_find_nothing_in_the_pair_style() -> None:
    here = {**os.environ, "PYTHON": sys.executable}
    out = subprocess.run([str(LAMMPS)], env=here, capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stdout + out.stderr
    assert "nothing found" in out.stdout

"""Functions of a register of numbers beside those of long double, over the whole range."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest
from checkout import TESTS, checkout
from instruction_sets import require

SETS = {"avx2": ("32", "-mavx2", "-mfma", "-mpopcnt"), "baseline": ("16",)}
BOUNDS = {"exp": 1.1, "exp_near_0": 1.1, "exp_far": 0.0, "reciprocal_sqrt": 1.6, "compress": 0.0}
"""Worst errors in ulps of the result, of which half a one is the least that there can be."""


def _worst(instruction_set: str, folder: Path) -> dict[tuple[str, str], float]:
    """What the program of this instruction set prints, by function and type."""
    width, *flags = SETS[instruction_set]
    program = folder / "registers"
    command = ["g++", "-std=c++17", "-O1", "-Wno-psabi", f"-I{checkout() / 'csrc'}", *flags]
    command += [f"-DD3_ISA={instruction_set}", f"-DD3_BYTES={width}", "-o", str(program)]
    command += [str(TESTS / "helpers" / "registers" / "main.cpp")]
    command += ["-lmvec"] if platform.machine() == "x86_64" else []
    subprocess.run(command, check=True)
    lines = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    return {(name, kind): float(x) for name, kind, x in map(str.split, lines.splitlines())}


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
@pytest.mark.parametrize("instruction_set", SETS)
def test_functions_of_registers_are_exact_to_the_last_bit_or_two(
    instruction_set: str, tmp_path: Path
) -> None:
    require(instruction_set)
    worst = _worst(instruction_set, tmp_path)
    assert {name for name, _ in worst} == set(BOUNDS)
    assert {key: x for key, x in worst.items() if not x <= BOUNDS[key[0]]} == {}

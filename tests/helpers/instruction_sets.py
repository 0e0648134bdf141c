"""Instruction sets of the kernels, and whether this processor has them."""

from __future__ import annotations

from pathlib import Path

import pytest

FLAGS = {"avx512": {"avx512f", "avx512dq", "avx512vl"}, "avx2": {"avx2", "fma"}, "baseline": set()}
"""What /proc/cpuinfo names of each, the widest first."""


def has(instruction_set: str) -> bool:
    """Whether this processor has one."""
    words = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    return FLAGS[instruction_set] <= set(words)


def require(instruction_set: str) -> None:
    """Skip the test on a processor without it; a refusal by the kernels skips none."""
    if not has(instruction_set):
        pytest.skip(f"this processor has no {instruction_set}")

"""Shared set-up: one thread for the oracle, set before anything loads OpenMP; the C++ program."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")

import pytest
from hosts import host  # noqa: F401

LONGEST = ("test_cuda_emulation", "test_sanitize", "test_mace_files", "test_pair_style")
LONGEST += ("test_pair_style_variants", "test_export", "test_settings", "test_layering")
"""Files that take half a minute and more: first, so that no core waits for them at the end."""

# Ranks of MPICH that wait for others give their cores away, of which there may be fewer than ranks.
os.environ.setdefault("MPIR_CVAR_ENABLE_HEAVY_YIELD", "1")
os.environ.setdefault("MPIR_CVAR_POLLS_BEFORE_YIELD", "1")
for operation in ("BARRIER", "BCAST", "REDUCE", "ALLREDUCE"):
    os.environ.setdefault(f"MPIR_CVAR_{operation}_POSIX_INTRA_ALGORITHM", "mpir")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; within a file, and among the others, the order stays."""
    place = {name: k for k, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONGEST)))

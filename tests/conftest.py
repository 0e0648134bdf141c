"""Shared set-up: one thread for the oracle, set before anything loads OpenMP; the C++ program."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")

from hosts import host  # noqa: F401

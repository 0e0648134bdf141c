"""Shared set-up: one thread for the oracle, set before anything loads OpenMP."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")

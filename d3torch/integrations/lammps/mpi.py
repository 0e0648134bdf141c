"""The end of all MPI ranks when one of them fails, where the others would wait for it for ever."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

MPICH_WORLD = 0x44000000
"""MPI_COMM_WORLD in the ABI that MPICH, Intel MPI, Cray MPI and MVAPICH share."""


def _world() -> tuple[Any, Any] | None:
    """The MPI library of this process and its MPI_COMM_WORLD, if there is one that is running."""
    process = ctypes.CDLL(None)
    try:
        started = ctypes.c_int(0)
        process.MPI_Initialized(ctypes.byref(started))
    except AttributeError:
        return None
    if not started.value:
        return None
    try:
        return process, ctypes.byref(ctypes.c_char.in_dll(process, "ompi_mpi_comm_world"))
    except ValueError:
        return process, ctypes.c_int(MPICH_WORLD)


def end_all_ranks(error: BaseException) -> None:
    """Print the error in one line and abort MPI, if there are other ranks; else do nothing.

    LAMMPS itself handles an error in one rank's Python by a call that waits for all ranks, which
    are waiting in an exchange.
    """
    found = _world()
    if found is None:
        return
    mpi, world = found
    ranks = ctypes.c_int(1)
    mpi.MPI_Comm_size(world, ctypes.byref(ranks))
    if ranks.value > 1:
        print(f"d3torch: {error}; ending all {ranks.value} ranks.", file=sys.stderr, flush=True)
        mpi.MPI_Abort(world, 1)

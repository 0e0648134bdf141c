"""From the output of LAMMPS to the files of the ASE route, for one code to analyse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units

from .dynamics import COLUMNS, State
from .files import write_arrays
from .protocol import Chain
from .runner import CHECKPOINT, read_state


def _read_dump(path: Path) -> tuple[Any, Any]:
    """Cells (n, 3, 3) and columns x y z vx vy vz (n, atoms, 6) of an orthogonal dump."""
    cells, frames = [], []
    lines = path.read_text(encoding="ascii").splitlines()
    at = 0
    while at < len(lines):
        count = int(lines[at + 3])
        edges = np.array([lines[at + k].split()[:2] for k in (5, 6, 7)], dtype=np.float64)
        rows = [line.split() for line in lines[at + 9 : at + 9 + count]]
        cells.append(np.diag(edges[:, 1] - edges[:, 0]))
        frames.append(np.array(rows, dtype=np.float64)[:, 2:])
        at += 9 + count
    return np.array(cells), np.array(frames)


def _samples(path: Path, stage: float, target: float, strain: float) -> Any:
    """Rows of :data:`d3torch_glass.dynamics.COLUMNS` from those of ``fix print``."""
    lines = path.read_text(encoding="ascii").splitlines()
    if not any(line.strip() for line in lines):  # a piece shorter than the time between samples
        return np.zeros((0, len(COLUMNS)))
    found = np.loadtxt(lines, ndmin=2)
    rows = np.zeros((len(found), len(COLUMNS)))
    rows[:, 0], rows[:, 14], rows[:, 15] = stage, target, strain
    rows[:, 1:5], rows[:, 11:14] = found[:, :4], found[:, 10:13]
    rows[:, 5:11] = -1e-4 * found[:, 4:10]  # bar of pressure to GPa of stress
    return rows


def _check_plan(chain: Chain, rows: Any, source: Path) -> None:
    """Refuse output of other settings than those of the chain.

    Raises:
        ValueError: if steps, pressure or strain of a stage are others.
    """
    for number, stage in enumerate(chain.stages):
        mine = rows[rows[:, 1] == number]
        found = [mine[:, 3].sum(), *mine[-1:, 7], float(mine[:, 3] @ mine[:, 10])]
        wanted = [stage.steps, stage.pressure[1] * 1e4, stage.steps * float(np.mean(stage.strain))]
        if not (len(found) == 3 and np.allclose(found, wanted, rtol=1e-9, atol=1e-6)):
            raise ValueError(
                f"expected {stage.name} of {chain.name} in {source} to be run as the manifest has "
                "it, got other steps, pressures or strains"
            )


def _seconds(path: Path) -> float:
    began, ended = path.read_text(encoding="ascii").split()
    return float(ended) - float(began)


def collect(chain: Chain, source: Path, target: Path, atoms: Atoms) -> bool:
    """Turn the output of a chain that ended into the files of the ASE route.

    Args:
        chain: the chain.
        source: its folder under ``lammps/``.
        target: its folder in the job.
        atoms: initial structure, for the order of the atoms.

    Returns:
        Whether the chain had ended; nothing is done before.

    Raises:
        ValueError: if it was run with other settings.
    """
    if not (source / "state.end").exists():
        return False
    state = read_state(target)
    if state is not None:
        return True
    target.mkdir(exist_ok=True)
    rows = np.loadtxt(source / "plan.tsv", skiprows=1, ndmin=2)
    _check_plan(chain, rows, source)
    seconds = 0.0
    for k, row in enumerate(rows):
        arrays = {"rows": _samples(source / f"samples.{k + 1}", row[1], row[9], row[10])}
        frames = source / f"frames.{k + 1}"
        if frames.exists() and frames.stat().st_size > 0:  # a short piece may have none
            cells, x = _read_dump(frames)
            if chain.stages[int(row[1])].velocities:
                arrays["velocities"] = (x[:, :, 3:] * 1e-3).astype(np.float32)  # A/ps to A/fs
            else:
                arrays["positions"], arrays["cells"] = x[:, :, :3].copy(), cells
        write_arrays(target / f"samples_{k:06d}.npz", arrays)
        seconds += _seconds(source / f"wall.{k + 1}")
    (cell,), (last,) = _read_dump(source / "end")
    momenta = last[:, 3:] * (1e-3 / units.fs) * atoms.get_masses()[:, None]
    end = State(last[:, :3], momenta, cell, cell, np.zeros(0), len(chain.stages))
    end = end._replace(chunks=len(rows), seconds=seconds)
    write_arrays(target / CHECKPOINT, end._asdict())
    return True

"""Chains with checkpoints: killed at any moment and called again, a chain goes on where it was.

Bitwise, in one thread: a checkpoint holds all that the next step depends on in double precision
(:class:`d3torch_glass.dynamics.State`), is written aside, flushed and renamed, and the run that
writes it goes on from what it wrote, with a reset calculator, as a restarted one would. What a
calculator keeps beyond its results is its own business: PMMCS and D3Calculator keep nothing; a
calculator with a skin around its neighbour list, or sums in an order left to chance (several
threads, a GPU), restarts to rounding, not to the bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.md.velocitydistribution import Stationary, thermalize_momenta

from .dynamics import COLUMNS, Recorder, State, run_segment
from .files import read_arrays, write_arrays
from .protocol import Chain, Protocol

CHECKPOINT = "checkpoint.npz"


class Followed(NamedTuple):
    """What a chain left.

    Attributes:
        chain: the chain.
        rows: samples, (n, columns), see :data:`d3torch_glass.dynamics.COLUMNS`.
        frames: ``positions`` and ``cells``, or ``velocities``; empty without any.
        state: where it ended, or is.
        done: whether it ended.
    """

    chain: Chain
    rows: Any
    frames: dict[str, Any]
    state: State
    done: bool

    def column(self, name: str, stage: str | None = None, share: float = 1.0) -> Any:
        """A column, of one stage if asked, of the last share of its samples."""
        rows = self.rows
        if stage is not None:
            number = [s.name for s in self.chain.stages].index(stage)
            rows = rows[rows[:, 0] == number]
        rows = rows[len(rows) - round(share * len(rows)) :]
        return rows[:, COLUMNS.index(name)]


def start_state(atoms: Atoms, temperature: float, seed: int) -> State:
    """A structure with velocities drawn at a temperature, K, and no total momentum."""
    moving = atoms.copy()
    rng = np.random.default_rng(seed)
    thermalize_momenta(moving, temperature_K=temperature, rng=rng)
    Stationary(moving)
    cell = atoms.cell.array.copy()
    return State(atoms.positions.copy(), moving.get_momenta(), cell, cell, np.zeros(0))


def read_state(folder: Path) -> State | None:
    """The last checkpoint, if there is one."""
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    found = read_arrays(path)
    return State(**{k: v if v.ndim else v.item() for k, v in found.items()})


def _chunk(folder: Path, number: int) -> Path:
    return folder / f"samples_{number:06d}.npz"


def _save(folder: Path, state: State, recorder: Recorder) -> State:
    """Samples first, then the checkpoint that counts them: a kill between the two loses nothing."""
    write_arrays(_chunk(folder, state.chunks), recorder.arrays())
    state = state._replace(chunks=state.chunks + 1)
    write_arrays(folder / CHECKPOINT, state._asdict())
    return state


def _reset(calculator: Any) -> None:
    """Make a calculator forget its results, and the parts of a sum theirs."""
    for part in getattr(getattr(calculator, "mixer", None), "calcs", ()):
        _reset(part)
    calculator.atoms, calculator.results = None, {}


def follow(
    chain: Chain,
    p: Protocol,
    atoms: Atoms,
    start: Callable[[], State],
    folder: Path,
    tell: Callable[[State], None] = lambda state: None,
) -> State:
    """Run a chain to its end, from its last checkpoint if it has one.

    Args:
        chain: the chain.
        p: its protocol.
        atoms: with the calculator.
        start: gives the first state, if there is no checkpoint.
        folder: of its checkpoint and samples.
        tell: is told of every checkpoint and of every segment.

    Returns:
        The last state.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = read_state(folder) or start()
    segments = max(1, round(p.checkpoint_ps * 1e3 / p.segment_fs))
    while state.stage < len(chain.stages):
        recorder, began, before = Recorder(), time.perf_counter(), state.seconds
        _reset(atoms.calc)
        stage = state.stage
        for _ in range(segments):
            state = run_segment(chain, p, atoms, state, recorder)
            tell(state)
            if state.stage != stage:
                break
        state = state._replace(seconds=before + time.perf_counter() - began)
        state = _save(folder, state, recorder)
    return state


def load(chain: Chain, folder: Path) -> Followed:
    """What a chain left in its folder so far.

    Raises:
        ValueError: if it never came to a checkpoint.
    """
    state = read_state(folder)
    if state is None:
        raise ValueError(f"expected a checkpoint of the chain {chain.name} in {folder}, got none")
    chunks = [read_arrays(_chunk(folder, k)) for k in range(state.chunks)]
    rows = np.concatenate([c.pop("rows") for c in chunks])
    names = sorted({name for c in chunks for name in c})
    frames = {name: np.concatenate([c[name] for c in chunks if name in c]) for name in names}
    return Followed(chain, rows, frames, state, state.stage == len(chain.stages))


def steps_done(chain: Chain, state: State | None) -> int:
    """Steps that are behind a state."""
    if state is None:
        return 0
    return sum(stage.steps for stage in chain.stages[: state.stage]) + state.step

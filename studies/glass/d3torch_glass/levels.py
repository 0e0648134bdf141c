"""From the samples of strain and compression runs to averages at each level."""

from __future__ import annotations

from typing import Any

import numpy as np

from .averages import block_mean
from .elasticity import Level
from .runner import Followed

DIAGONAL = ("xx", "yy", "zz")
LENGTHS = ("lx", "ly", "lz")
SHARE = 0.5
"""Share of a hold, at its end, that is averaged over."""


def levels(run: Followed, blocks: int = 5) -> list[Level]:
    """Averages over the second half of each hold of a chain.

    Args:
        run: a chain of strains or pressures, ended or not; holds without samples are left out.
        blocks: for the errors.
    """
    axis = run.chain.axis
    others = [k for k in range(3) if k != axis]
    holds = [s for s in run.chain.stages if s.name.startswith("at_")]
    found: list[Level] = []
    rest: Any = None

    def column(name: str, stage: str) -> Any:
        return run.column(name, stage, SHARE)

    for stage in holds:
        if len(run.column("step", stage.name)) == 0:
            continue
        sides = np.mean([column(LENGTHS[k], stage.name) for k in others], axis=0)
        rest = block_mean(sides).value if rest is None else rest
        stress = [column(name, stage.name) for name in DIAGONAL]
        found.append(
            Level(
                stage.strain[1],
                block_mean(stress[axis], blocks),
                block_mean(np.mean([stress[k] for k in others], axis=0), blocks),
                block_mean(sides / rest - 1.0, blocks),
                block_mean(column("volume", stage.name), blocks),
                block_mean(-np.mean(stress, axis=0), blocks),
            )
        )
    return found

"""Means of correlated series, with errors from blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Mean(NamedTuple):
    """A mean and its standard error; the error is nan for fewer than two blocks."""

    value: float
    error: float


def block_mean(series: Any, blocks: int = 5) -> Mean:
    """Mean of a series, and the standard error of the means of its consecutive blocks.

    Args:
        series: (n,), in the order of time.
        blocks: number of blocks; each should be longer than the series remembers.

    Raises:
        ValueError: for an empty series, or fewer than two blocks.

    Source: H. Flyvbjerg, H. G. Petersen, J. Chem. Phys. 91, 461 (1989), doi:10.1063/1.457480.
    """
    values = np.asarray(series, dtype=np.float64)
    if len(values) == 0 or blocks < 2:
        raise ValueError(f"expected samples and 2 blocks or more, got {len(values)} and {blocks}")
    if len(values) < blocks:
        return Mean(float(values.mean()), float("nan"))
    means = [part.mean() for part in np.array_split(values, blocks)]
    return Mean(float(values.mean()), float(np.std(means, ddof=1) / np.sqrt(blocks)))


class Line(NamedTuple):
    """A straight line, y = intercept + slope x, with the standard error of the slope."""

    slope: float
    intercept: float
    error: float


def fit_line(x: Any, y: Any, errors: Any = None) -> Line:
    """Least squares; the error of the slope from the given errors of y, else from the residuals.

    Args:
        x: (n,), at least two different values.
        y: (n,).
        errors: (n,), standard errors of y; None, or any not finite, takes the residuals, which
            leave nothing to judge by for two points (the error is then nan).

    Raises:
        ValueError: for fewer than two different x.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(np.unique(x)) < 2:
        raise ValueError(f"expected two different values to fit a line to, got {x.tolist()}")
    centred = x - x.mean()
    weights = centred / (centred**2).sum()
    slope = float(weights @ y)
    intercept = float(y.mean() - slope * x.mean())
    if errors is not None and np.isfinite(errors).all():
        error = float(np.sqrt((weights**2) @ np.asarray(errors) ** 2))
    elif len(x) > 2:
        residual = y - intercept - slope * x
        error = float(np.sqrt((residual**2).sum() / (len(x) - 2) / (centred**2).sum()))
    else:
        error = float("nan")
    return Line(slope, intercept, error)


def over_seeds(values: Sequence[float]) -> Mean:
    """Mean of independent values and its standard error by their scatter, nan for one alone."""
    spread = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return Mean(float(np.mean(values)), float(spread))


def mean_of(means: list[Mean]) -> Mean:
    """Mean of independent values: the larger of the error they scatter by and that they state."""
    values = [m.value for m in means]
    stated = float(np.sqrt(sum(m.error**2 for m in means)) / len(means))
    mean, spread = over_seeds(values)
    known = [error for error in (stated, spread) if np.isfinite(error)]
    return Mean(mean, max(known, default=float("nan")))

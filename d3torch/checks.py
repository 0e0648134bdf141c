"""Refusals of arguments of the wrong kind, in one sentence each."""

from __future__ import annotations

import math
from numbers import Real


def require_bool(name: str, value: object) -> bool:
    """The value, if it is a bool.

    Raises:
        TypeError: otherwise; the string ``"False"`` is not a bool.
    """
    if not isinstance(value, bool):
        raise TypeError(f"expected {name} to be True or False, got {value!r}")
    return value


def require_number(name: str, value: object) -> float:
    """The value as a finite float.

    Raises:
        TypeError: if it is not a number (a bool or a string is none).
        ValueError: if it is not finite.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"expected {name} to be a number, got {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"expected {name} to be finite, got {value}")
    return float(value)


def require_positive(name: str, value: object) -> float:
    """The value as a finite float above 0.

    Raises:
        TypeError: if it is not a number.
        ValueError: if it is not finite and positive.
    """
    number = require_number(name, value)
    if number <= 0:
        raise ValueError(f"expected a positive {name}, got {number}")
    return number


def require_cutoffs(cutoff: object, cn_cutoff: object, width: object) -> tuple[float, float, float]:
    """The two cutoffs and the switching width as floats.

    Raises:
        TypeError: if one is not a number.
        ValueError: unless both cutoffs are positive and 0 <= width < cutoff.
    """
    r, r_cn = require_positive("cutoff", cutoff), require_positive("cn_cutoff", cn_cutoff)
    w = require_number("width", width)
    if not 0 <= w < r:
        raise ValueError(f"expected 0 <= width < cutoff = {r}, got width = {w}")
    return r, r_cn, w


def require_choice(name: str, value: object, choices: tuple[str, ...]) -> str:
    """The value, if it is one of the choices.

    Raises:
        ValueError: otherwise.
    """
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"expected {name} to be one of {', '.join(choices)}, got {value!r}")
    return value

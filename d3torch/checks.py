"""Refusals of arguments of the wrong kind, in one sentence each."""

from __future__ import annotations

import math
from numbers import Real

from .units import BOHR, Units

FARTHEST_REACH = 1000.0 / BOHR
"""Longest cutoff, bohr: 1000 A.

Beyond it dispersion is worth some 1e-8 eV an atom, and an atom of a crystal has 1e8 neighbours.
"""

ATM_CUTOFF = 40.0
"""Cutoff of the three-body term in bohr, that of simple-dftd3."""


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


def require_reach(name: str, value: object, unit: Units) -> float:
    """The value as a cutoff in the length unit of the module.

    Raises:
        TypeError: if it is not a number.
        ValueError: unless it is positive and at most ``FARTHEST_REACH``.
    """
    number = require_positive(name, value)
    longest = FARTHEST_REACH * unit.length
    if number > longest:
        root = math.sqrt(number) * unit.length
        raise ValueError(
            f"expected {name} of at most {longest:.6g} (1000 A), got {number:.6g}: "
            f"if that is a square in bohr^2, as other packages take it, give {root:.6g}"
        )
    return number


def require_cutoffs(
    cutoff: object, cn_cutoff: object, width: object, unit: Units
) -> tuple[float, float, float]:
    """The two cutoffs and the switching width as floats, in the length unit of the module.

    Raises:
        TypeError: if one is not a number.
        ValueError: unless both cutoffs are what ``require_reach`` takes and 0 <= width < cutoff.
    """
    r = require_reach("cutoff", cutoff, unit)
    r_cn = require_reach("cn_cutoff", cn_cutoff, unit)
    w = require_number("width", width)
    if not 0 <= w < r:
        raise ValueError(f"expected 0 <= width < cutoff = {r}, got width = {w}")
    return r, r_cn, w


def require_three_body(
    s9: object, atm_cutoff: object, atm_width: object, unit: Units
) -> tuple[float, float, float]:
    """Weight, cutoff and switching width of the three-body term; all 0 where the weight is 0.

    Args:
        s9: weight.
        atm_cutoff: length, in that of the unit as the width; None takes ``ATM_CUTOFF``.
        atm_width: length; None takes 0.
        unit: of the lengths.

    Raises:
        TypeError, ValueError: for no numbers; a cutoff as of
            :func:`require_reach`; unless 0 <= atm_width < atm_cutoff.
    """
    weight = require_number("s9", s9)
    if weight == 0.0:
        return 0.0, 0.0, 0.0
    cutoff = ATM_CUTOFF * unit.length if atm_cutoff is None else atm_cutoff
    reach = require_reach("atm_cutoff", cutoff, unit)
    width = require_number("atm_width", 0.0 if atm_width is None else atm_width)
    if not 0 <= width < reach:
        raise ValueError(f"expected 0 <= atm_width < atm_cutoff = {reach}, got atm_width = {width}")
    return weight, reach, width


def require_choice(name: str, value: object, choices: tuple[str, ...]) -> str:
    """The value, if it is one of the choices.

    Raises:
        ValueError: otherwise.
    """
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"expected {name} to be one of {', '.join(choices)}, got {value!r}")
    return value

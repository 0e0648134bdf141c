"""Grimme's D3 dispersion as a differentiable C++ operator of PyTorch."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _library
from ._library import library_path

__version__ = "0.2.0.dev0"

if TYPE_CHECKING:
    from .integrations.any_calculator import with_dispersion
    from .integrations.ase import D3Calculator
    from .model import D3, D3BJ
    from .neighbors import neighbor_pairs
    from .parameters import (
        DispersionWarning,
        canonical_name,
        damping_parameters,
        functionals,
    )
    from .settings import PRESETS, Settings
    from .variants import DampingParameters, ModifiedZeroParameters, ZeroParameters

__all__ = [
    "D3",
    "D3BJ",
    "PRESETS",
    "D3Calculator",
    "DampingParameters",
    "DispersionWarning",
    "ModifiedZeroParameters",
    "Settings",
    "ZeroParameters",
    "canonical_name",
    "damping_parameters",
    "functionals",
    "library_path",
    "neighbor_pairs",
    "with_dispersion",
]

_PLACES = {
    "D3": "model",
    "D3BJ": "model",
    "DampingParameters": "variants",
    "ModifiedZeroParameters": "variants",
    "ZeroParameters": "variants",
    "DispersionWarning": "parameters",
    "canonical_name": "parameters",
    "damping_parameters": "parameters",
    "functionals": "parameters",
    "PRESETS": "settings",
    "Settings": "settings",
}
_PLACES_OF_EXTRAS = {
    "D3Calculator": "integrations.ase",
    "neighbor_pairs": "neighbors",
    "with_dispersion": "integrations.any_calculator",
}
"""Where names come from; those that need an extra are imported only when they are asked for."""


def __getattr__(name: str) -> Any:
    """A name of ``__all__`` that is not here yet."""
    place = {**_PLACES, **_PLACES_OF_EXTRAS}.get(name)
    if place is None:
        raise AttributeError(f"module 'd3torch' has no attribute {name!r}")
    return getattr(importlib.import_module(f".{place}", __name__), name)


def _is_the_command() -> bool:
    """Whether this process was started as ``d3torch`` or ``python -m d3torch``.

    That loads the library itself, or says in a line why it cannot (``__main__.py``), and needs no
    torch to tell its version. Told by the words that the process was started with, which a child
    of it does not have.
    """
    words: list[str] = getattr(sys, "argv", [])  # a program with Python in it need not set it
    before = sys.orig_argv[: len(sys.orig_argv) - len(words) + 1]
    started = before[-1] if before else ""
    if words[:1] == ["-m"]:
        return started in ("d3torch", "-md3torch")
    return words[:1] == [started] and Path(started).name == "d3torch"


if not _is_the_command():
    _library.load()
    globals().update({name: __getattr__(name) for name in _PLACES})

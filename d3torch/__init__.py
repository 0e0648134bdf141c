"""Grimme's D3(BJ) dispersion as a differentiable C++ operator of PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _library

__version__ = "0.1.0"

_library.load()

from ._library import library_path  # noqa: E402
from .model import D3BJ  # noqa: E402
from .parameters import (  # noqa: E402
    DampingParameters,
    DispersionWarning,
    canonical_name,
    damping_parameters,
    functionals,
)
from .settings import PRESETS, Settings  # noqa: E402

if TYPE_CHECKING:
    from .integrations.ase import D3Calculator
    from .neighbors import neighbor_pairs

__all__ = [
    "D3BJ",
    "PRESETS",
    "D3Calculator",
    "DampingParameters",
    "DispersionWarning",
    "Settings",
    "canonical_name",
    "damping_parameters",
    "functionals",
    "library_path",
    "neighbor_pairs",
]


def __getattr__(name: str) -> Any:
    """Import what needs an extra only when it is asked for."""
    if name == "D3Calculator":
        from .integrations.ase import D3Calculator

        return D3Calculator
    if name == "neighbor_pairs":
        from .neighbors import neighbor_pairs

        return neighbor_pairs
    raise AttributeError(f"module 'd3torch' has no attribute {name!r}")

"""Structures that come with the package, to try it on."""

from __future__ import annotations

from pathlib import Path


def glass_path() -> Path:
    """File of a sodium silicate glass, 33 % Na2O, 1500 atoms, density as measured."""
    return Path(__file__).parent / "data" / "NS33_1500.extxyz"

"""Gives d3torch-glass the version of d3torch, which is written in ``d3torch/__init__.py`` alone."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).resolve().parent


def version() -> str:
    """Version of the checkout around this folder; in an sdist, which has none, that of the sdist.

    Raises:
        FileNotFoundError: if this folder is in neither of the two.
    """
    checkout, sdist = HERE.parents[1] / "d3torch" / "__init__.py", HERE / "PKG-INFO"
    text = (sdist if sdist.exists() else checkout).read_text(encoding="utf-8")
    found = re.search(r'^(?:Version: |__version__ = ")([^"\s]+)', text, re.M)
    assert found is not None
    return found[1]


setup(version=version())

"""The checkout, for tests that are about its files; all others take those of the package."""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent


def checkout() -> Path:
    """The checkout around the tests, or the sdist; where there is none, skips who asks."""
    if not (ROOT / "CMakeLists.txt").is_file():
        pytest.skip("needs the checkout of d3torch around the tests", allow_module_level=True)
    return ROOT

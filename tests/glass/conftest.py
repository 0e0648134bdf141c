"""What the tests of the glass study share."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from checkout import checkout

STUDY = checkout() / "studies" / "glass"


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a script of the study by name."""
    for folder in (STUDY, STUDY / "results"):
        monkeypatch.syspath_prepend(folder)
    return importlib.import_module

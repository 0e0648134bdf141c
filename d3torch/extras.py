"""Imports of what only an extra of the package installs."""

from __future__ import annotations

import importlib
from typing import Any


def import_extra(module: str, extra: str) -> Any:
    """The module, imported.

    Raises:
        ImportError: if it is not installed; the sentence names the extra that brings it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        raise ImportError(
            f"expected {missing} to be installed: run `pip install d3torch[{extra}]`", name=missing
        ) from None

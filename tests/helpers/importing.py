"""Where a Python of its own finds packages."""

from __future__ import annotations

import os
from pathlib import Path


def importing_from(path: Path) -> dict[str, str]:
    """Environment of a Python that looks into a folder first, then where this one does."""
    paths = [str(path), os.environ.get("PYTHONPATH")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}

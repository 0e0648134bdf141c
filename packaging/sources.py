"""The sources that the libraries are compiled of, as one number.

A build leaves it beside its libraries, so that libraries which were carried somewhere can be held
against the sources that are there.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

NAME = "sources.txt"
"""Of the file that holds the number, in ``d3torch/lib``."""


def digest(root: Path) -> str:
    """SHA-256 of names and contents of what is compiled in a checkout."""
    files = [path for path in (root / "csrc").rglob("*") if path.is_file()]
    found = hashlib.sha256()
    for path in sorted([root / "CMakeLists.txt", *files]):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        found.update(f"{path.relative_to(root).as_posix()} {content}\n".encode())
    return found.hexdigest()

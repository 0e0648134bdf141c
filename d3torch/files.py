"""Files that are there whole or not at all. Knows no torch: the LAMMPS plugin uses it as well."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def aside(path: str | Path) -> Path:
    """The place beside a file where this thread writes it: hidden, in the same folder.

    A link stays what it is: the file that it points to is written.
    """
    target = Path(os.path.realpath(path))
    return target.with_name(f".{target.name}.{os.getpid()}.{threading.get_ident()}.partial")


@contextmanager
def written_aside(path: str | Path) -> Iterator[Path]:
    """Give the place to write a file to; it takes its name at the end of the block.

    A file that is replaced leaves its permissions. After an error in the block, an interrupt too,
    and where the file stayed empty, it is removed, and what stood under the name before stays.

    Raises:
        FileNotFoundError: if the block wrote nothing there.
    """
    partial = aside(path)
    try:
        yield partial
        if partial.stat().st_size > 0:
            target = os.path.realpath(path)
            if os.path.exists(target):
                with suppress(OSError):  # of a file system without permissions
                    shutil.copymode(target, partial)
            partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def check_output(path: str | Path, overwrite: bool) -> None:
    """Refuse a place where a file cannot or shall not be written, before anything is computed.

    Raises:
        FileExistsError: if there is a file and it shall not be replaced.
        FileNotFoundError: if there is no such folder.
        IsADirectoryError: if it is a folder.
    """
    if Path(path).is_dir():
        raise IsADirectoryError(f"expected a file to write, got the folder {path}")
    if os.path.lexists(path) and not overwrite:
        raise FileExistsError(f"expected no file at {path}, got one: --overwrite replaces it")
    if not Path(path).parent.is_dir():
        raise FileNotFoundError(f"expected a folder to write to, got {Path(path).parent}")

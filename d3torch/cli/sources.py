"""Files and streams to read structures from: by which name, in which format, which frames."""

from __future__ import annotations

import contextlib
import re
import shutil
import sys
import tempfile
from codecs import BOM_UTF8
from functools import cached_property
from pathlib import Path

from ..extras import import_extra
from .extxyz import open_text

DATA = re.compile(
    r"\A(?=.*^[ \t]*\d+[ \t]+atoms\b).*^[ \t]*(?:[-+.\deE]+[ \t]+){2,3}(?:xlo[ \t]+xhi|avec)\b",
    re.MULTILINE | re.DOTALL,
)
"""What stands at the beginning of a data file of LAMMPS, in any order."""


class Source:
    """A file to read from.

    Args:
        name: as the user gave it; ``-`` is standard input.
        form: ASE's name of the format, None to guess.
        stack: keeps the copy of a stream until it is closed.
        xyz: whether a file that starts with a number is extxyz, whatever its name.

    Attributes:
        path: a regular file or the folder of a trajectory; pipes are copied to one.
        index: the frames that the name asks for.
        form: ASE's name of the format.

    Raises:
        FileNotFoundError, ValueError: if there is nothing to read, or its format is unknown.
    """

    def __init__(
        self, name: str, form: str | None, stack: contextlib.ExitStack, xyz: bool = False
    ) -> None:
        self.path, self.index = _split(name)
        if name == "-" or not (self.path.is_file() or self.path.is_dir()):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="d3torch-"))
            self.path = _copied(self.path, name == "-", Path(folder))
        if _is_marked(self.path):  # by a byte order mark, which readers of ASE take for text
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="d3torch-"))
            (Path(folder) / self.path.name).write_bytes(self.path.read_bytes()[len(BOM_UTF8) :])
            self.path = Path(folder) / self.path.name
        if self.path.is_file() and self.path.stat().st_size == 0:
            raise ValueError("expected structures, got an empty file")
        guess = "lammps-data" if self._is_data() else None
        self.form = form or guess or _guess(self.path, self._counted(), xyz)

    def _counted(self) -> bool:
        """Whether the file starts with a number of atoms."""
        line = "" if self.path.is_dir() else self.head.lstrip().split("\n", 1)[0]
        return line.strip().isdecimal()

    def _is_data(self) -> bool:
        """Whether the file is a data file of LAMMPS, whose name ASE takes for RuNNer's or none."""
        return not self.path.is_dir() and bool(DATA.search(self.head))

    def text(self, size: int = -1) -> str:
        """The file as text, "" if it is binary; all of it or the first characters."""
        if self.path.is_dir() or "\0" in self.head:
            return ""
        return self.head if 0 <= size <= len(self.head) else self._all

    @cached_property
    def head(self) -> str:
        """The first characters."""
        with open_text(str(self.path)) as file:
            return str(file.read(1 << 16))

    @cached_property
    def _all(self) -> str:
        with open_text(str(self.path)) as file:
            return str(file.read())


def _split(name: str) -> tuple[Path, slice]:
    """The file and the frames that a name asks for; a file of just that name comes first."""
    head, at, tail = name.rpartition("@")
    if name == "-" or Path(name).exists():
        return Path(name), slice(None)
    if not at or not Path(head).exists():
        raise FileNotFoundError("expected a file, got a name that does not exist")
    found = re.fullmatch(r"(-?\d+)|(-?\d*):(-?\d*)(?::(-?\d*))?", tail)
    if found is None:
        raise ValueError(f"expected frames such as 3 or 0:5 after @, got {tail!r}")
    if found[1]:
        return Path(head), slice(int(tail), int(tail) + 1 or None)
    if found[4] and int(found[4]) == 0:
        raise ValueError(f"expected frames such as 0:5:2 after @, got {tail!r}")
    return Path(head), slice(*(int(x) if x else None for x in tail.split(":")))


def _is_marked(path: Path) -> bool:
    """Whether a file begins with the mark of UTF-8."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(BOM_UTF8)) == BOM_UTF8


def _copied(path: Path, is_stdin: bool, folder: Path) -> Path:
    """Copy of a stream, under a name that tells the format as well as that of the stream."""
    copy = folder / ("stdin" if is_stdin else path.name)
    with contextlib.ExitStack() as stack:
        source = sys.stdin.buffer if is_stdin else stack.enter_context(path.open("rb"))
        shutil.copyfileobj(source, stack.enter_context(copy.open("wb")))
    return copy


def _guess(path: Path, counted: bool, xyz: bool) -> str:
    """ASE's name of the format, from name and content.

    A file that starts with a number of atoms is extxyz if ASE has no other idea, or is not asked.
    """
    if counted and xyz:
        return "extxyz"
    formats = import_extra("ase.io.formats", "cli")
    if path.is_dir():
        bundle = import_extra("ase.io.bundletrajectory", "cli").BundleTrajectory
        if not bundle.is_bundle(path):
            raise ValueError("expected a file, got a folder")
        return "bundletrajectory"
    try:
        form = str(formats.filetype(str(path)))
        check_format(form)
    except (formats.UnknownFileTypeError, ValueError):
        if counted:
            return "extxyz"
        raise ValueError(
            "expected a format that ASE reads, got an unknown one: --format names it"
        ) from None
    return form


def check_format(form: str) -> str:
    """The name, if ASE reads such a format here.

    Raises:
        ValueError: otherwise.
    """
    formats = import_extra("ase.io.formats", "cli")
    try:
        if formats.get_ioformat(form).can_read:
            return form
    except formats.UnknownFileTypeError:
        pass
    raise ValueError(f"expected a format that ASE reads (`ase info --formats`), got {form!r}")

"""Frames of an extxyz file as text, so that all that is not replaced stays as it was written."""

from __future__ import annotations

import io
import itertools
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from ..extras import import_extra
from .console import one_line

Floats = NDArray[np.float64]

DELIMITED = r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\{[^}]*\}|\[[^\]]*\]"""
FIELD = re.compile(rf"""([^\s="'{{\[]+|"[^"]*")(?:\s*=\s*({DELIMITED}|[^\s"'{{\[]\S*))?""")
"""A key, and its value where it has one."""

NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][-+]?\d+)?(?![\w.])")


PROPERTIES = re.compile(r"[^:]+:[RISL]:[1-9]\d*(?::[^:]+:[RISL]:[1-9]\d*)*")


def fields_of(comment: str) -> dict[str, str]:
    """Keys of a comment that have a value, and these without their quotes."""
    found = FIELD.finditer(comment)
    return {x[1].strip('"'): x[2].strip("\"'{}[]") for x in found if x[2] is not None}


def repeated(comment: str) -> list[str]:
    """Keys that a comment gives a value more than once, of which ASE takes the last."""
    there = [found[1].strip('"') for found in FIELD.finditer(comment) if found[2] is not None]
    return [key for key in dict.fromkeys(there) if there.count(key) > 1]


def _number(text: str) -> float:
    return float(re.sub("[dD]", "e", text))


def _format(old: str, change: float) -> str:
    """The number plus a change, all digits that float64 holds; as it was without a change."""
    return old if change == 0.0 else repr(_number(old) + float(change))


def reader_words(form: str, error: Exception) -> str:
    """The sentence about what a reader of ASE raised."""
    key = error.args[0] if isinstance(error, KeyError) and error.args else None
    symbol = "[A-Za-z0-9]{1,5}" if form in ("xyz", "extxyz") else "[A-Za-z]{1,3}"
    if isinstance(key, str) and re.fullmatch(symbol, key):
        hint = ": hydrogen, whatever its mass, is H" if key in ("D", "T") else ""
        return f"expected chemical symbols, got {key!r}{hint}"
    kind, words = type(error).__name__, one_line(error)
    got = kind if words == kind else f"{kind}: {words}"
    return f"expected what ASE reads as {form}, got {got}"


class TextFrame:
    """One frame: its count of atoms, its comment line, and a line for each atom.

    Args:
        count: first line.
        comment: second line, with keys and values.
        rows: as many lines as the first one says.
    """

    def __init__(self, count: str, comment: str, rows: list[str]) -> None:
        self.count, self.comment, self.rows = count, comment, rows

    def text(self) -> str:
        """The frame as it is written to a file."""
        return "".join((self.count, self.comment, *self.rows))

    def atoms(self) -> Any:
        """The frame as ASE reads it.

        Raises:
            ValueError: if ASE cannot.
        """
        self._columns()
        text = io.StringIO(self.text().lstrip())
        try:
            return import_extra("ase.io", "cli").read(text, format="extxyz")
        except Exception as error:  # a reader of ASE may raise anything
            raise ValueError(reader_words("extxyz", error)) from error

    def _fields(self) -> dict[str, tuple[int, int]]:
        """Where the value of each key lies in the comment."""
        return {found[1].strip('"'): found.span(2) for found in FIELD.finditer(self.comment)}

    def _columns(self) -> dict[str, tuple[int, int]]:
        """First column of each property of the atoms, and how many it has."""
        properties = self.get("Properties") or "species:S:1:pos:R:3"
        if not PROPERTIES.fullmatch(properties):
            raise ValueError(f"expected Properties as name:R:3 and so on, got {properties!r}")
        parts = properties.split(":")
        columns, start = {}, 0
        for name, width in zip(parts[::3], parts[2::3], strict=True):
            if name in columns:
                raise ValueError(f"expected each of Properties once, got {name} twice")
            columns[name] = (start, int(width))
            start += int(width)
        return columns

    def names(self) -> list[str]:
        """Keys of the comment, and properties of the atoms.

        Raises:
            ValueError: if the properties are not names, types and numbers of columns, or one of
                the keys has two values.
        """
        for key in repeated(self.comment):
            raise ValueError(f"expected each key once, got {key} twice")
        return [*self._fields(), *self._columns()]

    def get(self, key: str) -> str | None:
        """Value of a key of the comment without its quotes, None where it has none."""
        start, end = self._fields().get(key, (-1, -1))
        return None if start < 0 else self.comment[start:end].strip("\"'{}[]")

    def values(self, key: str) -> Floats | None:
        """All numbers of a value of the comment, (n,), None without such a key."""
        value = self.get(key)
        return None if value is None else np.array([_number(x) for x in NUMBER.findall(value)])

    def change_values(self, key: str, changes: Floats) -> None:
        """Add to the numbers of a value of the comment.

        Args:
            key: that of the value.
            changes: as many as the value has numbers, (n,).
        """
        start, end = self._fields()[key]
        each = iter(changes)
        value = NUMBER.sub(lambda old: _format(old[0], next(each)), self.comment[start:end])
        self.comment = self.comment[:start] + value + self.comment[end:]

    def name_types(self, symbols: Sequence[str]) -> None:
        """Put symbols for the types 1, 2, ... in the first column, as LAMMPS writes them in xyz.

        Raises:
            ValueError: for a row that does not begin with one of these types.
        """
        for i, row in enumerate(self.rows):
            word = row.split(maxsplit=1)[0] if row.strip() else ""
            if not word.isdecimal():
                wrong = "expected --elements for a LAMMPS file with types, got one of format extxyz"
                raise ValueError(wrong)
            if not 0 < int(word) <= len(symbols):
                raise ValueError(f"expected --elements for the type {word}, got {len(symbols)}")
            self.rows[i] = row.replace(word, symbols[int(word) - 1], 1)

    def width(self, key: str) -> int | None:
        """How many columns a property of the atoms has, None without such a property."""
        return self._columns().get(key, (0, None))[1]

    def change_columns(self, key: str, changes: Floats) -> None:
        """Add to a property of the atoms.

        Args:
            key: that of the property.
            changes: (n_atoms, columns).

        Raises:
            ValueError: if one of them is no number.
        """
        first, _ = self._columns()[key]
        for i, change in enumerate(changes):
            self.rows[i] = self._changed_row(self.rows[i], first, change, f"{key} of atom {i}")

    @staticmethod
    def _changed_row(row: str, first: int, change: Floats, name: str) -> str:
        words = list(re.finditer(r"\S+", row))[first : first + len(change)]
        if len(words) < len(change) or not all(NUMBER.fullmatch(word[0]) for word in words):
            raise ValueError(f"expected numbers for {name}, got {row.strip()!r}")
        for word, x in reversed(list(zip(words, change, strict=True))):
            row = row[: word.start()] + _format(word[0], x) + row[word.end() :]
        return row

    def tag(self, settings: dict[str, str]) -> None:
        """Append keys with values to the comment."""
        line = self.comment.rstrip("\r\n")
        end = self.comment[len(line) :]
        added = " ".join(f'{k}="{v}"' if " " in v else f"{k}={v}" for k, v in settings.items())
        self.comment = f"{line} {added}{end}"

    def untag(self, keys: list[str]) -> None:
        """Remove what :meth:`tag` has appended."""
        for key in keys:
            found = next(x for x in FIELD.finditer(self.comment) if x[1].strip('"') == key)
            before, behind = self.comment[: found.start()], self.comment[found.end() :]
            # the space of tag(), or that behind a key which another program put first
            self.comment = before[:-1] + behind if before else behind.removeprefix(" ")


def open_text(name: str) -> TextIO:
    """A text file to read, packed by gzip, bzip2 or xz or not.

    Any byte and line end is kept, but for a mark of UTF-8 at the beginning.
    """
    file = import_extra("ase.io.formats", "cli").open_with_compression(name, "rb")
    return io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")


def read_text_frames(name: str) -> Iterator[TextFrame]:
    """Frames of an extxyz file, one after the other; blank lines may stand between them.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if a frame does not start with its number of atoms, or has fewer of them.
    """
    with open_text(name) as file:
        line = file.readline()
        for number in itertools.count():
            blank = ""
            while line and not line.strip():
                blank, line = blank + line, file.readline()
            if not line:
                return
            try:
                frame, line = _read_frame(line, file)
            except ValueError as error:
                raise ValueError(f"frame {number}: {error}") from None
            frame.count = blank + frame.count
            yield frame


def _read_frame(count: str, file: TextIO) -> tuple[TextFrame, str]:
    """A frame with its lattice vectors (``VEC1``) where it has some, and the line behind it."""
    if not count.strip().isprintable():
        raise ValueError("expected text, got a binary file")
    if not count.strip().isdecimal():
        raise ValueError(f"expected a number of atoms, got {count.strip()[:40]!r}")
    wanted = min(int(count), sys.maxsize - 1)  # more are in no file
    lines = [*itertools.islice(iter(file.readline, ""), wanted + 1)]
    if len(lines) <= int(count):
        raise ValueError(f"expected {int(count)} atoms, got the end of the file")
    behind = file.readline()
    while behind.lstrip().startswith("VEC"):
        lines.append(behind)
        behind = file.readline()
    return TextFrame(count, lines[0], lines[1:]), behind

"""A second structure in a file of a format of which ASE reads one."""

from __future__ import annotations

import contextlib
import io
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..extras import import_extra

TRIED = 32
"""Places that look like the beginning of the file and are tried as that of a structure."""

BEGINS = {"nwchem-in": r"^\s*geometry\b"}
"""How a structure begins in a format whose reader takes minutes for a part of a file."""

ENOUGH = 1000
"""How often a reader may ask for more at the end of a text."""

Read = Callable[[list[str]], Any]


class Ending(io.StringIO):
    """A text to read, which stops a reader that goes on asking at its end.

    Such a reader waits for a word that a part of a file, or a broken file, does not have.
    """

    def __init__(self, text: str, name: str = "part") -> None:
        super().__init__(text, newline=None)
        self.name, self._asked = name, 0

    def readline(self, size: int | None = -1) -> str:  # type: ignore[override]
        """The next line, "" at the end.

        Raises:
            EOFError: when asked at the end too often.
        """
        line = super().readline(-1 if size is None else size)
        if not line:
            self._asked += 1
        if self._asked > ENOUGH:
            raise EOFError("the end of the file in the middle of a section")
        return line


def single_problem(form: str, text: str, atoms: Any) -> str | None:
    """The sentence about a file that holds more than ASE reads, None if it does not.

    It does where it can be cut in two so that both parts are structures to the reader, and what it
    makes of the whole is one of them, or has as many atoms as both.

    Args:
        form: ASE's name of the format.
        text: the file, "" if it is binary.
        atoms: what ASE read.
    """
    known = import_extra("ase.io.formats", "cli").get_ioformat(form)
    one = known.single or (form == "xsf" and "ANIMSTEPS" not in text)
    if not text or not one or not len(atoms):
        return None
    more = f"expected one structure in a file of format {form}, got more"
    if form in BEGINS:
        found = re.findall(BEGINS[form], text, re.MULTILINE | re.IGNORECASE)
        return more if len(found) > 1 else None
    lines = text.splitlines(keepends=True)

    def read(part: list[str]) -> Any:
        return _read(known, "".join(part))

    return more if any(_two(read, lines, cut, atoms) for cut in _cuts(lines, read, atoms)) else None


def _two(read: Read, lines: list[str], cut: int, atoms: Any) -> bool:
    """Whether a cut leaves two structures: one of them all that was read, or both together."""
    first = read(lines[:cut])
    second = None if first is None else read(lines[cut:])
    if second is None:
        return False
    both = len(first) + len(second) == len(atoms)
    return both or _same(first, atoms) or _same(second, atoms)


def _cuts(lines: list[str], read: Read, atoms: Any) -> Iterator[int]:
    """Lines at which a second structure may begin."""
    filled = [i for i, line in enumerate(lines) if line.strip()]
    if _same(read(lines[: filled[-1]]), atoms):  # the end is not needed
        end = _least(lambda n: _same(read(lines[:n]), atoms), filled[-1])
        yield from range(end, min(end + TRIED, filled[-1] + 1))
    if _same(read(lines[filled[0] + 1 :]), atoms):  # nor the beginning
        yield len(lines) - _least(lambda n: _same(read(lines[-n:]), atoms), len(lines) - 1)
    first = _kind(lines[filled[0]])
    alike = [i for i in filled[1:] if _kind(lines[i]) == first]
    yield from alike[:TRIED]


def _least(enough: Callable[[int], bool], known: int) -> int:
    """The least number that is enough, by bisection; ``known`` is."""
    low = 0
    while known - low > 1:
        middle = (low + known) // 2
        low, known = (low, middle) if enough(middle) else (middle, known)
    return known


def _kind(line: str) -> str:
    """A line whose numbers do not matter, but that they are integers or not."""
    whole = re.sub(r"(?<!\w)[-+]?\d+(?!\S)", "0", line)
    return " ".join(re.sub(r"(?<!\w)[-+]?(?:\d+\.\d*|\.\d+)\S*", "0.0", whole).split())


def _read(form: Any, text: str) -> Any:
    """What ASE reads from a part of a file, None if that is no structure."""
    read = import_extra("ase.io", "cli").read
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            if form.acceptsfd:
                atoms = read(Ending(text), format=form.name)
            else:
                with tempfile.TemporaryDirectory(prefix="d3torch-") as folder:
                    path = Path(folder) / "part"
                    path.write_text(text, encoding="utf-8", errors="surrogateescape")
                    atoms = read(str(path), format=form.name)
        except Exception:  # a reader of ASE may raise anything on a part of a file
            return None
    return atoms if len(atoms) else None


def _same(one: Any, other: Any) -> bool:
    """Whether two structures are the same."""
    return (
        one is not None
        and len(one) == len(other)
        and bool((one.numbers == other.numbers).all())
        and np.array_equal(one.positions, other.positions, equal_nan=True)
        and np.array_equal(one.cell.array, other.cell.array)
    )

"""Structures from files: which file, which format, which frames, and what was lost on the way.

ASE parses. Around it stands what it leaves to its caller: names with ``@``, pipes, slices, blank
lines, types without elements, warnings, and what the file says and the reader skipped.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..extras import import_extra
from ..reference import SYMBOLS
from .console import one_line
from .extxyz import TextFrame, fields_of, read_text_frames, reader_words
from .said import comment_problem, drop_dummy, text_problem
from .single import Ending, single_problem
from .sites import atoms_problem
from .sources import Source, check_format

Frames = Iterator[tuple[int, Any]]

ROWS = {"db", "json"}
"""Formats whose frames are rows of a database, with keys and data of their own."""

CHATTER = (DeprecationWarning, PendingDeprecationWarning, FutureWarning, ResourceWarning)
"""Warnings to the authors of a reader, not to who reads."""

MASS = 0.1
"""How far a mass may be from that of its element, u; heavy hydrogen and united atoms are not."""


class Frame(NamedTuple):
    """One structure: its place in the file, what ASE made of it, and what went wrong with that.

    Atoms are None where ASE could not read them.
    """

    number: int
    atoms: Any
    problem: str | None


def check_elements(elements: Sequence[str]) -> list[int]:
    """Atomic numbers of symbols, which may occur more than once.

    Raises:
        ValueError: for what is no symbol.
    """
    for symbol in elements:
        if symbol not in SYMBOLS[1:]:
            raise ValueError(f"expected a chemical symbol such as 'Si', got {symbol!r}")
    return [SYMBOLS.index(symbol) for symbol in elements]


def read_frames(
    name: str,
    form: str | None = None,
    elements: Sequence[str] | None = None,
    warn: Callable[[str], None] = warnings.warn,
) -> Iterator[Frame]:
    """Frames of a file, one after the other where the format allows; ``name@0:5`` slices.

    Args:
        name: of the file; ``-`` is standard input.
        form: ASE's name of the format, None to guess.
        elements: symbols of the types 1, 2, ... of a LAMMPS file.
        warn: takes what the reader warns about, each sentence once.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if there is nothing to read, or it cannot be read.
    """
    with contextlib.ExitStack() as stack:
        source = Source(name, form, stack)
        is_text = source.form == "extxyz"
        frames = _text_frames(source, elements) if is_text else _ase_frames(source, elements)
        frame = None
        for frame in _heard(frames, warn):
            yield frame
        if frame is None:
            raise ValueError(_nothing(source, name))


def _nothing(source: Source, name: str) -> str:
    """The sentence about a file or slice without frames."""
    if source.index != slice(None):
        return f"expected frames {name.rpartition('@')[2]}, got none there"
    return f"expected structures, got none in what ASE reads as {source.form}: --format names it"


def _numbers(source: Source, elements: Sequence[str] | None) -> list[int] | None:
    """Atomic numbers of the types of a file, None where they are not given."""
    if elements is not None and not source.form.startswith("lammps"):
        wrong = "expected --elements for a LAMMPS file with types, got one of format"
        raise ValueError(f"{wrong} {source.form}")
    return None if elements is None else check_elements(elements)


def _text_frames(source: Source, elements: Sequence[str] | None) -> Iterator[Frame]:
    """Frames of an extxyz file."""
    check_elements(elements or ())
    for number, text in choose(lambda: read_text_frames(str(source.path)), source.index):
        if elements is not None:
            text.name_types(elements)  # wrong for one frame, wrong for all
        try:
            atoms = text.atoms()
        except Exception as error:  # a reader of ASE may raise anything on a broken file
            yield Frame(number, None, one_line(error))
            continue
        yield Frame(number, atoms, frame_problem(text, atoms))


def frame_problem(text: TextFrame, atoms: Any) -> str | None:
    """What is wrong with what ASE made of a frame of an extxyz file, as a sentence."""
    said = comment_problem(fields_of(text.comment), text.comment, atoms)
    return said or atoms_problem("extxyz", lambda _: text.text(), atoms)


def label_frames(
    name: str,
    form: str | None,
    elements: Sequence[str] | None,
    stack: contextlib.ExitStack,
    warn: Callable[[str], None],
) -> tuple[str, Iterator[tuple[int, TextFrame]]]:
    """The format of a file, and its frames as extxyz text with their places.

    An extxyz file is one that starts with a number, whatever its name; its frames stay as they
    are. Others are read by ASE and written as extxyz.

    Args:
        name: of the file; ``-`` is standard input.
        form: ASE's name of the format, None to guess.
        elements: symbols of the types 1, 2, ... of a LAMMPS file.
        stack: keeps the copy of a stream until it is closed.
        warn: takes what the reader warns about.

    Raises:
        FileNotFoundError, ValueError: if there is nothing to read, or it cannot be read.
    """
    source = Source(name, form, stack, xyz=True)
    if source.form == "extxyz":
        _numbers(source, elements)
        path = str(source.path)
        return source.form, choose(lambda: read_text_frames(path), source.index)
    return source.form, (
        (f.number, _as_text(f)) for f in _heard(_ase_frames(source, elements), warn)
    )


def _as_text(frame: Frame) -> TextFrame:
    """A frame as extxyz; results that were read with it are labels with ASE's names."""
    if frame.problem is not None:
        raise ValueError(f"frame {frame.number}: {frame.problem}")
    text = io.StringIO()
    import_extra("ase.io", "cli").write(text, frame.atoms, format="extxyz")
    count, comment, *rows = text.getvalue().splitlines(keepends=True)
    return TextFrame(count, comment, rows)


def _ase_frames(source: Source, elements: Sequence[str] | None) -> Iterator[Frame]:
    """Frames of a file in any other format."""
    numbers = _numbers(source, elements)
    try:
        for number, atoms in choose(lambda: _read(source), source.index):
            form = source.form
            problem = text_problem(form, source.text, atoms)
            drop_dummy(form, atoms)
            problem = problem or atoms_problem(form, source.text, atoms)
            problem = problem or single_problem(form, source.text(), atoms)
            yield Frame(number, atoms, problem or _name_elements(form, atoms, numbers))
    except Exception as error:  # a reader of ASE may raise anything on a broken file
        raise ValueError(reader_words(source.form, error)) from error


def _read(source: Source) -> Iterator[Any]:
    """All that ASE reads from a file."""
    path = str(source.path)
    if source.form in ROWS:
        with import_extra("ase.db", "cli").connect(path, type=source.form, serial=True) as rows:
            yield from (_atoms_of_row(row) for row in rows.select())
        return
    iread = import_extra("ase.io", "cli").iread
    known = import_extra("ase.io.formats", "cli").get_ioformat(source.form)
    one = known.single and known.acceptsfd and source.text()
    file = Ending(source.text(), path) if one else path
    whole = slice(None)
    for atoms in iread(file, index=whole, format=source.form, do_not_split_by_at_sign=True):
        if len(atoms) or source.form != "proteindatabank":  # which makes a frame of each END
            yield atoms


def _atoms_of_row(row: Any) -> Any:
    """Atoms of a row; keys go to ``info``, data with a value for each atom to ``arrays``."""
    atoms = row.toatoms()
    atoms.info.update(row.key_value_pairs)
    for name, value in row.data.items():
        array = np.asarray(value)
        each = array.ndim in (1, 2) and len(array) == len(atoms) and array.dtype.kind in "bif"
        (atoms.arrays if each and name not in atoms.arrays else atoms.info)[name] = value
    return atoms


def add_reading(add: Any) -> None:
    """Arguments that say how a file is to be read."""
    add.add_argument("--format", metavar="NAME", help="of the file, as ASE calls it")
    add.add_argument(
        "--elements", nargs="+", metavar="EL", help="of the types 1, 2, ... of a LAMMPS file"
    )


def check_reading(args: argparse.Namespace) -> None:
    """Refuse a format or elements that are not known.

    Raises:
        ValueError: for these.
    """
    check_elements(args.elements or ())
    check_format(args.format or "extxyz")


def choose(make: Callable[[], Iterator[Any]], index: slice) -> Frames:
    """Chosen frames, each with its place in the file.

    Args:
        make: gives all frames from the start.
        index: which ones; what counts from the end costs one more pass.
    """
    parts = index.start, index.stop, index.step
    if any(x is not None and x < 0 for x in parts):
        wanted = range(sum(1 for _ in make()))[index]
        if wanted.step < 0:
            yield from reversed(list(choose(make, _slice(wanted[::-1]))))
            return
        index = _slice(wanted)
    yield from itertools.islice(enumerate(make()), index.start, index.stop, index.step)


def _slice(wanted: range) -> slice:
    return slice(wanted.start, wanted.stop if len(wanted) else wanted.start, wanted.step)


def _heard(frames: Iterator[Frame], warn: Callable[[str], None]) -> Iterator[Frame]:
    """The frames; what is warned about while they are read is passed on, each sentence once."""
    heard: set[str] = set()
    while True:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                frame = next(frames, None)
            finally:
                for each in caught:
                    words = " ".join(str(each.message).split())
                    if not issubclass(each.category, CHATTER) and words not in heard:
                        heard.add(words)
                        warn(words)
        if frame is None:
            return
        yield frame


def _name_elements(form: str, atoms: Any, elements: list[int] | None) -> str | None:
    """Turn types into elements; a sentence where they are not known, or known otherwise."""
    types = atoms.arrays.get("type") if form.startswith("lammps") else None
    if types is None:
        return None
    masses = import_extra("ase.data", "cli").atomic_masses[atoms.numbers]
    unfit = abs(atoms.get_masses() - masses) > MASS
    bare = not atoms.has("masses") and bool((atoms.numbers == types).all())
    if elements is None:
        if unfit.any():
            mass, kind = atoms.get_masses()[unfit][0], types[unfit][0]
            return f"expected masses of elements, got {mass:g} for type {kind}: take --elements"
        wanted = f"expected --elements, the symbols of the types 1 to {max(types)}"
        return f"{wanted}, got a file without elements" if bare else None
    if max(types) > len(elements):
        return f"expected --elements for the types 1 to {max(types)}, got {len(elements)}"
    numbers = np.array(elements)[types - 1]
    other = (numbers != atoms.numbers) & ~unfit & (not bare)
    if other.any():
        new, old = SYMBOLS[numbers[other][0]], SYMBOLS[atoms.numbers[other][0]]
        return f"expected --elements as in the file, got {new} for {old}"
    atoms.numbers = numbers
    return None

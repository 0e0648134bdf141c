"""What the commands share at the terminal: parser, one-line errors, tables, progress bar."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from ..extras import import_extra
from ..parameters import DispersionWarning


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """End with code 2."""
        self.exit(2, f"d3torch: {one_line(message)}{_did_you_mean(message)}\n")


def _did_you_mean(message: str) -> str:
    """The nearest of the choices that a message lists, as a question; nothing if none is near."""
    found = re.search(r"invalid choice: '(.*)' \(choose from (.*)\)$", message, re.S)
    words = re.findall(r"[\w./-]+", found[2]) if found else []
    near = difflib.get_close_matches(found[1], words, n=1) if found else []
    return f"; did you mean {near[0]}?" if near else ""


LONGEST = 400
"""Characters of a message; what a file holds must not flood the terminal."""


def one_line(message: object) -> str:
    """First line with text, or the kind of an error without text; printable and not too long."""
    lines = [line.strip() for line in str(message).splitlines() if line.strip()]
    line = lines[0].removeprefix("d3torch: ") if lines else type(message).__name__
    line = "".join(x if x.isprintable() else ascii(x)[1:-1] for x in line)
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}..."


def complain(message: object, *place: str) -> None:
    """One line on stderr, clear of a progress bar."""
    line = ": ".join(("d3torch", *place, one_line(message)))
    tqdm = sys.modules.get("tqdm")
    with tqdm.tqdm.external_write_mode(sys.stderr) if tqdm else contextlib.nullcontext():
        print(line, file=sys.stderr, flush=True)


def table(rows: list[list[Any]], headers: list[str], digits: Sequence[str]) -> str:
    """Rows as text in columns; those without digits are no numbers."""
    words = [column for column, form in enumerate(digits) if not form]
    text: str = import_extra("tabulate", "cli").tabulate(
        rows, headers=headers, floatfmt=tuple(digits), missingval="-", disable_numparse=words
    )
    return text


@contextlib.contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Warnings of d3torch itself as one line on stderr, each text once; others as they come."""
    told: set[str] = set()
    shown = warnings.showwarning

    def show(message: Any, category: type[Warning], *place: Any, **more: Any) -> None:
        if not issubclass(category, DispersionWarning):
            shown(message, category, *place, **more)
        elif str(message) not in told:
            told.add(str(message))
            complain(f"warning: {message}")

    with warnings.catch_warnings():
        warnings.showwarning = show
        warnings.simplefilter("always", DispersionWarning)
        yield


def progress(frames: Iterator[Any], name: str) -> Iterator[Any]:
    """The frames, counted on stderr if that is a terminal."""
    tqdm = import_extra("tqdm", "cli").tqdm
    bar: Iterator[Any] = tqdm(
        frames, desc=name, unit=" frames", leave=False, disable=not sys.stderr.isatty()
    )
    return bar

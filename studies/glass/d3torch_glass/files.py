"""Files of potentials; files that are there whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import sys
import threading
from argparse import ArgumentTypeError
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

FILES = ("mace", "deepmd")
"""Families of potentials whose name after the colon is a file."""


def model_path(model: str) -> Path:
    """Where a potential is if it is a file, with or without its family before it."""
    family, _, name = model.partition(":")
    return Path(name if family in FILES else model)


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Give the place to write a file to; it is flushed to the disk and renamed after the block.

    The study has one of its own: its jobs run with any calculator of ASE, without d3torch. They
    last for days, so what they leave is on the disk before it has its name.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.partial")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


class AtWork(ValueError):
    """Another process is at work in a folder."""


@contextmanager
def at_work(folder: Path) -> Iterator[int]:
    """Make a folder and keep other processes of this machine out; a killed one keeps none out.

    Gives a file descriptor. Processes that get it (``pass_fds``) keep others out too, if this
    one is killed and they go on.

    Raises:
        AtWork: if another is at work there.
    """
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".at_work"
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(file.fileno()), path.stat()):
                raise BlockingIOError  # of a process that ended between the two lines above
        except (BlockingIOError, FileNotFoundError):
            raise AtWork(
                f"expected no other process at work in {folder}, got one: wait for its end"
            ) from None
        try:
            yield file.fileno()
        finally:
            path.unlink(missing_ok=True)
            if made:
                with suppress(OSError):  # it has something in it
                    folder.rmdir()


def part_of(text: str) -> tuple[int, int]:
    """K and N of ``K/N``, for argparse: every N-th, from the K-th on.

    Raises:
        ArgumentTypeError: for anything else.
    """
    found = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", text)
    if found is None or int(found[1]) > int(found[2]):
        raise ArgumentTypeError(f"expected a part such as 1/2, got {text}")
    return int(found[1]), int(found[2])


@contextmanager
def one_sentence() -> Iterator[None]:
    """End a script with what a ValueError or OSError says."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise SystemExit(f"{Path(sys.argv[0]).name}: {error}") from None


@contextmanager
def alone(folder: Path) -> Iterator[int]:
    """For scripts: :func:`at_work`, which ends with a sentence if another is at work."""
    with ExitStack() as held:
        with one_sentence():
            descriptor = held.enter_context(at_work(folder))
        yield descriptor


def write_text(path: Path, text: str) -> None:
    """Write a text aside and rename it."""
    with written_aside(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write JSON aside and rename it."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def read_json(path: Path) -> Any:
    """Content of a file; nothing where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def digest(*parts: Any) -> str:
    """Of bytes, and of the content of arrays."""
    content = (p if isinstance(p, bytes) else np.ascontiguousarray(p).tobytes() for p in parts)
    return hashlib.sha256(b"".join(content)).hexdigest()[:16]


def other_settings(name: str, others: Iterable[str], remove: str = "this one") -> ValueError:
    """The refusal to go on in a folder with other settings than before."""
    return ValueError(
        f"expected the settings that {name} was begun with, got others for "
        f"{', '.join(others)}: take another folder, or remove {remove}"
    )


def settle_results(path: Path, settings: dict[str, Any], results: Path, there: bool) -> None:
    """:func:`settle` for results in a file: without any, the settings of earlier ones are gone.

    Args:
        path: of the settings.
        settings: of now.
        results: the file; from before settings were kept, it is taken to be of these, aloud.
        there: whether it has results that these settings are for.

    Raises:
        ValueError: if they are others.
    """
    if not there:
        path.unlink(missing_ok=True)
    elif not path.exists():
        print(f"{results}, which has no settings, is taken to be of {settings}")
    settle(path, settings, results)


def settle(path: Path, settings: dict[str, Any], of: Path | None = None) -> None:
    """Keep the settings of a run in a file, or see that they are those that it was begun with.

    Args:
        path: of the settings.
        settings: of now.
        of: what they are the settings of, and what else would be removed; default: the folder.

    Raises:
        ValueError: if they are others.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, settings)
    before = json.loads(path.read_text(encoding="utf-8"))
    others = [key for key in settings if settings[key] != before.get(key)]
    if others:
        raise other_settings(str(of or path.parent), others)


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write an .npz aside, flush it to the disk, and rename it."""
    with written_aside(path) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)


def read_arrays(path: Path) -> dict[str, Any]:
    """All arrays of an .npz."""
    with np.load(path, allow_pickle=False) as found:
        return {name: found[name] for name in found.files}

"""Settings in the files that d3torch writes: models, ML-IAP files, labels and reports.

A file of a model is a pickle, which runs code when it is read: open only files that you trust.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..integrations.lammps import Unified
from ..module_settings import is_dispersion, record_of
from ..settings import VERSION, Settings
from .extxyz import TextFrame, fields_of, read_text_frames
from .options import settings_asked

PREFIX = "d3_"
"""Before the keys of settings in the comment of a frame."""

OTHER_TAGS = ("d3_labels", "d3_treated", "d3_energy", "d3_stress")
"""Keys of d3torch in a comment that are no settings."""

LABELS = "d3_labels"

WORDS = ("xc", "reference", "variant", VERSION)
"""Settings that are no numbers."""

IN_REPORTS = "d3_settings"
"""Key of the settings among others, in the manifest and the results of a study."""

IN_PAGES = re.compile('<script type="application/json" id="d3torch">(.*?)</script>', re.S)
"""The jobs of a study that tell their settings, as JSON in a page."""


def read_object(path: str) -> Any:
    """What a trusted file of torch.save or torch.jit.save holds, on the CPU.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it cannot be read.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"expected a model file, got {path}, which does not exist")
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")  # MACE prints and warns when it is imported
            if _is_torchscript(path):
                return torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
            return torch.load(path, map_location="cpu", weights_only=False)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # a pickle is code, which may raise anything
        if isinstance(error, ImportError | AttributeError) and "d3torch." in str(error):
            raise ValueError(
                f"expected a file of d3torch {__version__}, got {path} of another version "
                f"({error}): write it again"
            ) from None
        raise ValueError(f"expected a file of a MACE model, got {path}: {error}") from None


def _is_torchscript(path: str) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(Path(name).name == "constants.pkl" for name in archive.namelist())


def dispersion_of(held: Any) -> Any | None:
    """The D3 in what a file holds, of TorchScript or not; None without one."""
    model = held.model if isinstance(held, Unified) else held
    for part in model.modules() if isinstance(model, torch.nn.Module) else ():
        if is_dispersion(part):
            return part
    return None


def tags_of(settings: Settings) -> dict[str, str]:
    """Settings as keys and values for the comment of a frame, the version last."""
    record = {**settings.as_dict(), VERSION: __version__}
    words = {True: "T", False: "F"}
    return {
        PREFIX + name: words[value] if isinstance(value, bool) else _text(value)
        for name, value in record.items()
        if value is not None
    }


def _text(value: object) -> str:
    """A setting as one word."""
    return ",".join(value) if isinstance(value, list) else str(value)


def setting_keys_of(frame: TextFrame) -> list[str]:
    """Keys of a comment in which settings are told."""
    there = fields_of(frame.comment)
    return [key for key in there if key.startswith(PREFIX) and key not in OTHER_TAGS]


def record_of_frame(frame: TextFrame) -> dict[str, Any]:
    """The record in the comment of a frame, also one of a version that told less.

    Raises:
        ValueError: for a value that is none.
    """
    names = setting_keys_of(frame)
    return {name.removeprefix(PREFIX): _value(name, frame.get(name)) for name in names}


def _value(key: str, text: str | None) -> Any:
    """A setting as it was before it was written."""
    name = key.removeprefix(PREFIX)
    if name in WORDS:
        return text
    if name == "exclude":
        return (text or "").split(",")
    if name == "tail" and text in ("T", "F"):
        return text == "T"
    try:
        return float(text or "")
    except ValueError:
        raise ValueError(f"expected a number for {key}, got {text!r}") from None


def _one_of(records: Iterable[tuple[object, dict[str, Any]]], all_of: str) -> dict[str, Any]:
    """The record that all have in common, {} if there are none.

    Raises:
        ValueError: if one is another one, named by what stands before it.
    """
    found: dict[str, Any] = {}
    for place, record in records:
        if found and Settings.from_dict(record) != Settings.from_dict(found):
            raise ValueError(f"expected one D3 in all {all_of}, got another in {place}")
        found = found or record
    return found


def _records_of_labels(path: str) -> Iterable[tuple[int, dict[str, Any]]]:
    """Number and record of every frame of a file of labels.

    Raises:
        ValueError: if a frame has none.
    """
    for number, frame in enumerate(read_text_frames(path)):
        if frame.get(LABELS) is None:
            raise ValueError(
                "expected a file that d3torch wrote, such as labels that it subtracted from, got "
                f"structures without settings of D3 in frame {number}"
            )
        yield number, record_of_frame(frame)


def _record_in(document: Any, path: str) -> dict[str, Any]:
    """The record in a JSON document of d3torch, {} without one; of a report, that of all jobs."""
    if not isinstance(document, dict):
        return {}
    if isinstance(document.get("results"), list):
        jobs = [job for job in document["results"] if isinstance(job, dict)]
        told = ((job.get("name"), _record_in(job, path)) for job in jobs)
        return _one_of((each for each in told if each[1]), f"jobs of {path}")
    found = document.get("settings")
    if not isinstance(found, dict):
        return {}
    if "protocol" in found and IN_REPORTS not in found:  # of a study, without our D3
        return {}
    settings, versions = found.get(IN_REPORTS, found), document.get("versions")
    of_report = versions.get("d3torch") if isinstance(versions, dict) else None
    version = document.get(VERSION, of_report)
    if not isinstance(settings, dict):
        return {}
    return {**({} if version is None else {VERSION: version}), **settings}


def _document_in(path: str, page: bool) -> Any:
    """The JSON in a file, or in a page; None in a page without it.

    Raises:
        ValueError: for a file that is not whole.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        found = IN_PAGES.search(text) if page else None
        if page and found is None:
            return None
        return json.loads(text if found is None else found[1])
    except ValueError as error:
        raise ValueError(f"expected a JSON document in {path}, got none: {error}") from None


def read_text_record(path: str) -> dict[str, Any] | None:
    """The record in a file of labels, in JSON or in a page; None if the file is none of these.

    Raises:
        FileNotFoundError, ValueError: if there is no file; if there is no record in it.
    """
    if not Path(path).is_file():
        got = "a folder" if Path(path).is_dir() else "a name that does not exist"
        raise FileNotFoundError(f"expected a file that d3torch wrote, got {path}, {got}")
    with open(path, "rb") as file:
        head = file.read(64).lstrip()
    page = head.lower().startswith(b"<!doctype html")
    first = head.split(b"\n", 1)[0].strip()
    if page or head.startswith((b"{", b"[")):
        found = _record_in(_document_in(path, page), path)
    elif first.isdigit() or Path(path).suffix in (".gz", ".bz2", ".xz"):
        found = _one_of(_records_of_labels(path), f"frames of {path}")
    else:
        return None
    return _told(found, path)


def _told(record: dict[str, Any], path: str) -> dict[str, Any]:
    """The record, if there is one.

    Raises:
        ValueError: if not.
    """
    if not record:
        raise ValueError(f"expected a file with settings of d3torch, got {path}, which has none")
    return record


def read_record(path: str) -> Mapping[str, Any]:
    """Version and settings in a file that d3torch wrote, of any kind.

    Raises:
        FileNotFoundError: if there is no file.
        ValueError: if it cannot be read, or holds no dispersion of d3torch.
    """
    record = read_text_record(path)
    if record is not None:
        return record
    d3 = dispersion_of(read_object(path))
    return _told({} if d3 is None else record_of(d3), path)


def chosen_settings(args: argparse.Namespace) -> Settings:
    """Settings that the options of a command ask for, ``--settings-of FILE`` among them.

    Raises:
        FileNotFoundError, TypeError, ValueError: see :func:`read_record` and
            :func:`d3torch.cli.options.settings_asked`.
    """
    if args.settings_of is None:
        return settings_asked(args)
    return settings_asked(args, Settings.from_dict(read_record(args.settings_of)))

"""The command ``d3torch doctor``: at which level a model was trained, and which D3 goes with it.

A file of a model is a pickle, which runs code when it is read: open only files that you trust.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from ..levels import (
    EXACT,
    NO,
    UNKNOWN,
    Level,
    check_task,
    double_counting,
    doubts,
    find_levels,
    known_levels,
    levels,
    near_names,
)
from ..module_settings import record_of
from ..recognise import Model, dispersion_in, dispersion_in_file, models_in_file
from ..settings import Settings
from .console import complain, one_line, table
from .models import mace_or_nothing
from .records import dispersion_of, read_object


class Finding(NamedTuple):
    """What is known of a model.

    Attributes:
        levels: of it or of its tasks.
        inside: the dispersion that is computed in it already, None without one.
        unread: why a file was not read, empty if it was or is none.
        tasks: heads and modals in a file.
    """

    levels: list[Level]
    inside: str | None = None
    unread: str = ""
    tasks: tuple[str, ...] = ()


def add_doctor(commands: Any) -> None:
    """Arguments of the command."""
    add = commands.add_parser(
        "doctor", help="level at which a model was trained, and the D3 for it", allow_abbrev=False
    )
    add.set_defaults(run=run_doctor)
    add.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="trusted file, name, or family:name, such as chgnet:0.3.0",
    )
    add.add_argument(
        "--list", action="store_true", help="all that are known, or those with MODEL in their name"
    )
    add.add_argument("--task", metavar="NAME", help="head, modal or task of the model")
    add.add_argument("--xc", metavar="NAME", help="functional of a D3 that shall fit")
    add.add_argument("--json", action="store_true", help="print one JSON document")


def _inside(held: Any) -> str | None:
    """The dispersion in what a file holds, ours with its settings."""
    ours = dispersion_of(held)
    if ours is not None:
        settings = Settings.from_dict(record_of(ours))
        return f"{settings.label} of {settings.xc or 'explicit parameters'}, by d3torch"
    return dispersion_in(held)


def examine_file(path: str, task: str | None) -> Finding:
    """A file by its contents, if they can be read here, and by its name.

    Raises:
        ValueError: for a task that a model in it does not have.
    """
    try:
        mace_or_nothing()
        held = read_object(path)
        models, inside, unread = models_in_file(held), _inside(held), ""
    except (ValueError, ImportError, TypeError) as error:
        models, inside, unread = [], None, one_line(error)
        with contextlib.suppress(ValueError):
            inside = dispersion_in_file(path)
    tasks = tuple(dict.fromkeys(each for model in models for each in model.tasks))
    if task and tasks and task.casefold() not in map(str.casefold, tasks):
        raise ValueError(f"expected a head of {path}, one of {', '.join(tasks)}, got {task}")
    wanted = (task,) if task else tasks
    found = [
        level
        for model in models or [Model("", "")]
        for level in known_levels(model.family, path, model.name, wanted)
    ]
    return Finding(list(dict.fromkeys(found)), inside, unread, tasks)


def examine(model: str, task: str | None = None) -> Finding:
    """All that is known of a file or a name.

    Raises:
        ValueError: for an unknown name, file or task.
    """
    if Path(model).is_file():
        found = examine_file(model, task)
        if not found.levels and found.inside is None:
            tasks = f", with {', '.join(found.tasks)}" if found.tasks else ""
            why = f" ({found.unread})" if found.unread else ""
            raise ValueError(f"expected a model whose level is known, got {model}{tasks}{why}")
        return found
    check_task(model, task)
    levels = find_levels(model, (task,) if task else ())
    if not levels:
        near = near_names(model)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise ValueError(f"expected a file or the name of a model, got {model}{hint}")
    return Finding(levels)


def _lines(level: Level) -> list[tuple[str, str]]:
    """What is known of one model or task, for print."""
    inside = {"no": "not in the labels"}.get(level.dispersion, level.dispersion)
    return [
        ("trained on", level.level),
        ("dispersion", inside),
        ("D3 to add", level.advice),
        ("source", level.source),
    ]


def _show(found: Finding) -> None:
    """Print the findings, a block for each model or task."""
    blocks = [[level.label, *(f"  {a:12}{b}" for a, b in _lines(level))] for level in found.levels]
    if found.inside is not None:
        blocks.insert(0, [f"has dispersion in it: {found.inside}", "  D3 to add   none"])
    if found.unread:
        blocks.append([f"told by its name alone: {found.unread}"])
    print("\n\n".join("\n".join(block) for block in blocks))


def _as_dict(level: Level) -> dict[str, Any]:
    return {**level._asdict(), "advice": level.advice}


def _as_json(found: Finding, problems: list[str]) -> str:
    of_levels = [_as_dict(level) for level in found.levels]
    return json.dumps({**found._asdict(), "levels": of_levels, "problems": problems}, indent=1)


def problems_of(found: Finding, settings: Settings) -> list[str]:
    """What speaks against adding a D3."""
    twice = double_counting(found.levels, found.inside)
    return [*([] if twice is None else [twice]), *doubts(found.levels, settings)]


def listed(part: str) -> list[Level]:
    """Rows of the table with a part of a name in family, name or task; all for an empty one."""
    key = part.casefold()
    return [x for x in levels() if any(key in y.casefold() for y in (x.family, *x.names, x.task))]


def _row(level: Level) -> list[str]:
    """A model or task in one line, by the name that the command takes."""
    task = f"@{level.task}" if level.task else ""
    name = level.names[0].removeprefix(EXACT) + task
    xc = level.xc if level.dispersion in (NO, UNKNOWN) and level.xc else "none"
    doubt = "?" if level.dispersion == UNKNOWN else ""
    return [level.family, name, level.level, xc + doubt, level.dispersion]


def run_list(args: argparse.Namespace) -> int:
    """``d3torch doctor --list``; the exit code."""
    if args.task is not None or args.xc is not None:
        complain("expected --list without --task and --xc, got both")
        return 2
    found = listed(args.model or "")
    if args.json:
        print(json.dumps([_as_dict(level) for level in found], indent=1))
    elif found:
        headers = ["family", "model@task", "trained on", "D3 xc", "dispersion"]
        print(table([_row(level) for level in found], headers, [""] * len(headers)))
    if not found:
        near = near_names(args.model)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        complain(f"expected a part of the name of a model, got {args.model}{hint}")
    return 0 if found else 1


def run_doctor(args: argparse.Namespace) -> int:
    """``d3torch doctor``; the exit code: 1 for an unknown model, or a D3 that does not fit."""
    if args.list:
        return run_list(args)
    if args.model is None:
        complain("expected a MODEL or --list, got neither")
        return 2
    try:
        found = examine(args.model, args.task)
        problems = problems_of(found, Settings(xc=args.xc)) if args.xc else []
    except (TypeError, ValueError, OSError) as error:
        complain(error)
        return 1
    if args.json:
        print(_as_json(found, problems))
    else:
        _show(found)
    if args.model in ("small", "medium", "large"):
        complain(f"{args.model} of mace_mp; mace_off has another: mace_off:{args.model}")
    for problem in problems:
        complain(problem)
    return 1 if problems else 0

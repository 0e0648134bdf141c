"""At which level of theory published models were trained, and which D3 goes with it.

The one home of that knowledge is ``data/levels.csv``; ``data/README.md`` says how its rows were
checked.
"""

from __future__ import annotations

import csv
import difflib
import re
import warnings
import zipfile
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from .checks import require_bool
from .parameters import DispersionWarning, canonical_name, functionals
from .recognise import dispersion_in, dispersion_in_file, models_in
from .settings import Settings

NO = "no"
"""Dispersion of a level without any."""

UNKNOWN = "not established"
"""Dispersion of a level of which no source says whether there is any."""

EXACT = "="
"""Before a name that a query must be, not contain."""

ENDING = re.compile(r"\.(model|pt|pt2|pth|ckpt|tar|jit|zip|yaml|safetensors)$", re.IGNORECASE)
"""Of the file of a model."""

TASKS = {"mace": "head", "sevenn": "modal"}
"""What families call their tasks."""


class Level(NamedTuple):
    """At which level a model, or a task of it, was trained.

    Attributes:
        family: of models: ``"mace"``, ``"sevenn"``, ``"chgnet"``, ``"fairchem"``...
        names: of the model, the first one is what it is called; ``*`` is anything.
        task: the head, modal or task; empty for a model without any.
        level: the method, such as ``"PBE(+U)"``.
        xc: functional of the D3 that goes with the method; empty without one.
        dispersion: what the labels contain, or what the calculator of the model adds itself;
            ``"no"``, or ``"not established"``.
        source: DOI, arXiv number or address.
    """

    family: str
    names: tuple[str, ...]
    task: str
    level: str
    xc: str
    dispersion: str
    source: str

    @property
    def label(self) -> str:
        """The model and its task in a sentence."""
        task = f", {TASKS.get(self.family, 'task')} {self.task}" if self.task else ""
        return self.names[0].removeprefix(EXACT) + task

    @property
    def advice(self) -> str:
        """The D3 to add, or why none."""
        if self.dispersion not in (NO, UNKNOWN):
            return f"none: {self.dispersion}"
        if not self.xc:
            return f"none: no D3 for {self.level}"
        return f'xc="{self.xc}"' + ("" if self.dispersion == NO else ", if the labels have none")


@cache
def levels() -> tuple[Level, ...]:
    """All rows of the table."""
    path = resources.files("d3torch") / "data" / "levels.csv"
    rows = [*csv.reader(path.read_text(encoding="utf-8").splitlines())][1:]
    return tuple(Level(family, tuple(names.split()), *rest) for family, names, *rest in rows)


def _key(name: str) -> str:
    """A name without case and punctuation, but for ``*``."""
    return "".join(c for c in name.casefold() if c.isalnum() or c == "*")


def _fit(name: str, queries: Sequence[str]) -> int:
    """How well a name of the table fits what was asked: 0 not at all, best where it is the same.

    Otherwise the longest name wins that is a part of the query.
    """
    key = _key(name)
    if key in queries:
        return 1000
    if name.startswith(EXACT):
        return 0
    pattern = re.escape(key).replace(r"\*", ".*")
    return len(key.replace("*", "")) if any(re.search(pattern, q) for q in queries) else 0


def _queries(name: str) -> list[str]:
    """A name, or that of a file without its folder, and the same without its ending."""
    file = Path(name).name
    return [_key(file), _key(ENDING.sub("", file))]


def find_levels(model: str, tasks: Sequence[str] = ()) -> list[Level]:
    """Rows of a model: all its tasks, or those that are named.

    Args:
        model: a name, ``family:name``, either with ``@task`` behind it, or a file, known by its
            name; empty in ``family:`` for every model with one of the tasks.
        tasks: heads, modals or tasks.
    """
    family, colon, name = str(model).partition(":")
    family = "mace" if _key(family) == "macemp" else family  # by the function of MACE
    families = {level.family for level in levels()}
    if not colon or family.casefold() not in families:
        family, name = "", str(model)
    rows = [level for level in levels() if not family or level.family == family.casefold()]
    before, at, task = Path(name).name.rpartition("@")
    if at and _key(task) in {_key(level.task) for level in rows if level.task}:
        name, tasks = before, (task,)
    wanted = {_key(task) for task in tasks}
    if name:
        fits = [max(_fit(each, _queries(name)) for each in row.names) for row in rows]
        best = max(fits, default=0)
        rows = [row for row, fit in zip(rows, fits, strict=True) if best and fit == best]
    elif not wanted:
        return []
    return [
        row
        for row in rows
        if (_key(row.task) in wanted if row.task and wanted else bool(name) or not wanted)
    ]


def check_task(model: str, task: str | None) -> None:
    """Refuse a task, behind ``@`` or by itself, that a model which is known does not have.

    Raises:
        ValueError: naming those that it has.
    """
    before, at, behind = model.rpartition("@")
    name, wanted = (before, behind) if at and find_levels(before) else (model, task)
    names = ", ".join(row.task for row in find_levels(name) if row.task)
    if wanted and names and not any(row.task for row in find_levels(name, (wanted,))):
        raise ValueError(f"expected a task of {name}, one of {names}, got {wanted}")


def known_levels(family: str, file: str, name: str = "", tasks: Sequence[str] = ()) -> list[Level]:
    """Rows of a file: by its name, by that of the model in it, and by the tasks of that model.

    Args:
        family: of the model; empty if it is not known.
        file: path.
        name: of the model, if it tells.
        tasks: heads or modals that it computes.
    """
    before = f"{family}:" if family else ""
    queries = [Path(file).name, name] if family else [Path(file).name]
    found = [level for query in queries for level in find_levels(before + query, tasks)]
    if family and tasks:
        found += find_levels(before, tasks)
    return list(dict.fromkeys(found))


def near_names(model: str) -> list[str]:
    """Names of the table that look like a query, the nearest first."""
    name = str(model).rpartition(":")[2]
    names = {_key(each): each.removeprefix(EXACT) for row in levels() for each in row.names}
    near = difflib.get_close_matches(_queries(name)[1], names, n=3, cutoff=0.5)
    return list(dict.fromkeys(names[key] for key in near))


def levels_of(model: Any, task: str | None = None) -> list[Level]:
    """Levels of a model as far as they are known: of a name or file, a calculator or a module.

    Raises:
        ValueError: for the name of a model whose tasks differ in level, without a task; for
            another task.
    """
    tasks = () if task is None else (task,)
    if not isinstance(model, str | Path):
        seen = models_in(model)
        found = [find_levels(f"{m.family}:{m.name}", tasks or m.tasks) for m in seen]
        return list(dict.fromkeys(level for each in found for level in each))
    check_task(str(model), task)
    rows = find_levels(str(model), tasks)
    if len({(row.xc, row.dispersion) for row in rows}) > 1:
        names = ", ".join(row.task for row in rows)
        raise ValueError(
            f"expected a task of {rows[0].names[0].removeprefix(EXACT)}, one of {names}, got none"
        )
    return rows


def _is_of(settings: Settings, xc: str) -> bool:
    """Whether the damping of settings is that of a functional, by name or by number."""
    named = {f.name: f.parameters for f in functionals(variant=settings.variant)}
    return named.get(canonical_name(xc)) == settings.damping


def double_counting(known: Iterable[Level], inside: str | None = None) -> str | None:
    """Why D3 on top of a model counts dispersion twice; None if it does not.

    Args:
        known: levels of the model.
        inside: the dispersion that is computed in it already, None without one.
    """
    if inside is not None:
        return f"expected a model without dispersion, got one with {inside} in it already"
    for level in known:
        if level.dispersion not in (NO, UNKNOWN):
            return (
                f"expected a model without dispersion, got {level.label}, which has it already "
                f"({level.dispersion}; {level.source}): adding D3 counts it twice"
            )
    return None


def doubts(known: Iterable[Level], settings: Settings) -> list[str]:
    """What speaks against adding this D3 to models of these levels, a sentence each."""
    found = []
    for level in known:
        if level.dispersion == UNKNOWN:
            found.append(
                f"whether the labels of {level.label} contain dispersion is not established "
                f"({level.source}): D3 may count it twice"
            )
        if level.xc and level.dispersion in (NO, UNKNOWN) and not _is_of(settings, level.xc):
            got = settings.xc or "explicit damping"
            found.append(
                f"expected xc {level.xc}, on which {level.label} was trained ({level.source}), "
                f"got {got}"
            )
    return list(dict.fromkeys(found))


def _inside(model: Any) -> str | None:
    """The class that computes dispersion in a model or a file already."""
    if not isinstance(model, str | Path):
        return dispersion_in(model)
    return dispersion_in_file(str(model)) if zipfile.is_zipfile(model) else None


OVERRIDE = "allow_double_counting=True adds it all the same"
"""The end of a refusal that can be overruled."""


def judge(
    problem: str | None,
    others: Iterable[str],
    allowed: bool,
    stacklevel: int = 2,
    override: str = OVERRIDE,
) -> None:
    """Refuse for a problem, unless it is allowed, and warn of all else.

    `override`, the end of the refusal, says how it is allowed.

    Raises:
        TypeError: unless `allowed` is a bool.
        ValueError: the problem.
    """
    if not require_bool("allow_double_counting", allowed) and problem is not None:
        raise ValueError(f"{problem}; {override}")
    for words in [*([] if problem is None else [problem]), *others]:
        warnings.warn(words, DispersionWarning, stacklevel=stacklevel + 1)


def check_level(
    model: Any,
    xc: Any = "pbe",
    *,
    task: str | None = None,
    allow_double_counting: bool = False,
    stacklevel: int = 2,
) -> list[Level]:
    """Refuse D3 on top of dispersion, and warn of a D3 of another functional than the model's.

    Args:
        model: a calculator, a sum of them, a module, the name of a published model (see
            :func:`find_levels`) or a file. One that is not known passes: nothing is told of it.
        xc: functional, Settings, or a D3.
        task: head, modal or task of the model, where it does not tell itself.
        allow_double_counting: warn where it would refuse.
        stacklevel: of warnings, as of :func:`warnings.warn`.

    Returns:
        The levels that were found.

    Raises:
        TypeError: for a task that is no string, and for what names no D3; unless
            `allow_double_counting` is a bool.
        ValueError: if the model has dispersion in it or in its labels.

    Warns:
        DispersionWarning: for another functional; where it is not established whether the labels
            contain dispersion; for a double count that is allowed.
    """
    if task is not None and not isinstance(task, str):
        raise TypeError(f"expected the name of a task as a string, got {task!r}")
    settings = getattr(xc, "settings", None) or Settings.of(xc)
    known = levels_of(model, task)
    problem = double_counting(known, _inside(model))
    judge(problem, doubts(known, settings), allow_double_counting, stacklevel)
    return known

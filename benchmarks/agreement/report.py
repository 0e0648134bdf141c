"""The tables of the agreement, from stored answers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.agreement.causes import LADDERS, Deviation, Rung, deviation, ladder
from benchmarks.agreement.question import Answer, Question
from benchmarks.agreement.structures import STRUCTURES

PLACE = re.compile(r"(<!-- summary -->\n).*(<!-- end of summary -->)", re.DOTALL)
ORACLE = "simple-dftd3, in vacuum"


Rows = dict[str, list[Rung] | str]
"""The rungs of each structure, or why a program does not compute it."""


def dense(text: str) -> str:
    """JSON with each row of numbers on one line."""
    return re.sub(r"\[\s+([^\[\]{}]+?)\s+\]", lambda m: f"[{' '.join(m[1].split())}]", text)


def _answer(stored: dict[str, Any]) -> Answer:
    return Answer(stored["energy"], np.array(stored["forces"]))


def _shown(d: Deviation) -> str:
    return "NaN" if np.isnan(d.energy) else f"{abs(d.energy):.0e} / {d.force:.0e}"


def _rows(name: str, stored: dict[str, Any]) -> Rows:
    """Deviations of a program after each step, for each structure; or why there are none."""
    return {
        structure: given["refused"]
        if "refused" in given
        else ladder(name, STRUCTURES[structure](), _answer(given))
        for structure, given in stored["answers"].items()
    }


def _from_oracle(stored: dict[str, Any], oracle: dict[str, Any]) -> Rows:
    """Deviations of a program from simple-dftd3, where d3torch's twin has no such D3."""
    return {
        structure: given["refused"]
        if "refused" in given
        else [_alone(_answer(given), _answer(oracle["answers"][structure]))]
        for structure, given in stored["answers"].items()
    }


def _alone(theirs: Answer, ours: Answer) -> Rung:
    return Rung(deviation(theirs, ours), Deviation(0.0, 0.0))


def _largest(found: list[Deviation]) -> str:
    """The largest deviations of energy and force, and how often there is none."""
    real = [d for d in found if not np.isnan(d.energy)]
    lost = f", NaN {len(found) - len(real)} times" if len(real) < len(found) else ""
    top = Deviation(max(abs(d.energy) for d in real), max(d.force for d in real))
    return _shown(top) + lost


def _steps(name: str, stored: dict[str, Any]) -> list[str]:
    plain = Question(**stored["asked"])._replace(xc="pbe") == Question()
    return [step.cause for step in LADDERS[name]] if plain else []


def table(name: str, stored: dict[str, Any], rows: dict[str, Any]) -> str:
    """Deviations of energy and force of a program, structure by structure and step by step."""
    steps = _steps(name, stored)
    head = ["structure", "E / eV", "as we are", *(f"{i}" for i in range(1, len(steps) + 1))]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for structure, row in rows.items():
        if isinstance(row, str):
            lines.append(f"| {structure} | {row} only |" + " |" * (len(head) - 2))
            continue
        energy = stored["answers"][structure]["energy"]
        lines.append(
            f"| {structure} | {energy:.7f} | {' | '.join(_shown(rung.left) for rung in row)} |"
        )
    where = f"Python {stored['python']}, torch {stored['torch']}, {stored['date']}"
    told = [f"{i}. {step}" for i, step in enumerate(steps, 1)]
    title = f"## {name}\n\n{stored['versions']}; {stored['settings']}; {where}.\n"
    return "\n".join([title, *told, *[""] * bool(told), *lines, ""])


def summary(kept: dict[str, Any], all_rows: dict[str, Rows]) -> str:
    """A program a row: largest deviations, what each cause changes at most, and what is left."""
    head = "program", "settings", "largest deviation", "causes, each with what it changes", "left"
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for name, stored in kept.items():
        rows = [row for row in all_rows[name].values() if not isinstance(row, str)]
        causes = enumerate(_steps(name, stored), 1)
        parts = [f"{cause}: {_largest([row[i].effect for row in rows])}" for i, cause in causes]
        first, last = (_largest([row[i].left for row in rows]) for i in (0, -1))
        who, why = f"{name} ({stored['versions']})", "<br>".join(parts) or "-"
        lines.append(f"| {' | '.join((who, stored['settings'], first, why, last))} |")
    return "\n".join(lines)


def write(store: dict[str, Any], tables: Path | None, page: Path | None) -> None:
    """Write the tables of all steps, and put the summary in its place on a page; else print it."""
    rows = {}
    for name, stored in store.items():
        known = Question(**stored["asked"])._replace(xc="pbe") == Question()
        rows[name] = _rows(name, stored) if known else _from_oracle(stored, store[ORACLE])
    short = summary(store, rows)
    print(short)
    if tables:
        text = "\n".join(table(name, stored, rows[name]) for name, stored in store.items())
        tables.write_text(f"# Agreement with other programs, step by step\n\n{text}")
    if page:
        page.write_text(PLACE.sub(lambda m: f"{m[1]}{short}\n{m[2]}", page.read_text()))

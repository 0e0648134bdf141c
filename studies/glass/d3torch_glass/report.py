"""One self-contained page about a study, with its tables as CSV and JSON."""

from __future__ import annotations

import html
import json
import math
import shlex
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .analyse import RESULTS
from .averages import Mean
from .figures import images
from .files import write_json, write_text
from .tables import Result, Row, Shift, as_csv, effects, error_table, rows_of, shifts, variant

STYLE = """
body{font:15px/1.45 system-ui,sans-serif;max-width:76rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:.6rem 0 1.4rem}th,td{padding:.25rem .7rem;text-align:right;
border-bottom:1px solid #ddd}th:first-child,td:first-child{text-align:left}img{max-width:100%}
@media(max-width:60rem){table{display:block;overflow-x:auto}}
th{font-weight:600;background:#f5f5f5}p.note{color:#555;max-width:60rem}h2{margin-top:2rem}
"""


DISPERSION = "d3_settings"
"""Key of the settings of d3torch among those of a job; d3torch reads them from reports as well."""


def number(value: float | None, error: float | None = None) -> str:
    """A value with its error, both to the digits that matter."""
    if value is None:
        return "-"
    if error is None:
        return f"{value:.4g}"
    if not (math.isfinite(error) and error > 0.0):
        return f"{value:.4g} ± {error:.2g}"
    decimals = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in cells) + "</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f"<table><thead>{line(head, 'th')}</thead><tbody>{body}</tbody></table>"


def _effect_part(results: Sequence[Result]) -> str:
    """What dispersion does, by how much, at what cost: the first thing on the page."""
    found = effects(results)
    if not found:
        return "<p>No two jobs differ by dispersion alone, so nothing can be said about it yet.</p>"
    rows = [
        (e.name, e.quantity, number(e.without), number(e.added),
         number(e.added - e.without, e.error), f"{(e.added / e.without - 1) * 100:+.1f} %")
        for e in found
    ]  # fmt: skip
    head = ("glass", "quantity", "without D3", "with D3", "difference", "relative")
    return _table(head, rows)


def _shift_part(results: Sequence[Result]) -> str:
    """What dispersion does to each composition, over seeds; nothing for one seed of each."""
    found = shifts(results)
    if all(shift.seeds == 1 for shift in found):
        return ""
    rows = [
        (s.glass, s.variant, s.quantity, *(_told(m) for m in (s.without, s.added, s.shift)),
         str(s.seeds))
        for s in found
    ]  # fmt: skip
    head = ("glass", "potential", "quantity", "without D3", "with D3", "difference", "seeds")
    note = "Means over seeds; errors are standard errors over seeds, of differences glass by glass."
    return f"<h2>Shift by dispersion</h2><p class=note>{note}</p>{_table(head, rows)}"


def _told(mean: Mean) -> str:
    return number(mean.value, mean.error if mean.error == mean.error else None)


def _summary(results: Sequence[Result]) -> str:
    """One sentence for each variant: how far density is from experiment, and the rate."""
    density = error_table(results)[0]
    lines = []
    for name, (error, count) in density.ours.items():
        glasses = "1 glass" if count == 1 else f"{count} glasses"
        cost = _cost([r["timing"] for r in results if variant(r) == name])
        lines.append(
            f"<li><b>{html.escape(name)}</b>: density off by {error:.2f} % over {glasses}; "
            f"{cost}</li>"
        )
    return f"<ul>{''.join(lines + [f'<li>{html.escape(v)}</li>' for v in verdicts(results)])}</ul>"


def _cost(timings: Sequence[dict[str, float]]) -> str:
    """Mean rate of dynamics, or time of a step at rest."""
    key, unit = ("ps_per_hour", "ps/h") if "ps_per_hour" in timings[0] else STEP
    values = [t[key] for t in timings]
    return f"{number(sum(values) / len(values))} {unit}"


STEP = ("seconds_per_step", "s/step")


def verdicts(results: Sequence[Result]) -> list[str]:
    """For each glass with and without dispersion: which of the two densities is nearer."""
    lines = []
    for e in effects(results):
        if not e.quantity.startswith("density"):
            continue
        without, added = ((v / e.measured - 1.0) * 100.0 for v in (e.without, e.added))
        word = "nearer to" if abs(added) < abs(without) else "farther from"
        lines.append(
            f"{e.name}: dispersion brings the density {word} experiment, "
            f"from {without:+.1f} % to {added:+.1f} %"
        )
    return lines


def _error_part(results: Sequence[Result]) -> str:
    table = error_table(results)
    ours = sorted({name for row in table for name in row.ours})
    methods = list(table[0].paper)
    head = ["quantity", *(f"{name} (glasses)" for name in ours), *(f"paper: {m}" for m in methods)]
    rows = []
    for row in table:
        cells = [
            f"{number(row.ours[n][0])} ({row.ours[n][1]})" if n in row.ours else "-" for n in ours
        ]
        rows.append([row.quantity, *cells, *(number(row.paper[m]) for m in methods)])
    return _table(head, rows)


def _row_part(rows: Sequence[Row]) -> str:
    head = ("job", "quantity", "value", "reference", "source of the reference", "difference")
    cells = [
        (r.job, r.quantity, number(r.value, r.error), number(r.reference), r.source,
         f"{r.difference:+.3g}")
        for r in rows
    ]  # fmt: skip
    return _table(head, cells)


def _stiffness_part(results: Sequence[Result]) -> str:
    keys = ("youngs", "bulk", "poisson", "residual", "C11", "C12", "C44")
    head = ["job", "E", "K", "nu", "E - 3K(1-2nu)", "C11", "C12", "C44", "E of C11, C44", "K", "nu"]
    rows = []
    for r in results:
        s = r["stiffness"]
        means = [number(s[k]["value"], s[k]["error"]) if k in s else "-" for k in keys]
        other = (
            [number(v) for v in s["from_C11_C44"].values()] if "from_C11_C44" in s else ["-"] * 3
        )
        rows.append([r["name"], *means, *other])
    return _table(head, rows)


RUN_KEYS = ("dt_fs", "rate", "melt_ps", "final_ps")


def _run_part(results: Sequence[Result]) -> str:
    head = (
        "job",
        "atoms",
        "dt / fs",
        "rate / (K/ps)",
        "melt / ps",
        "final / ps",
        "ps/h",
        "missing",
    )
    rows = []
    for r in results:
        p, timing = r["settings"]["protocol"], r["timing"]
        values = (*(p.get(key) for key in RUN_KEYS), timing.get("ps_per_hour"))
        missing = ", ".join(r["missing"]) or "nothing"
        rows.append((r["name"], str(r["atoms"]), *(number(v) for v in values), missing))
    return _table(head, rows)


def _dispersion_part(results: Sequence[Result]) -> str:
    """Settings of the D3 of d3torch, each once, and for ``d3torch inspect`` those of every job."""
    told = [
        {
            "name": r["name"],
            "version": r.get("versions", {}).get("d3torch", "unknown"),
            "settings": {DISPERSION: r["settings"][DISPERSION]},
        }
        for r in results
        if DISPERSION in r["settings"]
    ]
    if not told:
        return ""
    jobs: dict[str, list[str]] = {}
    for job in told:
        record = {"version": job["version"], **job["settings"][DISPERSION]}
        jobs.setdefault(json.dumps(record), []).append(job["name"])
    records = [json.loads(record) for record in jobs]
    names = list(dict.fromkeys(name for record in records for name in record))
    head = ["setting", *(", ".join(those) for those in jobs.values())]
    rows = [[name, *(str(record.get(name, "-")) for record in records)] for name in names]
    block = json.dumps({"results": told}).replace("<", "\\u003c")
    return (
        f"<h2>Which D3</h2><p class=note>{html.escape(LENGTHS)}</p>{_table(head, rows)}"
        f'<script type="application/json" id="d3torch">{block}</script>'
    )


LENGTHS = "Lengths in Å, a2 in bohr, as d3torch inspect reads them from this page."


def _timing_part(timing: dict[str, Any] | None) -> str:
    if timing is None:
        return ""
    rows = [
        (name, number(t["ms_per_step"]), number(t["ps_per_hour"]), number(t["relative"]))
        for name, t in timing["backends"].items()
    ]
    first = next(iter(timing["backends"]))
    head = ("backend", "ms/step", "ps/h", f"relative to {first}")
    note = f"{timing['atoms']} atoms, {timing['dt_fs']} fs, {timing['conditions']}."
    return f"<h2>Cost by backend</h2><p class=note>{html.escape(note)}</p>{_table(head, rows)}"


CAUTION = (
    "References are numbers that the paper or the data sources print. Values that the paper shows "
    "in figures only (density and moduli of single glasses, curves) are compared with nothing. "
    "Errors are standard errors from five blocks of one trajectory, or from three axes: they do "
    "not know how another quench would have turned out."
)


def page(results: Sequence[Result], title: str, note: str, timing: dict[str, Any] | None) -> str:
    """The report as HTML; figures are part of it."""
    rows = [row for r in results for row in rows_of(r)]
    drawn = "".join(
        f"<h3>Figure {k}. {html.escape(name)}</h3><img alt='{html.escape(name)}' "
        f"src='data:image/png;base64,{data}'>"
        for k, (name, data) in enumerate(images(results), 1)
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width,initial-scale=1'>"
        f"<title>{html.escape(title)}</title>"
        f"<style>{STYLE}</style><h1>{html.escape(title)}</h1><p>{html.escape(note)}</p>"
        f"<h2>Does dispersion help, by how much, at what cost?</h2>{_summary(results)}"
        f"{_shift_part(results)}{_effect_part(results)}"
        f"<h2>Errors against experiment, beside the paper's</h2>{_error_part(results)}"
        f"<p class=note>{html.escape(CAUTION)}</p>"
        f"<h2>What was run, what is missing</h2>{_run_part(results)}{_dispersion_part(results)}"
        f"{_timing_part(timing)}"
        f"<h2>Figures</h2>{drawn}"
        f"<h2>Every value beside its reference</h2>{_row_part(rows)}"
        f"<h2>Stiffness, GPa</h2>{_stiffness_part(results)}"
        "<p class=note>E and nu with free sides, K by compression, C11 and C12 with held sides, "
        "C44 = (C11 - C12)/2: three independent runs. E - 3K(1-2nu) is zero for one isotropic "
        f"body.</p>{_made_by(results)}</html>\n"
    )


def _made_by(results: Sequence[Result]) -> str:
    """When and by which command this page was made, and with which versions its jobs ran."""
    told = dict.fromkeys(json.dumps(r.get("versions", {})) for r in results)
    ran = "; ".join(", ".join(f"{k} {v}" for k, v in json.loads(each).items()) for each in told)
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    made = f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC by {command}. Jobs ran with {ran}."
    return f"<p class=note>Made {html.escape(made)}</p>"


def as_plain(shift: Shift) -> dict[str, Any]:
    """For JSON: errors that are not known are null."""
    means = {
        name: {"value": m.value, "error": m.error if m.error == m.error else None}
        for name, m in zip(MEANS, (shift.without, shift.added, shift.shift), strict=True)
    }
    return {**shift._asdict(), **means}


MEANS = ("without", "added", "shift")


def read_results(folder: Path) -> list[Result]:
    """Results of all jobs of a study that were analysed, by name.

    Raises:
        ValueError: if there are none.
    """
    found = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(folder.glob(f"*/{RESULTS}"))]
    if not found:
        raise ValueError(f"expected results of d3torch glass analyse in {folder}, got none")
    return found


def write_report(
    folder: Path, output: Path, title: str = "Silicate glasses", note: str = ""
) -> None:
    """Write a page, and beside it the comparisons as CSV and all results as JSON.

    Args:
        folder: of the study.
        output: file that ends in .html.
        title: of the page.
        note: a sentence under it.

    Raises:
        ValueError: for another ending, or a study without results.
    """
    if output.suffix != ".html":
        raise ValueError(f"expected a report that ends in .html, got {output.name}")
    results, timing = read_results(folder), folder / "timing.json"
    measured = json.loads(timing.read_text(encoding="utf-8")) if timing.exists() else None
    rows = [row for r in results for row in rows_of(r)]
    write_text(output, page(results, title, note, measured))
    write_text(output.with_suffix(".csv"), as_csv(rows))
    errors = [row._asdict() for row in error_table(results)]
    content = {"errors": errors, "effects": [e._asdict() for e in effects(results)]}
    content["shifts"] = [as_plain(shift) for shift in shifts(results)]
    write_json(output.with_suffix(".json"), content | {"timing": measured, "results": results})

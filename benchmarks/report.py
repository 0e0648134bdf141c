"""Table, figures and raw numbers of ``benchmarks.suites.cpu``."""

from __future__ import annotations

import datetime
import json
import math
import os
import platform
import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import RIVALS
from benchmarks.rivals.cpu import Outcome
from d3torch.files import written_aside

Record = dict[str, Any]

BASE = "d3torch lattice"
SMALLEST = 1500
"""Atoms from which the exponent of the scaling is fitted."""


def deviation(found: Outcome, truth: Outcome | None) -> list[float] | None:
    """Relative errors of the energy and of the worst force component, to the largest one."""
    if truth is None or math.isnan(found.energy):
        return None
    energy = abs(found.energy - truth.energy) / abs(truth.energy)
    force = np.abs(found.forces - truth.forces).max() / np.abs(truth.forces).max()
    return [float(energy), float(force)]


def conditions(threads: list[int]) -> dict[str, Any]:
    """What the numbers depend on, without names of machines or paths."""
    import torch

    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*:\s*(.*)", info)
    processor = " ".join(model[1].split()) if model else platform.machine()
    packages = dict.fromkeys(["torch", "numpy", "warp-lang", *(r.package for r in RIVALS.values())])
    return {
        "date": datetime.date.today().isoformat(),
        "processor": processor,
        "slug": re.sub(r"[^a-z0-9]+", "-", processor.lower()).strip("-"),
        "cores": os.cpu_count(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in packages},
        "threads": threads,
        "load_before": os.getloadavg()[0],
        "records": [],
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


# ---- lines and tables ----


def median(record: Record) -> float:
    """Median time in seconds, nan where there is none."""
    return float(np.median(record["times"])) if record["times"] else math.nan


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.3g}" if seconds < 1.0 else f"{1e3 * seconds:.0f}"


def line(record: Record) -> str:
    """One record for the terminal."""
    head = (
        f"{record['case']:8} {record['atoms']:7d} {record['cutoff']:.0f}/{record['cn_cutoff']:.0f}"
    )
    head += f" {record['threads']}t {record['dtype']} {record['rival']:32}"
    if record["failure"]:
        return f"{head} {record['failure']}"
    errors = " ".join(f"{e:.1e}" for e in record["deviation"] or ())
    return f"{head} {_ms(median(record)):>8} ms {record['memory'] / 1e6:9.2f} MB  {errors}"


def _groups(records: list[Record]) -> Iterator[list[Record]]:
    """Records of one case, size and number of threads."""
    seen: dict[Any, list[Record]] = {}
    for record in records:
        seen.setdefault((record["case"], record["atoms"], record["round"]), []).append(record)
    yield from seen.values()


def ratio(record: Record, group: list[Record]) -> float:
    """Time against the lattice engine in the same dtype, nan where either is missing."""
    base = [r for r in group if r["rival"] == BASE and r["dtype"] == record["dtype"]]
    return median(record) / median(base[0]) if base else math.nan


def _cells(record: Record, group: list[Record]) -> list[str]:
    head = [record["rival"], record["dtype"], str(record["threads"])]
    if record["failure"]:
        return [*head, record["failure"], "", "", "", "", record["note"]]
    times, against = record["times"], ratio(record, group)
    span = f"{_ms(median(record))} [{_ms(min(times))}..{_ms(max(times))}]"
    errors = [f"{e:.1e}" for e in record["deviation"] or ()] or ["", ""]
    shown = "" if math.isnan(against) else f"{against:.3g}"
    return [*head, span, shown, f"{record['memory'] / 1e6:.3g}", *errors, record["note"]]


def markdown_table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


HEAD = ["", "dtype", "threads", "ms", "x lattice", "MB", "dE", "dF", ""]


def _case_sections(records: list[Record]) -> Iterator[str]:
    for group in _groups([r for r in records if r["case"] != "scaling"]):
        g = group[0]
        yield (
            f"### {g['case']}, {g['round']} thread{'s' * (g['round'] > 1)}\n\n{g['title']}, "
            f"{g['atoms']} atoms, cutoffs {g['cutoff']:.0f}/{g['cn_cutoff']:.0f} bohr.\n\n"
        ) + markdown_table(HEAD, [_cells(r, group) for r in group])


def exponent(records: list[Record]) -> float:
    """Of time = c N^p, fitted from 1500 atoms on; nan with less than three sizes."""
    points = [(r["atoms"], median(r)) for r in records if r["times"] and r["atoms"] >= SMALLEST]
    if len(points) < 3:
        return math.nan
    n, t = np.log(np.array(points)).T
    return float(np.polyfit(n, t, 1)[0])


def _series(records: list[Record]) -> dict[tuple[str, str], list[Record]]:
    """The scaling, by rival and dtype."""
    found: dict[tuple[str, str], list[Record]] = {}
    for r in records:
        if r["case"] == "scaling":
            found.setdefault((r["rival"], r["dtype"]), []).append(r)
    return found


def _scaling_section(records: list[Record]) -> str:
    series = _series(records)
    if not series:
        return ""
    sizes = sorted({r["atoms"] for s in series.values() for r in s})
    rows, reasons = [], []
    for (rival, dtype), run in series.items():
        done = [r for r in run if r["times"]]
        by_size = {r["atoms"]: _ms(median(r)) for r in done}
        power = exponent(run)
        most = f"{done[-1]['memory'] / 1e3 / done[-1]['atoms']:.3g}" if done else ""
        row = [rival, dtype, *(by_size.get(n, "-") for n in sizes)]
        rows.append([*row, "" if math.isnan(power) else f"{power:.3f}", most])
        stops = [f"{r['failure']} at {r['atoms']}" for r in run if r["failure"]]
        reasons += [f"- {rival}, {dtype}: {stops[0]}"] if stops else []
    small = ", ".join(str(n) for n in sizes if n < SMALLEST)
    text = (
        f"### Glasses, 60/40 bohr, {records[-1]['round']} threads: ms against number of atoms\n\n"
        f"NS33 replicated; below {SMALLEST} ({small}) cubes cut from it with the seam closed. "
        f"p: time ~ N^p from {SMALLEST} atoms on. kB: MB per atom at the largest size, in kB.\n\n"
    )
    table = markdown_table(["", "dtype", *map(str, sizes), "p", "kB"], rows)
    return text + table + "\nMissing:\n\n" * bool(reasons) + "\n".join(reasons) + "\n"


def _preamble(results: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {v}" for name, v in results["versions"].items())
    load = f"{results['load_before']:.2f} before, {results.get('load_after', math.nan):.2f} after"
    return f"""# D3(BJ) on the CPU, {results["date"]}

{results["processor"]}, {results["cores"]} cores, {results["instructions"]}; load {load}.

Python {results["python"]}, {versions}.

PBE, energy, forces and, where a rival has it and the system is periodic, virial; two-body cutoff
and CN cutoff as given. Rivals took turns in one run, each in a process of its own; ms: median
[fastest..slowest] of a call after a warm-up, neighbour list included unless said otherwise.
x lattice: time against the lattice engine of d3torch in the same dtype and case. MB: growth of the
process by the inputs and the first call, at most. dE, dF: deviation from simple-dftd3 in float64 at
the cutoffs that the rival has, relative, for forces to the largest component.

"""


# ---- figures ----


def _style() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    plt.rcParams.update({"font.size": 9, "axes.grid": True, "grid.alpha": 0.3, "figure.dpi": 110})
    return plt


def _looks() -> dict[str, tuple[Any, str]]:
    """A colour and a marker for each rival, the same in both figures."""
    import matplotlib

    palette, markers = matplotlib.colormaps["tab20"].colors, "os^vD<>pP*Xhd"
    return {n: (palette[2 * i % 19], markers[i % len(markers)]) for i, n in enumerate(RIVALS)}


def draw_scaling(records: list[Record], path: Path) -> None:
    """Time against the number of atoms."""
    plt, looks = _style(), _looks()
    figure, axes = plt.subplots(figsize=(7.2, 4.6))
    for (rival, dtype), run in _series(records).items():
        done = [r for r in run if r["times"]]
        if not done or (dtype == "float32" and "float64" in RIVALS[rival].dtypes and rival != BASE):
            continue
        colour, marker = looks[rival]
        power = exponent(run)
        label = f"{rival}, {dtype}" + ("" if math.isnan(power) else f"  ($N^{{{power:.2f}}}$)")
        thick = {"lw": 2.2 if rival == BASE else 1.0, "ls": "-" if dtype == "float64" else "--"}
        x, y = [r["atoms"] for r in done], [median(r) for r in done]
        axes.loglog(x, y, color=colour, marker=marker, ms=4, label=label, **thick)
    axes.set(xlabel="atoms", ylabel="seconds per call (energy, forces, virial)")
    axes.set_title("Sodium silicate glass, 60/40 bohr")
    axes.legend(fontsize=6.5, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    _save_figure(plt, figure, path)


def draw_ratios(records: list[Record], path: Path) -> None:
    """Time over that of the lattice engine, rival by rival."""
    plt, looks = _style(), _looks()
    groups = list(_groups([r for r in records if r["case"] not in ("scaling", "small")]))
    figure, axes = plt.subplots(figsize=(7.2, 0.9 + 0.42 * len(groups)))
    for row, group in enumerate(groups):
        for r in group:
            value, (colour, marker) = ratio(r, group), looks[r["rival"]]
            if r["rival"] == BASE or math.isnan(value):
                continue
            face = colour if r["dtype"] == "float64" else "none"
            label = r["rival"] + ("" if "float64" in RIVALS[r["rival"]].dtypes else " (float32)")
            dot = {"marker": marker, "mec": colour, "mfc": face, "ls": "", "ms": 6}
            axes.plot(value, row, label=label, **dot)
    names = [f"{g[0]['case']}, {g[0]['atoms']} atoms, {g[0]['round']} thr." for g in groups]
    axes.set_yticks(range(len(groups)), names)
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.axvline(1.0, color="k", lw=1)
    axes.set(xscale="log", xlabel="time / time of d3torch lattice, same dtype (hollow: float32)")
    unique = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    place = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5), "frameon": False, "fontsize": 6.5}
    axes.legend(unique.values(), unique.keys(), **place)
    _save_figure(plt, figure, path)


def _save_figure(plt: Any, figure: Any, path: Path) -> None:
    with written_aside(path) as partial:
        figure.savefig(partial, format="png", bbox_inches="tight")
    plt.close(figure)


# ---- files ----


def load(path: Path) -> dict[str, Any]:
    """Results saved before."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def replace_file(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(path) as partial:
        partial.write_text(text, encoding="utf-8")


def save(results: dict[str, Any], stem: Path) -> None:
    """The raw numbers, as JSON."""
    replace_file(stem.with_name(stem.name + ".json"), json.dumps(results, indent=1) + "\n")


def write(results: dict[str, Any], stem: Path) -> None:
    """Raw numbers, table and figures."""
    records, figures = results["records"], []
    save(results, stem)
    for kind, draw in (("scaling", draw_scaling), ("ratios", draw_ratios)):
        if any((r["case"] == "scaling") == (kind == "scaling") for r in records):
            path = stem.with_name(f"{stem.name}_{kind}.png")
            draw(records, path)
            figures.append(f"![{kind}]({path.name})\n")
    sections = [*_case_sections(records), _scaling_section(records), *figures]
    text = _preamble(results) + "\n".join(sections) + "\n" + results.get("limit", "")
    replace_file(stem.with_name(stem.name + ".md"), text.rstrip() + "\n")

"""What the tables of the result page share: names, means over seeds, pairs of jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from d3torch_glass.analyse import BULK_AT_ZERO
from d3torch_glass.averages import over_seeds
from d3torch_glass.facts import compositions, measured_moduli, real_composition

Job = dict[str, Any]
Pair = tuple[Job, Job]
Pick = Callable[[Job], float | None]
NOT_RUN = "Not run."
NAMES = {
    "chgnet:0.3.0": "CHGNet 0.3.0", "sevenn:7net-0": "SevenNet-0", "pmmcs": "PMMCS",
    "sevenn:7net-l3i5": "SevenNet-l3i5", "chgnet:r2scan": "CHGNet r2SCAN",
    "deepmd:7net-0": "SevenNet-0 distilled",
}  # fmt: skip
TEACHERS = {"deepmd:7net-0": "sevenn:7net-0"}
"""What a distilled potential was trained on."""


def called(model: str) -> str:
    """Name of a potential for a reader."""
    return NAMES.get(model, model)


def told(values: Sequence[float], digits: int, sign: str = "") -> str:
    """Mean of a number over seeds, with its standard error if they are several."""
    mean, error = over_seeds(values)
    rounded = round(mean, digits) + 0.0  # no -0
    return f"{rounded:{sign}.{digits}f}" + ("" if np.isnan(error) else f" ± {error:.{digits}f}")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def off(job: Job) -> float:
    """Error of the density, %."""
    return 100.0 * (
        float(job["density"]) / real_composition(job["composition"], job["atoms"]).density - 1.0
    )


def measured_modulus(job: Job, key: str) -> float | None:
    """A modulus of the glass by experiment, GPa, or ``poisson``; None where not measured."""
    found = measured_moduli(real_composition(job["composition"], job["atoms"]).na2o)
    return None if found is None else float(getattr(found, MEASURED.get(key, key)))


MEASURED = {BULK_AT_ZERO: "bulk"}
"""What a modulus is held against, where that has another name."""


def density_cells(each: Sequence[Pair]) -> list[str]:
    """Density and its error without and with D3, then what D3 adds, g/cm^3 and %."""
    cells = []
    for k in (0, 1):
        jobs = [pair[k] for pair in each]
        cells.append(told([j["density"] for j in jobs], 3))
        cells.append(told([off(j) for j in jobs], 1, "+") + " %")
    shift = [b["density"] - a["density"] for a, b in each]
    percent = [100 * (b["density"] / a["density"] - 1) for a, b in each]
    return [*cells, told(shift, 3, "+"), told(percent, 1, "+")]


class Quantity(NamedTuple):
    """A column of a table of properties: its head, a job's value, digits."""

    name: str
    pick: Pick
    digits: int


QUANTITIES = (
    Quantity("K, GPa", lambda j: j.get("bulk"), 1),
    Quantity("K at P = 0, GPa", lambda j: j.get(BULK_AT_ZERO), 1),
    Quantity("E, GPa", lambda j: j.get("youngs"), 1),
    Quantity("nu", lambda j: j.get("poisson"), 3),
    Quantity("Si-O, A", lambda j: j["peaks"].get("Si-O"), 3),
    Quantity("Si-Si, A", lambda j: j["peaks"].get("Si-Si"), 3),
    Quantity("Na-O, A", lambda j: j["peaks"].get("Na-O"), 3),
    Quantity("Na-Na, A", lambda j: j["peaks"].get("Na-Na"), 2),
    Quantity("Si-O-Si, degrees", lambda j: j["angle"], 1),
    Quantity("Q^4, %", lambda j: 100 * j["qn"].get("4", 0.0), 1),
    Quantity("mean Q^n", lambda j: j["mean_qn"], 3),
)


def changes(each: Sequence[Pair], quantities: Sequence[Quantity]) -> list[str]:
    """Value without D3 and what D3 adds, for each quantity; in brackets of how many, if not all."""
    cells = []
    for _, pick, digits in quantities:
        known = [pair for pair in each if None not in map(pick, pair)]
        both: list[Any] = [(pick(a), pick(b)) for a, b in known]
        bare = f"{np.mean([a for a, _ in both]):.{digits}f}" if both else ""
        shift = told([b - a for a, b in both], digits, "+") if both else "-"
        count = f" ({len(both)})" if 0 < len(both) < len(each) else ""
        cells.append(f"{bare} {shift}{count}".strip())
    return cells


def without_empty(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table less the columns in which no row has anything."""
    kept = [k for k in range(len(head)) if any(row[k] not in ("", "-") for row in rows)]
    return table([head[k] for k in kept], [[row[k] for k in kept] for row in rows])


def matched(
    jobs: Iterable[Job], group: Callable[[Job], tuple[Any, ...]], d3: str = "d3torch"
) -> dict[tuple[Any, ...], list[Pair]]:
    """Jobs without and with dispersion that are alike else, over seeds.

    Args:
        jobs: all of one route.
        group: what the jobs of a row have alike; a pair has the same seed too.
        d3: the dispersion.

    Those at rest have been relaxed to the same forces.
    """
    found: dict[tuple[Any, ...], list[Pair]] = {}
    order, known = [c.name for c in compositions()], list(jobs)
    for added in sorted(known, key=lambda j: (j["model"], order.index(j["composition"]))):
        key = group(added)
        alike = (added["seed"], added.get("force"), key)
        bare = [
            j for j in known if j["d3"] == "none" and (j["seed"], j.get("force"), group(j)) == alike
        ]
        if added["d3"] == d3 and bare:
            found.setdefault(key, []).append((bare[0], added))
    return found


def pairs(data: Any, d3: str = "d3torch", start: float = 0.0) -> dict[tuple[Any, ...], list[Pair]]:
    """Jobs at rest without and with dispersion, over seeds."""
    jobs = (j for j in data["jobs"].values() if j["start"] == start)
    return matched(jobs, lambda j: (j["model"], j["composition"], j["atoms"]), d3)


def studied(data: Any) -> dict[tuple[Any, ...], list[Pair]]:
    """Those of trained potentials: PMMCS has dispersion in it and says nothing about D3."""
    return {key: each for key, each in pairs(data).items() if key[0] != "pmmcs"}


def small(found: dict[tuple[Any, ...], list[Pair]], model: str) -> list[list[Pair]]:
    """Glasses of 102 atoms of a potential, by composition."""
    return [each for key, each in found.items() if key[0] == model and key[2] == 102]


def mean_error_cells(glasses: Sequence[Sequence[Job]], digits: int) -> list[str]:
    """Mean absolute and mean error of the density over compositions, of means over seeds."""
    errors = [np.mean([off(job) for job in each]) for each in glasses]
    return [f"{np.mean(np.abs(errors)):.{digits}f} %", f"{np.mean(errors):+.{digits}f} %"]


def mean_error_row(name: str, what: str, glasses: Sequence[Sequence[Job]]) -> list[str]:
    """A row of :func:`mean_error_cells`."""
    return [name, what, *mean_error_cells(glasses, 2)]


def mean_errors(model: str, glasses: Sequence[Sequence[Pair]], what: str) -> list[list[str]]:
    """Rows of :func:`mean_error_row` without and with D3."""
    return [
        mean_error_row(called(model) + name, what, [[pair[k] for pair in each] for each in glasses])
        for k, name in enumerate(("", " + D3"))
    ]


def summary_row(model: str, how: str, atoms: int, glasses: Sequence[Sequence[Pair]]) -> list[str]:
    """Glasses of one kind: their mean errors without and with D3, and what D3 adds to them."""
    shift = [b["density"] - a["density"] for each in glasses for a, b in each]
    errors = [mean_error_cells([[pair[k] for pair in each] for each in glasses], 1) for k in (0, 1)]
    ends = f"{min(shift):.3f}, {max(shift):.3f}" if len(shift) > 1 else ""
    mean = np.mean([np.mean([b["density"] - a["density"] for a, b in each]) for each in glasses])
    count = [str(len(glasses)), str(len(shift)), str(atoms)]
    return [called(model), how, *count, *errors[0], *errors[1], f"{mean:.3f}", ends]


SUMMARY = (
    "potential", "glasses", "compositions", "number", "atoms", "mean absolute error without D3",
    "signed", "with D3", "signed", "D3 adds, g/cm^3", "from, to",
)  # fmt: skip
"""Heads of :func:`summary_row`."""


def modulus_errors(model: str, glasses: Sequence[Sequence[Pair]], what: str) -> list[list[str]]:
    """Mean absolute and mean error of :data:`MODULI` without and with D3.

    Over compositions, of those that were measured, and of pairs whose jobs both have the modulus.
    """
    rows = []
    for k, name in enumerate(("", " + D3")):
        cells = []
        for key, digits in MODULI.items():
            cells.append(_error_cell([_off(each, k, key) for each in glasses], digits))
        rows.append([called(model) + name, what, *cells])
    return rows if any(cell != "-" for cell in rows[0][2:]) else []


MODULI = {"bulk": 1, BULK_AT_ZERO: 1, "youngs": 1, "poisson": 3}
"""What :func:`modulus_errors` tells, and in how many digits: GPa, Poisson's ratio without unit."""


def _error_cell(errors: Sequence[Sequence[float]], digits: int) -> str:
    """Mean absolute and mean error over compositions that have any, and their number."""
    means = [np.mean(each) for each in errors if each]
    if not means:
        return "-"
    absolute, signed = np.mean(np.abs(means)), np.mean(means)
    return f"{absolute:.{digits}f} ({signed:+.{digits}f}), {len(means)}"


def _off(each: Sequence[Pair], k: int, key: str) -> list[float]:
    """Errors of a modulus of one composition, over seeds."""
    known = [pair for pair in each if all(key in job for job in pair)]
    true = measured_modulus(each[0][0], key)
    return [] if true is None else [pair[k][key] - true for pair in known]

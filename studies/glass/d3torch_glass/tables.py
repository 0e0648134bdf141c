"""Results beside the paper and beside experiment: value, reference, source, difference."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .averages import Mean, over_seeds
from .facts import Composition, facts, measured_moduli, real_composition

PAPER = "doi:10.1021/acs.jctc.5c00218"
BLS = "Brillouin scattering, Jabraoui 2025, interpolated"
NIMROD = "NIMROD neutron data (dissolve)"

Result = dict[str, Any]


class Row(NamedTuple):
    """A value beside a reference.

    Attributes:
        job: name of the job.
        quantity: what, with its unit.
        value: of the job.
        error: standard error of the value; None if not known.
        reference: the other value.
        source: of the reference.
    """

    job: str
    quantity: str
    value: float
    error: float | None
    reference: float
    source: str

    @property
    def difference(self) -> float:
        """Value minus reference."""
        return self.value - self.reference


def variant(result: Result) -> str:
    """Potential and dispersion, such as ``"pmmcs + d3torch"``; a start of its own tells it too."""
    settings = result["settings"]
    model = settings["model"].rsplit("/", 1)[-1] + (", static" if route(result) else "")
    model += start(result)
    return model if settings["d3"] == "none" else f"{model} + {settings['d3']}"


MODULI = (
    ("youngs", "Young's modulus / GPa"),
    ("bulk", "bulk modulus / GPa"),
    ("poisson", "Poisson's ratio"),
)


def _factor_rows(result: Result) -> list[Row]:
    """First sharp peak and first minimum of S(Q) of silica."""
    q, s = (np.array(result["structure"]["factor"][key]) for key in ("q", "total"))
    extrema = facts()["experiment_SQ_SiO2_NIMROD"]["extrema_Q_S"]
    rows = []
    for what, (q_ref, s_ref), sign in (
        ("first sharp peak", extrema[0], 1),
        ("main peak", extrema[4], 1),
    ):
        near = np.flatnonzero(np.abs(q - q_ref) < 0.6)
        k = near[np.argmax(sign * s[near])]
        rows.append(Row(result["name"], f"{what} of S(Q), Q / (1/A)", q[k], None, q_ref, NIMROD))
        rows.append(Row(result["name"], f"{what} of S(Q), height", s[k], None, s_ref, NIMROD))
    return rows


def _band_rows(result: Result) -> list[Row]:
    """Highest places of the density of states near the bands that the paper names for silica."""
    if "vibrations" not in result:
        return []
    bands = facts()["vdos_cm-1"]["SiO2"]
    x, y = (np.array(result["vibrations"][key]) for key in ("wavenumbers", "mass"))
    rows = []
    for name in ("rocking", "bending", "stretch_T2"):
        near = np.flatnonzero(np.abs(x - bands[name]) < 120.0)
        at = float(x[near[np.argmax(y[near])]])
        rows.append(
            Row(
                result["name"],
                f"VDOS {name} band / (1/cm)",
                at,
                None,
                bands[name],
                PAPER + ", text",
            )
        )
    return rows


def composition_of(result: Result) -> Composition:
    """The real composition of a job."""
    return real_composition(result["settings"]["composition"], result["atoms"])


def rows_of(result: Result) -> list[Row]:
    """All comparisons of one job."""
    c, name = composition_of(result), result["name"]
    d, net = result["density"], result["structure"]["network"]
    rows = [
        Row(name, "density / (g/cm^3)", d["value"], d["error"], c.density, f"{PAPER}, Table 1"),
        Row(name, "mean Q^n", net["mean_qn"], None, net["sum_rule"], "sum rule 4 - 2x/(1-x)"),
    ]
    measured = measured_moduli(c.na2o)
    for key, label in MODULI if measured is not None else ():
        mean = result["stiffness"].get(key)
        if mean is not None:
            rows.append(Row(name, label, mean["value"], mean["error"], getattr(measured, key), BLS))
    if c.na2o == 0:
        rows += _factor_rows(result) + _band_rows(result)
    return rows


QUANTITIES = (
    ("density_pctMAE", "density, mean absolute error / %"),
    ("bulk_modulus_MAE_GPa", "bulk modulus, mean absolute error / GPa"),
    ("youngs_modulus_MAE_GPa", "Young's modulus, mean absolute error / GPa"),
    ("poisson_MAE", "Poisson's ratio, mean absolute error"),
)


def _errors(result: Result) -> dict[str, float]:
    """Absolute errors of one job against experiment, by quantity."""
    c = composition_of(result)
    found = {"density_pctMAE": abs(result["density"]["value"] / c.density - 1.0) * 100.0}
    measured = measured_moduli(c.na2o)
    keys = ("bulk", "youngs", "poisson")
    for key, quantity in zip(keys, [q for q, _ in QUANTITIES[1:]], strict=True):
        mean = result["stiffness"].get(key)
        if mean is not None and measured is not None:
            found[quantity] = abs(mean["value"] - getattr(measured, key))
    return found


class ErrorRow(NamedTuple):
    """Mean absolute errors of one quantity.

    Attributes:
        quantity: what, with its unit.
        ours: by variant, the mean and how many jobs it is over.
        paper: by the paper's four methods.
    """

    quantity: str
    ours: dict[str, tuple[float, int]]
    paper: dict[str, float]


def error_table(results: Sequence[Result]) -> list[ErrorRow]:
    """The paper's error table, with a column for each variant that was run."""
    variants = sorted({variant(r) for r in results})
    table = []
    for key, label in QUANTITIES:
        ours = {}
        for name in variants:
            errors = [_errors(r).get(key) for r in results if variant(r) == name]
            known = [e for e in errors if e is not None]
            if known:
                ours[name] = (float(np.mean(known)), len(known))
        table.append(ErrorRow(label, ours, facts()["errors_vs_experiment"][key]))
    return table


class Effect(NamedTuple):
    """What dispersion does to one glass: with minus without, same composition, seed, model.

    Attributes:
        name: composition and seed.
        quantity: what, with its unit.
        without: value without dispersion.
        added: value with dispersion.
        error: standard error of the difference; None if not known.
        measured: density of such a glass, g/cm^3.
    """

    name: str
    quantity: str
    without: float
    added: float
    error: float | None
    measured: float


def _sum_error(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else float(np.hypot(a, b))


def effects(results: Sequence[Result]) -> list[Effect]:
    """Pairs of jobs that differ by dispersion only."""
    found = []
    plain = {_key(r): r for r in results if r["settings"]["d3"] == "none"}
    for r in results:
        base = plain.get(_key(r))
        if r["settings"]["d3"] == "none" or base is None:
            continue
        name, measured = glass_name(r), composition_of(r).density
        given = [("density / (g/cm^3)", base["density"], r["density"])]
        for key, label in MODULI:
            a, b = base["stiffness"].get(key), r["stiffness"].get(key)
            given += [(label, a, b)] if a and b else []
        for label, a, b in given:
            error = _sum_error(a["error"], b["error"])
            found.append(Effect(name, label, a["value"], b["value"], error, measured))
        for label, key in (("Si-O-Si / degrees", "Si-O-Si"),):
            a, b = (x["structure"]["angles"]["mean"].get(key) for x in (base, r))
            found += [Effect(name, label, a, b, None, measured)] if a and b else []
        for label, key in COSTS:
            a, b = (x["timing"].get(key) for x in (base, r))
            found += [Effect(name, label, a, b, None, measured)] if a and b else []
    return found


COSTS = (("rate / (ps/h)", "ps_per_hour"), ("time of a step / s", "seconds_per_step"))


def glass_name(result: Result) -> str:
    """Composition, potential, seed, dispersion and what else tells a glass from others."""
    s = result["settings"]
    model = Path(s["model"]).name
    return f"{s['composition']}, {model}, {route(result)}seed {s['seed']}, {s['d3']}{start(result)}"


def start(result: Result) -> str:
    """Density that a static job starts from, in words; nothing for that of experiment."""
    percent = result["settings"].get("start")
    return f", start {percent:+g} %" if percent else ""


def route(result: Result) -> str:
    """``"static, "``, or nothing for dynamics."""
    return "static, " if result["settings"].get("route") == "static" else ""


def _key(result: Result) -> tuple[Any, ...]:
    s = result["settings"]
    protocol = json.dumps(s["protocol"], sort_keys=True)
    own = (s["composition"], s["seed"], s["model"], s["units"], protocol)
    return (*own, s.get("route", "dynamics"), s.get("start", 0.0))


class Shift(NamedTuple):
    """What dispersion does to a composition: mean over seeds of differences of pairs of jobs.

    Attributes:
        glass: composition and atoms.
        variant: potential, route, start and dispersion.
        quantity: what, with its unit.
        without: mean without dispersion, and its standard error over seeds.
        added: the same with dispersion.
        shift: the same of the differences; errors are nan for one seed.
        seeds: how many.
    """

    glass: str
    variant: str
    quantity: str
    without: Mean
    added: Mean
    shift: Mean
    seeds: int


def _quantities(result: Result) -> dict[str, float]:
    """Numbers of a result that dispersion may change, by label."""
    structure, stiff = result["structure"], result["stiffness"]
    found = {"density / (g/cm^3)": result["density"]["value"]}
    found |= {label: stiff[key]["value"] for key, label in MODULI if key in stiff}
    found |= {f"{name} / A": r for name, r in structure["peaks"].items() if name in DISTANCES}
    angle = structure["angles"]["mean"].get("Si-O-Si")
    found |= {} if angle is None else {"Si-O-Si / degrees": angle}
    return found | {"mean Q^n": structure["network"]["mean_qn"]}


DISTANCES = ("Si-O", "Si-Si", "Na-O", "Na-Na")


def shifts(results: Sequence[Result]) -> list[Shift]:
    """For each composition, potential and dispersion: what dispersion shifts, over all seeds."""
    plain = {_key(r): r for r in results if r["settings"]["d3"] == "none"}
    groups: dict[tuple[str, str], list[tuple[Result, Result]]] = {}
    for r in results:
        base = plain.get(_key(r))
        if r["settings"]["d3"] != "none" and base is not None:
            glass = f"{r['settings']['composition']}, {r['atoms']} atoms"
            groups.setdefault((glass, variant(r)), []).append((base, r))
    found = []
    for (glass, name), pairs in groups.items():
        both = [(_quantities(a), _quantities(b)) for a, b in pairs]
        for quantity in both[0][0]:
            known = [(a[quantity], b[quantity]) for a, b in both if quantity in a and quantity in b]
            if known:
                means = [over_seeds(column) for column in (*zip(*known, strict=True),)]
                shift = over_seeds([b - a for a, b in known])
                found.append(Shift(glass, name, quantity, means[0], means[1], shift, len(known)))
    return found


def as_csv(rows: Sequence[Row]) -> str:
    """The comparisons as CSV."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*Row._fields, "difference"])
    for row in rows:
        writer.writerow([*row, row.difference])
    return file.getvalue()

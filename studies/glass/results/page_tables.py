"""Tables of the result page, from its data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from dynamics_tables import (
    against_teacher_table,
    at_rest_table,
    beside_teacher_table,
    distilled_table,
    melt_error_rows,
    melt_modulus_rows,
    melt_property_table,
    melt_quench_table,
    melt_summary,
    warm_table,
)
from page_parts import (
    NOT_RUN,
    QUANTITIES,
    SUMMARY,
    Job,
    called,
    changes,
    density_cells,
    mean_error_row,
    mean_errors,
    modulus_errors,
    off,
    pairs,
    small,
    studied,
    summary_row,
    table,
    told,
    without_empty,
)

from d3torch_glass.facts import facts
from d3torch_glass.response import Response

WITH_ABC = "d3torch-abc"


def density_table(data: Any) -> str:
    head = ("potential", "glass", "atoms", "seeds", "without D3", "error", "with D3", "error",
            "shift, g/cm^3", "shift, %")  # fmt: skip
    rows = []
    for (model, glass, atoms), each in studied(data).items():
        rows.append([called(model), glass, str(atoms), str(len(each)), *density_cells(each)])
    return table(head, rows)


def property_table(data: Any) -> str:
    """A row for each glass: values without D3, and what D3 adds; columns that no glass has go."""
    rows = []
    for (model, glass, atoms), each in studied(data).items():
        size = "" if atoms == 102 else f", {atoms} atoms"
        rows.append([called(model), glass + size, str(len(each)), *changes(each, QUANTITIES)])
    return without_empty(("potential", "glass", "seeds", *(q.name for q in QUANTITIES)), rows)


def error_table(data: Any) -> str:
    """Mean absolute error of the density over compositions, beside those of the study."""
    paper = facts()["errors_vs_experiment"]["density_pctMAE"]
    rows = []
    found = studied(data)
    for model in dict.fromkeys(key[0] for key in found):
        mine = small(found, model)
        rows += mean_errors(model, mine, f"{len(mine)} compositions, at rest, 102 atoms")
        full = [[added for _, added in each] for each in small(pairs(data, WITH_ABC), model)]
        if full and [*map(len, full)] == [*map(len, mine)]:  # the same glasses
            name = called(model) + " + D3 with three-body"
            rows.append(mean_error_row(name, rows[-1][1], full))
    rows += melt_error_rows(data)
    method = "8 compositions, melt-quench, 1500 atoms, 300 K"
    rows += [[f"{m.replace('-D3', ' + D3')} (study)", method, f"{e} %", "-"]
             for m, e in paper.items()]  # fmt: skip
    return table(("potential", "what", "mean absolute error", "mean error"), rows)


def modulus_table(data: Any) -> str:
    """Mean absolute errors of moduli over compositions, beside those of the study.

    In brackets the mean error, and behind it the number of compositions.
    """
    paper, rows, found = facts()["errors_vs_experiment"], [], studied(data)
    for model in dict.fromkeys(key[0] for key in found):
        mine = small(found, model)
        rows += modulus_errors(model, mine, "at rest, 102 atoms")
    rows += melt_modulus_rows(data)
    bulk, youngs = (paper[f"{name}_modulus_MAE_GPa"] for name in ("bulk", "youngs"))
    rows += [[f"{m.replace('-D3', ' + D3')} (study)", "melt-quench, 1500 atoms, 300 K",
              str(bulk[m]), "-", str(youngs[m]), str(paper["poisson_MAE"][m])]
             for m in bulk]  # fmt: skip
    return table(("potential", "what", "K, GPa", "K at P = 0, GPa", "E, GPa", "nu"), rows)


KEPT = ("potential", "glass", "seeds", "from -5 %", "from 0", "from +5 %", "kept of the 10 %")


def kept(ends: Sequence[Sequence[float]]) -> list[str]:
    """Cells of :data:`KEPT` from the seeds on: errors of densities, %, by start and seed."""
    left = [10.0 * (high - low) for low, _, high in zip(*ends, strict=True)]
    cells = [told(values, 1, "+") + " %" for values in ends]
    return [str(len(left)), *cells, told(left, 0) + " %"]


def memory_table(data: Any) -> str:
    """Where relaxations end that start 5 % lighter and denser than experiment."""
    groups: dict[tuple[str, str, str], dict[float, list[Job]]] = {}
    for job in data["jobs"].values():
        key = (job["model"], job["composition"], job["d3"])
        if job["atoms"] == 102 and key[2] in ("none", "d3torch"):
            groups.setdefault(key, {}).setdefault(job["start"], []).append(job)
    rows = []
    for (model, glass, d3), starts in groups.items():
        seeds = [{j["seed"]: off(j) for j in starts.get(s, [])} for s in (-5.0, 0.0, 5.0)]
        common = sorted(set.intersection(*map(set, seeds)))
        if common:
            ends = [[by_seed[seed] for seed in common] for by_seed in seeds]
            name = called(model) + ("" if d3 == "none" else " + D3")
            rows.append([name, glass, *kept(ends)])
    return table(KEPT, rows)


def network_table(data: Any) -> str:
    """Where relaxations end whose networks were made 5 % lighter and denser than experiment."""
    rows = []
    for model, glasses in data.get("memory", {}).items():
        for glass, starts in glasses.items():
            common = sorted(set.intersection(*map(set, starts.values())))
            if len(starts) == 3 and common:
                ends = [[by_seed[seed] for seed in common] for by_seed in starts.values()]
                rows.append([called(model), glass, *kept(ends)])
    return table(KEPT, rows)


def crystal_table(data: Any) -> str:
    rows = []
    for crystal, found in data["crystals"].items():
        true = found["experiment"]["density"]
        for key, r in found.items():
            model, _, d3 = key.partition(" ")
            name = called(model) + (" + D3" if d3 == "d3torch" else "")
            error = "" if key == "experiment" else f"{100 * (r['density'] / true - 1):+.1f} %"
            sizes = [f"{r['a']:.3f}", f"{r['c']:.3f}", f"{r['angle']:.1f}"]
            rows.append([crystal, name, f"{r['density']:.3f}", error, *sizes])
    head = ("crystal", "potential", "density, g/cm^3", "error", "a, A", "c, A", "Si-O-Si, degrees")
    return table(head, rows)


def density_under(job: Job, pressure: float) -> float:
    """Density under a pressure, GPa, from the volumes under three, through a parabola of log V."""
    x = np.array([float(p) for p in job["volumes"]])
    v = np.array(list(job["volumes"].values()))
    at_rest = v[np.argmin(np.abs(x))]
    fit = np.polyfit(x, np.log(v), min(2, len(x) - 1))
    return float(job["density"] * at_rest / np.exp(np.polyval(fit, pressure)))


def prediction_table(data: Any) -> str:
    """First order: density under the pull of D3 in the glass without it, beside what was found."""
    rows = []
    for key, each in pairs(data).items():
        known = [pair for pair in each if len(pair[0]["volumes"]) > 2]
        if not known or key[2] != 102:
            continue
        by_pull = ([(a, a["pull"]) for a, _ in known], [(a, b["pull"]) for a, b in known],
                   [(a, a["pull_abc"]) for a, _ in known])  # fmt: skip
        cells = []
        for each_pull in by_pull:
            shift = [density_under(a, -pull) - a["density"] for a, pull in each_pull]
            cells += [told([pull for _, pull in each_pull], 2), told(shift, 3, "+")]
        cells.insert(4, told([b["density"] - a["density"] for a, b in known], 3, "+"))
        rows.append([called(key[0]), key[1], str(len(known)), *cells])
    head = ("potential", "glass", "seeds", "pull of D3 before, GPa", "shift by it", "pull after",
            "shift by that", "found", "pull with three-body, before", "shift by it")  # fmt: skip
    return table(head, rows)


def three_body_table(data: Any) -> str:
    """What the three-body term takes from the shift of the density, glass by glass."""
    rows, full = [], pairs(data, WITH_ABC)
    for key, each in studied(data).items():
        by_seed = {added["seed"]: added for _, added in full.get(key, [])}
        known = [(*pair, by_seed[pair[0]["seed"]]) for pair in each if pair[0]["seed"] in by_seed]
        if not known:
            continue
        without = [b["density"] - a["density"] for a, b, _ in known]
        added = [c["density"] - a["density"] for a, _, c in known]
        taken = [100 * (1 - b / a) for a, b in zip(without, added, strict=True)]
        errors = [off(c) for _, _, c in known]
        rows.append([called(key[0]), key[1], str(key[2]), str(len(known)), told(without, 3, "+"),
                     told(added, 3, "+"), told(taken, 1), told(errors, 1, "+") + " %"])  # fmt: skip
    head = ("potential", "glass", "atoms", "seeds", "shift by D3, g/cm^3", "with three-body",
            "it takes away, %", "error of the density with it")  # fmt: skip
    return table(head, rows)


def response_table(data: Any) -> str:
    """What the pressure of D3 does to PMMCS glasses, and what its forces do."""
    groups: dict[str, list[Response]] = {}
    for name, r in data["rearrangement"].items():
        glass = f"{name.split('_')[0]}, {r['atoms']} atoms"
        groups.setdefault(glass, []).append(Response(*(r[key] for key in Response._fields)))
    rows = []
    for label, digits, pick in RESPONSES:
        rows.append([label, *(told([pick(r) for r in each], digits) for each in groups.values())])
    counts = ["glasses", *(str(len(each)) for each in groups.values())]
    return table(("", *groups), [counts, *rows])


RESPONSES: tuple[tuple[str, int, Callable[[Response], float]], ...] = (
    ("pressure of D3 in the glass without it, GPa", 3, lambda r: r.pull),
    ("K of PMMCS up to it, GPa", 2, lambda r: r.bulk),
    ("change of volume under that pressure alone, %", 3, lambda r: 100 * r.pressed),
    ("pressure of both at that volume, after the atoms followed D3, GPa", 3, lambda r: r.held),
    ("factor of that rearrangement", 3, lambda r: r.factors[0]),
    ("factor of the pull that grows, and of K with D3", 3, lambda r: r.factors[1]),
    ("change of volume with D3, %", 3, lambda r: 100 * r.full),
    ("pressure of D3 there, GPa", 3, lambda r: r.pull_full),
    ("change under that pressure alone, %", 3, lambda r: 100 * r.pressed_full),
    ("**found over predicted by the pressure in the end**", 3, lambda r: r.full / r.pressed_full),
    ("change that stays when D3 is taken away, %", 3, lambda r: 100 * r.back),
    ("change that stays when that pressure is taken away, %", 3, lambda r: 100 * r.released),
)


def densification_table(data: Any) -> str:
    """PMMCS at 300 K: what D3 does to the volume, beside its pressure over K, and both at rest."""
    rows = []
    for name, glass in data.get("densification", {}).items():
        runs = [*glass["runs"].values()]
        predicted, measured = ([r[key]["value"] for r in runs] for key in ("predicted", "measured"))
        still = data["rearrangement"].get(name)
        cells = [
            told([r["bulk"]["value"] for r in runs], 2),
            told([100 * x for x in predicted], 2),
            told([100 * x for x in measured], 2),
            told([a / b for a, b in zip(measured, predicted, strict=True)], 3),
            f"{still['full'] / still['pressed_full']:.3f}" if still else "-",
        ]
        kind, *rest = name.split("_")  # such as SiO2_300_s1
        times = " and ".join(f"{ps:g}" for ps in dict.fromkeys(r["ps"] for r in runs))
        label = ", seed ".join([kind, *(s.removeprefix("s") for s in rest[1:])])
        rows.append([label, str(glass["atoms"]), str(len(runs)), times, *cells])
    head = ("glass", "atoms", "trajectories", "ps", "K, GPa", "predicted, %", "found, %",
            "found over predicted", "the same at rest")  # fmt: skip
    return table(head, rows) if rows else NOT_RUN


def cost_table(data: Any) -> str:
    rows = []
    for name, t in data.get("timing", {}).items():
        step = t["backends"]["none"]["cpu_ms_per_step"]
        cells = [called(name.replace("_", ":", 1)), str(t["atoms"]), f"{step:.0f}"]
        for d3 in ("d3torch", WITH_ABC):
            own = t["backends"][d3]["dispersion_cpu_ms"]
            cells += [f"{own:.1f}", f"{100 * own / step:.1f} %"]
        rows.append(cells)
    head = ("potential", "atoms", "a step, ms", "D3, ms", "of the step",
            "D3 with three-body, ms", "of the step")  # fmt: skip
    return table(head, rows)


def summary(data: Any) -> str:
    """What a reader wants to know in a minute, over all glasses of one kind."""
    rows, found = melt_summary(data), studied(data)
    for model in dict.fromkeys(key[0] for key in found):
        rows.append(summary_row(model, "at rest", 102, small(found, model)))
    return table(SUMMARY, rows)


TABLES: dict[str, Callable[[Any], str]] = {
    "summary": summary, "density": density_table, "errors": error_table,
    "properties": property_table, "moduli": modulus_table, "memory": memory_table,
    "networks": network_table,
    "crystals": crystal_table, "prediction": prediction_table,
    "three_body": three_body_table, "response": response_table,
    "densification": densification_table,
    "cost": cost_table, "melt_quench": melt_quench_table, "melt_properties": melt_property_table,
    "distilled": distilled_table, "against_teacher": against_teacher_table,
    "at_rest": at_rest_table, "warm": warm_table, "beside_teacher": beside_teacher_table,
}  # fmt: skip

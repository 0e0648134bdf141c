"""Tables of the result page about melt-quenches and the potential that was distilled for them."""

from __future__ import annotations

from typing import Any

from page_parts import (
    NOT_RUN,
    QUANTITIES,
    TEACHERS,
    Job,
    Pair,
    Quantity,
    called,
    changes,
    density_cells,
    matched,
    mean_errors,
    measured_modulus,
    modulus_errors,
    off,
    studied,
    summary_row,
    table,
    told,
    without_empty,
)

D3 = ("none", "d3torch")
Key = tuple[Any, ...]
Glasses = dict[Key, list[Pair]]


def quenched(data: Any) -> Glasses:
    """Melt-quenches of trained potentials by potential, glass, size and protocol, in pairs.

    A job whose fellow without or with D3 is missing is in none.
    """

    def alike(job: Job) -> Key:
        return job["model"], job["composition"], job["atoms"], tuple(job["protocol"].items())

    jobs = data.get("dynamics", {}).values()
    return matched((j for j in jobs if j["model"] != "pmmcs"), alike)


def by_protocol(data: Any) -> dict[Key, list[list[Pair]]]:
    """The compositions of each potential, size and protocol."""
    found: dict[Key, list[list[Pair]]] = {}
    for (model, _, atoms, protocol), each in quenched(data).items():
        found.setdefault((model, atoms, protocol), []).append(each)
    return found


def explained(protocol: Key) -> str:
    """A protocol in a sentence."""
    p = dict(protocol)
    warmed = f", heated at {p['heating']:g} K/ps" if p.get("heating") else ""
    return (
        f"{p['rate']:g} K/ps: melt at {p['high']:g} K for {p['melt_ps']:g} ps{warmed}, cooled at "
        f"{p['rate']:g} K/ps, {p['final_ps']:g} ps at {p['low']:g} K, the second half of them "
        f"averaged; steps of {p['dt_fs']:g} fs."
    )


def melt_quench_table(data: Any) -> str:
    """Densities without and with D3, and under them the protocols."""
    head = ("potential", "glass", "atoms", "K/ps", "seeds", "without D3", "error", "with D3",
            "error", "shift, g/cm^3", "shift, %")  # fmt: skip
    found, rows = quenched(data), []
    for (model, glass, atoms, protocol), each in found.items():
        cells = [f"{dict(protocol)['rate']:g}", str(len(each))]
        rows.append([called(model), glass, str(atoms), *cells, *density_cells(each)])
    protocols = dict.fromkeys(explained(key[3]) for key in found)
    return "\n\n".join([table(head, rows), *protocols]) if rows else NOT_RUN


def melt_error_rows(data: Any) -> list[list[str]]:
    """Rows of the table of errors, over the compositions of one protocol."""
    rows = []
    for (model, atoms, protocol), glasses in by_protocol(data).items():
        count = len(glasses)
        what = f"{count} composition{'s' * (count > 1)}, {_quench(atoms, protocol)}"
        rows += mean_errors(model, glasses, what)
    return rows


def _quench(atoms: int, protocol: Key) -> str:
    p = dict(protocol)
    return f"melt-quench at {p['rate']:g} K/ps, {atoms} atoms, {p['low']:g} K"


def melt_modulus_rows(data: Any) -> list[list[str]]:
    """Rows of the table of moduli, over the compositions of one protocol."""
    return [
        row
        for (model, atoms, protocol), glasses in by_protocol(data).items()
        for row in modulus_errors(model, glasses, _quench(atoms, protocol))
    ]


COLUMNS = (
    Quantity("pressure of D3, GPa", lambda j: j["pull"], 2), *QUANTITIES,
    Quantity("bonds kept, %", lambda j: 100 * j["kept_bonds"], 0),
)  # fmt: skip


def melt_property_table(data: Any) -> str:
    """A row for each glass: values without D3, and what D3 adds; columns that no glass has go."""
    head = ("potential", "glass", "atoms", "K/ps", "seeds", *(q.name for q in COLUMNS),
            "ideal mean Q^n", "measured K, GPa")  # fmt: skip
    rows = []
    for (model, glass, atoms, protocol), each in quenched(data).items():
        begin = [called(model), glass, str(atoms), f"{dict(protocol)['rate']:g}", str(len(each))]
        true = measured_modulus(each[0][0], "bulk")
        rows.append([*begin, *changes(each, COLUMNS), f"{each[0][0]['ideal_qn']:.3f}",
                     "-" if true is None else f"{true:.1f}"])  # fmt: skip
    return without_empty(head, rows) if rows else NOT_RUN


def distilled_table(data: Any) -> str:
    """Errors of distilled potentials by the source of the structures, all of them last."""
    rows = []
    for model, found in data.get("distilled", {}).items():
        sources = sorted(
            (s for s, e in found.items() if isinstance(e, dict)), key=lambda s: s == "all"
        )
        for source in sources:
            e = found[source]
            cells = [f"{e[name]:{form}}" for name, form in ERRORS]
            trained = str(found.get("trained on", "")) if source == "all" else ""
            rows.append([called(model), source, str(e["structures"]), *cells, trained])
    head = ("potential", "structures from", "structures", *(name for name, _ in ERRORS),
            "trained on")  # fmt: skip
    return table(head, rows) if rows else NOT_RUN


ERRORS = (
    ("energy, meV/atom", ".1f"), ("force, eV/A", ".3f"), ("pressure, GPa", ".2f"),
    ("mean pressure, GPa", "+.2f"),
)  # fmt: skip
"""Entries of ``error.json``, and how they are told."""

TEACHER = {
    "frames": ("frames", ".0f"), "energy": ("energy, meV/atom", "+.1f"),
    "force": ("force, eV/A", ".3f"), "pressure": ("pressure, GPa", "+.2f"),
    "pressure_error": ("its error", ".2f"), "density_corrected": ("corrected density", ".3f"),
}  # fmt: skip
"""Entries of ``teacher.json``, their heads, and how they are told; others under their own names."""


def against_teacher_table(data: Any) -> str:
    """What a distilled potential is from its teacher in the glasses of its jobs."""
    every, rows = data.get("against_teacher", {}), []
    keys = [*dict.fromkeys([*TEACHER, *(key for found in every.values() for key in found)])]
    told_as = [TEACHER.get(key, (key, ".3g")) for key in keys]
    for name, found in every.items():
        job, error = data.get("dynamics", {}).get(name), ""
        begin = [name, "", ""]
        if job is not None:
            label = called(job["model"]) + ("" if job["d3"] == "none" else " + D3")
            begin = [label, f"{job['composition']}, seed {job['seed']}", f"{job['density']:.3f}"]
            corrected = found.get("density_corrected")
            error = f"{off(job | {'density': corrected}):+.1f} %" if corrected else ""
        cells = [f"{found[k]:{form}}" if k in found else ""
                 for k, (_, form) in zip(keys, told_as, strict=True)]  # fmt: skip
        rows.append([*begin, *cells, error])
    head = ("potential", "glass", "density", *(name for name, _ in told_as), "corrected, error")
    return without_empty(head, rows) if rows else NOT_RUN


def at_rest_table(data: Any) -> str:
    """Glasses at rest by a distilled potential and by its teacher, from the same starts."""
    rows = []
    for model, glasses in data.get("at_rest", {}).items():
        for (other, glass, atoms), each in studied(data).items():
            if (other, atoms) != (TEACHERS.get(model), 102):
                continue
            mine = glasses.get(glass, {})
            known = [(mine[str(a["seed"])], a, b) for a, b in each if str(a["seed"]) in mine]
            both = [row for row in known if len(row[0]) == 2]
            if not both:
                continue
            off_by = [
                [100 * (m[d3]["rest"] / (a, b)[k]["density"] - 1) for m, a, b in both]
                for k, d3 in enumerate(D3)
            ]
            shifts = ([b["density"] - a["density"] for _, a, b in both],
                      [m["d3torch"]["rest"] - m["none"]["rest"] for m, _, _ in both])  # fmt: skip
            rows.append([called(model), glass, str(len(both)),
                         *(told(v, 1, "+") + " %" for v in off_by),
                         *(told(v, 3, "+") for v in shifts)])  # fmt: skip
    head = ("potential", "glass", "seeds", "off its teacher, without D3", "with D3",
            "shift by D3, teacher", "distilled")  # fmt: skip
    return table(head, rows) if rows else NOT_RUN


def warm_table(data: Any) -> str:
    """Densities of glasses of 102 atoms that were at rest, at 300 K, and what that changes."""
    rows = []
    for model, glasses in (*data.get("warmed", {}).items(), *data.get("at_rest", {}).items()):
        for glass, seeds in glasses.items():
            known = [m for m in seeds.values() if all("warm" in m.get(d3, {}) for d3 in D3)]
            if not known:
                continue
            cells = []
            for d3 in D3:
                warm = [m[d3]["warm"] for m in known]
                job = {"composition": glass, "atoms": 102}
                change = [100 * (m[d3]["warm"] / m[d3]["rest"] - 1) for m in known]
                cells += [told(warm, 3), told([off(job | {"density": w}) for w in warm], 1, "+")
                          + " %", told(change, 2, "+") + " %"]  # fmt: skip
            rows.append([called(model), glass, str(len(known)), *cells])
    head = ("potential", "glass", "seeds", "without D3, g/cm^3", "error", "against rest",
            "with D3, g/cm^3", "error", "against rest")  # fmt: skip
    return table(head, rows) if rows else NOT_RUN


def beside_teacher_table(data: Any) -> str:
    """Densities of melts on their way to a glass, by a potential and by that distilled from it.

    Of each stretch those seeds count that have it without and with D3, by the one potential.
    """
    stretches: dict[str, None] = {}
    lines: list[tuple[list[str], dict[str, str]]] = []
    for model, glasses in data.get("beside_teacher", {}).items():
        for glass, seeds in glasses.items():
            both = [found for found in seeds.values() if {*D3} <= {*found}]
            for whose, name in (("teacher", called(TEACHERS.get(model, "teacher"))),
                                ("student", called(model))):  # fmt: skip
                mine = [[found[d3][whose] for d3 in D3] for found in both]
                known: dict[str, list[tuple[float, float]]] = {}
                for bare, added in mine:
                    for s in bare.keys() & added.keys():
                        known.setdefault(s, []).append((bare[s], added[s]))
                stretches |= dict.fromkeys(s for bare, _ in mine for s in bare if s in known)
                lines += _three_lines(name, glass, known)
    rows = [[*begin, *(cells.get(s, "") for s in stretches)] for begin, cells in lines if cells]
    return table(("potential", "glass", "seeds", *stretches), rows) if rows else NOT_RUN


def _three_lines(
    name: str, glass: str, known: dict[str, list[tuple[float, float]]]
) -> list[tuple[list[str], dict[str, str]]]:
    """Begin and cells of the lines without D3, with it, and of the shift; (n) for fewer seeds."""
    count, lines = max(map(len, known.values()), default=0), []
    for label, pick, sign in (
        (name, lambda a, b: a, ""),
        (name + " + D3", lambda a, b: b, ""),
        ("shift, " + name, lambda a, b: b - a, "+"),
    ):
        cells = {
            s: told([pick(*v) for v in each], 3, sign)
            + (f" ({len(each)})" if len(each) < count else "")
            for s, each in known.items()
        }
        lines.append(([label, glass, str(count)], cells))
    return lines


def melt_summary(data: Any) -> list[list[str]]:
    """A row for each potential, size and protocol, those with most compositions first."""
    rows = []
    found = sorted(by_protocol(data).items(), key=lambda item: -len(item[1]))
    for (model, atoms, protocol), glasses in found:
        p = dict(protocol)
        how = f"melt-quenched at {p['rate']:g} K/ps, {p['low']:g} K"
        rows.append(summary_row(model, how, atoms, glasses))
    return rows

"""The seven figures of the study, as PNG images in base64."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from .facts import compositions, facts, measured_moduli
from .tables import MODULI, Result, variant

COLOURS = ("#3b6ea5", "#c8553d", "#4f8a5b", "#8a6fb0", "#b08d2f", "#5b5b5b")


def _png(figure: Figure) -> str:
    """The figure in 16 colours of its own, base64: a sixth of the size, and no worse to look at."""
    figure.set_dpi(100)
    canvas, file = FigureCanvasAgg(figure), io.BytesIO()
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(16)
    image.save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode("ascii")


def _figure(columns: int = 1, height: float = 3.2) -> tuple[Figure, list[Any]]:
    figure = Figure(figsize=(4.2 * columns, height), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False)[0]
    return figure, list(axes)


def colour_of(results: Sequence[Result]) -> dict[str, str]:
    """A colour for each variant."""
    names = sorted({variant(r) for r in results})
    return {name: COLOURS[k % len(COLOURS)] for k, name in enumerate(names)}


def _labelled(axis: Any, x: str, y: str) -> None:
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    if axis.get_legend_handles_labels()[1]:
        axis.legend(fontsize=7, frameon=False)


def _against_sodium(axis: Any, results: Sequence[Result], pick: Callable[[Result], Any]) -> None:
    """One point for each job: mean with its error against the content of Na2O."""
    for name, colour in colour_of(results).items():
        points = [(r["na2o"], pick(r)) for r in results if variant(r) == name]
        points = [(x, m) for x, m in points if m]
        if points:
            x, y = [p[0] for p in points], [p[1]["value"] for p in points]
            errors = [p[1]["error"] or 0.0 for p in points]
            axis.errorbar(x, y, errors, fmt="o", ms=5, capsize=2, color=colour, label=name)


def density_figure(results: Sequence[Result]) -> Figure:
    """Figure 1: density against Na2O."""
    figure, (axis,) = _figure()
    known = compositions()
    axis.plot([c.na2o for c in known], [c.density for c in known], "k-", lw=1, label="experiment")
    _against_sodium(axis, results, lambda r: r["density"])
    _labelled(axis, "Na2O / mol %", "density / (g/cm$^3$)")
    return figure


def _by_composition(results: Sequence[Result]) -> dict[str, list[Result]]:
    found: dict[str, list[Result]] = {}
    for r in sorted(results, key=lambda r: (r["na2o"], variant(r))):
        found.setdefault(r["settings"]["composition"], []).append(r)
    return found


def _curves(
    results: Sequence[Result],
    labels: tuple[str, str],
    curve: Callable[[Result], tuple[Any, Any] | None],
) -> tuple[Figure, list[Any]]:
    """A panel for each composition, a line for each job."""
    groups, colours = _by_composition(results), colour_of(results)
    figure, axes = _figure(len(groups))
    for axis, (name, members) in zip(axes, groups.items(), strict=True):
        drawn: set[str] = set()
        for r in members:
            found = curve(r)
            if found is not None:
                label = variant(r) if variant(r) not in drawn else None
                drawn.add(variant(r))
                axis.plot(*found, color=colours[variant(r)], lw=1.2, label=label)
        axis.set_title(name, fontsize=9)
        _labelled(axis, *labels)
    return figure, axes


def factor_figure(results: Sequence[Result]) -> Figure:
    """Figure 2: neutron S(Q), with the measured extrema of silica."""
    labels = ("Q / (1/A)", "neutron S(Q)")
    figure, axes = _curves(
        results,
        labels,
        lambda r: (r["structure"]["factor"]["q"], r["structure"]["factor"]["total"]),
    )
    for axis, name in zip(axes, _by_composition(results), strict=True):
        if name == "SiO2":
            extrema = np.array(facts()["experiment_SQ_SiO2_NIMROD"]["extrema_Q_S"])
            axis.plot(*extrema.T, "k+", ms=7, label="NIMROD, extrema")
            _labelled(axis, *labels)
    return figure


def pair_figure(results: Sequence[Result]) -> Figure:
    """Figure 3: partial pair distribution functions, shifted by 8 for each pair."""
    groups, colours = _by_composition(results), colour_of(results)
    figure, axes = _figure(len(groups), 4.2)
    for axis, (name, members) in zip(axes, groups.items(), strict=True):
        for number, r in enumerate(members):
            pdf = r["structure"]["pdf"]
            for k, pair in enumerate(p for p in pdf if p != "r"):
                label = variant(r) if k == 0 else None
                y = np.minimum(pdf[pair], 7.0) + 8.0 * k
                axis.plot(pdf["r"], y, color=colours[variant(r)], lw=1, label=label)
                if number == 0:
                    axis.annotate(pair, (pdf["r"][-1], 8.0 * k + 1.9), ha="right", fontsize=7)
        axis.set_title(f"{name} (cut off at 7)", fontsize=9)
        _labelled(axis, "r / A", "g(r) + 8k")
    return figure


def angle_figure(results: Sequence[Result]) -> Figure:
    """Figure 4: Si-O-Si angles."""

    def curve(r: Result) -> tuple[Any, Any] | None:
        found = r["structure"]["angles"]
        edges = np.array(found["edges"])
        density = found["density"].get("Si-O-Si")
        return None if density is None else (0.5 * (edges[1:] + edges[:-1]), density)

    return _curves(results, ("Si-O-Si / degrees", "share per degree"), curve)[0]


def network_figure(results: Sequence[Result]) -> Figure:
    """Figure 5: shares of Q^n."""
    groups, colours = _by_composition(results), colour_of(results)
    figure, axes = _figure(len(groups))
    for axis, (name, members) in zip(axes, groups.items(), strict=True):
        width = 0.8 / len(members)
        for k, r in enumerate(members):
            qn = {int(n): share for n, share in r["structure"]["network"]["qn"].items()}
            x = np.arange(6) + width * (k - 0.5 * (len(members) - 1))
            shares = [qn.get(n, 0.0) for n in range(6)]
            axis.bar(x, shares, width, color=colours[variant(r)], label=variant(r))
        axis.set_title(name, fontsize=9)
        _labelled(axis, "n of Q$^n$", "share of Si")
    return figure


def vibration_figure(results: Sequence[Result]) -> Figure:
    """Figure 6: density of states, with the shares of the elements for the last job."""

    def curve(r: Result) -> tuple[Any, Any] | None:
        found = r.get("vibrations")
        return None if found is None else (found["wavenumbers"], 1e3 * np.array(found["mass"]))

    figure, axes = _curves(results, ("wavenumber / (1/cm)", "10$^3$ VDOS / cm"), curve)
    for axis, members in zip(axes, _by_composition(results).values(), strict=True):
        found = members[-1].get("vibrations", {"partial": {}})
        for (element, y), style in zip(found["partial"].items(), (":", "--", "-."), strict=False):
            x, y = found["wavenumbers"], 1e3 * np.array(y)
            axis.plot(x, y, "k" + style, lw=0.8, label=f"{element}, {variant(members[-1])}")
        if found["partial"]:
            axis.legend(fontsize=7, frameon=False)
    return figure


def stiffness_figure(results: Sequence[Result]) -> Figure:
    """Figure 7: E, K and nu against Na2O, with what Brillouin scattering gives."""

    def pick(result: Result, key: str) -> Any:
        return result["stiffness"].get(key)

    figure, axes = _figure(3)
    x = np.linspace(0.0, 36.5, 60)
    for axis, (key, label) in zip(axes, MODULI, strict=True):
        measured = [getattr(measured_moduli(v), key) for v in x]
        axis.plot(x, measured, "k-", lw=1, label="Brillouin scattering")
        _against_sodium(axis, results, partial(pick, key=key))
        _labelled(axis, "Na2O / mol %", label)
    return figure


FIGURES: tuple[tuple[str, Callable[[Sequence[Result]], Figure]], ...] = (
    ("Density", density_figure),
    ("Neutron structure factor", factor_figure),
    ("Partial pair distribution functions", pair_figure),
    ("Si-O-Si angles", angle_figure),
    ("Q^n distribution", network_figure),
    ("Vibrational density of states, weighted by mass", vibration_figure),
    ("Elastic moduli", stiffness_figure),
)


def images(results: Sequence[Result]) -> list[tuple[str, str]]:
    """Title and PNG in base64 of each figure."""
    return [(title, _png(draw(results))) for title, draw in FIGURES]

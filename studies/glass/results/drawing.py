"""The figure of the result page: densities of glasses and crystals, without and with D3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from page_tables import called, studied

from d3torch_glass.facts import composition, compositions

COLOURS = {"chgnet:0.3.0": "#c8553d", "sevenn:7net-0": "#3b6ea5", "sevenn:7net-l3i5": "#4f8a5b"}
AWAY = {"chgnet:0.3.0": -0.35, "sevenn:7net-0": 0.35, "sevenn:7net-l3i5": 0.9}


def _glasses(axis: Any, data: Any) -> None:
    """Density against Na2O: hollow without D3, full with it; errors over seeds."""
    known = compositions()
    axis.plot([c.na2o for c in known], [c.density for c in known], "k-", lw=1, label="experiment")
    for (model, glass, atoms), each in studied(data).items():
        if atoms != 102:
            continue
        x = composition(glass).na2o + AWAY[model]
        ends = []
        for k in (0, 1):
            values = [pair[k]["density"] for pair in each]
            error = np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else None
            style = {"mfc": "white" if k == 0 else COLOURS[model], "color": COLOURS[model]}
            axis.errorbar(x, np.mean(values), error, fmt="o", ms=5, capsize=2, **style)
            ends.append(np.mean(values))
        axis.plot([x, x], ends, "-", lw=0.8, color=COLOURS[model], zorder=0)
    axis.set_xlabel("Na$_2$O / mol %")
    axis.set_ylabel("density / (g/cm$^3$)")
    axis.set_title("glasses at rest", fontsize=9)


def _crystals(axis: Any, data: Any) -> None:
    """Error of the density of the two crystals."""
    models = [m for m in COLOURS if f"{m} none" in next(iter(data["crystals"].values()))]
    for row, (crystal, found) in enumerate(data["crystals"].items()):
        true = found["experiment"]["density"]
        for model in models:
            y = row + 0.3 * AWAY[model]
            errors = [100 * (found[f"{model} {d3}"]["density"] / true - 1)
                      for d3 in ("none", "d3torch")]  # fmt: skip
            axis.plot(errors, [y, y], "-", lw=0.8, color=COLOURS[model], zorder=0)
            for x, face in zip(errors, ("white", COLOURS[model]), strict=True):
                axis.plot(x, y, "o", ms=5, mfc=face, color=COLOURS[model])
        axis.annotate(crystal, (-9.4, row + 0.28), fontsize=8)
    axis.axvline(0.0, color="k", lw=1)
    axis.set_xlim(-10, 6)
    axis.set_ylim(-0.6, 1.6)
    axis.set_yticks([])
    axis.set_xlabel("density against experiment / %")
    axis.set_title("crystals at rest", fontsize=9)


def draw(data: Any, path: Path) -> None:
    """Write the figure as PNG."""
    figure = Figure(figsize=(7.6, 3.2), layout="constrained", dpi=110)
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1.0))
    _glasses(left, data)
    _crystals(right, data)
    for model in dict.fromkeys(key[0] for key in studied(data)):
        for name, face in (("", "white"), (" + D3", COLOURS[model])):
            style = {"mfc": face, "color": COLOURS[model], "label": called(model) + name}
            left.plot([], [], "o", ms=5, **style)
    left.legend(fontsize=7, frameon=False, loc="lower right")
    FigureCanvasAgg(figure)
    figure.savefig(path)

"""The figure of the result page: densities of glasses and crystals, without and with D3."""

from __future__ import annotations

from collections import Counter
from itertools import cycle
from pathlib import Path
from typing import Any

from dynamics_tables import Glasses, quenched
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from page_parts import called, studied

from d3torch_glass.averages import over_seeds
from d3torch_glass.facts import composition, compositions

COLOURS = {"chgnet:0.3.0": "#c8553d", "sevenn:7net-0": "#3b6ea5", "sevenn:7net-l3i5": "#4f8a5b"}
OTHERS = ("#8a6fb0", "#b08d2f", "#5b5b5b")
MARKERS = "os^D"
AWAY = {"chgnet:0.3.0": -0.35, "sevenn:7net-0": 0.35, "sevenn:7net-l3i5": 0.9}


def _glasses(axis: Any, found: Glasses, colours: dict[str, str], legend: str) -> None:
    """Density against Na2O: hollow without D3, full with it; a marker for size and protocol."""
    known = compositions()
    axis.plot([c.na2o for c in known], [c.density for c in known], "k-", lw=1, label="experiment")
    kinds = [kind for kind, _ in Counter(key[2:] for key in found).most_common()]
    for (model, glass, *kind), each in found.items():
        which = kinds.index(tuple(kind))
        x = composition(glass).na2o + AWAY.get(model, 0.0) + 0.8 * which
        colour = colours[model]
        ends = [over_seeds([pair[k]["density"] for pair in each]) for k in (0, 1)]
        for (mean, error), face in zip(ends, ("white", colour), strict=True):
            style = {"fmt": MARKERS[which % len(MARKERS)], "mfc": face, "color": colour}
            axis.errorbar(x, mean, error, ms=5, capsize=2, **style)
        axis.plot([x, x], [mean for mean, _ in ends], "-", lw=0.8, color=colour, zorder=0)
    for model in dict.fromkeys(key[0] for key in found):
        for name, face in (("", "white"), (" + D3", colours[model])):
            style = {"mfc": face, "color": colours[model], "label": called(model) + name}
            axis.plot([], [], "o", ms=5, **style)
    for (atoms, *protocol), marker in zip(kinds, cycle(MARKERS), strict=False):
        for p in map(dict, protocol if len(kinds) > 1 else ()):
            label = f"{atoms} atoms, {p['rate']:g} K/ps"
            axis.plot([], [], marker, ms=5, mfc="white", color="grey", label=label)
    axis.legend(fontsize=7, frameon=False, loc=legend)
    axis.set_xlabel("Na$_2$O / mol %")
    axis.set_ylabel("density / (g/cm$^3$)")


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
    """Write the figure as PNG; melt-quenches stand beside the glasses at rest, crystals below."""
    rest = {key: each for key, each in studied(data).items() if key[2] == 102}
    melts = quenched(data)
    others = dict.fromkeys(key[0] for key in melts if key[0] not in COLOURS)
    colours = COLOURS | dict(zip(others, cycle(OTHERS)))
    figure = Figure(figsize=(7.6, 5.2 if melts else 3.2), layout="constrained", dpi=110)
    if melts:
        places = figure.subplot_mosaic([["rest", "melts"], ["crystals"] * 2], height_ratios=(2, 1))
        _glasses(places["melts"], melts, colours, "upper left")
        places["melts"].set_title("glasses from the melt at 300 K", fontsize=9)
        places["melts"].sharey(places["rest"])
        places["melts"].set_ylabel("")
    else:
        places = figure.subplot_mosaic([["rest", "crystals"]], width_ratios=(1.5, 1.0))
    _glasses(places["rest"], rest, colours, "lower right")
    places["rest"].set_title("glasses at rest", fontsize=9)
    _crystals(places["crystals"], data)
    FigureCanvasAgg(figure)
    figure.savefig(path)

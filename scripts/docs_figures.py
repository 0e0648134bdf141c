"""The figure of README and site, docs/figure_speed.png, from a file of benchmarks/results.

Run as ``python scripts/docs_figures.py``; it needs matplotlib.
"""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib.pyplot as plt

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "benchmarks" / "results" / "cpu_2026-11-24_amd-epyc.md"
CASE = "### ns33-40, 1 thread"
PROGRAMS = {
    "torch-dftd": "torch-dftd",
    "nvalchemi-toolkit-ops": "nvalchemi-toolkit-ops\n(float32)",
    "simple-dftd3": "simple-dftd3",
    "LAMMPS dispersion/d3": "LAMMPS dispersion/d3",
    "d3torch lattice": "d3torch",
}
"""Rows of the table, and how the figure calls them, from the bottom up."""


def times(text: str) -> dict[str, float]:
    """Median of each program in ms, of the first row that it has in the case."""
    found: dict[str, float] = {}
    part = text[text.index(CASE) :].split("\n### ")[0]
    for name, time in re.findall(r"^\| ([^|]+) \| float\d\d \| 1 \| ([\d.]+) \[", part, re.M):
        found.setdefault(name, float(time))
    return found


def main() -> None:
    """Draw and save."""
    measured = times(TABLE.read_text(encoding="utf-8"))
    values = [measured[name] for name in PROGRAMS]
    figure, axes = plt.subplots(figsize=(7.0, 2.7), layout="constrained")
    colours = ["#b8bec9"] * (len(values) - 1) + ["#1f6feb"]
    bars = axes.barh(list(PROGRAMS.values()), values, color=colours, height=0.7)
    axes.bar_label(bars, [f" {value:,.0f} ms" for value in values], fontsize=9)
    axes.set_xscale("log")
    axes.set_xlim(20, 200_000)
    axes.set_xlabel("ms, logarithmic; energy, forces, virial of 1500 atoms, 40 bohr, one thread")
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    figure.savefig(ROOT / "docs" / "figure_speed.png", dpi=130)


if __name__ == "__main__":
    main()

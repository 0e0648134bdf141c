"""Writes the parameters of d3torch as a C++ header, so that the plugin needs no Python."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from d3torch_lammps.shared import core

parameters, reference, units = core("parameters"), core("reference"), core("units")

HEAD = """// Written by d3torch_lammps/tables.py from the data of d3torch.
#pragma once
namespace d3::data {
struct Functional { const char* key; double damping[4]; bool three_body; };  // s6 s8 a1 a2
struct Generation { const char* name; int n_numbers, n_refs; const double* cn_ref; const int* c6; };
"""


def _list(declaration: str, values: Iterable[object]) -> Iterator[str]:
    yield f"constexpr {declaration}[] = {{\n"
    row: list[str] = []
    for value in values:
        row.append(str(value))
        if len(row) == 20:
            yield ",".join(row) + ",\n"
            row = []
    yield ",".join(row) + "};\n"


def _generation(name: str) -> Iterator[str]:
    cn_ref, c6 = reference.stored_generation(name)
    yield from _list(f"double cn_ref_{name}", cn_ref.ravel().tolist())
    yield from _list(f"int c6_{name}", c6.tolist())


def header() -> str:
    """The text: units, elements, functionals and reference tables, in atomic units.

    Indices of elements start with a placeholder, as atomic numbers do with 1. ``c6`` is the lower
    triangle over all references, in units of ``1 / c6_unit`` hartree bohr^6 (d3torch/data).
    """
    stored = {name: reference.stored_generation(name)[0] for name in reference.REFERENCES}
    known = reference.SYMBOLS[: len(stored[reference.REFERENCES[-1]])]
    tables = reference.reference_tables(known[1:])
    bohr, hartree, c6_unit = units.BOHR, units.HARTREE, reference.C6_UNIT
    text = [
        HEAD,
        f"constexpr double bohr = {bohr!r}, hartree = {hartree!r}, c6_unit = {c6_unit};\n",
    ]
    text += _list("const char* symbols", (f'"{symbol}"' for symbol in known))
    text += _list("double rcov", [0.0, *tables.rcov.tolist()])
    text += _list("double r4r2", [0.0, *tables.r4r2.tolist()])
    functionals = parameters.spelled_functionals().items()
    text += _list(
        "Functional functionals",
        (
            f'{{"{key}",{{{",".join(map(repr, x.parameters))}}},{str(x.three_body).lower()}}}'
            for key, x in functionals
        ),
    )
    for name in stored:
        text += _generation(name)
    rows = (
        f'{{"{name}",{",".join(map(str, np.shape(cn_ref)))},cn_ref_{name},c6_{name}}}'
        for name, cn_ref in stored.items()
    )
    text += _list("Generation generations", rows)
    return "".join(text) + "}\n"


def write_header(folder: Path) -> None:
    """Write ``d3_data.h`` into a folder."""
    (folder / "d3_data.h").write_text(header(), encoding="utf-8")

"""Writes the parameters of d3torch as a C++ header, so that the plugin needs no Python."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from d3torch_lammps.shared import core

parameters, reference, units = core("parameters"), core("reference"), core("units")
variants = core("variants").VARIANTS

HEAD = """// Written by d3torch_lammps/tables.py from the data of d3torch.
#pragma once
namespace d3::data {
struct Functional { const char* key; double damping[5]; bool three_body; };
struct Variant { const char *name, *words; int form, n_functionals; const Functional* functionals;
};
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


def _variants() -> Iterator[str]:
    """The functionals of each variant by every name, and the variants.

    Restart files count the variants: new ones go to the end, and bj is 0, which earlier files have.
    """
    rows = []
    for variant, (_, form, words, _) in variants.items():
        found = parameters.spelled_functionals(variant)
        lines = (
            f'{{"{key}",{{{",".join(map(repr, x.parameters))}}},{str(x.three_body).lower()}}}'
            for key, x in found.items()
        )
        yield from _list(f"Functional functionals_{variant}", lines)
        rows.append(f'{{"{variant}","{words}",{form},{len(found)},functionals_{variant}}}')
    yield from _list("Variant variants", rows)


def header() -> str:
    """The text: units, elements, functionals, pair radii and reference tables, in atomic units.

    Indices of elements start with a placeholder, as atomic numbers do with 1. ``c6`` is the lower
    triangle over all references, in units of ``1 / c6_unit`` hartree bohr^6 (d3torch/data);
    ``radii`` that over all elements, in units of ``1 / radii_unit`` angstrom.
    """
    stored = {name: reference.stored_generation(name)[0] for name in reference.REFERENCES}
    known = reference.SYMBOLS[: len(stored[reference.REFERENCES[-1]])]
    tables = reference.reference_tables(known[1:])
    constants = {
        "bohr": units.BOHR,
        "hartree": units.HARTREE,
        "c6_unit": reference.C6_UNIT,
        "radii_unit": reference.RADII_UNIT,
    }
    text = [HEAD]
    text += (f"constexpr double {name} = {value!r};\n" for name, value in constants.items())
    text += _list("const char* symbols", (f'"{symbol}"' for symbol in known))
    text += _list("double rcov", [0.0, *tables.rcov.tolist()])
    text += _list("double r4r2", [0.0, *tables.r4r2.tolist()])
    text += _list("int radii", reference.stored_radii().tolist())
    text += _variants()
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

"""What cannot be right of the atoms that a reader made, or cannot be told from their file."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..extras import import_extra
from ..reference import SYMBOLS
from .said import LISTED, STATED

FROM_NAMES = {"gromacs", "gromos", "proteindatabank", "dlp4", "dlp-history", "cif"}
"""Formats in which ASE may take the element from the first letters of an atom's name."""

SYMMETRY = re.compile(r"_(?:\w+_name_hall|space_group_magn[._]name_\w+)")
"""Names of a symmetry in a CIF by which ASE repeats nothing."""

BRANCHED = set("HCNOPS")
"""Elements whose atoms have names of more letters in proteins: CA is C; FE can only be Fe."""

ROOM = 1.0
"""Volume of a cell for each atom, A^3, that is not enough; diamond has 5.7, a dummy cell 1 / n."""

OCCUPIED = 1e-3
"""How far the occupancy of a site may be from 1, or for an array from 0."""


def atoms_problem(form: str, text: Callable[[int], str], atoms: Any) -> str | None:
    """What cannot be right or be told in a frame whatever the file says, as a sentence."""
    if atoms.cell.rank > 0 and not atoms.pbc.any() and form not in STATED:
        return (
            f"expected periodic directions with the cell, got none from ASE's reader of {form}: "
            "write it as extxyz with pbc"
        )
    room = atoms.cell.volume / max(len(atoms), 1) if atoms.cell.rank == 3 else None
    if room is not None and atoms.pbc.all() and room <= ROOM:
        return f"expected a cell with room for its atoms, got {room:.2g} A^3 for each of them"
    cif = _cif_problem(text(-1)) if form == "cif" else None
    pdb = _alternate_problem(text(-1)) if form == "proteindatabank" else None
    return _occupancy_problem(atoms) or cif or pdb or _name_problem(form, text, atoms)


def _blocks(text: str) -> list[Any]:
    """Blocks of a CIF as ASE parses them."""
    return list(import_extra("ase.io.cif", "cli").parse_cif(io.StringIO(text)))


def _cif_problem(text: str) -> str | None:
    """What ASE does not take of a CIF, so that atoms are missing or exclude one another."""
    for block in _blocks(text):
        groups = _excluding_groups(block)
        if groups:
            got = f"_atom_site_disorder_group {' and '.join(groups)}"
            return f"expected {LISTED}, got {got}, all of which ASE reads"
        for key in filter(SYMMETRY.fullmatch, block):
            said = str(block[key]).strip()
            trivial = said.replace(" ", "") in ("P1", "?", ".")
            if not trivial and block.get_spacegroup(True).no == 1:
                return f"expected {LISTED}, got {key} {said!r}, which ASE does not read"
    return None


def _excluding_groups(block: Any) -> list[str]:
    """Groups of a CIF of which a real crystal has one at a place: others of the same assembly.

    A negative one excludes its own images.
    """
    groups = [str(x) for x in block.get("_atom_site_disorder_group") or ()]
    assemblies = [str(x) for x in block.get("_atom_site_disorder_assembly") or ["."] * len(groups)]
    found: dict[str, set[str]] = {}
    for assembly, group in zip(assemblies, groups, strict=False):
        if group not in (".", "?", "0"):
            found.setdefault(assembly, set()).add(group)
    wrong = (x for x in found.values() if len(x) > 1 or min(x).startswith("-"))
    return sorted(next(wrong, ()))


def _alternate_problem(text: str) -> str | None:
    """An atom of a model in a PDB file that has two places, by its column of alternates."""
    seen: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("END"):
            seen.clear()
        if not line.startswith(("ATOM", "HETATM")) or not line[16:17].strip():
            continue
        other = seen.setdefault(line[12:16] + line[21:27], line[16])
        if other != line[16]:
            got = f"the alternates {other} and {line[16]} of {line[12:16].strip()}"
            return f"expected {LISTED}, got {got}, both of which ASE reads"
    return None


def _occupancy_problem(atoms: Any) -> str | None:
    """A site that holds less than an atom, or a mixture."""
    wanted = "expected sites that hold one atom, got the occupancy"
    sites = atoms.info.get("occupancy")
    for site in sites.values() if isinstance(sites, dict) else ():
        if len(site) > 1 or any(abs(float(x) - 1.0) > OCCUPIED for x in site.values()):
            return f"{wanted} {' '.join(f'{symbol} {float(x):g}' for symbol, x in site.items())}"
    for name in ("occupancy", "occupancies"):
        values = np.asarray(atoms.arrays.get(name, 1.0), dtype=float)
        parts = values[(values > OCCUPIED) & (values < 1.0 - OCCUPIED)]
        if parts.size:
            return f"{wanted} {parts.flat[0]:g}"
    return None


def _name_problem(form: str, text: Callable[[int], str], atoms: Any) -> str | None:
    """An atom whose name begins like two elements or with none, where the name is all there is."""
    for name, symbol in _names(form, text, atoms) if form in FROM_NAMES else ():
        one, two = name[:1], name[:2].capitalize()
        sure = symbol in (two, None) and not name[:2].isupper()
        sure = sure or (form == "proteindatabank" and symbol == two and one not in BRANCHED)
        both = len(two) == 2 and one in SYMBOLS and two in SYMBOLS
        first = name.lstrip("0123456789")[:2].capitalize()
        neither = symbol not in (None, "X", first[:1], first)
        if neither or (both and not sure):
            read = "" if symbol is None else f", read as {symbol}"
            return f"expected a column of elements, got the name {name!r}{read}"
    return None


def _names(form: str, text: Callable[[int], str], atoms: Any) -> Iterable[tuple[str, str | None]]:
    """Names by which ASE guessed elements, and these elements where they are known."""
    if form == "cif":
        keys = "_atom_site_type_symbol", "_atom_site_label"
        found = [block.get(keys[0]) or block.get(keys[1]) or () for block in _blocks(text(-1))]
        return [(str(name), None) for names in found for name in names]
    if form in ("dlp4", "dlp-history"):
        rest = atoms.arrays["dlp4_labels"]
        return [(f"{symbol}{x}", symbol) for symbol, x in zip(atoms.symbols, rest, strict=True)]
    if form == "proteindatabank":
        rows = [line for line in text(-1).splitlines() if line.startswith(("ATOM", "HETATM"))]
        if all(line[76:78].strip().isalpha() for line in rows):
            return []
    names = atoms.arrays.get("atomtypes")
    if names is None:  # gromos
        words = [line.split() for line in text(-1).splitlines()]
        names = [row[2] for row in words if len(row) == 7 and row[0].isdigit()]
    return [(str(name), symbol) for name, symbol in zip(names, atoms.symbols, strict=False)]

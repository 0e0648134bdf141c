"""What a file plainly says of a structure, held against what a reader made of it.

A reader that does not know a keyword skips it: the lattice of a crystal is then gone, and what
is left looks like a molecule. Nothing here parses a format. A few words that mean a lattice in
any format are searched for, and only where the reader came back without one.
"""

from __future__ import annotations

import difflib
import io
import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..extras import import_extra
from ..reference import SYMBOLS

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][-+]?\d+)?"

BETWEEN = r"[\s,;:=|\"'\[\](){}]"
"""What stands between a word and its numbers, and between two numbers."""

WORD = (
    r"(?:lattice|(?:unit|simulation|periodic)?[ _-]?cell|cryst1?|(?:simulation|periodic)?[ _-]?box"
    r"|primvec|convvec|vec1|tv|acell|rprim|lat(?=[ _-]?vec)|dimensions|pbc)"
    r"(?:[ _-]?(?:vec|par|length|const|mat|size|dim|abc)[a-z]*)?(?:[({]\w*[)}])?"
)
"""The lattice, as formats spell it: ``CRYST1``, ``cell_parameters``, ``CELL(abcABC)``."""

THREE = rf"{BETWEEN}*(?P<numbers>{NUMBER}(?:{BETWEEN}+{NUMBER}){{2}})"

YES = r"[\s=:\"'\[(]*(?:[123]\b|t\b|true|y\b|yes|on\b|p\b|periodic)"

ANYWHERE = (
    rf"(?<![a-z]){WORD}{THREE}",
    rf"(?<![a-z]){WORD}\s*=\s*[\"']?(?P<numbers>\d+\.\d+)",
    r"(?<![a-z])a\s*=\s*(?P<numbers>[\d.]+)[,\s]+b\s*=\s*[\d.]+[,\s]+c\s*=\s*[\d.]+",
    rf"(?<![a-z])(?:pbc|periodic\w*|boundar\w*)\s*={YES}",
)
"""A lattice in a comment: the word anywhere, its numbers behind it."""

ALONE = (
    rf"^\s*{NUMBER}(?:\s+{NUMBER}){{2}}(?:\s+(?P<numbers>(?:[3-9]\d|1[0-5]\d)(?:\.\d*)?)){{3}}\s*$",
    rf"^\s*(?P<numbers>{NUMBER}(?:\s+{NUMBER}){{8}})\s*$",
)
"""A comment that is a lattice and no more: lengths and angles, as of Tinker, or three vectors."""

LEAD = r"^[ \t$%#&*!\"'<]*(?:block\s+|begin\s+)?"

FIRST = (
    rf"{LEAD}{WORD}{THREE}",
    rf"{LEAD}{WORD}\b[^\d\n]*\n\s*(?P<numbers>{NUMBER}).*",
    rf"{LEAD}periodic\w*{YES}",
    rf"^[ \t]*(?P<numbers>{NUMBER}\s+{NUMBER})\s+[xyz]lo\s+[xyz]hi",
    rf"{LEAD}unit[ _]?cell[\"']?\s*:\s*\{{[^}}]*\}}",
)
"""A lattice in any other text: the word first in its line, numbers behind it or below."""

KNOWN = ("Properties", "Lattice", "pbc")
"""Keys of a comment that ASE heeds in this spelling only."""

ALIKE = 0.8
"""How like two keys are of which one is the other misspelt: Latice is Lattice, 0.92 of 1."""

STATED = {
    *("extxyz", "traj", "bundletrajectory", "db", "json", "mysql", "postgresql", "gpaw-out", "gpw"),
    *("netcdftrajectory", "lammps-dump-text", "lammps-dump-binary", "v-sim", "dlp4"),
    *("dlp-history", "gpumd", "nomad-json", "cp2k-restart", "runnerdata"),
}
"""Formats in which each frame says whether it repeats, and ASE heeds it."""

FROM_NAMES = {"gromacs", "gromos", "proteindatabank", "dlp4", "dlp-history", "cif"}
"""Formats in which ASE may take the element from the first letters of an atom's name."""

UNREAD = {
    "nwchem-in": (r"^\s*system\s+surface\b", "a crystal or a molecule"),  # gamma as radians
    "res": (r"^(?:SYMM\b|LATT\s+(?!-1\b)).*", "all atoms in the list"),
    "lammps-data": (r"units\s*=\s*(?!metal|real)\w+", "lengths in angstrom"),
    "sdf": (r"^\$\$\$\$\s+\S.*", "one molecule"),
    "lammps-dump-text": (r"^ITEM: UNITS\s+(?!metal|real)\w+", "lengths in angstrom"),
}
"""What ASE's reader of a format skips and D3 needs: a pattern, and what is expected instead."""

HEAD = 1 << 16
"""Characters in which a file says its units or its symmetry."""

ROOM = 1.0
"""Volume of a cell for each atom, A^3, that is not enough; diamond has 5.7, a dummy cell 1 / n."""

OCCUPIED = 1e-3
"""How far the occupancy of a site may be from 1, or for an array from 0."""


def find_lattice(text: str, patterns: Iterable[str]) -> str | None:
    """The words of a text that speak of a lattice, None without any; zeros are none."""
    for pattern in patterns:
        for found in re.finditer(pattern, text, re.IGNORECASE | re.MULTILINE):
            numbers = re.findall(NUMBER, found.groupdict().get("numbers") or "1")
            if any(re.search("[1-9]", x) for x in numbers):
                return " ".join(found[0].split())[:60]
    return None


def comment_problem(keys: Iterable[str], comment: str, atoms: Any) -> str | None:
    """What the comment of an extxyz frame says and ASE did not heed, as a sentence.

    Args:
        keys: those that have a value; a word alone, as in "lattice energy", means nothing.
        comment: the whole line.
        atoms: what ASE read.
    """
    keys = set(keys)
    for known in (known for known in KNOWN if known not in keys):
        like = difflib.get_close_matches(known.lower(), [key.lower() for key in keys], cutoff=ALIKE)
        if like:
            key = next(key for key in keys if key.lower() == like[0])
            return f"expected the key {known}, got {key}, which ASE does not read"
    said = None if atoms.pbc.any() or "pbc" in keys else find_lattice(comment, (*ANYWHERE, *ALONE))
    if said is not None:
        return f'expected Lattice="..." in the comment, got {said!r}, which ASE does not read'
    return None


def text_problem(form: str, text: Callable[[int], str], atoms: Any) -> str | None:
    """What a text says of a lattice, of symmetry or of units and ASE did not heed, a sentence.

    Args:
        form: ASE's name of the format.
        text: gives the text up to a number of characters, all of it for -1, "" if it is binary.
        atoms: what ASE read.
    """
    if form in UNREAD:
        pattern, wanted = UNREAD[form]
        found = re.search(pattern, text(HEAD), re.MULTILINE)
        if found:
            got = " ".join(found[0].split())
            return f"expected {wanted}, got {got!r}, which ASE does not read"
    if atoms.pbc.any() or form in STATED:
        return None
    said = find_lattice(text(-1), FIRST if form != "xyz" else (*FIRST, *ANYWHERE))
    if said is not None:
        return f"expected ASE to read the lattice of {said!r}, got none from its reader of {form}"
    return None


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
    return _occupancy_problem(atoms) or _name_problem(form, text, atoms)


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
        blocks = import_extra("ase.io.cif", "cli").parse_cif(io.StringIO(text(-1)))
        keys = "_atom_site_type_symbol", "_atom_site_label"
        found = [block.get(keys[0]) or block.get(keys[1]) or () for block in blocks]
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

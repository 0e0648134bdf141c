"""What a file plainly says of a structure, held against what a reader made of it.

A reader that does not know a keyword skips it: the lattice of a crystal is then gone, and what
is left looks like a molecule. Nothing here parses a format. A few words that mean a lattice in
any format are searched for, and only where the reader came back without one.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from .extxyz import fields_of, repeated

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][-+]?\d+)?"

BETWEEN = r"[\s,;:=|\"'\[\](){}]"
"""What stands between a word and its numbers, and between two numbers."""

WORD = (
    r"(?:lattice|(?:unit|simulation|periodic)?[ _-]?cell|cryst1?|(?:simulation|periodic)?[ _-]?box"
    r"|primvec|convvec|vec1|acell|rprim|lat(?=[ _-]?vec)|dimensions|pbc)"
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

RIGHT = r"(?:90|60|120)(?:\.0*)?(?![\d.])"

ANGLE = r"(?:[3-9]\d|1[0-5]\d)(?:\.\d*)?(?![\d.])"

ANGLES = rf"(?:{RIGHT}\s+{RIGHT}\s+{ANGLE}|{RIGHT}\s+{ANGLE}\s+{RIGHT}|{ANGLE}\s+{RIGHT}\s+{RIGHT})"

CRYSTAL = rf"(?<![\w.+-])(?:\d+\.?\d*\s+){{3}}{ANGLES}"
"""Three lengths and three angles, of which two are those of a lattice, behind any word."""

ALONE = (
    CRYSTAL,
    rf"^\s*{NUMBER}(?:\s+{NUMBER}){{2}}(?:\s+(?P<numbers>(?:[3-9]\d|1[0-5]\d)(?:\.\d*)?)){{3}}\s*$",
    rf"^\s*(?P<numbers>{NUMBER}(?:\s+{NUMBER}){{8}})\s*$",
)
"""A comment that is a lattice and no more: lengths and angles, as of Tinker, or three vectors."""

LEAD = r"^[ \t$%&*\"'<]*(?:block\s+|begin\s+)?"
"""What may stand before the first word of a line that is no comment (``#``, ``!``)."""

NUMBERS = rf"{BETWEEN}*{NUMBER}(?:{BETWEEN}+{NUMBER})*{BETWEEN}*"

TENSORS = (
    r"stress|virial|press|strain|tensor|pole|polari[sz]|dielec|epsilon|inertia|gyration|rotat"
    r"|orient|forces?|mom|veloc|charge|spin|grad|hess|k_?points?|energ|conduc|suscep|shield|born"
    r"|descriptor|weight|feature|freq|wave_?num|eigen|occupation|populat|order|bond|intens"
)
"""What nine numbers are besides a lattice, as parts of a key of a comment."""

VECTORS = {
    1: r"celldm\w*|alat\w*|l[xyz]|(?:unit_?)?(?:cell|lat(?:tice)?|box)_?(?:[abcxyz]|len\w*)",
    3: r"h|h_?mat\w*|basis\w*|[abc][123]|lv_?[123]?|lvec\w*|[abc]_?vec\w*|abc|bounds?"
    r"|\w*vec_?[abc123]",
}
"""Keys of a lattice, by how many numbers at least; ``a1=0.4`` is a damping, ``h=0.5`` a field."""

FIRST = (
    rf"{LEAD}{WORD}{THREE}",
    rf"{LEAD}{WORD}\b[^\d\n]*\n\s*(?P<numbers>{NUMBER}).*",
    rf"{LEAD}periodic\w*{YES}",
    rf"^[ \t]*(?P<numbers>{NUMBER}\s+{NUMBER})\s+[xyz]lo\s+[xyz]hi",
    rf"{LEAD}unit[ _]?cell[\"']?\s*:\s*\{{[^}}]*\}}",
)
"""A lattice in any other text: the word first in its line, numbers behind it or below."""

GAUSSIAN = rf"{LEAD}tv{THREE}"
"""A lattice vector of Gaussian; in an xyz file, ``TV`` is any word."""

KNOWN = ("Properties", "Lattice", "pbc")
"""Keys of a comment that ASE heeds in this spelling only."""

IN_BOHR = (
    r"\b(?:length|coord\w*|pos\w*)[_ ]?units?\s*[=:]\s*[\"']?(?:bohr|au|a\.u\.|atomic)\b"
    r"|^\s*units?\s*[=:]\s*[\"']?(?:bohr|au|a\.u\.|atomic)[\"']?\s*$"
    r"|\b(?:coord\w*|positions?|lengths?|geometry)\W{1,3}in\s+(?:bohr|atomic units|a\.u\.)"
)
"""Positions in another unit than the one of an xyz file, as comments say it."""

EMPTY = {"", "none", "null", "cubic", "fcc", "bcc", "hcp", "sc"}
"""Values that are no lattice, whatever their key."""

ALIKE = 0.8
"""How like two keys are of which one is the other misspelt: Latice is Lattice, 0.92 of 1."""

STATED = {
    *("extxyz", "traj", "bundletrajectory", "db", "json", "mysql", "postgresql", "gpaw-out", "gpw"),
    *("netcdftrajectory", "lammps-dump-text", "lammps-dump-binary", "v-sim", "dlp4"),
    *("dlp-history", "gpumd", "nomad-json", "cp2k-restart", "runnerdata"),
}
"""Formats in which each frame says whether it repeats, and ASE heeds it."""

LISTED = "all atoms in the list, each of them once"
"""What is expected where ASE repeats no atoms by symmetry, and counts those that exclude others."""

UNREAD = {
    "nwchem-in": (r"^\s*system\s+surface\b", "a crystal or a molecule"),  # gamma as radians
    "res": (r"^(?:SYMM\b|LATT\s+(?!-1\b)|PART\s+-?[1-9]).*", LISTED),
    "turbomole": (r"^\s*\$coord\s+(?:angs|frac)\w*", "positions in bohr"),
    "cp2k-restart": (
        r"^\s*(?:PERIODIC\s+(?!XYZ)\w+|ABC\s.*|[ABC]\s+\[.*|SCALED(?!\s+F)|UNIT\s+(?!ang)\w+)",
        "a cell by A, B and C, periodic along all of them, and positions in angstrom",
    ),
    "proteindatabank": (r"^CRYST1.{49}(?!\s*P\s*1(?:\s+\d+)?\s*$)\s*[A-Z].*", LISTED),
    "lammps-data": (r"units\s*=\s*(?!metal|real)\w+", "lengths in angstrom"),
    "sdf": (r"^\$\$\$\$\s+\S.*", "one molecule"),
    "lammps-dump-text": (r"^ITEM: UNITS\s+(?!metal|real)\w+", "lengths in angstrom"),
}
"""What ASE's reader of a format skips and D3 needs: a pattern, and what is expected instead."""

DUMMY = re.compile(r"^CRYST1(?:\s+1\.0*){3}(?:\s+90\.0*){3}.*", re.MULTILINE)
"""How a PDB file of NMR or of electron microscopy says that there is no cell."""

HEAD = 1 << 16
"""Characters in which a file says its units or its symmetry."""


def find_lattice(text: str, patterns: Iterable[str]) -> str | None:
    """The words of a text that speak of a lattice, None without any; zeros are none."""
    for pattern in patterns:
        for found in re.finditer(pattern, text, re.IGNORECASE | re.MULTILINE):
            numbers = re.findall(NUMBER, found.groupdict().get("numbers") or "1")
            if any(re.search("[1-9]", x) for x in numbers):
                return " ".join(found[0].split())[:60]
    return None


def key_of_lattice(fields: Mapping[str, str]) -> str | None:
    """A key of a comment whose value can only be a lattice, with the value; None without any.

    Nine numbers are one under any key but those of known tensors, fewer under known keys only.
    """
    for key, value in fields.items():
        numbers = re.findall(NUMBER, value) if re.fullmatch(NUMBERS, value) else []
        if not any(re.search("[1-9]", x) for x in numbers):
            continue
        nine = len(numbers) == 9 and not re.search(TENSORS, key, re.IGNORECASE)
        known = [n for n, keys in VECTORS.items() if re.fullmatch(keys, key, re.IGNORECASE)]
        if nine or (known and len(numbers) >= min(known)):
            return f"{key}={value}"[:60]
    return None


def comment_problem(fields: Mapping[str, str], comment: str, atoms: Any) -> str | None:
    """What the comment of an extxyz frame says and ASE did not heed, as a sentence.

    Args:
        fields: keys with values; a word alone, as in "lattice energy", means nothing.
        comment: the whole line.
        atoms: what ASE read.
    """
    for key in (key for key in repeated(comment) if key in KNOWN):
        return f"expected each key once, got {key} twice"
    keys = {key.lower(): key for key, value in fields.items() if value.lower() not in EMPTY}
    bohr = re.search(IN_BOHR, comment, re.IGNORECASE)
    if bohr:
        return f"expected positions in angstrom, got {' '.join(bohr[0].split())!r} in the comment"
    for known in (known for known in KNOWN if known not in fields):
        like = difflib.get_close_matches(known.lower(), keys, cutoff=ALIKE)
        if like:
            return f"expected the key {known}, got {keys[like[0]]}, which ASE does not read"
    if atoms.pbc.any() or "pbc" in fields:
        return None
    said = find_lattice(comment, (*ANYWHERE, *ALONE)) or key_of_lattice(fields)
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
    lines = DUMMY.sub("", text(-1))
    said = find_lattice(
        lines, (*FIRST, GAUSSIAN) if form != "xyz" else (*FIRST, *ANYWHERE, CRYSTAL)
    )
    if said is None and form == "xyz":
        keys = (key_of_lattice(fields_of(x)) for x in lines.splitlines() if "=" in x)
        said = next((key for key in keys if key is not None), None)
    if said is not None:
        return f"expected ASE to read the lattice of {said!r}, got none from its reader of {form}"
    return None


def drop_dummy(form: str, atoms: Any) -> None:
    """Make a molecule of what says by a cell that it has none: 1 A in PDB, 0 nm in GROMACS."""
    one = form == "proteindatabank" and np.allclose(atoms.cell.array, np.eye(3), atol=1e-6)
    if one or (form == "gromacs" and not atoms.cell.array.any()):
        atoms.cell, atoms.pbc = None, False

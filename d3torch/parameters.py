"""Damping parameters of D3(BJ) by the name of the density functional."""

from __future__ import annotations

import csv
import difflib
import fnmatch
import unicodedata
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import NamedTuple

_IGNORED = str.maketrans({"-": "", "_": "", "/": "", ".": "", "(": "", ")": "", " ": ""})
_SPELLED = str.maketrans({"ω": "w", "τ": "tau"})


class DampingParameters(NamedTuple):
    """Parameters of rational (Becke-Johnson) damping.

    Attributes:
        s6: weight of the C6 term; below 1 for double hybrids.
        s8: weight of the C8 term.
        a1: factor of the critical radius ``sqrt(C8/C6)``.
        a2: shift of the critical radius, in bohr.
    """

    s6: float
    s8: float
    a1: float
    a2: float


class Functional(NamedTuple):
    """A density functional with published D3(BJ) parameters.

    Attributes:
        name: its key in the table, lower case.
        parameters: those of the two-body energy.
        doi: where the parameters were published; see ``note``.
        aliases: other names of it.
        s9: weight of the three-body term, for whoever adds one.
        note: what to know about the source; mostly empty.
    """

    name: str
    parameters: DampingParameters
    doi: str
    aliases: tuple[str, ...]
    s9: float
    note: str


def _key(name: str) -> str:
    """The name without case, punctuation and typography: ``r²SCAN-3c`` becomes ``r2scan3c``."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    return "".join(plain.split()).translate(_IGNORED).translate(_SPELLED)


def _rows() -> Iterator[dict[str, str]]:
    """Rows of ``functionals.csv``."""
    path = resources.files("d3torch") / "data" / "functionals.csv"
    yield from csv.DictReader(path.read_text(encoding="utf-8").splitlines())


@cache
def _table() -> tuple[Functional, ...]:
    """All functionals that have Becke-Johnson parameters, by name."""
    return tuple(
        Functional(
            row["name"],
            DampingParameters(*(float(row[key]) for key in DampingParameters._fields)),
            row["doi"],
            tuple(row["aliases"].split()),
            float(row["s9"]),
            row["note"],
        )
        for row in _rows()
        if row["damping"] == "bj"
    )


@cache
def _index() -> dict[str, Functional]:
    """Functionals by the key of each of their names."""
    return {_key(name): f for f in _table() for name in (f.name, *f.aliases)}


@cache
def _others() -> dict[str, str]:
    """Damping functions of the functionals without Becke-Johnson parameters, by key."""
    words = {"zero": "zero damping", "op": "optimised-power damping"}
    return {
        _key(name): " and ".join(words[damping] for damping in row["damping"].split())
        for row in _rows()
        if row["damping"] != "bj"
        for name in (row["name"], *row["aliases"].split())
    }


def spelled_parameters() -> dict[str, DampingParameters]:
    """Parameters by every name, spelled without case and ``- _ / . ( )``: for other languages."""
    return {key: functional.parameters for key, functional in _index().items()}


def damping_parameters(xc: str) -> DampingParameters:
    """Parameters of D3(BJ) for a density functional.

    Args:
        xc: its name; case, spaces and the characters ``- _ / . ( )`` do not matter.

    Raises:
        TypeError: if the name is not a string.
        ValueError: if the functional is unknown, or known to D3 with other damping only.

    Source: ``functionals(xc)`` gives the DOI; the damping is that of Grimme, Ehrlich, Goerigk,
    J. Comput. Chem. 32, 1456 (2011).
    """
    if not isinstance(xc, str):
        raise TypeError(f"expected the name of a functional as a string, got {xc!r}")
    key = _key(xc)
    if key in _index():
        return _index()[key].parameters
    if key in _others():
        raise ValueError(
            f"expected a functional with Becke-Johnson parameters, got {xc!r}, "
            f"for which D3 has {_others()[key]} only"
        )
    near = [_index()[k].name for k in difflib.get_close_matches(key, _index(), n=3, cutoff=0.5)]
    hint = f" (nearest: {', '.join(dict.fromkeys(near))})" if near else ""
    raise ValueError(f"expected a known functional, got {xc!r}{hint}")


def functionals(pattern: str | None = None) -> list[Functional]:
    """Functionals with D3(BJ) parameters, sorted by name.

    Args:
        pattern: part of a name or alias, or a shell pattern such as ``"*scan*"``, spelled as
            freely as in ``damping_parameters``; None gives all.

    Raises:
        TypeError: if the pattern is not a string.
    """
    if pattern is None:
        return list(_table())
    if not isinstance(pattern, str):
        raise TypeError(f"expected a pattern as a string or None, got {pattern!r}")
    key = _key(pattern)
    shell = any(character in key for character in "*?[")

    def matches(name: str) -> bool:
        return fnmatch.fnmatchcase(_key(name), key) if shell else key in _key(name)

    return [f for f in _table() if any(matches(name) for name in (f.name, *f.aliases))]

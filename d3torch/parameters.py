"""Damping parameters of the variants of D3 by the name of the density functional."""

from __future__ import annotations

import csv
import difflib
import fnmatch
import unicodedata
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from .checks import require_number
from .variants import BJ, RADII, VARIANTS, Damping, check_variant
from .variants import DampingParameters as DampingParameters  # older pickles name it here

_IGNORED = str.maketrans({"-": "", "_": "", "/": "", ".": "", "(": "", ")": "", " ": ""})
_SPELLED = str.maketrans({"ω": "w", "τ": "tau"})
_SUFFIXES = {
    "d3": ("bj", "bjm", "zero", "zerom"),
    "d3bj": ("bj",),
    "d3m": ("bjm", "zerom"),
    **dict.fromkeys(("d3mbj", "d3bjm"), ("bjm",)),
    **dict.fromkeys(("d30", "d3zero", "d3z"), ("zero",)),
    **dict.fromkeys(("d3m0", "d30m", "d3mzero", "d3zerom"), ("zerom",)),
}
"""What may follow the name of a functional, as keys; the variants that it may mean."""


class DispersionWarning(UserWarning):
    """A result that is right for what was asked, and perhaps not what was meant."""


class Functional(NamedTuple):
    """A density functional with published D3 parameters of a variant.

    Attributes:
        name: its key in the table, lower case.
        parameters: those of the two-body energy.
        doi: where the parameters were published; see ``note``.
        aliases: other names of it.
        s9: weight of the three-body term, where there is one.
        note: what to know about the source; mostly empty.
        three_body: whether the method is defined with the three-body term.
        variant: of the parameters.
    """

    name: str
    parameters: Damping
    doi: str
    aliases: tuple[str, ...]
    s9: float
    note: str
    three_body: bool
    variant: str


def _key(name: str) -> str:
    """The name without case, punctuation and typography: ``r²SCAN-3c`` becomes ``r2scan3c``."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    return "".join(plain.split()).translate(_IGNORED).translate(_SPELLED)


def _rows(file: str) -> Iterator[dict[str, str]]:
    """Rows of a table of the data."""
    path = Path(__file__).parent / "data" / file
    yield from csv.DictReader(path.read_text(encoding="utf-8").splitlines())


@cache
def _known() -> dict[str, dict[str, str]]:
    """Rows of ``functionals.csv`` by the key of each of their names."""
    return {
        _key(name): row
        for row in _rows("functionals.csv")
        for name in (row["name"], *row["aliases"].split())
    }


@cache
def _table(variant: str) -> tuple[Functional, ...]:
    """All functionals that have parameters of a variant, by name."""
    kind = VARIANTS[variant].kind
    rows = ((row, _known()[_key(row["functional"])]) for row in _rows("damping.csv"))
    return tuple(
        Functional(
            row["functional"],
            kind(*(float(row[key]) for key in kind._fields)),
            row["doi"],
            tuple(named["aliases"].split()),
            float(row["s9"]),
            row["note"],
            named["three_body"] == "defined",
            variant,
        )
        for row, named in rows
        if row["variant"] == variant
    )


@cache
def _names(variant: str) -> dict[str, Functional]:
    """Functionals of a variant by the key of each of their names."""
    return {_key(name): f for f in _table(variant) for name in (f.name, *f.aliases)}


def _stems(key: str) -> tuple[str, ...]:
    """What a suffix may follow: the name, and one that ends so itself (B97-D3) without its end."""
    return (key.removesuffix("d3"), key) if key.endswith("d3") else (key,)


@cache
def _index(variant: str) -> dict[str, Functional]:
    """Functionals of a variant by every key that is read: a name, or one with a suffix behind it.

    A name of its own goes first: omega-B97X-D3 is no omega-B97X with this dispersion.
    """
    names = _names(variant)
    suffixes = [suffix for suffix, variants in _SUFFIXES.items() if variant in variants]
    suffixed = {s + x: f for x in suffixes for key, f in names.items() for s in _stems(key)}
    return {
        key: f
        for key, f in {**suffixed, **names}.items()
        if (key in names or key not in _known()) and variant in _meant(key)
    }


@cache
def _meant(key: str) -> tuple[str, ...]:
    """Variants that the end of a name allows: all, where it tells none."""
    ends = [suffix for suffix in _SUFFIXES if key.endswith(suffix)]
    return _SUFFIXES[max(ends, key=len)] if ends else tuple(VARIANTS)


def _named(key: str) -> dict[str, str] | None:
    """The row of the functional that a key means, whatever its suffix; None if there is none."""
    if key in _known():
        return _known()[key]
    stems = {**{s: row for k, row in _known().items() for s in _stems(k)}, **_known()}
    ends = [suffix for suffix in sorted(_SUFFIXES, key=len, reverse=True) if key.endswith(suffix)]
    return next((row for x in ends if (row := stems.get(key.removesuffix(x)))), None)


def _refusal(xc: str, variant: str) -> str:
    """What is wrong with a name that is not read as a functional of a variant."""
    key, asked = _key(xc), VARIANTS[variant].words
    if key.endswith("d4") and key.removesuffix("d4") in _known():
        return f"expected a functional with {asked}, got {xc!r}: D4 is not included"
    found = _named(key)
    if found is None:
        return f"expected a known functional, got {xc!r}{nearest(xc, variant)}"
    has = [v for v in VARIANTS if _key(found["name"]) in _names(v)]
    if variant in has:
        words = " or ".join(VARIANTS[v].words for v in _meant(key))
        other = _meant(key)[0]
        return f"expected a name for {asked}, got {xc!r}, which is {words}: give variant={other!r}"
    names = ", ".join([*has, *(f"{v} (not included)" for v in found["others"].split())])
    return f"expected a functional with {asked} parameters, got {xc!r}, which has: {names}"


def spelled_functionals(variant: str = BJ) -> dict[str, Functional]:
    """Functionals by every name, spelled without case and ``- _ / . ( )``: for other languages."""
    return dict(_index(check_variant(variant)))


def nearest(xc: str, variant: str = BJ) -> str:
    """The end of a sentence on an unknown name: `` (nearest: pbe, rpbe)``, or nothing."""
    keys = difflib.get_close_matches(_key(xc), _names(variant), n=3, cutoff=0.5)
    names = dict.fromkeys(_names(variant)[key].name for key in keys)
    return f" (nearest: {', '.join(names)})" if names else ""


def find_functional(xc: str, variant: str = BJ) -> Functional:
    """The functional of a name, with its parameters of a variant.

    Args:
        xc: a name or alias; case, spaces and the characters ``- _ / . ( )`` do not matter, and
            ``-D3`` may follow, or what names the variant: ``-D3BJ`` or ``-D3(BJ)``; ``-D3M(BJ)``;
            ``-D3(0)`` or ``-D3zero``; ``-D3M(0)`` or ``-D3Mzero``.
        variant: ``"bj"``, ``"bjm"``, ``"zero"`` or ``"zerom"``.

    Raises:
        TypeError: if the name is not a string.
        ValueError: for another variant; if the functional is unknown, has no parameters of the
            variant, or is spelled with another one.
    """
    if not isinstance(xc, str):
        raise TypeError(f"expected the name of a functional as a string, got {xc!r}")
    key = _key(xc)
    found = _index(check_variant(variant)).get(key)
    if found is None:
        raise ValueError(_refusal(xc, variant))
    return found


def damping_parameters(xc: str, variant: str = BJ) -> Damping:
    """Damping parameters of a functional that :func:`d3torch.parameters.find_functional` finds.

    Raises:
        TypeError, ValueError: as there.

    Source: ``functionals(xc, variant)`` gives the DOI; the damping is that of the class.
    """
    return find_functional(xc, variant).parameters


def resolve_damping(xc: object, damping: object, variant: str = BJ) -> Damping:
    """The damping parameters of a functional, or the explicit ones (a2 in bohr, bet in 1/bohr).

    Raises:
        TypeError: if both or neither are given, a value is no number, or the names are not those
            of the variant.
        ValueError: if the functional is not known; for a factor of radii of 0.
    """
    if (xc is None) == (damping is None):
        raise TypeError(f"expected either xc or damping, got xc={xc!r} and damping={damping!r}")
    kind = VARIANTS[check_variant(variant)].kind
    if damping is None:
        return damping_parameters(xc, variant)  # type: ignore[arg-type]
    values = damping._asdict() if isinstance(damping, kind) else damping
    if not isinstance(values, dict) or {*kind._field_defaults, *values} != {*kind._fields}:
        of = "" if variant == BJ else f" of variant {variant!r}"
        raise TypeError(f"expected damping{of} to give {', '.join(kind._fields)}, got {damping!r}")
    numbers = {name: require_number(name, value) for name, value in values.items()}
    nought = [name for name in RADII if numbers.get(name) == 0.0]
    if nought:
        raise ValueError(f"expected {nought[0]} other than 0, as it divides distances, got 0.0")
    return kind(**numbers)


def canonical_name(xc: str, variant: str = BJ) -> str:
    """The one name of a functional that files carry: ``rev-PBE-D3(BJ)`` becomes ``revpbe``.

    Raises:
        TypeError, ValueError: as :func:`d3torch.parameters.find_functional`.
    """
    return find_functional(xc, variant).name


def warn_of_three_body(xc: str, variant: str = BJ) -> None:
    """Say that the three-body term is left out, for a method that is defined with it.

    Raises:
        TypeError, ValueError: as :func:`d3torch.parameters.find_functional`.
    """
    found = find_functional(xc, variant)
    if found.three_body:
        warnings.warn(
            f"{found.name} is defined with the three-body term of D3 ({found.doi}), "
            f"which is left out here: add it with s9={found.s9}",
            DispersionWarning,
            stacklevel=2,
        )


def warn_of_hard_tail() -> None:
    """Say that a tail corrects the pressure by half only where the cutoff is hard."""
    warnings.warn(
        "a tail at a hard cutoff, width 0, corrects energies, but the pressure by half only: "
        "leave out the width, which is 2 A then",
        DispersionWarning,
        stacklevel=3,
    )


def functionals(pattern: str | None = None, variant: str = BJ) -> list[Functional]:
    """Functionals with D3 parameters of a variant, sorted by name.

    Args:
        pattern: part of a name or alias, or a shell pattern such as ``"*scan*"``, spelled as
            freely as in ``damping_parameters``; None gives all.
        variant: ``"bj"``, ``"bjm"``, ``"zero"`` or ``"zerom"``.

    Raises:
        TypeError: if the pattern is not a string.
        ValueError: for another variant.
    """
    table = _table(check_variant(variant))
    if pattern is None:
        return list(table)
    if not isinstance(pattern, str):
        raise TypeError(f"expected a pattern as a string or None, got {pattern!r}")
    key = _key(pattern)
    shell = any(character in key for character in "*?[")

    def matches(name: str) -> bool:
        return fnmatch.fnmatchcase(_key(name), key) if shell else key in _key(name)

    found = [f for f in table if any(matches(name) for name in (f.name, *f.aliases))]
    meant = _index(variant).get(key)  # PBE-D3(BJ), which is part of no name
    return found or ([] if meant is None else [meant])

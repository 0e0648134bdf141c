"""Damping parameters of D3(BJ) by the name of the density functional."""

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

_IGNORED = str.maketrans({"-": "", "_": "", "/": "", ".": "", "(": "", ")": "", " ": ""})
_SPELLED = str.maketrans({"ω": "w", "τ": "tau"})
_OTHER_DAMPING = {
    **dict.fromkeys(("d30", "d3zero", "d3z"), "zero damping"),
    **dict.fromkeys(("d3m", "d3mbj", "d3bjm", "d3m0", "d30m"), "the modified damping"),
    "d4": "D4",
}
"""Suffixes of other dispersion, as keys; what they mean."""

_SUFFIXES = ("", "d3", "d3bj")


class DispersionWarning(UserWarning):
    """A result that is right for what was asked, and perhaps not what was meant."""


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
        three_body: whether the method is defined with the three-body term, which is left out here.
    """

    name: str
    parameters: DampingParameters
    doi: str
    aliases: tuple[str, ...]
    s9: float
    note: str
    three_body: bool


def _key(name: str) -> str:
    """The name without case, punctuation and typography: ``r²SCAN-3c`` becomes ``r2scan3c``."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    return "".join(plain.split()).translate(_IGNORED).translate(_SPELLED)


def _rows() -> Iterator[dict[str, str]]:
    """Rows of ``functionals.csv``."""
    path = Path(__file__).parent / "data" / "functionals.csv"
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
            row["three_body"] == "defined",
        )
        for row in _rows()
        if row["damping"] == "bj"
    )


@cache
def _names() -> dict[str, Functional]:
    """Functionals by the key of each of their names."""
    return {_key(name): f for f in _table() for name in (f.name, *f.aliases)}


@cache
def _index() -> dict[str, Functional]:
    """Functionals by every key that is read: a name, or one with D3 or D3BJ behind it.

    A name of its own goes first: omega-B97X-D3 is no omega-B97X with this dispersion.
    """
    suffixed = {key + suffix: f for suffix in _SUFFIXES for key, f in _names().items()}
    return {key: f for key, f in {**suffixed, **_names()}.items() if key not in _others()}


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


def spelled_functionals() -> dict[str, Functional]:
    """Functionals by every name, spelled without case and ``- _ / . ( )``: for other languages."""
    return dict(_index())


def nearest(xc: str) -> str:
    """The end of a sentence on an unknown name: `` (nearest: pbe, rpbe)``, or nothing."""
    keys = difflib.get_close_matches(_key(xc), _names(), n=3, cutoff=0.5)
    names = dict.fromkeys(_names()[key].name for key in keys)
    return f" (nearest: {', '.join(names)})" if names else ""


def find_functional(xc: str) -> Functional:
    """The functional of a name.

    Args:
        xc: a name or alias; case, spaces and the characters ``- _ / . ( )`` do not matter, and
            ``-D3``, ``-D3BJ`` or ``-D3(BJ)`` may follow.

    Raises:
        TypeError: if the name is not a string.
        ValueError: if the functional is unknown, or known to D3 with other damping only.
    """
    if not isinstance(xc, str):
        raise TypeError(f"expected the name of a functional as a string, got {xc!r}")
    key = _key(xc)
    if key in _index():
        return _index()[key]
    for other in (key, key.removesuffix("bj"), key.removesuffix("bj").removesuffix("d3")):
        if other in _others():
            raise ValueError(
                f"expected a functional with Becke-Johnson parameters, got {xc!r}, "
                f"for which D3 has {_others()[other]} only"
            )
    for suffix, words in _OTHER_DAMPING.items():
        if key.endswith(suffix) and key.removesuffix(suffix) in {**_index(), **_others()}:
            raise ValueError(
                f"expected a functional with Becke-Johnson damping, got {xc!r}: "
                f"{words} is not included"
            )
    raise ValueError(f"expected a known functional, got {xc!r}{nearest(xc)}")


def damping_parameters(xc: str) -> DampingParameters:
    """Parameters of D3(BJ) for a density functional, spelled as for :func:`find_functional`.

    Raises:
        TypeError, ValueError: as there.

    Source: ``functionals(xc)`` gives the DOI; the damping is that of Grimme, Ehrlich, Goerigk,
    J. Comput. Chem. 32, 1456 (2011).
    """
    return find_functional(xc).parameters


def resolve_damping(xc: object, damping: object) -> DampingParameters:
    """The damping parameters of a functional, or the explicit ones (a2 in bohr).

    Raises:
        TypeError: if both or neither are given, or a value is no number.
        ValueError: if the functional is not known.
    """
    if (xc is None) == (damping is None):
        raise TypeError(f"expected either xc or damping, got xc={xc!r} and damping={damping!r}")
    if damping is None:
        return damping_parameters(xc)  # type: ignore[arg-type]
    names = DampingParameters._fields
    values = damping._asdict() if isinstance(damping, DampingParameters) else damping
    if not isinstance(values, dict) or sorted(values) != sorted(names):
        raise TypeError(f"expected damping to give {', '.join(names)}, got {damping!r}")
    return DampingParameters(**{name: require_number(name, values[name]) for name in names})


def canonical_name(xc: str) -> str:
    """The one name of a functional that files carry: ``rev-PBE-D3(BJ)`` becomes ``revpbe``.

    Raises:
        TypeError, ValueError: as :func:`find_functional`.
    """
    return find_functional(xc).name


def warn_of_three_body(xc: str) -> None:
    """Say that the three-body term is left out, for a method that is defined with it.

    Raises:
        TypeError, ValueError: as :func:`find_functional`.
    """
    found = find_functional(xc)
    if found.three_body:
        warnings.warn(
            f"{found.name} is defined with the three-body term of D3 ({found.doi}), "
            "which is left out here: add it elsewhere",
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

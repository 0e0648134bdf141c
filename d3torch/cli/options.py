"""Options that say which D3, the same for every command."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from ..reference import REFERENCES
from ..settings import AUTO, FUNCTIONAL, KEYWORDS, PRESETS, THREE_BODY, Settings
from ..variants import VARIANTS
from .console import complain


def add_settings(parser: Any, *, structures: bool = False) -> None:
    """Add the options that :func:`settings_asked` reads.

    Args:
        parser: of argparse.
        structures: whether the command evaluates structures: then there may be a tail, and a
            cutoff for each of them.
    """
    add = parser.add_argument
    add("--xc", metavar="NAME", help=f"functional (default: {FUNCTIONAL})")
    kind, auto = (length_or_auto, ", or 'auto'") if structures else (float, "")
    add("--variant", choices=tuple(VARIANTS), help="damping (default: bj, Becke-Johnson)")
    add("--cutoff", type=kind, metavar="A", help=f"of pairs{auto}; default: of the preset")
    add("--cn-cutoff", type=float, metavar="A", help="of CN; default: of the preset")
    add("--width", type=float, metavar="A", help="of smooth cutoff; default: of preset, or tail: 2")
    add("--reference", choices=REFERENCES, help="tables; default: of the preset")
    add("--s9", type=float, metavar="WEIGHT", help="of the three-body term; default: 0, without")
    add("--atm-cutoff", type=float, metavar="A", help="of that term; default: 40 bohr")
    add("--atm-width", type=float, metavar="A", help="of its smooth cutoff; default: 0")
    add("--exclude", type=symbols, metavar="EL,...", help="without dispersion, still in CN")
    add("--preset", choices=PRESETS, help="cutoffs, width, tail, tables (default: s-dftd3)")
    add("--settings-of", metavar="FILE", help="take settings of a trusted file of d3torch")
    if structures:
        add("--tail", action="store_true", default=None, help="add what is beyond the cutoff")
        add("--tolerance", type=float, metavar="EV", help="per atom, of --cutoff auto")


def settings_asked(args: argparse.Namespace, of: Settings | None = None) -> Settings:
    """Settings of the options of a command.

    Args:
        args: what the parser found.
        of: settings of the file that ``--settings-of`` names.

    Raises:
        TypeError, ValueError: for a wrong value; for an option that says another D3 than the
            file.
    """
    given = asked(args)
    found = Settings(**given) if of is None else of.replace(**given)
    _refuse_idle(given, found)
    differing = None if of is None else difference(of, found, tuple(given))
    if differing is not None:
        name, value, other = differing
        raise ValueError(f"expected {name} {value}, as in {args.settings_of}, got {other}")
    return of or found


def tell_default(args: argparse.Namespace, settings: Settings) -> None:
    """Say in a line on stderr which D3 it is, where the command named no functional."""
    if args.xc is not None or args.settings_of is not None:
        return
    cutoff = settings.cutoff if settings.cutoff == AUTO else f"{settings.cutoff:.4g} A"
    within = f"three-body term within {settings.atm_cutoff:.4g} A"
    complain(
        f"{settings.label} of {settings.xc}, since no --xc was given: cutoff {cutoff}, "
        f"CN {settings.cn_cutoff:.4g} A{', tail' if settings.tail else ''}, "
        f"{within if settings.s9 else 'no three-body term'}, tables of {settings.reference}"
    )


def _refuse_idle(given: dict[str, Any], found: Settings) -> None:
    """Refuse options that settings keep nothing of.

    Raises:
        ValueError: naming the option that gives one a meaning.
    """
    idle = {} if found.s9 else dict.fromkeys(THREE_BODY[1:], "--s9 other than 0")
    if found.cutoff != AUTO:
        idle["tolerance"] = "--cutoff auto"
    for name in given:
        if name in idle:
            option = "--" + name.replace("_", "-")
            raise ValueError(f"expected {idle[name]} with {option}, got {option} without it")


def difference(
    one: Settings, other: Settings, first: Sequence[str] = ()
) -> tuple[str, Any, Any] | None:
    """The first name under which files keep something else of both, and the values of each.

    A file does not keep everything: what one of them leaves out is compared as well, and `first`,
    if any, are looked at before all others.
    """
    kept = {**one.as_dict(), **other.as_dict()}
    names = (*(name for name in first if name in kept), "variant", *kept)
    for name in names:
        value, there = (x.as_dict().get(name, getattr(x, name, None)) for x in (one, other))
        if value != there:
            return name, _shown(value), _shown(there)
    return None


def _shown(value: object) -> object:
    """A setting in a sentence; a list of elements as one word."""
    return (",".join(value) or "none") if isinstance(value, list | tuple) else value


def symbols(text: str) -> tuple[str, ...]:
    """Symbols of elements, between commas.

    Raises:
        argparse.ArgumentTypeError: for none.
    """
    found = tuple(text.replace(",", " ").split())
    if not found:
        raise argparse.ArgumentTypeError(f"expected elements such as Na,Cl, got {text!r}")
    return found


def atom_indices(text: str) -> list[int]:
    """Indices of atoms, from 0 on, between commas; 3:6 is 3, 4, 5.

    Raises:
        argparse.ArgumentTypeError: for something else, and for no atoms, such as 6:3.
    """
    expected = f"expected atoms such as 0,3:6, counted from 0, got {text!r}"
    found: list[int] = []
    for part in text.replace(",", " ").split():
        ends = part.split(":")
        if len(ends) > 2 or not all(end.isdecimal() for end in ends):
            raise argparse.ArgumentTypeError(expected)
        first, last = int(ends[0]), int(ends[-1])
        if len(ends) == 2 and first >= last:
            raise argparse.ArgumentTypeError(expected)
        found += [first] if len(ends) == 1 else range(first, last)
    if not found:
        raise argparse.ArgumentTypeError(expected)
    return found


def length_or_auto(text: str) -> float | str:
    """A length, or the word auto.

    Raises:
        argparse.ArgumentTypeError: for another word.
    """
    try:
        return text if text == AUTO else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a length or auto, got {text!r}") from None


def asked(args: argparse.Namespace) -> dict[str, Any]:
    """Those options of settings that were given, by keyword."""
    found = {name: getattr(args, name, None) for name in KEYWORDS}
    return {name: value for name, value in found.items() if value is not None}

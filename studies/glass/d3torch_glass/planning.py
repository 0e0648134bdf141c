"""From the options of ``d3torch glass run`` to its jobs."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import itertools
import re
from collections.abc import Sequence
from typing import Any

from .facts import composition, compositions
from .jobs import Job
from .protocol import PRESETS, Protocol
from .static import STATIC_PRESETS, StaticJob, StaticProtocol


def _numbers(text: str) -> tuple[float, ...]:
    """Numbers between commas; none for 'none'."""
    try:
        return () if text == "none" else tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers with commas, got {text!r}") from None


def add_protocol(add: argparse.ArgumentParser, static: bool = True) -> None:
    """One option for each setting of the protocol."""
    group = add.add_argument_group("protocol, of --preset where nothing is given")
    group.add_argument("--preset", choices=PRESETS, default="paper", help="(default: paper)")
    shared = {field.name for field in dataclasses.fields(Protocol)}
    _add_settings(group, Protocol, dataclasses.fields(Protocol))
    if static:
        beside = add.add_argument_group("protocol of --route static, beside pressures, initial-*")
        own = [field for field in dataclasses.fields(StaticProtocol) if field.name not in shared]
        _add_settings(beside, StaticProtocol, own)


def _described(kind: type) -> dict[str, str]:
    """What the docstring of a dataclass says of each attribute."""
    told = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")[2]
    entries = re.findall(r"^    (\w+): (.*(?:\n     +.*)*)", told, re.M)
    return {name: " ".join(text.replace("``", "").split()).rstrip(".") for name, text in entries}


def _add_settings(group: Any, kind: type, fields: Sequence[dataclasses.Field[Any]]) -> None:
    described = _described(kind)
    for field in fields:
        value: Any = field.default
        many = isinstance(value, tuple)
        group.add_argument(
            "--" + field.name.replace("_", "-"),
            type=_numbers if many else type(value),
            metavar="X,X" if many else "X",
            help=f"{described[field.name]} (paper: {','.join(map(str, value)) if many else value})",
        )


def check_glasses(atoms: int, seeds: list[int]) -> None:
    """Check what glasses are made of.

    Raises:
        ValueError: for atoms that are no whole oxide units, or too few, and for seeds below 1.
    """
    if atoms < 96 or atoms % 3:
        raise ValueError(f"expected a multiple of 3 atoms, 96 or more, got {atoms}")
    if min(seeds) < 1:
        raise ValueError(f"expected seeds from 1, got {min(seeds)}")


def planned_jobs(args: argparse.Namespace) -> list[Any]:
    """All jobs that the arguments ask for.

    Raises:
        ValueError: for unknown compositions, sizes, seeds, or a protocol that cannot be run.
    """
    check_glasses(args.atoms, args.seed)
    everything = [c.name for c in compositions()]
    names = everything if args.composition == ["all"] else args.composition
    names = [composition(name).name for name in names]
    given = itertools.product(names, args.d3, args.seed)
    if getattr(args, "route", "dynamics") == "static":
        if args.chains:
            raise ValueError("expected --chains with --route dynamics, got it with static")
        p = StaticProtocol(**_protocol(args, StaticProtocol, Protocol, STATIC_PRESETS))
        return [
            StaticJob(name, seed, args.model, d3, args.atoms // 3, p, start)
            for (name, d3, seed), start in itertools.product(given, dict.fromkeys(args.start))
        ]
    if getattr(args, "start", [0.0]) != [0.0]:
        raise ValueError("expected --start with --route static, got it with dynamics")
    dynamics = Protocol(**_protocol(args, Protocol, StaticProtocol, PRESETS))
    return [Job(name, seed, args.model, d3, args.atoms // 3, dynamics) for name, d3, seed in given]


def _protocol(args: argparse.Namespace, own: Any, other: Any, presets: Any) -> dict[str, Any]:
    """Settings of a protocol: of the preset, and those given as options.

    Raises:
        ValueError: for an option that is of the other route.
    """
    names, others = ({f.name for f in dataclasses.fields(kind)} for kind in (own, other))
    told = {n: getattr(args, n) for n in names | others if getattr(args, n, None) is not None}
    strange = sorted(told.keys() - names)
    if strange:
        options = ", ".join("--" + name.replace("_", "-") for name in strange)
        raise ValueError(f"expected options of --route {args.route}, got {options} of the other")
    found: dict[str, Any] = presets[args.preset] | told
    return found

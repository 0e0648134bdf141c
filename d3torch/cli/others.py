"""Commands that other distributions add: the entry points of the group ``d3torch.commands``.

An entry point is named as its command and points to a function that gets the subparsers of
``d3torch``. It is imported only where its command is called.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

GROUP = "d3torch.commands"
HOUSES = {"glass": ("d3torch-glass", "studies/glass")}
"""Commands of this repository: the distribution that brings each, and its folder."""


def _missing(name: str) -> str:
    """The sentence on a command that is not installed."""
    distribution, folder = HOUSES[name]
    return (
        f"expected {distribution} to be installed for `d3torch {name}`: run "
        f"`pip install ./{folder}` in the checkout of d3torch"
    )


def _summary(entry: EntryPoint) -> str:
    """What its distribution says of itself."""
    return (entry.dist.metadata["Summary"] if entry.dist else None) or entry.value


def add_others(commands: Any, argv: Sequence[str], every: bool = False) -> None:
    """Add them all; the one that the arguments call, or every one, with its own arguments.

    Raises:
        ImportError: if the one that is called is known but not installed.
    """
    called = next((word for word in argv if not word.startswith("-")), None)
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    for name in sorted({*found, *HOUSES}):
        if name == called and name not in found:
            raise ImportError(_missing(name))
        if name == called or (every and name in found):
            found[name].load()(commands)
        else:
            help_text = _summary(found[name]) if name in found else f"needs {HOUSES[name][0]}"
            commands.add_parser(name, help=help_text.replace("%", "%%"))

"""``d3torch completion``: what a shell needs to complete the commands, by shtab."""

from __future__ import annotations

import argparse
from typing import Any

from ..extras import import_extra

SHELLS = ("bash", "zsh", "tcsh")
FILES = ("FILE", "MODEL", "IN.xyz", "OUT.xyz", "OUT.pt")
"""How arguments that are files are called in the help."""


def add_completion(commands: Any) -> None:
    """Arguments of ``d3torch completion``."""
    add = commands.add_parser(
        "completion", help="completion of these commands for a shell", allow_abbrev=False
    )
    add.set_defaults(run=run_completion)
    add.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))


def run_completion(args: argparse.Namespace) -> int:
    """``d3torch completion``; the exit code."""
    from . import build_parser

    shtab = import_extra("shtab", "completion")
    parser = build_parser([], every=True)
    _complete_files(parser, shtab.FILE)
    print(shtab.complete(parser, args.shell))
    return 0


def _complete_files(parser: argparse.ArgumentParser, how: Any) -> None:
    """Have arguments that are files completed as such, in the commands inside too."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in set(action.choices.values()):
                _complete_files(command, how)
        elif action.metavar in FILES:
            action.complete = how  # type: ignore[attr-defined]

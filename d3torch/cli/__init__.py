"""The commands of ``d3torch``: energies of files, training labels, the table of functionals.

Exit codes: 0 all is well, 1 an input failed (the others still ran), 2 wrong usage. Errors are one
line on stderr.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from .. import __version__, _library
from ..extras import import_extra
from ..info import add_info
from ..parameters import Functional, functionals, nearest
from ..settings import VERSION
from ..variants import BJ, VARIANTS
from .completion import add_completion
from .console import Parser, complain, one_line, progress, table, warnings_as_lines
from .doctor import add_doctor
from .frames import Output, frame_summary
from .labels import add_labels
from .lammps import add_lammps
from .models import add_models
from .options import add_settings, atom_indices, tell_default
from .others import add_others
from .reading import add_reading, check_reading, read_frames
from .records import chosen_settings

UNITS = {"energy": "eV", "length": "A", "force": "eV/A", "pressure": "GPa", "stress": "eV/A^3"}

COLUMNS = {
    "file": "file",
    "frame": "frame",
    "formula": "formula",
    "pbc": "pbc",
    "energy": "energy / eV",
    "energy_per_atom": "meV/atom",
    "max_force": "largest force / eV/A",
    "pressure": "pressure / GPa",
}


def _add_energy(commands: Any) -> None:
    """Arguments of ``d3torch energy``."""
    add = commands.add_parser(
        "energy", help="D3 energy, forces and pressure of structures", allow_abbrev=False
    )
    add.set_defaults(run=run_energy)
    add.add_argument(
        "files", nargs="+", metavar="FILE", help="whatever ASE reads; FILE@0:5 slices, - is stdin"
    )
    add_reading(add)
    add_settings(add, structures=True)
    add.add_argument(
        "--exclude-atoms",
        type=atom_indices,
        metavar="N,...",
        help="atoms without dispersion, still in CN; 0,3:6 is 0, 3, 4, 5, counted from 0",
    )
    add.add_argument("--dtype", choices=("float64", "float32"), default="float64")
    add.add_argument("--device", default="cpu", metavar="NAME", help="(default: cpu)")
    add.add_argument(
        "--by", metavar="GROUPS", help="energies between atoms, species, fragments or an array"
    )
    add.add_argument("--json", action="store_true", help="print one JSON document")
    add.add_argument("--output", metavar="FILE", help="write frames with results, .extxyz or .xyz")
    add.add_argument("--overwrite", action="store_true", help="replace an existing output file")


def _add_functionals(commands: Any) -> None:
    """Arguments of ``d3torch functionals``."""
    add = commands.add_parser(
        "functionals", help="damping parameters and their sources", allow_abbrev=False
    )
    add.set_defaults(run=run_functionals)
    add.add_argument("--variant", choices=tuple(VARIANTS), default=BJ, help="damping (default: bj)")
    add.add_argument("pattern", nargs="?", metavar="PATTERN", help="part of a name, or *pattern*")
    add.add_argument("--json", action="store_true", help="print one JSON document")


def build_parser(argv: Sequence[str], every: bool = False) -> argparse.ArgumentParser:
    """The command line; of other distributions the command that is called, or every one."""
    parser = Parser(prog="d3torch", description="D3 dispersion; lengths in A, energies in eV.")
    parser.add_argument("--version", action="version", version=f"d3torch {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_energy(commands)
    _add_functionals(commands)
    add_info(commands)
    add_labels(commands)
    add_models(commands)
    add_doctor(commands)
    add_lammps(commands)
    add_completion(commands)
    add_others(commands, argv, every)
    return parser


def _run_file(
    name: str,
    args: argparse.Namespace,
    calculator: Any,
    output: Output | None,
    fail: Callable[..., None],
) -> Iterator[dict[str, Any]]:
    """Summaries of the frames of one file; reports what fails and goes on."""

    def warn(words: str) -> None:
        complain(f"warning: {words}", name)

    begun = False
    try:
        frames = read_frames(name, args.format, args.elements, warn)
        for number, atoms, problem in progress(frames, name):
            begun = True
            if problem is not None:
                fail(ValueError(problem), name, f"frame {number}")
                if output is not None:
                    output.spoil()
                continue
            results = None
            try:
                results, summary = frame_summary(atoms, calculator, args.by)
                yield {"file": name, "frame": number, **summary}
            except (ValueError, TypeError, RuntimeError) as error:
                fail(error, name, f"frame {number}")
            if output is not None:
                output.write(atoms, results)
    except Exception as error:  # a reader of ASE may raise anything on a broken file
        fail(error, name)
        if output is not None and begun:  # a file that is not there at all costs none of the others
            output.spoil()


def run_energy(args: argparse.Namespace) -> int:
    """``d3torch energy``; the exit code."""
    for module in ("ase", "tqdm", "tabulate"):
        import_extra(module, "cli")
    try:
        check_reading(args)
        host, settings = import_extra("d3torch.integrations.ase", "cli"), chosen_settings(args)
        where = {"dtype": args.dtype, "device": args.device}
        calculator = host.D3Calculator(settings=settings, **where, exclude_atoms=args.exclude_atoms)
        output = Output(args.output, args.overwrite) if args.output else None
    except (TypeError, ValueError, OSError) as error:
        complain(error)
        return 2
    errors: list[dict[str, str]] = []

    def fail(error: Exception, *place: str) -> None:
        complain(error, *place)
        errors.append({"where": ": ".join(place), "message": one_line(error)})

    with output or contextlib.nullcontext():
        rows = [r for name in args.files for r in _run_file(name, args, calculator, output, fail)]
    if output is not None and output.spoilt and rows:
        words = "expected inputs that can be read whole for --output, got what is told above"
        fail(ValueError(f"{words}: nothing was written"), args.output)
    if args.json:
        document = {VERSION: __version__, "settings": settings.as_dict(), **where, "units": UNITS}
        document |= {} if args.exclude_atoms is None else {"exclude_atoms": args.exclude_atoms}
        print(json.dumps({**document, "frames": rows, "errors": errors}, indent=1))
    elif rows:
        tell_default(args, settings)
        print(_energy_table(rows))
        if args.by is not None:
            print("\n" + _pairwise_table(rows))
    return 1 if errors else 0


def _pairwise_table(rows: list[dict[str, Any]]) -> str:
    """One line for each two groups of each frame: all pairs between them, or within one."""
    pairwise_of = import_extra("d3torch.integrations.ase", "cli").Pairwise
    cells = []
    for row in rows:
        groups, energies = row["pairwise"].values()
        pairs = pairwise_of(tuple(groups), np.array(energies)).rows()
        cells += [[row["file"], row["frame"], *pair] for pair in pairs]
    headers = ["file", "frame", "between", "and", "energy / eV"]
    return table(cells, headers, ("", "d", "", "", ".8f"))


def _energy_table(rows: list[dict[str, Any]]) -> str:
    """One line for each frame."""

    def cell(row: dict[str, Any], key: str) -> Any:
        if key == "pbc":
            return " ".join("FT"[axis] for axis in row[key]) if any(row[key]) else "none"
        return row[key] * 1000.0 if key == "energy_per_atom" else row[key]

    cells = [[cell(row, key) for key in COLUMNS] for row in rows]
    digits = ("", "d", "", "", ".8f", ".4f", ".6f", ".5f")
    return table(cells, list(COLUMNS.values()), digits)


def _as_json(functional: Functional) -> dict[str, Any]:
    return {**functional._asdict(), "parameters": functional.parameters._asdict()}


def run_functionals(args: argparse.Namespace) -> int:
    """``d3torch functionals``; the exit code."""
    found = functionals(args.pattern, args.variant)
    if args.json:
        print(json.dumps([_as_json(f) for f in found], indent=1))
    elif found:
        rows = [[f.name, *f.parameters, f.doi, " ".join(f.aliases)] for f in found]
        units = {"a2": "a2 / bohr", "bet": "bet bohr"}
        numbers = [units.get(name, name) for name in VARIANTS[args.variant].kind._fields]
        headers = ["functional", *numbers, "doi", "aliases"]
        print(table(rows, headers, ("", *[".6g"] * len(numbers), "", "")))
    if not found:
        complain(_no_functional(args.pattern, args.variant))
    return 0 if found else 1


def _no_functional(pattern: str, variant: str) -> str:
    """What is wrong with a pattern that no functional of a variant fits."""
    others = [f"--variant {other}" for other in VARIANTS if functionals(pattern, other)]
    if others:
        words = VARIANTS[variant].words
        return f"expected a functional with {words}, got {pattern!r}, of {' and '.join(others)}"
    hint = nearest(pattern, variant)
    return f"expected part of the name of a functional, got {pattern!r}{hint}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments; those of the process by default.

    Returns:
        The exit code: 0, 1 (an input failed) or 2 (wrong usage, also of no arguments, which prints
        the help); 130 after an interrupt.
    """
    try:
        _library.load()  # not yet there if a script named d3torch calls this
        words = list(sys.argv[1:] if argv is None else argv)
        parser = build_parser(words)
        if not words:
            parser.print_help(sys.stderr)
            return 2
        args = parser.parse_args(words)
        args.words = words
        with warnings_as_lines():
            code: int = args.run(args)
        sys.stdout.flush()
    except SystemExit as stop:
        return int(stop.code or 0)
    except ImportError as error:
        complain(error)
        return 1
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # `d3torch functionals | head`
            complain(error)
        try:
            sys.stdout.flush()
        except OSError:  # so that it does not fail once more at the end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code

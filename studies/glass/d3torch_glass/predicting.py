"""The command ``d3torch glass predict``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tqdm import tqdm

from d3torch.cli.console import complain
from d3torch.cli.reading import read_frames
from d3torch.cli.records import IN_REPORTS
from d3torch.files import check_output
from d3torch.integrations.ase import D3Calculator
from d3torch.recognise import dispersion_in

from .dispersion import add_dispersion, chosen_calculator, settle_dispersion
from .files import write_json
from .potentials import MODELS, refuse_second_dispersion
from .prediction import predict
from .relaxing import Tolerance


def add_predict(commands: Any) -> None:
    text = "what D3 will do to a density, to first order"
    add = commands.add_parser("predict", help=text, allow_abbrev=False)
    add.set_defaults(run=run_predict, d3=["d3torch"])
    add.add_argument("structure", help="a file of ASE, periodic in three directions")
    add.add_argument("--model", required=True, metavar="MODEL", help=MODELS)
    add_dispersion(add)
    add.add_argument("--device", default="cpu", metavar="NAME", help="(default: cpu)")
    add.add_argument("--force", type=float, default=0.05, metavar="X", help="eV/A")
    add.add_argument("--pressure", type=float, default=0.02, metavar="X", help="GPa")
    add.add_argument("--output", type=Path, metavar="FILE", help="JSON")


def one_structure(name: str) -> Any:
    """The structure in a file.

    Raises:
        ValueError: for more or fewer than one, and for what cannot be read or be right.
    """
    try:
        frames = list(read_frames(name))
    except (ValueError, OSError) as error:
        raise ValueError(f"{name}: {error}") from None
    if len(frames) != 1:
        raise ValueError(f"expected one structure (FILE@3 chooses), got {len(frames)}")
    if frames[0].problem is not None:
        raise ValueError(f"{name}: {frames[0].problem}")
    return frames[0].atoms


def run_predict(args: argparse.Namespace) -> int:
    """``d3torch glass predict``; the exit code."""
    try:
        settle_dispersion(args)
        if args.output is not None:
            check_output(args.output, overwrite=True)
        atoms = one_structure(args.structure)
        potential = chosen_calculator(args.model, "none", args)
        refuse_second_dispersion(dispersion_in(potential), args.model, "d3torch")
        dispersion = D3Calculator(settings=args.settings, device=args.device)
        tolerance = Tolerance(args.force, args.pressure)
        silent = not sys.stderr.isatty()
        with (
            TemporaryDirectory() as folder,
            tqdm(desc="relaxing", unit=" steps", disable=silent) as bar,
        ):
            found = predict(atoms, potential, dispersion, Path(folder), tolerance, bar.update)
    except (TypeError, ValueError, RuntimeError, OSError) as error:
        complain(error)
        return 1
    print(f"density without D3      {found.density:8.4f} g/cm^3, at rest")
    print(f"pressure of D3 there    {found.pressure:8.4f} GPa")
    print(f"K of {args.model:18} {found.bulk:8.2f} GPa, up to that pressure")
    print(f"change of the volume    {found.change * 100:8.2f} %, pressure over K")
    print(f"density with D3, about  {found.expected:8.4f} g/cm^3")
    if args.output is not None:
        told = {
            "model": args.model,
            "structure": args.structure,
            IN_REPORTS: args.settings.as_dict(),
        }
        asked = {"force": args.force, "pressure_tolerance": args.pressure}
        write_json(args.output, {**found._asdict(), **told, **asked})
    return 0

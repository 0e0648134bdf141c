"""The command ``d3torch lammps``: the files that LAMMPS loads."""

from __future__ import annotations

import argparse
import warnings
from typing import Any

import torch

from ..extras import import_extra
from ..files import check_output
from ..integrations.lammps import D3MLIAP
from ..parameters import DispersionWarning
from .console import complain
from .models import add_dispersion, fused_model, read_model, write_model
from .options import asked, tell_default
from .records import chosen_settings


def add_lammps(commands: Any) -> None:
    """Arguments of the command."""
    add = commands.add_parser(
        "lammps", help="write D3, or MACE with it, for LAMMPS", allow_abbrev=False
    )
    add.set_defaults(run=run_lammps)
    add.add_argument("output", metavar="OUT.pt", help="file to write")
    add_dispersion(add)
    add.add_argument("--elements", nargs="+", metavar="X", help="of D3 alone: symbols")
    add.add_argument("--model", metavar="FILE", help="trusted file of a MACE model, fused or not")
    add.add_argument("--head", metavar="NAME", help="head of the model (default: the last)")
    add.add_argument(
        "--libtorch", action="store_true", help="TorchScript for MACE's own pair style, not ML-IAP"
    )
    add.add_argument(
        "--pbc",
        nargs=3,
        choices=("T", "F"),
        metavar=("X", "Y", "Z"),
        help="with --libtorch: T or F for each direction that is periodic (default: T T T); that "
        "pair style does not tell it",
    )


def dispersion_alone(args: argparse.Namespace) -> D3MLIAP:
    """D3 for ML-IAP.

    Raises:
        TypeError, ValueError: see :class:`d3torch.D3`.
    """
    dtype = getattr(torch, args.dtype or "float64")
    return D3MLIAP(args.elements, chosen_settings(args), dtype=dtype)


def fused_or_fuse(args: argparse.Namespace) -> Any:
    """The model of the file, with the D3 that it has, or that the arguments ask for.

    Raises:
        ValueError: if it has D3, and the arguments ask for one.
    """
    model = read_model(args.model)
    if not hasattr(model, "dispersion"):
        return fused_model(args, args.model, None)
    others = [name for name in ("settings_of", "dtype") if getattr(args, name)]
    given = [*asked(args), *others]
    if given:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ValueError(f"expected no {names} for a model that has D3 already, got it")
    return model


def made_for_lammps(args: argparse.Namespace) -> Any:
    """What the arguments ask for.

    Raises:
        ValueError: if neither elements nor a model is given, or both; for what D3 alone cannot be.
    """
    if (args.elements is None) == (args.model is None):
        raise ValueError("expected either --elements, for D3 alone, or --model, got both or none")
    if args.model is None:
        if args.libtorch or args.head or args.pbc:
            raise ValueError("expected --model beside --libtorch, --head or --pbc, got --elements")
        return dispersion_alone(args)
    if args.pbc and not args.libtorch:
        raise ValueError(
            "expected --libtorch beside --pbc, which ML-IAP needs not be told, got none"
        )
    fused = fused_or_fuse(args)
    if args.libtorch:
        route = import_extra("d3torch.integrations.lammps.libtorch", "mace")
        host = import_extra("d3torch.integrations.mace", "mace")
        periodic = [word == "T" for word in args.pbc or "TTT"]
        return host.torchscript(route.LAMMPSMACED3(fused, args.head, periodic))
    return import_extra("d3torch.integrations.lammps.mace", "mace").MACED3MLIAP(fused, args.head)


def run_lammps(args: argparse.Namespace) -> int:
    """``d3torch lammps``; the exit code."""
    try:
        check_output(args.output, args.overwrite)
        with warnings.catch_warnings():  # TorchScript is deprecated, and MACE uses it
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", DispersionWarning)
            made = made_for_lammps(args)
            if args.libtorch:
                write_model(made, args.output, args.overwrite)
            else:
                made.save(args.output)
    except (TypeError, ValueError, OSError) as error:
        complain(error)
        return 1
    if args.model is None:
        tell_default(args, made.settings)
    if not args.libtorch:
        elements = " ".join(args.elements or ["ELEMENTS OF THE ATOM TYPES"])
        print(f"pair_style mliap unified {args.output} 0\npair_coeff * * {elements}")
    return 0

"""Which D3 the jobs of a study get, from options or from a file, and what their manifests tell."""

from __future__ import annotations

import argparse
from typing import Any

import torch

from d3torch.cli.records import IN_REPORTS, read_record
from d3torch.settings import FUNCTIONAL, Settings
from d3torch.units import BOHR

from .jobs import GPU, read_manifest
from .potentials import OURS, calculator, settings_for, settings_in_file

STUDY_CUTOFF = 40.0 * BOHR  # that MACE gives torch-dftd, which the study probably used


def add_dispersion(add: argparse.ArgumentParser) -> None:
    """Options that say which D3."""
    add.add_argument("--xc", metavar="NAME", help=f"functional of D3 (default: {FUNCTIONAL})")
    add.add_argument("--d3-cutoff", type=float, metavar="A", help="(default: 40 bohr)")
    add.add_argument("--d3-preset", metavar="NAME", help="of d3torch, such as converged")
    add.add_argument("--settings-of", metavar="FILE", help="those of a trusted file of d3torch")


def settle_dispersion(args: argparse.Namespace) -> None:
    """Put which D3 into the arguments: ``xc``, ``d3_cutoff`` and, of d3torch, ``settings``.

    Raises:
        TypeError, ValueError, OSError: for what is no D3; for a file with another one than the
            arguments ask for, or one that not all backends of the study can compute.
    """
    if args.d3_preset is not None:
        _settle_preset(args)
        return
    xc = FUNCTIONAL if args.xc is None else args.xc
    cutoff: Any = STUDY_CUTOFF if args.d3_cutoff is None else args.d3_cutoff
    if args.settings_of is not None:
        found = Settings.from_dict(read_record(args.settings_of))
        xc, cutoff = args.xc or found.xc, args.d3_cutoff or found.cutoff
        if found != Settings(xc=xc, cutoff=cutoff, cn_cutoff=cutoff):
            raise ValueError(
                "expected a functional, one hard cutoff for pairs and CN and reference 2024, those "
                f"of the options if there are any, got {found.as_dict()} in {args.settings_of}"
            )
    args.xc, args.d3_cutoff, args.settings = xc, cutoff, None
    if {*OURS} & {*args.d3}:
        args.settings = Settings(xc=xc, cutoff=cutoff, cn_cutoff=cutoff)


def _settle_preset(args: argparse.Namespace) -> None:
    """Which D3 by the name of a preset of d3torch, which other backends cannot compute."""
    others = {*args.d3} - {"none", *OURS}
    if others or args.d3_cutoff is not None or args.settings_of is not None:
        got = ", ".join(sorted(others)) or "--d3-cutoff or --settings-of too"
        raise ValueError(f"expected --d3-preset alone and with {', '.join(OURS)}, got {got}")
    args.xc = args.xc or FUNCTIONAL
    args.settings = Settings(xc=args.xc, preset=args.d3_preset)
    args.d3_cutoff = args.settings.cutoff


def recorded(job: Any, args: argparse.Namespace) -> dict[str, Any]:
    """Settings for the manifest, but for a study that an older version began without them.

    Raises:
        ValueError: for a manifest of something else.
    """
    folder = args.folder / job.name
    begun = read_manifest(folder)["settings"] if (folder / "manifest.json").exists() else None
    ours = job.d3 in OURS
    told = settings_for(job.d3, args.settings) if ours else settings_in_file(job.model)
    older = begun is not None and IN_REPORTS not in begun
    own = {} if told is None or older else {IN_REPORTS: told.as_dict()}
    return {"xc": args.xc, "d3_cutoff": args.d3_cutoff, **own}


def recorded_device(device: str) -> dict[str, str]:
    """A device of torch for the manifest, and the name of the card if it is a GPU."""
    card = {GPU: torch.cuda.get_device_name(device)} if "cuda" in device else {}
    return {"device": device, **card}


def chosen_calculator(model: str, d3: str, args: argparse.Namespace) -> Any:
    """A potential with the dispersion that the arguments ask for."""
    return calculator(model, d3, args.xc, args.d3_cutoff, args.device, args.settings)

"""Which D3 the jobs of a study get, from options or from a file, and what their manifests tell."""

from __future__ import annotations

import argparse
import json
from typing import Any

from d3torch.cli.records import IN_REPORTS, read_record
from d3torch.settings import FUNCTIONAL, Settings
from d3torch.units import BOHR

from .potentials import settings_in_file

STUDY_CUTOFF = 40.0 * BOHR  # of torch-dftd, which the study probably used


def add_dispersion(add: argparse.ArgumentParser) -> None:
    """Options that say which D3."""
    add.add_argument("--xc", metavar="NAME", help=f"functional of D3 (default: {FUNCTIONAL})")
    add.add_argument("--d3-cutoff", type=float, metavar="A", help="(default: 40 bohr)")
    add.add_argument("--settings-of", metavar="FILE", help="those of a trusted file of d3torch")


def settle_dispersion(args: argparse.Namespace) -> None:
    """Put which D3 into the arguments: ``xc``, ``d3_cutoff`` and, of d3torch, ``settings``.

    Raises:
        TypeError, ValueError, OSError: for what is no D3; for a file with another one than the
            arguments ask for, or one that not all backends of the study can compute.
    """
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
    if "d3torch" in args.d3:
        args.settings = Settings(xc=xc, cutoff=cutoff, cn_cutoff=cutoff)


def recorded(job: Any, args: argparse.Namespace) -> dict[str, Any]:
    """Settings for the manifest, but for a study that an older version began without them."""
    path = args.folder / job.name / "manifest.json"
    begun = json.loads(path.read_text(encoding="utf-8"))["settings"] if path.exists() else None
    told = args.settings if job.d3 == "d3torch" else settings_in_file(job.model)
    older = begun is not None and IN_REPORTS not in begun
    own = {} if told is None or older else {IN_REPORTS: told.as_dict()}
    return {"xc": args.xc, "d3_cutoff": args.d3_cutoff, **own}

"""The commands ``fuse``, ``unfuse`` and ``inspect``: dispersion in files of MACE models.

Such a file is a pickle, which runs code when it is read: open only files that you trust.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import warnings
from typing import Any

import torch

from ..extras import import_extra
from ..files import check_output, written_aside
from ..integrations.lammps import Unified
from ..levels import double_counting, doubts, judge, known_levels
from ..module_settings import record_of
from ..parameters import DispersionWarning
from ..reference import SYMBOLS
from ..settings import VERSION, Settings
from .console import complain
from .options import add_settings, tell_default
from .records import chosen_settings, dispersion_of, read_object, read_text_record

HOST = "d3torch.integrations.mace"


def _host() -> Any:
    """The integration of MACE, imported without what MACE prints and warns of at that."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        return import_extra(HOST, "mace")


def read_model(path: str) -> Any:
    """The model of a trusted file, of torch.save or torch.jit.save, on the CPU.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it holds no model.
        ImportError: without mace.
    """
    _host()
    model = read_object(path)
    if not isinstance(model, torch.nn.Module):
        raise ValueError(f"expected a file of a MACE model, got a {type(model).__name__} in {path}")
    return model


def write_model(model: Any, path: str, overwrite: bool) -> None:
    """Write beside the place, then rename: a file of that name is whole or not there.

    Raises:
        FileExistsError: if there is one and it shall not be replaced.
        OSError: if it cannot be written there.
    """
    check_output(path, overwrite)
    save = torch.jit.save if isinstance(model, torch.jit.ScriptModule) else torch.save
    with written_aside(path) as partial, partial.open("wb") as file:
        save(model, file)


def describe(held: Any) -> dict[str, Any]:
    """What a file holds, and the D3 in it if any, as :meth:`d3torch.Settings.as_dict`.

    Raises:
        TypeError: for another object.
    """
    d3 = dispersion_of(held)
    if isinstance(held, Unified):
        about = held.about()
    elif hasattr(held, "atomic_numbers"):
        about = {**_about_mace(held), "dispersion": d3 is not None}
    elif d3 is held and d3 is not None:
        elements = " ".join(SYMBOLS[z] for z in d3.numbers.tolist())
        about = {"elements": elements, "dtype": str(d3.rcov.dtype).removeprefix("torch.")}
    else:
        raise TypeError(f"expected a MACE model, got {type(held).__name__}")
    if d3 is not None:
        about |= {**record_of(d3), "learnable": isinstance(d3.s6, torch.nn.Parameter)}
    return about


def _about_mace(model: Any) -> dict[str, Any]:
    """What a MACE model is, fused or not."""
    inner = getattr(model, "model", model)
    about = {
        "model": getattr(inner, "original_name", type(inner).__name__),
        "torchscript": isinstance(model, torch.jit.ScriptModule),
        "elements": " ".join(SYMBOLS[int(z)] for z in model.atomic_numbers),
        "r_max": float(model.r_max),
        "heads": " ".join(getattr(model, "heads", ["Default"])),
        "dtype": str(next(model.parameters()).dtype).removeprefix("torch."),
    }
    if hasattr(model, "d3_heads"):
        about["d3_heads"] = " ".join(model.d3_heads)
    return about


def add_dispersion(add: Any) -> None:
    """Arguments that say which D3 a file gets."""
    add_settings(add)
    add.add_argument("--dtype", choices=("float64", "float32"), help="default: that of the model")
    add.add_argument("--overwrite", action="store_true", help="replace an existing file")
    add.add_argument(
        "--allow-double-counting",
        action="store_true",
        help="add D3 to a model whose training data have dispersion (default: refuse)",
    )


def add_models(commands: Any) -> None:
    """Arguments of the three commands."""
    add = commands.add_parser("fuse", help="put D3 into a MACE model", allow_abbrev=False)
    add.set_defaults(run=run_fuse)
    add.add_argument("file", metavar="FILE", help="trusted file of a MACE model")
    add.add_argument("-o", "--output", required=True, metavar="FILE", help="file to write")
    add_dispersion(add)
    add.add_argument("--heads", metavar="NAMES", help="heads that get D3, as a,b (default: all)")
    add.add_argument("--torchscript", action="store_true", help="write for torch.jit.load")
    take = commands.add_parser(
        "unfuse", help="write the MACE model that a fused one has inside", allow_abbrev=False
    )
    take.set_defaults(run=run_unfuse)
    take.add_argument("file", metavar="FILE", help="trusted file of d3torch fuse")
    take.add_argument("-o", "--output", required=True, metavar="FILE", help="file to write")
    take.add_argument("--overwrite", action="store_true", help="replace an existing file")
    show = commands.add_parser(
        "inspect", help="what a file of d3torch contains", allow_abbrev=False
    )
    show.set_defaults(run=run_inspect)
    show.add_argument("file", metavar="FILE", help="trusted file that d3torch wrote")
    show.add_argument("--json", action="store_true", help="print one JSON document")


def fused_model(args: argparse.Namespace, file: str, heads: list[str] | None) -> Any:
    """The model of a file with D3 in it, and warnings where its training speaks against that.

    Raises:
        ValueError: if its training data have dispersion, and that is not allowed.
    """
    host = _host()
    model = host.check_model(read_model(file))
    if args.dtype:
        model = model.to(getattr(torch, args.dtype))
    fused = host.MACED3(model, chosen_settings(args), d3_heads=heads)
    known, allowed = known_levels("mace", file, "", fused.d3_heads), args.allow_double_counting
    override = "--allow-double-counting adds it all the same"
    judge(double_counting(known), doubts(known, fused.settings), allowed, override=override)
    tell_default(args, fused.settings)
    return fused


def run_fuse(args: argparse.Namespace) -> int:
    """``d3torch fuse``; the exit code."""
    host = _host()
    try:
        check_output(args.output, args.overwrite)
        fused = fused_model(args, args.file, args.heads and args.heads.split(","))
        with warnings.catch_warnings():  # TorchScript is deprecated, and asked for
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", DispersionWarning)
            made = host.torchscript(fused) if args.torchscript else fused
            write_model(made, args.output, args.overwrite)
    except (TypeError, ValueError, OSError) as error:
        complain(error)
        return 1
    return 0


def run_unfuse(args: argparse.Namespace) -> int:
    """``d3torch unfuse``; the exit code."""
    host = _host()
    try:
        check_output(args.output, args.overwrite)
        fused = read_model(args.file)
        if isinstance(fused, torch.jit.ScriptModule):
            raise TypeError(
                f"expected a file that d3torch fuse wrote without --torchscript, got {args.file}"
            )
        if not isinstance(fused, host.MACED3):
            raise TypeError(f"expected a file of d3torch fuse, got a {type(fused).__name__}")
        write_model(fused.model, args.output, args.overwrite)
    except (TypeError, ValueError, OSError) as error:
        complain(error)
        return 1
    return 0


def mace_or_nothing() -> None:
    """Import MACE for files of its models, if it is here: other files do not need it."""
    with contextlib.suppress(ImportError):
        _host()


def inspected(path: str) -> dict[str, Any]:
    """What a file of d3torch contains, whatever its kind.

    Raises:
        TypeError, ValueError, OSError: if there is none, or it is no file of d3torch.
    """
    record = read_text_record(path)
    if record is not None:
        return {VERSION: "unknown", **record, **Settings.from_dict(record).as_dict()}
    mace_or_nothing()
    return describe(read_object(path))


def run_inspect(args: argparse.Namespace) -> int:
    """``d3torch inspect``; the exit code."""
    try:
        about = inspected(args.file)
    except (TypeError, ValueError, OSError) as error:
        complain(error)
        return 1
    if args.json:
        print(json.dumps(about, indent=1))
    else:
        print("\n".join(f"{name:14}{value}" for name, value in about.items()))
    return 0

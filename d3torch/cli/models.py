"""The commands ``d3torch fuse`` and ``d3torch inspect``: dispersion in files of MACE models.

Such a file is a pickle, which runs code when it is read: open only files that you trust.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import os
import pickle
import warnings
import zipfile
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..extras import import_extra
from ..integrations.lammps import Unified
from ..model import PRESETS
from ..parameters import DispersionWarning, damping_parameters
from ..reference import REFERENCES, SYMBOLS
from ..units import BOHR
from .console import complain

HOST = "d3torch.integrations.mace"
BROKEN = (pickle.UnpicklingError, RuntimeError, EOFError, AttributeError, ImportError)


class Training(NamedTuple):
    """What a published model or head was trained on.

    Attributes:
        name: head, or part of the name of a file.
        functional: that to ask D3 for; empty where there is none.
        dispersion: the part of it that the data contain already, or ``"no"``.
        source: DOI or arXiv number.
    """

    name: str
    functional: str
    dispersion: str
    source: str


def _key(name: str) -> str:
    return "".join(c for c in name.casefold() if c.isalnum())


def known_training(file: str, heads: list[str]) -> list[Training]:
    """Rows of ``heads.csv`` for the name of a file and for heads, however spelled."""
    path = resources.files("d3torch") / "data" / "heads.csv"
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    keys = {_key(head) for head in heads}
    return [
        Training(*(row[field] for field in Training._fields))
        for row in rows
        if (row["kind"] == "file" and _key(row["name"]) in _key(file))
        or (row["kind"] == "head" and _key(row["name"]) in keys)
    ]


def doubts(known: list[Training], xc: str) -> list[str]:
    """Reasons against adding D3 for a functional to a model trained so, a sentence each."""
    found = []
    for t in known:
        if t.dispersion != "no":
            found.append(
                f"the training data of {t.name} contain dispersion already ({t.dispersion}, "
                f"{t.source}): adding D3 counts it twice"
            )
        elif damping_parameters(t.functional) != damping_parameters(xc):
            found.append(
                f"expected xc {t.functional}, on which {t.name} was trained ({t.source}), got {xc}"
            )
    return found


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


def read_object(path: str) -> Any:
    """What a trusted file of torch.save or torch.jit.save holds, on the CPU.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it cannot be read.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"expected a model file, got {path}, which does not exist")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if _is_torchscript(path):
                return torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
            return torch.load(path, map_location="cpu", weights_only=False)
    except BROKEN as error:
        raise ValueError(f"expected a file of a MACE model, got {path}: {error}") from None


def _is_torchscript(path: str) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(Path(name).name == "constants.pkl" for name in archive.namelist())


def write_model(model: Any, path: str, overwrite: bool) -> None:
    """Write beside the place, then rename: a file of that name is whole or not there.

    Raises:
        FileExistsError: if there is one and it shall not be replaced.
        FileNotFoundError: if there is no such folder.
    """
    check_output(path, overwrite)
    partial = Path(path).with_name(f".{Path(path).name}.{os.getpid()}.partial")
    save = torch.jit.save if isinstance(model, torch.jit.ScriptModule) else torch.save
    try:
        save(model, str(partial))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def check_output(path: str, overwrite: bool) -> None:
    if Path(path).exists() and not overwrite:
        raise FileExistsError(f"expected no file at {path}, got one: --overwrite replaces it")
    if not Path(path).parent.is_dir():
        raise FileNotFoundError(f"expected a folder to write to, got {Path(path).parent}")


def describe(model: Any) -> dict[str, Any]:
    """What a model is, and the D3 in it if any; lengths in A, a2 in bohr.

    Raises:
        TypeError: for another object.
    """
    if isinstance(model, Unified):
        return model.settings()
    if not hasattr(model, "atomic_numbers"):
        raise TypeError(f"expected a MACE model, got {type(model).__name__}")
    inner = getattr(model, "model", model)
    about = {
        "model": getattr(inner, "original_name", type(inner).__name__),
        "torchscript": isinstance(model, torch.jit.ScriptModule),
        "elements": " ".join(SYMBOLS[int(z)] for z in model.atomic_numbers),
        "r_max": float(model.r_max),
        "heads": " ".join(getattr(model, "heads", ["Default"])),
        "dtype": str(next(model.parameters()).dtype).removeprefix("torch."),
        "dispersion": hasattr(model, "dispersion"),
    }
    if about["dispersion"]:
        d3 = model.dispersion.d3
        s6, s8, a1, a2 = (float(value) for value in (d3.s6, d3.s8, d3.a1, d3.a2))
        about |= json.loads(model.settings)
        about |= {"s6": s6, "s8": s8, "a1": a1, "a2": a2 / BOHR}
        about |= {name: getattr(d3, name) for name in ("cutoff", "cn_cutoff", "width")}
        about["learnable"] = isinstance(d3.s6, torch.nn.Parameter)
    return about


def add_dispersion(add: Any) -> None:
    """Arguments that say which D3 a file gets."""
    add.add_argument("--xc", metavar="NAME", help="functional (default: pbe)")
    add.add_argument("--cutoff", type=float, metavar="A", help="default: that of the preset")
    add.add_argument("--cn-cutoff", type=float, metavar="A", help="default: that of the preset")
    add.add_argument("--width", type=float, metavar="A", help="smooth cutoff (default: 0, hard)")
    add.add_argument("--reference", choices=REFERENCES, help="(default: 2024)")
    add.add_argument("--preset", choices=PRESETS, help="(default: s-dftd3)")
    add.add_argument("--dtype", choices=("float64", "float32"), help="default: that of the model")
    add.add_argument("--overwrite", action="store_true", help="replace an existing file")


DISPERSION = ("xc", "cutoff", "cn_cutoff", "width", "reference", "preset")


def dispersion_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Those arguments that were given, for a model."""
    given = {name: getattr(args, name) for name in DISPERSION}
    return {name: value for name, value in given.items() if value is not None}


def add_models(commands: Any) -> None:
    """Arguments of both commands."""
    add = commands.add_parser("fuse", help="put D3(BJ) into a MACE model", allow_abbrev=False)
    add.set_defaults(run=run_fuse)
    add.add_argument("file", metavar="FILE", help="trusted file of a MACE model")
    add.add_argument("-o", "--output", required=True, metavar="FILE", help="file to write")
    add_dispersion(add)
    add.add_argument("--heads", metavar="NAMES", help="heads that get D3, as a,b (default: all)")
    add.add_argument("--torchscript", action="store_true", help="write for torch.jit.load")
    show = commands.add_parser("inspect", help="what a model file contains", allow_abbrev=False)
    show.set_defaults(run=run_inspect)
    show.add_argument("file", metavar="FILE", help="trusted file of a model, fused or not")
    show.add_argument("--json", action="store_true", help="print one JSON document")


def fused_model(args: argparse.Namespace, file: str, heads: list[str] | None) -> Any:
    """The model of a file with D3 in it, and warnings where its training speaks against that."""
    host = _host()
    model = host.check_model(read_model(file))
    if args.dtype:
        model = model.to(getattr(torch, args.dtype))
    fused = host.MACED3(model, **dispersion_settings(args), d3_heads=heads)
    known = known_training(Path(file).name, heads or fused.heads)
    for doubt in doubts(known, args.xc or "pbe"):
        complain(f"warning: {doubt}")
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


def run_inspect(args: argparse.Namespace) -> int:
    """``d3torch inspect``; the exit code."""
    try:
        with contextlib.suppress(ImportError):  # a file of D3 alone does not need MACE
            _host()
        about = describe(read_object(args.file))
    except (TypeError, ValueError, OSError) as error:
        complain(error)
        return 1
    if args.json:
        print(json.dumps(about, indent=1))
    else:
        print("\n".join(f"{name:14}{value}" for name, value in about.items()))
    return 0

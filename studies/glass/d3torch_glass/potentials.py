"""Potentials that a user names on the command line, with and without dispersion."""

from __future__ import annotations

import importlib
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from ase.calculators.mixing import SumCalculator

from d3torch.cli.records import read_record
from d3torch.extras import import_extra
from d3torch.integrations.ase import D3Calculator
from d3torch.settings import Settings

from .potential import PMMCS, d3_style

DISPERSION = re.compile(r"D[34](?![a-z])|[Dd]ispersion")
"""In the name of a class: D3Calculator, D3BJ, TorchDFTD3Calculator, DFTD4, DispersionTerm."""


def _parts(thing: Any, seen: set[int]) -> Iterator[Any]:
    """A calculator or module and all that it holds: calculators of sums, models, submodules."""
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, torch.nn.Module):
        yield from thing.modules()
        return
    yield thing
    for value in vars(thing).values() if hasattr(thing, "__dict__") else ():
        several = value.values() if isinstance(value, dict) else value
        for held in several if isinstance(value, list | tuple | dict) else [value]:
            kinds = (held, "calculate"), (held, "calcs")  # a calculator, the mixer of a sum
            if isinstance(held, torch.nn.Module) or any(hasattr(*kind) for kind in kinds):
                yield from _parts(held, seen)


def dispersion_in(calculator: Any) -> str | None:
    """The class that adds dispersion inside a calculator, a sum or a model; None without one.

    Told by the names of classes, also in TorchScript: a correction of another package counts too.
    """
    for part in _parts(calculator, set()):
        name = str(getattr(part, "original_name", type(part).__name__))
        if DISPERSION.search(name):
            return name
    return None


def dispersion_in_file(path: str) -> str | None:
    """The class of d3torch in a file of ``torch.save``, which is not run; None without one.

    Raises:
        ValueError: for another file.
    """
    try:
        names: list[str] = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"expected a file of torch.save, got {path}: {error}") from None
    return next((name for name in names if name.startswith("d3torch.")), None)


def settings_in_file(model: str) -> Settings | None:
    """Settings of the D3 in a file of ``torch.save``; None without one, and for no such file.

    Raises:
        ValueError: for a file that has it and cannot be read here.
    """
    if not zipfile.is_zipfile(model) or dispersion_in_file(model) is None:
        return None
    return Settings.from_dict(read_record(model))


def refuse_second_dispersion(inside: str | None, model: str, d3: str) -> None:
    """Refuse dispersion on top of what has it already, and name what is inside.

    Raises:
        ValueError: if both have it.
    """
    if inside is not None and d3 != "none":
        raise ValueError(
            f"expected --d3 none for {model}, which has dispersion in it ({inside}), got {d3}: "
            "it would count twice"
        )


def base_calculator(model: str, device: str = "cpu") -> Any:
    """The calculator that a user names.

    Args:
        model: ``"pmmcs"``, ``module:function`` (called without arguments), or a file of MACE.
        device: of a MACE model.

    Raises:
        ValueError: for anything else.
    """
    if model == "pmmcs":
        return PMMCS()
    if Path(model).is_file():
        mace = import_extra("mace.calculators", "mace")
        return mace.MACECalculator(model_paths=[model], device=device, default_dtype="float64")
    module, _, function = model.partition(":")
    if not function:
        raise ValueError(f"expected pmmcs, module:function or a file as model, got {model!r}")
    sys.path.insert(0, "")
    try:
        return getattr(importlib.import_module(module), function)()
    except (ModuleNotFoundError, AttributeError) as error:
        raise ValueError(f"expected a function at {model}, got none: {error}") from None


def calculator(model: str, d3: str, xc: str, cutoff: float, device: str = "cpu") -> Any:
    """A potential with dispersion on top.

    Args:
        model: as of :func:`base_calculator`.
        d3: ``"none"``, ``"d3torch"``, ``"torch-dftd"``, or ``"lammps"`` (with pmmcs only).
        xc: functional.
        cutoff: of energy and coordination number, A.
        device: for the model and for d3torch.

    Raises:
        ValueError: lammps with another model, dispersion on top of what has it already, and as
            :func:`base_calculator`.
    """
    if d3 == "lammps":
        if model != "pmmcs":
            raise ValueError(f"expected model pmmcs for --d3 lammps, got {model!r}")
        return PMMCS(d3=d3_style("dispersion/d3", xc, cutoff, cutoff))
    base = base_calculator(model, device)
    refuse_second_dispersion(dispersion_in(base), model, d3)
    if d3 == "none":
        return base
    if d3 == "d3torch":
        extra = D3Calculator(xc, cutoff=cutoff, cn_cutoff=cutoff, device=device)
    else:
        dftd = import_extra("torch_dftd.torch_dftd3_calculator", "benchmark")
        given = {"damping": "bj", "xc": xc, "cutoff": cutoff, "cnthr": cutoff}
        extra = dftd.TorchDFTD3Calculator(device=device, **given)
    return SumCalculator([base, extra])

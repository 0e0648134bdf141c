"""Potentials that a user names on the command line, with and without dispersion."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from .extras import import_extra


def base_calculator(model: str, device: str = "cpu") -> Any:
    """The calculator that a user names.

    Args:
        model: ``"pmmcs"``, ``module:function`` (called without arguments), or a file of MACE.
        device: of a MACE model.

    Raises:
        ValueError: for anything else.
    """
    if model == "pmmcs":
        return import_extra("d3torch.glass.potential", "glass").PMMCS()
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
        ValueError: lammps with another model, and as :func:`base_calculator`.
    """
    if d3 == "lammps":
        if model != "pmmcs":
            raise ValueError(f"expected model pmmcs for --d3 lammps, got {model!r}")
        return import_extra("d3torch.glass.potential", "glass").PMMCS(d3=(cutoff, cutoff), xc=xc)
    base = base_calculator(model, device)
    if d3 == "none":
        return base
    mixing = import_extra("ase.calculators.mixing", "ase")
    if d3 == "d3torch":
        host = import_extra("d3torch.integrations.ase", "ase")
        extra = host.D3Calculator(xc, cutoff=cutoff, cn_cutoff=cutoff, device=device)
    else:
        dftd = import_extra("torch_dftd.torch_dftd3_calculator", "benchmark")
        given = {"damping": "bj", "xc": xc, "cutoff": cutoff, "cnthr": cutoff}
        extra = dftd.TorchDFTD3Calculator(device=device, **given)
    return mixing.SumCalculator([base, extra])

"""Potentials that a user names on the command line, with and without dispersion."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import zipfile
from pathlib import Path
from typing import Any

from ase.calculators.mixing import SumCalculator

from d3torch.cli.records import read_record
from d3torch.extras import import_extra
from d3torch.integrations.ase import D3Calculator
from d3torch.recognise import dispersion_in, dispersion_in_file
from d3torch.settings import Settings

from .files import FILES, model_path
from .potential import PMMCS, d3_style

MODELS = "pmmcs, sevenn:NAME, chgnet:NAME, mace:FILE, deepmd:FILE, module:function, or a MACE file"
"""What a user may name."""

OURS = ("d3torch", "d3torch-abc")
"""Kinds of dispersion that d3torch computes, without and with the three-body term."""

THREE_BODY: dict[str, Any] = {"s9": 1.0, "atm_cutoff": 12.0, "atm_width": 2.0}
"""The three-body term of d3torch-abc: to 12 A, switched over 2 A. Energy and pressure of it are
within 7 % of those to 40 bohr, in a tenth of the time."""


def settings_in_file(model: str) -> Settings | None:
    """Settings of the D3 in a file of ``torch.save``; None without one, and for no such file.

    Raises:
        ValueError: for a file that has it and cannot be read here.
    """
    path = str(model_path(model))
    if not zipfile.is_zipfile(path) or dispersion_in_file(path) is None:
        return None
    return Settings.from_dict(read_record(path))


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


def settings_for(d3: str, settings: Settings) -> Settings:
    """Those of a kind of :data:`OURS`."""
    return settings.replace(**THREE_BODY) if d3 == "d3torch-abc" else settings


def _mace(name: str, device: str) -> Any:
    package = import_extra("mace.calculators", "mace")
    return package.MACECalculator(model_paths=[name], device=device, default_dtype="float64")


def _sevenn(name: str, device: str) -> Any:
    package = importlib.import_module("sevenn.calculator")
    name, _, modal = name.partition("@")
    found = package.SevenNetCalculator(name, device=device, modal=modal or None)
    if modal and found.modal != modal:
        raise ValueError(f"it has no modals, got {modal!r}")
    return found


def _chgnet(name: str, device: str) -> Any:
    model = importlib.import_module("chgnet.model").CHGNet.load(
        model_name=name, use_device=device, check_cuda_mem=False, verbose=False
    )
    return importlib.import_module("chgnet.model.dynamics").CHGNetCalculator(
        model, use_device=device
    )


def _deepmd(name: str, device: str) -> Any:
    return importlib.import_module("deepmd.calculator").DP(model=name)


FAMILIES = {"mace": _mace, "sevenn": _sevenn, "chgnet": _chgnet, "deepmd": _deepmd}
"""Potentials by the name before the colon."""

PACKAGES = {"mace": "mace-torch", "sevenn": "sevenn", "chgnet": "chgnet", "deepmd": "deepmd-kit"}
"""Of these families, on PyPI."""


def _require(family: str) -> None:
    """Refuse a potential whose package is not installed here.

    Raises:
        ValueError: with what to do.
    """
    if importlib.util.find_spec(family) is None:
        package = PACKAGES[family]
        raise ValueError(
            f"expected {package} in this environment, got none: pip install {package} "
            "(docs/glass.md says how potentials that do not go together get environments)"
        )


def named_calculator(family: str, name: str, device: str) -> Any:
    """A potential of :data:`FAMILIES`.

    Args:
        family: its package.
        name: a file, or a name that the package knows; for SevenNet with ``@MODAL`` behind it
            where a model has several.
        device: of torch; DeePMD chooses its own.

    Raises:
        ValueError: if the package is not here, or does not know the name.
    """
    if family in FILES and not Path(name).is_file():
        raise ValueError(f"expected a file after {family}:, got {name!r}")
    _require(family)
    try:
        return FAMILIES[family](name, device)
    except (KeyError, ValueError, FileNotFoundError, AssertionError) as error:
        raise ValueError(f"expected a model that {family} knows, got {name!r}: {error}") from None


def _made_by(module: str, function: str) -> Any:
    """What a user's function returns.

    Raises:
        ValueError: if it is not there, fails, or returns no calculator.
    """
    place = f"{module}:{function}"
    sys.path.insert(0, "")
    try:
        found = getattr(importlib.import_module(module), function)()
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise ValueError(f"expected a function at {place} and a calculator, got {why}") from error
    if not hasattr(found, "get_stress"):
        raise ValueError(f"expected a calculator of ASE from {place}, got {found!r}")
    return found


def base_calculator(model: str, device: str = "cpu") -> Any:
    """The calculator that a user names.

    Args:
        model: ``"pmmcs"``, a family of :data:`FAMILIES` and a name (``"sevenn:7net-0"``,
            ``"chgnet:0.3.0"``, ``"mace:FILE"``, ``"deepmd:FILE"``), ``module:function`` (called
            without arguments), or a file of MACE.
        device: for the model.

    Raises:
        ValueError: for anything else.
    """
    if model == "pmmcs":
        return PMMCS()
    if Path(model).is_file():
        return _mace(model, device)
    module, _, function = model.partition(":")
    if not function:
        raise ValueError(
            f"expected pmmcs, {', '.join(f'{f}:NAME' for f in FAMILIES)}, module:function or a "
            f"file as model, got {model!r}"
        )
    if module in FAMILIES:
        return named_calculator(module, function, device)
    return _made_by(module, function)


def calculator(
    model: str,
    d3: str,
    xc: str,
    cutoff: float,
    device: str = "cpu",
    settings: Settings | None = None,
) -> Any:
    """A potential with dispersion on top.

    Args:
        model: as of :func:`base_calculator`.
        d3: ``"none"``, ``"d3torch"``, ``"d3torch-abc"`` (with the three-body term),
            ``"torch-dftd"``, or ``"lammps"`` (with pmmcs only).
        xc: functional.
        cutoff: of energy and coordination number, A.
        device: for the model and for d3torch.
        settings: of d3torch, instead of functional and cutoff.

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
    if d3 in OURS:
        settings = settings or Settings(xc=xc, cutoff=cutoff, cn_cutoff=cutoff)
        extra = D3Calculator(settings=settings_for(d3, settings), device=device)
    else:
        dftd = import_extra("torch_dftd.torch_dftd3_calculator", "benchmark")
        given = {"damping": "bj", "xc": xc, "cutoff": cutoff, "cnthr": cutoff}
        extra = dftd.TorchDFTD3Calculator(device=device, **given)
    return SumCalculator([base, extra])

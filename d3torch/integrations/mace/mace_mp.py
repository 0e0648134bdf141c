"""The published models of MACE with D3 inside, called as ``mace_mp(dispersion=True)`` is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from d3torch.checks import require_bool, require_choice
from d3torch.integrations.mace.model import MACED3, check_model
from d3torch.levels import double_counting, doubts, judge, known_levels
from d3torch.settings import Settings
from d3torch.variants import VARIANTS

from mace import calculators  # isort: skip  after ours: it names what is missing

TORCH_DFTD = {"old": False, "cutoff_smoothing": "none", "bidirectional": True}
"""Arguments that ``mace_mp`` hands on to torch-dftd; others than these have no equal here."""

MACE_MP = Settings(preset="mace_mp")
"""What ``mace_mp(dispersion=True)`` computes by default."""


def mace_mp_d3(
    model: str | Path | None = None,
    device: str = "",
    default_dtype: str = "float32",
    dispersion: bool = True,
    damping: str = "bj",
    dispersion_xc: str | None = MACE_MP.xc,
    dispersion_cutoff: float | str = MACE_MP.cutoff,
    return_raw_model: bool = False,
    **kwargs: Any,
) -> Any:
    """What ``mace_mp(dispersion=True)`` is, with D3 inside the model.

    Args:
        model: as of ``mace_mp``: path of a trusted file (it is a pickle), or a name.
        device: as of ``mace_mp``.
        default_dtype: ``"float32"`` or ``"float64"``.
        dispersion: False gives ``mace_mp`` itself.
        damping: ``"bj"``, ``"bjm"``, ``"zero"`` or ``"zerom"``, the variant.
        dispersion_xc: functional.
        dispersion_cutoff: two-body cutoff, A.
        return_raw_model: give the model instead of a calculator.
        **kwargs: ``cnthr``, CN cutoff, A, default 40 bohr; ``abc=True``, the three-body term,
            within ``cnthr`` as in torch-dftd; ``allow_double_counting=True``; the rest goes to
            MACECalculator.

    Returns:
        MACECalculator, or MACED3.

    Raises:
        TypeError, ValueError: see :class:`MACED3`; another damping; a string for a bool; for a
            model, or its head, whose training data have dispersion.

    Warns:
        DispersionWarning: for a functional that the model, or its head, was not trained with.
    """
    require_bool("dispersion", dispersion)
    raw_only = require_bool("return_raw_model", return_raw_model)
    if not dispersion:
        return calculators.mace_mp(
            model, device, default_dtype, return_raw_model=raw_only, **kwargs
        )
    require_choice("default_dtype", default_dtype, ("float32", "float64"))
    settings = _settings(damping, dispersion_xc, dispersion_cutoff, kwargs)
    raw = calculators.mace_mp(model, device, default_dtype, return_raw_model=True)
    fused = MACED3(check_model(raw).to(getattr(torch, default_dtype)), settings)
    allowed = kwargs.pop("allow_double_counting", False)
    heads = [kwargs["head"]] if kwargs.get("head") else fused.heads
    if len(heads) == 1:  # else MACE chooses one
        known = known_levels("mace", str(model or ""), "", heads)
        judge(double_counting(known), doubts(known, settings), allowed)
    if raw_only:
        return fused
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return calculators.MACECalculator(
        models=fused, device=device, default_dtype=default_dtype, **kwargs
    )


def _settings(
    damping: str, xc: str | None, cutoff: float | str, keywords: dict[str, Any]
) -> Settings:
    """Which D3, from arguments of ``mace_mp`` and those for torch-dftd, which leave the keywords.

    Raises:
        TypeError, ValueError: as of :func:`mace_mp_d3`.
    """
    require_choice("damping", damping, tuple(VARIANTS))
    for name, value in TORCH_DFTD.items():
        if keywords.pop(name, value) != value:
            raise ValueError(f"expected {name}={value!r}, the only choice here, got another")
    near = keywords.pop("cnthr", MACE_MP.cn_cutoff)
    reach = {"cutoff": cutoff, "cn_cutoff": near, "atm_cutoff": near}
    s9 = float(require_bool("abc", keywords.pop("abc", False)))
    return MACE_MP.replace(xc=xc, variant=damping, s9=s9, **reach)

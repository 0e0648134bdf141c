"""What a module D3 tells of its settings, in TorchScript and from older versions as well."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from .parameters import resolve_damping
from .reference import REFERENCES, SYMBOLS, reference_tables
from .settings import VERSION, Settings
from .state import refuse_other_tables
from .units import BOHR, Units, get_units
from .variants import BJ, VARIANTS, Damping, scaled_damping

NAMES = ("D3", "D3BJ")
"""What the class of the module is called, now and in files of TorchScript of version 0.1.0."""

LENGTHS = ("cutoff", "cn_cutoff", "width", "atm_cutoff", "atm_width")
"""Attributes of a module that are lengths in its unit; the last two are younger."""


def is_dispersion(module: Any) -> bool:
    """Whether a module, TorchScript or not, is a D3."""
    return getattr(module, "original_name", type(module).__name__) in NAMES


def kind_of(module: Any) -> type[Damping]:
    """The kind of the damping parameters of a module, also of an older one."""
    return VARIANTS[getattr(module, "variant", BJ)].kind


def columns_of(module: Any) -> tuple[str, ...]:
    """Names of the tensors of the damping of a module, in the order of the ops."""
    return (*kind_of(module)._fields, *(("s9",) if hasattr(module, "s9") else ()))


def scaled_tables(
    elements: list[int],
    reference: str,
    unit: Units,
    radii: bool = False,
    exclude: Sequence[str] = (),
) -> dict[str, Any]:
    """Arrays of the buffers of a module, by name, in its units; radii of pairs if wanted.

    C6 of an excluded element with any other are 0.
    """
    tables = reference_tables(elements, reference)
    left_out = [SYMBOLS[z] in exclude for z in elements]
    tables.c6_ref[left_out], tables.c6_ref[:, left_out] = 0.0, 0.0
    of_pairs = {"radii": tables.radii * unit.length} if radii else {}
    return {
        **of_pairs,
        "rcov": tables.rcov * unit.length,
        "r4r2": tables.r4r2 * unit.length,
        "cn_ref": tables.cn_ref,
        "c6_ref": tables.c6_ref * (unit.energy * unit.length**6),
    }


def reach_in_angstrom(module: Any, unit: Units) -> dict[str, Any]:
    """Cutoffs, width and tail of a module, as keywords of settings."""
    a = BOHR / unit.length
    lengths = {name: getattr(module, name, 0.0) * a for name in LENGTHS}
    return {**lengths, "tail": getattr(module, "tail", False)}


def check_excluded(exclude: Sequence[str], elements: Sequence[int]) -> list[str]:
    """The elements of a module that are left out.

    Raises:
        ValueError: for one that it does not have.
    """
    symbols = [SYMBOLS[z] for z in elements]
    for each in exclude:
        if each not in symbols:
            raise ValueError(
                f"expected exclude to name elements that are there, {' '.join(symbols)}, got {each}"
            )
    return list(exclude)


def scaled_s9(s9: float, unit: Units) -> float:
    """The weight of the three-body term in 1/sqrt(energy): the term goes as C6^(3/2)/r^9."""
    return s9 / math.sqrt(unit.energy)


def _scaled(given: dict[str, Any], module: Any, unit: Units) -> dict[str, float]:
    """Numbers of the damping of a module that keywords tell, by name, in its unit of length."""
    variant = getattr(module, "variant", BJ)
    damping = resolve_damping(given.get("xc"), given.get("damping"), variant)
    three_body = {"s9": scaled_s9(given["s9"], unit)} if "s9" in given else {}
    return {**scaled_damping(damping, unit.length)._asdict(), **three_body}


def _told_damping(
    module: Any, unit: Units, tensor: torch.Tensor
) -> tuple[dict[str, Any], dict[str, float]] | None:
    """The damping that a module recorded, as keywords and scaled, if the tensor still has it.

    Compared to the digits of float32, or of the tensor's dtype if it has fewer. Else None.
    """
    kind, there = kind_of(module), tensor if tensor.is_meta else tensor.cpu()
    digits = there.dtype if there.dtype.itemsize < 4 else torch.float32
    record, xc = json.loads(getattr(module, "record", None) or "{}"), getattr(module, "xc", None)
    made: list[dict[str, Any]] = [{"xc": xc}] if xc else []
    if record:
        made.append({"damping": kind(*(record[name] for name in kind._fields))})
    for given in made:
        if "s9" in columns_of(module):
            given["s9"] = (record.get("s9") or 0.0) if record else 1.0
        scaled = _scaled(given, module, unit)
        numbers = torch.tensor(list(scaled.values()), dtype=digits, device="cpu")
        if there.is_meta or torch.equal(numbers, there.to(digits)):
            return given, scaled
    return None


def _damping_of(module: Any, unit: Units) -> dict[str, Any]:
    """The functional of a module if its tensors are those of it, else the parameters."""
    names, kind = columns_of(module), kind_of(module)
    tensor = torch.stack([getattr(module, name).detach() for name in names])
    told = _told_damping(module, unit, tensor)
    if told is not None:
        return told[0]
    numbers = dict(zip(names, tensor.tolist(), strict=True))
    three_body = {}
    if "s9" in numbers:
        three_body["s9"] = numbers.pop("s9") * math.sqrt(unit.energy)
    return {"damping": scaled_damping(kind(**numbers), 1.0 / unit.length), **three_body}


def fixed_damping(module: Any, tensor: torch.Tensor) -> dict[str, float]:
    """Damping of a module in its unit of length, all digits; none that is learnable or unknown.

    Args:
        module: D3.
        tensor: its damping, (n_columns,), maybe rounded.
    """
    learnable = isinstance(module.s6, nn.Parameter)
    told = None if learnable else _told_damping(module, get_units(module.units), tensor)
    return {} if told is None else told[1]


def reference_of(module: Any, unit: Units) -> str:
    """The reference of a module; from its tables, if an older version made it.

    Raises:
        ValueError: for tables of none.
    """
    if hasattr(module, "reference"):
        return str(module.reference)
    numbers = module.numbers.tolist()
    for reference in reversed(REFERENCES):
        with contextlib.suppress(ValueError):
            tables = {"numbers": numbers, **scaled_tables(numbers, reference, unit)}
            own = {name: getattr(module, name) for name in tables}
            refuse_other_tables(tables, own, "", module.rcov.dtype)
            return reference
    raise ValueError("expected a module with tables of D3, got one of others")


def settings_of(module: Any) -> Settings:
    """Settings of a D3, also of one in TorchScript, and of one that an older version made.

    A functional is named where the tensors are those of it, to the digits of float32: a damping
    that has learned is told as it is.
    """
    unit = get_units(getattr(module, "units", "eV/A"))
    reach = reach_in_angstrom(module, unit)
    which = {**_damping_of(module, unit), "variant": getattr(module, "variant", BJ)}
    which["exclude"] = getattr(module, "exclude", ())
    return Settings(**which, **reach, reference=reference_of(module, unit))


def record_of(module: Any) -> dict[str, Any]:
    """Version that made a D3, TorchScript or not, and its settings, as files carry them."""
    record = json.loads(getattr(module, "record", None) or "{}")
    return {VERSION: record.get(VERSION, "unknown"), **settings_of(module).as_dict()}

"""What a module D3BJ tells of its settings, in TorchScript and from older versions as well."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import torch
from torch import nn

from .parameters import DampingParameters, resolve_damping
from .reference import REFERENCES, reference_tables
from .settings import VERSION, Settings
from .state import refuse_other_tables
from .units import BOHR, Units, get_units


def scaled_tables(elements: list[int], reference: str, unit: Units) -> dict[str, Any]:
    """Arrays of the buffers of a module, by name, in its units."""
    tables = reference_tables(elements, reference)
    return {
        "rcov": tables.rcov * unit.length,
        "r4r2": tables.r4r2 * unit.length,
        "cn_ref": tables.cn_ref,
        "c6_ref": tables.c6_ref * (unit.energy * unit.length**6),
    }


def reach_in_angstrom(module: Any, unit: Units) -> dict[str, Any]:
    """Cutoffs, width and tail of a module, as keywords of settings."""
    a = BOHR / unit.length
    lengths = {name: getattr(module, name) * a for name in ("cutoff", "cn_cutoff", "width")}
    return {**lengths, "tail": getattr(module, "tail", False)}


def _told_damping(
    module: Any, unit: Units, tensor: torch.Tensor
) -> tuple[dict[str, Any], DampingParameters] | None:
    """What a module tells of its damping, as a keyword and scaled, if the tensor (4,) is that.

    It is to the digits of float32, or of its own dtype if it has fewer.
    """
    names, there = DampingParameters._fields, tensor.cpu()
    digits = there.dtype if there.dtype.itemsize < 4 else torch.float32
    record, xc = json.loads(getattr(module, "record", None) or "{}"), getattr(module, "xc", None)
    made: list[dict[str, Any]] = [{"xc": xc}] if xc else []
    if record:
        made.append({"damping": DampingParameters(*(record[name] for name in names))})
    for given in made:
        damping = resolve_damping(given.get("xc"), given.get("damping"))
        scaled = damping._replace(a2=damping.a2 * unit.length)
        if there.is_meta or torch.equal(torch.tensor(scaled, dtype=digits), there.to(digits)):
            return given, scaled
    return None


def _damping_of(module: Any, unit: Units) -> dict[str, Any]:
    """The functional of a module if its tensors are those of it, else the parameters."""
    tensor = torch.stack([getattr(module, x).detach() for x in DampingParameters._fields])
    told = _told_damping(module, unit, tensor)
    if told is not None:
        return told[0]
    s6, s8, a1, a2 = tensor.tolist()
    return {"damping": DampingParameters(s6, s8, a1, a2 / unit.length)}


def fixed_damping(module: Any, tensor: torch.Tensor) -> dict[str, float]:
    """Damping of a module in its unit of length, all digits; none that is learnable or unknown.

    Args:
        module: D3BJ.
        tensor: its damping, (4,), maybe rounded.
    """
    learnable = isinstance(module.s6, nn.Parameter)
    told = None if learnable else _told_damping(module, get_units(module.units), tensor)
    return {} if told is None else told[1]._asdict()


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
            refuse_other_tables(tables, {name: getattr(module, name) for name in tables}, "")
            return reference
    raise ValueError("expected a module with tables of D3, got one of others")


def settings_of(module: Any) -> Settings:
    """Settings of a D3BJ, also of one in TorchScript, and of one that an older version made.

    A functional is named where the tensors are those of it, to the digits of float32: a damping
    that has learned is told as it is.
    """
    unit = get_units(getattr(module, "units", "eV/A"))
    reach = reach_in_angstrom(module, unit)
    return Settings(**_damping_of(module, unit), **reach, reference=reference_of(module, unit))


def record_of(module: Any) -> dict[str, Any]:
    """Version that made a D3BJ, TorchScript or not, and its settings, as files carry them."""
    record = json.loads(getattr(module, "record", None) or "{}")
    return {VERSION: record.get(VERSION, "unknown"), **settings_of(module).as_dict()}

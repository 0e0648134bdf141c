"""Which D3 a host computes: settings, keywords of settings, or a module that is ready."""

# No `from __future__ import annotations`: modules of MACE, which TorchScript reads, import this.
import contextlib
import copy
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from d3torch.model import D3
from d3torch.reference import SYMBOLS, atomic_numbers, covered
from d3torch.settings import ONE_OF, Settings

Module = TypeVar("Module", bound=nn.Module)

Which = Settings | D3 | str | None
"""What a host takes as ``settings``: a string is a functional, None leaves it to keywords."""


def check_ready(module: D3, beside: Mapping[str, Any]) -> D3:
    """The module that a host was given, if nothing else says which it is.

    Args:
        module: what was given.
        beside: arguments by name, None where not given, that say what a module is.

    Raises:
        TypeError: for a module and another argument.
        ValueError: for a module that is not in eV and A.
    """
    others = [name for name, value in beside.items() if value is not None]
    if others:
        raise TypeError(f"{ONE_OF} a D3 and {', '.join(others)}")
    if module.units != "eV/A":
        raise ValueError(f"expected a D3 with units='eV/A', got {module.units!r}")
    return module


def refuse_three_body(module: D3, host: str) -> None:
    """Refuse a module with the three-body term for a host, named in the error, that gives pairs.

    Raises:
        ValueError: if it is there, also with a weight of 0.
    """
    if module.atm_cutoff > 0.0:
        raise ValueError(
            f"expected s9=0 for {host}, got the three-body term, which takes triangles of "
            "neighbours, where that gives pairs (pair_style d3torch has it)"
        )


def copied(module: Module) -> Module:
    """A copy of a module, in which a tensor that was computed, such as a damping, is a number."""
    tensors = [*module.parameters(), *module.buffers()]
    return copy.deepcopy(module, {id(t): t.detach().clone() for t in tensors if not t.is_leaf})


def module_of(
    host: str,
    settings: Which,
    keywords: Mapping[str, Any],
    elements: Sequence[int | str] | None,
    made: Mapping[str, Any],
    *,
    like: Tensor | None = None,
    tail: bool = False,
) -> D3:
    """The module of a host: the one that it was given, itself, or one that is made.

    Args:
        host: what computes, for errors.
        settings: what it was given.
        keywords: of settings, given instead.
        elements: those of the module, in this order; None for any, and for all in one that is made.
        made: learnable, dtype and device of a module to be made, None where not given.
        like: has the dtype and the device that the host needs.
        tail: whether the host computes one.

    Raises:
        TypeError, ValueError: for a module and anything beside it; for a module or settings that
            the host cannot compute; as :class:`d3torch.D3`.
    """
    if not isinstance(settings, D3):
        wanted = Settings.of(settings, **keywords)
        wanted = wanted.fixed(host) if tail else wanted.without_tail(host)
        return _made(wanted, elements, made, like)
    module = check_ready(settings, {**keywords, **made})
    if not tail:
        module.settings.without_tail(host)
    if module.backend != "kernel":
        raise ValueError(f"expected a D3 with backend='kernel', got {module.backend!r}")
    if elements is not None and module.elements != atomic_numbers(elements):
        expected, got = (_names(z) for z in (atomic_numbers(elements), module.elements))
        raise ValueError(f"expected a D3 of {expected}, in this order, for {host}, got {got}")
    if like is not None and (like.dtype, like.device) != (module.rcov.dtype, module.rcov.device):
        raise ValueError(
            f"expected a D3 of {like.dtype} on {like.device}, as is {host}, "
            f"got {module.rcov.dtype} on {module.rcov.device}"
        )
    return module


def _made(
    settings: Settings,
    elements: Sequence[int | str] | None,
    made: Mapping[str, Any],
    like: Tensor | None,
) -> D3:
    """A module of settings."""
    given = {name: value for name, value in made.items() if value is not None}
    if like is not None:
        given.update(dtype=like.dtype, device=like.device)
    device = given.pop("device", None)
    if elements is None:
        elements = covered(settings.reference)
    with contextlib.nullcontext() if device is None else torch.device(device):
        return settings.module(elements, **given)


def _names(numbers: Sequence[int]) -> str:
    return " ".join(SYMBOLS[z] for z in numbers)

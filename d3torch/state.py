"""Settings that decide results, carried in state dicts and checked when one is loaded."""

# No `from __future__ import annotations`: TorchScript cannot read strings.
import json
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .parameters import DispersionWarning
from .variants import VARIANTS

EXTRA = "_extra_state"
"""Key under which torch keeps what ``get_extra_state`` returns."""


class CheckedState(nn.Module):
    """A module whose state dict tells its settings, and that refuses the state of another one.

    A subclass says in :meth:`checked_settings` what decides its results beside its tensors. A state
    is checked before anything of it is copied, whether strict or not.
    """

    def checked_settings(self) -> dict[str, Any]:
        """What decides results beside tensors and is checked: numbers, strings and lists."""
        return {}

    def older_settings(self) -> dict[str, Any]:
        """What a state means by itself where an older version did not say it."""
        return {}

    def told_settings(self) -> dict[str, Any]:
        """What goes with the tensors of a state, and is taken from it by :meth:`take_told`."""
        return {}

    def take_told(self, found: dict[str, Any]) -> None:
        """Take what goes with the tensors from the settings of a state."""

    def check_tables(self, given: Mapping[str, Any], prefix: str) -> None:
        """Refuse, by its tensors, the state of another module, or one that was rounded."""

    def check_older(self, given: Mapping[str, Any], prefix: str) -> None:
        """Say what is taken where a state does not tell its settings."""

    def get_extra_state(self) -> Tensor:
        """Settings as JSON in bytes, uint8: a tensor, which every format of weights can hold."""
        text = json.dumps({**self.checked_settings(), **self.told_settings()}).encode()
        return torch.tensor(list(text), dtype=torch.uint8, device="cpu")

    def set_extra_state(self, extra: Tensor) -> None:
        """Take what is told.

        Raises:
            ValueError: for settings of another module; one sentence.
        """
        found = unpacked(extra)
        refuse_others(self.checked_settings(), {**self.older_settings(), **found})
        self.take_told(found)

    def _load_from_state_dict(self, given: dict[str, Any], prefix: str, *rest: Any) -> None:
        if prefix + EXTRA in given:
            found = unpacked(given[prefix + EXTRA])
            refuse_others(self.checked_settings(), {**self.older_settings(), **found})
        self.check_tables(given, prefix)
        if prefix + EXTRA not in given and any(name.startswith(prefix) for name in given):
            self.check_older(given, prefix)
            given[prefix + EXTRA] = self.get_extra_state()
        super()._load_from_state_dict(given, prefix, *rest)


def unpacked(extra: object) -> dict[str, Any]:
    """Settings in the bytes of an extra state.

    Raises:
        ValueError: for something else.
    """
    try:
        found = json.loads(bytes(round(x) for x in extra.tolist()))  # type: ignore[attr-defined]
    except (AttributeError, TypeError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"expected settings of d3torch in a state, got {extra!r:.60}")
    return found


def _alike(one: Any, other: Any) -> bool:
    """Whether two settings are one: lengths may have gone through bohr and back."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-12)
    return bool(one == other)


def refuse_others(own: dict[str, Any], found: dict[str, Any]) -> None:
    """Refuse settings that differ from those of the module.

    Raises:
        ValueError: naming the first that differs; one that either side does not know is passed by.
    """
    for name, value in own.items():
        there = found.get(name)
        if value is not None and there is not None and not _alike(value, there):
            raise ValueError(f"expected a state with {name} {value}, got one with {there}")


def refuse_other_tables(
    own: Mapping[str, Any], given: Mapping[str, Any], prefix: str, dtype: torch.dtype
) -> None:
    """Refuse a state whose tables are not those of the module.

    Args:
        own: arrays by name.
        given: state dict.
        prefix: of the names in it.
        dtype: of the module.

    Raises:
        ValueError: naming the first that differs by more than the rounding of float32, or of the
            module if that is coarser.
    """
    rounding = max(1e-5, torch.finfo(dtype).eps)
    for name, values in own.items():
        found = given.get(prefix + name)
        if found is None or found.is_meta:
            continue
        expected, there = (
            torch.as_tensor(values, device="cpu").double(),
            found.detach().cpu().double(),
        )
        same_shape = there.shape == expected.shape
        if not (same_shape and torch.allclose(there, expected, rtol=rounding, atol=0)):
            shown = f" {list(values)}" if name == "numbers" else " of this module"
            raise ValueError(
                f"expected a state with {name}{shown}, "
                "got one of other elements, units or reference, or rounded beyond float32"
            )


def refuse_other_damping(
    own: Sequence[str], given: Mapping[str, Any], prefix: str, variant: str
) -> None:
    """Refuse a state that does not tell its settings and is, by its names, of another damping.

    Args:
        own: names of the damping parameters of the module.
        given: state dict.
        prefix: of the names in it.
        variant: of the module.

    Raises:
        ValueError: for names of another damping, or all of one that has no more; for those of
            Becke-Johnson damping in the modified variant, of which they tell nothing.
    """
    every = dict.fromkeys([*(x for v in VARIANTS.values() for x in v.kind._fields), "s9"])
    names = [name for name in every if prefix + name in given]
    whole = [set(v.kind._fields) for v in VARIANTS.values()]
    other = set(names) != set(own) and set(names) in whole
    if other or not set(names) <= set(own):
        raise ValueError(f"expected a state with {', '.join(own)}, got one with {', '.join(names)}")
    if names and variant == "bjm":
        raise ValueError(
            "expected a state that tells its settings for variant 'bjm', got one that does not, "
            "which means variant 'bj'"
        )


def warn_of_missing(settings: dict[str, Any]) -> None:
    """Say that a state does not tell its settings, so that those of the module are taken."""
    taken = ", ".join(f"{name} {value}" for name, value in settings.items())
    warnings.warn(
        "the state dict does not tell its settings (an older d3torch wrote it, TorchScript, or it "
        f"is a part): taken are {taken}",
        DispersionWarning,
        stacklevel=2,
    )

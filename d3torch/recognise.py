"""What can be told of a potential by looking at it: which model it is, and dispersion in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

import torch
from torch import nn

DISPERSION = re.compile(r"D[34](?![a-z])|[Dd]ispersion")
"""In the name of a class: D3Calculator, D3BJ, TorchDFTD3Calculator, DFTD4, DispersionTerm."""


class Model(NamedTuple):
    """A model as ``levels.csv`` names it.

    Attributes:
        family: of models, such as ``"mace"``.
        name: of the model in that family; empty where only its tasks tell.
        tasks: heads, modals or tasks that are computed.
    """

    family: str
    name: str
    tasks: tuple[str, ...] = ()


def _is_part(thing: object) -> bool:
    """Whether something computes energies: a calculator, the mixer of a sum, a model."""
    return (
        isinstance(thing, nn.Module)
        or any(hasattr(thing, name) for name in ("calculate", "calcs"))
        or isinstance(getattr(thing, "model", None), nn.Module)
    )


NO_PARTS = (type, ModuleType, FunctionType, torch.Tensor, str)
"""What is no part of a calculator: its code, and its numbers."""


CONTAINERS = (dict, list, tuple, set, frozenset)


def _walk(thing: Any, inside: Callable[[Any], Iterable[Any]]) -> Iterator[Any]:
    """A calculator or module and what is inside it, at any depth, each once."""
    left, seen = [thing], {}
    while left:
        part = left.pop()
        if id(part) in seen or isinstance(part, NO_PARTS):
            continue
        seen[id(part)] = part  # kept, so that no other object gets its id
        if not isinstance(part, CONTAINERS):
            yield part
        left.extend(reversed([*inside(part)]))


def _all_held(thing: Any) -> Iterable[Any]:
    """All that an object holds, whatever that is for."""
    if isinstance(thing, dict):
        return thing.values()
    if isinstance(thing, CONTAINERS):
        return (held for held in thing)  # e3nn has a tuple without a length
    below = thing.children() if isinstance(thing, nn.Module) else ()
    return [*(getattr(thing, name, None) for name in ("__self__", "__dict__")), *below]


def _potentials_held(thing: Any) -> Iterator[Any]:
    """What a calculator or module computes energies with; nothing below a model that is known."""
    if _recognised(thing) is not None:
        return
    if isinstance(thing, nn.Module):
        yield from thing.children()
        return
    for value in vars(thing).values() if hasattr(thing, "__dict__") else ():
        several = value.values() if isinstance(value, dict) else value
        for each in several if isinstance(value, list | tuple | dict) else [value]:
            if _is_part(each):
                yield each


def holds(potential: Any, kind: str) -> bool:
    """Whether a calculator is of a class of that name, or computes energies with one that is."""
    return any(
        kind in (base.__name__ for base in type(part).__mro__)
        for part in _walk(potential, _potentials_held)
    )


def dispersion_in(potential: Any) -> str | None:
    """The class that adds dispersion inside a calculator, a sum or a model; None without one.

    Told by the names of classes, also in TorchScript: a correction of another package counts too.
    """
    for part in _walk(potential, _all_held):
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


def _of_mace(model: Any) -> Model:
    """Heads; a calculator computes one of those of its models."""
    heads: Any = getattr(model, "head", None) or getattr(model, "heads", ())
    return Model("mace", "", (heads,) if isinstance(heads, str) else tuple(heads))


SEVENNET_DATA = {
    "snu_warmup/total.sevenn_data": "7net-0",
    "sevennet_0_train/train.sevenn_data": "7net-0",
    "chgnet_total_dataset_uncorrected.sevenn_data": "7net-l3i5",
}
"""Published models of SevenNet by the end of the path of their training data, which they keep."""


def _name_in_sevennet(config: Any) -> str:
    """The model whose settings of training these are, empty if it is none of ours."""
    data = str((config or {}).get("load_dataset_path")).rstrip("]'")
    return next((name for end, name in SEVENNET_DATA.items() if data.endswith(end)), "")


def _of_sevennet(calculator: Any) -> Model:
    name = _name_in_sevennet(getattr(calculator, "sevennet_config", None))
    modal = getattr(calculator, "modal", None)
    return Model("sevenn", name, (modal,) if modal else ())


def _of_chgnet(model: Any) -> Model:
    """Its version, which a calculator takes from its model."""
    return Model("chgnet", str(getattr(model, "version", None) or ""))


def _of_fairchem(calculator: Any) -> Model:
    return Model("fairchem", "", (str(calculator.task_name),))


def _of_xtb(calculator: Any) -> Model:
    return Model("xtb", str(calculator.parameters.get("method") or ""))


RECOGNISED: dict[tuple[str, str], Callable[[Any], Model]] = {
    ("mace", "MACECalculator"): _of_mace,
    ("mace", "MACE"): _of_mace,
    ("d3torch", "MACED3"): _of_mace,
    ("sevenn", "SevenNetCalculator"): _of_sevennet,
    ("chgnet", "CHGNetCalculator"): _of_chgnet,
    ("chgnet", "CHGNet"): _of_chgnet,
    ("fairchem", "FAIRChemCalculator"): _of_fairchem,
    ("mattersim", "MatterSimCalculator"): lambda _: Model("mattersim", "mattersim"),
    ("tblite", "TBLite"): _of_xtb,
    ("xtb", "XTB"): _of_xtb,
}
"""Classes that tell which model they are, by the package that they come from."""


def _recognised(thing: Any) -> Model | None:
    for kind in type(thing).__mro__:
        tell = RECOGNISED.get((kind.__module__.partition(".")[0], kind.__name__))
        if tell is not None:
            return tell(thing)
    return None


def models_in(potential: Any) -> list[Model]:
    """Models that a calculator, a sum of them or a module consists of, as far as they are told.

    A model that cannot be told by its classes and attributes is left out: most calculators do not
    keep the name of the file that they have read.
    """
    told = (_recognised(part) for part in _walk(potential, _potentials_held))
    return [model for model in told if model is not None]


def models_in_file(held: Any) -> list[Model]:
    """Models that the contents of a file tell of: a module, a checkpoint of SevenNet or CHGNet."""
    if not isinstance(held, dict):
        return models_in(held)
    config, model = held.get("config"), held.get("model")
    if isinstance(config, dict) and "model_state_dict" in held:
        modals = config.get("_modal_map")
        named = tuple(map(str, modals)) if isinstance(modals, dict | list | tuple) else ()
        return [Model("sevenn", _name_in_sevennet(config), named)]
    made = model.get("model_args") if isinstance(model, dict) else None
    if isinstance(made, dict):
        return [Model("chgnet", str(made.get("version") or ""))]
    return []

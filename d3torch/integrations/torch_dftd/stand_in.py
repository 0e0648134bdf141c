"""torch_dftd for programs that import it: a finder that imports ours under its name."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType
from typing import Any

from d3torch import __version__
from d3torch.integrations.torch_dftd.calculator import TorchDFTD3Calculator

PACKAGE = "torch_dftd"

MODULES: dict[str, dict[str, Any]] = {
    PACKAGE: {"__version__": f"0.5.3+d3torch.{__version__}"},
    f"{PACKAGE}.torch_dftd3_calculator": {"TorchDFTD3Calculator": TorchDFTD3Calculator},
}
"""What stands in: modules, and what is in them."""


class StandIn(MetaPathFinder, Loader):
    """Finds and makes the modules that stand in; other modules of that package are refused."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Where a module of torch_dftd is; nothing of other packages.

        Raises:
            ModuleNotFoundError: for one that does not stand in.
        """
        if name.partition(".")[0] != PACKAGE:
            return None
        if name not in MODULES:
            raise ModuleNotFoundError(
                f"expected a module of torch_dftd that d3torch stands in for "
                f"({', '.join(MODULES)}), got {name}",
                name=name,
            )
        return spec_from_loader(name, self, origin=__file__, is_package=name == PACKAGE)

    def exec_module(self, module: ModuleType) -> None:
        """Put into a new module what it has."""
        vars(module).update(MODULES[module.__name__])


FINDER = StandIn()

_displaced: dict[str, ModuleType] = {}


def _imported() -> dict[str, ModuleType]:
    """Modules of torch_dftd that are imported, whosever they are."""
    return {name: m for name, m in sys.modules.items() if name.partition(".")[0] == PACKAGE}


def install(*, force: bool = False) -> None:
    """Let ``import torch_dftd`` find d3torch's from now on, whether torch-dftd is there or not.

    Again is the same as once. It lasts for this process, and for those that are forked off it.

    Args:
        force: also where torch-dftd itself has been imported; who has its classes keeps them.

    Raises:
        RuntimeError: if torch-dftd itself has been imported, without force.
    """
    if FINDER in sys.meta_path:
        return
    theirs = _imported()
    if theirs and not force:
        where = getattr(theirs.get(PACKAGE), "__file__", None)
        raise RuntimeError(
            f"expected install() before torch_dftd is imported, got it imported from {where}: "
            "force=True replaces it for imports to come"
        )
    _displaced.update(theirs)
    for name in theirs:
        del sys.modules[name]
    sys.meta_path.insert(0, FINDER)


def uninstall() -> None:
    """Undo :func:`install`: ``import torch_dftd`` finds torch-dftd itself again, if it is there."""
    if FINDER not in sys.meta_path:
        return
    sys.meta_path.remove(FINDER)
    for name in _imported():
        del sys.modules[name]
    sys.modules.update(_displaced)
    _displaced.clear()

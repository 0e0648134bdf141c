"""Imports of what only an extra of the package installs."""

from __future__ import annotations

import importlib
import importlib.util
import shlex
from typing import Any

ASE = {"ase": "ase>=3.23"}

EXTRAS = {
    "ase": ASE,
    "cli": {**ASE, "tqdm": "tqdm", "tabulate": "tabulate"},
    "completion": {"shtab": "shtab"},
    "neighbors": {"vesin": "vesin>=0.6"},
    "mace": {**ASE, "mace": "mace-torch>=0.3.15"},
    "torchsim": {"torch_sim": "torch-sim-atomistic>=0.3"},
    "benchmark": {"torch_dftd": "torch-dftd"},
}
"""Packages of each extra, as in pyproject.toml, by the module that is imported.

They are named instead of the extra: that helps in a checkout too, which pip cannot find by name.
"""


def not_installed(error: ModuleNotFoundError, extra: str) -> ImportError:
    """The error to raise instead: a sentence that says which packages to install.

    Args:
        error: of the import that failed.
        extra: what brings the module.
    """
    missing = str(error.name)
    absent = [p for m, p in EXTRAS[extra].items() if importlib.util.find_spec(m) is None]
    packages = shlex.join(absent or [missing.split(".")[0]])
    return ImportError(
        f"expected {missing} to be installed: run `pip install {packages}`", name=missing
    )


def import_extra(module: str, extra: str) -> Any:
    """The module, imported.

    Raises:
        ImportError: if it is not installed; see :func:`not_installed`.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise not_installed(error, extra) from None

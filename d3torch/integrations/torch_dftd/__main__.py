"""Run a Python program that imports torch_dftd, with d3torch in its place."""

from __future__ import annotations

import runpy
import shutil
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from d3torch.integrations.torch_dftd import install

USAGE = """usage: python -m d3torch.integrations.torch_dftd PROGRAM [ARGUMENT ...]

Runs a Python program with d3torch in place of torch-dftd.

PROGRAM  a file, a command that is written in Python, or -m MODULE
"""


def program_of(name: str) -> str | None:
    """Path of a file, or of a command beside this Python or on the PATH; None if not Python."""
    beside = shutil.which(name, path=str(Path(sys.executable).parent))
    path = name if Path(name).is_file() else beside or shutil.which(name)
    if path is None:
        return None
    try:
        compile(Path(path).read_bytes(), path, "exec")
    except (SyntaxError, ValueError, OSError):
        return None
    return path


def is_module(name: str) -> bool:
    """Whether Python can run a module of this name by ``-m``; what is above it is imported.

    Raises:
        ImportError: of a package above it that breaks.
    """
    if not all(name.split(".")):
        return False
    try:
        found = find_spec(name)
        if found is not None and found.submodule_search_locations is not None:
            found = find_spec(f"{name}.__main__")
    except ModuleNotFoundError as error:
        if f"{name}.".startswith(f"{error.name}."):
            return False
        raise
    return found is not None


def refuse(got: str) -> int:
    """Say what was expected; the exit code."""
    expected = "a Python program, by file, command or -m MODULE"
    print(f"expected {expected}, got {got}", file=sys.stderr)
    return 2


def main(arguments: Sequence[str]) -> int:
    """Run the program; 2 if there is none."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0 if arguments else 2
    name, *rest = arguments
    if name == "-m" and rest:
        install()  # before anything is imported
        if not is_module(rest[0]):
            return refuse(f"-m {rest[0]}")
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        return 0
    path = program_of(name)
    if path is None:
        return refuse(name)
    install()
    sys.argv = [path, *rest]
    sys.path.insert(0, str(Path(path).resolve().parent))
    runpy.run_path(path, run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

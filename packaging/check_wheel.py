"""Checks a wheel: what it holds, what its libraries ask for, and that torch has it.

Usage: check_wheel.py WHEEL CACHE, the folder of torch_headers.py. Prints what it found; exit status
1 if something is wrong.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

MOST = {True: 10.0, False: 6.0}
"""MB of a wheel, with CUDA kernels and without."""

SYSTEM = {"libstdc++.so.6", "libm.so.6", "libgcc_s.so.1", "libc.so.6", "libmvec.so.1"}
SYSTEM |= {"ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}
SYSTEM |= {"libdl.so.2", "libpthread.so.0", "librt.so.1"}  # of the CUDA runtime


def said(*command: str) -> str:
    """What a program prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def needed(library: Path) -> set[str]:
    """Libraries that a library links."""
    return set(re.findall(r"\(NEEDED\).*\[(.*)\]", said("readelf", "-d", str(library))))


def symbols(library: Path, kind: str) -> dict[str, str]:
    """Dynamic symbols and their versions, "" where they have none."""
    lines = said("nm", "--dynamic", f"--{kind}-only", "--format=posix", str(library)).splitlines()
    found = [(line.split()[0] + "@").split("@", 1) for line in lines if line.split()[1] != "w"]
    return {name: version.strip("@") for name, version in found}


def faults_of_any(library: Path, undefined: dict[str, str], allowed: set[str]) -> list[str]:
    """What is wrong with a library wherever it is loaded."""
    faults = [f"links {name}" for name in sorted(needed(library) - allowed)]
    faults += [f"asks for {name} of Python" for name in undefined if re.match("_?Py[A-Z_]", name)]
    if b".debug_info" in library.read_bytes():
        faults.append("has debug information")
    return faults


def of_torch(folder: str, cache: Path) -> set[str] | None:
    """What the torch of a folder such as torch-2.13 defines, its OpenMP included."""
    minor = folder.split("-")[1]
    found = list(cache.glob(f"{minor}.*/torch/symbols.txt"))
    return set(found[0].read_text().split()) if found else None


def faults_of(library: Path, kernels: set[str], torches: dict[str, set[str] | None]) -> list[str]:
    """What is wrong with a library: the ops find things in their torch, the kernels in any."""
    allowed = SYSTEM | {"libd3torch_kernels.so", "libd3torch_cuda.so"}
    undefined = symbols(library, "undefined")
    asked = {name for name, version in undefined.items() if not version}
    serves = torches
    if library.name == "libd3torch.so":
        allowed |= {"libtorch_cpu.so", "libc10.so"}
        asked -= kernels
        serves = {library.parent.name: torches[library.parent.name]}
    faults = faults_of_any(library, undefined, allowed)
    for folder, known in serves.items():
        missing = asked - known if known is not None else set()
        faults += [f"asks for {name}, which {folder} has not" for name in sorted(missing)]
    return [f"{library.parent.name}/{library.name} {fault}" for fault in faults]


def minors(metadata: str) -> set[str]:
    """Minor versions of torch that a package asks for, as setup.py writes that."""
    (words,) = re.findall(r"^Requires-Dist: torch([^;\n]*)$", metadata, re.MULTILINE) or [""]
    one, first = re.search(r"==2\.(\d+)", words), re.search(r">=2\.(\d+)", words)
    end, gaps = re.search(r"<2\.(\d+)", words), re.findall(r"!=2\.(\d+)", words)
    if one:
        return {f"2.{one[1]}"}
    asked = range(int(first[1]), int(end[1])) if first and end else range(0)
    return {f"2.{minor}" for minor in asked} - {f"2.{minor}" for minor in gaps}


def architectures(library: Path) -> str:
    """What a library has CUDA code for."""
    of_pip = sorted(Path(sys.prefix).glob("lib/python*/site-packages/nvidia/*/bin/cuobjdump"))
    tool = shutil.which("cuobjdump") or (str(of_pip[0]) if of_pip else None)
    if tool is None:
        return "NOT CHECKED: no cuobjdump"
    found = []
    for kind in ("elf", "ptx"):
        codes = set(re.findall(r"sm_\w+", said(tool, f"--list-{kind}", str(library))))
        names = sorted(codes, key=lambda name: int(re.sub(r"\D", "", name)))
        found.append(f"{kind}: {' '.join(names) or 'none'}")
    return ", ".join(found)


def main(wheel: Path, cache: Path) -> int:
    """Print what the wheel holds; the number of faults."""
    with tempfile.TemporaryDirectory() as name, zipfile.ZipFile(wheel) as archive:
        archive.extractall(name)
        libraries = sorted(Path(name).rglob("*.so*"))
        cuda = [path for path in libraries if path.name == "libd3torch_cuda.so"]
        size = wheel.stat().st_size / 1e6
        print(f"{wheel.name}: {size:.1f} MB, {len(archive.namelist())} files")
        for info in archive.infolist():
            if info.filename.endswith(".so"):
                print(f"  {info.filename}: {info.file_size} bytes, {info.compress_size} packed")
        kernels = {
            symbol
            for path in libraries
            if path.parent.name == "lib"
            for symbol in symbols(path, "defined")
        }
        folders = [path.parent.name for path in libraries if path.name == "libd3torch.so"]
        torches = {folder: of_torch(folder, cache) for folder in folders}
        for folder in [folder for folder, known in torches.items() if known is None]:
            print(f"  NOT CHECKED: {folder}, there are no symbols of this torch")
        faults = [fault for path in libraries for fault in faults_of(path, kernels, torches)]
        for path in cuda:
            print(f"  CUDA code for {architectures(path)}")
        (about,) = Path(name).glob("d3torch-*.dist-info/METADATA")
        asked = minors(about.read_text(encoding="utf-8"))
        built = {path.parent.name.split("-")[1] for path in libraries if path.parent.name != "lib"}
        faults += [f"asks for torch {minor}, does not have it" for minor in sorted(asked - built)]
        faults += [f"has torch {minor}, does not ask for it" for minor in built - asked]
        roots = {entry.split("/")[0] for entry in archive.namelist()}
        faults += [f"holds {root}" for root in roots if not re.match(r"d3torch(-.*)?$", root)]
    if size > MOST[bool(cuda)]:
        faults.append(f"expected at most {MOST[bool(cuda)]} MB, got {size:.1f}")
    for fault in faults:
        print(f"FAULT: {fault}")
    return len(faults)


if __name__ == "__main__":
    if len(sys.argv) != 3 or not Path(sys.argv[1]).is_file():
        sys.exit(__doc__)
    sys.exit(min(main(Path(sys.argv[1]), Path(sys.argv[2])), 1))

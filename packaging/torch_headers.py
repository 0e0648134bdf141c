"""Headers of torches that are not installed, for a build, and the symbols of their libraries.

Usage: torch_headers.py CACHE VERSION... downloads what is not yet in the folder CACHE, a wheel of
0.2 to 0.9 GB each, keeps some 65 MB of it, and prints the folder of each, a line for each VERSION.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
KEPT = re.compile(r"torch/(include/|version\.py$)|torch(/lib|\.libs)/lib(torch_cpu|c10|gomp)\b.*so")
"""Headers; the libraries that ours asks for something, of which libc10 tells the ABI as well."""


def pythons() -> dict[str, str]:
    """A Python for every version of torch, of torches.txt."""
    lines = (HERE / "torches.txt").read_text(encoding="utf-8").splitlines()
    words = [line.split() for line in lines if line and not line.startswith("#")]
    return {version: python for version, python, *_ in words}


def download(version: str, python: str, folder: Path) -> Path:
    """A wheel of torch, without what it needs."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
    command += ["--only-binary=:all:", f"--python-version={python}", f"torch=={version}"]
    # A cap on what may be installed does not concern headers.
    environment = {**os.environ, "PIP_CONSTRAINT": os.devnull}
    if subprocess.run(command, check=False, env=environment).returncode:
        sys.exit(f"torch_headers: pip failed to download torch {version}, see above")
    (wheel,) = folder.glob("torch-*.whl")
    return wheel


def unpack(wheel: Path, folder: Path) -> None:
    """What a build looks at, and ``symbols.txt``, what the libraries define."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if KEPT.match(name):
                archive.extract(name, folder)
    libraries = [str(path) for path in folder.rglob("*.so*")]
    command = ["nm", "--dynamic", "--defined-only", "--no-demangle", "--format=posix", *libraries]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    names = {line.split()[0].split("@")[0] for line in said.splitlines() if " " in line}
    (folder / "torch" / "symbols.txt").write_text("\n".join(sorted(names)) + "\n")
    (folder / "torch" / "lib" / "libtorch_cpu.so").unlink()  # half a GB


def headers(cache: Path, version: str) -> Path:
    """Folder of the torch package in the cache, complete or not there."""
    folder = cache / version
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as name:
            print(f"torch_headers: downloading torch {version}", file=sys.stderr)
            wheel = download(version, pythons()[version], Path(name))
            unpack(wheel, Path(name) / "unpacked")
            (Path(name) / "unpacked").rename(folder)
    return folder / "torch"


if __name__ == "__main__":
    known = pythons()
    if not sys.argv[1:]:
        sys.exit(__doc__)
    asked = sys.argv[2:] or list(known)
    unknown = [version for version in asked if version not in known]
    if unknown:
        sys.exit(f"torch_headers: expected versions of {', '.join(known)}, got {unknown[0]}")
    for version in asked:
        print(headers(Path(sys.argv[1]), version))

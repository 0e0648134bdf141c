"""Takes prebuilt libraries for gpu_check.sh, and tries them on the GPU.

    python scripts/checks/gpu_library.py [WHEEL]

Without a wheel it tries those that are in d3torch/lib. Exit status: 0 if they are compiled of the
sources that are here and a molecule's energy on the GPU is that on the CPU; else 1, with the reason
in one sentence: then they have to be built.
"""

from __future__ import annotations

import os
import runpy
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).parents[2]
LIBRARIES = ROOT / "d3torch" / "lib"
SOURCES = runpy.run_path(str(ROOT / "packaging" / "sources.py"))
FILES = runpy.run_path(str(ROOT / "d3torch" / "files.py"))  # which does not import d3torch


def refuse_others(stamp: str, place: Path) -> None:
    """Refuse libraries of other sources than those that are here.

    Raises:
        SystemExit: if the number of their sources is another.
    """
    if stamp.strip() != SOURCES["digest"](ROOT):
        found = f"those of sources {stamp.strip()[:12]}" if stamp else "those of unknown ones"
        raise SystemExit(
            f"gpu_library: expected libraries of these sources, got {found} in {place}"
        )


def take(wheel: Path) -> None:
    """Put the libraries of a wheel into d3torch/lib, each at once."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.startswith("d3torch/lib/")]
        stamp = f"d3torch/lib/{SOURCES['NAME']}"
        refuse_others(archive.read(stamp).decode() if stamp in names else "", wheel)
        for name in names:
            target = ROOT / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with FILES["written_aside"](target) as aside:
                aside.write_bytes(archive.read(name))


def energies() -> tuple[float, float]:
    """Of a water molecule, eV, on the GPU (or what stands in for it) and on the CPU."""
    from stored_oracle import Case, compute  # now, since this imports d3torch

    from d3torch import _library

    emulated = bool(os.environ.get("D3TORCH_EMULATED_CUDA"))
    if not emulated and not _library.has_cuda():
        raise SystemExit("gpu_library: expected CUDA kernels in d3torch/lib, found none")
    atoms = np.array([[0.0, 0.0, 0.1], [0.0, 0.8, -0.5], [0.0, -0.8, -0.5]])
    no_cell = np.zeros((3, 3)), np.zeros(3, dtype=bool)
    water = Case("water", np.array([8, 1, 1]), atoms, *no_cell, "pbe", 60, 40)
    devices = ("emulated" if emulated else "cuda", "cpu")
    found, expected = (float(compute(water, d, torch.float64).energy) for d in devices)
    return found, expected


def main() -> int:
    """Take, try and say what came of it."""
    sys.path.insert(0, str(ROOT))
    if len(sys.argv) > 1:
        take(Path(sys.argv[1]))
    stamp = LIBRARIES / SOURCES["NAME"]
    refuse_others(stamp.read_text(encoding="utf-8") if stamp.is_file() else "", LIBRARIES)
    try:
        found, expected = energies()
    except (ImportError, RuntimeError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise SystemExit(f"gpu_library: the libraries do not serve: {said}") from None
    if not abs(found / expected - 1) < 1e-10:
        raise SystemExit(f"gpu_library: expected {expected} eV of the GPU, got {found}")
    print(f"Prebuilt libraries serve: water has {found:.6e} eV on the GPU and on the CPU.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

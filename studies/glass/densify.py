"""D3 in PMMCS glasses of 1500 atoms: densification beside pressure over bulk modulus.

Usage: python studies/glass/densify.py FOLDER STRUCTURE [HOLD_PS [PRESSURE]]. Goes on where it was
stopped. PRESSURE, GPa, is best what dispersion pulls with: K depends on it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ase.io import read

from d3torch import D3Calculator
from d3torch_glass.densification import densification
from d3torch_glass.potential import PMMCS
from d3torch_glass.protocol import Protocol


def main() -> None:
    folder, structure = Path(sys.argv[1]), sys.argv[2]
    hold = float(sys.argv[3]) if len(sys.argv) > 3 else 8.0
    pressure = float(sys.argv[4]) if len(sys.argv) > 4 else 2.0
    p = Protocol(
        dt_fs=2.0, tdamp_fs=100.0, pdamp_fs=300.0, hold_ps=hold, frame_ps=0.2, checkpoint_ps=0.5
    )
    d3 = D3Calculator("pbe", preset="mace_mp")  # 40 bohr, as the study's
    found = densification(read(structure), PMMCS(), d3, pressure, p, folder)
    for name, mean in found._asdict().items():
        print(f"{name:16} {mean.value:10.5f} +- {mean.error:.5f}", flush=True)


if __name__ == "__main__":
    main()

"""LAMMPS with DeePMD, as a program that the variable LMP names."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def failed(folder: Path) -> str:
    """Run the input ``in`` of a folder there: empty, or what was said last if it stopped."""
    words = [*os.environ.get("LMP", "lmp").split(), "-in", "in", "-log", "log"]
    done = subprocess.run(words, cwd=folder, capture_output=True)
    said = (done.stdout + done.stderr).decode(errors="replace").strip()[-500:]
    return f"expected LAMMPS to run, got: {said}" if done.returncode else ""

"""How far a distilled potential is from its teacher in the glasses that it made.

Usage: python studies/glass/distil/against_teacher.py MODEL.pb LABELS.extxyz STUDY

In the environment of train.py. LABELS are those of frames.py, labelled by the teacher, and STUDY
was analysed. ``STUDY/teacher.json`` gets for every job the mean error of the energy, the rms error
of the forces, the mean error of the pressure with its standard error, and, where K is known, the
density that the teacher's pressure would give to first order: more by that error over K.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from train import Off, compared, rms


def described(rows: list[Off], results: Any) -> dict[str, float]:
    """Errors over the frames of a job, and its density corrected by them."""
    pressures = [row.pressure for row in rows]
    found = {
        "frames": len(rows),
        "energy": 1e3 * float(np.mean([row.energy for row in rows])),
        "force": rms([row.force for row in rows]),
        "pressure": float(np.mean(pressures)),
    }
    if len(rows) > 1:
        found["pressure_error"] = float(np.std(pressures, ddof=1) / len(rows) ** 0.5)
    bulk = results.get("stiffness", {}).get("bulk")
    if bulk is not None:
        change = found["pressure"] / bulk["value"]
        found["density_corrected"] = results["density"]["value"] * (1.0 + change)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("study", type=Path)
    args = parser.parse_args()
    structures = ase.io.read(args.labels, ":")
    of_job: dict[str, list[Off]] = {}
    for atoms, row in zip(structures, compared(args.model, structures), strict=True):
        of_job.setdefault(atoms.info["source"], []).append(row)
    found = {}
    for name, rows in of_job.items():
        text = (args.study / name / "results.json").read_text(encoding="utf-8")
        found[name] = described(rows, json.loads(text))
    text = json.dumps(found, indent=1) + "\n"
    (args.study / "teacher.json").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

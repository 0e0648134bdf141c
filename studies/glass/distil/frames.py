"""Structures of melt-quenched glasses at 300 K, for their teacher to label.

Usage: python studies/glass/distil/frames.py STUDY FILE.extxyz [--frames N]

The last N structures of every ended quench in STUDY (``d3torch glass analyse`` first), spread over
the time that densities are averaged over; ``source`` in their info is the name of the job.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import ase.io
import numpy as np

from d3torch_glass.analyse import ended_chains, frames_of
from d3torch_glass.files import written_aside
from d3torch_glass.jobs import initial, read_job


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--frames", type=int, default=4)
    args = parser.parse_args()
    found = []
    for path in sorted(args.study.glob("*/manifest.json")):
        folder, job = path.parent, read_job(path.parent)
        runs = ended_chains(folder)
        if "quench" not in runs:
            continue
        frames = frames_of(runs["quench"], initial(job, folder))
        for k in np.unique(np.linspace(0, len(frames) - 1, args.frames).round().astype(int)):
            frames[k].info = {"name": job.composition, "source": folder.name}
            found.append(frames[k])
    with written_aside(args.file) as partial:
        ase.io.write(partial, found, format="extxyz")
    print(f"{len(found)} structures in {args.file}")


if __name__ == "__main__":
    main()

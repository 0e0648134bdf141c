"""The shared corpus for a program without torch, and its results beside those of this build.

python scripts/checks/corpus_file.py write corpus.bin
corpus_host < corpus.bin > results.bin      # tests/helpers/corpus_host/main.cpp
python scripts/checks/corpus_file.py compare results.bin --tolerance 1e-13
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from compare_results import COUNT, arguments, compare, op
from corpus import random_structures

import d3torch  # noqa: F401  the ops

NAMES = ("energy", "energies", "cn", "c6", "gradient", "virial", "cell", "damping")


def record(given: tuple[object, ...]) -> np.ndarray:
    """One structure as doubles, in the order that the program reads."""
    positions, cell, pbc, species, _, damping, rcov, r4r2, cn_ref, c6_ref, *scalars = given
    head = [len(species), *cn_ref.shape, *pbc[0].tolist(), *scalars]
    arrays = (species, positions, cell, damping, rcov, r4r2, cn_ref, c6_ref)
    return np.concatenate([np.array(head, float), *(x.double().numpy().ravel() for x in arrays)])


def expected(number: int, given: tuple[object, ...]) -> dict[str, np.ndarray]:
    """Results of this build for one structure."""
    found = op.dispersion_evaluate(*given, True, True, "best")
    kind = str(given[0].dtype)
    return {f"{number}-{kind}-{name}": x.numpy() for name, x in zip(NAMES, found, strict=True)}


def split(values: np.ndarray, like: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The numbers of the program as arrays of the shapes and dtypes of this build's."""
    ends = np.cumsum([x.size for x in like.values()])
    if values.size != ends[-1]:
        sys.exit(f"corpus_file: expected {ends[-1]} numbers, got {values.size}")
    parts = np.split(values, ends[:-1])
    pairs = zip(like.items(), parts, strict=True)
    return {key: part.reshape(x.shape).astype(x.dtype) for (key, x), part in pairs}


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=("write", "compare"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--tolerance", type=float, default=0.0, help="float64; float32: 1e9 times")
    args = parser.parse_args()
    structures = list(enumerate(random_structures(COUNT)))
    if args.action == "write":
        args.file.write_bytes(
            b"".join(record(arguments(s, k, torch.float64)).tobytes() for k, s in structures)
        )
        return 0
    here: dict[str, np.ndarray] = {}
    for k, s in structures:
        for dtype in (torch.float64, torch.float32):
            here |= expected(k, arguments(s, k, dtype))
    return compare(here, split(np.fromfile(args.file), here), args.tolerance)


if __name__ == "__main__":
    sys.exit(main())

"""What the CUDA kernels should take on an H100: counts times published ceilings; nothing measured.

Boxes, tiles and registers of 32 pairs are counted on the CPU for a sample of blocks, as the kernels
cut them; instructions come from the machine code (sm_90, float32, five references, width 0). See
docs/cuda_predictions.md. Usage: cuda_model.py [CASE...].
"""

from __future__ import annotations

import itertools
import sys
from dataclasses import dataclass

import ase
import ase.build
import ase.io
import numpy as np
from numpy.typing import NDArray

from d3torch.examples import glass_path

BOHR = 0.529177210903
# NVIDIA H100 SXM data sheet: 67 TFLOP/s in FP32 on 132 multiprocessors of 128 lanes, 3.35 TB/s.
MULTIPROCESSORS, SCHEDULERS, BANDWIDTH = 132, 4, 3.35e12
CLOCK = 67e12 / (2 * 128 * MULTIPROCESSORS)
# Part of the issue slots that loops like these fill at 16 warps a multiprocessor: an assumption.
FILLED = (0.9, 0.5)
# Time between the starts of two kernels that are queued, s: an assumption. Launches of a call: 13
# and 13 of our own, counted in the sources; 14 of torch's sort and cumsum, assumed. None waits.
LAUNCH = (2e-6, 5e-6)
OF_LATTICE, OF_LIST = 13 + 14, 13
# Warps that a multiprocessor holds at 128 registers, and how blocks are cut: lattice_sweeps.cu.
WARPS_HELD = 16
ENOUGH_WARPS, MOST_WARPS = 16384, 8


@dataclass(frozen=True)
class Sweep:
    """Instructions of a sweep for a warp: cuda_code.py and reading of its loops."""

    hit: float  # a register of 32 pairs, one of them within the cutoff
    empty: float  # a register without
    tile: float  # before and after the loop, a fourth of the emptying included
    warp: float  # before and after all tiles


ENERGY = Sweep(hit=41.25, empty=12, tile=89, warp=2000)
COUNT = Sweep(hit=28.25, empty=13, tile=66, warp=900)
GRADIENT = Sweep(hit=39.25, empty=12, tile=85, warp=1500)
PASS, SUPER = 215, 230  # 32 tests of a super box at an image; the clusters of one that is hit


def curve(cells: NDArray[np.int64], bits: int = 11) -> NDArray[np.int64]:
    """Places on the Hilbert curve, as in lattice_search.cu."""
    x = [cells[:, d].copy() for d in range(3)]
    for q in (1 << b for b in range(bits - 1, 0, -1)):
        for k in range(3):
            t = np.where(x[k] & q, 0, (x[0] ^ x[k]) & (q - 1))
            x[0] = np.where(x[k] & q, x[0] ^ (q - 1), x[0] ^ t)
            x[k] = x[k] ^ t
    x[1] ^= x[0]
    x[2] ^= x[1]
    t = np.zeros_like(x[0])
    for q in (1 << b for b in range(bits - 1, 0, -1)):
        t = np.where(x[2] & q, t ^ (q - 1), t)
    place = np.zeros_like(x[0])
    for bit, k in itertools.product(range(bits - 1, -1, -1), range(3)):
        place = 2 * place + (((x[k] ^ t) >> bit) & 1)
    return place


@dataclass
class Counts:
    """What an average block meets within a cutoff."""

    blocks: int
    launched: int  # with those that find nothing to do
    passes: float
    supers: float
    tiles: float
    registers: float
    hits: float
    pairs: float


def groups_of(
    atoms: ase.Atoms, cutoff: float
) -> tuple[NDArray[np.float64], list[NDArray[np.int64]]]:
    """Positions, and the atoms of each cluster in the order of the curve."""
    x = atoms.get_positions(wrap=True)
    places = curve(np.floor((x - x[0]) * 32 / cutoff).astype(np.int64) + 1024)
    order = np.lexsort((places, atoms.numbers))
    species = atoms.numbers[order]
    cuts = [order[species == z] for z in np.unique(species)]
    return x, [ids[k : k + 32] for ids in cuts for k in range(0, len(ids), 32)]


def count(atoms: ase.Atoms, cutoff: float, sort_cutoff: float, sample: int = 24) -> Counts:
    """Counts of a sample of blocks; cutoffs in Angstrom."""
    x, clusters = groups_of(atoms, sort_cutoff)
    low = np.array([x[c].min(0) for c in clusters])
    high = np.array([x[c].max(0) for c in clusters])
    padded = np.full((len(clusters), 32, 3), 1e9)
    for of, c in zip(padded, clusters, strict=True):
        of[: len(c)] = x[c]
    height = 1 / np.linalg.norm(np.linalg.inv(atoms.cell.complete()), axis=0)
    reach = [int(cutoff / h) + 2 if p else 0 for h, p in zip(height, atoms.pbc, strict=True)]
    shifts = np.array(list(itertools.product(*[range(-r, r + 1) for r in reach])))
    blocks = [c[k : k + 8] for c in clusters for k in range(0, len(c), 8)]
    chosen = np.random.default_rng(0).permutation(len(blocks))[:sample]
    rows = [_met(x[blocks[b]], shifts, atoms, low, high, padded, cutoff) for b in chosen]
    launched = 4 * (len(atoms) // 32 + len(set(atoms.numbers)) + 1)
    return Counts(len(blocks), launched, *np.mean(rows, axis=0))


def _met(
    block: NDArray[np.float64],
    shifts: NDArray[np.int64],
    atoms: ase.Atoms,
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    padded: NDArray[np.float64],
    cutoff: float,
) -> list[float]:
    """Passes, supers, tiles, registers, hits and pairs of one block of 8 atoms."""
    a, b = block.min(0), block.max(0)
    height = 1 / np.linalg.norm(np.linalg.inv(atoms.cell.complete()), axis=0)
    middle = np.linalg.solve(atoms.cell.complete().T, (a + b) / 2)
    far = np.where(atoms.pbc, cutoff / height + 0.05, 0)
    few = shifts[((shifts >= middle - far - 1) & (shifts <= middle + far) | ~atoms.pbc).all(1)]
    images = few @ atoms.cell.array

    def near(lo: NDArray[np.float64], hi: NDArray[np.float64]) -> NDArray[np.bool_]:
        gap = np.maximum(0, np.maximum(lo + images[:, None] - b, a - hi - images[:, None]))
        found: NDArray[np.bool_] = (gap**2).sum(-1) <= cutoff**2
        return found

    firsts = np.arange(0, len(low), 32)
    supers = near(np.minimum.reduceat(low, firsts), np.maximum.reduceat(high, firsts))
    image, tile = np.nonzero(near(low, high))
    hits = pairs = registers = 0
    for k in range(0, len(tile), 512):
        met = padded[tile[k : k + 512]]
        r2 = ((met + images[image[k : k + 512]][:, None])[:, :, None] - block) ** 2
        inside = (r2.sum(-1) <= cutoff**2).reshape(len(met), 8, 4, len(block))
        hits += inside.any((2, 3)).sum()
        pairs += inside.sum()
        registers += (met[:, ::4, 0] < 1e8).sum()
    species = len(set(atoms.numbers))
    passes = max(species, supers.size / 32)
    return [passes, supers.sum() + species, len(tile), registers, hits, pairs]


def slots(counts: Counts, sweep: Sweep) -> tuple[float, int]:
    """Issue slots of a block, and its warps."""
    warps = MOST_WARPS
    while warps > 1 and counts.launched * warps > ENOUGH_WARPS:
        warps //= 2
    search = counts.passes * PASS + counts.supers * SUPER + sweep.warp
    empty = counts.registers - counts.hits
    work = counts.tiles * sweep.tile + counts.hits * sweep.hit + empty * sweep.empty
    return warps * search + work, warps


def seconds(counts: Counts, sweep: Sweep) -> float:
    """Time of a sweep if every issue slot were filled on the fullest multiprocessor."""
    of_block, warps = slots(counts, sweep)
    held = WARPS_HELD // warps * MULTIPROCESSORS
    fullest = counts.blocks / MULTIPROCESSORS
    if counts.blocks <= held:  # a single wave: some multiprocessors have one block more
        fullest = -(-counts.blocks // MULTIPROCESSORS)
    return fullest * of_block / (SCHEDULERS * CLOCK)


def lattice(atoms: ase.Atoms, cutoff: float, cn_cutoff: float) -> str:
    """A line for an evaluation of the lattice engine; cutoffs in Angstrom."""
    far, close = (count(atoms, c, cutoff) for c in (cutoff, cn_cutoff))
    parts = [seconds(close, COUNT), seconds(far, ENERGY), seconds(close, GRADIENT)]
    least, most = (sum(parts) / FILLED[k] + OF_LATTICE * LAUNCH[k] for k in (0, 1))
    pairs = far.pairs * far.blocks
    return (
        f"{pairs:.3g} pairs, {far.tiles:.0f} tiles and {far.hits:.0f} of {far.registers:.0f} "
        f"registers a block; full slots {1e3 * sum(parts):.3f} ms (CN, energy, gradient "
        f"{', '.join(f'{1e3 * p:.3f}' for p in parts)}); {1e3 * least:.2f} to {1e3 * most:.2f} ms"
    )


def on_list(pairs: float) -> str:
    """A line for an evaluation on a given list: three sweeps and four passes over the indices."""
    issue = pairs / 32 * (303 + 259 + 203) / (MULTIPROCESSORS * SCHEDULERS * CLOCK)
    read = pairs * (3 * (16 + 24 + 4) + 4 * 16) / BANDWIDTH
    least = max(issue / FILLED[0], read) + OF_LIST * LAUNCH[0]
    most = issue / FILLED[1] + read + OF_LIST * LAUNCH[1]
    return (
        f"{pairs:.3g} pairs; full slots {1e3 * issue:.3f} ms, memory {1e3 * read:.3f} ms; "
        f"{1e3 * least:.2f} to {1e3 * most:.2f} ms"
    )


def molecules(n: int = 1000) -> str:
    """A line for a batch of ethane: every block meets the two clusters of its molecule."""
    blocks, launched = 2 * n, 4 * (8 * n // 32 + 2 * n + 1)
    counts = Counts(blocks, launched, 2, 2, 2, 2, 2, 28)
    parts = [seconds(counts, sweep) for sweep in (COUNT, ENERGY, GRADIENT)]
    least, most = (sum(parts) / FILLED[k] + OF_LATTICE * LAUNCH[k] for k in (0, 1))
    return f"full slots {1e3 * sum(parts):.3f} ms; {1e3 * least:.2f} to {1e3 * most:.2f} ms"


def main(chosen: list[str]) -> None:
    """Print a line for each case."""
    glass = ase.io.read(glass_path())
    salt = ase.build.bulk("CsCl", "cesiumchloride", a=4.12).repeat(41)
    salt.rattle(0.1)
    cases = {
        "NS33, 95/40 bohr": lambda: lattice(glass, 95 * BOHR, 40 * BOHR),
        "D3 beside MACE, 1500 atoms, 40 bohr": lambda: lattice(glass, 40 * BOHR, 40 * BOHR),
        "CsCl, 137 842 atoms, 25 A": lambda: lattice(salt, 25, 40 * BOHR),
        "1000 molecules of 8 atoms": molecules,
        "list, 4.4 M pairs": lambda: on_list(4.4e6),
    }
    for name, line in cases.items():
        if not chosen or name in chosen:
            print(f"{name}: {line()}")


if __name__ == "__main__":
    main(sys.argv[1:])

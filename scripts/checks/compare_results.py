"""Results of two builds on the shared corpus, compared to the last bit.

Calls the flat ops that saved models call, so that any two versions can be compared: energies,
forces, virials, coordination numbers and slopes of the damping for every instruction set and one
and two threads, second derivatives of the lattice engine, and the pair ops with their first and
second derivatives, in both dtypes.

    python scripts/checks/compare_results.py write before.npz     # with the old build
    python scripts/checks/compare_results.py compare before.npz   # with the new one: exit code
    python scripts/checks/compare_results.py compare before.npz --tolerance 1e-13
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from d3torch.parameters import damping_parameters
from d3torch.reference import reference_tables
from d3torch.units import BOHR

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "helpers"))

from corpus import Structure, random_structures  # noqa: E402
from systems import pair_list  # noqa: E402

COUNT = 220
SETS = ("avx512", "avx2", "baseline")
SWITCH = 1.5
"""Width of the smooth cutoff, bohr, of every second structure."""

FLOOR = 1e-4
"""Atomic units: smaller results are taken for what is left of a cancellation."""

op = torch.ops.d3torch
Results = dict[str, np.ndarray]


def has(instruction_set: str) -> bool:
    """Whether this processor has an instruction set."""
    structure = random_structures(1)[0]
    given = arguments(structure, 0, torch.float64)
    try:
        op.dispersion_evaluate(*given, False, False, instruction_set)
    except ValueError:
        return False
    return True


def arguments(s: Structure, number: int, dtype: torch.dtype) -> tuple[object, ...]:
    """Arguments of ``d3torch::dispersion``, in bohr and hartree."""
    elements = np.unique(s.numbers)
    tables = reference_tables(elements.tolist())
    real = [s.positions / BOHR, s.cell[None] / BOHR]
    positions, cell = (torch.tensor(values, dtype=dtype) for values in real)
    damping = torch.tensor([damping_parameters("pbe")], dtype=dtype)
    data = (tables.rcov, tables.r4r2, tables.cn_ref, tables.c6_ref)
    return (
        positions,
        cell,
        torch.tensor(s.pbc)[None],
        torch.tensor(np.searchsorted(elements, s.numbers)),
        torch.tensor([0, len(s.numbers)]),
        damping,
        *(torch.tensor(values, dtype=dtype) for values in data),
        s.cutoff / BOHR,
        s.cn_cutoff / BOHR,
        SWITCH * (number % 2),
        bool(s.pbc.all()) and number % 3 == 0,
    )


def direction(like: Tensor) -> Tensor:
    """A fixed direction for second derivatives."""
    return torch.cos(torch.arange(like.numel(), dtype=like.dtype)).view_as(like)


def second_derivatives(energy: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    """Slopes, and the derivative of the slopes along :func:`direction`."""
    slopes = torch.autograd.grad(energy.sum(), leaves, create_graph=True)
    along = sum((slope * direction(slope)).sum() for slope in slopes)
    return [*slopes, *torch.autograd.grad(along, leaves)]


def lattice_results(given: tuple[object, ...], sets: list[str]) -> Iterator[tuple[str, Tensor]]:
    """Results of the lattice engine by every instruction set, and its second derivatives."""
    for name in sets:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found = op.dispersion_evaluate(*given, True, True, name)
            yield from ((f"{name}-{threads}-{k}", value) for k, value in enumerate(found))
    leaves = [given[k].clone().requires_grad_() for k in (0, 1, 5)]  # positions, cell, damping
    energy = op.dispersion(*leaves[:2], *given[2:5], leaves[2], *given[6:])
    for k, value in enumerate([energy, *second_derivatives(energy, leaves)]):
        yield f"lattice-{k}", value


def pair_results(s: Structure, given: tuple[object, ...]) -> Iterator[tuple[str, Tensor]]:
    """Results of the pair ops on a list by brute force, and their derivatives."""
    species, (rcov, *tables), (cutoff, cn_cutoff, width) = given[3], given[6:10], given[10:13]
    reach = max(cutoff, cn_cutoff) * BOHR
    pairs, vectors = pair_list(s.positions, s.cell, s.pbc, reach)
    r = (vectors / BOHR).to(given[0].dtype).requires_grad_()
    damping = given[5][0].clone().requires_grad_()
    cn = op.coordination_number(r, pairs, species, rcov, cn_cutoff)
    rest = (pairs, species, *tables, cutoff, width)
    energies = op.dispersion_energy(r, cn, damping, *rest)
    by_centre = op.dispersion_energy_by_centre(r.detach(), cn.detach(), damping.detach(), *rest)
    values = [cn, energies, *by_centre, *second_derivatives(energies, [r, damping])]
    yield from ((f"pairs-{k}", value) for k, value in enumerate(values))


def all_results() -> Results:
    """Everything, by a name that says where it comes from."""
    sets = [name for name in SETS if has(name)]
    found: Results = {}
    for number, s in enumerate(random_structures(COUNT)):
        for dtype in (torch.float64, torch.float32):
            given = arguments(s, number, dtype)
            for results in (lattice_results(given, sets), pair_results(s, given)):
                for key, value in results:
                    found[f"{s.name}-{dtype}-{key}"] = value.detach().numpy().copy()
    return found


def deviation(one: np.ndarray, other: np.ndarray) -> float:
    """Largest difference relative to the largest value, or to FLOOR if that is larger; infinite for
    another shape or for NaN.
    """
    if one.shape != other.shape or np.isnan(one).any() or np.isnan(other).any():
        return np.inf
    largest = max(float(np.abs(other).max(initial=0.0)), FLOOR)
    return float(np.abs(one - other).max(initial=0.0)) / largest


def compare(before: Results, now: Results, tolerance: float) -> int:
    """Print how many arrays differ, and the worst; the exit code."""
    if before.keys() != now.keys():
        print(f"expected the same results, got others: {sorted(before.keys() ^ now.keys())[:5]}")
        return 1
    worst = {key: deviation(now[key], before[key]) for key in before}
    changed = [key for key in before if before[key].tobytes() != now[key].tobytes()]
    allowed = {k: tolerance * (1e9 if before[k].dtype == np.float32 else 1) for k in before}
    bad = [key for key in changed if worst[key] > allowed[key] or tolerance == 0.0]
    print(f"{len(before)} arrays, {len(changed)} not bitwise equal, {len(bad)} beyond tolerance")
    for key in sorted(bad, key=worst.__getitem__)[-5:]:
        print(f"{worst[key]:.1e}  {key}")
    return 1 if bad else 0


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=("write", "compare"))
    parser.add_argument("file")
    parser.add_argument("--tolerance", type=float, default=0.0, help="float64; float32: 1e9 times")
    args = parser.parse_args()
    now = all_results()
    if args.action == "write":
        np.savez_compressed(args.file, **now)
        print(f"{args.file}: {len(now)} arrays of {COUNT} structures")
        return 0
    with np.load(args.file) as stored:
        return compare(dict(stored), now, args.tolerance)


if __name__ == "__main__":
    sys.exit(main())

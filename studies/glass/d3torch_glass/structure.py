"""Structure of silicate glasses: distances, coordination, angles, Q^n; through vitrum.

vitrum 1.1 (MIT) counts; here it is told what is a bond (:data:`BONDS`) and its sums are named.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from vitrum.coordination import Coordination
from vitrum.scattering import Scattering

BONDS = {("Si", "O"): 2.2, ("Na", "O"): 3.1}
"""Longest bonds, A: the first minima of the pair distribution functions."""

ANGLES = (("Si", "O", "Si"), ("O", "Si", "O"), ("Si", "O", "Na"))


class Pairs(NamedTuple):
    """Pair distribution functions of a trajectory.

    Attributes:
        r: centres of the bins, (n_r,), A.
        g: by pair such as ``"Si-O"``, (n_r,) each; 1 for an ideal gas.
        peaks: by pair, where the highest maximum of g, folded with a Gaussian of 0.03 A, is, A.
    """

    r: Any
    g: Mapping[str, Any]
    peaks: Mapping[str, float]


def pair_names(atoms: Atoms) -> list[tuple[str, str]]:
    """Pairs of the elements present, Si before Na before O."""
    order = [s for s in ("Si", "Na", "O") if s in set(atoms.symbols)]
    order += sorted(set(atoms.symbols) - {*order})
    return list(itertools.combinations_with_replacement(order, 2))


def peak_position(x: Any, y: Any) -> float:
    """Where the highest maximum is: a parabola through the largest value and its neighbours."""
    k = int(np.clip(np.argmax(y), 1, len(y) - 2))
    a, b, c = y[k - 1], y[k], y[k + 1]
    bend = a - 2.0 * b + c
    shift = 0.5 * (a - c) / bend if bend < 0 else 0.0
    return float(x[k] + shift * (x[k + 1] - x[k]))


def scattering(
    frames: Sequence[Atoms], reach: float | None = None, bins: int = 500, q_max: float = 20.0
) -> Scattering:
    """Pair distributions and structure factors of a trajectory, by vitrum.

    Args:
        frames: structures of one composition, three periodic directions.
        reach: largest distance, A; None takes half of the shortest width of the cells, and 20 A at
            most.
        bins: bins of distance, and points of Q from 0.5 to q_max.
        q_max: largest Q, 1/A.

    Raises:
        ValueError: by vitrum, for other frames or a longer reach.
    """
    given: dict[str, Any] = {"rrange": reach, "nbin": bins, "qmax": q_max}
    return Scattering(list(frames), disable_progress=True, **given)


def pair_distributions(
    frames: Sequence[Atoms], reach: float | None = None, bins: int = 500
) -> Pairs:
    """Partial pair distribution functions; arguments as of :func:`scattering`."""
    found = scattering(frames, reach, bins)
    g = {"-".join(p): found.get_partial_pdf(p) for p in pair_names(frames[0])}
    r = found.xval
    return Pairs(r, g, {name: peak_position(r, _folded(r, y)) for name, y in g.items()})


def _folded(r: Any, y: Any, width: float = 0.03) -> Any:
    """Fold y with a Gaussian of that standard deviation."""
    kernel = np.exp(-0.5 * ((r[:, None] - r[None, :]) / width) ** 2)
    return kernel @ y / kernel.sum(axis=1)


def _bonds(atoms: Atoms) -> dict[tuple[str, str], float]:
    present = set(atoms.symbols)
    pairs = {pair: reach for pair, reach in BONDS.items() if set(pair) <= present}
    return pairs | {(b, a): reach for (a, b), reach in pairs.items()}


def coordination(frames: Sequence[Atoms]) -> dict[str, dict[int, float]]:
    """Fractions of Si and Na with each number of O around, and of O with each number of Si."""
    bonds, counter = _bonds(frames[0]), Coordination(list(frames))
    wanted = [(a, b) for a, b in (("Si", "O"), ("Na", "O"), ("O", "Si")) if (a, b) in bonds]
    return {
        f"{a}-{b}": _plain(counter.get_coordination_numbers(a, b, cutoff=bonds)) for a, b in wanted
    }


def _plain(fractions: Any) -> dict[int, float]:
    return {int(n): float(share) for n, share in sorted(fractions.items())}


def angles(frames: Sequence[Atoms]) -> dict[str, Any]:
    """All angles of each kind in :data:`ANGLES` that the elements allow, degrees, (n,)."""
    bonds, counter = _bonds(frames[0]), Coordination(list(frames))
    found = {}
    for a, centre, b in ANGLES:
        if {(centre, a), (centre, b)} <= bonds.keys():
            values = counter.get_angles(centre, [a, b], cutoff=bonds)
            found[f"{a}-{centre}-{b}"] = np.concatenate([np.zeros(0), *values])
    return found


class Network(NamedTuple):
    """Connectivity of the silicate network.

    Attributes:
        qn: fractions of Si with n bridging oxygens, by n.
        mean_qn: bridging oxygens per silicon, on average.
        oxygen: fractions of O with each number of Si around: 0 free, 1 non-bridging, 2 bridging.
        sum_rule: mean_qn as O with two or more Si give it by counting, which any four-fold
            network without free oxygen or tricluster obeys: 4 - 2x/(1-x).
    """

    qn: Mapping[int, float]
    mean_qn: float
    oxygen: Mapping[int, float]
    sum_rule: float


def network(frames: Sequence[Atoms]) -> Network:
    """Q^n of a trajectory, with :data:`BONDS`."""
    bonds, counter = _bonds(frames[0]), Coordination(list(frames))
    qn = _plain(counter.get_bridging_analysis("Si", "O", cutoff=bonds))
    oxygen = _plain(counter.get_bridging_speciation("O", "Si", cutoff=bonds))
    counts = frames[0].symbols.formula.count()
    x = 0.5 * counts.get("Na", 0) / (0.5 * counts.get("Na", 0) + counts["Si"])
    mean = sum(n * share for n, share in qn.items())
    return Network(qn, mean, oxygen, 4.0 - 2.0 * x / (1.0 - x))


def neutron_factors(frames: Sequence[Atoms], q_max: float = 20.0, bins: int = 500) -> Any:
    """Neutron S(Q) of a trajectory, total and partial (Faber-Ziman), without a window function.

    Returns:
        Q, (n,), 1/A; total S, (n,); partial S by pair, unweighted.

    Source: Y. Waseda, The Structure of Non-Crystalline Materials (1980); lengths: data/README.md.
    """
    found = scattering(frames, bins=bins, q_max=q_max)
    partial = {"-".join(p): found.get_partial_structure_factor(p) for p in pair_names(frames[0])}
    return found.qval, found.get_structure_factor("neutron"), partial

r"""Neutron structure factors by a direct sum in reciprocal space.

.. math:: A_{\alpha\beta}(Q) = \frac{1}{\sqrt{N_\alpha N_\beta}} \left\langle
    \mathrm{Re} \sum_{i \in \alpha} e^{i Q x_i} \sum_{j \in \beta} e^{-i Q x_j} \right\rangle,
    \quad S_{\alpha\beta} = 1 + \frac{A_{\alpha\beta} - \delta_{\alpha\beta}}{\sqrt{c_\alpha
    c_\beta}}, \quad S = \sum_{\alpha\beta} \frac{c_\alpha b_\alpha c_\beta b_\beta}
    {\langle b \rangle^2} S_{\alpha\beta}

over the Q that the cell allows, averaged over shells. It shares no code with vitrum, which
transforms pair distribution functions, and is exact where Q is allowed: it is what vitrum is
checked against.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from d3torch_glass.facts import facts


class Factors(NamedTuple):
    """Structure factors on shells of Q.

    Attributes:
        q: mean of the allowed Q in each shell, (n,), 1/A.
        total: neutron S(Q), (n,).
        partial: S_ab(Q) by pair of elements in alphabetic order, such as ``"O-Si"``, (n,).
        vectors: allowed Q in each shell, both signs counted once, (n,).
    """

    q: Any
    total: Any
    partial: dict[str, Any]
    vectors: Any


def _amplitudes(atoms: Atoms, elements: list[str], q_max: float) -> tuple[Any, Any]:
    """Lengths of the allowed Q up to q_max, (n_q,), and sums of exp(i Q x), (n_elements, n_q).

    One Q of each pair of opposite sign. The exponential is a product over the three indices, so
    the sum over atoms is a matrix product for each first index.
    """
    cell = atoms.cell.array
    reciprocal = 2.0 * np.pi * np.linalg.inv(cell).T
    h, k, m = (
        np.arange(-n, n + 1)
        for n in np.floor(q_max * np.linalg.norm(cell, axis=1) / (2.0 * np.pi)).astype(int)
    )
    angles = 2.0 * np.pi * atoms.cell.scaled_positions(atoms.positions)
    waves = [np.exp(1j * np.outer(n, a)) for n, a in zip((h, k, m), angles.T, strict=True)]
    chosen = [atoms.symbols == e for e in elements]
    lengths, sums = [], []
    kk, mm = np.meshgrid(k, m, indexing="ij")
    for first in h[h >= 0]:
        q = np.stack([np.full_like(kk, first), kk, mm], axis=-1) @ reciprocal
        size = np.linalg.norm(q, axis=-1)
        once = (first > 0) | (kk > 0) | ((kk == 0) & (mm > 0))
        near = once & (size <= q_max)
        front = waves[0][first - h[0]] * waves[1]
        sums.append([(front[:, c] @ waves[2][:, c].T)[near] for c in chosen])
        lengths.append(size[near])
    return np.concatenate(lengths), np.concatenate(sums, axis=1)


def direct_factors(atoms: Atoms, q_max: float = 10.0, width: float = 0.1) -> Factors:
    """Neutron structure factors of one structure by the direct sum.

    Args:
        atoms: O, Na and Si, three periodic directions.
        q_max: largest Q, 1/A; time grows with its third power.
        width: of the shells, 1/A.

    Raises:
        ValueError: unless three directions are periodic.
    """
    if not atoms.pbc.all():
        raise ValueError(f"expected three periodic directions, got {atoms.pbc.tolist()}")
    elements = sorted(set(atoms.symbols))
    lengths, sums = _amplitudes(atoms, elements, q_max)
    shells = (lengths / width).astype(int)
    number = np.bincount(shells)
    full = number > 0

    def mean(values: Any) -> Any:
        return np.bincount(shells, weights=values)[full] / number[full]

    counts = np.array([(atoms.symbols == e).sum() for e in elements], dtype=np.float64)
    c = counts / counts.sum()
    b = np.array([facts()["neutron_b_fm"][e] for e in elements])
    total, partial = np.zeros(int(full.sum())), {}
    for k, first in enumerate(elements):
        for m in range(k, len(elements)):
            overlap = mean((sums[k] * sums[m].conj()).real) / np.sqrt(counts[k] * counts[m])
            s = 1.0 + (overlap - (k == m)) / np.sqrt(c[k] * c[m])
            partial[f"{first}-{elements[m]}"] = s
            total += (1 + (k != m)) * c[k] * b[k] * c[m] * b[m] / (c @ b) ** 2 * s
    return Factors(mean(lengths), total, partial, number[full])


def truncated(factors: Factors, atoms: Atoms, q: Any, reach: float, lorch: bool = False) -> Any:
    r"""What a transform of g(r) up to a distance makes of an exact S(Q), (n,).

    .. math:: S_R(Q) = 1 + \frac{1}{V} \sum_{q \neq 0} [S(q) - 1] \int_0^R
        \frac{\sin Qr}{Qr} \frac{\sin qr}{qr} M(r) \, 4 \pi r^2 dr

    The truncation smears S by about 2 pi / R and is the whole difference between the two routes.

    Args:
        factors: of :func:`direct_factors`, with shells much narrower than 1/R.
        atoms: gives the volume.
        q: where, (n,), 1/A, well below the largest of the factors.
        reach: R, A.
        lorch: M(r) = sin(pi r/R)/(pi r/R) instead of 1.
    """
    r = np.linspace(0.0, reach, 2000)
    weight = 4.0 * np.pi * r**2 * (np.sinc(r / reach) if lorch else 1.0)
    weight *= r[1]
    weight[-1] *= 0.5
    outer, inner = (np.sinc(np.outer(x, r) / np.pi) for x in (q, factors.q))
    kernel = (outer * weight) @ inner.T
    return 1.0 + kernel @ (2.0 * factors.vectors * (factors.total - 1.0)) / atoms.get_volume()

"""D3(BJ) in plain torch with every property open in which programs differ.

With the properties as they come it is d3torch's own D3, which ``causes.py`` asserts.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.agreement.question import Answer
from d3torch.neighbors import neighbor_pairs
from d3torch.parameters import damping_parameters
from d3torch.reference import ReferenceTables, reference_tables
from d3torch.units import BOHR, HARTREE

UNDERFLOW = 1e-99
"""Sum of weights of a pair below which the original program takes the nearest reference."""


class Properties(NamedTuple):
    """In what programs differ.

    Attributes:
        cutoff, cn_cutoff: bohr, as the program counts them.
        width: of the smooth switch, bohr.
        reference: generation of the tables.
        bohr: angstroms in a bohr, for positions.
        hartree: electronvolts in a hartree, for energies.
        radii_bohr: angstroms in a bohr, for covalent radii.
        old_lengths: covalent radii and Q with the digits of the original, see :func:`old_lengths`.
        single_tables: those in float32: "lengths" (covalent radii and Q) or "all".
        single_damping: damping parameters in float32.
        single: everything is computed in float32.
        least: exponent below the largest one of a pair from which on references are left out.
        nearest: where the weights of a pair underflow, the nearest reference, without derivative.
        plain: weights are divided by their sum, which may underflow.
        steeper: A, where FourierD3's counting function has become 0; 0 for that of D3.
        tail: the isotropic energy beyond the cutoff is added.
        images: "all", "nearest" (one of each pair) or "none".
        folded: atoms are moved into the cell, also along vectors without periodicity.
    """

    cutoff: float = 60.0
    cn_cutoff: float = 40.0
    width: float = 0.0
    reference: str = "2024"
    bohr: float = BOHR
    hartree: float = HARTREE
    radii_bohr: float = BOHR
    old_lengths: bool = False
    single_tables: str = ""
    single_damping: bool = False
    single: bool = False
    least: float | None = None
    nearest: bool = False
    plain: bool = False
    steeper: float = 0.0
    tail: bool = False
    images: str = "all"
    folded: bool = False

    def dtype(self) -> torch.dtype:
        """Of everything that is computed."""
        return torch.float32 if self.single else torch.float64


class Listed(NamedTuple):
    """Pairs (2, n), their vectors in bohr (n, 3), and a row of tables for each atom."""

    pairs: Tensor
    vectors: Tensor
    species: Tensor


SINGLE_TABLES: dict[str, tuple[int, ...]] = {"": (), "lengths": (0, 1), "all": (0, 1, 2, 3)}
"""Which of rcov, Q, CN_ref and C6_ref are stored in float32."""


OLD_BOHR = 0.52917726
"""Angstroms in a bohr of the original program."""


def old_lengths(elements: list[int], t: ReferenceTables) -> list[Any]:
    """Covalent radii and Q as the original program lists them, bohr.

    They were made with 4/3, radii and <r4>/<r2> in single precision, and have eight decimals.
    """
    z, single = np.array(elements, dtype=float), np.float32
    radii = np.round(t.rcov * 0.75 * BOHR, 2).astype(single).astype(float)
    ratios = np.round(2 * t.r4r2**2 / np.sqrt(z), 4).astype(single).astype(float)
    rcov = float(single(4) / single(3)) * radii / OLD_BOHR
    return [np.round(rcov, 8), np.round(np.sqrt(0.5 * ratios * np.sqrt(z)), 8)]


def _tables(elements: list[int], p: Properties) -> list[Tensor]:
    """Tables rcov, Q, cn_ref and c6_ref in atomic units, rounded as the program has them."""
    t = reference_tables(elements, p.reference)
    lengths = old_lengths(elements, t) if p.old_lengths else [t.rcov * BOHR / p.radii_bohr, t.r4r2]
    tables = [*lengths, t.cn_ref, t.c6_ref]
    for i in SINGLE_TABLES[p.single_tables]:
        tables[i] = tables[i].astype(np.float32).astype(np.float64)
    return [torch.tensor(table, dtype=p.dtype()) for table in tables]


def _damping(xc: str, p: Properties) -> list[float]:
    """The parameters s6, s8, a1 and a2."""
    given = damping_parameters(xc)
    return [float(np.float32(v)) if p.single_damping else v for v in given]


def _listed(atoms: Any, elements: list[int], p: Properties) -> Listed:
    pbc = np.zeros(3, dtype=bool) if p.images == "none" else atoms.pbc
    cell, reach = atoms.cell.array / p.bohr, max(p.cutoff, p.cn_cutoff)
    near = neighbor_pairs(_places(atoms, p) / p.bohr, cell, pbc, reach)
    pairs, vectors = near.pairs, near.vectors
    if p.images == "nearest":
        pairs, vectors = _nearest_images(pairs, vectors, len(atoms))
    species = torch.tensor([elements.index(z) for z in atoms.numbers])
    return Listed(pairs, vectors.to(p.dtype()), species)


def _places(atoms: Any, p: Properties) -> Any:
    """Positions, A."""
    if not p.folded or not atoms.pbc.any():
        return atoms.positions
    return (atoms.get_scaled_positions(wrap=False) % 1.0) @ atoms.cell.array


def _nearest_images(pairs: Tensor, vectors: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """The shortest vector of each pair of different atoms."""
    order = torch.argsort(vectors.norm(dim=1), stable=True)
    key = (pairs[0] * n + pairs[1])[order]
    _, first = np.unique(key.numpy(), return_index=True)
    kept = order[torch.from_numpy(first)]
    kept = kept[pairs[0, kept] != pairs[1, kept]]
    return pairs[:, kept], vectors[kept]


def coordination(near: Listed, r: Tensor, rcov: Tensor, p: Properties) -> Tensor:
    """Coordination numbers, (n,)."""
    both = rcov[near.species][near.pairs].sum(0)
    slope: Any = 16.0
    if p.steeper:
        end = p.steeper / p.bohr
        middle = (both * 3 / 4 + end) / 2
        slope = 16 + (r - middle).clamp(min=0) ** 2 / ((end - r) ** 2 + 1e-6)
    count = torch.sigmoid(slope * (both / r - 1)) * (r <= p.cn_cutoff)
    return torch.zeros(len(near.species), dtype=r.dtype).index_add(0, near.pairs[0], count)


def c6_of_pairs(cn: Tensor, species: Tensor, cn_ref: Tensor, c6_ref: Tensor, p: Properties) -> Any:
    """C6 of every atom with every other, (n, n)."""
    gap = -4 * (cn[:, None] - cn_ref[species]) ** 2
    gap = gap.masked_fill(cn_ref[species] < 0, -torch.inf)
    exponent = (gap[:, None, :, None] + gap[None, :, None, :]).flatten(2)
    c6 = c6_ref[species[:, None], species[None]].flatten(2)
    top = exponent.detach().amax(-1, keepdim=True)
    shifted = exponent - top
    if p.least is not None:
        shifted = shifted.masked_fill(shifted < p.least, -torch.inf)
    weighted = (torch.softmax(shifted, -1) * c6).sum(-1)
    if p.plain:
        return (exponent.exp() * c6).sum(-1) / exponent.exp().sum(-1)
    if not p.nearest:
        return weighted
    closest = c6.gather(-1, exponent.detach().argmax(-1, keepdim=True))[..., 0]
    lost = exponent.detach().double().exp().sum(-1) <= UNDERFLOW
    return torch.where(lost, closest, weighted)


def energy_of_pairs(r: Tensor, c6: Tensor, qq: Tensor, p: Properties, xc: str) -> Tensor:
    """Energy of each directed pair, hartree."""
    s6, s8, a1, a2 = _damping(xc, p)
    r0 = a1 * torch.sqrt(3 * qq) + a2
    energy = s6 / (r**6 + r0**6) + s8 * 3 * qq / (r**8 + r0**8)
    x = ((p.cutoff - r) / p.width).clamp(0, 1) if p.width else (r <= p.cutoff).to(r.dtype)
    switch = x**3 * (10 - 15 * x + 6 * x**2) if p.width else x
    return -0.5 * c6 * energy * switch


def tail_energy(c6: Tensor, qq: Tensor, volume: float, p: Properties, xc: str) -> Tensor:
    """Energy beyond the cutoff where the density is even, without damping, hartree."""
    (s6, s8, *_), r = _damping(xc, p), p.cutoff
    return -2 * np.pi / volume * (c6 * (s6 / (3 * r**3) + 3 * s8 * qq / (5 * r**5))).sum()


def evaluate(atoms: Any, p: Properties, xc: str = "pbe") -> Answer:
    """Energy and forces of a structure with these properties."""
    elements = sorted({int(z) for z in atoms.numbers})
    near = _listed(atoms, elements, p)
    rcov, q, cn_ref, c6_ref = _tables(elements, p)
    vectors = near.vectors.requires_grad_()
    r = vectors.norm(dim=1)
    cn = coordination(near, r, rcov, p)
    c6, q = c6_of_pairs(cn, near.species, cn_ref, c6_ref, p), q[near.species]
    qq = torch.outer(q, q)
    here = near.pairs[0], near.pairs[1]
    energy = energy_of_pairs(r, c6[here], qq[here], p, xc).double().sum()
    if p.tail:
        energy = energy + tail_energy(c6, qq, atoms.cell.volume / p.bohr**3, p, xc)
    (slope,) = torch.autograd.grad(energy, vectors)
    forces = torch.zeros((len(atoms), 3), dtype=torch.float64)
    forces.index_add_(0, near.pairs[0], slope.double()).index_add_(
        0, near.pairs[1], -slope.double()
    )
    return Answer(energy.item() * p.hartree, forces.numpy() * p.hartree / p.bohr)

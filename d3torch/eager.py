"""The ops in plain torch, no tricks: the specification, and the oracle of every kernel.

Same arguments, units and results as :mod:`d3torch.ops`, on any device and for any order of
derivative, at a cost of about 1 kB a pair. It is used only when asked for by name
(``backend="eager"``). Pairs are refused as by the kernels where values can be looked at: on the
CPU, outside of compilers and vmap; elsewhere a vector of length 0 gives NaN.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from .ops import ByCentre, OwnedForces, PairList, Range, Shares, Systems, Tables
from .products import bilinear, product
from .structure import SAME_SPOT

EVERY_PAIR = 1e4
"""Distance, in any unit, up to which a molecule has all its pairs where there is a tail."""


def segment_sum(values: Tensor, index: Tensor, n: int) -> Tensor:
    """Sum of the values that share an index, (n,)."""
    return torch.zeros(n, dtype=values.dtype, device=values.device).index_add(0, index, values)


@contextlib.contextmanager
def differentiable() -> Iterator[None]:
    """A graph for derivatives that are needed inside, whatever the caller forbids around it."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def ordinary(values: Tensor) -> Tensor:
    """The values without a graph; a copy where inference mode made them, which has none to give."""
    return values.clone() if values.is_inference() else values.detach()


def detached(tables: Tables) -> Tables:
    """The tables without a graph."""
    radii = None if tables.radii is None else ordinary(tables.radii)
    rcov, r4r2, cn_ref, c6_ref = (ordinary(table) for table in tables[:4])
    return Tables(rcov, r4r2, cn_ref, c6_ref, radii)


@torch.jit.unused
def _occurs_in_python(bad: Tensor) -> bool:
    if bad.device.type != "cpu" or torch.compiler.is_compiling() or torch._C._is_tracing():
        return False
    try:
        return bool(bad.any())
    except RuntimeError:  # a fake tensor, or one of vmap
        return False


def _occurs(bad: Tensor) -> bool:
    """Whether an entry of a mask is true; False where values cannot be looked at.

    That is on another device than the CPU, and under compilers, tracers and vmap.
    """
    if torch.jit.is_scripting():  # type: ignore[attr-defined]
        return bad.device.type == "cpu" and bool(bad.any())
    return _occurs_in_python(bad)


def _first(bad: Tensor, pairs: Tensor) -> tuple[int, str]:
    """The first pair of a mask: its place, and its atoms as sentences say them."""
    p = int(bad.to(torch.uint8).argmax())
    return p, f"({int(pairs[0, p])}, {int(pairs[1, p])})"


def check_indices(pairs: Tensor, n_atoms: int) -> None:
    """Refuse atom indices of pairs outside [0, n_atoms), as the kernels do, by IndexError."""
    outside = ((pairs < 0) | (pairs >= n_atoms)).any(dim=0)
    if _occurs(outside):
        p, atoms = _first(outside, pairs)
        found = f"{atoms} for pair {p}"
        raise IndexError(f"d3torch: expected atom indices in [0, {n_atoms}) in pairs, got {found}.")


def check_pairs(vectors: Tensor, pairs: Tensor, n_atoms: int) -> None:
    """Refuse atom indices out of range and vectors of length 0, as the kernels do.

    Raises:
        IndexError: for an index outside [0, n_atoms).
        ValueError: for a vector of length 0.
    """
    check_indices(pairs, n_atoms)
    coincident = (vectors.detach() ** 2).sum(dim=1) == 0
    if _occurs(coincident):
        p, atoms = _first(coincident, pairs)
        raise ValueError(
            f"d3torch: expected pairs of distinct positions, got pair {p} {atoms} with a vector of "
            "length 0."
        )


def check_index(index: Tensor, n: int, name: str) -> None:
    """Refuse numbers of atoms, such as species indices, out of range, as the kernels do.

    Raises:
        IndexError: for one outside [0, n).
    """
    outside = (index < 0) | (index >= n)
    if _occurs(outside):
        atom = int(outside.to(torch.uint8).argmax())
        found = f"{int(index[atom])} for atom {atom}"
        raise IndexError(f"d3torch: expected {name} in [0, {n}), got {found}.")


def check_species(species: Tensor, n_species: int) -> None:
    """Refuse species indices outside [0, n_species), as :func:`check_index`."""
    check_index(species, n_species, "species indices")


def check_labels(labels: Tensor, n_labels: int) -> None:
    """Refuse labels outside [0, n_labels), as :func:`check_index`."""
    check_index(labels, n_labels, "labels")


def squared_lengths(vectors: Tensor) -> Tensor:
    """Squared lengths of pair vectors; NaN for a length of 0 that could not be refused."""
    r2 = (vectors**2).sum(dim=1)
    return r2.masked_fill(r2 == 0, float("nan"))


def coordination_number(
    vectors: Tensor, pairs: Tensor, species: Tensor, rcov: Tensor, cutoff: float
) -> Tensor:
    """CN_i = sum_j 1/(1 + exp(-16 (R_ij/r_ij - 1))), as in :mod:`d3torch.ops`."""
    check_pairs(vectors, pairs, species.shape[0])
    check_species(species, rcov.shape[0])
    r = torch.sqrt(squared_lengths(vectors))
    radii = rcov[species[pairs[0]]] + rcov[species[pairs[1]]]
    count = torch.sigmoid(16.0 * (radii / r - 1.0))
    count = torch.where(r > cutoff, torch.zeros_like(count), count)  # keeps NaN
    return segment_sum(count, pairs[0], species.shape[0])


def reference_weights(cn: Tensor, cn_ref: Tensor) -> Tensor:
    """w_a = softmax_a(-4 (CN - CN_ref_a)^2), 0 where CN_ref is padding; (n_atoms, n_refs)."""
    exponent = -4.0 * (cn[:, None] - cn_ref) ** 2
    return torch.softmax(exponent.masked_fill(cn_ref < 0, -float("inf")), dim=1)


def atomic_c6(cn: Tensor, species: Tensor, tables: Tables) -> Tensor:
    """C6 of atoms with their like, sum_ab w_a w_b C6_ref[a, b], (n_atoms,)."""
    w = reference_weights(cn, tables.cn_ref[species])
    return bilinear(w, tables.c6_ref[species, species], w)


def switching(r: Tensor, cutoff: float, width: float) -> Tensor:
    """Switch x^3 (10 - 15 x + 6 x^2), x = (cutoff - r)/width cut to [0, 1]; a step at width 0."""
    if width == 0.0:
        return (r <= cutoff).to(r.dtype)
    x = ((cutoff - r) / width).clamp(0.0, 1.0)
    return x**3 * (10.0 - 15.0 * x + 6.0 * x**2)


def rational(r2: Tensor, qq: Tensor, damping: Tensor) -> tuple[Tensor, Tensor]:
    """1/(r^6 + R0^6) and 1/(r^8 + R0^8) of rational damping, R0 = a1 sqrt(3 Q_i Q_j) + a2."""
    r0 = damping[2] * torch.sqrt(qq) + damping[3]
    return 1.0 / (r2**3 + r0**6), 1.0 / (r2**4 + r0**8)


def zero(r2: Tensor, radii: Tensor, damping: Tensor, bet: Tensor) -> tuple[Tensor, Tensor]:
    """r^-6 / (1 + 6 x_6^-14) and r^-8 / (1 + 6 x_8^-16), x_n = r/(rs_n r0) + bet r0.

    With bet 0 it is zero damping, else modified zero damping.
    """
    r = torch.sqrt(r2)
    x6 = r / (damping[2] * radii) + bet * radii
    x8 = r / (damping[3] * radii) + bet * radii
    return x6**14 / (r2**3 * (x6**14 + 6.0)), x8**16 / (r2**4 * (x8**16 + 6.0))


def pair_radii(tables: Tables) -> Tensor:
    """The pair radii, which must be there."""
    radii = tables.radii
    if radii is None:
        raise ValueError("d3torch: expected tables with radii, got none.")
    return radii


def dispersion_energy(
    vectors: Tensor,
    cn: Tensor,
    damping: Tensor,
    pairs: Tensor,
    species: Tensor,
    tables: Tables,
    cutoff: float,
    width: float = 0.0,
    form: int = 0,
) -> Tensor:
    """E_i = -1/2 sum_j C6_ij [s6 t6 + s8 3 Q_i Q_j t8] sw, as in :mod:`d3torch.ops`."""
    energy = pair_energies(vectors, cn, damping, pairs, species, tables, cutoff, width, form)
    return segment_sum(energy, pairs[0], species.shape[0])


def pair_energies(
    vectors: Tensor,
    cn: Tensor,
    damping: Tensor,
    pairs: Tensor,
    species: Tensor,
    tables: Tables,
    cutoff: float,
    width: float,
    form: int,
) -> Tensor:
    """The terms of :func:`dispersion_energy`, one a pair, (n_pairs,)."""
    check_pairs(vectors, pairs, species.shape[0])
    check_species(species, tables.r4r2.shape[0])
    i, j = pairs[0], pairs[1]
    s_i, s_j = species[i], species[j]
    w = reference_weights(cn, tables.cn_ref[species])
    c6 = (w[i][:, :, None] * tables.c6_ref[s_i, s_j] * w[j][:, None, :]).sum(dim=(1, 2))
    qq = 3.0 * tables.r4r2[s_i] * tables.r4r2[s_j]
    r2 = squared_lengths(vectors)
    if form == 0:
        t6, t8 = rational(r2, qq, damping)
    else:
        bet = damping[4] if form == 2 else torch.zeros_like(damping[0])
        t6, t8 = zero(r2, pair_radii(tables)[s_i, s_j], damping, bet)
    damped = damping[0] * t6 + damping[1] * qq * t8
    energy: Tensor = -0.5 * c6 * damped * switching(torch.sqrt(r2), cutoff, width)
    return energy


def energy_by_centre(
    vectors: Tensor,
    cn: Tensor,
    damping: Tensor,
    pairs: Tensor,
    species: Tensor,
    tables: Tables,
    cutoff: float,
    width: float = 0.0,
    form: int = 0,
) -> ByCentre:
    """E_i, dE_i/dCN_i and dE_i/dr_ij: every atom twice, as a centre and n further on, as a j."""
    n = species.shape[0]
    with differentiable():
        r, centre = ordinary(vectors).requires_grad_(), ordinary(cn).requires_grad_()
        energies = dispersion_energy(
            r,
            torch.cat([centre, ordinary(cn)]),
            ordinary(damping),
            torch.stack([pairs[0], pairs[1] + n]),
            torch.cat([species, species]),
            detached(tables),
            cutoff,
            width,
            form,
        )[:n]
        by_cn, by_vectors = torch.autograd.grad(energies.sum(), (centre, r))
    return ByCentre(energies.detach(), by_cn, by_vectors)


def _there(
    vectors: Tensor, centre: Tensor, neighbour: Tensor, species: Tensor, like: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Vectors, pairs and species of a list without atoms that are not there; which pairs it has."""
    check_indices(torch.stack([centre, neighbour]), species.shape[0])
    there = (species[centre.long()] >= 0) & (species[neighbour.long()] >= 0)
    pairs = torch.stack([centre, neighbour])[:, there].long()
    return vectors[there].to(like.dtype), pairs, species.clamp(min=0), there


def owned_coordination_number(
    vectors: Tensor, centre: Tensor, neighbour: Tensor, species: Tensor, rcov: Tensor, cutoff: float
) -> Tensor:
    """CN of :func:`coordination_number` where atoms of species -1 are not there."""
    r, pairs, element, _ = _there(vectors, centre, neighbour, species, rcov)
    return ordinary(coordination_number(r, pairs, element, rcov, cutoff))


def owned_energy_forces(
    vectors: Tensor,
    centre: Tensor,
    neighbour: Tensor,
    species: Tensor,
    cn: Tensor,
    damping: Tensor,
    tables: Tables,
    cutoff: float,
    cn_cutoff: float,
    width: float = 0.0,
    form: int = 0,
) -> OwnedForces:
    """E_i and f_ij = dE_i/dr_ij + 2 dE_i/dCN_i dCN_i/dr_ij, for a full list of the centres."""
    r, pairs, element, there = _there(vectors, centre, neighbour, species, cn)
    found = energy_by_centre(r, cn, damping, pairs, element, tables, cutoff, width, form)
    with differentiable():
        x = ordinary(r).requires_grad_()
        counts = coordination_number(x, pairs, element, ordinary(tables.rcov), cn_cutoff)
        (by_counts,) = torch.autograd.grad((2.0 * found.by_cn * counts).sum(), x)
    forces = torch.zeros_like(vectors)
    forces[there] = (found.by_vectors + by_counts).to(vectors.dtype)
    return OwnedForces(found.energies, forces)


def _on_one_spot(i: int, j: int, image: Tensor) -> str:
    """What is wrong with two atoms on one spot, as the kernels say it."""
    a, b, c = int(image[0]), int(image[1]), int(image[2])
    other = "an image of its own" if i == j else f"atom {j}"
    cell = f" in cell [{a}, {b}, {c}]" if a != 0 or b != 0 or c != 0 else ""
    return f"expected atoms at distinct positions, got atom {i} and {other}{cell} on one spot"


def all_pairs(
    positions: Tensor,
    cell: Tensor,
    pbc: Tensor,
    cutoff: float,
    where: str = "",
    same: float = SAME_SPOT,
    most: float = 3e8,
) -> tuple[Tensor, Tensor]:
    """Vectors (n_pairs, 3) and pairs (2, n_pairs) of one structure, by visiting every image.

    Raises:
        ValueError: for two atoms on one spot, closer than ``same`` cutoffs (defaults, as
            TorchScript knows no constant of a module), and for more than ``most`` pairs to look at;
            ``where`` ends the sentence.
    """
    vectors = torch.where(pbc[:, None], cell, torch.zeros_like(cell))
    reciprocal = torch.linalg.pinv(vectors.detach().double())  # 1/|column| is the cell's height
    fractional = product(positions.detach().double(), reciprocal)
    span = fractional.max(dim=0).values - fractional.min(dim=0).values
    lengths = torch.sqrt((reciprocal**2).sum(dim=0))
    counts = torch.ceil(cutoff * lengths + span) * pbc
    found = float((2.0 * counts + 1.0).prod()) * positions.shape[0] ** 2
    if found > most:
        raise ValueError(
            f"d3torch: expected at most {most} pairs of atoms and images, got some {found}: "
            f"is a cutoff a square, or in another unit{where}."
        )
    a, b, c = int(counts[0]), int(counts[1]), int(counts[2])
    axes = [torch.arange(-k, k + 1, device=cell.device) for k in (a, b, c)]
    grid = torch.meshgrid(axes, indexing="ij")
    shifts = torch.stack(grid, dim=3).reshape(-1, 3).to(positions)
    r = positions[None, :, None] - positions[:, None, None] + product(shifts, vectors)
    d = torch.sqrt((r.detach() ** 2).sum(dim=3))
    for k in torch.nonzero(d <= same * cutoff):
        image = shifts[k[2]]
        if int(k[0]) != int(k[1]) or bool(image.any()):
            raise ValueError(f"d3torch: {_on_one_spot(int(k[0]), int(k[1]), image)}{where}.")
    index = torch.nonzero((d <= cutoff) & (d > same * cutoff))
    i, j, s = index.unbind(1)
    return r[i, j, s], torch.stack([i, j])


def _root_c6(w: Tensor, i: Tensor, j: Tensor, species: Tensor, tables: Tables) -> Tensor:
    """Square roots of C6 of pairs of atoms; 0, with slopes of 0, where C6 is 0."""
    c6 = bilinear(w[i], tables.c6_ref[species[i], species[j]], w[j])
    some = c6 > 0
    return torch.where(some, torch.sqrt(torch.where(some, c6, torch.ones_like(c6))), 0.0 * c6)


def _sides(
    r: Tensor, i: Tensor, j: Tensor, w: Tensor, species: Tensor, tables: Tables, reach: Range
) -> tuple[Tensor, Tensor, Tensor]:
    """Factors of the sides r_ij of triangles: r^2, sqrt(C6) sw/r^3 and (4/3 r0/r)^(16/3)."""
    r2 = squared_lengths(r)
    length = torch.sqrt(r2)
    sw = switching(length, reach.atm_cutoff, reach.atm_width)
    radii = pair_radii(tables)[species[i], species[j]]
    damping = (4.0 / 3.0 * radii / length) ** (16.0 / 3.0)
    return r2, _root_c6(w, i, j, species, tables) * sw / length**3, damping


def three_body_energy(
    vectors: Tensor,
    cn: Tensor,
    s9: Tensor,
    pairs: Tensor,
    species: Tensor,
    tables: Tables,
    reach: Range,
) -> Tensor:
    """E_i = s9/3 sum_{j<k} sqrt(C6_ij C6_ik C6_jk) [3/8 Q/p^5 + 1/p^3] f sw of a full list.

    Every triangle of an atom and two of its neighbours, as in :mod:`d3torch.ops`; (n_atoms,).
    """
    n = species.shape[0]
    energies, first, _ = triangles(vectors, cn, pairs, species, tables, reach)
    return s9 / 3.0 * segment_sum(energies, first[0], n)


def triangles(
    vectors: Tensor, cn: Tensor, pairs: Tensor, species: Tensor, tables: Tables, reach: Range
) -> tuple[Tensor, Tensor, Tensor]:
    """Energies of all triangles without s9, each from its three corners, of a full list of pairs.

    Returns:
        (n,), and the pairs (2, n) of the corner with its two neighbours.
    """
    w = reference_weights(cn, tables.cn_ref[species])
    near = torch.nonzero((vectors.detach() ** 2).sum(dim=1) <= reach.atm_cutoff**2)[:, 0]
    vectors, pairs = vectors[near], pairs[:, near]
    energies: list[Tensor] = [vectors.new_zeros(0)]
    sides_of: list[Tensor] = [pairs.new_zeros(2, 0)]
    others_of: list[Tensor] = [pairs.new_zeros(2, 0)]
    for i in range(species.shape[0]):
        own = torch.nonzero(pairs[0] == i)[:, 0]
        first, second = torch.combinations(own).unbind(1)
        j, k = pairs[1, first], pairs[1, second]
        sides = _sides(vectors[own], pairs[0, own], pairs[1, own], w, species, tables, reach)
        at = torch.combinations(torch.arange(own.shape[0], device=own.device)).unbind(1)
        a, v_ij, t_ij = sides[0][at[0]], sides[1][at[0]], sides[2][at[0]]
        b, v_ik, t_ik = sides[0][at[1]], sides[1][at[1]], sides[2][at[1]]
        c, v_jk, t_jk = _sides(vectors[second] - vectors[first], j, k, w, species, tables, reach)
        angles = 1.0 + 0.375 * (a + c - b) * (a - c + b) * (b + c - a) / (a * b * c)
        damped = angles / (1.0 + 6.0 * t_ij * t_ik * t_jk)
        energies.append(v_ij * v_ik * v_jk * damped)
        sides_of.append(pairs[:, first])
        others_of.append(pairs[:, second])
    return torch.cat(energies), torch.cat(sides_of, dim=1), torch.cat(others_of, dim=1)


def tail_integral(reach: Range, power: int, directions: int, h: Tensor) -> Tensor:
    """Integral of (1 - sw(r)) / r^power over space, a plane at height h, or a line; shape of h.

    With 3, 2 or 1 periodic directions; over space and a line h means nothing.
    """
    shell = [2.0, 2.0 * math.pi, 4.0 * math.pi][directions - 1]
    fall = power - directions
    near = reach.cutoff - reach.width
    low = h.abs().clamp(near, reach.cutoff) if directions == 2 else torch.full_like(h, near)
    far = h.abs().clamp(min=reach.cutoff) if directions == 2 else torch.full_like(h, reach.cutoff)
    # by the points of Gauss and Legendre, eight on each of 16 panels that are equal in log r
    node = torch.tensor([0.1834346424956498, 0.5255324099163290, 0.7966664774136267,
                         0.9602898564975363], dtype=h.dtype, device=h.device)  # fmt: skip
    weight = torch.tensor([0.3626837833783620, 0.3137066458778873, 0.2223810344533745,
                           0.1012285362903763], dtype=h.dtype, device=h.device)  # fmt: skip
    node, weight = torch.cat([-node, node]), torch.cat([weight, weight])
    panel = torch.arange(16, dtype=h.dtype, device=h.device)[:, None]
    ratio = torch.log(reach.cutoff / low)
    r = low[..., None] * torch.exp(ratio[..., None] * ((panel + 0.5 + 0.5 * node) / 16.0).view(-1))
    lost = (1.0 - switching(r, reach.cutoff, reach.width)) * r**-fall
    sums = (lost * (weight / 32.0).repeat(16)).sum(dim=-1)
    inner = sums * ratio if reach.width > 0.0 else 0.0 * h
    return shell * (inner + far ** (-fall) / fall)


def periods(cell: Tensor, pbc: Tensor) -> tuple[Tensor, Tensor]:
    """Volume, area or length of the cell of 3, 2 or 1 periodic directions, and the normal of 2."""
    a = cell[pbc]
    if len(a) == 3:
        return (torch.linalg.cross(a[0], a[1]) * a[2]).sum().abs(), torch.zeros_like(a[0])
    across = torch.linalg.cross(a[0], a[1]) if len(a) == 2 else a[0]
    measure = torch.sqrt((across**2).sum())
    return measure, across / measure if len(a) == 2 else torch.zeros_like(across)


def tail_energy(
    cn: Tensor,
    positions: Tensor,
    cell: Tensor,
    pbc: Tensor,
    damping: Tensor,
    species: Tensor,
    tables: Tables,
    reach: Range,
) -> Tensor:
    """E_i = -1/(2M) sum_j C6_ij (s6 I6 + 3 s8 Q_i Q_j I8) of the tail, as in :mod:`d3torch.ops`."""
    return tail_pairs(cn, positions, cell, pbc, damping, species, tables, reach).sum(dim=1)


def tail_pairs(
    cn: Tensor,
    positions: Tensor,
    cell: Tensor,
    pbc: Tensor,
    damping: Tensor,
    species: Tensor,
    tables: Tables,
    reach: Range,
) -> Tensor:
    """The terms of :func:`tail_energy`, (n_atoms, n_atoms)."""
    directions = int(pbc.sum())
    if directions == 0:
        return torch.zeros_like(cn)[:, None].repeat(1, cn.shape[0])
    w = reference_weights(cn, tables.cn_ref[species])
    c6 = bilinear(w[:, None], tables.c6_ref[species[:, None], species], w[None])
    q = tables.r4r2[species]
    measure, normal = periods(cell, pbc)
    h = torch.zeros((), dtype=torch.float64, device=cell.device)
    if directions == 2:
        heights = (positions * normal).sum(dim=1)
        h = heights[None] - heights[:, None]
    kernel = damping[0] * tail_integral(reach, 6, directions, h)
    kernel = kernel + 3.0 * damping[1] * q[:, None] * q * tail_integral(reach, 8, directions, h)
    energies: Tensor = -0.5 * (c6 * kernel) / measure
    return energies


def reach_of(reach: Range, pbc: Tensor, every_pair: float = EVERY_PAIR) -> Range:
    """The range of one structure: with a tail, a molecule has all its pairs, as in the kernels."""
    if not reach.tail or bool(pbc.any()):
        return reach
    cutoff = max(reach.cutoff, every_pair)
    return Range(cutoff, reach.cn_cutoff, 0.0, True, reach.atm_cutoff, reach.atm_width)


def same_spot(reach: Range, farthest: float, same: float = SAME_SPOT) -> float:
    """The ``same`` of :func:`all_pairs` up to a distance, for a range of the caller."""
    return same * max(reach.cutoff, reach.cn_cutoff) / farthest


def _pairs_of(
    systems: Systems, b: int, tables: Tables, reach: Range
) -> tuple[Tensor, Tensor, Tensor, Range]:
    """Vectors, pairs and coordination numbers of one system, and its range."""
    first, last = int(systems.offsets[b]), int(systems.offsets[b + 1])
    own = reach_of(reach, systems.pbc[b])
    farthest = max(own.cutoff, own.cn_cutoff, own.atm_cutoff)
    where = f" in system {b}" if len(systems.offsets) > 2 else ""
    x, same = systems.positions[first:last], same_spot(reach, farthest)
    vectors, pairs = all_pairs(x, systems.cell[b], systems.pbc[b], farthest, where, same)
    species = systems.species[first:last]
    cn = coordination_number(vectors, pairs, species, tables.rcov, reach.cn_cutoff)
    return vectors, pairs, cn, own


def dispersion_shares(
    systems: Systems, damping: Tensor, tables: Tables, reach: Range, form: int = 0
) -> Shares:
    """Energies by brute force over all images; see :func:`d3torch.ops.dispersion_shares`."""
    none = systems.positions.new_zeros(0)
    shares: list[Tensor] = [none]
    energies: list[Tensor] = []
    for b in range(len(systems.offsets) - 1):
        first, last = int(systems.offsets[b]), int(systems.offsets[b + 1])
        if first == last:
            energies.append(none.sum())
            continue
        x, species = systems.positions[first:last], systems.species[first:last]
        vectors, pairs, cn, own = _pairs_of(systems, b, tables, reach)
        energy = dispersion_energy(
            vectors, cn, damping[b], pairs, species, tables, own.cutoff, own.width, form
        )
        if own.atm_cutoff > 0.0:
            s9 = damping[b, -1]
            energy = energy + three_body_energy(vectors, cn, s9, pairs, species, tables, own)
        if own.tail:
            cell, pbc = systems.cell[b], systems.pbc[b]
            given = (cn, x, cell, pbc, damping[b], species, tables, own)
            energy = energy + tail_energy(*given)
        energies.append(energy.sum())
        shares.append(energy.detach())
    return Shares(torch.stack(energies) if len(energies) > 0 else none, torch.cat(shares))


def dispersion(
    systems: Systems, damping: Tensor, tables: Tables, reach: Range, form: int = 0
) -> Tensor:
    """Energies of a batch by brute force over all images; see :func:`d3torch.ops.dispersion`."""
    return dispersion_shares(systems, damping, tables, reach, form).energy


def _check_reach(reach: Range) -> None:
    """Refuse what a list of pairs knows nothing of."""
    if reach.tail:
        raise ValueError(
            "d3torch: expected no tail for a list of pairs, got one: dispersion, which finds the "
            "pairs, has it."
        )
    if reach.atm_cutoff > 0.0:
        raise ValueError(
            "d3torch: expected an atm_cutoff of 0 for a list of pairs, which has no triangles, got "
            f"{reach.atm_cutoff}: dispersion, which finds the pairs, has them."
        )


def _check_shifts(systems: Systems, pairs: PairList, system: Tensor) -> None:
    """Refuse shifts along axes without pbc, of too many cells, and of parts of cells."""
    shifts = pairs.shifts
    odd = ((shifts != 0) & ~systems.pbc[system]) | ~(shifts.abs() <= 10**9)
    if shifts.is_floating_point():
        odd = odd | (torch.round(shifts) != shifts)
    wrong = odd.any(dim=1)
    if _occurs(wrong):
        p, atoms = _first(wrong, pairs.indices)
        a, b, c = shifts[p].unbind(0)
        raise ValueError(
            "d3torch: expected whole numbers of cells, up to 1e9, as shifts, and 0 along axes "
            f"without pbc, got [{a.item()}, {b.item()}, {c.item()}] for pair {p} {atoms}."
        )


def _check_list(systems: Systems, pairs: PairList, system: Tensor) -> None:
    """Refuse what a list cannot be, but for vectors of length 0 and what is there twice."""
    check_indices(pairs.indices, systems.positions.shape[0])
    far = ~torch.isfinite(systems.positions.detach()).all(dim=1)
    if _occurs(far):
        atom = f"NaN or infinity for atom {int(far.to(torch.uint8).argmax())}"
        raise ValueError(f"d3torch: expected finite positions, got {atom}.")
    of_pairs = system[pairs.indices.long()]
    across = of_pairs[0] != of_pairs[1]
    if _occurs(across):
        p, atoms = _first(across, pairs.indices)
        raise ValueError(
            f"d3torch: expected pairs of two atoms of one system, got pair {p} {atoms} of two "
            "systems."
        )
    _check_shifts(systems, pairs, of_pairs[0])


def _lacking(pairs: Tensor, shifts: Tensor) -> Tensor:
    """Which pairs are there more often than their reverse, (n_pairs,)."""
    there = torch.cat([pairs.t(), shifts.to(pairs.dtype)], dim=1)
    back = torch.cat([there[:, :2].flip(1), -there[:, 2:]], dim=1)
    kind = torch.unique(torch.cat([there, back]), dim=0, return_inverse=True)[1]
    n = there.shape[0]
    times = torch.bincount(kind[:n], minlength=2 * n)
    back_times = torch.bincount(kind[n:], minlength=2 * n)
    return (times > back_times)[kind[:n]]


def _check_reverses(
    vectors: Tensor, pairs: PairList, of_pairs: Tensor, reach: Range, margin: float = 1e-4
) -> None:
    """Refuse a full list that lacks the reverse of a pair, and a half one that has all of a system.

    Within the larger cutoff but for a margin, in which hosts round where their lists end.
    """
    farthest = (1.0 - margin) * max(reach.cutoff, reach.cn_cutoff)
    near = (vectors.detach() ** 2).sum(dim=1) <= farthest**2
    if not _occurs(near):
        return
    indices = pairs.indices[:, near]
    lacking = _lacking(indices, pairs.shifts[near])
    if not pairs.half and bool(lacking.any()):
        k, atoms = _first(lacking, indices)
        p = int(torch.nonzero(near)[k, 0])
        raise ValueError(
            "d3torch: expected every pair within the cutoffs both ways round, "
            f"got pair {p} {atoms} without its reverse: half=True is for lists that have each once."
        )
    if not pairs.half:
        return
    # apart for each system, and for images of an atom and pairs of two atoms
    kind = 2 * of_pairs[near] + (indices[0] == indices[1]).long()
    times = torch.bincount(kind)
    once = torch.bincount(kind[lacking], minlength=times.shape[0])
    if bool(((times > 0) & (once == 0)).any()):
        raise ValueError(
            "d3torch: expected every pair once in a list with half=True, got pairs both ways "
            "round: half=False is for lists that have each twice."
        )


def dispersion_on_list(
    systems: Systems,
    pairs: PairList,
    damping: Tensor,
    tables: Tables,
    reach: Range,
    form: int = 0,
) -> Shares:
    """Energies on a given list; see :func:`d3torch.ops.on_list`."""
    x, offsets = systems.positions, systems.offsets
    atoms = torch.arange(x.shape[0], device=x.device)
    system = torch.searchsorted(offsets.contiguous(), atoms, right=True) - 1
    _check_reach(reach)
    _check_list(systems, pairs, system)
    i, j = pairs.indices.long().unbind(0)
    cells = torch.where(systems.pbc[:, :, None], systems.cell, torch.zeros_like(systems.cell))
    moved = (pairs.shifts.to(x.dtype)[:, :, None] * cells[system[i]]).sum(dim=1)
    vectors = x[j] - x[i] + moved
    directed = torch.stack([i, j])
    check_pairs(vectors, directed, x.shape[0])
    _check_reverses(vectors, pairs, system[i], reach)
    if pairs.half:
        vectors = torch.cat([vectors, -vectors])
        directed = torch.cat([directed, directed.flip(0)], dim=1)
    cn = coordination_number(vectors, directed, systems.species, tables.rcov, reach.cn_cutoff)
    own = damping[system[directed[0]]].t()  # the parameters of each pair
    energies = dispersion_energy(
        vectors, cn, own, directed, systems.species, tables, reach.cutoff, reach.width, form
    )
    energy = segment_sum(energies, system, offsets.shape[0] - 1)
    return Shares(energy, energies.detach())


def pairwise_energies(
    systems: Systems,
    damping: Tensor,
    tables: Tables,
    reach: Range,
    labels: Tensor,
    n_labels: int,
    form: int = 0,
) -> Tensor:
    """Energies by pair of labels; see :func:`d3torch.ops.pairwise_energies`. It has a graph."""
    check_labels(labels, n_labels)
    like = systems.positions
    found: list[Tensor] = [like.new_zeros(0, n_labels, n_labels)]
    for b in range(len(systems.offsets) - 1):
        first, last = int(systems.offsets[b]), int(systems.offsets[b + 1])
        sums = like.new_zeros(n_labels * n_labels)
        if first < last:
            label = labels[first:last]
            energies, pairs = _pairwise_of(systems, b, damping[b], tables, reach, form)
            sums = sums.index_add(0, label[pairs[0]] * n_labels + label[pairs[1]], energies)
        square = sums.reshape(1, n_labels, n_labels)
        found.append(0.5 * (square + square.transpose(1, 2)))
    return torch.cat(found)


def _pairwise_of(
    systems: Systems, b: int, damping: Tensor, tables: Tables, reach: Range, form: int
) -> tuple[Tensor, Tensor]:
    """Energies and pairs of the atoms of one system; a pair may occur several times."""
    first, last = int(systems.offsets[b]), int(systems.offsets[b + 1])
    x, species = systems.positions[first:last], systems.species[first:last]
    vectors, pairs, cn, own = _pairs_of(systems, b, tables, reach)
    given = (vectors, cn, damping, pairs, species, tables)
    energies, between = [pair_energies(*given, own.cutoff, own.width, form)], [pairs]
    if own.atm_cutoff > 0.0:
        triples, one, other = triangles(vectors, cn, pairs, species, tables, own)
        energies += [damping[-1] / 6.0 * triples, damping[-1] / 6.0 * triples]
        between += [one, other]
    if own.tail:
        cell, pbc = systems.cell[b], systems.pbc[b]
        tail = tail_pairs(cn, x, cell, pbc, damping, species, tables, own)
        energies.append(tail.reshape(-1))
        atoms = torch.arange(last - first, device=x.device)
        between.append(torch.stack(torch.meshgrid([atoms, atoms], indexing="ij")).reshape(2, -1))
    return torch.cat(energies), torch.cat(between, dim=1)

"""MACE with D3 for LAMMPS through the unified interface of ML-IAP, on any number of ranks."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from d3torch.integrations.lammps.sums import Pairs
from d3torch.integrations.lammps.unified import Unified
from d3torch.integrations.mace import with_head
from d3torch.integrations.ready import copied
from d3torch.results import add_forces_of_pairs

from mace.calculators.lammps_mliap_mace import LAMMPS_MLIAP_MACE  # isort: skip  after ours: it names what is missing

WIDEST = 6
"""Columns that LAMMPS's own buffers hold in a build for the CPU: wider exchanges overrun them."""

PADDING = 2
"""Atoms that are added to a rank with next to no pairs of its own."""


LOOKED_AT = 1 << 16
"""Pairs whose lengths are taken together: on a CPU they stay in the cache."""


class Near(NamedTuple):
    """Pairs that MACE sees: which, their r_ij, A, and indices (2, n_near), int64."""

    which: Tensor
    vectors: Tensor
    indices: Tensor


def near_pairs(pairs: Pairs, species: Tensor, r_max: float) -> Near:
    """The pairs within r_max between atoms that are there, in the order of the list."""
    found = [torch.zeros(0, dtype=torch.long, device=species.device)]
    step = LOOKED_AT if species.device.type == "cpu" else max(len(pairs.vectors), 1)
    for first in range(0, len(pairs.vectors), step):
        x, y, z = pairs.vectors[first : first + step].unbind(dim=1)
        found.append(torch.nonzero(x * x + y * y + z * z < r_max * r_max)[:, 0] + first)
    which = torch.cat(found)
    indices = torch.stack([pairs.centres[which], pairs.neighbours[which]]).long()
    there = (species[indices] >= 0).all(dim=0)
    which, indices = which[there], indices[:, there]
    return Near(which, pairs.vectors[which], indices)


class NearPairs:
    """ML-IAP's data as MACE is to see it: the pairs within r_max, whatever the list holds.

    Ghosts that are in none of these pairs are left out, so that a long list costs MACE nothing.
    MACE returns at once where a rank has no atoms or no pairs, and leaves the other ranks waiting
    in an exchange. Such a rank gets two atoms more, each other's neighbours, behind its owned ones;
    exchanges pass them by. Exchanges of a build for the CPU go a few columns at a time.

    Args:
        data: that of LAMMPS.
        species: of all atoms, (n_total,), int64.
        near: pairs that MACE shall see.
        r_max: cutoff of MACE, A.
    """

    def __init__(self, data: Any, species: Tensor, near: Near, r_max: float) -> None:
        self.data, self.n_total, self.n_near = data, len(species), len(near.vectors)
        n, device = data.nlocal, species.device
        padding = PADDING if n == 0 or self.n_near <= 1 else 0
        needed = torch.zeros(self.n_total, dtype=torch.bool, device=device)
        needed[near.indices[1]] = True
        needed[:n] = True
        self.rows = torch.nonzero(needed)[:, 0]  # atoms of LAMMPS that MACE sees, owned ones first
        self.nlocal, self.ntotal = n + padding, len(self.rows) + padding
        # where these stand for MACE: the padding is between the owned ones and the ghosts
        self.places = torch.arange(len(self.rows), device=device)
        self.places[n:] += padding
        place_of = torch.zeros_like(species)
        place_of[self.rows] = self.places
        self.elems = species.new_zeros(self.ntotal)
        self.elems[self.places] = species[self.rows]
        added = torch.tensor([[n, n + 1], [n + 1, n]], device=device)[:, :padding]
        self.pair_i, self.pair_j = torch.cat([place_of[near.indices], added], dim=1)
        apart = near.vectors.new_tensor([[0.9 * r_max, 0.0, 0.0], [-0.9 * r_max, 0.0, 0.0]])
        self.rij = torch.cat([near.vectors, apart[:padding]])
        self.npairs = len(self.rij)
        self.eatoms = near.vectors.new_zeros(self.nlocal)
        self.energy = 0.0
        self.forces = torch.zeros_like(near.vectors)

    def update_pair_forces_gpu(self, forces: Tensor) -> None:
        """Keep the forces on the near pairs."""
        self.forces = forces[: self.n_near]

    def forward_exchange(self, source: Tensor, target: Tensor, columns: int) -> None:
        """Rows of ghosts from their owners."""
        self._exchange("forward_exchange", source, target, columns)

    def reverse_exchange(self, source: Tensor, target: Tensor, columns: int) -> None:
        """Rows of ghosts added to those of their owners, and zeroed."""
        self._exchange("reverse_exchange", source, target, columns)

    def _exchange(self, direction: str, source: Tensor, target: Tensor, columns: int) -> None:
        exchange = getattr(self.data, direction, None)
        target.copy_(source)
        if exchange is None:  # D3 has refused this coupling, unless there are no ghosts
            return
        width = WIDEST if source.device.type == "cpu" else columns
        for first in range(0, columns, width):
            part = source[self.places, first : first + width]
            there = part.new_zeros(self.n_total, part.shape[1])
            there[self.rows] = part
            back = torch.empty_like(there)
            if there.is_cuda:
                torch.cuda.synchronize()  # LAMMPS reads on another stream
            exchange(there, back, part.shape[1])
            target[self.places, first : first + width] = back[self.rows]


class MACED3MLIAP(Unified):
    """What ``pair_style mliap unified FILE.pt 0`` loads: a MACE model with D3 inside.

    LAMMPS makes one list that reaches as far as D3 does; MACE sees the pairs of it within its own
    r_max, through its own ML-IAP object, and D3 all of them. Energies, forces and virials are those
    of :class:`d3torch.integrations.mace.MACED3`, on any number of ranks, empty ones included, on
    the CPU too, where MACE's own object overruns LAMMPS's buffers. Atoms of type NULL are not
    there. The process that loads the file needs d3torch and mace-torch.

    Args:
        fused: MACE with dispersion; its dtype is taken.
        head: name of the head; None takes the last, as MACE does.

    Raises:
        TypeError: for what is no fused model.
        ValueError: for an unknown head, or one without dispersion.

    Source: :class:`d3torch.integrations.mace.MACED3`, :class:`d3torch.integrations.lammps.D3MLIAP`.
    """

    def __init__(self, fused: nn.Module, head: str | None = None) -> None:
        fused, head = with_head(copied(fused), head)  # MACE's class ends its training
        super().__init__(fused.dispersion.d3, fused.atomic_numbers.tolist())
        self.head = head
        self.r_max = float(fused.r_max)
        self.rcutfac = max(self.rcutfac, 0.5 * self.r_max)
        fused.model.lammps_mliap = True  # type: ignore[assignment]
        self.mace = LAMMPS_MLIAP_MACE(fused.model, head=head)
        self.mace.initialized = True  # it would ask for a GPU; ours follows the data of LAMMPS

    def energies_and_forces(
        self, data: Any, species: Tensor, pairs: Pairs, atom_forces: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Those of D3 plus those of MACE, whose exchanges every rank takes part in."""
        energies, forces = self.dispersion(data, species, pairs, atom_forces)
        device, real = species.device, self.model.rcov.dtype
        if self.mace.device != device:
            self.mace.device, self.mace.model = device, self.mace.model.to(device)
        near = near_pairs(pairs, species, self.r_max)
        near = near._replace(vectors=near.vectors.to(real))
        view = NearPairs(data, species.clamp(min=0), near, self.r_max)
        self.mace.compute_forces(view)
        found = view.forces.double()
        if forces is not None:
            forces[near.which] += found
        elif atom_forces is not None:
            add_forces_of_pairs(found, near.indices, atom_forces)
        energies[: data.nlocal] += view.eatoms[: data.nlocal] * (species[: data.nlocal] >= 0)
        return energies, forces

    def about(self) -> dict[str, Any]:
        """What there is beside D3, for print."""
        return {**super().about(), "model": "MACE", "head": self.head, "r_max": self.r_max}

"""MACE with D3 for hosts that run MACE in TorchScript, as some forks of LAMMPS do."""

# No `from __future__ import annotations`: TorchScript cannot read strings.
from collections.abc import Sequence
from typing import Final

import torch
from e3nn.util import jit
from torch import Tensor, nn

from d3torch.integrations.mace.model import NAMED, with_head
from d3torch.integrations.ready import copied, refuse_three_body
from d3torch.model import D3
from d3torch.ops import Systems
from d3torch.products import outer_sum
from d3torch.results import forces_of_pairs, mace_virials

from mace.calculators.lammps_mace import LAMMPS_MACE  # isort: skip  after ours: it names what is missing

DISTANCES_AT_ONCE = 1 << 22
"""Distances that a search for neighbours holds together."""


class MaskedDispersion(nn.Module):
    """D3 of some atoms among others: E = sum of the mask times E_i, with forces and virials.

    Where all atoms count they are a whole, periodic system, summed by the lattice engine. Where
    there are ghosts, atoms are taken as they stand, without images: exact if the ghosts reach as
    far as cutoff + cn_cutoff. Then pairs are found by comparing all atoms with all and stored, 0.2
    kB each.

    Args:
        d3: its elements in the order of the columns of node_attrs.
        pbc: of systems without ghosts whose host does not say.
    """

    pbc: Tensor
    at_once: Final[int]

    def __init__(self, d3: D3, pbc: Sequence[bool]) -> None:
        super().__init__()
        self.d3 = d3
        self.at_once = DISTANCES_AT_ONCE
        self.register_buffer("pbc", torch.tensor([list(pbc)], dtype=torch.bool))

    def forward(self, data: dict[str, Tensor], mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Energies of all atoms, (n,); forces (n, 3) and virials (1, 3, 3) of those in the mask."""
        positions = data["positions"].detach()
        species = data["node_attrs"].argmax(dim=-1)
        if bool((mask > 0).all()):
            return self.whole(data, positions, species)
        return self.among_ghosts(positions, species, mask)

    def whole(
        self, data: dict[str, Tensor], positions: Tensor, species: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A periodic system."""
        pbc = data["pbc"].view(1, 3) if "pbc" in data else self.pbc
        offsets = torch.tensor([0, positions.shape[0]], device=positions.device)
        cell = data["cell"].detach().view(1, 3, 3)
        found = self.d3.evaluate(Systems(positions, cell, pbc, species, offsets))
        return found.energies, -found.gradient, mace_virials(found.virial)

    def among_ghosts(
        self, positions: Tensor, species: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Atoms as they stand."""
        pairs = self.neighbours(positions, mask)
        vectors = (positions[pairs[1]] - positions[pairs[0]]).requires_grad_()
        energies = self.d3(vectors, pairs, species)
        total = (energies * mask).sum()
        by_vectors = torch.autograd.grad([total], [vectors])[0]
        assert by_vectors is not None  # TorchScript cannot know
        forces = forces_of_pairs(by_vectors, pairs, positions.shape[0])
        virial = outer_sum(vectors.detach(), by_vectors).view(1, 3, 3)
        return energies.detach(), forces, mace_virials(virial)

    def neighbours(self, positions: Tensor, mask: Tensor) -> Tensor:
        """Directed pairs that count: those of the mask, and those of coordination numbers."""
        n = positions.shape[0]
        cn_cutoff, reach = self.d3.cn_cutoff, max(self.d3.cutoff, self.d3.cn_cutoff)
        step = max(1, self.at_once // max(n, 1))
        found: list[Tensor] = []
        for first in range(0, n, step):
            apart = positions.unsqueeze(0) - positions[first : first + step].unsqueeze(1)
            r2 = (apart * apart).sum(dim=-1)
            counted = (mask[first : first + step] > 0).unsqueeze(1) | (r2 <= cn_cutoff * cn_cutoff)
            near = torch.nonzero(counted & (r2 <= reach * reach) & (r2 > 0.0)).t().contiguous()
            near[0] += first
            found.append(near)
        if len(found) == 0:
            return torch.zeros([2, 0], dtype=torch.long, device=positions.device)
        return torch.cat(found, dim=1)


@jit.compile_mode("script")
class LAMMPSMACED3(nn.Module):
    """MACE with D3, with the arguments and results of MACE's own ``LAMMPS_MACE``.

    ``forward(data, local_or_ghost, compute_virials)`` gives ``total_energy_local`` (1,),
    ``node_energy`` (n,), ``forces`` (n, 3) and ``virials`` (1, 3, 3) = -dE/dstrain of the energy of
    the atoms whose ``local_or_ghost`` is 1; eV and A. Forces on ghosts are theirs to send home.
    D3 takes atoms without ghosts as a system that ``data["cell"]`` repeats, in the directions of
    ``data["pbc"]`` where a host gives that, else of ``pbc``; see ``MaskedDispersion``.

    Args:
        fused: MACE with dispersion.
        head: name of the head; None takes the last, as MACE does.
        pbc: periodic directions of systems without ghosts.

    Raises:
        TypeError: for what is no :class:`d3torch.integrations.mace.MACED3`.
        ValueError: for an unknown head, or one without dispersion; for a tail or the three-body
            term.

    Source: :class:`d3torch.integrations.mace.MACED3`; mace-torch's ``LAMMPS_MACE``.
    """

    atomic_numbers: Tensor
    r_max: Tensor
    num_interactions: Tensor

    def __init__(
        self, fused: nn.Module, head: str | None = None, pbc: Sequence[bool] = (True, True, True)
    ) -> None:
        super().__init__()
        fused, head = with_head(copied(fused), head)  # MACE's class ends its training
        fused.settings.without_tail("LAMMPS through libtorch")
        refuse_three_body(fused.dispersion.d3, "LAMMPS through libtorch")
        for name in NAMED:
            self.register_buffer(name, getattr(fused, name))
        self.dispersion = MaskedDispersion(fused.dispersion.d3, pbc)
        self.model = LAMMPS_MACE(fused.model, head=head)
        # A host takes the type of numbers from model.node_embedding.linear.weight.
        self.model.node_embedding = fused.model.node_embedding

    def forward(
        self, data: dict[str, Tensor], local_or_ghost: Tensor, compute_virials: bool = False
    ) -> dict[str, Tensor | None]:
        """See the class."""
        energies, forces, virials = self.dispersion(data, local_or_ghost)
        out: dict[str, Tensor | None] = self.model(data, local_or_ghost, compute_virials)
        total = (energies * local_or_ghost).sum().view(1)
        added = {"total_energy_local": total, "node_energy": energies, "forces": forces}
        if compute_virials:
            added["virials"] = virials
        for name, value in added.items():
            before = out[name]
            if before is not None:
                out[name] = before.detach() + value
        return out

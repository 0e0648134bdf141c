"""The dispersion of a batch as one more term of a machine-learned potential, in eV and A."""

# No `from __future__ import annotations`: TorchScript cannot read strings.
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from d3torch.evaluate import second_derivatives
from d3torch.model import D3
from d3torch.ops import Systems
from d3torch.products import product
from d3torch.results import mace_virials, stress


class Contribution(NamedTuple):
    """What D3 adds to a batch; virials = -dE/dstrain, symmetric, as in MACE.

    Attributes:
        energy: (n_graphs,), eV.
        node_energy: share of each atom, (n_nodes,), eV; never with a graph.
        forces: (n_nodes, 3), eV/A; None if not asked for.
        virials: (n_graphs, 3, 3), eV; None if not asked for.
    """

    energy: Tensor
    node_energy: Tensor
    forces: Tensor | None
    virials: Tensor | None


class _Shares(torch.autograd.Function):
    """Shares of atoms as they are, whose derivative is refused: it would leave D3 out."""

    @staticmethod
    def forward(ctx: Any, shares: Tensor, energy: Tensor) -> Tensor:
        return shares.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        raise RuntimeError(
            "expected a derivative of energy, got one of node_energy, which has none with D3 in "
            "it: for LAMMPS write the file with d3torch lammps"
        )


class DispersionTerm(nn.Module):
    """D3 of batches whose atoms are given one-hot: numbers for inference, graphs for losses.

    Args:
        d3: its elements in the order of the one-hot columns.
    """

    def __init__(self, d3: D3) -> None:
        super().__init__()
        self.d3 = d3

    def forward(
        self,
        systems: Systems,
        displacement: Tensor | None,
        batch: Tensor,
        training: bool,
        forced: bool,
        strained: bool = False,
    ) -> Contribution:
        """The contribution of a batch.

        Args:
            systems: see :meth:`systems`.
            displacement: strain that energies are to depend on, (n_graphs, 3, 3), or None.
            batch: graph of every atom, (n_nodes,), int64.
            training: whether a learnable damping shall be in the graph of energies and forces.
            forced: whether to give forces and virials; if not, the energy has a graph.
            strained: whether the displacement may be other than zero.
        """
        learning = training and self.d3.damping().requires_grad
        if forced and not (strained or learning):
            return self.numbers(systems)
        found = self.graph(systems, displacement, batch, forced, learning)
        return found if learning or not forced else without_graph(found)

    @torch.jit.export
    def systems(self, data: dict[str, Tensor]) -> Systems:
        """Structures of a batch of MACE: positions, node_attrs, cell, pbc and ptr.

        ``pbc`` is (n_graphs, 3) or one for all graphs, (3,) or (), bool, as torch-sim gives it.

        Raises:
            ValueError: for data without pbc: a cell alone does not tell.
        """
        if "pbc" not in data:
            raise ValueError(
                "expected data with pbc, as mace-torch >= 0.3.15 makes, got none: for LAMMPS write "
                "the file with d3torch lammps"
            )
        species = data["node_attrs"].argmax(dim=-1)
        offsets = data["ptr"].long()
        pbc = torch.as_tensor(data["pbc"], device=offsets.device)
        pbc = pbc.expand(3) if pbc.dim() == 0 else pbc
        return self.d3.systems(data["positions"], species, data["cell"], pbc, offsets)

    def numbers(self, systems: Systems) -> Contribution:
        """All in one sweep, without a graph."""
        found = self.d3.evaluate(systems)
        return Contribution(
            found.energy, found.energies, -found.gradient, mace_virials(found.virial)
        )

    def graph(
        self,
        systems: Systems,
        displacement: Tensor | None,
        batch: Tensor,
        forced: bool,
        learning: bool,
    ) -> Contribution:
        """Energies, and forces and virials if wanted, that a loss can be taken of if learning."""
        x = systems.positions
        leaf = torch.zeros_like(systems.cell).requires_grad_(forced)
        strain = leaf if displacement is None else leaf + displacement
        strain = 0.5 * (strain + strain.transpose(1, 2))
        moved = x + product(x.unsqueeze(1), strain[batch]).squeeze(1)
        cell = systems.cell + product(systems.cell, strain)
        energy, shares = self.d3.lattice_shares(
            Systems(moved, cell, systems.pbc, systems.species, systems.offsets)
        )
        if not forced:
            if not torch.jit.is_scripting():  # type: ignore[attr-defined]
                shares = _Shares.apply(shares, energy)  # type: ignore[no-untyped-call]
            return Contribution(energy, shares, None, None)
        slopes = torch.autograd.grad([energy.sum()], [x, leaf], create_graph=learning)
        by_x, by_strain = slopes[0], slopes[1]
        assert by_x is not None  # TorchScript cannot know
        assert by_strain is not None
        return Contribution(energy, shares, -by_x, -by_strain)

    @torch.jit.unused
    def hessian(self, systems: Systems) -> Tensor:
        """dE/dx_a dx_b, a row by one sweep of double backward, (3 n_nodes, n_nodes, 3), eV/A^2."""
        return second_derivatives(self.d3, systems)


def choose_heads(chosen: Sequence[str] | None, heads: list[str]) -> list[str]:
    """The heads that get D3: all if None, else those named, in the order of the model.

    Raises:
        TypeError: for one string.
        ValueError: for no name, or one that the model lacks.
    """
    if chosen is None:
        return heads
    if isinstance(chosen, str):
        raise TypeError(f"expected d3_heads to be a list of names, got {chosen!r}")
    if not chosen or not set(chosen) <= set(heads):
        raise ValueError(f"expected d3_heads among {', '.join(heads)}, got {list(chosen)!r}")
    return [head for head in heads if head in chosen]


def without_graph(part: Contribution) -> Contribution:
    """The contribution as numbers."""
    forces, virials = part.forces, part.virials
    return Contribution(
        part.energy.detach(),
        part.node_energy.detach(),
        None if forces is None else forces.detach(),
        None if virials is None else virials.detach(),
    )


def scaled(part: Contribution, shares: Tensor, batch: Tensor) -> Contribution:
    """The contribution with every graph multiplied by its share.

    Args:
        part: contribution.
        shares: (n_graphs,).
        batch: graph of every atom, (n_nodes,), int64.
    """
    atoms = shares[batch]
    forces, virials = part.forces, part.virials
    return Contribution(
        part.energy * shares,
        part.node_energy * atoms,
        None if forces is None else forces * atoms.unsqueeze(-1),
        None if virials is None else virials * shares.view(-1, 1, 1),
    )


def add_contribution(
    out: dict[str, Tensor | None], part: Contribution, cell: Tensor
) -> dict[str, Tensor | None]:
    """Outputs of MACE with the contribution added, where there are any, and by itself.

    Args:
        out: outputs; changed.
        part: contribution.
        cell: rows are lattice vectors, (n_graphs, 3, 3), A; stress = -virials / |det cell|.
    """
    virials, by_volume = part.virials, part.virials
    if virials is not None:
        by_volume = stress(-virials, cell)
        small = by_volume.abs() < 1e10  # beyond, MACE reports none either
        by_volume = torch.where(small, by_volume, torch.zeros_like(by_volume))
    added: dict[str, Tensor | None] = {
        "energy": part.energy,
        "interaction_energy": part.energy,
        "node_energy": part.node_energy,
        "forces": part.forces,
        "virials": virials,
        "stress": by_volume,
    }
    for name, value in added.items():
        before = out.get(name)
        if before is not None and value is not None:
            out[name] = before + value
    terms = out.get("contributions")
    if terms is not None:
        out["contributions"] = torch.cat([terms, part.energy.unsqueeze(-1)], dim=-1)
    out["dispersion_energy"] = part.energy
    out["dispersion_forces"] = part.forces
    out["dispersion_virials"] = virials
    return out

"""From derivatives to what hosts report, with their signs: forces of atoms, virials, stress."""

# No `from __future__ import annotations`: TorchScript cannot read strings.
import torch
from torch import Tensor


def add_forces_of_pairs(slopes: Tensor, pairs: Tensor, forces: Tensor) -> Tensor:
    """Add forces of pairs, as :func:`forces_of_pairs`, to those of atoms (n_atoms, 3) in place."""
    return forces.index_add_(0, pairs[0], slopes).index_add_(0, pairs[1], slopes, alpha=-1)


def forces_of_pairs(slopes: Tensor, pairs: Tensor, n_atoms: int) -> Tensor:
    """Return forces -dE/dx (n_atoms, 3) of an energy that depends on pair vectors r_ij = x_j - x_i.

    Args:
        slopes: dE/dr_ij, (n_pairs, 3); added to atom i, taken from atom j.
        pairs: i and j, (2, n_pairs), int64.
        n_atoms: number of atoms.
    """
    return add_forces_of_pairs(slopes, pairs, slopes.new_zeros([n_atoms, 3]))


def virials_of_pairs(slopes: Tensor, vectors: Tensor, pairs: Tensor, n_atoms: int) -> Tensor:
    """Return shares of atoms in the virial, (n_atoms, 3, 3): half of each pair to either atom.

    Args:
        slopes: dE/dr_ij, (n_pairs, 3).
        vectors: r_ij, (n_pairs, 3).
        pairs: i and j, (2, n_pairs), int64.
        n_atoms: number of atoms.
    """
    halves = 0.5 * vectors[:, :, None] * slopes[:, None, :]
    found = halves.new_zeros([n_atoms, 3, 3])
    return symmetric(found.index_add_(0, pairs[0], halves).index_add_(0, pairs[1], halves))


def symmetric(virial: Tensor) -> Tensor:
    """Return the symmetric part, (..., 3, 3); the rest is rounding: rotations change no energy."""
    return 0.5 * (virial + virial.transpose(-2, -1))


def mace_virials(virial: Tensor) -> Tensor:
    """Return virials in MACE's sign, -dE/dstrain and symmetric, of dE/dstrain, (..., 3, 3)."""
    return -symmetric(virial)


def stress(virial: Tensor, cell: Tensor) -> Tensor:
    """Return the stress dE/dstrain / volume in ASE's sign, (n, 3, 3); 0 for a cell without volume.

    Args:
        virial: dE/dstrain, (n, 3, 3).
        cell: rows are lattice vectors, (n, 3, 3).
    """
    volume = torch.linalg.det(cell).abs().view(-1, 1, 1)
    # a flat cell has as much volume, by that of a box of its edges, as rounding leaves of zero
    rounding = 1e-6 if cell.dtype == torch.float32 else 1e-12
    flat = rounding * torch.linalg.vector_norm(cell, dim=-1).prod(-1).view(-1, 1, 1)
    solid = volume > flat
    of_solid = virial / torch.where(solid, volume, torch.ones_like(volume))  # whose slope is finite
    return torch.where(solid, of_solid, torch.zeros_like(virial))

"""Atoms left out of the dispersion energy that still count in the CN of others."""

# No `from __future__ import annotations`: TorchScript cannot read strings.
import torch
from torch import Tensor

from .ops import Tables


def excluding(tables: Tables, species: Tensor, exclude: Tensor) -> tuple[Tables, Tensor]:
    """Tables with every species twice, and the species of the atoms in them.

    An excluded atom is of a species n_species further on, which has the same radii and references,
    and C6 of 0 with all: no energy with anything, and the CN of all as they were.

    Args:
        tables: per-species data.
        species: index into the tables of every atom, (n_atoms,), int64.
        exclude: whether an atom is left out, (n_atoms,), bool.

    Raises:
        TypeError, ValueError: for no mask of all atoms.
    """
    if not isinstance(exclude, Tensor):
        raise TypeError(f"expected exclude to be a mask of atoms, a tensor, got {exclude}")
    if exclude.dtype != torch.bool:
        raise TypeError(f"expected exclude of dtype bool, got {exclude.dtype}")
    if exclude.shape != species.shape:
        raise ValueError(
            f"expected exclude of shape (n_atoms,), {list(species.shape)}, "
            f"got {list(exclude.shape)}"
        )
    n, radii = tables.rcov.shape[0], tables.radii
    c6_ref = torch.nn.functional.pad(tables.c6_ref, [0, 0, 0, 0, 0, n, 0, n])
    both = Tables(
        tables.rcov.repeat(2),
        tables.r4r2.repeat(2),
        tables.cn_ref.repeat(2, 1),
        c6_ref,
        None if radii is None else radii.repeat(2, 2),
    )
    inside = (species >= 0) & (species < n)
    doubled = torch.where(exclude, species + n, species)
    return both, torch.where(inside, doubled, torch.full_like(species, -1))

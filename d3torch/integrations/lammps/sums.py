"""D3 of the pairs that ML-IAP hands over: on LAMMPS's own arrays, or by way of the pair ops."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from d3torch import ops
from d3torch.model import D3

PAIRS_AT_ONCE = 1 << 22
"""Pairs that go through the pair ops together, which bounds what these need beside the list."""

_op = torch.ops.d3torch


class Pairs(NamedTuple):
    """Directed pairs of the owned atoms, in LAMMPS's memory.

    Attributes:
        vectors: r_ij, A, (n_pairs, 3).
        centres: i, (n_pairs,).
        neighbours: j, (n_pairs,).
    """

    vectors: Tensor
    centres: Tensor
    neighbours: Tensor


class InPlace:
    """By the ops that take LAMMPS's arrays as they lie, in the order of the centres; CPU."""

    @staticmethod
    def coordination_numbers(model: D3, species: Tensor, pairs: Pairs) -> Tensor:
        """Of the owned atoms, 0 for ghosts, (n_total,)."""
        return ops.owned_coordination_number(*pairs, species, model.rcov, model.cn_cutoff)

    @staticmethod
    def energies_and_forces(
        model: D3, species: Tensor, cn: Tensor, pairs: Pairs, atom_forces: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Energies (n_total,), and forces of the pairs unless they went to ``atom_forces``."""
        reach = (model.cutoff, model.cn_cutoff, model.width, model.form)
        given = (*pairs, species, cn, model.damping().detach(), model.tables(), *reach)
        if atom_forces is None:
            return ops.owned_energy_forces(*given)
        return ops.owned_energy_add_forces(atom_forces, *given), None


class Copied:
    """By the pair ops, on copies: on a GPU, and for lists that are not in the order of centres."""

    @staticmethod
    def coordination_numbers(model: D3, species: Tensor, pairs: Pairs) -> Tensor:
        """Of the owned atoms, 0 for ghosts, (n_total,)."""
        cn, there = model.rcov.new_zeros(len(species)), species.clamp(min=0)
        for _, vectors, indices in _parts(model, species, pairs):
            cn += model.coordination_number(vectors, indices, there)
        return cn

    @staticmethod
    def energies_and_forces(
        model: D3, species: Tensor, cn: Tensor, pairs: Pairs, _: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Energies (n_total,) and forces of the pairs."""
        energies, by_cn = torch.zeros_like(cn), torch.zeros_like(cn)
        forces = torch.empty_like(pairs.vectors)
        there, damping, tables = species.clamp(min=0), model.damping().detach(), model.tables()
        for run, vectors, indices in _parts(model, species, pairs):
            given = (vectors, cn, damping, indices, there, tables, model.cutoff, model.width)
            part = ops.energy_by_centre(*given, form=model.form)
            energies += part.energies
            by_cn += 2 * part.by_cn
            forces[run] = part.by_vectors.to(forces.dtype)
        for run, vectors, indices in _parts(model, species, pairs):
            forces[run] += _op.coordination_number_backward(
                by_cn, vectors, indices, there, model.rcov, model.cn_cutoff
            )
        return energies, forces


def _parts(model: D3, species: Tensor, pairs: Pairs) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Runs of pairs as the pair ops take them, those of absent atoms out of reach."""
    some_absent = bool((species < 0).any())
    for first in range(0, len(pairs.vectors), PAIRS_AT_ONCE):
        run = slice(first, first + PAIRS_AT_ONCE)
        indices = torch.stack([pairs.centres[run], pairs.neighbours[run]]).long()
        vectors = pairs.vectors[run].to(model.rcov.dtype)
        if some_absent:
            absent = (species[indices] < 0).any(dim=0)
            vectors = vectors.masked_fill(absent[:, None], torch.inf)
        yield run, vectors, indices

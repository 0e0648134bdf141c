"""D3(BJ) of a whole structure: the one place that the calculator and the command line ask."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .checks import require_positive
from .model import D3BJ
from .ops import Systems
from .ops import evaluate as evaluate_systems
from .structure import Structure, check_numbers, check_structure


class Results(NamedTuple):
    """What the dispersion of n atoms comes to, float64 on the CPU, in the units of the module.

    Attributes:
        energy: (), energy.
        energies: share of each atom, (n,), energy.
        forces: -dE/dx, (n, 3), energy / length.
        virial: dE/dstrain = sum of r (x) dE/dr over the pairs, (3, 3), energy.
        cn: coordination numbers, (n,).
        c6: C6 of each atom with its like, (n,), energy length^6.
    """

    energy: Tensor
    energies: Tensor
    forces: Tensor
    virial: Tensor
    cn: Tensor
    c6: Tensor


class Evaluator:
    """The dispersion of one structure after another, by a module that stays as it is.

    What does not depend on positions is taken from the module once; species are looked up again
    only for other atoms. The kernel backend uses the lattice engine; the eager backend a pair list,
    which needs the extra ``[neighbors]``.

    Args:
        model: holds all elements of the structures; gives units, dtype and device.
    """

    def __init__(self, model: D3BJ) -> None:
        self.model = model
        self._numbers = np.zeros(0, dtype=np.int64)
        self.species = torch.zeros(0, dtype=torch.int64, device=model.rcov.device)
        self._offsets = torch.zeros(2, dtype=torch.int64, device=model.rcov.device)
        self._damping = model.damping().detach()[None]
        self._tables, self._reach = model.tables(), model.reach()

    def __call__(self, positions: Any, cell: Any, pbc: Any, numbers: Any) -> Results:
        """Energy, forces, virial, coordination numbers and C6 of a structure.

        Args:
            positions: (n, 3), length.
            cell: (3, 3), length; None for a molecule.
            pbc: bool or three bools.
            numbers: atomic numbers, (n,).

        Raises:
            TypeError, ValueError: a structure that is none, see :mod:`d3torch.structure`; two atoms
                on one spot; an element not in the module; a tail asked of the eager backend, or
                without three periodic directions.
        """
        structure = check_structure(positions, cell, pbc)
        self.look_up(check_numbers(numbers, len(structure.positions)))
        if self.model.backend == "eager":
            results = _by_pairs(self.model, structure, self.species)
        else:
            if self.model.tail and not structure.pbc.all():  # a GPU could only answer NaN
                found = structure.pbc.tolist()
                raise ValueError(
                    f"expected three periodic directions for tail=True, got pbc={found}"
                )
            results = self._by_lattice(self.systems(structure))
        return Results(*(value.double().cpu() for value in results))

    def look_up(self, numbers: NDArray[np.int64]) -> None:
        """Take the species of these atoms from now on."""
        if np.array_equal(numbers, self._numbers):
            return
        device = self.species.device
        self.species = self.model.species(torch.from_numpy(numbers).to(device))
        self._offsets = torch.tensor([0, len(numbers)], device=device)
        self._numbers = numbers

    def systems(self, structure: Structure) -> Systems:
        """A batch of one, of the atoms that were looked up last."""
        x, cell, pbc = (torch.from_numpy(values) for values in structure)
        like = self._tables.rcov
        return Systems(
            x.to(like),
            cell.to(like)[None],
            pbc.to(like.device)[None],
            self.species,
            self._offsets,
        )

    def _by_lattice(self, systems: Systems) -> Results:
        f = evaluate_systems(systems, self._damping, self._tables, self._reach)
        return Results(f.energy[0], f.energies, -f.gradient, f.virial[0], f.cn, f.c6)


def evaluate(model: D3BJ, positions: Any, cell: Any, pbc: Any, numbers: Any) -> Results:
    """Energy, forces, virial, coordination numbers and C6 of one structure: see :class:`Evaluator`.

    Args:
        model: as of :class:`Evaluator`; the other arguments as of its call.
        positions: (n, 3), length.
        cell: (3, 3), length; None for a molecule.
        pbc: bool or three bools.
        numbers: atomic numbers, (n,).

    Raises:
        TypeError, ValueError: as there.
    """
    return Evaluator(model)(positions, cell, pbc, numbers)


def _by_pairs(model: D3BJ, structure: Structure, species: Tensor) -> Results:
    from .neighbors import neighbor_pairs

    if model.tail:
        raise ValueError("expected backend='kernel' for tail=True, got backend='eager'")
    near = neighbor_pairs(*structure, max(model.cutoff, model.cn_cutoff))
    vectors, pairs = near.vectors.to(model.rcov), near.pairs.to(species.device)
    vectors.requires_grad_()
    cn = model.coordination_number(vectors, pairs, species)
    energies = model.dispersion_energy(vectors, cn, pairs, species)
    (gradient,) = torch.autograd.grad(energies.sum(), vectors)
    slope = gradient.double()
    forces = slope.new_zeros(len(species), 3)
    forces.index_add_(0, pairs[0], slope).index_add_(0, pairs[1], slope, alpha=-1)
    virial = vectors.detach().double().T @ slope
    cn, energies = cn.detach(), energies.detach()
    return Results(energies.sum(), energies, forces, virial, cn, model.atomic_c6(cn, species))


def auto_cutoff(
    model: D3BJ, positions: Any, cell: Any, pbc: Any, numbers: Any, tolerance: float
) -> float:
    r"""Two-body cutoff that leaves out about `tolerance` of energy per atom.

    .. math:: R = \left(\frac{2 \pi \rho \, s_6 \langle C6 \rangle}{3 \, tolerance}\right)^{1/3}

    from the energy of a homogeneous continuation, with the mean C6 over all pairs of atoms at their
    coordination numbers; without periodicity, the extent of the structure, so that nothing is
    left out. An estimate: for NaCl 1.25 times a tolerance of 10 meV is left out, and less than 1.2
    times one of 1 or 0.1 meV.

    Args:
        model: as of :func:`evaluate`; its cn_cutoff is used.
        positions: (n, 3), length.
        cell: (3, 3), length; None for a molecule.
        pbc: bool or three bools.
        numbers: atomic numbers, (n,).
        tolerance: energy per atom.

    Returns:
        Cutoff, length; at least a quarter of cn_cutoff, below which the estimate means nothing.

    Raises:
        TypeError, ValueError: as :func:`evaluate`; one or two periodic directions only; a tolerance
            that is not positive.
    """
    require_positive("tolerance", tolerance)
    structure = check_structure(positions, cell, pbc)
    n = len(structure.positions)
    shortest = model.cn_cutoff * 0.25
    if n == 0 or not structure.pbc.any():
        extent = np.ptp(structure.positions, axis=0) if n else np.zeros(3)
        return max(float(np.linalg.norm(extent)) * (1 + 1e-9), shortest)
    if not structure.pbc.all():
        raise ValueError("expected three periodic directions or none for cutoff='auto', got some")
    c6 = _mean_c6(model, structure, numbers) * float(model.s6)
    density = n / abs(np.linalg.det(structure.cell))
    return max(float((2 * math.pi * density * c6 / (3 * tolerance)) ** (1 / 3)), shortest)


def _mean_c6(model: D3BJ, structure: Structure, numbers: Any) -> float:
    """Mean of C6_ij over all pairs of atoms."""
    from .eager import reference_weights

    evaluator = Evaluator(model)
    evaluator.look_up(check_numbers(numbers, len(structure.positions)))
    species = evaluator.species
    cn = model.evaluate(evaluator.systems(structure), gradients=False).cn
    weights = reference_weights(cn, model.cn_ref[species])
    sums = weights.new_zeros(len(model.numbers), weights.shape[1]).index_add(0, species, weights)
    total = torch.einsum("sa,stab,tb->", sums, model.c6_ref, sums)
    return float(total) / len(species) ** 2

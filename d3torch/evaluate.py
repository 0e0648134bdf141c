"""D3 of a whole structure: the one place that the calculator and the command line ask."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from . import eager
from .checks import FARTHEST_REACH, require_positive
from .excluded import excluding
from .left_out import Term, cutoff_for
from .model import D3
from .module_settings import kind_of
from .ops import Range, Systems, Tables, pairwise_energies
from .ops import evaluate as evaluate_systems
from .products import outer_sum
from .results import forces_of_pairs, virials_of_pairs
from .structure import (
    Structure,
    about_origin,
    check_atoms,
    check_labels,
    check_numbers,
    check_structure,
)
from .units import BOHR, get_units

SHORT = 10.0
"""Two-body cutoff, bohr, where only C6 are wanted; coordination numbers have twice that."""


class Results(NamedTuple):
    """What the dispersion of n atoms comes to, float64 on the CPU, in the units of the module.

    Attributes:
        energy: (), energy.
        energies: share of each atom, (n,), energy.
        forces: -dE/dx, (n, 3), energy / length.
        virial: dE/dstrain = sum of r (x) dE/dr over the pairs, (3, 3), energy.
        cn: coordination numbers, (n,).
        c6: C6 of each atom with its like, (n,), energy length^6.
        cutoff: the two-body cutoff that was taken, length; with a tail, a molecule has all pairs.
    """

    energy: Tensor
    energies: Tensor
    forces: Tensor
    virial: Tensor
    cn: Tensor
    c6: Tensor
    cutoff: float


def _two_body_of(model: D3) -> tuple[Tensor, Tables]:
    """Damping, (n_columns,), and tables of a module for its energy without the three-body term."""
    tables = model.tables()
    damping = model.damping().detach()[: len(kind_of(model)._fields)]
    return damping, tables if model.form else tables._replace(radii=None)


class Evaluator:
    """The dispersion of one structure after another, by a module that stays as it is.

    What does not depend on positions is taken from the module once; species are looked up again
    only for other atoms. The kernel backend uses the lattice engine; the eager backend a pair list,
    which needs the extra ``[neighbors]``. A result depends on its structure alone, not on those
    before. Positions are narrowed to float32 about the origin, wherever the structure is.

    Args:
        model: holds all elements of the structures; gives units, dtype and device.
        tolerance: energy per atom that a cutoff chosen for each structure leaves out, see
            :func:`auto_cutoff`; None takes the cutoff of the module.
    """

    def __init__(self, model: D3, tolerance: float | None = None) -> None:
        self.model, self.tolerance = model, tolerance
        with torch.inference_mode(False):  # autograd takes no tensors that were made inside it
            self._begin(model)

    def _begin(self, model: D3) -> None:
        """Take from the module what does not depend on a structure."""
        self._numbers = np.zeros(0, dtype=np.int64)
        self.species = torch.zeros(0, dtype=torch.int64, device=model.rcov.device)
        self._offsets = torch.zeros(2, dtype=torch.int64, device=model.rcov.device)
        self._damping = model.damping().detach()[None]
        self._tables, self._reach = model.tables(), model.reach()
        damping, tables = _two_body_of(model)
        self._two_body = damping[None], tables
        self.left_out: Tensor | None = None

    def __call__(
        self, positions: Any, cell: Any, pbc: Any, numbers: Any, exclude: Any = None
    ) -> Results:
        """Energy, forces, virial, coordination numbers and C6 of a structure.

        Args:
            positions: (n, 3), length.
            cell: (3, 3), length; None for a molecule.
            pbc: bool or three bools.
            numbers: atomic numbers, (n,).
            exclude: atoms that are left out, indices or mask; see :func:`check_atoms`.

        Raises:
            TypeError, ValueError: a structure that is none, or no atoms of it, see
                :mod:`d3torch.structure`; two atoms on one spot; an element not in the module; the
                three-body term asked of the eager backend.
        """
        return self._within(*self._take(positions, cell, pbc, numbers, exclude))

    def pairwise(
        self,
        positions: Any,
        cell: Any,
        pbc: Any,
        numbers: Any,
        labels: Any,
        exclude: Any = None,
    ) -> Tensor:
        """Energies by pair of labels, whose sum is the energy.

        Args:
            positions: as of a call, as the next three and exclude.
            cell: (3, 3), length; None for a molecule.
            pbc: bool or three bools.
            numbers: atomic numbers, (n,).
            labels: of every atom, from 0 on, (n,).
            exclude: atoms that are left out.

        Returns:
            Energies as of :func:`d3torch.ops.pairwise_energies`, (n_labels, n_labels), float64 on
            the CPU, for labels up to the largest that occurs.

        Raises:
            TypeError, ValueError: as a call; for no labels of all atoms.
            NotImplementedError: on a GPU by the kernel backend.
        """
        structure, reach = self._take(positions, cell, pbc, numbers, exclude)
        groups = check_labels(labels, len(structure.positions))
        n = int(groups.max()) + 1 if len(groups) else 0
        damping, tables = self._inputs(reach)
        tables, species = self._some(tables)
        systems = self.systems(structure)._replace(species=species)
        between = torch.from_numpy(groups).to(species.device)
        run = eager.pairwise_energies if self.model.backend == "eager" else pairwise_energies
        found = run(systems, damping, tables, reach, between, n, self.model.form)
        return found[0].detach().double().cpu()

    def _take(
        self, positions: Any, cell: Any, pbc: Any, numbers: Any, exclude: Any
    ) -> tuple[Structure, Range]:
        """A structure that was checked, and its range; keeps its species and who is left out."""
        structure = check_structure(positions, cell, pbc)
        self.look_up(check_numbers(numbers, len(structure.positions)))
        self._leave_out(check_atoms(exclude, len(structure.positions)))
        reach = self._reach
        if self.tolerance is not None:
            reach = reach._replace(cutoff=self.automatic(structure, self.tolerance))
        return structure, reach

    def _within(self, structure: Structure, reach: Range) -> Results:
        """Results for a range, by the backend of the module."""
        if self.model.backend == "eager":
            damping, tables = self._two_body
            tables, species = self._some(tables)
            values = _by_pairs(damping[0], tables, structure, species, reach, self.model.form)
        else:
            values = self._by_lattice(self.systems(structure), reach)
        energy, energies, forces, virial, cn, c6 = (value.double().cpu() for value in values)
        return Results(energy, energies, forces, virial, cn, c6, reach.cutoff)

    def look_up(self, numbers: NDArray[np.int64]) -> None:
        """Take the species of these atoms from now on."""
        if np.array_equal(numbers, self._numbers):
            return
        device = self.species.device
        with torch.inference_mode(False):
            self.species = self.model.species(torch.from_numpy(numbers).to(device))
            self._offsets = torch.tensor([0, len(numbers)], device=device)
        self._numbers = numbers

    def _leave_out(self, atoms: NDArray[np.bool_] | None) -> None:
        """Leave out these atoms from now on."""
        if atoms is None or not atoms.any():
            self.left_out = None
        else:
            self.left_out = torch.from_numpy(atoms).to(self.species.device)

    def _inputs(self, reach: Range) -> tuple[Tensor, Tables]:
        """Damping, (1, n_columns), and tables, with the three-body term if the range has it."""
        return (self._damping, self._tables) if reach.atm_cutoff else self._two_body

    def _some(self, tables: Tables) -> tuple[Tables, Tensor]:
        """Tables and species of the atoms, some of which may be left out."""
        if self.left_out is None:
            return tables, self.species
        return excluding(tables, self.species, self.left_out)

    def systems(self, structure: Structure) -> Systems:
        """A batch of one, of the atoms that were looked up last."""
        like = self._tables.rcov
        if like.dtype != torch.float64:
            structure = about_origin(structure)
        x, cell, pbc = (torch.from_numpy(values) for values in structure)
        return Systems(
            x.to(like),
            cell.to(like)[None],
            pbc.to(like.device)[None],
            self.species,
            self._offsets,
        )

    def _by_lattice(self, systems: Systems, reach: Range) -> tuple[Tensor, ...]:
        damping, tables = self._inputs(reach)
        tables, species = self._some(tables)
        systems = systems._replace(species=species)
        f = evaluate_systems(systems, damping, tables, reach, form=self.model.form)
        return f.energy[0], f.energies, -f.gradient, f.virial[0], f.cn, f.c6

    def automatic(self, structure: Structure, tolerance: float) -> float:
        """The cutoff of :func:`auto_cutoff` for the atoms that were looked up last."""
        shortest, width = self.model.cn_cutoff * 0.25, self.model.width
        n = len(structure.positions)
        if n == 0 or not structure.pbc.any():
            extent = np.ptp(structure.positions, axis=0) if n else np.zeros(3)
            return max(float(np.linalg.norm(extent)) * (1 + 1e-9), shortest) + width
        if not structure.pbc.all():
            raise ValueError(
                "expected three periodic directions or none for cutoff='auto', got some"
            )
        bohr = get_units(self.model.units).length
        cn_cutoff = min(self.model.cn_cutoff, 2 * SHORT * bohr)
        c6 = self._within(structure, Range(SHORT * bohr, cn_cutoff)).c6.numpy()
        q = self._tables.r4r2[self.species].double().cpu().numpy()
        s6, s8 = self._damping[0, :2].abs().tolist()
        terms = [Term(6, s6, np.sqrt(c6)), Term(8, 3.0 * s8, np.sqrt(c6) * q)]
        found = max(cutoff_for(structure, terms, bohr, tolerance), shortest) + width
        if found > FARTHEST_REACH * bohr:
            raise ValueError(
                "expected a tolerance for which a cutoff of 1000 A is enough, "
                f"got {tolerance:g}, which takes {found / bohr * BOHR:.0f} A"
            )
        return found


def evaluate(
    model: D3, positions: Any, cell: Any, pbc: Any, numbers: Any, exclude: Any = None
) -> Results:
    """Energy, forces, virial, coordination numbers and C6 of one structure: see :class:`Evaluator`.

    Args:
        model: as of :class:`Evaluator`; the other arguments as of its call.
        positions: (n, 3), length.
        cell: (3, 3), length; None for a molecule.
        pbc: bool or three bools.
        numbers: atomic numbers, (n,).
        exclude: atoms that are left out, indices or mask.

    Raises:
        TypeError, ValueError: as there.
    """
    return Evaluator(model)(positions, cell, pbc, numbers, exclude)


def hessian(
    evaluator: Evaluator, positions: Any, cell: Any, pbc: Any, numbers: Any, exclude: Any = None
) -> Tensor:
    """d2E/dx dx of one structure, (3 n, 3 n), energy / length^2, float64 on the CPU.

    Arguments and errors are those of a call of the evaluator, whose module has the kernel backend.
    """
    with eager.differentiable():
        structure, _ = evaluator._take(positions, cell, pbc, numbers, exclude)
        systems = evaluator.systems(structure)
        rows = second_derivatives(evaluator.model, systems, evaluator.left_out)
    return rows.reshape(len(rows), -1).double().cpu()


def second_derivatives(model: D3, systems: Systems, exclude: Tensor | None = None) -> Tensor:
    """dE/dx_a dx_b, a row by one sweep of double backward, (3 n, n, 3), energy / length^2."""
    with eager.differentiable():
        x = systems.positions.detach().requires_grad_()
        energy = model.lattice(systems._replace(positions=x), exclude=exclude).sum()
        (slope,) = torch.autograd.grad(energy, x, create_graph=True)
        rows = [torch.autograd.grad(one, x, retain_graph=True)[0] for one in slope.view(-1)]
    return torch.stack(rows).detach() if rows else x.new_zeros(0, 0, 3)


def virials_of_atoms(
    evaluator: Evaluator, positions: Any, cell: Any, pbc: Any, numbers: Any, exclude: Any = None
) -> Tensor:
    """Shares of atoms in the virial, (n, 3, 3), energy: half of each pair to either atom.

    Their sum is the virial. Needs a pair list, and the extra ``[neighbors]``. Arguments are those
    of a call of the evaluator.

    Raises:
        ValueError: for a tail or a three-body term, which are no sums over pairs.
    """
    from .neighbors import neighbor_pairs

    model, like = evaluator.model, evaluator.model.rcov
    with eager.differentiable():
        structure, reach = evaluator._take(positions, cell, pbc, numbers, exclude)
        near = neighbor_pairs(*structure, max(reach.cutoff, reach.cn_cutoff))
        pairs = near.pairs.to(like.device)
        vectors = near.vectors.to(like).requires_grad_()
        energy = model(vectors, pairs, evaluator.species, evaluator.left_out).sum()
        (slope,) = torch.autograd.grad(energy, vectors, materialize_grads=True)
    arms = vectors.detach().double()
    return virials_of_pairs(slope.double(), arms, pairs, len(evaluator.species)).cpu()


def _by_pairs(
    damping: Tensor,
    tables: Tables,
    structure: Structure,
    species: Tensor,
    reach: Range,
    form: int,
) -> tuple[Tensor, ...]:
    """Results of plain torch on a pair list, also where the caller wants no graph."""
    from .neighbors import neighbor_pairs

    if reach.atm_cutoff:
        raise ValueError("expected backend='kernel' for the three-body term, got backend='eager'")
    reach = _whole(structure, reach)
    with eager.differentiable():
        near = neighbor_pairs(*structure, max(reach.cutoff, reach.cn_cutoff))
        damping, tables = eager.ordinary(damping), eager.detached(tables)
        species = eager.ordinary(species)
        vectors = near.vectors.to(tables.rcov).requires_grad_()
        x, cell, pbc = (torch.from_numpy(value).to(species.device) for value in structure)
        x, cell = (value.to(tables.rcov.dtype).requires_grad_() for value in (x, cell))
        pairs = near.pairs.to(species.device)
        cn = eager.coordination_number(vectors, pairs, species, tables.rcov, reach.cn_cutoff)
        energies = eager.dispersion_energy(
            vectors, cn, damping, pairs, species, tables, reach.cutoff, reach.width, form
        )
        if reach.tail:
            given = (cn, x, cell, pbc, damping, species, tables, reach)
            energies = energies + eager.tail_energy(*given)
        inputs = (vectors, x, cell)
        slopes = torch.autograd.grad(energies.sum(), inputs, materialize_grads=True)
    slope, by_x, by_cell = (value.double() for value in slopes)
    forces = forces_of_pairs(slope, pairs, len(species)) - by_x
    arms = ((vectors, slope), (x, by_x), (cell, by_cell))
    virial = sum((outer_sum(arm.detach().double(), by) for arm, by in arms), slope.new_zeros(3, 3))
    cn, energies = cn.detach(), energies.detach()
    c6 = eager.atomic_c6(cn, species, tables)
    return energies.sum(), energies, forces, virial, cn, c6


def _whole(structure: Structure, reach: Range) -> Range:
    """The range with a cutoff that holds all of a molecule, if there is a tail."""
    if not reach.tail or structure.pbc.any() or not len(structure.positions):
        return reach
    extent = float(np.linalg.norm(np.ptp(structure.positions, axis=0)))
    return reach._replace(cutoff=max(reach.cutoff, extent * (1 + 1e-9)), width=0.0)


def auto_cutoff(
    model: D3, positions: Any, cell: Any, pbc: Any, numbers: Any, tolerance: float
) -> float:
    r"""Two-body cutoff of one structure that leaves out no more than `tolerance` per atom.

    A molecule is summed to its end, so that nothing is left out. With three periodic directions,
    the energy beyond a cutoff is that of the density on a grid, see
    :func:`d3torch.left_out.left_out`, so that vacuum in the cell counts as what it is, with
    sqrt(C6_ii C6_jj) for C6_ij, C8 as well, and without damping. It errs upwards, with a margin of
    a tenth for C6_ij that exceed that.

    The cutoff is a function of the structure alone, in steps of 2 bohr: it stays what it is while
    atoms move a little. Where it steps, the energy does so by a part of the tolerance, about
    6 bohr / cutoff of it; for dynamics over large changes of the cell give a number.

    Args:
        model: as of :func:`evaluate`; its width is added to the cutoff.
        positions: (n, 3), length.
        cell: (3, 3), length; None for a molecule.
        pbc: bool or three bools.
        numbers: atomic numbers, (n,).
        tolerance: energy per atom, on average.

    Returns:
        Cutoff, length; at least a quarter of cn_cutoff.

    Raises:
        TypeError, ValueError: as :func:`evaluate`; one or two periodic directions only; a tolerance
            that is not positive; a cell of 455 A along each edge, or as large.
    """
    require_positive("tolerance", tolerance)
    structure = check_structure(positions, cell, pbc)
    evaluator = Evaluator(model)
    evaluator.look_up(check_numbers(numbers, len(structure.positions)))
    return evaluator.automatic(structure, tolerance)

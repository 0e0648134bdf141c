"""Groups of the atoms of a structure, between which energies are told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from d3torch.extras import not_installed

try:
    from ase import Atoms
    from ase.geometry import complete_cell
    from ase.neighborlist import natural_cutoffs, primitive_neighbor_list
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
except ModuleNotFoundError as error:
    raise not_installed(error, "ase") from None

BOND = 1.2
"""How much longer than the sum of two covalent radii a bond may be."""

KINDS = ("atoms", "species", "fragments")


class Groups(NamedTuple):
    """Which atom is in which group.

    Attributes:
        labels: of every atom, index into names, (n_atoms,).
        names: of the groups, such as ``"Si"``, ``"O17"`` (atom 17) or ``"H2O 3"``.
    """

    labels: NDArray[np.int64]
    names: tuple[str, ...]


def groups_of(atoms: Atoms, by: str | Sequence[Any] | NDArray[Any]) -> Groups:
    """Groups of the atoms.

    Args:
        atoms: a structure.
        by: ``"atoms"``, each for itself; ``"species"``, by element; ``"fragments"``, what covalent
            bonds hold together (see :func:`d3torch.integrations.groups.fragments`); the name of one
            of ``atoms.arrays``; or a label of every atom, a string or an integer.

    Raises:
        ValueError: for an unknown name, or labels of another number of atoms.
    """
    if isinstance(by, str) and by == "atoms":
        names = tuple(f"{symbol}{k}" for k, symbol in enumerate(atoms.symbols))
        return Groups(np.arange(len(atoms)), names)
    if isinstance(by, str) and by == "species":
        numbers, labels = np.unique(atoms.numbers, return_inverse=True)
        symbols = [str(atoms.symbols[np.argmax(atoms.numbers == z)]) for z in numbers]
        return Groups(labels, tuple(symbols))
    if isinstance(by, str) and by == "fragments":
        return fragments(atoms)
    if isinstance(by, str) and by not in atoms.arrays:
        arrays = ", ".join(name for name in atoms.arrays if atoms.arrays[name].ndim == 1)
        raise ValueError(f"expected by to be one of {', '.join(KINDS)} or {arrays}, got {by!r}")
    values = np.asarray(atoms.arrays[by] if isinstance(by, str) else by)
    if values.shape != (len(atoms),) or values.dtype.kind not in "iubUS":
        raise ValueError(
            f"expected a label, a string or an integer, of each of {len(atoms)} atoms, "
            f"got {values.dtype} of shape {values.shape}"
        )
    found, labels = np.unique(values, return_inverse=True)
    return Groups(labels, tuple(str(each) for each in found))


def _boxed(atoms: Atoms) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cell and positions, with a box around the atoms where they are not periodic.

    There the vectors of a structure may be 0 or lie in the plane of the others, and ASE's search
    takes time and memory with the square of the atoms unless the box holds them.
    """
    cell = complete_cell(atoms.cell.array * atoms.pbc[:, None])  # type: ignore[no-untyped-call]
    along = np.linalg.solve(cell.T, atoms.positions.T).T
    free = ~atoms.pbc
    positions = atoms.positions - np.matmul(along.min(axis=0) * free, cell)
    cell[free] *= np.maximum(np.ptp(along, axis=0), 1.0)[free, None]
    return cell, positions


def fragments(atoms: Atoms) -> Groups:
    """Molecules, ions and frameworks: atoms that a chain of covalent bonds connects.

    Two atoms are bonded within ``BOND`` times the sum of ASE's covalent radii, images included.
    """
    if len(atoms) == 0:
        return Groups(np.zeros(0, dtype=np.int64), ())
    cutoffs = natural_cutoffs(atoms, mult=BOND)  # type: ignore[no-untyped-call]
    where = atoms.pbc, *_boxed(atoms), cutoffs
    near = primitive_neighbor_list("ij", *where)  # type: ignore[no-untyped-call]
    bonds = coo_matrix((np.ones(len(near[0])), near), shape=(len(atoms), len(atoms)))
    n, labels = connected_components(bonds, directed=False)
    formulas = [atoms.symbols[labels == k].get_chemical_formula() for k in range(n)]
    names = tuple(f"{formula} {k}" for k, formula in enumerate(formulas))
    return Groups(labels.astype(np.int64), names)

"""What a host hands over as a structure, checked by value once, before anything is computed."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]

FARTHEST = 1e7
"""Largest coordinate of a structure; beyond it float64 leaves fewer than eight digits after the
point. The kernels take more, 1e9 (``farthest`` in csrc/engine/lattice/lattice.h): theirs is what
an int holds of cells, whoever calls them, and not how exact a structure of a host is.
"""

CLOSEST = 1e-4
"""Distance, in either unit of length, below which two atoms of a structure that is searched for
pairs are on one spot: far below any bond, far above the rounding of positions to ``FARTHEST``.
"""

SAME_SPOT = 1e-6
"""The same in the lattice engine and its eager twin, a part of the cutoff: some times what float32
resolves of a position within it. The kernels call it ``same`` (csrc/engine/lattice/sweeps.h and
csrc/engine/cuda/lattice/lattice_meet.cuh). The pair ops, which search nothing, refuse r = 0 only.
"""

FLATTEST = 1e-6
"""Least singular value of the periodic cell vectors, each divided by its length."""


class Structure(NamedTuple):
    """Geometry of n atoms.

    Attributes:
        positions: (n, 3), length.
        cell: (3, 3), rows are lattice vectors, length; rows of axes without pbc do not matter.
        pbc: (3,), whether the structure repeats along each lattice vector.
    """

    positions: Floats
    cell: Floats
    pbc: NDArray[np.bool_]


def _as_array(values: Any) -> NDArray[Any]:
    """Array of a list, array or tensor on any device; of dtype object if it is ragged."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    try:
        return np.asarray(values)
    except ValueError:
        return np.asarray(None)


def _as_floats(name: str, values: Any) -> Floats:
    array = _as_array(values)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"expected {name} to be an array of numbers, got {values!r}")
    return array.astype(np.float64)


def check_positions(positions: Any) -> Floats:
    """Positions as float64, (n, 3).

    Raises:
        TypeError: if they are not numbers.
        ValueError: for another shape, a value that is not finite, or one beyond ``FARTHEST``.
    """
    array = _as_floats("positions", positions)
    if array.ndim != 2 or array.shape[1] != 3:
        raise ValueError(f"expected positions of shape (n, 3), got {array.shape}")
    if np.abs(array).max(initial=0.0) <= FARTHEST:
        return array
    for problem, bad in (
        ("finite positions", ~np.isfinite(array)),
        (f"positions within {FARTHEST:g} of the origin", np.abs(array) > FARTHEST),
    ):
        if bad.any():
            atom = int(np.flatnonzero(bad.any(axis=1))[0])
            raise ValueError(f"expected {problem}, got {array[atom].tolist()} for atom {atom}")
    return array


def check_pbc(pbc: Any) -> NDArray[np.bool_]:
    """Periodicity along each lattice vector, (3,); one bool stands for all three.

    Raises:
        TypeError: if they are not bools (0 and 1 are taken as such).
        ValueError: for another number of them.
    """
    array = _as_array(pbc)
    if array.dtype == np.bool_ and array.shape == (3,):
        return array.copy()
    if array.dtype.kind not in "biu" or ((array != 0) & (array != 1)).any():
        raise TypeError(f"expected pbc to be True, False or three of these, got {pbc!r}")
    if array.shape not in ((), (3,)):
        raise ValueError(f"expected pbc of shape (3,), got {array.shape}")
    return np.broadcast_to(array, 3).astype(np.bool_)


def flatness(vectors: Floats) -> float:
    """Least singular value of vectors, rows, each divided by its length; 0 with a zero vector."""
    lengths = np.linalg.norm(vectors, axis=1)
    if (lengths == 0.0).any():
        return 0.0
    return float(np.linalg.svd(vectors / lengths[:, None], compute_uv=False).min())


def has_volume(cell: Floats) -> bool:
    """Whether three lattice vectors, rows, span a volume: none is zero or in the plane of two."""
    return flatness(cell) >= FLATTEST


def check_cell(cell: Any, pbc: NDArray[np.bool_]) -> Floats:
    """Lattice vectors as rows, (3, 3); zeros where there is no cell.

    Raises:
        TypeError: if they are not numbers.
        ValueError: for another shape, a value that is not finite, or vectors of periodic axes that
            are missing or linearly dependent.
    """
    array = np.zeros((3, 3)) if cell is None else _as_floats("cell", cell)
    if array.shape != (3, 3):
        raise ValueError(f"expected a cell of shape (3, 3), got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"expected a finite cell, got {array.tolist()}")
    if not pbc.any():
        return array
    lengths = np.linalg.norm(array, axis=1)
    for axis in np.flatnonzero(pbc & (lengths == 0.0)):
        raise ValueError(f"expected a lattice vector for periodic axis {axis}, got zero")
    if flatness(array[pbc]) < FLATTEST:
        raise ValueError(
            f"expected linearly independent lattice vectors for the periodic axes, "
            f"got {array[pbc].tolist()}"
        )
    return array


def check_numbers(numbers: Any, n: int) -> NDArray[np.int64]:
    """Atomic numbers of n atoms, (n,); whether they are those of elements is the module's business.

    Raises:
        TypeError: if they are not integers.
        ValueError: for another shape.
    """
    array = _as_array(numbers)
    if array.dtype.kind not in "iu" and array.size > 0:
        raise TypeError(f"expected atomic numbers to be integers, got {numbers!r}")
    if array.shape != (n,):
        raise ValueError(f"expected {n} atomic numbers for {n} positions, got {array.shape}")
    return array.astype(np.int64)


def refuse_mixed(name: str, atoms: Any) -> Any:
    """What stands for some atoms, unless it is a list of bools and indices: True is no 1 here.

    Raises:
        TypeError: for that.
    """
    if isinstance(atoms, list | tuple) and len({isinstance(x, bool | np.bool_) for x in atoms}) > 1:
        raise TypeError(f"expected {name} to be indices or a mask, got both in {atoms!r}")
    return atoms


def check_atoms(atoms: Any, n: int) -> NDArray[np.bool_] | None:
    """A mask of n atoms, of a mask or of indices, which may count from the end; None of None.

    Raises:
        TypeError: for neither integers nor bools, or both.
        ValueError: for a mask of another shape, an index out of range.
    """
    if atoms is None:
        return None
    array = _as_array(refuse_mixed("atoms", atoms))
    if array.dtype.kind not in "iub" and array.size > 0:
        raise TypeError(f"expected atoms to be indices or a mask of bools, got {atoms!r}")
    if array.dtype.kind == "b":
        if array.shape != (n,):
            raise ValueError(f"expected a mask of {n} atoms, got one of shape {array.shape}")
        return array
    mask = np.zeros(n, dtype=np.bool_)
    for index in array.ravel().astype(np.int64):
        if not -n <= index < n:
            raise ValueError(f"expected indices of atoms from 0 to {n - 1}, got {index}")
        mask[index] = True
    return mask


def check_labels(labels: Any, n: int) -> NDArray[np.int64]:
    """Labels of n atoms, (n,), from 0 on.

    Raises:
        TypeError: if they are not integers.
        ValueError: for another shape, or one below 0.
    """
    array = _as_array(labels)
    if array.dtype.kind not in "iu" and array.size > 0:
        raise TypeError(f"expected labels to be integers, got {labels!r}")
    if array.shape != (n,):
        raise ValueError(f"expected labels of {n} atoms, got {array.shape}")
    if n and array.min() < 0:
        raise ValueError(f"expected labels of at least 0, got {array.min()}")
    return array.astype(np.int64)


def check_structure(positions: Any, cell: Any, pbc: Any) -> Structure:
    """Arrays of a structure, from anything that numpy reads, or tensors.

    Raises:
        TypeError, ValueError: see ``check_positions``, ``check_cell`` and ``check_pbc``.
    """
    periodic = check_pbc(pbc)
    return Structure(check_positions(positions), check_cell(cell, periodic), periodic)


def about_origin(structure: Structure) -> Structure:
    """The same structure with its atoms folded into one cell and that moved to the origin.

    Changes nothing but rounding: for positions that are to be narrowed to float32, which has seven
    digits from the origin on.
    """
    positions, cell, pbc = structure
    axes = cell[pbc]
    if len(axes):
        cells = np.floor(np.matmul(positions, np.linalg.pinv(axes)))
        positions = positions - np.matmul(cells, axes)
    if len(positions):
        positions = positions - 0.5 * (positions.min(axis=0) + positions.max(axis=0))
    return Structure(positions, cell, pbc)


def dtype_name(dtype: torch.dtype) -> str:
    """Name of a floating dtype; under TorchScript, where a dtype is a number, as well."""
    if dtype == torch.float64:
        return "float64"
    if dtype == torch.float32:
        return "float32"
    if dtype == torch.float16:
        return "float16"
    return "bfloat16" if dtype == torch.bfloat16 else "no floating-point dtype"


def require_tensor(name: str, value: object) -> Tensor:
    """The value, if it is a tensor.

    Raises:
        TypeError: otherwise.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"expected {name} to be a tensor, got {type(value).__name__}")
    return value


def require_tensors(**given: object) -> None:
    """Refuse what is no tensor, by its name.

    Raises:
        TypeError: for the first that is none.
    """
    for name, value in given.items():
        require_tensor(name, value)


def require_systems(value: object) -> None:
    """Refuse what is no batch, such as a structure of ASE.

    Raises:
        TypeError: naming what makes one, or what in it is no tensor.
    """
    if not hasattr(value, "offsets"):
        raise TypeError(
            f"expected Systems, as systems() makes them of tensors, got {type(value).__name__}"
        )
    for name in ("positions", "cell", "pbc", "species", "offsets"):
        require_tensor(name, getattr(value, name))


def require_batch(
    positions: object, species: object, cell: object, pbc: object, offsets: object
) -> None:
    """Check what makes a batch, unless torch compiles or traces; the kernels check the rest.

    Args:
        positions: of all atoms.
        species: the same.
        cell: (3, 3) for all systems, or (n_systems, 3, 3), or these one below the other; None for
            molecules.
        pbc: (3,) for all systems, or (n_systems, 3), or these in a row; or None.
        offsets: first atom of every system, then n_atoms; None for one system.

    Raises:
        TypeError: for what is no tensor.
        ValueError: for other shapes.
    """
    if torch.compiler.is_compiling() or torch._C._is_tracing():
        return
    require_tensor("positions", positions)
    require_tensor("species", species)
    shape = (2,) if offsets is None else tuple(require_tensor("offsets", offsets).shape)
    if len(shape) != 1 or shape[0] == 0:
        raise ValueError(f"expected offsets of shape (n_systems + 1,), got {shape}")
    n = shape[0] - 1
    for name, value, one in (("cell", cell, (3, 3)), ("pbc", pbc, (3,))):
        if value is None:
            continue
        got = tuple(require_tensor(name, value).shape)
        flat = (n * one[0], *one[1:])  # as MACE has cells
        if got not in (one, (1, *one), (n, *one), flat):
            each = ", ".join(map(str, (n, *one)))
            raise ValueError(f"expected {name} of shape {one} or ({each}), got {got}")

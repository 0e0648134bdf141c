"""Reference tables of the D3 model, cut to the elements of a system."""

from __future__ import annotations

import csv
import operator
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from .units import BOHR

Array = NDArray[np.float64]
DATA = Path(__file__).parent / "data"

REFERENCES = ("2010", "2024")
"""The generations of the table: H to Pu (2010) and H to Lr (2024); equal for H to Rn."""

C6_UNIT = 10000.0
"""Integers in the stored table per hartree bohr^6."""

RADII_UNIT = 10000.0
"""Integers in the stored pair radii per angstrom."""


class ReferenceTables(NamedTuple):
    """Tables for S elements with at most R references each, in atomic units.

    Attributes:
        cn_ref: (S, R) coordination numbers of the references, -1 where there is none.
        c6_ref: (S, S, R, R) C6 of each pair of references in hartree bohr^6, 0 where there is
            none; ``c6_ref[s, t, a, b] == c6_ref[t, s, b, a]``.
        rcov: (S,) 4/3 of the covalent radius in bohr, the length in the counting function.
        r4r2: (S,) ``Q = sqrt(0.5 <r4>/<r2> sqrt(Z))`` in bohr, with ``C8 = 3 C6 Q Q'``.
        radii: (S, S) pair radii r0 of zero damping and of the three-body term in bohr, symmetric.
    """

    cn_ref: Array
    c6_ref: Array
    rcov: Array
    r4r2: Array
    radii: Array


class _Stored(NamedTuple):
    """One generation as read: ``number`` counts the references, the last one is empty."""

    cn_ref: Array
    c6: Array
    number: NDArray[np.int64]


def _elements() -> list[dict[str, str]]:
    """Rows of ``elements.csv``, from hydrogen on."""
    path = DATA / "elements.csv"
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


_ROWS = _elements()

SYMBOLS: tuple[str, ...] = ("X", *(row["symbol"] for row in _ROWS))
"""Chemical symbols by atomic number; the first one is a placeholder that names no element."""

LAST = 103
"""The last element with references, Lr, in the newer generation."""

_NUMBERS = {symbol: z for z, symbol in enumerate(SYMBOLS) if z > 0}


def _atomic_number(element: object) -> int:
    """Atomic number of one symbol or integer."""
    if isinstance(element, str):
        if element not in _NUMBERS:
            raise ValueError(f"expected a chemical symbol such as 'Si', got {element!r}")
        return _NUMBERS[element]
    if isinstance(element, bool | np.bool_) or not isinstance(element, SupportsIndex):
        raise TypeError(f"expected a chemical symbol or an atomic number, got {element!r}")
    try:
        z = operator.index(element)
    except TypeError as error:  # a tensor or array that holds something else than an integer
        raise TypeError(
            f"expected a chemical symbol or an atomic number, got {element!r}"
        ) from error
    if not 0 < z < len(SYMBOLS):
        raise ValueError(f"expected an atomic number from 1 to {LAST}, got {z}")
    return z


def atomic_numbers(elements: Sequence[int | str]) -> list[int]:
    """Atomic numbers of a list of distinct elements, in the given order.

    Args:
        elements: chemical symbols, atomic numbers, or a mixture.

    Raises:
        TypeError: for anything but a list of strings and integers.
        ValueError: for an empty list, an unknown element, or one that occurs twice.
    """
    if isinstance(elements, str) or not isinstance(elements, Iterable):
        raise TypeError(f"expected a list of elements such as ['Si', 'O'], got {elements!r}")
    numbers: list[int] = []
    for element in elements:
        z = _atomic_number(element)
        if z in numbers:
            raise ValueError(f"expected each element once, got {SYMBOLS[z]} twice")
        numbers.append(z)
    if not numbers:
        raise ValueError("expected at least one element, got an empty list")
    return numbers


def check_exclude(exclude: object) -> tuple[str, ...]:
    """Symbols of the elements that are left out, by atomic number; None are none.

    Raises:
        TypeError: for anything but a list of strings.
        ValueError: for an unknown element, or one that occurs twice.
    """
    if exclude is None:
        return ()
    if isinstance(exclude, str) or not isinstance(exclude, Collection):
        raise TypeError(f"expected exclude to be a list of symbols such as ['Na'], got {exclude!r}")
    symbols = list(exclude)
    for each in symbols:
        if not isinstance(each, str):
            raise TypeError(f"expected exclude to hold symbols such as 'Na', got {each!r}")
    return tuple(SYMBOLS[z] for z in sorted(atomic_numbers(symbols))) if symbols else ()


def stored_generation(reference: str) -> tuple[Array, NDArray[np.int64]]:
    """One generation as stored: CN of the references, and C6 in integers of ``1 / C6_UNIT``.

    Args:
        reference: "2010" or "2024".

    Returns:
        ``cn_ref`` (Z + 1, R), -1 where there is none, and the lower triangle of C6 over all
        references, row by row (see ``data/README.md``).
    """
    with np.load(DATA / f"reference_{reference}.npz") as data:
        return data["cn_ref"], data["c6_ref"]


@cache
def _stored(reference: str) -> _Stored:
    """One generation with the lower triangle of its C6 matrix unfolded."""
    cn_ref, lower = stored_generation(reference)
    present = cn_ref >= 0.0
    n = int(np.count_nonzero(present))
    c6 = np.zeros((n + 1, n + 1))
    row, column = np.tril_indices(n)
    c6[row, column] = lower / C6_UNIT
    c6[column, row] = c6[row, column]
    number = np.full(cn_ref.shape, n, dtype=np.int64)
    number[present] = np.arange(n)
    return _Stored(cn_ref, c6, number)


def stored_radii() -> NDArray[np.uint16]:
    """Pair radii as stored: the lower triangle by Z, row by row, in units of 1e-4 angstrom."""
    with np.load(DATA / "radii.npz") as data:
        radii: NDArray[np.uint16] = data["radii"]
    return radii


@cache
def _radii() -> Array:
    """Pair radii in bohr, (LAST + 1, LAST + 1) by Z; those of the placeholder are 0."""
    radii = np.zeros((LAST + 1, LAST + 1))
    row, column = np.tril_indices(LAST)
    radii[row + 1, column + 1] = stored_radii() / RADII_UNIT / BOHR
    return np.maximum(radii, radii.T)


def check_reference(reference: object) -> str:
    """The name of a generation.

    Raises:
        TypeError, ValueError: for something else.
    """
    if not isinstance(reference, str):
        raise TypeError(f"expected reference to be a string, got {reference!r}")
    if reference not in REFERENCES:
        raise ValueError(f"expected reference to be one of {REFERENCES}, got {reference!r}")
    return reference


def covered(reference: str) -> range:
    """Atomic numbers that a generation has references for."""
    return range(1, len(_stored(reference).cn_ref))


def _check_covered(numbers: Sequence[int], reference: str) -> None:
    """Refuse elements that a generation has no references for."""
    known = covered(reference)
    for z in numbers:
        if z not in known:
            hint = f"; reference '2024' has {SYMBOLS[z]}" if z in covered("2024") else ""
            raise ValueError(
                f"expected elements from H to {SYMBOLS[known[-1]]} for reference {reference!r}, "
                f"got {SYMBOLS[z]}{hint}"
            )


def reference_tables(elements: Sequence[int | str], reference: str = "2024") -> ReferenceTables:
    """Tables of the D3 model for some elements, in atomic units.

    ``rcov = 4/3 R / bohr`` and ``Q = sqrt(0.5 <r4>/<r2> sqrt(Z))``.

    Args:
        elements: S distinct symbols or atomic numbers; their order is that of the tables.
        reference: generation of the table, "2010" or "2024".

    Returns:
        Tables with R, the largest number of references among these elements.

    Raises:
        TypeError, ValueError: for wrong elements or an unknown generation, and for elements
            without references.

    Sources: Grimme et al., J. Chem. Phys. 132, 154104 (2010), pair radii too; Wittmann et al., doi
    10.1039/D4CP01514B (2024); covalent radii: Pyykkö, Atsumi, Chem. Eur. J. 15, 186 (2009).
    """
    numbers = atomic_numbers(elements)
    check_reference(reference)
    _check_covered(numbers, reference)
    stored = _stored(reference)
    width = int((stored.cn_ref[numbers] >= 0.0).sum(axis=1).max())
    number = stored.number[numbers, :width]
    rows = [_ROWS[z - 1] for z in numbers]
    radius = np.array([float(row["rcov_angstrom"]) for row in rows])
    r4_over_r2 = np.array([float(row["r4_over_r2"]) for row in rows])
    return ReferenceTables(
        cn_ref=stored.cn_ref[numbers, :width],
        c6_ref=stored.c6[number[:, None, :, None], number[None, :, None, :]],
        rcov=4.0 / 3.0 * radius / BOHR,
        r4r2=np.sqrt(0.5 * r4_over_r2 * np.sqrt(np.array(numbers, dtype=np.float64))),
        radii=_radii()[np.ix_(numbers, numbers)],
    )

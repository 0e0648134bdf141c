"""Units: the tables are stored in atomic units and scaled once to those of the host."""

from __future__ import annotations

from typing import NamedTuple

BOHR = 0.5291772109044924
"""One bohr in angstrom (CODATA 2018, with the digits that simple-dftd3 uses)."""

HARTREE = 27.21138624593551
"""One hartree in electronvolt (CODATA 2018)."""


class Units(NamedTuple):
    """How many of the host's units one atomic unit is.

    Attributes:
        length: host lengths in one bohr.
        energy: host energies in one hartree.
    """

    length: float
    energy: float


UNITS = {"eV/A": Units(BOHR, HARTREE), "hartree/bohr": Units(1.0, 1.0)}
"""The unit systems by name; ``"eV/A"`` is the one of ASE, MACE and LAMMPS metal."""


def get_units(name: str) -> Units:
    """The unit system of that name.

    Raises:
        ValueError: if there is none.
    """
    if name not in UNITS:
        raise ValueError(f"expected units to be one of {', '.join(UNITS)}, got {name!r}")
    return UNITS[name]

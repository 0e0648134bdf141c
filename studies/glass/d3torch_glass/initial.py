"""The initial structure: random atoms in a cubic box, a classical melt and quench by LAMMPS."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from .facts import ELEMENTS, Composition, box_length
from .potential import HEADER, lammps_errors, lammps_library, mass_commands, pmmcs_commands
from .protocol import Protocol


def box_commands(counts: dict[str, int], length: float, seed: int) -> list[str]:
    """A box and atoms at random places, none nearer than 1.4 A to another."""
    lines = [
        *HEADER,
        f"region box block 0 {length!r} 0 {length!r} 0 {length!r}", "create_box 3 box",
        *mass_commands(),
    ]  # fmt: skip
    for k, element in enumerate(ELEMENTS):
        if counts[element]:
            place = f"{counts[element]} {3 * seed + k + 1} box overlap 1.4 maxtry 2000"
            lines.append(f"create_atoms {k + 1} random {place}")
    return lines


def _quench_commands(p: Protocol, seed: int) -> list[str]:
    """Melt, cool and rest at constant volume with steps of 1 fs."""
    low, high, hold = p.low, p.initial_high, round(p.initial_hold_ps * 1e3)
    ramp = max(1, round((high - low) / p.initial_rate * 1e3))
    lines = ["minimize 1e-6 1e-4 500 5000", f"velocity all create {high} {seed + 1} mom yes"]
    lines += ["timestep 0.001", "neighbor 2.0 bin"]
    for first, last, steps in ((high, high, hold), (high, low, ramp), (low, low, hold)):
        lines += [f"fix move all nvt temp {first} {last} 0.1", f"run {steps}", "unfix move"]
    return lines


def initial_structure(
    composition: Composition, units: int = 500, seed: int = 1, p: Protocol | None = None
) -> Atoms:
    """A glass by PMMCS at the experimental density, where the melt-quench starts.

    Args:
        composition: what it consists of.
        units: oxide units, three atoms each.
        seed: of places and velocities.
        p: gives the temperatures and the rate of the classical quench.

    Returns:
        Structure at ``p.low``, without velocities.

    Raises:
        ValueError: if units or seed are not positive, or atoms did not find a place.
        RuntimeError: with what LAMMPS says, if it stops.
        ImportError: without LAMMPS.
    """
    if units < 1 or seed < 1:
        raise ValueError(f"expected positive units and seed, got {units} and {seed}")
    p = p or Protocol()
    counts = composition.counts(units)
    length = box_length(counts, composition.density)
    lmp = lammps_library()
    try:
        with lammps_errors():
            lmp.commands_list(box_commands(counts, length, seed))
            n = lmp.get_natoms()
            if n != sum(counts.values()):
                raise ValueError(f"expected room for {sum(counts.values())} atoms, got {n}")
            lmp.commands_list([*pmmcs_commands(), *_quench_commands(p, seed)])
            positions = np.array(lmp.gather_atoms("x", 1, 3)).reshape(-1, 3)
            types = np.array(lmp.gather_atoms("type", 0, 1))
    finally:
        lmp.close()
    symbols = [ELEMENTS[t - 1] for t in types]
    glass = Atoms(symbols, positions, cell=[length] * 3, pbc=True)
    glass.wrap()
    glass.info |= {"name": composition.name, "seed": seed, "source": "PMMCS melt-quench, NVT"}
    return glass

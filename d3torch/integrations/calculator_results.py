"""What ASE calculators give, whatever their age, and results of D3 added to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from d3torch.extras import not_installed
from d3torch.recognise import holds

try:
    from ase import Atoms
    from ase.calculators.calculator import PropertyNotImplementedError
    from ase.stress import full_3x3_to_voigt_6_stress
except ModuleNotFoundError as error:
    raise not_installed(error, "ase") from None

Floats = NDArray[np.float64]

SUMMED = ("energy", "free_energy", "energies", "forces", "stress")
"""Results that dispersion adds to."""

GETTERS = {
    "energy": "get_potential_energy",
    "forces": "get_forces",
    "stress": "get_stress",
    "dipole": "get_dipole_moment",
    "charges": "get_charges",
    "magmom": "get_magnetic_moment",
    "magmoms": "get_magnetic_moments",
}
"""Methods by which calculators without ``get_property`` give results."""


def stress_refusal(calculator: Any, atoms: Atoms) -> str | None:
    """Why no stress can be added to that of a calculator which holds MACE; None where it can.

    MACE makes the cell longer along axes without pbc, and divides by its volume.
    """
    if atoms.pbc.all() or not holds(calculator, "MACECalculator"):
        return None
    return (
        "expected three periodic directions, as MACE divides by the volume of a longer cell "
        f"otherwise, got pbc {atoms.pbc.tolist()}: set all, or fuse the model"
    )


def implemented(calculator: Any) -> list[str]:
    """Names of all that a calculator gives, of those that it holds as well."""
    if not hasattr(calculator, "get_property"):
        return [name for name, getter in GETTERS.items() if hasattr(calculator, getter)]
    held = getattr(calculator, "results", None) or {}
    return [*(getattr(calculator, "implemented_properties", None) or ()), *held]


def ask(calculator: Any, name: str, atoms: Atoms) -> Any:
    """A result of a calculator, of an old one too, and of one that has more than it says.

    Raises:
        PropertyNotImplementedError: if it has none.
    """
    if not hasattr(calculator, "get_property"):
        return getattr(calculator, GETTERS[name])(atoms)
    try:
        value = calculator.get_property(name, atoms)
    except PropertyNotImplementedError:
        calculator.get_property("energy", atoms)
        value = (getattr(calculator, "results", None) or {}).get(name)
        if value is None:
            raise
    if value is None:
        raise PropertyNotImplementedError(f"{name} not present in this calculation")
    return value


def copied(value: Any) -> Any:
    """A result that nobody else changes."""
    return value.copy() if isinstance(value, np.ndarray) else value


def without_none(results: Mapping[str, Any]) -> dict[str, Any]:
    """Those of results that are there: some calculators keep None for what a run did not give."""
    return {name: value for name, value in results.items() if value is not None}


def _plus(value: Any, change: Any) -> Any:
    """A result with something added in double precision: numbers stay numbers."""
    found = np.asarray(value, dtype=np.float64) + change
    return float(found) if found.ndim == 0 else found


def voigt(stress: Any) -> Floats:
    """A stress in Voigt order, as ASE's are; some calculators give (3, 3)."""
    like = np.asarray(stress, dtype=np.float64)
    if like.shape != (3, 3):
        return like
    found: Floats = full_3x3_to_voigt_6_stress(like)  # type: ignore[no-untyped-call]
    return found


def are_shares(kept: dict[str, Any], n_atoms: int) -> bool:
    """Whether ``energies`` are those of atoms: a committee may give those of its members."""
    energies = kept.get("energies")
    if energies is None or np.shape(energies) != (n_atoms,):
        return False
    total = np.sum(energies, dtype=np.float64)
    return "energy" not in kept or bool(np.isclose(total, kept["energy"], rtol=1e-3, atol=1e-3))


def added(kept: dict[str, Any], own: dict[str, Any], n_atoms: int) -> dict[str, Any]:
    """Sums of the results that a calculator and D3 both have, a stress in Voigt order.

    Energies of a committee are none of these: they are not those of atoms.
    """
    both = [name for name in SUMMED if name in kept and name in own]
    if not are_shares(kept, n_atoms) and "energies" in both:
        both.remove("energies")
    theirs = {name: voigt(kept[name]) if name == "stress" else kept[name] for name in both}
    return {name: _plus(theirs[name], own[name]) for name in both}

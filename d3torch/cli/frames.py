"""Frames of the command line: evaluated, written next to their results."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from ..extras import import_extra
from ..files import aside, check_output, written_aside

SUFFIXES = (".extxyz", ".xyz")


def frame_summary(
    atoms: Any, calculator: Any, by: str | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """All results of one frame, and the scalars that a table shows.

    Args:
        atoms: the frame.
        calculator: a :class:`d3torch.D3Calculator`.
        by: groups of atoms whose energies with each other are in the summary as ``pairwise``.

    Returns:
        The results of the calculator, and a dict of plain numbers and strings for JSON; ``cell`` is
        None without one, ``stress`` and ``pressure`` where the calculator gives no stress.

    Raises:
        TypeError, ValueError: see :class:`d3torch.D3Calculator`.
    """
    if len(atoms) == 0:
        raise ValueError("expected a structure with atoms, got none")
    calculator.calculate(atoms)
    results: dict[str, Any] = calculator.results
    stress = results.get("stress")
    gpa = import_extra("ase.units", "cli").GPa
    pairwise = {} if by is None else {"pairwise": _pairwise(calculator.pairwise(atoms, by))}
    return results, {
        "formula": atoms.get_chemical_formula(empirical=False),
        "atoms": len(atoms),
        "pbc": atoms.pbc.tolist(),
        "cell": atoms.cell.tolist() if atoms.cell.rank else None,
        "cutoff": results["cutoff"],
        "energy": results["energy"],
        "energy_per_atom": results["energy"] / len(atoms),
        "max_force": float(np.linalg.norm(results["forces"], axis=1).max()),
        "pressure": None if stress is None else float(-stress[:3].mean() / gpa),
        "stress": None if stress is None else stress.tolist(),
        **pairwise,
    }


def _pairwise(found: Any) -> dict[str, Any]:
    """Groups and their energies for JSON."""
    return {"groups": list(found.names), "energies": found.energies.tolist()}


class Output:
    """An extxyz file that appears under its name when all is written, and not before.

    Every frame keeps its own info, arrays and calculator results, and gains ``d3_energy`` (eV) and
    ``d3_stress`` (Voigt, eV/A^3, where there is one) in ``atoms.info``, and ``d3_forces`` (eV/A)
    in ``atoms.arrays``. A frame that was read and failed is written without them; without a frame
    that was not read as it stands in the input, nothing is written (:meth:`spoil`).

    Args:
        path: ends in .extxyz or .xyz, in an existing folder.
        overwrite: whether to replace an existing file.

    Raises:
        ValueError: for another ending.
        FileExistsError: if the file exists and is not to be replaced.
        FileNotFoundError: if the folder does not exist.
    """

    def __init__(self, path: str, overwrite: bool) -> None:
        self.path, self.partial, self.spoilt = Path(path), aside(path), False
        self._open = ExitStack()
        if self.path.suffix not in SUFFIXES:
            raise ValueError(f"expected an output file {' or '.join(SUFFIXES)}, got {path}")
        check_output(path, overwrite)

    def __enter__(self) -> Output:
        self._open.enter_context(written_aside(self.path)).touch()
        return self

    def write(self, atoms: Any, results: dict[str, Any] | None) -> None:
        """Append one frame with its results."""
        for old in (atoms.info, atoms.arrays):
            for key in ("d3_energy", "d3_stress", "d3_forces"):
                old.pop(key, None)
        if results is not None:
            atoms.info["d3_energy"] = results["energy"]
            atoms.arrays["d3_forces"] = results["forces"]
            if "stress" in results:
                atoms.info["d3_stress"] = results["stress"]
        write = import_extra("ase.io", "cli").write
        write(self.partial, atoms, format="extxyz", append=True)

    def spoil(self) -> None:
        """Write no file in the end: a frame of the input is missing."""
        self.spoilt = True

    def __exit__(self, *error: Any) -> None:
        """Give the file its name, or remove it after an interrupt, or if it is spoilt."""
        if self.spoilt:
            self.partial.write_bytes(b"")  # a file that stayed empty gets no name
        self._open.__exit__(*error)

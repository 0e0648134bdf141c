"""Dispersion of the shipped sodium silicate glass, beside simple-dftd3."""

from __future__ import annotations

import time

import ase.io
import numpy as np
import torch
from ase.units import GPa
from dftd3.interface import DispersionModel, RationalDampingParam

from d3torch import D3Calculator
from d3torch.examples import glass_path
from d3torch.units import BOHR, HARTREE


def oracle(atoms: ase.Atoms) -> tuple[float, np.ndarray, float]:
    """Energy (eV), forces (eV/A) and seconds of simple-dftd3 at its default cutoffs, 60/40 bohr."""
    start = time.perf_counter()
    model = DispersionModel(
        atoms.numbers, atoms.positions / BOHR, atoms.cell.array / BOHR, atoms.pbc
    )
    model.set_realspace_cutoff(60.0, 40.0, 40.0)
    found = model.get_dispersion(RationalDampingParam(method="pbe"), grad=True)
    seconds = time.perf_counter() - start
    return found["energy"] * HARTREE, -found["gradient"] * (HARTREE / BOHR), seconds


def main() -> None:
    """Print the results of d3torch and their deviation."""
    atoms = ase.io.read(glass_path())
    atoms.calc = D3Calculator(xc="pbe")
    atoms.get_potential_energy()
    atoms.calc.results.clear()
    start = time.perf_counter()
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    seconds = time.perf_counter() - start
    pressure = -atoms.get_stress()[:3].mean() / GPa
    reference, reference_forces, oracle_seconds = oracle(atoms)
    largest = np.abs(reference_forces).max()
    print(f"{len(atoms)} atoms, {atoms.get_chemical_formula()}, PBE-D3(BJ), 60/40 bohr, float64")
    print(f"energy          {energy:.8f} eV  ({energy / len(atoms) * 1000:.4f} meV/atom)")
    print(f"pressure        {pressure:.4f} GPa")
    print(f"threads         {torch.get_num_threads()}")
    print(f"largest force   {np.abs(forces).max():.6f} eV/A")
    print(f"d3torch         {seconds:.4f} s, energy + forces + stress")
    print(f"simple-dftd3    {oracle_seconds:.4f} s, the same")
    print(
        f"deviation       {abs(energy / reference - 1):.1e} of the energy, "
        f"{np.abs(forces - reference_forces).max() / largest:.1e} of the largest force"
    )


if __name__ == "__main__":
    main()

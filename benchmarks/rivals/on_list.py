"""The rivals on a neighbour list that is there, which nobody's time includes.

Each is a function as in ``benchmarks.rivals.cpu``. The list is full and sorted, of int64 with
shifts of int32, unless a rival wants it otherwise; then it is brought into that form before.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.rivals.cpu import Outcome, Run, Task, _joined, _module, _stacked
from d3torch.parameters import damping_parameters
from d3torch.units import BOHR, HARTREE


def _list(task: Task, unit: float = 1.0) -> Any:
    """The list within the larger cutoff; lengths in a unit of so many bohr."""
    from d3torch import neighbor_pairs

    (s,) = task.systems
    reach = max(task.cutoff, task.cn_cutoff) / unit
    return neighbor_pairs(s.positions / (BOHR * unit), s.cell / (BOHR * unit), True, reach)


def _once(near: Any) -> Any:
    """Which pairs of a full list to keep so that each is there once."""
    import torch

    place = torch.cat([near.shifts.long(), (near.pairs[1] - near.pairs[0])[:, None]], dim=1)
    first = (place != 0).int().argmax(dim=1, keepdim=True)
    return place.gather(1, first)[:, 0] > 0


def list_op(task: Task) -> Run:
    """The op that takes positions, cell and list."""
    import torch

    from d3torch.ops import PairList

    model, _, systems = _module(task)
    near = _list(task)
    given = PairList(near.pairs, near.shifts)
    x, cell = (t.clone().requires_grad_() for t in (systems.positions, systems.cell))
    asked = systems._replace(positions=x, cell=cell)

    def step() -> Any:
        energy = model.on_list(asked, given.indices, given.shifts).sum()
        return energy.item(), *torch.autograd.grad(energy, (x, cell))

    return step, lambda raw: _stacked(raw[0], [raw[1]])


def list_avx2(task: Task) -> Run:
    """The same without a graph, with the kernels for AVX2."""
    from d3torch import ops

    model, _, systems = _module(task)
    near = _list(task)
    given = ops.PairList(near.pairs, near.shifts)
    rest = (model.damping().detach()[None], model.tables(), model.reach())
    return lambda: ops.evaluate_on_list(
        systems, given, *rest, instruction_set="avx2"
    ), lambda e: _stacked(e.energy, [e.gradient])


def two_ops(task: Task, positions: bool = False) -> Run:
    """Coordination numbers and energies of pair vectors, backward to these or to positions."""
    import torch

    from d3torch.neighbors import pair_vectors
    from d3torch.results import forces_of_pairs

    model, species, systems = _module(task)
    near, n = _list(task), len(species)
    dtype = model.rcov.dtype
    vectors = near.vectors.to(dtype).requires_grad_()
    x, cell = (t.clone().requires_grad_() for t in (systems.positions, systems.cell[0]))

    def of_vectors() -> Any:
        energy = model(vectors, near.pairs, species).sum()
        return energy.item(), torch.autograd.grad(energy, vectors)[0]

    def of_positions() -> Any:
        found = pair_vectors(x, cell, near.pairs, near.shifts)
        energy = model(found, near.pairs, species).sum()
        return energy.item(), *torch.autograd.grad(energy, (x, cell))

    if positions:
        return of_positions, lambda raw: _stacked(raw[0], [raw[1]])
    return of_vectors, lambda raw: _stacked(raw[0], [-forces_of_pairs(raw[1], near.pairs, n)])


def _in_ev(raw: Any) -> Outcome:
    energy, gradient = raw
    return Outcome(float(energy) / HARTREE, -np.asarray(gradient, dtype=float) * BOHR / HARTREE)


def torch_dftd(task: Task) -> Run:
    """Its module below the calculator."""
    import torch

    from benchmarks.rivals.torch_dftd import torch_dftd as calculator_of

    (s,) = task.systems
    dtype = getattr(torch, task.dtype)
    made = calculator_of(task.cutoff * BOHR, task.cn_cutoff * BOHR, dtype)
    near = _list(task, 1.0 / BOHR)
    cell = torch.tensor(s.cell, dtype=dtype)
    shift = near.shifts.to(dtype) @ cell
    given = {"Z": torch.tensor(s.numbers), "cell": cell, "pbc": torch.tensor([True] * 3)}

    def step() -> Any:
        x = torch.tensor(s.positions, dtype=dtype)
        places = {"pos": x, "edge_index": near.pairs, "shift_pos": shift.clone()}
        (found,) = made.dftd_module.calc_energy_and_forces(**given, **places, damping="bj")
        return found["energy"], -found["forces"]

    return step, _in_ev


def nvalchemi(task: Task) -> Run:
    """The kernel on its matrix of neighbours."""
    import torch

    from benchmarks.rivals.nvalchemi import Nvalchemi

    x, z, cell, sizes = _joined(task, torch.float32)
    d3 = Nvalchemi(z.numpy(), sizes, task.cutoff, cell.numpy())
    near = d3.search(x)
    return lambda: d3.evaluate(x, near), lambda raw: _stacked(raw[0].double(), [-raw[1].double()])


def mlipops(task: Task) -> Run:
    """Its module on each pair once, by the nearest image: for cutoffs below half of the cell."""
    import torch
    from mlipops import DFTD3, NeighborList, get_covalent_radii

    x, z, cell, _ = _joined(task, torch.float32)
    if 2.0 * task.cutoff > float(cell.diagonal().min()):
        raise ValueError("nearest images only")
    near = _list(task)
    pairs = near.pairs[:, _once(near)].T.contiguous()

    class Given(NeighborList):
        def forward(self, *_: Any) -> Any:
            return pairs

    p = damping_parameters("pbe")
    made = DFTD3(Given(task.cutoff), p.s8, p.a1, p.a2, 1.0, 1.0)
    radii = get_covalent_radii(z, 1.0)
    x.requires_grad_()

    def step() -> Any:
        energy = made(x, z, radii, cell)
        return energy.item(), torch.autograd.grad(energy, x)[0]

    return step, lambda raw: _stacked(raw[0], [raw[1].double()])


def metatomic(task: Task) -> Run:
    """Its wrapper around a model that gives zero, on each pair once."""
    import torch
    from metatensor.torch import Labels, TensorBlock
    from metatomic import torch as mta
    from metatomic.torch.dftd3 import DFTD3

    from benchmarks.rivals.metatomic_zero import zero_model

    (s,) = task.systems
    model, output = zero_model()
    p = damping_parameters("pbe")
    damping = {"energy": {"a1": p.a1, "a2": p.a2, "s8": p.s8, "s6": p.s6}}
    reach = {"cutoff": task.cutoff * BOHR, "cn_cutoff": task.cn_cutoff * BOHR}
    wrapped = DFTD3(model, damping_params=damping, **reach)
    (options,) = wrapped.requested_neighbor_lists()
    near = _list(task, 1.0 / BOHR)
    kept = _once(near)
    names = ["first_atom", "second_atom", "cell_shift_a", "cell_shift_b", "cell_shift_c"]
    samples = torch.cat([near.pairs.T, near.shifts.long()], dim=1)[kept].int()
    labels = Labels(names, samples, assume_unique=True)
    axes, distance = [Labels.range("xyz", 3)], Labels.range("distance", 1)
    vectors = near.vectors[kept][:, :, None]
    types, cell = torch.tensor(s.numbers, dtype=torch.int32), torch.tensor(s.cell)

    def step() -> Any:
        x = torch.tensor(s.positions, requires_grad=True)
        system = mta.System(types, x, cell, torch.tensor([True] * 3))
        block = TensorBlock(vectors.clone(), labels, axes, distance)
        mta.register_autograd_neighbors(system, block)
        system.add_neighbor_list(options, block)
        energy = wrapped([system], {"energy": output}, None)["energy"].block().values.sum()
        return energy.item(), torch.autograd.grad(energy, x)[0]

    return step, _in_ev

"""Torch's ambient modes change nothing: the same bits inside a mode as outside of it."""

from __future__ import annotations

import contextlib
import copy
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from torch import Tensor

from d3torch import D3BJ, D3Calculator, neighbor_pairs
from d3torch import eager as eager_ops
from d3torch.neighbors import pair_vectors
from d3torch.ops import Shares, Systems, energy_by_centre

DTYPES = (torch.float64, torch.float32)
CUTOFFS: dict[str, Any] = {"cutoff": 9.0, "cn_cutoff": 7.0}


def crystal() -> Any:
    """Rock salt, skewed and rattled."""
    atoms = bulk("NaCl", "rocksalt", a=5.64)
    atoms.set_cell(atoms.cell.array @ [[1, 0.1, 0], [0, 1, 0.05], [0, 0, 1.1]], scale_atoms=True)
    atoms.positions[1] += (0.2, -0.1, 0.15)
    return atoms


def systems(model: D3BJ, grad: bool) -> Systems:
    atoms, like = crystal(), model.rcov
    x = torch.from_numpy(atoms.positions).to(like).requires_grad_(grad)
    cell = torch.from_numpy(atoms.cell.array).to(like).requires_grad_(grad)
    return model.systems(x, model.species(torch.from_numpy(atoms.numbers)), cell)


def pair_list(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Vectors by :func:`pair_vectors`, pairs, species."""
    atoms = crystal()
    near = neighbor_pairs(atoms.positions, atoms.cell.array, True, 9.0)
    x, cell = (torch.from_numpy(v).to(dtype) for v in (atoms.positions, atoms.cell.array))
    vectors = pair_vectors(x, cell, near.pairs, near.shifts)
    return vectors, near.pairs, torch.from_numpy(np.searchsorted([11, 17], atoms.numbers))


# ---- everything public, as lists of tensors; the first few need no graph ----


def by_list(backend: str, dtype: torch.dtype) -> list[Tensor]:
    model = D3BJ(["Na", "Cl"], "pbe", backend=backend, dtype=dtype, **CUTOFFS)
    vectors, pairs, species = pair_list(dtype)
    cn = model.coordination_number(vectors, pairs, species)
    return [vectors, cn, model(vectors, pairs, species), model.atomic_c6(cn, species)]


def on_list(model: D3BJ, batch: Systems) -> Shares:
    near = neighbor_pairs(batch.positions.detach(), batch.cell[0].detach(), True, 9.0)
    return model.on_list_shares(batch, near.pairs, near.shifts)


def by_neighbor_list(backend: str, dtype: torch.dtype) -> list[Tensor]:
    model = D3BJ(["Na", "Cl"], "pbe", backend=backend, dtype=dtype, **CUTOFFS)
    return [values.detach() for values in on_list(model, systems(model, False))]


def by_lattice(backend: str, dtype: torch.dtype) -> list[Tensor]:
    model = D3BJ(["Na", "Cl"], "pbe", backend=backend, dtype=dtype, tail=True, **CUTOFFS)
    return [model.lattice(systems(model, False)).detach()]


def by_evaluate(backend: str, dtype: torch.dtype) -> list[Tensor]:
    model = D3BJ(["Na", "Cl"], "pbe", backend=backend, dtype=dtype, tail=True, **CUTOFFS)
    return [*model.evaluate(systems(model, False))]


def by_calculator(backend: str, dtype: torch.dtype) -> list[Tensor]:
    found = []
    for atoms in (crystal(), molecule("CH3CH2OH")):
        for cutoff in (9.0, "auto"):
            name = str(dtype).removeprefix("torch.")
            settings = {**CUTOFFS, "cutoff": cutoff, "dtype": name, "backend": backend}
            calculator = D3Calculator("pbe", tolerance=1e-2, **settings)
            calculator.calculate(atoms)
            found += [torch.from_numpy(np.array(v)) for v in calculator.results.values()]
    return found


def by_centre(backend: str, dtype: torch.dtype) -> list[Tensor]:
    model = D3BJ(["Na", "Cl"], "pbe", backend=backend, dtype=dtype, **CUTOFFS)
    vectors, pairs, species = pair_list(dtype)
    cn = model.coordination_number(vectors, pairs, species)
    op = eager_ops.energy_by_centre if backend == "eager" else energy_by_centre
    damping = model.damping().detach()
    return [*op(vectors, cn, damping, pairs, species, model.tables(), 9.0, 0.0)]


def by_gradient(backend: str, dtype: torch.dtype) -> list[Tensor]:
    model = D3BJ(["Na", "Cl"], "pbe", backend=backend, dtype=dtype, tail=True, **CUTOFFS)
    batch = systems(model, True)
    leaves = (batch.positions, batch.cell)
    first = torch.autograd.grad(model.lattice(batch).sum(), leaves, create_graph=True)
    second = torch.autograd.grad((first[0] ** 2).sum(), leaves)
    return [*(t.detach() for t in first), *second]


def by_gradient_on_list(backend: str, dtype: torch.dtype) -> list[Tensor]:
    model = D3BJ(["Na", "Cl"], "pbe", backend=backend, dtype=dtype, **CUTOFFS)
    batch = systems(model, True)
    leaves = (batch.positions, batch.cell)
    energy = on_list(model, batch).energy.sum()
    first = torch.autograd.grad(energy, leaves, create_graph=True)
    second = torch.autograd.grad((first[0] ** 2).sum(), leaves)
    return [*(t.detach() for t in first), *second]


def by_term(backend: str, dtype: torch.dtype) -> list[Tensor]:
    """What a fused MACE model asks for, with and without a graph."""
    pytest.importorskip("mace", reason="needs mace-torch: pip install mace-torch")
    from d3torch.integrations.mace.contribution import DispersionTerm

    model = D3BJ(
        ["Na", "Cl"], "pbe", backend=backend, dtype=dtype, learnable=True, tail=True, **CUTOFFS
    )
    term, found = DispersionTerm(model), []
    for forced in (True, False):
        batch = systems(model, True)
        strain = torch.zeros_like(batch.cell)
        part = term(batch, strain, torch.zeros(2, dtype=torch.long), True, forced)
        found += [t.detach() for t in part if t is not None]
        if part.forces is not None and backend == "kernel":
            found.append(torch.autograd.grad((part.forces**2).sum(), model.a2)[0])
    return found


PLAIN = (by_list, by_neighbor_list, by_lattice, by_evaluate, by_calculator, by_centre)
GRAPHS = (by_gradient, by_gradient_on_list, by_term)


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


MODES: dict[str, Callable[[], Any]] = {
    "autocast bfloat16": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "autocast float16": lambda: torch.autocast("cpu", dtype=torch.float16),
    "default float32": lambda: default_dtype(torch.float32),
    "default float64": lambda: default_dtype(torch.float64),
    "default bfloat16": lambda: default_dtype(torch.bfloat16),
    "deterministic": deterministic,
    "anomaly": lambda: torch.autograd.set_detect_anomaly(True),
}
WITHOUT_GRAPHS: dict[str, Callable[[], Any]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
}
CASES = [(f, mode) for mode in MODES for f in (*PLAIN, *GRAPHS)]
CASES += [(f, mode) for mode in WITHOUT_GRAPHS for f in PLAIN]


@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled:UserWarning")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("backend", ["kernel", "eager"])
@pytest.mark.parametrize(("compute", "mode"), CASES, ids=lambda x: getattr(x, "__name__", x))
def test_results_are_the_same_bits_inside(
    compute: Callable[..., list[Tensor]], mode: str, backend: str, dtype: torch.dtype
) -> None:
    expected = compute(backend, dtype)
    with {**MODES, **WITHOUT_GRAPHS}[mode]():
        found = compute(backend, dtype)
    assert len(found) == len(expected) > 0
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)


@pytest.mark.parametrize("backend", ["kernel", "eager"])
@pytest.mark.parametrize("mode", WITHOUT_GRAPHS)
def test_a_calculator_made_inside_a_mode_is_used_outside_and_the_reverse(
    mode: str, backend: str
) -> None:
    inside, outside = (D3Calculator("pbe", **CUTOFFS, backend=backend) for _ in range(2))
    with WITHOUT_GRAPHS[mode]():
        first = inside.get_potential_energy(crystal())
    second = outside.get_potential_energy(crystal())
    with WITHOUT_GRAPHS[mode]():
        assert outside.get_potential_energy(molecule("H2O")) < 0.0
        third = outside.get_potential_energy(crystal())
    assert first == second == third == inside.get_potential_energy(crystal())


@pytest.mark.parametrize("backend", ["kernel", "eager"])
def test_a_calculator_keeps_to_its_device_under_another_default(backend: str) -> None:
    """Where a tensor without a device would land on the default one, here one that has no data."""
    made = D3Calculator("pbe", **CUTOFFS, backend=backend)
    expected = made.get_potential_energy(crystal())
    model = D3BJ(["Na", "Cl"], "pbe", **CUTOFFS, backend=backend, tail=True)
    energy = model.lattice(systems(model, False))
    with torch.device("meta"):
        assert made.get_potential_energy(crystal()) == expected
        other = D3Calculator("pbe", **CUTOFFS, backend=backend)
        assert other.get_potential_energy(crystal()) == expected
        assert torch.equal(model.lattice(systems(model, False)), energy)


def test_a_module_tells_its_settings_under_another_default_device() -> None:
    model = D3BJ(["Na", "Cl"], "pbe", **CUTOFFS)
    expected = model.settings
    with torch.device("meta"):
        assert model.settings == expected
        assert copy.deepcopy(model).settings == expected
        assert pickle.loads(pickle.dumps(model)).settings == expected
        assert model.float().rcov.device.type == "cpu"


def test_autocast_does_round_what_is_multiplied_by_torch() -> None:
    """The reason for all of this, and proof that the mode above is one."""
    cell = torch.tensor(crystal().cell.array, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (cell @ torch.eye(3) - cell).abs().max() > 1e-3


# ---- float32 far from the origin ----


@pytest.mark.parametrize("far", [1e3, 1e4, 1e6])
@pytest.mark.parametrize("make", [lambda: molecule("C60"), crystal], ids=["C60", "crystal"])
def test_float32_is_as_good_far_from_the_origin(make: Callable[[], Any], far: float) -> None:
    atoms = make()
    single, double = (D3Calculator("pbe", dtype=d, **CUTOFFS) for d in ("float32", "float64"))
    double.calculate(atoms)
    expected = double.results["forces"]
    atoms.positions += far * np.array([1.0, -0.7, 0.3])
    single.calculate(atoms)
    error = np.abs(single.results["forces"] - expected).max()
    assert error < 2e-5 * np.abs(expected).max()  # rounding of float32 at the origin: 1e-5


def test_float32_takes_atoms_that_have_wandered_over_many_cells() -> None:
    atoms = crystal() * (2, 2, 1)
    single, double = (D3Calculator("pbe", dtype=d, **CUTOFFS) for d in ("float32", "float64"))
    double.calculate(atoms)
    expected = double.results["forces"]
    atoms.positions += np.random.default_rng(1).integers(-5000, 5000, (8, 3)) @ atoms.cell.array
    single.calculate(atoms)
    error = np.abs(single.results["forces"] - expected).max()
    assert error < 2e-5 * np.abs(expected).max()  # rounding of float32 at the origin: 1e-5

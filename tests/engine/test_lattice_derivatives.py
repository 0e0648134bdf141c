"""Derivatives of the lattice engine, and what dispatcher, TorchScript and compilers ask of it."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import oracle
import pytest
import systems
import torch
from corpus import random_structures
from pair_ops import first_and_second
from systems import CELL, DAMPING, FORMS
from torch import Tensor, nn
from torch.autograd import grad, gradcheck, gradgradcheck

from d3torch import D3BJ, DispersionWarning, eager, library_path, ops
from d3torch.reference import reference_tables
from d3torch.units import BOHR

LIBRARY = library_path()
ELEMENTS = ["H", "C", "O", "Na"]
PERIODIC = {
    **systems.PERIODIC,
    "tail": (True, True, True),
    "tail of a slab": (True, False, True),
    "tail of a thick slab": (True, False, True),
    "tail of a chain": (False, True, False),
    "tail of a molecule": (False, False, False),
}
KINDS = [*PERIODIC, *(f"{form} {kind}" for form in ("zero", "modified_zero") for kind in PERIODIC)]
DIFFERENTIABLE = ["dispersion", "dispersion_shares", "dispersion_backward"]
NAMES = [*DIFFERENTIABLE, "dispersion_evaluate", "dispersion_tangent"]
OPS = torch.ops.d3torch
kinds = pytest.mark.parametrize("kind", KINDS)
widths = pytest.mark.parametrize("width", [0.0, 1.6])
dtypes = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)


class Case(NamedTuple):
    """Two systems of one periodicity, of 4 and 3 atoms, with different cells and damping."""

    systems: ops.Systems
    damping: Tensor
    model: D3BJ
    tables: ops.Tables
    form: int


def _case(kind: str = "crystal", width: float = 0.0, dtype: torch.dtype = torch.float64) -> Case:
    """A case by its periodicity, after the name of its damping where that is not rational."""
    name, _, rest = kind.partition(" ")
    form, kind = (FORMS[name], rest) if name in FORMS else (ops.RATIONAL, kind)
    settings: dict[str, Any] = {"width": width, "tail": "tail" in kind, "dtype": dtype}
    with warnings.catch_warnings():  # of a tail at a hard cutoff
        warnings.simplefilter("ignore", DispersionWarning)
        model = D3BJ(ELEMENTS, "pbe", cutoff=6.2, cn_cutoff=5.3, **settings)
    rng = np.random.default_rng(8)
    grid = np.stack(np.meshgrid(*3 * [np.arange(2)]), axis=-1).reshape(-1, 3)[:7] * 0.5
    fractional = torch.tensor(grid + rng.uniform(-0.06, 0.06, (7, 3)))
    offsets, pbc = torch.tensor([0, 4, 7]), torch.tensor([PERIODIC[kind]] * 2)
    cells = torch.stack([CELL, 1.07 * CELL.flip(0)])
    positions = torch.cat([fractional[:4] @ cells[0], fractional[4:] @ cells[1]])
    if "thick" in kind:  # heights from below cutoff - width to beyond the cutoff
        positions[:, 1] += torch.tensor([0.0, 2.4, 5.4, 8.0, 0.0, 5.5, 9.0])
    species = torch.tensor([0, 1, 2, 3, 1, 2, 1])
    batch = model.systems(positions.to(dtype), species, cells.to(dtype), pbc, offsets)
    damping, tables = _damping(model, form)
    return Case(batch, damping, model, tables, form)


def _damping(model: D3BJ, form: int) -> tuple[Tensor, ops.Tables]:
    """Parameters of two systems, and the tables that the form needs."""
    if form == ops.RATIONAL:
        second = D3BJ(ELEMENTS, "b3-lyp", dtype=model.rcov.dtype).damping()
        return torch.stack([model.damping(), second]), model.tables()
    radii = torch.tensor(reference_tables(ELEMENTS).radii * BOHR, dtype=model.rcov.dtype)
    first = torch.tensor(DAMPING[form], dtype=model.rcov.dtype)
    first[4:] /= BOHR
    return torch.stack([first, 1.03 * first]), model.tables()._replace(radii=radii)


def _energy(case: Case, backend: str = "kernel") -> Callable[..., Tensor]:
    """Energies (n_systems,) of positions, cell and damping."""
    op = ops.dispersion if backend == "kernel" else eager.dispersion
    return _function(case, op)


def _function(case: Case, op: Callable[..., Any]) -> Callable[..., Any]:
    """An op as a function of positions, cell and damping."""
    last = (case.tables, case.model.reach(), case.form)

    def function(positions: Tensor, cell: Tensor, damping: Tensor) -> Any:
        return op(case.systems._replace(positions=positions, cell=cell), damping, *last)

    return function


def _inputs(case: Case) -> list[Tensor]:
    values = (case.systems.positions, case.systems.cell, case.damping)
    return [v.detach().clone().requires_grad_() for v in values]


@kinds
@widths
@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
def test_derivatives_are_those_of_finite_differences(
    check: Callable[..., bool], width: float, kind: str
) -> None:
    """Energies are of the order of 0.1 eV: scaled to where torch's tolerances mean digits."""
    case = _case(kind, width)
    for op in (ops.dispersion, lambda *given: ops.dispersion_shares(*given).energy):
        energy = _function(case, op)
        assert check(lambda *x, energy=energy: 1e2 * energy(*x), _inputs(case))


def _assert_close(found: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    """Equal relative to the largest component."""
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert (a - b).abs().max() <= tolerance * b.abs().max()


@kinds
@widths
def test_derivatives_are_those_of_eager(width: float, kind: str) -> None:
    """The twin's integral over the switch, in the tail, is a sum by Simpson's rule."""
    case = _case(kind, width)
    found, twin = (first_and_second(_energy(case, b), _inputs(case)) for b in ("kernel", "eager"))
    _assert_close(found, twin, 1e-7 if "tail" in kind and width > 0 else 1e-12)


@kinds
@widths
def test_derivatives_in_float32_are_those_of_float64(width: float, kind: str) -> None:
    """At the same rounded inputs and tables."""
    case, twin = _case(kind, width, torch.float32), _case(kind, width)
    twin.model.load_state_dict(case.model.state_dict())
    radii = case.tables.radii
    tables = twin.model.tables()._replace(radii=None if radii is None else radii.double())
    twin = twin._replace(tables=tables)
    found = first_and_second(_energy(case), _inputs(case))
    inputs = [x.detach().double().requires_grad_() for x in _inputs(case)]
    expected = first_and_second(_energy(twin, "eager"), inputs)
    _assert_close([x.double() for x in found], expected, 1e-5)


@kinds
def test_evaluate_gives_what_autograd_gives(kind: str) -> None:
    case = _case(kind, 1.6)
    inputs = _inputs(case)
    energy = _energy(case)(*inputs)
    last = (case.damping, case.tables, case.model.reach())
    e = ops.evaluate(case.systems, *last, learn=True, form=case.form)
    expected = [energy, *grad(energy.sum(), inputs)]
    assert all(map(torch.equal, (e.energy, e.gradient, e.by_cell, e.by_damping), expected))


# ---- energies with the shares of the atoms ----


def _shares(case: Case, backend: Any = ops) -> ops.Shares:
    given = _inputs(case)
    found: ops.Shares = _function(case, backend.dispersion_shares)(*given)
    return found


@kinds
@widths
@dtypes
def test_shares_come_with_the_energies_of_dispersion(
    dtype: torch.dtype, width: float, kind: str
) -> None:
    """To the last bit, with first and second derivatives; shares are those of evaluate."""
    case = _case(kind, width, dtype)
    energy = _function(case, lambda *given: ops.dispersion_shares(*given).energy)
    found, expected = (first_and_second(f, _inputs(case)) for f in (energy, _energy(case)))
    assert all(map(torch.equal, found, expected))
    last = (case.systems, case.damping, case.tables, case.model.reach())
    for gradients in (False, True):
        e = ops.evaluate(*last, gradients, form=case.form)
        assert torch.equal(_shares(case).energies, e.energies)
    assert all(map(torch.equal, ops.dispersion_shares(*last, case.form), _shares(case)))


@kinds
@widths
def test_shares_are_those_of_eager_and_add_up(width: float, kind: str) -> None:
    case = _case(kind, width)
    found, twin = _shares(case), _shares(case, eager)
    _assert_close([*found], [*twin], 1e-7 if "tail" in kind and width > 0 else 1e-12)
    sums = [part.sum() for part in found.energies.split([4, 3])]
    _assert_close([torch.stack(sums)], [found.energy], 1e-13)


@pytest.mark.parametrize("backend", [ops, eager], ids=["kernel", "eager"])
def test_shares_have_no_graph(backend: Any) -> None:
    """Nor any where nothing is differentiated, or without atoms."""
    case = _case("tail")
    found = _shares(case, backend)
    assert found.energy.requires_grad
    assert not found.energies.requires_grad
    with torch.no_grad():
        assert not any(value.requires_grad for value in _shares(case, backend))
    none = case.systems._replace(offsets=case.systems.offsets * 0)
    none = none._replace(positions=none.positions[:0], species=none.species[:0])
    empty = _shares(case._replace(systems=none), backend)
    assert (empty.energy.tolist(), empty.energies.tolist()) == ([0.0, 0.0], [])


def test_shares_of_the_module_are_those_of_the_op() -> None:
    case = _case("tail", 1.6)
    last = (case.model.tables(), case.model.reach())
    own = case.model.damping().expand(2, 4)
    for given, damping in ((None, own), (case.damping, case.damping)):
        found = case.model.lattice_shares(case.systems, given)
        expected = ops.dispersion_shares(case.systems, damping, *last)
        assert all(map(torch.equal, found, expected))


@kinds
def test_virial_is_the_derivative_by_strain(kind: str) -> None:
    """By finite differences of the energy, the only formula that cannot share a mistake."""
    case = _case(kind, 1.6)
    systems, energy = case.systems, _energy(case)
    last = (case.damping, case.tables, case.model.reach())
    virial = ops.evaluate(systems, *last, form=case.form).virial[0]
    found, h = [], 1e-4
    for strain in torch.eye(9, dtype=torch.float64).reshape(9, 3, 3):
        up, down = (
            energy(systems.positions @ f, systems.cell @ f, case.damping)[0]
            for f in (torch.eye(3) + h * strain, torch.eye(3) - h * strain)
        )
        found.append((up - down) / (2 * h))
    found = torch.stack(found).reshape(3, 3)
    torch.testing.assert_close(found, virial, rtol=0, atol=1e-6 * virial.abs().max().item())


@pytest.mark.parametrize("key", [3, 11, 19])
def test_hessian_of_a_crystal_is_that_of_the_oracle(key: int) -> None:
    s = random_structures(20)[key]
    assert s.pbc.all()
    hessian = oracle.model(*s[1:5], s.cutoff, s.cn_cutoff).get_hessian(oracle.damping())["hessian"]
    model = D3BJ(np.unique(s.numbers).tolist(), "pbe", cutoff=s.cutoff, cn_cutoff=s.cn_cutoff)
    species, cell = model.species(torch.tensor(s.numbers)), torch.tensor(s.cell)

    def energy(x: Tensor) -> Tensor:
        return model.lattice(model.systems(x.reshape(-1, 3), species, cell)).sum()

    x = torch.tensor(s.positions).flatten()
    found = torch.autograd.functional.hessian(energy, x).numpy()
    expected = np.asarray(hessian).reshape(found.shape) * (oracle.HARTREE / oracle.BOHR**2)
    assert np.abs(found - expected).max() <= 1e-11 * np.abs(expected).max()


@pytest.mark.parametrize("argument", [0, 1, 2], ids=["positions", "cell", "damping"])
def test_third_derivatives_are_refused(argument: int) -> None:
    case = _case()
    inputs = _inputs(case)
    (first,) = grad(_energy(case)(*inputs).sum(), inputs[argument], create_graph=True)
    (second,) = grad((first**2).sum(), inputs[argument], create_graph=True)
    with pytest.raises(NotImplementedError, match="third derivatives are not implemented"):
        grad(second.sum(), inputs[argument])


def test_evaluate_refuses_derivatives_in_one_sentence() -> None:
    case = _case()
    systems = case.systems._replace(positions=_inputs(case)[0])
    e = ops.evaluate(systems, case.damping, case.model.tables(), case.model.reach())
    sentence = (
        "d3torch: dispersion_evaluate is for inference and not differentiable: use dispersion."
    )
    with pytest.raises(NotImplementedError, match=re.escape(sentence)):
        e.energy.sum().backward()


def test_evaluate_of_the_module_has_no_graph() -> None:
    case = _case()
    systems = case.systems._replace(positions=_inputs(case)[0])
    assert not any(t.requires_grad for t in case.model.evaluate(systems))


@pytest.mark.parametrize("name", ops.Tables._fields)
def test_tables_are_refused_as_differentiable(name: str) -> None:
    case = _case("zero crystal")
    tables = case.tables
    tables = tables._replace(**{name: getattr(tables, name).clone().requires_grad_()})
    with pytest.raises(NotImplementedError, match=f"{name} is not differentiable"):
        ops.dispersion(case.systems, case.damping, tables, case.model.reach(), case.form)


def _arguments(
    name: str, dtype: torch.dtype, requires_grad: bool, kind: str = "tail"
) -> tuple[Any, ...]:
    case = _case(kind, 1.6, dtype)
    x, cell, damping = (i.detach().requires_grad_(requires_grad) for i in _inputs(case))
    base = (x, cell, *case.systems[2:], damping, *case.tables[:4], *case.model.reach()[:4])
    last = (case.tables.radii, case.form)
    if name == "dispersion_evaluate":
        return (*base, True, True, "best", *last)
    base = (*base, *last)
    ones = tuple(torch.ones_like(t) for t in (x, cell, damping))
    if name == "dispersion_backward":
        per_system = torch.tensor([0.5, 1.5], dtype=dtype).requires_grad_(requires_grad)
        return (per_system, *ones, *base)
    return (*ones, *base) if name == "dispersion_tangent" else base


@pytest.mark.parametrize("requires_grad", [False, True])
@dtypes
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["tail", "modified_zero tail"])
def test_opcheck(kind: str, name: str, dtype: torch.dtype, requires_grad: bool) -> None:
    tests = ["test_schema", "test_autograd_registration", "test_faketensor"]
    if not requires_grad or name in DIFFERENTIABLE:  # the derivatives of others are refused
        tests.append("test_aot_dispatch_dynamic")
    op = getattr(OPS, name).default
    torch.library.opcheck(op, _arguments(name, dtype, requires_grad, kind), test_utils=tests)


class Energies(nn.Module):
    """A host's module: positions and cells in, energies out."""

    def __init__(self, d3: D3BJ) -> None:
        super().__init__()
        self.d3 = d3

    def forward(self, positions: Tensor, cell: Tensor, pbc: Tensor, species: Tensor) -> Tensor:
        return self.d3.lattice(self.d3.systems(positions, species, cell, pbc))


class WithShares(Energies):
    """One that shows the shares of atoms as well."""

    def forward(
        self, positions: Tensor, cell: Tensor, pbc: Tensor, species: Tensor
    ) -> tuple[Tensor, Tensor]:
        energy, shares = self.d3.lattice_shares(self.d3.systems(positions, species, cell, pbc))
        return energy, shares


wanted = pytest.mark.parametrize("host", [Energies, WithShares])


def _crystal(n_atoms: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    rng = np.random.default_rng(n_atoms)
    grid = np.stack(np.meshgrid(*3 * [np.arange(3)]), axis=-1).reshape(-1, 3)[:n_atoms] * 2.4
    positions = torch.tensor(grid + rng.uniform(-0.3, 0.3, grid.shape), dtype=dtype)
    species = torch.tensor(np.arange(n_atoms) % 4)
    return positions, 1.5 * CELL.to(dtype), torch.tensor([True, True, False]), species


def _with_gradients(module: Callable[..., Any], inputs: tuple[Tensor, ...]) -> list[Tensor]:
    x, cell = (t.clone().requires_grad_() for t in inputs[:2])
    found = module(x, cell, *inputs[2:])
    energy, *shares = found if isinstance(found, tuple) else (found,)
    assert not any(share.requires_grad for share in shares)
    return [energy.detach(), *grad(energy.sum(), (x, cell)), *shares]


def _assert_equal(a: nn.Module, b: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    assert all(map(torch.equal, _with_gradients(a, inputs), _with_gradients(b, inputs)))


@dtypes
@pytest.mark.parametrize("dynamic", [None, True])
@wanted
def test_compile_without_graph_breaks(
    host: type[Energies], dynamic: bool | None, dtype: torch.dtype
) -> None:
    torch._dynamo.reset()
    module = host(_case(dtype=dtype).model)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for n_atoms in (12, 9):
        _assert_equal(compiled, module, _crystal(n_atoms, dtype))


@dtypes
@wanted
def test_export_with_any_number_of_atoms(host: type[Energies], dtype: torch.dtype) -> None:
    module = host(_case(dtype=dtype).model)
    n = torch.export.Dim("n_atoms")
    shapes = {"positions": {0: n}, "cell": None, "pbc": None, "species": {0: n}}
    file = io.BytesIO()
    torch.export.save(torch.export.export(module, _crystal(12, dtype), dynamic_shapes=shapes), file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    for n_atoms in (12, 9, 20):
        _assert_equal(loaded, module, _crystal(n_atoms, dtype))


FRESH_PROCESS = """
import sys
import torch
torch.ops.load_library(sys.argv[1])
model, (x, cell, pbc, species) = torch.jit.load(sys.argv[2]), torch.load(sys.argv[3])
x.requires_grad_()
systems = model.systems(x, species, cell, pbc)
energy = model.lattice(systems)
(gradient,) = torch.autograd.grad(energy.sum(), x)
evaluation = model.evaluate(systems)
shared, shares = model.lattice_shares(systems)
assert "d3torch" not in sys.modules
results = [energy, gradient, evaluation.energy, evaluation.gradient]
results += [shared, torch.autograd.grad(shared.sum(), x)[0]]
assert torch.equal(shares, evaluation.energies) and not shares.requires_grad
torch.save([t.detach() for t in results], sys.argv[3])
"""


@dtypes
def test_scripted_module_is_equal_in_a_fresh_process(dtype: torch.dtype, tmp_path: Path) -> None:
    model, inputs = _case(dtype=dtype).model, _crystal(12, dtype)
    module, data = str(tmp_path / "module.pt"), str(tmp_path / "data.pt")
    torch.jit.script(model).save(module)
    torch.save(inputs, data)
    command = [sys.executable, "-c", FRESH_PROCESS, str(LIBRARY), module, data]
    subprocess.run(command, check=True)
    energy, gradient = _with_gradients(Energies(model), inputs)[:2]
    assert all(map(torch.equal, torch.load(data), [energy, gradient] * 3))

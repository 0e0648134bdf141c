"""D3 on a given list: derivatives, and what dispatcher, TorchScript and compilers ask of it."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hosts
import lists
import pytest
import torch
from lists import ELEMENTS, Case, assert_close, case_of, halved, inputs_of
from pair_ops import backends, dtypes, first_and_second
from torch import Tensor, nn
from torch.autograd import grad, gradcheck, gradgradcheck

from d3torch import D3, _library, ops

OPS = torch.ops.d3torch
DIFFERENTIABLE = ["dispersion_on_list", "dispersion_on_list_backward"]
NAMES = [*DIFFERENTIABLE, "dispersion_on_list_evaluate", "dispersion_on_list_tangent"]
kinds = pytest.mark.parametrize("kind", lists.KINDS)
names = pytest.mark.parametrize("name", NAMES)


# ---- derivatives ----


@kinds
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
def test_derivatives_are_those_of_finite_differences(
    check: Callable[..., bool], half: bool, kind: str
) -> None:
    """In positions, cell and damping; energies are scaled to where torch's tolerances are digits.

    Nothing enters or leaves the list, whose skin is wider than the step of the differences.
    """
    case = case_of(kind)
    case = case._replace(pairs=halved(case.pairs)) if half else case
    energy = lists.energy_of(case)
    assert check(lambda *x: 1e2 * energy(*x), inputs_of(case))


@kinds
@dtypes
@pytest.mark.parametrize("width", [0.0, 1.6])
def test_derivatives_are_those_of_eager(width: float, dtype: torch.dtype, kind: str) -> None:
    """In float32 those of the twin in float64, at the same rounded numbers."""
    case = case_of(kind, width, dtype)
    found = first_and_second(lists.energy_of(case), inputs_of(case))
    twin = lists.doubled(case)
    expected = first_and_second(lists.energy_of(twin, "eager"), inputs_of(twin))
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5}[dtype]
    assert_close([t.double() for t in found], expected, tolerance)


@kinds
def test_derivatives_are_those_of_the_lattice_engine(kind: str) -> None:
    case = case_of(kind)

    def dispersion(positions: Tensor, cell: Tensor, damping: Tensor) -> Tensor:
        systems = case.systems._replace(positions=positions, cell=cell)
        return ops.dispersion(systems, damping, *case[3:6])

    found, expected = (
        first_and_second(f, inputs_of(case)) for f in (lists.energy_of(case), dispersion)
    )
    assert_close(found, expected, 1e-12)


@kinds
def test_evaluate_gives_what_autograd_gives(kind: str) -> None:
    case, e = case_of(kind), lists.evaluated(case_of(kind))
    inputs = inputs_of(case)
    energy = lists.energy_of(case)(*inputs)
    expected = [energy, *grad(energy.sum(), inputs)]
    assert all(map(torch.equal, (e.energy, e.gradient, e.by_cell, e.by_damping), expected))


@kinds
def test_virial_is_the_derivative_by_strain(kind: str) -> None:
    """By finite differences of the energy, the only formula that cannot share a mistake."""
    case, found, h = case_of(kind), [], 1e-4
    energy, systems = lists.energy_of(case), case.systems
    for strain in torch.eye(9, dtype=torch.float64).reshape(9, 3, 3):
        up, down = (
            energy(systems.positions @ f, systems.cell @ f, case.damping)
            for f in (torch.eye(3) + h * strain, torch.eye(3) - h * strain)
        )
        found.append((up - down) / (2 * h))
    virial = lists.evaluated(case).virial
    assert_close([torch.stack(found).t().reshape(3, 3, 3)], [virial], 1e-6)


@pytest.mark.parametrize("argument", [0, 1, 2], ids=["positions", "cell", "damping"])
def test_third_derivatives_are_refused(argument: int) -> None:
    case = case_of()
    inputs = inputs_of(case)
    (first,) = grad(lists.energy_of(case)(*inputs).sum(), inputs[argument], create_graph=True)
    (second,) = grad((first**2).sum(), inputs[argument], create_graph=True)
    with pytest.raises(NotImplementedError, match="third derivatives are not implemented"):
        grad(second.sum(), inputs[argument])


def test_evaluate_refuses_derivatives_in_one_sentence() -> None:
    case = case_of()
    systems = case.systems._replace(positions=inputs_of(case)[0])
    sentence = (
        "d3torch: dispersion_on_list_evaluate is for inference and not differentiable: "
        "use dispersion_on_list."
    )
    with pytest.raises(NotImplementedError, match=f"^{re.escape(sentence)}$"):
        lists.evaluated(case._replace(systems=systems)).energy.sum().backward()


@pytest.mark.parametrize("name", [*ops.Tables._fields, "shifts"])
def test_tables_and_shifts_are_refused_as_differentiable(name: str) -> None:
    case = case_of("zero crystal")
    pairs = case.pairs._replace(shifts=case.pairs.shifts.double())
    where = pairs if name == "shifts" else case.tables
    leaf = getattr(where, name).clone().requires_grad_()
    place = "pairs" if name == "shifts" else "tables"
    with pytest.raises(NotImplementedError, match=f"{name} is not differentiable"):
        lists.call(case._replace(**{place: where._replace(**{name: leaf})}))


# ---- the dispatcher ----


def _arguments(
    name: str, dtype: torch.dtype, requires_grad: bool, kind: str = "slab", half: bool = False
) -> tuple[Any, ...]:
    case = case_of(kind, dtype=dtype)
    pairs = halved(case.pairs) if half else case.pairs
    x, cell, damping = (i.detach().requires_grad_(requires_grad) for i in inputs_of(case))
    base = (x, cell, *case.systems[2:], damping, *case.tables[:4], *case.reach[:4], *pairs)
    last = (case.tables.radii, case.form)
    if name.endswith("_evaluate"):
        return (*base, True, True, "best", *last)
    base = (*base, *last)
    ones = tuple(torch.ones_like(t) for t in (x, cell, damping))
    if name.endswith("_backward"):
        per_system = torch.tensor([0.5, 1.5, 0.7], dtype=dtype).requires_grad_(requires_grad)
        return (per_system, *ones, *base)
    return (*ones, *base) if name.endswith("_tangent") else base


@pytest.mark.parametrize("requires_grad", [False, True])
@dtypes
@names
def test_opcheck(name: str, dtype: torch.dtype, requires_grad: bool) -> None:
    """On half a list, and in float32 on a whole one of another damping."""
    half = dtype == torch.float64
    kind = "slab" if half else "modified_zero slab"
    tests = ["test_schema", "test_autograd_registration", "test_faketensor"]
    if not requires_grad or name in DIFFERENTIABLE:  # the derivatives of others are refused
        tests.append("test_aot_dispatch_dynamic")
    arguments = _arguments(name, dtype, requires_grad, kind, half)
    torch.library.opcheck(getattr(OPS, name).default, arguments, test_utils=tests)


@names
def test_every_op_has_its_kernels(name: str) -> None:
    for key in ("CPU", "Meta", "CUDA", "Autograd"):
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"d3torch::{name}", key)


@pytest.mark.skipif(_library.has_cuda(), reason="built with CUDA kernels")
@names
def test_cuda_is_refused_by_a_build_without_it(name: str) -> None:
    keys = torch._C.DispatchKeySet(torch._C.DispatchKey.CUDA)
    sentence = f'{name} was built without CUDA kernels .* choose backend="eager".'
    with pytest.raises(NotImplementedError, match=sentence):
        getattr(OPS, name).default.redispatch(keys, *_arguments(name, torch.float64, False))


def test_meta_tensors_give_shapes_and_the_same_refusals() -> None:
    given = _arguments("dispersion_on_list_evaluate", torch.float32, False)
    meta = [a.to("meta") if isinstance(a, Tensor) else a for a in given]
    found = OPS.dispersion_on_list_evaluate(*meta)
    expected = OPS.dispersion_on_list_evaluate(*given)
    assert [(t.shape, t.dtype) for t in found] == [(t.shape, t.dtype) for t in expected]
    assert {t.device.type for t in found} == {"meta"}
    meta[15] = meta[15][1:]
    with pytest.raises(ValueError, match=r"shifts of shape \(n_pairs, 3\)"):
        OPS.dispersion_on_list_evaluate(*meta)


@pytest.mark.parametrize("place", [0, 1, 2, 3], ids=["energy", "positions", "cell", "damping"])
def test_gradients_of_the_wrong_shape_are_refused(place: int) -> None:
    given = [*_arguments("dispersion_on_list_backward", torch.float64, False)]
    given[place] = given[place][1:]
    word = ("grad_energy", "gradient", "by_cell", "by_damping")[place]
    with pytest.raises(ValueError, match=f"expected {word} of shape"):
        OPS.dispersion_on_list_backward(*given)


# ---- TorchScript, torch.compile and torch.export ----


class OnList(nn.Module):
    """A host's module: positions, cells and a list in, energies and shares out."""

    def __init__(self, d3: D3) -> None:
        super().__init__()
        self.d3 = d3

    def forward(
        self,
        positions: Tensor,
        cell: Tensor,
        pbc: Tensor,
        species: Tensor,
        offsets: Tensor,
        indices: Tensor,
        shifts: Tensor,
    ) -> tuple[Tensor, Tensor]:
        systems = self.d3.systems(positions, species, cell, pbc, offsets)
        energy, shares = self.d3.on_list_shares(systems, indices, shifts)
        return energy, shares


def _host(dtype: torch.dtype = torch.float64, backend: str = "kernel") -> OnList:
    return OnList(
        D3(ELEMENTS, "pbe", cutoff=6.2, cn_cutoff=5.3, width=1.6, dtype=dtype, backend=backend)
    )


def _inputs(kind: str = "slab", dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    case = case_of(kind, dtype=dtype)
    return (*case.systems, *case.pairs[:2])


def _with_gradients(module: Callable[..., Any], inputs: tuple[Tensor, ...]) -> list[Tensor]:
    x, cell = (t.clone().requires_grad_() for t in inputs[:2])
    energy, shares = module(x, cell, *inputs[2:])
    assert not shares.requires_grad
    return [energy.detach(), *grad(energy.sum(), (x, cell)), shares]


def _assert_same(found: list[Tensor], expected: list[Tensor], backend: str) -> None:
    if backend == "kernel":
        assert all(map(torch.equal, found, expected))
    else:
        assert_close(found, expected, 1e-13 if found[0].dtype == torch.float64 else 1e-5)


@dtypes
@backends
def test_scripted_saved_and_loaded_module_is_equal(backend: str, dtype: torch.dtype) -> None:
    module, file = _host(dtype, backend), io.BytesIO()
    torch.jit.save(torch.jit.script(module), file)
    file.seek(0)
    loaded = torch.jit.load(file)
    for kind in ("slab", "molecule", "crystal"):
        inputs = _inputs(kind, dtype)
        expected = _with_gradients(module, inputs)
        _assert_same(_with_gradients(loaded, inputs), expected, backend)


@backends
def test_scripted_module_takes_half_lists_and_refuses(backend: str) -> None:
    case, model = case_of("slab"), _host(backend=backend).d3
    scripted, pairs = torch.jit.script(model), halved(case.pairs)
    found = scripted.on_list(case.systems, *pairs)
    assert_close([found], [model.on_list(case.systems, *case.pairs)], 1e-12)
    assert torch.equal(found, model.on_list(case.systems, *pairs))
    for indices, words in ((pairs.indices, "without its reverse"), (pairs.indices + 5, "indices")):
        with pytest.raises(Exception, match=words):
            scripted.on_list(case.systems, indices, pairs.shifts)


def test_scripted_module_gives_second_derivatives() -> None:
    inputs, found = _inputs(), []
    for module in (_host(), torch.jit.script(_host())):
        x = inputs[0].clone().requires_grad_()
        (first,) = grad(module(x, *inputs[1:])[0].sum(), x, create_graph=True)
        found.append(grad((first**2).sum(), x)[0])
    assert torch.equal(*found)


class OnItsOwnList(nn.Module):
    """What a C++ host calls without arguments: energies, shares and the gradient of a batch."""

    def __init__(self, module: OnList, inputs: tuple[Tensor, ...]) -> None:
        super().__init__()
        self.module = module
        self.inputs = list(inputs)

    def forward(self) -> list[Tensor]:
        x, cell, pbc, species, offsets, indices, shifts = self.inputs
        x = x.detach().requires_grad_()
        energy, shares = self.module(x, cell, pbc, species, offsets, indices, shifts)
        gradient = torch.autograd.grad([energy.sum()], [x])[0]
        return [energy, shares, gradient if gradient is not None else x]


@dtypes
def test_cpp_host_gives_the_same_bits(dtype: torch.dtype, host: str, tmp_path: Path) -> None:
    module, inputs = _host(dtype), _inputs("slab", dtype)
    file = str(tmp_path / "module.pt")
    torch.jit.script(OnItsOwnList(module, inputs)).save(file)
    found = hosts.numbers([host, str(hosts.LIBRARY), file])
    energy, gradient, _, shares = _with_gradients(module, inputs)
    expected = torch.cat([t.flatten().double() for t in (energy, shares, gradient)])
    assert torch.equal(found, expected)


@pytest.mark.parametrize("dynamic", [None, True])
def test_compile_without_graph_breaks(dynamic: bool | None) -> None:
    torch._dynamo.reset()
    module = _host()
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for kind in ("slab", "crystal"):
        found, expected = (_with_gradients(m, _inputs(kind)) for m in (compiled, module))
        _assert_same(found, expected, "kernel")


def _exported(module: OnList) -> Any:
    """The module, saved and loaded, for any number of atoms, systems and pairs."""
    atoms, pairs = torch.export.Dim("n_atoms"), torch.export.Dim("n_pairs")
    b, inputs = torch.export.Dim("n_systems"), _inputs(dtype=module.d3.rcov.dtype)
    shapes = {
        **{"positions": {0: atoms}, "cell": {0: b}, "pbc": {0: b}, "species": {0: atoms}},
        **{"offsets": {0: b + 1}, "indices": {1: pairs}, "shifts": {0: pairs}},
    }
    file = io.BytesIO()
    torch.export.save(torch.export.export(module, inputs, dynamic_shapes=shapes), file)
    file.seek(0)
    return torch.export.load(file).module()


@backends
def test_export_with_any_number_of_pairs_and_atoms(backend: str) -> None:
    if backend == "eager" and torch.__version__.startswith("2.6."):
        pytest.skip("torch 2.6 cannot export the eager twin with any number of pairs")
    module = _host(backend=backend)
    exported = _exported(module)
    for kind in ("slab", "crystal", "molecule"):
        inputs = _inputs(kind)
        found, expected = (_with_gradients(m, inputs) for m in (exported, module))
        _assert_same(found, expected, backend)


def test_learnable_damping_receives_gradients() -> None:
    case = case_of()
    model = D3(ELEMENTS, "pbe", learnable=True, cutoff=6.2, cn_cutoff=5.3)
    found, expected = (
        grad(energy.sum(), list(model.parameters()))
        for energy in (model.on_list(case.systems, *case.pairs[:2]), model.lattice(case.systems))
    )
    assert_close(found, expected, 1e-12)


def _hessian(energy: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    found: Tensor = torch.autograd.functional.hessian(energy, x)
    return found


def test_hessian_is_that_of_the_lattice_engine() -> None:
    case: Case = case_of()
    model = _host().d3

    def of(x: Tensor) -> ops.Systems:
        return case.systems._replace(positions=x)

    x = case.systems.positions
    found = _hessian(lambda x: model.on_list(of(x), *case.pairs[:2]).sum(), x)
    expected = _hessian(lambda x: model.lattice(of(x)).sum(), x)
    assert_close([found], [expected], 1e-12)

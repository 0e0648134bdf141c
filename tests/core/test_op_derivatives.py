"""Derivatives of the pair ops: against differences, and against the eager twin."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pair_ops import (
    BACKENDS,
    CUTOFF,
    assert_close,
    backends,
    counter,
    dtypes,
    energy_of,
    first_and_second,
    inputs_of,
    leaves,
    widths,
)
from systems import FORMS, forms, small_case
from torch import Tensor
from torch.autograd import forward_ad, grad, gradcheck, gradgradcheck

from d3torch import D3BJ, eager, ops

# The twin's derivatives are torch's own: one form is enough of them.
differentiated = pytest.mark.parametrize(
    ("backend", "form"),
    [*(("kernel", form) for form in FORMS.values()), ("eager", ops.RATIONAL)],
    ids=[*(f"kernel-{name}" for name in FORMS), "eager-rational"],
)


def test_cluster_has_pairs_inside_within_the_switch_and_beyond() -> None:
    r = small_case().vectors.norm(dim=1)
    assert (r < CUTOFF - 1.6).any()
    assert ((r > CUTOFF - 1.6) & (r < CUTOFF)).any()
    assert (r > CUTOFF).any()


@backends
@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
def test_derivatives_of_coordination_numbers(check: Callable[..., bool], backend: str) -> None:
    case = small_case()
    short = case._replace(vectors=case.vectors * 0.5)  # where the counts are neither 0 nor 1
    assert check(counter(backend, short, 2.2), leaves(short.vectors))


@differentiated
@widths
@pytest.mark.parametrize("argument", [0, 1, 2], ids=["vectors", "cn", "damping"])
@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
def test_derivatives_of_energy(
    check: Callable[..., bool], argument: int, width: float, backend: str, form: int
) -> None:
    case = small_case(form=form)
    inputs = [case.vectors, case.cn, case.damping]
    inputs[argument] = inputs[argument].clone().requires_grad_()
    # Energies are of the order of 1e-3 hartree: scaled to where torch's tolerances mean digits.
    energy = energy_of(backend, case, width)
    assert check(lambda *x: 1e3 * energy(*x), inputs)


@differentiated
@widths
def test_mixed_second_derivatives_of_energy(width: float, backend: str, form: int) -> None:
    case = small_case(n_atoms=4, form=form)
    energy = energy_of(backend, case, width)
    assert gradgradcheck(lambda *x: 1e3 * energy(*x), inputs_of(case))


@dtypes
def test_kernel_derivatives_of_cn_are_those_of_eager(dtype: torch.dtype) -> None:
    case = small_case(dtype, n_atoms=40)
    kernel, twin = (
        first_and_second(counter(backend, case), leaves(case.vectors)) for backend in BACKENDS
    )
    for a, b in zip(kernel, twin, strict=True):
        assert_close(a, b, dtype)


@forms
@dtypes
@widths
def test_kernel_derivatives_of_energy_are_those_of_eager(
    width: float, dtype: torch.dtype, form: int
) -> None:
    case = small_case(dtype, n_atoms=40, form=form)
    kernel, twin = (
        first_and_second(energy_of(backend, case, width), inputs_of(case)) for backend in BACKENDS
    )
    for a, b in zip(kernel, twin, strict=True):
        assert_close(a, b, dtype)


@forms
@dtypes
@widths
def test_slopes_of_the_centres_are_those_of_eager(
    width: float, dtype: torch.dtype, form: int
) -> None:
    case = small_case(dtype, n_atoms=40, form=form)
    given = (case.vectors, case.cn, case.damping, case.pairs, case.species, case.tables)
    found = ops.energy_by_centre(*given, CUTOFF, width, form)
    expected = eager.energy_by_centre(*given, CUTOFF, width, form)
    for a, b in zip(found, expected, strict=True):
        assert b.any()
        assert_close(a, b, dtype)
    assert torch.equal(found.energies, ops.dispersion_energy(*given, CUTOFF, width, form))


def test_slopes_of_the_centres_carry_no_graph() -> None:
    case = small_case(torch.float64)
    found = ops.energy_by_centre(
        *inputs_of(case), case.pairs, case.species, case.tables, CUTOFF, 0.0
    )
    with pytest.raises(
        NotImplementedError, match=r"by_centre is for inference .* dispersion_energy"
    ):
        found.energies.sum().backward()


@pytest.mark.parametrize("name", ["coordination_number", "dispersion_energy"])
def test_third_derivatives_are_refused(name: str) -> None:
    case = small_case()
    if name == "dispersion_energy":
        function, inputs = energy_of("kernel", case), inputs_of(case)
    else:
        function, inputs = counter("kernel", case), leaves(case.vectors)
    (first,) = grad(function(*inputs).sum(), inputs[:1], create_graph=True)
    (second,) = grad((first**2).sum(), inputs[:1], create_graph=True)
    sentence = "third derivatives are not implemented by the kernels, nor is torch.autograd."
    with pytest.raises(NotImplementedError, match=re.escape(sentence)):
        grad(second.sum(), inputs[:1])


# ---- torch.func and torch.autograd.functional ----

X = torch.tensor([[0.0, 0.1, 0.0], [0.0, 0.0, 3.1], [2.9, 0.2, -0.3]], dtype=torch.float64)


def _of_positions(backend: str, engine: str) -> Callable[[Tensor], Tensor]:
    """The energy of three atoms, from vectors, from a list or by the lattice engine."""
    model = D3BJ(["H", "C", "O"], "pbe", cutoff=9.0, cn_cutoff=8.0, backend=backend)
    species, pairs = torch.arange(3), torch.tensor([[0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1]])
    if engine == "lattice":
        return lambda x: model.lattice(model.systems(x, species))[0]
    if engine == "list":
        shifts = torch.zeros(6, 3, dtype=torch.long)
        return lambda x: model.on_list(model.systems(x, species), pairs, shifts)[0]
    return lambda x: model(x[pairs[1]] - x[pairs[0]], pairs, species).sum()


engines = pytest.mark.parametrize("engine", ["pairs", "list", "lattice"])
TRANSFORMS: dict[str, Callable[[Callable[[Tensor], Tensor]], Any]] = {
    "grad": lambda f: torch.func.grad(f)(X),
    "vjp": lambda f: torch.func.vjp(f, X)[1](torch.ones((), dtype=X.dtype))[0],
    "jvp": lambda f: torch.func.jvp(f, (X,), (X,))[1],
    "jacrev": lambda f: torch.func.jacrev(f)(X),
    "jacfwd": lambda f: torch.func.jacfwd(f)(X),
    "hessian": lambda f: torch.func.hessian(f)(X),
}


@engines
@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_of_torch_func_are_refused_in_one_sentence(name: str, engine: str) -> None:
    sentence = (
        "d3torch: transforms of torch.func are not implemented by the kernels: "
        'use backend="eager", or torch.autograd.functional.'
    )
    with pytest.raises(NotImplementedError, match=f"^{re.escape(sentence)}$"):
        TRANSFORMS[name](_of_positions("kernel", engine))


@pytest.mark.parametrize("engine", ["pairs", "list"])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_what_the_sentence_names_works(name: str, engine: str) -> None:
    """The eager twin under the transform, the kernel under torch.autograd.functional."""
    found = TRANSFORMS[name](_of_positions("eager", engine))
    kernel = _of_positions("kernel", engine)
    functional = torch.autograd.functional
    if name == "hessian":
        expected = functional.hessian(kernel, X)
    elif name == "jvp":
        expected = functional.jvp(kernel, X, X)[1]
    else:
        expected = functional.jacobian(kernel, X)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@engines
def test_forward_mode_is_refused_in_one_sentence(engine: str) -> None:
    f = _of_positions("kernel", engine)
    sentence = r"^d3torch: forward mode is not implemented by the kernels: .*functional\.jvp\.$"
    with forward_ad.dual_level(), pytest.raises(NotImplementedError, match=sentence):
        f(forward_ad.make_dual(X, X))


@engines
def test_vhp_works_where_hvp_is_refused(engine: str) -> None:
    """They are one, as the Hessian is symmetric: hvp of the eager twin says the same."""
    functional = torch.autograd.functional
    kernel, v = _of_positions("kernel", engine), X.cos()
    with pytest.raises(NotImplementedError, match=r"use backend=\"eager\", or vhp in place of hvp"):
        functional.hvp(kernel, X, v)
    found = functional.vhp(kernel, X, v)[1]
    expected = functional.hvp(_of_positions("eager", "pairs"), X, v)[1]
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ops.Tables._fields)
def test_tables_are_refused_as_differentiable(name: str) -> None:
    case = small_case(form=ops.ZERO)
    table = getattr(case.tables, name).clone().requires_grad_()
    tables = case.tables._replace(**{name: table})
    case = case._replace(tables=tables)
    if name == "rcov":
        call, inputs = counter("kernel", case), [case.vectors]
    else:
        call, inputs = energy_of("kernel", case), [case.vectors, case.cn, case.damping]
    with pytest.raises(NotImplementedError, match=f"{name} is not differentiable"):
        call(*inputs)

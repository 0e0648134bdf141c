"""Lists that are sorted by centre go row by row in registers: the same results as pair by pair."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from pair_ops import (
    CUTOFF,
    OPS,
    assert_close,
    counter,
    dtypes,
    energy_of,
    first_and_second,
    inputs_of,
    leaves,
)
from systems import DAMPING, Case, small_case, small_tables
from torch import Tensor

from d3torch import D3, ops

ELEMENTS: list[str | int] = ["H", "C", "N", "O", "Na", "Si", "S", "Cl", "Fe", "Br", "Au", "Pb"]
FORMS = [ops.RATIONAL, ops.ZERO, ops.MODIFIED_ZERO]


@pytest.fixture(autouse=True)
def _restore_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def in_order(case: Case, order: Tensor) -> Case:
    return case._replace(vectors=case.vectors[order], pairs=case.pairs[:, order].contiguous())


def by_centre(case: Case) -> Case:
    return in_order(case, torch.argsort(case.pairs[0], stable=True))


def shuffled(case: Case) -> Case:
    generator = torch.Generator().manual_seed(2)
    return in_order(case, torch.randperm(case.pairs.shape[1], generator=generator))


def rows(
    lengths: list[int], dtype: torch.dtype, n_species: int = 4, form: int = ops.RATIONAL
) -> Case:
    """Rows of these lengths over random neighbours, some of them beyond the cutoff."""
    rng = np.random.default_rng(7)
    n_atoms, n_pairs = len(lengths), sum(lengths)
    direction = rng.normal(size=(n_pairs, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    r = rng.uniform(1.6, 1.25 * CUTOFF, (n_pairs, 1))
    centre = np.repeat(np.arange(n_atoms), lengths)
    return Case(
        torch.tensor(r * direction, dtype=dtype),
        torch.tensor(np.stack([centre, rng.integers(0, n_atoms, n_pairs)])),
        torch.tensor(rng.integers(0, n_species, n_atoms)),
        torch.tensor(rng.uniform(0.3, 3.6, n_atoms), dtype=dtype),
        torch.tensor(DAMPING[form], dtype=dtype),
        small_tables(ELEMENTS[:n_species], dtype, form),
        form,
    )


def results(case: Case, backend: str, width: float) -> list[Tensor]:
    """CN and energies with their first and second derivatives."""
    return [
        *first_and_second(counter(backend, case), leaves(case.vectors)),
        *first_and_second(energy_of(backend, case, width), inputs_of(case)),
    ]


def in_double(case: Case) -> Case:
    tables = type(case.tables)(*(None if t is None else t.double() for t in case.tables))
    return case._replace(
        vectors=case.vectors.double(),
        cn=case.cn.double(),
        damping=case.damping.double(),
        tables=tables,
    )


def assert_near_the_twin(case: Case, width: float, dtype: torch.dtype) -> None:
    """Results of the kernels are those of the twin in double precision, which a float lacks."""
    twin = results(in_double(case), "eager", width)
    for a, b in zip(results(case, "kernel", width), twin, strict=True):
        assert_close(a, b.to(dtype), dtype, float64=2e-12)


@pytest.mark.parametrize("form", FORMS)
@dtypes
def test_rows_of_every_length_agree_with_the_twin(dtype: torch.dtype, form: int) -> None:
    case = rows([*range(41), 63, 64, 65, 150, 0, 700], dtype, form=form)
    assert_near_the_twin(case, 1.6, dtype)


@pytest.mark.parametrize("n_species", [1, 2, 3, 5, 8, 9, 12])
@dtypes
def test_any_number_of_species_agrees_with_the_twin(dtype: torch.dtype, n_species: int) -> None:
    case = rows([37] * 24, dtype, n_species)
    assert_near_the_twin(case, 0.0, dtype)


@dtypes
def test_sorted_and_shuffled_lists_agree(dtype: torch.dtype) -> None:
    case = by_centre(small_case(dtype, n_atoms=60))
    order = torch.randperm(case.pairs.shape[1], generator=torch.Generator().manual_seed(2))
    mixed = in_order(case, order)
    assert_close(
        counter("kernel", case)(case.vectors), counter("kernel", mixed)(mixed.vectors), dtype
    )
    inputs, others = inputs_of(case), inputs_of(mixed)
    energy, other = energy_of("kernel", case)(*inputs), energy_of("kernel", mixed)(*others)
    assert_close(energy, other, dtype)
    slopes = torch.autograd.grad(energy.sum(), inputs)
    mixed_slopes = torch.autograd.grad(other.sum(), others)
    assert_close(slopes[0][order], mixed_slopes[0], dtype)
    assert_close(slopes[1], mixed_slopes[1], dtype)
    assert_close(slopes[2], mixed_slopes[2], dtype)


@dtypes
def test_by_centre_gives_the_same_from_a_sorted_list(dtype: torch.dtype) -> None:
    case = rows([90] * 20, dtype)
    found, mixed = (
        OPS.dispersion_energy_by_centre(
            c.vectors, c.cn, c.damping, c.pairs, c.species, *c.tables[1:4], CUTOFF, 1.6
        )
        for c in (case, shuffled(case))
    )
    for a, b in zip(found[:2], mixed[:2], strict=True):
        assert_close(a, b, dtype)
    energy = energy_of("kernel", case, 1.6)(*inputs_of(case))
    assert_close(found[0], energy.detach(), dtype)
    v = case.vectors.clone().requires_grad_()
    total = energy_of("eager", case, 1.6)(v, case.cn, case.damping).sum()
    assert_close(found[2], torch.autograd.grad(total, v)[0], dtype)


@dtypes
def test_sorted_lists_repeat_to_the_last_bit_for_any_number_of_threads(dtype: torch.dtype) -> None:
    case = rows([500] * 40, dtype)
    torch.set_num_threads(1)
    alone = results(case, "kernel", 1.6)
    for threads in (1, 2, 3, 4):
        torch.set_num_threads(threads)
        for a, b in zip(results(case, "kernel", 1.6), alone, strict=True):
            assert torch.equal(a, b)


@dtypes
def test_far_pairs_whose_squares_overflow_do_not_count(dtype: torch.dtype) -> None:
    case = rows([70, 3], dtype)
    case.vectors[[1, 50, 71]] *= torch.finfo(dtype).max / 1e3
    keep = torch.tensor([k not in (1, 50, 71) for k in range(73)])
    rest = case._replace(vectors=case.vectors[keep], pairs=case.pairs[:, keep].contiguous())
    energies = [energy_of("kernel", c)(c.vectors, c.cn, c.damping).detach() for c in (case, rest)]
    assert_close(energies[0], energies[1], dtype)
    cn = counter("kernel", case)(case.vectors)
    v = case.vectors.clone().requires_grad_()
    (slope,) = torch.autograd.grad(counter("kernel", case)(v).sum(), v)
    assert_close(cn, counter("kernel", rest)(rest.vectors), dtype)
    assert not slope[~keep].any()
    assert slope.isfinite().all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("place", [0, 100, 150])
@dtypes
def test_what_is_not_a_number_reaches_its_row_alone(
    dtype: torch.dtype, place: int, value: float
) -> None:
    case = rows([90, 80, 10], dtype)
    case.vectors[place, 1] = value
    i = int(case.pairs[0, place])
    cn = counter("kernel", case)(case.vectors)
    energy = energy_of("kernel", case)(case.vectors, case.cn, case.damping)
    expected = torch.arange(3) == i if value != value else torch.zeros(3, dtype=torch.bool)
    assert torch.equal(cn.isnan(), expected)
    assert torch.equal(energy.isnan(), expected)


@pytest.mark.parametrize("place", [0, 64, 89, 90, 179])
@pytest.mark.parametrize("op", [counter, energy_of])
def test_the_first_wrong_pair_is_named(op: object, place: int) -> None:
    case = rows([90, 80, 10], torch.float64)
    function = counter("kernel", case) if op is counter else energy_of("kernel", case)
    inputs = [case.vectors] if op is counter else [case.vectors, case.cn, case.damping]
    case.pairs[1, 179] = 3
    case.pairs[1, place] = -1
    with pytest.raises(IndexError, match=rf"for pair {place}\."):
        function(*inputs)
    case.pairs[1] = 0
    case.vectors[place] = 0
    with pytest.raises(ValueError, match=rf"got pair {place} .* length 0"):
        function(*inputs)


def test_a_list_out_of_order_at_its_end_is_summed_all_the_same() -> None:
    case = rows([90, 80, 10, 5], torch.float64)
    order = torch.arange(185).roll(1)
    mixed = in_order(case, order)
    assert_close(
        counter("kernel", mixed)(mixed.vectors),
        counter("kernel", case)(case.vectors),
        torch.float64,
    )


@dtypes
@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1]])
def test_pairs_infinitely_far_apart_have_no_slope(dtype: torch.dtype, order: list[int]) -> None:
    """Hosts pad lists with them: first and second derivatives are 0, sorted or not."""
    model = D3(["Na", "Cl"], "pbe", cutoff=6.0, cn_cutoff=5.0, dtype=dtype)
    species, indices = torch.tensor([0, 1]), torch.tensor([[0, 0, 1], [1, 1, 0]])[:, order]
    vectors = torch.tensor([[0, 0, 2.8], [torch.inf] * 3, [0, 0, -2.8]], dtype=dtype)[order]
    far, v = order.index(1), vectors.clone().requires_grad_()
    (slope,) = torch.autograd.grad(model(v, indices, species).sum(), v, create_graph=True)
    (second,) = torch.autograd.grad((slope[order.index(0)] ** 2).sum(), v)
    zero = torch.zeros(3, dtype=dtype)
    for found in (slope, second):
        assert torch.equal(found[far], zero)
        assert found.isfinite().all()
    assert slope.abs().max() > 0
    cn = model.coordination_number(vectors, indices, species)
    given = (vectors, cn, model.damping(), indices, species, model.tables(), 6.0)
    assert torch.equal(ops.energy_by_centre(*given).by_vectors[far], zero)
    if far != 1:
        return
    near = (vectors, indices[0].contiguous(), indices[1].contiguous(), species)
    forces = ops.owned_energy_forces(*near, cn, model.damping(), model.tables(), 6.0, 5.0)
    assert torch.equal(forces.forces[far], zero)
    assert forces.forces.isfinite().all()

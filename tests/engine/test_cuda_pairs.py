"""The pair ops on CUDA: those of the CPU for lists of every kind, repeatable, never silent.

Without a GPU they run emulated, from test_cuda_emulation.py.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from cuda_device import EMULATED, assert_close, on_either, run, run_cpu
from systems import Case, forms, small_case
from torch import Tensor

pytestmark = on_either
CUTOFF, WIDTH = 7.5, 2.0
NAMES = ["coordination_number", "dispersion_energy"]
dtypes = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
names = pytest.mark.parametrize("name", NAMES)


def in_order(case: Case) -> Case:
    order = torch.argsort(case.pairs[0], stable=True)
    return case._replace(vectors=case.vectors[order], pairs=case.pairs[:, order].contiguous())


def _half(case: Case) -> Case:
    """Without the reverse of some pairs: sorted, as of a domain whose ghosts own no pairs."""
    keep = (case.pairs[0] < case.pairs[1]) | (case.pairs[0] % 3 == 0)
    return case._replace(vectors=case.vectors[keep], pairs=case.pairs[:, keep].contiguous())


def _short_rows(case: Case) -> Case:
    """Atoms without pairs at the start, in the middle and at the end, a list of one pair a row."""
    keep = (case.pairs[0] % 4 == 1) & (case.pairs[1] == case.pairs[0] + 1)
    return case._replace(vectors=case.vectors[keep], pairs=case.pairs[:, keep].contiguous())


def _few_references(case: Case) -> Case:
    t = case.tables
    return case._replace(tables=t._replace(cn_ref=t.cn_ref[:, :3], c6_ref=t.c6_ref[..., :3, :3]))


def _lopsided(case: Case) -> Case:
    """Tables of C6 that are not the same from either side."""
    c6_ref = case.tables.c6_ref.clone()
    c6_ref[1, 2] *= 1.5
    return case._replace(tables=case.tables._replace(c6_ref=c6_ref))


LISTS: dict[str, Any] = {
    "sorted": in_order,
    "shuffled": lambda case: case,
    "half": lambda case: _half(in_order(case)),
    "half-shuffled": _half,
    "short": lambda case: _short_rows(in_order(case)),
    "three-references": lambda case: _few_references(in_order(case)),
    "lopsided": lambda case: _lopsided(in_order(case)),
}
lists = pytest.mark.parametrize("kind", LISTS)


def pair_arguments(name: str, case: Case, suffix: str) -> tuple[Any, ...]:
    """Arguments of an op, with a tangent of the vectors that respects reverse pairs."""
    v, cn, d = case.vectors, case.cn, case.damping
    if name == "coordination_number":
        base: tuple[Any, ...] = (v, case.pairs, case.species, case.tables.rcov, CUTOFF)
        tangents: tuple[Tensor, ...] = (torch.sin(v),)
    else:
        base = (v, cn, d, case.pairs, case.species, *case.tables[1:4], CUTOFF, WIDTH)
        base = (*base, case.tables.radii, case.form)
        tangents = (torch.sin(v), torch.cos(cn), torch.linspace(1.0, 0.3, len(d), dtype=v.dtype))
    weights = torch.linspace(0.5, 1.5, len(case.species), dtype=v.dtype)
    if suffix == "_double_backward":
        return (*tangents, weights, *base)
    return (weights, *base) if suffix else base


@dtypes
@lists
@names
@pytest.mark.parametrize("suffix", ["", "_backward", "_double_backward"])
def test_results_are_those_of_the_cpu(
    suffix: str, name: str, kind: str, dtype: torch.dtype
) -> None:
    case = LISTS[kind](small_case(dtype, n_atoms=26))
    arguments = pair_arguments(name, case, suffix)
    assert_close(run(name + suffix, *arguments), run_cpu(name + suffix, *arguments))


@dtypes
@forms
@pytest.mark.parametrize("kind", ["sorted", "shuffled"])
@pytest.mark.parametrize("suffix", ["", "_by_centre", "_backward", "_double_backward"])
def test_every_form_is_that_of_the_cpu(
    suffix: str, kind: str, form: int, dtype: torch.dtype
) -> None:
    name = "dispersion_energy"
    case = LISTS[kind](small_case(dtype, n_atoms=26, form=form))
    arguments = pair_arguments(name, case, "" if suffix == "_by_centre" else suffix)
    assert_close(run(name + suffix, *arguments), run_cpu(name + suffix, *arguments))


@dtypes
@lists
def test_slopes_of_the_centres_are_those_of_the_cpu(kind: str, dtype: torch.dtype) -> None:
    case = LISTS[kind](small_case(dtype, n_atoms=26))
    arguments = pair_arguments("dispersion_energy", case, "")
    name = "dispersion_energy_by_centre"
    assert_close(run(name, *arguments), run_cpu(name, *arguments))


@names
@pytest.mark.parametrize("suffix", ["_backward", "_double_backward"])
def test_tangents_that_ignore_reverse_pairs(suffix: str, name: str) -> None:
    case = in_order(small_case(n_atoms=20))
    first, *rest = pair_arguments(name, case, suffix)
    first = first + 0.1 * torch.linspace(-1.0, 1.0, first.numel(), dtype=first.dtype).view_as(first)
    assert_close(run(name + suffix, first, *rest), run_cpu(name + suffix, first, *rest))


@dtypes
@pytest.mark.parametrize("n_atoms", [3, 0])
def test_empty_list_and_no_atoms(n_atoms: int, dtype: torch.dtype) -> None:
    full = small_case(dtype)
    empty = full._replace(vectors=full.vectors[:0], pairs=full.pairs[:, :0])
    case = empty._replace(species=full.species[:n_atoms], cn=full.cn[:n_atoms])
    for name in NAMES:
        for suffix in ("", "_backward", "_double_backward"):
            arguments = pair_arguments(name, case, suffix)
            for a, b in zip(
                run(name + suffix, *arguments), run_cpu(name + suffix, *arguments), strict=True
            ):
                assert torch.equal(a, b)


def test_non_contiguous_inputs() -> None:
    case = in_order(small_case(n_atoms=8))
    wide = torch.zeros(len(case.vectors), 6, dtype=torch.float64)
    wide[:, ::2] = case.vectors
    loose = case._replace(vectors=wide[:, ::2], pairs=case.pairs.T.contiguous().T)
    for name in NAMES:
        arguments = (pair_arguments(name, c, "_backward") for c in (loose, case))
        first, second = (run(f"{name}_backward", *a) for a in arguments)
        assert all(map(torch.equal, first, second))


@names
@pytest.mark.parametrize("value", [26, -1, 1 << 40])
@pytest.mark.parametrize("row", [0, 1])
def test_an_index_out_of_range_makes_everything_nan(row: int, value: int, name: str) -> None:
    """What the CPU refuses cannot be refused without waiting for the GPU."""
    case = in_order(small_case(n_atoms=26))
    pairs = case.pairs.clone()
    pairs[row, 0 if value < 0 else -1] = value
    (out,) = run(name, *pair_arguments(name, case._replace(pairs=pairs), ""))
    assert out.isnan().all()
    gradients = run(
        f"{name}_backward", *pair_arguments(name, case._replace(pairs=pairs), "_backward")
    )
    assert gradients[0].isnan().any()
    assert all(g.isnan().all() for g in gradients[1:])


@names
@pytest.mark.parametrize("value", [4, -1, 1 << 40])
def test_an_unknown_species_makes_everything_nan(value: int, name: str) -> None:
    case = in_order(small_case(n_atoms=12))
    species = case.species.clone()
    species[3] = value
    (out,) = run(name, *pair_arguments(name, case._replace(species=species), ""))
    assert out.isnan().all()


@names
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_a_number_is_not_hidden(value: float, name: str) -> None:
    case = in_order(small_case(n_atoms=9))
    case.vectors[0, 1] = value
    (out,) = run(name, *pair_arguments(name, case, ""))
    (expected,) = run_cpu(name, *pair_arguments(name, case, ""))
    assert torch.equal(out.isnan(), expected.isnan())


@names
def test_a_vector_of_length_zero_makes_its_atom_nan(name: str) -> None:
    """What the CPU refuses."""
    case = in_order(small_case(n_atoms=9))
    case.vectors[3] = 0.0
    centre, last = int(case.pairs[0, 3]), torch.float64
    (out,) = run(name, *pair_arguments(name, case, ""))
    assert out.isnan().nonzero().tolist() == [[centre]]
    gradients = run(f"{name}_backward", *pair_arguments(name, case, "_backward"))
    assert gradients[0][3].isnan().all()
    assert gradients[0].dtype == last


def test_too_many_species_and_references_are_refused_in_one_sentence() -> None:
    case = small_case()
    v, pairs, species = case.vectors, case.pairs, case.species
    with pytest.raises(ValueError, match=r"expected at most 128 species on a GPU, got 129\."):
        run("coordination_number", v, pairs, species, torch.ones(129, dtype=v.dtype), CUTOFF)
    wide = case.tables._replace(
        cn_ref=torch.ones(4, 8, dtype=v.dtype), c6_ref=torch.ones(4, 4, 8, 8, dtype=v.dtype)
    )
    with pytest.raises(ValueError, match=r"expected at most 7 references of a species on a GPU"):
        run(
            "dispersion_energy",
            *pair_arguments("dispersion_energy", case._replace(tables=wide), ""),
        )
    nobody = case._replace(species=species[:0], cn=case.cn[:0])
    with pytest.raises(IndexError, match=r"expected no pairs where there are no atoms, got 20\."):
        run("dispersion_energy", *pair_arguments("dispersion_energy", nobody, ""))


@dtypes
@names
@pytest.mark.parametrize("suffix", ["", "_backward", "_double_backward"])
def test_sorted_lists_repeat_to_the_last_bit(suffix: str, name: str, dtype: torch.dtype) -> None:
    case = in_order(small_case(dtype, n_atoms=40 if EMULATED else 600))
    arguments = pair_arguments(name, case, suffix)
    first = run(name + suffix, *arguments)
    for _ in range(1 if EMULATED else 20):
        assert all(map(torch.equal, first, run(name + suffix, *arguments)))

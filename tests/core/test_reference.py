"""Reference tables: against published values, between generations, and against simple-dftd3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from d3torch import reference as module
from d3torch.reference import (
    REFERENCES,
    SYMBOLS,
    ReferenceTables,
    atomic_numbers,
    reference_tables,
)

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
LAST = {"2010": 94, "2024": 103}
PBE = {"s6": 1.0, "s8": 0.7875, "a1": 0.4289, "a2": 4.4407}
CURIUM, MENDELEVIUM = 96, 101


def test_the_last_element_is_that_of_the_newest_table() -> None:
    cn_ref, _ = module.stored_generation(REFERENCES[-1])
    assert len(cn_ref) - 1 == module.LAST == max(LAST.values())


@pytest.mark.parametrize("reference", REFERENCES)
def test_shapes_types_and_padding(reference: str) -> None:
    tables = reference_tables(["H", "C", "He"], reference)
    assert [table.shape for table in tables] == [(3, 5), (3, 3, 5, 5), (3,), (3,), (3, 3)]
    assert all(table.dtype == np.float64 for table in tables)
    assert np.all(tables.cn_ref[0, 2:] == -1.0)
    assert np.all(tables.cn_ref[2, 1:] == -1.0)
    assert np.all(tables.c6_ref[0, :, 2:] == 0.0)


def test_width_is_that_of_the_elements_present() -> None:
    assert reference_tables(["H", "F"]).cn_ref.shape == (2, 2)
    assert reference_tables(["He"]).cn_ref.shape == (1, 1)
    assert reference_tables(["H", "Cm"]).cn_ref.shape == (2, 7)


@pytest.mark.parametrize("reference", REFERENCES)
def test_every_element_is_there(reference: str) -> None:
    tables = reference_tables(range(1, LAST[reference] + 1), reference)
    present = tables.cn_ref >= 0.0
    assert np.all(present[:, 0])
    assert not np.any(present[:, 1:] & ~present[:, :-1])


@pytest.mark.parametrize("reference", REFERENCES)
def test_c6_is_symmetric_positive_and_complete(reference: str) -> None:
    tables = reference_tables(range(1, LAST[reference] + 1), reference)
    assert np.array_equal(tables.c6_ref, tables.c6_ref.transpose(1, 0, 3, 2))
    present = tables.cn_ref >= 0.0
    both = present[:, None, :, None] & present[None, :, None, :]
    assert np.array_equal(tables.c6_ref > 0.0, both)


def test_c6_has_four_decimals() -> None:
    c6 = reference_tables(range(1, 104)).c6_ref
    assert np.array_equal(c6, np.round(c6, 4))


def test_known_values() -> None:
    tables = reference_tables(["H", "C"])
    assert (tables.cn_ref[0, 0], tables.c6_ref[0, 0, 0, 0]) == (0.9118, 3.0267)
    assert tables.c6_ref[0, 0, 1, 1] == 7.5916
    assert (tables.cn_ref[1, 4], tables.c6_ref[1, 1, 4, 4]) == (3.9844, 18.2067)
    assert tables.rcov == pytest.approx(4 / 3 * np.array([0.32, 0.75]) / 0.5291772109044924)
    q = np.sqrt(0.5 * np.array([8.0589, 7.8715 * np.sqrt(6.0)]))
    assert tables.r4r2 == pytest.approx(q, rel=1e-15)


def test_generations_agree_up_to_radon() -> None:
    old, new = (reference_tables(range(1, 87), reference) for reference in REFERENCES)
    for a, b in zip(old, new, strict=True):
        assert np.array_equal(a, b)


def test_generations_differ_for_every_pair_from_francium_on() -> None:
    old, new = (reference_tables(range(1, 95), reference) for reference in REFERENCES)
    for z in range(86, 94):
        free = [tables.c6_ref[z, :, 0, 0] for tables in (old, new)]
        assert np.all(free[0] != free[1])


@pytest.mark.parametrize("reference", REFERENCES)
def test_order_of_elements_is_kept(reference: str) -> None:
    order = [2, 0, 1]
    tables = reference_tables(["Si", "O", "Na"], reference)
    moved = reference_tables(["Na", "Si", "O"], reference)
    assert np.array_equal(tables.cn_ref[order], moved.cn_ref)
    assert np.array_equal(tables.c6_ref[np.ix_(order, order)], moved.c6_ref)
    assert np.array_equal(tables.rcov[order], moved.rcov)
    assert np.array_equal(tables.r4r2[order], moved.r4r2)


def test_subset_is_cut_from_the_whole() -> None:
    whole, part = reference_tables(range(1, 104)), reference_tables([1, 8])
    assert np.array_equal(whole.cn_ref[[0, 7], :3], part.cn_ref)
    assert np.array_equal(whole.c6_ref[np.ix_([0, 7], [0, 7])][..., :3, :3], part.c6_ref)


def test_changing_a_table_leaves_the_next_one_alone() -> None:
    for table in reference_tables(["H"]):
        table[:] = 0.0
    assert reference_tables(["H"]).c6_ref[0, 0, 0, 0] == 3.0267


def test_pair_radii_are_those_of_the_oracle() -> None:
    """Taken back from its energies of two atoms, r0 as far apart, with zero damping and without."""
    interface = pytest.importorskip("dftd3.interface")
    radii = reference_tables(range(1, 104)).radii
    assert np.array_equal(radii, radii.T)
    assert round(float(radii[5, 7]), 6) == 4.856029  # C-O
    given = {"s6": 1.0, "s8": 0.0, "s9": 0.0, "rs8": 1.0, "alp": 14.0}
    damped = interface.ZeroDampingParam(rs6=1.0, **given)
    free = interface.ZeroDampingParam(rs6=1e-3, **given)
    for z, other in zip(*np.tril_indices(103), strict=True):
        r0 = radii[z, other]
        model = interface.DispersionModel(
            np.array([z + 1, other + 1]), np.array([[0, 0, 0], [0, 0, r0]])
        )
        near, far = (model.get_dispersion(p, grad=False)["energy"] for p in (damped, free))
        found = r0 * ((far / near - 1.0) / 6.0) ** (1.0 / 14.0)
        assert abs(found / r0 - 1.0) < 1e-14, (z + 1, other + 1)


def test_symbols_and_numbers_mean_the_same() -> None:
    assert atomic_numbers(["Si", 8, 11]) == [14, 8, 11]
    assert atomic_numbers(SYMBOLS[1:]) == list(range(1, 119))
    assert (SYMBOLS[1], SYMBOLS[103]) == ("H", "Lr")


def test_numpy_integers_are_atomic_numbers() -> None:
    assert atomic_numbers(list(np.array([14, 8]))) == [14, 8]


@pytest.mark.parametrize(
    ("elements", "error", "message"),
    [
        (["Si", "Si"], ValueError, "each element once, got Si twice"),
        (["Si", 14], ValueError, "each element once, got Si twice"),
        (["si"], ValueError, "chemical symbol such as 'Si', got 'si'"),
        (["X"], ValueError, "got 'X'"),
        ([0], ValueError, "atomic number from 1 to 103, got 0"),
        ([119], ValueError, "got 119"),
        ([True], TypeError, "got True"),
        ([1.0], TypeError, "got 1.0"),
        ([np.array([1, 2])], TypeError, "or an atomic number"),
        ([None], TypeError, "got None"),
        ([], ValueError, "at least one element"),
        ("Si", TypeError, "list of elements"),
        (14, TypeError, "list of elements"),
    ],
)
def test_wrong_elements_are_refused(elements: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        reference_tables(elements)


@pytest.mark.parametrize(
    ("element", "reference", "error", "message"),
    [
        ("Am", "2010", ValueError, "'2010', got Am; reference '2024' has Am"),
        ("Rf", "2010", ValueError, "H to Pu for reference '2010', got Rf$"),
        ("Rf", "2024", ValueError, "H to Lr for reference '2024', got Rf$"),
        ("H", "2023", ValueError, "one of .'2010', '2024'., got '2023'"),
        ("H", 2010, TypeError, "reference to be a string, got 2010"),
    ],
)
def test_wrong_reference_is_refused(
    element: str, reference: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        reference_tables([element], reference)


def _energy(numbers: Sequence[int], x: Array, tables: ReferenceTables, mask: Mask) -> Any:
    """PBE-D3(BJ) of a molecule in plain NumPy; ``mask`` tells which references take part."""
    s = np.array(numbers) - 1
    r = np.linalg.norm(x[:, None] - x[None], axis=-1)
    np.fill_diagonal(r, np.inf)
    rcov, q = tables.rcov[s], tables.r4r2[s]
    count = 1.0 / (1.0 + np.exp(16.0 - 16.0 * (rcov[:, None] + rcov) / r))
    cn = (count * (r <= 40.0)).sum(axis=1)
    exponent = np.where(mask[s], -4.0 * (cn[:, None] - tables.cn_ref[s]) ** 2, -np.inf)
    weight = np.exp(exponent - exponent.max(axis=1, keepdims=True))
    weight /= weight.sum(axis=1, keepdims=True)
    c6 = np.einsum("ia,jb,ijab->ij", weight, weight, tables.c6_ref[s[:, None], s])
    qq = 3.0 * np.outer(q, q)
    r0 = PBE["a1"] * np.sqrt(qq) + PBE["a2"]
    pair = c6 * (PBE["s6"] / (r**6 + r0**6) + PBE["s8"] * qq / (r**8 + r0**8))
    return -0.5 * (pair * (r <= 60.0)).sum(), cn


def _molecules(partners: Sequence[int]) -> list[tuple[list[int], Array]]:
    """Every element up to lawrencium with one to six ligands, at distances near bonds."""
    rng = np.random.default_rng(7)
    directions = np.concatenate([np.eye(3), -np.eye(3)])
    rcov = reference_tables(range(1, 104)).rcov
    found = []
    for z in range(1, 104):
        for n in range(1, 7):
            others = [int(k) for k in rng.choice(partners, n)]
            length = (rcov[z - 1] + rcov[np.array(others) - 1]) * rng.uniform(0.7, 1.6, n)
            x = np.zeros((n + 1, 3))
            x[1:] = directions[:n] * length[:, None] + rng.normal(scale=0.05, size=(n, 3))
            found.append(([z, *others], x))
    return found


def _oracle(numbers: Sequence[int], x: Array) -> float:
    interface = pytest.importorskip("dftd3.interface")
    model = interface.DispersionModel(np.array(numbers), x)
    model.set_realspace_cutoff(60.0, 60.0, 40.0)
    parameters = interface.RationalDampingParam(s9=0.0, **PBE)
    return float(model.get_dispersion(parameters, grad=False)["energy"])


def _compared(tables: ReferenceTables, mask: Mask, skip: Sequence[int]) -> tuple[float, int]:
    """Largest relative difference to simple-dftd3, and how many molecules were compared."""
    heavy = [z for z in (1, 8, 17, 26, *range(87, 104)) if z not in skip]
    worst, compared = 0.0, 0
    top = tables.cn_ref.max(axis=1)
    for numbers, x in _molecules(heavy):
        mine, cn = _energy(numbers, x, tables, mask)
        # Far above the last reference the Gaussians of simple-dftd3 lose digits and vanish.
        if numbers[0] not in skip and np.all(cn < top[np.array(numbers) - 1] + 2.0):
            worst = max(worst, abs(mine / _oracle(numbers, x) - 1.0))
            compared += 1
    return worst, compared


def test_tables_give_the_energies_of_simple_dftd3() -> None:
    tables = reference_tables(range(1, 104))
    worst, compared = _compared(tables, tables.cn_ref >= 0.0, (CURIUM, MENDELEVIUM))
    assert compared > 300
    assert worst < 1e-12


def test_curium_and_mendelevium_differ_by_the_miscount_of_simple_dftd3_only() -> None:
    tables = reference_tables(range(1, 104))
    mask = tables.cn_ref >= 0.0
    assert mask[[CURIUM - 1, MENDELEVIUM - 1]].sum(axis=1).tolist() == [7, 5]
    mask[CURIUM - 1, 6], mask[MENDELEVIUM - 1, 5] = False, True
    worst, compared = _compared(tables, mask, ())
    assert compared > 300
    assert worst < 1e-12

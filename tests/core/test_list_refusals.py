"""What the op on a given list refuses, in one sentence."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import lists
import numpy as np
import pytest
import torch
from ase.build import molecule
from lists import Case, case_of, halved
from pair_ops import backends
from torch.autograd import grad

from d3torch import D3, ops
from d3torch.model import BACKENDS


def _with_pair(case: Case, i: int, j: int, shift: tuple[float, ...], back: bool = False) -> Case:
    """With one more pair, the last but its reverse."""
    s = torch.tensor([shift]).to(case.pairs.shifts.dtype)
    more, shifts = torch.tensor([[i], [j]]), s
    if back:
        more, shifts = torch.cat([more, more.flip(0)], dim=1), torch.cat([s, -s])
    indices = torch.cat([case.pairs.indices, more], dim=1)
    return case._replace(
        pairs=ops.PairList(indices, torch.cat([case.pairs.shifts, shifts]), case.pairs.half)
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_no_tensor_is_told_by_its_name(backend: str) -> None:
    """Arrays of numpy, as the lists of other programs are, are not printed whole."""
    model = D3(["H", "O"], "pbe", backend=backend)
    x, species = torch.eye(3, dtype=torch.float64), torch.tensor([1, 0, 0])
    pairs, shifts = torch.tensor([[0, 1], [1, 0]]), torch.zeros(2, 3, dtype=torch.int64)
    systems, vectors = model.systems(x, species), x[:2] - x[1:]
    array, water = pairs.numpy(), molecule("H2O")
    no_systems = "Systems, as .* makes them of tensors, got Atoms"
    calls: list[tuple[str, Callable[[], Any]]] = [
        ("indices to be a tensor, got nd", lambda: model.on_list(systems, array, shifts)),
        ("shifts to be a tensor, got nd", lambda: model.on_list(systems, pairs, shifts.numpy())),
        ("shifts to be a tensor, got None", lambda: model.on_list_shares(systems, pairs, None)),
        ("indices to be a tensor", lambda: model.evaluate_on_list(systems, array, shifts)),
        ("damping to be a tensor, got list", lambda: model.lattice(systems, [1.0, 1.0, 0.4, 4.0])),
        ("vectors to be a tensor, got nd", lambda: model(vectors.numpy(), pairs, species)),
        ("pairs to be a tensor, got ndarray", lambda: model(vectors, array, species)),
        ("species to be a tensor, got list", lambda: model(vectors, pairs, species.tolist())),
        ("cn to be a tensor", lambda: model.dispersion_energy(vectors, [3.0], pairs, species)),
        ("cell to be a tensor", lambda: model.lattice(systems._replace(cell=np.eye(3)))),
        (no_systems, lambda: model.lattice(water)),
        (no_systems, lambda: model.pairwise(water)),
    ]
    for words, call in calls:
        with pytest.raises(TypeError, match=f"^expected {words}"):
            call()


def _moved(case: Case, value: float) -> Case:
    x = case.systems.positions.clone()
    x[5, 1] = value
    return case._replace(systems=case.systems._replace(positions=x))


def _on_one_spot(case: Case) -> Case:
    x = case.systems.positions.clone()
    x[2] = x[1]
    return _with_pair(case._replace(systems=case.systems._replace(positions=x)), 1, 2, (0, 0, 0))


def _real_shifts(case: Case, value: float) -> Case:
    shifts = case.pairs.shifts.to(case.systems.positions)
    shifts[7, 0] = value
    return case._replace(pairs=case.pairs._replace(shifts=shifts))


def _flat(case: Case) -> Case:
    cell = case.systems.cell.clone()
    cell[2, 2] = cell[2, 0]
    return case._replace(systems=case.systems._replace(cell=cell))


def _without_images(case: Case) -> Case:
    """Without an image of one atom, and the opposite image of another: neither has its reverse."""
    (i, j), s = case.pairs.indices, case.pairs.shifts
    along = torch.tensor([1, 0, 0])
    lacking = (i == j) & (((i == 0) & (s == along).all(1)) | ((i == 1) & (s == -along).all(1)))
    assert lacking.sum() == 2
    return case._replace(pairs=ops.PairList(case.pairs.indices[:, ~lacking], s[~lacking]))


def _images_both_ways(case: Case) -> Case:
    """Half a list that has the images of each atom twice, as some hosts have them."""
    half, (i, j) = halved(case.pairs), case.pairs.indices
    other = half.indices[0] != half.indices[1]
    indices = torch.cat([half.indices[:, other], case.pairs.indices[:, i == j]], dim=1)
    shifts = torch.cat([half.shifts[other], case.pairs.shifts[i == j]])
    return case._replace(pairs=ops.PairList(indices, shifts, True))


def _without_first(pairs: ops.PairList) -> ops.PairList:
    return pairs._replace(indices=pairs.indices[:, 1:], shifts=pairs.shifts[1:])


BY_VALUE: dict[str, tuple[Callable[[Case], Case], type[Exception], str]] = {
    "index": (
        lambda c: _with_pair(c, 0, 7, (0, 0, 0)),
        IndexError,
        r"atom indices in \[0, 7\) in pairs, got \(0, 7\) for pair \d+",
    ),
    "negative index": (
        lambda c: _with_pair(c, -1, 0, (0, 0, 0)),
        IndexError,
        r"atom indices in \[0, 7\) in pairs, got \(-1, 0\) for pair \d+",
    ),
    "systems": (
        lambda c: _with_pair(c, 1, 5, (0, 0, 0), True),
        ValueError,
        r"pairs of two atoms of one system, got pair \d+ \(1, 5\) of two systems",
    ),
    "atom with itself": (
        lambda c: _with_pair(c, 3, 3, (0, 0, 0)),
        ValueError,
        r"pairs of distinct positions, got pair \d+ \(3, 3\) with a vector of length 0",
    ),
    "one spot": (
        _on_one_spot,
        ValueError,
        r"pairs of distinct positions, got pair \d+ \([12], [12]\) with a vector of length 0",
    ),
    "shift across": (
        lambda c: _with_pair(c, 1, 2, (0, 1, 0), True),
        ValueError,
        r"whole numbers of cells.* along axes without pbc, got \[0, 1, 0\] for pair \d+ \(1, 2\)",
    ),
    "broken shift": (
        lambda c: _real_shifts(c, 0.5),
        ValueError,
        r"whole numbers of cells, up to 1e9, .*, got \[0.5, .*\] for pair 7 \(\d, \d\)",
    ),
    "NaN shift": (
        lambda c: _real_shifts(c, float("nan")),
        ValueError,
        r"whole numbers of cells, up to 1e9, .*, got \[nan, .*\] for pair 7 \(\d, \d\)",
    ),
    "NaN": (
        lambda c: _moved(c, float("nan")),
        ValueError,
        "finite positions, got NaN or infinity for atom 5",
    ),
    "infinity": (
        lambda c: _moved(c, float("inf")),
        ValueError,
        "finite positions, got NaN or infinity for atom 5",
    ),
    "no reverse": (
        lambda c: c._replace(pairs=halved(c.pairs)._replace(half=False)),
        ValueError,
        "every pair within the cutoffs both ways round, got .* without its reverse: half=True is "
        "for lists that have each once",
    ),
    "one reverse lacks": (
        lambda c: c._replace(pairs=_without_first(lists.list_of(c.systems, 6.0))),
        ValueError,
        "every pair within the cutoffs both ways round, got .* without its reverse",
    ),
    "opposite images lack": (
        _without_images,
        ValueError,
        r"every pair within the cutoffs both ways round, got pair \d+ \([01], [01]\) without its",
    ),
    "both ways": (
        lambda c: c._replace(pairs=c.pairs._replace(half=True)),
        ValueError,
        "every pair once in a list with half=True, got pairs both ways round: half=False is",
    ),
    "images both ways": (
        _images_both_ways,
        ValueError,
        "every pair once in a list with half=True, got pairs both ways round: half=False is",
    ),
    "too far": (
        lambda c: _real_shifts(c, 1e10),
        ValueError,
        r"whole numbers of cells, up to 1e9, .*, got \[1(0000000000.0|e\+10), .* for pair 7 \(",
    ),
}


@backends
@pytest.mark.parametrize("what", BY_VALUE)
def test_wrong_values_are_refused_in_one_sentence(what: str, backend: str) -> None:
    """By kernel and twin, in the same words, before anything is written."""
    change, error, words = BY_VALUE[what]
    with pytest.raises(error, match=words) as caught:
        lists.call(change(case_of("slab")), backend)
    assert lists.is_one_sentence(str(caught.value))


def test_a_singular_cell_is_refused() -> None:
    words = "linearly independent lattice vectors for the periodic axes, got a singular cell in sys"
    with pytest.raises(ValueError, match=words):
        lists.call(_flat(case_of()))


def _swap(name: str, change: Callable[[Any], Any]) -> Callable[[Case], Case]:
    """A change of one argument, found by its name in any of the tuples."""

    def changed(case: Case) -> Case:
        for place in ("systems", "pairs", "tables", "reach"):
            values = getattr(case, place)
            if name in values._fields:
                value = change(getattr(values, name))
                return case._replace(**{place: values._replace(**{name: value})})
        return case._replace(**{name: change(getattr(case, name))})

    return changed


BY_KIND: list[tuple[str, Callable[[Any], Any], type[Exception], str]] = [
    ("indices", lambda t: t.double(), TypeError, "pairs of dtype int64 or int32, got Double"),
    ("indices", lambda t: t[0], ValueError, r"pairs of shape \(2, n_pairs\), got \[\d+\]"),
    ("indices", lambda t: t.t(), ValueError, r"pairs of shape \(2, n_pairs\), got \[\d+, 2\]"),
    ("indices", lambda t: t.to("meta"), ValueError, "pairs on the device of the positions, cpu"),
    ("shifts", lambda t: t.short(), TypeError, "shifts of dtype int64, int32 or that of the posit"),
    ("shifts", lambda t: t.float(), TypeError, "of the positions, Double, got Float"),
    ("shifts", lambda t: t[1:], ValueError, r"shifts of shape \(n_pairs, 3\) = \["),
    ("shifts", lambda t: t.t(), ValueError, r"shifts of shape \(n_pairs, 3\) = \["),
    ("shifts", lambda t: t.to("meta"), ValueError, "shifts on the device of the positions, cpu"),
    ("tail", lambda _: True, ValueError, "no tail for a list of pairs, got one: dispersion, which"),
    ("cutoff", lambda _: -1.0, ValueError, "a positive cutoff, got -1"),
    ("positions", lambda t: t.float(), TypeError, "of the dtype of the positions, Float, got Doub"),
    ("damping", lambda t: t[1:], ValueError, r"damping of shape \(n_systems, 4\)"),
    ("species", lambda t: t + 9, IndexError, r"species indices in \[0, 4\), got 9 for atom 0"),
    ("offsets", lambda t: t.flip(0), ValueError, "offsets that rise from 0 to the number of atoms"),
]


@pytest.mark.parametrize(("name", "change", "error", "words"), BY_KIND)
def test_wrong_arguments_are_refused_in_one_sentence(
    name: str, change: Callable[[Any], Any], error: type[Exception], words: str
) -> None:
    for requires_grad in (False, True):
        case = _swap(name, change)(case_of())
        x = case.systems.positions.requires_grad_(requires_grad)
        case = case._replace(systems=case.systems._replace(positions=x))
        with pytest.raises(error, match=words) as caught:
            lists.call(case)
        assert str(caught.value).startswith("d3torch: expected ")
        assert "\n" not in str(caught.value)


def test_the_three_body_term_is_refused() -> None:
    """It takes triangles, which a list of pairs does not give."""
    model = D3(lists.ELEMENTS, "pbe", s9=1.0, cutoff=9.0, cn_cutoff=9.0, atm_cutoff=5.0)
    case = case_of()._replace(
        damping=model.damping().expand(3, -1), tables=model.tables(), reach=model.reach()
    )
    words = r"an atm_cutoff of 0 for a list of pairs, which has no triangles, got 5: dispersion"
    with pytest.raises(ValueError, match=words):
        lists.call(case)


def test_instruction_sets_that_are_none_are_refused() -> None:
    words = re.escape("instruction_set to be best, avx512, avx2 or baseline, got sse")
    with pytest.raises(ValueError, match=words):
        lists.evaluated(case_of(), instruction_set="sse")


def test_a_list_that_changes_behind_torch_is_refused_by_the_next_call() -> None:
    case = case_of()
    (x, cell, damping), indices = lists.inputs_of(case), case.pairs.indices.clone()
    case = case._replace(pairs=case.pairs._replace(indices=indices))
    energy = lists.energy_of(case)(x, cell, damping)
    (first,) = grad(energy.sum(), x, create_graph=True)
    indices.numpy()[1, 4] = 1 << 40
    with pytest.raises(IndexError, match=f", {1 << 40}\\) for pair 4"):
        (first**2).sum().backward()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_module_with_more_than_pairs_is_refused(backend: str) -> None:
    case = case_of()
    three, tail = (
        D3(lists.ELEMENTS, "pbe", backend=backend, **given)
        for given in ({"s9": 1.0}, {"tail": True})
    )
    with pytest.raises(ValueError, match=r"expected s9=0 for a list of pairs.* use lattice\(\)"):
        three.on_list(case.systems, *case.pairs[:2])
    with pytest.raises(ValueError, match=r"expected no tail for a list of pairs.* use lattice\(\)"):
        tail.on_list(case.systems, *case.pairs[:2])


@backends
def test_each_system_tells_by_itself_whether_its_pairs_are_there_once(backend: str) -> None:
    """One system both ways round, one with each pair once."""
    model = D3(["Na", "Cl"], "pbe", cutoff=6.0, cn_cutoff=5.0, backend=backend)
    x = torch.tensor([[0.0, 0, 0], [0, 0, 3], [0, 0, 0], [0, 0, 3]], dtype=torch.float64)
    systems = model.systems(x, torch.tensor([0, 1, 0, 1]), offsets=torch.tensor([0, 2, 4]))
    shifts = torch.zeros(3, 3, dtype=torch.long)
    with pytest.raises(ValueError, match="every pair once in a list with half=True"):
        model.on_list(systems, torch.tensor([[0, 1, 2], [1, 0, 3]]), shifts, True)
    energy = model.on_list(systems, torch.tensor([[0, 3], [1, 2]]), shifts[:2], True)
    assert energy[0] == energy[1] != 0

"""D3 on a given list: the oracle, the lattice engine and the twin, for lists of every kind."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import lists
import numpy as np
import oracle
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from lists import Case, assert_close, case_of, halved, shuffled
from pair_ops import backends, dtypes
from torch import Tensor
from torch.autograd import grad

from d3torch import D3, ops
from d3torch.model import BACKENDS
from d3torch.variants import VARIANTS

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}
REACH: dict[str, Any] = {"cutoff": 11.0, "cn_cutoff": 9.0}
kinds = pytest.mark.parametrize("kind", lists.KINDS)


# ---- the oracle ----


def _structures() -> list[Atoms]:
    """A molecule, a chain, a slab and a crystal, rattled, atoms outside of their cells."""
    chain = molecule("H2O", cell=[0, 3.1, 0], pbc=[False, True, False])
    slab = fcc111("Al", (2, 2, 2), vacuum=None, periodic=False)
    crystal = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    crystal.set_cell(crystal.cell.array @ [[1, 0.2, 0], [0, 1, 0.1], [0, 0, 0.9]], scale_atoms=True)
    found = [molecule("CH3CH2OH"), chain, slab, crystal]
    for seed, atoms in enumerate(found):
        atoms.rattle(0.08, seed=seed)
        atoms.positions[0] += 2.0 * atoms.pbc @ atoms.cell.array
    return found


def _batch(model: D3, structures: list[Atoms]) -> tuple[ops.Systems, ops.PairList]:
    """All structures as one batch, and its list."""
    like = model.rcov
    stacked = [
        torch.tensor(np.concatenate([get(a) for a in structures]))
        for get in (lambda a: a.positions, lambda a: a.numbers)
    ]
    batch = model.systems(
        stacked[0].to(like),
        model.species(stacked[1]),
        torch.tensor(np.stack([a.cell.array for a in structures])).to(like),
        torch.tensor(np.stack([a.pbc for a in structures])),
        torch.tensor(np.cumsum([0, *(len(a) for a in structures)])),
    )
    return batch, lists.list_of(batch, REACH["cutoff"])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("shape", [lambda p: p, shuffled, halved], ids=["full", "unsorted", "half"])
def test_energies_forces_and_virials_are_those_of_the_oracle(
    shape: Callable[[ops.PairList], ops.PairList], variant: str
) -> None:
    """In one batch."""
    structures = _structures()
    model = D3(["H", "C", "O", "Na", "Al", "Cl"], "pbe", variant=variant, **REACH)
    batch, pairs = _batch(model, structures)
    damping = model.damping().expand(len(structures), -1)
    found = ops.evaluate_on_list(
        batch, shape(pairs), damping, model.tables(), model.reach(), form=model.form
    )
    for b, atoms in enumerate(structures):
        expected = oracle.dispersion(
            *(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc),
            *("pbe", *REACH.values()),
            variant=variant,
        )
        own = slice(*batch.offsets[b : b + 2].tolist())
        assert found.energy[b].item() == pytest.approx(expected.energy, rel=1e-12)
        assert found.energies[own].sum().item() == pytest.approx(expected.energy, rel=1e-12)
        forces = -found.gradient[own].numpy()
        assert np.abs(forces - expected.forces).max() <= 1e-11 * np.abs(expected.forces).max()
        virial = found.virial[b].numpy()
        assert np.abs(virial - expected.virial).max() <= 1e-11 * np.abs(expected.virial).max()


# ---- the lattice engine, and the twin ----


@kinds
@dtypes
@pytest.mark.parametrize("width", [0.0, 1.6])
def test_everything_is_as_of_the_lattice_engine(
    width: float, dtype: torch.dtype, kind: str
) -> None:
    case = case_of(kind, width, dtype)
    expected = ops.evaluate(case.systems, *case[2:5], learn=True, form=case.form)
    assert_close(lists.evaluated(case), expected, TOLERANCE[dtype])


def test_without_gradients_there_are_energies_alone() -> None:
    case = case_of()
    found, whole = (ops.evaluate_on_list(*case[:5], gradients) for gradients in (False, True))
    assert all(map(torch.equal, found[:4], whole[:4]))
    assert not any(values.any() for values in found[4:])
    assert whole.gradient.any()
    assert not whole.by_damping.any()


@pytest.mark.parametrize("instruction_set", ["baseline", "avx2", "avx512"])
def test_every_instruction_set_gives_the_same(instruction_set: str) -> None:
    case = case_of()
    try:
        found = lists.evaluated(case, instruction_set=instruction_set)
    except ValueError as error:
        pytest.skip(str(error))
    assert_close(found, lists.evaluated(case), 1e-12)


@kinds
@dtypes
def test_energies_and_shares_are_those_of_eager(dtype: torch.dtype, kind: str) -> None:
    case = case_of(kind, dtype=dtype)
    assert_close(lists.call(case), lists.call(case, "eager"), TOLERANCE[dtype])
    found = lists.call(case)
    sums = torch.stack([part.sum() for part in found.energies.split([4, 0, 3])])
    assert_close([sums], [found.energy], TOLERANCE[dtype])


# ---- lists of every kind ----

SHAPES: dict[str, Callable[[Case], Case]] = {
    "unsorted": lambda c: c._replace(pairs=shuffled(c.pairs)),
    "half": lambda c: c._replace(pairs=halved(c.pairs)),
    "int32": lambda c: c._replace(pairs=c.pairs._replace(indices=c.pairs.indices.int())),
    "shifts int64": lambda c: c._replace(pairs=c.pairs._replace(shifts=c.pairs.shifts.long())),
    "shifts of the positions": lambda c: c._replace(
        pairs=c.pairs._replace(shifts=c.pairs.shifts.to(c.systems.positions))
    ),
    "with a skin": lambda c: c._replace(pairs=lists.list_of(c.systems, 9.0)),
    "without a skin": lambda c: c._replace(pairs=lists.list_of(c.systems, 6.2)),
    "half with a skin": lambda c: c._replace(pairs=halved(lists.list_of(c.systems, 9.0))),
}


@backends
@dtypes
@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_pairs_in_another_form_give_the_same(
    shape: str, dtype: torch.dtype, backend: str
) -> None:
    case = case_of("slab", dtype=dtype)
    found, expected = (lists.call(c, backend) for c in (SHAPES[shape](case), case))
    assert_close(found, expected, TOLERANCE[dtype])
    if backend == "kernel":
        all_found, all_expected = map(lists.evaluated, (SHAPES[shape](case), case))
        assert_close(all_found, all_expected, TOLERANCE[dtype])


def _strided(t: Tensor) -> Tensor:
    """The same values, not contiguous."""
    view = torch.empty((*t.shape, 2), dtype=t.dtype)[..., 1]
    return view.copy_(t)


@backends
def test_inputs_need_not_be_contiguous(backend: str) -> None:
    """Lists as rows (n_pairs, 2), too."""
    case = case_of("slab")
    rows = case.pairs.indices.t().contiguous()
    pairs = ops.PairList(rows.t(), case.pairs.shifts.t().contiguous().t())
    loose = case._replace(
        systems=ops.Systems(*map(_strided, case.systems)),
        pairs=pairs,
        damping=_strided(case.damping),
        tables=ops.Tables(*map(_strided, case.tables[:4])),
    )
    assert not any(t.is_contiguous() for t in (*loose.systems, *loose.pairs[:2]))
    assert all(map(torch.equal, lists.call(loose, backend), lists.call(case, backend)))


@backends
@dtypes
@pytest.mark.parametrize("n_systems", [2, 0])
def test_no_atoms_no_pairs_and_no_systems(n_systems: int, dtype: torch.dtype, backend: str) -> None:
    case = case_of(dtype=dtype)
    s = case.systems
    none = ops.Systems(
        *(s.positions[:0], s.cell[:n_systems], s.pbc[:n_systems], s.species[:0]),
        torch.zeros(n_systems + 1, dtype=torch.long),
    )
    pairs = ops.PairList(case.pairs.indices[:, :0], case.pairs.shifts[:0])
    empty = case._replace(systems=none, pairs=pairs, damping=case.damping[:n_systems])
    found = lists.call(empty, backend)
    assert (found.energy.tolist(), found.energies.tolist()) == ([0.0] * n_systems, [])
    inputs = lists.inputs_of(empty)
    first = grad(lists.energy_of(empty, backend)(*inputs).sum(), inputs, allow_unused=True)
    assert all(g is None or not g.any() for g in first)
    apart = case._replace(pairs=pairs)
    assert not lists.call(apart, backend).energy.any()
    if backend == "kernel":
        assert not lists.evaluated(apart).cn.any()


# ---- the module ----


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_module_gives_what_it_gives_without_a_list(backend: str, variant: str) -> None:
    case = case_of()
    model = D3(lists.ELEMENTS, "pbe", variant=variant, width=1.0, backend=backend, **REACH)
    pairs, batch = lists.list_of(case.systems, REACH["cutoff"]), case.systems
    exclude = torch.tensor([True, False, False, True, False, False, False])
    damping = 1.1 * model.damping().expand(3, -1)
    for given in ({}, {"exclude": exclude}, {"damping": damping}):
        expected = model.lattice_shares(batch, **given)
        for half in (False, True):
            indices, shifts, _ = halved(pairs) if half else pairs
            assert_close(
                model.on_list_shares(batch, indices, shifts, half, **given), expected, 1e-12
            )
            energy = model.on_list(batch, indices, shifts, half=half, **given)
            assert_close([energy], [expected.energy], 1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_module_with_more_than_pairs_is_refused(backend: str) -> None:
    case = case_of()
    three, tail = (
        D3(lists.ELEMENTS, "pbe", backend=backend, **given)
        for given in ({"s9": 1.0}, {"tail": True})
    )
    with pytest.raises(ValueError, match=r"expected s9=0 for a list of pairs.* use lattice\(\)"):
        three.on_list(case.systems, *case.pairs[:2])
    with pytest.raises(ValueError, match="expected no tail for a list of pairs, got one: disp"):
        tail.on_list(case.systems, *case.pairs[:2])


# ---- threads, and what is kept ----


@pytest.fixture
def _restore_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@dtypes
@pytest.mark.usefixtures("_restore_threads")
@pytest.mark.parametrize("shape", [lambda p: p, shuffled, halved], ids=["full", "unsorted", "half"])
def test_results_repeat_to_the_last_bit_for_any_number_of_threads(
    shape: Callable[[ops.PairList], ops.PairList], dtype: torch.dtype
) -> None:
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True) * 3
    atoms.rattle(0.1, seed=2)
    model = D3(["Na", "Cl"], "pbe", dtype=dtype, **REACH)
    batch, pairs = _batch(model, [atoms])
    assert pairs.indices.shape[1] > 50000
    given = (batch, shape(pairs), model.damping()[None], model.tables(), model.reach())
    found = []
    for threads in (1, 2, 3, 4, 4):
        torch.set_num_threads(threads)
        found.append(ops.evaluate_on_list(*given, learn=True))
    for other in found[1:]:
        assert all(map(torch.equal, other, found[0]))


@pytest.mark.parametrize("shape", ["sorted", "rows", "half", "int32"])
def test_nothing_of_a_pair_is_kept_for_backward_but_the_list_of_the_caller(shape: str) -> None:
    """Not even where a list must be put in order, or made contiguous, for the call."""
    case = case_of()
    pairs = {
        "sorted": case.pairs,
        "rows": case.pairs._replace(indices=case.pairs.indices.t().contiguous().t()),
        "half": halved(case.pairs),
        "int32": SHAPES["int32"](case).pairs,
    }[shape]
    n_pairs = pairs.indices.shape[1]
    kept: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        energy = lists.energy_of(case._replace(pairs=pairs))(*lists.inputs_of(case))
    own = {t.data_ptr() for t in pairs[:2]}
    per_pair = [t for t in kept if n_pairs in t.shape]
    assert len(per_pair) == 2
    assert {t.data_ptr() for t in per_pair} == own
    others = sum(t.numel() for t in kept if t.data_ptr() not in own)
    assert others < 3 * sum(t.numel() for t in (*case.systems, *case.tables[:4]))
    energy.sum().backward()


def test_energies_without_gradients_keep_no_graph() -> None:
    case = case_of()
    assert not any(values.requires_grad for values in lists.call(case))
    x, cell, damping = lists.inputs_of(case)
    found = lists.call(case._replace(systems=case.systems._replace(positions=x)))
    assert found.energy.requires_grad
    assert not found.energies.requires_grad
    with torch.no_grad():
        assert not lists.energy_of(case)(x, cell, damping).requires_grad


# ---- refusals ----


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
    "both ways": (
        lambda c: c._replace(pairs=c.pairs._replace(half=True)),
        ValueError,
        "every pair once in a list with half=True, got pairs both ways round: half=False is",
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
    model = D3(lists.ELEMENTS, "pbe", s9=1.0, atm_cutoff=5.0, **REACH)
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

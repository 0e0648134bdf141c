"""D3 on a given list: the oracle, the lattice engine and the twin, for lists of every kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import lists
import numpy as np
import oracle
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from corpus import random_structures
from instruction_sets import FLAGS, require
from lists import Case, assert_close, case_of, halved, shuffled
from pair_ops import backends, dtypes
from torch import Tensor
from torch.autograd import grad

from d3torch import D3, ops
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


@pytest.mark.parametrize("shape", [lambda p: p, halved], ids=["full", "half"])
def test_random_structures_are_as_of_the_lattice_engine(
    shape: Callable[[ops.PairList], ops.PairList],
) -> None:
    """In thin and skewed cells, at cutoffs of their own, atoms outside of their cells."""
    for s in random_structures(60, seed=11):
        reach = {"cutoff": s.cutoff, "cn_cutoff": s.cn_cutoff, "width": 1.0}
        model = D3(np.unique(s.numbers).tolist(), "pbe", **reach)
        species, cell = model.species(torch.tensor(s.numbers)), torch.tensor(s.cell)
        batch = model.systems(torch.tensor(s.positions), species, cell, torch.tensor(s.pbc))
        pairs = shape(lists.list_of(batch, max(s.cutoff, s.cn_cutoff) + 0.3))
        last = (model.damping()[None], model.tables(), model.reach())
        expected = ops.evaluate(batch, *last, learn=True)
        found = ops.evaluate_on_list(batch, pairs, *last, learn=True)
        assert_close(found, expected, 1e-12, floor=1e-2)  # forces that vanish by symmetry


def test_without_gradients_there_are_energies_alone() -> None:
    case = case_of()
    found, whole = (ops.evaluate_on_list(*case[:5], gradients) for gradients in (False, True))
    assert all(map(torch.equal, found[:4], whole[:4]))
    assert not any(values.any() for values in found[4:])
    assert whole.gradient.any()
    assert not whole.by_damping.any()


@pytest.mark.parametrize("instruction_set", FLAGS)
def test_every_instruction_set_gives_the_same(instruction_set: str) -> None:
    require(instruction_set)
    case = case_of()
    found = lists.evaluated(case, instruction_set=instruction_set)
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


@pytest.mark.parametrize(
    ("backend", "variant"), [*(("kernel", variant) for variant in VARIANTS), ("eager", "zerom")]
)
def test_the_module_gives_what_it_gives_without_a_list(backend: str, variant: str) -> None:
    case = case_of()
    reach = {"cutoff": 7.0, "cn_cutoff": 6.0, "width": 1.0}
    model = D3(lists.ELEMENTS, "pbe", variant=variant, backend=backend, **reach)
    pairs, batch = lists.list_of(case.systems, 7.0), case.systems
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


@pytest.mark.parametrize("half", [False, True])
def test_the_module_gives_everything_on_a_list(half: bool) -> None:
    """Forces and stress without autograd, as the lattice engine has them."""
    case = case_of()
    model = D3(lists.ELEMENTS, "pbe", cutoff=6.2, cn_cutoff=5.3, learnable=True)
    pairs = halved(case.pairs) if half else case.pairs
    found = model.evaluate_on_list(case.systems, *pairs)
    for name, a, b in zip(found._fields, found, model.evaluate(case.systems), strict=True):
        assert not a.requires_grad
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13, msg=name)

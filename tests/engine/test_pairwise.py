"""Energies by pair of atoms, of species and of any groups."""

from __future__ import annotations

from typing import Any

import numpy as np
import oracle
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule

from d3torch import D3, eager, ops
from d3torch.evaluate import Evaluator
from d3torch.units import HARTREE
from d3torch.variants import VARIANTS

REACH: dict[str, Any] = {"cutoff": 14.0, "cn_cutoff": 12.0}
SHORT: dict[str, Any] = {"cutoff": 6.0, "cn_cutoff": 6.0, "width": 1.0}
THREE: dict[str, Any] = {"s9": 0.8, "atm_cutoff": 5.0, "atm_width": 1.0}
VARIOUS: dict[str, dict[str, Any]] = {
    "bj": {},
    "zero": {"variant": "zero"},
    "modified zero with triangles": {"variant": "zerom", **THREE},
    "tail": {"tail": True},
    "tail with triangles": {"tail": True, **THREE},
}


def _structures() -> dict[str, Atoms]:
    slab = fcc111("Cu", (1, 1, 5), vacuum=None)  # as thick as the cutoff: heights matter
    slab.pbc = (True, True, False)
    chain = molecule("C2H4")
    chain.set_cell([4.0, 12.0, 12.0])
    chain.pbc = (True, False, False)
    found = {
        "molecule": molecule("CH3CH2OH"),
        "crystal": bulk("SiC", "zincblende", a=4.36),
        "salt": bulk("NaCl", "rocksalt", a=5.64, cubic=True),
        "slab": slab,
        "chain": chain,
    }
    for atoms in found.values():
        atoms.rattle(0.05, seed=3)
    return found


STRUCTURES = _structures()


def _case(name: str, **which: Any) -> tuple[D3, ops.Systems]:
    atoms = STRUCTURES[name]
    model = D3(sorted(set(atoms.numbers.tolist())), "pbe", **which)
    like = {"dtype": model.rcov.dtype}
    x, cell = torch.tensor(atoms.positions, **like), torch.tensor(atoms.cell.array, **like)
    species = model.species(torch.tensor(atoms.numbers))
    return model, model.systems(x, species, cell, torch.tensor(atoms.pbc))


@pytest.mark.parametrize("s9", [0.0, 1.0])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", ["molecule", "crystal", "salt"])
def test_pairs_of_atoms_are_those_of_the_oracle(name: str, variant: str, s9: float) -> None:
    """A triangle gives a third of its energy to each of its sides."""
    atoms = STRUCTURES[name]
    given = (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, *REACH.values(), 9.0)
    found = oracle.model(*given).get_pairwise_dispersion(oracle.damping("pbe", variant, s9))
    three = found["non-additive pairwise energy"]
    assert three.any() == (s9 > 0)
    expected = (found["additive pairwise energy"] + three) * HARTREE
    model, systems = _case(name, variant=variant, s9=s9, atm_cutoff=9.0, **REACH)
    energies = model.pairwise(systems, torch.arange(len(atoms)))[0].numpy()
    assert np.abs(energies - expected).max() < 1e-12 * np.abs(expected).max()
    assert energies.sum() == pytest.approx(model.lattice(systems).item(), rel=1e-13)


@pytest.mark.parametrize("which", VARIOUS)
@pytest.mark.parametrize("name", STRUCTURES)
def test_sums_are_the_energy_and_eager_agrees(name: str, which: str) -> None:
    model, systems = _case(name, **SHORT, **VARIOUS[which])
    n = len(systems.species)
    atoms = torch.arange(n)
    energies = model.pairwise(systems, atoms)[0]
    assert torch.equal(energies, energies.T)
    assert energies.sum().item() == pytest.approx(model.lattice(systems).item(), rel=1e-12)
    shares = model.evaluate(systems).energies
    assert torch.allclose(energies.sum(dim=1), shares, rtol=1e-12, atol=1e-15)
    slow, _ = _case(name, **SHORT, **VARIOUS[which], backend="eager")
    expected = slow.pairwise(systems, atoms)[0]
    near = 1e-8 if model.tail else 1e-11  # eager takes Simpson's rule for the tail
    assert torch.allclose(energies, expected, rtol=near, atol=1e-14)
    labels = atoms % 3
    grouped = torch.zeros(3, 3, dtype=torch.float64)
    grouped.index_put_((labels[:, None], labels[None]), energies, accumulate=True)
    found = model.pairwise(systems, labels)[0]
    assert found.shape == (min(n, 3),) * 2
    assert torch.allclose(found, grouped[: min(n, 3), : min(n, 3)], rtol=1e-12, atol=1e-15)


def test_species_are_the_labels_that_are_not_given() -> None:
    model, systems = _case("salt", **SHORT)
    found = model.pairwise(systems)
    assert torch.equal(found, model.pairwise(systems, systems.species, 2))
    wide = model.pairwise(systems, systems.species, 5)
    assert wide.shape == (1, 5, 5)
    assert torch.equal(wide[:, :2, :2], found)
    assert wide.sum() == found.sum()


def test_atoms_left_out_have_no_pairs() -> None:
    model, systems = _case("salt", **SHORT, **THREE, tail=True)
    sodium = systems.species == 0
    energies = model.pairwise(systems, exclude=sodium)[0]
    assert energies[1, 1].item() == energies.sum().item()
    assert energies[1, 1].item() == pytest.approx(
        model.lattice(systems, exclude=sodium).item(), rel=1e-13
    )


@pytest.mark.parametrize("which", ["bj", "tail with triangles"])
def test_the_bits_do_not_depend_on_threads_or_the_batch(which: str) -> None:
    model, _ = _case("molecule", **SHORT, **VARIOUS[which])
    big = molecule("CH3CH2OH")
    big.set_cell([5.0, 5.5, 6.0])
    big = big * (3, 3, 3)
    big.rattle(0.05, seed=3)
    species = model.species(torch.tensor(big.numbers))
    x, cell = torch.tensor(big.positions), torch.tensor(big.cell.array)
    one = model.systems(x, species, cell)
    both = model.systems(
        torch.cat([x, x[:9]]),
        torch.cat([species, species[:9]]),
        torch.stack([cell, cell]),
        offsets=torch.tensor([0, len(big), len(big) + 9]),
    )
    before, labels = torch.get_num_threads(), torch.arange(len(big)) // 9
    try:
        torch.set_num_threads(1)
        found = model.pairwise(one, labels)[0]
        torch.set_num_threads(3)
        assert torch.equal(model.pairwise(one, labels)[0], found)
        batch = model.pairwise(both, torch.cat([labels, labels[:9]]), 27)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(batch[0], found)
    assert batch[1].count_nonzero() == 1
    assert batch[1].sum().item() == pytest.approx(model.lattice(both)[1].item(), rel=1e-13)


def test_float32() -> None:
    exact, systems = _case("salt", **SHORT, **THREE, tail=True)
    model, rounded = _case("salt", **SHORT, **THREE, tail=True, dtype=torch.float32)
    found = model.pairwise(rounded)
    assert found.dtype == torch.float32
    assert torch.allclose(found.double(), exact.pairwise(systems), rtol=1e-5)


def _arguments(dtype: torch.dtype, requires_grad: bool, **which: Any) -> tuple[Any, ...]:
    model, systems = _case("salt", **SHORT, **which, dtype=dtype)
    systems = systems._replace(positions=systems.positions.clone().requires_grad_(requires_grad))
    tables, reach = model.tables(), model.reach()
    labels = torch.arange(8) // 4
    rest = (labels, 2, tables.radii, model.form, *reach[4:])
    return (*systems, model.damping()[None], *tables[:4], *reach[:4], *rest)


@pytest.mark.parametrize("which", [{}, {"variant": "zero", **THREE}])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_opcheck(dtype: torch.dtype, which: dict[str, Any]) -> None:
    torch.library.opcheck(
        torch.ops.d3torch.dispersion_pairwise.default, _arguments(dtype, False, **which)
    )


def test_it_is_not_differentiable_by_the_kernel_and_is_by_eager() -> None:
    energies = torch.ops.d3torch.dispersion_pairwise(*_arguments(torch.float64, True))
    with pytest.raises(NotImplementedError, match="dispersion_pairwise is for analysis and not"):
        energies.sum().backward()
    model, systems = _case("molecule", **SHORT, backend="eager")

    def between(x: torch.Tensor) -> torch.Tensor:
        return model.pairwise(systems._replace(positions=x), torch.arange(9) // 5)[0, 0, 1]

    x = systems.positions.clone().requires_grad_()
    torch.autograd.gradcheck(between, (x,))


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (lambda x: x[:3], ValueError, r"expected labels of shape \(n_atoms,\) = \[8\], got \[3\]"),
        (lambda x: x.int(), TypeError, "expected labels of dtype int64, got Int"),
        (lambda x: x - 1, IndexError, r"expected labels in \[0, 2\), got -1 for atom 0"),
        (lambda x: x + 1, IndexError, r"expected labels in \[0, 2\), got 2 for atom 4"),
    ],
)
def test_labels_are_refused(change: Any, kind: type[Exception], words: str) -> None:
    model, systems = _case("salt", **SHORT)
    labels = change(torch.arange(8) // 4)
    with pytest.raises(kind, match=words):
        model.pairwise(systems, labels, 2)
    if kind is IndexError:
        with pytest.raises(kind, match=words):
            eager.check_labels(labels, 2)


def test_a_list_of_labels_is_refused() -> None:
    model, systems = _case("salt", **SHORT)
    labels: Any = [0] * 8
    with pytest.raises(TypeError, match="expected labels to be a tensor of integers, got \\[0"):
        model.pairwise(systems, labels)


def test_what_the_energy_refuses_is_refused() -> None:
    model, systems = _case("salt", **SHORT)
    x = systems.positions.clone()
    x[3] = x[2]
    with pytest.raises(ValueError, match="expected atoms at distinct positions, got atom 2 and at"):
        model.pairwise(systems._replace(positions=x))
    x[3] = float("nan")
    with pytest.raises(ValueError, match="expected finite positions"):
        model.pairwise(systems._replace(positions=x))


def test_empty_systems() -> None:
    model, _ = _case("salt", **SHORT)
    x = torch.zeros(0, 3, dtype=torch.float64)
    systems = model.systems(x, torch.zeros(0, dtype=torch.int64))
    assert torch.equal(model.pairwise(systems), torch.zeros(1, 2, 2, dtype=torch.float64))
    assert model.pairwise(systems, systems.species).shape == (1, 0, 0)


def test_torchscript_and_compile() -> None:
    model, systems = _case("salt", **SHORT, **THREE)
    expected = model.pairwise(systems, torch.arange(8), 8)
    scripted: Any = torch.jit.script(model)
    assert torch.equal(scripted.pairwise(systems, torch.arange(8)), expected)
    compiled = torch.compile(
        lambda x: model.pairwise(systems._replace(positions=x), torch.arange(8), 8),
        backend="aot_eager",
        fullgraph=True,
    )
    assert torch.equal(compiled(systems.positions), expected)


@pytest.mark.parametrize("backend", ["kernel", "eager"])
def test_the_evaluator_takes_arrays(backend: str) -> None:
    atoms = STRUCTURES["salt"]
    model, systems = _case("salt", **SHORT, **THREE, backend=backend)
    given = atoms.positions, atoms.cell.array, True, atoms.numbers
    found = Evaluator(model).pairwise(*given, np.arange(8) // 4, exclude=[0])
    mask = torch.arange(8) == 0
    expected = model.pairwise(systems, torch.arange(8) // 4, exclude=mask)[0]
    assert torch.allclose(found, expected, rtol=1e-12)
    for labels, words in (
        (np.zeros(3, int), "expected labels of 8 atoms"),
        (-np.ones(8, int), "0"),
    ):
        with pytest.raises(ValueError, match=words):
            Evaluator(model).pairwise(*given, labels)
    with pytest.raises(TypeError, match="expected labels to be integers"):
        Evaluator(model).pairwise(*given, np.zeros(8))

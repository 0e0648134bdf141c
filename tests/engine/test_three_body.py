"""The three-body term of the lattice engine: against simple-dftd3, its twin, and itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import oracle
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, make_supercell
from ase.collections import s22
from corpus import Structure, random_structures
from pair_ops import first_and_second
from three_body import PBE, PERIODIC, Case, case, flat, small, structure_of
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from d3torch import eager, ops
from d3torch.units import BOHR, HARTREE

kinds = pytest.mark.parametrize("kind", PERIODIC)
widths = pytest.mark.parametrize("width", [0.0, 2.0])


@pytest.fixture(autouse=True)
def _restore_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def result_of(found: ops.Evaluation) -> oracle.Oracle:
    """In eV and angstrom."""
    forces, virial = found.gradient.double().numpy(), found.virial[0].double().numpy()
    return oracle.Oracle(found.energy.item() * HARTREE, -forces * HARTREE / BOHR, virial * HARTREE)


def assert_oracle(structure: Structure, atm_cutoff: float, *sets: str) -> None:
    expected = oracle.dispersion(*structure[1:5], PBE, *structure[5:], atm_cutoff)
    given = case(structure, atm_cutoff)
    for name in sets or ("best",):
        found = ops.evaluate(*given, instruction_set=name)
        for a, b, digits in zip(result_of(found), expected, (1e-12, 1e-10, 1e-10), strict=True):
            error, largest = np.abs(a - b).max(), np.abs(b).max()
            assert error <= digits * max(largest, 1e-4), structure.name  # one atom has no forces


def processor_sets() -> list[str]:
    """The instruction sets of this processor."""
    structure = structure_of(bulk("Cu"))
    found = []
    for name in ("avx512", "avx2", "baseline"):
        try:
            ops.evaluate(*case(structure, 3.0), instruction_set=name)
        except ValueError:
            continue
        found.append(name)
    return found


def test_clusters_and_crystals_are_those_of_the_oracle() -> None:
    """Periodic in no to three directions, cells down to 2.5 A, cutoffs up to 9 A."""
    rng = np.random.default_rng(4)
    for structure in random_structures(80):
        assert_oracle(structure, rng.uniform(3.0, 9.0), *processor_sets())


def test_cells_far_smaller_than_the_cutoff_are_those_of_the_oracle() -> None:
    """Triangles of images of one atom, or of two, count by a sixth or a half."""
    for atoms in (bulk("Cu"), bulk("NaCl", "rocksalt", a=5.6), bulk("C", a=3.57)):
        atoms.rattle(0.05, seed=1)
        assert_oracle(structure_of(atoms, 12.0, 12.0), 12.0)


def test_molecules_are_those_of_the_oracle() -> None:
    """At the 40 bohr of simple-dftd3."""
    for name in ("2-pyridoxine_2-aminopyridine_complex", "Benzene_dimer_T-shaped"):
        assert_oracle(structure_of(s22[name], 40.0, 21.0), 40 * BOHR, *processor_sets())


def test_a_slab_of_several_clusters_is_that_of_the_oracle() -> None:
    atoms = fcc111("Pt", (3, 3, 2), vacuum=4.0)
    atoms.numbers[::4] = 8
    atoms.rattle(0.1, seed=2)
    assert_oracle(structure_of(atoms, 8.0, 8.0), 9.0, *processor_sets())


def energy_of(given: Case, op: Callable[..., Any] = ops.dispersion) -> Callable[..., Tensor]:
    """Energies (n_systems,) of positions, cell and damping."""
    systems, _, tables, reach = given
    return lambda positions, cell, damping: op(
        systems._replace(positions=positions, cell=cell), damping, tables, reach
    )


def inputs(given: Case) -> list[Tensor]:
    values = (given[0].positions, given[0].cell, given[1])
    return [v.detach().clone().requires_grad_() for v in values]


def assert_close(found: Any, expected: Any, tolerance: float) -> None:
    """Equal relative to the largest component, or where parts cancel to a microhartree."""
    for a, b in zip(found, expected, strict=True):
        assert (a - b).abs().max() <= tolerance * max(b.abs().max().item(), 1e-6)


@kinds
@widths
@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
def test_derivatives_are_those_of_finite_differences(
    check: Callable[..., bool], width: float, kind: str
) -> None:
    """In positions, cell and damping, s9 included; energies are some millihartree."""
    given = small(kind, width)
    assert check(lambda *x: 1e4 * energy_of(given)(*x), inputs(given))


def alone(given: Case, op: Callable[..., Any]) -> Callable[..., Tensor]:
    """The three-body energy, as what it adds."""
    systems, _, tables, reach = given
    pairs = (systems, given[1][:, :4], tables._replace(radii=None), reach._replace(atm_cutoff=0.0))
    pairs = (*pairs[:3], pairs[3]._replace(atm_width=0.0))

    def energy(positions: Tensor, cell: Tensor, damping: Tensor) -> Tensor:
        both = energy_of(given, op)(positions, cell, damping)
        return both - energy_of(pairs, op)(positions, cell, damping[:, :4])

    return energy


@kinds
@widths
def test_derivatives_are_those_of_eager(width: float, kind: str) -> None:
    given = small(kind, width)
    found, twin = (
        first_and_second(alone(given, op), inputs(given))
        for op in (ops.dispersion, eager.dispersion)
    )
    assert_close(found, twin, 1e-11)


@pytest.mark.parametrize("form", [1, 2])
def test_other_dampings_of_pairs_have_it_too(form: int) -> None:
    systems, _, tables, reach = small("slab", 1.0)
    parameters = [1.0, 0.722, 1.217, 1.0, 0.03][: 3 + form]
    damping = torch.tensor([[*parameters, 1.1], [*parameters, 0.7]], dtype=torch.float64)
    given = (systems, damping, tables, reach)

    def energy(op: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda x, cell, d: op(
            systems._replace(positions=x, cell=cell), d, tables, reach, form
        )

    found, twin = (
        first_and_second(energy(op), inputs(given)) for op in (ops.dispersion, eager.dispersion)
    )
    assert_close(found, twin, 1e-11)


def test_an_empty_system_has_none() -> None:
    systems, damping, tables, reach = small("crystal")
    found = ops.evaluate(systems, damping, tables, reach, learn=True)
    more = systems._replace(
        cell=systems.cell[[0, 0, 1]], pbc=systems.pbc[[0, 0, 1]], offsets=torch.tensor([0, 4, 4, 7])
    )
    three = ops.evaluate(more, damping[[0, 0, 1]], tables, reach, learn=True)
    assert torch.equal(three.energies, found.energies)
    assert torch.equal(three.by_damping[[0, 2]], found.by_damping)
    assert not three.by_damping[1].any()


@kinds
@widths
def test_results_in_float32_are_those_of_float64(width: float, kind: str) -> None:
    """At the same rounded inputs and tables, second derivatives too."""
    single = small(kind, width, torch.float32)
    systems, damping, tables, reach = single
    wide = ops.Systems(systems[0].double(), systems[1].double(), *systems[2:])
    double = (wide, damping.double(), ops.Tables(*(t.double() for t in tables)), reach)
    found, expected = (
        first_and_second(energy_of(given), inputs(given)) for given in (single, double)
    )
    assert_close(found, expected, 2e-5)


@kinds
def test_shares_are_thirds_of_triangles(kind: str) -> None:
    """As in the twin, and they add up; energies alone are those with gradients."""
    given = small(kind)
    found = ops.dispersion_shares(*given)
    assert_close(found, eager.dispersion_shares(*given), 1e-12)
    first, all_of = int(given[0].offsets[1]), ops.evaluate(*given)
    torch.testing.assert_close(found.energies[:first].sum(), found.energy[0], rtol=1e-13, atol=0)
    torch.testing.assert_close(found, ops.Shares(*all_of[:2]), rtol=1e-13, atol=0)


def test_three_atoms_have_a_third_each() -> None:
    """An equilateral triangle, at which the angles make 11/8."""
    side = 6.0
    x = side * np.array([[0, 0, 0], [1, 0, 0], [0.5, np.sqrt(0.75), 0]])
    given = case(structure_of(Atoms("Ar3", positions=x * BOHR), 9.0, 9.0), 9.0)
    pair = given[1].clone()
    pair[:, 4] = 0
    found = ops.evaluate(*given)
    energies = found.energies - ops.evaluate(given[0], pair, *given[2:]).energies
    t = (4 / 3 * given[2].radii[0, 0].item() / side) ** 16
    expected = 11 / 8 * found.c6[0].item() ** 1.5 / side**9 / (1 + 6 * t)
    torch.testing.assert_close(energies, torch.full((3,), expected / 3, dtype=torch.float64))


def test_virial_is_the_derivative_by_a_strain() -> None:
    for kind in PERIODIC:
        systems, damping, tables, reach = small(kind, 2.0)
        h, found = 1e-5, ops.evaluate(systems, damping, tables, reach)
        for k in range(9):
            energies = []
            for sign in (1, -1):
                strain = torch.eye(3, dtype=torch.float64)
                strain[k // 3, k % 3] += sign * h
                moved = (systems.positions @ strain, systems.cell @ strain)
                strained = systems._replace(positions=moved[0], cell=moved[1])
                energies.append(ops.evaluate(strained, damping, tables, reach).energy)
            slope = (energies[0] - energies[1]) / (2 * h)
            assert (slope - found.virial[:, k // 3, k % 3]).abs().max() < 1e-9


def test_a_supercell_has_as_many_times_the_energy() -> None:
    atoms = bulk("NaCl", "rocksalt", a=5.6)
    atoms.rattle(0.1, seed=3)
    more = make_supercell(atoms, [[2, 0, 0], [1, 2, 0], [0, 0, 3]])
    one, many = (ops.evaluate(*case(structure_of(a), 9.0)) for a in (atoms, more))
    torch.testing.assert_close(many.energy, 12 * one.energy, rtol=1e-13, atol=0)
    torch.testing.assert_close(many.virial, 12 * one.virial, rtol=1e-11, atol=1e-13)


def glass() -> Structure:
    """Some hundred atoms of three species."""
    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True) * (3, 3, 2)
    atoms.rattle(0.3, seed=4)
    atoms.numbers[::5] = 8
    return structure_of(atoms, 6.0, 6.0)


def test_bits_do_not_depend_on_the_number_of_threads() -> None:
    found = []
    for dtype in (torch.float64, torch.float32):
        given = case(glass(), 8.0, 1.0, dtype)
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(ops.evaluate(*given, learn=True))
    for one in (0, 3):
        for other in (one + 1, one + 2):
            assert all(map(torch.equal, found[one], found[other]))


def test_instruction_sets_agree() -> None:
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        given = case(glass(), 8.0, 1.0, dtype)
        found = [ops.evaluate(*given, learn=True, instruction_set=s) for s in processor_sets()]
        for other in found[1:]:
            assert_close(other, found[0], tolerance)


def test_a_large_system_in_float32_is_that_in_float64() -> None:
    """Sums of many thousand triangles do not lose digits."""
    single = case(glass(), 10.0, 1.0, torch.float32)
    systems = single[0]
    wide = ops.Systems(systems[0].double(), systems[1].double(), *systems[2:])
    double = (wide, single[1].double(), ops.Tables(*(t.double() for t in single[2])), single[3])
    assert_close(ops.evaluate(*single, learn=True), ops.evaluate(*double, learn=True), 1e-5)


def test_an_element_without_c6_adds_nothing() -> None:
    """Its triangles vanish with all their derivatives, also the second ones."""
    systems, damping, tables, reach = small("crystal", 2.0)
    c6 = tables.c6_ref.clone()
    c6[1] = c6[:, 1] = 0
    without = (systems, damping, tables._replace(c6_ref=c6), reach)
    for op in (ops.dispersion, eager.dispersion):
        found = first_and_second(energy_of(without, op), inputs(without))
        assert all(bool(x.isfinite().all()) for x in found)
    kept = systems.species != 1
    counts = [0, int(kept[:4].sum()), int(kept.sum())]
    x, species = systems.positions[kept], systems.species[kept]
    fewer = systems._replace(positions=x, species=species, offsets=torch.tensor(counts))
    uncounted = reach._replace(cn_cutoff=0.1)
    found, expected = (ops.evaluate(s, damping, without[2], uncounted) for s in (systems, fewer))
    torch.testing.assert_close(found.energy, expected.energy, rtol=1e-13, atol=0)
    torch.testing.assert_close(found.gradient[kept], expected.gradient, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_a_width_makes_energy_and_forces_continuous(dtype: torch.dtype) -> None:
    """A third atom that crosses the cutoff of one of its sides."""
    jumps = {}
    for width in (0.0, 2.0):
        found = []
        for step in (-2e-6, 2e-6):
            x = np.array([[0, 0, 0], [0, 5.0, 0], [9.0 + step, 0, 0]])
            structure = structure_of(Atoms("ArKrXe", positions=x * BOHR), 3.0, 3.0)
            found.append(ops.evaluate(*case(structure, 9.0 * BOHR, width, dtype)))
        assert all(bool(f.gradient.isfinite().all()) for f in found)
        jumps[width] = (found[0].gradient - found[1].gradient).abs().max()
    assert jumps[2.0] <= 1e-6 * jumps[0.0]


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("distance", [1e-5, 2e-4, 1e-3, 1e-2])
def test_atoms_that_nearly_meet_are_finite(distance: float, periodic: bool) -> None:
    """The damping of their triangles is beyond what a float32 holds."""
    x = [[0, 0, 0], [0, 0, distance], [0, 0, 2.0], [1, 1, 1]]
    cell = 9.0 * np.eye(3)
    structure = structure_of(Atoms("CsHCO", positions=x, cell=cell, pbc=periodic))
    twin = ops.evaluate(*case(structure, 6.0))
    for name in processor_sets():
        found = ops.evaluate(*case(structure, 6.0, dtype=torch.float32), instruction_set=name)
        assert found.energy.item() == pytest.approx(twin.energy.item(), rel=1e-4)
        error = (found.gradient.double() - twin.gradient).abs().max()
        assert error < 1e-3 * twin.gradient.abs().max()


@pytest.mark.parametrize("distance", [1e-4, 1e-3])
def test_three_atoms_that_nearly_meet_are_finite(distance: float) -> None:
    x = distance * np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    atoms = Atoms("Cs4O", positions=[*x, [2.0, 0, 0]])
    for name in processor_sets():
        found, twin = (
            ops.evaluate(*case(structure_of(atoms), 6.0, dtype=dtype), instruction_set=name)
            for dtype in (torch.float32, torch.float64)
        )
        assert found.energy.item() == pytest.approx(twin.energy.item(), rel=1e-4)
        assert found.gradient.isfinite().all()


@pytest.mark.parametrize(
    "name", ["dispersion", "dispersion_shares", "dispersion_evaluate", "dispersion_tangent"]
)
def test_ops_are_what_the_dispatcher_expects(name: str) -> None:
    given = small("crystal")
    positions, cell, damping = inputs(given)
    given = (given[0]._replace(positions=positions, cell=cell), damping, *given[2:])
    how = (True, True, "best") if name == "dispersion_evaluate" else ()
    arguments = flat(given, *how)
    if how or name == "dispersion_tangent":
        arguments = tuple(x.detach() if isinstance(x, Tensor) else x for x in arguments)
    if name == "dispersion_tangent":
        arguments = (*(x.detach() for x in (positions, cell, damping)), *arguments)
    torch.library.opcheck(getattr(torch.ops.d3torch, name).default, arguments)


def test_what_is_wrong_is_told_in_a_sentence() -> None:
    systems, damping, tables, reach = small("crystal")
    far = reach._replace(atm_cutoff=9e4)
    refused: list[tuple[Case, str]] = [
        ((systems, damping, tables, far), "1e+06 neighbours of an atom and 1e+14 triangles"),
        ((systems, damping[:, :4], tables, reach), "(n_systems, 5)"),
        ((systems, damping, tables._replace(radii=None), reach), "radii"),
        ((systems, damping, tables, reach._replace(atm_width=-1.0)), "atm_width"),
        ((systems, damping, tables, reach._replace(atm_width=99.0)), "atm_width"),
    ]
    for given, words in refused:
        with pytest.raises(ValueError, match=re.escape(words)) as error:
            ops.dispersion(*given)
        assert str(error.value).count("d3torch: ") == 1

"""The pair list against brute force and matscipy."""

from __future__ import annotations

import sys

import ase
import numpy as np
import pytest
import torch
from corpus import random_structures

from d3torch import eager, neighbor_pairs
from d3torch.neighbors import pair_vectors

RANDOM = random_structures(24, seed=11)


def as_set(pairs, shifts):
    return set(zip(*np.asarray(pairs).tolist(), *np.asarray(shifts).T.tolist(), strict=True))


def brute_force(positions, cell, pbc, cutoff):
    """All (i, j, S) by trying every image that could be within the cutoff."""
    pbc = np.asarray(pbc)
    axes = cell[pbc]
    spread = np.linalg.norm(np.ptp(positions, axis=0))
    reach = np.zeros(3, dtype=int)
    if pbc.any():
        heights = 1.0 / np.linalg.norm(np.linalg.pinv(axes), axis=0)
        reach[pbc] = np.ceil((cutoff + spread) / heights)
    shifts = np.stack(np.meshgrid(*[np.arange(-m, m + 1) for m in reach], indexing="ij"))
    shifts = shifts.reshape(3, -1).T
    images = shifts[:, pbc] @ axes
    found = set()
    for i, x_i in enumerate(positions):
        for j, x_j in enumerate(positions):
            near = np.linalg.norm(x_j - x_i + images, axis=1) <= cutoff
            if i == j:
                near &= shifts.any(axis=1)
            found |= {(i, j, *s) for s in shifts[near].tolist()}
    return found


def assert_list_is(found, positions, cell, pbc, cutoff):
    expected = brute_force(positions, cell, pbc, cutoff)
    assert as_set(found.pairs, found.shifts) == expected
    assert found.pairs.shape == (2, len(expected))
    vectors = positions[found.pairs[1]] - positions[found.pairs[0]] + found.shifts.numpy() @ cell
    np.testing.assert_allclose(found.vectors.numpy(), vectors, atol=1e-12)


@pytest.mark.parametrize("s", RANDOM, ids=lambda s: s.name)
def test_list_is_that_of_brute_force(s):
    cutoff = 0.7 * s.cutoff
    found = neighbor_pairs(s.positions, s.cell, s.pbc, cutoff)
    assert_list_is(found, s.positions, s.cell, s.pbc, cutoff)


@pytest.mark.parametrize(
    "cell",
    [
        np.diag([1.1, 7.0, 8.0]),
        np.array([[3.0, 0, 0], [2.7, 1.2, 0], [-2.8, 3.1, 2.2]]),
        np.array([[0, 2.0, 2.0], [2.0, 0, 2.0], [2.0, 2.0, 0]]),
        np.array([[0, 3.0, 0], [3.0, 0, 0], [0, 0.5, 3.0]]),
    ],
    ids=["thin", "flat", "fcc", "left-handed"],
)
@pytest.mark.parametrize("pbc", [(1, 1, 1), (1, 1, 0), (0, 1, 0)])
def test_cells_shorter_than_the_cutoff(cell, pbc):
    positions = np.array([[0.1, 0.2, 0.3], [40.6, -30.1, 0.8]])
    pbc = np.array(pbc, dtype=bool)
    assert_list_is(neighbor_pairs(positions, cell, pbc, 6.5), positions, cell, pbc, 6.5)


def test_matscipy_gives_the_same_list():
    neighbours = pytest.importorskip("matscipy.neighbours")
    for s in RANDOM:
        cell = s.cell if s.pbc.any() else np.eye(3) * 50.0
        atoms = ase.Atoms(s.numbers, s.positions, cell=cell, pbc=s.pbc)
        i, j, shifts = neighbours.neighbour_list("ijS", atoms, s.cutoff)
        found = neighbor_pairs(s.positions, s.cell, s.pbc, s.cutoff)
        assert as_set(found.pairs, found.shifts) == as_set([i, j], shifts), s.name


@pytest.mark.parametrize("cell", [None, np.zeros((3, 3)), np.eye(3)])
def test_a_molecule_needs_no_cell(cell):
    positions = np.array([[0.0, 0, 0], [0, 0, 1.1], [0, 0, 9.0]])
    found = neighbor_pairs(positions, cell, False, 2.0)
    assert found.pairs.tolist() == [[0, 1], [1, 0]]
    far = neighbor_pairs(positions + np.array([0, 0, 9e6]), cell, False, 2.0)
    assert far.pairs.tolist() == found.pairs.tolist()
    assert not found.shifts.any()


@pytest.mark.parametrize("unused", [[0.0, 0, 0], [0, 0, 1e-3], [3.0, 1.0, 0]])
def test_vectors_of_axes_without_pbc_do_not_matter(unused):
    positions = np.random.default_rng(0).random((5, 3)) * 6.0
    cell = np.array([[4.0, 0, 0], [1.0, 4.0, 0], unused])
    pbc = np.array([True, True, False])
    assert_list_is(neighbor_pairs(positions, cell, pbc, 5.0), positions, cell, pbc, 5.0)


def test_atoms_far_outside_the_cell_have_the_same_surroundings():
    positions = np.random.default_rng(1).random((6, 3)) * 5.0
    cell = np.diag([5.0, 6.0, 7.0])
    there = positions + np.array([[10**5, -300, 0]]) @ cell
    here = neighbor_pairs(positions, cell, True, 6.0)
    mixed = neighbor_pairs(np.vstack([positions[:3], there[3:]]), cell, True, 6.0)
    lengths = [n.vectors.norm(dim=1).sort().values for n in (here, mixed)]
    torch.testing.assert_close(*lengths, atol=1e-8, rtol=0.0)


@pytest.mark.parametrize("n", [0, 1])
def test_lists_without_pairs(n):
    found = neighbor_pairs(np.zeros((n, 3)), None, False, 5.0)
    assert found.pairs.shape == (2, 0)
    assert found.vectors.shape == found.shifts.shape == (0, 3)
    assert found.pairs.dtype == torch.int64


def test_tensors_and_lists_are_positions_too():
    positions = [[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    tensor = torch.tensor(positions, requires_grad=True)
    for given in (positions, tensor):
        assert neighbor_pairs(given, torch.eye(3) * 9, (0, 0, 1), 2.0).pairs.shape == (2, 2)


def test_pairs_at_the_cutoff_belong_to_the_list():
    found = neighbor_pairs(np.zeros((1, 3)), np.eye(3) * 5.0, True, 5.0)
    assert found.pairs.shape == (2, 6)


def test_wide_structures_are_fine_where_they_are_thick_or_the_cutoff_is_long():
    positions = np.array([[0.0, 0, 0], [0, 0, 4.0], [1e6, 9e5, 8e5]])
    assert neighbor_pairs(positions, None, False, 5.0).pairs.shape == (2, 2)
    assert neighbor_pairs(positions * [1e-3, 1e-3, 1], np.eye(3), False, 9.0).pairs.shape == (2, 2)


def test_work_without_end_is_refused_before_it_begins():
    """A list of 3e8 pairs takes some 20 GB; a molecule of many atoms has few pairs."""
    sentence = (
        r"expected at most 3e\+08 pairs within the cutoff, got some .*: is the cutoff a square"
    )
    for cell, cutoff in ((np.eye(3) * 0.01, 30.0), (np.eye(3) * 3.0, 2200.0)):
        with pytest.raises(ValueError, match=sentence):
            neighbor_pairs(np.zeros((1, 3)), cell, True, cutoff)
    x = np.random.default_rng(0).random((30_000, 3)) * 200.0
    assert neighbor_pairs(x, None, False, 5.0).pairs.shape[1] < 1e5
    like = {"dtype": torch.float64}
    one = (torch.zeros(1, 3, **like), torch.eye(3, **like), torch.ones(3, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"got some 8.* is a cutoff a square"):
        eager.all_pairs(*one, 1000.0)


def test_pair_vectors_are_those_of_the_list_and_differentiable():
    s = next(s for s in RANDOM if s.pbc.all())
    found = neighbor_pairs(s.positions, s.cell, s.pbc, 4.0)
    x = torch.tensor(s.positions, requires_grad=True)
    cell = torch.tensor(s.cell, requires_grad=True)
    torch.testing.assert_close(pair_vectors(x, cell, found.pairs, found.shifts), found.vectors)
    few = found.pairs[:, :8], found.shifts[:8]
    assert torch.autograd.gradcheck(lambda x, c: pair_vectors(x, c, *few), (x, cell))
    assert torch.autograd.gradgradcheck(
        lambda x, c: pair_vectors(x, c, *few).norm(dim=1), (x, cell)
    )


def test_pair_vectors_of_a_molecule_take_no_cell():
    found = neighbor_pairs(np.eye(3), None, False, 2.0)
    x = torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(pair_vectors(x, None, found.pairs, found.shifts), found.vectors)


def test_without_vesin_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "vesin", None)
    with pytest.raises(ImportError, match=r"expected vesin .*run `pip install 'vesin>=0.6'`"):
        neighbor_pairs(np.zeros((1, 3)), None, False, 5.0)

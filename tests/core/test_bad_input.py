"""Every refusal at the host's boundary: one sentence, what was expected and what was got."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from d3torch import D3BJ, D3Calculator, neighbor_pairs
from d3torch.evaluate import evaluate

X = [[0.0, 0.0, 0.0], [0.0, 0.0, 1.5]]
CELL = np.diag([5.0, 6.0, 7.0])
FLAT = [[5.0, 0, 0], [0, 6.0, 0], [5.0, 6.0, 0]]
NAN, INF = float("nan"), float("inf")


def assert_one_sentence(error, words):
    text = str(error)
    assert words in text
    assert "\n" not in text
    assert text.startswith("expected ")


@pytest.mark.parametrize(
    ("positions", "cell", "pbc", "cutoff", "words"),
    [
        ([[0, 0, 0], [0, NAN, 1]], None, False, 5.0, "finite positions, got [0.0, nan, 1.0] for"),
        ([[0, 0, 0], [INF, 0, 1]], None, False, 5.0, "finite positions, got [inf, 0.0, 1.0] for"),
        ([[0, 0, 0], [1e12, 0, 0]], CELL, True, 5.0, "positions within 1e+07 of the origin, got"),
        ([[0, 0], [1, 1]], None, False, 5.0, "positions of shape (n, 3), got (2, 2)"),
        ([[0, 0, 0], [1, 1]], None, False, 5.0, "positions to be an array of numbers, got"),
        ([["0", "0", "1"]], None, False, 5.0, "positions to be an array of numbers, got"),
        ([[0, 0, 1], [0, 0, 1]], None, False, 5.0, "got atom 0 at 0.0e+00 from atom 1"),
        ([[0, 0, 1], [0, 6, 1]], CELL, True, 5.0, "from atom 1 in cell [0, -1, 0]"),
        (X, np.diag([5.0, 6.0, 5e-5]), (0, 0, 1), 1.0, "in cell [0, 0, "),
        ([[0, 0, 0], [0, 0, 5e6]], None, False, 5.0, "or as thick as wide, got one of extents"),
        (X, np.diag([2e3, 2e3, 5.0]), True, 5.0, "or as thick as wide, got one of extents"),
        (X, None, True, 5.0, "a lattice vector for periodic axis 0, got zero"),
        (X, np.diag([5.0, 0.0, 7.0]), True, 5.0, "a lattice vector for periodic axis 1, got zero"),
        (X, FLAT, True, 5.0, "linearly independent lattice vectors for the periodic axes, got"),
        (X, np.diag([5.0, 6.0, NAN]), True, 5.0, "a finite cell, got"),
        (X, [5.0, 6.0, 7.0], True, 5.0, "a cell of shape (3, 3), got (3,)"),
        (X, "big", True, 5.0, "cell to be an array of numbers, got 'big'"),
        (X, CELL, "True", 5.0, "pbc to be True, False or three of these, got 'True'"),
        (X, CELL, (True, 2, False), 5.0, "pbc to be True, False or three of these, got"),
        (X, CELL, (True, False), 5.0, "pbc of shape (3,), got (2,)"),
        (X, None, False, 0.0, "a positive cutoff, got 0.0"),
        (X, None, False, -2.0, "a positive cutoff, got -2.0"),
        (X, None, False, INF, "cutoff to be finite, got inf"),
        (X, None, False, "5", "cutoff to be a number, got '5'"),
        (X, None, False, True, "cutoff to be a number, got True"),
    ],
)
def test_neighbor_pairs_refuses(positions, cell, pbc, cutoff, words):
    with pytest.raises((ValueError, TypeError)) as caught:
        neighbor_pairs(positions, cell, pbc, cutoff)
    assert_one_sentence(caught.value, words)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"xc": "pbee"}, "a known functional, got 'pbee' (nearest: pbe"),
        ({"xc": "m06"}, "a functional with Becke-Johnson damping parameters, got 'm06'"),
        ({"xc": 7}, "the name of a functional as a string, got 7"),
        ({"xc": "pbe", "damping": {"s6": 1.0}}, "either xc or damping, got"),
        ({"damping": {"s6": 1.0}}, "damping to give s6, s8, a1, a2, got"),
        ({"damping": {"s6": 1.0, "s8": "0", "a1": 0.0, "a2": 5.0}}, "s8 to be a number, got '0'"),
        (
            {"variant": "zero", "damping": {"s6": 1.0, "s8": 1.0, "rs6": 0.0}},
            "rs6 other than 0, as it divides distances, got 0.0",
        ),
        (
            {"variant": "zerom", "damping": {"s6": 1, "s8": 1, "rs6": 2, "rs8": 0, "bet": 0.1}},
            "rs8 other than 0, as it divides distances, got 0.0",
        ),
        ({"cutoff": -1.0}, "a positive cutoff, got -1.0"),
        ({"cn_cutoff": 0.0}, "a positive cn_cutoff, got 0.0"),
        (
            {"cutoff": 9000.0},
            "cutoff of at most 1000 (1000 A), got 9000: if that is a square in bo",
        ),
        ({"cutoff": 9000}, "as other packages take it, give 50.2022"),
        ({"cn_cutoff": 1600.0}, "cn_cutoff of at most 1000 (1000 A), got 1600: if"),
        ({"cn_cutoff": 1600.0}, "as other packages take it, give 21.1671"),
        ({"cutoff": "12"}, "cutoff to be a number, got '12'"),
        ({"width": "False"}, "width to be a number, got 'False'"),
        ({"width": True}, "width to be a number, got True"),
        ({"cutoff": 5.0, "width": 5.0}, "0 <= width < cutoff = 5.0, got width = 5.0"),
        ({"width": -0.1}, "0 <= width < cutoff"),
        ({"width": NAN}, "width to be finite, got nan"),
        ({"reference": "1910"}, "reference to be one of"),
        ({"reference": 2024}, "reference to be a string, got 2024"),
        ({"preset": "fast"}, "torch-sim, got 'fast'"),
        ({"dtype": "float16"}, "dtype to be one of float64, float32, got 'float16'"),
        ({"dtype": torch.int64}, "dtype to be one of float64, float32, got 'int64'"),
        ({"device": "abacus"}, "a device that torch has here, got 'abacus'"),
        ({"device": "cuda:99"}, "a device that torch has here, got 'cuda:99'"),
        ({"device": "meta"}, "a device that d3torch was built for, got 'meta'"),
        ({"device": 0.5}, "a device that torch has here, got 0.5"),
        ({"backend": "fastest"}, "backend to be one of kernel, eager, got 'fastest'"),
    ],
)
def test_calculator_refuses(settings, words):
    with pytest.raises((ValueError, TypeError)) as caught:
        D3Calculator(**settings)
    assert_one_sentence(caught.value, words)


def test_module_in_bohr_refuses_what_cannot_be_a_length():
    sentence = r"cutoff of at most 1889.73 \(1000 A\), got 9000: if .* give 94.8683$"
    with pytest.raises(ValueError, match=sentence):
        D3BJ(["H"], "pbe", cutoff=9000.0, units="hartree/bohr")
    assert D3BJ(["H"], "pbe", cutoff=1889.0, units="hartree/bohr").cutoff == 1889.0


def test_an_unknown_keyword_is_refused_by_set():
    with pytest.raises(
        ValueError, match="expected a keyword of D3Calculator to be one of xc, damping"
    ):
        D3Calculator().set(functional="pbe")


@pytest.mark.parametrize(
    ("numbers", "reference", "words"),
    [
        ([1, 104], "2024", "elements from H to Lr for reference '2024', got Rf"),
        ([0, 1], "2024", "an atomic number from 1 to 103, got 0"),
        ([1, 95], "2010", "elements from H to Pu for reference '2010', got Am"),
    ],
)
def test_calculator_refuses_elements_without_data(numbers, reference, words):
    atoms = Atoms(numbers, X)
    atoms.calc = D3Calculator(reference=reference)
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        atoms.get_potential_energy()
    assert_one_sentence(caught.value, words)


def test_calculator_refuses_what_the_list_refuses():
    collided, moved = molecule("H2O"), molecule("H2O")
    collided.positions[1] = collided.positions[0]
    moved.positions[2, 0] = NAN
    flat = bulk("Cu")
    flat.cell[2] = flat.cell[0] + flat.cell[1]
    for atoms, words in ((collided, "distinct"), (moved, "finite"), (flat, "independent")):
        atoms.calc = D3Calculator()
        with pytest.raises(ValueError, match=words):
            atoms.get_forces()
        assert atoms.calc.results == {}


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ([1], "2 atomic numbers for 2 positions, got (1,)"),
        ([[1, 1]], "2 atomic numbers for 2 positions, got (1, 2)"),
        ([1.0, 1.0], "atomic numbers to be integers, got [1.0, 1.0]"),
        (["H", "H"], "atomic numbers to be integers, got ['H', 'H']"),
        ([1, 6], "atomic numbers among [1, 8], got 6"),
    ],
)
def test_evaluate_refuses_numbers(numbers, words):
    with pytest.raises((ValueError, TypeError)) as caught:
        evaluate(D3BJ(["H", "O"], "pbe"), X, None, False, numbers)
    assert_one_sentence(caught.value, words)


def test_positions_may_have_any_floating_dtype() -> None:
    """What a tensor of bfloat16 holds, float64 holds too; numpy has no such dtype."""
    model, x = D3BJ(["Ar"], "pbe"), torch.tensor(X) * 2.0
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        found = evaluate(model, x.to(dtype), None, False, [18, 18]).energy
        assert found == evaluate(model, x.double(), None, False, [18, 18]).energy

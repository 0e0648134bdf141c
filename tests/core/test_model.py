"""The module D3: construction, units, learnable parameters, round trips, second derivatives."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import oracle
import pytest
import torch
from systems import evaluate, pair_list
from torch import Tensor
from torch.autograd import grad

from d3torch import D3BJ, PRESETS, damping_parameters, functionals
from d3torch.model import BACKENDS
from d3torch.ops import Systems
from d3torch.units import BOHR, HARTREE

PBE = damping_parameters("pbe")
NUMBERS = np.array([14, 8, 8, 11, 1])
POSITIONS = np.array(
    [[0.0, 0.0, 0.0], [1.6, 0.1, 0.0], [-0.6, 1.5, 0.2], [0.4, -0.8, 2.3], [2.1, 0.9, 0.4]]
)
CELL = np.array([[5.1, 0.0, 0.0], [1.3, 4.7, 0.0], [-0.9, 0.8, 5.6]])
backends = pytest.mark.parametrize("backend", BACKENDS)


def _model(**changes: Any) -> D3BJ:
    settings: dict[str, Any] = {"xc": "pbe", "cutoff": 9.0, "cn_cutoff": 7.0, **changes}
    if "damping" in changes:
        del settings["xc"]
    return D3BJ(["Si", "O", "Na", "H"], **settings)


def _system(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Vectors, pairs and species of the crystal."""
    pairs, vectors = pair_list(POSITIONS, CELL, True, 9.0)
    return vectors.to(dtype), pairs, torch.tensor([0, 1, 1, 2, 3])


def _energy(model: D3BJ) -> Tensor:
    return model(*_system(model.rcov.dtype))


@pytest.mark.parametrize(
    "elements", [["Si", "O", "Na", "H"], [14, 8, 11, 1], (14, "O", np.int64(11), "H")]
)
def test_elements_are_symbols_or_numbers(elements: Any) -> None:
    model = D3BJ(elements, "pbe", cutoff=9.0, cn_cutoff=7.0)
    assert torch.equal(_energy(model), _energy(_model()))


@pytest.mark.parametrize("damping", [PBE, PBE._asdict()], ids=["tuple", "dict"])
def test_explicit_parameters_are_those_of_the_functional(damping: Any) -> None:
    assert torch.equal(_energy(_model(damping=damping)), _energy(_model()))


@pytest.mark.filterwarnings("ignore:.*three-body term:d3torch.DispersionWarning")
def test_every_functional_makes_a_module() -> None:
    for functional in functionals():
        model = D3BJ(["Si"], functional.name, units="hartree/bohr")
        assert [p.item() for p in (model.s6, model.s8, model.a1, model.a2)] == [
            *functional.parameters
        ]


def test_default_cutoffs_are_those_of_simple_dftd3() -> None:
    assert PRESETS["s-dftd3"][:2] == (60.0, 40.0)
    model, atomic = D3BJ(["H"], "pbe"), D3BJ(["H"], "pbe", units="hartree/bohr")
    assert (atomic.cutoff, atomic.cn_cutoff, atomic.width) == (60.0, 40.0, 0.0)
    assert (model.cutoff, model.cn_cutoff, model.width) == (60.0 * BOHR, 40.0 * BOHR, 0.0)


@backends
@pytest.mark.parametrize("width", [0.0, 3.0])
def test_units_are_consistent(width: float, backend: str) -> None:
    """The same energies, forces and virials in eV and angstrom as in hartree and bohr."""
    ev = _model(backend=backend, width=width)
    atomic = _model(
        backend=backend,
        width=width / BOHR,
        cutoff=9.0 / BOHR,
        cn_cutoff=7.0 / BOHR,
        units="hartree/bohr",
    )
    a = evaluate(ev, NUMBERS, POSITIONS, CELL, True)
    b = evaluate(atomic, NUMBERS, POSITIONS / BOHR, CELL / BOHR, True)
    assert a.energy == pytest.approx(b.energy * HARTREE, rel=1e-13)
    np.testing.assert_allclose(a.forces, b.forces * (HARTREE / BOHR), rtol=0, atol=1e-14)
    np.testing.assert_allclose(a.virial, b.virial * HARTREE, rtol=0, atol=1e-13)


def test_energy_is_that_of_the_two_steps() -> None:
    model, (vectors, pairs, species) = _model(), _system()
    cn = model.coordination_number(vectors, pairs, species)
    energy = model.dispersion_energy(vectors, cn, pairs, species)
    assert torch.equal(energy, model(vectors, pairs, species))


@backends
def test_virial_is_the_derivative_by_strain(backend: str) -> None:
    """Central differences of the energy by all nine strains, smooth at the cutoffs."""
    model = _model(backend=backend, width=3.0, cn_cutoff=12.0)
    virial = evaluate(model, NUMBERS, POSITIONS, CELL, True).virial
    step, found = 1e-4, np.empty((3, 3))
    for a, b in np.ndindex(3, 3):
        strain = np.zeros((3, 3))
        strain[a, b] = step
        energies = [
            evaluate(model, NUMBERS, POSITIONS @ f.T, CELL @ f.T, True).energy
            for f in (np.eye(3) + strain, np.eye(3) - strain)
        ]
        found[a, b] = (energies[0] - energies[1]) / (2 * step)
    # the hard cutoff of the coordination numbers leaves steps of some 1e-7 of a count
    np.testing.assert_allclose(found, virial, rtol=0, atol=1e-5 * np.abs(virial).max())


@backends
def test_learnable_parameters_receive_gradients(backend: str) -> None:
    model = _model(learnable=True, backend=backend)
    assert [name for name, _ in model.named_parameters()] == ["s6", "s8", "a1", "a2"]
    _energy(model).sum().backward()
    for name, parameter in model.named_parameters():
        step, energies = 1e-5, []
        for sign in (1, -1):
            moved = _model(learnable=True, backend=backend)
            with torch.no_grad():
                getattr(moved, name).add_(sign * step)
            energies.append(_energy(moved).sum().item())
        slope = (energies[0] - energies[1]) / (2 * step)
        assert parameter.grad is not None
        assert parameter.grad.item() == pytest.approx(slope, rel=1e-7)


def test_parameters_are_buffers_unless_learnable() -> None:
    model = _model()
    assert list(model.parameters()) == []
    assert {"s6", "s8", "a1", "a2", "rcov", "r4r2", "cn_ref", "c6_ref"} <= {*model.state_dict()}


@pytest.mark.parametrize("learnable", [False, True])
def test_dtype_moves_with_the_module(learnable: bool) -> None:
    single = _model(dtype=torch.float32, learnable=learnable)
    moved = _model(learnable=learnable).to(torch.float32)
    assert _energy(single).dtype == torch.float32
    assert torch.equal(_energy(single), _energy(moved))
    assert moved.species(torch.tensor([8])).dtype == torch.int64
    assert torch.allclose(_energy(single).double(), _energy(_model()), rtol=1e-5)


def test_float32_gives_gradients_of_both_orders() -> None:
    model, (vectors, pairs, species) = _model(dtype=torch.float32), _system(torch.float32)
    vectors.requires_grad_()
    (first,) = grad(model(vectors, pairs, species).sum(), vectors, create_graph=True)
    (second,) = grad((first**2).sum(), vectors)
    assert first.dtype == second.dtype == torch.float32
    assert second.isfinite().all()
    assert second.any()


def _pickled(model: D3BJ) -> D3BJ:
    return pickle.loads(pickle.dumps(model))


def _saved(model: D3BJ) -> D3BJ:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def _restored(model: D3BJ) -> D3BJ:
    other = _model(xc="b3lyp", learnable=bool(list(model.parameters())))
    assert not torch.equal(_energy(other), _energy(model))
    other.load_state_dict(model.state_dict())
    return other


@pytest.mark.parametrize("learnable", [False, True])
@pytest.mark.parametrize("trip", [_pickled, _saved, copy.deepcopy, _restored])
def test_round_trips(trip: Callable[[D3BJ], D3BJ], learnable: bool) -> None:
    model = _model(learnable=learnable)
    again = trip(model)
    assert again is not model
    assert torch.equal(_energy(again), _energy(model))
    assert [*again.state_dict()] == [*model.state_dict()]
    assert len(list(again.parameters())) == (4 if learnable else 0)
    assert again.species(torch.tensor([1, 14])).tolist() == [3, 0]


def test_inference_mode_and_no_grad() -> None:
    model = _model(learnable=True)
    expected = _energy(model).detach()
    for context in (torch.inference_mode(), torch.no_grad()):
        with context:
            energy = _energy(model)
            assert torch.equal(energy, expected)
            assert not energy.requires_grad


def test_species_are_places_in_the_list_of_elements() -> None:
    numbers = torch.tensor([1, 8, 8, 14, 11])
    assert _model().species(numbers).tolist() == [3, 1, 1, 0, 2]
    assert _model().species(numbers[:0]).tolist() == []


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_species_of_numbers_of_any_integer_dtype(dtype: torch.dtype) -> None:
    """A mask, which torch takes uint8 for, is as long as what it is for: so many elements."""
    model = D3BJ(range(1, 104), "pbe")
    numbers = torch.arange(120).remainder(103) + 1
    assert torch.equal(model.species(numbers.to(dtype)), numbers - 1)


@pytest.mark.parametrize(
    ("numbers", "got"),
    [
        ([1, 8], "to be a tensor, got list"),
        (np.array([1, 8]), "to be a tensor, got ndarray"),
        (torch.tensor([1.0]), "to be integers, got a tensor of another kind"),
        (torch.tensor([True]), "to be integers, got a tensor of another kind"),
    ],
)
def test_species_of_no_integers_are_refused(numbers: Any, got: str) -> None:
    with pytest.raises(TypeError, match=f"^expected numbers {got}$"):
        _model().species(numbers)


@pytest.mark.parametrize("number", [6, 103, 200, 0, -1])
def test_numbers_without_a_place_are_refused(number: int) -> None:
    with pytest.raises(ValueError, match=rf"among \[14, 8, 11, 1\], got {number}$"):
        _model().species(torch.tensor([8, number]))


def test_atomic_c6_far_from_all_references_but_one_is_the_published_one() -> None:
    model = D3BJ(["H", "C"], "pbe", units="hartree/bohr")
    cn = torch.tensor([-50.0, 50.0, 50.0], dtype=torch.float64)
    c6 = model.atomic_c6(cn, torch.tensor([0, 0, 1]))
    lightest = D3BJ(["He"], "pbe", units="hartree/bohr")
    helium = lightest.atomic_c6(torch.tensor([0.0], dtype=torch.float64), torch.tensor([0]))
    assert c6[0].item() == pytest.approx(7.5916, rel=1e-12)
    assert c6[1].item() == pytest.approx(3.0267, rel=1e-12)
    assert c6[2].item() == pytest.approx(18.2067, rel=1e-12)
    assert helium.item() == pytest.approx(1.5583, rel=1e-4)


def test_atomic_c6_is_that_of_the_energy() -> None:
    """Two equal atoms far apart: -E r^6 / s6 tends to C6."""
    model = _model(damping={"s6": 1.0, "s8": 0.0, "a1": 0.0, "a2": 0.0}, cutoff=50.0)
    cn, species = torch.tensor([2.2, 2.2], dtype=torch.float64), torch.tensor([1, 1])
    pairs, vectors = pair_list([[0, 0, 0], [0, 0, 20.0]], CELL, False, 50.0)
    energy = model.dispersion_energy(vectors, cn, pairs, species).sum()
    assert torch.allclose(-energy * 20.0**6, model.atomic_c6(cn, species), rtol=1e-13)


def test_print_shows_the_settings() -> None:
    text = repr(_model(width=1.5))
    assert "elements=[14, 8, 11, 1], variant='bj', cutoff=9.0, cn_cutoff=7.0, width=1.5" in text


# ---- Hessian ----


@backends
@pytest.mark.parametrize("pbc", [False, True], ids=["cluster", "crystal"])
def test_hessian_by_double_backward_is_that_of_the_oracle(pbc: bool, backend: str) -> None:
    n, model = len(NUMBERS), _model(backend=backend)
    pairs, at_rest = pair_list(POSITIONS, CELL, pbc, 9.0)
    species = model.species(torch.tensor(NUMBERS))

    def energy(displacements: Tensor) -> Tensor:
        vectors = at_rest + displacements[pairs[1]] - displacements[pairs[0]]
        return model(vectors, pairs, species).sum()

    still = torch.zeros(n, 3, dtype=torch.float64)
    mine = torch.autograd.functional.hessian(energy, still).reshape(3 * n, 3 * n).numpy()
    reference = oracle.model(NUMBERS, POSITIONS, CELL, np.full(3, pbc), 9.0, 7.0)
    expected = reference.get_hessian(oracle.damping())["hessian"] * (HARTREE / BOHR**2)
    assert np.abs(mine - expected).max() <= 1e-10 * np.abs(expected).max()
    assert np.abs(mine - mine.T).max() <= 1e-13 * np.abs(expected).max()


# ---- refusals ----


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"xc": "pbee"}, ValueError, r"known functional, got 'pbee' \(nearest: pbe"),
        ({"xc": 1}, TypeError, "string, got 1"),
        ({"xc": "M06-2X"}, ValueError, "parameters, got 'M06-2X', which has: zero"),
        ({"xc": "M06-2X", "variant": "zerom"}, ValueError, "zero damping parameters, got 'M06-2X'"),
        ({"variant": "d4"}, ValueError, "variant to be one of bj, bjm, zero, zerom, got 'd4'"),
        ({"s9": "1"}, TypeError, "s9 to be a number, got '1'"),
        ({"s9": 1.0, "atm_cutoff": 0.0}, ValueError, "a positive atm_cutoff, got 0.0"),
        ({"s9": 1.0, "atm_width": 99.0}, ValueError, "0 <= atm_width < atm_cutoff = "),
        ({"xc": None}, TypeError, "either xc or damping, got xc=None and damping=None"),
        ({"cutoff": "9"}, TypeError, "cutoff to be a number, got '9'"),
        ({"cutoff": True}, TypeError, "cutoff to be a number, got True"),
        ({"cutoff": -9.0}, ValueError, "a positive cutoff, got -9.0"),
        ({"cutoff": 0}, ValueError, "a positive cutoff, got 0.0"),
        ({"cutoff": float("inf")}, ValueError, "cutoff to be finite, got inf"),
        ({"cn_cutoff": float("nan")}, ValueError, "cn_cutoff to be finite, got nan"),
        ({"cn_cutoff": -1}, ValueError, "a positive cn_cutoff, got -1.0"),
        ({"cn_cutoff": "7"}, TypeError, "cn_cutoff to be a number, got '7'"),
        ({"width": 9.0}, ValueError, "0 <= width < cutoff = 9.0, got width = 9.0"),
        ({"width": -1.0}, ValueError, "0 <= width < cutoff = 9.0, got width = -1.0"),
        ({"width": "1"}, TypeError, "width to be a number, got '1'"),
        ({"units": "kcal/mol"}, ValueError, "one of eV/A, hartree/bohr, got 'kcal/mol'"),
        ({"units": ["eV/A"]}, ValueError, "units to be one of"),
        ({"backend": "cuda"}, ValueError, "backend to be one of kernel, eager, got 'cuda'"),
        ({"backend": None}, ValueError, "backend to be one of kernel, eager, got None"),
        ({"reference": "2011"}, ValueError, "reference to be one of"),
        ({"reference": 2010}, TypeError, "reference to be a string, got 2010"),
        ({"learnable": "yes"}, TypeError, "learnable to be True or False, got 'yes'"),
        ({"learnable": 1}, TypeError, "learnable to be True or False, got 1"),
        ({"dtype": torch.float16}, ValueError, "torch.float64 or torch.float32, got torch.float16"),
        ({"dtype": "float64"}, ValueError, "dtype to be torch.float64 or torch.float32, got"),
        ({"damping": (1.0, 0.8, 0.4, 4.4)}, TypeError, "damping to give s6, s8, a1, a2, got"),
        ({"damping": {"s8": 0.8}}, TypeError, "damping to give s6, s8, a1, a2, got"),
        ({"damping": "pbe"}, TypeError, "damping to give s6, s8, a1, a2, got 'pbe'"),
        ({"damping": {**PBE._asdict(), "s9": 1}}, TypeError, "damping to give s6, s8, a1, a2"),
        ({"damping": PBE._replace(a1="0.4")}, TypeError, "a1 to be a number, got '0.4'"),
        ({"damping": PBE._replace(s8=np.nan)}, ValueError, "s8 to be finite, got nan"),
    ],
)
def test_wrong_settings_are_refused_in_one_sentence(
    changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        _model(**changes)
    assert str(caught.value).startswith("expected ")
    assert "\n" not in str(caught.value)


def test_functional_and_explicit_parameters_exclude_each_other() -> None:
    with pytest.raises(TypeError, match="either xc or damping, got xc='pbe' and damping="):
        D3BJ(["H"], "pbe", damping=PBE)


def test_elements_without_data_are_refused() -> None:
    with pytest.raises(ValueError, match="for reference '2024', got Rf"):
        D3BJ(["H", "Rf"], "pbe")
    with pytest.raises(ValueError, match="reference '2024' has Am"):
        D3BJ(["H", "Am"], "pbe", reference="2010")


@backends
def test_another_dtype_than_that_of_the_module_is_refused(backend: str) -> None:
    """It is what was given that is wrong, and not a table or the damping of the module."""
    model = D3BJ(["H"], "pbe", backend=backend)
    x, species = torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64)
    near = torch.tensor([[0, 1], [1, 0]]), torch.zeros(2, 3)
    of_list = (torch.ones(2, 3), near[0], species)
    calls: list[Callable[[Systems], Any]] = [
        *(model.lattice, model.lattice_shares, model.evaluate, model.pairwise),
        lambda systems: model.lattice(systems, model.damping()[None]),
        lambda systems: model.on_list(systems, *near),
        lambda systems: model.evaluate_on_list(systems, *near),
        lambda _: model(*of_list),
        lambda _: model.dispersion_energy(of_list[0], torch.ones(2).double(), *of_list[1:]),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=r"of the module, float64, got float32$"):
            call(model.systems(x, species))
    scripted = torch.jit.script(model)
    with pytest.raises(torch.jit.Error, match="of the module, float64, got float32"):
        scripted.lattice(scripted.systems(x, species))


WRONG_BATCHES: list[tuple[dict[str, Any], str]] = [
    ({"positions": np.zeros((2, 3))}, "positions to be a tensor, got ndarray"),
    ({"species": [0, 0]}, "species to be a tensor, got list"),
    ({"pbc": [True] * 3}, "pbc to be a tensor, got list"),
    ({"cell": np.eye(3)}, "cell to be a tensor, got ndarray"),
    ({"cell": torch.ones(3)}, r"cell of shape \(3, 3\) or \(1, 3, 3\), got \(3,\)"),
    ({"cell": torch.ones(2, 3, 3)}, r"cell of shape \(3, 3\) or \(1, 3, 3\), got \(2, 3, 3\)"),
    ({"pbc": torch.tensor(True)}, r"pbc of shape \(3,\) or \(1, 3\), got \(\)"),
    ({"offsets": (0, 2)}, "offsets to be a tensor, got tuple"),
    ({"offsets": torch.zeros(0)}, r"offsets of shape \(n_systems \+ 1,\), got \(0,\)"),
]


@pytest.mark.parametrize(("change", "sentence"), WRONG_BATCHES)
def test_what_makes_no_batch_is_refused(change: dict[str, Any], sentence: str) -> None:
    given = {"positions": torch.zeros(2, 3), "species": torch.zeros(2, dtype=torch.int64)}
    with pytest.raises((TypeError, ValueError), match=f"^expected {sentence}$"):
        _model().systems(**{**given, **change})


def test_cells_of_a_batch_may_be_one_above_the_other() -> None:
    """As MACE's loader stacks them, (3 n_graphs, 3)."""
    model, n = _model(), 3
    cells = torch.rand(n, 3, 3, dtype=torch.float64)
    x, species = torch.rand(n, 3, dtype=torch.float64), torch.zeros(n, dtype=torch.int64)
    rows = {"pbc": torch.ones(n, 3, dtype=torch.bool), "offsets": torch.arange(n + 1)}
    found = model.systems(x, species, cells.view(-1, 3), **rows)
    assert torch.equal(found.cell, cells)


def test_a_module_on_meta_tells_what_it_is() -> None:
    here = D3BJ(["O", "H"], "pbe", s9=1.0)
    with torch.device("meta"):
        model = D3BJ(["O", "H"], "pbe", s9=1.0)
    assert repr(model) == repr(here)
    assert model.settings == here.settings
    assert "elements=[8, 1]" in repr(model.to_empty(device="cpu"))

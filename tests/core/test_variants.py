"""Variants of D3 and the three-body term through the module and what calls it."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import numpy as np
import oracle
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from systems import pair_list
from torch import Tensor

from d3torch import D3, D3BJ, D3Calculator, Settings, ZeroParameters, damping_parameters, ops
from d3torch.evaluate import evaluate
from d3torch.model import BACKENDS
from d3torch.module_settings import settings_of
from d3torch.units import BOHR
from d3torch.variants import VARIANTS

REACH: dict[str, Any] = {"cutoff": 9.0, "cn_cutoff": 8.0}
WHICH: dict[str, dict[str, Any]] = {
    **{name: {"variant": name} for name in VARIANTS},
    "bj with three bodies": {"s9": 1.0, "atm_cutoff": 5.0},
    "zero with three bodies": {"variant": "zero", "s9": 0.8, "atm_cutoff": 5.0, "atm_width": 2.0},
}
PAIRWISE = list(VARIANTS)
NUMBERS = np.array([14, 8, 8, 11, 1])
POSITIONS = np.array(
    [[0.0, 0.0, 0.0], [1.6, 0.1, 0.0], [-0.6, 1.5, 0.2], [0.4, -0.8, 2.3], [2.1, 0.9, 0.4]]
)
CELL = np.array([[5.1, 0.0, 0.0], [1.3, 4.7, 0.0], [-0.9, 0.8, 5.6]])
backends = pytest.mark.parametrize("backend", BACKENDS)
every = pytest.mark.parametrize("which", WHICH)


def _model(which: str = "bj", **changes: Any) -> D3:
    keywords = {"xc": "pbe", **REACH, **WHICH[which], **changes}
    if "damping" in changes:
        del keywords["xc"]
    return D3(["Si", "O", "Na", "H"], **keywords)


def _systems(model: D3) -> ops.Systems:
    like = {"dtype": model.rcov.dtype}
    species = model.species(torch.tensor(NUMBERS))
    return model.systems(torch.tensor(POSITIONS, **like), species, torch.tensor(CELL, **like))


def _pairs() -> tuple[Tensor, Tensor, Tensor]:
    pairs, vectors = pair_list(POSITIONS, CELL, True, 9.0)
    return vectors, pairs, torch.tensor([0, 1, 1, 2, 3])


def test_forms_are_those_of_the_ops() -> None:
    forms = {"bj": ops.RATIONAL, "bjm": ops.RATIONAL}
    forms.update(zero=ops.ZERO, zerom=ops.MODIFIED_ZERO)
    assert {name: variant.form for name, variant in VARIANTS.items()} == forms


def _assert_the_oracle(atoms: Atoms, expected: oracle.Oracle) -> None:
    """What the calculator of a structure gives, against the oracle."""
    assert atoms.get_potential_energy() == pytest.approx(expected.energy, rel=1e-12)
    largest = np.abs(expected.forces).max()
    assert np.abs(atoms.get_forces() - expected.forces).max() < 1e-10 * largest
    if atoms.pbc.all():
        stress = atoms.get_stress(voigt=False) * atoms.get_volume()
        largest = np.abs(expected.virial).max()
        assert np.abs(stress - expected.virial).max() < 1e-10 * largest


@pytest.mark.parametrize("xc", ["pbe", "b2plyp"])
@pytest.mark.parametrize("s9", [0.0, 1.0])
@pytest.mark.parametrize("variant", VARIANTS)
def test_energy_forces_and_stress_are_those_of_the_oracle(variant: str, s9: float, xc: str) -> None:
    ethanol, salt = molecule("CH3CH2OH"), bulk("NaCl", "rocksalt", a=5.64) * (2, 1, 1)
    for atoms in (ethanol, salt):
        atoms.rattle(0.05, seed=3)
        reach = {"cutoff": 14.0, "cn_cutoff": 12.0}
        atoms.calc = D3Calculator(xc, variant=variant, s9=s9, atm_cutoff=9.0, **reach)
        given = (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, xc)
        expected = oracle.dispersion(*given, **reach, variant=variant, s9=s9, atm_cutoff=9.0)
        _assert_the_oracle(atoms, expected)


@pytest.mark.parametrize("widths", [(2.0, 1.0), (0.3, 7.9), (9.0, 0.2)])
@pytest.mark.parametrize("variant", VARIANTS)
def test_smooth_cutoffs_are_those_of_the_oracle(variant: str, widths: tuple[float, float]) -> None:
    """Of pairs and of triples; simple-dftd3 has the same function."""
    salt = bulk("NaCl", "rocksalt", a=5.64)
    salt.rattle(0.1, seed=1)
    for atoms in (molecule("C6H6"), salt):
        reach = {"cutoff": 9.03, "cn_cutoff": 8.01, "atm_cutoff": 8.02}
        which: dict[str, Any] = {"variant": variant, "s9": 0.7, **reach}
        atoms.calc = D3Calculator("pbe", width=widths[0], atm_width=widths[1], **which)
        given = (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
        expected = oracle.dispersion(*given, **which, widths=widths)
        _assert_the_oracle(atoms, expected)


@pytest.mark.parametrize("variant", VARIANTS)
def test_eager_calculator_is_that_of_the_oracle(variant: str) -> None:
    atoms = molecule("CH3CH2OH")
    atoms.calc = D3Calculator("pbe", variant=variant, backend="eager")
    given = (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
    expected = oracle.dispersion(*given, variant=variant)
    assert atoms.get_potential_energy() == pytest.approx(expected.energy, rel=1e-12)
    largest = np.abs(expected.forces).max()
    assert np.abs(atoms.get_forces() - expected.forces).max() < 1e-10 * largest


@backends
@pytest.mark.parametrize("variant", PAIRWISE)
def test_a_list_of_pairs_gives_what_the_lattice_gives(variant: str, backend: str) -> None:
    model = _model(variant, backend=backend, width=2.0)
    lattice = model.lattice(_systems(model)).item()
    assert model(*_pairs()).sum().item() == pytest.approx(lattice, rel=1e-13)


@every
def test_kernel_and_eager_agree_in_all_units(which: str) -> None:
    model = _model(which)
    length = {name: getattr(model, name) / BOHR for name in ("cutoff", "cn_cutoff")}
    if model.atm_cutoff:
        length.update(atm_cutoff=model.atm_cutoff / BOHR, atm_width=model.atm_width / BOHR)
    atomic = _model(which, units="hartree/bohr", **length)
    energy = model.lattice(_systems(model)).item()
    slow = _model(which, backend="eager")
    assert slow.lattice(_systems(slow)).item() == pytest.approx(energy, rel=1e-13)
    x = evaluate(atomic, POSITIONS / BOHR, CELL / BOHR, True, NUMBERS)
    assert x.energy.item() * 27.21138624593551 == pytest.approx(energy, rel=1e-13)
    assert atomic.settings.damping == pytest.approx(model.settings.damping, rel=1e-15)


@backends
@every
def test_all_parameters_learn(which: str, backend: str) -> None:
    """Their derivatives are the differences of the energy."""
    model = _model(which, learnable=True, backend=backend)
    names = [*VARIANTS[model.variant].kind._fields, *(["s9"] if model.atm_cutoff else [])]
    assert [name for name, _ in model.named_parameters()] == names
    assert model.damping().shape == (len(names),)
    model.lattice(_systems(model)).sum().backward()
    for name, parameter in model.named_parameters():
        step, energies = 1e-5, []
        for sign in (1, -1):
            moved = copy.deepcopy(model)
            with torch.no_grad():
                getattr(moved, name).add_(sign * step)
            energies.append(moved.lattice(_systems(moved)).item())
        slope = (energies[0] - energies[1]) / (2 * step)
        assert parameter.grad is not None
        assert parameter.grad.item() == pytest.approx(slope, rel=1e-6, abs=1e-9)


@every
def test_systems_of_a_batch_may_have_functionals_of_their_own(which: str) -> None:
    one, other = _model(which), _model(which, xc="b3lyp")
    both = one.systems(
        torch.tensor(np.concatenate([POSITIONS, POSITIONS])),
        one.species(torch.tensor(np.concatenate([NUMBERS, NUMBERS]))),
        torch.tensor(np.stack([CELL, CELL])),
        offsets=torch.tensor([0, 5, 10]),
    )
    energies = one.lattice(both, torch.stack([one.damping(), other.damping()]))
    assert energies[0].item() == one.lattice(_systems(one)).item()
    assert energies[1].item() == other.lattice(_systems(other)).item()


@pytest.mark.parametrize("learnable", [False, True])
@every
def test_round_trips(which: str, learnable: bool) -> None:
    """Through a pickle, TorchScript and a state, settings included."""
    model = _model(which, learnable=learnable)
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(model), file)
    file.seek(0)
    other = _model(which, xc="b3lyp", learnable=learnable)
    other.load_state_dict(model.state_dict())
    energy = model.lattice(_systems(model))
    again = [pickle.loads(pickle.dumps(model)), copy.deepcopy(model), torch.jit.load(file), other]
    for module in again:
        assert torch.equal(module.lattice(_systems(model)), energy)
        assert settings_of(module) == model.settings == Settings(**REACH, **WHICH[which])
    if not model.atm_cutoff:
        assert torch.equal(again[2](*_pairs()), model(*_pairs()))


def test_a_weight_of_the_three_body_term_that_came_to_nothing_goes_through_a_state() -> None:
    """Files of settings have no word for it."""
    learned, other = (_model("bj with three bodies", learnable=x) for x in (True, False))
    with torch.no_grad():
        learned.s9.zero_()
    other.load_state_dict(learned.state_dict())
    assert other.settings == learned.settings
    again = _model("bj with three bodies")
    again.load_state_dict(pickle.loads(pickle.dumps(other)).state_dict())
    assert again.settings == Settings(**REACH)
    moved = again.to(torch.float32).double()
    assert moved.s9.item() == 0.0
    assert torch.equal(moved.lattice(_systems(moved)), learned.lattice(_systems(learned)))


@every
def test_compiled_and_exported_modules_are_equal(which: str) -> None:
    model = _model(which)
    x, species = torch.tensor(POSITIONS), model.species(torch.tensor(NUMBERS))
    cell = torch.tensor(CELL)

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.d3 = model

        def forward(self, x: Tensor) -> Tensor:
            return self.d3.lattice(self.d3.systems(x, species, cell))

    expected = Whole()(x)
    compiled = torch.compile(Whole(), backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(x), expected)
    assert torch.equal(torch.export.export(Whole(), (x,)).module()(x), expected)


@every
def test_dtype_moves_with_the_module(which: str) -> None:
    moved, made = _model(which).to(torch.float32), _model(which, dtype=torch.float32)
    for name, value in made.state_dict().items():
        assert torch.equal(value, moved.state_dict()[name]), name
    back, whole = moved.double().state_dict(), _model(which).state_dict()
    assert all(torch.equal(value, back[name]) for name, value in whole.items())


def test_radii_are_there_only_where_they_are_used() -> None:
    for which in WHICH:
        model = _model(which)
        used = which not in ("bj", "bjm")
        assert hasattr(model, "radii") == ("radii" in model.state_dict()) == used
        radii = model.tables().radii
        assert (radii is not None) == used
        if radii is not None:
            assert radii.shape == (4, 4)
            assert torch.equal(radii, radii.T)


@backends
@pytest.mark.parametrize("scripted", [False, True])
def test_a_list_of_pairs_is_refused_with_the_three_body_term(scripted: bool, backend: str) -> None:
    model: Any = _model("bj with three bodies", backend=backend)
    model = torch.jit.script(model) if scripted else model
    error = torch.jit.Error if scripted else ValueError
    words = "expected s9=0 for a list of pairs, .* takes triangles of neighbours, .*: use lattice"
    with pytest.raises(error, match=words):
        model(*_pairs())
    vectors, pairs, species = _pairs()
    cn = model.coordination_number(vectors, pairs, species)
    with pytest.raises(error, match=words):
        model.dispersion_energy(vectors, cn, pairs, species)


@backends
@pytest.mark.parametrize("scripted", [False, True])
def test_a_list_of_pairs_is_refused_with_a_tail(scripted: bool, backend: str) -> None:
    """Whole structures have it; pairs within the cutoff would leave it out without a word."""
    model: Any = _model("bj", backend=backend, tail=True)
    systems = _systems(model)
    bare = _model("bj", backend=backend, width=model.width)
    assert model.lattice(systems).item() < bare.lattice(systems).item() - 1e-4
    model = torch.jit.script(model) if scripted else model
    error = torch.jit.Error if scripted else ValueError
    words = r"expected no tail for a list of pairs, got one: use lattice\(\)"
    with pytest.raises(error, match=words):
        model(*_pairs())
    vectors, pairs, species = _pairs()
    cn = model.coordination_number(vectors, pairs, species)
    with pytest.raises(error, match=words):
        model.dispersion_energy(vectors, cn, pairs, species)


def test_the_eager_calculator_refuses_the_three_body_term() -> None:
    model = _model("bj with three bodies", backend="eager")
    with pytest.raises(ValueError, match="expected backend='kernel' for the three-body term, got"):
        evaluate(model, POSITIONS, CELL, True, NUMBERS)


@pytest.mark.parametrize("s9", [0.0, 1.0])
@pytest.mark.parametrize("variant", ["bjm", "zero", "zerom"])
def test_an_automatic_cutoff_keeps_its_tolerance(variant: str, s9: float) -> None:
    atoms = bulk("NaCl", "rocksalt", a=5.64)
    which: dict[str, Any] = {"variant": variant, "s9": s9, "atm_cutoff": 6.0, "cn_cutoff": 10.0}
    calc = D3Calculator("pbe", cutoff="auto", tolerance=1e-3, **which)
    chosen = calc.get_potential_energy(atoms)
    far = D3Calculator("pbe", cutoff=40.0, tail=True, width=2.0, **which)
    assert calc.results["cutoff"] < 30.0
    assert 0.0 < (chosen - far.get_potential_energy(atoms)) / len(atoms) < 1e-3


def test_the_earlier_name_is_the_module() -> None:
    assert D3BJ is D3
    assert type(D3BJ(["H"], "pbe")) is D3
    assert D3BJ(["H"], "pbe").variant == "bj"


def test_explicit_parameters_of_zero_damping_need_no_rs8() -> None:
    pbe = damping_parameters("pbe", "zero")
    energies = {
        _model("zero", damping=given).lattice(_systems(_model())).item()
        for given in (pbe, {"s6": 1, "s8": 0.722, "rs6": 1.217}, ZeroParameters(1, 0.722, 1.217))
    }
    assert energies == {_model("zero").lattice(_systems(_model())).item()}

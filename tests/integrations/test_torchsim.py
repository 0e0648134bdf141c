"""D3(BJ) in torch-sim: batches, sums with MACE, integrators and optimisers of torch-sim itself."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch

with warnings.catch_warnings():  # of what torch-sim and MACE import
    warnings.simplefilter("ignore")
    ts = pytest.importorskip("torch_sim", reason="needs torch-sim: pip install torch-sim-atomistic")
    pytest.importorskip("mace", reason="needs mace-torch: pip install mace-torch")
    import mace_models as models
    from torch_sim.models.interface import validate_model_outputs
    from torch_sim.models.mace import MaceModel

from ase import Atoms
from mace_models import RANGE, one_sentence

from d3torch import D3BJ, D3Calculator
from d3torch.integrations.mace import MACED3
from d3torch.integrations.torchsim import D3Model

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning"),
    pytest.mark.usefixtures("one_thread"),
]
one_thread = models.one_thread

CPU, DOUBLE = torch.device("cpu"), torch.float64
SHAPES = {"energy": "per system", "forces": "per atom", "stress": "per system"}


def _crystals() -> list[Atoms]:
    """Two cells that differ in size, shape and elements."""
    second = models.crystal().repeat((2, 1, 1))
    second.numbers[:4] = 1
    return [models.crystal(), models.rattled(second, 4)]


def _state(structures: list[Atoms]) -> Any:
    return ts.io.atoms_to_state(structures, CPU, DOUBLE)


def _d3(**settings: Any) -> D3Model:
    return D3Model(D3BJ(models.NUMBERS, "pbe", **RANGE), **settings)


def _mace(model: Any) -> Any:
    return MaceModel(model=model, device=CPU, dtype=DOUBLE)


class Sum(torch.nn.Module):
    """What torch-sim's SumModel does, which releases before 0.6 lack."""

    def __init__(self, *terms: Any) -> None:
        super().__init__()
        self.terms = torch.nn.ModuleList(terms)

    def forward(self, state: Any) -> dict[str, Any]:
        parts = [term(state) for term in self.terms]
        return {name: sum(part[name] for part in parts) for name in SHAPES}


def _sum(*terms: Any) -> Any:
    return getattr(ts.models.interface, "SumModel", Sum)(*terms)


def _assert_equal(a: dict[str, Any], b: dict[str, Any]) -> None:
    for name in SHAPES:
        torch.testing.assert_close(a[name], b[name], rtol=0, atol=1e-10)


# ---- numbers ----


def test_model_passes_the_validation_of_torch_sim() -> None:
    validate_model_outputs(D3Model(D3BJ(range(1, 90), "pbe", **RANGE)), CPU, DOUBLE)


def test_batch_equals_single_systems() -> None:
    structures, model = _crystals(), _d3()
    single = [model(_state([atoms])) for atoms in structures]
    joined = {name: torch.cat([one[name] for one in single]) for name in SHAPES}
    _assert_equal(model(_state(structures)), joined)


@pytest.mark.parametrize("names", [["crystal"], ["molecule"]], ids=str)
def test_model_equals_the_ase_calculator(names: list[str]) -> None:
    (atoms,) = models.some(*names)
    found = _d3()(_state([atoms]))
    atoms.calc = D3Calculator(xc="pbe", **RANGE)
    assert found["energy"].item() == pytest.approx(atoms.get_potential_energy(), abs=1e-10)
    np.testing.assert_allclose(found["forces"].numpy(), atoms.get_forces(), rtol=0, atol=1e-10)
    stress = atoms.get_stress(voigt=False) if atoms.pbc.any() else np.zeros((3, 3))
    np.testing.assert_allclose(found["stress"][0].numpy(), stress, rtol=0, atol=1e-10)


def test_stress_is_the_derivative_of_the_energy() -> None:
    atoms, model, h = models.crystal(), _d3(), 1e-4
    stress = model(_state([atoms]))["stress"][0]
    for i, j in ((0, 0), (1, 2)):
        strained = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[i, j] += 0.5 * sign * h
            strain[j, i] += 0.5 * sign * h
            strained.append(atoms.copy())
            strained[-1].set_cell(atoms.cell.array @ strain, scale_atoms=True)
        up, down = model(_state(strained))["energy"]
        slope = (up - down) / (2 * h * atoms.get_volume())
        assert float(stress[i, j]) == pytest.approx(float(slope), abs=1e-8)


def test_what_is_not_wanted_is_not_returned() -> None:
    state = _state([models.crystal()])
    assert set(_d3(compute_stress=False)(state)) == {"energy", "forces"}
    assert set(_d3(compute_stress=False, compute_forces=False)(state)) == {"energy"}


def test_results_are_numbers_and_a_dict_will_do() -> None:
    """Without a graph, of a cell that is differentiated by as well."""
    state, model = _state(_crystals()), _d3()
    expected = model(state)
    state.cell.requires_grad_()
    found = model(state)
    assert not any(values.requires_grad for values in found.values())
    names = ("positions", "cell", "pbc", "atomic_numbers", "system_idx")
    _assert_equal(model({name: getattr(state, name) for name in names}), expected)


def test_a_model_that_was_moved_says_where_it_is() -> None:
    model = _d3().float()
    assert model.dtype == torch.float32
    found = model(ts.io.atoms_to_state(_crystals(), CPU, model.dtype))["energy"]
    assert found.dtype == torch.float32
    assert found == pytest.approx(_d3()(_state(_crystals()))["energy"].numpy(), rel=1e-6)
    assert _d3().to("meta").device.type == "meta"


# ---- with MACE ----


def test_sum_with_mace_equals_the_fused_model() -> None:
    state, model = _state(_crystals()), models.build()
    alone, fused = _mace(model)(state), _mace(MACED3(models.build(), "pbe", **RANGE))(state)
    _assert_equal(_sum(_mace(model), _d3())(state), fused)
    assert float((fused["energy"] - alone["energy"]).abs().min()) > 0.1


# ---- runs of torch-sim ----


def _fused() -> Any:
    return _mace(MACED3(models.build(pair_repulsion=True), "pbe", **RANGE))


def _total(state: Any) -> Any:
    kinetic = ts.calc_kinetic_energy(
        masses=state.masses, momenta=state.momenta, system_idx=state.system_idx
    )
    return state.energy + kinetic


def test_dynamics_of_a_batch_conserve_energy() -> None:
    model, state = _fused(), _state(_crystals())
    settings = {"integrator": getattr(ts, "Integrator", ts).nve, "temperature": 300.0}
    first = ts.integrate(state, model, n_steps=1, timestep=0.0005, **settings)
    start = _total(first)
    last = ts.integrate(first.clone(), model, n_steps=60, timestep=0.0005, **settings)
    exchanged = (last.energy - first.energy).abs()
    assert float(exchanged.min()) > 0.01
    assert bool(((_total(last) - start).abs() < 0.02 * exchanged).all())


def test_relaxation_of_a_batch_lowers_forces() -> None:
    model, state = _fused(), _state(_crystals())
    fire = ts.Optimizer.fire if hasattr(ts, "Optimizer") else ts.optimizers.fire
    before = model(state)
    done = ts.optimize(state, model, optimizer=fire, max_steps=80, autobatcher=False)
    after = model(done)
    assert bool((after["energy"] < before["energy"]).all())
    assert float(after["forces"].norm()) < 0.3 * float(before["forces"].norm())


# ---- refusals ----


@pytest.mark.parametrize(
    ("d3", "settings", "error"),
    [
        (7, {}, TypeError),
        (D3BJ(["Si"], "pbe", units="hartree/bohr"), {}, ValueError),
        (D3BJ(["Si"], "pbe", backend="eager"), {}, ValueError),
        (D3BJ(["Si"], "pbe"), {"compute_stress": "False"}, TypeError),
    ],
    ids=["no D3BJ", "units", "backend", "string"],
)
def test_wrong_arguments_are_refused(
    d3: Any, settings: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error) as caught:
        D3Model(d3, **settings)
    one_sentence(caught)


def test_elements_that_the_model_lacks_are_refused() -> None:
    with pytest.raises(ValueError, match="got 8") as caught:
        D3Model(D3BJ(["Si", "Na"], "pbe"))(_state([models.crystal()]))
    one_sentence(caught)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_autocast_and_inference_mode_change_nothing(dtype: torch.dtype) -> None:
    model = D3Model(D3BJ(models.NUMBERS, "pbe", **RANGE, dtype=dtype))
    state = ts.io.atoms_to_state(_crystals(), CPU, dtype)
    expected = model(state)
    for mode in (torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode()):
        with mode:
            found = model(state)
        assert all(torch.equal(found[name], expected[name]) for name in SHAPES)

"""D3 beside torch-sim's own Lennard-Jones: sums, batches by memory, a relaxation and dynamics."""

from __future__ import annotations

import warnings
from typing import Any

import ase.build
import numpy as np
import pytest
import torch

with warnings.catch_warnings():  # of what torch-sim imports
    warnings.simplefilter("ignore")
    ts = pytest.importorskip("torch_sim", reason="needs torch-sim: pip install torch-sim-atomistic")
    from torch_sim import autobatching
    from torch_sim.models import interface
    from torch_sim.models.lennard_jones import LennardJonesModel

from d3torch.integrations.torchsim import D3Model

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")

CPU, DOUBLE = torch.device("cpu"), torch.float64
NAMES = ("energy", "forces", "stress")


class Sum(interface.ModelInterface):  # type: ignore[misc]
    """What SumModel does, which releases before 0.6 lack."""

    def __init__(self, *terms: Any) -> None:
        super().__init__()
        self.terms = torch.nn.ModuleList(terms)
        self._device, self._dtype = CPU, DOUBLE
        self._compute_forces = self._compute_stress = True

    def forward(self, state: Any, **_: Any) -> dict[str, Any]:
        parts = [term(state) for term in self.terms]
        return {name: sum(part[name] for part in parts) for name in NAMES}


SUM = getattr(interface, "SumModel", Sum)


def _parts() -> tuple[Any, D3Model]:
    """Argon: D3 brings the attraction of a weaker Lennard-Jones."""
    given = {"compute_forces": True, "compute_stress": True, "device": CPU, "dtype": DOUBLE}
    lj = LennardJonesModel(sigma=3.3, epsilon=0.006, cutoff=4.5, **given)
    return lj, D3Model("pbe", elements=["Ar"], cutoff=10.0, cn_cutoff=6.0, width=1.0, device="cpu")


def _state() -> Any:
    """Crystals of 32, 48 and 32 atoms, shaken; no pair is near the hard cutoff of Lennard-Jones."""
    rng, structures = np.random.default_rng(3), []
    for size in (2, 3, 2):
        atoms = ase.build.bulk("Ar", "fcc", a=5.3, cubic=True) * (2, 2, size)
        atoms.positions += rng.normal(scale=0.05, size=(len(atoms), 3))
        structures.append(atoms)
    return ts.io.atoms_to_state(structures, CPU, DOUBLE)


def test_sum_has_all_of_its_parts() -> None:
    lj, d3 = _parts()
    state = _state()
    found, parts = SUM(lj, d3)(state), [part(state) for part in (lj, d3)]
    for name in NAMES:
        torch.testing.assert_close(found[name], parts[0][name] + parts[1][name])


def test_what_is_computed_can_be_changed() -> None:
    _, d3 = _parts()
    d3.compute_stress = False
    assert set(d3(_state())) == {"energy", "forces"}
    with pytest.raises(TypeError, match="expected compute_forces to be True or False"):
        d3.compute_forces = "False"


@pytest.mark.skipif(SUM is Sum, reason="needs SumModel: torch-sim-atomistic>=0.6")
def test_sum_model_changes_its_parts() -> None:
    d3 = _parts()[1]
    whole = SUM(d3, _parts()[1])
    whole.compute_stress = False
    assert d3.compute_stress is False
    assert set(whole(_state())) == {"energy", "forces"}


def test_memory_grows_with_atoms() -> None:
    lj, d3 = _parts()
    assert d3.memory_scales_with == "n_atoms"
    if SUM is not Sum:
        assert SUM(lj, d3).memory_scales_with == lj.memory_scales_with


def _fire() -> Any:
    return ts.Optimizer.fire if hasattr(ts, "Optimizer") else ts.optimizers.fire


def test_relaxation_by_batches_is_that_of_all_at_once() -> None:
    model, state = SUM(*_parts()), _state()
    batches = autobatching.InFlightAutoBatcher(
        model, memory_scales_with="n_atoms", max_memory_scaler=80.0
    )
    until = ts.generate_force_convergence_fn(force_tol=1e-2, include_cell_forces=False)
    given = {"optimizer": _fire(), "convergence_fn": until, "max_steps": 300}
    one = ts.optimize(state.clone(), model, autobatcher=False, **given)
    some = ts.optimize(state.clone(), model, autobatcher=batches, **given)
    assert float(model(one)["forces"].abs().max()) < 1e-2
    torch.testing.assert_close(model(some)["energy"], model(one)["energy"], rtol=0, atol=1e-3)
    assert bool((model(some)["energy"] < model(state)["energy"]).all())


def test_batches_by_memory_have_the_same_numbers() -> None:
    model, state = SUM(*_parts()), _state()
    batches = autobatching.BinningAutoBatcher(
        model, memory_scales_with="n_atoms", max_memory_scaler=80.0
    )
    found, expected = ts.static(state, model, autobatcher=batches), model(state)
    assert len(batches.index_bins) == 2
    energies = torch.cat([one["potential_energy"].ravel() for one in found])
    torch.testing.assert_close(energies, expected["energy"])
    forces = torch.cat([one["forces"] for one in found])
    torch.testing.assert_close(forces, expected["forces"])


def _total(now: Any) -> Any:
    motion = {"masses": now.masses, "momenta": now.momenta, "system_idx": now.system_idx}
    return now.energy + ts.calc_kinetic_energy(**motion)


@pytest.mark.skipif(SUM is Sum, reason="forces of Lennard-Jones are twice too large before 0.6")
def test_dynamics_conserve_energy() -> None:
    model, state = SUM(*_parts()), _state()
    nve = {"integrator": getattr(ts, "Integrator", ts).nve, "temperature": 20.0, "timestep": 0.002}
    first = ts.integrate(state, model, n_steps=1, **nve)
    start = _total(first)
    last = ts.integrate(first.clone(), model, n_steps=60, **nve)
    exchanged = (last.energy - first.energy).abs()
    assert float(exchanged.min()) > 1e-3
    assert bool(((_total(last) - start).abs() < 0.05 * exchanged).all())

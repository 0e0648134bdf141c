"""A fused model in its hosts: molecular dynamics in ASE, MACE's compile_mode, a C++ program."""

# No `from __future__ import annotations`: TorchScript cannot read strings.
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("mace", reason="needs mace-torch: pip install mace-torch")

import hosts
import mace_models as models
from ase import Atoms, units
from ase.md.nose_hoover_chain import IsotropicMTKNPT, NoseHooverChainNVT
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet
from mace.calculators import MACECalculator
from mace_models import EVERYTHING, RANGE, one_sentence, some
from torch import Tensor, nn

from d3torch.integrations.mace import MACED3, torchscript

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning"),
    pytest.mark.usefixtures("one_thread"),
]
one_thread = models.one_thread


@pytest.fixture(scope="module")
def repulsive() -> MACECalculator:
    """Of a fused model whose atoms cannot meet."""
    fused = MACED3(models.build(pair_repulsion=True), "pbe", **RANGE)
    return MACECalculator(models=fused, default_dtype="float64")


# ---- molecular dynamics in ASE ----


def _hot(calculator: MACECalculator) -> Atoms:
    atoms = models.silicate()
    atoms.calc = calculator
    MaxwellBoltzmannDistribution(atoms, temperature_K=300, rng=np.random.default_rng(5))
    return atoms


def _run(atoms: Atoms, dynamics: Any, conserved: Callable[[], float]) -> tuple[float, float]:
    """Ranges of the conserved quantity and of the potential energy in 200 steps."""
    rows: list[tuple[float, float]] = []
    dynamics.attach(lambda: rows.append((conserved(), atoms.get_potential_energy())))
    dynamics.run(200)
    assert len(rows) == 201
    drift, exchanged = np.ptp(rows, axis=0)
    return float(drift), float(exchanged)


def test_md_at_constant_energy(repulsive: MACECalculator) -> None:
    atoms = _hot(repulsive)
    dynamics = VelocityVerlet(atoms, timestep=units.fs)
    drift, exchanged = _run(atoms, dynamics, atoms.get_total_energy)
    assert drift < 1e-3 * exchanged


def test_md_at_constant_temperature(repulsive: MACECalculator) -> None:
    atoms = _hot(repulsive)
    dynamics = NoseHooverChainNVT(atoms, timestep=units.fs, temperature_K=300, tdamp=50 * units.fs)
    before = atoms.get_total_energy()
    drift, exchanged = _run(atoms, dynamics, dynamics.get_conserved_energy)
    assert drift < 1e-3 * exchanged
    assert abs(atoms.get_total_energy() - before) > 100 * drift


def test_md_at_constant_pressure(repulsive: MACECalculator) -> None:
    atoms = _hot(repulsive)
    dynamics = IsotropicMTKNPT(
        atoms,
        timestep=units.fs,
        temperature_K=300,
        pressure_au=0.0,
        tdamp=50 * units.fs,
        pdamp=1000 * units.fs,
    )
    volume = atoms.get_volume()
    drift, exchanged = _run(atoms, dynamics, dynamics.get_conserved_energy)
    assert drift < 1e-3 * exchanged
    assert 1e-3 < abs(atoms.get_volume() / volume - 1.0) < 0.5


# ---- compile_mode ----


def test_compile_mode_is_refused(repulsive: MACECalculator) -> None:
    with pytest.raises(TypeError, match="compile_mode") as caught:
        MACECalculator(models=repulsive.models[0], compile_mode="default")
    one_sentence(caught)


# ---- a C++ program ----


class Bound(nn.Module):
    """A model with its batch: what the program runs without any argument."""

    data: dict[str, Tensor]

    def __init__(self, model: torch.jit.ScriptModule, data: dict[str, Any]) -> None:
        super().__init__()
        self.model = model
        self.data = {k: v.detach() for k, v in data.items() if torch.is_tensor(v)}

    def forward(self) -> list[Tensor]:
        """Energy, forces, virials and stress."""
        out = self.model(self.data.copy(), compute_virials=True, compute_stress=True)
        found: list[Tensor] = []
        for name in ("energy", "forces", "virials", "stress", "dispersion_energy"):
            value = out[name]
            assert value is not None
            found.append(value)
        return found


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_fused_model_in_a_cpp_program(dtype: torch.dtype, host: str, tmp_path: Path) -> None:
    fused = MACED3(models.build(dtype=dtype), "pbe", **RANGE)
    data = models.batch(fused, some(*models.STRUCTURES))
    bound = Bound(torchscript(fused), data)
    torch.jit.script(bound).save(str(tmp_path / "bound.pt"))
    found = hosts.numbers([host, str(hosts.LIBRARY), str(tmp_path / "bound.pt")])
    out = fused(data, **EVERYTHING)
    names = ("energy", "forces", "virials", "stress", "dispersion_energy")
    expected = torch.cat([out[name].detach().double().flatten() for name in names])
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    assert float(out["dispersion_energy"].abs().min()) > 0.01

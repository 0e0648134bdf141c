"""What users do on a GPU: calculators, fused models, TorchScript, torch.compile, learning, streams.

Everything is compared with the same on the CPU. Skipped where there is no GPU.
"""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from cuda_device import on_gpu
from torch import Tensor

from d3torch import D3BJ, D3Calculator, with_dispersion
from d3torch.integrations.torch_dftd import TorchDFTD3Calculator

pytestmark = [on_gpu, pytest.mark.filterwarnings("ignore")]

RANGE: dict[str, Any] = {"cutoff": 9.0, "cn_cutoff": 7.0}


def _structures() -> list[Atoms]:
    crystal = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    crystal.rattle(0.1, seed=1)
    return [crystal, molecule("CH3CH2OH")]


def _properties(calculator: Any, atoms: Atoms) -> dict[str, Any]:
    names = ["energy", "forces", *(["stress"] if atoms.pbc.any() else [])]
    return {name: np.asarray(calculator.get_property(name, atoms.copy())) for name in names}


def _assert_same(found: dict[str, Any], expected: dict[str, Any], tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert np.abs(found[name] - value).max() <= tolerance * np.abs(value).max(), name


# ---- calculators ----


@pytest.mark.parametrize(
    "settings",
    [{}, {"variant": "zero"}, {"s9": 1.0, "atm_cutoff": 6.0}, {"width": 1.0}, {"tail": True}],
    ids=str,
)
def test_a_calculator(settings: dict[str, Any]) -> None:
    found, expected = (D3Calculator("pbe", device=d, **RANGE, **settings) for d in ("cuda", "cpu"))
    for atoms in _structures():
        _assert_same(_properties(found, atoms), _properties(expected, atoms), 1e-11)


@pytest.mark.parametrize("damping", ["bj", "zero"])
def test_the_calculator_of_torch_dftd(damping: str) -> None:
    given = {"damping": damping, "cutoff": 9.0, "cnthr": 7.0, "dtype": torch.float64}
    found, expected = (TorchDFTD3Calculator(device=d, **given) for d in ("cuda", "cpu"))
    for atoms in _structures():
        _assert_same(_properties(found, atoms), _properties(expected, atoms), 1e-11)
    batch = [bulk("Cu"), bulk("Cu", cubic=True), molecule("H2O")]
    for a, b in zip(found.batch_calculate(batch), expected.batch_calculate(batch), strict=True):
        assert abs(a["energy"] / b["energy"] - 1) < 1e-11


# ---- fused models ----


@pytest.fixture(scope="module")
def fused() -> Any:
    pytest.importorskip("mace", reason="needs mace-torch: pip install mace-torch")
    import mace_models

    from d3torch.integrations.mace import MACED3

    return MACED3(mace_models.build(numbers=(1, 6, 8, 11, 17)), "pbe", **RANGE)


def _of_fused(model: Any, fused: Any, device: str) -> dict[str, Tensor]:
    """Of the structures, by a fused model in any form; the original one makes the batch."""
    import mace_models

    batch = mace_models.batch(fused, _structures())
    data = {k: v.to(device) for k, v in batch.items() if isinstance(v, Tensor)}
    out = model(data, compute_stress=True)
    return {name: out[name].detach().cpu() for name in ("energy", "forces", "stress")}


@pytest.mark.parametrize("kind", ["fused", "scripted"])
def test_a_fused_model(fused: Any, kind: str, tmp_path: Path) -> None:
    from d3torch.integrations.mace import torchscript

    expected = _of_fused(fused, fused, "cpu")
    model = copy.deepcopy(fused).cuda()
    if kind == "scripted":
        file = str(tmp_path / "fused.pt")
        torchscript(copy.deepcopy(fused)).save(file)
        model = torch.jit.load(file, map_location="cuda")
    for _ in range(3):  # TorchScript optimises between its first calls
        found = _of_fused(model, fused, "cuda")
        for name, value in expected.items():
            assert (found[name] - value).abs().max() <= 1e-10 * value.abs().max(), name


def test_maces_calculator_of_a_fused_model(fused: Any) -> None:
    from mace.calculators import MACECalculator

    found, expected = (
        MACECalculator(models=copy.deepcopy(fused), device=d, default_dtype="float64")
        for d in ("cuda", "cpu")
    )
    for atoms in _structures():
        _assert_same(_properties(found, atoms), _properties(expected, atoms), 1e-10)


def test_any_calculator_with_dispersion(fused: Any) -> None:
    from mace.calculators import MACECalculator

    base = MACECalculator(models=copy.deepcopy(fused.model), device="cuda", default_dtype="float64")
    found = with_dispersion(base, "pbe", device="cuda", **RANGE)
    expected = MACECalculator(models=copy.deepcopy(fused), device="cpu", default_dtype="float64")
    for atoms in _structures():
        _assert_same(_properties(found, atoms), _properties(expected, atoms), 1e-10)


# ---- the module ----


def _model(**settings: Any) -> D3BJ:
    return D3BJ(["Na", "Cl", "O"], "pbe", **RANGE, **settings)


def _crystal() -> tuple[Tensor, Tensor, Tensor]:
    atoms = _structures()[0]
    cell = torch.tensor(atoms.cell.array)
    return torch.tensor(atoms.positions), cell, torch.tensor(atoms.numbers)


class Energy(torch.nn.Module):
    """Of a crystal, as a host holds the module."""

    def __init__(self, d3: D3BJ) -> None:
        super().__init__()
        self.d3 = d3

    def forward(self, x: Tensor, cell: Tensor, species: Tensor) -> Tensor:
        return self.d3.lattice(self.d3.systems(x, species, cell))


def _forces(module: Any, device: str) -> tuple[Tensor, Tensor]:
    x, cell, numbers = (t.to(device) for t in _crystal())
    species = _model().to(device).species(numbers)
    leaf = x.clone().requires_grad_()
    energy = module(leaf, cell, species)
    return energy.detach().cpu(), torch.autograd.grad(energy.sum(), leaf)[0].cpu()


@pytest.mark.parametrize("how", ["eager", "script", "compile", "inductor", "export"])
def test_the_module(how: str) -> None:
    expected = _forces(Energy(_model()), "cpu")
    module = Energy(_model()).cuda()
    if how == "script":
        module = torch.jit.script(module)
    elif how == "compile":
        module = torch.compile(module, fullgraph=True, backend="aot_eager")
    elif how == "inductor":
        module = torch.compile(module, fullgraph=True)
    elif how == "export":
        x, cell, numbers = (t.cuda() for t in _crystal())
        given, file = (x, cell, module.d3.species(numbers)), io.BytesIO()
        torch.export.save(torch.export.export(module, given), file)
        file.seek(0)
        module = torch.export.load(file).module()
    for a, b in zip(_forces(module, "cuda"), expected, strict=True):
        assert (a - b).abs().max() <= 1e-11 * b.abs().max()


@pytest.mark.xfail(run=False, reason="any package crashed where g++ links libstdc++ statically")
def test_a_packaged_module_of_aotinductor(tmp_path: Path) -> None:
    x, cell, numbers = (t.cuda() for t in _crystal())
    module = Energy(_model()).cuda()
    given = (x, cell, module.d3.species(numbers))
    with torch.no_grad():
        program = torch.export.export(module, given)
        file = str(tmp_path / "d3.pt2")
        torch._inductor.aoti_compile_and_package(program, package_path=file)
        found = torch._inductor.aoti_load_package(file)(*given)
    assert torch.allclose(found, module(*given), rtol=1e-12)


def test_parameters_learn_as_on_the_cpu() -> None:
    """Also through forces: second derivatives."""
    found = []
    for device in ("cuda", "cpu"):
        model = _model(learnable=True).to(device)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        x, cell, numbers = (t.to(device) for t in _crystal())
        for _ in range(5):
            leaf = x.clone().requires_grad_()
            energy = Energy(model)(leaf, cell, model.species(numbers)).sum()
            forces = torch.autograd.grad(energy, leaf, create_graph=True)[0]
            loss = (energy + 1.0) ** 2 + forces.square().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        found.append(torch.cat([p.detach().cpu().reshape(-1) for p in model.parameters()]))
    torch.testing.assert_close(*found, rtol=1e-8, atol=1e-10)


# ---- the device ----


def test_results_repeat_to_the_last_bit_on_any_stream() -> None:
    module = Energy(_model(dtype=torch.float32)).cuda()
    x, cell, numbers = (t.cuda() for t in _crystal())
    given = (x.float(), cell.float(), module.d3.species(numbers))
    first = module(*given)
    streams = [torch.cuda.Stream() for _ in range(4)]
    torch.cuda.synchronize()
    found = []
    for _ in range(20):
        for stream in streams:
            with torch.cuda.stream(stream):
                found.append(module(*given))
    torch.cuda.synchronize()
    assert all(torch.equal(first, energy) for energy in found)


def test_no_memory_is_kept() -> None:
    calculator = D3Calculator("pbe", device="cuda", **RANGE)
    atoms = _structures()[0]
    used = []
    for _ in range(5):
        atoms.rattle(0.01)
        calculator.get_property("stress", atoms)
        used.append(torch.cuda.memory_allocated())
    assert len(set(used[1:])) == 1


def test_dynamics_keep_their_energy() -> None:
    """D3 alone, in double precision: NVE over 200 steps."""
    from ase import units
    from ase.calculators.emt import EMT
    from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
    from ase.md.verlet import VelocityVerlet

    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    atoms.calc = with_dispersion(EMT(), "pbe", device="cuda", width=1.0, **RANGE)
    MaxwellBoltzmannDistribution(atoms, temperature_K=300, rng=np.random.default_rng(1))
    before = atoms.get_total_energy()
    VelocityVerlet(atoms, 1 * units.fs).run(200)
    assert abs(atoms.get_total_energy() - before) < 1e-3 * len(atoms)


def test_tensors_of_two_devices_are_refused_in_a_sentence() -> None:
    module = Energy(_model())
    x, cell, numbers = _crystal()
    with pytest.raises((RuntimeError, ValueError), match="expected"):
        module(x.cuda(), cell.cuda(), module.d3.species(numbers))

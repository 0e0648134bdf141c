"""MACE with D3 inside: the sum of both in every output, wherever a MACE model goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

pytest.importorskip("mace", reason="needs mace-torch: pip install mace-torch")

import mace_models as models
from mace.calculators import MACECalculator
from mace_models import EVERYTHING, RANGE, dispersion, one_sentence, some

from d3torch.cli import main
from d3torch.integrations.mace import MACED3, torchscript

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning"),
    pytest.mark.usefixtures("one_thread"),
]
one_thread = models.one_thread

KINDS = pytest.mark.parametrize("kind", ["ScaleShiftMACE", "MACE"])
BATCHES = {**{name: [name] for name in models.STRUCTURES}, "batch": [*models.STRUCTURES]}


@pytest.fixture(scope="module")
def model() -> Any:
    return models.build()


@pytest.fixture(scope="module")
def fused(model: Any) -> MACED3:
    return MACED3(model, "pbe", **RANGE)


# ---- the sum ----


@KINDS
@pytest.mark.parametrize("names", BATCHES.values(), ids=BATCHES)
def test_fused_is_mace_plus_dispersion(kind: str, names: list[str]) -> None:
    model, structures = models.build(kind), some(*names)
    data = models.batch(model, structures)
    volume = torch.linalg.det(data["cell"].view(-1, 3, 3)).abs().view(-1, 1, 1)
    parts = [dispersion(atoms) for atoms in structures]
    before = model(models.batch(model, structures), **EVERYTHING)
    after = MACED3(model, "pbe", **RANGE)(data, **EVERYTHING)
    virial = torch.stack([part.virial for part in parts])
    virial = 0.5 * (virial + virial.transpose(1, 2))
    expected = {
        "energy": torch.stack([part.energy for part in parts]),
        "node_energy": torch.cat([part.energies for part in parts]),
        "forces": torch.cat([part.forces for part in parts]),
        "virials": -virial,
        "stress": virial / volume,
    }
    for name, value in expected.items():
        assert float((after[name] - before[name] - value).abs().max()) < 1e-10, name
    assert set(before) < set(after)
    for name in ("energy", "forces", "virials"):
        assert float((after[f"dispersion_{name}"] - expected[name]).abs().max()) < 1e-10
    if kind == "MACE":
        assert torch.allclose(after["contributions"].sum(dim=-1), after["energy"])
    else:
        assert torch.allclose(
            after["interaction_energy"] - before["interaction_energy"], expected["energy"]
        )


def test_batch_is_what_its_structures_are(fused: MACED3) -> None:
    structures = some(*models.STRUCTURES)
    together = fused(models.batch(fused, structures), **EVERYTHING)
    for b, atoms in enumerate(structures):
        alone = fused(models.batch(fused, [atoms]), **EVERYTHING)
        for name in ("energy", "virials", "stress", "dispersion_energy"):
            torch.testing.assert_close(together[name][b], alone[name][0], rtol=0, atol=1e-10)


def test_stress_is_the_derivative_of_the_energy(fused: MACED3) -> None:
    atoms = models.crystal()
    atoms.calc = MACECalculator(models=fused, default_dtype="float64")
    stress = atoms.get_stress(voigt=False)
    h = 1e-4
    for i, j in ((0, 0), (1, 2), (0, 2)):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[i, j] += 0.5 * sign * h
            strain[j, i] += 0.5 * sign * h
            moved = atoms.copy()
            moved.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            moved.calc = atoms.calc
            energies.append(moved.get_potential_energy())
        slope = (energies[0] - energies[1]) / (2 * h * atoms.get_volume())
        assert stress[i, j] == pytest.approx(slope, abs=1e-7)


@pytest.mark.parametrize("scripted", [False, True], ids=["eager", "scripted"])
def test_a_displacement_in_the_data_strains_both_parts(fused: MACED3, scripted: bool) -> None:
    """All derivatives are those of the strained structure; without virials, MACE reads none."""
    structures = some("crystal", "molecule")
    host = torchscript(fused) if scripted else fused

    def run(change: float = 0.0, **asked: bool) -> dict[str, torch.Tensor]:
        data = models.batch(fused, structures)
        strain = torch.tensor([[0.03, 0.01, 0.0], [0.01, -0.02, 0.0], [0.0, 0.0, 0.04 + change]])
        data["displacement"] = strain.double().expand(2, 3, 3).clone().requires_grad_()
        found: dict[str, torch.Tensor] = host(data, **asked)
        return found

    h = 1e-4  # CN ends hard: shorter steps see that
    whole = run(**EVERYTHING)
    up, down = (run(x, compute_force=False, compute_displacement=True) for x in (h, -h))
    for energy, virials in (("energy", "virials"), ("dispersion_energy", "dispersion_virials")):
        slope = (up[energy] - down[energy]) / (2 * h)
        torch.testing.assert_close(-slope, whole[virials][:, 2, 2], rtol=0, atol=1e-5)
        middle = 0.5 * (up[energy] + down[energy])
        torch.testing.assert_close(whole[energy], middle, rtol=1e-6, atol=0)
    plain = fused(models.batch(fused, structures))
    torch.testing.assert_close(run()["dispersion_energy"], plain["dispersion_energy"])
    assert [whole[k].requires_grad for k in ("dispersion_energy", "forces", "virials")] == [
        plain[k].requires_grad for k in ("dispersion_energy", "forces", "forces")
    ]
    assert (whole["dispersion_energy"] - plain["dispersion_energy"]).abs().min() > 1e-4


def test_a_displacement_and_a_hessian_are_refused(fused: MACED3) -> None:
    data = models.batch(fused, some("molecule"))
    data["displacement"] = torch.eye(3, dtype=torch.float64)[None] * 0.01
    with pytest.raises(ValueError, match="expected a Hessian without a displacement in the data"):
        fused(data, compute_hessian=True, compute_stress=True)
    data = models.batch(fused, some("molecule"))
    data["displacement"] = torch.zeros(1, 3, 3, dtype=torch.float64, requires_grad=True)
    assert fused(data, compute_hessian=True, compute_stress=True)["hessian"].any()


def test_energy_without_forces_can_be_differentiated(fused: MACED3) -> None:
    structures = some("crystal", "molecule")
    expected = fused(models.batch(fused, structures), **EVERYTHING)
    data = models.batch(fused, structures)
    positions = data["positions"]
    out = fused(data, compute_force=False, compute_displacement=True)
    by_x, by_strain = torch.autograd.grad(out["energy"].sum(), [positions, out["displacement"]])
    assert out["forces"] is None
    torch.testing.assert_close(-by_x, expected["forces"], rtol=0, atol=1e-10)
    torch.testing.assert_close(-by_strain, expected["virials"], rtol=0, atol=1e-10)


def test_hessian_is_the_derivative_of_the_forces(fused: MACED3) -> None:
    atoms = models.molecule()[:4]
    calculator = MACECalculator(models=fused, default_dtype="float64")
    hessian = calculator.get_hessian(atoms)
    assert hessian.shape == (12, 4, 3)
    h = 1e-4
    for row, (i, a) in ((0, (0, 0)), (7, (2, 1))):
        forces = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[i, a] += sign * h
            moved.calc = calculator
            forces.append(moved.get_forces())
        np.testing.assert_allclose(
            hessian[row], -(forces[0] - forces[1]) / (2 * h), rtol=0, atol=1e-5
        )


# ---- hosts ----


def test_wrapper_answers_for_the_model(model: Any, fused: MACED3) -> None:
    for name in ("r_max", "atomic_numbers", "num_interactions"):
        assert torch.equal(getattr(fused, name), getattr(model, name))
    assert fused.heads == model.heads
    assert fused.products is model.products
    with pytest.raises(AttributeError):
        fused.nothing_of_this_name  # noqa: B018


def test_heads_of_a_model_are_kept() -> None:
    model, atoms = models.build(heads=["one", "two"]), models.crystal()
    fused = MACED3(model, "pbe", **RANGE)
    for head in ("one", "two"):
        plain, sum_of_both = (
            MACECalculator(models=m, default_dtype="float64", head=head) for m in (model, fused)
        )
        difference = sum_of_both.get_property("energy", atoms) - plain.get_property("energy", atoms)
        assert difference == pytest.approx(float(dispersion(atoms).energy), abs=1e-10)


@pytest.mark.parametrize("scripted", [False, True], ids=["eager", "scripted"])
def test_only_chosen_heads_get_dispersion(scripted: bool) -> None:
    model, structures = models.build(heads=["one", "two"]), some("crystal", "molecule")
    fused = MACED3(model, "pbe", **RANGE, d3_heads=["two"])
    run = torchscript(fused) if scripted else fused
    data, plain = (models.batch(model, structures) for _ in range(2))
    data["head"] = plain["head"] = torch.tensor([0, 1])
    before, after = model(plain, **EVERYTHING), run(data, **EVERYTHING)
    part, n = dispersion(structures[1]), len(structures[0])
    for name in ("energy", "forces", "virials", "node_energy"):
        first = n if name in ("forces", "node_energy") else 1
        assert torch.equal(after[name][:first], before[name][:first])
    added = (after["forces"] - before["forces"])[n:]
    torch.testing.assert_close(added, part.forces, rtol=0, atol=1e-10)
    assert after["dispersion_energy"].tolist() == pytest.approx(
        [0.0, float(part.energy)], abs=1e-10
    )


def test_hessian_of_a_head_without_dispersion_is_that_of_mace() -> None:
    model, atoms = models.build(heads=["one", "two"]), models.molecule()[:3]
    fused = MACED3(model, "pbe", **RANGE, d3_heads=["two"])
    for head in ("one", "two"):
        plain, sum_of_both = (
            MACECalculator(models=m, default_dtype="float64", head=head).get_hessian(atoms)
            for m in (model, fused)
        )
        assert np.array_equal(plain, sum_of_both) == (head == "one")


def test_command_puts_dispersion_into_chosen_heads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, made, atoms = tmp_path / "a.model", tmp_path / "b.model", models.molecule()
    torch.save(models.build(heads=["omol", "omat_pbe"]), file)
    assert main(["fuse", str(file), "-o", str(made), "--heads", "omat_pbe"]) == 0
    told = capsys.readouterr().err  # nothing of omol, which contains dispersion
    assert told.startswith("d3torch: D3(BJ) of pbe, since no --xc was given: cutoff 31.75 A")
    assert told.count("\n") == 1
    assert main(["inspect", str(made), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["d3_heads"] == "omat_pbe"
    for head in ("omol", "omat_pbe"):
        before, after = (
            MACECalculator(model_paths=str(f), default_dtype="float64", head=head)
            for f in (file, made)
        )
        added = after.get_property("energy", atoms) - before.get_property("energy", atoms)
        assert (added == 0) == (head == "omol")
    assert main(["fuse", str(file), "-o", str(made), "--heads", "pbe", "--overwrite"]) == 1
    assert "expected d3_heads among omol, omat_pbe" in capsys.readouterr().err


# ---- training ----


def test_frozen_dispersion_adds_constants_to_a_loss() -> None:
    """Gradients of the weights are those of MACE alone on labels without dispersion."""
    model, structures = models.build(), some("crystal", "molecule")
    fused = MACED3(model, "pbe", **RANGE)
    parts = [dispersion(atoms) for atoms in structures]
    energy = torch.stack([part.energy for part in parts])
    forces = torch.cat([part.forces for part in parts])
    gradients = []
    for m, e, f in ((fused, energy, forces), (model, 0.0, 0.0)):
        out = m(models.batch(m, structures), training=True)
        loss = ((out["energy"] - e - 1.0) ** 2).sum() + ((out["forces"] - f) ** 2).sum()
        gradients.append(torch.autograd.grad(loss, [*model.parameters()], allow_unused=True))
    for a, b in zip(*gradients, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_learnable_damping_learns_from_forces_and_stress() -> None:
    structures = some("crystal", "molecule")
    model = models.build()

    def loss(a1: float) -> tuple[MACED3, Any]:
        damping = {"s6": 1.0, "s8": 0.7875, "a1": a1, "a2": 4.4407}
        fused = MACED3(model, damping=damping, learnable=True, **RANGE)
        out = fused(models.batch(fused, structures), training=True, compute_stress=True)
        return fused, (out["forces"] ** 2).sum() + 1e3 * (out["stress"][0] ** 2).sum()

    fused, value = loss(0.4289)
    value.backward()
    assert sorted(n for n, _ in fused.named_parameters() if n.startswith("dispersion")) == [
        f"dispersion.d3.{name}" for name in ("a1", "a2", "s6", "s8")
    ]
    h = 1e-4
    slope = (loss(0.4289 + h)[1] - loss(0.4289 - h)[1]).item() / (2 * h)
    assert fused.dispersion.d3.a1.grad.item() == pytest.approx(slope, rel=1e-5)


class Sweeps(TorchDispatchMode):
    """The ops that sweep over pairs, in the order of their calls."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, op: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call an op, and remember it."""
        name = op.name().partition("::")[2]
        if name in ("dispersion", "dispersion_shares", "dispersion_evaluate", "dispersion_tangent"):
            self.seen.append(name)
        return op(*args, **(kwargs or {}))


def test_training_sweeps_once_forward_and_once_back() -> None:
    """And gives the energies of atoms that a model without graph gives, to the last bit."""
    structures = some("crystal", "molecule")
    fused = MACED3(models.build(), "pbe", learnable=True, **RANGE)
    batch = models.batch(fused, structures)
    numbers = fused(dict(batch), compute_virials=True)["node_energy"].detach()
    with Sweeps() as sweeps:
        out = fused(dict(batch), training=True, compute_virials=True)
        assert sweeps.seen == ["dispersion_evaluate"]
        (out["forces"] ** 2).sum().backward()
    assert sweeps.seen == ["dispersion_evaluate", "dispersion_tangent"]
    assert torch.equal(out["node_energy"], numbers)


# ---- refusals ----


def test_what_is_no_mace_model_is_refused(fused: MACED3) -> None:
    with pytest.raises(TypeError, match="got Linear") as caught:
        MACED3(torch.nn.Linear(1, 1))
    one_sentence(caught)
    with pytest.raises(ValueError, match="has D3") as caught:
        MACED3(fused)
    one_sentence(caught)


@pytest.mark.parametrize(("heads", "error"), [("two", TypeError), (["2"], ValueError)])
def test_heads_that_the_model_lacks_are_refused(heads: Any, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        MACED3(models.build(heads=["one", "two"]), d3_heads=heads)
    one_sentence(caught)


def test_elements_without_data_are_refused() -> None:
    with pytest.raises(ValueError, match="got Am") as caught:
        MACED3(models.build(numbers=(1, 95)), "pbe", reference="2010")
    one_sentence(caught)


def test_data_without_pbc_are_refused(fused: MACED3) -> None:
    data = models.batch(fused, [models.crystal()])
    del data["pbc"]
    with pytest.raises(ValueError, match="pbc") as caught:
        fused(data)
    one_sentence(caught)


@pytest.mark.parametrize("name", ["compute_edge_forces", "compute_atomic_stresses", "lammps_mliap"])
def test_outputs_without_dispersion_are_refused(name: str, fused: MACED3) -> None:
    with pytest.raises(ValueError, match="expected no edge forces") as caught:
        fused(models.batch(fused, [models.crystal()]), **{name: True})
    one_sentence(caught)


def test_a_cell_without_pbc_does_not_count(fused: MACED3) -> None:
    boxed = models.molecule()
    boxed.set_cell([9.0, 9.0, 9.0])
    a, b = (fused(models.batch(fused, [x])) for x in (boxed, models.molecule()))
    assert torch.equal(a["dispersion_energy"], b["dispersion_energy"])

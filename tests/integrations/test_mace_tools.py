"""A fused model under MACE's own tools: each works, or says in a sentence what to do first."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("mace", reason="needs mace-torch: pip install mace-torch")

import ase.io
import mace_models as models
from mace.calculators import LAMMPS_MACE, MACECalculator
from mace.cli import eval_configs
from mace.tools.scripts_utils import extract_model, remove_pt_head
from mace_models import EVERYTHING, RANGE, one_sentence, some

from d3torch.cli import main
from d3torch.integrations.mace import MACED3

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning"),
    pytest.mark.usefixtures("one_thread", "default_dtype"),
]
one_thread = models.one_thread


@pytest.fixture
def default_dtype() -> Any:
    """MACE's tools set that of torch, and leave it so."""
    before = torch.get_default_dtype()
    yield
    torch.set_default_dtype(before)


@pytest.fixture(scope="module")
def fused() -> MACED3:
    return MACED3(models.build(use_reduced_cg=True), "pbe", **RANGE)


def _assert_same(a: MACED3, b: MACED3, head: str = "Default") -> None:
    """Whether both give the same for a crystal and a molecule."""
    one, other = (
        model(models.batch(model, some("crystal", "molecule"), head), **EVERYTHING)
        for model in (a, b)
    )
    assert float(one["dispersion_energy"].abs().min()) > 0.01
    for name in ("energy", "forces", "virials", "stress", "dispersion_energy"):
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=1e-12)


# ---- tools that make a model anew from its class ----


def test_one_head_is_cut_from_the_model_inside() -> None:
    several = MACED3(models.build(heads=["a", "b"]), "pbe", d3_heads=["b"], **RANGE)
    cut = several.around(lambda model: remove_pt_head(model, "b"))
    assert (cut.heads, cut.d3_heads, cut.settings) == (["b"], ["b"], several.settings)
    assert cut.dispersion.d3 is not several.dispersion.d3
    _assert_same(several, cut, "b")
    with pytest.raises(ValueError, match="expected d3_heads among a"):
        several.around(lambda model: remove_pt_head(model, "a"))


def test_the_model_inside_is_made_anew_in_another_precision(fused: MACED3) -> None:
    single = fused.around(lambda model: extract_model(model).float())
    assert single.dispersion.d3.rcov.dtype == torch.float32
    atoms = models.crystal()
    expected = fused(models.batch(fused, [atoms]))["energy"]
    torch.testing.assert_close(single(models.batch(single, [atoms]))["energy"], expected.float())


def test_cuequivariance_and_back(fused: MACED3, tmp_path: Path) -> None:
    pytest.importorskip("cuequivariance_torch", reason="needs cuequivariance-torch")
    from mace.cli.convert_cueq_e3nn import run as to_e3nn
    from mace.cli.convert_e3nn_cueq import run as to_cueq

    converted = fused.around(to_cueq)
    assert any("cuequivariance" in type(m).__module__ for m in converted.modules())
    _assert_same(converted, fused)
    torch.save(converted, tmp_path / "cueq.model")
    _assert_same(torch.load(tmp_path / "cueq.model", weights_only=False), fused)
    _assert_same(converted.around(to_e3nn), fused)


def test_a_fused_model_is_not_made_anew_from_its_class(fused: MACED3) -> None:
    with pytest.raises(TypeError) as caught:
        extract_model(fused)  # as compile_mode and the converter to OpenEquivariance do
    assert "unfuse" in one_sentence(caught)


# ---- the model inside, as a file ----


def test_unfuse_gives_the_model_back_and_fuse_the_same_d3(fused: MACED3, tmp_path: Path) -> None:
    files = [str(tmp_path / name) for name in ("fused.model", "plain.model", "again.model")]
    torch.save(fused, files[0])
    assert main(["unfuse", files[0], "-o", files[1]]) == 0
    plain = torch.load(files[1], weights_only=False)
    assert type(plain).__name__ == "ScaleShiftMACE"
    assert all(map(torch.equal, plain.parameters(), fused.model.parameters()))
    assert main(["fuse", files[1], "-o", files[2], "--settings-of", files[0]]) == 0
    _assert_same(torch.load(files[2], weights_only=False), fused)


def test_unfuse_refuses_what_is_not_fused_and_files_that_are_there(
    fused: MACED3, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, output = tmp_path / "plain.model", tmp_path / "output.model"
    torch.save(fused.model, plain)
    assert main(["unfuse", str(plain), "-o", str(output)]) == 1
    assert "expected a file of d3torch fuse, got a ScaleShiftMACE" in capsys.readouterr().err
    assert not output.exists()
    assert main(["unfuse", str(plain), "-o", str(plain)]) == 1
    assert "plain.model" in capsys.readouterr().err


# ---- tools that run a model ----


def test_a_committee_of_fused_models(fused: MACED3) -> None:
    shifted = MACED3(models.build(use_reduced_cg=True), "revpbe", **RANGE)
    atoms = models.crystal()
    energies = []
    for model in (fused, shifted):
        atoms.calc = MACECalculator(models=model, default_dtype="float64")
        energies.append(atoms.get_potential_energy())
    atoms.calc = MACECalculator(models=[fused, shifted], default_dtype="float64")
    assert atoms.get_potential_energy() == pytest.approx(np.mean(energies), abs=1e-12)
    np.testing.assert_allclose(atoms.calc.results["energy_comm"], energies, rtol=0, atol=1e-12)
    assert abs(energies[0] - energies[1]) > 0.01


def test_eval_configs_writes_the_sum(fused: MACED3, tmp_path: Path) -> None:
    structures = [models.crystal(), models.rattled(models.crystal(), 5)]  # MACE wants one size
    ase.io.write(tmp_path / "in.xyz", structures)
    torch.save(fused, tmp_path / "fused.model")
    given = dict.fromkeys(("enable_cueq", "compute_bec", "return_contributions"), False)
    eval_configs.run(
        Namespace(
            **given,
            configs=str(tmp_path / "in.xyz"),
            model=str(tmp_path / "fused.model"),
            output=str(tmp_path / "out.xyz"),
            device="cpu",
            default_dtype="float64",
            batch_size=2,
            compute_stress=True,
            return_descriptors=True,
            descriptor_num_layers=-1,
            descriptor_aggregation_method=None,
            descriptor_invariants_only=True,
            return_node_energies=True,
            info_prefix="MACE_",
            head=None,
        )
    )
    calculator = MACECalculator(models=fused, default_dtype="float64")
    for atoms, found in zip(structures, ase.io.read(tmp_path / "out.xyz", ":"), strict=True):
        atoms.calc = calculator
        energy = atoms.get_potential_energy()
        assert found.info["MACE_energy"] == pytest.approx(energy, abs=1e-6)
        assert found.arrays["MACE_node_energies"].sum() == pytest.approx(energy, abs=1e-6)
        forces = atoms.get_forces()
        np.testing.assert_allclose(found.arrays["MACE_forces"], forces, rtol=0, atol=1e-7)


def test_mace_own_exporter_for_lammps_points_to_ours(fused: MACED3) -> None:
    data = models.batch(fused, [models.crystal()])
    del data["pbc"]  # which those hosts do not give
    with pytest.raises(ValueError, match="d3torch lammps") as caught:
        LAMMPS_MACE(fused)(data, torch.ones(8, dtype=torch.float64))
    one_sentence(caught)
    with pytest.raises(ValueError, match="d3torch lammps") as caught:
        fused(models.batch(fused, [models.crystal()]), lammps_mliap=True)
    one_sentence(caught)


@pytest.mark.parametrize("virials", [False, True])
def test_no_derivative_of_node_energies_leaves_dispersion_out(fused: MACED3, virials: bool) -> None:
    """MACE's exporter differentiates the energies of atoms; that of all has a derivative."""
    data = models.batch(fused, [models.crystal()])
    with pytest.raises(RuntimeError, match=r"one of node_energy, .* d3torch lammps") as caught:
        LAMMPS_MACE(fused)(data, torch.ones(8, dtype=torch.float64), virials)
    one_sentence(caught)
    data = models.batch(fused, [models.crystal()])
    energy = fused(data, compute_force=False)["energy"].sum()
    (slope,) = torch.autograd.grad(energy, data["positions"])
    forces = fused(models.batch(fused, [models.crystal()]))["forces"]
    torch.testing.assert_close(-slope, forces, rtol=0, atol=1e-10)

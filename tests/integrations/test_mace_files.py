"""Files of MACE models with D3 inside: written, read by others, scripted, compiled, inspected."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from importing import importing_from

pytest.importorskip("mace", reason="needs mace-torch: pip install mace-torch")

import mace_models as models
import oracle
from mace.calculators import MACECalculator, mace_mp
from mace_models import EVERYTHING, RANGE, deviations, dispersion, one_sentence, some

from d3torch import DispersionWarning
from d3torch.cli import main
from d3torch.integrations.mace import MACED3, has_dispersion, mace_mp_d3, torchscript
from d3torch.units import BOHR

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning"),
    pytest.mark.usefixtures("one_thread"),
]
one_thread = models.one_thread


@pytest.fixture(scope="module")
def model() -> Any:
    return models.build()


@pytest.fixture(scope="module")
def fused(model: Any) -> MACED3:
    return MACED3(model, "pbe", **RANGE)


@pytest.fixture(scope="module")
def files(model: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files of the model, and of what the command makes of it."""
    folder = tmp_path_factory.mktemp("models")
    names = ("plain.model", "fused.model", "single.model", "script.pt")
    plain, made, single, script = (str(folder / name) for name in names)
    torch.save(model, plain)
    reach = ["--cutoff", "11", "--cn-cutoff", "8", "--width", "2"]
    assert main(["fuse", plain, "-o", made, *reach]) == 0
    assert main(["fuse", plain, "-o", single, "--dtype", "float32", *reach]) == 0
    assert main(["fuse", plain, "-o", script, "--torchscript", *reach]) == 0
    return {"plain": plain, "fused": made, "single": single, "script": script}


def test_calculator_loads_the_file_unpatched(model: Any, files: dict[str, str]) -> None:
    atoms = models.crystal()
    plain = MACECalculator(models=model, default_dtype="float64")
    calculator = MACECalculator(model_paths=files["fused"], default_dtype="float64")
    part = dispersion(atoms)
    for name, value in (
        ("energy", part.energy),
        ("energies", part.energies),
        ("forces", part.forces),
    ):
        sum_of_both = plain.get_property(name, atoms) + value.numpy()
        np.testing.assert_allclose(
            calculator.get_property(name, atoms), sum_of_both, rtol=0, atol=1e-10
        )
    assert np.array_equal(calculator.get_descriptors(atoms), plain.get_descriptors(atoms))


def test_single_precision(files: dict[str, str]) -> None:
    atoms = models.crystal()
    one, two = (
        MACECalculator(model_paths=files[name], default_dtype=dtype)
        for name, dtype in (("fused", "float64"), ("single", "float32"))
    )
    energies = [calc.get_property("energy", atoms) for calc in (one, two)]
    forces = [calc.get_property("forces", atoms) for calc in (one, two)]
    assert energies[1] == pytest.approx(energies[0], rel=1e-6)
    assert forces[1].dtype == np.float32
    np.testing.assert_allclose(forces[1], forces[0], rtol=0, atol=1e-5)


# ---- TorchScript and torch.compile ----


FRESH = """
import sys
import torch, d3torch
model = torch.jit.load(sys.argv[1])
data = torch.load(sys.argv[2], weights_only=True)
for _ in range(3):
    out = model(dict(data), compute_virials=True, compute_stress=True)
torch.save({k: v.detach() for k, v in out.items() if v is not None}, sys.argv[3])
print("mace" in sys.modules, model.heads, float(model.r_max))
"""


def test_scripted_in_a_fresh_process(files: dict[str, str], fused: MACED3, tmp_path: Path) -> None:
    data = models.batch(fused, some(*models.STRUCTURES))
    tensors = {k: v for k, v in data.items() if torch.is_tensor(v)}
    torch.save(tensors, tmp_path / "data.pt")
    names = [files["script"], str(tmp_path / "data.pt"), str(tmp_path / "out.pt")]
    command = [sys.executable, "-W", "ignore", "-c", FRESH, *names]
    env = {k: v for k, v in os.environ.items() if k != "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"}
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "False ['Default'] 3.5"
    found = torch.load(tmp_path / "out.pt", weights_only=True)
    found_at = deviations(fused(data, **EVERYTHING), found)
    assert {"energy", "node_energy", "forces", "stress", "virials"} < set(found_at)
    assert max(found_at.values()) < 1e-10


@pytest.mark.parametrize(("kind", "learnable"), [("ScaleShiftMACE", True), ("MACE", False)])
def test_scripted_is_fused(kind: str, learnable: bool) -> None:
    fused = MACED3(models.build(kind), "pbe", learnable=learnable, **RANGE)
    scripted = torchscript(fused)
    structures = some("crystal", "molecule")
    for _ in range(3):  # TorchScript optimises between its first calls
        a, b = (
            m(models.batch(fused, structures), training=learnable, **EVERYTHING)
            for m in (fused, scripted)
        )
        assert max(deviations(a, b).values()) < 1e-10


COMPILED = """
import mace_models as models
import torch
from mace.tools.compile import prepare
from mace.tools.scripts_utils import extract_model
from d3torch.integrations.mace import MACED3
torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
model, atoms = models.build(), models.crystal()
fused = MACED3(model, "pbe", cutoff=11.0, cn_cutoff=8.0)
inner = prepare(extract_model)(model=model)
compiled = torch.compile(
    MACED3(inner, "pbe", cutoff=11.0, cn_cutoff=8.0), backend="aot_eager", fullgraph=True
)
data = models.batch(model, [atoms])
data["positions"].requires_grad_()
found = compiled(data, training=True, compute_stress=True)
expected = fused(models.batch(model, [atoms]), compute_stress=True)
names = ("energy", "forces", "stress")
print(max(float((found[k] - expected[k]).abs().max()) for k in names) < 1e-10)
"""


def test_compiled_is_fused() -> None:
    """In a process of its own: MACE changes the settings of torch.compile."""
    command = [sys.executable, "-W", "ignore", "-c", COMPILED]
    env = importing_from(Path(models.__file__).parent)
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert run.stdout.strip().endswith("True"), run.stderr


# ---- the drop-in ----


DAMPINGS = ["bj", "bjm", "zero", "zerom"]
TRIPLES = {"abc": True, "cnthr": 9.0}


@pytest.mark.parametrize("more", [{}, TRIPLES], ids=["pairs", "triples"])
@pytest.mark.parametrize("damping", DAMPINGS)
def test_drop_in_equals_mace_mp_with_dispersion(
    damping: str, more: dict[str, Any], files: dict[str, str]
) -> None:
    """But for torch-dftd's forces of triples in crystals, which are no derivative of its energy."""
    pytest.importorskip("torch_dftd")
    given = {"device": "cpu", "default_dtype": "float64", "damping": damping, **more}
    for atoms in (models.crystal(), models.molecule()):
        ours = mace_mp_d3(files["plain"], **given)
        theirs = mace_mp(files["plain"], **given, dispersion=True)
        energies = [calc.get_property("energy", atoms) for calc in (ours, theirs)]
        assert energies[0] == pytest.approx(energies[1], abs=1e-6 * len(atoms))
        if more and atoms.pbc.any():
            continue
        forces = [calc.get_property("forces", atoms) for calc in (ours, theirs)]
        np.testing.assert_allclose(forces[0], forces[1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("more", [{}, TRIPLES], ids=["pairs", "triples"])
@pytest.mark.parametrize("damping", DAMPINGS)
def test_damping_of_the_drop_in_is_that_of_the_oracle(
    damping: str, more: dict[str, Any], files: dict[str, str]
) -> None:
    given = {"device": "cpu", "default_dtype": "float64"}
    calc, plain = mace_mp_d3(files["plain"], damping=damping, **more, **given), files["plain"]
    bare = mace_mp_d3(plain, dispersion=False, **given)
    for atoms in (models.crystal(), models.molecule()):
        where = (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
        near = more.get("cnthr", 40 * BOHR)
        reach = {"cutoff": 40 * BOHR, "cn_cutoff": near, "atm_cutoff": near * bool(more)}
        expected = oracle.dispersion(*where, **reach, variant=damping)
        added = calc.get_property("energy", atoms) - bare.get_property("energy", atoms)
        assert added == pytest.approx(expected.energy, abs=1e-10)
        forces = calc.get_property("forces", atoms) - bare.get_property("forces", atoms)
        np.testing.assert_allclose(forces, expected.forces, rtol=0, atol=1e-10)


def test_drop_in_warns_of_another_functional_than_the_models(tmp_path: Path) -> None:
    file = str(tmp_path / "MACE-matpes-r2scan-omat-ft.model")
    torch.save(models.build(), file)
    with pytest.warns(DispersionWarning, match="expected xc r2scan, on which MACE-matpes-r2scan"):
        mace_mp_d3(file, "cpu", "float64", return_raw_model=True)
    twice = str(tmp_path / "MACE-OFF23_small.model")
    torch.save(models.build(), twice)
    with pytest.raises(ValueError, match=r"^expected a model without dispersion, got MACE-OFF"):
        mace_mp_d3(twice, "cpu", "float64", return_raw_model=True)


def test_drop_in_takes_the_arguments_of_mace_mp(files: dict[str, str]) -> None:
    raw = mace_mp_d3(model=files["plain"], device="cpu", return_raw_model=True, cnthr=9.0)
    assert isinstance(raw, MACED3)
    assert raw.dispersion.d3.rcov.dtype == torch.float32
    assert raw.dispersion.d3.cn_cutoff == 9.0
    assert raw.dispersion.d3.cutoff == pytest.approx(21.167, abs=1e-3)
    plain = mace_mp_d3(files["plain"], "cpu", "float64", dispersion=False)
    assert not has_dispersion(plain.models[0])


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"dispersion": "False"}, TypeError),
        ({"damping": "d4"}, ValueError),
        ({"damping": "zerom", "dispersion_xc": "scan"}, ValueError),
        ({"default_dtype": "float16"}, ValueError),
        ({"dispersion_xc": "unheard of"}, ValueError),
        ({"abc": "yes"}, TypeError),
        ({"old": True}, ValueError),
    ],
    ids=str,
)
def test_drop_in_refuses(
    change: dict[str, Any], error: type[Exception], files: dict[str, str]
) -> None:
    with pytest.raises(error) as caught:
        mace_mp_d3(files["plain"], device="cpu", **change)
    one_sentence(caught)


# ---- commands ----


def _run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = main(argv)
    return (code, *capsys.readouterr())


@pytest.mark.parametrize("kind", ["fused", "script"])
def test_settings_travel_in_the_file(
    kind: str, files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = _run(capsys, "inspect", files[kind], "--json")
    about = json.loads(out)
    assert code == 0
    expected = {"model": "ScaleShiftMACE", "elements": "H C O Na Si", "dispersion": True}
    expected |= {"xc": "pbe", "reference": "2024", "learnable": False, **RANGE}
    assert about["a2"] == pytest.approx(4.4407, rel=1e-14)
    assert {k: about[k] for k in expected} == expected
    assert about["torchscript"] == (kind == "script")
    assert "cn_cutoff" in _run(capsys, "inspect", files[kind])[1]


def test_inspect_of_a_plain_model(
    files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    about = json.loads(_run(capsys, "inspect", files["plain"], "--json")[1])
    assert not about["dispersion"]
    assert about["r_max"] == 3.5


def test_commands_print_nothing_else(files: dict[str, str], tmp_path: Path) -> None:
    """In a process of their own, where importing MACE says a lot."""
    command = [sys.executable, "-m", "d3torch"]
    output = str(tmp_path / "out.pt")
    fuse = [*command, "fuse", files["plain"], "-o", output, "--torchscript", "--xc", "pbe"]
    show = [*command, "inspect", output, "--json"]
    runs = [subprocess.run(c, capture_output=True, text=True, check=True) for c in (fuse, show)]
    assert [run.stderr for run in runs] == ["", ""]
    assert runs[0].stdout == ""
    assert json.loads(runs[1].stdout)["torchscript"]


def test_fuse_refuses(
    files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, weights, linear = (tmp_path / name for name in ("text", "weights", "linear"))
    text.write_text("not a model")
    torch.save({"weights": torch.zeros(1)}, weights)
    torch.save(torch.nn.Linear(1, 1), linear)
    output = tmp_path / "out.model"
    for name in ("fused", "script"):
        assert "has D3" in _refusal(capsys, files[name], output)
    assert "expected a file of a MACE model" in _refusal(capsys, text, output)
    assert "got a dict" in _refusal(capsys, weights, output)
    assert "got Linear" in _refusal(capsys, linear, output)
    assert "does not exist" in _refusal(capsys, tmp_path / "none", output)
    assert "--overwrite" in _refusal(capsys, files["plain"], files["fused"])
    assert "expected a folder" in _refusal(capsys, files["plain"], tmp_path / "no" / "out")
    assert "known functional" in _refusal(capsys, files["plain"], output, "--xc", "nonsense")
    assert not output.exists()
    assert not [*tmp_path.glob(".*")]


def _refusal(capsys: pytest.CaptureFixture[str], file: Any, output: Any, *more: str) -> str:
    code, out, err = _run(capsys, "fuse", str(file), "-o", str(output), *more)
    assert (code, out) == (1, "")
    assert err.startswith("d3torch: expected ")
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    ("file", "head", "xc", "warning"),
    [
        ("a.model", "omol", "pbe --allow-double-counting", "counts it twice"),
        ("MACE-OFF23_small.model", "Default", "pbe --allow-double-counting", "counts it twice"),
        ("mace-mpa-0-medium.model", "Default", "pbe", ""),
        ("MACE-matpes-r2scan-omat-ft.model", "Default", "pbe", "expected xc r2scan"),
        ("MACE-matpes-r2scan-omat-ft.model", "Default", "r2scan", ""),
        ("a.model", "omat_pbe", "pbe", ""),
        ("a.model", "omat_pbe", "pbe --variant zero", ""),
        ("a.model", "omat_pbe", "b3lyp --variant zerom", "expected xc pbe"),
        ("a.model", "matpes_r2scan", "pbe --variant bjm", "expected xc r2scan"),
    ],
)
def test_fuse_warns_of_what_training_data_contain(
    file: str,
    head: str,
    xc: str,
    warning: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    torch.save(models.build(heads=[head]), tmp_path / file)
    fuse = ["fuse", str(tmp_path / file), "-o", str(tmp_path / "out.model"), "--xc", *xc.split()]
    code, _, err = _run(capsys, *fuse)
    assert code == 0
    assert warning in err
    assert err.count("\n") == (1 if warning else 0)


@pytest.mark.parametrize(
    ("file", "head"), [("a.model", "omol"), ("MACE-OFF23_small.model", "Default")]
)
def test_fuse_refuses_a_double_count(
    file: str, head: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(models.build(heads=[head]), tmp_path / file)
    words = _refusal(capsys, tmp_path / file, tmp_path / "out.model")
    assert "--allow-double-counting" in words
    assert not (tmp_path / "out.model").exists()

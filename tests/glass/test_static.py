"""The static route: relaxations with restarts, moduli, vibrations, the whole way, predictions."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms, units
from ase.vibrations import Vibrations

pytest.importorskip("vitrum", reason="needs vitrum: pip install vitrum")

from checkout import checkout
from glass_crystals import analytic_stiffness, argon, lattice_constant, modes

from d3torch.cli import main
from d3torch_glass.elasticity import static_stiffness
from d3torch_glass.files import at_work, read_arrays, write_arrays
from d3torch_glass.protocol import Protocol
from d3torch_glass.relaxing import Tolerance, read_relaxed, relax
from d3torch_glass.report import as_plain
from d3torch_glass.static import (
    StaticJob,
    StaticProtocol,
    _strain,
    _vibrate,
    begin_at,
    initial,
    run_static,
)
from d3torch_glass.static_analysis import analyse_static, compression, describe_vibrations, hill
from d3torch_glass.tables import error_table, shifts

ROOT = checkout()
TIGHT = Tolerance(1e-5, 1e-4)


def _shaken() -> Any:
    """Argon, 2 % too long in each direction, with atoms off their sites."""
    atoms = argon()
    atoms.set_cell(atoms.cell.array * 1.02, scale_atoms=True)
    atoms.positions += 0.05 * np.random.default_rng(0).normal(size=atoms.positions.shape)
    return atoms


class _Killed(Exception):
    pass


def test_a_relaxation_comes_to_the_minimum_and_goes_on_after_a_stop(tmp_path: Path) -> None:
    """Argon comes back to its lattice; stopped twice, to the same bits in as many steps."""
    rest = relax(_shaken(), tmp_path / "whole.npz", TIGHT)
    assert rest.volume == pytest.approx(argon().get_volume(), rel=1e-6)
    assert abs(rest.pressure) < 1e-4
    told = 0

    def tell(steps: int) -> None:
        nonlocal told
        told += steps
        if told in (13, 27):
            raise _Killed

    for _ in range(2):
        with pytest.raises(_Killed):
            relax(_shaken(), tmp_path / "parts.npz", TIGHT, tell=tell)
    again = relax(_shaken(), tmp_path / "parts.npz", TIGHT, tell=tell)
    assert again.steps == rest.steps
    assert told == rest.steps + 3 + 4  # from the checkpoints at 10 and 20, not from the start
    assert np.array_equal(again.positions, rest.positions)
    assert np.array_equal(again.cell, rest.cell)


def test_smaller_forces_are_reached_from_where_larger_ones_ended(tmp_path: Path) -> None:
    """To the same minimum in no more steps; what is there in both folders stays."""
    loose, tight = tmp_path / "loose", tmp_path / "tight"
    at_first = relax(_shaken(), loose / "rest.npz", Tolerance(0.03, 0.02))
    begin_at(tight, loose)
    rest = relax(_shaken(), tight / "rest.npz", TIGHT)
    assert rest.steps > at_first.steps > 0
    assert rest.volume == pytest.approx(argon().get_volume(), rel=1e-6)
    begin_at(tight, loose)
    for folder, kept in ((tight, rest), (loose, at_first)):
        found = read_relaxed(folder / "rest.npz")
        assert found is not None
        assert (found.done, found.steps) == (True, kept.steps)


def test_a_relaxation_that_does_not_end_says_so_and_goes_on_with_more_steps(tmp_path: Path) -> None:
    few = dataclasses.replace(TIGHT, steps=5)
    with pytest.raises(RuntimeError, match="expected a minimum within 5 steps for x, got none"):
        relax(_shaken(), tmp_path / "x.npz", few)
    assert relax(_shaken(), tmp_path / "x.npz", TIGHT).steps > 5


def test_moduli_at_rest_are_the_lattice_sum(tmp_path: Path) -> None:
    """K of argon by relaxed compression, and by C_ij with relaxed atoms: that of the lattice."""
    c11, c12, c44 = analytic_stiffness(lattice_constant())
    bulk = (c11 + 2.0 * c12) / 3.0
    levels = [
        relax(argon(), tmp_path / f"{p}.npz", TIGHT, p) for p in (-0.02, -0.01, 0.0, 0.01, 0.02)
    ]
    assert compression(levels).value == pytest.approx(bulk, rel=0.01)

    def rested(strained: Any) -> None:
        relax(strained, tmp_path / f"{time.monotonic_ns()}.npz", TIGHT, None)

    moduli = hill(static_stiffness(argon(), rested, 2e-3))
    assert moduli.bulk == pytest.approx(bulk, rel=0.01)
    voigt = (c11 - c12 + 3.0 * c44) / 5.0
    reuss = 5.0 * (c11 - c12) * c44 / (4.0 * c44 + 3.0 * (c11 - c12))
    shear = 0.5 * (voigt + reuss)
    assert moduli.youngs == pytest.approx(9 * bulk * shear / (3 * bulk + shear), rel=0.01)
    assert moduli.poisson == pytest.approx(0.5 - moduli.youngs / (6.0 * bulk), rel=0.02)


def test_moduli_of_a_glass_are_those_of_its_invariants() -> None:
    r"""C_ij of no symmetry: :math:`C_{iijj} = 9 K`, :math:`C_{ijij} = 3 K + 10 G`, and of S."""
    random = np.random.default_rng(5).normal(size=(6, 6))
    matrix = 40.0 * np.eye(6) + 3.0 * (random + random.T)
    matrix[:3, :3] += 20.0
    voigt = np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]])
    twice = np.array([1.0, 1.0, 1.0, 2.0, 2.0, 2.0])
    c = matrix[voigt[:, :, None, None], voigt]
    s = (np.linalg.inv(matrix) / np.outer(twice, twice))[voigt[:, :, None, None], voigt]
    (c_k, c_g), (s_k, s_g) = ((np.einsum("iijj", t), np.einsum("ijij", t)) for t in (c, s))
    k = 0.5 * (c_k / 9.0 + 1.0 / s_k)
    g = 0.5 * ((c_g - c_k / 3.0) / 10.0 + 2.5 / (s_g - s_k / 3.0))
    found = hill(matrix)
    assert found.bulk == pytest.approx(k, rel=1e-12)
    assert found.youngs == pytest.approx(9.0 * k * g / (3.0 * k + g), rel=1e-12)
    assert found.poisson == pytest.approx(0.5 - found.youngs / (6.0 * k), rel=1e-12)


def test_atoms_of_a_strained_structure_are_relaxed(tmp_path: Path) -> None:
    r"""With holes in a crystal, :math:`C = C_\text{clamped} - \Lambda^T H^{-1} \Lambda / V`.

    :math:`\Lambda` are the derivatives of forces by strain, :math:`H` is the Hessian.
    """
    atoms = argon()
    del atoms[[1, 2, 3, 9, 14]]
    protocol = StaticProtocol(force=1e-6, strain=2e-4, pressures=(), displacement=0.0)
    job = StaticJob("SiO2", 1, "argon", "none", 36, protocol)
    relax(atoms, tmp_path / "rest.npz", protocol.tolerance, None)
    _strain(job, Atoms(atoms, calculator=atoms.calc), tmp_path, lambda steps, name: None)
    found = read_arrays(tmp_path / "stiffness.npz")["matrix"]
    clamped = static_stiffness(atoms, step=2e-4)
    by_strain = np.zeros((3 * len(atoms), 6))
    for k, (i, j) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
        for sign in (1.0, -1.0):
            strain = np.zeros((3, 3))
            strain[[i, j], [j, i]] = sign * 1e-4 * (1.0 if i == j else 0.5)
            moved = Atoms(atoms, calculator=atoms.calc)
            moved.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
            by_strain[:, k] += sign * moved.get_forces().ravel() / 2e-4
    moved = Vibrations(atoms, name=str(tmp_path / "moved"), delta=1e-3)
    moved.run()
    inverse = np.linalg.pinv(moved.get_vibrations().get_hessian_2d(), rcond=1e-6)
    softer = by_strain.T @ inverse @ by_strain / atoms.get_volume() / units.GPa
    assert softer[3, 3] > 0.05 * clamped[3, 3]
    assert found == pytest.approx(clamped - softer, abs=0.02 * softer[3, 3])


def test_a_start_is_as_much_denser_as_it_says(tmp_path: Path) -> None:
    place = tmp_path / "initial" / "SiO2_108_s1_300_3500_200_10.extxyz"
    place.parent.mkdir()
    atoms = argon(3)
    atoms.symbols[:] = ["Si", "O", "O"] * 36
    ase.io.write(place, Atoms(atoms), format="extxyz")
    for start in (-5.0, 0.0, 5.0):
        job = StaticJob("SiO2", 1, "argon", "none", 36, StaticProtocol(), start)
        denser = atoms.get_volume() / initial(job, tmp_path).get_volume()
        assert denser == pytest.approx(1.0 + start / 100.0, rel=1e-9)


def test_no_stiffness_is_told_of_a_glass_that_changed_under_strain(tmp_path: Path) -> None:
    """Argon, by another name, of which one atom is 0.5 A off in one strained structure."""
    protocol = StaticProtocol(force=0.002, pressures=(0.0,), displacement=0.0)
    job = StaticJob("SiO2", 1, "argon", "none", 36, protocol)
    place = tmp_path / "initial" / "SiO2_108_s1_300_3500_200_10.extxyz"
    place.parent.mkdir()
    atoms = Atoms(argon(3))
    atoms.symbols[:] = ["Si", "O", "O"] * 36
    ase.io.write(place, atoms, format="extxyz")
    folder = run_static(job, tmp_path, argon(3).calc)
    found = analyse_static(folder)
    *_, c44 = analytic_stiffness(lattice_constant())
    assert found["stiffness"]["C44"]["value"] == pytest.approx(c44, rel=0.02)
    assert found["missing"] == []
    path = folder / "strain_05.npz"
    arrays = read_arrays(path)
    arrays["positions"][7] += 0.5 * 108 / 107 / np.sqrt(3.0)  # less the drift of all
    write_arrays(path, arrays)
    found = analyse_static(folder)
    assert found["missing"] == ["stiffness (under strain an atom moved by 0.50 A)"]
    assert "youngs" not in found["stiffness"]


def test_vibrations_at_rest_are_those_of_the_dynamical_matrix(tmp_path: Path) -> None:
    """The argon crystal, called silicon, whose neutron length is known."""
    atoms = argon(2)
    atoms.symbols[:] = "Si"
    moved = Vibrations(atoms, name=str(tmp_path / "moved"), delta=1e-3)
    moved.run()
    found = describe_vibrations(atoms, moved.get_vibrations().get_hessian_2d())
    x, y = np.array(found["wavenumbers"]), np.array(found["mass"])
    assert np.trapezoid(y, x) == pytest.approx(1.0, abs=1e-3)
    assert found["partial"]["Si"] == found["mass"]
    exact = modes(atoms)[0]
    lines = np.exp(-0.5 * ((x[:, None] - exact[exact > 0.5]) / found["smooth"]) ** 2).sum(axis=1)
    assert y == pytest.approx(lines / np.trapezoid(lines, x), abs=2e-3 * y.max())


STUDY = [
    "--route", "static", "--preset", "toy", "--atoms", "96", "--model", "pmmcs",
    "--composition", "NS33", "--d3-preset", "converged", "--force", "0.2",
]  # fmt: skip


def test_the_whole_static_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With and without D3, two seeds: denser by what was predicted, and a report that says it."""
    study = str(tmp_path / "study")
    short = ["--displacement", "0", "--strain", "0", "--d3", "none", "d3torch", "--seed", "1", "2"]
    assert main(["glass", "run", study, *STUDY, *short]) == 0
    assert main(["glass", "analyse", study]) == 0
    assert capsys.readouterr().out.count("missing: nothing") == 4
    results = [json.loads(p.read_text()) for p in sorted(Path(study).glob("*/results.json"))]
    density = next(s for s in shifts(results) if s.quantity.startswith("density"))
    assert density.seeds == 2
    assert 0.05 < density.shift.value < 0.25
    assert density.shift.error < 0.05
    assert as_plain(density)["shift"]["value"] == density.shift.value
    assert main(["glass", "report", study]) == 0
    page = (Path(study) / "report.html").read_text()
    assert "Shift by dispersion" in page
    assert "pmmcs, static + d3torch" in page
    capsys.readouterr()
    structure = str(next((Path(study) / "initial").glob("NS33_96_s1_*.extxyz")))
    told = tmp_path / "told.json"
    given = ["--model", "pmmcs", "--d3-preset", "converged", "--output", str(told)]
    assert main(["glass", "predict", structure, *given]) == 0
    predicted = json.loads(told.read_text())
    assert f"{predicted['expected']:.4f} g/cm^3" in capsys.readouterr().out
    first = {r["settings"]["d3"]: r for r in results if r["settings"]["seed"] == 1}
    full = first["d3torch"]["density"]["value"] - first["none"]["density"]["value"]
    assert predicted["expected"] - predicted["density"] == pytest.approx(full, rel=0.35)


def test_killed_at_random_moments_the_static_results_are_the_same(tmp_path: Path) -> None:
    """All parts, killed by SIGKILL again and again: the same numbers as left alone."""
    words = [*STUDY, "--d3", "none", "--displacement", "0"]
    code = "import sys; from d3torch.cli import main; sys.exit(main(sys.argv[1:]))"
    env = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(folder: str) -> Any:
        command = [sys.executable, "-c", code, "glass", "run", folder, *words]
        return subprocess.Popen(command, env=env, cwd=ROOT)

    whole, parts = str(tmp_path / "whole"), str(tmp_path / "parts")
    assert start(whole).wait() == 0
    choose = random.Random(3)
    killed = 0
    for _ in range(3):
        process = start(parts)
        while process.poll() is None and not [*Path(parts).glob("*/rest.npz")]:
            time.sleep(0.1)
        time.sleep(choose.uniform(0.0, 2.0))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    assert killed > 0
    assert start(parts).wait() == 0
    found = {}
    for study in (whole, parts):
        assert main(["glass", "analyse", study]) == 0
        result = json.loads(next(Path(study).glob("*/results.json")).read_text())
        found[study] = {k: result[k] for k in ("density", "stiffness", "structure")}
    assert found[whole] == found[parts]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--rate", "5"], "expected options of --route static, got --rate of the other"),
        (["--pressures", "1,2"], "expected pressures from 0, got (1.0, 2.0)"),
        (["--pressures", "0,1,1.0000001"], "expected rising pressures"),
        (["--pressures", "0,nan"], "expected rising pressures"),
        (["--low", "4000"], "expected initial_high above low = 4000.0 K, got initial_high = 2"),
        (["--force", "inf"], "expected a positive force, got inf"),
        (["--start", "-150"], "expected a start between -50 and 100 %, got -150.0"),
        (["--start", "nan"], "expected a start between -50 and 100 %, got nan"),
        (["--chains", "vdos"], "expected --chains with --route dynamics"),
        (["--d3-cutoff", "9"], "expected --d3-preset alone"),
        (
            ["--d3", "lammps"],
            "expected --d3-preset alone and with d3torch, d3torch-abc, got lammps",
        ),
        (["--model", "sevenn9:x"], "expected a function at sevenn9:x"),
        (["--model", "mace:nowhere"], "expected a file after mace:, got 'nowhere'"),
    ],
)
def test_what_the_static_route_cannot_run_is_refused(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["glass", "run", str(tmp_path / "study"), *STUDY, *words]) == 2
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.glob("study/*"))


def test_one_process_works_in_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("NS33_pmmcs_none_s1_static", "NS33_pmmcs_none_s1"):
        (tmp_path / name).mkdir()
    plain = ["--model", "pmmcs", "--preset", "toy", "--atoms", "96", "--composition", "NS33"]
    with at_work(tmp_path / "NS33_pmmcs_none_s1_static"), at_work(tmp_path / "NS33_pmmcs_none_s1"):
        for words in (STUDY, plain):
            assert main(["glass", "run", str(tmp_path), *words]) == 1
            assert "expected no other process at work in" in capsys.readouterr().err
    assert not list(tmp_path.glob("*/manifest.json"))
    assert not list(tmp_path.glob("*/.at_work"))


def test_a_process_that_ends_at_that_moment_is_no_accident(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file is gone between the lock and the look whether it is still the same file."""

    def locked_too_late(file: Any, operation: int) -> None:
        (tmp_path / ".at_work").unlink()

    monkeypatch.setattr("d3torch_glass.files.fcntl.flock", locked_too_late)
    with pytest.raises(ValueError, match="expected no other process"), at_work(tmp_path):
        pass


def test_nothing_is_left_of_displacements(tmp_path: Path) -> None:
    atoms = argon(1)
    protocol = StaticProtocol(displacement=0.01)
    job = StaticJob("SiO2", 1, "argon", "none", 32, protocol)
    _vibrate(job, atoms, tmp_path, lambda steps, name: None)
    assert [path.name for path in tmp_path.iterdir()] == ["hessian.npz"]


def _result(start: float, density: float) -> dict[str, Any]:
    """As much of the results of a static job as errors need."""
    settings = {"composition": "SiO2", "model": "x", "d3": "none", "route": "static"}
    return {
        "settings": settings | ({"start": start} if start else {}),
        "atoms": 1500,
        "density": {"value": density},
        "stiffness": {},
    }


def test_starts_are_no_glasses_of_their_own() -> None:
    """The error of a potential is that of its glasses from the density of experiment."""
    table = error_table([_result(0.0, 2.2), _result(5.0, 2.31), _result(-5.0, 2.2)])
    assert table[0].ours["x, static"] == (0.0, 1)
    assert table[0].ours["x, static, start +5 %"] == (pytest.approx(5.0), 1)


def test_static_options_are_refused_for_dynamics(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", "pmmcs", "--preset", "toy", "--start", "5"]
    assert main(["glass", "run", str(tmp_path), *words]) == 2
    assert "expected --start with --route static" in capsys.readouterr().err
    words = ["--model", "pmmcs", "--preset", "toy", "--strain", "0.01"]
    assert main(["glass", "run", str(tmp_path), *words]) == 2
    assert "got --strain of the other" in capsys.readouterr().err


def test_a_prediction_wants_a_solid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    atoms = argon()
    atoms.pbc = (True, True, False)
    ase.io.write(tmp_path / "slab.extxyz", atoms)
    words = ["glass", "predict", str(tmp_path / "slab.extxyz"), "--model", "pmmcs"]
    assert main(words) == 1
    said = capsys.readouterr().err
    assert re.search("expected a structure with three periodic directions", said)


@pytest.mark.parametrize(
    "given",
    [{"rate": math.inf}, {"dt_fs": math.nan}, {"strains": (0.01, math.nan)},
     {"pressures": (0.0, math.inf)}],
)  # fmt: skip
def test_no_protocol_goes_on_for_ever(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(given))):
        Protocol(**given)


def test_pressures_rise() -> None:
    with pytest.raises(ValueError, match="expected rising pressures"):
        StaticProtocol(pressures=(0.0, 2.0, 1.0))
    assert StaticProtocol(pressures=()).pressures == ()  # leaves out the compression


def test_more_steps_may_be_allowed_later_and_other_classical_glasses_are_others() -> None:
    def job(**protocol: Any) -> StaticJob:
        return StaticJob("NS33", 1, "pmmcs", "none", 32, StaticProtocol(**protocol))

    assert job(steps=5).settings() == job(steps=50).settings()
    assert job(initial_rate=100.0).settings() != job().settings()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--d3-preset", "converged"], "expected --d3-cutoff for LAMMPS, got --d3-preset"),
    ],
)
def test_lammps_refuses_what_its_pair_styles_lack(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--model", "pmmcs", "--preset", "toy", "--atoms", "96", "--d3", "d3torch"]
    assert main(["glass", "lammps", str(tmp_path / "study"), *given, *words]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--force", "nan"], "expected a positive force as tolerance, got nan"),
        (["--output", "nowhere/x.json"], "expected a folder to write to, got nowhere"),
    ],
)
def test_predictions_are_refused_before_any_step(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ase.io.write(tmp_path / "argon.extxyz", argon())
    given = ["glass", "predict", str(tmp_path / "argon.extxyz"), "--model", "pmmcs"]
    assert main([*given, *words]) == 1
    assert sentence in capsys.readouterr().err

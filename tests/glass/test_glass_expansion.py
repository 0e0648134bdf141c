"""Warming a glass at rest: its temperature, restarts, refusals; the study's list on any device."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from checkout import checkout
from glass_crystals import answers, argon

from d3torch_glass.dispersion import recorded_device
from d3torch_glass.expansion import PROTOCOL, expansion_chain, run_expansion
from d3torch_glass.files import at_work
from d3torch_glass.jobs import write_manifest
from d3torch_glass.relaxing import read_relaxed
from d3torch_glass.runner import Followed, load
from d3torch_glass.static import StaticJob, StaticProtocol, run_static

STUDY = checkout() / "studies" / "glass"
REST_ONLY = StaticProtocol(force=0.005, pressure=0.005, pressures=(0.0,), strain=0, displacement=0)
JOB = StaticJob("SiO2", 1, "argon", "none", 34, REST_ONLY)
COLD = dataclasses.replace(
    PROTOCOL, low=20.0, dt_fs=8.0, segment_fs=80.0, final_ps=2.4, frame_ps=0.48, checkpoint_ps=0.48
)


def _plant(parent: Path, seed: int, cells: int = 3) -> None:
    """Argon, too wide and off its lattice, where a study keeps its classical glass."""
    atoms = argon(cells)
    atoms.set_cell(atoms.cell.array * 1.02, scale_atoms=True)
    atoms.positions += 0.05 * np.random.default_rng(seed).normal(size=atoms.positions.shape)
    path = parent / "initial" / f"SiO2_102_s{seed}_300_3500_200_10.extxyz"
    path.parent.mkdir(parents=True, exist_ok=True)
    ase.io.write(path, Atoms(atoms), format="extxyz")


def _at_rest(parent: Path) -> Path:
    _plant(parent, 1)
    return run_static(JOB, parent, argon().calc)


def _warm(parent: Path, tell: Any = lambda state: None) -> Followed:
    folder = run_expansion(JOB, parent, argon().calc, tell, p=COLD)
    return load(expansion_chain(COLD), folder / "hold")


def test_a_glass_at_rest_is_warmed_from_where_it_is(tmp_path: Path) -> None:
    """Argon at 20 K: that temperature, no pressure, wider; stopped between, to the same bits."""
    rest = read_relaxed(_at_rest(tmp_path) / "rest.npz")
    assert rest is not None
    whole = _warm(tmp_path)
    assert whole.done
    assert whole.column("temperature", share=0.5).mean() == pytest.approx(20.0, rel=0.2)
    assert 1.002 < whole.column("volume", share=0.5).mean() / rest.volume < 1.04

    def stop(state: Any) -> None:
        if state.step >= 100:
            raise KeyboardInterrupt

    shutil.rmtree(tmp_path / "expansion")
    with pytest.raises(KeyboardInterrupt):
        _warm(tmp_path, stop)
    parts = _warm(tmp_path)
    assert np.array_equal(parts.rows, whole.rows)
    assert np.array_equal(parts.state.positions, whole.state.positions)


def test_what_warmth_does_is_collected_behind_the_first_picosecond(
    tmp_path: Path, scripts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = read_relaxed(_at_rest(tmp_path) / "rest.npz")
    assert rest is not None
    data: dict[str, Any] = {}
    run, collect = _warm(tmp_path), scripts("collect")
    monkeypatch.setattr(collect, "PROTOCOL", COLD)
    collect.add_warmed(tmp_path, data)
    found = data["warmed"]["argon"]["SiO2"]["1"]["none"]
    amu = len(run.state.positions) * 39.948 * 1.66053907
    ps = run.column("step") * COLD.dt_fs * 1e-3
    assert ps[-1] == pytest.approx(found["ps"])
    late = run.column("volume")[ps > 1.0]
    assert 0 < len(late) < len(ps)
    assert found["rest"] == pytest.approx(amu / rest.volume, rel=1e-6)
    assert found["warm"] == pytest.approx((amu / late).mean(), rel=1e-6)


def test_what_is_not_at_rest_is_not_warmed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a relaxed structure in SiO2_argon_none_s1_stat"):
        run_expansion(JOB, tmp_path, argon().calc, p=COLD)
    assert not (tmp_path / "expansion").exists()


# ---- devices ----


def test_a_manifest_names_the_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As torch calls it, among the versions, and it may be another when a job goes on."""
    for card in ("NVIDIA X1", "NVIDIA X2"):
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device, card=card: card)
        write_manifest(JOB, tmp_path, recorded_device("cuda"))
    found = json.loads((tmp_path / "manifest.json").read_text())
    assert found["versions"]["gpu"] == "NVIDIA X1"
    assert found["settings"]["device"] == "cuda"
    assert "gpu" not in found["settings"]
    assert recorded_device("cpu") == {"device": "cpu"}


def test_a_job_goes_on_on_another_device_and_its_manifest_says_so(tmp_path: Path) -> None:
    """Once for each change; other settings are still refused."""
    for device in ("cuda", "cpu", "cpu", "cuda"):
        write_manifest(JOB, tmp_path, {"device": device, "xc": "pbe"})
    found = json.loads((tmp_path / "manifest.json").read_text())
    assert found["settings"]["device"] == "cuda"
    assert [stage["device"] for stage in found["went_on"]] == ["cpu", "cuda"]
    assert found["went_on"][0]["versions"]["torch"] == found["versions"]["torch"]
    with pytest.raises(ValueError, match="got others for xc"):
        write_manifest(JOB, tmp_path, {"device": "cpu", "xc": "pbesol"})


# ---- the study's list of jobs ----


def _study_script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(STUDY)
    return importlib.import_module("many")


class _Argon:
    """The potential of argon, for many structures."""

    def to(self, device: str) -> None:
        assert device == "cpu"

    def __call__(self, many: Any) -> list[dict[str, Any]]:
        return answers(many)


def test_a_worker_does_each_task_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three glasses in two threads: at rest, told of in the log; a second worker finds nothing."""
    many = _study_script(monkeypatch)
    for seed in (1, 2, 3):
        _plant(tmp_path, seed, cells=2)
    (tmp_path / "claims").mkdir()
    model = "chgnet:0.3.0"
    planned = many.tasks(tmp_path, "cpu", model, "rest", (1, 2, 3), ("SiO2",), ("none",))
    monkeypatch.setattr(many, "lists", lambda folder, device: {"chgnet": [("argon", planned)]})
    monkeypatch.setattr(many, "many_at_once", lambda model: _Argon())
    calls = []
    for number in range(2):
        worker = many.Worker("chgnet", number, 2, tmp_path, "cpu", time.time() + 600.0)
        worker.run()
        assert worker.failed == 0
        told = (tmp_path / f"many_chgnet{number}_argon.json").read_text()
        calls.append(json.loads(told)["structures"])
    assert (tmp_path / "many.log").read_text().count("at rest") == 3
    assert calls[0] > 6
    assert calls[1] == 0
    for path in tmp_path.glob("*/rest.npz"):
        rest = read_relaxed(path)
        assert rest is not None
        assert rest.done


def test_folders_of_other_processes_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One in which ``d3torch glass run`` is at work is no failure; a second script is refused."""
    many = _study_script(monkeypatch)
    for seed in (1, 2):
        _plant(tmp_path, seed, cells=2)
    (tmp_path / "claims").mkdir()
    planned = many.tasks(tmp_path, "cpu", "chgnet:0.3.0", "rest", (1, 2), ("SiO2",), ("none",))
    monkeypatch.setattr(many, "lists", lambda folder, device: {"chgnet": [("argon", planned)]})
    monkeypatch.setattr(many, "many_at_once", lambda model: _Argon())
    busy = tmp_path / planned[0].job.name
    busy.mkdir()
    worker = many.Worker("chgnet", 0, 1, tmp_path, "cpu", time.time() + 600.0)
    with at_work(busy), at_work(tmp_path):
        worker.run()
        monkeypatch.setattr("sys.argv", ["many.py", str(tmp_path), "1", "--device", "cpu"])
        with pytest.raises(SystemExit, match="expected no other process at work"):
            many.main()
        monkeypatch.setattr("sys.argv", ["many.py", str(tmp_path), "1", "--plan", "chgnet:1x0"])
        with pytest.raises(SystemExit, match=r"expected a plan such as .*, got chgnet:1x0"):
            many.main()
    log = (tmp_path / "many.log").read_text()
    assert (worker.failed, log.count("left to another"), log.count("at rest")) == (0, 1, 1)
    assert list(tmp_path.glob("claims/*_rest"))
    for claim in tmp_path.glob("claims/*"):
        claim.unlink()
    lists = {"chgnet": [("argon", planned[1:])]}
    monkeypatch.setattr(many, "lists", lambda folder, device: lists)
    again = many.Worker("chgnet", 1, 1, tmp_path, "cpu", time.time() + 600.0)
    again.run()
    told = json.loads((tmp_path / "many_chgnet1_argon.json").read_text())
    assert (again.failed, told["calls"]) == (0, 0)  # it is at rest
    manifest = tmp_path / planned[1].job.name / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"force": 0.03', '"force": 0.5'))
    for claim in tmp_path.glob("claims/*"):
        claim.unlink()
    other = many.Worker("chgnet", 2, 1, tmp_path, "cpu", time.time() + 600.0)
    other.run()
    assert other.failed == 1
    assert "got others for protocol.force" in (tmp_path / "many.log").read_text()


def test_processes_keep_the_folder_when_their_parent_is_killed(tmp_path: Path) -> None:
    child = tmp_path / "child.sh"
    child.write_text(
        '#!/bin/sh\necho $$ > "$2/child.partial"\n'
        'mv "$2/child.partial" "$2/child"\nexec sleep 600\n'
    )
    child.chmod(0o755)
    study = tmp_path / "study"
    words = ["many.py", str(study), "600", "--device", "cpu", "--plan", "chgnet:1x1"]
    program = (
        f"import runpy, sys\nsys.executable, sys.argv = {str(child)!r}, {words!r}\n"
        f"runpy.run_path({str(STUDY / 'many.py')!r}, run_name='__main__')\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program])
    ended = time.time() + 120.0
    while not (study / "child").exists() and time.time() < ended and parent.poll() is None:
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    number = int((study / "child").read_text())
    try:
        with pytest.raises(ValueError, match="expected no other process"), at_work(study):
            pass
    finally:
        os.kill(number, signal.SIGKILL)
    time.sleep(0.5)
    with at_work(study):
        pass


def test_every_role_has_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With names that differ, and of the one potential."""
    many = _study_script(monkeypatch)
    lists = many.lists(tmp_path, "cpu")
    assert {*lists} == {*many.ROLES}
    for role, models in lists.items():
        for model, tasks in models:
            assert {task.job.model for task in tasks} == {model}, role
            names = [task.name for task in tasks]
            assert len(names) == len({*names}) > 0


def test_tasks_of_one_folder_are_not_done_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One at rest, then under pressure; that of the other glass in between."""
    many = _study_script(monkeypatch)
    (tmp_path / "claims").mkdir()

    def some(kind: str, seed: int) -> list[Any]:
        return many.tasks(tmp_path, "cpu", "chgnet:0.3.0", kind, (seed,), ("SiO2",), ("none",))

    rest, levels, other = some("rest", 1), some("levels", 1), some("rest", 2)
    planned = [*rest, *levels, *other]
    one, two = (many.Worker("chgnet", k, 1, tmp_path, "cpu", time.time() + 600.0) for k in (0, 1))
    assert one._next(planned) == rest[0]
    assert two._next(planned) == other[0]
    assert two._next(planned) is None
    one._claim_of_folder(rest[0]).unlink()
    assert two._next(planned) == levels[0]
    assert one._next(planned) is None

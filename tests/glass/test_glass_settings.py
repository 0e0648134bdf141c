"""Which D3 a study gets: from options or from a file, and told in the manifest of every job."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("vitrum", reason="needs vitrum: pip install vitrum")

from d3torch import Settings
from d3torch.cli.records import read_record
from d3torch.integrations.lammps import D3MLIAP
from d3torch.units import BOHR
from d3torch_glass import cli as glass

JOB = SimpleNamespace(name="job", d3="d3torch")


def settled(folder: Path, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    glass._add_dispersion(parser)
    args = parser.parse_args(words)
    args.d3, args.folder = ["none", "d3torch"], folder
    glass.settle_dispersion(args)
    return args


def written(folder: Path, **settings: Any) -> str:
    file = folder / "d3.pt"
    D3MLIAP(["O", "Si"], **settings).save(file)
    return str(file)


def test_defaults_are_those_of_the_study(tmp_path: Path) -> None:
    args = settled(tmp_path)
    assert args.settings == Settings(preset="mace_mp")
    assert (args.xc, args.d3_cutoff) == ("pbe", 40.0 * BOHR)


def test_a_file_says_it_all(tmp_path: Path) -> None:
    file = written(tmp_path, xc="b3lyp", cutoff=9.0, cn_cutoff=9.0)
    args = settled(tmp_path, "--settings-of", file)
    assert args.settings == Settings(xc="b3lyp", cutoff=9.0, cn_cutoff=9.0)
    assert (args.xc, args.d3_cutoff) == ("b3lyp", 9.0)
    same = settled(tmp_path, "--settings-of", file, "--xc", "B3-LYP", "--d3-cutoff", "9")
    assert same.settings == args.settings
    assert same.xc == "B3-LYP"  # other backends know it by another name


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"cutoff": 9.0, "cn_cutoff": 8.0}, []),
        ({"cutoff": 9.0, "cn_cutoff": 9.0, "width": 1.0}, []),
        ({"cutoff": 9.0, "cn_cutoff": 9.0, "reference": "2010"}, []),
        ({"damping": {"s6": 1.0, "s8": 0.7, "a1": 0.4, "a2": 4.4}, "cutoff": 9.0}, []),
        ({"cutoff": 9.0, "cn_cutoff": 9.0}, ["--xc", "b3lyp"]),
        ({"cutoff": 9.0, "cn_cutoff": 9.0}, ["--d3-cutoff", "8"]),
    ],
)
def test_what_not_all_backends_compute_is_refused(
    given: dict[str, Any], words: list[str], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="expected a functional, one hard cutoff for pairs and CN"):
        settled(tmp_path, "--settings-of", written(tmp_path, **given), *words)


def test_the_manifest_carries_the_settings(tmp_path: Path) -> None:
    args = settled(tmp_path, "--xc", "b3lyp", "--d3-cutoff", "9")
    told = glass._recorded(JOB, args)
    assert told == {"xc": "b3lyp", "d3_cutoff": 9.0, "d3_settings": args.settings.as_dict()}
    assert "d3_settings" not in glass._recorded(SimpleNamespace(name="job", d3="none"), args)
    (tmp_path / "job").mkdir()
    file = tmp_path / "job" / "manifest.json"
    file.write_text(json.dumps({"settings": told}))
    assert glass._recorded(JOB, args) == told
    assert Settings.from_dict(read_record(str(file))) == args.settings


def test_a_study_of_an_older_version_can_be_continued(tmp_path: Path) -> None:
    """Its manifests say functional and cutoff alone, and are compared key by key."""
    (tmp_path / "job").mkdir()
    older = {"xc": "b3lyp", "d3_cutoff": 9.0}
    (tmp_path / "job" / "manifest.json").write_text(json.dumps({"settings": older}))
    args = settled(tmp_path, "--xc", "b3lyp", "--d3-cutoff", "9")
    assert glass._recorded(JOB, args) == older

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
from d3torch.cli import main
from d3torch.cli.records import IN_REPORTS, read_record
from d3torch.integrations.lammps import D3MLIAP
from d3torch.units import BOHR
from d3torch_glass import dispersion as glass
from d3torch_glass.report import DISPERSION, _dispersion_part

JOB = SimpleNamespace(name="job", d3="d3torch", model="pmmcs")


def settled(folder: Path, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    glass.add_dispersion(parser)
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
    assert args.settings == Settings(preset="mace_mp", reference="2024")
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
    told = glass.recorded(JOB, args)
    assert told == {"xc": "b3lyp", "d3_cutoff": 9.0, "d3_settings": args.settings.as_dict()}
    assert "d3_settings" not in glass.recorded(SimpleNamespace(**{**vars(JOB), "d3": "none"}), args)
    (tmp_path / "job").mkdir()
    file = tmp_path / "job" / "manifest.json"
    file.write_text(json.dumps({"settings": {**told, "protocol": {}}}))
    assert glass.recorded(JOB, args) == told
    assert Settings.from_dict(read_record(str(file))) == args.settings


def test_a_study_of_an_older_version_can_be_continued(tmp_path: Path) -> None:
    """Its manifests say functional and cutoff alone, and are compared key by key."""
    (tmp_path / "job").mkdir()
    older = {"xc": "b3lyp", "d3_cutoff": 9.0}
    (tmp_path / "job" / "manifest.json").write_text(
        json.dumps({"settings": {**older, "protocol": {}}})
    )
    args = settled(tmp_path, "--xc", "b3lyp", "--d3-cutoff", "9")
    assert glass.recorded(JOB, args) == older


def test_a_model_with_dispersion_in_it_tells_its_own(tmp_path: Path) -> None:
    file = written(tmp_path, xc="b3lyp", cutoff=9.0, width=1.0)
    args = settled(tmp_path)
    told = glass.recorded(SimpleNamespace(name="job", d3="none", model=file), args)
    assert Settings.from_dict(told[IN_REPORTS]) == Settings(xc="b3lyp", cutoff=9.0, width=1.0)
    assert IN_REPORTS not in glass.recorded(
        SimpleNamespace(name="job", d3="none", model=__file__), args
    )


# ---- the report ----

OWN = Settings(xc="b3lyp", cutoff=9.0, cn_cutoff=8.0, width=1.0)


def result(name: str, settings: Settings | None) -> dict[str, Any]:
    own = {} if settings is None else {DISPERSION: settings.as_dict()}
    return {"name": name, "settings": {"protocol": {}, **own}, "versions": {"d3torch": "0.9"}}


def pages(folder: Path, *results: dict[str, Any]) -> list[str]:
    """A report, as a page and as JSON."""
    page, document = folder / "report.html", folder / "report.json"
    page.write_text(f"<!doctype html><html><h1>x</h1>{_dispersion_part(results)}</html>")
    document.write_text(json.dumps({"errors": [], "results": results}))
    return [str(page), str(document)]


def test_a_report_tells_its_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whole, to people and to ``inspect`` and ``--settings-of``; one D3 stands there once."""
    jobs = [result("a_none", None), result("b</script>", OWN), result("c", OWN)]
    for file in pages(tmp_path, *jobs):
        assert main(["inspect", file, "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"version": "0.9", **OWN.as_dict()}
        assert Settings.from_dict(read_record(file)) == OWN
    page = (tmp_path / "report.html").read_text()
    assert "<th>b&lt;/script&gt;, c</th>" in page
    for name, value in {"version": "0.9", **OWN.as_dict()}.items():
        assert f"<td>{name}</td><td>{value}</td>" in page
    assert page.count("<td>s8</td>") == 1
    assert page.count("</script>") == 1


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (OWN.replace(width=2.0), "expected one D3 in all jobs of {}, got another in c"),
        (None, "expected a file with settings of d3torch, got {}, which has none"),
    ],
)
def test_a_report_of_none_or_of_two_is_refused(
    other: Settings | None, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in pages(tmp_path, result("b", other and OWN), result("c", other)):
        assert main(["inspect", file]) == 1
        out, err = capsys.readouterr()
        assert (out, err) == ("", f"d3torch: {words.format(file)}\n")


def test_a_report_of_two_shows_both(tmp_path: Path) -> None:
    other = OWN.replace(width=2.0)
    page = _dispersion_part([result("b", OWN), result("c", other)])
    assert "<th>b</th><th>c</th>" in page
    assert "<td>width</td><td>1.0</td><td>2.0</td>" in page

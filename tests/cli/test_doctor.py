"""``d3torch doctor``: levels of names and of files, and what a D3 would do to them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from checkout import checkout

from d3torch import D3
from d3torch.cli import main
from d3torch.levels import find_levels, levels


def _run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["doctor", *words])
    return code, *capsys.readouterr()


def test_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = _run(capsys, "chgnet:r2scan")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "chgnet-r2scan",
        "  trained on  r2SCAN",
        "  dispersion  not in the labels",
        '  D3 to add   xc="r2scan"',
        "  source      doi:10.6084/m9.figshare.28245650",
    ]


def test_tasks(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = _run(capsys, "uma-s-1")
    assert (code, out.count("uma, task ")) == (0, 7)
    code, out, _ = _run(capsys, "uma-s-1", "--task", "omat")
    assert (code, out.count("uma, task ")) == (0, 1)
    code, out, err = _run(capsys, "uma-s-1", "--task", "omatt")
    assert (code, out) == (1, "")
    assert "expected a task of uma-s-1, one of omol, omc, omat" in err


@pytest.mark.parametrize(
    ("words", "code", "problem"),
    [
        (["7net-0", "--xc", "pbe"], 0, ""),
        (["7net-0", "--xc", "r2scan"], 1, "expected xc pbe, on which 7net-0 was trained"),
        (["MACE-OFF23", "--xc", "wb97m"], 1, "counts it twice"),
        (["mattersim", "--xc", "pbe"], 1, "is not established"),
        (["7net-0", "--xc", "unheard of"], 1, "expected a known functional"),
    ],
)
def test_a_functional_is_judged(
    words: list[str], code: int, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = _run(capsys, *words)
    assert found[0] == code
    assert problem in found[2]
    assert found[2].count("\n") == (1 if problem else 0)


def test_unknown_names_are_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(capsys, "7nte-l3i5") == (
        1,
        "",
        "d3torch: expected a file or the name of a model, got 7nte-l3i5; "
        "did you mean 7net-l3i5, checkpoint_l3i5, SevenNet-l3i5?\n",
    )
    code, out, err = _run(capsys, "xyzzy.model")
    assert (code, out) == (1, "")
    assert err == "d3torch: expected a file or the name of a model, got xyzzy.model\n"


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = _run(capsys, "7net-omni@oc20", "--json", "--xc", "pbe")
    found = json.loads(out)
    assert code == 1
    assert [(level["xc"], level["advice"]) for level in found["levels"]] == [("rpbe", 'xc="rpbe"')]
    assert "expected xc rpbe" in found["problems"][0]


def test_the_table_is_listed_within_100_columns(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tabulate")
    code, out, err = _run(capsys, "--list")
    lines = out.splitlines()
    assert (code, err, len(lines)) == (0, "", 2 + len(levels()))
    assert max(map(len, lines)) <= 100
    wanted = [x.split()[3] for x in lines if "omni@spice" in x or "uma@omat" in x]
    assert wanted == ["wb97m?", "pbe"]
    for line in lines[2:]:
        family, name = line.split()[:2]
        assert find_levels(f"{family}:{name}"), line  # what is listed can be asked for


def test_a_part_of_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tabulate")
    code, out, _ = _run(capsys, "--list", "MF-0")
    assert (code, len(out.splitlines())) == (0, 2 + 2)
    code, out, _ = _run(capsys, "--list", "mf-0", "--json")
    assert [level["advice"] for level in json.loads(out)] == ['xc="pbe"', 'xc="r2scan"']
    assert _run(capsys, "--list", "xyzzy") == (
        1,
        "",
        "d3torch: expected a part of the name of a model, got xyzzy\n",
    )


@pytest.mark.parametrize("words", [[], ["--list", "--task", "omat"], ["--list", "--xc", "pbe"]])
def test_usage_is_one_sentence(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = _run(capsys, *words)
    assert (code, out) == (2, "")
    assert err.startswith("d3torch: expected ")
    assert err.count("\n") == 1


SEVENNET: dict[str, Any] = {"model_state_dict": {}, "config": {"_modal_map": {"R2SCAN": 0}}}
CHGNET = {"model": {"model_args": {"version": "0.3.0"}, "state_dict": {}}}


@pytest.mark.parametrize(
    ("file", "held", "label"),
    [
        ("mine.pth", SEVENNET, "7net-mf-0, modal R2SCAN"),
        ("mine.pth.tar", CHGNET, "chgnet-0.3.0"),
        ("checkpoint_sevennet_0.pth", {}, "7net-0"),
    ],
)
def test_files_tell_what_they_are(
    file: str, held: Any, label: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(held, tmp_path / file)
    code, out, err = _run(capsys, str(tmp_path / file))
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == label


@pytest.mark.parametrize(
    ("model", "task", "words"),
    [
        ("mine.pth", "omat_pbe", "expected a head of {}, one of R2SCAN, got omat_pbe"),
        ("uma-s-1", "r2scan", "expected a task of uma-s-1, one of omol, "),
    ],
)
def test_a_task_that_a_model_lacks_is_refused(
    model: str, task: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(SEVENNET, tmp_path / "mine.pth")
    name = str(tmp_path / model) if model.endswith(".pth") else model
    code, out, err = _run(capsys, name, "--task", task)
    assert (code, out) == (1, "")
    assert words.format(name) in err
    if model == "mine.pth":  # in any case
        assert _run(capsys, name, "--task", "r2scan")[0] == 0
    assert _run(capsys, "mace-mp-0", "--task", "Default")[0] == 0  # the head of most of MACE


def test_files_that_tell_nothing_are_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"weights": torch.zeros(2)}, tmp_path / "mine.pth")
    (tmp_path / "text.model").write_text("no model")
    for file in ("mine.pth", "text.model"):
        code, out, err = _run(capsys, str(tmp_path / file))
        assert (code, out) == (1, "")
        assert err.startswith("d3torch: expected a model whose level is known, got ")
        assert err.count("\n") == 1


class Breaks:
    """What another version of a library may do to a file: any error when it is read."""

    def __reduce__(self) -> Any:
        return eval, ("{}['of another version']",)


@pytest.mark.parametrize(
    "held",
    [
        Breaks(),
        {"model": {"model_args": None}},
        {"config": {"_modal_map": 3}, "model_state_dict": {}},
        {"config": {"_modal_map": {1: 2}}, "model_state_dict": {}},
    ],
    ids=["any error", "chgnet", "sevenn", "modals"],
)
def test_whatever_is_in_a_file_the_answer_is_a_sentence(
    held: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(held, tmp_path / "mine.pth")
    code, out, err = _run(capsys, str(tmp_path / "mine.pth"))
    assert (code, out) == (1, "")
    assert err.startswith("d3torch: expected a model whose level is known, got ")
    assert err.count("\n") == 1


def test_a_file_that_cannot_be_read_is_told_by_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mace-mpa-0-medium.model").write_text("no model")
    code, out, _ = _run(capsys, str(tmp_path / "mace-mpa-0-medium.model"))
    assert code == 0
    assert out.startswith("MACE-MPA-0\n")
    assert "told by its name alone: expected a file of a MACE model" in out


def test_a_file_with_d3_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(tmp_path / "mine.pt")
    torch.save(D3(["H", "O"], "b3lyp"), file)
    code, out, _ = _run(capsys, file)
    assert code == 0
    assert out == "has dispersion in it: D3(BJ) of b3lyp, by d3torch\n  D3 to add   none\n"
    code, _, err = _run(capsys, file, "--xc", "b3lyp")
    assert code == 1
    assert "got one with D3(BJ) of b3lyp, by d3torch in it already" in err


PAGE = checkout() / "docs" / "any_calculator.md"
COMMANDS = re.findall(r"^\$ d3torch doctor (.*)\n((?:(?!\$ |```).*\n)*)", PAGE.read_text(), re.M)


@pytest.mark.parametrize(("command", "shown"), COMMANDS)
def test_the_page_shows_what_is_printed(
    command: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, err = _run(capsys, *command.split())
    assert out + err == shown


def test_the_page_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    assert len(blocks) == 2
    for block in blocks:
        exec(block, {})


def test_a_size_that_two_functions_of_mace_have_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["doctor", "medium"]) == 0
    assert "mace_off:medium" in capsys.readouterr().err
    assert main(["doctor", "mace_off:medium"]) == 0
    assert "D3(BJ) in wB97M-D3(BJ)" in capsys.readouterr().out
    for name in ("mace_mp:medium", "mace_mp"):
        assert main(["doctor", name]) == 0
        assert 'xc="pbe"' in capsys.readouterr().out

"""At which level published models were trained: found by name, judged, and never counted twice."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from d3torch import DispersionWarning, Settings, canonical_name
from d3torch.levels import NO, UNKNOWN, check_level, find_levels, levels, levels_of, near_names


def test_every_row_is_whole() -> None:
    """Each has a method and a source, and a functional that D3 knows, unless dispersion is in."""
    for row in levels():
        assert all((row.family, row.names, row.level, row.dispersion, row.source))
        if row.xc:
            assert canonical_name(row.xc) == row.xc
        else:
            assert row.dispersion not in (NO, UNKNOWN)


def test_every_name_finds_its_row() -> None:
    """In its family, and without it unless another family has the same name."""
    for row in levels():
        for name in row.names:
            plain = name.removeprefix("=").replace("*", "any")
            task = (row.task,) if row.task else ()
            assert find_levels(f"{row.family}:{plain}", task) == [row], name


@pytest.mark.parametrize(
    ("query", "label", "xc", "dispersion"),
    [
        ("/home/me/mace-mpa-0-medium.model", "MACE-MPA-0", "pbe", "no"),
        ("MACE-OFF23_small.model", "MACE-OFF", "wb97m", "D3(BJ) in wB97M-D3(BJ)"),
        ("2023-12-03-mace-128-L1_epoch-199.model", "MACE-MP-0", "pbe", "no"),
        ("MACE-matpes-r2scan-omat-ft.model", "MACE-matpes-r2scan", "r2scan", "no"),
        ("mace:medium-mpa-0", "MACE-MPA-0", "pbe", "no"),
        ("chgnet:0.3.0", "chgnet-0.3.0", "pbe", "no"),
        ("chgnet:r2scan", "chgnet-r2scan", "r2scan", "no"),
        ("sevenn:7net-mf-ompa@mpa", "7net-mf-ompa, modal mpa", "pbe", "no"),
        ("checkpoint_sevennet_0.pth", "7net-0", "pbe", "no"),
        ("orb-v3-conservative-inf-omat", "orb-v3-omat", "pbe", "no"),
        ("orb_d3_v2", "orb-d3-v2", "pbe", "D3, added to the labels"),
        ("pet-mad-s-v1.5.0.ckpt", "PET-MAD-1.6", "r2scan", "no"),
        ("pet-mad-s-v1.0.2.ckpt", "PET-MAD-1.0", "pbesol", "no"),
        ("pet-omatpes-l-v0.1.0.ckpt", "PET-OMATPES", "r2scan", "no"),
        ("aimnet2-b973c-2025-d3_0", "aimnet2-2025", "b973c", "D3(BJ), added by its own calculator"),
        ("uma-s-1p1@omol", "uma, task omol", "", "VV10 in wB97M-V"),
        ("nequip.net:mir-group/NequIP-OAM-L:0.1", "NequIP-OAM", "pbe", "no"),
        ("GFNFF", "GFN-FF", "", "D4, a part of the method"),
        ("GRACE-2L-MP-r6", "GRACE-MP", "pbe", "no"),
        ("TensorNet-MatPES-r2SCAN-v2025.1-PES", "M3GNet-MatPES-r2SCAN", "r2scan", "no"),
        ("DPA-3.1-3M.pt@SPICE2", "DPA-3.1-3M, task SPICE2", "wb97m", "D3(BJ) in wB97M-D3(BJ)"),
        ("mace-mh-1@rgd1_b3lyp", "mace-mh-1, head rgd1_b3lyp", "b3lyp", "D3 in B3LYP-D3"),
    ],
)
def test_models_are_found_by_name(query: str, label: str, xc: str, dispersion: str) -> None:
    (found,) = find_levels(query)
    assert (found.label, found.xc, found.dispersion) == (label, xc, dispersion)


@pytest.mark.parametrize(
    "query",
    [
        "mine.model",
        "large_small",
        "chgnet_finetuned.pth.tar",
        "",
        ".",
        "MACE-OFF/7net-0/mine.model",
    ],
)
def test_others_are_not(query: str) -> None:
    assert find_levels(query) == []


def test_near_names_are_offered() -> None:
    assert near_names("7nte-l3i5.pth")[0] == "7net-l3i5"
    assert near_names("mace-mpa0")[0] == "MACE-MPA-0"
    assert near_names("xyzzy") == []


def test_a_name_of_several_levels_needs_a_task() -> None:
    assert [row.task for row in find_levels("uma-s-1")] == (
        ["omol", "omc", "omat", "oc20", "oc22", "oc25", "odac"]
    )
    with pytest.raises(ValueError, match=r"^expected a task of uma, one of omol, omc, omat"):
        levels_of("uma-s-1")
    assert [row.xc for row in levels_of("uma-s-1", "oc20")] == ["rpbe"]
    assert len(levels_of("7net-mf-ompa")) == 2  # of one level


@pytest.mark.parametrize(
    ("model", "xc", "task", "words"),
    [
        ("7net-0", "r2scan", None, r"expected xc pbe, on which 7net-0 was trained .*, got r2scan"),
        ("MACE-matpes-r2scan.model", "pbe", None, r"expected xc r2scan, on which"),
        ("uma-s-1", Settings(xc="pbe"), "oc20", r"expected xc rpbe, on which uma, task oc20"),
        ("mattersim", "pbe", None, r"whether the labels of mattersim-v1 .* is not established"),
    ],
)
def test_another_functional_is_warned_of(model: str, xc: Any, task: str, words: str) -> None:
    with pytest.warns(DispersionWarning, match=words) as one:
        check_level(model, xc, task=task)
    assert len(one) == 1
    assert one[0].filename == __file__


@pytest.mark.parametrize(("model", "task"), [("MACE-OFF23", None), ("uma-s-1", "omc")])
def test_a_double_count_is_refused_unless_allowed(model: str, task: str | None) -> None:
    words = r"which has it already \(D3.*\): adding D3 counts it twice"
    with pytest.raises(ValueError, match=f"^expected a model without .* {words}; allow_double"):
        check_level(model, "pbe", task=task)
    with pytest.warns(DispersionWarning, match=words):
        check_level(model, "pbe", task=task, allow_double_counting=True)


@pytest.mark.parametrize(
    ("model", "task"),
    [("7net-mf-ompa@omol", None), ("uma-s-1", "omoll"), ("mace:mace-mh-1@mine", None)],
)
def test_a_task_that_the_model_lacks_is_refused(model: str, task: str | None) -> None:
    with pytest.raises(ValueError, match=r"expected a task of .*, one of .*, got (omoll?|mine)$"):
        check_level(model, task=task)


@pytest.mark.parametrize("model", ["7net-0", "MACE-OFF", "no-such-model"])
def test_a_string_is_no_leave_to_count_twice(model: str) -> None:
    with pytest.raises(TypeError, match="expected allow_double_counting to be True or False"):
        check_level(model, allow_double_counting="False")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected the name of a task as a string, got 3"):
        check_level(model, task=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected Settings, a D3 or keywords, got int"):
        check_level(model, 3)


def test_what_fits_and_what_is_unknown_pass_in_silence() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check_level("7net-0", "pbe")
        assert check_level("7net-0", Settings(xc="pbe", variant="zero"))
        assert check_level("chgnet:r2scan", Settings(xc="r2scan", cutoff=9.0))
        assert check_level("mine.model", "b3lyp") == []
        assert check_level(object(), "b3lyp") == []


class D3Inside:
    """A calculator of somebody else with dispersion."""

    calculate = None


class Sum:
    def __init__(self, *calcs: Any) -> None:
        self.calcs = list(calcs)


def test_dispersion_inside_is_refused_unless_allowed() -> None:
    for model in (D3Inside(), Sum(object(), D3Inside()), Sum(Sum(D3Inside()))):
        with pytest.raises(ValueError, match=r"got one with D3Inside in it already; allow_double"):
            check_level(model, "pbe")
        with pytest.warns(DispersionWarning, match="D3Inside in it already"):
            check_level(model, "pbe", allow_double_counting=True)


def _named(module: str, name: str, **attributes: Any) -> Any:
    """An object of a class of another package, which need not be installed."""
    return type(name, (), {"__module__": module, "calculate": None, **attributes})()


@pytest.mark.parametrize(
    ("calculator", "xc"),
    [
        (("mace.calculators.mace", "MACECalculator", {"head": "matpes_r2scan"}), ["r2scan"]),
        (("mace.calculators.mace", "MACECalculator", {"head": "Default"}), []),
        (
            (
                "sevenn.calculator",
                "SevenNetCalculator",
                {
                    "modal": None,
                    "sevennet_config": {"load_dataset_path": ["/x/snu_warmup/total.sevenn_data"]},
                },
            ),
            ["pbe"],
        ),
        (("sevenn.calculator", "SevenNetCalculator", {"modal": "R2SCAN"}), ["r2scan"]),
        (("sevenn.calculator", "SevenNetCalculator", {"sevennet_config": None}), []),
        (("chgnet.model.dynamics", "CHGNetCalculator", {"version": "r2scan"}), ["r2scan"]),
        (("chgnet.model.dynamics", "CHGNetCalculator", {"version": None}), []),
        (("fairchem.core.calculate", "FAIRChemCalculator", {"task_name": "oc20"}), ["rpbe"]),
        (("tblite.ase", "TBLite", {"parameters": {"method": "GFN2-xTB"}}), [""]),
        (("elsewhere", "MACECalculator", {"head": "matpes_r2scan"}), []),
    ],
)
def test_calculators_tell_which_model_they_are(calculator: Any, xc: list[str]) -> None:
    """By their package, class and attributes; in a sum as well."""
    module, name, attributes = calculator
    made = _named(module, name, **attributes)
    assert [level.xc for level in levels_of(made)] == xc
    assert [level.xc for level in levels_of(Sum(object(), made))] == xc

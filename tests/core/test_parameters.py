"""Damping parameters: against the tables and the energies of simple-dftd3, names, refusals."""

from __future__ import annotations

import csv
import re
import sys
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from d3torch.parameters import (
    DampingParameters,
    DispersionWarning,
    Functional,
    canonical_name,
    damping_parameters,
    functionals,
    resolve_damping,
    spelled_functionals,
    warn_of_three_body,
)
from d3torch.variants import VARIANTS, ModifiedZeroParameters, scaled_damping

NAMES = [functional.name for functional in functionals()]
OTHERS = [f for variant in ("bjm", "zero", "zerom") for f in functionals(variant=variant)]
# Zero damping that the oracle knows by name only; omega-B97X-D3 is what it calls wb97x.
BY_NAME = {"bop", "hcth120", "m06hf", "pbe38", "revpbe0", "wb97xd3"}
# Zero damping that it does not know by name; its table of parameters has them.
BY_PARAMETERS = {("dsdblyp", "zero"), ("slaterdirac", "zero")}
NAMED = [f for f in OTHERS if (f.name, f.variant) not in BY_PARAMETERS]
OPBE = 2.055  # s8 of the oracle's program; its table of parameters has 2.033, that of BPBE
ALIASES = [(alias, functional) for functional in functionals() for alias in functional.aliases]
# Names of Gaussian and VASP that the oracle does not know, and what it calls these.
FOREIGN = {"pbepbe": "pbe", "pbe1pbe": "pbe0", "hse": "hse06", "b97d3": "b97d", "b97d3bj": "b97d"}
# How simple-dftd3 spells the names that have an underscore in its parameter file.
SPELLING = {
    "b3lyp_631gd": "b3lyp/631gd",
    "b97_1": "b97-1",
    "b97_2": "b97-2",
    "hf_minis": "hf/minis",
    "hf_mixed": "hf/mixed",
    "hf_sv": "hf/sv",
    "lc_whpbe": "lc-whpbe",
}


def _rows() -> list[dict[str, str]]:
    path = resources.files("d3torch") / "data" / "functionals.csv"
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


@cache
def _model() -> Any:
    interface = pytest.importorskip("dftd3.interface")
    numbers = np.array([6, 8, 1, 17, 79, 3])
    x = [[0, 0, 0], [0, 0, 2.2], [1.9, 0, -0.8], [-3, 1, 0], [2, 5, 1], [5, -3, 2]]
    return interface.DispersionModel(numbers, np.array(x, dtype=float))


def _energy(variant: str = "bj", **parameters: Any) -> float:
    interface = pytest.importorskip("dftd3.interface")
    kinds = {"bj": "Rational", "bjm": "ModifiedRational", "zero": "Zero", "zerom": "ModifiedZero"}
    damping = getattr(interface, f"{kinds[variant]}DampingParam")(**parameters)
    return float(_model().get_dispersion(damping, grad=False)["energy"])


def _published() -> dict[tuple[str, str], dict[str, Any]]:
    """Every row of the parameter file of the oracle, by functional and variant."""
    package = pytest.importorskip("dftd3")
    text = (resources.files(package) / "parameters.toml").read_text(encoding="utf-8")
    published = tomllib.loads(text)
    defaults = published["default"]["parameter"]["d3"]
    published["parameter"]["opbe"]["d3"]["zero"]["s8"] = OPBE
    return {
        (name, variant): {"s8": 0.0, **defaults[variant], **row}
        for name, entry in published["parameter"].items()
        for variant, row in entry["d3"].items()
    }


def test_table_holds_every_functional_of_the_oracle_in_every_variant() -> None:
    expected = {key: row for key, row in _published().items() if key[1] in VARIANTS}
    found = {(f.name, v): f for v in VARIANTS for f in functionals(variant=v)}
    assert set(found) - set(expected) == {(name, "zero") for name in BY_NAME}
    assert set(expected) <= set(found)
    counts = {v: len(functionals(variant=v)) for v in VARIANTS}
    assert counts == {"bj": 157, "bjm": 8, "zero": 88, "zerom": 8}
    for key, row in expected.items():
        f = found[key]
        assert f.parameters == tuple(row[name] for name in f.parameters._fields), key
        assert f.s9 == row["s9"]
        assert row["alp"] == 14.0, "the kernels know no other"
        assert f.doi == row.get("doi", f.doi) or f.note, key


@pytest.mark.parametrize("name", NAMES)
def test_energy_is_that_of_the_oracle_for_the_name(name: str) -> None:
    parameters = damping_parameters(name)._asdict()
    named = _energy(method=SPELLING.get(name, name))
    assert _energy(s9=0.0, **parameters) == pytest.approx(named, rel=1e-14)


@pytest.mark.parametrize("f", NAMED, ids=lambda f: f"{f.name}-{f.variant}")
def test_energy_of_other_variants_is_that_of_the_oracle(f: Functional) -> None:
    parameters = {**f.parameters._asdict(), "s9": 0.0}
    name = "wb97x" if f.name == "wb97xd3" else SPELLING.get(f.name, f.name)
    named = _energy(f.variant, method=name)
    assert _energy(f.variant, **parameters) == pytest.approx(named, rel=1e-14)


@pytest.mark.parametrize("functional", functionals(), ids=NAMES)
def test_three_body_weight_is_that_of_the_oracle(functional: Functional) -> None:
    parameters = functional.parameters._asdict()
    named = _energy(method=SPELLING.get(functional.name, functional.name), atm=True)
    assert _energy(s9=functional.s9, **parameters) == pytest.approx(named, rel=1e-14)


@pytest.mark.parametrize(("alias", "functional"), ALIASES, ids=[alias for alias, _ in ALIASES])
def test_alias_means_the_same_here_and_in_the_oracle(alias: str, functional: Functional) -> None:
    parameters = damping_parameters(alias)
    assert parameters == functional.parameters
    named = _energy(method=FOREIGN.get(alias, alias))
    assert _energy(s9=0.0, **parameters._asdict()) == pytest.approx(named)


def test_no_two_functionals_share_a_name() -> None:
    owners: dict[str, set[str]] = {}
    for row in _rows():
        for name in (row["name"], *row["aliases"].split()):
            key = re.sub(r"[-_/ .()]", "", name).replace("ω", "w").replace("τ", "tau")
            owners.setdefault(key, set()).add(row["name"])
    assert [names for names in owners.values() if len(names) > 1] == []


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("PBE", "pbe"),
        (" pbe ", "pbe"),
        ("PBE 0", "pbe0"),
        ("PBE0", "pbe0"),
        ("r2SCAN", "r2scan"),
        ("r²SCAN", "r2scan"),
        ("B3LYP", "b3lyp"),
        ("BP86", "bp"),
        ("CAM-B3LYP", "camb3lyp"),
        ("ωB97X", "wb97x"),
        ("wB97M", "wb97m"),
        ("LC-ωhPBE", "lc_whpbe"),
        ("τ-HCTH", "tauhcth"),
        ("B97-1", "b97_1"),
        ("HF-3c", "hf3c"),
        ("B3LYP/6-31G(d)", "b3lyp_631gd"),
        ("revDSD-PBEP86", "revdsdpbep86"),
        ("PBEPBE", "pbe"),
        ("PBE1PBE", "pbe0"),
        ("HSE", "hse06"),
        ("PBE-D3", "pbe"),
        ("B3LYP-D3BJ", "b3lyp"),
        ("PBE1PBE-D3(BJ)", "pbe0"),
        ("rev-PBE d3(bj)", "revpbe"),
        ("r²SCAN-D3(BJ)", "r2scan"),
        ("B97-D3", "b97d"),
        ("B97-D3(BJ)", "b97d"),
        ("B97M-D3(BJ)", "b97m"),
        ("ωB97X-D3(BJ)", "wb97x"),
    ],
)
def test_names_are_read_as_people_write_them(spelling: str, name: str) -> None:
    assert damping_parameters(spelling) == damping_parameters(name)
    assert canonical_name(spelling) == name
    assert canonical_name(name) == name


@pytest.mark.parametrize(
    ("xc", "variant", "name"),
    [
        ("PBE-D3(0)", "zero", "pbe"),
        ("b3lyp-d3zero", "zero", "b3lyp"),
        ("B97-D3(0)", "zero", "b97d"),
        ("M06-2X-D3", "zero", "m062x"),
        ("ωB97X-D3", "zero", "wb97xd3"),
        ("PBE0-D3M(BJ)", "bjm", "pbe0"),
        ("pbe0-d3m", "bjm", "pbe0"),
        ("pbe0-d3m", "zerom", "pbe0"),
        ("pbe0-d3m(0)", "zerom", "pbe0"),
    ],
)
def test_names_of_a_variant_are_read_in_it(xc: str, variant: str, name: str) -> None:
    assert canonical_name(xc, variant) == name


@pytest.mark.parametrize(
    ("xc", "variant", "words"),
    [
        ("PBE-D3(0)", "bj", "which is zero damping: give variant='zero'"),
        ("b3lyp-d3zero", "bjm", "which is zero damping: give variant='zero'"),
        ("PBE0-D3M(BJ)", "bj", "which is modified Becke-Johnson damping: give variant='bjm'"),
        ("B97-D3(BJ)", "zero", "which is Becke-Johnson damping: give variant='bj'"),
        ("pbe-d3m", "zero", "which is modified Becke-Johnson damping or modified zero damping"),
        ("pbe-d4", "bj", "D4 is not included"),
        ("pbe-d4", "zero", "D4 is not included"),
    ],
)
def test_names_of_another_variant_are_refused(xc: str, variant: str, words: str) -> None:
    with pytest.raises(ValueError, match=f"^expected .*{re.escape(repr(xc))}.*{re.escape(words)}"):
        damping_parameters(xc, variant)


def test_every_name_may_carry_the_dispersion() -> None:
    """Where that is no name of another method."""
    for functional in functionals():
        for name in (functional.name, *functional.aliases):
            for suffix in ("-D3(BJ)", "-d3bj", "-D3"):
                if (name, suffix) != ("wb97x", "-D3"):
                    assert canonical_name(name + suffix) == functional.name
    assert spelled_functionals("zero")["pbed30"].parameters == damping_parameters("pbe", "zero")
    assert spelled_functionals()["pbed3bj"].parameters == damping_parameters("pbe")


def test_methods_defined_with_the_three_body_term_say_that_it_is_left_out() -> None:
    """B97-3c and PBEh-3c include it, HF-3c does not; r2SCAN-3c has D4."""
    assert [f.name for f in functionals() if f.three_body] == ["b973c", "pbeh3c"]
    words = r"b973c is defined with the three-body term of D3 .*add it with s9=1\.0$"
    with pytest.warns(DispersionWarning, match=words) as one:
        warn_of_three_body("B97-3c")
    assert len(one) == 1
    for name in ("pbe", "hf3c", "PBE-D3(BJ)"):
        warn_of_three_body(name)


def test_known_values() -> None:
    assert damping_parameters("PBE") == DampingParameters(1.0, 0.7875, 0.4289, 4.4407)
    assert damping_parameters("B2PLYP") == DampingParameters(0.64, 0.9147, 0.3065, 5.057)


def test_every_row_has_a_doi() -> None:
    for functional in (*functionals(), *OTHERS):
        assert re.fullmatch(r"10\.\d{4,5}/\S+", functional.doi), functional.name


def test_unclear_sources_are_marked() -> None:
    unclear = {f.name for f in functionals() if "not established" in f.note}
    assert unclear == {"dftb3", "hcth120", "hsesol", "pwgga"}
    assert {f.name for f in functionals() if f.doi == "10.21105/joss.07169"} == unclear
    zero = {f.name for f in OTHERS if "not established" in f.note}
    listed = {"hf", "pbesol", "pw6b95", "revpbe38", "rpbe", "rpw86pbe", "slaterdirac"}
    assert zero == listed | BY_NAME - {"wb97xd3"}


def test_patterns_find_functionals_by_name_and_alias() -> None:
    assert [f.name for f in functionals("r2scan")] == ["r2scan", "r2scan0", "r2scan50", "r2scanh"]
    assert [f.name for f in functionals("R2-SCAN??")] == ["r2scan50"]
    assert [f.name for f in functionals("bp86")] == ["bp", "dsdbp86"]
    assert functionals("nothing") == []
    assert len(functionals("*")) == len(functionals()) == 157


@pytest.mark.parametrize(
    ("xc", "error", "message"),
    [
        ("pbee", ValueError, r"got 'pbee' \(nearest: pbe,"),
        ("", ValueError, "known functional, got ''$"),
        ("PBE+U", ValueError, r"got 'PBE\+U' \(nearest: pbe"),
        (
            "M06-2X",
            ValueError,
            "expected .* Becke-Johnson damping parameters, got 'M06-2X', which has: zero$",
        ),
        ("M06-2X-D3", ValueError, "'M06-2X-D3', which has: zero"),
        ("M06-2X-D3(BJ)", ValueError, "which has: zero$"),
        ("ωB97X-D3", ValueError, "which has: zero$"),
        ("PBE-D3(BJ)-ATM", ValueError, "known functional"),
        ("D3(BJ)", ValueError, "known functional"),
        ("PW91P86", ValueError, "which has: zero$"),
        ("MS2", ValueError, r"which has: op \(not included\)$"),
        (1, TypeError, "string, got 1"),
        (None, TypeError, "string, got None"),
    ],
)
def test_wrong_names_are_refused(xc: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        damping_parameters(xc)


def test_wrong_pattern_is_refused() -> None:
    with pytest.raises(TypeError, match="got 1"):
        functionals(1)  # type: ignore[arg-type]


@pytest.mark.parametrize("variant", VARIANTS)
def test_functionals_without_parameters_are_refused_by_the_oracle_too(variant: str) -> None:
    known = {f.name for f in functionals(variant=variant)}
    others = [row["name"] for row in _rows() if row["name"] not in known]
    assert len(others) == 176 - len(known)
    for name in others:
        with pytest.raises(ValueError, match=f"got '{name}', which has: [a-z]+"):
            damping_parameters(name, variant)
        with pytest.raises(RuntimeError):
            _energy(variant, method=name)


def test_kinds_of_parameters_fit_the_variant() -> None:
    for variant, kind in VARIANTS.items():
        found = functionals("pbe", variant)[0].parameters
        assert type(found) is kind.kind
        assert resolve_damping(None, found, variant) == found
        assert resolve_damping(None, found._asdict(), variant) == found
    pbe = damping_parameters("pbe", "zero")
    assert resolve_damping(None, {"s6": 1, "s8": 0.722, "rs6": 1.217}, "zero") == pbe
    words = "expected damping of variant 'zerom' to give s6, s8, rs6, rs8, bet, got ZeroParameters"
    with pytest.raises(TypeError, match=words):
        resolve_damping(None, pbe, "zerom")
    with pytest.raises(TypeError, match=r"expected damping to give s6, s8, a1, a2, got Zero"):
        resolve_damping(None, pbe)
    with pytest.raises(ValueError, match="expected variant to be one of bj, bjm, zero, zerom"):
        damping_parameters("pbe", "d4")


def test_lengths_of_parameters_are_scaled() -> None:
    assert scaled_damping(DampingParameters(1.0, 2.0, 3.0, 4.0), 0.5) == (1.0, 2.0, 3.0, 2.0)
    zero = ModifiedZeroParameters(1.0, 2.0, 3.0, 1.0, 4.0)
    assert scaled_damping(zero, 0.5) == (1.0, 2.0, 3.0, 1.0, 8.0)

"""State dicts: settings that decide results are in them, or checked against them; never misread."""

from __future__ import annotations

import copy
import io
import json
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from d3torch import D3, D3BJ, DispersionWarning, Settings
from d3torch.evaluate import evaluate
from d3torch.state import EXTRA, unpacked

SETTINGS: dict[str, Any] = {"xc": "pbe", "cutoff": 9.0, "cn_cutoff": 7.0}
DAMPING = {"s6": 1.0, "s8": 0.7875, "a1": 0.4289, "a2": 4.4407}
CRYSTAL = [[0.0, 0.0, 0.0], [2.82, 0.0, 0.0]]
CELL = [[0.0, 2.82, 2.82], [2.82, 0.0, 2.82], [2.82, 2.82, 0.0]]


def _model(elements: Any = ("Na", "Cl"), **changes: Any) -> D3BJ:
    return D3BJ(elements, **{**SETTINGS, **changes})


def _energy(model: D3BJ) -> float:
    return evaluate(model, CRYSTAL, CELL, True, [11, 17]).energy.item()


def _older(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state as versions wrote it that kept no settings."""
    return {name: value for name, value in state.items() if not name.endswith(EXTRA)}


OTHERS = {
    "order of elements": (
        {"elements": ["Cl", "Na"]},
        r"elements \[17, 11\], got one with \[11, 17",
    ),
    "elements": ({"elements": ["Na", "Br"]}, r"elements \[11, 35\], got one with \[11, 17"),
    "units": ({"units": "hartree/bohr"}, "units hartree/bohr, got one with eV/A"),
    "reference": ({"reference": "2010"}, "reference 2010, got one with 2024"),
    "cutoff": ({"cutoff": 12.0}, "cutoff 12.0, got one with 9.0"),
    "cn_cutoff": ({"cn_cutoff": 9.0}, "cn_cutoff 9.0, got one with 7.0"),
    "width": ({"width": 1.0}, "width 1.0, got one with 0.0"),
    "tail": ({"tail": True, "width": 0.0}, "tail True, got one with False"),
    "variant": ({"variant": "bjm"}, "variant bjm, got one with bj"),
    "zero": ({"variant": "zero"}, "variant zero, got one with bj"),
    "three-body": ({"s9": 1.0, "atm_cutoff": 8.0}, "atm_cutoff 8.0, got one with 0.0"),
}


@pytest.mark.filterwarnings("ignore:a tail at a hard cutoff")
@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("name", OTHERS)
def test_a_state_of_other_settings_is_refused_and_changes_nothing(name: str, strict: bool) -> None:
    changes, message = OTHERS[name]
    other = _model(**changes)
    before = {k: v.clone() for k, v in other.state_dict().items()}
    with pytest.raises(ValueError, match=f"^expected a state with {message}"):
        other.load_state_dict(_model(xc="b3lyp").state_dict(), strict=strict)
    assert all(torch.equal(value, before[key]) for key, value in other.state_dict().items())


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"variant": "bjm"}, "variant bjm, got one with bj"),
        ({"variant": "zero"}, "variant zero, got one with bj"),
        ({"s9": 1.0, "atm_cutoff": 8.0}, "atm_cutoff 8.0, got one with 0.0"),
    ],
)
def test_a_state_from_before_there_were_variants_is_bj(changes: Any, words: str, strict: bool):
    """It tells neither variant nor three-body term."""
    state = _model().state_dict()
    newer = ("variant", "atm_cutoff", "atm_width")
    told = {k: v for k, v in unpacked(state[EXTRA]).items() if k not in newer}
    state[EXTRA] = torch.tensor(list(json.dumps(told).encode()), dtype=torch.uint8)
    _model(xc="b3lyp").load_state_dict(state, strict=strict)
    with pytest.raises(ValueError, match=f"^expected a state with {words}"):
        _model(**changes).load_state_dict(state, strict=strict)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    ("own", "other", "words"),
    [
        ({"variant": "zero"}, {}, "with s6, s8, rs6, rs8, got one with s6, s8, a1, a2"),
        ({}, {"variant": "zero"}, "with s6, s8, a1, a2, got one with s6, s8, rs6, rs8"),
        (
            {"variant": "zerom"},
            {"variant": "zero"},
            "with s6, s8, rs6, rs8, bet, got one with s6, s8, rs6, rs8",
        ),
        (
            {"variant": "zero"},
            {"variant": "zerom"},
            "with s6, s8, rs6, rs8, got one with s6, s8, rs6, rs8, bet",
        ),
        ({"s9": 1.0}, {}, "with s6, s8, a1, a2, s9, got one with s6, s8, a1, a2"),
        ({}, {"s9": 1.0}, "with s6, s8, a1, a2, got one with s6, s8, a1, a2, s9"),
        ({"variant": "bjm"}, {}, "that tells its settings for variant 'bjm', got one that does"),
    ],
)
def test_a_state_that_tells_nothing_is_known_by_its_names(
    own: Any, other: Any, words: str, strict: bool
) -> None:
    with pytest.raises(ValueError, match=f"^expected a state {words}"):
        _model(**own).load_state_dict(_older(_model(**other).state_dict()), strict=strict)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    "changes", [{"elements": ["Cl", "Na"]}, {"units": "hartree/bohr"}, {"elements": ["Na", "Br"]}]
)
def test_an_older_state_of_other_tables_is_refused(changes: dict[str, Any], strict: bool) -> None:
    with pytest.raises(
        ValueError, match=r"got one of other elements, units or reference, or rounded"
    ):
        _model(**changes).load_state_dict(_older(_model().state_dict()), strict=strict)


def test_an_older_state_of_another_reference_is_refused() -> None:
    """Where the generations differ at all: from francium on."""
    states = _older(D3BJ(["Fr"], "pbe", reference="2010").state_dict())
    with pytest.raises(
        ValueError, match=r"got one of other elements, units or reference, or rounded"
    ):
        D3BJ(["Fr"], "pbe").load_state_dict(states)


def test_an_older_state_is_read_and_what_it_does_not_tell_is_said() -> None:
    given, expected = _model(xc="b3lyp"), _model()
    with pytest.warns(DispersionWarning, match="does not tell its settings.*cutoff 9.0, cn_cutoff"):
        given.load_state_dict(_older(expected.state_dict()))
    assert _energy(given) == _energy(expected)


def test_a_part_of_a_state_is_no_silent_one() -> None:
    part = {"a2": torch.tensor(4.0, dtype=torch.float64)}
    with pytest.warns(DispersionWarning, match="or it is a part"):
        _model().load_state_dict(part, strict=False)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rounded_tables_are_refused(dtype: torch.dtype) -> None:
    """Half precision changes the energy by 3e-4 of it."""
    rounded = _model().to(dtype).state_dict()
    with pytest.raises(
        ValueError, match=r"^expected a state with rcov .* or rounded beyond float32"
    ):
        _model().load_state_dict(rounded)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("units", ["eV/A", "hartree/bohr"])
@pytest.mark.parametrize(
    "given",
    [{}, {"xc": None, "damping": DAMPING}, {"variant": "zerom"}, {"s9": 0.7, "atm_cutoff": 8.0}],
)
def test_a_module_that_was_rounded_has_all_digits_again(dtype, units, given) -> None:
    """Tables and fixed damping are constants: the way to a dtype does not matter."""
    again = copy.deepcopy(nn.Sequential(_model(units=units, **given)).to(dtype)).double()[0]
    state = _model(units=units, **given).state_dict()
    assert all(torch.equal(value, state[name]) for name, value in again.state_dict().items())
    single = _model(units=units, **given).to(dtype).float().state_dict()
    made = _model(units=units, dtype=torch.float32, **given).state_dict()
    assert all(torch.equal(value, made[name]) for name, value in single.items())


def test_a_damping_that_was_changed_or_learns_is_converted_as_it_is() -> None:
    model, learnable = _model(), _model(learnable=True)
    model.a1.fill_(0.3)
    found = model.float().double().a1.item()
    assert found == torch.tensor(0.3, dtype=torch.float32).item() != 0.3
    a1 = learnable.a1
    assert learnable.half().double().a1 is a1
    assert a1.item() == torch.tensor(0.4289, dtype=torch.float16).item()


def test_what_changes_no_dtype_keeps_the_tensors() -> None:
    model = _model()
    table = model.c6_ref
    assert model.share_memory().to("cpu").double().c6_ref is table
    assert table.is_shared()
    assert model.to("meta").half().c6_ref.is_meta


def test_a_state_may_have_been_through_float32() -> None:
    """As a whole, whose integers and settings are exact there."""
    given = {name: value.float() for name, value in _model().state_dict().items()}
    model = _model()
    model.load_state_dict(given)
    assert _energy(model) == pytest.approx(_energy(_model()), rel=1e-6)


@pytest.mark.parametrize("assign", [False, True])
def test_a_state_of_float32_gives_a_module_of_float64_all_digits(assign: bool) -> None:
    """Those of tables and of a damping that is known; one that was learned stays as rounded."""
    given = _model().float().state_dict()
    model, table = _model(), _model().c6_ref
    model.load_state_dict(given, assign=assign)
    if not assign:
        assert torch.equal(model.c6_ref, table)
        assert _energy(model) == _energy(_model())
    assert model.settings == _model().settings
    learned = _model()
    learned.s8 *= 1.1
    model.load_state_dict({k: v.float() for k, v in learned.state_dict().items()})
    assert model.s8 == learned.s8.float().to(model.s8.dtype)


def test_the_functional_goes_with_its_damping() -> None:
    other = _model(xc="b3lyp")
    other.load_state_dict(_model(xc="PBE-D3(BJ)").state_dict())
    assert (other.xc, _energy(other)) == ("pbe", _energy(_model()))


@pytest.mark.parametrize("assign", [True, False])
def test_a_module_made_on_meta_is_whole_after_loading(assign: bool) -> None:
    """As loaders of big models do; what is not in the state would be garbage."""
    expected = _model()
    with torch.device("meta"):
        model = _model(xc="b3lyp")
    if not assign:
        model = model.to_empty(device="cpu")
        for buffer in model.buffers():
            buffer.fill_(7)
    model.load_state_dict(expected.state_dict(), assign=assign)
    assert not any(tensor.is_meta for tensor in (*model.buffers(), *model.parameters()))
    assert model.species(torch.tensor([17, 11])).tolist() == [1, 0]
    with pytest.raises(ValueError, match=r"among \[11, 17\], got 6"):
        model.species(torch.tensor([6]))
    assert _energy(model) == _energy(expected)


@pytest.mark.parametrize("changes", [{}, {"variant": "zero"}, {"s9": 1.0}])
def test_every_tensor_of_a_module_is_in_its_state(changes: dict[str, Any]) -> None:
    """What a loader does not fill cannot decide a result."""
    model = _model(learnable=True, **changes)
    names = {name for name, _ in (*model.named_buffers(), *model.named_parameters())}
    assert names == {*model.state_dict()} - {EXTRA}


def test_a_state_is_tensors_and_survives_a_file_of_weights_alone() -> None:
    state = _model().state_dict()
    assert all(isinstance(value, Tensor) for value in state.values())
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    other = _model(xc="b3lyp")
    other.load_state_dict(torch.load(file, weights_only=True))
    assert _energy(other) == _energy(_model())


def test_inside_another_module() -> None:
    outer, other = nn.ModuleDict({"d3": _model()}), nn.ModuleDict({"d3": _model(["Cl", "Na"])})
    with pytest.raises(ValueError, match="expected a state with elements"):
        other.load_state_dict(outer.state_dict())
    nn.ModuleDict({"d3": _model(xc="b3lyp")}).load_state_dict(outer.state_dict())
    other.load_state_dict({}, strict=False)  # the state of something else: nothing to say


def test_a_pickle_of_an_older_version_is_read() -> None:
    """It kept a lookup table and neither elements nor reference."""
    model = _model()
    for name in ("elements", "reference", "xc", "variant", "form", "atm_cutoff", "atm_width"):
        del model.__dict__[name]
    model.register_buffer("lookup", torch.zeros(19, dtype=torch.long), persistent=False)
    again = pickle.loads(pickle.dumps(model))
    assert "lookup" not in dict(again.named_buffers())
    assert _energy(again) == _energy(_model())
    _model().load_state_dict(again.state_dict())


def test_scripted_species_follow_the_loaded_elements() -> None:
    """TorchScript checks nothing, but names and tables stay together."""
    scripted = torch.jit.script(_model(["Cl", "Na"]))
    scripted.load_state_dict(_older(_model().state_dict()))
    assert scripted.species(torch.tensor([17, 11])).tolist() == [1, 0]
    with pytest.raises(RuntimeError, match="_extra_state"):
        scripted.load_state_dict(_model().state_dict())
    assert "TorchScript checks nothing" in str(D3BJ.__doc__)
    scripted.load_state_dict(_model(cutoff=12.0).state_dict(), strict=False)
    assert scripted.cutoff == 9.0


def test_what_is_no_state_of_ours_is_refused() -> None:
    state = {**_model().state_dict(), EXTRA: torch.zeros(3, dtype=torch.uint8)}
    with pytest.raises(ValueError, match=r"^expected settings of d3torch in a state, got"):
        _model().load_state_dict(state)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_state_of_few_digits_fits_a_module_of_as_few(dtype: torch.dtype) -> None:
    """And none of more, nor one of other elements."""
    model = D3(["H", "O"], xc="pbe").to(dtype)
    D3(["H", "O"], xc="pbe").to(dtype).load_state_dict(model.state_dict())
    for other in (D3(["H", "O"], xc="pbe"), D3(["H", "C"], xc="pbe").to(dtype)):
        with pytest.raises(ValueError, match="expected a state with"):
            other.load_state_dict(model.state_dict())


def test_a_damping_that_diverged_can_be_copied_and_saved() -> None:
    model = D3(["H", "O"], xc="pbe", learnable=True)
    model.s8.data.fill_(float("nan"))
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.isnan(copied.s8)
        copied.s8.data.fill_(0.7)
        assert copied.settings.damping.s8 == pytest.approx(0.7)


def test_a_module_on_meta_can_be_copied() -> None:
    copied = copy.deepcopy(D3(["H", "O"], xc="pbe").to("meta"))
    assert copied.numbers.is_meta
    assert [*copied.elements] == [1, 8]


def test_settings_that_went_through_bohr_are_the_same() -> None:
    """12 A comes back as 12.000000000000002."""
    settings = Settings(xc="pbe", cutoff=12.0, cn_cutoff=12.0)
    back = settings.module(["H"], units="hartree/bohr").settings
    back.module(["H"]).load_state_dict(settings.module(["H"]).state_dict())
    with pytest.raises(ValueError, match=r"expected a state with cutoff 12\.001"):
        settings.replace(cutoff=12.001).module(["H"]).load_state_dict(
            settings.module(["H"]).state_dict()
        )

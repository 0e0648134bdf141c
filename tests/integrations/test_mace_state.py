"""States of MACE models with D3: whole after loading, and refused where heads or D3 differ."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch

pytest.importorskip("mace", reason="needs mace-torch: pip install mace-torch")

import mace_models as models
from mace_models import EVERYTHING, RANGE, some

from d3torch import DispersionWarning
from d3torch.integrations.mace import MACED3, torchscript
from d3torch.integrations.mace.model import NAMED
from d3torch.state import EXTRA

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning"),
    pytest.mark.usefixtures("one_thread"),
]
one_thread = models.one_thread
HEADS = ["with", "without"]


def fused(d3_heads: list[str], **changes: Any) -> MACED3:
    return MACED3(models.build(heads=HEADS), "pbe", d3_heads=d3_heads, **{**RANGE, **changes})


def dispersion_of(model: Any, head: str) -> torch.Tensor:
    data = models.batch(model, some("molecule"), head)
    found: torch.Tensor = model(data, **EVERYTHING)["dispersion_energy"].detach()
    return found


@pytest.mark.parametrize("assign", [True, False])
def test_a_model_made_on_meta_is_whole_after_loading(assign: bool) -> None:
    expected = fused(["with"])
    model = copy.deepcopy(expected).to("meta")
    if not assign:
        model = model.to_empty(device="cpu")
        for tensor in (*model.buffers(), *model.parameters()):
            tensor.data.fill_(7)
    model.load_state_dict(expected.state_dict(), assign=assign)
    for name in NAMED:
        assert torch.equal(getattr(model, name), getattr(expected, name))
    for head in HEADS:
        assert torch.equal(dispersion_of(model, head), dispersion_of(expected, head))
    assert dispersion_of(model, "without").item() == 0.0 > dispersion_of(model, "with").item()


@pytest.mark.parametrize("strict", [True, False])
def test_a_state_of_other_heads_or_other_dispersion_is_refused(strict: bool) -> None:
    state = fused(["with"]).state_dict()
    with pytest.raises(ValueError, match=r"d3_heads \['without'\], got one with \['with'\]"):
        fused(["without"]).load_state_dict(state, strict=strict)
    with pytest.raises(ValueError, match=r"cutoff 12.0, got one with 11.0"):
        fused(["with"], cutoff=12.0).load_state_dict(state, strict=strict)


def test_states_and_files_of_older_versions_are_read() -> None:
    """They had shares of heads as a buffer beside the state, and no settings."""
    expected, model = fused(["with"]), fused(["with"])
    older = {k: v for k, v in expected.state_dict().items() if not k.endswith(EXTRA)}
    with pytest.warns(DispersionWarning, match="does not tell its settings"):
        model.load_state_dict(older)
    file = copy.deepcopy(expected)
    file.register_buffer("head_shares", torch.ones(2), persistent=False)
    again = pickle.loads(pickle.dumps(file))
    for head in HEADS:
        assert torch.equal(dispersion_of(again, head), dispersion_of(expected, head))


def test_heads_in_torchscript() -> None:
    model = fused(["without"])
    scripted = torchscript(model)
    for head in HEADS:
        assert torch.allclose(
            dispersion_of(scripted, head), dispersion_of(model, head), rtol=0, atol=1e-12
        )


def test_the_functional_has_one_name_in_the_file() -> None:
    model = MACED3(models.build(), "rev-PBE-D3(BJ)", **RANGE)
    assert model.settings.xc == "revpbe"

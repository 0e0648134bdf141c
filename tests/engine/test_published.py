"""The structures and parameters that simple-dftd3 tests other dampings and three-body terms with.

Energies of molecules were published in its tests; crystals are compared with it live, since its
tests compare them with finite differences alone.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import oracle
import pytest
import torch
from checkout import ROOT

from d3torch import D3
from d3torch.ops import Evaluation
from d3torch.units import BOHR, HARTREE

PUBLISHED = json.loads((ROOT / "tests" / "data" / "published.json").read_text(encoding="utf-8"))
named = {"ids": lambda case: case["name"]}


def _evaluation(case: dict[str, Any], **reach: float) -> Evaluation:
    """Results in hartree and bohr."""
    damping = {name: case[name] for name in ("variant", "damping", "s9")}
    model = D3(sorted(set(case["numbers"])), **damping, **reach, units="hartree/bohr")
    species = model.species(torch.tensor(case["numbers"]))
    positions = torch.tensor(case["positions"], dtype=torch.float64)
    cell = torch.tensor(case["cell"], dtype=torch.float64) if "cell" in case else None
    return model.evaluate(model.systems(positions, species, cell))


@pytest.mark.parametrize("case", PUBLISHED["molecules"], **named)
def test_molecules_have_the_published_energies(case: dict[str, Any]) -> None:
    energy = _evaluation(case, atm_cutoff=40.0).energy.item()
    assert energy == pytest.approx(case["energy"], rel=1e-14)


@pytest.mark.parametrize("case", PUBLISHED["crystals"], **named)
def test_crystals_have_the_energies_and_slopes_of_simple_dftd3(case: dict[str, Any]) -> None:
    """With the cutoffs of its own tests: 60, three-body 15, CN 30 bohr."""
    found = _evaluation(case, cutoff=60.0, atm_cutoff=15.0, cn_cutoff=30.0)
    angstrom = (np.array(case[name]) * BOHR for name in ("positions", "cell"))
    reach = {"cutoff": 60 * BOHR, "cn_cutoff": 30 * BOHR, "atm_cutoff": 15 * BOHR}
    damping = {"xc": case["damping"], "variant": case["variant"], "s9": case["s9"]}
    truth = oracle.dispersion(case["numbers"], *angstrom, [True] * 3, **reach, **damping)
    assert found.energy.item() * HARTREE == pytest.approx(truth.energy, rel=1e-12)
    for name, mine, theirs in (
        ("forces", -found.gradient * HARTREE / BOHR, truth.forces),
        ("virial", found.virial[0] * HARTREE, truth.virial),
    ):
        error = np.abs(mine.numpy() - theirs).max() / np.abs(theirs).max()
        assert error < 1e-10, name

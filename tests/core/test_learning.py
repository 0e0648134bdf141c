"""The damping parameters can be learnt from energies and forces."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from ase.collections import s22
from systems import pair_list
from torch import Tensor

from d3torch import D3BJ, damping_parameters
from d3torch.model import BACKENDS
from d3torch.units import BOHR

DIMERS = (
    "Ammonia_dimer",
    "Water_dimer",
    "Methane_dimer",
    "Ethene_dimer",
    "Benzene-methane_complex",
)


class Sample:
    """One dimer: its pairs, and its energy and forces as functions of the model."""

    def __init__(self, name: str, model: D3BJ) -> None:
        atoms = s22[name]
        self.pairs, self.vectors = pair_list(atoms.positions, atoms.cell, False, model.cutoff)
        self.species = model.species(torch.tensor(atoms.numbers))

    def __call__(self, model: D3BJ) -> tuple[Tensor, Tensor]:
        vectors = self.vectors.clone().requires_grad_()
        energy = model(vectors, self.pairs, self.species).sum()
        (slope,) = torch.autograd.grad(energy, vectors, create_graph=True)
        forces = torch.zeros(len(self.species), 3, dtype=slope.dtype)
        return energy, forces.index_add(0, self.pairs[0], slope).index_add(0, self.pairs[1], -slope)


def _fit(model: D3BJ, samples: Sequence[Sample], targets: Sequence[tuple[Tensor, Tensor]]) -> None:
    """LBFGS on energies and forces, both relative to their size."""
    learnt = [model.s8, model.a1, model.a2]
    optimizer = torch.optim.LBFGS(
        learnt,
        max_iter=400,
        tolerance_grad=1e-14,
        tolerance_change=1e-18,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        total = torch.zeros((), dtype=torch.float64)
        for sample, (energy, forces) in zip(samples, targets, strict=True):
            mine, my_forces = sample(model)
            total = total + ((mine - energy) / energy) ** 2
            total = total + ((my_forces - forces) ** 2).sum() / (forces**2).sum()
        for parameter, slope in zip(learnt, torch.autograd.grad(total, learnt), strict=True):
            parameter.grad = slope
        return total

    optimizer.step(loss)


@pytest.mark.parametrize("backend", BACKENDS)
def test_parameters_of_pbe_are_recovered_from_energies_and_forces(backend: str) -> None:
    elements = ["H", "C", "N", "O"]
    truth = D3BJ(elements, "pbe")
    samples = [Sample(name, truth) for name in DIMERS]
    targets = [(e.detach(), f.detach()) for e, f in (sample(truth) for sample in samples)]
    wrong = {"s6": 1.0, "s8": 1.6, "a1": 0.2, "a2": 5.5}
    model = D3BJ(elements, damping=wrong, learnable=True, backend=backend)
    _fit(model, samples, targets)
    pbe = damping_parameters("pbe")
    assert model.s8.item() == pytest.approx(pbe.s8, rel=1e-4)
    assert model.a1.item() == pytest.approx(pbe.a1, rel=1e-4)
    assert model.a2.item() == pytest.approx(pbe.a2 * BOHR, rel=1e-4)

"""What programs are asked, and what they answer."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from d3torch.parameters import damping_parameters
from d3torch.units import BOHR, HARTREE


class Answer(NamedTuple):
    """Energy, eV, and forces (n, 3), eV/A."""

    energy: float
    forces: Any


class Refusal(Exception):
    """What a program cannot be asked."""


class Question(NamedTuple):
    """Which D3: functional, variant ("bj", "bjm", "zero", "zerom"), with the three-body term."""

    xc: str = "pbe"
    variant: str = "bj"
    three_body: bool = False

    def rational(self) -> Any:
        """Parameters s6, s8, a1, a2 for a program that has rational damping of pairs only."""
        if self.variant != "bj" or self.three_body:
            raise Refusal("bj without three-body term only")
        return damping_parameters(self.xc)


def from_atomic(energy: Any, gradient: Any) -> Answer:
    slope = np.asarray(gradient, dtype=np.float64).reshape(-1, 3)
    return Answer(float(energy) * HARTREE, -slope * HARTREE / BOHR)


def by_calculator(calculator: Any, atoms: Any) -> Answer:
    calculator.calculate(atoms, ["energy", "forces"])
    energy = np.asarray(calculator.results["energy"], dtype=np.float64)
    return Answer(float(energy.sum()), np.asarray(calculator.results["forces"], dtype=np.float64))

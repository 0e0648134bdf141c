"""Why programs differ: d3torch's own D3, changed step by step into that of each program."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from benchmarks.agreement.libraries import MLIPOPS_BOHR, MLIPOPS_COULOMB, TOOLKIT_BOHR
from benchmarks.agreement.question import Answer
from benchmarks.agreement.twin import OLD_BOHR, Properties, evaluate


class Step(NamedTuple):
    """One cause in words, and the properties that it changes."""

    cause: str
    change: dict[str, Any]


class Deviation(NamedTuple):
    """Of the energy, relative, and of the forces, by the largest force component."""

    energy: float
    force: float


THE_2010 = Step("tables of 2010", {"reference": "2010"})
OLD_LENGTHS = Step(
    "covalent radii (by the bohr 0.52917726 A) and Q from numbers in float32, with 8 decimals",
    {"old_lengths": True},
)
SINGLE_LENGTHS = Step("both stored in float32", {"single_tables": "lengths"})
NEAREST = Step(
    "weights that underflow: nearest reference, and no derivative of C6", {"nearest": True}
)
SINGLE = Step("float32", {"single": True})
LEAST = Step("weights below exp(-12) of the largest left out", {"least": -12.0})


def _bohr(value: float) -> Step:
    return Step(f"bohr {value!r} A", {"bohr": value})


def _hartree(value: float) -> Step:
    return Step(f"hartree {value!r} eV", {"hartree": value})


def _torch_dftd(*cutoffs: Step) -> list[Step]:
    constants = _bohr(OLD_BOHR), _hartree(27.21138505)
    return [*cutoffs, THE_2010, *constants, OLD_LENGTHS, SINGLE_LENGTHS]


ONE_LIST = "one list: CN cutoff = cutoff"
CUTOFF_95 = Step("cutoff 95 bohr", {"cutoff": 95.0})
REACH = 15.0 / TOOLKIT_BOHR

_FOURIER = [
    Step("summed to infinity", {"tail": True}),
    Step("a counting function of its own, 0 at 6 A", {"steeper": 6.0, "cn_cutoff": 6 / OLD_BOHR}),
    _bohr(OLD_BOHR),
    _hartree(27.21138505),
    SINGLE,
]

LADDERS: dict[str, list[Step]] = {
    "simple-dftd3": [
        Step("atoms moved into the cell along vectors without periodicity", {"folded": True})
    ],
    "simple-dftd3, in vacuum": [],
    "DFT-D3 (original)": [
        Step("cutoff sqrt(9000) bohr", {"cutoff": 9000**0.5}),
        THE_2010,
        _bohr(OLD_BOHR),
        OLD_LENGTHS,
        SINGLE_LENGTHS,
        Step("damping parameters in float32", {"single_damping": True}),
        NEAREST,
    ],
    "torch-dftd": [*_torch_dftd(CUTOFF_95), SINGLE],
    "torch-dftd, float64": _torch_dftd(CUTOFF_95),
    "torch-dftd as mace_mp": _torch_dftd(Step("cutoff 40 bohr", {"cutoff": 40.0})),
    "tad-dftd3": [
        Step("no cell", {"images": "none"}),
        Step("bohr 0.52917721067 A in radii", {"radii_bohr": 0.52917721067}),
    ],
    "nvalchemi": [
        Step("cutoff 15 A", {"cutoff": REACH}),
        Step(ONE_LIST, {"cn_cutoff": REACH}),
        Step("switched off over 3 A", {"width": 0.2 * REACH}),
        THE_2010,
        _bohr(TOOLKIT_BOHR),
        LEAST,
        SINGLE,
    ],
    "torch-sim": [
        CUTOFF_95,
        Step(ONE_LIST, {"cn_cutoff": 95.0}),
        THE_2010,
        _bohr(0.529177210903),
        _hartree(27.211386245988),
        LEAST,
        SINGLE,
    ],
    "metatomic": [
        Step("cutoff 50 bohr", {"cutoff": 50.0}),
        Step("CN cutoff 25 bohr", {"cn_cutoff": 25.0}),
        _bohr(0.5291772105448199),
        _hartree(27.211386245981465),
        Step("tables in float32", {"single_tables": "all", "radii_bohr": 0.52917721}),
    ],
    "LAMMPS dispersion/d3": [
        Step("cutoff 30 A", {"cutoff": 30.0 / 0.52917725}),
        Step("CN cutoff 20 A", {"cn_cutoff": 20.0 / 0.52917725}),
        THE_2010,
        _bohr(0.52917725),
        _hartree(27.21140795),
        OLD_LENGTHS,
        NEAREST,
    ],
    "disprs": [],
    "mlipops": [
        Step("nearest image of each pair alone", {"images": "nearest"}),
        Step("14.3996454 eV for the hartree", {"hartree": MLIPOPS_COULOMB}),
        _bohr(MLIPOPS_BOHR),
        SINGLE,
        Step("weights that underflow give NaN", {"plain": True}),
    ],
    "FourierD3": _FOURIER,
    "FourierD3, fine": _FOURIER[:-1],
}


def deviation(theirs: Answer, ours: Answer) -> Deviation:
    """Of a program from us; 0 where both are not a number."""
    if np.isnan(theirs.energy) and np.isnan(ours.energy):
        return Deviation(0.0, 0.0)
    top = np.abs(ours.forces).max()
    return Deviation(
        theirs.energy / ours.energy - 1, float(np.abs(theirs.forces - ours.forces).max() / top)
    )


class Rung(NamedTuple):
    """After a step: what is left of the deviation of a program, and what the step changed in us."""

    left: Deviation
    effect: Deviation


def properties(program: str, steps: int | None = None) -> Properties:
    """Ours after all or the first steps of the ladder of a program."""
    changes = [step.change for step in LADDERS[program]][:steps]
    return Properties()._replace(**{name: v for change in changes for name, v in change.items()})


def ladder(program: str, atoms: Any, theirs: Answer) -> list[Rung]:
    """Us as we are, and after each step of the ladder of a program."""
    found: list[Rung] = []
    before = None
    for steps in range(len(LADDERS[program]) + 1):
        ours = evaluate(atoms, properties(program, steps))
        effect = deviation(ours, before or ours)
        found.append(Rung(deviation(theirs, ours), effect))
        before = ours
    return found

"""A device against the numbers of simple-dftd3 that are stored in tests/data/oracle.json.

Energy, forces and virial of a few structures in float64 and float32, through the lattice engine;
and those of the device against those of the CPU in float64, for positions that were rounded alike.
Fails if any is too far off. In place of a GPU, "emulated" takes tests/helpers/emulated_card.py.

    python scripts/checks/stored_oracle.py --device cuda
    python scripts/checks/stored_oracle.py --device emulated --most-atoms 50
    python scripts/checks/stored_oracle.py --write     # the file anew, by simple-dftd3
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from d3torch import D3BJ
from d3torch.evaluate import Results, evaluate
from d3torch.files import written_aside
from d3torch.units import BOHR

ROOT = Path(__file__).parents[2]
FILE = ROOT / "tests" / "data" / "oracle.json"
GLASSES = {"NS33": "d3torch/data/NS33_1500.extxyz", "SiO2": "tests/data/SiO2_1500.extxyz"}
DTYPES = {"float64": torch.float64, "float32": torch.float32}
# Of energy, forces and virial, to their largest component. The oracle's positions are not rounded
# to float32: 1e-6 A changes the force between bonded atoms, whose counting is steep, by 1e-5.
TOLERANCE = {"float64": (1e-12, 1e-10, 1e-10), "float32": (1e-5, 5e-5, 1e-5)}
TOLERANCE_OF_DEVICES = {"float64": (1e-12, 1e-11, 1e-11), "float32": (1e-5, 1e-5, 1e-5)}
STORED_ROWS = 128
"""Forces are stored for as many atoms; of the others only through their norm."""
Array = NDArray[np.float64]


class Case(NamedTuple):
    """A structure (angstrom), a functional, cutoffs (bohr), and what the oracle says (eV, A)."""

    name: str
    numbers: Array
    positions: Array
    cell: Array
    pbc: Array
    xc: str
    cutoff: float
    cn_cutoff: float
    energy: float = 0.0
    forces: Array = np.zeros((0, 3))
    forces_norm: float = 0.0
    forces_largest: float = 0.0
    virial: Array = np.zeros((3, 3))


# ---- the file ----


def read_glass(file: str) -> dict[str, Any]:
    """Geometry of a structure that the repository holds."""
    from ase.io import read

    atoms = read(ROOT / file)
    geometry = (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
    return dict(zip(Case._fields[1:5], geometry, strict=True))


def stored(file: Path = FILE) -> Iterator[Case]:
    """The cases of a file."""
    for entry in json.loads(file.read_text(encoding="utf-8"))["cases"]:
        given = read_glass(entry.pop("file")) if "file" in entry else {}
        yield Case(
            **{k: np.array(v) if isinstance(v, list) else v for k, v in entry.items()}, **given
        )


def small_systems() -> dict[str, tuple[Any, ...]]:
    """Numbers, positions, cell and pbc of what the file holds itself, by name."""
    from ase.build import bulk, fcc111
    from ase.collections import s22

    rng = np.random.default_rng(1)
    metal, slab = bulk("Cu", cubic=True), fcc111("Pt", (1, 2, 3), orthogonal=True)
    metal.rattle(0.1, seed=2), slab.rattle(0.1, seed=3)
    pair = s22["Adenine-thymine_complex_stack"]
    found: dict[str, tuple[Any, ...]] = {
        name: (atoms.numbers, atoms.positions, np.array(atoms.cell), np.array(atoms.pbc))
        for name, atoms in zip(("adenine and thymine", "copper", "slab of platinum"),
                               (pair, metal, slab), strict=True)
    }  # fmt: skip
    cell = np.array([[7.1, 0.0, 0.0], [2.3, 6.2, 0.0], [-1.9, 2.7, 8.4]])
    inside = (np.array(list(np.ndindex(2, 2, 3))) + rng.uniform(-0.15, 0.15, (12, 3))) / [2, 2, 3]
    inside[::5] += [1, -2, 3]
    oxide = np.array([22, 8, 20, 6, 8, 8] * 2)
    found["triclinic, atoms outside"] = (oxide, inside @ cell, cell, np.ones(3, bool))
    elements = np.array([z for z in range(1, 104) if z not in (96, 101)])  # oracle: wrong CN there
    grid = 3.6 * np.array(list(np.ndindex(5, 5, 5)))[: len(elements)]
    grid += rng.uniform(-0.2, 0.2, grid.shape)
    found["101 elements"] = (elements, grid, np.zeros((3, 3)), np.zeros(3, bool))
    return found


def structures() -> Iterator[tuple[Case, str]]:
    """Cases without results, and the file that holds their geometry, or nothing."""
    for glass, cutoff in (("NS33", 95), ("NS33", 60), ("NS33", 40), ("SiO2", 60)):
        geometry, name = read_glass(GLASSES[glass]), f"{glass}, {cutoff}/40 bohr"
        yield Case(name, **geometry, xc="pbe", cutoff=cutoff, cn_cutoff=40), GLASSES[glass]
    for name, system in small_systems().items():
        xc = "pbe" if name in ("triclinic, atoms outside", "101 elements") else "b3lyp"
        yield Case(name, *system, xc=xc, cutoff=60, cn_cutoff=40), ""


def write() -> None:
    """The file, by the oracle that is installed."""
    from importlib import metadata

    sys.path.insert(0, str(ROOT / "tests" / "helpers"))
    from oracle import dispersion

    entries = []
    for case, file in structures():
        found = dispersion(*case[1:6], cutoff=case.cutoff * BOHR, cn_cutoff=case.cn_cutoff * BOHR)
        case = case._replace(
            energy=found.energy,
            forces=found.forces[:STORED_ROWS] if not file else found.forces[:8],
            forces_norm=float(np.linalg.norm(found.forces)),
            forces_largest=float(np.abs(found.forces).max()),
            virial=found.virial,
        )
        entry = {
            k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in case._asdict().items()
        }
        if file:
            entry = {"file": file, **{k: v for k, v in entry.items() if k not in Case._fields[1:5]}}
        entries.append(entry)
    version = metadata.version("dftd3")
    source = f"simple-dftd3 {version} (dftd3 of PyPI), by scripts/checks/stored_oracle.py"
    text = json.dumps(
        {"source": source, "units": "eV, angstrom; cutoffs in bohr", "cases": entries}
    )
    text = text.replace('{"', '\n{"') + "\n"
    with written_aside(FILE) as partial:
        partial.write_text(text, encoding="utf-8")


# ---- comparison ----


def card_of(device: str) -> AbstractContextManager[object]:
    """The emulated card, if it is the device."""
    if device != "emulated":
        return nullcontext()
    sys.path.insert(0, str(ROOT / "tests" / "helpers"))
    from emulated_card import EmulatedCard

    return EmulatedCard()


def compute(case: Case, device: str, dtype: torch.dtype) -> Results:
    """What d3torch says on a device."""
    cutoffs = {"cutoff": case.cutoff * BOHR, "cn_cutoff": case.cn_cutoff * BOHR}
    model = D3BJ(np.unique(case.numbers).tolist(), case.xc, dtype=dtype, **cutoffs)
    model = model.to("cpu" if device == "emulated" else device)
    cell = case.cell if case.pbc.any() else None
    with card_of(device):
        return evaluate(model, case.positions, cell, case.pbc, case.numbers)


def from_oracle(case: Case, found: Results) -> tuple[float, float, float]:
    """Deviations of energy, forces (of the rows stored, and of the norm) and virial."""
    forces = found.forces.numpy()
    rows = np.abs(forces[: len(case.forces)] - case.forces).max() / case.forces_largest
    norm = abs(np.linalg.norm(forces) / case.forces_norm - 1)
    virial = np.abs(found.virial.numpy() - case.virial).max() / np.abs(case.virial).max()
    return abs(found.energy.item() / case.energy - 1), max(rows, norm), virial


def from_cpu(found: Results, expected: Results) -> tuple[float, float, float]:
    """Deviations of energy, forces and virial."""
    pairs = ((found.forces, expected.forces), (found.virial, expected.virial))
    forces, virial = (((a - b).abs().max() / b.abs().max()).item() for a, b in pairs)
    return abs(found.energy.item() / expected.energy.item() - 1), forces, virial


def rounded(case: Case, dtype: torch.dtype) -> Case:
    """The case whose positions and cell a precision can hold."""
    x, cell = (torch.from_numpy(a).to(dtype).double().numpy() for a in (case.positions, case.cell))
    return case._replace(positions=x, cell=cell)


def rows(
    device: str, file: Path = FILE, most_atoms: int | None = None
) -> Iterator[tuple[list[str], bool]]:
    """A line of the table for each case and precision, and whether it is good."""
    for case in stored(file):
        if most_atoms and len(case.numbers) > most_atoms:
            continue
        for name, dtype in DTYPES.items():
            found = compute(case, device, dtype)
            expected = compute(rounded(case, dtype), "cpu", torch.float64)
            oracle, cpu = from_oracle(case, found), from_cpu(found, expected)
            limits = (*TOLERANCE[name], *TOLERANCE_OF_DEVICES[name])
            good = all(e <= limit for e, limit in zip((*oracle, *cpu), limits, strict=True))
            numbers = [f"{e:.1e}" for e in (*oracle, *cpu)]
            yield (
                [case.name, str(len(case.numbers)), name, *numbers, "" if good else "TOO FAR"],
                good,
            )


def main(arguments: list[str] | None = None) -> int:
    """Compare and print; 1 if a number is too far off."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--most-atoms", type=int, metavar="N", help="no larger structures")
    parser.add_argument("--file", type=Path, default=FILE, help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help="the file anew, by simple-dftd3")
    args = parser.parse_args(arguments)
    if args.write:
        write()
        return 0
    source = json.loads(args.file.read_text(encoding="utf-8"))["source"]
    print(f"{args.device} against {source}, and against the CPU in float64.\n")
    head = ["case", "atoms", "", "energy", "forces", "virial"]
    head += ["of CPU: energy", "forces", "virial", ""]
    print("| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|")
    all_good = True
    for row, good in rows(args.device, args.file, args.most_atoms):
        print("| " + " | ".join(row) + " |", flush=True)
        all_good &= good
    return 0 if all_good else 1


if __name__ == "__main__":
    sys.exit(main())

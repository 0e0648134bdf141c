"""Tiny random models of MACE's own classes, and structures in the form that these take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import ase.build
import mace.modules  # before e3nn: it lets torch >= 2.6 read e3nn's own files
import numpy as np
import pytest
import torch
from ase import Atoms
from e3nn import o3
from mace import data
from mace.tools import AtomicNumberTable, torch_geometric

from d3torch import D3BJ
from d3torch.evaluate import Results, evaluate

RANGE = {"cutoff": 11.0, "cn_cutoff": 8.0, "width": 2.0}
"""That of D3 in most tests: short, to be quick."""

EVERYTHING = {"compute_virials": True, "compute_stress": True}

NUMBERS = (1, 6, 8, 11, 14)
SETTINGS: dict[str, Any] = {
    "r_max": 3.5,
    "num_bessel": 4,
    "num_polynomial_cutoff": 5,
    "max_ell": 1,
    "num_interactions": 2,
    "hidden_irreps": "4x0e+4x1o",
    "MLP_irreps": "4x0e",
    "correlation": 2,
    "avg_num_neighbors": 8.0,
    "radial_MLP": [8],
}
"""Those of a model that is built and run in a moment."""


def build(
    kind: str = "ScaleShiftMACE",
    heads: Sequence[str] = ("Default",),
    dtype: torch.dtype = torch.float64,
    numbers: Sequence[int] = NUMBERS,
    **settings: Any,
) -> Any:
    """A model with random weights, the same ones at every call."""
    given = {**SETTINGS, **settings}
    residual = mace.modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    if kind == "ScaleShiftMACE":
        given.update(atomic_inter_scale=[0.5] * len(heads), atomic_inter_shift=[0.1] * len(heads))
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(7)
            return getattr(mace.modules, kind)(
                **{
                    **given,
                    "hidden_irreps": o3.Irreps(given["hidden_irreps"]),
                    "MLP_irreps": o3.Irreps(given["MLP_irreps"]),
                },
                num_elements=len(numbers),
                interaction_cls=residual,
                interaction_cls_first=residual,
                atomic_energies=np.linspace(-1.0, -2.0, len(heads) * len(numbers)).reshape(
                    len(heads), -1
                ),
                atomic_numbers=list(numbers),
                gate=torch.nn.functional.silu,
                heads=list(heads),
            )
    finally:
        torch.set_default_dtype(default)


def rattled(atoms: Atoms, seed: int = 1) -> Atoms:
    """The structure with its atoms moved at random by some hundredths of an angstrom."""
    atoms.rattle(0.05, seed=seed)
    return atoms


def crystal() -> Atoms:
    """Silicon with two atoms replaced, in a skewed cell."""
    atoms = ase.build.bulk("Si", cubic=True)
    atoms.numbers[[1, 6]] = 8, 11
    strain = np.array([[1.0, 0.05, 0.0], [0.0, 1.0, -0.03], [0.02, 0.0, 1.0]])
    atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    return rattled(atoms)


def slab() -> Atoms:
    """Two layers, periodic in the plane only, with a cell vector across it."""
    atoms = ase.build.bulk("Si", cubic=True)
    atoms.pbc = True, True, False
    atoms.center(vacuum=6.0, axis=2)
    return rattled(atoms, 2)


def molecule() -> Atoms:
    """Ethanol, without a cell."""
    return rattled(ase.build.molecule("CH3CH2OH"), 3)


def silicate() -> Atoms:
    """Cristobalite with sodium in half of its voids, 28 atoms."""
    basis = np.array([(0, 0, 0), (2, 2, 2), (1, 1, 1), (1, 3, 3), (3, 1, 3), (3, 3, 1), (4, 4, 4)])
    corners = np.array([(0, 0, 0), (0, 4, 4), (4, 0, 4), (4, 4, 0)])
    places = (corners[:, None] + basis).reshape(-1, 3) / 8
    return rattled(Atoms(4 * "Si2O4Na", scaled_positions=places, cell=3 * [7.16], pbc=True), 4)


STRUCTURES = {"crystal": crystal, "slab": slab, "molecule": molecule}


def batch(model: Any, structures: Sequence[Atoms], head: str = "Default") -> dict[str, Any]:
    """What the forward of the model takes, made by MACE itself."""
    table = AtomicNumberTable([int(z) for z in model.atomic_numbers])
    keys = data.KeySpecification(info_keys={}, arrays_keys={})
    default = torch.get_default_dtype()
    torch.set_default_dtype(next(model.parameters()).dtype)
    try:
        graphs = [
            data.AtomicData.from_config(
                data.config_from_atoms(atoms, key_specification=keys, head_name=head),
                z_table=table,
                cutoff=float(model.r_max),
                heads=model.heads,
            )
            for atoms in structures
        ]
    finally:
        torch.set_default_dtype(default)
    made: dict[str, Any] = torch_geometric.Batch.from_data_list(graphs).to_dict()
    return made


def some(*names: str) -> list[Atoms]:
    """Structures by name."""
    return [STRUCTURES[name]() for name in names]


def dispersion(atoms: Atoms) -> Results:
    """D3 by itself, on the elements of the structure alone."""
    d3 = D3BJ(sorted({*atoms.numbers.tolist()}), "pbe", **RANGE)
    return evaluate(d3, atoms.positions, atoms.cell.array, atoms.pbc, atoms.numbers)


def deviations(a: dict[str, Any], b: dict[str, Any]) -> dict[str, float]:
    """Largest difference of every tensor of both."""
    shared = [k for k in a if a[k] is not None and b.get(k) is not None]
    return {k: float((a[k] - b[k]).abs().max()) for k in shared if a[k].shape == b[k].shape}


def one_sentence(error: Any) -> str:
    """Text of an error, which has to be one sentence that says what was expected."""
    text = str(error.value)
    assert "expected" in text
    assert "\n" not in text
    return text


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Structures this small are slower on several."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)

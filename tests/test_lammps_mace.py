"""MACE with D3 through ML-IAP: on the stand-in always, in a real LAMMPS where there is one."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mace", reason="needs mace-torch: pip install d3torch[mace]")

import mace_models
from ase import Atoms
from mliap_ranks import World
from real_lammps import LMP, single_point

from d3torch.integrations.lammps_mace import MACED3MLIAP
from d3torch.integrations.mace import MACED3
from d3torch.reference import SYMBOLS

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning"),
    pytest.mark.usefixtures("one_thread"),
]
one_thread = mace_models.one_thread
REACH = {"cutoff": 8.0, "cn_cutoff": 7.0}
ELEMENTS = [SYMBOLS[z] for z in mace_models.NUMBERS]
real = pytest.mark.skipif(not LMP.is_file(), reason=f"no LAMMPS with ML-IAP at {LMP}")


def _grid(n: int = 3) -> Atoms:
    """Atoms of four elements, crowded enough for MACE to have edges everywhere."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*3 * [np.arange(n)]), -1).reshape(-1, 3) * 2.7 + 0.6
    symbols = rng.choice(["O", "Si", "Na", "H"], n**3)
    positions = grid + rng.uniform(-0.3, 0.3, grid.shape)
    return Atoms(list(symbols), positions, cell=3 * [2.7 * n], pbc=True)


def _slab() -> Atoms:
    """Vacuum along x: ranks at both ends own nothing."""
    atoms = _grid()
    atoms.cell[0, 0] = 40.0
    atoms.center(axis=0)
    atoms.pbc = [False, True, True]
    return atoms


STRUCTURES = {
    "crowded": _grid,
    "slab": _slab,
    "far apart": lambda: Atoms("SiO", [[1, 5, 5], [12, 5, 5]], cell=[20, 10, 10], pbc=[0, 1, 1]),
}


def _fused(**settings: object) -> MACED3:
    return MACED3(mace_models.build(**settings), "pbe", **REACH)


def _expected(fused: MACED3, atoms: Atoms) -> dict[str, np.ndarray]:
    batch = mace_models.batch(fused, [atoms])
    out = fused(batch, compute_virials=True)
    names = ("energy", "node_energy", "forces", "virials")
    return {name: out[name].detach().double().numpy() for name in names}


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
@pytest.mark.parametrize("name", STRUCTURES)
def test_ranks_of_the_stand_in_give_what_the_fused_model_does(name: str, ranks: int) -> None:
    atoms, fused = STRUCTURES[name](), _fused()
    made = MACED3MLIAP(copy.deepcopy(fused))
    elems = np.array([ELEMENTS.index(s) for s in atoms.symbols])
    found = World(atoms, elems, 2 * made.rcutfac, ranks).run(lambda: copy.deepcopy(made))
    expected = _expected(fused, atoms)
    assert found.energy == pytest.approx(expected["energy"][0], rel=1e-12)
    assert np.abs(found.energies - expected["node_energy"]).max() < 1e-12
    assert np.abs(found.forces - expected["forces"]).max() < 1e-12
    assert np.abs(found.virial + expected["virials"][0]).max() < 1e-11


@real
@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
@pytest.mark.parametrize("name", STRUCTURES)
def test_lammps_gives_what_the_fused_model_does(name: str, ranks: int, tmp_path: Path) -> None:
    atoms, fused = STRUCTURES[name](), _fused()
    MACED3MLIAP(copy.deepcopy(fused)).save(tmp_path / "mace.pt")
    style = "pair_style mliap unified mace.pt 0\npair_coeff * * " + " ".join(ELEMENTS)
    found = single_point(tmp_path, atoms, style, ELEMENTS, ranks)
    expected = _expected(fused, atoms)
    assert found.energy == pytest.approx(expected["energy"][0], rel=1e-9)
    assert np.abs(found.energies - expected["node_energy"]).max() < 1e-9
    assert np.abs(found.forces - expected["forces"]).max() < 1e-9
    assert np.abs(found.virial + expected["virials"][0]).max() < 1e-9
    assert np.abs(found.virials.sum(axis=0) + expected["virials"][0]).max() < 1e-9

"""D3, and MACE with D3, in a real LAMMPS; without one these tests say so and do not run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import fcc111, molecule
from ase.io import read
from oracle import dispersion
from real_lammps import LMP, Answer, lmp, single_point, write_data

from d3torch.examples import glass_path
from d3torch.integrations.lammps import D3MLIAP

pytestmark = pytest.mark.skipif(
    not LMP.is_file(), reason=f"no LAMMPS with ML-IAP at {LMP}: see scripts/build_lammps.sh"
)
"""What did not run, in one line."""

RANKS = [1, 2, 3, 4]
STYLE = "pair_style mliap unified d3.pt 0\npair_coeff * * "


def _silicate(n: int = 200) -> Atoms:
    """The n atoms of the glass next to its centre, packed at its density in a box of their own."""
    rng = np.random.default_rng(5)
    side = (n / 0.0742) ** (1 / 3)
    k = int(np.ceil(n ** (1 / 3)))
    grid = np.stack(np.meshgrid(*3 * [np.arange(k)]), -1).reshape(-1, 3)[:n] * side / k
    symbols = rng.permutation(["O"] * (n * 6 // 10) + ["Si"] * (n * 2 // 10) + ["Na"] * (n // 5))
    atoms = Atoms(list(symbols), grid + rng.uniform(-0.4, 0.4, (n, 3)), cell=3 * [side], pbc=True)
    atoms.wrap()
    return atoms


def _triclinic() -> Atoms:
    atoms = _silicate(60)
    side = atoms.cell[0, 0]
    cell = side * np.array([[1, 0, 0], [0.2, 1, 0], [-0.3, 0.1, 1]])
    atoms.set_cell(cell, scale_atoms=True)
    return atoms


def _slab() -> Atoms:
    atoms = fcc111("Cu", (3, 3, 3), vacuum=9.0, orthogonal=False)
    slab = Atoms("Cu27", atoms.positions[:, [2, 0, 1]], pbc=[False, True, True])
    slab.cell = [[atoms.cell[2, 2], 0, 0], [0, *atoms.cell[0, :2]], [0, *atoms.cell[1, :2]]]
    slab.rattle(0.05, seed=3)
    return slab


def _molecule() -> Atoms:
    atoms = molecule("CH3CH2OH", vacuum=9.0)
    atoms.pbc = False
    atoms.rattle(0.03, seed=1)
    return atoms


STRUCTURES = {
    "glass": (lambda: read(glass_path()), 12.0, 9.0),
    "silicate": (_silicate, 10.0, 8.0),
    "triclinic": (_triclinic, 9.0, 10.0),
    "smaller than the cutoff": (lambda: _silicate(10), 14.0, 9.0),
    "slab": (_slab, 9.0, 7.0),
    "molecule": (_molecule, 40.0, 30.0),
}


def _elements(atoms: Atoms) -> list[str]:
    return sorted(set(atoms.symbols), reverse=True)


def _expect(found: Answer, energy: float, forces: np.ndarray, virial: np.ndarray) -> None:
    assert found.energy == pytest.approx(energy, rel=1e-10)
    assert found.energies.sum() == pytest.approx(energy, rel=1e-10)
    assert np.abs(found.forces - forces).max() < 1e-10 * max(np.abs(forces).max(), 0.01)
    scale = max(np.abs(virial).max(), abs(energy))
    assert np.abs(found.virial - virial).max() < 1e-10 * scale
    assert np.abs(found.virials.sum(axis=0) - virial).max() < 1e-10 * scale


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("name", STRUCTURES)
def test_equal_to_the_oracle(name: str, ranks: int, tmp_path: Path) -> None:
    make, cutoff, cn_cutoff = STRUCTURES[name]
    atoms = make()
    D3MLIAP(["Si", "Na", "O", "Cu", "H", "C"], "pbe", cutoff=cutoff, cn_cutoff=cn_cutoff).save(
        tmp_path / "d3.pt"
    )
    elements = _elements(atoms)
    found = single_point(tmp_path, atoms, STYLE + " ".join(elements), elements, ranks)
    expected = dispersion(
        atoms.numbers, atoms.positions, atoms.cell, atoms.pbc, "pbe", cutoff, cn_cutoff
    )
    _expect(found, expected.energy, expected.forces, expected.virial)


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("name", ["silicate", "triclinic", "slab"])
def test_a_step_without_stresses_of_atoms_gives_the_same(
    name: str, ranks: int, tmp_path: Path
) -> None:
    """Then forces go to LAMMPS's atoms, else to the pairs."""
    make, cutoff, cn_cutoff = STRUCTURES[name]
    atoms = make()
    elements = _elements(atoms)
    D3MLIAP(elements, "pbe", cutoff=cutoff, cn_cutoff=cn_cutoff).save(tmp_path / "d3.pt")
    given = (tmp_path, atoms, STYLE + " ".join(elements), elements, ranks)
    pairs, found = single_point(*given), single_point(*given, stresses=False)
    assert found.energy == pytest.approx(pairs.energy, rel=1e-14)
    assert np.abs(found.energies - pairs.energies).max() < 1e-13
    assert np.abs(found.forces - pairs.forces).max() < 1e-12
    assert np.abs(found.virial - pairs.virial).max() < 1e-11 * abs(pairs.energy)


XENON = """
units metal
read_data data.lmp
pair_style hybrid/overlay mliap unified d3.pt 0 zero 12.0
pair_coeff * * zero
pair_coeff * * mliap {types}
run 0
print "answer $(pe:%.17g)"
group out id 2
neigh_modify exclude group out all
run 0
print "answer $(pe:%.17g)"
neigh_modify exclude none
run 0
print "answer $(pe:%.17g)"
"""


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("second", ["Xe", "NULL"])
def test_an_atom_that_lammps_takes_out_is_not_there(
    second: str, ranks: int, tmp_path: Path
) -> None:
    """By a group that neigh_modify excludes, as fix gcmc has one, and by its type."""
    atoms = Atoms("Xe2", [[5, 5, 5], [9, 5, 5]], cell=3 * [20.0], pbc=True)
    D3MLIAP(["Xe"], "pbe", cutoff=12.0, cn_cutoff=12.0).save(tmp_path / "d3.pt")
    write_data(atoms, tmp_path / "data.lmp", ["Xe"])
    text = (tmp_path / "data.lmp").read_text()
    text = text.replace(" 2   1 ", " 2   2 ").replace("1 atom types", "2 atom types")
    (tmp_path / "data.lmp").write_text(text.replace("Masses\n", "Masses\n\n2 131.29"))
    run = lmp(tmp_path, XENON.format(types=f"Xe {second}"), ranks)
    found = [float(x.split()[1]) for x in run.stdout.splitlines() if x.startswith("answer ")]
    given = atoms.numbers, atoms.positions, atoms.cell, atoms.pbc
    whole = dispersion(*given, "pbe", 12.0, 12.0).energy if second == "Xe" else 0.0
    assert len(found) == 3, run.stdout[-3000:] + run.stderr[-3000:]
    assert found == pytest.approx([whole, 0.0, whole], rel=1e-10, abs=1e-15)


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """pair_style d3torch, built for this LAMMPS."""
    target = tmp_path_factory.mktemp("plugin") / "d3torchplugin.so"
    headers = LMP.parents[1] / "include" / "lammps"
    command = [sys.executable, "-m", "d3torch_lammps.build", "--headers", headers]
    out = subprocess.run([*command, "--output", target], capture_output=True, text=True)
    assert out.returncode == 0, out.stdout + out.stderr
    return target


@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize("name", ["silicate", "triclinic", "slab"])
def test_the_native_pair_style_gives_the_same(
    name: str, ranks: int, plugin: Path, tmp_path: Path
) -> None:
    make, cutoff, cn_cutoff = STRUCTURES[name]
    atoms = make()
    elements = _elements(atoms)
    types = " ".join(elements)
    D3MLIAP(elements, "pbe", cutoff=cutoff, cn_cutoff=cn_cutoff).save(tmp_path / "d3.pt")
    found = single_point(tmp_path, atoms, STYLE + types, elements, ranks)
    style = f"pair_style d3torch bj pbe {cutoff} {cn_cutoff}\npair_coeff * * {types}"
    load = f"plugin load {plugin}"
    native = single_point(tmp_path, atoms, style, elements, ranks, before=load, options="")
    _expect(native, found.energy, found.forces, found.virial)
    assert np.abs(native.energies - found.energies).max() < 1e-12
    assert np.abs(native.virials - found.virials).max() < 1e-11

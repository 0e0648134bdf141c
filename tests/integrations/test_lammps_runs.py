"""A real LAMMPS with D3 through ML-IAP: dynamics, restarts, other styles beside, refusals."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from real_lammps import LMP, lmp, single_point, write_data
from test_lammps_real import STYLE, _molecule, _silicate

from d3torch import D3Calculator
from d3torch.integrations.lammps import D3MLIAP

pytestmark = pytest.mark.skipif(
    not LMP.is_file(), reason=f"no LAMMPS with ML-IAP at {LMP}: see scripts/build_lammps.sh"
)

ELEMENTS = ["O", "Na", "Si"]
D3 = "mliap unified d3.pt 0"
REPULSION = "lj/cut 5.0"
OVERLAY = f"""pair_style hybrid/overlay {REPULSION} {D3}
pair_coeff * * lj/cut 0.05 2.2
pair_coeff * * mliap O Na Si"""

DYNAMICS = """
units metal
read_data data.lmp
{style}
velocity all create 300 7
{fix}
timestep 0.001
thermo 10
thermo_style custom step etotal ke pe press vol
thermo_modify format float %.15g norm no
run {steps}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With the atoms of a silicate and a smooth D3, whose forces do not jump at the cutoff."""
    write_data(_silicate(), tmp_path / "data.lmp", ELEMENTS)
    D3MLIAP(ELEMENTS, "pbe", cutoff=9.0, cn_cutoff=8.0, width=3.0).save(tmp_path / "d3.pt")
    return tmp_path


def _thermo(output: str) -> np.ndarray:
    """Rows of every run: step etotal ke pe press vol."""
    rows = [line.split() for line in output.splitlines() if re.match(r"^ *\d+( +\S+){5} *$", line)]
    return np.array(rows, dtype=float)


def _dynamics(folder: Path, style: str, ranks: int, fix: str, steps: int = 200) -> np.ndarray:
    run = lmp(folder, DYNAMICS.format(style=style, fix=fix, steps=steps), ranks)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    return _thermo(run.stdout)


def test_nve_keeps_the_energy_as_well_as_without_dispersion(folder: Path) -> None:
    minimise = "minimize 0 1e-3 200 400\nreset_timestep 0\nfix 1 all nve"
    alone = _dynamics(folder, f"pair_style {REPULSION}\npair_coeff * * 0.05 2.2", 1, minimise)
    one, four = (_dynamics(folder, OVERLAY, ranks, minimise) for ranks in (1, 4))

    def drift(rows: np.ndarray) -> float:
        rows = rows[-21:]  # the run after the minimisation
        return float(np.abs(rows[:, 1] - rows[0, 1]).max() / np.ptp(rows[:, 2]))

    assert drift(one) < max(2 * drift(alone), 1e-3)
    assert drift(four) < max(2 * drift(alone), 1e-3)
    assert np.abs(one[-21:, 1] - four[-21:, 1]).max() < 1e-6


def test_npt_runs_and_dispersion_contracts_the_box(folder: Path) -> None:
    fix = "minimize 0 1e-3 200 400\nreset_timestep 0\nfix 1 all npt temp 300 300 0.1 iso 0 0 0.5"
    bare = _dynamics(folder, f"pair_style {REPULSION}\npair_coeff * * 0.05 2.2", 1, fix, 300)
    with_d3 = _dynamics(folder, OVERLAY, 2, fix, 300)
    assert np.isfinite(with_d3).all()
    assert with_d3[-1, 5] < bare[-1, 5]


def test_a_restart_goes_on_as_if_nothing_had_happened(folder: Path) -> None:
    text = DYNAMICS.format(style=OVERLAY, fix="fix 1 all nve", steps=20)
    run = lmp(folder, text + "write_restart half.restart\nrun 20\n", 2)
    again = text.replace("read_data data.lmp", "read_restart half.restart")
    again = again.replace("velocity all create 300 7\n", "")
    rerun = lmp(folder, again, 2)
    whole, half = _thermo(run.stdout), _thermo(rerun.stdout)
    assert half[-1, 0] == whole[-1, 0] == 40
    assert np.abs(half[-1] - whole[-1]).max() < 1e-7 * np.abs(whole[-1]).max()


def test_beside_another_style_energies_add_up(folder: Path) -> None:
    atoms = _silicate()
    bare = "pair_style lj/cut 5.0\npair_coeff * * 0.05 2.2"
    total = single_point(folder, atoms, OVERLAY, ELEMENTS, 2)
    other = single_point(folder, atoms, bare, ELEMENTS, 2)
    atoms.calc = D3Calculator("pbe", cutoff=9.0, cn_cutoff=8.0, width=3.0)
    assert total.energy - other.energy == pytest.approx(atoms.get_potential_energy(), rel=1e-10)
    forces = total.forces - other.forces
    assert np.abs(forces - atoms.get_forces()).max() < 1e-9 * np.abs(other.forces).max()
    virial = atoms.get_stress(voigt=False) * atoms.get_volume()
    scale = np.abs(other.virial).max()
    assert np.abs(total.virial - other.virial - virial).max() < 1e-9 * scale
    shares = (total.virials - other.virials).sum(axis=0)
    assert np.abs(shares - virial).max() < 1e-9 * scale


@pytest.mark.parametrize("ranks", [1, 2])
def test_without_kokkos_a_molecule_on_one_rank_works(ranks: int, tmp_path: Path) -> None:
    atoms = _molecule()
    elements = sorted(set(atoms.symbols))
    D3MLIAP(elements, "pbe", cutoff=20.0, cn_cutoff=15.0).save(tmp_path / "d3.pt")
    style = STYLE + " ".join(elements)
    if ranks == 1:
        found = single_point(tmp_path, atoms, style, elements, 1, options="")
        atoms.calc = D3Calculator("pbe", cutoff=20.0, cn_cutoff=15.0)
        assert found.energy == pytest.approx(atoms.get_potential_energy(), rel=1e-12)
        assert np.abs(found.forces - atoms.get_forces()).max() < 1e-12
    else:
        with pytest.raises(AssertionError, match="expected ML-IAP of KOKKOS"):
            single_point(tmp_path, atoms, style, elements, ranks, options="")


def test_an_element_that_is_not_in_the_file_is_refused(folder: Path) -> None:
    with pytest.raises(AssertionError, match="Incorrect args for pair coefficients"):
        single_point(folder, _silicate(), STYLE + "O Na Ge", ELEMENTS)


@pytest.mark.parametrize("ranks", [1, 4])
def test_lengths_in_nanometres_end_all_ranks(ranks: int, folder: Path) -> None:
    atoms = _silicate()
    atoms = Atoms(atoms.symbols, 0.1 * atoms.positions, cell=0.1 * atoms.cell, pbc=True)
    D3MLIAP(ELEMENTS, "pbe", cutoff=0.9, cn_cutoff=0.8).save(folder / "d3.pt")
    with pytest.raises(AssertionError, match="expected units metal, lengths in A, got atoms"):
        single_point(folder, atoms, STYLE + "O Na Si", ELEMENTS, ranks, timeout=60.0)

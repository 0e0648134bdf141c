"""Converged sums: what is beyond the cutoff of crystals, slabs, wires and molecules."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, fcc111, molecule
from ase.calculators.lj import LennardJones
from ase.calculators.mixing import SumCalculator
from ase.io import read
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet

from d3torch import D3BJ, D3Calculator, DispersionWarning, Settings
from d3torch.evaluate import Results, evaluate
from d3torch.examples import glass_path
from d3torch.units import BOHR

CN: dict[str, Any] = {"cn_cutoff": 40 * BOHR}


def _thin() -> Atoms:
    atoms = fcc111("Cu", (1, 1, 4), vacuum=8.0)
    atoms.rattle(0.05, seed=1)
    atoms.pbc = (True, True, False)
    return atoms


def _thick() -> Atoms:
    """A slab of 33 A whose normal is none of the axes: thicker than the cutoff."""
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True) * (1, 6, 1)
    atoms.rattle(0.05, seed=2)
    atoms.pbc = (True, False, True)
    atoms.rotate(33.0, (1.0, 2.0, -0.5), rotate_cell=True)
    return atoms


def _chain() -> Atoms:
    """Polyethylene or so, slanted."""
    places = [(0, 0.3, 0), (0, -0.3, 1.24), (0, 1.2, -0.3), (0, -1.2, 1.5)]
    atoms = Atoms(
        "C2H2", places, cell=[(0, 0, 2.48), (9, 0, 0), (0, 9, 0)], pbc=(True, False, False)
    )
    atoms.rotate(41.0, (2.0, 1.0, 0.3), rotate_cell=True)
    return atoms


def _large() -> Atoms:
    """Two clusters, 60 A apart."""
    atoms = molecule("C6H6") + molecule("CH3CH2OH")
    atoms.positions[12:] += (60.0, 3.0, -2.0)
    return atoms


def _salt() -> Atoms:
    atoms = bulk("NaCl", "rocksalt", a=5.64) * (1, 1, 2)
    atoms.rattle(0.05, seed=3)
    return atoms


STRUCTURES = {"crystal": _salt, "thin": _thin, "thick": _thick, "chain": _chain, "molecule": _large}
structures = pytest.mark.parametrize("name", STRUCTURES)


def _results(atoms: Atoms, backend: str = "kernel", dtype: Any = None, **settings: Any) -> Results:
    given = {"backend": backend} if dtype is None else {"backend": backend, "dtype": dtype}
    model = Settings(**settings).module(np.unique(atoms.numbers).tolist(), **given)
    return evaluate(model, atoms.positions, atoms.cell.array, atoms.pbc, atoms.numbers)


# ---- the preset ----


def test_the_preset_is_a_name_for_numbers() -> None:
    made = Settings(preset="converged")
    assert made == Settings(cutoff=40 * BOHR, cn_cutoff=40 * BOHR, width=2.0, tail=True)
    assert Settings.from_dict(made.record()) == made
    assert Settings(cutoff=9.0, width=1.0).replace(preset="converged") == made
    assert made.replace(preset="mace_mp") == Settings(preset="mace_mp")
    assert not Settings(preset="converged", tail=False).tail
    assert made.module(["H"]).settings == made


def test_the_preset_is_converged_for_a_glass() -> None:
    """NS33: energy to 1e-4 meV of -164.0631 meV an atom, pressure to 1e-5 GPa, and sooner."""
    atoms = read(glass_path())
    found, far = (
        _results(atoms, preset="converged"),
        _results(atoms, cutoff=95 * BOHR, width=2.0, tail=True, **CN),
    )
    n, gpa = len(atoms), atoms.get_volume() * units.GPa
    assert far.energy.item() / n == pytest.approx(-0.16406315, abs=1e-8)
    assert found.energy.item() / n == pytest.approx(far.energy.item() / n, abs=1e-7)
    assert far.virial.trace().item() == pytest.approx(765.4571, abs=1e-4)
    assert abs((found.virial - far.virial).trace().item()) / 3 / gpa < 1e-5


def test_a_tail_at_a_hard_cutoff_is_warned_of() -> None:
    with pytest.warns(DispersionWarning, match="a tail at a hard cutoff, width 0, corrects"):
        D3BJ(["H"], "pbe", tail=True, width=0.0)


# ---- against larger cutoffs ----

LARGE = {"crystal": 120.0, "thin": 400.0, "thick": 200.0, "chain": 1000.0, "molecule": 200.0}


@cache
def _far(name: str) -> Results:
    """Without a tail, as far as is cheap."""
    return _results(STRUCTURES[name](), cutoff=LARGE[name] * BOHR, width=2.0, **CN)


@pytest.mark.parametrize("name", [name for name in STRUCTURES if name != "molecule"])
def test_a_tail_is_what_larger_cutoffs_add(name: str) -> None:
    """Energy and virial; the switch is wide, as it has to average over the shells of a crystal."""
    atoms, far = STRUCTURES[name](), _far(name)
    bare, found = (
        _results(atoms, preset="converged", width=6.0, tail=tail) for tail in (False, True)
    )
    missing = abs((bare.energy - far.energy).item())
    assert missing > 1e-6 * len(atoms)
    assert abs((found.energy - far.energy).item()) < 0.03 * missing
    missing = (bare.virial - far.virial).abs().max().item()
    assert (found.virial - far.virial).abs().max().item() < 0.05 * missing


def test_a_molecule_has_all_its_pairs() -> None:
    """To the last bit those of a cutoff beyond it."""
    atoms = _large()
    found, far = _results(atoms, preset="converged"), _far("molecule")
    assert found.energy == far.energy
    assert (found.forces == far.forces).all()
    large = atoms.repeat((1, 1, 1))
    for k in range(1, 8):  # too many atoms for all pairs at once
        more = atoms.copy()
        more.positions += (0.0, 9.0 * k, 0.0)
        large += more
    far = _results(large, cutoff=200.0, **CN)
    found = _results(large, preset="converged")
    assert len(large) > 128
    assert found.energy.item() == pytest.approx(far.energy.item(), rel=1e-13)


# ---- derivatives ----


@structures
@pytest.mark.parametrize("cutoff", [12.0, 40 * BOHR])
def test_stress_is_the_strain_derivative_of_the_energy(cutoff: float, name: str) -> None:
    atoms, step = STRUCTURES[name](), 1e-4
    virial = _results(atoms, preset="converged", cutoff=cutoff).virial
    scale = virial.abs().max().item()
    for a, b in ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (2, 0)):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += sign * step
            strained = atoms.copy()
            strained.set_cell(atoms.cell.array @ strain)
            strained.positions = atoms.positions @ strain
            energies.append(_results(strained, preset="converged", cutoff=cutoff).energy.item())
        slope = (energies[0] - energies[1]) / (2 * step)
        assert virial[a, b].item() == pytest.approx(slope, abs=2e-6 * scale)


@structures
def test_nothing_changes_when_a_structure_moves_or_turns(name: str) -> None:
    """The virial is symmetric, then, and forces add up to nothing."""
    atoms = STRUCTURES[name]()
    before = _results(atoms, preset="converged", cutoff=9.0)
    atoms.rotate(57.0, (0.3, -1.0, 0.8), rotate_cell=True)
    atoms.positions += (3.0, -7.0, 11.0)
    after = _results(atoms, preset="converged", cutoff=9.0)
    assert after.energy.item() == pytest.approx(before.energy.item(), rel=1e-12)
    virial = after.virial
    assert (virial - virial.T).abs().max() < 1e-11 * virial.abs().max()
    assert after.forces.sum(dim=0).abs().max() < 1e-12 * len(atoms)


@structures
def test_the_eager_backend_has_the_same_tail(name: str) -> None:
    pytest.importorskip("vesin")
    atoms = STRUCTURES[name]()
    settings: dict[str, Any] = {"cutoff": 9.0, "cn_cutoff": 8.0, "tail": True}
    found, twin = (_results(atoms, b, **settings) for b in ("kernel", "eager"))
    for value, expected in zip(found[:6], twin[:6], strict=True):
        assert (value - expected).abs().max() < 1e-9 * expected.abs().max()


@pytest.mark.parametrize("width", [2.0, 6.0, 9.0, 11.9])
@pytest.mark.parametrize("name", ["crystal", "thick", "chain"])
def test_a_tail_has_all_its_digits_whatever_the_width(name: str, width: float) -> None:
    """Two ways to integrate. From a hundredth of the cutoff on, 1 - sw loses some digits."""
    pytest.importorskip("vesin")
    settings: dict[str, Any] = {"cutoff": 12.0, "cn_cutoff": 8.0, "tail": True, "width": width}
    found, twin = (_results(STRUCTURES[name](), b, **settings) for b in ("kernel", "eager"))
    for value, expected in zip(found[:6], twin[:6], strict=True):
        bound = 1e-11 if width < 10.0 else 2e-8
        assert (value - expected).abs().max() < bound * expected.abs().max()


@pytest.mark.parametrize("width", [2.0, 10.0, 11.5])
def test_forces_across_a_slab_are_slopes_of_its_energy(width: float) -> None:
    """Of atoms whose heights differ by a little more than cutoff - width."""
    atoms = Atoms("NaCl", cell=[4.0, 4.2, 40.0], pbc=(True, True, False))
    atoms.positions[1] = (1.0, 0.7, 12.6 - width)
    given: dict[str, Any] = {"cutoff": 12.0, "cn_cutoff": 8.0, "tail": True, "width": width}
    slope, h = _results(atoms, **given).forces[1, 2].item(), 1e-4
    ends = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions[1, 2] += sign * h
        ends.append(_results(moved, **given).energy.item())
    assert -slope == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-6, abs=1e-9)


def test_dynamics_of_a_slab_and_a_crystal_conserve_energy() -> None:
    """Argon, of which atoms leave the reach of others along the normal and in the plane."""
    for pbc in (True, (True, True, False)):
        atoms = bulk("Ar", cubic=True, a=5.4) * (1, 1, 2)
        atoms.pbc = pbc
        base = LennardJones(sigma=3.4, epsilon=0.0104, rc=7.5, ro=6.5, smooth=True)
        atoms.calc = SumCalculator([base, D3Calculator(preset="converged", cutoff=7.5)])
        thermalize_momenta(atoms, 60.0, rng=np.random.default_rng(1))
        total = []
        dynamics = VelocityVerlet(atoms, 4.0 * units.fs)
        dynamics.attach(lambda atoms=atoms, total=total: total.append(atoms.get_total_energy()))
        dynamics.run(250)
        assert np.std(total) / len(atoms) < 2e-5

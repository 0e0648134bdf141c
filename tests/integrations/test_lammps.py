"""D3 through ML-IAP, on ranks of a stand-in (see ``mliap_ranks.py``); no LAMMPS is run here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from mliap_ranks import PlainRank, Rank, Total, World
from oracle import dispersion

from d3torch.cli import main
from d3torch.integrations.lammps import D3MLIAP, sums
from d3torch.parameters import damping_parameters
from d3torch.reference import SYMBOLS
from d3torch.units import BOHR

REACH = {"cutoff": 9.0, "cn_cutoff": 7.0}


def _rattled(atoms: Atoms) -> Atoms:
    atoms.rattle(0.05, seed=3)
    return atoms


def _triclinic() -> Atoms:
    atoms = bulk("NaCl", "rocksalt", a=5.64) * (2, 2, 1)
    atoms.set_cell(atoms.cell.array @ [[1, 0.1, 0], [0, 1, -0.2], [0, 0, 1]], scale_atoms=True)
    return _rattled(atoms)


def _slab() -> Atoms:
    atoms = fcc111("Cu", (2, 2, 2), vacuum=5.0)
    atoms.rotate(90, "y", rotate_cell=True)  # its normal along x: ranks at both ends own nothing
    return _rattled(atoms)


STRUCTURES = {
    "salt": lambda: _rattled(bulk("NaCl", "rocksalt", a=5.64, cubic=True)),
    "smaller than the cutoff": lambda: _rattled(bulk("Si", "diamond", a=5.43)),
    "triclinic": _triclinic,
    "slab": _slab,
    "molecule": lambda: _rattled(molecule("CH3CH2OH")),
    "two molecules": lambda: molecule("H2O") + Atoms("CO", [[40, 0, 0], [40, 0, 1.1]]),
}
structures = pytest.mark.parametrize("name", STRUCTURES)


def _elements(atoms: Atoms) -> list[str]:
    """Symbols in an order that is not that of the numbers, with one that no atom has."""
    return [SYMBOLS[z] for z in sorted({18, *atoms.numbers.tolist()}, reverse=True)]


class Backwards(Rank):
    """A LAMMPS whose list of atoms falls, pairs and all."""

    @staticmethod
    def _order(n: int) -> np.ndarray:
        return np.arange(n)[::-1]


PER_ATOM = 4
"""Bit of vflag: stresses of atoms, for which LAMMPS wants the forces of the pairs."""


def _run(
    atoms: Atoms,
    ranks: int,
    null: Any = (),
    rank: type[Rank] = Rank,
    vflag: int = 2,
    **given: Any,
) -> Total:
    settings = {**REACH, **given}
    elements = _elements(atoms)
    elems = np.array([elements.index(s) for s in atoms.symbols])
    elems[list(null)] = -1
    reach = max(settings["cutoff"], settings["cn_cutoff"])
    made = D3MLIAP(elements, "pbe", **settings)
    assert made.rcutfac == 0.5 * reach
    world = World(atoms, elems, reach, ranks, rank, vflag)
    return world.run(lambda: D3MLIAP(elements, "pbe", **settings))


@structures
@pytest.mark.parametrize("vflag", [0, PER_ATOM])
@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_equal_to_the_oracle_on_any_number_of_ranks(ranks: int, vflag: int, name: str) -> None:
    atoms = STRUCTURES[name]()
    found = _run(atoms, ranks, vflag=vflag)
    expected = dispersion(atoms.numbers, atoms.positions, atoms.cell, atoms.pbc, "pbe", 9.0, 7.0)
    assert found.energy == pytest.approx(expected.energy, rel=1e-12)
    assert found.energies.sum() == pytest.approx(found.energy, rel=1e-12)
    scale = max(np.abs(expected.forces).max(), abs(expected.energy) / 9.0)
    assert np.abs(found.forces - expected.forces).max() < 1e-10 * scale
    scale = max(np.abs(expected.virial).max(), abs(expected.energy))
    assert np.abs(found.virial - expected.virial).max() < 1e-10 * scale


@pytest.mark.parametrize("variant", ["bjm", "zero", "zerom"])
def test_variants_are_those_of_the_oracle(variant: str) -> None:
    atoms = _triclinic()
    found = _run(atoms, 2, variant=variant)
    given = (atoms.numbers, atoms.positions, atoms.cell, atoms.pbc, "pbe", 9.0, 7.0)
    expected = dispersion(*given, variant=variant)
    assert found.energy == pytest.approx(expected.energy, rel=1e-12)
    largest = np.abs(expected.forces).max()
    assert np.abs(found.forces - expected.forces).max() < 1e-10 * largest


@pytest.mark.parametrize(("cutoff", "cn_cutoff", "width"), [(6.0, 8.0, 0.0), (9.0, 7.0, 3.0)])
def test_cutoffs_and_switch_are_those_of_the_calculator(
    cutoff: float, cn_cutoff: float, width: float
) -> None:
    from d3torch import D3Calculator

    atoms = _triclinic()
    settings = {"cutoff": cutoff, "cn_cutoff": cn_cutoff, "width": width}
    found = _run(atoms, 3, **settings)
    atoms.calc = D3Calculator("pbe", **settings)
    assert found.energy == pytest.approx(atoms.get_potential_energy(), rel=1e-12)
    assert np.abs(found.energies - atoms.get_potential_energies()).max() < 1e-12
    assert np.abs(found.forces - atoms.get_forces()).max() < 1e-11
    stress = atoms.get_stress(voigt=False) * atoms.get_volume()
    assert np.abs(found.virial - stress).max() < 1e-10


@pytest.mark.parametrize("vflag", [0, PER_ATOM])
@pytest.mark.parametrize("rank", [Rank, Backwards])
def test_float32_follows_float64(rank: type[Rank], vflag: int) -> None:
    single, double = (
        _run(_triclinic(), 2, dtype=t, rank=rank, vflag=vflag)
        for t in (torch.float32, torch.float64)
    )
    assert single.energy == pytest.approx(double.energy, rel=1e-5)
    assert np.abs(single.forces - double.forces).max() < 1e-5 * np.abs(double.forces).max()


def test_the_ops_get_the_memory_of_lammps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors, indices and forces of atoms, in float32 arithmetic too."""
    seen: list[int] = []

    def add_forces(*given: Any) -> torch.Tensor:
        seen.extend(t.data_ptr() for t in given[:4])
        return torch.zeros_like(given[5])

    monkeypatch.setattr(sums.ops, "owned_energy_add_forces", add_forces)
    world = World(STRUCTURES["salt"](), np.arange(8) % 2, 9.0, 1)
    world.run(lambda: D3MLIAP(["Na", "Cl"], "pbe", **REACH, dtype=torch.float32))
    arrays = world.ranks[0]._arrays
    assert seen == [arrays[name].ctypes.data for name in ("f", "rij", "pair_i", "pair_j")]


@pytest.mark.parametrize("null", [[], [0, 5]])
@pytest.mark.parametrize("vflag", [0, PER_ATOM])
def test_a_list_in_another_order_gives_the_same(
    vflag: int, null: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the pair ops, which take the list in runs."""
    straight = _run(_triclinic(), 2, null, vflag=vflag)
    monkeypatch.setattr(sums, "PAIRS_AT_ONCE", 1000)
    found = _run(_triclinic(), 2, null, rank=Backwards, vflag=vflag)
    assert found.energy == pytest.approx(straight.energy, rel=1e-13)
    assert np.abs(found.energies - straight.energies).max() < 1e-13
    assert np.abs(found.forces - straight.forces).max() < 1e-13


@pytest.mark.parametrize("vflag", [0, PER_ATOM])
@pytest.mark.parametrize("ranks", [1, 2])
def test_atoms_of_type_null_are_not_there(ranks: int, vflag: int) -> None:
    atoms = molecule("CH3CH2OH")
    found, left = _run(atoms, ranks, null=[0, 5], vflag=vflag), atoms[[1, 2, 3, 4, 6, 7, 8]]
    expected = dispersion(left.numbers, left.positions, left.cell, left.pbc, "pbe", 9.0, 7.0)
    assert found.energy == pytest.approx(expected.energy, rel=1e-12)
    assert not found.forces[[0, 5]].any()
    assert not found.energies[[0, 5]].any()


@pytest.mark.parametrize("ranks", [1, 2])
def test_atoms_without_pairs_in_the_list_are_not_there(ranks: int) -> None:
    """What LAMMPS hands over for atoms that neigh_modify excludes from all others."""
    out = [0, 5]

    class Excluding(Rank):
        def _neighbours(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
            ghosts, i, j, r = super()._neighbours()
            atom = np.concatenate([self.owned, ghosts])
            left = ~np.isin(atom[i], out) & ~np.isin(atom[j], out)
            return ghosts, i[left], j[left], np.ascontiguousarray(r[left])

    atoms = STRUCTURES["salt"]()
    found, rest = _run(atoms, ranks, rank=Excluding), atoms[[1, 2, 3, 4, 6, 7]]
    expected = dispersion(rest.numbers, rest.positions, rest.cell, rest.pbc, "pbe", 9.0, 7.0)
    assert found.energy == pytest.approx(expected.energy, rel=1e-12)
    assert np.abs(found.forces[[1, 2, 3, 4, 6, 7]] - expected.forces).max() < 1e-12
    assert not found.forces[out].any()
    assert not found.energies[out].any()


def test_a_coupling_without_exchange_serves_where_there_are_no_ghosts() -> None:
    atoms = STRUCTURES["molecule"]()
    found = _run(atoms, 1, rank=PlainRank)
    expected = dispersion(atoms.numbers, atoms.positions, atoms.cell, atoms.pbc, "pbe", 9.0, 7.0)
    assert found.energy == pytest.approx(expected.energy, rel=1e-12)
    assert np.abs(found.forces - expected.forces).max() < 1e-12
    with pytest.raises(RuntimeError, match="expected ML-IAP of KOKKOS with forward_exchange"):
        _run(STRUCTURES["salt"](), 1, rank=PlainRank)


def test_lengths_that_are_not_angstrom_are_refused() -> None:
    atoms = STRUCTURES["molecule"]()
    atoms.positions *= 0.1
    with pytest.raises(RuntimeError, match=r"expected units metal, lengths in A, got .* 0\.1"):
        _run(atoms, 1)


def test_atoms_of_type_null_are_not_looked_at_for_lengths() -> None:
    """Shells of a core-shell model lie 0.05 A from their cores."""
    atoms = STRUCTURES["molecule"]()
    shells = atoms.copy()
    shells.positions[:, 0] += 0.05
    x = torch.from_numpy(np.concatenate([atoms.positions, shells.positions]))
    i, j = (~torch.eye(len(x), dtype=torch.bool)).nonzero().T
    pairs = sums.Pairs(x[j] - x[i], i, j)
    species = torch.tensor([0] * len(atoms) + [-1] * len(shells))
    for kinds, checked in ((species, True), (torch.full_like(species, -1), False)):
        dispersion = D3MLIAP(["H"], "pbe", **REACH)
        dispersion.check_units(kinds, pairs)
        assert dispersion.checked == checked
    with pytest.raises(RuntimeError, match="expected units metal"):
        dispersion.check_units(torch.zeros_like(species), pairs)


def test_a_saved_object_loads_in_a_fresh_process(tmp_path: Path) -> None:
    path = tmp_path / "d3.pt"
    D3MLIAP(["O", "Si"], "pbe", **REACH).save(path)
    program = (
        f"import torch; d = torch.load({str(path)!r}, weights_only=False); "
        "print(d.element_types, d.rcutfac, d.ndescriptors, d.nparams, float(d.model.a1))"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert out.stdout.strip() == "['O', 'Si'] 4.5 1 1 0.4289", out.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["d3.pt"]
    with pytest.raises(ValueError, match=r"expected a file that ends in \.pt, got d3\.pkl"):
        D3MLIAP(["O"], "pbe").save(tmp_path / "d3.pkl")


def test_files_of_earlier_versions_have_all_that_is_needed() -> None:
    """What a pickle of the first version holds; a later attribute needs a default in the class."""
    names = ("model", "element_types", "rcutfac", "ndescriptors", "nparams", "interface", "checked")
    assert tuple(vars(D3MLIAP(["O"], "pbe"))) == names


# ---- the command ----


def _d3torch(capsys: Any, *words: object) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    return (code, *capsys.readouterr())


def test_command_writes_what_lammps_loads(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "d3.pt"
    given = ["--elements", "O", "Na", "--xc", "r2scan", "--cutoff", 12, "--dtype", "float32"]
    code, out, _ = _d3torch(capsys, "lammps", path, *given)
    assert code == 0
    assert out == f"pair_style mliap unified {path} 0\npair_coeff * * O Na\n"
    made = torch.load(path, weights_only=False)
    assert isinstance(made, D3MLIAP)
    assert made.model.cn_cutoff == pytest.approx(40 * BOHR)
    about = json.loads(_d3torch(capsys, "inspect", path, "--json")[1])
    a1 = damping_parameters("r2scan").a1
    assert (about["elements"], about["cutoff"], about["dtype"]) == ("O Na", 12.0, "float32")
    assert about["a1"] == pytest.approx(a1, rel=1e-6)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["d3.pt"], "expected either --elements, for D3 alone, or --model, got both or none"),
        (["d3.pt", "--elements", "Oo"], "expected a chemical symbol such as 'Si', got 'Oo'"),
        (["d3.pkl", "--elements", "O"], "expected a file that ends in .pt, got "),
        (["d3.pt", "--elements", "O", "--libtorch"], "expected --model beside --libtorch,"),
        (["d3.pt", "--elements", "O", "--xc", "pbee"], "pbee"),
        (["d3.pt", "--elements", "O", "--width", "99"], "width"),
        (["no/d3.pt", "--elements", "O"], "expected a folder to write to, got"),
    ],
)
def test_command_refuses_in_one_sentence(
    words: list[str], sentence: str, tmp_path: Path, capsys: Any
) -> None:
    code, out, err = _d3torch(capsys, "lammps", tmp_path / words[0], *words[1:])
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert sentence in err
    assert not list(tmp_path.iterdir())

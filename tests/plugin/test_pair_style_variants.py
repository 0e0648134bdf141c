"""The other variants and the three-body term in pair_style d3torch, and what restart files hold.

Right values: simple-dftd3, and the calculator for virials of atoms, widths and tails.
"""

from __future__ import annotations

import struct
from pathlib import Path

import lammps_runs
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from lammps_runs import Output, evaluate, lammps, start, style, value
from lammps_structures import molecule, slab, standing, triclinic, two_far_apart
from oracle import dispersion

from d3torch import D3Calculator
from d3torch.parameters import spelled_functionals
from d3torch.variants import VARIANTS

if why := lammps_runs.missing():
    pytest.skip(why, allow_module_level=True)

CUTOFFS = (9.0, 7.0)
ATM = 8.0


STRUCTURES = {
    "molecule": molecule,
    "crystal": lambda: standing(bulk("NaCl", "rocksalt", a=5.64, cubic=True) * (4, 1, 1)),
    "smaller than the cutoff": lambda: standing(bulk("Si", "diamond", a=5.43)),
    "slab": slab,
    "triclinic": triclinic,
    "two molecules": two_far_apart,
}


def _assert_the_oracle(found: Output, atoms: Atoms, variant: str, atm_cutoff: float = 0.0) -> None:
    where = (atoms.numbers, atoms.positions, atoms.cell, atoms.pbc)
    expected = dispersion(*where, "pbe", *CUTOFFS, atm_cutoff, variant=variant)
    assert found.energy == pytest.approx(expected.energy, rel=1e-11)
    scale = max(np.abs(expected.forces).max(), abs(expected.energy) / CUTOFFS[0])
    assert np.abs(found.forces - expected.forces).max() < 1e-10 * scale
    scale = max(np.abs(expected.virial).max(), abs(expected.energy))
    assert np.abs(found.virial - expected.virial).max() < 1e-10 * scale


def _assert_parts(found: Output) -> None:
    """Energies and virials of the atoms make up the whole."""
    assert found.energies.sum() == pytest.approx(found.energy, rel=1e-12)
    total = found.virials.sum(axis=0)
    assert np.abs(total - [found.virial[ab] for ab in lammps_runs.VOIGT]).max() < 1e-9


def _assert_the_calculator(found: Output, atoms: Atoms, **settings: object) -> None:
    atoms.calc = D3Calculator(**settings)
    assert found.energy == pytest.approx(atoms.get_potential_energy(), rel=1e-12)
    assert np.abs(found.energies - atoms.get_potential_energies()).max() < 1e-12
    assert np.abs(found.forces - atoms.get_forces()).max() < 1e-11
    if atoms.pbc.any():
        stress = atoms.get_stress(voigt=False) * atoms.get_volume()
        assert np.abs(found.virial - stress).max() < 1e-10


@pytest.mark.parametrize("variant", ["zero", "zerom", "bjm"])
@pytest.mark.parametrize(("name", "ranks"), [("molecule", 2), ("triclinic", 1), ("slab", 2)])
def test_variants_are_those_of_the_oracle(
    name: str, ranks: int, variant: str, tmp_path: Path
) -> None:
    atoms = STRUCTURES[name]()
    found = evaluate(atoms, style(atoms, *CUTOFFS, variant=variant), tmp_path, ranks)
    _assert_the_oracle(found, atoms, variant)
    _assert_parts(found)


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize(("ranks", "threads"), [(1, 2), (2, 1), (4, 1)])
def test_the_three_body_term_is_that_of_the_oracle(
    ranks: int, threads: int, name: str, tmp_path: Path
) -> None:
    """Zero damping too on two ranks: it needs radii for both."""
    atoms, variant = STRUCTURES[name](), "zero" if ranks == 2 else "bj"
    pair = style(atoms, *CUTOFFS, f"s9 1.0 atm_cutoff {ATM}", variant=variant)
    found = evaluate(atoms, pair, tmp_path, ranks, threads)
    _assert_the_oracle(found, atoms, variant, ATM)
    _assert_parts(found)


WORDS = {
    "bj": ("s9 0.7 atm_cutoff 12.0 atm_width 3.0 width 2.0", {"width": 2.0}),
    "zero": ("s9 0.7 atm_cutoff 12.0 atm_width 3.0 tail yes", {"tail": True}),
    "zerom": ("s9 0.7 atm_cutoff 12.0 atm_width 3.0 reference 2010", {"reference": "2010"}),
}


@pytest.mark.parametrize(("variant", "ranks"), [("bj", 1), ("zero", 2), ("zerom", 4)])
@pytest.mark.parametrize("name", ["molecule", "slab", "triclinic"])
def test_keywords_mean_what_they_mean_in_python(
    name: str, variant: str, ranks: int, tmp_path: Path
) -> None:
    """A three-body cutoff beyond the others, which a rank has to see as far as."""
    atoms, (words, given) = STRUCTURES[name](), WORDS[variant]
    found = evaluate(atoms, style(atoms, *CUTOFFS, words, variant=variant), tmp_path, ranks)
    of_triples = {"s9": 0.7, "atm_cutoff": 12.0, "atm_width": 3.0}
    reach = dict(zip(("cutoff", "cn_cutoff"), CUTOFFS, strict=True))
    _assert_the_calculator(found, atoms, variant=variant, **reach, **given, **of_triples)
    _assert_parts(found)


def test_virials_of_atoms_do_not_depend_on_ranks_and_threads(tmp_path: Path) -> None:
    atoms = STRUCTURES["crystal"]()
    pair = style(atoms, *CUTOFFS, f"s9 1.0 atm_cutoff {ATM}")
    one, threads, ranks = (evaluate(atoms, pair, tmp_path, *n) for n in ((1, 1), (1, 3), (4, 1)))
    assert (threads.virials == one.virials).all()
    assert np.abs(ranks.virials - one.virials).max() < 1e-11


def test_a_rank_sees_as_far_as_the_three_body_term(tmp_path: Path) -> None:
    """Atoms of a rank alone within the other cutoffs, in a box of three times the longest."""
    atoms = standing(bulk("Ar", "fcc", a=5.3, cubic=True) * (7, 1, 1))
    pair = style(atoms, 4.0, 3.0, "s9 1.0 atm_cutoff 12.0")
    found = evaluate(atoms, pair, tmp_path, 4, head="processors 4 1 1")
    reach = {"cutoff": 4.0, "cn_cutoff": 3.0, "atm_cutoff": 12.0}
    _assert_the_calculator(found, atoms, xc="pbe", s9=1.0, **reach)


def test_defaults_of_the_three_body_term_are_those_of_python(tmp_path: Path) -> None:
    atoms = molecule()
    found = evaluate(atoms, style(atoms, *CUTOFFS, "s9 1"), tmp_path)
    _assert_the_calculator(found, atoms, xc="pbe", cutoff=9.0, cn_cutoff=7.0, s9=1.0)
    assert "three-body" not in found.log
    found = evaluate(atoms, style(atoms, *CUTOFFS, "s9 0 atm_cutoff 5"), tmp_path)
    _assert_the_calculator(found, atoms, xc="pbe", cutoff=9.0, cn_cutoff=7.0)


def test_real_units_scale_every_number(tmp_path: Path) -> None:
    atoms, kcal = molecule(), 23.06054783061903  # kcal/mol in 1 eV, CODATA 2018
    pair = style(atoms, *CUTOFFS, f"s9 1.0 atm_cutoff {ATM}", variant="zerom")
    script = start(atoms, tmp_path, units="real") + pair + lammps_runs.OUTPUT
    found = value("energy", lammps(script, tmp_path).stdout)[0]
    where = (atoms.numbers, atoms.positions, None, False)
    expected = dispersion(*where, "pbe", *CUTOFFS, ATM, variant="zerom")
    assert found == pytest.approx(kcal * expected.energy, rel=1e-10)


@pytest.mark.parametrize("variant", ["zero", "zerom", "bjm"])
def test_every_functional_of_a_variant_is_known(variant: str, tmp_path: Path) -> None:
    """By all names that Python reads, and as the literature writes it."""
    names = [*spelled_functionals(variant), f"PBE-{VARIANTS[variant].label}"]
    lines = [f"pair_style d3torch {variant} '{name}' 9 9\n" for name in names]
    lammps(start(molecule(), tmp_path) + "".join(lines), tmp_path)


@pytest.mark.parametrize("words", ["original", "zero", "zerom", "bj", "bjm"])
def test_words_are_those_of_dispersion_d3(words: str, tmp_path: Path) -> None:
    """Its tables and constants are others in the fourth digit: no variant is another one."""
    atoms = Atoms("Ar2", [[0, 0, 0], [0, 0, 4.0]], cell=3 * [40.0], pbc=False)
    atoms.center()
    pair = style(atoms, *CUTOFFS, variant=words)
    ours = evaluate(atoms, pair, tmp_path)
    theirs = evaluate(atoms, pair.replace("d3torch", "dispersion/d3"), tmp_path)
    assert ours.energy == pytest.approx(theirs.energy, rel=2e-3)


@pytest.mark.parametrize(("damping", "xc"), [("original", "pbe"), ("zerom", "pbe"), ("bj", "BOP")])
def test_in_a_hybrid_no_word_is_the_name_of_another_style(
    damping: str, xc: str, tmp_path: Path
) -> None:
    atoms = STRUCTURES["crystal"]()
    alone = style(atoms, *CUTOFFS, "tail yes", xc, damping)
    words, coefficients = alone.splitlines()
    hybrid = words.replace("d3torch", "hybrid/overlay zero 5.0 d3torch") + "\npair_coeff * * zero\n"
    hybrid += coefficients.replace("* *", "* * d3torch") + "\n"
    # its bins, and so the order of its atoms, differ
    found = evaluate(atoms, hybrid, tmp_path).energy
    assert found == pytest.approx(evaluate(atoms, alone, tmp_path).energy, rel=1e-14)


@pytest.mark.parametrize("words", ["zero pbe 9 7", "bj bop 9 7"])
@pytest.mark.parametrize("hybrid", ["hybrid/overlay zero 5.0", "hybrid/scaled 1.0 zero 5.0 1.0"])
def test_a_word_that_a_hybrid_takes_is_told(hybrid: str, words: str, tmp_path: Path) -> None:
    script = start(molecule(), tmp_path) + f"pair_style {hybrid} d3torch {words}\n"
    out = lammps(script, tmp_path, check=False)
    errors = [line for line in out.stdout.splitlines() if line.startswith("ERROR")]
    assert (len(errors), out.returncode != 0) == (1, True)
    assert "zero and bop are names of other styles, so write original and BOP" in errors[0]


# ---- restart ----

PRINT = 'run 0\nprint "e $(pe:%.17g)"\n'
NAMES = b"".join(name.ljust(8, b"\0") for name in (b"Cl", b"Na"))


def _restart(words: str, variant: str, xc: str, folder: Path) -> tuple[float, bytes]:
    """The energy of a run, and the restart file that it wrote."""
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    pair = style(atoms, *CUTOFFS, words, xc, variant)
    out = lammps(start(atoms, folder) + pair + PRINT + "write_restart r\n", folder).stdout
    return value("e", out)[0], (folder / "r").read_bytes()


@pytest.mark.parametrize(
    ("words", "variant"),
    [("tail yes", "zero"), ("s9 0.7 atm_cutoff 8 atm_width 2", "zerom"), ("s9 1", "bj")],
)
def test_restart_keeps_variant_and_three_body_term(
    words: str, variant: str, tmp_path: Path
) -> None:
    energy, _ = _restart(words, variant, "pbe", tmp_path)
    again = lammps("read_restart r\n" + PRINT, tmp_path, 2).stdout
    assert value("e", again)[0] == pytest.approx(energy, rel=1e-13)


@pytest.mark.parametrize("tail", ["no", "yes"])
def test_restart_files_of_earlier_versions_are_read(tail: str, tmp_path: Path) -> None:
    """Their bytes are those of Becke-Johnson damping without a three-body term today: functional,
    tables, tail, cutoffs and width; elements.
    """
    words = f"width 2.0 reference 2010 tail {tail}"
    _, data = _restart(words, "bj", "pbe0", tmp_path)
    earlier = struct.pack("<64s7s?3d", b"pbe0", b"2010", tail == "yes", *CUTOFFS, 2.0) + NAMES
    assert data.count(earlier) == 1
    _, longer = _restart(f"{words} s9 1", "bj", "pbe0", tmp_path)
    assert longer.count(b"pbe0".ljust(64, b"\0") + b"2010+\0") == 1  # which they refuse
    assert len(longer) == len(data) + 24


def test_restart_of_a_variant_that_is_unknown_is_refused(tmp_path: Path) -> None:
    _, data = _restart("", "zero", "pbe", tmp_path)
    at = data.index(b"2024+\0") + 6
    (tmp_path / "r").write_bytes(data[:at] + b"\x09" + data[at + 1 :])
    out = lammps("read_restart r\n" + PRINT, tmp_path, check=False)
    assert out.returncode != 0
    assert "expected a restart file with damping zero, zerom, bj or bjm, got number 9" in out.stdout

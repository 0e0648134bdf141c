"""pair_style d3torch as LAMMPS users use it: dynamics, minimisation, restart, and refusals."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import lammps_runs
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from lammps_runs import lammps, start, style, value

from d3torch import D3Calculator

if why := lammps_runs.missing():
    pytest.skip(why, allow_module_level=True)


def _crystal() -> Atoms:
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True) * (2, 2, 2)
    atoms.rattle(0.05, seed=3)
    return atoms


LJ = """pair_style hybrid/overlay lj/cut 12.0 d3torch bj pbe 9.0 7.0 width 3.0
pair_coeff 1 1 lj/cut 0.002 3.4 9.0
pair_coeff * * d3torch Ar
"""
DYNAMICS = """
thermo_modify format float %.17g
velocity all create 60 5
timestep 0.004
fix 1 all nve
variable e equal etotal
variable k equal ke
fix 2 all print 10 "step $(step) $(etotal:%.15g) $(ke:%.15g)"
"""


def _energies(log: str) -> np.ndarray:
    return np.array([[*map(float, x.split()[2:])] for x in log.splitlines() if x[:5] == "step "])


@pytest.mark.parametrize("ranks", [1, 2])
def test_energy_is_conserved_with_a_smooth_cutoff(ranks: int, tmp_path: Path) -> None:
    """Alone, so that no other cutoff disturbs: the exchange with kinetic energy is seen to 1e-5."""
    atoms = _crystal()
    script = start(atoms, tmp_path) + style(atoms, 9.0, 14.0, "width 4.0") + DYNAMICS
    energy = _energies(lammps(script + "run 500\n", tmp_path, ranks).stdout)
    exchanged = np.ptp(energy[:, 1])
    assert exchanged > 0.01
    assert np.ptp(energy[:, 0]) < 2e-3 * exchanged


@pytest.mark.parametrize("xc", ["b973c", "PBEh-3c-D3(BJ)", "pbe"])
def test_a_method_with_the_three_body_term_says_that_it_is_left_out(
    xc: str, tmp_path: Path
) -> None:
    """Once, on any number of ranks, as Python warns."""
    atoms = _crystal()
    script = start(atoms, tmp_path) + style(atoms, 9.0, 7.0, xc=xc) + "run 0\n"
    log = lammps(script, tmp_path, 2).stdout
    sentence = f"{xc} is defined with the three-body term of D3, which is left out here: add it "
    sentence += "with s9 1"
    assert log.count(sentence) == (xc != "pbe")


def test_minimised_energy_is_that_of_the_calculator(tmp_path: Path) -> None:
    atoms = molecule("CH3CH2OH", vacuum=8.0)
    atoms.rattle(0.05, seed=3)
    script = start(atoms, tmp_path) + style(atoms, 9.0, 14.0, "width 4.0") + "thermo_style one\n"
    script += "run 0\nvariable before equal $(pe:%.17g)\nminimize 0 1e-7 40 400\n"
    script += 'print "energy $(v_before) $(pe:%.17g)"\n'
    script += "write_dump all custom x.dump id x y z modify sort id format float %.17g\n"
    before, after = value("energy", lammps(script, tmp_path).stdout)
    assert after < before - 0.005
    rows = np.loadtxt(tmp_path / "x.dump", skiprows=9)
    atoms.positions = rows[:, 1:]
    atoms.calc = D3Calculator("pbe", cutoff=9.0, cn_cutoff=14.0, width=4.0)
    assert after == pytest.approx(atoms.get_potential_energy(), rel=1e-9)


def test_box_relaxes_to_zero_pressure(tmp_path: Path) -> None:
    script = start(_crystal(), tmp_path) + LJ + "thermo_style custom step pe press vol\nrun 0\n"
    script += 'print "first $(press) $(vol)"\nfix 1 all box/relax iso 0.0 vmax 0.001\n'
    script += 'minimize 0 1e-8 500 5000\nprint "last $(press) $(vol)"\n'
    log = lammps(script, tmp_path, 2).stdout
    (p0, v0), (p1, v1) = value("first", log), value("last", log)
    assert abs(p1) < 1e-2 * abs(p0)
    assert abs(v1 / v0 - 1) > 1e-3


def test_rerun_finds_the_energies_of_the_run(tmp_path: Path) -> None:
    run = start(_crystal(), tmp_path) + LJ + DYNAMICS
    run += "dump 1 all custom 10 md.dump id type x y z\ndump_modify 1 format float %.17g sort id\n"
    run += 'fix 3 all print 10 "pe $(step) $(pe:%.15g)"\nrun 30\n'
    again = start(_crystal(), tmp_path) + LJ
    again += 'thermo 10\nfix 3 all print 10 "pe $(step) $(pe:%.15g)"\nrerun md.dump dump x y z\n'
    found = [
        [line.split() for line in lammps(script, tmp_path).stdout.splitlines() if line[:3] == "pe "]
        for script in (run, again)
    ]
    assert [row[1] for row in found[0]] == [row[1] for row in found[1]]
    energies = np.array([[float(row[2]) for row in rows] for rows in found])
    assert energies.shape[1] >= 3
    assert np.abs(energies[0] - energies[1]).max() < 1e-9


def test_respa_takes_it_as_a_level_of_a_hybrid(tmp_path: Path) -> None:
    energies = []
    for word in ("verlet", "respa 2 2 hybrid 1 2"):
        script = start(_crystal(), tmp_path) + LJ + DYNAMICS + f"run_style {word}\nrun 100\n"
        energies.append(_energies(lammps(script, tmp_path).stdout))
    assert np.abs(energies[0] - energies[1]).max() < 1e-3
    assert np.ptp(energies[1][:, 0]) < 1e-3


def test_restart_keeps_settings_and_elements(tmp_path: Path) -> None:
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    atoms.rattle(0.05, seed=3)
    script = start(atoms, tmp_path) + style(atoms, 9.0, 7.0, "width 2.0 reference 2010", "pbe0")
    first = lammps(script + 'run 0\nprint "e $(pe:%.17g)"\nwrite_restart r\n', tmp_path).stdout
    again = lammps('read_restart r\nrun 0\nprint "e $(pe:%.17g)"\n', tmp_path, 2).stdout
    assert value("e", again)[0] == pytest.approx(value("e", first)[0], rel=1e-13)


@pytest.mark.parametrize("name", ["PBE-D3(BJ)", "pbe-d3bj", "PBE-D3", "PBE0_D3BJ", "b2gp-plyp-d3"])
def test_functional_may_carry_the_suffix_of_d3(name: str, tmp_path: Path) -> None:
    """As people write it; a restart file keeps the name as it was given."""
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    script = start(atoms, tmp_path) + style(atoms, 9.0, 7.0, xc=name)
    first = lammps(script + 'run 0\nprint "e $(pe:%.17g)"\nwrite_restart r\n', tmp_path).stdout
    again = lammps('read_restart r\nrun 0\nprint "e $(pe:%.17g)"\n', tmp_path).stdout
    plain = name.lower().replace("(bj)", "bj").removesuffix("bj").removesuffix("d3").strip("-_")
    atoms.calc = D3Calculator(plain, cutoff=9.0, cn_cutoff=7.0)
    assert value("e", first)[0] == pytest.approx(atoms.get_potential_energy(), rel=1e-12)
    assert value("e", again)[0] == pytest.approx(value("e", first)[0], rel=1e-13)


def test_restart_of_a_hybrid_keeps_settings(tmp_path: Path) -> None:
    first = lammps(
        start(_crystal(), tmp_path) + LJ + 'run 0\nprint "e $(pe:%.17g)"\nwrite_restart r\n',
        tmp_path,
    ).stdout
    again = "read_restart r\n" + LJ.split("\n", 1)[1] + 'run 0\nprint "e $(pe:%.17g)"\n'
    assert value("e", lammps(again, tmp_path).stdout) == pytest.approx(value("e", first))


def test_heat_flux_and_centroid_stress_take_its_parts(tmp_path: Path) -> None:
    """As of a pair potential: centroid stress is the same, and the sum is the virial."""
    atoms = _crystal()
    script = start(atoms, tmp_path) + style(atoms, 9.0, 7.0) + "velocity all create 60 5\n"
    script += "compute k all ke/atom\ncompute e all pe/atom\n"
    script += "compute s all stress/atom NULL virial\n"
    script += "compute c all centroid/stress/atom NULL virial\ncompute j all heat/flux k e s\n"
    script += "compute i all heat/flux k e c\ncompute t all reduce sum c_s[1] c_c[1]\n"
    script += "compute p all pressure NULL virial\n"
    script += "thermo_style custom step c_j[1] c_i[1] c_t[1] c_t[2] c_p[1]\nrun 0\n"
    script += 'print "flux $(c_j[1]:%.15g) $(c_i[1]:%.15g) $(-c_t[1]/vol) $(-c_t[2]/vol) '
    script += '$(c_p[1])"\n'
    flux, centroid, total, total_centroid, pressure = value("flux", lammps(script, tmp_path).stdout)
    assert flux == pytest.approx(centroid, rel=1e-9)
    assert abs(flux) > 0
    assert total == pytest.approx(pressure, rel=1e-5)
    assert total_centroid == pytest.approx(pressure, rel=1e-5)


# ---- refusals and warnings ----

GOOD = "pair_style d3torch bj pbe 9 7\n"
BESIDE = """pair_style hybrid/overlay lj/cut 5.0 d3torch bj pbe 9 7
pair_coeff * * lj/cut 0.001 3.0
pair_coeff * * d3torch Na Cl
"""
REFUSALS = [
    ("pair_style d3torch bj pbe 9\n", "expected DAMPING XC CUTOFF CN_CUTOFF"),
    ("pair_style d3torch op pbe 9 7\n", "expected the damping zero, zerom, bj or bjm, got op"),
    (
        "pair_style d3torch bj nosuch 9 7\n",
        "expected a functional with Becke-Johnson damping parameters, such as pbe, got nosuch",
    ),
    (
        "pair_style d3torch bjm scan 9 7\n",
        "expected a functional with modified Becke-Johnson damping parameters, such as pbe, got "
        "scan, which has: bj, zero",
    ),
    ("pair_style d3torch bj pbe nine 7\n", "expected the cutoff to be a number, got nine"),
    ("pair_style d3torch bj pbe -9 7\n", "expected a positive cutoff, got -9"),
    ("pair_style d3torch bj pbe 9 0\n", "expected a positive cutoff of CN, got 0"),
    (
        "pair_style d3torch bj pbe 9000 12\n",
        "expected a cutoff of at most 1000 angstrom, got 9000: lengths here are in angstrom; "
        "is that a number in bohr^2?",
    ),
    (
        "pair_style d3torch bj pbe 9 1600\n",
        "expected a cutoff of CN of at most 1000 angstrom, got 1600: lengths here are in angstrom",
    ),
    ("pair_style d3torch bj PBE-D3(0) 9 7\n", "such as pbe, got PBE-D3(0), which has: zero"),
    ("pair_style d3torch bj wB97X-D3 9 7\n", "such as pbe, got wB97X-D3, which has: zero"),
    ("pair_style d3torch zero d3bj 9 7\n", "expected a functional with zero damping parameters"),
    ("pair_style d3torch bj pbe 9 7 s9 one\n", "expected s9 to be a number, got one"),
    ("pair_style d3torch bj pbe 9 7 s9 inf\n", "expected s9 to be a number, got inf"),
    ("pair_style d3torch bj pbe 9 7 atm_cutoff 5\n", "expected s9 beside atm_cutoff and atm_width"),
    (
        "pair_style d3torch bj pbe 9 7 s9 1 atm_cutoff 0\n",
        "expected a positive three-body cutoff, got 0",
    ),
    (
        "pair_style d3torch bj pbe 9 7 s9 1 atm_cutoff 5 atm_width 5\n",
        "expected 0 <= atm_width < atm_cutoff = 5, got 5",
    ),
    (
        "pair_style d3torch bj pbe 9 7 s9 1 atm_cutoff 900\npair_coeff * * Na Cl\nrun 0\n",
        "expected an atm_cutoff with fewer triangles, got 900.000000 angstrom",
    ),
    ("pair_style d3torch bj pbe 9 7 width 9\n", "expected 0 <= width < cutoff = 9, got 9"),
    ("pair_style d3torch bj pbe 9 7 width\n", "expected a value after width"),
    (
        "pair_style d3torch bj pbe 9 7 tails yes\n",
        "expected the keyword width, tail, reference, s9, atm_cutoff or atm_width, got tails",
    ),
    ("pair_style d3torch bj pbe 9 7 tail maybe\n", "expected tail yes or no, got maybe"),
    ("pair_style d3torch bj pbe 9 7 width -1\n", "expected 0 <= width < cutoff = 9, got -1"),
    ("pair_style d3torch bj pbe 9 7 tail yes width 9\n", "expected 0 <= width < cutoff = 9, got 9"),
    ("pair_style d3torch bj pbe 9 7 reference 1999\n", "expected reference 2010 or 2024, got 1999"),
    (
        GOOD + "pair_coeff * * Na\n",
        "expected pair_coeff * * and one element or NULL for each of 2 types, got 1",
    ),
    (GOOD + "pair_coeff * * Na Xx\n", "expected a chemical symbol such as Si, or NULL, got Xx"),
    (GOOD + "pair_coeff * * Na Rf\nrun 0\n", "expected a chemical symbol such as Si"),
    (
        "pair_style d3torch bj pbe 9 7 reference 2010\npair_coeff * * Na Cf\nrun 0\n",
        "expected elements with references of 2010, got Cf",
    ),
    (GOOD + "pair_coeff * * NULL NULL\n", "expected an element, got NULL for every atom type"),
    (
        "pair_style hybrid d3torch bj pbe 9 7 lj/cut 5.0\npair_coeff * * d3torch Na Cl\n"
        "pair_coeff 1 2 lj/cut 0.1 3.0\nrun 0\n",
        "another style has types 1 and 2 (use pair_style hybrid/overlay)",
    ),
    *(
        (BESIDE + command + "run 0\n", "expected no " + told)
        for command, told in (
            ("compute x all group/group all\n", "compute group/group, which would leave D3 out"),
            (
                "compute v all pressure NULL virial\ncompute x all born/matrix numdiff 1e-4 v\n",
                "compute born/matrix, which moves ghosts",
            ),
            ("fix x all numdiff/virial 1 1e-5\n", "fix numdiff/virial, which moves ghosts"),
        )
    ),
    (
        GOOD + "pair_coeff * * Na Cl\nset atom 1 x 1.0 y 1.0 z 1.0\n"
        "set atom 2 x 1.0 y 1.0 z 1.0\nrun 0\n",
        "expected every atom in a place of its own, got two at 1.000000 1.000000 1.000000",
    ),
]


@pytest.mark.parametrize(("commands", "message"), REFUSALS, ids=[m for _, m in REFUSALS])
def test_refused_in_one_sentence(commands: str, message: str, tmp_path: Path) -> None:
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    script = lammps_runs.start(atoms[[1, 0, *range(2, 8)]], tmp_path).replace("Cl", "Na")
    out = lammps(script + commands, tmp_path, check=False)
    errors = [line for line in out.stdout.splitlines() if line.startswith("ERROR")]
    assert out.returncode != 0
    assert len(errors) == 1
    assert message in errors[0]
    assert errors[0].count("pair_style d3torch: ") == 1


def test_the_lists_of_another_style_stay_as_short_as_it_wants_them(tmp_path: Path) -> None:
    pair = "pair_style hybrid/overlay zero 3.0 d3torch bj pbe 9 7\npair_coeff * * zero\n"
    script = start(_crystal(), tmp_path) + pair + "pair_coeff * * d3torch Ar\nrun 0\n"
    assert "master list distance cutoff = 5\n" in lammps(script, tmp_path).stdout


IN_PYTHON = """
from lammps import lammps
L = lammps(cmdargs=["-log", "none", "-screen", "none"])
L.commands_string({script!r})
for words in ("9 7", "9 7 s9 1 atm_cutoff 7 atm_width 8", "8 6 s9 one", "12 9 width 99"):
    try:
        L.command("pair_style d3torch bj pbe " + words)
    except Exception as error:
        print(str(error).count("pair_style d3torch: expected"), end=" ")
    L.command("run 0")
    print(L.get_thermo("pe"))
"""


def test_words_that_are_refused_change_nothing(tmp_path: Path) -> None:
    script = start(_crystal(), tmp_path) + GOOD + "pair_coeff * * Ar\n"
    env = {**os.environ, "LD_LIBRARY_PATH": f"{sys.prefix}/lib", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", IN_PYTHON.format(script=script)]
    out = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)
    first, *others = out.stdout.splitlines()
    assert [line.split() for line in others] == [["1", first]] * 3, out.stderr


def test_units_that_change_after_the_style_are_refused(tmp_path: Path) -> None:
    script = start(_crystal(), tmp_path, head="").replace("read_data", GOOD + "units lj\nread_data")
    out = lammps(script + "pair_coeff * * Ar\nrun 0\n", tmp_path, check=False)
    assert "pair_style d3torch: expected units metal or real, got lj" in out.stdout


def test_other_units_are_refused(tmp_path: Path) -> None:
    out = lammps("units lj\n" + GOOD, tmp_path, check=False)
    assert out.returncode != 0
    assert "pair_style d3torch: expected units metal or real, got lj" in out.stdout


def test_two_dimensions_are_refused(tmp_path: Path) -> None:
    script = "units metal\ndimension 2\nregion r block 0 9 0 9 -1 1\ncreate_box 1 r\nmass 1 40\n"
    script += "create_atoms 1 single 1 1 0\n" + GOOD + "pair_coeff * * Ar\nrun 0\n"
    out = lammps(script, tmp_path, check=False)
    assert "pair_style d3torch: expected dimension 3, got 2" in out.stdout

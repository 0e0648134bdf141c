"""The command line: what it prints, writes, refuses, and its exit codes."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

import d3torch
from d3torch import D3Calculator, functionals
from d3torch.cli import main

CUTOFFS = ["--xc", "pbe", "--cutoff", "9", "--cn-cutoff", "8"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two molecules in a file, a crystal with results of its own in another, and broken ones."""
    monkeypatch.chdir(tmp_path)
    ase.io.write("two.extxyz", [molecule("H2O"), molecule("CH4")])
    copper = bulk("Cu", cubic=True)
    copper.info["origin"] = "by hand"
    copper.arrays["tag2"] = np.arange(4)
    copper.calc = EMT()
    copper.get_forces()
    ase.io.write("copper.extxyz", copper)
    (tmp_path / "garbage.xyz").write_text("no atoms in here\n")
    (tmp_path / "f.xyz").mkdir()
    collided = molecule("H2O")
    collided.positions[1] = collided.positions[0]
    ase.io.write("collided.extxyz", [molecule("CO"), collided, molecule("N2")])
    return tmp_path


def run(capsys, *args):
    """Exit code, stdout, stderr lines."""
    code = main([str(arg) for arg in args])
    captured = capsys.readouterr()
    return code, captured.out, captured.err.splitlines()


def energy_of(atoms):
    return D3Calculator(cutoff=9.0, cn_cutoff=8.0).get_potential_energy(atoms)


def test_table(folder, capsys):
    code, out, err = run(capsys, "energy", "two.extxyz", "copper.extxyz", *CUTOFFS)
    assert (code, err) == (0, [])
    lines = out.splitlines()
    assert len(lines) == 2 + 3
    assert "CH4" in lines[3]
    assert f"{energy_of(molecule('CH4')):.8f}" in lines[3]
    assert lines[3].split()[-1] == "-"  # a molecule has no pressure


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ([], "D3(BJ) of pbe, {}: cutoff 31.75 A, CN 21.17 A, no three-body term, {}2024"),
        (
            ["--preset", "mace_mp", "--variant", "zero", "--s9", "1", "--tail"],
            "D3(0)-ATM of pbe, {}: cutoff 21.17 A, CN 21.17 A, tail, "
            "three-body term within 21.17 A, {}2010",
        ),
        (
            ["--cutoff", "auto"],
            "D3(BJ) of pbe, {}: cutoff auto, CN 21.17 A, no three-body term, {}2024",
        ),
    ],
)
def test_without_a_functional_the_d3_that_was_taken_is_told(folder, capsys, args, told):
    code, out, err = run(capsys, "energy", "two.extxyz", *args)
    line = told.format("since no --xc was given", "tables of ")
    assert (code, err) == (0, [f"d3torch: {line}"])
    code, same, err = run(capsys, "energy", "two.extxyz", *args, "--xc", "pbe")
    assert (code, same, err) == (0, out, [])
    assert run(capsys, "energy", "two.extxyz", *args, "--json")[2] == []  # all is in the document


def test_json(folder, capsys):
    code, out, err = run(capsys, "energy", "two.extxyz", "copper.extxyz", *CUTOFFS, "--json")
    assert (code, err) == (0, [])
    document = json.loads(out)
    assert document["version"] == d3torch.__version__
    assert document["settings"]["cutoff"] == 9.0
    assert document["settings"]["s8"] == 0.7875
    assert [f["frame"] for f in document["frames"]] == [0, 1, 0]
    water, copper = document["frames"][0], document["frames"][2]
    assert water["energy"] == energy_of(molecule("H2O"))
    assert water["pressure"] is None
    assert water["cutoff"] == 9.0
    atoms = bulk("Cu", cubic=True)
    atoms.calc = D3Calculator(cutoff=9.0, cn_cutoff=8.0)
    assert copper["stress"] == pytest.approx(atoms.get_stress(), abs=1e-15)
    assert copper["pressure"] == pytest.approx(-160.21766 * copper["stress"][0], rel=1e-6)


def test_settings_reach_the_calculator(folder, capsys):
    args = ["--xc", "B3LYP", "--preset", "mace_mp", "--width", "2", "--dtype", "float32"]
    _, out, _ = run(capsys, "energy", "two.extxyz", *args, "--reference", "2010", "--json")
    document = json.loads(out)
    calculator = D3Calculator(
        "b3lyp", preset="mace_mp", width=2.0, dtype="float32", reference="2010"
    )
    assert document["frames"][0]["energy"] == calculator.get_potential_energy(molecule("H2O"))
    assert document["settings"]["cutoff"] == document["settings"]["cn_cutoff"]


def test_the_functional_and_the_width_are_told_as_they_were_taken(folder, capsys):
    args = ["copper.extxyz", "--xc", "PBE1PBE-D3(BJ)", "--json"]
    asked = [(["--tail"], 2.0), ([], 0.0), (["--tail", "--width", "1"], 1.0)]
    for more, width in (*asked, (["--preset", "converged"], 2.0)):
        settings = json.loads(run(capsys, "energy", *args, *more)[1])["settings"]
        assert settings["tail"] == (width > 0)
        assert settings["xc"] == "pbe0"
        assert settings["width"] == pytest.approx(width)


def test_variants_and_the_three_body_term_reach_the_calculator(folder, capsys):
    args = ["--variant", "zero", "--s9", "1", "--atm-cutoff", "8", "--atm-width", "2", "--json"]
    code, out, err = run(capsys, "energy", "copper.extxyz", *CUTOFFS, *args)
    assert (code, err) == (0, [])
    document = json.loads(out)
    given = {"variant": "zero", "s9": 1.0, "atm_cutoff": 8.0, "atm_width": 2.0}
    assert {name: document["settings"][name] for name in given} == given
    calculator = D3Calculator("pbe", cutoff=9.0, cn_cutoff=8.0, **given)
    expected = calculator.get_potential_energy(bulk("Cu", cubic=True))
    assert document["frames"][0]["energy"] == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("by", ["element", "atom"])
def test_atoms_are_left_out(folder, capsys, by):
    """In the energy, not in the CN of others."""
    ase.io.write("water.xyz", [molecule("H2O"), molecule("NaCl")])
    args = ["--exclude", "H,O"] if by == "element" else ["--exclude-atoms", "0,1:3"]
    code, out, err = run(capsys, "energy", "water.xyz@0", *CUTOFFS, *args, "--json")
    document = json.loads(out)
    assert (code, err, document["frames"][0]["energy"]) == (0, [], 0.0)
    if by == "element":
        assert document["settings"]["exclude"] == ["H", "O"]
        code, _, err = run(capsys, "energy", "water.xyz", *CUTOFFS, *args)
        words = "expected exclude to name elements that are there, Na Cl, got H"
        assert (code, err) == (1, [f"d3torch: water.xyz: frame 1: {words}"])
    else:
        assert document["exclude_atoms"] == [0, 1, 2]
        code, _, err = run(capsys, "energy", "water.xyz", *CUTOFFS, *args)
        words = "expected indices of atoms from 0 to 1, got 2"
        assert (code, err) == (1, [f"d3torch: water.xyz: frame 1: {words}"])
    args = ["--exclude", "H"] if by == "element" else ["--exclude-atoms", "1,2"]
    oxygen = json.loads(run(capsys, "energy", "water.xyz@0", *CUTOFFS, *args, "--json")[1])
    assert oxygen["frames"][0]["energy"] == 0.0  # of one atom that is not left out


def test_energies_by_groups(folder, capsys):
    salt = bulk("NaCl", "rocksalt", a=5.64)
    salt.arrays["part"] = np.array([4, 9])
    ase.io.write("salt.extxyz", [salt, salt])
    for by, names in (("species", ["Na", "Cl"]), ("part", ["4", "9"]), ("atoms", ["Na0", "Cl1"])):
        code, out, err = run(capsys, "energy", "salt.extxyz", *CUTOFFS, "--by", by, "--json")
        assert (code, err) == (0, [])
        for frame in json.loads(out)["frames"]:
            assert sorted(frame["pairwise"]["groups"]) == sorted(names)
            energies = np.array(frame["pairwise"]["energies"])
            assert energies.sum() == pytest.approx(frame["energy"], rel=1e-13)
    code, out, err = run(capsys, "energy", "salt.extxyz", *CUTOFFS, "--by", "species")
    assert (code, err) == (0, [])
    table = [line.split() for line in out.split("\n\n")[1].splitlines()]
    assert table[0] == ["file", "frame", "between", "and", "energy", "/", "eV"]
    assert [row[:4] for row in table[2:5]] == [
        ["salt.extxyz", "0", "Na", "Na"],
        ["salt.extxyz", "0", "Na", "Cl"],
        ["salt.extxyz", "0", "Cl", "Cl"],
    ]
    energy = json.loads(run(capsys, "energy", "salt.extxyz", *CUTOFFS, "--json")[1])["frames"][0]
    assert sum(float(row[4]) for row in table[2:5]) == pytest.approx(energy["energy"], abs=2e-8)
    code, _, err = run(capsys, "energy", "salt.extxyz@0", "--by", "colour")
    assert code == 1
    assert "expected by to be one of atoms, species, fragments or" in err[0]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--exclude", "Xx"], "expected a chemical symbol such as 'Si', got 'Xx'"),
        (["--exclude", ","], "expected elements such as Na,Cl, got ','"),
        (["--exclude-atoms", "1,a"], "expected atoms such as 0,3:6, counted from 0, got '1,a'"),
        (["--exclude-atoms", "6:3"], "expected atoms such as 0,3:6, counted from 0, got '6:3'"),
        (["--exclude-atoms", ""], "expected atoms such as 0,3:6, counted from 0, got ''"),
    ],
)
def test_atoms_that_are_none_are_refused(folder, capsys, given, words):
    code, out, err = run(capsys, "energy", "copper.extxyz", *given)
    assert (code, out) == (2, "")
    assert len(err) == 1
    assert words in err[0]


@pytest.mark.parametrize("command", ["energy", "lammps", "labels"])
def test_a_method_with_three_body_term_says_so_once(folder, capsys, command):
    ase.io.write("set.xyz", ase.io.read("copper.extxyz"), write_results=False)
    label = ase.io.read("set.xyz")
    label.info["REF_energy"] = 1.0
    ase.io.write("set.xyz", label)
    arguments = {
        "energy": ["energy", "two.extxyz", "copper.extxyz"],
        "lammps": ["lammps", "d3.pt", "--elements", "Cu"],
        "labels": ["labels", "subtract", "set.xyz", "out.xyz"],
    }
    code, _, err = run(capsys, *arguments[command], *CUTOFFS, "--xc", "B97-3c")
    assert code == 0
    assert len(err) == 1
    assert err[0].startswith("d3torch: warning: b973c is defined with the three-body term of D3")


def test_frames_of_a_file_can_be_chosen(folder, capsys):
    _, out, _ = run(capsys, "energy", "two.extxyz@1:", *CUTOFFS, "--json")
    assert [f["formula"] for f in json.loads(out)["frames"]] == ["CH4"]


def test_output_keeps_the_frames_and_adds_results(folder, capsys):
    files = ["two.extxyz", "copper.extxyz"]
    assert run(capsys, "energy", *files, *CUTOFFS, "--output", "out.extxyz")[0] == 0
    frames = ase.io.read("out.extxyz", ":")
    assert len(frames) == 3
    copper, source = frames[2], ase.io.read("copper.extxyz")
    calculator = D3Calculator(cutoff=9.0, cn_cutoff=8.0)
    assert copper.info["d3_energy"] == pytest.approx(calculator.get_potential_energy(source))
    assert copper.info["d3_stress"] == pytest.approx(calculator.get_stress(source))
    np.testing.assert_allclose(copper.arrays["d3_forces"], 0.0, atol=1e-8)
    assert copper.info["origin"] == "by hand"
    assert copper.arrays["tag2"].tolist() == [0, 1, 2, 3]
    assert copper.get_potential_energy() == source.get_potential_energy()
    assert "d3_stress" not in frames[0].info
    assert sorted(p.name for p in folder.glob(".*")) == []


def test_an_existing_output_is_refused_unless_told(folder, capsys):
    before = (folder / "copper.extxyz").read_text()
    args = ["energy", "two.extxyz", *CUTOFFS, "--output", "copper.extxyz"]
    code, out, err = run(capsys, *args)
    assert (code, out) == (2, "")
    assert err == ["d3torch: expected no file at copper.extxyz, got one: --overwrite replaces it"]
    assert (folder / "copper.extxyz").read_text() == before
    assert run(capsys, *args, "--overwrite")[0] == 0
    assert len(ase.io.read("copper.extxyz", ":")) == 2


def test_a_file_may_be_its_own_output(folder, capsys):
    args = ["energy", "two.extxyz", *CUTOFFS, "--output", "two.extxyz", "--overwrite"]
    for _ in range(2):
        assert run(capsys, *args)[0] == 0
    frames = ase.io.read("two.extxyz", ":")
    assert frames[1].info["d3_energy"] == pytest.approx(energy_of(molecule("CH4")), abs=1e-8)


def test_the_others_run_where_one_file_fails(folder, capsys):
    files = ["garbage.xyz", "two.extxyz", "missing.xyz", "copper.extxyz"]
    code, out, err = run(capsys, "energy", *files, *CUTOFFS, "--json")
    assert code == 1
    assert len(json.loads(out)["frames"]) == 3
    assert len(json.loads(out)["errors"]) == len(err) == 2
    assert err[0].startswith("d3torch: garbage.xyz: ")
    assert err[1] == "d3torch: missing.xyz: expected a file, got a name that does not exist"


def test_the_other_frames_run_where_one_fails(folder, capsys):
    code, out, err = run(
        capsys, "energy", "collided.extxyz", *CUTOFFS, "--json", "--output", "out.xyz"
    )
    assert code == 1
    assert [f["frame"] for f in json.loads(out)["frames"]] == [0, 2]
    assert len(err) == 1
    assert err[0].startswith("d3torch: collided.extxyz: frame 1: expected atoms at distinct")
    frames = ase.io.read("out.xyz", ":")
    assert ["d3_energy" in f.info for f in frames] == [True, False, True]


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder in which nothing may be")
@pytest.mark.parametrize(
    "words",
    [
        ["energy", "two.extxyz", *CUTOFFS, "--output", "/proc/o.xyz"],
        ["lammps", "/proc/o.pt", "--elements", "Si", "O", "--xc", "pbe"],
    ],
)
def test_what_cannot_be_written_is_told_in_a_line(folder, capsys, words):
    code, _, err = run(capsys, *words)
    assert code == 1
    assert "No such file" in err[-1]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_in_a_line():
    command = [sys.executable, "-m", "d3torch", "functionals"]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr == "d3torch: [Errno 28] No space left on device\n"


def test_no_output_appears_where_nothing_was_read(folder, capsys):
    before = sorted(p.name for p in folder.iterdir())
    assert run(capsys, "energy", "garbage.xyz", "--output", "out.xyz")[0] == 1
    assert sorted(p.name for p in folder.iterdir()) == before


def frames_of(capsys, *args):
    """Numbers and formulas of what was computed."""
    code, out, err = run(capsys, "energy", *args, *CUTOFFS, "--json")
    assert (code, err) == (0, [])
    return [(f["frame"], f["formula"]) for f in json.loads(out)["frames"]]


@pytest.fixture
def series(tmp_path, monkeypatch):
    """Five frames in an extxyz file with blank lines between them, and in a trajectory."""
    monkeypatch.chdir(tmp_path)
    frames = [molecule(name) for name in ("H2O", "CH4", "CO", "N2", "NH3")]
    ase.io.write("five.traj", frames)
    for atoms in frames:
        ase.io.write("one.extxyz", atoms)
        with open("five.extxyz", "a") as file:
            file.write(f"\n{(tmp_path / 'one.extxyz').read_text()} \n")
    return [atoms.get_chemical_formula() for atoms in frames]


@pytest.mark.parametrize("file", ["five.extxyz", "five.traj"])
@pytest.mark.parametrize(
    "index", ["", ":", "3:5", "-2:", "-1", "1", "::2", "::-2", "-4:-1:2", ":-3", "-2::-1"]
)
def test_slices_number_frames_by_their_place_in_the_file(series, capsys, file, index):
    """As Python slices a list."""
    places = list(range(5))
    if ":" in index:
        places = places[slice(*(int(x) if x else None for x in index.split(":")))]
    elif index:
        places = [places[int(index)]]
    found = frames_of(capsys, f"{file}@{index}" if index else file)
    assert found == [(place, series[place]) for place in places]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("two.extxyz@7:", "expected frames 7:, got none there"),
        ("two.extxyz@5", "expected frames 5, got none there"),
        ("copper.traj@3:5", "expected frames 3:5, got none there"),
        ("POSCAR@3:5", "expected frames 3:5, got none there"),
        ("two.extxyz@first", "expected frames such as 3 or 0:5 after @, got 'first'"),
        ("two.extxyz@::0", "expected frames such as 0:5:2 after @, got '::0'"),
        ("empty.xyz", "expected structures, got an empty file"),
        ("blank.xyz", "expected structures, got none in what ASE reads as extxyz"),
        ("nacl.data", "expected structures, got none in what ASE reads as runnerdata: --format"),
        ("nacl.lmp", "expected a format that ASE reads, got an unknown one: --format names it"),
        ("folder", "expected a file, got a folder"),
        ("missing@x.xyz", "expected a file, got a name that does not exist"),
        ("binary.xyz", "frame 0: expected text, got a binary file"),
        ("heavy/POSCAR", "expected chemical symbols, got 'D': hydrogen, whatever its mass, is H"),
        ("colons.xyz", "frame 0: expected Properties as name:R:3 and so on, got 'species::S:1"),
        ("element.xyz", "frame 0: expected chemical symbols, got 'Xx'"),
        ("short.xyz", "frame 1: expected 3 atoms, got the end of the file"),
        ("dummy.xyz", "frame 0: expected an atomic number from 1 to 103, got 0"),
        ("periodic.xyz", "frame 0: expected a lattice vector for periodic axis 0, got zero"),
        ("broken.traj", "expected what ASE reads as traj, got "),
    ],
)
def test_nothing_read_is_one_sentence_and_code_1(folder, capsys, name, words):
    ase.io.write("copper.traj", bulk("Cu"))
    (folder / "folder").mkdir()
    (folder / "heavy").mkdir()
    poscar = "x\n1.0\n4 0 0\n0 4 0\n0 0 4\n{}\n1 1\nDirect\n0 0 0\n.5 .5 .5\n"
    two = (folder / "two.extxyz").read_text()
    water = two[: two.index("\n5\n") + 1]
    lammps = "LAMMPS data\n\n1 atoms\n1 atom types\n\nAtoms # atomic\n\n1 1 0 0 0\n"
    for file, text in {
        "POSCAR": poscar.format("Na Cl"),
        "heavy/POSCAR": poscar.format("D O"),
        "empty.xyz": "",
        "blank.xyz": " \n\n",
        "nacl.data": lammps,
        "nacl.lmp": lammps,
        "binary.xyz": "\0\1\2\n" * 9,
        "colons.xyz": water.replace("species:", "species::", 1),
        "element.xyz": water.replace("\nO ", "\nXx ", 1),
        "dummy.xyz": water.replace("\nO ", "\nX ", 1),
        "periodic.xyz": water.replace('pbc="F', 'pbc="T'),
        "short.xyz": f"{water}3\n\nH 0 0 0\n",
        "broken.traj": "- of UlmASE-Trajectory",
    }.items():
        (folder / file).write_text(text)
    before = sorted(path.name for path in folder.iterdir())
    code, out, err = run(capsys, "energy", name, *CUTOFFS, "--output", "out.xyz")
    partly = name == "short.xyz"  # whose first frame is fine, which is told, and not written
    assert (code, len(err)) == (1, 1 + partly)
    assert err[0].startswith(f"d3torch: {name}: {words}")
    assert (out != "") == partly
    if name not in ("dummy.xyz", "periodic.xyz"):  # frames that are read are written
        assert sorted(path.name for path in folder.iterdir()) == before


def test_a_name_with_an_at_sign_is_a_file_if_there_is_one(series, capsys, tmp_path):
    (tmp_path / "five.extxyz").rename("a@0:1")
    assert len(frames_of(capsys, "a@0:1")) == 5
    assert frames_of(capsys, "a@0:1@4:") == [(4, series[4])]


@pytest.fixture
def pipe(monkeypatch):
    """Puts bytes into standard input, a pipe that cannot be read twice; gives its descriptor."""
    end, start = os.pipe()
    stdin = open(end)  # noqa: SIM115
    monkeypatch.setattr(sys, "stdin", stdin)

    def fill(data):
        os.write(start, data)
        os.close(start)
        return end

    yield fill
    stdin.close()


@pytest.mark.parametrize("args", [["-"], ["-", "--format", "traj"]])
def test_standard_input(series, capsys, pipe, args):
    pipe(Path("five.traj" if "traj" in args else "five.extxyz").read_bytes())
    assert frames_of(capsys, *args) == list(enumerate(series))


def test_a_slice_of_a_pipe(series, capsys, pipe):
    end = pipe(Path("five.extxyz").read_bytes())
    assert frames_of(capsys, f"/dev/fd/{end}@3:") == list(enumerate(series))[3:]


def test_nothing_on_standard_input(series, capsys, pipe):
    pipe(b"")
    code, out, err = run(capsys, "energy", "-", "--output", "out.xyz")
    assert (code, out) == (1, "")
    assert err == ["d3torch: -: expected structures, got an empty file"]
    assert not Path("out.xyz").exists()


def test_a_named_pipe_is_read_in_the_format_of_its_name(series, capsys, tmp_path):
    os.mkfifo("pipe.traj")
    data = (tmp_path / "five.traj").read_bytes()
    writer = threading.Thread(target=(tmp_path / "pipe.traj").write_bytes, args=[data])
    writer.start()
    assert frames_of(capsys, "pipe.traj") == list(enumerate(series))
    writer.join()


def test_packed_files(series, capsys, tmp_path):
    (tmp_path / "five.extxyz.gz").write_bytes(gzip.compress(Path("five.extxyz").read_bytes()))
    assert frames_of(capsys, "five.extxyz.gz") == list(enumerate(series))


def test_a_format_can_be_named(series, capsys, tmp_path):
    (tmp_path / "five.extxyz").rename("five.data")
    assert len(frames_of(capsys, "five.data", "--format", "extxyz")) == 5


def test_warnings_of_readers_are_one_line_each(folder, capsys):
    """ASE warns about a space group that it does not know, in several lines."""
    rows = "\n".join(f"_cell_length_{x} 4\n_cell_angle_{y} 90" for x, y in
                     (("a", "alpha"), ("b", "beta"), ("c", "gamma")))  # fmt: skip
    site = "_atom_site_label\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n"
    text = f"data_x\n{rows}\n_symmetry_space_group_name_H-M 'P 1'\nloop_\n{site}"
    (folder / "a.cif").write_text(f"{text}Na1 0 0 0\nNa2 0 0 0\n")
    code, out, err = run(capsys, "energy", "a.cif", *CUTOFFS)
    assert (code, len(out.splitlines())) == (0, 3)
    assert len(err) == 1
    assert err[0].startswith("d3torch: a.cif: warning: ")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (
            ["energy", "two.extxyz", "--format", "xzy"],
            "expected a format that ASE reads (`ase info",
        ),
        (["energy", "two.extxyz", "--format", "png"], "got 'png'"),
        (["energy", "two.extxyz", "--elements", "Na", "Cx"], "expected a chemical symbol such as"),
        (["energy", "two.extxyz", "--xc", "pbee"], "expected a known functional, got 'pbee' (near"),
        (["energy", "two.extxyz", "--cutoff", "-3"], "expected a positive cutoff, got -3.0"),
        (["energy", "two.extxyz", "--cutoff", "far"], "expected a length or auto, got 'far'"),
        (["energy", "two.extxyz", "--cutoff", "5", "--width", "5"], "expected 0 <= width < cutoff"),
        (["energy", "two.extxyz", "--preset", "fast"], "invalid choice: 'fast'"),
        (["energy", "two.extxyz", "--device", "abacus"], "expected a device that torch has here"),
        (["energy", "two.extxyz", "--output", "o.txt"], "expected an output file .extxyz or .xyz"),
        (["energy", "two.extxyz", "--output", "no/o.xyz"], "expected a folder to write to, got no"),
        (["energy", "two.extxyz", "--output", "f.xyz", "--overwrite"], "got the folder f.xyz"),
        (["energy"], "the following arguments are required: FILE"),
        (["energy", "two.extxyz", "--cut", "5"], "unrecognized arguments: --cut"),
        (["energie"], "invalid choice: 'energie'"),
        (["enrgy"], "; did you mean energy?"),
        (["energy", "two.extxyz", "--dtype", "float46"], "; did you mean float64?"),
    ],
)
def test_wrong_usage_is_one_line_and_code_2(folder, capsys, args, words):
    code, out, err = run(capsys, *args)
    assert (code, out, len(err)) == (2, "", 1)
    assert err[0].startswith("d3torch: ")
    assert words in err[0]


def test_missing_extras_are_named(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tabulate", None)
    code, _, err = run(capsys, "energy", "two.extxyz")
    assert code == 1
    assert err == ["d3torch: expected tabulate to be installed: run `pip install tabulate`"]


def test_functionals(capsys):
    code, out, err = run(capsys, "functionals", "*SCAN*")
    assert (code, err) == (0, [])
    assert len(out.splitlines()) == 2 + len(functionals("*scan*"))
    assert "10.1063/5.0041008" in out


@pytest.mark.parametrize(
    ("variant", "header", "value"),
    [("zero", ["rs6", "rs8", "doi"], "1.217"), ("zerom", ["rs8", "bet", "bohr"], "0.129434")],
)
def test_functionals_of_a_variant(capsys, variant, header, value):
    code, out, err = run(capsys, "functionals", "pbe", "--variant", variant)
    assert (code, err) == (0, [])
    head = out.splitlines()[0].split()
    assert head[head.index("s8") + 1 :][:1] == ["rs6"]
    assert [word in head for word in header] == [True] * 3
    assert value in out
    assert len(out.splitlines()) == 2 + len(functionals("pbe", variant))


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--atm-cutoff", "9"], "expected --s9 other than 0 with --atm-cutoff, got --atm-cutoff"),
        (["--s9", "0", "--atm-width", "1"], "expected --s9 other than 0 with --atm-width, got"),
        (["--tolerance", "1e-3"], "expected --cutoff auto with --tolerance, got --tolerance w"),
    ],
)
def test_options_that_mean_nothing_are_refused(folder, capsys, args, words):
    code, out, err = run(capsys, "energy", "copper.extxyz", *args)
    assert (code, out) == (2, "")
    assert words in err[0]
    more = ["--s9", "1"] if "--tolerance" not in args else ["--cutoff", "auto"]
    code, _, _ = run(capsys, "energy", "copper.extxyz", *CUTOFFS, *args, *more)
    assert code == 0


@pytest.mark.parametrize(("text", "end"), [("{", "line 1"), ("<!doctype html>{", "has none")])
def test_a_document_that_broke_off_is_named(folder, capsys, text, end):
    (folder / "cut.json").write_text(text)
    code, _, err = run(capsys, "energy", "copper.extxyz", "--settings-of", "cut.json")
    assert code == 2
    assert len(err) == 1
    assert "got cut.json" in err[0] or "expected a JSON document in cut.json, got none" in err[0]
    assert end in err[0]


def test_a_functional_of_other_variants_only_is_told_so(capsys):
    code, _, err = run(capsys, "functionals", "scan", "--variant", "zerom")
    assert code == 1
    words = "expected a functional with modified zero damping, got 'scan', of --variant bj and -"
    assert words in err[0]


def test_functionals_as_json(capsys):
    _, out, _ = run(capsys, "functionals", "--json")
    found = {f["name"]: f for f in json.loads(out)}
    assert len(found) == len(functionals())
    assert found["pbe"]["parameters"] == {"s6": 1.0, "s8": 0.7875, "a1": 0.4289, "a2": 4.4407}


def test_a_pattern_without_match(capsys):
    code, out, err = run(capsys, "functionals", "zzz")
    assert (code, out) == (1, "")
    assert err == ["d3torch: expected part of the name of a functional, got 'zzz'"]
    _, _, err = run(capsys, "functionals", "r2scam")
    assert err[0].endswith("got 'r2scam' (nearest: r2scan, r2scanh, r2scan0)")


@pytest.mark.parametrize("args", [["--version"], ["--help"], ["energy", "--help"]])
def test_help_and_version(capsys, args):
    code, out, err = run(capsys, *args)
    assert (code, err) == (0, [])
    assert out.startswith(f"d3torch {d3torch.__version__}" if "version" in args[0] else "usage:")


def test_no_arguments_print_the_help(capsys):
    code, out, err = run(capsys)
    assert (code, out) == (2, "")
    assert err[0].startswith("usage: d3torch")
    assert any("energy" in line for line in err)


# ---- frames that cannot be read ----

LOST = {
    "a number": "2\n\nH 0 0 0\nH 0 0 ****\n",
    "a symbol": "2\n\nH 0 0 0\nD 0 0 0.74\n",
    "a lattice": '2\nlattice="9 0 0 0 9 0 0 0 9"\nH 0 0 0\nH 0 0 0.74\n',
    "an end": "3\n\nH 0 0 0\n",
}
WHOLE = "2\n\nH 0 0 0\nH 0 0 0.74\n"


@pytest.mark.parametrize("lost", LOST)
def test_a_frame_that_cannot_be_read_costs_no_other(tmp_path, monkeypatch, capsys, lost):
    """The others run as far as there are any, and the file that would be replaced stays whole."""
    monkeypatch.chdir(tmp_path)
    text = WHOLE + LOST[lost] + (WHOLE if lost != "an end" else "")
    Path("a.xyz").write_text(text)
    code, out, err = run(capsys, "energy", "a.xyz", "--xc", "pbe", "--output", "a.xyz",
                         "--overwrite")  # fmt: skip
    assert code == 1
    assert out.count("H2") == text.count("0.74") - (lost in ("a symbol", "a lattice"))
    assert len(err) == 2
    assert err[0].startswith("d3torch: a.xyz: frame 1: expected ")
    assert err[1].endswith(": nothing was written")
    assert Path("a.xyz").read_text() == text
    assert [*tmp_path.iterdir()] == [tmp_path / "a.xyz"]


def test_a_file_that_is_not_there_costs_none_of_the_others(folder, capsys):
    code, _, err = run(capsys, "energy", "none.xyz", "two.extxyz", *CUTOFFS, "--output", "o.xyz")
    assert (code, len(err)) == (1, 1)
    assert len(ase.io.read("o.xyz", ":")) == 2


def test_a_large_first_number_is_told_at_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("a.xyz").write_text("1700000000\nsince 1970\nH 0 0 0\n")
    code, _, err = run(capsys, "energy", "a.xyz")
    assert (code, len(err)) == (1, 1)
    assert "expected 1700000000 atoms, got the end of the file" in err[0]


@pytest.mark.parametrize("name", ["PBE-D3(BJ)", "pbe-d3", "r2SCAN-D3"])
def test_names_that_settings_take_are_found_in_the_table(capsys, name):
    code, out, err = run(capsys, "functionals", name)
    assert (code, err) == (0, [])
    assert out.splitlines()[2].split()[0] == name.lower().partition("-")[0]


# ---- streams ----


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("{d3torch} functionals pbe0 >&-", 0),
        ("{d3torch} energy a.xyz --xc pbe 2>&-", 0),
        ("{d3torch} energy - <&-", 1),
        ("{d3torch} --version >/dev/full", 1),
        ("PYTHONUNBUFFERED=1 {d3torch} --version >/dev/full", 1),
        ("set -o pipefail; {d3torch} info | true", 1),
        ("PYTHONIOENCODING=ascii {d3torch} energy \u00e9.xyz --xc pbe", 0),
    ],
)
def test_no_stream_ends_in_a_traceback(tmp_path, command, expected):
    for name in ("a.xyz", "\u00e9.xyz"):
        (tmp_path / name).write_text(WHOLE)
    command = command.format(d3torch=f"{sys.executable} -m d3torch")
    out = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in out.stderr + out.stdout
    assert "Exception ignored" not in out.stderr
    assert out.returncode == expected

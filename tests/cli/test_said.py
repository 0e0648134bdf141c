"""What a file plainly says and a reader of ASE skips is refused; what it does not say is not."""

from __future__ import annotations

import gzip
import io
import json

import ase.io
import numpy as np
import oracle
import pytest
from ase.build import bulk

from d3torch.cli import main
from d3torch.cli.reading import read_frames
from d3torch.units import BOHR

SALT = "2\n{}\nNa 0 0 0\nCl 2.8 0 0\n"

COORD = "$coord\n 0 0 0 mg\n 3.98 3.98 3.98 o\n{}$end\n"

CUBIC = "5 0 0 0 5 0 0 0 5"

CIF = """data_salt
_cell_length_a 4
_cell_length_b 4
_cell_length_c 4
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
loop_
{}
"""

SITE = "_atom_site_label\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n"

TYPED = SITE + "_atom_site_type_symbol\n_atom_site_occupancy\n"

DISORDER = SITE + "_atom_site_disorder_assembly\n_atom_site_disorder_group\n"

CRYST1 = "CRYST1{0:9.3f}{0:9.3f}{0:9.3f}  90.00  90.00  90.00 P 1\n"

ATOM = "ATOM  {:5d} {:<4s} {:<3s}     1    {:8.3f}{:8.3f}{:8.3f}{:6.2f}  0.00          {:>2s}\n"

SALT_PDB = ATOM.format(1, "NA", "NA", 0, 0, 0, 1, "NA") + ATOM.format(2, "X", "X", 3, 0, 0, 1, "CL")

ALTERNATE = ATOM.replace("{:<4s} {:<3s}", "{:<4s}{}{:<3s}")

A_AND_B = "".join(ALTERNATE.format(i, "NA", x, "NA", i, 0, 0, 1, "NA") for i, x in enumerate("AB"))

A_AND_A = "".join(ALTERNATE.format(i, x, "A", x, i, 0, 0, 1, x) for i, x in enumerate(("NA", "CL")))

GRO = """x
 2
    1A  {:>7s}    1   0.000   0.000   0.000
    2B  {:>7s}    2   0.280   0.000   0.000
"""

RES = "TITL x\nCELL 1 4 4 4 90 90 90\nLATT {}\nSFAC Na Cl\nNa 1 0 0 0 1.0\nCl 2 .5 .5 .5 1.0\nEND\n"

SDF = """
 x

  1  0  0  0  0  0  0  0  0  0999 V2000
    0.0000    0.0000    0.0000 Ar  0  0
M  END
$$$$
"""

CONFIG = "x\n 0 1 2\n 5 0 0\n 0 5 0\n 0 0 5\n{} 1\n 0 0 0\n{} 2\n 2.5 0 0\n"

HSD = """Geometry = {{
  TypeNames = {{ "Na" "Cl" }}
  TypesAndCoordinates [Angstrom] = {{
  1 0 0 0
  2 2.8 0 0
  }}
  Periodic = {}
  LatticeVectors [Angstrom] = {{
  5.6 0 0
  0 5.6 0
  0 0 5.6
  }}
}}
"""

CP2K = """&SUBSYS
&CELL
{}
&END CELL
&COORD
Na 0 0 0
Cl 2.8 0 0
&END COORD
&END SUBSYS
"""

ABC = "A 5 0 0\nB 0 5 0\nC 0 0 5"

DUMP = """ITEM: TIMESTEP
0
ITEM: NUMBER OF ATOMS
2
ITEM: BOX BOUNDS {bounds}
0 6
0 6
0 6
ITEM: ATOMS id type x y z{column}
1 2 0 0 0{first}
2 1 3 3 3{second}
"""

DATA = """LAMMPS data file via write_data, units = {units}

2 atoms
2 atom types
0 6 xlo xhi
0 6 ylo yhi
0 6 zlo zhi

{masses}Atoms # atomic

1 1 0 0 0
2 2 3 3 3
"""


def dump(bounds="pp pp pp", column="", first="", second=""):
    return DUMP.format(bounds=bounds, column=column, first=first, second=second)


def data(units="metal", masses=()):
    rows = "".join(f"{kind} {mass}\n" for kind, mass in enumerate(masses, 1))
    return DATA.format(units=units, masses=f"Masses\n\n{rows}\n" if masses else "")


def problems(tmp_path, name, text, form=None, elements=None):
    """The frames of a file with this text."""
    path = tmp_path / name
    path.write_text(text)
    return list(read_frames(str(path), form, elements))


REFUSED = {
    "Turbomole with a lattice": ("coord", COORD.format("$periodic 3\n$lattice angs\n 0 2 2\n")),
    "Turbomole with a cell": ("coord", COORD.format("$cell\n 8 8 8 90 90 90\n")),
    "Turbomole, one direction": ("coord", COORD.format("$periodic 1\n$cell\n 8.0\n")),
    "Turbomole, lattice only": ("coord", COORD.format("$lattice\n 8 0 0\n 0 8 0\n 0 0 8\n")),
    "lattice in lower case": ("a.xyz", SALT.format(f'lattice="{CUBIC}"')),
    "lattice in upper case": ("a.xyz", SALT.format(f'LATTICE="{CUBIC}"')),
    "lattice misspelt": ("a.xyz", SALT.format(f'Latice="{CUBIC}"')),
    "two lattices": ("a.xyz", SALT.format(f'Lattice="{CUBIC}" Lattice="9 0 0 0 9 0 0 0 9"')),
    "two pbc": ("a.xyz", SALT.format(f'Lattice="{CUBIC}" pbc="T T T" pbc="T T F"')),
    "cell vectors": ("a.xyz", SALT.format(f'lattice_vectors="{CUBIC}"')),
    "cell": ("a.xyz", SALT.format('cell="5.6 5.6 5.6"')),
    "nested cell": ("a.xyz", SALT.format("unit_cell=[[5,0,0],[0,5,0],[0,0,5]]")),
    "i-PI": ("a.xyz", SALT.format("# CELL(abcABC):  35.2 35.2 35.2 90.0 90.0 90.0 Step: 0")),
    "box in words": ("a.xyz", SALT.format("box 10.0 10.0 10.0")),
    "one length": ("a.xyz", SALT.format("box=20.0")),
    "a, b, c": ("a.xyz", SALT.format("a=5.4, b=5.4, c=5.4")),
    "vectors, shortened": ("a.xyz", SALT.format(f'latvec="{CUBIC}"')),
    "matrix": ("a.xyz", SALT.format(f'lattice_mat="{CUBIC}"')),
    "size of a box": ("a.xyz", SALT.format('box_size="5 5 5"')),
    "MDAnalysis": ("a.xyz", SALT.format('dimensions="5 5 5 90 90 90"')),
    "lengths after pbc": ("a.xyz", SALT.format("PBC 5.0 5.0 5.0")),
    "Tinker": ("a.xyz", SALT.format("  5.0 5.0 5.0 90.0 90.0 90.0")),
    "nine numbers": ("a.xyz", SALT.format(CUBIC)),
    "LAMMPS's boundary": ("a.xyz", SALT.format('boundary="p p p"')),
    "periodic": ("a.xyz", SALT.format("periodic=yes")),
    "pbc in upper case": ("a.xyz", SALT.format(f'Lattice="{CUBIC}" PBC="T T F"')),
    "properties in lower case": ("a.xyz", SALT.format("properties=species:S:1:force:R:3:pos:R:3")),
    "plain xyz": ("a.xyz", SALT.format(f'Lattice="{CUBIC}"'), "xyz"),
    "FHI-aims in capitals": ("geometry.in", "Lattice_Vector 5 0 0\natom 0 0 0 Na\n"),
    "DFTB+ in lower case": ("dftb.hsd", HSD.format("yes")),
    "two models, one CRYST1": ("a.pdb", CRYST1.format(6) + (SALT_PDB + "ENDMDL\n") * 2),
    "half an atom": ("a.pdb", SALT_PDB.replace("  1.00", "  0.50", 1)),
    "cell too small": ("a.pdb", CRYST1.format(1.1) + SALT_PDB + "END\n"),
    "plain xyz, nine numbers": ("a.xyz", SALT.format(f'h="{CUBIC}"'), "xyz"),
    "PDB without elements": ("a.pdb", ATOM.format(1, "CA", "ALA", 0, 0, 0, 1, "")),
    "GROMACS, NA is not N": ("a.gro", GRO.format("NA", "CL") + " 0.6 0.6 0.6\n"),
    "GROMACS, MW is not W": ("a.gro", GRO.format("OW", "MW") + " 0.6 0.6 0.6\n"),
    "SDF, two molecules": ("a.sdf", SDF * 2),
    "DL_POLY, CL is not C": ("CONFIG", CONFIG.format("NA", "CL")),
    "mixed site": ("a.cif", CIF.format(TYPED + "A 0 0 0 Na 0.5\nB 0 0 0 K 0.5")),
    "vacancies": ("a.cif", CIF.format(TYPED + "A 0 0 0 Na 0.9\nB .5 .5 .5 Cl 1")),
    "CIF, two groups": ("a.cif", CIF.format(DISORDER + "Na 0 0 0 A 1\nCl .5 0 0 A 2")),
    "CIF, about a centre": ("a.cif", CIF.format(DISORDER + "Na 0 0 0 . .\nCl .5 0 0 . -1")),
    "PDB, alternates": ("a.pdb", A_AND_B),
    "SHELX, parts": ("a.res", RES.format("-1").replace("Cl 2", "PART 2\nCl 2")),
    "CIF, CL1 is not C": ("a.cif", CIF.format(SITE + "NA1 0 0 0\nCL1 .5 .5 .5")),
    "Turbomole in angstrom": ("coord", COORD.replace("$coord", "$coord angs").format("")),
    "Turbomole, fractional": ("coord", COORD.replace("$coord", "$coord frac").format("")),
    "CIF, Hall's name alone": (
        "a.cif",
        CIF.replace("loop_", "_space_group_name_Hall '-F 4 2 3'\nloop_").format(SITE + "Na 0 0 0"),
    ),
    "CIF, magnetic": (
        "a.cif",
        CIF.replace("loop_", "_space_group_magn.name_BNS 'R -3'\nloop_").format(SITE + "Na 0 0 0"),
    ),
    "PDB with symmetry": (
        "a.pdb",
        CRYST1.format(6).replace("P 1", "P 21 21 21   4") + SALT_PDB + "END\n",
    ),
    "CP2K, slab": ("a.restart", CP2K.format(f"{ABC}\nPERIODIC  XY"), "cp2k-restart"),
    "CP2K, molecule": ("a.restart", CP2K.format(f"{ABC}\nPERIODIC  NONE"), "cp2k-restart"),
    "CP2K, lengths": ("a.restart", CP2K.format("ABC 5 5 5"), "cp2k-restart"),
    "SHELX, centred": ("a.res", RES.format("1")),
    "SHELX with symmetry": ("a.res", RES.format("-1\nSYMM -X,-Y,Z")),
    "NWChem, slab": (
        "a.nwi",
        "geometry units angstrom nocenter noautosym noautoz\n  system surface units angstrom\n"
        "    lat_a 5.0\n    lat_b 5.0\n    gamma 60.0\n  end\n"
        "  Na 0.0 0.0 0.0\n  Cl 0.5 0.5 3.0\nend\n\ntask dft energy\n",
    ),
    "dump, types only": ("a.dump", dump()),
    "data, types only": ("a.data", data(), "lammps-data"),
    "data, united atoms": ("a.data", data(masses=(22.99, 15.03)), "lammps-data"),
    "data in sigma": ("a.data", data(units="lj"), "lammps-data", ["Na", "Cl"]),
    "dump in sigma": (
        "a.dump",
        dump().replace("ITEM: N", "ITEM: UNITS\nlj\nITEM: N"),
        None,
        ["Na"],
    ),
    "other elements": ("a.dump", dump("pp pp pp", " element", " Na", " Cl"), None, ["Na", "Cl"]),
    "too few elements": ("a.dump", dump(), None, ["Na"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_reader_loses_is_refused_in_a_sentence(tmp_path, name):
    frames = problems(tmp_path, *REFUSED[name])
    assert frames[-1].problem is not None
    assert frames[-1].problem.startswith("expected ")
    assert len(frames[-1].problem.splitlines()) == 1


@pytest.mark.parametrize(
    ("comment", "words"),
    [
        (f'Lattice="{CUBIC}" Lattice="{CUBIC}"', "each key once, got Lattice twice"),
        ("energy=-1.0 energy=-2.0", "each key once, got energy twice"),
        ("Properties=species:S:1:pos:R:3:pos:R:3", "each of Properties once, got pos twice"),
    ],
)
def test_labels_refuse_what_is_said_twice(tmp_path, monkeypatch, capsys, comment, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.xyz").write_text(SALT.format(comment))
    given = ["labels", "subtract", "a.xyz", "b.xyz", "--xc", "pbe", "--energy-key", "energy"]
    assert main(given) == 1
    assert capsys.readouterr().err == f"d3torch: a.xyz: frame 0: expected {words}\n"
    assert not (tmp_path / "b.xyz").exists()


LATTICES = (
    f'h="{CUBIC}"',
    'H="[[5, 0, 0], [0, 5, 0], [0, 0, 5]]"',
    f'basis="{CUBIC}"',
    f'whatever="{CUBIC}"',
    'supercell="2 0 0 0 2 0 0 0 2"',
    'a1="5 0 0" a2="0 5 0" a3="0 0 5"',
    "lv1=5,0,0 lv2=0,5,0 lv3=0,0,5",
    'abc="5 5 5"',
    "celldm=10.2",
    'celldm="10.2 0 0 0 0 0"',
    "alat=5.4",
    'bounds="0 5 0 5 0 5"',
    "lx=5 ly=5 lz=5",
    "unit_cell_a=5.4 unit_cell_b=5.4 unit_cell_c=5.4",
    "crystal 5 5 5 90 90 90",
    "frame 0 of 5.0 5.0 5.0 90.0 104.5 90.0 P21/c",
)


@pytest.mark.parametrize("form", ["extxyz", "xyz"])
@pytest.mark.parametrize("comment", LATTICES)
def test_a_lattice_under_any_key_is_refused(tmp_path, comment, form):
    (frame,) = problems(tmp_path, "a.xyz", SALT.format(comment), form)
    assert frame.problem is not None
    assert frame.problem.endswith(("which ASE does not read", "its reader of xyz"))


ORDINARY = (
    'energy=-1.5 dipole="0.1 0.2 0.3" stress="1 2 3 4 5 6 7 8 9" virial="1 2 3 4 5 6 7 8 9"',
    'REF_virials="1 2 3 4 5 6 7 8 9" quadrupole="1 2 3 4 5 6 7 8 9" free_energy=-1.0',
    "a1=0.4289 a2=4.4407 s8=0.7875 h=0.5 basis=6-31G* charge=0 spin=1",
    "step 12, 3 4 5 6 7 8 kcal/mol after 1 2 3 4 5 6 7 8 9 seconds",
    "TV 1 2 3",
    'lattice="none"',
    'lattice=fcc h="0 0 0 0 0 0 0 0 0" magmoms="0 1" name=h1',
    'forces="1 2 3 4 5 6 7 8 9" efield="0 0 0.1"',
    "i = 1, time = 0.5, E = -1.0, T = 300 310 320 90",
    'frequencies="1 2 3 4 5 6 7 8 9" eigenvalues="1 2 3 4 5 6 7 8 9"',
    f'whatever="{"0.5 " * 120}" hessian="{"0.5 " * 99}"',
    "units of 12 bohr were converted, box in no unit",
    'coordinates in A, energy in a.u. E=-1.17 magmom_note="unit: Bohr magneton"',
    "energy unit: a.u. energy-units=au unit=Bohr_magneton",
    "coordinates not in bohr, geometry from PBE, energy in a.u.",
)


@pytest.mark.parametrize(
    "comment",
    [
        *("units=bohr", 'unit: "Bohr"', "coordinates in bohr", "Positions (in atomic units)"),
        *("water, length_unit=bohr energy=-1.0", "the geometry in a.u., energy in eV"),
    ],
)
def test_positions_in_bohr_are_refused(tmp_path, comment):
    (frame,) = problems(tmp_path, "a.xyz", SALT.format(comment), "extxyz")
    assert frame.problem.startswith("expected positions in angstrom, got ")


@pytest.mark.parametrize("form", ["extxyz", "xyz"])
@pytest.mark.parametrize("comment", ORDINARY)
def test_an_ordinary_comment_is_a_molecule(tmp_path, comment, form):
    (frame,) = problems(tmp_path, "a.xyz", SALT.format(comment), form)
    assert (frame.problem, frame.atoms.pbc.any()) == (None, False)


def test_what_ase_writes_of_no_lattice_is_a_molecule(tmp_path):
    atoms = ase.io.read(io.StringIO(SALT.format("")), format="extxyz")
    atoms.info["lattice"] = "none"
    ase.io.write(tmp_path / "a.xyz", atoms, format="extxyz")
    (frame,) = read_frames(str(tmp_path / "a.xyz"))
    assert (frame.problem, frame.atoms.pbc.any()) == (None, False)


TAKEN = {
    "PDB, dummy cell": ("a.pdb", CRYST1.format(1) + SALT_PDB + "END\n", "none"),
    "PDB, iron": ("a.pdb", ATOM.format(1, "FE", "HEM", 0, 0, 0, 1, "") + "END\n", "none"),
    "GROMACS, no box": ("a.gro", GRO.format("OW", "HW1") + " 0.0 0.0 0.0\n", "none"),
    "FHI-aims, a comment": ("geometry.in", "# lattice_vector 5 0 0\natom 0 0 0 Na\n", "none"),
    "no comment": ("a.xyz", SALT.format(""), "none"),
    "words": ("a.xyz", SALT.format("i = 1, time = 0.5, E = -1.0, frame 1 2 3"), "none"),
    "lattice energy": ("a.xyz", SALT.format("energy=-1.2 lattice energy of the salt"), "none"),
    "words that are keys elsewhere": ("a.xyz", SALT.format("properties of a LATTICE"), "none"),
    "six numbers": ("a.xyz", SALT.format("-1.5 0.1 0.2 0.3 12.5 7"), "none"),
    "labels": ("a.xyz", SALT.format('REF_energy=-1 virials="1 2 3 4 5 6 7 8 9"'), "none"),
    "supercell": ("a.xyz", SALT.format('supercell="2 2 2" cell=3 excellent 1 2 3'), "none"),
    "zeros": ("a.xyz", SALT.format('cell="0 0 0" pbc="F F F"'), "none"),
    "a box that is none": ("a.xyz", SALT.format(f'Lattice="{CUBIC}" pbc="F F F"'), "none"),
    "slab": ("a.xyz", SALT.format(f'Lattice="{CUBIC}" pbc="T T F"'), "T T F"),
    "crystal": ("a.xyz", SALT.format(f'Lattice="{CUBIC}"'), "T T T"),
    "ADF": ("a.xyz", SALT.format("") + "VEC1 5 0 0\nVEC2 0 5 0\nVEC3 0 0 5\n", "T T T"),
    "Turbomole, molecule": ("coord", COORD.format("$periodic 0\n"), "none"),
    "DFTB+": ("dftb.hsd", HSD.format("Yes"), "T T T"),
    "PDB": ("a.pdb", CRYST1.format(6) + SALT_PDB + "ENDMDL\nEND\n", "T T T"),
    "PDB, P 1 and Z": ("a.pdb", CRYST1.format(6).strip() + "   1\n" + SALT_PDB + "END\n", "T T T"),
    "CIF, Hall's P 1": (
        "a.cif",
        CIF.replace("loop_", "_space_group_name_Hall 'P 1'\nloop_").format(TYPED + "A 0 0 0 Na 1"),
        "T T T",
    ),
    "CIF, Hall's name beside a number": (
        "a.cif",
        CIF.replace(
            "loop_", "_space_group_name_Hall '-P 4 2 3'\n_space_group_IT_number 221\nloop_"
        ).format(TYPED + "A 0 0 0 Na 1"),
        "T T T",
    ),
    "PDB of a molecule": ("a.pdb", SALT_PDB.replace("  1.00", "  0.00") + "END\n", "none"),
    "PDB, alternates A alone": ("a.pdb", A_AND_A + "END\n", "none"),
    "CIF, one group": ("a.cif", CIF.format(DISORDER + "Na 0 0 0 A 1\nCl .5 0 0 B 2"), "T T T"),
    "a word twice": ("a.xyz", SALT.format("step=1 step=2"), "none"),
    "SDF, one molecule": ("a.sdf", SDF + "\n", "none"),
    "GROMACS, water": ("a.gro", GRO.format("OW", "HW1") + " 0.6 0.6 0.6\n", "T T T"),
    "GROMACS, a number first": ("a.gro", GRO.format("1HB", "2HB") + " 0.6 0.6 0.6\n", "T T T"),
    "DL_POLY": ("CONFIG", CONFIG.format("Na+", "Cl-"), "T T T"),
    "CIF with deuterium": ("a.cif", CIF.format(TYPED + "A 0 0 0 Na 1\nB .5 .5 .5 D 1"), "T T T"),
    "CIF with labels": ("a.cif", CIF.format(SITE + "Na1 0 0 0\nCl1 .5 .5 .5"), "T T T"),
    "SHELX of AIRSS": ("a.res", RES.format("-1"), "T T T"),
    "dump, slab": ("a.dump", dump("pp pp ff", " element", " Na", " Cl"), "T T F"),
    "dump of a molecule": ("a.dump", dump("ff ff ff", " element", " Na", " Cl"), "none"),
    "dump with masses": ("a.dump", dump("pp pp pp", " mass", " 22.99", " 35.45"), "T T T"),
}


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_read_in_full_is_told(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    file, text, pbc = TAKEN[name]
    (tmp_path / file).write_text(text)
    arguments = ["energy", file, "--cutoff", "9", "--cn-cutoff", "8"]
    assert main(arguments) == 0
    row = capsys.readouterr().out.splitlines()[2]
    assert f"  {pbc}  " in row
    assert main([*arguments, "--json"]) == 0
    (frame,) = json.loads(capsys.readouterr().out)["frames"]
    assert any(frame["pbc"]) == (pbc != "none")
    assert frame["cell"] is not None or pbc == "none"


def energy(capsys, *args):
    assert main(["energy", *args, "--json"]) == 0
    return json.loads(capsys.readouterr().out)["frames"][0]


def test_types_become_elements(tmp_path, monkeypatch, capsys):
    """The same crystal by types, by masses and by elements."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "types.dump").write_text(dump())
    (tmp_path / "elements.dump").write_text(dump("pp pp pp", " element", " Na", " Cl"))
    (tmp_path / "types.data").write_text(data())
    (tmp_path / "masses.data").write_text(data(masses=(22.99, 35.45)))
    (tmp_path / "heavy.data").write_text(data(masses=(22.99, 36.97)))
    form = ["--format", "lammps-data"]
    found = [
        energy(capsys, "types.dump", "--elements", "Cl", "Na"),
        energy(capsys, "elements.dump"),
        energy(capsys, "elements.dump", "--elements", "Cl", "Na"),
        energy(capsys, "types.data", "--elements", "Na", "Cl", *form),
        energy(capsys, "masses.data", *form),
        energy(capsys, "heavy.data", "--elements", "Na", "Cl", *form),
    ]
    assert {frame["formula"] for frame in found} == {"ClNa"}
    assert [frame["energy"] for frame in found] == pytest.approx([found[1]["energy"]] * 6)


@pytest.mark.parametrize("name", ["data.salt", "salt.data", "salt.lmp", "salt.data.gz"])
def test_a_data_file_of_lammps_may_have_any_name(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    text = data(masses=(22.99, 35.45)).encode()
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    assert energy(capsys, name)["formula"] == "ClNa"
    assert energy(capsys, name, "--elements", "Na", "Cl")["pbc"] == [True] * 3


@pytest.mark.parametrize(
    "head",
    [
        "2 atoms\n2 atom types\n6 0 0 avec\n0 6 0 bvec\n0 0 6 cvec\n0 0 0 abc origin\n",
        "0 6 xlo xhi\n0 6 ylo yhi\n0 6 zlo zhi\n2 atoms\n2 atom types\n",
        "2 atoms # both\n2 atom types\n0 6 xlo xhi\n0 6 ylo yhi\n0 6 zlo zhi\n",
    ],
)
def test_the_header_of_a_data_file_may_have_any_order(tmp_path, monkeypatch, capsys, head):
    monkeypatch.chdir(tmp_path)
    text = data(masses=(22.99, 35.45))
    (tmp_path / "plain.data").write_text(text)
    first, last = text.index("2 atoms"), text.index("\nMasses")
    (tmp_path / "input.data").write_text(text[:first] + head + text[last:])
    found = energy(capsys, "input.data")
    assert (found["energy"], found["pbc"]) == (energy(capsys, "plain.data")["energy"], [True] * 3)


@pytest.mark.parametrize("symbol", ["6", "C1", "Ow"])
def test_a_name_that_is_no_symbol_is_named(tmp_path, monkeypatch, capsys, symbol):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.xyz").write_text(f"1\n\n{symbol} 0 0 0\n")
    assert main(["energy", "a.xyz"]) == 1
    words = f"frame 0: expected chemical symbols, got '{symbol}'"
    assert capsys.readouterr().err == f"d3torch: a.xyz: {words}\n"


def test_elements_where_the_file_has_no_types(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.xyz").write_text(SALT.format(""))
    assert main(["energy", "a.xyz", "--elements", "Na", "Cl"]) == 1
    words = "expected --elements for a LAMMPS file with types, got one of format extxyz"
    assert capsys.readouterr().err == f"d3torch: a.xyz: {words}\n"


def test_types_in_an_xyz_dump_of_lammps_become_elements(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = "2\n Atoms. Timestep: 0\n2 0 0 0\n1 2.8 0 0\n"
    (tmp_path / "types.xyz").write_text(text * 2)
    (tmp_path / "symbols.xyz").write_text(SALT.format(""))
    found = energy(capsys, "types.xyz", "--elements", "Cl", "Na")
    assert found["energy"] == energy(capsys, "symbols.xyz")["energy"] != 0.0
    (frame, _) = read_frames("types.xyz", elements=["Cl", "Na"])
    assert str(frame.atoms.symbols) == "NaCl"
    assert main(["energy", "types.xyz", "--elements", "Cl"]) == 1
    words = "expected --elements for the type 2, got 1"
    assert capsys.readouterr().err == f"d3torch: types.xyz: {words}\n"


@pytest.mark.parametrize("name", ["a.xyz", "a.pdb", "POSCAR", "a.xyz.gz"])
def test_a_mark_of_utf8_is_no_part_of_the_text(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    atoms = bulk("NaCl", "rocksalt", a=5.64)
    for path in (name, f"plain-{name}"):
        ase.io.write(path, atoms)
    expected = energy(capsys, f"plain-{name}")["energy"]
    pack = gzip if name.endswith(".gz") else io
    with pack.open(name, "rb") as file:
        text = file.read()
    with pack.open(name, "wb") as file:
        file.write(b"\xef\xbb\xbf" + text)
    assert energy(capsys, name)["energy"] == expected


def test_each_model_of_a_dummy_cell_is_a_molecule(tmp_path):
    text = CRYST1.format(1) + ("MODEL\n" + SALT_PDB + "ENDMDL\n") * 2
    frames = problems(tmp_path, "a.pdb", text)
    assert [(f.problem, f.atoms.pbc.any(), f.atoms.cell.rank) for f in frames] == [
        (None, False, 0)
    ] * 2
    (iron,) = problems(tmp_path, "b.pdb", TAKEN["PDB, iron"][1])
    assert str(iron.atoms.symbols) == "Fe"


@pytest.mark.parametrize(
    ("crystal", "lost"),
    [
        (bulk("MgO", "rocksalt", a=4.212), "coord"),
        (bulk("NaCl", "rocksalt", a=5.64), "salt.xyz"),
    ],
)
def test_the_lattice_makes_the_energy(tmp_path, monkeypatch, capsys, crystal, lost):
    """Read in full it is that of simple-dftd3; as a molecule it would be 20 times less or more."""
    monkeypatch.chdir(tmp_path)
    ase.io.write("whole.xyz", crystal, format="extxyz")
    if lost == "coord":
        ase.io.write("coord", crystal, format="turbomole")
        rows = "".join(f" {x} {y} {z}\n" for x, y, z in crystal.cell)
        text = (
            (tmp_path / "coord")
            .read_text()
            .replace("$end", f"$periodic 3\n$lattice angs\n{rows}$end")
        )
    else:
        text = (tmp_path / "whole.xyz").read_text().replace("Lattice", "lattice")
    (tmp_path / lost).write_text(text)
    geometry = crystal.numbers, crystal.positions, crystal.cell.array, crystal.pbc
    cutoffs = (60 * BOHR, 40 * BOHR)
    expected = oracle.dispersion(*geometry, "pbe", *cutoffs).energy
    assert energy(capsys, "whole.xyz")["energy"] == pytest.approx(expected, abs=1e-7)
    molecule = oracle.dispersion(*geometry[:2], np.zeros((3, 3)), [False] * 3, "pbe", *cutoffs)
    assert 20 * abs(molecule.energy) < abs(expected)
    assert main(["energy", lost]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1

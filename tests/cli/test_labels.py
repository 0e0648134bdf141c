"""Labels of training sets: dispersion taken out and put back, and nothing else touched."""

from __future__ import annotations

import gzip
import re
import warnings

import ase.db
import ase.io
import numpy as np
import oracle
import pytest
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress
from training_sets import BY_HAND, TWO, labelled, mixed_set

import d3torch
from d3torch import D3Calculator
from d3torch.cli import main
from d3torch.cli.extxyz import read_text_frames
from d3torch.units import BOHR

CUTOFFS = ["--cutoff", "9", "--cn-cutoff", "8"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A mixed set: molecules, crystals with each form of stress, a slab, isolated atoms."""
    monkeypatch.chdir(tmp_path)
    ase.io.write("set.xyz", mixed_set(), format="extxyz")
    with open("set.xyz", "a") as file:
        file.write(BY_HAND)
    return tmp_path


def run(capsys, *args):
    """Exit code, stdout, stderr lines."""
    code = main(["labels", *(str(arg) for arg in args)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err.splitlines()


def subtract(capsys, source="set.xyz", target="out.xyz", *args):
    code, out, err = run(capsys, "subtract", source, target, *CUTOFFS, *args)
    assert (code, err) == (0, [])
    return out


def read(name):
    """All frames as ASE reads them."""
    return ase.io.read(name, ":")


def test_what_is_subtracted_is_what_the_oracle_says(folder, capsys):
    subtract(capsys, "set.xyz", "out.xyz", "--xc", "b3lyp")
    for old, new in zip(read("set.xyz"), read("out.xyz"), strict=True):
        if old.info.get("config_type") == "IsolatedAtom":
            continue
        geometry = old.numbers, old.positions, old.cell.array, old.pbc
        d3 = oracle.dispersion(*geometry, "b3lyp", 9.0, 8.0)
        assert old.info["REF_energy"] - new.info["REF_energy"] == pytest.approx(d3.energy, abs=1e-9)
        forces = old.arrays["REF_forces"] - new.arrays["REF_forces"]
        np.testing.assert_allclose(forces, d3.forces, atol=1e-9)
        if "REF_stress" in old.info:
            stress = np.ravel(old.info["REF_stress"]) - np.ravel(new.info["REF_stress"])
            expected = d3.virial / old.cell.volume
            if len(stress) == 6:
                expected = full_3x3_to_voigt_6_stress(expected)
            np.testing.assert_allclose(stress, expected.ravel(), atol=1e-11)
            virials = old.info["REF_virials"] - new.info["REF_virials"]
            np.testing.assert_allclose(virials, -d3.virial.ravel(), atol=1e-9)


def test_elements_that_are_left_out_need_not_be_in_every_frame(folder, capsys):
    oxygen = next(x for x in sorted({s for atoms in read("set.xyz") for s in atoms.symbols}))
    subtract(capsys, "set.xyz", "out.xyz", "--exclude", oxygen)
    left = D3Calculator("pbe", cutoff=9.0, cn_cutoff=8.0, exclude=[oxygen])
    whole = D3Calculator("pbe", cutoff=9.0, cn_cutoff=8.0)
    lacking = 0
    for old, new in zip(read("set.xyz"), read("out.xyz"), strict=True):
        if old.info.get("config_type") == "IsolatedAtom":
            continue
        lacking += oxygen not in old.symbols
        energy = (left if oxygen in old.symbols else whole).get_potential_energy(old)
        assert old.info["REF_energy"] - new.info["REF_energy"] == pytest.approx(energy, abs=1e-9)
        assert new.info["d3_exclude"] == oxygen
    assert lacking > 0
    code, _, err = run(capsys, "add", "out.xyz", "back.xyz", *CUTOFFS)
    assert code == 1
    assert f"expected d3_exclude={oxygen} as subtracted, got none" in err[0]
    code, _, err = run(capsys, "add", "out.xyz", "back.xyz", "--settings-of", "out.xyz")
    assert (code, err) == (0, [])
    code, _, err = run(capsys, "subtract", "set.xyz", "not.xyz", *CUTOFFS, "--exclude", "Lr")
    assert (code, "expected atoms of Lr to exclude, got none" in err[0]) == (1, True)


def test_the_stress_label_has_the_sign_of_the_energy_under_strain(folder, capsys):
    atoms = read("set.xyz")[2]
    frames, step = [atoms.copy() for _ in range(3)], 1e-4
    for frame, strain in zip(frames, (step, -step, 0.0), strict=True):
        frame.set_cell(atoms.cell.array * (1.0 + strain), scale_atoms=True)
        frame.info.update(REF_energy=0.0, REF_stress=np.zeros(6))
    ase.io.write("strained.xyz", frames, format="extxyz")
    subtract(capsys, "strained.xyz", "out.xyz", "--width", "4")
    more, less, middle = read("out.xyz")
    slope = (more.info["REF_energy"] - less.info["REF_energy"]) / (2 * step)
    trace = middle.info["REF_stress"][:3].sum() * atoms.cell.volume
    assert trace == pytest.approx(slope, rel=1e-4)
    assert slope < 0.0


def test_adding_undoes_subtracting(folder, capsys):
    subtract(capsys)
    assert run(capsys, "add", "out.xyz", "back.xyz", *CUTOFFS)[0] == 0
    number = re.compile(r"(?<![\w.])[-+]?\d+\.?\d*(?:[eE][-+]?\d+)?(?![\w.])")
    old, new = ((folder / name).read_text() for name in ("set.xyz", "back.xyz"))
    assert number.sub("#", new) == number.sub("#", old)
    values = [np.array(number.findall(text), dtype=float) for text in (old, new)]
    np.testing.assert_allclose(values[1], values[0], rtol=1e-15, atol=1e-15)


def test_all_but_the_labels_stays_to_the_letter(folder, capsys):
    subtract(capsys)
    lines = list(read_text_frames("out.xyz"))[-1].text().splitlines()
    old = BY_HAND.splitlines()
    assert lines[1].startswith(old[1][: old[1].index("-2081")])
    assert old[1][old[1].index(" flag") :] in lines[1]
    assert lines[1].endswith(f"d3_version={d3torch.__version__}")
    for new_row, old_row in zip(lines[2:], old[2:], strict=True):
        assert new_row[:45].split()[:5] == old_row.split()[:5]
        assert new_row.split()[-1] == old_row.split()[-1]
    assert lines[4].startswith("9\tH\t0.0\t-0.763239\t-0.477047\t")


def test_labels_have_all_digits(folder, capsys):
    subtract(capsys)
    old, new = (list(read_text_frames(name))[-1] for name in ("set.xyz", "out.xyz"))
    d3 = d3torch.D3Calculator(cutoff=9.0, cn_cutoff=8.0)
    energy = d3.get_potential_energy(old.atoms())
    assert new.values("REF_energy").item() == -2081.1160251093342 - energy
    forces = d3.get_forces(old.atoms())
    assert new.rows[1].split()[5] == repr(1.2345678901234567 - float(forces[1, 0]))


def test_settings_are_in_every_frame(folder, capsys):
    subtract(capsys, "set.xyz", "out.xyz", "--width", "1.5", "--reference", "2010")
    frames = read("out.xyz")
    states = [frame.info["d3_labels"] for frame in frames]
    assert states == ["subtracted"] * 5 + ["isolated_atom"] * 2 + ["subtracted"]
    assert frames[1].info["d3_treated"] == "REF_energy REF_forces REF_stress REF_virials"
    for frame in frames:
        found = [frame.info[f"d3_{key}"] for key in ("xc", "cutoff", "cn_cutoff", "width")]
        assert found == ["pbe", 9.0, 8.0, 1.5]
        assert frame.info["d3_reference"] == 2010
        assert frame.info["d3_version"] == d3torch.__version__


def test_defaults_of_presets_are_written_out(folder, capsys):
    code, _, _ = run(capsys, "subtract", "set.xyz", "out.xyz", "--preset", "mace_mp")
    assert code == 0
    assert read("out.xyz")[0].info["d3_cutoff"] == 40 * BOHR


def test_isolated_atoms_keep_their_labels(folder, capsys):
    out = subtract(capsys)
    for old, new in zip(read("set.xyz")[5:7], read("out.xyz")[5:7], strict=True):
        assert new.info["REF_energy"] == old.info["REF_energy"]
        assert (new.arrays["REF_forces"] == old.arrays["REF_forces"]).all()
    assert "2 isolated atoms" in out


def test_summary_counts_labels_and_names_what_was_left(folder, capsys):
    out = subtract(capsys).splitlines()
    assert out[0] == (
        "out.xyz: pbe D3(BJ) subtracted from 6 energy, 6 forces, 3 stress, 3 virials of 8 frames, "
        "2 isolated atoms kept"
    )
    assert out[1:] == ["left as they are: free_energy"]


def test_frames_without_some_labels_are_treated_in_what_is_there(folder, capsys):
    water = molecule("H2O")
    energy = labelled(water.copy(), np.random.default_rng(1))
    del energy.arrays["REF_forces"]
    forces = labelled(water.copy(), np.random.default_rng(1))
    del forces.info["REF_energy"]
    ase.io.write("some.xyz", [energy, forces, water], format="extxyz")
    subtract(capsys, "some.xyz")
    assert [f.info["d3_treated"] for f in read("out.xyz")] == ["REF_energy", "REF_forces", "none"]
    assert run(capsys, "add", "out.xyz", "back.xyz", *CUTOFFS)[0] == 0
    assert (folder / "back.xyz").read_text().count("d3_") == 0


def test_a_molecule_may_carry_a_stress_of_zeros_only(folder, capsys):
    water = labelled(molecule("H2O"), np.random.default_rng(1))
    water.info["REF_stress"] = np.zeros(6)
    ase.io.write("zero.xyz", water, format="extxyz")
    subtract(capsys, "zero.xyz")
    assert not read("out.xyz")[0].info["REF_stress"].any()
    water.info["REF_stress"] += 0.1
    ase.io.write("zero.xyz", water, format="extxyz")
    _refused(capsys, "expected a periodic cell with a volume, or zeros", "zero.xyz", "no.xyz")


def test_other_keys(folder, capsys):
    text = (folder / "set.xyz").read_text()
    (folder / "set.xyz").write_text(text.replace("REF_", "dft_"))
    keys = ["energy", "forces", "stress", "virials"]
    subtract(capsys, "set.xyz", "out.xyz", *(w for k in keys for w in (f"--{k}-key", f"dft_{k}")))
    (folder / "dft.xyz").write_text((folder / "out.xyz").read_text().replace("dft_", "REF_"))
    (folder / "set.xyz").write_text(text)
    subtract(capsys, "set.xyz", "ref.xyz")
    assert (folder / "ref.xyz").read_text() == (folder / "dft.xyz").read_text()


def test_several_keys_of_a_kind(folder, capsys):
    """The energy and the free energy of one calculation lose the same dispersion."""
    subtract(capsys, "set.xyz", "out.xyz", "--energy-key", "REF_energy", "free_energy")
    old, new = (list(read_text_frames(name))[-1] for name in ("set.xyz", "out.xyz"))
    change = new.values("REF_energy") - old.values("REF_energy")
    assert new.values("free_energy") - old.values("free_energy") == pytest.approx(change, abs=1e-9)
    assert new.get("d3_treated") == "REF_energy free_energy REF_forces"
    keys = ["--energy-key", "REF_energy", "--energy-key", "free_energy"]
    assert run(capsys, "add", "out.xyz", "back.xyz", *CUTOFFS, *keys)[0] == 0
    code, _, err = run(capsys, "add", "out.xyz", "less.xyz", *CUTOFFS)
    assert code == 1
    assert "expected d3_treated=REF_energy free_energy REF_forces as subtracted" in err[0]


def test_a_key_that_is_in_no_frame_is_refused(folder, capsys):
    words = "set.xyz: expected labels named REF_enrgy, got REF_energy, free_energy"
    keys = ["--energy-key", "REF_enrgy", "--forces-key", "REF_forces"]
    _refused(capsys, words, "set.xyz", "o.xyz", *CUTOFFS, *keys)
    assert not (folder / "o.xyz").exists()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Lattice=", "lattice="),
        ("pbc=", "PBC="),
        ("Properties=", "properties="),
        ("Lattice=", "cell="),
    ],
)
def test_a_lattice_that_is_not_read_leaves_no_output(folder, capsys, old, new):
    """Energies would lose the dispersion of a molecule, forces none."""
    (folder / "lost.xyz").write_text((folder / "set.xyz").read_text().replace(old, new))
    code, out, err = run(capsys, "subtract", "lost.xyz", "o.xyz", *CUTOFFS)
    assert (code, out, len(err)) == (1, "", 1)
    assert err[0].startswith("d3torch: lost.xyz: frame ")
    assert "expected " in err[0]
    assert not (folder / "o.xyz").exists()


def test_a_stress_in_another_unit_is_noticed(folder, capsys):
    """A stress of 0.1 eV/A^3 is one of 160 kB."""
    for name, scale in (("REF_stress", 1.0), ("REF_virials", 1.0)):
        atoms = read("set.xyz")[1]
        atoms.info = {"REF_energy": -1.0, name: np.array([160.0, 1, 2, 3, 4, 5]) * scale}
        if name == "REF_virials":
            atoms.info[name] *= atoms.cell.volume
        ase.io.write("kilobar.xyz", atoms, format="extxyz")
        words = f"frame 0: expected a stress in eV/A^3 for {name}, got one of 160: probably in kB"
        _refused(capsys, words, "kilobar.xyz", "o.xyz", *CUTOFFS)


def test_packed_sets(folder, capsys):
    subtract(capsys)
    (folder / "set.xyz.gz").write_bytes(gzip.compress((folder / "set.xyz").read_bytes()))
    subtract(capsys, "set.xyz.gz", "packed.xyz")
    assert (folder / "packed.xyz").read_text() == (folder / "out.xyz").read_text()


def test_an_extxyz_file_may_have_any_name(folder, capsys):
    subtract(capsys)
    (folder / "set.xyz").rename("train@1.dat")
    subtract(capsys, "train@1.dat", "other.xyz")
    assert (folder / "other.xyz").read_text() == (folder / "out.xyz").read_text()


@pytest.mark.parametrize("form", ["traj", "db", "json"])
def test_trajectories_and_databases_are_written_as_extxyz(folder, capsys, form):
    """Results of their calculators are labels with ASE's names."""
    frames = read("set.xyz")[:3]
    for atoms in frames:
        label = atoms.info.pop("REF_energy")
        atoms.calc = SinglePointCalculator(atoms, energy=label, forces=atoms.arrays["REF_forces"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ase.io.write(f"set.{form}", frames)
    keys = ["--energy-key", "energy", "--forces-key", "forces"]
    out = subtract(capsys, f"set.{form}", "out.xyz", *keys)
    assert out.splitlines()[-1].startswith(f"read as {form}, written as extxyz")
    d3 = d3torch.D3Calculator(cutoff=9.0, cn_cutoff=8.0)
    for old, new in zip(frames, read("out.xyz"), strict=True):
        difference = old.get_potential_energy() - new.get_potential_energy()
        assert difference == pytest.approx(d3.get_potential_energy(old), abs=1e-6)
        changes = old.get_forces() - new.get_forces()
        np.testing.assert_allclose(changes, d3.get_forces(old), atol=1e-6)


def test_keys_and_data_of_a_database_are_labels(folder, capsys):
    water = molecule("H2O")
    with ase.db.connect("set.db") as rows:
        rows.write(water, REF_energy=-3.0, data={"REF_forces": np.ones((3, 3)), "note": "by hand"})
    subtract(capsys, "set.db")
    (new,) = read("out.xyz")
    d3 = d3torch.D3Calculator(cutoff=9.0, cn_cutoff=8.0)
    assert new.info["REF_energy"] == pytest.approx(-3.0 - d3.get_potential_energy(water), abs=1e-7)
    np.testing.assert_allclose(new.arrays["REF_forces"], 1.0 - d3.get_forces(water), atol=1e-7)
    assert new.info["note"] == "by hand"


def test_a_binary_file_is_not_printed(folder, capsys):
    (folder / "binary.xyz").write_bytes(bytes(range(256)) * 9)
    _refused(capsys, "binary.xyz: frame 0: expected text, got a binary file", "binary.xyz", "o.xyz")


def test_types_without_elements_are_refused(folder, capsys):
    text = "ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n1\nITEM: BOX BOUNDS pp pp pp\n0 5\n0 5\n0 5\n"
    (folder / "a.dump").write_text(text + "ITEM: ATOMS id type x y z fx fy fz\n1 1 0 0 0 0 0 0\n")
    _refused(capsys, "a.dump: frame 0: expected --elements", "a.dump", "o.xyz")
    keys = ["--forces-key", "forces", "--elements", "Xe"]
    subtract(capsys, "a.dump", "o.xyz", "--format", "lammps-dump-text", *keys)
    assert read("o.xyz")[0].symbols[0] == "Xe"


def test_standard_names_of_ase(folder, capsys):
    """Energy, forces and stress, which ASE reads as results of a calculator."""
    first = next(read_text_frames("set.xyz")).text()
    (folder / "ase.xyz").write_text(first.replace("REF_", ""))
    subtract(capsys, "ase.xyz", "out.xyz", "--energy-key", "energy", "--forces-key", "forces")
    old, new = read("ase.xyz")[0], read("out.xyz")[0]
    d3 = d3torch.D3Calculator(cutoff=9.0, cn_cutoff=8.0)
    difference = old.get_potential_energy() - new.get_potential_energy()
    assert difference == pytest.approx(d3.get_potential_energy(old), abs=1e-9)
    np.testing.assert_allclose(old.get_forces() - new.get_forces(), d3.get_forces(old), atol=1e-9)


def _refused(capsys, words, *args, action="subtract", code=1):
    got, out, err = run(capsys, action, *args)
    assert (got, out, len(err)) == (code, "", 1)
    assert words in err[0]
    assert err[0].startswith("d3torch: ")


def test_subtracting_twice_is_refused(folder, capsys):
    subtract(capsys)
    _refused(capsys, "out.xyz: frame 0: expected labels with their dispersion, got d3_labels=subtr",
             "out.xyz", "twice.xyz")  # fmt: skip
    assert not (folder / "twice.xyz").exists()


def test_adding_to_labels_that_were_not_subtracted_is_refused(folder, capsys):
    _refused(capsys, "expected labels that d3torch subtracted from", "set.xyz", "o.xyz",
             action="add")  # fmt: skip


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([*CUTOFFS, "--xc", "b3lyp"], "expected d3_xc=pbe as subtracted, got b3lyp"),
        (["--cutoff", "9"], "expected d3_cn_cutoff=8.0 as subtracted, got 21.16"),
        ([*CUTOFFS, "--width", "1"], "expected d3_width=0.0 as subtracted, got 1.0"),
        ([*CUTOFFS, "--reference", "2010"], "expected d3_reference=2024 as subtracted, got 2010"),
        (
            [*CUTOFFS, "--forces-key", "f"],
            "expected d3_treated=REF_energy REF_forces as subtracted, got REF_energy",
        ),
    ],
)
def test_adding_with_other_settings_is_refused(folder, capsys, args, words):
    subtract(capsys)
    _refused(capsys, words, "out.xyz", "back.xyz", *args, action="add")


ATM = ("--s9", "1", "--atm-cutoff", "5")


@pytest.mark.parametrize(
    ("taken", "given", "words"),
    [
        (ATM, (), "expected d3_s9=1.0 as subtracted, got 0.0"),
        ((), ATM, "expected d3_s9=0.0 as subtracted, got 1.0"),
        (ATM, (*ATM, "--atm-width", "1"), "expected d3_atm_width=0.0 as subtracted, got 1.0"),
        (("--variant", "zero"), (), "expected d3_variant=zero as subtracted, got bj"),
        ((), ("--variant", "zero"), "expected d3_variant=bj as subtracted, got zero"),
    ],
)
def test_adding_another_damping_or_three_body_term_is_refused(folder, capsys, taken, given, words):
    """What one of the two D3 has not does not stand in the files of it."""
    subtract(capsys, "set.xyz", "out.xyz", *CUTOFFS, *taken)
    _refused(capsys, words, "out.xyz", "back.xyz", *CUTOFFS, *given, action="add")
    assert not (folder / "back.xyz").exists()
    code, _, err = run(capsys, "add", "out.xyz", "back.xyz", *CUTOFFS, *taken)
    assert (code, err) == (0, [])


def test_one_functional_by_another_name_is_the_same(folder, capsys):
    """Written is one name; a file of an older version keeps the one that was typed then."""
    subtract(capsys, "set.xyz", "out.xyz", "--xc", "rev-PBE")
    text = (folder / "out.xyz").read_text()
    assert "d3_xc=revpbe " in text
    (folder / "older.xyz").write_text(text.replace("d3_xc=revpbe ", "d3_xc=rev-pbe "))
    for number, source in enumerate(("out.xyz", "older.xyz")):
        target = f"back{number}.xyz"
        code, _, err = run(capsys, "add", source, target, *CUTOFFS, "--xc", "revPBE-D3(BJ)")
        assert (code, err) == (0, [])
        for old, new in zip(read("set.xyz"), read(target), strict=True):
            if "REF_energy" in old.info:
                assert new.info["REF_energy"] == pytest.approx(old.info["REF_energy"], abs=1e-12)


def test_an_existing_output_is_refused_unless_told(folder, capsys):
    before = (folder / "set.xyz").read_text()
    _refused(capsys, "expected no file at set.xyz, got one: --overwrite", "set.xyz", "set.xyz",
             code=2)  # fmt: skip
    assert (folder / "set.xyz").read_text() == before
    subtract(capsys, "set.xyz", "set.xyz", "--overwrite")
    assert run(capsys, "add", "set.xyz", "set.xyz", *CUTOFFS, "--overwrite")[0] == 0
    assert len((folder / "set.xyz").read_text().splitlines()) == len(before.splitlines())


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("H 0 0 1 0 0 0\n", "", "frame 1: expected 2 atoms, got the end of the file"),
        ("2\nP", "two\nP", "frame 1: expected a number of atoms, got 'two'"),
        ("H 0 0 1", "H 0 0 0", "frame 1: expected atoms at distinct"),
        ("H 0 0 1", "Xx 0 0 1", "frame 1: "),
        ("-1.0", "low", "frame 1: expected a number for REF_energy, got 'low'"),
        ("-1.0", "nan", "frame 1: expected a number for REF_energy, got 'nan'"),
        ("-1.0", '"-1 -2"', "frame 1: expected a number for REF_energy, got '-1 -2'"),
        ("REF_energy=-1.0", "REF_energy", "frame 1: expected a number for REF_energy, got None"),
        ("-1.0", '-1 REF_stress="1 2"', "frame 1: expected 6 or 9 numbers for REF_stress, got '1"),
        ("0 0 0\n", "0 0 nan\n", "frame 1: expected numbers for REF_forces of atom 0, got 'H"),
        ("REF_forces:R:3", "a:R:2:REF_forces:R:1", "frame 1: expected 3 columns for REF_forces"),
        ("0 0 0\n", "0 0\n", "frame 1: "),
    ],
)
def test_one_broken_frame_leaves_no_output(folder, capsys, old, new, words):
    (folder / "broken.xyz").write_text(TWO + TWO.replace(old, new))
    before = sorted(path.name for path in folder.iterdir())
    _refused(capsys, f"broken.xyz: {words}", "broken.xyz", "out.xyz", *CUTOFFS)
    assert sorted(path.name for path in folder.iterdir()) == before


@pytest.mark.parametrize(
    ("args", "words", "code"),
    [
        (["missing.xyz", "o.xyz"], "missing.xyz: expected a file, got a name that does not", 1),
        (["set.xyz", "o.xyz", "--xc", "pbee"], "expected a known functional, got 'pbee'", 2),
        (["set.xyz", "o.xyz", "--cutoff", "auto"], "argument --cutoff: invalid float", 2),
        (["set.xyz", "o.xyz", "--width", "99"], "expected 0 <= width < cutoff", 2),
        (["set.xyz", "o.txt"], "expected an output file .extxyz or .xyz", 2),
        (
            ["set.xyz", "o.xyz", "--energy-key", "E", "E"],
            "expected each label once, got E twice",
            2,
        ),
        (
            ["set.xyz", "o.xyz", "--energy-key", "E", "--stress-key", "E"],
            "expected each label on",
            2,
        ),
        (["set.xyz"], "the following arguments are required: OUT.xyz", 2),
    ],
)
def test_wrong_usage(folder, capsys, args, words, code):
    _refused(capsys, words, *args, code=code)
    assert not list(folder.glob("o.*"))


def test_a_file_without_labels_is_refused(folder, capsys):
    ase.io.write("bare.xyz", [molecule("H2O")], format="extxyz")
    _refused(capsys, "expected labels named REF_energy, REF_forces, REF_stress, REF_virials, got "
             "none like it", "bare.xyz", "o.xyz")  # fmt: skip
    (folder / "empty.xyz").write_text("")
    _refused(capsys, "empty.xyz: expected structures, got an empty file", "empty.xyz", "o.xyz")
    assert not (folder / "o.xyz").exists()


def _frame(labels, positions="REF_forces"):
    rows = "H 0 0 0 0 0 0\nH 0 0 0.74 0 0 0\n"
    return f"2\nProperties=species:S:1:pos:R:3:{positions}:R:3 {labels}\n{rows}"


def test_labels_have_one_name_in_all_frames(folder, capsys):
    """A frame with another would be treated by half, whichever comes first."""
    frames = [_frame("REF_energy=-1"), _frame("energy=-1")]
    for number, order in ((1, frames), (0, frames[::-1])):
        (folder / "mix.xyz").write_text("".join(order))
        words = f"expected energy under one name in all frames, got energy in frame {number}"
        _refused(capsys, words, "mix.xyz", "o.xyz")
        assert not (folder / "o.xyz").exists()
    subtract(capsys, "mix.xyz", "o.xyz", "--energy-key", "REF_energy", "energy")


def test_forces_that_stay_as_they_are_are_warned_of(folder, capsys):
    (folder / "a.xyz").write_text(_frame("energy=-1", "forces") * 2)
    code, _, err = run(capsys, "subtract", "a.xyz", "o.xyz", *CUTOFFS, "--energy-key", "energy")
    assert (code, len(err)) == (0, 1)
    assert "warning: forces of frame 0 stays as it is: --forces-key forces treats it" in err[0]


def test_keys_in_which_settings_are_told_are_not_taken_from_others(folder, capsys):
    (folder / "a.xyz").write_text(_frame("REF_energy=-1 d3_correction=-0.1"))
    _refused(capsys, "got d3_correction", "a.xyz", "o.xyz")


def test_isolated_atoms_alone_are_no_file_without_labels(folder, capsys):
    text = "1\nProperties=species:S:1:pos:R:3 config_type=IsolatedAtom REF_energy=-1.0\nH 0 0 0\n"
    (folder / "a.xyz").write_text(text)
    assert "1 isolated atoms kept" in subtract(capsys, "a.xyz", "o.xyz")


def test_tags_are_found_however_another_program_wrote_them(folder, capsys):
    """In quotes, or at the beginning of the comment."""
    (folder / "a.xyz").write_text(_frame("REF_energy=-1"))
    subtract(capsys, "a.xyz", "b.xyz")
    count, comment, *rows = (folder / "b.xyz").read_text().splitlines()
    words = comment.split(" d3_labels=subtracted ")
    told = "d3_labels=subtracted " + words[1].replace("d3_s6", '"d3_s6"') + " " + words[0]
    (folder / "c.xyz").write_text("\n".join([count, told, *rows, ""]))
    code, _, err = run(capsys, "add", "c.xyz", "d.xyz", *CUTOFFS)
    assert (code, err) == (0, [])
    assert (folder / "d.xyz").read_text().count("Properties") == 1
    assert "d3_" not in (folder / "d.xyz").read_text()
    assert read("d.xyz")[0].info["REF_energy"] == pytest.approx(-1.0, abs=1e-12)


def test_tags_leave_an_empty_comment(folder, capsys):
    text = _frame("REF_energy=-1") + "2\n\nH 0 0 0\nH 0 0 0.74\n"
    (folder / "a.xyz").write_text(text)
    subtract(capsys, "a.xyz", "b.xyz")
    assert run(capsys, "add", "b.xyz", "c.xyz", *CUTOFFS)[0] == 0
    frames = [*read_text_frames("c.xyz")]
    assert [len(frame.rows) for frame in frames] == [2, 2]
    assert frames[1].text() == "2\n\nH 0 0 0\nH 0 0 0.74\n"


def test_energies_that_are_no_labels_are_left(folder, capsys):
    (folder / "a.xyz").write_text(_frame("REF_energy=-1") + _frame("kinetic_energy=0.1"))
    assert "left as they are: kinetic_energy" in subtract(capsys, "a.xyz", "b.xyz")

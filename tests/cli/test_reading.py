"""What is read is what the file says: over every format that ASE writes and reads, or refused."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.io.formats import UnknownFileTypeError, ioformats

from d3torch import D3Calculator
from d3torch.cli import main
from d3torch.cli.reading import read_frames

CUTOFFS = {"cutoff": 12.0, "cn_cutoff": 8.0}

FACTORS = {"Na": 0.5, "Cl": 0.5, "O": 0.5, "Si": 0.5}

WRITE = {
    "espresso-in": {"pseudopotentials": dict.fromkeys(FACTORS, "x.upf")},
    "mustem": {"keV": 300, "debye_waller_factors": FACTORS},
    "prismatic": {"debye_waller_factors": FACTORS},
}
"""What a writer needs besides the atoms."""

DIGITS = {
    **dict.fromkeys(("gromacs", "proteindatabank"), 2e-2),
    **dict.fromkeys(("jsv", "prismatic", "rmc6f"), 1e-3),
    **dict.fromkeys(("cube", "dmol-arc", "dmol-car", "xtd", "sys", "gpumd", "mustem"), 2e-4),
}
"""Angstrom by which the digits of a format move atoms and cell; 1e-5 for the others."""

CRYSTAL = {
    **dict.fromkeys(("mol", "sdf", "turbomole", "xyz"), "none"),
    **dict.fromkeys(
        ("eon", "sys", "mustem", "prismatic"),
        "expected periodic directions with the cell, got none",
    ),
    "lammps-data": "expected --elements, the symbols of the types 1 to 4",
}
"""What becomes of a crystal where it does not come back: the writer says no lattice, or refused."""

NOT_HERE = {
    "mysql": "needs a server",
    "postgresql": "needs a server",
    "netcdftrajectory": "needs netCDF4",
    "dftb": "the writer puts the atoms into another file",
}
"""Formats that are not tried, and why."""


def _can(form: str, what: str) -> bool:
    try:
        return bool(getattr(ioformats[form], what))
    except UnknownFileTypeError:
        return False


FORMS = [form for form in ioformats if _can(form, "can_read") and _can(form, "can_write")]


def structures() -> dict[str, Atoms]:
    """A crystal in a skewed and in a right-angled cell, a slab, a molecule in a box and without."""
    crystal = Atoms(
        "NaClNaOSi",
        scaled_positions=[
            [0.10, 0.05, 0.02],
            [0.50, 0.47, 0.51],
            [0.20, 0.60, 0.55],
            [0.55, 0.08, 0.60],
            [0.80, 0.80, 0.20],
        ],
        cell=[[5.1, 0.0, 0.0], [1.2, 6.2, 0.0], [0.7, -0.9, 7.3]],
        pbc=True,
    )
    right, slab, boxed = (crystal.copy() for _ in range(3))
    right.set_cell([5.1, 6.2, 7.3], scale_atoms=True)
    slab.pbc = (True, True, False)
    boxed.pbc = False
    molecule = boxed.copy()
    molecule.cell = None
    return {"crystal": crystal, "right": right, "slab": slab, "boxed": boxed, "molecule": molecule}


def written(form: str, atoms: Atoms, path: str) -> bool:
    """Whether ASE writes these atoms in this format."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ase.io.write(path, atoms, format=form, **WRITE.get(form, {}))
        except (ValueError, RuntimeError, np.linalg.LinAlgError):
            return False
        except Exception as error:
            if "periodic" not in str(error):
                raise
            return False
    return True


def understood(capsys, *args: str) -> tuple[int, list[dict], list[str]]:
    """Exit code, frames and errors of the command line."""
    options = [w for key, x in CUTOFFS.items() for w in (f"--{key.replace('_', '-')}", str(x))]
    code = main(["energy", *args, *options, "--json"])
    document = json.loads(capsys.readouterr().out)
    return code, document["frames"], [error["message"] for error in document["errors"]]


def energy_of(atoms: Atoms, pbc) -> float:
    atoms = atoms.copy()
    atoms.pbc = pbc
    return D3Calculator(**CUTOFFS).get_potential_energy(atoms)


def check_geometry(old: Atoms, new: Atoms, digits: float) -> None:
    """Elements, distances and, where the new one is periodic, the lattice are those written."""
    order, others = (np.argsort(x.numbers, kind="stable") for x in (old, new))
    assert (old.numbers[order] == new.numbers[others]).all()
    old, new = old[order], new[others]
    periodic = bool(new.pbc.any())
    if periodic:
        old.pbc = new.pbc
        lattices = [(x.cell.array @ x.cell.array.T)[np.ix_(x.pbc, x.pbc)] for x in (old, new)]
        np.testing.assert_allclose(*lattices, atol=20 * digits)
    distances = [x.get_all_distances(mic=periodic) for x in (old, new)]
    np.testing.assert_allclose(*distances, atol=4 * digits)


@pytest.mark.parametrize("form", sorted({*FORMS} - {*NOT_HERE}))
def test_what_ase_writes_is_read_as_written_or_refused(form, tmp_path, monkeypatch, capsys):
    """The energy printed is that of the structure with the periodic directions that are printed."""
    monkeypatch.chdir(tmp_path)
    compared = []
    for kind, atoms in structures().items():
        name = f"{kind}.{form}"
        if not written(form, atoms, name):
            continue
        code, frames, errors = understood(capsys, name, "--format", form)
        crystal = kind in ("crystal", "right")
        if errors:
            assert (code, len(errors), frames) == (1, 1, [])
            assert not crystal or errors[0].startswith(CRYSTAL[form]), errors
            assert errors[0].startswith("expected ")
            compared.append(kind)
            continue
        (frame,) = frames
        new = next(read_frames(name, form)).atoms
        digits = DIGITS.get(form, 1e-5)
        assert frame["pbc"] == new.pbc.tolist()
        assert not crystal or any(frame["pbc"]) == (form not in CRYSTAL)
        assert not crystal or all(frame["pbc"]) == any(frame["pbc"])
        check_geometry(atoms, new, digits)
        if not (atoms.cell.rank == 0 and any(frame["pbc"])):  # a box that the writer made up
            energy = energy_of(atoms, frame["pbc"])
            assert frame["energy"] == pytest.approx(energy, rel=5 * digits), name
        compared.append(kind)
    assert {"crystal", "right"} & {*compared}


SINGLE = [f for f in FORMS if f not in NOT_HERE and (f == "xsf" or ioformats[f].single)]
"""Formats of which ASE reads one structure; of XCrySDen's it reads the first, or an animation."""


def two(form: str, path: Path, gap: str) -> bool:
    """Whether there is a text of two different structures, one behind the other."""
    kinds = structures()
    first, second = kinds["crystal"], kinds["right"][[0, 1, 3, 4]]
    if not written(form, first, "first") or not written(form, second, "second"):
        first, second = kinds["molecule"], kinds["molecule"][[0, 1, 3, 4]]
        if not written(form, first, "first") or not written(form, second, "second"):
            return False
    try:
        path.write_text(gap.join(Path(name).read_text() for name in ("first", "second")))
    except UnicodeDecodeError:
        return False
    return True


@pytest.mark.parametrize("gap", ["", "\n"])
@pytest.mark.parametrize("form", SINGLE)
def test_two_structures_in_a_file_are_two_or_refused(form, gap, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if not two(form, tmp_path / "both", gap):
        assert form in ("mustem", "prismatic")  # which want a right-angled cell of all elements
        return
    code, frames, errors = understood(capsys, "both", "--format", form)
    assert (code, frames, len(errors)) == (1, [], 1)
    assert errors[0].startswith("expected ")


CP2K = "&SUBSYS\n&CELL\nA 5 0 0\nB 0 5 0\nC 0 0 5\n&END CELL\n"
CP2K += "&COORD\nNa 0 0 0\nCl 2.8 0 0\n&END COORD\n"


def test_a_reader_that_waits_for_a_word_is_ended(tmp_path, monkeypatch, capsys):
    """ASE's reader of CP2K never ends without ``&END``: of a broken file, or of a part of one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "whole").write_text(f"{CP2K}&END SUBSYS\n")
    (tmp_path / "broken").write_text(CP2K)
    code, (frame,), errors = understood(capsys, "whole", "--format", "cp2k-restart")
    assert (code, frame["formula"], frame["pbc"], errors) == (0, "ClNa", [True] * 3, [])
    code, frames, (error,) = understood(capsys, "broken", "--format", "cp2k-restart")
    assert (code, frames) == (1, [])
    assert error == (
        "expected what ASE reads as cp2k-restart, got EOFError: "
        "the end of the file in the middle of a section"
    )


def test_every_format_of_ase_is_tried_or_has_a_reason():
    for form in ioformats:
        one_way = not (_can(form, "can_read") and _can(form, "can_write"))
        assert (form in FORMS) or one_way, form
    assert {*CRYSTAL} | {*DIGITS} | {*WRITE} | {*NOT_HERE} <= {*ioformats}


@pytest.mark.parametrize("form", ["bundletrajectory", "db", "extxyz", "json", "runnerdata", "traj"])
def test_molecules_among_crystals_stay_molecules(form, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    kinds = structures()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ase.io.write(f"mixed.{form}", [kinds[x] for x in ("crystal", "molecule", "crystal")], form)
    code, frames, errors = understood(capsys, f"mixed.{form}", "--format", form)
    assert (code, errors) == (0, [])
    assert [any(frame["pbc"]) for frame in frames] == [True, False, True]

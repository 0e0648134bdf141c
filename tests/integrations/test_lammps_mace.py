"""MACE with D3 through ML-IAP: on the stand-in always, in a real LAMMPS where there is one."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkout import checkout

pytest.importorskip("mace", reason="needs mace-torch: pip install mace-torch")

import mace_models
import torch
from ase import Atoms
from mace.calculators.lammps_mliap_mace import LAMMPS_MLIAP_MACE
from mliap_ranks import World
from real_lammps import KOKKOS, LMP, lmp, single_point, write_data

from d3torch.cli import main
from d3torch.integrations.lammps import D3MLIAP
from d3torch.integrations.lammps.mace import MACED3MLIAP
from d3torch.integrations.mace import MACED3
from d3torch.reference import SYMBOLS

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning"),
    pytest.mark.usefixtures("one_thread"),
]
one_thread = mace_models.one_thread
REACH = {"cutoff": 8.0, "cn_cutoff": 7.0}
ELEMENTS = [SYMBOLS[z] for z in mace_models.NUMBERS]
real = pytest.mark.skipif(not LMP.is_file(), reason=f"no LAMMPS with ML-IAP at {LMP}")


def _grid(n: int = 3) -> Atoms:
    """Atoms of four elements, crowded enough for MACE to have edges everywhere."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*3 * [np.arange(n)]), -1).reshape(-1, 3) * 2.7 + 0.6
    symbols = rng.choice(["O", "Si", "Na", "H"], n**3)
    positions = grid + rng.uniform(-0.3, 0.3, grid.shape)
    return Atoms(list(symbols), positions, cell=3 * [2.7 * n], pbc=True)


def _slab() -> Atoms:
    """Vacuum along x: ranks at both ends own nothing."""
    atoms = _grid()
    atoms.cell[0, 0] = 40.0
    atoms.center(axis=0)
    atoms.pbc = [False, True, True]
    return atoms


STRUCTURES = {
    "crowded": _grid,
    "slab": _slab,
    "far apart": lambda: Atoms("SiO", [[1, 5, 5], [12, 5, 5]], cell=[20, 10, 10], pbc=[0, 1, 1]),
}


def _fused(**settings: object) -> MACED3:
    return MACED3(mace_models.build(**settings), "pbe", **REACH)


def _expected(fused: MACED3, atoms: Atoms) -> dict[str, np.ndarray]:
    batch = mace_models.batch(fused, [atoms])
    out = fused(batch, compute_virials=True)
    names = ("energy", "node_energy", "forces", "virials")
    return {name: out[name].detach().double().numpy() for name in names}


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
@pytest.mark.parametrize(("name", "vflag"), [*((name, 2) for name in STRUCTURES), ("slab", 4)])
def test_ranks_of_the_stand_in_give_what_the_fused_model_does(
    name: str, ranks: int, vflag: int
) -> None:
    atoms, fused = STRUCTURES[name](), _fused()
    made = MACED3MLIAP(copy.deepcopy(fused))
    elems = np.array([ELEMENTS.index(s) for s in atoms.symbols])
    world = World(atoms, elems, 2 * made.rcutfac, ranks, vflag=vflag)
    found = world.run(lambda: copy.deepcopy(made))
    expected = _expected(fused, atoms)
    assert found.energy == pytest.approx(expected["energy"][0], rel=1e-12)
    assert np.abs(found.energies - expected["node_energy"]).max() < 1e-12
    assert np.abs(found.forces - expected["forces"]).max() < 1e-12
    assert np.abs(found.virial + expected["virials"][0]).max() < 1e-11


@real
@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
@pytest.mark.parametrize("name", STRUCTURES)
def test_lammps_gives_what_the_fused_model_does(name: str, ranks: int, tmp_path: Path) -> None:
    atoms, fused = STRUCTURES[name](), _fused()
    MACED3MLIAP(copy.deepcopy(fused)).save(tmp_path / "mace.pt")
    style = "pair_style mliap unified mace.pt 0\npair_coeff * * " + " ".join(ELEMENTS)
    found = single_point(tmp_path, atoms, style, ELEMENTS, ranks)
    expected = _expected(fused, atoms)
    assert found.energy == pytest.approx(expected["energy"][0], rel=1e-9)
    assert np.abs(found.energies - expected["node_energy"]).max() < 1e-9
    assert np.abs(found.forces - expected["forces"]).max() < 1e-9
    assert np.abs(found.virial + expected["virials"][0]).max() < 1e-9
    assert np.abs(found.virials.sum(axis=0) + expected["virials"][0]).max() < 1e-9


# ---- the command ----


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with a plain and a fused model."""
    torch.save(mace_models.build(), tmp_path / "mace.model")
    torch.save(_fused(), tmp_path / "fused.model")
    return tmp_path


def test_command_writes_mace_with_d3(files: Path, capsys: Any) -> None:
    given = ["--cutoff", "8", "--cn-cutoff", "7"]
    plain = ["lammps", str(files / "a.pt"), "--model", str(files / "mace.model"), *given]
    fused = ["lammps", str(files / "b.pt"), "--model", str(files / "fused.model")]
    assert main(plain) == main(fused) == 0
    a, b = (torch.load(files / name, weights_only=False) for name in ("a.pt", "b.pt"))
    assert isinstance(a, MACED3MLIAP)
    assert a.settings == b.settings
    capsys.readouterr()
    assert main(["inspect", str(files / "a.pt"), "--json"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert (about["model"], about["r_max"], about["cutoff"]) == ("MACE", 3.5, 8.0)


def test_command_does_not_change_the_d3_that_a_model_has(files: Path, capsys: Any) -> None:
    given = ["--model", str(files / "fused.model"), "--xc", "pbesol"]
    assert main(["lammps", str(files / "b.pt"), *given]) == 1
    assert "expected no --xc for a model that has D3 already" in capsys.readouterr().err
    assert not (files / "b.pt").exists()


def test_command_writes_torchscript_for_the_libtorch_route(files: Path) -> None:
    """With the periodic directions that its host does not tell."""
    given = ["--model", str(files / "fused.model"), "--libtorch"]
    for name, more, periodic in (("a.pt", (), [True] * 3),
                                 ("b.pt", ("--pbc", *"TFF"), [True, False, False])):  # fmt: skip
        assert main(["lammps", str(files / name), *given, *more]) == 0
        made = torch.jit.load(files / name)
        assert made.atomic_numbers.tolist() == list(mace_models.NUMBERS)
        assert made.dispersion.pbc.tolist() == [periodic]


def test_command_takes_periodic_directions_for_the_libtorch_route_alone(
    files: Path, capsys: Any
) -> None:
    given = ["--model", str(files / "fused.model"), "--pbc", *"TTF"]
    assert main(["lammps", str(files / "no.pt"), *given]) == 1
    assert "expected --libtorch beside --pbc" in capsys.readouterr().err
    assert not (files / "no.pt").exists()


def test_heads_without_dispersion_are_refused() -> None:
    model = mace_models.build(heads=["a", "b"])
    fused = MACED3(model, "pbe", **REACH, d3_heads=["a"])
    assert MACED3MLIAP(fused, "a").head == "a"
    with pytest.raises(ValueError, match="expected a head with dispersion, one of a, got b"):
        MACED3MLIAP(fused)
    with pytest.raises(TypeError, match="expected a MACE model with D3, MACED3, got"):
        MACED3MLIAP(model)


def test_atoms_of_type_null_are_not_there() -> None:
    atoms, fused = _grid(), _fused()
    elems = np.array([ELEMENTS.index(s) for s in atoms.symbols])
    elems[[0, 5]] = -1
    made = MACED3MLIAP(copy.deepcopy(fused))
    found = World(atoms, elems, 2 * made.rcutfac, 2).run(lambda: copy.deepcopy(made))
    left = atoms[[k for k in range(len(atoms)) if k not in (0, 5)]]
    expected = _expected(fused, left)
    assert found.energy == pytest.approx(expected["energy"][0], rel=1e-12)
    assert not found.forces[[0, 5]].any()
    assert not found.energies[[0, 5]].any()


# ---- the examples ----


@real
@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("in.nve", "-var steps 3"),
        ("in.npt", "-var steps 3"),
        ("in.melt-quench", "-var rate 1e6 -var hold 0.002"),
    ],
)
def test_examples_run(name: str, given: str, tmp_path: Path) -> None:
    for source in (checkout() / "examples" / "lammps").iterdir():
        shutil.copy(source, tmp_path)
    write_data(_grid(), tmp_path / "glass.data", ["O", "Na", "Si", "H"])
    MACED3MLIAP(_fused(pair_repulsion=True)).save(tmp_path / "mace-d3.pt")
    text = (tmp_path / name).read_text()
    run = lmp(tmp_path, text, 2, f'{KOKKOS} {given} -var elements "O Na Si H"')
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    assert run.stdout.count("Loop time of") == text.count("\nrun ")


@real
@pytest.mark.parametrize("ranks", [1, 2])
def test_two_files_in_hybrid_overlay_give_what_one_does(
    ranks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MACE_ALLOW_CPU", "true")  # MACE's own object is for GPUs otherwise
    atoms, fused = _grid(4), _fused()
    plain = mace_models.build()
    plain.lammps_mliap = True
    torch.save(LAMMPS_MLIAP_MACE(plain), tmp_path / "mace.pt")
    D3MLIAP(ELEMENTS, "pbe", **REACH).save(tmp_path / "d3.pt")
    style = "pair_style hybrid/overlay mliap unified mace.pt 0 mliap unified d3.pt 0"
    for k in (1, 2):
        style += f"\npair_coeff * * mliap {k} " + " ".join(ELEMENTS)
    wider = "fix buffers all property/atom d2_buffer 64 ghost yes"  # MACE's exchanges overrun else
    found = single_point(tmp_path, atoms, style, ELEMENTS, ranks, settings=wider)
    expected = _expected(fused, atoms)
    assert found.energy == pytest.approx(expected["energy"][0], rel=1e-9)
    assert np.abs(found.forces - expected["forces"]).max() < 1e-9
    assert np.abs(found.virial + expected["virials"][0]).max() < 1e-9


NVE = """
units metal
read_data data.lmp
pair_style mliap unified fused.pt 0
pair_coeff * * O Na Si H
minimize 0 1e-2 50 100
reset_timestep 0
velocity all create 300 7
fix 1 all nve
timestep {step}
thermo 1
thermo_style custom step etotal ke
thermo_modify format float %.12g norm no
run {steps}
"""


@real
def test_nve_keeps_the_energy_to_the_square_of_the_time_step(tmp_path: Path) -> None:
    plain = mace_models.build(pair_repulsion=True)
    fused = MACED3(plain, "pbe", cutoff=9.0, cn_cutoff=14.0, width=3.0)
    MACED3MLIAP(fused).save(tmp_path / "fused.pt")
    write_data(_grid(), tmp_path / "data.lmp", ["O", "Na", "Si", "H"])

    def energies(ranks: int, steps: int = 200) -> np.ndarray:
        text = NVE.format(steps=steps, step=0.1 / steps)
        run = lmp(tmp_path, text, ranks)
        assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
        last = run.stdout.split("Loop time of")[-2].splitlines()
        rows = [line.split() for line in last if len(line.split()) == 3]
        return np.array([row for row in rows if row[0].isdigit()], dtype=float)

    def drift(rows: np.ndarray) -> float:
        return float(np.ptp(rows[:, 1]) / np.ptp(rows[:, 2]))

    one, four = energies(1), energies(4)
    assert len(one) == 201
    assert np.abs(one[:, 1] - four[:, 1]).max() < 1e-8
    finer = energies(1, 400)
    assert drift(one) < 2e-3
    assert drift(finer) < 0.3 * drift(one)

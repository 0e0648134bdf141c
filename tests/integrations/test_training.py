"""MACE's own training on labels without dispersion, and the result fused: the original labels."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from d3torch import D3Calculator
from d3torch.cli import main

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("mace") is None, reason="needs mace-torch"),
    pytest.mark.filterwarnings("ignore"),
]

CUTOFFS = ["--cutoff=9", "--cn-cutoff=8"]
MODEL = {
    "model": "ScaleShiftMACE", "num_channels": 4, "max_L": 0, "max_ell": 1, "correlation": 2,
    "r_max": 4.0, "num_radial_basis": 4, "radial_MLP": "[8]", "MLP_irreps": "4x0e",
    "E0s": "IsolatedAtom",
}  # fmt: skip
TRAINING = {
    "train_file": "subtracted.xyz", "valid_fraction": 0.2, "batch_size": 4, "valid_batch_size": 4,
    "loss": "stress", "energy_weight": 100, "forces_weight": 10, "compute_stress": True,
    "default_dtype": "float64", "device": "cpu", "seed": 3, "lr": 0.01, "plot": False,
}  # fmt: skip


def labelled(atoms: Atoms) -> Atoms:
    """EMT and PBE-D3(BJ) under the keys of MACE."""
    parts = EMT(), D3Calculator("pbe", cutoff=9.0, cn_cutoff=8.0)
    atoms.info["REF_energy"] = sum(part.get_property("energy", atoms) for part in parts)
    atoms.arrays["REF_forces"] = sum(part.get_property("forces", atoms) for part in parts)
    if atoms.pbc.any():
        atoms.info["REF_stress"] = sum(part.get_property("stress", atoms) for part in parts)
    return atoms


def structures(n: int, seed: int) -> list[Atoms]:
    """Crystals of Cu3Au, every eighth one a cluster."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(n):
        atoms = bulk("Cu", cubic=True, a=rng.uniform(3.7, 3.9))
        atoms.symbols = "AuCu3"
        if i % 8 == 0:
            atoms.cell, atoms.pbc = None, False
        atoms.positions += 0.05 * rng.normal(size=(4, 3))
        found.append(labelled(atoms))
    return found


def mace_run_train(folder, **given) -> None:
    """The command of MACE, as it is."""
    options = [f"--{key}={value}" for key, value in {**MODEL, **TRAINING, **given}.items()]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "mace.cli.run_train", *options],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # faster for four atoms
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A training set, its labels without dispersion, and two models trained on these."""
    path = tmp_path_factory.mktemp("training")
    isolated = [Atoms(x, info={"config_type": "IsolatedAtom"}) for x in ("Cu", "Au")]
    frames = [*map(labelled, isolated), *structures(24, 1)]
    ase.io.write(path / "set.xyz", frames, format="extxyz")
    names = [str(path / "set.xyz"), str(path / "subtracted.xyz")]
    assert main(["labels", "subtract", *names, "--xc", "pbe", *CUTOFFS]) == 0
    mace_run_train(path, name="first", max_num_epochs=20)
    foundation = {"foundation_model": "first.model", "multiheads_finetuning": False}
    mace_run_train(path, name="tuned", max_num_epochs=5, **foundation)
    return path


@pytest.fixture
def energy_error():
    """Root mean square error of new crystals with dispersion, eV/atom, through MACECalculator."""
    import torch
    from mace.calculators import MACECalculator

    def error(path) -> float:
        calculator = MACECalculator(model_paths=str(path), device="cpu", default_dtype="float64")
        crystals = [atoms for atoms in structures(8, 2) if atoms.pbc.any()]
        errors = [
            (calculator.get_property("energy", atoms) - atoms.info["REF_energy"]) / len(atoms)
            for atoms in crystals
        ]
        return float(np.sqrt(np.mean(np.square(errors))))

    default = torch.get_default_dtype()
    yield error
    torch.set_default_dtype(default)


@pytest.mark.parametrize("name", ["first", "tuned"])
def test_a_model_of_subtracted_labels_predicts_the_original_ones_when_fused(
    folder, energy_error, name
):
    files = [folder / f"{name}.model", folder / f"{name}-d3.model"]
    assert main(["fuse", str(files[0]), "-o", str(files[1]), "--xc", "pbe", *CUTOFFS]) == 0
    plain, fused = map(energy_error, files)
    print(f"{name}: {1000 * plain:.0f} meV/atom as trained, {1000 * fused:.0f} fused")
    assert plain > 0.3
    assert fused < 0.3 * plain

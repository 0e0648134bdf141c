"""Train a small MACE with dispersion in two ways, and see that both give the same model.

A classical potential (EMT) for alloys of Al, Cu and Au plus the D3(BJ) of PBE makes the labels, so
that both parts are known. A start model is trained on other structures without dispersion, then:

1. on labels from which ``d3torch labels subtract`` has taken D3, and fused with D3 afterwards;
2. on the labels as they are, with D3 in the loop.

At last the damping of a fused model that starts from another functional is learnt back. No
pretrained file is needed. Run as ``python scripts/finetune_demo.py``.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

warnings.filterwarnings("ignore")

import mace  # noqa: E402, F401  before e3nn, which torch >= 2.6 does not load otherwise
from e3nn import o3  # noqa: E402
from mace import data, modules  # noqa: E402
from mace.tools import AtomicNumberTable, torch_geometric  # noqa: E402

from d3torch import D3BJ, D3Calculator, damping_parameters  # noqa: E402
from d3torch.cli import main as d3torch_command  # noqa: E402
from d3torch.integrations.mace import MACED3  # noqa: E402
from d3torch.units import BOHR  # noqa: E402

ELEMENTS = ("Al", "Cu", "Au")
CUTOFFS = {"cutoff": 10.0, "cn_cutoff": 8.0}
"""Short, for the demonstration."""

SEED = 11

TOLERANCE = 1e-6
"""Within which both ways agree, meV/atom and meV/A: rounding only, the gradients are the same."""

Batch = dict[str, Any]


def alloy(rng: np.random.Generator, periodic: bool) -> Atoms:
    """A crystal of four atoms, strained, or a cluster of six cut from one, all rattled."""
    atoms = bulk("Cu", cubic=True, a=rng.uniform(3.9, 4.1))
    if not periodic:
        atoms = (atoms * (2, 1, 1))[:6]
        atoms.cell, atoms.pbc = None, False
    atoms.symbols = rng.choice(ELEMENTS, len(atoms))
    if periodic:
        strain = np.eye(3) + 0.02 * rng.normal(size=(3, 3))
        atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    atoms.positions += 0.05 * rng.normal(size=(len(atoms), 3))
    return atoms


def labelled(atoms: Atoms, dispersion: bool) -> Atoms:
    """The structure with energy, forces and, for a crystal, stress under the keys of MACE."""
    parts = [EMT(), *([D3Calculator("pbe", **CUTOFFS)] if dispersion else [])]
    names = ["energy", "forces", *(["stress"] if atoms.pbc.any() else [])]
    for name in names:
        value = sum(part.get_property(name, atoms) for part in parts)
        (atoms.arrays if name == "forces" else atoms.info)[f"REF_{name}"] = value
    return atoms


def write_set(path: Path, sizes: tuple[int, int], dispersion: bool, seed: int) -> None:
    """Crystals, clusters and the isolated atoms of a set, as extxyz."""
    rng = np.random.default_rng(seed)
    frames = [alloy(rng, True) for _ in range(sizes[0])]
    frames += [alloy(rng, False) for _ in range(sizes[1])]
    isolated = [Atoms(element, info={"config_type": "IsolatedAtom"}) for element in ELEMENTS]
    frames = [labelled(atoms, dispersion) for atoms in [*isolated, *frames]]
    ase.io.write(path, frames, format="extxyz")


def read_batches(path: Path, size: int = 8) -> list[Batch]:
    """The set as ``mace_run_train`` reads it: graphs with labels, in the order of the file."""
    table = AtomicNumberTable(sorted(Atoms(ELEMENTS).numbers.tolist()))
    keys = data.KeySpecification.from_defaults()
    _, configs = data.load_from_xyz(str(path), keys, extract_atomic_energies=True)
    graphs = [data.AtomicData.from_config(c, z_table=table, cutoff=4.5) for c in configs]
    loader = torch_geometric.dataloader.DataLoader(graphs, batch_size=size, shuffle=False)
    return [batch.to_dict() for batch in loader]


def isolated_energies(path: Path) -> list[float]:
    """E0 of the elements, in the order of their numbers."""
    keys = data.KeySpecification.from_defaults()
    found, _ = data.load_from_xyz(str(path), keys, extract_atomic_energies=True)
    return [found[z] for z in sorted(found)]


def small_mace(energies: Sequence[float]) -> Any:
    """A MACE of some thousand weights."""
    torch.manual_seed(SEED)
    interaction = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    return modules.ScaleShiftMACE(
        r_max=4.5,
        num_bessel=6,
        num_polynomial_cutoff=5,
        max_ell=1,
        interaction_cls=interaction,
        interaction_cls_first=interaction,
        num_interactions=2,
        num_elements=len(ELEMENTS),
        hidden_irreps=o3.Irreps("8x0e"),
        MLP_irreps=o3.Irreps("8x0e"),
        atomic_energies=np.array(energies),
        avg_num_neighbors=15.0,
        atomic_numbers=sorted(Atoms(ELEMENTS).numbers.tolist()),
        correlation=2,
        gate=torch.nn.functional.silu,
        radial_MLP=[16],
        atomic_inter_scale=0.5,
        atomic_inter_shift=-2.0,
    )


def predict(model: Any, batch: Batch, training: bool = False) -> Batch:
    """Outputs for a batch; a copy of it, since MACE writes into its input."""
    return dict(model(dict(batch), training=training, compute_stress=True))


def loss_of(model: Any, batch: Batch) -> torch.Tensor:
    """Squared errors of energies per atom (times 100), forces, and stress (times 1000)."""
    out = predict(model, batch, training=True)
    atoms = (batch["ptr"][1:] - batch["ptr"][:-1]).double()
    energy = ((out["energy"] - batch["energy"]) / atoms).square().mean()
    forces = (out["forces"] - batch["forces"]).square().mean()
    stress = (out["stress"] - batch["stress"]) * batch["stress_weight"].view(-1, 1, 1)
    return 100.0 * energy + forces + 1000.0 * stress.square().mean()


def train(model: Any, batches: list[Batch], epochs: int) -> Any:
    """Adam over the batches in an order that the seed sets; the learning rate falls to zero."""
    order = np.random.default_rng(SEED)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(weights, lr=0.01, amsgrad=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for index in order.permutation(len(batches)):
            optimizer.zero_grad()
            loss_of(model, batches[index]).backward()
            torch.nn.utils.clip_grad_norm_(weights, 10.0)
            optimizer.step()
        schedule.step()
    return model


def errors(model: Any, batches: list[Batch]) -> tuple[float, float]:
    """Root mean square errors of energies, meV/atom, and forces, meV/A."""
    energy, forces = [], []
    for batch in batches:
        out, atoms = predict(model, batch), batch["ptr"][1:] - batch["ptr"][:-1]
        energy.append(((out["energy"] - batch["energy"]) / atoms).detach())
        forces.append((out["forces"] - batch["forces"]).detach().flatten())
    return tuple(1000.0 * torch.cat(x).square().mean().sqrt().item() for x in (energy, forces))


def difference(one: Any, other: Any, batches: list[Batch]) -> tuple[float, float]:
    """Largest differences of two models in energies, meV/atom, and forces, meV/A."""
    energy, forces = 0.0, 0.0
    for batch in batches:
        a, b = predict(one, batch), predict(other, batch)
        atoms = batch["ptr"][1:] - batch["ptr"][:-1]
        energy = max(energy, ((a["energy"] - b["energy"]) / atoms).abs().max().item())
        forces = max(forces, (a["forces"] - b["forces"]).abs().max().item())
    return 1000.0 * energy, 1000.0 * forces


def learn_damping(model: Any, batches: list[Batch]) -> list[float]:
    """s8, a1 and a2 (A) learnt on labels, from that of BLYP, the weights of MACE kept."""
    fused = MACED3(model, damping=damping_parameters("blyp"), learnable=True, **CUTOFFS)
    fused.requires_grad_(False)
    d3 = next(module for module in fused.modules() if isinstance(module, D3BJ))
    learnt = [d3.s8, d3.a1, d3.a2]
    for parameter in learnt:
        parameter.requires_grad_(True)
    optimizer = torch.optim.LBFGS(
        learnt, max_iter=60, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        total = torch.stack([loss_of(fused, batch) for batch in batches]).sum()
        total.backward()
        return total

    optimizer.step(closure)
    return [x.item() for x in learnt]


def with_predictions(model: Any, batches: list[Batch]) -> list[Batch]:
    """The batches with what a model predicts in place of their labels."""
    names = ("energy", "forces", "stress")
    outputs = [predict(model, batch) for batch in batches]
    return [
        {**batch, **{name: out[name].detach() for name in names}}
        for batch, out in zip(batches, outputs, strict=True)
    ]


def make_sets(folder: Path) -> dict[str, list[Batch]]:
    """Sets without dispersion to start from, with it, the same subtracted, and to test."""
    write_set(folder / "start.xyz", (24, 0), False, 1)
    write_set(folder / "train.xyz", (48, 16), True, 2)
    write_set(folder / "test.xyz", (16, 8), True, 3)
    names = [str(folder / "train.xyz"), str(folder / "subtracted.xyz")]
    cutoffs = [f"--{k.replace('_', '-')}={v}" for k, v in CUTOFFS.items()]
    if d3torch_command(["labels", "subtract", *names, "--xc", "pbe", *cutoffs]) != 0:
        raise SystemExit(1)
    return {x: read_batches(folder / f"{x}.xyz") for x in ("start", "train", "subtracted", "test")}


def print_errors(models: dict[str, Any], batches: list[Batch]) -> None:
    """A line for each model."""
    print(f"\n{'errors on the test set':32}  energy / meV/atom  forces / meV/A")
    for name, model in models.items():
        energy, forces = errors(model, batches)
        print(f"{name:32}  {energy:17.2f}  {forces:14.2f}")


def known(xc: str) -> tuple[float, float, float]:
    """s8, a1 and a2 (A) of a functional."""
    p = damping_parameters(xc)
    return p.s8, p.a1, p.a2 * BOHR


def compare_ways(start: Any, sets: dict[str, list[Batch]], epochs: int) -> tuple[Any, float]:
    """Train both ways from the same model: the one of subtracted labels, and how far they part."""
    plain = train(copy.deepcopy(start), sets["subtracted"], epochs)
    fused = MACED3(copy.deepcopy(plain), "pbe", **CUTOFFS)
    loop = train(MACED3(copy.deepcopy(start), "pbe", **CUTOFFS), sets["train"], epochs)
    models = {"before": start, "labels subtracted, not fused": plain}
    models |= {"labels subtracted, then fused": fused, "D3 in the loop": loop}
    print_errors(models, sets["test"])
    apart = difference(fused, loop, sets["test"])
    print(f"{'largest difference of these two':32}  {apart[0]:17.1e}  {apart[1]:14.1e}")
    return plain, max(apart)


def compare_damping(model: Any, batches: list[Batch]) -> float:
    """Learn the damping of PBE back: from labels, which MACE fits roughly, and without that error.

    Returns:
        Largest relative error of the latter.
    """
    ideal = with_predictions(MACED3(copy.deepcopy(model), "pbe", **CUTOFFS), batches)
    exact = learn_damping(copy.deepcopy(model), ideal)
    fits = {
        "start: BLYP": known("blyp"),
        "learnt from the labels": learn_damping(copy.deepcopy(model), batches),
        "learnt from the fused model": exact,
        "known: PBE": known("pbe"),
    }
    print(f"\n{'damping':32}  {'s8':>8}  {'a1':>8}  {'a2 / bohr':>9}")
    for name, (s8, a1, a2) in fits.items():
        print(f"{name:32}  {s8:8.5f}  {a1:8.5f}  {a2 / BOHR:9.5f}")
    return float(np.abs(np.divide(exact, known("pbe")) - 1.0).max())


def main(epochs: int) -> int:
    """Train, compare, learn; 1 if the two ways differ or the parameters are not found."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        sets = make_sets(Path(folder))
        energies = isolated_energies(Path(folder) / "start.xyz")
    start = train(small_mace(energies), sets["start"], epochs)
    plain, apart = compare_ways(start, sets, epochs)
    wrong = compare_damping(plain, sets["train"])
    print(f"\n{time.perf_counter() - begin:.0f} s")
    return 0 if apart < TOLERANCE and wrong < 1e-4 else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=60, help="of each training (default: 60)")
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)  # faster than more for structures of this size
    sys.exit(main(parser.parse_args().epochs))

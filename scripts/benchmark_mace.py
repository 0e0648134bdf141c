"""Cost of D3(BJ) in molecular dynamics with MACE: alone, fused with d3torch, with torch-dftd.

The model has the size of MACE-MP-0 medium and random weights (or is that of --model); every step
moves all atoms a little and asks for energy, forces and stress, as a time step at constant
pressure does. The kinds take turns, so that a busy machine slows all of them alike. Both D3 reach
40 bohr, as mace_mp(dispersion=True) does. Needs mace-torch; torch-dftd where it is installed.

    python scripts/benchmark_mace.py --atoms 192
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import time
import warnings
from importlib import resources
from typing import Any

import mace.modules  # before e3nn: it lets torch >= 2.6 read e3nn's own files
import numpy as np
import torch
from ase import Atoms
from ase.calculators.mixing import SumCalculator
from ase.io import read
from e3nn import o3
from mace.calculators import MACECalculator

import d3torch
from d3torch.integrations.mace import MACED3
from d3torch.units import BOHR

REACH = 40.0 * BOHR


def medium(dtype: torch.dtype) -> Any:
    """A random model of the size of MACE-MP-0 medium."""
    torch.set_default_dtype(dtype)
    torch.manual_seed(1)
    block = mace.modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    model = mace.modules.ScaleShiftMACE(
        atomic_inter_scale=0.8,
        atomic_inter_shift=0.2,
        r_max=6.0,
        num_bessel=10,
        num_polynomial_cutoff=5,
        max_ell=3,
        interaction_cls=block,
        interaction_cls_first=block,
        num_interactions=2,
        num_elements=89,
        hidden_irreps=o3.Irreps("128x0e+128x1o"),
        MLP_irreps=o3.Irreps("16x0e"),
        atomic_energies=np.zeros(89),
        avg_num_neighbors=60.0,
        atomic_numbers=list(range(1, 90)),
        correlation=3,
        gate=torch.nn.functional.silu,
    )
    torch.set_default_dtype(torch.float32)
    return model


def structure(n_atoms: int) -> Atoms:
    """Cristobalite, 192 atoms, or a sodium silicate glass, 1500 atoms."""
    if n_atoms == 1500:
        return read(resources.files(d3torch) / "data" / "NS33_1500.extxyz")
    corners = np.array([[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0]]) / 4
    silicon = [c + s for c in corners for s in (0.0, 0.25)]
    oxygen = [
        c + s for c in corners for s in np.array([[1, 1, 1], [1, 3, 3], [3, 1, 3], [3, 3, 1]]) / 8
    ]
    cell = Atoms("Si8O16", scaled_positions=[*silicon, *oxygen], cell=3 * [7.16], pbc=True)
    return cell.repeat(2)


def calculators(args: argparse.Namespace) -> dict[str, Any]:
    """What is compared, by name."""
    dtype = getattr(torch, args.dtype)
    model = torch.load(args.model, weights_only=False).to(dtype) if args.model else medium(dtype)
    alone = MACECalculator(models=model, default_dtype=args.dtype)
    fused = MACED3(model, "pbe", preset="mace_mp", reference="2010")
    found = {
        "MACE": alone,
        "MACE + d3torch": MACECalculator(models=fused, default_dtype=args.dtype),
    }
    if importlib.util.find_spec("torch_dftd") and not args.skip_torch_dftd:
        from torch_dftd.torch_dftd3_calculator import TorchDFTD3Calculator

        d3 = TorchDFTD3Calculator(damping="bj", xc="pbe", cutoff=REACH, dtype=dtype)
        again = MACECalculator(models=model, default_dtype=args.dtype)  # `alone` has results
        found["MACE + torch-dftd"] = SumCalculator([again, d3])
    return found


def measure(atoms: Atoms, kinds: dict[str, Any], steps: int) -> dict[str, list[float]]:
    """Seconds of every step after the first, which builds and allocates."""
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for step in range(steps + 1):
        for name, calculator in kinds.items():
            moved = atoms.copy()
            moved.rattle(0.01, seed=step)
            start = time.perf_counter()
            calculator.get_property("stress", moved)
            seconds[name].append(time.perf_counter() - start)
    return {name: values[1:] for name, values in seconds.items()}


def dispersion_alone(atoms: Atoms, fused: Any, steps: int) -> float:
    """Fastest seconds of the D3 inside the fused model."""
    term = fused.models[0].dispersion
    batch = fused._atoms_to_batch(atoms).to_dict()
    systems = term.systems(batch)
    systems = systems._replace(positions=systems.positions.to(term.d3.rcov))
    systems = systems._replace(cell=systems.cell.to(term.d3.rcov))
    seconds = []
    for _ in range(steps + 1):
        start = time.perf_counter()
        term.numbers(systems)
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def report(seconds: dict[str, list[float]], share: float) -> None:
    """Ratio of the fastest steps to MACE alone first, then ms a step, and ps/h at steps of 1 fs."""
    base = min(seconds["MACE"])
    print(f"{'':20}{'ratio':>8}{'fastest ms':>12}{'median ms':>12}{'ps/h':>10}")
    for name, values in seconds.items():
        t, middle = min(values), statistics.median(values)
        print(f"{name:20}{t / base:8.3f}{1e3 * t:12.1f}{1e3 * middle:12.1f}{3.6 / t:10.3f}")
    print(f"{'d3torch by itself':20}{share / base:8.4f}{1e3 * share:12.2f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--atoms", type=int, choices=(192, 1500), default=192)
    parser.add_argument("--steps", type=int, default=5, help="of each kind (default: 5)")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--threads", type=int, help="of torch (default: as torch chooses)")
    parser.add_argument("--model", metavar="FILE", help="trusted file of a MACE model")
    parser.add_argument("--skip-torch-dftd", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.threads:
        torch.set_num_threads(args.threads)
    atoms, kinds = structure(args.atoms), calculators(args)
    about = {"atoms": len(atoms), "dtype": args.dtype, "threads": torch.get_num_threads()}
    print(json.dumps({**about, "steps": args.steps, "torch": torch.__version__}), flush=True)
    seconds = measure(atoms, kinds, args.steps)
    report(seconds, dispersion_alone(atoms, kinds["MACE + d3torch"], args.steps))


if __name__ == "__main__":
    main()

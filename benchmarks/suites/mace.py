"""Cost of D3(BJ) in molecular dynamics with MACE: fused with d3torch, torch-dftd, nvalchemi.

The model has the size of MACE-MP-0 medium and random weights (or is that of --model); every step
moves all atoms a little and asks for energy, forces and stress, as a time step at constant
pressure does. The kinds take turns, so that a busy machine slows all of them alike. Every D3
reaches 40 bohr, as mace_mp(dispersion=True) does. Needs mace-torch; torch-dftd and
nvalchemi-toolkit-ops (float32 only) where they are installed.

    python -m benchmarks.suites.mace --atoms 192 1500 --out benchmarks/results
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import mace.modules  # before e3nn: it lets torch >= 2.6 read e3nn's own files
import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.mixing import SumCalculator
from ase.io import read
from ase.stress import full_3x3_to_voigt_6_stress
from e3nn import o3
from mace.calculators import MACECalculator

import d3torch
from benchmarks import report
from benchmarks.rivals.gpu import installed
from benchmarks.rivals.nvalchemi import Nvalchemi
from benchmarks.rivals.torch_dftd import torch_dftd
from d3torch import D3Calculator
from d3torch.integrations.mace import MACED3
from d3torch.units import BOHR, HARTREE

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


class NvalchemiCalculator(Calculator):
    """nvalchemi-toolkit-ops in ASE, its neighbour list made anew at every step."""

    implemented_properties = ("energy", "free_energy", "forces", "stress")

    def __init__(self, atoms: Atoms, device: str) -> None:
        super().__init__()
        cell = atoms.cell.array / BOHR
        self.d3 = Nvalchemi(atoms.numbers, [len(atoms)], REACH / BOHR, cell, device)
        self.device = device

    def calculate(
        self, atoms: Any = None, properties: Any = (), system_changes: Any = all_changes
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        x, cell = (
            torch.tensor(a / BOHR, dtype=torch.float32, device=self.device)
            for a in (atoms.positions, atoms.cell.array)
        )
        self.d3.set_cell(cell)
        energy, forces, *_, virial = self.d3.evaluate(x, self.d3.search(x))
        stress = -virial.double().cpu().numpy().reshape(3, 3) * HARTREE / atoms.get_volume()
        self.results = {
            "energy": float(energy) * HARTREE,
            "forces": forces.double().cpu().numpy() * HARTREE / BOHR,
            "stress": full_3x3_to_voigt_6_stress(stress),
        }
        self.results["free_energy"] = self.results["energy"]


def rivals(args: argparse.Namespace, atoms: Atoms) -> dict[str, Any]:
    """Other D3 of the same reach, those that are installed and not skipped."""
    found: dict[str, Any] = {}
    if not args.skip_torch_dftd and installed("torch-dftd"):
        dtype = getattr(torch, args.dtype)
        found["torch-dftd"] = torch_dftd(REACH, REACH, dtype, args.device)
    if not args.skip_nvalchemi and installed("nvalchemi"):
        found["nvalchemi"] = NvalchemiCalculator(atoms, args.device)
    return found


def calculators(args: argparse.Namespace, atoms: Atoms) -> dict[str, Any]:
    """What is compared, by name."""
    dtype = getattr(torch, args.dtype)
    model = torch.load(args.model, weights_only=False).to(dtype) if args.model else medium(dtype)
    settings = {"default_dtype": args.dtype, "device": args.device}
    if args.cueq:
        settings["enable_cueq"] = True
    fused = MACED3(model, "pbe", preset="mace_mp", reference="2010")
    found = {
        "MACE": MACECalculator(models=model, **settings),
        "MACE + d3torch": MACECalculator(
            models=fused, default_dtype=args.dtype, device=args.device
        ),
    }
    if args.cueq:  # a fused model knows no cuEquivariance: D3 beside it
        del found["MACE + d3torch"]
        d3 = D3Calculator(preset="mace_mp", dtype=args.dtype, device=args.device)
        found["MACE + D3Calculator"] = SumCalculator([MACECalculator(models=model, **settings), d3])
    for name, d3 in rivals(args, atoms).items():
        again = MACECalculator(models=model, **settings)  # the first keeps results
        found[f"MACE + {name}"] = SumCalculator([again, d3])
    return found


def timed(call: Callable[[], Any], device: Any) -> float:
    """Seconds of a call, from an idle GPU to an idle GPU."""
    wait = torch.cuda.synchronize if str(device) != "cpu" else lambda: None
    wait()
    start = time.perf_counter()
    call()
    wait()
    return time.perf_counter() - start


def measure(
    atoms: Atoms, kinds: dict[str, Any], args: argparse.Namespace
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds of every step after the warm-up, and the last energies."""
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    energies = {}
    for step in range(args.warmup + args.steps):
        for name, calculator in kinds.items():
            moved = atoms.copy()
            moved.rattle(0.01, seed=step)
            call = partial(calculator.get_property, "stress", moved)
            seconds[name].append(timed(call, args.device))
            energies[name] = calculator.get_property("energy", moved)
    return {name: values[args.warmup :] for name, values in seconds.items()}, energies


def dispersion_alone(atoms: Atoms, fused: Any, args: argparse.Namespace) -> float:
    """Fastest seconds of the D3 inside the fused model."""
    term = fused.models[0].dispersion
    batch = fused._atoms_to_batch(atoms).to_dict()
    systems = term.systems(batch)
    systems = systems._replace(positions=systems.positions.to(term.d3.rcov))
    systems = systems._replace(cell=systems.cell.to(term.d3.rcov))
    call = partial(term.numbers, systems)
    return min([timed(call, fused.device) for _ in range(args.warmup + args.steps)][args.warmup :])


def table(seconds: dict[str, list[float]], energies: dict[str, float], share: float) -> str:
    """Ratio of the fastest steps to MACE alone first, then ms a step, and ps/h at steps of 1 fs."""
    base, rows = min(seconds["MACE"]), []
    for name, values in seconds.items():
        t, middle = min(values), statistics.median(values)
        d3 = energies[name] - energies["MACE"]
        times = [f"{1e3 * t:.1f}", f"{1e3 * middle:.1f}", f"{3.6 / t:.3f}"]
        ratios = [f"{t / base:.3f}", f"{middle / statistics.median(seconds['MACE']):.3f}"]
        rows.append([name, *ratios, *times, f"{d3:.4f}"])
    rows.append(["d3torch by itself", f"{share / base:.4f}", "", f"{1e3 * share:.2f}", "", "", ""])
    head = ["", "ratio", "of medians", "fastest ms", "median ms", "ps/h at 1 fs", "D3 / eV"]
    return report.markdown_table(head, rows)


def preamble(args: argparse.Namespace) -> str:
    """What the numbers depend on."""
    c = report.conditions([torch.get_num_threads()])
    names = ("torch", "mace-torch", "torch-dftd", "nvalchemi-toolkit-ops", "warp-lang")
    installed = {d.metadata["Name"].lower(): d.version for d in metadata.distributions()}
    versions = ", ".join(f"{n} {installed.get(n, 'not installed')}" for n in names)
    model = "the model given" if args.model else "random weights, size of MACE-MP-0 medium"
    model += ", cuEquivariance" if args.cueq else ""
    card = f"{torch.cuda.get_device_name()}, " if args.device == "cuda" else ""
    return f"""# MACE with D3(BJ) on {args.device}, {c["date"]}

{card}{c["processor"]}, {c["cores"]} cores, {c["instructions"]}; load {c["load_before"]:.2f}.
d3torch {d3torch.__version__}, Python {c["python"]}, {versions}.

{torch.get_num_threads()} thread(s), {args.dtype} (nvalchemi float32), {model}.
D3 to 40 bohr. {args.steps} steps of each kind in turns, after {args.warmup} to warm up: energy,
forces and stress through ASE, from an idle device to an idle device.
Ratios: fastest step over that of MACE alone, and median.
D3: energy of the last step less that of MACE alone.

"""


def file_name(args: argparse.Namespace) -> str:
    """Of the results of today on this processor."""
    c = report.conditions([])
    on_gpu = args.device == "cuda"
    card = torch.cuda.get_device_name().lower().replace(" ", "-") if on_gpu else c["slug"]
    kind = f"_{args.dtype}{'_cueq' if args.cueq else ''}" if on_gpu else ""
    return f"mace_{c['date']}_{card}{kind}.md"


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--atoms", type=int, nargs="+", choices=(192, 1500), default=[192])
    add("--steps", type=int, help="of each kind (default: 5, 30 on a GPU)")
    add("--warmup", type=int, help="steps before them (default: 1, 5 on a GPU)")
    add("--dtype", choices=("float32", "float64"), default="float32")
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--cueq", action="store_true", help="MACE through cuEquivariance, D3 beside it")
    add("--threads", type=int, help="of torch (default: as torch chooses)")
    add("--model", metavar="FILE", help="trusted file of a MACE model")
    add("--skip-torch-dftd", action="store_true")
    add("--skip-nvalchemi", action="store_true")
    add("--out", type=Path, metavar="FOLDER", help="also write the table into a file there")
    args = parser.parse_args()
    on_gpu = args.device == "cuda"
    args.steps = args.steps or (30 if on_gpu else 5)
    args.warmup = args.warmup or (5 if on_gpu else 1)
    return args


def main() -> None:
    """Measure, print, and write the file anew after every size."""
    args = parse()
    warnings.simplefilter("ignore")
    if args.threads:
        torch.set_num_threads(args.threads)
    text = preamble(args)
    print(text, flush=True)
    for n_atoms in args.atoms:
        atoms = structure(n_atoms)
        kinds = calculators(args, atoms)
        seconds, energies = measure(atoms, kinds, args)
        fused = kinds.get("MACE + d3torch")
        share = dispersion_alone(atoms, fused, args) if fused else float("nan")
        section = f"## {n_atoms} atoms\n\n{table(seconds, energies, share)}\n"
        print(section, flush=True)
        text += section
        if args.out:
            report.replace_file(args.out / file_name(args), text.rstrip() + "\n")


if __name__ == "__main__":
    main()

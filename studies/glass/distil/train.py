"""Train a DeePMD potential on labelled structures, freeze and compress it, and test it.

Usage: python studies/glass/distil/train.py FOLDER LABELS.extxyz... [--half LABELS.extxyz...]
                                             [--steps N] [--begin OTHER]

In an environment with deepmd-kit[cpu], dpdata and ASE, and studies/glass on PYTHONPATH. Every
tenth structure of each file is kept from training. FOLDER gets settings (labels, steps, beginning),
to which it keeps, data, ``input.json``, checkpoints (called again, training goes on),
``model.pb``, the compressed ``fast.pb`` and ``error.json``, errors on the structures kept out.
``--half`` takes labels that make half of what is trained on, however few they are, and
``--begin`` starts from the potential in another such folder, with a fourth of the learning rate.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import ase.io
import numpy as np
from ase import Atoms
from ase.units import GPa

from d3torch_glass.files import digest, one_sentence, settle, write_json

TYPES = ["O", "Na", "Si"]
KEPT_OUT = 10


def read(files: list[Path]) -> tuple[list[Atoms], list[Atoms]]:
    """Structures to train on, and those kept out."""
    train: list[Atoms] = []
    test: list[Atoms] = []
    for file in files:
        found = [a for a in ase.io.read(file, ":") if not a.info.get("too_far")]
        for k, atoms in enumerate(found):
            (test if k % KEPT_OUT == 0 else train).append(atoms)
    return train, test


def write_data(structures: list[Atoms], folder: Path) -> list[str]:
    """Folders of DeePMD's arrays, one for each formula, as seen from the one above."""
    import dpdata

    if not structures:
        return []
    systems = dpdata.MultiSystems(type_map=TYPES)
    for atoms in structures:
        systems.append(dpdata.LabeledSystem(atoms, fmt="ase/structure", type_map=TYPES))
    systems.to("deepmd/npy", str(folder), set_size=100000)
    parents = (path.parent for path in folder.glob("**/type.raw"))
    return sorted(str(parent.relative_to(folder.parent)) for parent in parents)


class Data(NamedTuple):
    """Folders to train on, those that make half of it, and those to test on."""

    train: list[str]
    half: list[str]
    test: list[str]

    def shares(self) -> str:
        """How often DeePMD takes which."""
        first, every = len(self.train), len(self.train) + len(self.half)
        return f"prob_sys_size;0:{first}:0.5;{first}:{every}:0.5" if self.half else "prob_sys_size"


def settings(data: Data, steps: int, begin: Path | None) -> dict[str, Any]:
    """Input of ``dp train``: se_e2_a to 5.5 A, small nets, float32."""
    shown = max(100, steps // 100)
    neighbours, rate = "auto:1.2", 2e-3
    if begin is not None:  # whose arrays have that shape
        used = json.loads((begin / "out.json").read_text(encoding="utf-8"))
        neighbours, rate = used["model"]["descriptor"]["sel"], 5e-4
    return {
        "model": {
            "type_map": TYPES,
            "descriptor": {
                "type": "se_e2_a", "rcut": 5.5, "rcut_smth": 1.0, "sel": neighbours,
                "neuron": [8, 16, 32], "axis_neuron": 8, "type_one_side": False,
                "precision": "float32", "seed": 1,
            },
            "fitting_net": {"neuron": [128, 128, 128], "precision": "float32", "seed": 1},
        },
        "learning_rate": {"type": "exp", "start_lr": rate, "stop_lr": 1e-6,
                          "decay_steps": max(1, steps // 200)},
        "loss": {
            "type": "ener", "start_pref_e": 1, "limit_pref_e": 100, "start_pref_f": 1000,
            "limit_pref_f": 10, "start_pref_v": 1, "limit_pref_v": 30,
        },
        "training": {
            "training_data": {"systems": data.train + data.half, "batch_size": "auto:64",
                              "auto_prob": data.shares()},
            "validation_data": {"systems": data.test, "batch_size": 1},
            "numb_steps": steps, "seed": 1, "disp_freq": shown, "save_freq": shown,
        },
    }  # fmt: skip


class Off(NamedTuple):
    """A potential less its teacher in a structure: eV/atom, rms of forces in eV/A, GPa."""

    energy: float
    force: float
    pressure: float


def compared(model: Path, structures: list[Atoms]) -> list[Off]:
    """The potential less the labels of structures."""
    from deepmd.infer import DeepPot

    potential = DeepPot(str(model))
    found = []
    for atoms in structures:
        types = [TYPES.index(s) for s in atoms.symbols]
        given = atoms.positions.reshape(1, -1), atoms.cell.array.reshape(1, 9), types
        energy, forces, virial = potential.eval(*given)
        pressure = virial.reshape(3, 3).trace() / 3.0 / atoms.get_volume()
        found.append(Off(
            (energy.item() - atoms.get_potential_energy()) / len(atoms),
            float(np.sqrt(np.mean((forces[0] - atoms.get_forces()) ** 2))),
            (pressure + atoms.get_stress()[:3].mean()) / GPa,
        ))  # fmt: skip
    return found


def errors(model: Path, structures: list[Atoms]) -> dict[str, Any]:
    """Root mean square errors on structures, by the source that they name."""
    found: dict[str, list[Off]] = {}
    for atoms, row in zip(structures, compared(model, structures), strict=True):
        for name in ("all", str(atoms.info.get("source", "")).split(",")[0]):
            found.setdefault(name, []).append(row)
    return {
        name: {
            "structures": len(rows),
            "energy, meV/atom": 1e3 * rms([r.energy for r in rows]),
            "force, eV/A": rms([r.force for r in rows]),
            "pressure, GPa": rms([r.pressure for r in rows]),
            "mean pressure, GPa": float(np.mean([r.pressure for r in rows])),
        }
        for name, rows in found.items()
    }


def rms(values: list[float]) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(np.square(values))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("labels", type=Path, nargs="+")
    parser.add_argument("--half", type=Path, nargs="+", default=[])
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--begin", type=Path)
    args = parser.parse_args()
    folder: Path = args.folder.resolve()
    train, test = read(args.labels)
    half, more = read(args.half)
    test += more
    begin = None if args.begin is None else args.begin / "out.json"
    begun = {
        "labels": [digest(file.read_bytes()) for file in args.labels],
        "half": [digest(file.read_bytes()) for file in args.half],
        "steps": args.steps,
        "begin": None if begin is None else digest(begin.read_bytes()),
    }
    with one_sentence():
        settle(folder / "settings.json", begun)
    if not (folder / "input.json").exists():
        parts = {"train": train, "half": half, "test": test}
        data = Data(*(write_data(part, folder / name) for name, part in parts.items()))
        given = settings(data, args.steps, args.begin)
        write_json(folder / "input.json", given)

    program = str(Path(sys.executable).with_name("dp"))

    def dp(*words: str) -> None:
        subprocess.run([program, "--tf", *words], cwd=folder, check=True)

    words: list[str] = []
    if args.begin is not None:
        words = ["--init-model", str(args.begin.resolve() / "model.ckpt")]
    if (folder / "checkpoint").exists():
        words = ["--restart", "model.ckpt"]
    dp("train", "input.json", *words)
    dp("freeze", "-o", "model.pb")
    dp("compress", "-i", "model.pb", "-o", "fast.pb")
    found = errors(folder / "fast.pb", test) | {"trained on": len(train) + len(half)}
    write_json(folder / "error.json", found)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()

"""Glasses at rest by a distilled potential, beside those of its teacher, and the same at 300 K.

Usage: python studies/glass/distil/at_rest.py STATIC MODEL.pb STUDY [--warm NAME...] [--ps 10]

STATIC is the folder of static jobs of the teacher, whose PMMCS glasses are the starts here too
(``initial/`` in it). LAMMPS, which ``LMP`` names, relaxes atoms and size of the cell with MODEL,
without and with ``pair_style d3torch`` (PBE-D3(BJ), converged); glasses of the compositions after
``--warm`` are then held at 300 K and no pressure, for 2 ps and the time that is averaged over.
``STUDY/at_rest.json`` gets the densities, and is gone on with when the script is called again.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from program import failed

from d3torch_glass.averages import block_mean
from d3torch_glass.facts import ELEMENTS, mass_density
from d3torch_glass.files import alone, digest, one_sentence, read_json, settle_results, write_json
from d3torch_glass.potential import mass_commands

NAME = re.compile(r"(?P<glass>[^_]+)_102_s(?P<seed>\d+)_")
DT_FS, SETTLE_PS, EVERY = 2.0, 2.0, 10
STYLES = {
    "none": "pair_style deepmd {model}\npair_coeff * * O Na Si",
    "d3torch": "pair_style hybrid/overlay deepmd {model} d3torch bj pbe converged\n"
    "pair_coeff * * deepmd O Na Si\npair_coeff * * d3torch O Na Si",
}
REST = """units metal
atom_style atomic
atom_modify map array
read_data initial.data
{masses}
{style}
min_style cg
min_modify line quadratic dmax 0.05
minimize 0 0.02 2000 4000
label again
variable k loop 12
fix size all box/relax iso 0.0 vmax 0.002
minimize 0 0.02 500 1000
unfix size
minimize 0 0.02 500 1000
next k
jump SELF again
variable v equal vol
variable p equal press
print "$(v_v:%.10g) $(v_p:%.6g)" file rest
"""
WARM = """timestep {dt}
velocity all create 600 {seed} mom yes rot no
fix move all npt temp 300 300 0.1 iso 0 0 0.5
run {settle}
fix samples all print {every} "$(vol:%.10g)" file warm title "" screen no
run {steps}
"""


def densities(atoms: Atoms, model: Path, d3: str, picoseconds: float) -> dict[str, float]:
    """Density at rest, the pressure there in GPa, and that at 300 K if it is wanted, g/cm^3."""
    mass = float(atoms.get_masses().sum())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ase.io.write(folder / "initial.data", atoms, format="lammps-data", specorder=ELEMENTS)
        masses, style = "\n".join(mass_commands()), STYLES[d3].format(model=model)
        text = REST.format(masses=masses, style=style)
        if picoseconds > 0:
            settle, steps = (round(ps * 1e3 / DT_FS) for ps in (SETTLE_PS, picoseconds))
            text += WARM.format(dt=DT_FS * 1e-3, seed=1, settle=settle, steps=steps, every=EVERY)
        (folder / "in").write_text(text, encoding="utf-8")
        if why := failed(folder):
            raise RuntimeError(why)
        volume, pressure = map(float, (folder / "rest").read_text(encoding="utf-8").split())
        found = {"rest": float(mass_density(mass, volume)), "pressure": pressure * 1e-4}
        if picoseconds > 0:
            warm = block_mean(mass_density(mass, np.loadtxt(folder / "warm")))
            found |= {"warm": warm.value, "warm_error": warm.error}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("static", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("study", type=Path)
    parser.add_argument("--warm", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--ps", type=float, default=10.0)
    args = parser.parse_args()
    beside = args.study / "at_rest"
    with alone(beside):
        path = args.study / "at_rest.json"
        found = read_json(path)
        begun = {"model": {"model": digest(args.model.read_bytes())}}
        begun |= {"warm": {"ps": args.ps}} if args.warm else {}
        for name, settings in begun.items():
            kept = beside / f"{args.model.stem}_{name}.json"
            with one_sentence():
                settle_results(kept, settings, path, f"deepmd:{args.model.stem}" in found)
        run(args, path, found)


def run(args: argparse.Namespace, path: Path, found: dict[str, Any]) -> None:
    """One glass after another."""
    of_model = found.setdefault(f"deepmd:{args.model.stem}", {})
    for start in sorted((args.static / "initial").glob("*.extxyz")):
        known = NAME.match(start.name)
        if known is None:
            continue
        picoseconds = args.ps if known["glass"] in args.warm else 0.0
        of_glass = of_model.setdefault(known["glass"], {}).setdefault(known["seed"], {})
        for d3 in STYLES:
            if "warm" in of_glass.get(d3, {}) or (d3 in of_glass and not picoseconds):
                continue
            given = ase.io.read(start), args.model.resolve(), d3, picoseconds
            of_glass[d3] = densities(*given)
            write_json(path, found)
            print(start.name, d3, of_glass[d3], flush=True)


if __name__ == "__main__":
    main()

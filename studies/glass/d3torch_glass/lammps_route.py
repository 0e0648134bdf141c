"""The same protocol in LAMMPS: inputs, and a script that runs them.

A chain is a list of short pieces (``plan.tsv``). Each begins with the restart file of the one
before, in which LAMMPS keeps positions, velocities, box and the variables of ``fix npt``, and ends
with a restart file that is renamed once whole. So a run that is killed repeats at most one
piece, and, as every piece starts from a file in any case, comes to the same numbers. Temperature,
pressure and strain are ramped inside of pieces by ``fix npt`` and ``fix deform``.

Only bash, awk and LAMMPS are needed where it runs; ``lammps_results.py`` turns the output into what
the ASE route writes, and one code analyses both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.io import write

from .facts import ELEMENTS
from .files import write_text, written_aside
from .levels import SHARE
from .potential import d3_style, list_commands, mass_commands, pmmcs_commands
from .protocol import Chain, Protocol

KOKKOS = "lmp -k on t 1 -sf kk -pk kokkos newton on neigh half"
PLAN = ("piece", "stage", "first", "steps", "t0", "t1", "p0", "p1", "scale", "target", "strain",
        "frames")  # fmt: skip
D3_FILE = "d3.pt"
THERMO = ("temp", "pe", "vol", "pxx", "pyy", "pzz", "pyz", "pxz", "pxy", "lx", "ly", "lz")


class Style(NamedTuple):
    """A potential in LAMMPS.

    Attributes:
        commands: pair_style and what belongs to it; types 1 O, 2 Na, 3 Si.
        atom_style: ``"charge"`` or ``"atomic"``.
        program: how LAMMPS is started, unless the variable LMP says otherwise.
        loads_d3: whether ML-IAP loads d3torch from :data:`D3_FILE`, beside the chains' folders.
    """

    commands: list[str]
    atom_style: str
    program: str
    loads_d3: bool = False


def style(model: str, d3: str, xc: str, cutoff: float) -> Style:
    """Commands of a model with dispersion.

    Args:
        model: ``"pmmcs"``; a DeePMD model (``.pb``, ``.pth``, ``.dp``); or a MACE model made for
            ML-IAP (``.pt``).
        d3: ``"none"``; ``"lammps"``, its own ``dispersion/d3``; ``"d3torch"``, the pair style of
            that name, or through ML-IAP beside a MACE model.
        xc: functional.
        cutoff: of energy and coordination number, A.

    Raises:
        ValueError: for another ending or dispersion.
    """
    if d3 not in ("none", "lammps", "d3torch"):
        raise ValueError(f"expected --d3 none, lammps or d3torch in LAMMPS, got {d3!r}")
    suffix = Path(model).suffix
    name = {"none": None, "lammps": "dispersion/d3", "d3torch": "d3torch"}[d3]
    second = None if name is None else d3_style(name, xc, cutoff, cutoff)
    if model == "pmmcs":
        return Style(pmmcs_commands(d3=second), "charge", "lmp")
    if suffix in (".pb", ".pth", ".dp"):
        return Style(_overlay(f"deepmd {model}", second), "atomic", "lmp")
    if suffix != ".pt":
        raise ValueError(f"expected pmmcs or a model in .pb, .pth, .dp or .pt, got {model!r}")
    if d3 == "d3torch":
        second = f"mliap unified ../{D3_FILE} 0"
    commands = _overlay(f"mliap unified {model} 0", second)
    return Style(commands, "atomic", KOKKOS, loads_d3=d3 == "d3torch")


def _overlay(first: str, second: str | None) -> list[str]:
    """One or two pair styles; two of one name are told apart by number."""
    elements = " ".join(ELEMENTS)
    if second is None:
        return [f"pair_style {first}", f"pair_coeff * * {elements}"]
    names = [style.split()[0] for style in (first, second)]
    if names[0] == names[1]:
        names = [f"{name} {k}" for k, name in enumerate(names, 1)]
    coefficients = [f"pair_coeff * * {name} {elements}" for name in names]
    return [f"pair_style hybrid/overlay {first} {second}", *coefficients, *list_commands(second)]


def plan(chain: Chain, p: Protocol) -> list[tuple[Any, ...]]:
    """Pieces of a chain, rows of :data:`PLAN`; pressures in bar."""
    rows: list[tuple[Any, ...]] = []
    most = max(1, round(p.checkpoint_ps * 1e3 / chain.dt))
    for number, stage in enumerate(chain.stages):
        for first in range(0, stage.steps, most):
            steps = min(most, stage.steps - first)
            ends = (first / stage.steps, (first + steps) / stage.steps)
            t, pressure, strain = (
                [a + (b - a) * e for e in ends]
                for a, b in (stage.temperature, stage.pressure, stage.strain)
            )
            bars = [value * 1e4 for value in pressure]
            scale = (1.0 + strain[1]) / (1.0 + strain[0])
            rows.append(
                (len(rows), number, first, steps, *t, *bars, scale, np.mean(t), np.mean(strain),
                 stage.frames)
            )  # fmt: skip
    return rows


def _moves(chain: Chain, p: Protocol) -> list[str]:
    """The fixes of an ensemble; numbers come from the plan.

    That of strains has a name of its own: under the name that the quench had, LAMMPS would give it
    the barostat of the quench, whose last rate along the strained axis would drag it from then on.
    """
    temperature = f"temp ${{t0}} ${{t1}} {p.tdamp_fs * 1e-3}"
    if chain.ensemble == "nve":
        return ["fix move all nve"]
    if chain.ensemble == "isotropic":
        return [f"fix move all npt {temperature} iso ${{p0}} ${{p1}} {p.pdamp_fs * 1e-3}"]
    axis = "xyz"[chain.axis]
    deform = [f"fix strain all deform 1 {axis} scale ${{scale}} remap x"]
    if chain.ensemble == "nvt":
        return [f"fix move all nvt {temperature}", *deform]
    sides = " ".join(f"{a} 0 0 {p.pdamp_fs * 1e-3}" for a in "xyz" if a != axis)
    return [f"fix sides all npt {temperature} {sides}", *deform]


def chain_input(chain: Chain, p: Protocol, potential: Style, seed: int) -> str:
    """The input of every piece of a chain, for ``lmp -in``."""
    begin = ["read_data ../initial.data", *mass_commands()]
    if chain.name != "quench":  # its last structure, in a cube of the mean volume
        begin = ["read_restart ../quench/state.end"]
        begin += ["variable fit equal (${volume}/vol)^(1/3)"]
        begin += ["change_box all " + " ".join(f"{a} scale ${{fit}}" for a in "xyz") + " remap"]
    begin += [f"velocity all create {p.low} {seed} mom yes rot no"]
    lines = [f"# {chain.name}: {chain.picoseconds:g} ps, {chain.ensemble}", "units metal"]
    lines += [f"atom_style {potential.atom_style}", "atom_modify map array", "boundary p p p"]
    join = " &\n  "
    lines.append(f'if "${{piece}} == 0" then{join}' + join.join(f'"{x}"' for x in begin)
                 + f'{join}else "read_restart state.${{piece}}"')  # fmt: skip
    lines += ["reset_timestep ${first}"]  # steps, samples and frames count from the stage's start
    lines += [*potential.commands, f"timestep {chain.dt * 1e-3}", *_moves(chain, p)]
    every = max(1, round(p.sample_fs / chain.dt))
    names = ["$(step)", *(f"$({name}:%.10g)" for name in THERMO)]
    lines += [
        f"thermo {every}",
        f"thermo_style custom step {' '.join(THERMO)}",
        f'fix samples all print {every} "{" ".join(names)}" &',
        '  file samples.partial title "" screen no',
        'if "${frames} > 0" then &\n  "dump frames all custom ${frames} frames.partial '
        'id type xu yu zu vx vy vz" &\n  "dump_modify frames sort id format float %.9g first no"',
        "run ${steps}",
        "write_restart state.partial",
        "write_dump all custom end.partial id type xu yu zu vx vy vz modify sort id "
        "format float %.17g",
    ]
    return "\n".join(lines) + "\n"


RUN = """#!/usr/bin/env bash
# Runs the chains of this job, from where they are. LMP sets how LAMMPS is started.
set -euo pipefail
cd "$(dirname "$0")"
read -r -a lmp <<< "${{LMP:-{program}}}"
if command -v flock > /dev/null; then # also held by a LAMMPS whose script was killed
  exec 9> .at_work
  flock -n -E 75 9 || if [ $? -eq 75 ]; then
    echo "expected no other process at work in $PWD, got one: wait for its end" >&2
    exit 1
  fi
fi
# Mean volume of the glass at rest: the last half of the samples of the quench's last stage.
mean_volume() {{
  awk -v last="$(tail -n 1 plan.tsv | cut -f 2)" \\
    'NR > 1 && $2 == last {{ print "samples." $1 + 1 }}' plan.tsv | xargs cat |
    awk 'NF {{ v[++n] = $4 }} END {{ first = n - sprintf("%.0f", {share} * n) + 1
      for (k = first; k <= n; ++k) sum += v[k]; printf "%.12g", sum / (n - first + 1) }}'
}}
for chain in ${{CHAINS:-{chains}}}; do
  volume=0
  if [ "$chain" != quench ]; then
    if [ ! -e quench/state.end ]; then
      echo "$chain: expected the end of the quench first" >&2
      exit 1
    fi
    volume=$(cd quench && mean_volume)
  fi
  (
    cd "$chain"
    tail -n +2 plan.tsv | while read -r {columns}; do
      next=$((piece + 1))
      if [ -e "wall.$next" ]; then continue; fi
      rm -f ./*.partial
      echo "$(date -u +%FT%TZ) $chain: piece $next" >&2
      began=$(date +%s.%N)
      "${{lmp[@]}}" -in in.lammps -log log.partial -screen none \\
        -var piece "$piece" -var first "$first" -var steps "$steps" -var t0 "$t0" -var t1 "$t1" \\
        -var p0 "$p0" -var p1 "$p1" -var scale "$scale" -var frames "$frames" \\
        -var volume "$volume" < /dev/null 2> errors.partial || {{
        tail -q -n 5 errors.partial log.partial >&2 || true
        echo "$chain: expected LAMMPS to end piece $next, it failed: see $PWD" >&2
        exit 1
      }}
      echo "$began $(date +%s.%N)" > wall.partial
      if [ -e frames.partial ]; then mv frames.partial "frames.$next"; fi
      mv samples.partial "samples.$next"
      mv end.partial end
      mv state.partial "state.$next"
      mv wall.partial "wall.$next"  # from here on the piece is done
      rm -f "state.$((piece - 1))" errors.partial
    done
    cp "state.$(tail -n 1 plan.tsv | cut -f 1 | awk '{{print $1 + 1}}')" state.end
  )
done
"""


def write_inputs(
    folder: Path, atoms: Atoms, planned: dict[str, Chain], p: Protocol, potential: Style, seed: int
) -> None:
    """Write data, inputs, plans and ``run.sh`` of a job.

    Args:
        folder: of the job; everything goes into ``lammps/`` in it.
        atoms: initial structure.
        planned: chains by name.
        p: their protocol.
        potential: of :func:`style`; relative files are looked for in the folder of the chain.
        seed: of the velocities.
    """
    place = folder / "lammps"
    place.mkdir(parents=True, exist_ok=True)
    given: dict[str, Any] = {"specorder": list(ELEMENTS), "atom_style": potential.atom_style}
    with written_aside(place / "initial.data") as partial:
        write(partial, atoms, format="lammps-data", masses=False, **given)
    for name, chain in planned.items():
        (place / name).mkdir(exist_ok=True)
        write_text(place / name / "in.lammps", chain_input(chain, p, potential, seed))
        rows = ["\t".join(PLAN), *("\t".join(map(str, row)) for row in plan(chain, p))]
        write_text(place / name / "plan.tsv", "\n".join(rows) + "\n")
    columns = " ".join(PLAN)
    text = RUN.format(
        columns=columns, program=potential.program, chains=" ".join(planned), share=SHARE
    )
    write_text(place / "run.sh", text)

"""The command ``d3torch glass``: runs, analyses and reports of the silicate glass study.

This file, ``dispersion.py`` and ``potentials.py`` join the study with d3torch; the rest of it knows
no dispersion. What draws and analyses is imported by the commands that need it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch
from tqdm import tqdm

from d3torch.cli.console import complain
from d3torch.files import check_output
from d3torch.integrations.ase import resolve_device
from d3torch.recognise import dispersion_in_file

from . import lammps_route as route
from .dispersion import (
    add_dispersion,
    chosen_calculator,
    recorded,
    recorded_device,
    settle_dispersion,
)
from .facts import ELEMENTS
from .files import write_json, write_text
from .jobs import initial, run_job, write_manifest
from .planning import add_protocol, planned_jobs
from .potentials import MODELS, refuse_second_dispersion
from .predicting import add_predict, one_structure
from .protocol import chains
from .slurm import slurm_script, without_slurm
from .static import StaticJob, route_of, run_static

ROUTES = ("dynamics", "static")
D3 = ("none", "d3torch", "d3torch-abc", "torch-dftd", "lammps")


def _add_run(commands: Any) -> None:
    """``run`` in ASE, and ``lammps``, which writes the same jobs as inputs."""
    add = commands.add_parser("run", help="melt, quench and measure glasses", allow_abbrev=False)
    add.set_defaults(run=run_run)
    _add_jobs(add, MODELS)
    add.add_argument("--device", default="cpu", metavar="NAME", help="(default: cpu)")
    add.add_argument("--route", choices=ROUTES, default="dynamics", help="(default: dynamics)")
    add.add_argument(
        "--start",
        type=float,
        nargs="+",
        default=[0.0],
        metavar="PERCENT",
        help="static: density of the first structure above experiment (default: 0)",
    )
    add.add_argument("--chains", nargs="+", default=[], metavar="NAME", help="default: all")
    add.add_argument("--job", type=int, metavar="K", help="run only the K-th job, from 0")
    add.add_argument("--list", action="store_true", help="list the jobs and end")
    add.add_argument("--slurm", type=Path, metavar="FILE", help="write a job array and end")
    add = commands.add_parser("lammps", help="inputs for the same jobs", allow_abbrev=False)
    add.set_defaults(run=run_lammps)
    _add_jobs(add, "pmmcs, a DeePMD model, or a MACE model made for ML-IAP (.pt)", static=False)


def _add_jobs(add: argparse.ArgumentParser, models: str, static: bool = True) -> None:
    add.add_argument("folder", type=Path, help="of the study; what is there is continued")
    add.add_argument("--model", required=True, metavar="MODEL", help=models)
    add.add_argument("--d3", choices=D3, nargs="+", default=["none"], help="(default: none)")
    add_dispersion(add)
    add.add_argument("--composition", nargs="+", default=["all"], metavar="NAME", help="or all")
    add.add_argument("--seed", type=int, nargs="+", default=[1], metavar="N", help="from 1")
    add.add_argument("--atoms", type=int, default=1500, metavar="N", help="(default: 1500)")
    add_protocol(add, static)


def _add_results(commands: Any) -> None:
    add = commands.add_parser("analyse", help="results of jobs that ran", allow_abbrev=False)
    add.set_defaults(run=run_analyse)
    add.add_argument("folder", type=Path, help="of the study")
    add = commands.add_parser("report", help="one page about a study", allow_abbrev=False)
    add.set_defaults(run=run_report)
    add.add_argument("folder", type=Path, help="of the study, analysed")
    add.add_argument("--output", type=Path, metavar="FILE", help="default: FOLDER/report.html")
    add.add_argument("--title", default="Silicate glasses with and without dispersion")
    add.add_argument("--note", default="", help="a sentence under the title")


def _add_timing(commands: Any) -> None:
    add = commands.add_parser("timing", help="cost of a step by backend", allow_abbrev=False)
    add.set_defaults(run=run_timing)
    add.add_argument("structure", help="a file of ASE")
    add.add_argument("--model", required=True, metavar="MODEL", help="as of run")
    add.add_argument(
        "--d3", choices=D3, nargs="+", default=list(D3[:2]), help="the first counts as 1"
    )
    add_dispersion(add)
    add.add_argument("--device", default="cpu", metavar="NAME")
    add.add_argument("--steps", type=int, default=20, metavar="N", help="of each (default: 20)")
    add.add_argument("--dt", type=float, default=1.0, metavar="FS", help="(default: 1)")
    add.add_argument("--output", type=Path, metavar="FILE", help="JSON; timing.json is reported")


def add_glass(commands: Any) -> None:
    """The command and its own commands."""
    add = commands.add_parser("glass", help="the silicate glass study", allow_abbrev=False)
    parts = add.add_subparsers(metavar="PART", required=True)
    _add_run(parts)
    _add_results(parts)
    _add_timing(parts)
    add_predict(parts)


def _steps(job: Any, only: Sequence[str] | None) -> int | None:
    """Steps of a job of dynamics, or of some of its chains; of relaxations nobody knows."""
    if isinstance(job, StaticJob):
        return None
    planned = chains(job.protocol)
    chosen = {"quench", *only} if only else set(planned)
    return sum(chain.steps for name, chain in planned.items() if name in chosen)


def _run_one(job: Any, args: argparse.Namespace) -> int:
    """Run a job of either route; 1 if it failed."""
    silent, total = not sys.stderr.isatty(), _steps(job, args.chains)
    with tqdm(total=total, desc=job.name, unit=" steps", disable=silent) as bar:

        def tell(steps: int, name: str) -> None:
            bar.set_postfix_str(name, refresh=False)
            bar.update(steps)

        try:
            extra = {**recorded(job, args), **recorded_device(args.device)}
            one = chosen_calculator(job.model, job.d3, args)
            if isinstance(job, StaticJob):
                run_static(job, args.folder, one, tell, extra)
            else:
                run_job(job, args.folder, one, tell, args.chains, extra)
        except (ValueError, RuntimeError, OSError) as error:
            complain(error, job.name)
            return 1
    return 0


def run_run(args: argparse.Namespace) -> int:
    """``d3torch glass run``; the exit code."""
    try:
        settle_dispersion(args)
        if args.slurm is not None and (args.list or args.job is not None):
            raise ValueError("expected --slurm without --list and --job, which it gives, got both")
        jobs = planned_jobs(args)
        if args.job is not None:
            if not 0 <= args.job < len(jobs):
                raise ValueError(f"expected a job from 0 to {len(jobs) - 1}, got {args.job}")
            jobs = [jobs[args.job]]
    except (TypeError, ValueError, OSError) as error:
        complain(error)
        return 2
    if args.list:
        print("\n".join(f"{k} {job.name}" for k, job in enumerate(jobs)))
        return 0
    try:
        if args.slurm is not None:
            write_text(args.slurm, slurm_script(without_slurm(args.words[2:]), len(jobs)))
            return 0
        resolve_device(args.device, None)
        for model, d3 in dict.fromkeys((job.model, job.d3) for job in jobs):
            chosen_calculator(model, d3, args)  # refused once, if at all
    except (ValueError, RuntimeError, OSError) as error:
        complain(error)
        return 2
    return 1 if sum([_run_one(job, args) for job in jobs]) else 0


def _write_lammps(job: Any, args: argparse.Namespace) -> Path:
    """Inputs of one job, with the file of d3torch if that is wanted."""
    model = job.model if job.model == "pmmcs" else str(Path(job.model).resolve())
    if Path(model).suffix == ".pt":
        refuse_second_dispersion(dispersion_in_file(model), job.model, job.d3)
    potential = route.style(model, job.d3, args.xc, args.d3_cutoff)
    folder: Path = args.folder / job.name
    folder.mkdir(parents=True, exist_ok=True)
    extra = {**recorded(job, args), "engine": "LAMMPS"}
    write_manifest(job, folder, extra)
    atoms = initial(job, folder)
    planned = chains(job.protocol)
    route.write_inputs(folder, atoms, planned, job.protocol, potential, job.seed)
    if potential.loads_d3:
        from d3torch.integrations.lammps import D3MLIAP

        D3MLIAP(ELEMENTS, args.settings).save(folder / "lammps" / route.D3_FILE)
    return folder / "lammps" / "run.sh"


def run_lammps(args: argparse.Namespace) -> int:
    """``d3torch glass lammps``; the exit code."""
    try:
        settle_dispersion(args)
        if args.d3_preset is not None:
            raise ValueError(f"expected --d3-cutoff for LAMMPS, got --d3-preset {args.d3_preset}")
        if args.model != "pmmcs" and not Path(args.model).is_file():
            raise ValueError(f"expected pmmcs or a file as model, got {args.model!r}")
        for job in planned_jobs(args):
            print("bash", _write_lammps(job, args))
    except (TypeError, ValueError, OSError) as error:
        complain(error)
        return 2
    return 0


def run_analyse(args: argparse.Namespace) -> int:
    """``d3torch glass analyse``; the exit code."""
    from .analyse import analyse_job
    from .static_analysis import analyse_static

    failed = 0
    folders = sorted(path.parent for path in args.folder.glob("*/manifest.json"))
    if not folders:
        complain(f"expected jobs of d3torch glass run in {args.folder}, got none")
        return 2
    for folder in folders:
        try:
            analyse = analyse_static if route_of(folder) == "static" else analyse_job
            found = analyse(folder)
        except (ValueError, OSError, BadZipFile) as error:
            complain(error, folder.name)
            failed += 1
            continue
        except (KeyError, TypeError) as error:
            complain(ValueError(f"expected a manifest of d3torch glass, got another: {error!r}"))
            failed += 1
            continue
        density = found["density"]
        missing = ", ".join(found["missing"]) or "nothing"
        print(f"{folder.name}: density {density['value']:.4f} g/cm^3, missing: {missing}")
    return 1 if failed else 0


def run_report(args: argparse.Namespace) -> int:
    """``d3torch glass report``; the exit code."""
    from .report import write_report

    output = args.output or args.folder / "report.html"
    try:
        write_report(args.folder, output, args.title, args.note)
    except (ValueError, OSError) as error:
        complain(error)
        return 1
    except (KeyError, TypeError) as error:
        complain(f"expected results of d3torch glass analyse, got others: {error!r}")
        return 1
    print(output)
    return 0


def run_timing(args: argparse.Namespace) -> int:
    """``d3torch glass timing``; the exit code."""
    from .timing import rates

    try:
        if args.steps < 1 or not args.dt > 0:
            raise ValueError(f"expected --steps and --dt above 0, got {args.steps}, {args.dt}")
        if args.output is not None:
            check_output(args.output, overwrite=True)
        settle_dispersion(args)
        calculators = {d3: chosen_calculator(args.model, d3, args) for d3 in args.d3}
        conditions = (
            f"model {args.model}, D3 to {args.d3_cutoff:.2f} A, device {args.device}, "
            f"torch on {torch.get_num_threads()} threads, median of {args.steps} NPT steps in ASE"
        )
        atoms = one_structure(args.structure)
        found = rates(atoms, calculators, args.steps, args.dt, conditions)
    except (TypeError, ValueError, RuntimeError, OSError) as error:
        complain(error)
        return 1
    for name, t in found["backends"].items():
        print(
            f"{name:12} {t['ms_per_step']:10.2f} ms/step {t['ps_per_hour']:9.2f} ps/h"
            f" {t['relative']:7.2f}"
        )
    if args.output is not None:
        write_json(args.output, found)
    return 0

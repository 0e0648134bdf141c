"""Measure what the programs that are here compute, and say why it differs.

``python -m benchmarks.agreement`` runs every program that can be imported (``dftd3``, the original,
on the PATH) and keeps its answers in a file, beside those that other runs put there, for instance
with another Python; then it writes the tables from all that the file has.
"""

from __future__ import annotations

import argparse
import json
import platform
import warnings
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.agreement import report
from benchmarks.agreement.programs import PROGRAMS, Program, missing, versions
from benchmarks.agreement.question import Question, Refusal
from benchmarks.agreement.structures import STRUCTURES

ROOT = Path(__file__).parents[2]
STORE = ROOT / "tests" / "data" / "agreement.json"


def answers(program: Program, asked: Question) -> dict[str, Any]:
    """What a program answers for each structure: energy and forces, or why it does not."""
    found: dict[str, Any] = {}
    for name, make in STRUCTURES.items():
        try:
            answer = program.run(make(), asked)
        except Refusal as reason:
            found[name] = {"refused": str(reason)}
            continue
        rows = np.asarray(answer.forces).tolist()
        forces = [[float(f"{value:.13g}") for value in row] for row in rows]
        found[name] = {"energy": answer.energy, "forces": forces}
    return found


def measured(program: Program, asked: Question) -> dict[str, Any]:
    """The answers of a program, with all that tells where they come from."""
    return {
        "versions": versions(program),
        "settings": program.settings,
        "asked": asked._asdict(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": date.today().isoformat(),
        "answers": answers(program, asked),
    }


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", nargs="*", choices=PROGRAMS, default=list(PROGRAMS))
    parser.add_argument("--xc", default="pbe")
    parser.add_argument("--variant", choices=("bj", "bjm", "zero", "zerom"), default="bj")
    parser.add_argument("--three-body", action="store_true")
    parser.add_argument("--store", type=Path, default=STORE, help="answers, read and written")
    parser.add_argument("--tables", type=Path, help="where the tables of all steps go")
    parser.add_argument("--page", type=Path, help="a page with a place for the summary")
    args = parser.parse_args()
    if (args.xc, args.variant, args.three_body) != ("pbe", "bj", False) and args.store == STORE:
        parser.error("expected --store FILE for another D3 than PBE-D3(BJ), got none")
    if args.variant != "bj" or args.three_body:
        args.programs = [report.ORACLE, *(n for n in args.programs if n != report.ORACLE)]
    return args


def main() -> None:
    args = parsed()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    asked = Question(args.xc, args.variant, args.three_body)
    store = json.loads(args.store.read_text()) if args.store.exists() else {}
    for name in args.programs:
        if lacking := missing(PROGRAMS[name]):
            kept = "its stored answers are kept" if name in store else "left out"
            print(f"{name}: no {', '.join(lacking)}; {kept}", flush=True)
            continue
        print(name, flush=True)
        store[name] = measured(PROGRAMS[name], asked)
    store = {name: store[name] for name in PROGRAMS if name in store}
    text = json.dumps(store, indent=1, allow_nan=True)
    args.store.write_text(report.dense(text) + "\n")
    report.write(store, args.tables, args.page)


if __name__ == "__main__":
    main()

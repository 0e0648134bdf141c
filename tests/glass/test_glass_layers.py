"""Which files of the glass study know d3torch: those of its command and its GPU, and no others."""

from __future__ import annotations

import re
from pathlib import Path

import d3torch_glass

COMMAND = {"batches.py", "cli.py", "dispersion.py", "potentials.py", "predicting.py"}


def test_the_study_takes_any_calculator_of_ase() -> None:
    knows = set()
    for path in Path(d3torch_glass.__path__[0]).glob("*.py"):
        text = path.read_text(encoding="utf-8")
        if re.search(r"^\s*(from|import) +(d3torch|torch)\b(?!_glass)", text, re.M):
            knows.add(path.name)
        if path.name not in COMMAND:
            assert not re.search(r"^\s*from \.(cli|dispersion|potentials) import", text, re.M), (
                path.name
            )
    assert knows == COMMAND

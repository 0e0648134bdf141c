"""How far a distilled potential is from its teacher in the glasses that it made.

Usage: python studies/glass/distil/against_teacher.py MODEL.pb LABELS.extxyz STUDY/teacher.json

In the environment of train.py. LABELS are those of frames.py, labelled by the teacher. Pressures
are those of the distilled potential less those of its teacher.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import ase.io
from train import errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("output", type=Path)
    args = parser.parse_args()
    found = errors(args.model, ase.io.read(args.labels, ":"))
    found.pop("all")
    args.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()

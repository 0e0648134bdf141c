"""Remake the tables and the figure of docs/glass_results.md from the data beside this script.

Usage: python studies/glass/results/remake.py [FOLDER...]. Folders of runs are first collected into
the data, in an environment that has d3torch and vitrum; what the data has of others stays.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from page_tables import TABLES

HERE = Path(__file__).parent
DATA = HERE / "data.json"
PAGE = HERE.parents[2] / "docs" / "glass_results.md"
FIGURE = HERE.parents[2] / "docs" / "glass_results.png"


def filled(page: str, data: Any) -> str:
    """The page with every table made anew between its marks."""
    for name, make in TABLES.items():
        mark = re.compile(f"(<!-- {name} -->\n).*?(<!-- end -->)", re.S)
        if len(mark.findall(page)) != 1:
            raise ValueError(f"expected one place for the table {name}, got {page[:40]!r}...")
        page = mark.sub(lambda m, make=make: f"{m[1]}{make(data)}\n{m[2]}", page)
    return page


def main() -> None:
    folders = [Path(word) for word in sys.argv[1:]]
    for folder in folders:
        if not folder.is_dir():
            raise SystemExit(f"remake.py: expected a folder of runs, got {folder}")
    if folders:
        from collect import collect

        from d3torch_glass.files import one_sentence

        with one_sentence():
            collect(folders)
    data = json.loads(DATA.read_text(encoding="utf-8"))
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), data), encoding="utf-8")
    from drawing import draw

    draw(data, FIGURE)


if __name__ == "__main__":
    main()

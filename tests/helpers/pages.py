"""Pages of the documentation whose code runs, and whose output is what it prints.

Of a page, blocks ``python`` run one after the other in one namespace; a block ``text`` right behind
one is what it prints. In a block ``console``, lines that begin with ``$`` are commands, and the
others what they print. Of a notebook, cells run and have their outputs. All of a page runs in one
folder. ``python tests/helpers/pages.py docs/PAGE...`` writes what is printed into the pages.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from d3torch.cli import main as d3torch_command

BLOCK = re.compile(r"^```(python|console)\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.M | re.S)

NUMBER = re.compile(r"(?<![\w.])[-+]?\d+\.\d*(?:e[-+]?\d+)?|(?<![\w.])[-+]?\d+e[-+]?\d+")

TIMES = re.compile(r"[\d.]+ ?(?:s|ms|us)\b")
"""What a page says of times is not compared."""


class Shown(NamedTuple):
    """Output of a block: as it stands on the page, and as it was printed."""

    code: str
    on_page: str
    printed: str


def program_path() -> str:
    """Where blocks of a shell find programs: beside this Python first."""
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def _command(line: str) -> str:
    """What a command prints, stderr too; that of d3torch runs in this process."""
    words = shlex.split(line.replace("\\\n", " "))
    if words[0] == "d3torch":
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            d3torch_command(words[1:])
        return out.getvalue()
    given = {**os.environ, "PATH": program_path(), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        ["bash", "-c", line], env=given, text=True, check=True, stdout=-1, stderr=-2
    ).stdout


def _console(text: str) -> str:
    """The block again, with what its commands print now."""
    commands = re.findall(r"^\$ (?:.*\\\n)*.*\n", text, flags=re.MULTILINE)
    shown = [line + _command(line[2:].rstrip("\n")).rstrip() for line in commands]
    return "".join(f"{each.rstrip()}\n" for each in shown)


def _python(code: str, names: dict[str, Any], page: str) -> str:
    """What a block prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, page, "exec"), names)
    return out.getvalue()


@contextlib.contextmanager
def _folder(given: Path | None = None) -> Iterator[None]:
    """The folder given or one of its own, in which warnings of others are not shown."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as own, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.chdir(given or own)
        try:
            yield
        finally:
            os.chdir(before)


def run(page: Path, folder: Path | None = None) -> list[Shown]:
    """Run a page, in a folder that stays if one is given; what its blocks show and print."""
    names: dict[str, Any] = {"__name__": page.stem}
    with _folder(folder):
        if page.suffix == ".ipynb":
            cells = json.loads(page.read_text(encoding="utf-8"))["cells"]
            return [_cell(cell, names) for cell in cells if cell["cell_type"] == "code"]
        text = page.read_text(encoding="utf-8")
        return [_block(found, names, page.name) for found in BLOCK.finditer(text)]


def _block(found: re.Match[str], names: dict[str, Any], page: str) -> Shown:
    language, code, output = found.groups()
    if language == "console":
        return Shown(code, code, _console(code))
    return Shown(code, output or "", _python(code, names, page))


def _cell(cell: dict[str, Any], names: dict[str, Any]) -> Shown:
    """Run a cell, whose outputs become those of now."""
    code = "".join(cell["source"])
    before = "".join("".join(out.get("text", "")) for out in cell["outputs"])
    printed = _python(code, names, "notebook")
    cell["outputs"] = [_stream(printed)] if printed else []
    plt = sys.modules.get("matplotlib.pyplot")
    for number in plt.get_fignums() if plt else []:
        cell["outputs"].append(_picture(plt.figure(number)))
    if plt:
        plt.close("all")
    return Shown(code, before, printed)


def _stream(text: str) -> dict[str, Any]:
    return {"name": "stdout", "output_type": "stream", "text": text.splitlines(keepends=True)}


def _picture(figure: Any) -> dict[str, Any]:
    data = io.BytesIO()
    figure.savefig(data, dpi=110, bbox_inches="tight")
    picture = base64.b64encode(data.getvalue()).decode()
    metadata = {"alt": figure.get_label() or "figure"}
    return {"output_type": "display_data", "data": {"image/png": picture}, "metadata": metadata}


def words(text: str) -> str:
    """Text without its numbers and times, with single spaces, to compare."""
    text = NUMBER.sub("#", TIMES.sub("TIME", text))
    return re.sub(r"-{3,}", "---", re.sub(r"\s+", " ", text)).strip()


def numbers(text: str) -> list[tuple[float, float]]:
    """Numbers with a point or exponent, and two units of the last digit of each."""
    found = NUMBER.findall(TIMES.sub("", text))
    return [(float(x), 2 * _last_digit(x)) for x in found]


def _last_digit(number: str) -> float:
    mantissa, _, exponent = number.partition("e")
    decimals = len(mantissa.partition(".")[2])
    return float(10.0 ** (int(exponent or 0) - decimals))


def rewrite(page: Path) -> None:
    """Write what is printed now into a page."""
    if page.suffix == ".ipynb":
        names: dict[str, Any] = {}
        book = json.loads(page.read_text(encoding="utf-8"))
        with _folder():
            for cell in (cell for cell in book["cells"] if cell["cell_type"] == "code"):
                _cell(cell, names)
        page.write_text(json.dumps(book, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return
    shown = iter(run(page))

    def again(_: re.Match[str]) -> str:
        block = next(shown)
        if block.code.startswith("$ "):
            return f"```console\n{block.printed}```\n"
        output = f"\n```text\n{block.printed}```\n" if block.printed else ""
        return f"```python\n{block.code}```\n{output}"

    page.write_text(BLOCK.sub(again, page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        rewrite(Path(name).resolve())

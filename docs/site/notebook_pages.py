"""Notebooks as pages: what they hold is shown as it is, nothing runs while building.

myst-nb does more, and brings thirty packages for it.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from myst_parser.parsers.sphinx_ import MystParser

PICTURES = "_notebook"
"""Folder, beside the pages, of the pictures that cells made."""


def fenced(language: str, text: str) -> str:
    """A block of code or of output."""
    return f"```{language}\n{text.rstrip()}\n```\n"


def output(found: dict[str, Any], picture: Path) -> str:
    """What a cell printed or drew, as text of a page."""
    if found["output_type"] == "stream":
        return fenced("text", "".join(found["text"]))
    data = found.get("data", {})
    if "image/png" in data:
        picture.parent.mkdir(exist_ok=True)
        picture.write_bytes(base64.b64decode(data["image/png"]))
        return (
            f"![{found['metadata'].get('alt', 'figure')}]({picture.parent.name}/{picture.name})\n"
        )
    return fenced("text", "".join(data.get("text/plain", "")))


def page(text: str, folder: Path, name: str) -> str:
    """The text of a page, of a notebook."""
    parts = []
    for number, cell in enumerate(json.loads(text)["cells"]):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source + "\n")
            continue
        parts.append(fenced("python", source))
        for k, found in enumerate(cell["outputs"]):
            parts.append(output(found, folder / PICTURES / f"{name}-{number}-{k}.png"))
    return "\n".join(parts)


class NotebookParser(MystParser):  # type: ignore[misc]
    """Reads a notebook as the page that it makes."""

    supported = ("ipynb",)

    def parse(self, inputstring: str, document: Any) -> None:
        """Parse the page."""
        source = Path(document["source"])
        super().parse(page(inputstring, source.parent, source.stem), document)


def setup(app: Any) -> dict[str, bool]:
    """Register the file type."""
    app.add_source_suffix(".ipynb", "ipynb")
    app.add_source_parser(NotebookParser)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

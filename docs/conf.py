"""The documentation site: built by scripts/docs.sh, from the pages of this folder and docstrings.

The address of the repository, if REPOSITORY names it, is where links to files of it lead; without
one these files are copied to the site. Nothing is fetched while building or reading.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE / "site")]

from pygments.lexers.special import TextLexer  # noqa: E402

import d3torch  # noqa: E402

# ---- what is built ----

project = "d3torch"
author = "the d3torch developers"
copyright = author
release = version = d3torch.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "notebook_pages",
    "mathml",
    "sphinx_copybutton",
]
exclude_patterns = ["glass_example", "site"]
nitpicky = True

# ---- pages ----

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4
myst_links_external_new_tab = False
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True

REPOSITORY = os.environ.get("REPOSITORY", "").rstrip("/")
HOMES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "d3torch/data/README.md": "data.md",
}
"""Pages of the site that show files from elsewhere in the repository."""

INCLUDED = re.compile(r"```\{include\} \.\./(\S+)\n```\n")


def link_to(path: str, anchor: str, text: str) -> str:
    """A link to a file of the repository, from a page of the site."""
    if path in HOMES:
        return f"[{text}]({HOMES[path]}{'' if HOMES[path] == 'index.md' else anchor})"
    if path.startswith("docs/"):
        return f"[{text}]({path.removeprefix('docs/')}{anchor})"
    if REPOSITORY:
        return f"[{text}]({REPOSITORY}/blob/main/{path}{anchor})"
    plain = text.replace("`", "")
    return f"{{download}}`{plain} <../{path}>`" if (ROOT / path).is_file() else text


def with_links_of_the_site(text: str, folder: Path) -> str:
    """The text of a file in a folder, its links out of docs/ leading where the site has them."""

    def moved(found: re.Match[str]) -> str:
        text, path, anchor = found[1], found[2], found[3] or ""
        inside = os.path.relpath(folder / path, ROOT)
        if folder == HERE and inside.startswith("docs/"):
            return found[0]
        return link_to(inside, anchor, text)

    link = r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]+)?\)"
    return re.sub(link, moved, text)


def read_source(app: Any, name: str, source: list[str]) -> None:
    """Put in the files that a page shows, and lead links out of docs/ to where they are here."""

    def shown(found: re.Match[str]) -> str:
        file = ROOT / found[1]
        app.env.note_dependency(str(file))
        return with_links_of_the_site(file.read_text(encoding="utf-8"), file.parent)

    source[0] = INCLUDED.sub(shown, with_links_of_the_site(source[0], HERE))
    if REPOSITORY:
        source[0] = source[0].replace("git clone REPOSITORY ", f"git clone {REPOSITORY} ")
    if name == "index":  # patterns of pages that are not there are no warning
        there = [page.name for page in HERE.iterdir()]
        source[0] = re.sub(
            r"^(\w+)\*\n",
            lambda found: found[0] if any(page.startswith(found[1]) for page in there) else "",
            source[0],
            flags=re.MULTILINE,
        )


# ---- the API, from the docstrings ----

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}
autodoc_preserve_defaults = True
napoleon_use_ivar = True
napoleon_use_rtype = False
nitpick_ignore_regex = [
    # types whose own documentation is elsewhere, since no other site is asked
    (r"py:.*", r"(torch|torch_sim|numpy|np|ase|mace|warnings|pathlib|collections\.abc|typing)\..*"),
    # what is behind the public names: names of the same module, and these modules
    (r"py:.*", r"\w+"),
    (r"py:.*", r"d3torch\.(state|structure|checks|left_out)\..*"),
    (r"py:.*", r"d3torch\.integrations\.(ready|lammps\.sums|lammps\.unified)\..*"),
]


# ---- how it looks ----

html_theme = "furo"
html_math_renderer = "mathml"
html_title = f"d3torch {release}"
html_static_path = ["site/static"]
html_css_files = ["d3torch.css"]
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
html_theme_options: dict[str, Any] = {"navigation_with_keys": False}
if REPOSITORY:
    html_theme_options |= {
        "source_repository": REPOSITORY,
        "source_branch": "main",
        "source_directory": "docs/",
    }


def setup(app: Any) -> None:
    """Connect what is above; inputs of LAMMPS have no colours."""
    app.add_lexer("lammps", TextLexer)
    app.connect("source-read", read_source)

"""Gives d3torch-glass the version of d3torch, which is written in ``d3torch/__init__.py`` alone."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent


def version() -> str:
    """Version of the checkout around this folder; in an sdist, which has none, that of the sdist.

    Raises:
        FileNotFoundError: if this folder is in neither of the two.
    """
    checkout, sdist = HERE.parents[1] / "d3torch" / "__init__.py", HERE / "PKG-INFO"
    text = (sdist if sdist.exists() else checkout).read_text(encoding="utf-8")
    found = re.search(r'^(?:Version: |__version__ = ")([^"\s]+)', text, re.M)
    assert found is not None
    return found[1]


class Build(build_py):
    """The package, without modules that an earlier build left and that are no longer there."""

    def run(self) -> None:
        """Build."""
        if not self.editable_mode:
            shutil.rmtree(Path(self.build_lib) / "d3torch_glass", ignore_errors=True)
        super().run()


setup(version=version(), cmdclass={"build_py": Build})

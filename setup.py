"""Build of the C++ library: torch's cpp_extension, a plain library without Python symbols.

With CUDA kernels where torch has CUDA and nvcc is there. ``D3TORCH_CUDA=0`` or ``1`` at build time
overrides that, ``TORCH_CUDA_ARCH_LIST`` the architectures, which are those of torch itself and do
not depend on the GPU of the machine that builds.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

import torch
from setuptools import setup


def find_nvcc() -> str | None:
    """Path of nvcc: of CUDA_HOME where that is set, or on the path."""
    home = os.environ.get("CUDA_HOME")
    return shutil.which("nvcc", path=f"{home}/bin" if home else None)


def find_cuda() -> None:
    """Set CUDA_HOME to where nvcc really is: torch takes a link or a wrapper for the place."""
    nvcc = find_nvcc()
    if nvcc and "CUDA_HOME" not in os.environ:
        command = [nvcc, "--dryrun", "-x", "cu", os.devnull]
        said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
        top = re.search(r"^#\$ TOP=(.*)$", said, re.M)
        if top:
            os.environ["CUDA_HOME"] = os.path.realpath(top[1])


if torch.version.cuda:
    find_cuda()
from torch.utils.cpp_extension import BuildExtension, CppExtension, CUDAExtension  # noqa: E402

WHAT_TORCH = """\"\"\"Written by setup.py: the torch of the build, whether it has CUDA.\"\"\"

TORCH_VERSION = "{}"
CUDA = {}
"""
# Approximate division and root cost float32 a bit or two of 24; float64 is not concerned.
NVCC_FLAGS = ["-O3", "-ftz=true", "-prec-div=false", "-prec-sqrt=false", "--expt-relaxed-constexpr"]


def with_cuda(setting: str, torch_cuda: str | None, nvcc: str | None) -> bool:
    """Whether to build CUDA kernels.

    Raises:
        SystemExit: if the setting is none of "", "0" and "1", or asks for what cannot be built.
    """
    if setting not in ("", "0", "1"):
        raise SystemExit(f"d3torch: expected D3TORCH_CUDA to be 0 or 1, got {setting!r}.")
    if setting == "1" and torch_cuda is None:
        raise SystemExit("d3torch: expected a torch with CUDA for D3TORCH_CUDA=1, got one without.")
    if setting == "1" and nvcc is None:
        raise SystemExit("d3torch: expected nvcc for D3TORCH_CUDA=1, found none.")
    return setting != "0" and torch_cuda is not None and nvcc is not None


def arch_list(flags: str) -> str:
    """TORCH_CUDA_ARCH_LIST of the architectures that torch was compiled for.

    ``"sm_80 sm_90 compute_90"`` gives ``"8.0;9.0+PTX"``.
    """
    found: dict[str, str] = {}
    for kind, major, minor in re.findall(r"\b(sm|compute)_(\d+)(\d[af]?)\b", flags):
        name = f"{major}.{minor}"
        found[name] = "+PTX" if kind == "compute" else found.get(name, "")
    return ";".join(name + ptx for name, ptx in found.items())


class Build(BuildExtension):
    """BuildExtension that records the torch it built with."""

    def run(self) -> None:
        super().run()
        library = Path(self.get_ext_fullpath("d3torch._C"))
        text = WHAT_TORCH.format(torch.__version__, CUDA)
        (library.parent / "_built_with.py").write_text(text)


def extension() -> CppExtension:
    """The library ``d3torch/_C.so``; OpenMP always, without it kernels run serially in silence."""
    rooms = [Path("csrc/engine"), Path("csrc/ops")]
    files = [path for room in rooms for path in room.rglob("*.*")]
    sources = {path for path in files if path.suffix in ((".cpp", ".cu") if CUDA else (".cpp",))}
    sources -= {Path("csrc/ops/no_cuda_ops.cpp" if CUDA else "csrc/ops/cuda_ops.cpp")}
    headers = {path for path in files if path.suffix in (".h", ".cuh")}
    flags = ["-O3", "-fopenmp", "-fno-math-errno", "-Wall", "-Wno-psabi"]
    return (CUDAExtension if CUDA else CppExtension)(
        "d3torch._C",
        sorted(map(str, sources)),
        include_dirs=[str(Path("csrc").resolve())],
        depends=sorted(map(str, headers)),
        extra_compile_args={"cxx": flags, **({"nvcc": NVCC_FLAGS} if CUDA else {})},
        extra_link_args=["-fopenmp", *(["-lmvec"] if platform.machine() == "x86_64" else [])],
        py_limited_api=True,
    )


if __name__ == "__main__":
    if platform.system() != "Linux":
        raise SystemExit(f"d3torch: expected Linux to build on, got {platform.system()}.")
    CUDA = with_cuda(os.environ.get("D3TORCH_CUDA", ""), torch.version.cuda, find_nvcc())
    if CUDA:
        os.environ.setdefault("TORCH_CUDA_ARCH_LIST", arch_list(torch._C._cuda_getArchFlags()))
        print(f"d3torch: building CUDA kernels for {os.environ['TORCH_CUDA_ARCH_LIST']}")
    else:
        why = f"torch {torch.__version__}, nvcc: {find_nvcc() or 'none'}"
        print(f"d3torch: building without CUDA kernels ({why})")
    setup(
        ext_modules=[extension()],
        cmdclass={"build_ext": Build.with_options(no_python_abi_suffix=True)},
        options={"bdist_wheel": {"py_limited_api": "cp310"}},
    )

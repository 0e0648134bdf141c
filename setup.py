"""Build of the C++ library: torch's cpp_extension, a plain library without Python symbols."""

from __future__ import annotations

import platform
from pathlib import Path

import torch
from setuptools import setup
from torch.utils.cpp_extension import BuildExtension, CppExtension

WHAT_TORCH = """\"\"\"Written by setup.py: the torch that the library was built with.\"\"\"

TORCH_VERSION = "{}"
"""


class Build(BuildExtension):
    """BuildExtension that also records the torch it built with, for the check at import."""

    def run(self) -> None:
        super().run()
        library = Path(self.get_ext_fullpath("d3torch._C"))
        (library.parent / "_built_with.py").write_text(WHAT_TORCH.format(torch.__version__))


def flags() -> list[str]:
    """Compiler flags: OpenMP always, since without it the kernels would run serially in silence."""
    return ["-O3", "-fopenmp", "-fno-math-errno", "-Wall", "-Wno-psabi"]


if platform.system() != "Linux":
    raise SystemExit(f"d3torch: expected Linux to build on, got {platform.system()}.")

setup(
    ext_modules=[
        CppExtension(
            "d3torch._C",
            sorted(map(str, Path("csrc").glob("*.cpp"))),
            depends=sorted(map(str, Path("csrc").glob("*.h"))),
            extra_compile_args={"cxx": flags()},
            extra_link_args=["-fopenmp", *(["-lmvec"] if platform.machine() == "x86_64" else [])],
            py_limited_api=True,
        )
    ],
    cmdclass={"build_ext": Build.with_options(no_python_abi_suffix=True)},
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
)

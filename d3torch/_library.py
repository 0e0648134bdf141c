"""Loads the C++ library that was built for the torch that runs.

``lib/`` holds the kernels once, which know no torch, and the ops in a folder for each torch:
``lib/torch-2.13/libd3torch.so``.
"""

from __future__ import annotations

from pathlib import Path

import torch

_LIBRARIES: list[torch.library.Library] = []
"""Kept: torch takes back what is registered by a library that is collected."""

_BUILD = "`pip install --no-build-isolation --no-cache-dir --force-reinstall --no-deps .`"


def _folder() -> Path:
    return Path(__file__).parent / "lib"


def _build_of(version: str, new_abi: bool) -> str:
    """Folder of the ops for a torch; its C++ ABI is that of C++11, or, up to 2.6, the older one."""
    minor = ".".join(version.split(".")[:2])
    return f"torch-{minor}" if new_abi else f"torch-{minor}-old-abi"


def builds() -> list[str]:
    """Names of the libraries, from the oldest torch: ``["torch-2.6-old-abi", "torch-2.7"]``."""
    found = [path.parent.name for path in _folder().glob("torch-*/libd3torch.so")]
    return sorted(found, key=lambda name: int(name.split("-")[1].split(".")[1]))


def library_path(version: str = torch.__version__) -> Path:
    """Library of the ops, which a C++ host loads with ``dlopen`` before a model that calls them.

    Args:
        version: of torch; by default that which runs.

    Raises:
        ImportError: if the library was not built, or not for this minor version of torch.
    """
    wanted = _build_of(version, torch.compiled_with_cxx11_abi())
    found = builds()
    if wanted in found:
        return _folder() / wanted / "libd3torch.so"
    if not found:
        raise ImportError(
            f"the C++ library of d3torch is not built, expected it in {_folder()}: "
            f"install with {_BUILD} where the sources are"
        )
    there = ", ".join(name.removeprefix("torch-") for name in found)
    raise ImportError(
        f"d3torch was built for torch {there}, but torch {version} is imported: install such a "
        f"torch, or build d3torch for this one with {_BUILD} where the sources are"
    )


def has_cuda() -> bool:
    """Whether there are CUDA kernels, which is not to say that there is a GPU."""
    return (_folder() / "libd3torch_cuda.so").is_file()


def load() -> None:
    """Register the ops ``torch.ops.d3torch.*``.

    Raises:
        ImportError: if the library was not built, or not for this minor version of torch.
    """
    torch.ops.load_library(library_path())  # type: ignore[no-untyped-call]
    _hear_signals()


def _hear_signals() -> None:
    """Let long kernels notice Ctrl-C: they call this op, and the interpreter its handlers."""
    library = torch.library.Library("d3torch", "IMPL")  # type: ignore[no-untyped-call]
    kernel = ("check_signals", lambda: None, "CompositeExplicitAutograd")
    library.impl(*kernel)  # type: ignore[no-untyped-call]
    _LIBRARIES.append(library)

"""Loads the C++ library, after a check that it fits the torch that runs."""

from __future__ import annotations

from pathlib import Path

import torch

_LIBRARIES: list[torch.library.Library] = []
"""Kept: torch takes back what is registered by a library that is collected."""


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def check_torch(built_with: str, running: str) -> None:
    """Raise ImportError if the two torch versions differ in their minor version."""
    if _minor(built_with) != _minor(running):
        raise ImportError(
            f"d3torch was built with torch {built_with}, but torch {running} is imported: "
            "reinstall d3torch with `pip install --no-build-isolation` against this torch"
        )


def has_cuda() -> bool:
    """Whether the library was built with CUDA kernels."""
    from ._built_with import CUDA

    return bool(CUDA)


def load() -> None:
    """Register the ops ``torch.ops.d3torch.*``.

    Raises:
        ImportError: if the library was not built, or with another minor version of torch.
    """
    library = Path(__file__).parent / "_C.so"
    try:
        from ._built_with import TORCH_VERSION
    except ImportError:
        TORCH_VERSION = ""
    if not TORCH_VERSION or not library.is_file():
        raise ImportError(
            f"the C++ library of d3torch is not built, expected {library}: "
            "install with `pip install --no-build-isolation .`"
        )
    check_torch(TORCH_VERSION, torch.__version__)
    torch.ops.load_library(library)  # type: ignore[no-untyped-call]
    _hear_signals()


def _hear_signals() -> None:
    """Let long kernels notice Ctrl-C: they call this op, and the interpreter its handlers."""
    library = torch.library.Library("d3torch", "IMPL")  # type: ignore[no-untyped-call]
    kernel = ("check_signals", lambda: None, "CompositeExplicitAutograd")
    library.impl(*kernel)  # type: ignore[no-untyped-call]
    _LIBRARIES.append(library)

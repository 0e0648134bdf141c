"""Loads the C++ library that was built for the torch that runs.

``lib/`` holds the kernels once, which know no torch, and the ops in a folder for each torch:
``lib/torch-2.13/libd3torch.so``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_LIBRARIES: list[torch.library.Library] = []
"""Kept: torch takes back what is registered by a library that is collected."""

_BUILD = "`pip install --no-build-isolation --no-cache-dir --force-reinstall --no-deps .`"


def _torch() -> Any:
    """torch, which ``d3torch --version`` does not wait for.

    Raises:
        ImportError: if it is not installed.
    """
    try:
        import torch
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
    else:
        if hasattr(torch, "__version__"):  # not a folder that an older one has left behind
            return torch
    raise ImportError("expected torch to be installed: run `pip install torch`", name="torch")


def _folder() -> Path:
    return Path(__file__).parent / "lib"


def _build_of(version: str, new_abi: bool) -> str:
    """Folder of the ops for a torch; its C++ ABI is that of C++11, or, up to 2.6, the older one."""
    minor = ".".join(version.split(".")[:2])
    return f"torch-{minor}" if new_abi else f"torch-{minor}-old-abi"


def _in_words(build: str) -> str:
    minor = build.removeprefix("torch-")
    return minor.removesuffix("-old-abi") + " with the older C++ ABI" * minor.endswith("-old-abi")


def builds() -> list[str]:
    """Names of the libraries, from the oldest torch: ``["torch-2.6-old-abi", "torch-2.7"]``."""
    found = [path.parent.name for path in _folder().glob("torch-*/libd3torch.so")]
    return sorted(found, key=lambda name: [int(digits) for digits in re.findall(r"\d+", name)])


def library_path(version: str | None = None) -> Path:
    """Library of the ops, which a C++ host loads with ``dlopen`` before a model that calls them.

    Args:
        version: of torch; by default that which runs.

    Raises:
        ImportError: if the library was not built, or not for this minor version of torch.
    """
    torch = _torch()
    version = version or str(torch.__version__)
    wanted = _build_of(version, torch.compiled_with_cxx11_abi())
    found = builds()
    if wanted in found:
        return _folder() / wanted / "libd3torch.so"
    if not found:
        raise ImportError(
            f"the C++ library of d3torch is not built, expected it in {_folder()}: "
            f"install with {_BUILD} where the sources are"
        )
    there = ", ".join(map(_in_words, found))
    newer = " with the newer one" if f"{wanted}-old-abi" in found else ""
    raise ImportError(
        f"d3torch was built for torch {there}, but torch {version}{newer} is imported: "
        "install such a torch or a newer d3torch, or build d3torch for this one with "
        f"{_BUILD} where the sources are"
    )


def has_cuda() -> bool:
    """Whether there are CUDA kernels, which is not to say that there is a GPU."""
    return (_folder() / "libd3torch_cuda.so").is_file()


def load() -> None:
    """Register the ops ``torch.ops.d3torch.*``.

    Raises:
        ImportError: if there is no torch, or no library for this minor version of it, or the loader
            of the system refuses it.
    """
    path = library_path()
    if not _LIBRARIES:
        try:
            _torch().ops.load_library(path)
        except OSError as error:  # of newer torches, which do not repeat what the loader said
            raise ImportError(
                f"{error.__cause__ or error}: the libraries of d3torch are damaged or of another "
                "build or torch; install it again with --force-reinstall"
            ) from None
        _hear_signals()


def _hear_signals() -> None:
    """Let long kernels notice Ctrl-C: they call this op, and the interpreter its handlers."""
    torch, kernel = _torch(), ("check_signals", "CompositeExplicitAutograd")
    library = torch.library.Library("d3torch", "IMPL")
    if not torch._C._dispatch_has_kernel_for_dispatch_key(f"d3torch::{kernel[0]}", kernel[1]):
        library.impl(kernel[0], lambda: None, kernel[1])  # else d3torch was imported before
    _LIBRARIES.append(library)

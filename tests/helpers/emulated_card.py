"""The emulated CUDA kernels under every op of d3torch that is called on CPU tensors.

For a rehearsal without a GPU of what is meant for one; ``D3TORCH_EMULATED_CUDA`` names the library
that ``scripts/checks/emulate_cuda.sh`` writes. Nothing that it gives is a result of a GPU.

    D3TORCH_EMULATED_CUDA=emulated.so python tests/helpers/emulated_card.py -m MODULE [ARGUMENT...]
"""

from __future__ import annotations

import os
import runpy
import sys
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

import d3torch  # noqa: F401

LIBRARY = os.environ.get("D3TORCH_EMULATED_CUDA", "")


class EmulatedCard(TorchDispatchMode):
    """Sends the ops of d3torch to their CUDA kernels, and counts them."""

    KEYS = torch._C.DispatchKeySet(torch._C.DispatchKey.CUDA)

    def __init__(self) -> None:
        if not LIBRARY:
            raise SystemExit("emulated_card: expected D3TORCH_EMULATED_CUDA, got none")
        torch.ops.load_library(LIBRARY)
        super().__init__()
        self.calls = 0
        self.has_device = hasattr(torch.ops.emulation, "to_device")  # with memory of its own
        if self.has_device and torch.version.cuda:  # whose own kernels would be called beside ours
            got = f"{torch.__version__}, with CUDA {torch.version.cuda}"
            raise SystemExit(f"emulated_card: expected a torch without CUDA, got {got}")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Result of an op."""
        if func.namespace != "d3torch":
            return func(*args, **(kwargs or {}))
        self.calls += 1
        if not self.has_device:
            return func.redispatch(self.KEYS, *args, **(kwargs or {}))
        host = torch.ops.emulation
        given = tree_map_only(torch.Tensor, lambda x: host.to_device(x, 0), (args, kwargs or {}))
        return tree_map_only(torch.Tensor, host.to_host, func(*given[0], **given[1]))


def main() -> None:
    """Run a module on the emulated card."""
    if len(sys.argv) < 3 or sys.argv[1] != "-m":
        raise SystemExit(f"emulated_card: expected -m MODULE, got {' '.join(sys.argv[1:])!r}")
    module, sys.argv = sys.argv[2], sys.argv[2:]
    sys.path[0] = os.getcwd()
    with EmulatedCard() as card:
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        finally:
            print(f"EMULATED: {card.calls} calls of ops ran CUDA kernels on the CPU", flush=True)


if __name__ == "__main__":
    main()

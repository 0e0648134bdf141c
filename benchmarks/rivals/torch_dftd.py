"""The adapter of torch-dftd, for every suite."""

from __future__ import annotations

from typing import Any

import torch


def torch_dftd(
    cutoff: float, cn_cutoff: float, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> Any:
    """Return its calculator of PBE-D3(BJ); cutoffs in A. It makes its list on the CPU."""
    from torch_dftd.torch_dftd3_calculator import TorchDFTD3Calculator

    return TorchDFTD3Calculator(
        damping="bj", xc="pbe", cutoff=cutoff, cnthr=cn_cutoff, dtype=dtype, device=device
    )

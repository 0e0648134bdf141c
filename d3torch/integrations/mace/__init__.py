"""D3 inside MACE models."""

from .mace_mp import mace_mp_d3
from .model import MACED3, check_model, has_dispersion, torchscript, with_head

__all__ = [
    "MACED3",
    "check_model",
    "has_dispersion",
    "mace_mp_d3",
    "torchscript",
    "with_head",
]

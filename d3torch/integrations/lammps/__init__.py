"""D3 for LAMMPS: through ML-IAP, alone or inside a MACE model, and for hosts of libtorch."""

from .unified import D3MLIAP, Unified

__all__ = ["D3MLIAP", "Unified"]

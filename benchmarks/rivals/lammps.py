"""LAMMPS's D3(BJ) as every suite asks for it."""

from __future__ import annotations


def d3_style(cutoff: float, cn_cutoff: float, name: str = "dispersion/d3") -> str:
    """Pair style of PBE-D3(BJ), LAMMPS's own or ``"d3torch"``, in the same words; cutoffs in A."""
    return f"{name} bj pbe {cutoff!r} {cn_cutoff!r}"

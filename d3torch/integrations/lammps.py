"""D3(BJ) for LAMMPS through the unified interface of ML-IAP, on any number of MPI ranks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from d3torch.model import D3BJ
from d3torch.parameters import DampingParameters
from d3torch.reference import SYMBOLS, atomic_numbers

try:  # there is none outside LAMMPS, where the object is made and pickled
    from lammps.mliap.mliap_unified_abc import MLIAPUnified
except (ImportError, OSError):
    MLIAPUnified = object

PAIRS_AT_ONCE = 1 << 22
"""Pairs that go through the ops together, which bounds what the ops need beside the list."""

_op = torch.ops.d3torch


class _Pairs(NamedTuple):
    """Directed pairs of owned atoms: r_ij (n, 3), A, indices (2, n), and the slices to take."""

    vectors: Tensor
    indices: Tensor
    slices: list[slice]


class D3MLIAP(MLIAPUnified):  # type: ignore[misc]
    r"""What ``pair_style mliap unified FILE.pt 0`` loads: D3(BJ) of the atoms of one MPI rank.

    .. math:: E_i = -\tfrac12 \sum_j C6_{ij} g_{ij}, \quad D_i = \frac{dE}{dCN_i}, \quad
        f_{ij} = \left[-\tfrac12 C6_{ij} g'_{ij} + D_i CN'_{ij}\right] \hat r_{ij}

    CN of ghost atoms come from their owners by one forward exchange of one column; D_i is then
    complete on the owner of i, and nothing has to be sent back. LAMMPS adds f_ij to atom i and
    takes it from j. A rank without atoms takes part in the exchange. Needs ``units metal`` (eV, A),
    the KOKKOS coupling of ML-IAP and its ``forward_exchange`` (LAMMPS of 22 July 2025 or later).
    Tested on a stand-in of that coupling, on the CPU; not yet in LAMMPS itself.

    Beside LAMMPS's own list this object holds 40 B a pair (indices and forces), and what
    ``PAIRS_AT_ONCE`` pairs need.

    Args:
        elements: symbols or atomic numbers, those of ``pair_coeff``.
        xc: functional, such as ``"pbe"`` (the default if damping is not given either).
        damping: explicit s6, s8, a1, a2 (a2 in bohr) instead of xc.
        cutoff: two-body cutoff, A; default 60 bohr.
        cn_cutoff: cutoff of the coordination number, A; default 40 bohr.
        width: width of the smooth switch to zero at the cutoff, A.
        reference: ``"2024"`` or ``"2010"``.
        dtype: torch.float64 or torch.float32, of the arithmetic.

    Raises:
        TypeError, ValueError: see :class:`d3torch.D3BJ`.

    Source: :class:`d3torch.D3BJ`; ML-IAP: https://docs.lammps.org/pair_mliap.html.
    """

    def __init__(
        self,
        elements: Sequence[int | str],
        xc: str | None = None,
        *,
        damping: DampingParameters | dict[str, float] | None = None,
        cutoff: float | None = None,
        cn_cutoff: float | None = None,
        width: float = 0.0,
        reference: str = "2024",
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__()
        self.model = D3BJ(
            elements,
            "pbe" if xc is None and damping is None else xc,
            damping=damping,
            cutoff=cutoff,
            cn_cutoff=cn_cutoff,
            width=width,
            reference=reference,
            dtype=dtype,
        )
        self.element_types = [SYMBOLS[z] for z in atomic_numbers(elements)]
        self.rcutfac = 0.5 * max(self.model.cutoff, self.model.cn_cutoff)  # LAMMPS doubles it
        self.ndescriptors = self.nparams = 1
        self.interface: Any = None  # LAMMPS puts itself here

    def compute_descriptors(self, data: Any) -> None:
        """Nothing: there are none."""

    def compute_gradients(self, data: Any) -> None:
        """Nothing: forces come from :meth:`compute_forces`."""

    def compute_forces(self, data: Any) -> None:
        """Fill energy, energies and pair forces of a rank, as LAMMPS asks at every step.

        Raises:
            RuntimeError: for a coupling without exchange. The other ranks would wait for this one
                after any error, so LAMMPS has to be run so that one failure ends all.
        """
        if not hasattr(data, "forward_exchange"):
            raise RuntimeError(
                "expected ML-IAP of KOKKOS with forward_exchange (LAMMPS of 22 July 2025 or later, "
                "run with -k on -sf kk), got a coupling without it"
            )
        species, pairs = self._read(data)
        model, n = self.model, len(species)
        cn = self._coordination_numbers(pairs, species)
        everywhere = cn.clone()
        data.forward_exchange(cn.view(n, 1), everywhere.view(n, 1), 1)
        energies, by_cn, forces = self._energies(pairs, species, everywhere)
        for part in pairs.slices:
            forces[part] += _op.coordination_number_backward(
                by_cn, pairs.vectors[part], pairs.indices[:, part], species, model.rcov,
                model.cn_cutoff,
            )  # fmt: skip
        self._write(data, energies, forces)

    def _read(self, data: Any) -> tuple[Tensor, _Pairs]:
        """Species of all atoms, ghosts included, and the pairs between those that have one."""
        n, n_pairs = data.ntotal, data.npairs
        elems = torch.as_tensor(data.elems) if n else torch.zeros(0)
        device = elems.device
        if device != self.model.rcov.device:
            self.model.to(device)
        species = elems.long()
        if n_pairs == 0:
            return species.clamp(min=0), _Pairs(
                self.model.rcov.new_zeros(0, 3), species.new_zeros(2, 0), []
            )
        if device.type != "cpu":
            torch.cuda.synchronize()  # LAMMPS writes r_ij on another stream
        vectors = torch.as_tensor(data.rij).to(self.model.rcov.dtype)
        indices = torch.stack([torch.as_tensor(data.pair_i), torch.as_tensor(data.pair_j)]).long()
        if bool((species < 0).any()):  # pairs with atoms of type NULL go out of reach
            absent = (species[indices] < 0).any(dim=0)
            vectors = vectors.masked_fill(absent[:, None], torch.inf)
        starts = range(0, n_pairs, PAIRS_AT_ONCE)
        slices = [slice(a, min(a + PAIRS_AT_ONCE, n_pairs)) for a in starts]
        return species.clamp(min=0), _Pairs(vectors, indices, slices)

    def _coordination_numbers(self, pairs: _Pairs, species: Tensor) -> Tensor:
        """Those of the owned atoms, 0 for ghosts, (n_total,)."""
        cn = self.model.rcov.new_zeros(len(species))
        for part in pairs.slices:
            cn += self.model.coordination_number(
                pairs.vectors[part], pairs.indices[:, part], species
            )
        return cn

    def _energies(
        self, pairs: _Pairs, species: Tensor, cn: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Energies and dE/dCN of the owned atoms, and the direct part of the pair forces.

        Each atom stands for itself as a centre, and once more, n further on, as a neighbour: so
        the op tells both halves of dE/dCN apart, and twice that of the centres is all of it.
        """
        model, n = self.model, len(species)
        twice, both = torch.cat([species, species]), torch.cat([cn, cn])
        shift = torch.tensor([[0], [n]], device=species.device)
        damping, tables = model.damping().detach(), model.tables()
        constants = (tables.r4r2, tables.cn_ref, tables.c6_ref, model.cutoff, model.width)
        energies, by_cn = torch.zeros_like(cn), torch.zeros_like(cn)
        forces = torch.empty_like(pairs.vectors)
        ones = torch.ones_like(both)
        for part in pairs.slices:
            indices = pairs.indices[:, part] + shift
            given = (pairs.vectors[part], both, damping, indices, twice, *constants)
            energies += _op.dispersion_energy(*given)[:n]
            forces[part], slope, _ = _op.dispersion_energy_backward(ones, *given)
            by_cn += 2 * slope[:n]
        return energies, by_cn, forces

    @staticmethod
    def _write(data: Any, energies: Tensor, forces: Tensor) -> None:
        data.energy = float(energies.sum(dtype=torch.float64))
        if data.nlistatoms:
            order = torch.as_tensor(data.iatoms)[: data.nlistatoms].long()
            torch.as_tensor(data.eatoms).copy_(energies[order])
        if data.npairs:
            if forces.device.type != "cpu":
                torch.cuda.synchronize()
            data.update_pair_forces_gpu(forces.double().contiguous())  # of the host too, no copy

    def save(self, path: str | Path) -> None:
        """Write the file that LAMMPS loads, which ends in .pt; whole or not at all.

        Raises:
            ValueError: for another ending.
        """
        target = Path(path)
        if target.suffix != ".pt":
            raise ValueError(f"expected a file that ends in .pt, got {target.name}")
        partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
        try:
            torch.save(self, partial)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)

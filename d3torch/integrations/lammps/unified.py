"""D3 for LAMMPS through the unified interface of ML-IAP, on any number of MPI ranks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from d3torch.files import written_aside
from d3torch.integrations.lammps.mpi import end_all_ranks
from d3torch.integrations.lammps.sums import Copied, InPlace, Pairs
from d3torch.integrations.ready import Which, module_of, refuse_three_body
from d3torch.model import D3
from d3torch.reference import SYMBOLS
from d3torch.settings import Settings

SHORTEST = 0.3
"""A distance, A, below which no chemical bond is."""

FIRST_PAIRS = 1 << 20
"""Pairs that are looked at to see whether lengths are in A."""

FDOTR = 2
"""Bit of LAMMPS's vflag: the virial comes from positions and forces of atoms."""


class Unified:
    """What is common to D3 alone and to a model with D3: the data of LAMMPS, and the dispersion.

    LAMMPS calls the methods and reads the attributes of its ``MLIAPUnified``; it checks no class.

    Raises:
        ValueError: for a model with the three-body term.
    """

    def __init__(self, model: D3, elements: Sequence[int]) -> None:
        refuse_three_body(model, "ML-IAP")
        model.settings.without_tail("ML-IAP")
        self.model = model
        self.element_types = [SYMBOLS[z] for z in elements]
        self.rcutfac = 0.5 * max(model.cutoff, model.cn_cutoff)  # LAMMPS doubles it
        self.ndescriptors = self.nparams = 1
        self.interface: Any = None  # LAMMPS puts itself here
        self.checked = False

    def compute_descriptors(self, data: Any) -> None:
        """Nothing: there are none."""

    def compute_gradients(self, data: Any) -> None:
        """Nothing: forces come from :meth:`compute_forces`."""

    def compute_forces(self, data: Any) -> None:
        """Fill energy, energies and pair forces of a rank, as LAMMPS asks at every step.

        Raises:
            RuntimeError: for a coupling without exchange where there are ghosts; for distances that
                are not in A. With several ranks, any error is printed and ends all of them, as the
                others would wait for this one.
        """
        try:
            species, pairs = self.read(data)
            atom_forces = self.forces_of_atoms(data, pairs)
            energies, forces = self.energies_and_forces(data, species, pairs, atom_forces)
            self.write(data, energies, forces)
        except Exception as error:
            end_all_ranks(error)
            raise

    def energies_and_forces(
        self, data: Any, species: Tensor, pairs: Pairs, atom_forces: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """As :meth:`dispersion`; a model with D3 adds its own."""
        return self.dispersion(data, species, pairs, atom_forces)

    def read(self, data: Any) -> tuple[Tensor, Pairs]:
        """Species of all atoms, ghosts too, -1 for type NULL, and the pairs as LAMMPS has them."""
        elems = torch.as_tensor(data.elems) if data.ntotal else torch.zeros(0)
        device, real = elems.device, self.model.rcov
        if device != real.device:
            self.model.to(device)
        species = elems.long()
        if data.npairs == 0:
            nothing = species.new_zeros(0)
            return species, Pairs(real.new_zeros(0, 3, dtype=torch.float64), nothing, nothing)
        if device.type != "cpu":
            torch.cuda.synchronize()  # LAMMPS writes r_ij on another stream
        pairs = Pairs(*map(torch.as_tensor, (data.rij, data.pair_i, data.pair_j)))
        if not self.checked:
            self.check_units(species, pairs)
        return species, pairs

    def check_units(self, species: Tensor, pairs: Pairs) -> None:
        """Once: are these distances in A? Half of the atoms have a neighbour no closer than a bond.

        Raises:
            RuntimeError: if not.
        """
        first = [each[:FIRST_PAIRS] for each in pairs]
        real = (species[first[1]] >= 0) & (species[first[2]] >= 0)
        if not bool(real.any()):
            return
        vectors, indices = first[0][real], first[1][real]
        centres = torch.unique(indices, return_inverse=True)[1]
        nearest = vectors.new_full((int(centres.max()) + 1,), torch.inf)
        nearest.scatter_reduce_(0, centres, torch.linalg.vector_norm(vectors, dim=1), "amin")
        median = float(nearest.median())
        if median < SHORTEST:
            raise RuntimeError(
                "expected units metal, lengths in A, got atoms whose nearest neighbours are "
                f"{median:.3g} away"
            )
        self.checked = True

    @staticmethod
    def forces_of_atoms(data: Any, pairs: Pairs) -> Tensor | None:
        """LAMMPS's forces of all atoms, (n_total, 3), where it needs none of the single pairs.

        It needs them for stresses of atoms.
        """
        if pairs.vectors.is_cuda or not len(pairs.vectors) or data.vflag & ~FDOTR:
            return None
        return torch.as_tensor(data.f) if hasattr(data, "forward_exchange") else None

    def dispersion(
        self, data: Any, species: Tensor, pairs: Pairs, atom_forces: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Energies of the owned atoms, 0 for ghosts, and forces of the pairs, by D3 alone.

        Instead of the latter, where they went to ``atom_forces``: None.
        """
        sums = InPlace if self.in_order(data, pairs) else Copied
        cn = self.exchanged(data, sums.coordination_numbers(self.model, species, pairs))
        return sums.energies_and_forces(self.model, species, cn, pairs, atom_forces)

    @staticmethod
    def in_order(data: Any, pairs: Pairs) -> bool:
        """Whether the pairs are on the CPU and their centres, LAMMPS's ``iatoms``, rise."""
        if pairs.vectors.is_cuda or not len(pairs.vectors):
            return not pairs.vectors.is_cuda
        atoms = torch.as_tensor(data.iatoms)
        return bool((atoms[1:] > atoms[:-1]).all())

    @staticmethod
    def exchanged(data: Any, column: Tensor) -> Tensor:
        """The column with the values of the owners in the rows of ghosts, (n_total,).

        Raises:
            RuntimeError: if there are ghosts, and the coupling cannot exchange.
        """
        n = len(column)
        if hasattr(data, "forward_exchange"):
            everywhere = column.clone()
            data.forward_exchange(column.view(n, 1), everywhere.view(n, 1), 1)
            return everywhere
        if n > data.nlocal:
            raise RuntimeError(
                "expected ML-IAP of KOKKOS with forward_exchange (LAMMPS of 22 July 2025 or later, "
                "run with -k on -sf kk), got one without it and atoms with ghosts"
            )
        return column

    @staticmethod
    def write(data: Any, energies: Tensor, forces: Tensor | None) -> None:
        """Hand energies (n_total,) and pair forces, if there are any, to LAMMPS."""
        data.energy = float(energies.sum(dtype=torch.float64))
        if data.nlistatoms:
            order = torch.as_tensor(data.iatoms)[: data.nlistatoms].long()
            own = energies[order].double()
            if hasattr(data, "forward_exchange"):
                torch.as_tensor(data.eatoms).copy_(own)
            else:
                data.eatoms = own.numpy()
        if data.npairs and forces is not None:
            if forces.device.type != "cpu":
                torch.cuda.synchronize()
            if hasattr(data, "update_pair_forces_gpu"):
                data.update_pair_forces_gpu(forces)  # of the host too, without a copy
            else:
                data.update_pair_forces(forces.numpy())

    @property
    def settings(self) -> Settings:
        """Which D3 is computed."""
        return self.model.settings

    def about(self) -> dict[str, Any]:
        """What there is beside D3, for print."""
        dtype = str(self.model.rcov.dtype).removeprefix("torch.")
        return {"elements": " ".join(self.element_types), "dtype": dtype}

    def save(self, path: str | Path) -> None:
        """Write the file that LAMMPS loads, which ends in .pt; whole or not at all.

        Raises:
            ValueError: for another ending.
            OSError: if it cannot be written there.
        """
        target = Path(path)
        if target.suffix != ".pt":
            raise ValueError(f"expected a file that ends in .pt, got {target.name}")
        with written_aside(target) as partial, partial.open("wb") as file:
            torch.save(self, file)


class D3MLIAP(Unified):
    r"""What ``pair_style mliap unified FILE.pt 0`` loads: D3 of the atoms of one MPI rank.

    .. math:: E_i = -\tfrac12 \sum_j C6_{ij} g_{ij}, \quad D_i = \frac{dE}{dCN_i}, \quad
        f_{ij} = \left[-\tfrac12 C6_{ij} g'_{ij} + D_i CN'_{ij}\right] \hat r_{ij}

    CN of ghost atoms come from their owners by one forward exchange of one column; D_i is then
    complete on the owner of i, and nothing has to be sent back. LAMMPS adds f_ij to atom i and
    takes it from j. A rank without atoms takes part in the exchange. Needs ``units metal`` (eV, A)
    and the KOKKOS coupling of ML-IAP with its ``forward_exchange`` (LAMMPS of 22 July 2025 or
    later); without KOKKOS only where there are no ghosts: one rank, no periodic boundary.

    On a CPU it reads vectors and indices where LAMMPS has them, and adds the forces to those of
    LAMMPS's atoms: beside LAMMPS's own list it needs nothing that grows with the pairs, but 24 B a
    pair in a step for which LAMMPS wants the forces of single pairs (stresses of atoms). On a GPU,
    and where LAMMPS's list of atoms does not rise, it holds 24 B a pair, and what
    ``sums.PAIRS_AT_ONCE`` pairs need.

    Args:
        elements: symbols or atomic numbers, those of ``pair_coeff``.
        settings: which D3, or its functional, default PBE; or a ready D3 of these elements, in
            this order, which is taken as it is.
        dtype: of the arithmetic, torch.float64, which is the default, or torch.float32.
        **keywords: those of :class:`d3torch.Settings`, instead of it; no tail, no
            three-body term, no ``"auto"``.

    Raises:
        TypeError, ValueError: see :class:`d3torch.D3`; for a D3 and keywords or a dtype.

    Source: :class:`d3torch.D3`; ML-IAP: https://docs.lammps.org/pair_mliap.html.
    """

    def __init__(
        self,
        elements: Sequence[int | str],
        settings: Which = None,
        *,
        dtype: torch.dtype | None = None,
        **keywords: Any,
    ) -> None:
        model = module_of("ML-IAP", settings, keywords, elements, {"dtype": dtype})
        super().__init__(model, model.elements)

"""The adapter of nvalchemi-toolkit-ops, float32, for every suite. Bohr and hartree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from d3torch.parameters import damping_parameters
from d3torch.reference import reference_tables


def wide_tables(known: NDArray[Any]) -> dict[str, Tensor]:
    """The 2010 tables by atomic number, as nvalchemi-toolkit-ops wants them."""
    cut, size = reference_tables(known.tolist(), "2010"), known.max() + 1
    wide = {"rcov": np.zeros(size), "r4r2": np.zeros(size)}
    wide |= {name: np.zeros((size, size, 5, 5)) for name in ("c6ab", "cn_ref")}
    wide["rcov"][known], wide["r4r2"][known] = cut.rcov, cut.r4r2
    n_refs = cut.cn_ref.shape[1]
    wide["c6ab"][known[:, None], known, :n_refs, :n_refs] = cut.c6_ref
    wide["cn_ref"][known, :, :n_refs] = cut.cn_ref[:, None, :, None]
    return {name: torch.tensor(values, dtype=torch.float32) for name, values in wide.items()}


class Nvalchemi:
    """PBE-D3(BJ) of structures one after the other: a neighbour list, and what comes of it.

    Args:
        numbers: atomic numbers of all atoms, (n,).
        sizes: atoms of each structure.
        cutoff: of energies and coordination numbers.
        cell: of a crystal, which stands alone, (3, 3); None for molecules.
        device: where it runs.
    """

    def __init__(
        self,
        numbers: NDArray[Any],
        sizes: Sequence[int],
        cutoff: float,
        cell: NDArray[Any] | None,
        device: str = "cpu",
    ) -> None:
        import warp

        warp.config.quiet = True
        self.cutoff, self.n_systems, self.most = cutoff, len(sizes), max(sizes)
        self.damping = damping_parameters("pbe")
        tables = wide_tables(np.unique(numbers)).items()
        self.tables = {name: table.to(device) for name, table in tables}
        self.numbers = torch.tensor(numbers, dtype=torch.int32, device=device)
        self.space: dict[str, Tensor] = {}
        self.pbc: dict[str, Tensor] = {}
        if cell is not None:
            self.set_cell(torch.tensor(cell, dtype=torch.float32, device=device))
            self.pbc = {"pbc": torch.ones(1, 3, dtype=torch.bool, device=device)}
        index = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes)).int()
        self.batch = {"batch_idx": index.to(device)} if len(sizes) > 1 else {}

    def set_cell(self, cell: Tensor) -> None:
        """Take another cell, and room for the neighbours of an atom by the density in it."""
        self.space = {"cell": cell[None]}
        density = len(self.numbers) / float(cell.det())
        self.most = int(1.15 * density * 4.19 * self.cutoff**3) + 64

    def search(self, x: Tensor) -> Any:
        """Its neighbour list of positions (n, 3), float32."""
        from nvalchemiops.torch.neighbors import neighbor_list

        given = {**self.space, **self.pbc, **self.batch}
        return neighbor_list(x, self.cutoff, **given, max_neighbors=self.most)

    def evaluate(self, x: Tensor, near: Any) -> Any:
        """Energies, forces, coordination numbers and, of a crystal, the virial on a list."""
        from nvalchemiops.torch.interactions.dispersion import dftd3

        p = self.damping
        given = {"d3_params": self.tables, "neighbor_matrix": near[0], **self.space, **self.batch}
        if self.space:
            given["neighbor_matrix_shifts"] = near[2]
        wanted = {"compute_virial": bool(self.space), "num_systems": self.n_systems}
        return dftd3(x, self.numbers, p.a1, p.a2, p.s8, s6=p.s6, **given, **wanted)

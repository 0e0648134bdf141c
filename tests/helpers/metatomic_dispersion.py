"""D3 as a module of metatomic, as a user writes it: energies of systems, nothing else."""

# No `from __future__ import annotations`, and the old names of types: metatomic compares them.
# ruff: noqa: UP006, UP035, UP045
from typing import Any, Dict, List, Optional

import torch
from metatensor.torch import Labels, TensorBlock, TensorMap
from metatomic.torch import ModelOutput, System

from d3torch import D3


class Dispersion(torch.nn.Module):
    """Energies in eV of systems in A, for elements and settings of a :class:`d3torch.D3`."""

    def __init__(self, elements: List[str], **settings: Any) -> None:
        super().__init__()
        self.d3 = D3(elements, **settings)

    def forward(
        self,
        systems: List[System],
        outputs: Dict[str, ModelOutput],
        selected_atoms: Optional[Labels] = None,
    ) -> Dict[str, TensorMap]:
        """The output ``energy``, a row a system."""
        energies: List[torch.Tensor] = []
        for system in systems:
            species = self.d3.species(system.types.long())
            batch = self.d3.systems(system.positions, species, system.cell, system.pbc)
            energies.append(self.d3.lattice(batch))
        values = torch.stack(energies)
        rows = torch.arange(len(systems), device=values.device).reshape(-1, 1)
        column = Labels(["energy"], torch.zeros(1, 1, dtype=torch.long, device=values.device))
        one = Labels(["_"], torch.zeros(1, 1, dtype=torch.long, device=values.device))
        block = TensorBlock(values, Labels(["system"], rows), [], column)
        return {"energy": TensorMap(one, [block])}

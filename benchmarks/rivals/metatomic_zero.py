"""A metatomic model whose energy is zero, for metatomic's DFTD3 to add to.

TorchScript reads the annotations here, which therefore must not be strings.
"""

from typing import Any, Dict, List, Optional  # noqa: UP035

import torch
from metatensor.torch import Labels, TensorBlock, TensorMap
from metatomic.torch import AtomisticModel, ModelCapabilities, ModelMetadata, ModelOutput, System


class Zero(torch.nn.Module):
    """Energy 0 eV for every system."""

    def forward(
        self,
        systems: List[System],  # noqa: UP006
        outputs: Dict[str, ModelOutput],  # noqa: UP006
        selected_atoms: Optional[Labels] = None,  # noqa: UP045
    ) -> Dict[str, TensorMap]:  # noqa: UP006
        """A block of zeros, one a system."""
        rows = torch.arange(len(systems), dtype=torch.int64).reshape(-1, 1)
        block = TensorBlock(
            values=torch.zeros((len(systems), 1), dtype=torch.float64),
            samples=Labels(["system"], rows),
            components=torch.jit.annotate(List[Labels], []),  # noqa: UP006
            properties=Labels(["energy"], torch.tensor([[0]])),
        )
        return {"energy": TensorMap(Labels(["_"], torch.tensor([[0]])), [block])}


def zero_model() -> Any:
    """The model, in float64, and what is asked of it."""
    output = ModelOutput(unit="eV", sample_kind="system")
    able = ModelCapabilities(
        outputs={"energy": output},
        atomic_types=list(range(1, 104)),
        interaction_range=0.0,
        length_unit="angstrom",
        supported_devices=["cpu"],
        dtype="float64",
    )
    return AtomisticModel(Zero().eval(), ModelMetadata(), able), output

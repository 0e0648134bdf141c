"""D3 as a model of torch-sim: alone, or a term of a sum with another potential."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from d3torch.extras import not_installed

try:
    from torch_sim import SimState
    from torch_sim.models.interface import ModelInterface
except ModuleNotFoundError as error:
    raise not_installed(error, "torchsim") from None

from d3torch.checks import require_bool
from d3torch.integrations.ready import Which, module_of
from d3torch.ops import Systems
from d3torch.results import stress
from d3torch.settings import Settings


class D3Model(ModelInterface):  # type: ignore[misc]
    r"""D3 of a batch of systems, all evaluated in one sweep without a neighbour list.

    Returns ``energy`` (n_systems,), eV, and, where wanted, ``forces`` (n_atoms, 3), eV/A, and
    ``stress`` (n_systems, 3, 3), eV/A^3: dE/dstrain / volume, 0 for a cell without volume, as
    torch-sim's other models. Numbers, without a graph, of the dtype and on the device of the model.
    Memory grows with atoms, ``memory_scales_with == "n_atoms"``: no pair is kept.

    Args:
        settings: which D3, or its functional, default PBE; or a ready D3, in eV and A and with
            the backend ``"kernel"``, which is taken as it is.
        elements: that will be met, symbols or atomic numbers; None for all that there are data of.
        compute_forces: whether to return forces.
        compute_stress: whether to return the stress.
        dtype: torch.float64, which is the default, or torch.float32.
        device: of torch; None for its default.
        **keywords: those of :class:`d3torch.Settings`, instead of it; no ``"auto"``.

    Raises:
        TypeError: for something else, no bool, or a D3 and keywords, dtype or device.
        ValueError: for a D3 of other units, elements, or with another backend; as
            :class:`d3torch.D3`.

    Source: :class:`d3torch.D3`.
    """

    def __init__(
        self,
        settings: Which = None,
        elements: Sequence[int | str] | None = None,
        *,
        compute_forces: bool = True,
        compute_stress: bool = True,
        dtype: torch.dtype | None = None,
        device: str | torch.device | None = None,
        **keywords: Any,
    ) -> None:
        super().__init__()
        made = {"dtype": dtype, "device": device}
        d3 = module_of("torch-sim", settings, keywords, elements, made, tail=True)
        self.d3 = d3
        self._compute_forces = require_bool("compute_forces", compute_forces)
        self._compute_stress = require_bool("compute_stress", compute_stress)
        self._memory_scales_with = "n_atoms"

    @ModelInterface.compute_forces.setter  # type: ignore[untyped-decorator]
    def compute_forces(self, wanted: bool) -> None:
        """Whether to return forces; a SumModel sets it for its parts."""
        self._compute_forces = require_bool("compute_forces", wanted)

    @ModelInterface.compute_stress.setter  # type: ignore[untyped-decorator]
    def compute_stress(self, wanted: bool) -> None:
        """Whether to return the stress; a SumModel sets it for its parts."""
        self._compute_stress = require_bool("compute_stress", wanted)

    @ModelInterface.device.getter  # type: ignore[untyped-decorator]
    def device(self) -> torch.device:
        """Where it is computed, after ``to`` as well."""
        return self.d3.rcov.device

    @ModelInterface.dtype.getter  # type: ignore[untyped-decorator]
    def dtype(self) -> torch.dtype:
        """Of positions and results."""
        return self.d3.rcov.dtype

    def forward(self, state: Any, **_: Any) -> dict[str, Tensor]:
        """Energy, forces and stress of a SimState, or of a dict of its tensors.

        A dict has ``positions``, ``cell``, ``pbc``, ``atomic_numbers``, and ``system_idx`` where
        there is more than one system.

        Raises:
            ValueError, TypeError: an element that ``d3`` lacks, another dtype or device, and as
                :func:`d3torch.ops.dispersion`.
        """
        if isinstance(state, dict):
            state = SimState(**{"masses": torch.ones_like(state["atomic_numbers"]), **state})
        systems = self._systems(state)
        found = self.d3.evaluate(systems, self.compute_forces or self.compute_stress)
        results = {"energy": found.energy}
        if self.compute_forces:
            results["forces"] = -found.gradient
        if self.compute_stress:
            results["stress"] = stress(found.virial, systems.cell.detach())
        return results

    @property
    def settings(self) -> Settings:
        """Which D3 is computed."""
        return self.d3.settings

    def _systems(self, state: Any) -> Systems:
        """A batch of torch-sim, whose cells are columns and whose pbc is one for all systems."""
        sizes = torch.bincount(state.system_idx, minlength=len(state.cell))
        offsets = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
        pbc = torch.as_tensor(state.pbc, device=offsets.device).expand(3)
        species = self.d3.species(state.atomic_numbers.long())
        return self.d3.systems(state.positions, species, state.row_vector_cell, pbc, offsets)

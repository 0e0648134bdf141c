"""MACE models with D3 dispersion inside, wherever a MACE model goes."""

# No `from __future__ import annotations`: TorchScript cannot read strings.
import copy
from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from d3torch.extras import not_installed

try:
    import mace.modules  # before e3nn: it lets torch >= 2.6 read e3nn's own files
    from e3nn.util import jit
except ModuleNotFoundError as error:
    raise not_installed(error, "mace") from None

from d3torch.integrations.mace.contribution import (
    DispersionTerm,
    add_contribution,
    choose_heads,
    scaled,
)
from d3torch.integrations.ready import Which, module_of
from d3torch.module_settings import is_dispersion
from d3torch.ops import Systems
from d3torch.settings import Settings
from d3torch.state import CheckedState

NAMED = ("atomic_numbers", "r_max", "num_interactions")
"""Buffers of MACE that hosts read, also from TorchScript."""


def has_dispersion(model: nn.Module) -> bool:
    """Whether a model, TorchScript or not, has D3 of this package in it."""
    return any(is_dispersion(module) for module in model.modules())


def check_model(model: object) -> nn.Module:
    """The model, if dispersion can be put into it.

    Raises:
        TypeError: if it is no MACE or ScaleShiftMACE model, or one of TorchScript.
        ValueError: if it has dispersion already.
    """
    if isinstance(model, nn.Module) and has_dispersion(model):
        raise ValueError("expected a model without dispersion, got one that has D3 already")
    if not isinstance(model, mace.modules.MACE):
        raise TypeError(f"expected a MACE or ScaleShiftMACE model, got {type(model).__name__}")
    found: nn.Module = model
    return found


@jit.compile_mode("script")
class MACED3(CheckedState):
    r"""A MACE model plus D3, E = E_MACE + E_D3, with all derivatives.

    Takes and returns what the wrapped model does, with D3 in ``energy``, ``node_energy``,
    ``interaction_energy``, ``contributions``, ``forces``, ``virials``, ``stress`` and ``hessian``,
    and by itself in ``dispersion_energy`` (n_graphs,), ``dispersion_forces`` (n_nodes, 3) and
    ``dispersion_virials`` (n_graphs, 3, 3), eV and A. MACE's graph stays at its r_max: D3 finds
    its own neighbours from ``positions``, ``cell`` and ``pbc``.

    Where forces, virials or stress are computed, D3 adds numbers, and the sums carry the graph of
    MACE alone; with a learnable damping and ``training=True``, the graph of all of them has the
    damping in it too. Without forces, virials and stress, ``energy`` is differentiable in
    positions, displacement and damping. Stress divides by the volume of ``data["cell"]``, as MACE
    does, which stretches cells along axes without pbc. No hessian in TorchScript, as in MACE.

    Args:
        model: MACE or ScaleShiftMACE; its dtype and device are taken.
        settings: which D3, or its functional, default PBE; or a ready D3 of the elements of the
            model, in its order, of its dtype and on its device, which is taken as it is.
        learnable: make the damping parameters, s9 too, learnable; a ready D3 says so itself.
        d3_heads: names of the heads that get D3; None for all. The D3 of other graphs is 0.
        **keywords: those of :class:`d3torch.Settings`, instead of it; no ``"auto"``.

    Raises:
        TypeError: for what is no MACE model, or no number.
        ValueError: for a model that has D3 already, an element without data, an unknown xc or head.

    Source: :class:`d3torch.D3`; MACE: Batatia et al., NeurIPS 2022, arXiv:2206.07697.
    """

    __jit_unused_properties__: Final = ["settings"]

    atomic_numbers: Tensor
    r_max: Tensor
    num_interactions: Tensor

    def __new__(cls, *_: Any, **keywords: Any) -> "MACED3":
        """Refuse what MACE's tools ask for: a model of this class from its config."""
        if "error" in keywords:
            raise TypeError(
                "expected a MACE model without D3 to compile or convert, got one with D3: d3torch "
                "unfuse it, convert, and fuse again, or with compile_mode add D3Calculator"
            )
        return super().__new__(cls)

    def __init__(
        self,
        model: nn.Module,
        settings: Which = None,
        *,
        learnable: bool = False,
        d3_heads: Sequence[str] | None = None,
        **keywords: Any,
    ) -> None:
        super().__init__()
        self._adopt(check_model(model), d3_heads)
        made = {"learnable": None if learnable is False else learnable}
        elements, weight = self.atomic_numbers.tolist(), next(model.parameters())
        self.dispersion = DispersionTerm(
            module_of("a MACE model", settings, keywords, elements, made, like=weight, tail=True)
        )
        self.model = model

    @property
    def settings(self) -> Settings:
        """Which D3 is inside."""
        found: Settings = self.dispersion.d3.settings
        return found

    def around(self, convert: Callable[[nn.Module], nn.Module]) -> "MACED3":
        """A copy of this D3 around what a tool of MACE makes of the model inside.

        Args:
            convert: gives a model of the same elements, on any device, such as MACE's converters
                to cuEquivariance; heads that it keeps keep or lack D3 as they did.

        Raises:
            TypeError, ValueError: as of the class; if no head with D3 is kept.
        """
        before = torch.get_default_dtype()
        torch.set_default_dtype(next(self.model.parameters()).dtype)  # of what some tools make
        try:
            made = check_model(convert(self.model))
        finally:
            torch.set_default_dtype(before)  # others leave it changed
        d3 = copy.deepcopy(self.dispersion.d3).to(next(made.parameters()))
        kept = list(getattr(made, "heads", None) or ["Default"])
        return MACED3(made, d3, d3_heads=[head for head in self.d3_heads if head in kept])

    def _adopt(self, model: nn.Module, d3_heads: Sequence[str] | None) -> None:
        """What hosts ask a model for, before `model` is there to answer, and the heads."""
        for name in NAMED:
            self.register_buffer(name, getattr(model, name), persistent=False)
        self.heads: list[str] = list(getattr(model, "heads", None) or ["Default"])
        self.d3_heads: list[str] = choose_heads(d3_heads, self.heads)

    def __getattr__(self, name: str) -> Any:
        """What the wrapper lacks, taken from the model inside."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("__") or "model" not in self.__dict__.get("_modules", {}):
                raise
            return getattr(self._modules["model"], name)

    def forward(
        self,
        data: dict[str, Tensor],
        training: bool = False,
        compute_force: bool = True,
        compute_virials: bool = False,
        compute_stress: bool = False,
        compute_displacement: bool = False,
        compute_hessian: bool = False,
        compute_edge_forces: bool = False,
        compute_atomic_stresses: bool = False,
        lammps_mliap: bool = False,
    ) -> dict[str, Tensor | None]:
        """As that of the model inside.

        Args:
            data: a batch of MACE, with ``pbc``, bool (n_graphs, 3); a ``displacement`` in it
                strains the batch where virials, stress or displacement are computed.
            training: build the graphs that a loss of forces, virials and stress needs.
            compute_force: whether to give forces.
            compute_virials: whether to give virials.
            compute_stress: whether to give the stress.
            compute_displacement: whether energies shall be differentiable in ``displacement``.
            compute_hessian: whether to give d2E/dx_a dx_b, (3 n_nodes, n_nodes, 3).
            compute_edge_forces: must be False; D3 has no part on the edges of MACE.
            compute_atomic_stresses: must be False; D3 has no stress per atom.
            lammps_mliap: must be False.

        Raises:
            ValueError: for one of the last three; for data without pbc; for a displacement and a
                Hessian.
        """
        if compute_edge_forces or compute_atomic_stresses or lammps_mliap:
            raise ValueError(
                "expected no edge forces, atomic stresses or ML-IAP of a model with D3, got one: "
                "for LAMMPS write the file with d3torch lammps"
            )
        moved = compute_virials or compute_stress or compute_displacement  # else it is not read
        strained = moved and "displacement" in data
        if strained and compute_hessian and bool(data["displacement"].any()):
            raise ValueError("expected a Hessian without a displacement in the data, got both")
        systems = self.dispersion.systems(data)  # now: the model puts strained positions there
        out: dict[str, Tensor | None] = self.model(
            data,
            training=training,
            compute_force=compute_force,
            compute_virials=compute_virials,
            compute_stress=compute_stress,
            compute_displacement=compute_displacement,
            compute_hessian=compute_hessian,
        )
        forced = compute_force or compute_virials or compute_stress
        part = self.dispersion(
            systems, out["displacement"], data["batch"], training, forced, strained
        )
        shares = self._shares(data)
        hessian = out["hessian"]
        if hessian is not None:
            out["hessian"] = hessian + self._hessian(systems, shares[data["batch"]])
        return add_contribution(out, scaled(part, shares, data["batch"]), systems.cell)

    def _shares(self, data: dict[str, Tensor]) -> Tensor:
        """1 for graphs of heads that get D3, else 0, (n_graphs,); without heads, the first."""
        of_heads = data["positions"].new_zeros(len(self.heads))
        for k, head in enumerate(self.heads):
            if head in self.d3_heads:
                of_heads[k] = 1.0
        if "head" in data:
            return of_heads[data["head"]]
        return of_heads[:1].expand(data["ptr"].shape[0] - 1)

    @torch.jit.unused
    def _hessian(self, systems: Systems, shares: Tensor) -> Tensor:
        return self.dispersion.hessian(systems) * shares.repeat_interleave(3).view(-1, 1, 1)

    def checked_settings(self) -> dict[str, Any]:
        """Heads and those with dispersion, which a state has to agree in."""
        return {"heads": list(self.heads), "d3_heads": list(self.d3_heads)}

    def _load_from_state_dict(self, given: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Keep the copies that hosts read equal to the buffers of the model inside."""
        super()._load_from_state_dict(given, prefix, *rest)
        for name in NAMED:
            loaded = given.get(f"{prefix}model.{name}")
            if loaded is not None:
                here: Tensor = getattr(self, name)
                to = loaded.device if here.is_meta else here.device
                self._buffers[name] = loaded.detach().to(to, here.dtype, copy=True)

    def extra_repr(self) -> str:
        """Settings, for print."""
        return f"{self.settings}, d3_heads={self.d3_heads}"


def with_head(model: nn.Module, head: str | None) -> tuple[MACED3, str]:
    """A fused model and the name of its head that a host without heads is to run.

    Raises:
        TypeError: for what is no fused model.
        ValueError: for an unknown head, or one without dispersion.
    """
    if not isinstance(model, MACED3):
        raise TypeError(f"expected a MACE model with D3, MACED3, got {type(model).__name__}")
    chosen = head or model.heads[-1]
    if chosen not in model.d3_heads:
        raise ValueError(
            f"expected a head with dispersion, one of {', '.join(model.d3_heads)}, got {chosen}"
        )
    return model, chosen


def torchscript(model: nn.Module) -> torch.jit.ScriptModule:
    """A TorchScript copy, for ``torch.jit.save``; whoever loads it imports d3torch before."""
    scripted: torch.jit.ScriptModule = jit.compile(copy.deepcopy(model).eval())
    return scripted

"""The calculator of torch-dftd: its keywords and defaults, our numbers."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any, cast

import numpy as np
import torch

from d3torch.checks import require_bool, require_choice, require_number
from d3torch.integrations.ase import DTYPES, PROPERTIES, D3Calculator
from d3torch.integrations.calculator_results import (
    SUMMED,
    added,
    ask,
    implemented,
    stress_refusal,
    without_none,
)
from d3torch.integrations.torch_dftd.batch import evaluate_all
from d3torch.levels import check_level
from d3torch.parameters import DispersionWarning
from d3torch.settings import Settings
from d3torch.variants import VARIANTS

from ase import Atoms  # isort: skip  after ours: it names what is missing
from ase.calculators.calculator import Calculator, PropertyNotImplementedError  # isort: skip
from ase.units import Bohr  # isort: skip

SMOOTHING = {"none": 0.0, "poly": Bohr}
"""Widths of torch-dftd's switches of the two-body energy, A."""

OF_ASE = ("label", "directory")
"""Keywords of every calculator of ASE, which mean files, and nothing here."""

UNKNOWN = ("stresses",)
"""Results that dispersion would add to, and that are not computed."""


def settings_of(
    damping: str,
    xc: str,
    cutoff: float,
    cnthr: float,
    abc: bool,
    cutoff_smoothing: str,
) -> Settings:
    """Which D3 torch-dftd computes for these keywords of its calculator, lengths in A.

    Raises:
        TypeError, ValueError: for DFT-D2, another damping or smoothing, a string for a bool; as
            :class:`d3torch.Settings`.
    """
    if damping == "dftd2":
        raise ValueError("expected a damping of D3, got 'dftd2': DFT-D2 is not included")
    require_choice("damping", damping, tuple(VARIANTS))
    cutoff, cnthr = require_number("cutoff", cutoff), require_number("cnthr", cnthr)
    smooth = SMOOTHING[require_choice("cutoff_smoothing", cutoff_smoothing, tuple(SMOOTHING))]
    if cnthr > cutoff:
        warnings.warn(
            f"expected cnthr of at most cutoff = {cutoff:g} A, got {cnthr:g}: "
            "the cutoff is taken for both, as torch-dftd does",
            DispersionWarning,
            stacklevel=3,
        )
    near = min(cnthr, cutoff)
    return Settings(
        xc=xc,
        variant=damping,
        preset="torch-dftd",
        cutoff=cutoff,
        cn_cutoff=near,
        width=smooth,
        s9=float(require_bool("abc", abc)),
        atm_cutoff=near,
    )


class TorchDFTD3Calculator(D3Calculator):
    """D3 by the keywords of torch-dftd's calculator of this name, defaults included.

    Results are those of :class:`d3torch.D3Calculator`, or their sums with those of `dft`, which has
    the other results. docs/torch_dftd.md says what differs from torch-dftd, with numbers.

    Args:
        dft: a calculator to add D3 to; None for D3 alone.
        atoms: whose calculator it becomes.
        damping: ``"zero"``, ``"bj"``, ``"zerom"`` or ``"bjm"``.
        xc: functional, by any name that d3torch knows.
        old: False; DFT-D2 is not included.
        device: of torch.
        cutoff: of the two-body energy, A.
        cnthr: of the coordination numbers, and of the three-body term, A; at most `cutoff`.
        abc: whether to add the three-body term.
        dtype: torch.float32 or torch.float64.
        bidirectional: how torch-dftd keeps its pairs; here none are kept.
        cutoff_smoothing: ``"none"``, or ``"poly"`` for a smooth switch over the last bohr of the
            two-body energy.
        **kwargs: any; they change nothing, as in torch-dftd, and are warned of.

    Raises:
        TypeError, ValueError: see :func:`settings_of`.

    Warns:
        DispersionWarning: for a `dft` that is known to have dispersion, or another functional; for
            keywords that change nothing.
    """

    name = "TorchDFTD3Calculator"  # janus-core looks for it

    def __init__(
        self,
        dft: Calculator | None = None,
        atoms: Atoms | None = None,
        damping: str = "zero",
        xc: str = "pbe",
        old: bool = False,
        device: str | torch.device = "cpu",
        cutoff: float = 95.0 * Bohr,
        cnthr: float = 40.0 * Bohr,
        abc: bool = False,
        dtype: torch.dtype = torch.float32,
        bidirectional: bool = True,
        cutoff_smoothing: str = "none",
        **kwargs: Any,
    ) -> None:
        if require_bool("old", old):
            raise ValueError("expected old=False, got True: DFT-D2 is not included")
        settings = settings_of(damping, xc, cutoff, cnthr, abc, cutoff_smoothing)
        _warn_of(name for name in kwargs if name not in OF_ASE)
        self.old = old
        self.bidirectional = require_bool("bidirectional", bidirectional)
        self.dft = dft
        super().__init__(settings=settings, dtype=dtype, device=device)
        if dft is not None:
            theirs = [name for name in implemented(dft) if name not in UNKNOWN]
            self.implemented_properties = [*dict.fromkeys([*PROPERTIES, *theirs])]
            self.ignored_changes = set()
            check_level(dft, settings, allow_double_counting=True, stacklevel=3)
        if atoms is not None:
            atoms.calc = self

    @property
    def damping(self) -> str:
        """The variant of D3."""
        return self.settings.variant

    @property
    def cutoff(self) -> float | str:
        """Cutoff of the two-body energy, A."""
        return self.settings.cutoff

    @property
    def abc(self) -> bool:
        """Whether there is a three-body term."""
        return self.settings.s9 != 0.0

    @property
    def device(self) -> torch.device:
        """Where it is computed."""
        return torch.device(self.parameters["device"])

    @property
    def dtype(self) -> torch.dtype:
        """The precision of it."""
        return DTYPES[self.parameters["dtype"]]

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """What has changed since the last calculation, for `dft` too."""
        changes: list[str] = super().check_state(atoms, tol)  # type: ignore[no-untyped-call]
        dft: Any = self.dft
        return changes or list(dft.check_state(atoms, tol) if hasattr(dft, "check_state") else ())

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = (),
    ) -> None:
        """Compute D3, and what is asked of `dft`; see :class:`d3torch.D3Calculator`."""
        super().calculate(atoms, properties, system_changes)
        if self.dft is not None:
            own, self.results = self.results, {}  # D3 alone is no result if `dft` fails
            self.results = self._with_dft(own, properties)

    def get_property(
        self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True
    ) -> Any:
        """A result; see ASE.

        Raises:
            PropertyNotImplementedError: if there is none, and for the stress of a slab with MACE as
                `dft`, which divides by another volume.
        """
        try:
            return super().get_property(name, atoms, allow_calculation)  # type: ignore[no-untyped-call]
        except PropertyNotImplementedError:
            there = cast(Atoms | None, self.atoms)
            why = None if there is None else stress_refusal(self.dft, there)
            if name != "stress" or why is None:
                raise
            raise PropertyNotImplementedError(f"stress: {why}") from None

    def _with_dft(self, own: dict[str, Any], properties: Iterable[str]) -> dict[str, Any]:
        """Results of D3, `own`, and of `dft` in one, those that both have added."""
        dft, atoms = self.dft, self.atoms
        assert dft is not None
        assert atoms is not None
        wanted = [name for name in properties if name in implemented(dft)]
        found = {name: ask(dft, name, atoms) for name in wanted}
        if wanted:  # else results of other atoms, perhaps
            found = {**(getattr(dft, "results", None) or {}), **found}
        found = without_none(found)
        apart = "stress" in found and stress_refusal(dft, atoms) is not None
        left_out = (*UNKNOWN, "stress") if apart else UNKNOWN
        theirs = {name: value for name, value in found.items() if name not in left_out}
        both = added(theirs, own, len(atoms))
        members = {k: v for k, v in theirs.items() if k == "energies" and k not in both}
        alone = [(k, v) for part in (own, theirs) for k, v in part.items() if k not in SUMMED]
        return {**dict(alone), **both, **members}

    def batch_calculate(
        self,
        atoms_list: Iterable[Atoms] | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = (),
    ) -> list[dict[str, Any]]:
        """D3 of several structures in one sweep, without `dft`.

        Returns:
            For each ``energy``, eV, and, if forces or stress are among `properties`, ``forces``
            and, where :class:`d3torch.D3Calculator` has one, ``stress``.

        Raises:
            TypeError: for something else than several structures.
            ValueError: for ``cutoff="auto"`` and for ``exclude_atoms``, which are of one structure.
        """
        self.settings.fixed("a batch")
        if self.parameters["exclude_atoms"] is not None:
            left_out = self.parameters["exclude_atoms"]
            raise ValueError(f"expected no exclude_atoms for a batch, got {left_out}")
        if isinstance(atoms_list, Atoms) or not isinstance(atoms_list, Iterable):
            raise TypeError(f"expected a list of structures, got {type(atoms_list).__name__}")
        structures = list(atoms_list)
        for each in structures:
            if not isinstance(each, Atoms):
                raise TypeError(f"expected a list of structures, got one of {type(each).__name__}")
        if not structures:
            return []
        elements = np.unique(np.concatenate([atoms.numbers for atoms in structures])).tolist()
        model = self._build(elements or [1], self.parameters)
        return evaluate_all(model, structures, "forces" in properties or "stress" in properties)


def _warn_of(keywords: Iterable[str]) -> None:
    """Say that keywords change nothing."""
    for name in keywords:
        warnings.warn(
            f"expected a keyword of TorchDFTD3Calculator, got {name}, which changes nothing here, "
            "nor in torch-dftd",
            DispersionWarning,
            stacklevel=3,
        )

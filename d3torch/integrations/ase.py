"""ASE calculator of the D3 dispersion energy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from d3torch.extras import not_installed

try:
    from ase import Atoms
    from ase.calculators.calculator import Calculator
    from ase.outputs import Properties, all_outputs
except ModuleNotFoundError as error:
    raise not_installed(error, "ase") from None

from d3torch._library import has_cuda
from d3torch.checks import require_choice
from d3torch.evaluate import Evaluator, Results
from d3torch.integrations.groups import groups_of
from d3torch.integrations.ready import check_ready, copied
from d3torch.model import D3
from d3torch.results import symmetric
from d3torch.settings import AUTO, KEYWORDS, PRESETS, Preset, Settings, brought_by
from d3torch.settings import DEFAULTS as SETTINGS
from d3torch.structure import has_volume, refuse_mixed
from d3torch.variants import Damping

PROPERTIES = [
    "energy",
    "free_energy",
    "energies",
    "forces",
    "stress",
    "coordination_numbers",
    "c6",
    "cutoff",
]

DEFAULTS: dict[str, Any] = {
    **SETTINGS,
    "dtype": "float64",
    "device": "cpu",
    "backend": "kernel",
    "exclude_atoms": None,
}

IGNORED = {"initial_charges", "initial_magmoms"}

Floats = NDArray[np.float64]

DTYPES = {"float64": torch.float64, "float32": torch.float32}


VOIGT = [0, 4, 8, 5, 2, 1]
"""xx, yy, zz, yz, xz, xy of a flattened matrix."""


class Pairwise(NamedTuple):
    """Energies of pairs of groups of atoms.

    Attributes:
        names: of the groups.
        energies: (n, n), eV, symmetric: all pairs within a group on the diagonal, half of those
            between two groups on each side of it. The sum is the energy.
    """

    names: tuple[str, ...]
    energies: Floats

    def rows(self) -> list[tuple[str, str, float]]:
        """Two groups and the energy of all pairs between them, eV, or in one; they add up."""
        e, n = self.energies, self.names
        between = [(a, b) for a in range(len(n)) for b in range(a, len(n))]
        return [(n[a], n[b], float(e[a, b] * (1 if a == b else 2))) for a, b in between]


def resolve_dtype(dtype: object) -> str:
    """Name of a dtype, given by that name or as torch.dtype.

    Raises:
        ValueError: unless it is float64 or float32.
    """
    return require_choice("dtype", str(dtype).removeprefix("torch."), tuple(DTYPES))


def as_list(atoms: Any) -> list[Any]:
    """Indices or mask of atoms as a list.

    Raises:
        TypeError: for neither, or both.
    """
    array = np.asarray(refuse_mixed("exclude_atoms", atoms))
    if array.ndim != 1 or (array.dtype.kind not in "iub" and array.size):
        raise TypeError(f"expected exclude_atoms to be indices or a mask, got {atoms!r}")
    found: list[Any] = array.tolist()
    return found


def _has_kernel(device: str) -> bool:
    """Whether the library was built for that type of device."""
    return device == "cpu" or (device == "cuda" and has_cuda())


def resolve_device(device: object, backend: object) -> str:
    """Name of a device that is there, and that the backend has kernels for.

    Raises:
        ValueError: otherwise.
    """
    try:
        found = torch.device(device)  # type: ignore[call-overload]
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError):
        raise ValueError(f"expected a device that torch has here, got {device!r}") from None
    if backend == "kernel" and not _has_kernel(found.type):
        raise ValueError(
            f"expected a device that d3torch was built for, got {device!r}; "
            "backend='eager' runs there"
        )
    return str(found)


def voigt_stress(virial: Tensor, atoms: Atoms) -> Floats | None:
    """Return the stress in Voigt order; None for a molecule and a cell without volume."""
    if not atoms.pbc.any() or not has_volume(atoms.cell.array):
        return None
    stress: Floats = symmetric(virial).numpy() / atoms.cell.volume
    return stress.ravel()[VOIGT]


class D3Calculator(Calculator):
    """D3 dispersion in ASE: energies in eV, lengths in angstrom.

    Results: ``energy``, ``free_energy`` (the same), ``energies``, ``forces``, ``stress`` (Voigt,
    ASE's sign), ``coordination_numbers`` (n,), ``c6`` (n,), C6 of each atom with its like, eV A^6,
    and ``cutoff``, the two-body cutoff that was taken, A. There is a stress where anything is
    periodic and the cell has a volume, so for a slab in a box too; else asking for it raises
    PropertyNotImplementedError, as ASE does.

    Args:
        xc: functional, such as ``"pbe"``.
        settings: all of which D3, instead of xc and keywords; or a ready D3 in eV and A, which
            is taken as it is now, until :meth:`set` changes something.
        dtype: ``"float64"``, which is the default, or ``"float32"``, or the torch.dtype.
        device: name of a torch device, default ``"cpu"``.
        backend: ``"kernel"``, which is the default, or ``"eager"`` for plain torch.
        exclude_atoms: indices (negative ones count from the end) or mask of atoms that have no
            dispersion with anything, and still count in the coordination numbers of others, as
            ``exclude`` leaves out elements.
        **keywords: those of :class:`d3torch.Settings`, such as ``cutoff="auto"``,
            ``preset="mace_mp"`` or ``exclude=["Na"]``.

    Raises:
        TypeError, ValueError: an argument of the wrong kind or value; one sentence each.

    Source: :class:`d3torch.D3`.
    """

    name = "d3torch"
    implemented_properties = PROPERTIES
    default_parameters = DEFAULTS
    discard_results_on_any_change = True
    ignored_changes = IGNORED

    def __init__(
        self,
        xc: str | None = None,
        *,
        settings: Settings | D3 | None = None,
        dtype: str | torch.dtype | None = None,
        device: str | torch.device | None = None,
        backend: str | None = None,
        exclude_atoms: Any = None,
        **keywords: Any,
    ) -> None:
        given = {"xc": xc, **keywords}
        made = {"dtype": dtype, "device": device, "backend": backend}
        ready: D3 | None = None
        if isinstance(settings, D3):
            ready = check_ready(settings, {**given, **made})
            settings, where = ready.settings, ready.rcov
            made = {"dtype": where.dtype, "device": where.device, "backend": ready.backend}
        self._from_settings = settings is not None  # which name every keyword
        given = self._keywords(settings, given)
        given.update({name: DEFAULTS[name] if v is None else v for name, v in made.items()})
        given["exclude_atoms"] = exclude_atoms
        self._numbers: NDArray[np.int64] | None = None
        super().__init__(**given)  # type: ignore[no-untyped-call]
        self._ready = ready is not None
        with torch.inference_mode(False):
            self._evaluator = None if ready is None else Evaluator(copied(ready))

    @staticmethod
    def _keywords(settings: Settings | None, given: dict[str, Any]) -> dict[str, Any]:
        """Parameters of settings, if there are any, else of keywords, xc by default."""
        if settings is not None:
            named = {name: value for name, value in given.items() if value is not None}
            return Settings.of(settings, **named).keywords()
        if given["xc"] is None and given.get("damping") is None:
            return {**given, "xc": DEFAULTS["xc"]}
        return given

    def set(self, **kwargs: Any) -> dict[str, Any]:
        """Change arguments of the constructor, all or none; xc and damping replace each other.

        A preset replaces what it stands for and is not given, and a tail the width that came with
        it: see :meth:`d3torch.Settings.replace`.

        Returns:
            Those that changed; results are then discarded.

        Raises:
            TypeError, ValueError: see the constructor.
        """
        for key in kwargs:
            require_choice("a keyword of D3Calculator", key, tuple(self.default_parameters))
        changes = self._plain(kwargs)
        changes |= self._width_of_another_tail(changes)
        model = self._build(None, {**self.parameters, **changes})
        changed: dict[str, Any] = super().set(**changes)  # type: ignore[no-untyped-call]
        if changed:
            self._evaluator, self._numbers = self._evaluator_by(model), None
            self._ready = False
        return changed

    def _width_of_another_tail(self, changes: dict[str, Any]) -> dict[str, Any]:
        """The default width, where the tail changes, of settings whose width came with it."""
        before = self.settings
        stays = changes.get("tail", before.tail) == before.tail or "width" in changes
        if stays or not self._from_settings or not brought_by(before.tail, before.width):
            return {}
        return {"width": None}

    @staticmethod
    def _plain(kwargs: dict[str, Any]) -> dict[str, Any]:
        """Arguments as strings, numbers and dicts, which ASE can store."""
        changes = dict(kwargs)
        for one, other in (("xc", "damping"), ("damping", "xc")):
            if kwargs.get(one) is not None:
                changes.setdefault(other, None)
        if changes.get("preset") in PRESETS:
            for name in Preset._fields:
                changes.setdefault(name, None)
        if isinstance(changes.get("damping"), Damping):
            changes["damping"] = changes["damping"]._asdict()
        if "dtype" in changes:
            changes["dtype"] = resolve_dtype(changes["dtype"])
        if changes.get("exclude_atoms") is not None:
            changes["exclude_atoms"] = as_list(changes["exclude_atoms"])
        if isinstance(changes.get("device"), torch.device):
            changes["device"] = str(changes["device"])
        return changes

    @staticmethod
    def _build(elements: Sequence[int] | None, parameters: dict[str, Any]) -> D3:
        """The module of some elements; of any that will do."""
        p = parameters
        settings = Settings(**{name: p[name] for name in KEYWORDS})
        found: Sequence[int | str] = (settings.exclude or ["H"]) if elements is None else elements
        if settings.cutoff == AUTO:  # the evaluator chooses
            settings = settings.replace(cutoff=None)
        device = resolve_device(p["device"], p["backend"])
        with torch.inference_mode(False), torch.device(device):
            return settings.module(found, dtype=DTYPES[p["dtype"]], backend=p["backend"])

    @property
    def settings(self) -> Settings:
        """Which D3 is computed."""
        return Settings(**{name: self.parameters[name] for name in KEYWORDS})

    def _evaluator_by(self, model: D3) -> Evaluator:
        """What evaluates by a module, with the cutoff that the parameters ask for."""
        p = self.parameters
        return Evaluator(model, p["tolerance"] if p["cutoff"] == "auto" else None)

    def model(self, elements: Sequence[int]) -> D3:
        """A copy of the ready module, or one of these sorted elements, kept until they change."""
        found = self._evaluator
        if found is None or not (self._ready or found.model.numbers.tolist() == list(elements)):
            found = self._evaluator = self._evaluator_by(self._build(elements, self.parameters))
            self._numbers = None
        return found.model

    def _evaluator_of(self, atoms: Atoms) -> Evaluator:
        """What evaluates these atoms; kept until they are others."""
        z, before = atoms.numbers, self._numbers
        if self._evaluator is None or before is None or not np.array_equal(z, before):
            self.model(np.unique(z).tolist() or [1])
            self._numbers = z.copy()
        assert self._evaluator is not None  # model() made it
        return self._evaluator

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = (),
        system_changes: Sequence[str] = (),
    ) -> None:
        """Compute all results at once; see :class:`d3torch.evaluate.Evaluator` for the errors."""
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        x, self.results = cast(Atoms | None, self.atoms), {}
        if x is None:
            raise ValueError("expected a structure, got none and no calculation before")
        given = x.positions, x.cell.array, x.pbc, x.numbers, self.parameters["exclude_atoms"]
        found = self._evaluator_of(x)(*given)
        self.results = self._translate(found, x)

    @staticmethod
    def _translate(found: Results, atoms: Atoms) -> dict[str, Any]:
        """Results under ASE's names."""
        results = {
            "energy": found.energy.item(),
            "free_energy": found.energy.item(),
            "energies": found.energies.numpy(),
            "forces": found.forces.numpy(),
            "stress": voigt_stress(found.virial, atoms),
            "coordination_numbers": found.cn.numpy(),
            "c6": found.c6.numpy(),
            "cutoff": found.cutoff,
        }
        return {name: value for name, value in results.items() if value is not None}

    def pairwise(
        self,
        atoms: Atoms | None = None,
        by: str | Sequence[Any] | NDArray[Any] = "atoms",
    ) -> Pairwise:
        """Energies that groups of atoms have with each other, eV; their sum is the energy.

        Args:
            atoms: a structure; None takes that of the last calculation.
            by: ``"atoms"``, ``"species"``, ``"fragments"``, the name of one of ``atoms.arrays``, or
                a label of every atom: see :func:`d3torch.integrations.groups.groups_of`.

        Raises:
            ValueError, TypeError: as a calculation; for another ``by``, no atoms.
        """
        x = atoms if atoms is not None else cast(Atoms | None, self.atoms)
        if x is None or len(x) == 0:
            raise ValueError("expected a structure with atoms, got none")
        evaluator = self._evaluator_of(x)  # refuses numbers of no element
        groups = groups_of(x, by)
        given = x.positions, x.cell.array, x.pbc, x.numbers
        found = evaluator.pairwise(*given, groups.labels, self.parameters["exclude_atoms"])
        return Pairwise(groups.names, found.numpy())

    def export_properties(self) -> Properties:
        """The results that ASE has a name for."""
        return Properties({k: v for k, v in self.results.items() if k in all_outputs})

"""D3 on top of any ASE calculator, with all the results that it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from d3torch.extras import not_installed

try:
    from ase import Atoms
    from ase.calculators.calculator import (
        Calculator,
        Parameters,
        PropertyNotImplementedError,
        all_changes,
        compare_atoms,
    )
    from ase.outputs import Properties, all_outputs
except ModuleNotFoundError as error:
    raise not_installed(error, "ase") from None

from d3torch.evaluate import Evaluator, hessian, virials_of_atoms
from d3torch.integrations.ase import IGNORED, D3Calculator
from d3torch.integrations.calculator_results import (
    added,
    ask,
    copied,
    implemented,
    stress_refusal,
    voigt,
    without_none,
)
from d3torch.levels import check_level
from d3torch.structure import has_volume

Floats = NDArray[np.float64]

OWN = ("dispersion_energy", "dispersion_forces", "dispersion_stress")
"""Results of D3 alone."""

COSTLY = ("stresses", "hessian")
"""Results to which D3 is added only where they are asked for: that takes long."""


class DispersionCalculator(Calculator):
    """A calculator with D3 added to what it gives: see :func:`with_dispersion`.

    Attributes:
        calculator: the one inside, with all its attributes and methods.
        dispersion: the :class:`d3torch.D3Calculator`.

    Args:
        calculator: see :func:`with_dispersion`.
        dispersion: the D3 to add.
        task: see :func:`with_dispersion`; for later checks as well.
        allow_double_counting: the same.
    """

    def __init__(
        self,
        calculator: Any,
        dispersion: D3Calculator,
        *,
        task: str | None = None,
        allow_double_counting: bool = False,
    ) -> None:
        self.calculator, self.dispersion = calculator, dispersion
        self._judged: dict[str, Any] = {
            "task": task,
            "allow_double_counting": allow_double_counting,
        }
        self._source: Any = None  # results of the calculator that ours were made of
        self._of_dispersion: Any = None  # and those of D3
        self._dropped: dict[str, str] = {}  # and what D3 could not be added to, and why
        super().__init__()  # type: ignore[no-untyped-call]
        self.parameters = Parameters(self.todict())

    @property
    def implemented_properties(self) -> list[str]:  # type: ignore[override]
        """Those of the calculator, and the part of D3."""
        return list(dict.fromkeys([*implemented(self.calculator), *OWN]))

    def _get_name(self) -> str:
        """The name that files carry."""
        inner = getattr(self.calculator, "name", None) or type(self.calculator).__name__.lower()
        return f"{inner}+d3torch"

    def todict(self, skip_default: bool = True) -> dict[str, Any]:
        """Parameters of the calculator and settings of D3, as databases and trajectories keep."""
        inner = self.calculator.todict() if hasattr(self.calculator, "todict") else {}
        return {"calculator": inner, "dispersion": self.dispersion.settings.record()}

    def set(self, **kwargs: Any) -> dict[str, Any]:
        """Change arguments of D3, as :meth:`d3torch.D3Calculator.set`; those that changed.

        Arguments of the calculator inside are changed by ``calculator.set``.

        Raises:
            TypeError, ValueError: as there.

        Warns:
            DispersionWarning: as :func:`with_dispersion`.
        """
        changed = self.dispersion.set(**kwargs) if kwargs else {}
        if changed:
            check_level(self.calculator, self.dispersion.settings, **self._judged, stacklevel=3)
            self._forget()
            self.parameters = Parameters(self.todict())
        return changed

    def set_atoms(self, atoms: Atoms) -> None:
        """Tell the calculator that it was attached, if it wants to know."""
        if hasattr(self.calculator, "set_atoms"):
            self.calculator.set_atoms(atoms)

    def _forget(self) -> None:
        self.atoms, self.results, self._source, self._dropped = None, {}, None, {}
        self._of_dispersion = None

    def reset(self) -> None:
        """Forget all results, those of the calculator inside as well."""
        self._forget()
        for part in (self.dispersion, self.calculator):
            if hasattr(part, "reset"):
                part.reset()

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """What differs from the last calculation, to D3 or to the calculator inside.

        A part that was reset, or that computed another structure since, is a change too.
        """
        inner = self.calculator
        ignored = {*getattr(inner, "ignored_changes", ())} & IGNORED
        found = compare_atoms(self.atoms, atoms, tol, ignored)  # type: ignore[no-untyped-call]
        changes: list[str] = list(found)
        if not changes and self._of_dispersion is not self.dispersion.results:
            changes.append("dispersion")
        if self._source is None:
            return changes
        if hasattr(inner, "check_state"):
            changes += [name for name in inner.check_state(atoms) if name not in changes]
        if not changes and self._held(self._source) is not self._source:
            changes.append("calculator")
        return changes

    def get_property(
        self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True
    ) -> Any:
        """A result; None where it would have to be computed and must not be.

        Raises:
            PropertyNotImplementedError: for what the calculator does not give.
        """
        if name not in self.implemented_properties:
            raise PropertyNotImplementedError(f"{name} property not implemented")
        changes = [] if atoms is None else self.check_state(atoms)
        if changes:
            self._forget()
        if name not in self.results:
            if not allow_calculation:
                return None
            self.calculate(atoms, [name], changes)
        if name not in self.results:
            why = self._dropped.get(name, "not present in this calculation")
            raise PropertyNotImplementedError(f"{name}: {why}")
        return copied(self.results[name])

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Ask the calculator for some of its properties, and add D3 to all that it then has.

        Where only D3's own part is asked for, the calculator does not run.
        """
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        x = cast(Atoms, self.atoms if atoms is None else atoms)
        if system_changes:
            self.results, self._dropped = {}, {}
        self.dispersion.get_property("energy", x)  # type: ignore[no-untyped-call]
        self._of_dispersion = self.dispersion.results
        own = {"energy": self.dispersion.results["energy"]}
        own["forces"] = self.dispersion.results["forces"]
        stress = self._stress_of_dispersion(x)
        own |= {} if stress is None else {"stress": stress}
        asked = [name for name in properties if name not in OWN]
        kept = self._kept(asked, x) if asked else {}
        alone = {f"dispersion_{name}": copied(value) for name, value in own.items()}
        self.results = {**self.results, **self._added(kept, own, x, asked), **alone}

    def _held(self, instead: Any) -> Any:
        """The dict of results of the calculator, which it replaces when it computes anew."""
        return getattr(self.calculator, "__dict__", {}).get("results", instead)

    def _kept(self, asked: Sequence[str], atoms: Atoms) -> dict[str, Any]:
        """All results of the calculator, once it has what is asked for."""
        values = {name: ask(self.calculator, name, atoms) for name in asked}
        held = getattr(self.calculator, "results", None)
        self._source = self._held(values)
        kept = held if isinstance(held, Mapping) else {}
        return without_none({**{name: copied(value) for name, value in kept.items()}, **values})

    def _added(
        self, kept: dict[str, Any], own: dict[str, Any], atoms: Atoms, asked: Sequence[str]
    ) -> dict[str, Any]:
        """Results of the calculator with those of D3 added where there are any.

        What takes D3 long is left out where it is not asked for.
        """
        kept = {name: v for name, v in kept.items() if name not in COSTLY or name in asked}
        found = {**kept, **added(kept, {**self.dispersion.results, **own}, len(atoms))}
        stresses = {"stress", "stresses"} & found.keys()
        why = stress_refusal(self.calculator, atoms) if stresses else None
        if why is not None:
            for name in stresses:
                del found[name]
                self._dropped[name] = why
        self._add_costly(found, atoms)
        return found

    def _add_costly(self, found: dict[str, Any], atoms: Atoms) -> None:
        """Add D3 to what few calculators give, or drop it: without D3 it would be another sum's."""
        costly = {"stresses": self._with_stresses, "hessian": self._with_hessian}
        for name in costly.keys() & found.keys():
            try:
                found[name] = costly[name](found[name], atoms)
            except (ValueError, NotImplementedError, ImportError) as error:
                del found[name]
                self._dropped[name] = str(error)

    def _stress_of_dispersion(self, atoms: Atoms) -> Floats | None:
        """Stress of D3 in Voigt order wherever the cell has a volume, without pbc as well."""
        found: Floats | None = self.dispersion.results.get("stress")
        if found is not None or not has_volume(atoms.cell.array):
            return found
        virial = -np.tensordot(atoms.positions, self.dispersion.results["forces"], (0, 0))
        return voigt(virial / atoms.cell.volume)

    def _evaluator(self, atoms: Atoms, what: str) -> Evaluator:
        """What evaluates D3 of these atoms.

        Raises:
            ValueError: for a cutoff that is chosen for each structure.
        """
        self.dispersion.settings.fixed(what)
        return self.dispersion._evaluator_of(atoms)

    def _where(self, atoms: Atoms) -> tuple[Any, ...]:
        """Arguments of an evaluation of these atoms."""
        left_out = self.dispersion.parameters["exclude_atoms"]
        return atoms.positions, atoms.cell.array, atoms.pbc, atoms.numbers, left_out

    def _with_stresses(self, found: Any, atoms: Atoms) -> Floats:
        """Shares of atoms in the stress, (n, 6), with half of each pair added to either atom.

        Raises:
            ValueError: for a cell without a volume.
        """
        if not has_volume(atoms.cell.array):
            raise ValueError(f"expected a cell with a volume, got {atoms.cell.tolist()}")
        evaluator = self._evaluator(atoms, "stresses of atoms")
        virials = virials_of_atoms(evaluator, *self._where(atoms)).numpy()
        of_dispersion = np.array([voigt(each) for each in virials / atoms.cell.volume])
        total: Floats = np.asarray(found, dtype=np.float64) + of_dispersion
        return total

    def _with_hessian(self, found: Any, atoms: Atoms) -> Floats:
        """A Hessian of any shape, rows first, with D3 added."""
        second = hessian(self._evaluator(atoms, "a Hessian"), *self._where(atoms)).numpy()
        like = np.asarray(found, dtype=np.float64)
        if like.size != second.size:
            raise ValueError(f"expected a Hessian of {second.size} numbers, got {like.shape}")
        total: Floats = like + second.reshape(like.shape)
        return total

    def get_hessian(self, atoms: Atoms | None = None) -> Any:
        """d2E/dx dx of the sum, eV/A^2, in the form that the calculator gives it.

        A list of a committee stays a list.

        Raises:
            PropertyNotImplementedError: if the calculator has no ``get_hessian``.
            ValueError: for ``cutoff="auto"``.
        """
        if not hasattr(self.calculator, "get_hessian"):
            raise PropertyNotImplementedError(
                f"expected a calculator with get_hessian, got {type(self.calculator).__name__}; "
                "ase.vibrations takes differences of the forces of any"
            )
        x = self.atoms if atoms is None else atoms
        if x is None:
            raise ValueError("expected atoms, got none and no calculation before")
        found = self.calculator.get_hessian(x)
        if isinstance(found, list):
            return [self._with_hessian(each, x) for each in found]
        return self._with_hessian(found, x)

    def export_properties(self) -> Properties:
        """The results that ASE has a name for."""
        return Properties({k: v for k, v in self.results.items() if k in all_outputs})


def with_dispersion(
    calculator: Any,
    xc: str | None = None,
    *,
    task: str | None = None,
    allow_double_counting: bool = False,
    **settings: Any,
) -> DispersionCalculator:
    """An ASE calculator that adds D3 to another one, and keeps all its results.

    D3 is added to ``energy``, ``free_energy``, ``energies`` of atoms, ``forces``, ``stress``,
    ``stresses`` and ``hessian``, each where the calculator gives it; the last two only once they
    are asked for, since D3 takes long for them. Its own part is ``dispersion_energy``,
    ``dispersion_forces`` and ``dispersion_stress``. Everything else is what the calculator gives:
    magnetic moments, charges, dipoles, uncertainties, ``node_energy``.

    Args:
        calculator: anything that ASE takes: with ``get_property``, or, older, with
            ``get_potential_energy(atoms)`` and ``get_forces(atoms)``.
        xc: functional, default PBE: that which the calculator stands for.
        task: head, modal or task of a model that does not tell it, see
            :func:`d3torch.levels.check_level`.
        allow_double_counting: add D3 to what has dispersion already.
        **settings: all other arguments of :class:`d3torch.D3Calculator`: ``preset``, ``cutoff``,
            ``device``, ``dtype``, ``backend``, ``exclude_atoms``, ``settings``...

    Raises:
        TypeError: for what is no calculator; as :class:`d3torch.D3Calculator`.
        ValueError: for a calculator with dispersion in it or in the data that it was trained on;
            as :class:`d3torch.D3Calculator`.

    Warns:
        DispersionWarning: if the model was trained with another functional than xc.
    """
    known = any(hasattr(calculator, name) for name in ("get_property", "get_potential_energy"))
    if isinstance(calculator, type | Atoms) or not known:
        kind = calculator if isinstance(calculator, type) else type(calculator)
        raise TypeError(f"expected an ASE calculator, got {kind.__name__}")
    dispersion = D3Calculator(xc, **settings)
    judged: dict[str, Any] = {"task": task, "allow_double_counting": allow_double_counting}
    check_level(calculator, dispersion.settings, **judged, stacklevel=3)
    return DispersionCalculator(calculator, dispersion, **judged)

"""D3 as a module: tables and damping parameters of a set of elements, in the host's units."""

# No `from __future__ import annotations` here and in ops.py: TorchScript cannot read strings.
import contextlib
import copy
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from . import eager, ops
from .checks import require_bool, require_choice, require_three_body
from .excluded import excluding
from .module_settings import (
    LENGTHS,
    check_excluded,
    columns_of,
    fixed_damping,
    reach_in_angstrom,
    reference_of,
    scaled_s9,
    scaled_tables,
    settings_of,
)
from .parameters import resolve_damping, warn_of_hard_tail, warn_of_three_body
from .reference import SYMBOLS, atomic_numbers
from .settings import VERSION, Settings, defined_s9, resolve_range
from .state import CheckedState, refuse_other_damping, refuse_other_tables, warn_of_missing
from .structure import (
    dtype_name,
    require_batch,
    require_systems,
    require_tensor,
    require_tensors,
)
from .units import BOHR, UNITS, get_units
from .variants import BJ, VARIANTS, Damping, scaled_damping

BACKENDS = ("kernel", "eager")

OLDER: dict[str, Any] = {"variant": BJ, "atm_cutoff": 0.0, "atm_width": 0.0, "exclude": []}
"""Attributes of modules, and of states, from before there were others."""

CHECKED = ("elements", "units", "reference", "cutoff", "cn_cutoff", "width", "tail", *OLDER)
"""Attributes of a module that decide results; its damping is in its tensors."""

TOLD = (VERSION, "xc")
"""Keys of a record that tell of the tensors beside their names: who made them, and for what."""

TABLES = ("numbers", "rcov", "r4r2", "cn_ref", "c6_ref", "radii")


class D3(CheckedState):
    r"""D3 energies of whole structures, or of the atoms of a neighbour list.

    :meth:`lattice` is :func:`d3torch.ops.dispersion`, :meth:`on_list`, with a neighbour list,
    :func:`d3torch.ops.on_list`; calling the module, with vectors of pairs, is
    :func:`d3torch.ops.coordination_number`, then :func:`d3torch.ops.dispersion_energy`.
    Forces, virials and second derivatives come through autograd. Works under TorchScript,
    ``torch.compile`` and ``torch.export``.

    Args:
        elements: symbols or atomic numbers; ``species`` index this sequence, in its order.
        xc: functional, such as ``"pbe"``; see :func:`d3torch.functionals`.
        damping: explicit parameters in atomic units instead of xc, as of
            :class:`d3torch.Settings`.
        variant: ``"bj"``, ``"bjm"``, ``"zero"`` or ``"zerom"``: the damping, as there.
        s9: weight of the three-body term, in :meth:`lattice` and :meth:`evaluate`, as there.
        atm_cutoff: cutoff of the three-body term; default 40 bohr.
        atm_width: width of the smooth switch to zero at that cutoff; default 0.
        cutoff: two-body cutoff in the length unit; default 60 bohr, at most 1000 A.
        cn_cutoff: cutoff of the coordination number; default 40 bohr, at most 1000 A.
        exclude: symbols of those elements that are left out, and still count in the CN of others;
            as there. Atoms are left out by the mask that the methods take.
        width: width of the smooth switch to zero at the cutoff; 0 cuts off hard; None takes 0, and
            with a tail 2 A: at a hard cutoff, the tail corrects the pressure by half only.
        tail: add what is beyond the cutoff along the periodic directions, and all pairs of a
            molecule, in :meth:`lattice` and :meth:`evaluate`; see :func:`d3torch.ops.dispersion`.
        reference: ``"2024"`` (103 elements) or ``"2010"`` (94 elements).
        units: ``"eV/A"`` or ``"hartree/bohr"``, of everything above but ``damping`` and below.
        learnable: make the damping parameters, such as s6, s8, a1, a2, and s9 where there is the
            three-body term, parameters of torch (else they are buffers).
        dtype: torch.float64 or torch.float32.
        backend: ``"kernel"``, or ``"eager"`` for plain torch on any device.

    Raises:
        TypeError, ValueError: an argument of the wrong kind or value, an element without data, an
            unknown functional; one sentence each.

    Warns:
        DispersionWarning: for a method that is defined with the three-body term; for a tail at a
            hard cutoff.

    ``settings`` is the :class:`d3torch.Settings` of what the module computes now.
    Presets are for settings: ``Settings(preset="converged").module(elements)``.
    A state dict carries the settings (elements, cutoffs, variant, units, reference and so on);
    loading one of others raises ValueError. Damping is loaded, and the name of the functional with
    it. TorchScript checks nothing: a scripted module takes tables and damping of any state that is
    loaded with ``strict=False`` and keeps its own cutoffs; load first, then script.
    ``.to(dtype)``, ``.half()``, ``.double()`` make the tables and a fixed damping anew, with all
    digits of the new dtype; a learnable damping is converted, as any parameter.

    Sources: Grimme et al., doi:10.1063/1.3382344 and doi:10.1002/jcc.21759; Smith et al.,
    doi:10.1021/acs.jpclett.6b00780 for the modified dampings.
    """

    __jit_unused_properties__: Final = ["settings"]

    backend: Final[str]
    last: Final[int] = len(SYMBOLS)
    numbers: Tensor
    rcov: Tensor
    r4r2: Tensor
    cn_ref: Tensor
    c6_ref: Tensor
    radii: Tensor  # where zero damping or the three-body term is
    s6: Tensor
    s8: Tensor
    a1: Tensor  # these, and those below, where the variant has them
    a2: Tensor
    rs6: Tensor
    rs8: Tensor
    bet: Tensor
    s9: Tensor
    exclude: list[str]

    def __init__(
        self,
        elements: Sequence[int | str],
        xc: str | None = None,
        *,
        damping: Damping | dict[str, float] | None = None,
        cutoff: float | None = None,
        cn_cutoff: float | None = None,
        width: float | None = None,
        tail: bool = False,
        reference: str = "2024",
        units: str = "eV/A",
        learnable: bool = False,
        dtype: torch.dtype = torch.float64,
        backend: str = "kernel",
        variant: str = BJ,
        s9: float | None = 0.0,
        atm_cutoff: float | None = None,
        atm_width: float | None = None,
        exclude: Sequence[str] | None = (),
    ) -> None:
        super().__init__()
        self.units = require_choice("units", units, tuple(UNITS))
        unit = get_units(self.units)
        damped = resolve_damping(xc, damping, variant)
        self.variant, self.form = variant, VARIANTS[variant].form
        self.cutoff, self.cn_cutoff, self.width, self.tail = resolve_range(
            cutoff, cn_cutoff, width, require_bool("tail", tail), unit
        )
        weight = defined_s9(xc, variant) if s9 is None else s9
        weight, self.atm_cutoff, self.atm_width = require_three_body(
            weight, atm_cutoff, atm_width, unit
        )
        which: dict[str, Any] = {"xc": xc, "damping": damping, "variant": variant, "s9": weight}
        which.update(reach_in_angstrom(self, unit), reference=reference, exclude=exclude)
        settings = Settings(**which)
        self.backend = require_choice("backend", backend, BACKENDS)
        if dtype not in (torch.float64, torch.float32):
            raise ValueError(f"expected dtype to be torch.float64 or torch.float32, got {dtype}")
        self.elements, self.reference = atomic_numbers(elements), reference
        self.exclude = check_excluded(settings.exclude, self.elements)
        self.register_buffer("numbers", torch.tensor(self.elements))
        radii = self.form > 0 or weight != 0.0
        tables = scaled_tables(self.elements, reference, unit, radii, self.exclude)
        for name, values in tables.items():
            self.register_buffer(name, torch.tensor(values, dtype=dtype))
        numbers = scaled_damping(damped, unit.length)._asdict()
        numbers |= {"s9": scaled_s9(weight, unit)} if weight else {}
        self._set_damping(numbers, dtype, require_bool("learnable", learnable))
        self.xc: str | None = settings.xc
        self.record: str | None = json.dumps(settings.record())
        if xc is not None and not weight:
            warn_of_three_body(xc, variant)
        if self.tail and self.width == 0.0:
            warn_of_hard_tail()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "D3":
        """Convert; in a new dtype, tables and a fixed damping are made anew, not rounded twice."""
        before, damping = self.rcov.dtype, self.damping().detach()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.rcov.dtype != before and not self.rcov.is_meta:
            for name, values in self._all_digits(damping).items():
                there = getattr(self, name)
                setattr(self, name, torch.tensor(values, dtype=there.dtype, device=there.device))
        return self

    def _load_from_state_dict(self, given: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Load; of a state of another dtype, tables and a fixed damping get all their digits."""
        super()._load_from_state_dict(given, prefix, *rest)
        found = given.get(f"{prefix}rcov")
        if found is None or found.dtype == self.rcov.dtype or self.rcov.is_meta:
            return
        with torch.no_grad():
            for name, values in self._all_digits(self.damping().detach()).items():
                there = getattr(self, name)
                there.copy_(torch.tensor(values, dtype=there.dtype, device=there.device))

    def _all_digits(self, damping: Tensor) -> dict[str, Any]:
        """Values of tables, and of a fixed damping that was rounded to this, unrounded."""
        return {**self._own_tables(), **fixed_damping(self, damping)}

    def _own_tables(self) -> dict[str, Any]:
        """Arrays of the buffers, with all digits."""
        unit, radii = get_units(self.units), hasattr(self, "radii")
        return scaled_tables(self.elements, self.reference, unit, radii, self.exclude)

    def _set_damping(
        self, numbers: Mapping[str, float], dtype: torch.dtype, learnable: bool
    ) -> None:
        for name, number in numbers.items():
            value = torch.tensor(number, dtype=dtype)
            if learnable:
                self.register_parameter(name, nn.Parameter(value))
            else:
                self.register_buffer(name, value)

    def forward(
        self, vectors: Tensor, pairs: Tensor, species: Tensor, exclude: Tensor | None = None
    ) -> Tensor:
        """Energies per atom.

        Args:
            vectors: r_ij = x_j - x_i + S @ cell, (n_pairs, 3), length; differentiable twice.
            pairs: centres i and neighbours j, (2, n_pairs), int64; directed, so both i-j and j-i.
            species: index into ``elements`` of every atom, (n_atoms,), int64.
            exclude: atoms that are left out, and still count in the CN of others, (n_atoms,), bool.

        Returns:
            (n_atoms,), energy; the sum is the dispersion energy.

        Raises:
            ValueError: for a module with a tail or the three-body term.
        """
        self._refuse_more_than_pairs()
        cn = self.coordination_number(vectors, pairs, species)
        return self.dispersion_energy(vectors, cn, pairs, species, exclude)

    def _refuse_more_than_pairs(self) -> None:
        """Refuse what pairs within the cutoff do not tell."""
        if self.tail:
            raise ValueError(
                "expected no tail for a list of pairs, got one: use lattice(), which finds pairs"
            )
        if self.atm_cutoff > 0.0:
            raise ValueError(
                "expected s9=0 for a list of pairs, got a module with the three-body term, which "
                "takes triangles of neighbours, which a list of pairs does not give: use lattice()"
            )

    @torch.jit.export
    def coordination_number(self, vectors: Tensor, pairs: Tensor, species: Tensor) -> Tensor:
        """Coordination numbers, (n_atoms,); arguments as of :meth:`forward`."""
        self._check_pairs(vectors, pairs, species)
        if self.backend == "eager":
            return eager.coordination_number(vectors, pairs, species, self.rcov, self.cn_cutoff)
        return ops.coordination_number(vectors, pairs, species, self.rcov, self.cn_cutoff)

    @torch.jit.export
    def dispersion_energy(
        self,
        vectors: Tensor,
        cn: Tensor,
        pairs: Tensor,
        species: Tensor,
        exclude: Tensor | None = None,
    ) -> Tensor:
        """Energies per atom from given coordination numbers, those of ghosts exchanged before.

        Arguments and errors are those of :meth:`forward`.
        """
        self._refuse_more_than_pairs()
        self._check_pairs(vectors, pairs, species)
        if not torch.jit.is_scripting():  # type: ignore[attr-defined]
            require_tensor("cn", cn)
        damping = self.damping()
        tables, species = self._tables_of(species, exclude)
        if self.backend == "eager":
            return eager.dispersion_energy(
                vectors, cn, damping, pairs, species, tables, self.cutoff, self.width, self.form
            )
        return ops.dispersion_energy(
            vectors, cn, damping, pairs, species, tables, self.cutoff, self.width, self.form
        )

    @torch.jit.export
    def lattice(
        self,
        systems: ops.Systems,
        damping: Tensor | None = None,
        exclude: Tensor | None = None,
    ) -> Tensor:
        """Energies of whole structures, (n_systems,), without a pair list.

        Args:
            systems: see :meth:`systems`; differentiable twice in positions and cell.
            damping: as of :meth:`damping`, of each, (n_systems, n_columns), to mix functionals.
            exclude: as of :meth:`forward`.

        Raises:
            ValueError, TypeError, IndexError: see :func:`d3torch.ops.dispersion`.
        """
        batch = self._damping_of(systems, damping)
        tables, whole = self._of_all_or_some(systems, exclude)
        if self.backend == "eager":
            return eager.dispersion(whole, batch, tables, self.reach(), self.form)
        return ops.dispersion(whole, batch, tables, self.reach(), self.form)

    @torch.jit.export
    def lattice_shares(
        self,
        systems: ops.Systems,
        damping: Tensor | None = None,
        exclude: Tensor | None = None,
    ) -> ops.Shares:
        """Energies as of :meth:`lattice`, and the share of each atom, which never has a graph.

        Args:
            systems: as of :meth:`lattice`.
            damping: as of :meth:`lattice`.
            exclude: as of :meth:`forward`.

        Raises:
            ValueError, TypeError, IndexError: see :func:`d3torch.ops.dispersion`.
        """
        batch = self._damping_of(systems, damping)
        tables, whole = self._of_all_or_some(systems, exclude)
        if self.backend == "eager":
            return eager.dispersion_shares(whole, batch, tables, self.reach(), self.form)
        return ops.dispersion_shares(whole, batch, tables, self.reach(), self.form)

    @torch.jit.export
    def on_list(
        self,
        systems: ops.Systems,
        indices: Tensor,
        shifts: Tensor,
        half: bool = False,
        damping: Tensor | None = None,
        exclude: Tensor | None = None,
    ) -> Tensor:
        """Energies of whole structures, (n_systems,), on a neighbour list of the host.

        Args:
            systems: see :meth:`systems`; differentiable twice in positions and cell.
            indices: centres i and neighbours j, (2, n_pairs), int64 or int32, of all pairs within
                the larger cutoff, or more.
            shifts: S of r_ij = x_j - x_i + S @ cell, (n_pairs, 3), any of the dtypes of
                :class:`d3torch.ops.PairList`.
            half: whether the list has each pair once, either way round.
            damping: as of :meth:`lattice`.
            exclude: as of :meth:`forward`.

        Raises:
            ValueError, TypeError, IndexError: see :func:`d3torch.ops.on_list`; for a module with a
                tail or the three-body term.
        """
        return self.on_list_shares(systems, indices, shifts, half, damping, exclude).energy

    @torch.jit.export
    def on_list_shares(
        self,
        systems: ops.Systems,
        indices: Tensor,
        shifts: Tensor,
        half: bool = False,
        damping: Tensor | None = None,
        exclude: Tensor | None = None,
    ) -> ops.Shares:
        """Energies as of :meth:`on_list`, and the share of each atom, which never has a graph.

        Arguments and errors are those of :meth:`on_list`.
        """
        self._refuse_more_than_pairs()
        if not torch.jit.is_scripting():  # type: ignore[attr-defined]
            require_tensors(indices=indices, shifts=shifts)
        batch = self._damping_of(systems, damping)
        tables, whole = self._of_all_or_some(systems, exclude)
        pairs = ops.PairList(indices, shifts, half)
        if self.backend == "eager":
            return eager.dispersion_on_list(whole, pairs, batch, tables, self.reach(), self.form)
        return ops.on_list(whole, pairs, batch, tables, self.reach(), self.form)

    def _check_dtype(self, name: str, given: Tensor) -> None:
        """Refuse another dtype than that of the tables, which nobody gave in this call.

        Raises:
            TypeError: for another.
        """
        if not torch.jit.is_scripting():  # type: ignore[attr-defined]
            require_tensor(name, given)
        if given.dtype != self.rcov.dtype:
            raise TypeError(
                f"expected {name} of the dtype of the module, {dtype_name(self.rcov.dtype)}, "
                f"got {dtype_name(given.dtype)}"
            )

    def _check_pairs(self, vectors: Tensor, pairs: Tensor, species: Tensor) -> None:
        """Refuse what is no tensor, and another dtype."""
        self._check_dtype("vectors", vectors)
        if not torch.jit.is_scripting():  # type: ignore[attr-defined]
            require_tensors(pairs=pairs, species=species)

    def _of_all_or_some(
        self, systems: ops.Systems, exclude: Tensor | None
    ) -> tuple[ops.Tables, ops.Systems]:
        """Tables, and the systems as they index them."""
        self._check_dtype("positions", systems.positions)
        tables, species = self._tables_of(systems.species, exclude)
        return tables, ops.Systems(
            systems.positions, systems.cell, systems.pbc, species, systems.offsets
        )

    def _tables_of(self, species: Tensor, exclude: Tensor | None) -> tuple[ops.Tables, Tensor]:
        """Tables, and the species of the atoms in them, some of which may be left out."""
        if exclude is None:
            return self.tables(), species
        return excluding(self.tables(), species, exclude)

    def _damping_of(self, systems: ops.Systems, given: Tensor | None = None) -> Tensor:
        """The damping that was given, or that of the module for every system.

        Raises:
            TypeError: for no batch, or what is no tensor.
        """
        if not torch.jit.is_scripting():  # type: ignore[attr-defined]
            require_systems(systems)
            if given is not None:
                require_tensor("damping", given)
        n_systems = systems.offsets.shape[0] - 1
        return self.damping().expand(n_systems, -1) if given is None else given

    @torch.jit.export
    def evaluate(
        self, systems: ops.Systems, gradients: bool = True, exclude: Tensor | None = None
    ) -> ops.Evaluation:
        """Everything at once, without a graph, by the kernel: see :func:`d3torch.ops.evaluate`."""
        batch = self._damping_of(systems).detach()
        tables, whole = self._of_all_or_some(self._plain(systems), exclude)
        return ops.evaluate(whole, batch, tables, self.reach(), gradients, form=self.form)

    @torch.jit.export
    def evaluate_on_list(
        self,
        systems: ops.Systems,
        indices: Tensor,
        shifts: Tensor,
        half: bool = False,
        gradients: bool = True,
        exclude: Tensor | None = None,
    ) -> ops.Evaluation:
        """Everything at once on a neighbour list of the host, without a graph, by the kernel.

        Arguments and errors are those of :meth:`on_list`; results, the virial among them, are those
        of :meth:`evaluate`.
        """
        self._refuse_more_than_pairs()
        if not torch.jit.is_scripting():  # type: ignore[attr-defined]
            require_tensors(indices=indices, shifts=shifts)
        batch = self._damping_of(systems).detach()
        tables, whole = self._of_all_or_some(self._plain(systems), exclude)
        pairs = ops.PairList(indices, shifts, half)
        reach = self.reach()
        return ops.evaluate_on_list(whole, pairs, batch, tables, reach, gradients, form=self.form)

    def _plain(self, systems: ops.Systems) -> ops.Systems:
        """The systems cut from any graph: torch.compile would ask for derivatives."""
        x, cell = systems.positions.detach(), systems.cell.detach()
        return ops.Systems(x, cell, systems.pbc, systems.species, systems.offsets)

    @torch.jit.export
    def pairwise(
        self,
        systems: ops.Systems,
        labels: Tensor | None = None,
        n_labels: int | None = None,
        exclude: Tensor | None = None,
    ) -> Tensor:
        """Energies by pair of labels, (n_systems, n_labels, n_labels): what groups have together.

        See :func:`d3torch.ops.pairwise_energies`; not differentiable by the kernel.

        Args:
            systems: as of :meth:`lattice`.
            labels: of every atom, from 0 on, (n_atoms,), int64; None takes the species.
            n_labels: how many there are; None takes one more than the largest label, or the
                elements.
            exclude: as of :meth:`forward`.
        """
        damping = self._damping_of(systems)
        which = systems.species if labels is None else labels
        if not isinstance(which, Tensor):
            raise TypeError(f"expected labels to be a tensor of integers, got {labels}")
        n = len(self.elements) if labels is None else 0
        if n_labels is not None:
            n = n_labels
        elif labels is not None and labels.numel() > 0:
            n = int(labels.max()) + 1
        tables, whole = self._of_all_or_some(systems, exclude)
        if self.backend == "eager":
            given = (whole, damping, tables, self.reach(), which, n, self.form)
            return eager.pairwise_energies(*given)
        return ops.pairwise_energies(whole, damping, tables, self.reach(), which, n, self.form)

    @torch.jit.export
    def systems(
        self,
        positions: Tensor,
        species: Tensor,
        cell: Tensor | None = None,
        pbc: Tensor | None = None,
        offsets: Tensor | None = None,
    ) -> ops.Systems:
        """One structure or a batch in the form that :meth:`lattice` takes.

        Args:
            positions: (n_atoms, 3), length.
            species: index into ``elements`` of every atom, (n_atoms,), int64.
            cell: (3, 3) or (n_systems, 3, 3), length; None for molecules.
            pbc: (3,) or (n_systems, 3), bool; None for True where there is a cell.
            offsets: first atom of every system, then n_atoms; None for one system.

        Raises:
            TypeError: for what is no tensor.
            ValueError: for other shapes of cell, pbc or offsets.
        """
        if not torch.jit.is_scripting():  # type: ignore[attr-defined]
            require_batch(positions, species, cell, pbc, offsets)
        n, device = positions.shape[0], positions.device
        starts = torch.arange(2, device=device) * n if offsets is None else offsets  # traced n too
        n_systems = starts.shape[0] - 1
        vectors = positions.new_zeros(1, 3, 3) if cell is None else cell.reshape(-1, 3, 3)
        periodic = torch.zeros(1, 3, dtype=torch.bool, device=device)
        if pbc is not None:
            periodic = pbc.reshape(-1, 3)
        elif cell is not None:
            periodic = ~periodic
        return ops.Systems(
            positions,
            vectors.expand(n_systems, 3, 3),
            periodic.expand(n_systems, 3),
            species,
            starts,
        )

    @torch.jit.export
    def damping(self) -> Tensor:
        """Damping parameters as the ops take them, (n_columns,).

        s6, s8, a1, a2 (length); with zero damping s6, s8, rs6, rs8, modified bet (1/length) as
        well; where there is the three-body term, s9 (1/sqrt(energy), 1 in hartree) at the end.
        """
        columns = [self.s6, self.s8]
        if hasattr(self, "a1"):
            columns += [self.a1, self.a2]
        if hasattr(self, "rs6"):
            columns += [self.rs6, self.rs8]
        if hasattr(self, "bet"):
            columns += [self.bet]
        if hasattr(self, "s9"):
            columns += [self.s9]
        return torch.stack(columns)

    @torch.jit.export
    def tables(self) -> ops.Tables:
        """Per-species data, in the units of the module."""
        if hasattr(self, "radii"):
            return ops.Tables(self.rcov, self.r4r2, self.cn_ref, self.c6_ref, self.radii)
        return ops.Tables(self.rcov, self.r4r2, self.cn_ref, self.c6_ref)

    @torch.jit.export
    def reach(self) -> ops.Range:
        """Cutoffs."""
        return ops.Range(
            self.cutoff, self.cn_cutoff, self.width, self.tail, self.atm_cutoff, self.atm_width
        )

    @torch.jit.export
    def atomic_c6(self, cn: Tensor, species: Tensor) -> Tensor:
        """C6 of atoms with their like, sum_ab w_a w_b C6_ref[a, b], (n_atoms,), energy length^6."""
        return eager.atomic_c6(cn, species, self.tables())

    @torch.jit.export
    def species(self, numbers: Tensor) -> Tensor:
        """Species indices of atomic numbers, (n_atoms,), int64.

        Raises:
            TypeError: for no tensor of integers.
            ValueError: if one of them is not among the elements; reads values, so it synchronises.
        """
        if not torch.jit.is_scripting():  # type: ignore[attr-defined]
            require_tensor("numbers", numbers)
        if numbers.is_floating_point() or numbers.is_complex() or numbers.dtype == torch.bool:
            raise TypeError("expected numbers to be integers, got a tensor of another kind")
        numbers = numbers.to(torch.int64)
        lookup = torch.full_like(self.numbers[:1], -1).repeat(self.last + 1)  # ends: no element
        lookup[self.numbers] = torch.arange(self.numbers.shape[0], device=lookup.device)
        index = lookup[numbers.clamp(0, self.last)]
        known = True
        if not torch.jit.is_scripting():  # type: ignore[attr-defined]
            unknown = torch.compiler.is_compiling() or torch._C._is_tracing()
            known = self.backend != "kernel" or not unknown  # the op refuses -1
        if known and bool((index < 0).any()):
            missing = int(numbers[index < 0][0])
            expected: list[int] = self.numbers.tolist()
            raise ValueError(f"expected atomic numbers among {expected}, got {missing}")
        return index

    @classmethod
    def of(
        cls, settings: Settings, elements: Sequence[int | str], units: str = "eV/A", **given: Any
    ) -> "D3":
        """A module of settings, whose lengths are in angstrom.

        Args:
            settings: which D3.
            elements: as of the class.
            units: of the module.
            **given: ``learnable``, ``dtype`` and ``backend``, as of the class.

        Raises:
            TypeError, ValueError: as the class; for ``cutoff="auto"``.
        """
        keywords = settings.fixed("a module").keywords()
        a = BOHR / get_units(require_choice("units", units, tuple(UNITS))).length
        keywords.update({name: keywords[name] / a for name in LENGTHS if name in keywords})
        return cls(elements, **keywords, units=units, **given)

    @property
    def settings(self) -> Settings:
        """Which D3 the module computes now; lengths in angstrom, whatever its units."""
        return settings_of(self)

    def checked_settings(self) -> dict[str, Any]:
        """What decides results beside tensors; lengths in the unit of the module."""
        return {name: getattr(self, name) for name in CHECKED}

    def older_settings(self) -> dict[str, Any]:
        """Variant, three-body term and atoms left out of a state from before there were others."""
        return OLDER

    def told_settings(self) -> dict[str, Any]:
        """Version, functional and damping that the module was made with; reads no tensors."""
        record = json.loads(self.record or "{}")
        told = {name: record.get(name) for name in (*TOLD, *columns_of(self))}
        return {**told, "xc": self.xc}

    def take_told(self, found: dict[str, Any]) -> None:
        """Take functional and parameters; a state of an older version tells less."""
        self.xc = found.get("xc")
        told = {name: found.get(name) for name in (*TOLD, *columns_of(self))}
        whole = {**json.loads(self.record or "{}"), **told}
        self.record = None if None in (told[VERSION], told["s6"]) else json.dumps(whole)

    def check_tables(self, given: Mapping[str, Any], prefix: str) -> None:
        """Refuse other elements, units and references, and rounded ones, by the tables."""
        if any(prefix + name in given for name in TABLES):
            own = {"numbers": self.elements, **self._own_tables()}
            refuse_other_tables(own, given, prefix, self.rcov.dtype)

    def check_older(self, given: Mapping[str, Any], prefix: str) -> None:
        """Refuse other damping, and warn if there is anything of this module in a state."""
        columns = columns_of(self)
        refuse_other_damping(columns, given, prefix, self.variant)
        if any(prefix + name in given for name in (*TABLES, *columns)):
            warn_of_missing(self.checked_settings())

    def __getstate__(self) -> dict[str, Any]:
        """What a pickle or a copy holds, with a record of the damping that is there now.

        Of a damping that diverged in training there is none, so the last one stays.
        """
        with contextlib.suppress(ValueError):
            return {**self.__dict__, "record": json.dumps(self.settings.record())}
        return {**self.__dict__}

    def __setstate__(self, pickled: dict[str, Any]) -> None:
        """Read a pickle, also one of a version that kept a lookup table and fewer settings."""
        super().__setstate__(pickled)  # type: ignore[no-untyped-call]
        self._buffers.pop("lookup", None)
        older: dict[str, Any] = {"xc": None, "record": None}
        if "elements" not in self.__dict__:
            older["elements"] = self.numbers.tolist()
        older.update(copy.deepcopy(OLDER), tail=False, form=VARIANTS[BJ].form)
        self.__dict__.update({k: v for k, v in older.items() if k not in self.__dict__})
        if "reference" not in self.__dict__:
            self.reference = reference_of(self, get_units(self.units))

    def extra_repr(self) -> str:
        """Settings, for print."""
        return (
            f"elements={self.elements}, variant={self.variant!r}, cutoff={self.cutoff}, "
            f"cn_cutoff={self.cn_cutoff}, width={self.width}, atm_cutoff={self.atm_cutoff}, "
            f"backend={self.backend!r}"
        )


D3BJ = D3
"""The name of the module from when it had one variant, which is still the one that it has by
itself; files of that time name it so."""

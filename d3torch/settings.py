"""Settings: which D3 is computed, as one value with its names, defaults and presets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from . import __version__
from .checks import (
    require_bool,
    require_choice,
    require_cutoffs,
    require_positive,
    require_three_body,
)
from .parameters import find_functional, resolve_damping
from .reference import check_exclude, check_reference
from .units import BOHR, UNITS, Units
from .variants import BJ, VARIANTS, Damping, check_variant

if TYPE_CHECKING:
    from .model import D3


class Preset(NamedTuple):
    """What a preset stands for, by keywords of settings.

    Attributes:
        cutoff, cn_cutoff: bohr.
        tail: whether there is one, with the width that it brings.
        width: of the smooth switch, bohr.
        reference: generation of the tables.
    """

    cutoff: float
    cn_cutoff: float
    tail: bool = False
    width: float = 0.0
    reference: str = "2024"


PRESETS = {
    "s-dftd3": Preset(60.0, 40.0),
    "mace_mp": Preset(40.0, 40.0, reference="2010"),
    "converged": Preset(40.0, 40.0, tail=True),
    "dftd3": Preset(9000.0**0.5, 40.0, reference="2010"),
    "torch-dftd": Preset(95.0, 40.0, reference="2010"),
    "vasp": Preset(50.2 / BOHR, 20.0 / BOHR, reference="2010"),
    "lammps": Preset(30.0 / BOHR, 20.0 / BOHR, reference="2010"),
    "metatomic": Preset(50.0, 25.0),
    "nvalchemi": Preset(15.0 / BOHR, 15.0 / BOHR, width=3.0 / BOHR, reference="2010"),
    "torch-sim": Preset(95.0, 95.0, reference="2010"),
}
"""What programs compute unless told otherwise (docs/agreement.md), and converged sums."""

FUNCTIONAL = "pbe"
"""The functional of settings that name neither one nor damping parameters."""

TAIL_WIDTH = 2.0 / BOHR
"""Switching width in bohr that a tail brings; see :func:`d3torch.ops.dispersion`."""

AUTO = "auto"
"""A cutoff that is chosen for each structure."""

ANGSTROM = UNITS["eV/A"]

ONE_OF = "expected Settings, a D3 or keywords, got"
"""The beginning of what every host says to something else, and to two of them."""

VERSION = "version"
"""Key under which a file keeps the version of d3torch beside the settings."""

THREE_BODY = ("s9", "atm_cutoff", "atm_width")
"""Keywords of the three-body term."""

REQUIRED = ("cutoff", "cn_cutoff", "width", "reference")
"""Keys that every version has written; those that came later have a value if they are missing."""


def resolve_range(
    cutoff: object,
    cn_cutoff: object,
    width: object,
    tail: bool | None,
    unit: Units,
    preset: object = "s-dftd3",
) -> tuple[float, float, float, bool]:
    """Cutoffs, switching width and tail with defaults filled in, in the length of the unit.

    Raises:
        TypeError, ValueError: as :func:`d3torch.checks.require_cutoffs`; for an unknown preset.
    """
    found = PRESETS[require_choice("preset", preset, tuple(PRESETS))]
    tailed = found.tail if tail is None else require_bool("tail", tail)
    smooth = TAIL_WIDTH if tailed else found.width
    return (
        *require_cutoffs(
            found.cutoff * unit.length if cutoff is None else cutoff,
            found.cn_cutoff * unit.length if cn_cutoff is None else cn_cutoff,
            smooth * unit.length if width is None else width,
            unit,
        ),
        tailed,
    )


def brought_by(tail: bool, width: float | None) -> bool:
    """Whether a width, A, is the one that there is by default with or without a tail."""
    return width == (TAIL_WIDTH * ANGSTROM.length if tail else 0.0)


def defined_s9(xc: str | None, variant: str) -> float:
    """Weight of the three-body term in the definition of a method: 0 without one.

    Raises:
        TypeError, ValueError: as :func:`d3torch.parameters.find_functional`.
    """
    if xc is None:
        return 0.0
    found = find_functional(xc, variant)
    return found.s9 if found.three_body else 0.0


@dataclass(frozen=True, init=False)
class Settings:
    """Which D3: everything that decides a result beside structure, device, dtype and backend.

    Lengths are in angstrom, as in all files and hosts; only a :class:`d3torch.D3` may have other
    units. What is not given is filled in, so that two settings are equal where they mean one D3.

    Args:
        xc: functional, such as ``"pbe"``, which is the default if damping is not given either.
        damping: explicit parameters instead of xc, of the kind of the variant or as dict: s6, s8,
            a1, a2 (bohr); of zero damping s6, s8, rs6, rs8; of the modified one bet (1/bohr) too.
        variant: ``"bj"``, Becke-Johnson damping, ``"bjm"``, modified; ``"zero"``, zero damping,
            ``"zerom"``, modified.
        cutoff: two-body cutoff, A, at most 1000; None takes that of the preset; ``"auto"`` chooses
            it for each structure with three periodic directions or none by
            :func:`d3torch.evaluate.auto_cutoff`.
        cn_cutoff: cutoff of the coordination number, A; None takes that of the preset.
        width: width of the smooth switch to zero at the cutoff, A; 0 cuts off hard; None takes that
            of the preset, mostly 0, and with a tail 2 A: at a hard cutoff, the tail corrects the
            pressure by half only.
        tail: add what a homogeneous continuation along the periodic directions adds beyond the
            cutoff, see :func:`d3torch.ops.dispersion`; a molecule then has all its pairs. None
            takes that of the preset.
        tolerance: energy per atom, eV, that ``cutoff="auto"`` leaves out at most; with a cutoff in
            A it means nothing and is not kept.
        reference: ``"2024"`` (103 elements) or ``"2010"`` (94 elements); None takes that of the
            preset.
        preset: a name for cutoffs, width, tail and tables, which are kept instead of it:
            ``"s-dftd3"``, 60 and 40 bohr; ``"converged"``, 40 and 40 bohr and a tail, which gives
            energy, forces and stress of an infinite cutoff; or what another program computes
            unless told otherwise (docs/agreement.md): ``"mace_mp"``, ``"dftd3"``,
            ``"torch-dftd"``, ``"vasp"``, ``"lammps"``, ``"metatomic"``, ``"nvalchemi"``,
            ``"torch-sim"``.
        s9: weight of the three-body term (Axilrod-Teller-Muto), 0 leaves it out; None takes 1 for
            methods that are defined with it (B97-3c, PBEh-3c), else 0.
        atm_cutoff: cutoff of each of the three distances, A; None takes 40 bohr. Without the
            three-body term, it and its width mean nothing and are 0.
        atm_width: width of the smooth switch to zero at that cutoff, A; None takes 0.
        exclude: symbols of elements whose atoms have no dispersion with anything, C6 = 0, and still
            count in the coordination numbers of others: metatomic's ``excluded_atom_types``, ghost
            atoms of simple-dftd3. Kept by atomic number.

    Attributes:
        xc: its one name, None with explicit damping.
        damping: the parameters, of the functional or explicit.
        tolerance: None unless cutoff is ``"auto"``.

    Raises:
        TypeError, ValueError: for an argument of the wrong kind or value; one sentence each.
    """

    xc: str | None
    damping: Damping
    cutoff: float | str
    cn_cutoff: float
    width: float
    tail: bool
    tolerance: float | None
    reference: str
    variant: str = BJ
    s9: float = 0.0
    atm_cutoff: float = 0.0
    atm_width: float = 0.0
    exclude: tuple[str, ...] = ()

    def __init__(
        self,
        *,
        xc: str | None = None,
        damping: Damping | Mapping[str, float] | None = None,
        cutoff: float | str | None = None,
        cn_cutoff: float | None = None,
        width: float | None = None,
        tail: bool | None = None,
        tolerance: float | None = 1e-4,
        reference: str | None = None,
        preset: str = "s-dftd3",
        variant: str = BJ,
        s9: float | None = 0.0,
        atm_cutoff: float | None = None,
        atm_width: float | None = None,
        exclude: Sequence[str] | None = (),
    ) -> None:
        xc = FUNCTIONAL if xc is None and damping is None else xc
        auto = isinstance(cutoff, str) and cutoff == AUTO
        reach = resolve_range(None if auto else cutoff, cn_cutoff, width, tail, ANGSTROM, preset)
        if tolerance is not None or auto:
            require_positive("tolerance", tolerance)
        damped = resolve_damping(xc, damping, variant)
        weight = defined_s9(xc, variant) if s9 is None else s9
        triples = require_three_body(weight, atm_cutoff, atm_width, ANGSTROM)
        values = {
            "damping": damped,
            "xc": None if xc is None else find_functional(xc, variant).name,
            "cutoff": AUTO if auto else reach[0],
            "cn_cutoff": reach[1],
            "width": reach[2],
            "tail": reach[3],
            "tolerance": tolerance if auto else None,
            "reference": check_reference(
                PRESETS[preset].reference if reference is None else reference
            ),
            "variant": variant,
            **dict(zip(THREE_BODY, triples, strict=True)),
            "exclude": check_exclude(exclude),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @classmethod
    def of(cls, settings: Settings | str | None = None, **given: Any) -> Settings:
        """Settings from what a host is given: settings, or a functional, or keywords.

        Raises:
            TypeError: for settings and keywords together, an unknown keyword, something else.
        """
        unknown = [name for name in given if name not in KEYWORDS]
        if unknown:
            raise TypeError(f"expected keywords among {', '.join(KEYWORDS)}, got {unknown[0]}")
        if settings is None:
            return cls(**given)
        if isinstance(settings, str) and "xc" not in given:
            return cls(xc=settings, **given)
        if not isinstance(settings, Settings) or given:
            raise TypeError(f"{ONE_OF} {' and '.join([_kind(settings), *given])}")
        return settings

    def keywords(self) -> dict[str, Any]:
        """Keywords that make these settings again.

        Tolerance is there with ``cutoff="auto"`` alone, variant if it is not ``"bj"``, exclude if
        there is something, and what belongs to the three-body term where there is one.
        """
        values: dict[str, Any] = {
            "xc": self.xc,
            "damping": self.damping if self.xc is None else None,
            "cutoff": self.cutoff,
            "cn_cutoff": self.cn_cutoff,
            "width": self.width,
            "tail": self.tail,
            "reference": self.reference,
        }
        if self.tolerance is not None:
            values["tolerance"] = self.tolerance
        if self.variant != BJ:
            values["variant"] = self.variant
        if self.exclude:
            values["exclude"] = self.exclude
        three_body = {name: getattr(self, name) for name in THREE_BODY}
        return {**values, **three_body} if self.s9 else values

    @property
    def label(self) -> str:
        """The literature's word behind a functional, such as ``D3(BJ)`` or ``D3(0)-ATM``."""
        return VARIANTS[self.variant].label + ("-ATM" if self.s9 else "")

    def replace(self, **changes: Any) -> Settings:
        """The settings with some keywords changed; None takes a default.

        xc and damping replace each other; a preset replaces all that it stands for and that is not
        given: cutoffs, width, tail and tables. A width that is the default of the tail, 2 A with
        and 0 without, changes with the tail; which preset there was is not known.
        """
        kept = self.keywords()
        if "tail" in changes and brought_by(self.tail, self.width):
            del kept["width"]
        instead: dict[str, tuple[str, ...]] = {"xc": ("damping",), "damping": ("xc",)}
        if changes.get("preset") in PRESETS:
            instead["preset"] = Preset._fields
        for name in changes:
            for other in instead.get(name, ()):
                kept.pop(other, None)
        return Settings.of(**{**kept, **changes})

    def as_dict(self) -> dict[str, Any]:
        """Strings, numbers and bools under the names that every file uses; a2 in bohr.

        exclude is a list of strings.

        The numbers of the damping stand beside the functional: a file means what it meant when it
        was written. The other names are those of :meth:`keywords`.
        """
        variant = {} if self.variant == BJ else {"variant": self.variant}
        values = {"xc": self.xc, **variant, **self.damping._asdict(), **self.keywords()}
        del values["damping"]
        return {**values, "exclude": [*self.exclude]} if self.exclude else values

    def record(self) -> dict[str, Any]:
        """What files carry: the version of d3torch, and :meth:`as_dict`."""
        return {VERSION: __version__, **self.as_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Settings:
        """Settings from :meth:`as_dict` or :meth:`record`, also of an earlier version.

        Raises:
            TypeError, ValueError: for a key that is unknown or missing, a wrong value, or a
                functional whose parameters are others here.
        """
        given = {name: value for name, value in values.items() if name != VERSION}
        fields = VARIANTS[check_variant(given.get("variant", BJ))].kind._fields
        numbers = {name: given.pop(name) for name in fields if name in given}
        names = [name for name in KEYWORDS if name not in ("damping", "preset")]
        unknown = [name for name in given if name not in names]
        if unknown:
            by = f", which d3torch {values[VERSION]} wrote" if VERSION in values else ""
            raise ValueError(
                f"expected settings that d3torch {__version__} knows, got {unknown[0]}{by}"
            )
        named = given.get("xc") is not None
        missing = [name for name in REQUIRED if given.get(name) is None]
        if missing or not (named or numbers):
            raise ValueError(f"expected settings with {(missing or ['xc'])[0]}, got none")
        found = cls(**given, damping=None if named else numbers)
        if named and numbers and resolve_damping(None, numbers, found.variant) != found.damping:
            raise ValueError(
                f"expected the damping of {found.xc}, {tuple(found.damping)}, got {numbers}"
            )
        return found

    def fixed(self, host: str) -> Settings:
        """The settings, if they are the same for every structure.

        Args:
            host: what asks, for the error.

        Raises:
            ValueError: for ``cutoff="auto"``.
        """
        if self.cutoff == AUTO:
            raise ValueError(
                f"expected a cutoff in A for {host}, got 'auto', which is chosen for each structure"
            )
        return self

    def without_tail(self, host: str) -> Settings:
        """The settings, if they have a fixed cutoff and no tail.

        Args:
            host: what asks, for the error: it hands over forces of pairs, and no pressure.

        Raises:
            ValueError: otherwise.
        """
        if self.tail:
            raise ValueError(
                f"expected no tail for {host}, which passes on forces of pairs while a tail has "
                "a pressure beside them (pair_style d3torch can tell it), got tail=True"
            )
        return self.fixed(host)

    def module(self, elements: Any, *, units: str = "eV/A", **given: Any) -> D3:
        """A module of these settings.

        Args:
            elements: symbols or atomic numbers, as of :class:`d3torch.D3`.
            units: of the module, as there.
            **given: ``learnable``, ``dtype`` and ``backend``, as there.

        Raises:
            TypeError, ValueError: as there; for ``cutoff="auto"``.
        """
        from .model import D3

        return D3.of(self, elements, units=units, **given)


KEYWORDS = tuple(Settings.__init__.__kwdefaults__ or ())
"""Keywords of settings."""

DEFAULTS: dict[str, Any] = {**(Settings.__init__.__kwdefaults__ or {}), "xc": FUNCTIONAL}
"""What each keyword is if it is not given."""


def _kind(settings: object) -> str:
    """What was given as settings, for an error."""
    return repr(settings) if isinstance(settings, str) else type(settings).__name__

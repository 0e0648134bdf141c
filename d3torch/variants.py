"""Variants of D3: the damping function of each and its parameters."""

from __future__ import annotations

from typing import NamedTuple

from .checks import require_choice


class DampingParameters(NamedTuple):
    r"""Parameters of rational (Becke-Johnson) damping, original or modified.

    .. math:: g(r) = \frac{s_6}{r^6 + R_0^6} + \frac{3 s_8 Q_i Q_j}{r^8 + R_0^8}, \quad
        R_0 = a_1 \sqrt{3 Q_i Q_j} + a_2

    Attributes:
        s6: weight of the C6 term; below 1 for double hybrids.
        s8: weight of the C8 term.
        a1: factor of the critical radius ``sqrt(C8/C6)``.
        a2: shift of the critical radius, in bohr.

    Sources: Grimme, Ehrlich, Goerigk 2011, doi:10.1002/jcc.21759; modified: other numbers, Smith,
    Burns, Patkowski, Sherrill 2016, doi:10.1021/acs.jpclett.6b00780.
    """

    s6: float
    s8: float
    a1: float
    a2: float


class ZeroParameters(NamedTuple):
    r"""Parameters of zero damping.

    .. math:: g(r) = \frac{s_6}{r^6} \frac{1}{1 + 6 x_6^{-14}}
        + \frac{3 s_8 Q_i Q_j}{r^8} \frac{1}{1 + 6 x_8^{-16}}, \quad
        x_n = \frac{r}{r_{sn} r_0}

    with the radius :math:`r_0` of the pair of elements.

    Attributes:
        s6: weight of the C6 term; below 1 for double hybrids.
        s8: weight of the C8 term.
        rs6: factor of the radius in the C6 term.
        rs8: factor of the radius in the C8 term; 1 in nearly all functionals.

    Source: Grimme, Antony, Ehrlich, Krieg 2010, doi:10.1063/1.3382344.
    """

    s6: float
    s8: float
    rs6: float
    rs8: float = 1.0


class ModifiedZeroParameters(NamedTuple):
    r"""Parameters of modified zero damping: :class:`ZeroParameters` with

    .. math:: x_n = \frac{r}{r_{sn} r_0} + \beta r_0

    Attributes:
        s6: weight of the C6 term; below 1 for double hybrids.
        s8: weight of the C8 term.
        rs6: factor of the radius in the C6 term.
        rs8: factor of the radius in the C8 term; 1 in all published functionals.
        bet: beta, in 1/bohr.

    Source: Smith, Burns, Patkowski, Sherrill 2016, doi:10.1021/acs.jpclett.6b00780.
    """

    s6: float
    s8: float
    rs6: float
    rs8: float
    bet: float


Damping = DampingParameters | ZeroParameters | ModifiedZeroParameters

RADII = ("rs6", "rs8")
"""Damping parameters that are factors of a radius, by which distances are divided."""

POWERS = {"a2": 1, "bet": -1}
"""Powers of length in the units of damping parameters; the others are numbers."""


class Variant(NamedTuple):
    """A kind of D3.

    Attributes:
        kind: its damping parameters.
        form: the number of its damping function, as :mod:`d3torch.ops` counts them.
        words: what it is called.
        label: what the literature writes behind the name of a functional.
    """

    kind: type[Damping]
    form: int
    words: str
    label: str


VARIANTS = {
    "bj": Variant(DampingParameters, 0, "Becke-Johnson damping", "D3(BJ)"),
    "bjm": Variant(DampingParameters, 0, "modified Becke-Johnson damping", "D3M(BJ)"),
    "zero": Variant(ZeroParameters, 1, "zero damping", "D3(0)"),
    "zerom": Variant(ModifiedZeroParameters, 2, "modified zero damping", "D3M(0)"),
}
"""The variants of D3 by name."""

BJ = "bj"
"""The variant of whatever names none."""


def check_variant(variant: object) -> str:
    """The name of a variant.

    Raises:
        ValueError: for something else.
    """
    return require_choice("variant", variant, tuple(VARIANTS))


def scaled_damping(damping: Damping, length: float) -> Damping:
    """Damping parameters in another unit of length, of which one bohr is so many."""
    powers = {name: POWERS[name] for name in damping._fields if name in POWERS}
    return damping._replace(**{x: getattr(damping, x) * length**n for x, n in powers.items()})

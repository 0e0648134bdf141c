r"""Elastic constants from series of strain and pressure, and of a static structure.

.. math:: E = \frac{d\sigma_{xx}}{d\epsilon_{xx}}, \quad
    \nu = -\frac{d\epsilon_{yy}}{d\epsilon_{xx}}, \quad K = -V_0 \frac{dP}{dV}, \quad
    C_{11} = \frac{d\sigma_{xx}}{d\epsilon_{xx}}\Big|_{\epsilon_{yy} = \epsilon_{zz} = 0}, \quad
    C_{44} = \frac{C_{11} - C_{12}}{2}

E and nu with the sides at zero pressure, C11 and C12 with the sides held, K under pressure: three
independent runs of one isotropic body, so E - 3K(1 - 2nu) tells how far they agree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms, units

from .averages import Line, Mean, fit_line, mean_of


class Level(NamedTuple):
    """Averages at one strain or pressure.

    Attributes:
        strain: of the axis.
        axial: stress along it, GPa, positive under tension.
        side: mean stress of the two other axes, GPa.
        lateral: strain of the two other axes, relative to zero axial strain.
        volume: A^3.
        pressure: GPa.
    """

    strain: float
    axial: Mean
    side: Mean
    lateral: Mean
    volume: Mean
    pressure: Mean


class Value(NamedTuple):
    """A result with its error and the fits behind it."""

    mean: Mean
    fits: tuple[Line, ...]


def _slopes(series: Sequence[Sequence[Level]], name: str, sign: float = 1.0) -> Value:
    """Mean over the axes of d(name)/d(strain)."""
    fits = []
    for levels in series:
        x = [level.strain for level in levels]
        y = [getattr(level, name) for level in levels]
        fits.append(fit_line(x, [sign * m.value for m in y], [m.error for m in y]))
    return Value(mean_of([Mean(f.slope, f.error) for f in fits]), tuple(fits))


def youngs_modulus(series: Sequence[Sequence[Level]]) -> Value:
    """E, GPa, of one series for each axis, with free sides."""
    return _slopes(series, "axial")


def poissons_ratio(series: Sequence[Sequence[Level]]) -> Value:
    """Poisson's ratio of the same series."""
    return _slopes(series, "lateral", -1.0)


def stiffness(series: Sequence[Sequence[Level]]) -> tuple[Value, Value, Mean]:
    """C11, C12 and C44 = (C11 - C12)/2, GPa, of series with held sides."""
    c11, c12 = _slopes(series, "axial"), _slopes(series, "side")
    error = 0.5 * float(np.hypot(c11.mean.error, c12.mean.error))
    return c11, c12, Mean(0.5 * (c11.mean.value - c12.mean.value), error)


def bulk_modulus(levels: Sequence[Level]) -> Value:
    """K, GPa, from the slope of a line through V(P), at the volume where that line has P = 0.

    Source: the protocol of doi:10.1021/acs.jctc.5c00218, 0 to 5 GPa, linear. A line through a
    curve: where K rises with pressure the value belongs to the middle of the range.
    """
    x = [level.pressure.value for level in levels]
    v = [level.volume for level in levels]
    fit = fit_line(x, [m.value for m in v], [m.error for m in v])
    return Value(bulk_of(fit), (fit,))


def bulk_of(fit: Line) -> Mean:
    """K, GPa, of a line through V(P): -V dP/dV where the line has P = 0."""
    k = -fit.intercept / fit.slope
    return Mean(k, abs(k * fit.error / fit.slope))


def bulk_at_zero(pressures: Sequence[float], volumes: Sequence[Mean]) -> Mean | None:
    r"""K at zero pressure, GPa, from a parabola through :math:`\ln V(P)`; None for two pressures.

    .. math:: K = -\left(\frac{d \ln V}{dP}\right)^{-1}_{P = 0}

    This is what light scattering measures. The line of :func:`bulk_modulus` over 5 GPa gives 52
    GPa for K = 40 GPa that rises by 4 with each GPa, and 31 for one that falls as fast.

    Args:
        pressures: GPa.
        volumes: A^3; with an error that is not known that of K is not either.
    """
    if len({*pressures}) < 3:
        return None
    x = np.asarray(pressures)
    weights = np.linalg.pinv(np.stack([np.ones_like(x), x, x**2], axis=1))[1]
    slope = float(weights @ np.log([v.value for v in volumes]))
    error = float(np.linalg.norm(weights * [v.error / v.value for v in volumes]))
    return Mean(-1.0 / slope, error / slope**2)


def consistency(youngs: Mean, bulk: Mean, poisson: Mean) -> Mean:
    """E - 3K(1 - 2nu), GPa, zero for an isotropic body; the three errors added as independent."""
    factor = 1.0 - 2.0 * poisson.value
    parts = (youngs.error, 3.0 * factor * bulk.error, 6.0 * bulk.value * poisson.error)
    value = youngs.value - 3.0 * bulk.value * factor
    return Mean(value, float(np.sqrt(sum(p**2 for p in parts))))


def static_stiffness(
    atoms: Atoms,
    relax: Callable[[Atoms], Any] | None = None,
    step: float = 1e-3,
) -> Any:
    """C_ij at rest, GPa, (6, 6) in Voigt order, by central differences of the stress.

    Args:
        atoms: with a calculator, at equilibrium.
        relax: moves the atoms of a strained structure to their minimum; None leaves them where
            the strain put them, which is right for lattices with one atom in the cell.
        step: strain to both sides.

    Raises:
        ValueError: for a step that is not positive.
    """
    if not step > 0:
        raise ValueError(f"expected a positive step, got {step}")
    matrix = np.zeros((6, 6))
    for k, (i, j) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
        stresses = []
        for sign in (1.0, -1.0):
            strain = np.zeros((3, 3))
            strain[i, j] += 0.5 * sign * step
            strain[j, i] += 0.5 * sign * step
            strained = atoms.copy()
            strained.calc = atoms.calc
            strained.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
            if relax is not None:
                relax(strained)
            stresses.append(strained.get_stress() / units.GPa)
        matrix[:, k] = (stresses[0] - stresses[1]) / (2.0 * step)
    return 0.5 * (matrix + matrix.T)

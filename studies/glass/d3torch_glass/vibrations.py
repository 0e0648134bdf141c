r"""Vibrational density of states from velocities.

.. math:: g(\nu) = \sum_i w_i \left| \int v_i(t) e^{-2 \pi i \nu t} dt \right|^2

with w = m for the density of states of a harmonic solid (equipartition puts the same kinetic
energy in every mode), w = 1 for the bare velocity spectrum, and w = m (b^2 / m) for what an
incoherent approximation of inelastic neutron scattering sees. M. Thomas et al., Phys. Chem. Chem.
Phys. 15, 6608 (2013), doi:10.1039/c3cp44302g. The study does not state its weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from .facts import facts

PER_CM = 1e15 / 2.99792458e10
"""Wavenumber, 1/cm, of one oscillation in a femtosecond."""

WEIGHTS = ("mass", "none", "neutron")


class Spectrum(NamedTuple):
    """A density of states.

    Attributes:
        wavenumbers: (n,), 1/cm.
        total: (n,), 1 / (1/cm), integral 1.
        partial: share of each element; they sum to the total.
        resolution: 1/cm, of the time window.
    """

    wavenumbers: Any
    total: Any
    partial: Mapping[str, Any]
    resolution: float


def weights_of(atoms: Atoms, weighting: str) -> Any:
    """Weight w of each atom, (n,), up to a factor.

    Raises:
        ValueError: for another weighting than those of :data:`WEIGHTS`.
    """
    if weighting not in WEIGHTS:
        raise ValueError(f"expected weights {', '.join(WEIGHTS)}, got {weighting!r}")
    if weighting == "none":
        return np.ones(len(atoms))
    if weighting == "mass":
        return atoms.get_masses()
    lengths = facts()["neutron_b_fm"]
    return np.array([lengths[s] ** 2 for s in atoms.symbols])


def vdos(
    velocities: Any,
    atoms: Atoms,
    interval: float,
    weighting: str = "mass",
    smooth: float = 0.0,
) -> Spectrum:
    """Density of states of velocities, by Fourier transform with a Hann window.

    Args:
        velocities: (n_times, n_atoms, 3), any unit.
        atoms: gives elements and masses.
        interval: between two times, fs.
        weighting: ``"mass"``, ``"none"`` or ``"neutron"``.
        smooth: standard deviation of a Gaussian that the spectrum is folded with, 1/cm.

    Raises:
        ValueError: another weighting, fewer than 8 times, another number of atoms.
    """
    w, n = weights_of(atoms, weighting), len(velocities)
    if n < 8 or velocities.shape[1] != len(atoms):
        raise ValueError(
            f"expected 8 times or more of {len(atoms)} atoms, got {n} of {velocities.shape[1]}"
        )
    window = np.hanning(n)[:, None, None]
    partial = {}
    for element in sorted(set(atoms.symbols)):
        chosen = np.flatnonzero(atoms.symbols == element)
        power = np.zeros(n // 2 + 1)
        for part in np.array_split(chosen, max(1, len(chosen) // 64)):
            v = np.asarray(velocities[:, part], dtype=np.float64)
            spectrum = np.fft.rfft(window * v, axis=0)
            power += ((np.abs(spectrum) ** 2).sum(axis=2) * w[part]).sum(axis=1)
        partial[element] = power
    x = np.fft.rfftfreq(n, interval) * PER_CM
    partial = {e: _smoothed(y, x[1], smooth) for e, y in partial.items()}
    area = np.trapezoid(sum(partial.values()), x)
    shares = {e: y / area for e, y in partial.items()}
    return Spectrum(x, sum(shares.values()), shares, float(2.0 * x[1]))


def _smoothed(y: Any, step: float, width: float) -> Any:
    """Fold y with a Gaussian, reflected at both ends so that nothing is lost."""
    if width <= 0:
        return y
    reach = min(int(np.ceil(4 * width / step)), len(y) - 1)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * step / width) ** 2)
    padded = np.pad(y, reach, mode="reflect")
    return np.convolve(padded, kernel / kernel.sum(), mode="valid")

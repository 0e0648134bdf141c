"""Vibrations and stiffness of the glass study against crystals whose answers are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.md.verlet import VelocityVerlet
from glass_crystals import analytic_stiffness, argon, lattice_constant, modes

from d3torch_glass import averages, elasticity, facts, vibrations
from d3torch_glass.levels import levels
from d3torch_glass.protocol import Protocol, chains
from d3torch_glass.runner import follow, load, start_state

# ---- vibrations ----


def _equipartition(frequencies: np.ndarray, vectors: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Mass-weighted velocities with the same energy in every mode."""
    phases = np.random.default_rng(3).uniform(0, 2 * np.pi, len(frequencies))
    return np.cos(2 * np.pi * np.outer(times, frequencies) + phases) @ vectors.T


def test_density_of_states_of_a_harmonic_chain() -> None:
    """Two masses on a ring: the number of modes below each wavenumber, total and per element."""
    n, k, dt, steps = 40, 1.0, 4.0, 4096
    atoms = Atoms(["Si", "O"] * (n // 2), np.zeros((n, 3)), pbc=True, cell=[10] * 3)
    m = atoms.get_masses()
    ring = 2 * k * np.eye(n) - k * (np.roll(np.eye(n), 1, 0) + np.roll(np.eye(n), -1, 0))
    values, vectors = np.linalg.eigh(ring / np.sqrt(np.outer(m, m)))
    frequencies = np.sqrt(np.clip(values, 0, None)) * units.fs / (2 * np.pi)
    v = np.zeros((steps, n, 3))
    moving = _equipartition(frequencies[1:], vectors[:, 1:], dt * np.arange(steps))
    v[:, :, 0] = moving / np.sqrt(m)
    found = vibrations.vdos(v, atoms, dt)
    x, modes_at = found.wavenumbers, frequencies * vibrations.PER_CM
    assert np.trapezoid(found.total, x) == pytest.approx(1.0)
    below = np.array([np.trapezoid(found.total[x <= edge], x[x <= edge]) for edge in x])
    gaps = np.array([120.0, 200.0, 282.0, 340.0, 500.0])
    share_of_silicon = (vectors[::2] ** 2).sum(axis=0)
    silicon = found.partial["Si"]
    for gap in gaps:
        weights = modes_at[1:] < gap  # the first mode is a translation, left at rest
        assert np.interp(gap, x, below) == pytest.approx(weights.sum() / (n - 1), abs=1.5 / n)
        part = np.trapezoid(silicon[x <= gap], x[x <= gap])
        expected = share_of_silicon[1:][weights].sum() / (n - 1)
        assert part == pytest.approx(expected, abs=1.5 / n)


def test_density_of_states_of_argon_is_that_of_its_dynamical_matrix() -> None:
    atoms = argon()
    wavenumbers, vectors = modes(atoms)
    assert np.abs(wavenumbers[:3]).max() < 0.5
    root = np.sqrt(np.repeat(atoms.get_masses(), 3))
    signs = np.random.default_rng(5).choice([-1.0, 1.0], len(wavenumbers) - 3)
    energy = 0.5 * units.kB * 0.2
    atoms.set_momenta(((vectors[:, 3:] @ signs) * np.sqrt(2 * energy) * root).reshape(-1, 3))
    dynamics, stored = VelocityVerlet(atoms, 10 * units.fs), []
    for step in range(3000):
        dynamics.step()
        if step % 3 == 0:
            stored.append(atoms.get_velocities() * units.fs)
    smooth = 3.0
    found = vibrations.vdos(np.array(stored), atoms, 30.0, smooth=smooth)
    x = found.wavenumbers
    width = np.hypot(smooth, 0.36 * found.resolution)  # that of the window, as a Gaussian
    peaks = np.exp(-0.5 * ((x[:, None] - wavenumbers[3:]) / width) ** 2)
    expected = peaks.sum(axis=1)
    expected /= np.trapezoid(expected, x)
    assert np.abs(found.total - expected).max() < 0.06 * expected.max()


def test_weights_of_the_density_of_states() -> None:
    atoms = Atoms("OSi", [[0, 0, 0], [3, 0, 0]])
    v = np.random.default_rng(1).normal(size=(64, 2, 3))
    bare = vibrations.vdos(v, atoms, 1.0, "none").partial
    mass = vibrations.vdos(v, atoms, 1.0, "mass").partial
    neutron = vibrations.vdos(v, atoms, 1.0, "neutron").partial
    ratio = bare["Si"] / bare["O"]
    np.testing.assert_allclose(mass["Si"] / mass["O"], ratio * 28.085 / 15.999)
    np.testing.assert_allclose(neutron["Si"] / neutron["O"], ratio * (4.1491 / 5.803) ** 2)
    with pytest.raises(ValueError, match="expected weights mass, none, neutron, got 'charge'"):
        vibrations.vdos(v, atoms, 1.0, "charge")


# ---- elasticity ----


def test_static_stiffness_of_argon_is_the_lattice_sum() -> None:
    found = elasticity.static_stiffness(argon())
    c11, c12, c44 = analytic_stiffness(lattice_constant())
    np.testing.assert_allclose(np.diag(found), [c11] * 3 + [c44] * 3, rtol=1e-4)
    np.testing.assert_allclose(found[[0, 0, 1], [1, 2, 2]], c12, rtol=1e-4)


PROTOCOL = Protocol(
    low=0.5, dt_fs=10.0, tdamp_fs=400.0, pdamp_fs=1500.0, segment_fs=200.0, checkpoint_ps=2.0,
    sample_fs=50.0, strains=(0.002,), strain_ps=10.0, hold_ps=8.0, pressures=(0.0, 0.01),
    pressure_ps=200.0,
)  # fmt: skip


def _argon_run(name: str, folder: Path) -> list[elasticity.Level]:
    chain, atoms = chains(PROTOCOL)[name], argon()
    follow(chain, PROTOCOL, atoms, lambda: start_state(argon(), PROTOCOL.low, 1), folder)
    return levels(load(chain, folder))


def test_moduli_by_dynamics_are_those_of_argon(tmp_path: Path) -> None:
    """At half a kelvin and 0.2 %: the lattice sums of the crystal, to what strain changes them."""
    c11, c12, _ = analytic_stiffness(lattice_constant())
    held = elasticity.stiffness([_argon_run("uniaxial_y", tmp_path / "u")])
    assert held[0].mean.value == pytest.approx(c11, rel=0.04)
    assert held[1].mean.value == pytest.approx(c12, rel=0.04)
    assert held[2].value == pytest.approx(0.5 * (c11 - c12), rel=0.04)
    k = elasticity.bulk_modulus(_argon_run("compress", tmp_path / "k"))
    assert k.mean.value == pytest.approx((c11 + 2 * c12) / 3, rel=0.04)
    free = [_argon_run("strain_y", tmp_path / "s")]
    e, nu = elasticity.youngs_modulus(free).mean, elasticity.poissons_ratio(free).mean
    assert e.value == pytest.approx((c11 - c12) * (c11 + 2 * c12) / (c11 + c12), rel=0.12)
    assert nu.value == pytest.approx(c12 / (c11 + c12), rel=0.12)


def test_the_bulk_modulus_at_zero_pressure_is_not_that_of_a_line() -> None:
    """40 GPa that rise by 4 with each GPa: 40 from a parabola, some 52 from a line to 5 GPa."""
    p = np.array([0.0, 2.5, 5.0])
    volumes = 1000.0 * np.exp(-p / 40.0 + 4.0 * p**2 / (2.0 * 40.0**2))
    given = [averages.Mean(float(v), 1e-3 * float(v)) for v in volumes]
    found = elasticity.bulk_at_zero([*p], given)
    assert found is not None
    assert found.value == pytest.approx(40.0, rel=1e-12)
    slope = 1e-3 * np.sqrt(3**2 + 4**2 + 1**2) / 5.0  # (-3, 4, -1) / (2 * 2.5 GPa)
    assert found.error == pytest.approx(40.0**2 * slope, rel=1e-9)
    assert elasticity.bulk_at_zero([0.0, 2.5], given[:2]) is None
    murnaghan = 1000.0 * (1.0 + 4.0 * p / 40.0) ** -0.25
    line = averages.fit_line(p, murnaghan)
    assert elasticity.bulk_of(line).value == pytest.approx(51.8, abs=0.1)


def test_moduli_of_an_isotropic_body_are_consistent() -> None:
    zero = averages.Mean(0.0, 0.1)
    e, k, nu = (averages.Mean(*v) for v in ((60.0, 3.0), (40.0, 2.0), (0.25, 0.01)))
    by_parts = np.hypot(np.hypot(3.0, 3.0 * 0.5 * 2.0), 6.0 * 40.0 * 0.01)
    assert elasticity.consistency(e, k, nu).error == pytest.approx(by_parts)
    e, k, nu = (averages.Mean(v, 0.0) for v in facts.isotropic_moduli(75.0, 30.0))
    assert elasticity.consistency(e, k, nu).value == pytest.approx(0.0, abs=1e-12)
    assert elasticity.consistency(zero, zero, zero).error == pytest.approx(np.hypot(0.1, 0.3))

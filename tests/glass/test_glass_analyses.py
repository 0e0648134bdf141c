"""Analyses of the glass study against known answers."""

from __future__ import annotations

from functools import cache

import ase.io
import direct_scattering
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from checkout import TESTS

from d3torch.examples import glass_path
from d3torch_glass import averages, facts, structure

GLASSES = {
    "SiO2": TESTS / "data" / "SiO2_1500.extxyz",
    "NS33": glass_path(),
}
glasses = pytest.mark.parametrize("name", GLASSES)


@cache
def glass(name: str) -> Atoms:
    return ase.io.read(GLASSES[name])


# ---- facts ----


def test_compositions_are_those_of_the_study() -> None:
    rows = facts.facts()["compositions"]
    assert [c.name for c in facts.compositions()] == [row["name"] for row in rows]
    for c, row in zip(facts.compositions(), rows, strict=True):
        assert c.counts(500) == row["atoms"]
        assert sum(c.counts(32).values()) == 96
        assert facts.box_length(c.counts(), c.density) == pytest.approx(row["L"], abs=6e-3)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(("NS10", 3.778), ("NS20", 3.5), ("NS22.5", 3.419), ("NS30", 3.143), ("NS33", 3.015)),
        *(("NS40", 2.667), ("NS50", 2.0), ("sio2", 4.0)),
    ],
)
def test_mean_qn_of_the_sum_rule(name: str, expected: float) -> None:
    assert facts.composition(name).mean_qn() == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize(
    ("name", "units", "na2o", "density"),
    [
        ("NS33", 500, 33.0, facts.composition("NS33").density),
        ("SiO2", 34, 0.0, 2.2),
        ("NS33", 34, 100 * 11 / 34, 2.469 + (100 * 11 / 34 - 30) / 3 * (2.494 - 2.469)),
        ("NS50", 35, 100 * 18 / 35, facts.composition("NS50").density),
    ],
)
def test_a_small_glass_is_of_another_composition(
    name: str, units: int, na2o: float, density: float
) -> None:
    found = facts.composition(name).of_units(units)
    assert found.na2o == pytest.approx(na2o, abs=1e-12)
    assert found.density == pytest.approx(density, abs=1e-9)


def test_an_unknown_composition_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"expected a composition, one of SiO2, NS10, .* got 'NS5'"
    ):
        facts.composition("NS5")


def test_moduli_of_brillouin_scattering() -> None:
    """Silica: 36 GPa, 73 GPa and 0.17 are in every handbook."""
    silica = facts.measured_moduli(0.0)
    assert silica is not None
    assert silica.bulk == pytest.approx(36.2, rel=0.02)
    assert silica.youngs == pytest.approx(73.0, rel=0.05)
    assert silica.poisson == pytest.approx(0.17, abs=0.02)
    assert silica.youngs == pytest.approx(3 * silica.bulk * (1 - 2 * silica.poisson), rel=1e-12)
    assert facts.measured_moduli(40.0) is None


# ---- averages ----


def test_block_error_is_that_of_independent_samples() -> None:
    rng = np.random.default_rng(1)
    found = [averages.block_mean(rng.normal(2.0, 1.0, 1000), 10) for _ in range(200)]
    errors = np.array([m.error for m in found])
    assert np.sqrt((errors**2).mean()) == pytest.approx(1 / np.sqrt(1000), rel=0.1)
    assert np.std([m.value for m in found]) == pytest.approx(1 / np.sqrt(1000), rel=0.15)


def test_block_error_sees_memory() -> None:
    """A series that repeats every value 20 times knows a twentieth: its error is 4.5 times that."""
    values = np.repeat(np.random.default_rng(2).normal(size=500), 20)
    naive = values.std() / np.sqrt(len(values))
    assert averages.block_mean(values, 25).error > 3 * naive


def test_a_line_and_its_error() -> None:
    line = averages.fit_line([0, 1, 2], [1.0, 3.0, 5.0], [0.1, 0.1, 0.1])
    assert line[:2] == pytest.approx((2.0, 1.0))
    assert line.error == pytest.approx(0.1 / np.sqrt(2))
    assert averages.fit_line([0, 1, 2], [1.0, 3.0, 5.0]).error == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(ValueError, match="expected two different values"):
        averages.fit_line([1, 1], [0, 1])


# ---- structure ----


@pytest.mark.parametrize(
    ("lattice", "a", "coordination"),
    [("fcc", 4.0, {1: 12, 2: 6, 3: 24}), ("bcc", 4.0, {0.75: 8, 1: 6, 2: 12})],
)
def test_pair_distribution_of_a_crystal_is_its_shells(
    lattice: str, a: float, coordination: dict[float, int]
) -> None:
    """Numbers of neighbours by squared distance, in units of a^2/2 (fcc) or a^2 (bcc)."""
    atoms = bulk("Si", lattice, a=a, cubic=True) * (5, 5, 5)
    pairs = structure.pair_distributions([atoms], reach=7.5, bins=750)
    density = (len(atoms) - 1) / atoms.get_volume()  # of the others
    width = pairs.r[1] - pairs.r[0]
    counted = 4 * np.pi * pairs.r**2 * width * density * pairs.g["Si-Si"]
    unit = a**2 / 2 if lattice == "fcc" else a**2
    for square, number in coordination.items():
        near = np.abs(pairs.r - np.sqrt(square * unit)) < 3 * width
        assert counted[near].sum() == pytest.approx(number, rel=2e-3)
    first = np.sqrt(min(coordination) * unit)
    assert counted[pairs.r < first - 3 * width].sum() == 0
    assert pairs.peaks["Si-Si"] == pytest.approx(first, abs=0.02)


def test_angles_and_coordination_of_beta_cristobalite() -> None:
    """Ideal C9: every Si has four O, every O two Si at 180 degrees, O-Si-O tetrahedral."""
    silicon = bulk("Si", "diamond", a=7.16, cubic=True)
    bonds = [(i, j) for i in range(8) for j in range(i) if silicon.get_distance(i, j, mic=True) < 4]
    middles = [
        silicon.positions[i] + 0.5 * silicon.get_distance(i, j, mic=True, vector=True)
        for i, j in bonds
    ]
    crystal = silicon + Atoms(f"O{len(middles)}", middles)
    crystal = crystal * (2, 2, 2)
    found = structure.angles([crystal])
    np.testing.assert_allclose(found["Si-O-Si"], 180.0, atol=1e-4)
    np.testing.assert_allclose(found["O-Si-O"], np.degrees(np.arccos(-1 / 3)), atol=1e-6)
    assert structure.coordination([crystal])["Si-O"] == {4: 1.0}
    network = structure.network([crystal])
    assert network.qn == {4: 1.0}
    assert network.mean_qn == network.sum_rule == 4.0


def test_silica_of_pmmcs() -> None:
    """Si-O near 1.62, O-O near 2.62 A, Si-O-Si near 151 degrees, over 95 % Q4, first sharp peak."""
    atoms = glass("SiO2")
    peaks = structure.pair_distributions([atoms]).peaks
    assert peaks["Si-O"] == pytest.approx(1.62, abs=0.01)
    assert peaks["O-O"] == pytest.approx(2.62, abs=0.02)
    assert peaks["Si-Si"] == pytest.approx(3.145, abs=0.06)
    assert structure.angles([atoms])["Si-O-Si"].mean() == pytest.approx(151, abs=1)
    assert structure.network([atoms]).qn[4] > 0.95
    q, total, _ = structure.neutron_factors([atoms])
    window = (q > 1.0) & (q < 2.2)
    assert 1.4 < q[window][np.argmax(total[window])] < 1.8


@glasses
def test_mean_qn_obeys_the_sum_rule_by_counting(name: str) -> None:
    """Exact with what the glass really has: 2 x bridges / Si, and near 4 - 2x/(1-x)."""
    atoms = glass(name)
    found, counts = structure.network([atoms]), atoms.symbols.formula.count()
    assert found.mean_qn == pytest.approx(found.sum_rule, abs=0.05)
    shares = found.oxygen
    bridges = sum(n * share for n, share in shares.items() if n >= 2) * counts["O"] / counts["Si"]
    assert found.mean_qn == pytest.approx(bridges, abs=1e-9)


@glasses
@pytest.mark.parametrize(("lorch", "bound"), [(False, 0.01), (True, 0.003)])
def test_neutron_factor_of_vitrum_is_the_direct_sum(name: str, lorch: bool, bound: float) -> None:
    """Above Q = 1, both truncated at half the cell; without truncation they differ by noise."""
    atoms, q = glass(name), np.arange(1.0, 6.0, 0.1)
    direct = _direct(name)
    found = structure.scattering([atoms], bins=1000)
    expected = direct_scattering.truncated(direct, atoms, q, found.rrange, lorch)
    value = np.interp(q, found.qval, found.get_structure_factor("neutron", lorch=lorch))
    assert np.abs(value - expected).max() < bound
    assert np.ptp(expected) > 0.5


@cache
def _direct(name: str) -> direct_scattering.Factors:
    return direct_scattering.direct_factors(glass(name), 9.0, 0.02)


def test_direct_sum_of_a_crystal_is_its_bragg_peaks() -> None:
    """fcc: 0 but where h, k, l are all even or all odd, there N."""
    atoms = bulk("Si", "fcc", a=5.0, cubic=True) * (3, 3, 3)
    found = direct_scattering.direct_factors(atoms, 4.0, 0.01)
    unit = 2 * np.pi / 5.0
    for square, times in ((3, 8), (4, 6), (8, 12)):
        shell = np.argmin(np.abs(found.q - unit * np.sqrt(square)))
        expected = len(atoms) * times / (2 * found.vectors[shell])
        assert found.total[shell] == pytest.approx(expected, rel=1e-9)
        assert found.partial["Si-Si"][shell] == pytest.approx(expected, rel=1e-9)

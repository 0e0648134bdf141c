"""Structures of many jobs in one call: each job as it would be alone, stops, errors, dispersion."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from glass_crystals import answers, argon

from d3torch import D3Calculator
from d3torch_glass.batches import Asking, Batch, TimeIsUp, many_at_once
from d3torch_glass.relaxing import Tolerance, read_relaxed, relax

CLOSE = Tolerance(0.001, 0.001)
NEVER = time.time() + 1e6


def _shaken(seed: int) -> Atoms:
    """Argon off its lattice, with the calculator of the lattice."""
    atoms = argon()
    atoms.positions += 0.05 * np.random.default_rng(seed).normal(size=atoms.positions.shape)
    return atoms


class _One:
    """A potential that takes many structures, and counts them; too many at once fail."""

    def __init__(self, most: int = 100) -> None:
        self.most, self.sizes = most, list[int]()

    def __call__(self, many: Sequence[Atoms]) -> list[dict[str, Any]]:
        if len(many) > self.most:
            raise RuntimeError("out of memory")
        if any(len(atoms) == 1 for atoms in many):
            raise RuntimeError("an atom alone")
        self.sizes.append(len(many))
        return answers(many)


def _in_threads(
    potential: Any, jobs: Sequence[Callable[[Batch], Any]], dispersion: Any = None
) -> tuple[list[Any], Batch]:
    """What each job returned or raised, in a thread of its own."""
    batch = Batch(potential, dispersion, len(jobs), NEVER)
    found: list[Any] = [None] * len(jobs)

    def work(k: int) -> None:
        try:
            found[k] = jobs[k](batch)
        except Exception as error:
            found[k] = error
        finally:
            batch.leave()

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(jobs))]
    for thread in threads:
        thread.start()
    batch.serve()
    for thread in threads:
        thread.join()
    return found, batch


def _relaxing(seed: int, path: Path) -> Callable[[Batch], Any]:
    def job(batch: Batch) -> Any:
        atoms = _shaken(seed)
        atoms.calc = Asking(batch, "none")
        return relax(atoms, path, CLOSE)

    return job


@pytest.mark.parametrize("most", [100, 1], ids=["together", "not enough memory"])
def test_each_job_of_a_batch_is_what_it_is_alone(tmp_path: Path, most: int) -> None:
    """Three relaxations of one length or another end at the bits of those that ran alone."""
    potential = _One(most)
    found, batch = _in_threads(
        potential, [_relaxing(seed, tmp_path / f"{seed}.npz") for seed in range(3)]
    )
    for seed, rest in enumerate(found):
        alone = relax(_shaken(seed), tmp_path / f"alone_{seed}.npz", CLOSE)
        assert rest.steps == alone.steps > 3
        assert np.array_equal(rest.positions, alone.positions)
        assert np.array_equal(rest.cell, alone.cell)
    assert max(potential.sizes) == min(most, 3)
    assert batch.structures == sum(potential.sizes)


def test_an_error_ends_the_job_that_made_it_and_no_other(tmp_path: Path) -> None:
    def lonely(batch: Batch) -> Any:
        return Atoms("Ar", cell=[9, 9, 9], pbc=True, calculator=Asking(batch, "none")).get_forces()

    found, _ = _in_threads(_One(), [lonely, _relaxing(0, tmp_path / "0.npz")])
    assert str(found[0]) == "an atom alone"
    assert found[1].done


def test_when_time_is_up_a_job_stops_at_its_checkpoint_and_goes_on_later(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    potential = _One()

    def slow(many: Sequence[Atoms]) -> list[dict[str, Any]]:
        if len(potential.sizes) == 14:
            batch.until = 0.0
        return potential(many)

    batch = Batch(slow, lambda d3: None, 1, NEVER)
    server = threading.Thread(target=batch.serve)
    server.start()
    with pytest.raises(TimeIsUp):
        relax_tightly(batch, path)
    batch.leave()
    server.join()
    stopped = read_relaxed(path)
    assert stopped is not None
    assert (stopped.steps, stopped.done) == (10, False)
    again, _ = _in_threads(_One(), [lambda batch: relax_tightly(batch, path)])
    alone = relax(_shaken(1), tmp_path / "alone.npz", Tolerance(1e-5, 1e-5))
    assert again[0].steps == alone.steps
    assert np.array_equal(again[0].positions, alone.positions)


def relax_tightly(batch: Batch, path: Path) -> Any:
    """A relaxation of more than ten steps."""
    atoms = _shaken(1)
    atoms.calc = Asking(batch, "none")
    return relax(atoms, path, Tolerance(1e-5, 1e-5))


def test_dispersion_is_added_where_it_is_asked_for() -> None:
    """Energy, forces and stress are sums, as of the calculators one after the other."""

    def asked(d3: str) -> Callable[[Batch], Any]:
        def job(batch: Batch) -> Any:
            atoms = _shaken(3)
            atoms.calc = Asking(batch, d3)
            return atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()

        return job

    own = D3Calculator("pbe")
    found, _ = _in_threads(_One(), [asked("none"), asked("d3torch")], lambda d3: own)
    atoms = _shaken(3)
    atoms.calc = own
    alone = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
    for bare, both, extra in zip(*found, alone, strict=True):
        np.testing.assert_allclose(np.subtract(both, bare), extra, rtol=1e-9, atol=1e-12)


def test_a_potential_that_takes_one_structure_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a model of sevenn, chgnet, got 'pmmcs'"):
        many_at_once("pmmcs")

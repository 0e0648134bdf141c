"""Large results on a CPU lie in memory that is kept for the next one, marked as free meanwhile."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from systems import DAMPING, small_tables
from torch import Tensor

from d3torch import ops

N_ATOMS, ROW = 400, 1000
BYTES = N_ATOMS * ROW * 3 * 8  # of a gradient: more than 8 MiB
OPS = torch.ops.d3torch

Given = tuple[Tensor, Tensor, Tensor, Tensor, float]
Backward = Callable[[float], Tensor]

needs_smaps = pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="the system does not tell of free pages"
)


@pytest.fixture(scope="module")
def given() -> Given:
    """Arguments of coordination_number: a list in the order of its centres."""
    centre = torch.arange(N_ATOMS).repeat_interleave(ROW)
    neighbour = (centre + 1 + torch.arange(ROW).repeat(N_ATOMS)) % N_ATOMS
    generator = torch.Generator().manual_seed(3)
    vectors = 2.0 + 8.0 * torch.rand(N_ATOMS * ROW, 3, generator=generator, dtype=torch.float64)
    tables = small_tables(["H", "C", "O", "Na"], torch.float64)
    species = torch.arange(N_ATOMS) % 4
    return vectors, torch.stack([centre, neighbour]), species, tables.rcov, 12.0


@pytest.fixture
def backward(given: Given) -> Backward:
    """The gradient through the CN, by the weight of the CN."""

    def run(weight: float) -> Tensor:
        grad_cn = torch.full((N_ATOMS,), weight, dtype=torch.float64)
        gradient: Tensor = OPS.coordination_number_backward(grad_cn, *given)
        return gradient

    return run


def lazily_free() -> int:
    """Bytes of this process that the system may take when it wants memory."""
    text = Path("/proc/self/smaps_rollup").read_text()
    found = re.search(r"^LazyFree:\s+(\d+) kB", text, re.MULTILINE)
    assert found
    return 1024 * int(found[1])


def test_the_next_result_lies_where_the_last_one_was(backward: Backward) -> None:
    first = backward(1.0)
    place, values = first.data_ptr(), first.clone()
    del first
    second = backward(1.0)
    assert second.data_ptr() == place
    assert torch.equal(second, values)


def test_results_that_are_held_are_left_alone(backward: Backward) -> None:
    held = [backward(2.0**k) for k in range(5)]
    assert len({t.data_ptr() for t in held}) == 5
    for k, t in enumerate(held):
        assert torch.equal(t, 2.0**k * held[0])


def test_a_view_keeps_the_memory_of_its_result(backward: Backward) -> None:
    row = backward(1.0)[:3]
    values = row.clone()
    backward(2.0)
    backward(3.0)
    assert torch.equal(row, values)


@needs_smaps
def test_at_most_two_are_kept_and_they_are_free_to_the_system(backward: Backward) -> None:
    held = [backward(1.0) for _ in range(4)]
    before = lazily_free()
    held.clear()
    kept = lazily_free()
    assert before <= 2 * BYTES
    assert BYTES <= kept <= 2.6 * BYTES


def test_a_result_is_a_tensor_like_any_other(backward: Backward) -> None:
    result = backward(1.0)
    values = result.clone()
    assert result.is_contiguous()
    assert result.storage_offset() == 0
    assert result.untyped_storage().nbytes() == BYTES
    result.resize_(N_ATOMS * ROW + 7, 3)
    assert torch.equal(result[:-7], values)


def test_both_gradients_of_a_module_add_up(given: Given) -> None:
    """The energy's own gradient, and that through the CN, in two pieces that are kept."""
    tables = small_tables(["H", "C", "O", "Na"], torch.float64)
    damping = torch.tensor(DAMPING[0], dtype=torch.float64)

    def gradient() -> Tensor:
        vectors = given[0].clone().requires_grad_()
        cn = ops.coordination_number(vectors, *given[1:])
        pairs, species = given[1:3]
        energy = ops.dispersion_energy(vectors, cn, damping, pairs, species, tables, 12.0).sum()
        return torch.autograd.grad(energy, vectors)[0]

    first = gradient()
    again = [gradient() for _ in range(3)]
    assert all(torch.equal(first, t) for t in again)


def test_threads_do_not_share_a_result(backward: Backward) -> None:
    wrong: list[float] = []
    one = backward(1.0)

    def many(weight: float) -> None:
        for _ in range(20):
            result = backward(weight)
            if not torch.equal(result, weight * one):
                wrong.append(weight)

    threads = [threading.Thread(target=many, args=(float(k),)) for k in (2, 4, 8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []

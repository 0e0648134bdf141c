"""The pair ops: what the dispatcher asks, lists of every kind, repeatability, threads."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from pair_ops import (
    BACKENDS,
    NAMES,
    OPS,
    assert_close,
    backends,
    counter,
    dtypes,
    energy_of,
    first_and_second,
    inputs_of,
    leaves,
    op_arguments,
)
from systems import Case, pair_list, small_case, small_tables
from torch import Tensor
from torch.autograd import grad

from d3torch import _library, ops

WITH_FORMS = [
    *((name, ops.RATIONAL) for name in NAMES),
    *((name, ops.MODIFIED_ZERO) for name in NAMES if name.startswith("dispersion")),
]


@pytest.fixture(autouse=True)
def _restore_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


# ---- what the dispatcher asks of an op ----


@pytest.mark.parametrize("requires_grad", [False, True])
@dtypes
@pytest.mark.parametrize(("name", "form"), WITH_FORMS)
def test_opcheck(name: str, form: int, dtype: torch.dtype, requires_grad: bool) -> None:
    tests = ["test_schema", "test_autograd_registration", "test_faketensor"]
    if not (requires_grad and name.endswith(("_double_backward", "_by_centre"))):  # refused
        tests.append("test_aot_dispatch_dynamic")
    op = getattr(OPS, name).default
    torch.library.opcheck(op, op_arguments(name, dtype, requires_grad, form), test_utils=tests)


@pytest.mark.parametrize("name", NAMES)
def test_every_op_has_its_kernels(name: str) -> None:
    for key in ("CPU", "Meta", "CUDA", "Autograd"):
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"d3torch::{name}", key)


@pytest.mark.skipif(_library.has_cuda(), reason="built with CUDA kernels")
@pytest.mark.parametrize("name", NAMES)
def test_cuda_is_refused_by_a_build_without_it(name: str) -> None:
    keys = torch._C.DispatchKeySet(torch._C.DispatchKey.CUDA)
    sentence = f'{name} was built without CUDA kernels .* choose backend="eager".'
    with pytest.raises(NotImplementedError, match=sentence):
        getattr(OPS, name).default.redispatch(keys, *op_arguments(name, torch.float64, False))


# ---- lists of every kind ----


@backends
@dtypes
def test_order_of_the_pairs_does_not_matter(dtype: torch.dtype, backend: str) -> None:
    case = small_case(dtype, n_atoms=60)
    order = torch.argsort(case.pairs[0], stable=True)
    ordered = case._replace(vectors=case.vectors[order], pairs=case.pairs[:, order])
    a = first_and_second(energy_of(backend, case, 2.0), inputs_of(case))
    b = first_and_second(energy_of(backend, ordered, 2.0), inputs_of(ordered))
    assert_close(a[0], b[0], dtype)
    assert_close(a[2], b[2], dtype)
    assert_close(
        counter(backend, case)(case.vectors), counter(backend, ordered)(ordered.vectors), dtype
    )


def _without_pairs(case: Case, n_atoms: int) -> Case:
    return case._replace(
        vectors=case.vectors[:0],
        pairs=case.pairs[:, :0],
        species=case.species[:n_atoms],
        cn=case.cn[:n_atoms],
    )


@backends
@dtypes
@pytest.mark.parametrize("n_atoms", [3, 0])
def test_empty_list_and_no_atoms(n_atoms: int, dtype: torch.dtype, backend: str) -> None:
    case = _without_pairs(small_case(dtype), n_atoms)
    cn = first_and_second(counter(backend, case), leaves(case.vectors))
    energy = first_and_second(energy_of(backend, case, 2.0), inputs_of(case))
    assert cn[0].shape == energy[0].shape == (n_atoms,)
    assert all(t.dtype == dtype and not t.any() for t in (*cn, *energy))


@backends
@dtypes
def test_non_contiguous_inputs(dtype: torch.dtype, backend: str) -> None:
    case = small_case(dtype, n_atoms=8)

    def strided(t: Tensor) -> Tensor:
        wide = torch.zeros((*t.shape, 2), dtype=t.dtype).transpose(0, -2)
        view = wide[..., 1].transpose(0, -1)
        view.copy_(t)
        assert t.numel() < 2 or not view.is_contiguous()
        return view

    tables = type(case.tables)(*map(strided, case.tables[:4]))
    loose = Case(*map(strided, case[:5]), tables=tables)
    inputs = [strided(x.detach()).requires_grad_() for x in inputs_of(case)]
    a = first_and_second(energy_of(backend, loose, 2.0), inputs)
    b = first_and_second(energy_of(backend, case, 2.0), inputs_of(case))
    for x, y in zip(a, b, strict=True):
        assert_close(x, y, dtype)
    assert torch.equal(counter(backend, loose)(loose.vectors), counter(backend, case)(case.vectors))


def _crystal() -> tuple[Tensor, Tensor, Tensor]:
    """Pairs, vectors and species of a skewed crystal."""
    rng = np.random.default_rng(11)
    cell = np.array([[9.0, 0, 0], [2.5, 8.0, 0], [-1.5, 2.0, 7.0]])
    grid = np.stack(np.meshgrid(*3 * [np.arange(2)]), axis=-1).reshape(-1, 3) / 2
    positions = grid @ cell + rng.uniform(-0.4, 0.4, (8, 3))
    return (*pair_list(positions, cell, True, 9.7), torch.tensor([0, 1, 2, 3, 2, 1, 0, 2]))


@backends
@dtypes
def test_domains_with_ghosts_that_own_no_pairs_add_up_to_the_whole(
    dtype: torch.dtype, backend: str
) -> None:
    pairs, x, species = _crystal()
    tables, op = small_tables(["H", "C", "O", "Na"], dtype), BACKENDS[backend]
    damping = torch.tensor([1.0, 0.7875, 0.4289, 4.4407], dtype=dtype)
    owned = [species.new_tensor(atoms) for atoms in ([0, 2, 3, 7], [1, 4, 5, 6])]

    def energies(domains: list[Tensor], vectors: Tensor) -> list[Tensor]:
        lists = [torch.isin(pairs[0], atoms) for atoms in domains]
        counts = [
            op.coordination_number(vectors[m], pairs[:, m], species, tables.rcov, 8.0)
            for m in lists
        ]
        cn = torch.stack(counts).sum(dim=0)  # the exchange: 0 where a domain does not own an atom
        for atoms, count in zip(domains, counts, strict=True):
            assert not count[~torch.isin(torch.arange(8), atoms)].any()
        return [
            op.dispersion_energy(vectors[m], cn, damping, pairs[:, m], species, tables, 9.7)
            for m in lists
        ]

    def evaluated(domains: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        vectors = x.to(dtype).requires_grad_()
        parts = energies(domains, vectors)
        return parts, grad(torch.stack(parts).sum(), vectors)[0]

    (whole,), slope = evaluated([torch.arange(8)])
    parts, slope_of_parts = evaluated(owned)
    for part, atoms in zip(parts, owned, strict=True):
        assert_close(part[atoms], whole[atoms], dtype)
        assert not part[~torch.isin(torch.arange(8), atoms)].any()
    assert_close(slope_of_parts, slope, dtype)


@backends
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_a_number_is_not_hidden(value: float, backend: str) -> None:
    """NaN in a vector comes out as NaN; an infinite distance is beyond every cutoff."""
    case = small_case()
    centre = int(case.pairs[0, 0])
    case.vectors[0, 1] = value
    hidden = np.isinf(value)
    cn = counter(backend, case)(case.vectors)
    energy = energy_of(backend, case)(case.vectors, case.cn, case.damping)
    assert bool(cn[centre].isfinite()) == hidden
    assert bool(energy[centre].isfinite()) == hidden


# ---- repeatability and threads ----


def _everything(case: Case) -> list[Tensor]:
    cn = first_and_second(counter("kernel", case), leaves(case.vectors))
    return cn + first_and_second(energy_of("kernel", case, 2.0), inputs_of(case))


@dtypes
def test_results_repeat_to_the_last_bit_for_any_number_of_threads(dtype: torch.dtype) -> None:
    case = small_case(dtype, n_atoms=300)
    assert case.pairs.shape[1] > 60000  # several chunks of work
    torch.set_num_threads(1)
    expected = _everything(case)
    for threads in (1, 2, 4, 4):
        torch.set_num_threads(threads)
        assert all(map(torch.equal, _everything(case), expected))


HELPERS = Path(__file__).parents[1] / "helpers"

COUNT_THREADS = """
import os, sys
sys.path.insert(0, sys.argv[1])
import torch
from systems import small_case
from d3torch import ops

def cpu_ticks():
    ticks = {}
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        ticks[task] = int(fields[11]) + int(fields[12])
    return ticks

torch.set_num_threads(1)
case = small_case(n_atoms=int(sys.argv[2]))
before = cpu_ticks()
torch.set_num_threads(3)
arguments = (case.vectors, case.cn, case.damping, case.pairs, case.species, case.tables, 60.0)
ops.dispersion_energy(*arguments)
for _ in range(150):
    ops.dispersion_energy(*arguments)
    ops.coordination_number(case.vectors, case.pairs, case.species, case.tables.rcov, 40.0)
after = cpu_ticks()
print(len(after) - len(before), sum(after[task] - before.get(task, 0) >= 5 for task in after))
"""


def _threads(n_atoms: int) -> list[int]:
    """Threads that kernels started in a fresh process, and those that used processor time."""
    command = [sys.executable, "-c", COUNT_THREADS, str(HELPERS), str(n_atoms)]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    return [int(number) for number in out.stdout.split()]


def test_kernels_run_on_the_threads_of_torch() -> None:
    assert _threads(300) == [2, 3]


def test_short_lists_wake_no_threads() -> None:
    assert _threads(12)[0] == 0

"""The pair ops: derivatives, lists of every kind, repeatability, threads, refusals."""

from __future__ import annotations

import re
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from systems import Case, pair_list, small_case, small_tables
from torch import Tensor
from torch.autograd import grad, gradcheck, gradgradcheck

from d3torch import _library, eager, ops

BACKENDS: dict[str, Any] = {"kernel": ops, "eager": eager}
DTYPES = [torch.float64, torch.float32]
CUTOFF = 4.4
WIDTHS = [0.0, 1.6]
OPS = torch.ops.d3torch
NAMES = [
    f"{name}{suffix}"
    for name in ("coordination_number", "dispersion_energy")
    for suffix in ("", "_backward", "_double_backward")
] + ["dispersion_energy_by_centre"]
backends = pytest.mark.parametrize("backend", BACKENDS)
widths = pytest.mark.parametrize("width", WIDTHS)
dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)


@pytest.fixture(autouse=True)
def _restore_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def _cn(backend: str, case: Case, cutoff: float = CUTOFF) -> Callable[[Tensor], Tensor]:
    count = BACKENDS[backend].coordination_number
    return lambda vectors: count(vectors, case.pairs, case.species, case.tables.rcov, cutoff)


def _energy(backend: str, case: Case, width: float = 0.0) -> Callable[..., Tensor]:
    energy = BACKENDS[backend].dispersion_energy
    last = (case.pairs, case.species, case.tables, CUTOFF, width)
    return lambda vectors, cn, damping: energy(vectors, cn, damping, *last)


def _leaves(*tensors: Tensor) -> list[Tensor]:
    return [t.detach().clone().requires_grad_() for t in tensors]


def _inputs(case: Case) -> list[Tensor]:
    return _leaves(case.vectors, case.cn, case.damping)


# ---- derivatives ----


def test_cluster_has_pairs_inside_within_the_switch_and_beyond() -> None:
    r = small_case().vectors.norm(dim=1)
    assert (r < CUTOFF - 1.6).any()
    assert ((r > CUTOFF - 1.6) & (r < CUTOFF)).any()
    assert (r > CUTOFF).any()


@backends
@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
def test_derivatives_of_coordination_numbers(check: Callable[..., bool], backend: str) -> None:
    case = small_case()
    short = case._replace(vectors=case.vectors * 0.5)  # where the counts are neither 0 nor 1
    assert check(_cn(backend, short, 2.2), _leaves(short.vectors))


@backends
@widths
@pytest.mark.parametrize("argument", [0, 1, 2], ids=["vectors", "cn", "damping"])
@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
def test_derivatives_of_energy(
    check: Callable[..., bool], argument: int, width: float, backend: str
) -> None:
    case = small_case()
    inputs = [case.vectors, case.cn, case.damping]
    inputs[argument] = inputs[argument].clone().requires_grad_()
    # Energies are of the order of 1e-3 hartree: scaled to where torch's tolerances mean digits.
    energy = _energy(backend, case, width)
    assert check(lambda *x: 1e3 * energy(*x), inputs)


@backends
@widths
def test_mixed_second_derivatives_of_energy(width: float, backend: str) -> None:
    case = small_case(n_atoms=4)
    energy = _energy(backend, case, width)
    assert gradgradcheck(lambda *x: 1e3 * energy(*x), _inputs(case))


def _first_and_second(function: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor]:
    """Value, gradient, and the gradient of a fixed random projection of the gradient."""
    generator = torch.Generator().manual_seed(5)

    def random(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like.dtype)

    value = function(*inputs)
    weights = random(value).requires_grad_()
    first = grad((value * weights).sum(), inputs, create_graph=True)
    projection = torch.stack([(g * random(g)).sum() for g in first]).sum()
    second = grad(projection, [*inputs, weights])
    return [value, *first, *second]


@dtypes
def test_kernel_derivatives_of_cn_are_those_of_eager(dtype: torch.dtype) -> None:
    case = small_case(dtype, n_atoms=40)
    kernel, twin = (
        _first_and_second(_cn(backend, case), _leaves(case.vectors)) for backend in BACKENDS
    )
    for a, b in zip(kernel, twin, strict=True):
        _assert_close(a, b, dtype)


@dtypes
@widths
def test_kernel_derivatives_of_energy_are_those_of_eager(width: float, dtype: torch.dtype) -> None:
    case = small_case(dtype, n_atoms=40)
    kernel, twin = (
        _first_and_second(_energy(backend, case, width), _inputs(case)) for backend in BACKENDS
    )
    for a, b in zip(kernel, twin, strict=True):
        _assert_close(a, b, dtype)


def _assert_close(a: Tensor, b: Tensor, dtype: torch.dtype, float64: float = 1e-12) -> None:
    """Equal relative to the largest component."""
    assert a.dtype == b.dtype == dtype
    assert a.shape == b.shape
    if a.numel():
        tolerance = {torch.float64: float64, torch.float32: 1e-5}[dtype]
        assert (a - b).abs().max() <= tolerance * b.abs().max()


@dtypes
@widths
def test_slopes_of_the_centres_are_those_of_eager(width: float, dtype: torch.dtype) -> None:
    case = small_case(dtype, n_atoms=40)
    given = (case.vectors, case.cn, case.damping, case.pairs, case.species, case.tables)
    found = ops.energy_by_centre(*given, CUTOFF, width)
    expected = eager.energy_by_centre(*given, CUTOFF, width)
    for a, b in zip(found, expected, strict=True):
        assert b.any()
        _assert_close(a, b, dtype)
    assert torch.equal(found.energies, ops.dispersion_energy(*given, CUTOFF, width))


def test_slopes_of_the_centres_carry_no_graph() -> None:
    case = small_case(torch.float64)
    found = ops.energy_by_centre(*_inputs(case), case.pairs, case.species, case.tables, CUTOFF, 0.0)
    with pytest.raises(
        NotImplementedError, match=r"by_centre is for inference .* dispersion_energy"
    ):
        found.energies.sum().backward()


@pytest.mark.parametrize("name", ["coordination_number", "dispersion_energy"])
def test_third_derivatives_are_refused(name: str) -> None:
    case = small_case()
    if name == "dispersion_energy":
        function, inputs = _energy("kernel", case), _inputs(case)
    else:
        function, inputs = _cn("kernel", case), _leaves(case.vectors)
    (first,) = grad(function(*inputs).sum(), inputs[:1], create_graph=True)
    (second,) = grad((first**2).sum(), inputs[:1], create_graph=True)
    sentence = 'third derivatives are not implemented by the kernels: use backend="eager".'
    with pytest.raises(NotImplementedError, match=re.escape(sentence)):
        grad(second.sum(), inputs[:1])


@pytest.mark.parametrize("name", ["rcov", "r4r2", "cn_ref", "c6_ref"])
def test_tables_are_refused_as_differentiable(name: str) -> None:
    case = small_case()
    table = getattr(case.tables, name).clone().requires_grad_()
    tables = case.tables._replace(**{name: table})
    case = case._replace(tables=tables)
    if name == "rcov":
        call, inputs = _cn("kernel", case), [case.vectors]
    else:
        call, inputs = _energy("kernel", case), [case.vectors, case.cn, case.damping]
    with pytest.raises(NotImplementedError, match=f"{name} is not differentiable"):
        call(*inputs)


# ---- what the dispatcher asks of an op ----


def _arguments(name: str, dtype: torch.dtype, requires_grad: bool) -> tuple[Any, ...]:
    """Arguments for each of the ops."""
    case = small_case(dtype, n_atoms=4)
    v, cn, d = (
        x.clone().requires_grad_(requires_grad) for x in (case.vectors, case.cn, case.damping)
    )
    per_atom = torch.linspace(0.5, 1.5, len(cn), dtype=dtype).requires_grad_(requires_grad)
    if name.startswith("coordination_number"):
        base: tuple[Any, ...] = (v, case.pairs, case.species, case.tables.rcov, CUTOFF)
        tangents = (torch.ones_like(v),)
    else:
        base = (v, cn, d, case.pairs, case.species, *case.tables[1:], CUTOFF, 1.6)
        tangents = (torch.ones_like(v), torch.ones_like(cn), torch.ones_like(d))
    if name.endswith("_double_backward"):
        return (*tangents, per_atom, *base)
    return (per_atom, *base) if name.endswith("_backward") else base


@pytest.mark.parametrize("requires_grad", [False, True])
@dtypes
@pytest.mark.parametrize("name", NAMES)
def test_opcheck(name: str, dtype: torch.dtype, requires_grad: bool) -> None:
    tests = ["test_schema", "test_autograd_registration", "test_faketensor"]
    if not (requires_grad and name.endswith(("_double_backward", "_by_centre"))):  # refused
        tests.append("test_aot_dispatch_dynamic")
    op = getattr(OPS, name).default
    torch.library.opcheck(op, _arguments(name, dtype, requires_grad), test_utils=tests)


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
        getattr(OPS, name).default.redispatch(keys, *_arguments(name, torch.float64, False))


# ---- lists of every kind ----


@backends
@dtypes
def test_order_of_the_pairs_does_not_matter(dtype: torch.dtype, backend: str) -> None:
    case = small_case(dtype, n_atoms=60)
    order = torch.argsort(case.pairs[0], stable=True)
    ordered = case._replace(vectors=case.vectors[order], pairs=case.pairs[:, order])
    a = _first_and_second(_energy(backend, case, 2.0), _inputs(case))
    b = _first_and_second(_energy(backend, ordered, 2.0), _inputs(ordered))
    _assert_close(a[0], b[0], dtype)
    _assert_close(a[2], b[2], dtype)
    _assert_close(_cn(backend, case)(case.vectors), _cn(backend, ordered)(ordered.vectors), dtype)


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
    cn = _first_and_second(_cn(backend, case), _leaves(case.vectors))
    energy = _first_and_second(_energy(backend, case, 2.0), _inputs(case))
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

    tables = type(case.tables)(*map(strided, case.tables))
    loose = Case(*map(strided, case[:-1]), tables=tables)
    inputs = [strided(x.detach()).requires_grad_() for x in _inputs(case)]
    a = _first_and_second(_energy(backend, loose, 2.0), inputs)
    b = _first_and_second(_energy(backend, case, 2.0), _inputs(case))
    for x, y in zip(a, b, strict=True):
        _assert_close(x, y, dtype)
    assert torch.equal(_cn(backend, loose)(loose.vectors), _cn(backend, case)(case.vectors))


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
        _assert_close(part[atoms], whole[atoms], dtype)
        assert not part[~torch.isin(torch.arange(8), atoms)].any()
    _assert_close(slope_of_parts, slope, dtype)


@backends
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_a_number_is_not_hidden(value: float, backend: str) -> None:
    """NaN in a vector comes out as NaN; an infinite distance is beyond every cutoff."""
    case = small_case()
    centre = int(case.pairs[0, 0])
    case.vectors[0, 1] = value
    hidden = np.isinf(value)
    cn = _cn(backend, case)(case.vectors)
    energy = _energy(backend, case)(case.vectors, case.cn, case.damping)
    assert bool(cn[centre].isfinite()) == hidden
    assert bool(energy[centre].isfinite()) == hidden


# ---- repeatability and threads ----


def _everything(case: Case) -> list[Tensor]:
    cn = _first_and_second(_cn("kernel", case), _leaves(case.vectors))
    return cn + _first_and_second(_energy("kernel", case, 2.0), _inputs(case))


@dtypes
def test_results_repeat_to_the_last_bit_for_any_number_of_threads(dtype: torch.dtype) -> None:
    case = small_case(dtype, n_atoms=300)
    assert case.pairs.shape[1] > 60000  # several chunks of work
    torch.set_num_threads(1)
    expected = _everything(case)
    for threads in (1, 2, 4, 4):
        torch.set_num_threads(threads)
        assert all(map(torch.equal, _everything(case), expected))


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
    command = [sys.executable, "-c", COUNT_THREADS, str(Path(__file__).parent), str(n_atoms)]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    return [int(number) for number in out.stdout.split()]


def test_kernels_run_on_the_threads_of_torch() -> None:
    assert _threads(300) == [2, 3]


def test_short_lists_wake_no_threads() -> None:
    assert _threads(12)[0] == 0


# ---- refusals ----

COUNTING = ("vectors", "pairs", "species", "rcov", "cutoff")
ENERGY = (
    *("vectors", "cn", "damping", "pairs", "species"),
    *("r4r2", "cn_ref", "c6_ref", "cutoff", "width"),
)
REFUSALS: list[tuple[str, Any, type[Exception], str]] = [
    ("vectors", lambda t: t.half(), TypeError, "float64 or float32, got Half"),
    ("vectors", lambda t: t[:, :2], ValueError, r"vectors of shape \(n_pairs, 3\), got \[20, 2\]"),
    ("vectors", lambda t: t[0], ValueError, r"\(n_pairs, 3\), got \[3\]"),
    (
        "vectors",
        lambda t: t[1:],
        ValueError,
        r"pairs of shape \(2, n_pairs\) = \[2, 19\], got \[2, 20\]",
    ),
    ("pairs", lambda t: t.int(), TypeError, "pairs of dtype int64, got Int"),
    (
        "pairs",
        lambda t: t.T,
        ValueError,
        r"pairs of shape \(2, n_pairs\) = \[2, 20\], got \[20, 2\]",
    ),
    (
        "pairs",
        lambda t: t + 1,
        IndexError,
        r"atom indices in \[0, 5\) in pairs, got \(.*5.*\) for pair",
    ),
    (
        "pairs",
        lambda t: t - 1,
        IndexError,
        r"atom indices in \[0, 5\) in pairs, got \(.*-1.*\) for pair",
    ),
    (
        "pairs",
        lambda t: t.to("meta"),
        ValueError,
        "pairs on the device of the vectors, cpu, got meta",
    ),
    ("species", lambda t: t.int(), TypeError, "species of dtype int64, got Int"),
    ("species", lambda t: t[None], ValueError, r"species of shape \(n_atoms,\), got \[1, 5\]"),
    ("species", lambda t: t + 1, IndexError, r"species indices in \[0, 4\), got 4 for atom 3"),
    ("species", lambda t: t - 1, IndexError, r"species indices in \[0, 4\), got -1 for atom 0"),
    (
        "species",
        lambda t: t.to("meta"),
        ValueError,
        "species on the device of the vectors, cpu, got",
    ),
    ("rcov", lambda t: t.float(), TypeError, "rcov of the dtype of the vectors, Double, got Float"),
    ("rcov", lambda t: t[None], ValueError, r"rcov of shape \(n_species,\), got \[1, 4\]"),
    (
        "rcov",
        lambda t: t.to("meta"),
        ValueError,
        "rcov on the device of the vectors, cpu, got meta",
    ),
    ("cn", lambda t: t.float(), TypeError, "cn of the dtype of the vectors, Double, got Float"),
    ("cn", lambda t: t[1:], ValueError, r"cn of shape \(n_atoms,\) = \[5\], got \[4\]"),
    (
        "damping",
        lambda t: t[1:],
        ValueError,
        r"damping of shape \(s6, s8, a1, a2\) = \[4\], got \[3\]",
    ),
    ("damping", lambda t: t.float(), TypeError, "damping of the dtype of the vectors"),
    ("r4r2", lambda t: t[1:], ValueError, r"r4r2 of shape \(n_species,\) = \[4\], got \[3\]"),
    ("cn_ref", lambda t: t[0], ValueError, r"cn_ref of shape \(n_species, n_refs\), got \[5\]"),
    (
        "c6_ref",
        lambda t: t[0],
        ValueError,
        r"c6_ref of shape \(n_species, n_species, n_refs, n_refs\) =",
    ),
    ("c6_ref", lambda t: t.float(), TypeError, "c6_ref of the dtype of the vectors"),
    ("cutoff", lambda _: 0.0, ValueError, "a positive cutoff, got 0"),
    ("cutoff", lambda _: -1.0, ValueError, "a positive cutoff, got -1"),
    ("cutoff", lambda _: float("nan"), ValueError, "a positive cutoff, got nan"),
    ("width", lambda _: -0.5, ValueError, "at least 0 and below the cutoff 4.4, got -0.5"),
    ("width", lambda _: CUTOFF, ValueError, "at least 0 and below the cutoff 4.4, got 4.4"),
]


ARGUMENTS = {"coordination_number": COUNTING, "dispersion_energy": ENERGY}
REFUSED = [(where, *r) for where, names in ARGUMENTS.items() for r in REFUSALS if r[0] in names]


@pytest.mark.parametrize(
    ("where", "name", "change", "error", "message"),
    REFUSED,
    ids=[f"{where}-{name}-{message}" for where, name, _, _, message in REFUSED],
)
def test_wrong_arguments_are_refused_in_one_sentence(
    where: str, name: str, change: Callable[[Any], Any], error: type[Exception], message: str
) -> None:
    names = ARGUMENTS[where]
    for requires_grad in (False, True):
        values = dict(zip(names, _refusal_arguments(where, requires_grad), strict=True))
        values[name] = change(values[name])
        with pytest.raises(error, match=message) as caught:
            getattr(OPS, where)(*values.values())
        text = str(caught.value)
        assert text.startswith("d3torch: expected ")
        assert text.endswith(".")
        assert "\n" not in text


def _refusal_arguments(where: str, requires_grad: bool) -> tuple[Any, ...]:
    case = small_case()
    v, cn, damping = (
        x.clone().requires_grad_(requires_grad) for x in (case.vectors, case.cn, case.damping)
    )
    if where == "coordination_number":
        return (v, case.pairs, case.species, case.tables.rcov, CUTOFF)
    return (v, cn, damping, case.pairs, case.species, *case.tables[1:], CUTOFF, 0.0)


def test_gradients_of_the_wrong_shape_are_refused() -> None:
    args = _arguments("coordination_number_double_backward", torch.float64, False)
    with pytest.raises(ValueError, match=r"grad_cn of shape \(n_atoms,\) = \[4\], got \[3\]"):
        OPS.coordination_number_backward(args[1][1:], *args[2:])
    with pytest.raises(ValueError, match="tangent_vectors of shape its argument"):
        OPS.coordination_number_double_backward(args[0][1:], *args[1:])
    args = _arguments("dispersion_energy_double_backward", torch.float64, False)
    with pytest.raises(ValueError, match=r"grad_energy of shape \(n_atoms,\)"):
        OPS.dispersion_energy_backward(args[3][1:], *args[4:])
    for k, name in enumerate(("tangent_vectors", "tangent_cn", "tangent_damping")):
        wrong = [*args]
        wrong[k] = args[k][1:]
        with pytest.raises(ValueError, match=f"{name} of shape its argument"):
            OPS.dispersion_energy_double_backward(*wrong)


def test_meta_tensors_give_shapes_and_the_same_refusals() -> None:
    args = [
        a.to("meta") if isinstance(a, Tensor) else a
        for a in _arguments("dispersion_energy", torch.float32, False)
    ]
    energy = OPS.dispersion_energy(*args)
    assert (energy.device.type, energy.dtype, energy.shape) == ("meta", torch.float32, (4,))
    with pytest.raises(ValueError, match=r"cn of shape \(n_atoms,\) = \[4\], got \[3\]"):
        OPS.dispersion_energy(args[0], args[1][1:], *args[2:])


# ---- the segment sum of the eager twin ----


def _segments() -> tuple[Tensor, Tensor, Tensor]:
    values = torch.arange(1.0, 6.0, dtype=torch.float64)
    return values, torch.tensor([3, 0, 3, 1, 0]), torch.tensor([7.0, 4.0, 0.0, 4.0, 0.0])


def test_segment_sum() -> None:
    values, index, expected = _segments()
    assert eager.segment_sum(values, index, 5).tolist() == expected.tolist()


def _reloaded(scatter_sum: Any, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A second copy of eager.py that finds this torch_scatter (None: finds none)."""
    module = None
    if scatter_sum is not None:
        module = types.ModuleType("torch_scatter")
        module.scatter_sum = scatter_sum  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch_scatter", module)
    copy = types.ModuleType("d3torch.eager_copy")
    copy.__package__ = "d3torch"
    with open(eager.__file__) as source:
        exec(compile(source.read(), eager.__file__, "exec"), copy.__dict__)
    return copy


def test_torch_scatter_is_used_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def scatter_sum(src: Tensor, index: Tensor, dim: int, dim_size: int) -> Tensor:
        calls.append(dim_size)
        return torch.zeros(dim_size, dtype=src.dtype).scatter_add(dim, index, src)

    case, module = small_case(), _reloaded(scatter_sum, monkeypatch)
    mine = module.coordination_number(case.vectors, *case[1:3], case.tables.rcov, CUTOFF)
    assert calls == [5]
    assert torch.equal(mine, _cn("eager", case)(case.vectors))


def test_segment_sum_is_equal_with_and_without_torch_scatter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scatter = pytest.importorskip("torch_scatter", reason="torch_scatter is not installed")
    values, index, expected = _segments()
    for scatter_sum in (scatter.scatter_sum, None):
        module = _reloaded(scatter_sum, monkeypatch)
        assert module.segment_sum(values, index, 5).tolist() == expected.tolist()

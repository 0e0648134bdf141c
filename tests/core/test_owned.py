"""The ops for processes that own some atoms: as the pair ops, on a host's own arrays."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pair_ops import CUTOFF, OPS, assert_close, dtypes, widths
from systems import Case, forms, small_case
from torch import Tensor

from d3torch import eager, ops

NAMES = ["owned_coordination_number", "owned_energy_forces", "owned_energy_add_forces"]
CN_CUTOFF = 3.7
INDICES = [torch.int32, torch.int64]
indices = pytest.mark.parametrize("index", INDICES, ids=str)
STORED = [
    (torch.float64, torch.float64),
    (torch.float64, torch.float32),
    (torch.float32, torch.float32),
]
stored = pytest.mark.parametrize(("wide", "dtype"), STORED, ids=str)


def in_order(case: Case) -> Case:
    order = torch.argsort(case.pairs[0], stable=True)
    return case._replace(vectors=case.vectors[order], pairs=case.pairs[:, order].contiguous())


def some(
    dtype: torch.dtype = torch.float64, n_atoms: int = 40, form: int = 0, **given: Any
) -> Case:
    """A cluster with its pairs in order, in a dtype of the arithmetic."""
    return in_order(small_case(dtype, n_atoms, form=form, **given))


def arrays(case: Case, index: torch.dtype = torch.int64, wide: Any = None) -> tuple[Tensor, ...]:
    """Vectors, centres and neighbours as a host has them, and the species."""
    centre, neighbour = case.pairs.to(index)
    return case.vectors.to(wide or case.vectors.dtype), centre, neighbour, case.species


def of_pair_ops(case: Case, width: float) -> tuple[Tensor, Tensor, Tensor]:
    """CN, energies and forces by the three ops that serve any list."""
    given = (case.vectors, case.cn, case.damping, case.pairs, case.species, case.tables)
    part = ops.energy_by_centre(*given, CUTOFF, width, case.form)
    list_of = (case.vectors, case.pairs, case.species, case.tables.rcov, CN_CUTOFF)
    more = OPS.coordination_number_backward(2 * part.by_cn, *list_of)
    return ops.coordination_number(*list_of), part.energies, part.by_vectors + more


def energy_rest(case: Case, width: float = 0.0) -> tuple[Any, ...]:
    return (case.cn, case.damping, case.tables, CUTOFF, CN_CUTOFF, width, case.form)


@stored
@indices
@widths
@forms
def test_the_same_as_the_pair_ops_and_eager(
    form: int, width: float, index: torch.dtype, wide: torch.dtype, dtype: torch.dtype
) -> None:
    case = some(dtype, form=form)
    cn, energies, forces = of_pair_ops(case, width)
    given, rest = arrays(case, index, wide), energy_rest(case, width)
    for backend in (ops, eager):
        found = backend.owned_coordination_number(*given, case.tables.rcov, CN_CUTOFF)
        assert_close(found, cn, dtype)
        by = backend.owned_energy_forces(*given, *rest)
        assert_close(by.energies, energies, dtype)
        assert by.forces.dtype == wide
        assert_close(by.forces.to(dtype), forces, dtype)


def added(forces: Tensor, case: Case) -> Tensor:
    """Forces of the atoms, in float64."""
    out = forces.new_zeros(len(case.species), 3).double()
    return out.index_add(0, case.pairs[0], forces.double()).index_add(
        0, case.pairs[1], -forces.double()
    )


@stored
@indices
@pytest.mark.parametrize("n_atoms", [7, 300])
def test_forces_are_added_to_those_of_the_atoms(
    n_atoms: int, index: torch.dtype, wide: torch.dtype, dtype: torch.dtype
) -> None:
    case = some(dtype, n_atoms)
    given, rest = arrays(case, index, wide), energy_rest(case)
    by = ops.owned_energy_forces(*given, *rest)
    there = torch.linspace(-1.0, 1.0, 3 * n_atoms, dtype=torch.float64).view(n_atoms, 3)
    there *= float(by.forces.abs().max())
    atom_forces = there.clone()
    before = atom_forces._version
    assert torch.equal(ops.owned_energy_add_forces(atom_forces, *given, *rest), by.energies)
    assert_close((atom_forces - there).to(dtype), added(by.forces, case).to(dtype), dtype)
    assert atom_forces._version > before


@dtypes
def test_the_same_bits_for_any_number_of_threads(dtype: torch.dtype) -> None:
    case = some(dtype, 300)
    given, threads = arrays(case), torch.get_num_threads()
    found = []
    try:
        for n in (1, 2, 4, 4):
            torch.set_num_threads(n)
            cn = ops.owned_coordination_number(*given, case.tables.rcov, 30.0)
            rest = (cn, case.damping, case.tables, 30.0, 30.0)
            atom_forces = torch.zeros(300, 3, dtype=torch.float64)
            energies = ops.owned_energy_add_forces(atom_forces, *given, *rest)
            found.append([cn, *ops.owned_energy_forces(*given, *rest), energies, atom_forces])
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


@indices
@dtypes
def test_atoms_that_are_not_there(dtype: torch.dtype, index: torch.dtype) -> None:
    """Their pairs give nothing, even of length 0."""
    case = some(dtype, 12)
    given, rest = list(arrays(case, index)), energy_rest(case)
    given[3] = case.species.clone()
    given[3][[2, 7]] = -1
    out = torch.isin(case.pairs, torch.tensor([2, 7])).any(dim=0)
    left = case._replace(vectors=case.vectors[~out], pairs=case.pairs[:, ~out])
    cn, energies, forces = of_pair_ops(left, 0.0)
    given[0] = case.vectors.clone()
    given[0][torch.nonzero(out)[0]] = 0.0
    assert_close(ops.owned_coordination_number(*given, case.tables.rcov, CN_CUTOFF), cn, dtype)
    by = ops.owned_energy_forces(*given, *rest)
    assert_close(by.energies, energies, dtype)
    assert_close(by.forces[~out], forces, dtype)
    assert not by.forces[out].any()
    assert not by.energies[[2, 7]].any()
    atom_forces = torch.zeros(12, 3, dtype=torch.float64)
    ops.owned_energy_add_forces(atom_forces, *given, *rest)
    assert not atom_forces[[2, 7]].any()


@indices
@dtypes
@pytest.mark.parametrize("n_atoms", [3, 0])
def test_a_rank_without_pairs_or_atoms(
    n_atoms: int, dtype: torch.dtype, index: torch.dtype
) -> None:
    case = small_case(dtype)
    empty = case._replace(
        vectors=case.vectors[:0],
        pairs=case.pairs[:, :0],
        species=case.species[:n_atoms],
        cn=case.cn[:n_atoms],
    )
    given, rest = arrays(empty, index), energy_rest(empty)
    cn = ops.owned_coordination_number(*given, case.tables.rcov, CN_CUTOFF)
    by = ops.owned_energy_forces(*given, *rest)
    assert cn.shape == by.energies.shape == (n_atoms,)
    assert by.forces.shape == (0, 3)
    assert not cn.any()
    assert not by.energies.any()


# ---- what the dispatcher asks of an op ----


def op_arguments(
    name: str,
    dtype: torch.dtype = torch.float64,
    wide: Any = None,
    index: torch.dtype = torch.int32,
    n_atoms: int = 5,
    form: int = 0,
    requires_grad: bool = False,
) -> list[Any]:
    """Flat arguments of an op."""
    case = some(dtype, n_atoms, form=form)
    vectors, *rest = arrays(case, index, wide)
    vectors = vectors.clone().requires_grad_(requires_grad)
    if name == "owned_coordination_number":
        return [vectors, *rest, case.tables.rcov, CN_CUTOFF]
    last = [case.cn, case.damping, *case.tables[:4], CUTOFF, CN_CUTOFF, 1.6]
    flat = [vectors, *rest, *last, case.tables.radii, form]
    if name == "owned_energy_forces":
        return flat
    return [torch.zeros(n_atoms, 3, dtype=torch.float64), *flat]


@stored
@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize(("name", "form"), [*((n, 0) for n in NAMES), (NAMES[1], 2)])
def test_opcheck(
    name: str, form: int, requires_grad: bool, wide: torch.dtype, dtype: torch.dtype
) -> None:
    tests = ["test_schema", "test_autograd_registration", "test_faketensor"]
    if not requires_grad:
        tests.append("test_aot_dispatch_dynamic")
    given = op_arguments(name, dtype, wide, form=form, requires_grad=requires_grad)
    torch.library.opcheck(getattr(OPS, name).default, given, test_utils=tests)


@pytest.mark.parametrize("name", NAMES)
def test_every_op_has_its_kernels(name: str) -> None:
    for key in ("CPU", "Meta", "CUDA", "Autograd"):
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"d3torch::{name}", key)


@pytest.mark.parametrize("name", NAMES)
def test_a_gpu_is_refused(name: str) -> None:
    keys = torch._C.DispatchKeySet(torch._C.DispatchKey.CUDA)
    with pytest.raises(NotImplementedError, match=f"{name} has no CUDA kernel .*_by_centre."):
        getattr(OPS, name).default.redispatch(keys, *op_arguments(name))


@pytest.mark.parametrize("name", NAMES)
def test_results_carry_no_graph_and_say_so(name: str) -> None:
    found = getattr(OPS, name)(*op_arguments(name, requires_grad=True))
    first = found if isinstance(found, Tensor) else found[0]
    with pytest.raises(NotImplementedError, match=f"{name} is for inference and not diff.*: use "):
        first.sum().backward()


# ---- refusals ----


def _set(t: Tensor, where: Any, value: float) -> Tensor:
    out = t.clone()
    out[where] = value
    return out


LIST: list[tuple[str, Callable[[Tensor], Any], type[Exception], str]] = [
    ("vectors", lambda t: t.half(), TypeError, "vectors of dtype float64 or float32, got Half"),
    ("vectors", lambda t: t.float(), TypeError, "float64 where rcov is float64, got Float"),
    ("vectors", lambda t: t[:, :2], ValueError, r"vectors of shape \(n_pairs, 3\), got \[20, 2\]"),
    ("vectors", lambda t: _set(t, 7, 0.0), ValueError, r"distinct .*, got pair 7 \(1, \d\) with"),
    ("centre", lambda t: t.short(), TypeError, "centre of dtype int32 or int64, got Short"),
    ("centre", lambda t: t[1:], ValueError, r"centre of shape \(n_pairs,\) = \[20\], got \[19\]"),
    ("centre", lambda t: t.to("meta"), ValueError, "centre on the device of the vectors, cpu, got"),
    (
        "centre",
        lambda t: _set(t, 19, 5),
        IndexError,
        r"\[0, 5\) in pairs, got \(5, \d\) for pair",
    ),
    ("centre", lambda t: t - 1, IndexError, r"in \[0, 5\) in pairs, got \(-1, \d\) for pair 0"),
    (
        "centre",
        lambda t: _set(t, 10, 0),
        ValueError,
        r"pairs in the order of their centres, got pair 10 \(0, \d\) behind one of centre 2",
    ),
    ("neighbour", lambda t: t.long(), TypeError, "dtype of the centres, Int, got Long"),
    ("neighbour", lambda t: t[None], ValueError, r"neighbour of shape \(n_pairs,\) = \[20\], got"),
    ("neighbour", lambda t: _set(t, 3, 5), IndexError, r"got \(0, 5\) for pair 3"),
    ("neighbour", lambda t: _set(t, 3, -1), IndexError, r"got \(0, -1\) for pair 3"),
    ("species", lambda t: t.int(), TypeError, "species of dtype int64, got Int"),
    ("species", lambda t: t[None], ValueError, r"species of shape \(n_atoms,\), got \[1, 5\]"),
    ("species", lambda t: _set(t, 3, 4), IndexError, r"in \[-1, 4\), got 4 for atom 3"),
    ("species", lambda t: _set(t, 3, -2), IndexError, r"in \[-1, 4\), got -2 for atom 3"),
    ("rcov", lambda t: t[None], ValueError, r"rcov of shape \(n_species,\), got \[1, 4\]"),
    ("rcov", lambda t: t.half(), TypeError, "rcov of dtype float64 or float32, got Half"),
    ("cutoff", lambda _: 0.0, ValueError, "a positive cutoff, got 0"),
]
ENERGY: list[tuple[str, Callable[[Any], Any], type[Exception], str]] = [
    ("cn", lambda t: t.float(), TypeError, "cn of the dtype of the rcov, Double, got Float"),
    ("cn", lambda t: t[1:], ValueError, r"cn of shape \(n_atoms,\) = \[5\], got \[4\]"),
    ("damping", lambda t: t[1:], ValueError, r"damping of shape \(s6, s8, a1, a2\) = \[4\], got"),
    ("r4r2", lambda t: t[1:], ValueError, r"r4r2 of shape \(n_species,\) = \[4\], got \[3\]"),
    ("cn_ref", lambda t: t[1:], ValueError, r"cn_ref of shape \(n_species, n_refs\) = \[4, 5\]"),
    ("c6_ref", lambda t: t[0], ValueError, r"c6_ref of shape \(n_species, n_species, n_refs, n_re"),
    ("cn_cutoff", lambda _: -1.0, ValueError, "a positive cutoff, got -1"),
    ("width", lambda _: CUTOFF, ValueError, "at least 0 and below the cutoff 4.4, got 4.4"),
    ("form", lambda _: 3, ValueError, r"form 0 \(rational\), 1 \(zero\) or 2 \(modif.*, got 3"),
    ("form", lambda _: 1, ValueError, "expected radii with zero damping, got none"),
]
F = "atom_forces"
ADDED: list[tuple[str, Callable[[Tensor], Any], type[Exception], str]] = [
    (F, lambda t: t.float(), TypeError, "atom_forces of dtype float64, got Float"),
    (F, lambda t: t[1:], ValueError, r"atom_forces of shape \(n_atoms, 3\) = \[5, 3\], got \[4, 3"),
    (F, lambda t: t.T.contiguous().T, ValueError, "contiguous atom_forces, got strides"),
    (F, lambda t: t.clone().requires_grad_(), NotImplementedError, "atom_forces is not differ"),
]
OUTSIDE = [
    (0, "centre", 19, 5),
    (0, "centre", 0, -1),
    (1, "neighbour", 3, 5),
    (1, "neighbour", 3, -1),
]


@pytest.mark.parametrize("side", [OPS, eager], ids=["kernel", "eager"])
@pytest.mark.parametrize(("place", "name", "pair", "value"), OUTSIDE)
def test_the_twin_refuses_the_same_indices(
    side: Any, place: int, name: str, pair: int, value: int
) -> None:
    """Also where the last atom is not there, to which -1 would lead."""
    case = some(n_atoms=5)
    species = _set(case.species, 4, -1)
    indices = list(case.pairs)
    indices[place] = _set(indices[place], pair, value)
    with pytest.raises(IndexError, match=rf"expected atom .*[( ]{value}[,)].* for pair {pair}"):
        side.owned_coordination_number(case.vectors, *indices, species, case.tables.rcov, CN_CUTOFF)


CASES = [(NAMES[0], *r) for r in LIST]
CASES += [(name, *r) for name in NAMES[1:] for r in LIST + ENERGY]
CASES += [(NAMES[2], *r) for r in ADDED]


@pytest.mark.parametrize(("op", "name", "change", "error", "message"), CASES)
def test_wrong_arguments_are_refused_in_one_sentence(
    op: str, name: str, change: Callable[[Any], Any], error: type[Exception], message: str
) -> None:
    overload = getattr(OPS, op).default
    names = [a.name for a in overload._schema.arguments]
    values = dict(zip(names, op_arguments(op), strict=True))
    values[name] = change(values[name])
    with pytest.raises(error, match=message) as caught:
        overload(*values.values())
    text = str(caught.value)
    assert text.startswith("d3torch: ")
    assert text.endswith(".")
    assert "\n" not in text
    if F in values and name != F:
        assert not values[F].any()  # nothing half added


@pytest.mark.parametrize("name", NAMES)
def test_meta_tensors_give_shapes_and_the_same_refusals(name: str) -> None:
    given = [
        a.to("meta") if isinstance(a, Tensor) else a
        for a in op_arguments(name, torch.float32, torch.float64)
    ]
    found = getattr(OPS, name)(*given)
    found = [found] if isinstance(found, Tensor) else list(found)
    assert (found[0].device.type, found[0].dtype, found[0].shape) == ("meta", torch.float32, (5,))
    assert [(t.dtype, t.shape) for t in found[1:]] in ([], [(torch.float64, (20, 3))])


MEMORY = """
import resource
import sys
sys.path.insert(0, sys.argv[1])
import torch
from systems import DAMPING, small_tables
from d3torch import ops

n, row = 2000, 1000
centre = torch.arange(n, dtype=torch.int32).repeat_interleave(row)
neighbour = (centre + torch.arange(1, row + 1, dtype=torch.int32).repeat(n)) % n
vectors = torch.rand(n * row, 3, dtype=torch.float64) * 20.0 + 2.0
species, cn = torch.arange(n) % 4, torch.linspace(0.5, 3.5, n)
rest = (cn, torch.tensor(DAMPING[0]), small_tables(["H", "C", "O", "Na"], torch.float32), 30.0, 9.0)
atom_forces = torch.zeros(n, 3, dtype=torch.float64)

def peak(run):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run()
    return 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / (n * row)

few = (vectors[:row], centre[:row], neighbour[:row], species)
given = (vectors, centre, neighbour, species)
ops.owned_energy_add_forces(atom_forces, *few, *rest)
print(peak(lambda: ops.owned_coordination_number(*given, rest[2].rcov, 9.0)),
      peak(lambda: ops.owned_energy_add_forces(atom_forces, *given, *rest)),
      peak(lambda: ops.owned_energy_forces(*given, *rest)))
"""


def test_nothing_is_kept_a_pair_but_forces_that_are_asked_for() -> None:
    """Neither copies of 32-bit indices nor of float64 vectors under arithmetic in float32."""
    helpers = Path(__file__).parents[1] / "helpers"
    command = [sys.executable, "-c", MEMORY, str(helpers)]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    cn, added, forces = map(float, out.stdout.split())
    assert cn < 2.0
    assert added < 2.0
    assert forces < 26.0


def test_errors_name_the_first_wrong_pair() -> None:
    case = some(n_atoms=300)
    vectors, centre, neighbour, species = arrays(case, torch.int32)
    for wrong in (50000, 20000, 9999):
        neighbour[wrong] = 300
        sentence = re.escape(f"got ({int(centre[wrong])}, 300) for pair {wrong}.")
        with pytest.raises(IndexError, match=sentence):
            ops.owned_energy_forces(vectors, centre, neighbour, species, *energy_rest(case))

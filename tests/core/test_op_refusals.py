"""What the pair ops refuse, in one sentence."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pair_ops import CUTOFF, NAMES, OPS, backends, counter, dtypes, energy_of, op_arguments
from systems import Case, small_case
from torch import Tensor

from d3torch import ops

COUNTING = ("vectors", "pairs", "species", "rcov", "cutoff")
ENERGY = (
    *("vectors", "cn", "damping", "pairs", "species"),
    *("r4r2", "cn_ref", "c6_ref", "cutoff", "width", "radii", "form"),
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
    ("form", lambda _: 3, ValueError, r"form 0 \(rational\), 1 \(zero\) or 2 \(modif.*, got 3"),
    ("form", lambda _: -1, ValueError, r"form 0 \(rational\), 1 \(zero\) or 2 \(modif.*, got -1"),
    ("form", lambda _: 1, ValueError, "expected radii with zero damping, got none"),
    ("form", lambda _: 2, ValueError, "expected radii with modified zero damping, got none"),
    ("radii", lambda _: RADII, ValueError, "expected no radii with rational damping, got some"),
]
RADII = torch.ones(4, 4, dtype=torch.float64)
OF_FORMS: list[tuple[int, Tensor, int, type[Exception], str]] = [
    (
        1,
        RADII[:3],
        4,
        ValueError,
        r"radii of shape \(n_species, n_species\) = \[4, 4\], got \[3, 4\]",
    ),
    (1, RADII.float(), 4, TypeError, "radii of the dtype of the vectors, Double, got Float"),
    (2, RADII.to("meta"), 5, ValueError, "radii on the device of the vectors, cpu, got meta"),
    (1, RADII, 5, ValueError, r"damping of shape \(s6, s8, rs6, rs8\) = \[4\], got \[5\]"),
    (2, RADII, 4, ValueError, r"damping of shape \(s6, s8, rs6, rs8, bet\) = \[5\], got \[4\]"),
]


@pytest.mark.parametrize(("form", "radii", "columns", "error", "message"), OF_FORMS)
def test_wrong_arguments_of_a_form_are_refused(
    form: int, radii: Tensor, columns: int, error: type[Exception], message: str
) -> None:
    given = list(_refusal_arguments("dispersion_energy", False))
    given[2] = torch.ones(columns, dtype=torch.float64)
    with pytest.raises(error, match=message):
        OPS.dispersion_energy(*given[:-2], radii, form)


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
    return (v, cn, damping, case.pairs, case.species, *case.tables[1:4], CUTOFF, 0.0, None, 0)


def test_gradients_of_the_wrong_shape_are_refused() -> None:
    args = op_arguments("coordination_number_double_backward", torch.float64, False)
    with pytest.raises(ValueError, match=r"grad_cn of shape \(n_atoms,\) = \[4\], got \[3\]"):
        OPS.coordination_number_backward(args[1][1:], *args[2:])
    with pytest.raises(ValueError, match="tangent_vectors of shape its argument"):
        OPS.coordination_number_double_backward(args[0][1:], *args[1:])
    args = op_arguments("dispersion_energy_double_backward", torch.float64, False)
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
        for a in op_arguments("dispersion_energy", torch.float32, False)
    ]
    energy = OPS.dispersion_energy(*args)
    assert (energy.device.type, energy.dtype, energy.shape) == ("meta", torch.float32, (4,))
    with pytest.raises(ValueError, match=r"cn of shape \(n_atoms,\) = \[4\], got \[3\]"):
        OPS.dispersion_energy(args[0], args[1][1:], *args[2:])


# ---- pairs that are none ----


def _with_pair(case: Case, i: int, j: int, *vector: float) -> Case:
    """With one more pair, the last."""
    pairs = torch.cat([case.pairs, torch.tensor([[i], [j]])], dim=1)
    return case._replace(
        vectors=torch.cat([case.vectors, torch.tensor([vector], dtype=case.vectors.dtype)]),
        pairs=pairs,
    )


@backends
@dtypes
@pytest.mark.parametrize(
    ("pair", "vector", "error", "words"),
    [
        ((0, 0), (0.0, 0.0, 0.0), ValueError, "pairs of distinct positions, got pair 20 (0, 0) w"),
        ((1, 3), (0.0, -0.0, 0.0), ValueError, "got pair 20 (1, 3) with a vector of length 0."),
        ((0, -1), (0.0, 0.0, 3.0), IndexError, "in [0, 5) in pairs, got (0, -1) for pair 20."),
        ((-5, 1), (0.0, 0.0, 3.0), IndexError, "in [0, 5) in pairs, got (-5, 1) for pair 20."),
        ((5, 1), (0.0, 0.0, 3.0), IndexError, "in [0, 5) in pairs, got (5, 1) for pair 20."),
    ],
)
def test_pairs_that_are_none_are_refused(
    pair: tuple[int, int],
    vector: tuple[float, ...],
    error: type[Exception],
    words: str,
    dtype: torch.dtype,
    backend: str,
) -> None:
    """By kernel and twin in the same words: none wraps an index or counts an atom with itself."""
    case = _with_pair(small_case(dtype), *pair, *vector)
    calls: list[Callable[[], Tensor]] = [
        lambda: counter(backend, case)(case.vectors),
        lambda: energy_of(backend, case)(case.vectors, case.cn, case.damping),
    ]
    for call in calls:
        with pytest.raises(error, match=re.escape(words)) as caught:
            call()
        text = str(caught.value)
        assert text.startswith("d3torch: expected ")
        assert text.endswith(".")
        assert "\n" not in text


@pytest.mark.parametrize("name", NAMES)
def test_every_pair_op_refuses_a_vector_of_length_zero(name: str) -> None:
    args = [*op_arguments(name, torch.float64, False)]
    where = _place_of_vectors(args)
    args[where] = args[where].clone()
    args[where][7] = 0.0
    with pytest.raises(ValueError, match="expected pairs of distinct positions, got pair 7 "):
        getattr(OPS, name)(*args)


def _place_of_vectors(args: list[Any]) -> int:
    """The last argument of shape (n, 3): a tangent comes before."""
    shaped = [isinstance(a, Tensor) and a.shape[1:] == (3,) for a in args]
    return max(k for k, fits in enumerate(shaped) if fits)


@backends
def test_padding_beyond_the_cutoff_changes_nothing(backend: str) -> None:
    """The way to pad a list."""
    case = small_case()
    padded = _with_pair(case, 0, 0, 1e6, 0.0, 0.0)
    counts = [counter(backend, c)(c.vectors) for c in (case, padded)]
    energies = [energy_of(backend, c)(c.vectors, c.cn, c.damping) for c in (case, padded)]
    assert torch.equal(*counts)
    assert torch.equal(*energies)


def test_a_pair_of_length_zero_is_nan_where_it_cannot_be_refused() -> None:
    """Under vmap nobody may look at a value: NaN for its centre, as on a GPU."""
    case = _with_pair(small_case(), 2, 2, 0.0, 0.0, 0.0)
    batch = torch.stack([case.vectors, case.vectors])
    cn = torch.func.vmap(counter("eager", case))(batch)
    energy = torch.func.vmap(lambda v: energy_of("eager", case)(v, case.cn, case.damping))(batch)
    for values in (cn, energy):
        assert values.isnan().tolist() == [[False, False, True, False, False]] * 2


@backends
@pytest.mark.parametrize("index", [-1, 99])
def test_species_out_of_range_are_refused(index: int, backend: str) -> None:
    """By kernel and twin: -1, by which some hosts mark absent atoms, is not the last element."""
    case = small_case(torch.float64)
    species = case.species.clone()
    species[1] = index
    wrong = case._replace(species=species)
    calls: list[Callable[[], Tensor]] = [
        lambda: counter(backend, wrong)(wrong.vectors),
        lambda: energy_of(backend, wrong)(wrong.vectors, wrong.cn, wrong.damping),
    ]
    for call in calls:
        with pytest.raises(
            IndexError, match=rf"species indices in \[0, \d\), got {index} for atom 1"
        ):
            call()


@pytest.mark.parametrize("wrong", [-1, 3, 1 << 40])
def test_a_list_that_changes_behind_torch_is_refused_by_backward(wrong: int) -> None:
    """Through numpy, which no version counter sees: every kernel looks before it reads."""
    case = small_case(n_atoms=3)
    x, cn = case.vectors.clone().requires_grad_(), case.cn.clone().requires_grad_()
    pairs = case.pairs.clone()
    counts = ops.coordination_number(x, pairs, case.species, case.tables.rcov, 9.0)
    energy = ops.dispersion_energy(x, cn, case.damping, pairs, case.species, case.tables, 9.0)
    pairs.numpy()[1, 4] = wrong
    for value in (counts, energy):
        with pytest.raises(IndexError, match=re.escape(f", {wrong}) for pair 4.")):
            value.sum().backward()

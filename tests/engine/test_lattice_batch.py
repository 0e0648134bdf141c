"""Batches of the lattice engine, invariances, memory, and every refusal in one sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from corpus import Structure, random_structures
from torch import Tensor
from torch.autograd import grad

from d3torch import D3BJ, ops

STRUCTURES = random_structures(48)
CRYSTAL = next(s for s in STRUCTURES if s.pbc.all() and len(s.numbers) > 7)
SLAB = next(s for s in STRUCTURES if s.pbc.sum() == 2 and len(s.numbers) > 5)
MOLECULE = next(s for s in STRUCTURES if not s.pbc.any() and len(s.numbers) > 5)
ELEMENTS = list(range(1, 87))
FUNCTIONALS = ["pbe", "b3-lyp"]
dtypes = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)


@pytest.fixture(autouse=True)
def _restore_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def _model(dtype: torch.dtype = torch.float64, xc: str = "pbe") -> D3BJ:
    return D3BJ(ELEMENTS, xc, cutoff=9.0, cn_cutoff=7.0, width=1.0, dtype=dtype)


def _batch(model: D3BJ, structures: list[Structure]) -> ops.Systems:
    dtype = model.rcov.dtype
    x = np.concatenate([np.zeros((0, 3)), *(s.positions.reshape(-1, 3) for s in structures)])
    numbers = np.concatenate([np.zeros(0, dtype=int), *(s.numbers for s in structures)])
    return ops.Systems(
        torch.tensor(x, dtype=dtype),
        torch.tensor(np.array([s.cell for s in structures]).reshape(-1, 3, 3), dtype=dtype),
        torch.tensor(np.array([s.pbc for s in structures], dtype=bool).reshape(-1, 3)),
        model.species(torch.tensor(numbers, dtype=torch.long)),
        torch.tensor(np.cumsum([0, *(len(s.numbers) for s in structures)])),
    )


def _evaluate(model: D3BJ, systems: ops.Systems, damping: Tensor | None = None) -> ops.Evaluation:
    if damping is None:
        damping = model.damping().expand(len(systems.offsets) - 1, 4)
    return ops.evaluate(systems, damping, model.tables(), model.reach(), learn=True)


def _single(structure: Structure, dtype: torch.dtype = torch.float64) -> Any:
    model = _model(dtype)
    return _evaluate(model, _batch(model, [structure]))


def _fixed(structure: Structure) -> Any:
    """The same without dE/dcell at fixed positions, which depends on the images that are given."""
    return _single(structure)._replace(by_cell=torch.zeros(1))


def _assert_close(a: Any, b: Any, tolerance: float = 1e-12) -> None:
    """Every result, relative to its largest component or that of the energies."""
    scale = float(b.energy.abs().max())
    for x, y in zip(a, b, strict=True):
        assert (x - y).abs().max() <= tolerance * max(scale, float(y.abs().max()))


@dtypes
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_batch_is_equal_to_its_systems_one_by_one(threads: int, dtype: torch.dtype) -> None:
    """To the last bit, with cell, pbc and functional of each, and an empty system in between."""
    empty = CRYSTAL._replace(numbers=CRYSTAL.numbers[:0], positions=CRYSTAL.positions[:0])
    structures = [*STRUCTURES[:20], empty, *STRUCTURES[20:]]
    models = [_model(dtype, xc) for xc in FUNCTIONALS]
    damping = torch.stack([models[k % 2].damping() for k in range(len(structures))])
    systems = _batch(models[0], structures)
    torch.set_num_threads(threads)
    found = _evaluate(models[0], systems, damping)
    singles = [_evaluate(models[k % 2], _batch(models[0], [s])) for k, s in enumerate(structures)]
    joined = [torch.cat(parts) for parts in zip(*singles, strict=True)]
    assert all(map(torch.equal, found, joined))
    assert not found.energy[20]
    assert (found.energy < 0).sum() >= len(structures) - 5  # some are single atoms


def test_batch_with_gradients_is_equal_to_its_systems_one_by_one() -> None:
    model = _model()
    found = []
    for structures in ([STRUCTURES[:12]], [[s] for s in STRUCTURES[:12]]):
        parts = []
        for batch in structures:
            systems = _batch(model, batch)
            x, cell = systems.positions.requires_grad_(), systems.cell.requires_grad_()
            energy = model.lattice(systems)
            first = grad(energy.sum(), (x, cell), create_graph=True)
            second = grad(sum((f**2).sum() for f in first), (x, cell))
            parts.append((energy.detach(), *first, *second))
        found.append([torch.cat(p).detach() for p in zip(*parts, strict=True)])
    assert all(map(torch.equal, *found))


@dtypes
@pytest.mark.parametrize("n_systems", [0, 1, 3])
def test_nothing_comes_to_zero(n_systems: int, dtype: torch.dtype) -> None:
    model = _model(dtype)
    nothing = [s._replace(numbers=s.numbers[:0], positions=s.positions[:0]) for s in STRUCTURES]
    systems = _batch(model, nothing[:n_systems])
    e = _evaluate(model, systems)
    assert e.energy.shape == (n_systems,)
    assert e.gradient.shape == (0, 3)
    assert e.virial.shape == e.by_cell.shape == (n_systems, 3, 3)
    assert not any(t.any() for t in e)
    cell = systems.cell.requires_grad_()
    (by_cell,) = grad(model.lattice(systems).sum(), cell)
    assert not by_cell.any()


# ---- invariances ----


@dtypes
@pytest.mark.parametrize("structure", [MOLECULE, SLAB, CRYSTAL], ids=lambda s: s.name)
def test_order_of_the_atoms_does_not_matter(structure: Structure, dtype: torch.dtype) -> None:
    order = np.random.default_rng(3).permutation(len(structure.numbers))
    shuffled = structure._replace(
        positions=structure.positions[order], numbers=structure.numbers[order]
    )
    expected = _single(structure, dtype)
    moved = [t[order] if len(t) == len(order) else t for t in expected]
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    _assert_close(_single(shuffled, dtype), ops.Evaluation(*moved), tolerance)


@pytest.mark.parametrize("cells", [1, 1000])
@pytest.mark.parametrize("structure", [SLAB, CRYSTAL], ids=lambda s: s.name)
def test_atoms_may_be_cells_away_along_periodic_axes(structure: Structure, cells: int) -> None:
    rng = np.random.default_rng(5)
    shifts = rng.integers(-cells, cells + 1, structure.positions.shape) * structure.pbc
    moved = structure._replace(positions=structure.positions + shifts @ structure.cell)
    _assert_close(_fixed(moved), _fixed(structure), 1e-12 * cells)


@pytest.mark.parametrize("structure", [MOLECULE, SLAB, CRYSTAL], ids=lambda s: s.name)
def test_any_translation_does_not_matter(structure: Structure) -> None:
    moved = structure._replace(positions=structure.positions + np.array([1.234, -56.7, 8.9]))
    _assert_close(_fixed(moved), _fixed(structure))


@pytest.mark.parametrize("structure", [SLAB, CRYSTAL], ids=lambda s: s.name)
def test_order_and_sign_of_the_lattice_vectors_do_not_matter(structure: Structure) -> None:
    for order in ([1, 2, 0], [2, 1, 0]):
        turned = structure._replace(cell=-structure.cell[order], pbc=structure.pbc[order])
        _assert_close(_fixed(turned), _fixed(structure))


def test_repeated_crystal_has_the_energy_of_each_cell() -> None:
    twice = CRYSTAL._replace(
        numbers=np.tile(CRYSTAL.numbers, 2),
        positions=np.concatenate([CRYSTAL.positions, CRYSTAL.positions + CRYSTAL.cell[1]]),
        cell=CRYSTAL.cell * [[1], [2], [1]],
    )
    one, two = _single(CRYSTAL), _single(twice)
    assert two.energy.item() == pytest.approx(2 * one.energy.item(), rel=1e-13)
    torch.testing.assert_close(two.cn, one.cn.tile(2), rtol=1e-13, atol=0)
    torch.testing.assert_close(two.virial, 2 * one.virial, rtol=1e-10, atol=1e-12)


def test_slab_is_a_crystal_with_vacuum() -> None:
    axis = int(np.flatnonzero(~SLAB.pbc)[0])
    a, b = SLAB.cell[SLAB.pbc]
    cell = SLAB.cell.copy()
    cell[axis] = np.cross(a, b) / np.linalg.norm(np.cross(a, b)) * 60.0
    wide = SLAB._replace(cell=cell, pbc=np.ones(3, dtype=bool))
    _assert_close(_fixed(wide), _fixed(SLAB))


def test_lattice_vectors_without_pbc_are_not_read() -> None:
    cell = SLAB.cell.copy()
    cell[~SLAB.pbc] = np.nan
    assert all(map(torch.equal, _single(SLAB._replace(cell=cell)), _single(SLAB)))


def test_molecule_needs_no_cell() -> None:
    model = _model()
    x, species = torch.tensor(MOLECULE.positions), model.species(torch.tensor(MOLECULE.numbers))
    found = model.evaluate(model.systems(x, species))
    assert all(map(torch.equal, found[:-1], _single(MOLECULE)[:-1]))


@dtypes
def test_non_contiguous_inputs(dtype: torch.dtype) -> None:
    def strided(t: Tensor) -> Tensor:
        return torch.stack([t, t], dim=-1)[..., 0]

    model = _model(dtype)
    systems = _batch(model, STRUCTURES[:9])
    damping = model.damping().repeat(9, 1)
    tables = ops.Tables(*map(strided, model.tables()))
    loose = ops.Systems(*map(strided, systems))
    assert not loose.positions.is_contiguous()
    found = ops.evaluate(loose, strided(damping), tables, model.reach(), learn=True)
    assert all(map(torch.equal, found, _evaluate(model, systems)))


# ---- refusals ----

Change = Callable[[Any], Any]


def _set(*at: Any, to: float) -> Change:
    def change(t: Tensor) -> Tensor:
        t = t.clone()
        t[at] = to
        return t

    return change


NAMES = [*ops.Systems._fields, "damping", *ops.Tables._fields, *ops.Range._fields]
REFUSALS: list[tuple[str, Change, type[Exception], str]] = [
    ("positions", Tensor.half, TypeError, "positions of dtype float64 or float32, got Half"),
    ("positions", lambda t: t[:, :2], ValueError, r"positions of shape \(n_atoms, 3\), got"),
    ("positions", lambda t: t[0], ValueError, r"positions of shape \(n_atoms, 3\), got \[3\]"),
    ("positions", lambda t: t[1:], ValueError, r"species of shape \(n_atoms,\) = "),
    ("positions", _set(-1, 1, to=np.nan), ValueError, "finite positions, got NaN .* in system 1."),
    ("positions", _set(0, 2, to=np.inf), ValueError, "finite .* for atom 0 in system 0."),
    ("positions", _set(-1, 0, to=1e12), ValueError, "within 1e9 of the origin .* in system 1."),
    ("positions", _set(0, 0, to=-1e300), ValueError, "within 1e9 of the origin .* for atom 0 in"),
    ("positions", torch.zeros_like, ValueError, "got atom 0 and atom 1 on one spot in system 0."),
    ("cell", lambda t: t[1:], ValueError, r"cell of shape \(n_systems, 3, 3\) = "),
    ("cell", Tensor.float, TypeError, "cell of the dtype of the positions, Double, got Float"),
    ("cell", lambda t: t * 0, ValueError, "linearly independent .*, got a singular cell in"),
    ("cell", lambda t: t * np.inf, ValueError, "got a singular cell in system 1."),
    ("cell", _set(1, 0, 0, to=np.nan), ValueError, "got a singular cell in system 1."),
    ("cell", lambda t: t[:, [0, 0, 2]], ValueError, "got a singular cell in system 1."),
    ("pbc", lambda t: t[0], ValueError, r"pbc of shape \(n_systems, 3\) = "),
    ("pbc", Tensor.int, TypeError, "pbc of dtype bool, got Int"),
    ("species", Tensor.int, TypeError, "species of dtype int64, got Int"),
    ("species", lambda t: t[1:], ValueError, r"species of shape \(n_atoms,\) = "),
    ("species", _set(1, to=86), IndexError, r"species indices in \[0, 86\), got 86 for atom 1"),
    ("species", _set(2, to=-1), IndexError, r"species indices in \[0, 86\), got -1 for atom 2"),
    ("offsets", Tensor.int, TypeError, "offsets of dtype int64, got Int"),
    ("offsets", lambda t: t[None], ValueError, r"offsets of shape \(n_systems \+ 1,\), got"),
    ("offsets", lambda t: t[:0], ValueError, r"offsets of shape \(n_systems \+ 1,\), got \[0\]"),
    ("offsets", lambda t: t + 1, ValueError, "offsets that rise from 0 to the number of atoms"),
    ("offsets", _set(1, to=99), ValueError, "offsets that rise from 0 to the number of atoms"),
    ("damping", lambda t: t[0], ValueError, r"damping of shape \(n_systems, 4\), s6 s8 a1 a2"),
    ("damping", Tensor.float, TypeError, "damping of the dtype of the positions"),
    ("rcov", lambda t: t[1:], ValueError, r"rcov of shape \(n_species,\) = "),
    ("r4r2", lambda t: t[None], ValueError, r"r4r2 of shape \(n_species,\) = "),
    ("r4r2", Tensor.float, TypeError, "r4r2 of the dtype of the positions"),
    ("cn_ref", lambda t: t[0], ValueError, r"cn_ref of shape \(n_species, n_refs <= 7\), got"),
    ("cn_ref", lambda t: t.repeat(1, 2), ValueError, r"\(n_species, n_refs <= 7\), got \[86, "),
    ("c6_ref", lambda t: t[..., 0], ValueError, r"c6_ref of shape \(n_species, n_species, "),
    ("cutoff", lambda _: 0.0, ValueError, "a positive cutoff, got 0"),
    ("cutoff", lambda _: np.nan, ValueError, "a positive cutoff, got nan"),
    ("cutoff", lambda _: np.inf, ValueError, "cutoffs of at most 1e5, got inf"),
    ("cn_cutoff", lambda _: 2e5, ValueError, "cutoffs of at most 1e5, got 200000"),
    ("cn_cutoff", lambda _: -1.0, ValueError, "a positive cn_cutoff, got -1"),
    ("width", lambda _: 9.0, ValueError, "width of at least 0 and below the cutoff 9, got 9"),
    *(
        (name, lambda t: t.to("meta"), ValueError, f"{name} on the device of the positions, cpu")
        for name in (*ops.Systems._fields[1:], "damping", *ops.Tables._fields)
    ),
]


@pytest.mark.parametrize("op", ["dispersion", "dispersion_shares", "dispersion_evaluate"])
@pytest.mark.parametrize(
    ("name", "change", "error", "message"), REFUSALS, ids=[f"{r[0]}-{r[3]}" for r in REFUSALS]
)
def test_wrong_arguments_are_refused_in_one_sentence(
    name: str, change: Change, error: type[Exception], message: str, op: str
) -> None:
    model = _model()
    systems = _batch(model, [MOLECULE, CRYSTAL])
    values = [*systems, model.damping().repeat(2, 1), *model.tables(), *model.reach()]
    arguments = dict(zip(NAMES, values, strict=True))
    arguments[name] = change(arguments[name])
    with pytest.raises(error, match=message) as caught:
        getattr(torch.ops.d3torch, op)(*arguments.values())
    text = str(caught.value)
    assert text.startswith("d3torch: expected ")
    assert "\n" not in text
    assert text.endswith(".")


def test_unknown_instruction_set_is_refused() -> None:
    model = _model()
    last = (model.damping()[None], model.tables(), model.reach())
    sentence = "expected instruction_set to be best, avx512, avx2 or baseline, got sse9."
    with pytest.raises(ValueError, match=sentence):
        ops.evaluate(_batch(model, [CRYSTAL]), *last, instruction_set="sse9")


# ---- two atoms on one spot ----


def _sodium(cell: float, n: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Positions in a cube, none closer to another than a bit, and its cell."""
    generator = torch.Generator().manual_seed(seed)
    grid = torch.stack(torch.meshgrid(*3 * [torch.arange(0.0, 1.0, 0.25)], indexing="ij"), -1)
    sites = grid.reshape(-1, 3).repeat(1 + n // 64, 1).double()[:n]
    sites += torch.arange(n)[:, None] // 64  # more than fit are put into cells further on
    x = (sites + 0.1 * torch.rand(n, 3, generator=generator, dtype=torch.float64)) * cell
    return x, cell * torch.eye(3, dtype=torch.float64)


def _said(backend: str, x: Tensor, cell: Tensor | None, pbc: Any, dtype: torch.dtype) -> str:
    model = D3BJ(["Na"], "pbe", cutoff=9.0, cn_cutoff=8.0, dtype=dtype, backend=backend)
    species = torch.zeros(len(x), dtype=torch.long)
    given = None if cell is None else cell.to(dtype)
    periodic = None if pbc is None else torch.tensor(pbc)
    with pytest.raises(ValueError, match="expected atoms at distinct positions") as caught:
        model.lattice(model.systems(x.to(dtype), species, given, periodic))
    return str(caught.value).removeprefix("d3torch: expected atoms at distinct positions, got ")


@dtypes
@pytest.mark.parametrize("backend", ["kernel", "eager"])
@pytest.mark.parametrize(
    ("pbc", "image", "words"),
    [
        ((True, True, True), (0, 0, 0), "atom 3 and atom 4 on one spot."),
        ((True, True, True), (0, 1, -1), "atom 3 and atom 4 in cell [0, -1, 1] on one spot."),
        ((False, True, False), (0, 1, 0), "atom 3 and atom 4 in cell [0, -1, 0] on one spot."),
        ((False, False, False), (0, 0, 0), "atom 3 and atom 4 on one spot."),
    ],
)
def test_the_two_atoms_on_one_spot_are_named(
    pbc: tuple[bool, ...], image: tuple[int, ...], words: str, backend: str, dtype: torch.dtype
) -> None:
    """By construction: atom 4 is put on atom 3, some cells away."""
    x, cell = _sodium(6.0)
    x[4] = x[3] + torch.tensor(image, dtype=x.dtype) @ cell
    assert _said(backend, x, cell, pbc, dtype) == words


@pytest.mark.parametrize("backend", ["kernel", "eager"])
def test_an_atom_on_its_own_image_is_named(backend: str) -> None:
    cell = torch.diag(torch.tensor([5.0, 6.0, 2e-6], dtype=torch.float64))
    x = torch.ones(2, 3, dtype=torch.float64)
    x[1, 0] += 2.5
    if backend == "eager":  # 8 million images of 2e-6 A are too many for it
        cell[2, 2] = 8.9e-6
    words = _said(backend, x, cell, (False, False, True), torch.float64)
    assert words == "atom 0 and an image of its own in cell [0, 0, -1] on one spot."


@dtypes
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("pbc", [True, False])
def test_the_two_atoms_on_one_spot_are_named_in_large_systems(
    pbc: bool, threads: int, dtype: torch.dtype
) -> None:
    """In many clusters, by any number of threads; the first of two such pairs."""
    torch.set_num_threads(threads)
    x, cell = _sodium(12.0, n=400)
    x[391] = x[137]
    x[390] = x[211]
    words = _said("kernel", x, 7.0 * cell if pbc else None, None, dtype)
    assert words == "atom 137 and atom 391 on one spot."


@pytest.mark.parametrize("backend", ["kernel", "eager"])
def test_atoms_count_from_the_first_of_their_system(backend: str) -> None:
    x, cell = _sodium(6.0)
    x[4] = x[3]
    model = D3BJ(["Na"], "pbe", cutoff=9.0, cn_cutoff=8.0, backend=backend)
    both = torch.cat([x[:3], x])
    species, offsets = torch.zeros(8, dtype=torch.long), torch.tensor([0, 3, 8])
    systems = model.systems(both, species, torch.stack([cell, cell]), None, offsets)
    with pytest.raises(ValueError, match=r"got atom 3 and atom 4 on one spot in system 1\."):
        model.lattice(systems)


def test_one_system_is_not_numbered() -> None:
    """A single structure has no place in a batch that a user would know of."""
    model = _model()
    systems = _batch(model, [CRYSTAL])
    nowhere = systems._replace(positions=systems.positions * np.nan)
    singular = systems._replace(cell=systems.cell * 0)
    for wrong, end in ((nowhere, "infinity for atom 0."), (singular, "a singular cell.")):
        with pytest.raises(ValueError, match=end) as caught:
            model.lattice(wrong)
        assert "system" not in str(caught.value)


# ---- work without end ----


@pytest.mark.parametrize(
    ("cell", "cutoff", "refused"),
    [(6.0, 9000.0, True), (1e-3, 20.0, True), (6.0, 60.0, False), (1e4, 9000.0, False)],
)
def test_work_without_end_is_refused(cell: float, cutoff: float, refused: bool) -> None:
    """Before any of it is done: 5 atoms in 6 A have 1e11 neighbours each within 9000 A."""
    model = D3BJ(["Na"], "pbe", cutoff=5.0, cn_cutoff=4.0)
    x, cube = _sodium(6.0)
    systems = model.systems(x, torch.zeros(5, dtype=torch.long), cell / 6.0 * cube)
    reach = ops.Range(cutoff, 4.0)
    arguments = (systems, model.damping()[None], model.tables(), reach)
    if not refused:
        assert ops.dispersion(*arguments).isfinite()
        return
    sentence = r"expected at most 5e\+08 neighbours of an atom and .* is a cutoff a square, or in"
    with pytest.raises(ValueError, match=sentence):
        ops.dispersion(*arguments)

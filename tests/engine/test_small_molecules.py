"""Molecules that the lattice engine takes all pairs of, and those just too large for that."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from instruction_sets import FLAGS, require
from oracle import dispersion

from d3torch import D3BJ, ops

MOST = 128
"""Atoms of the largest that goes without clusters, see ``csrc/engine/tuning.h``."""

ELEMENTS = [1, 6, 8, 26, 55]


def _molecule(n: int, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Numbers and positions, A, of n atoms on a jittered grid."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(n ** (1 / 3)))
    grid = np.array(list(np.ndindex(side, side, side)), dtype=float)[:n]
    return rng.choice(ELEMENTS, n), 1.9 * grid + rng.uniform(-0.3, 0.3, (n, 3))


def _evaluate(numbers: Any, positions: Any, dtype: Any, **given: Any) -> Any:
    """Everything by the op, as dict of float64; ``box`` puts the molecule into a periodic cell."""
    box, instruction_set = given.pop("box", None), given.pop("instruction_set", "best")
    model = D3BJ(ELEMENTS, "pbe", cutoff=9.0, cn_cutoff=7.0, dtype=dtype, **given)
    cell = None if box is None else torch.eye(3, dtype=dtype) * box
    x = torch.tensor(positions, dtype=dtype)
    systems = model.systems(x, model.species(torch.tensor(numbers)), cell)
    found = ops.evaluate(
        systems, model.damping()[None], model.tables(), model.reach(), True, True, instruction_set
    )
    return {name: value.double() for name, value in found._asdict().items()}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("instruction_set", FLAGS)
@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 17, MOST - 1, MOST, MOST + 1])
def test_equal_to_the_oracle(n: int, instruction_set: str, dtype: torch.dtype) -> None:
    require(instruction_set)
    numbers, positions = _molecule(n)
    given = torch.tensor(positions, dtype=dtype).double().numpy()
    expected = dispersion(numbers, given, np.zeros((3, 3)), [False] * 3, "pbe", 9.0, 7.0)
    found = _evaluate(numbers, positions, dtype, instruction_set=instruction_set)
    e, f = (1e-12, 1e-10) if dtype == torch.float64 else (1e-6, 1e-5)
    assert found["energy"].item() == pytest.approx(expected.energy, rel=e)
    for name, value in (("gradient", -expected.forces), ("virial", expected.virial)):
        a = found[name].reshape(value.shape).numpy()
        assert np.abs(a - value).max() <= f * max(np.abs(value).max(), abs(expected.energy)), name


@pytest.mark.parametrize("width", [0.0, 3.0])
@pytest.mark.parametrize("n", [5, 60, MOST])
def test_equal_to_the_same_atoms_in_a_large_cell(n: int, width: float) -> None:
    """Which are taken in clusters; with the derivatives by damping and the smooth cutoff."""
    alone = _evaluate(*_molecule(n), torch.float64, width=width)
    in_cell = _evaluate(*_molecule(n), torch.float64, width=width, box=60.0)
    for name in ("energy", "energies", "cn", "c6", "gradient", "virial", "by_damping"):
        a, b = alone[name], in_cell[name]
        assert (a - b).abs().max() <= 1e-12 * b.abs().max(), name


def test_digits_stay_far_from_the_origin() -> None:
    numbers, positions = _molecule(20)
    far = np.round(positions * 2**20) / 2**20 + 2.0**22  # exact sums
    near = _evaluate(numbers, far - 2.0**22, torch.float64)
    moved = _evaluate(numbers, far, torch.float64)
    assert (near["gradient"] - moved["gradient"]).abs().max() <= 1e-12 * near[
        "gradient"
    ].abs().max()
    assert (near["virial"] - moved["virial"]).abs().max() <= 1e-12 * near["virial"].abs().max()


@pytest.mark.parametrize("n", [9, MOST])
def test_two_atoms_on_one_spot_are_named(n: int) -> None:
    numbers, positions = _molecule(n)
    positions[5] = positions[3]
    with pytest.raises(ValueError, match="got atom 3 and atom 5 on one spot"):
        _evaluate(numbers, positions, torch.float64)


@pytest.mark.parametrize("cell", [None, 60.0], ids=["molecule", "periodic"])
@pytest.mark.parametrize("tail", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_one_distance_decides_what_is_one_spot(
    cell: float | None, tail: bool, dtype: torch.dtype
) -> None:
    """A millionth of the longer cutoff, as in the twin, however far a sum goes."""
    for cutoff, cn_cutoff in ((31.0, 21.0), (300.0, 8.0)):
        given = {"cutoff": cutoff, "cn_cutoff": cn_cutoff, "tail": tail, "width": 2.0}
        box = None if cell is None else torch.eye(3, dtype=dtype) * cell
        found = []
        for backend in ("kernel", "eager"):
            model = D3BJ(["O"], "pbe", dtype=dtype, backend=backend, **given)

            def energy(apart: float, model: D3BJ = model, box: Any = box) -> float:
                x = torch.tensor([[0.0, 0, 0], [apart, 0, 0], [0, 3.0, 0]], dtype=dtype)
                systems = model.systems(x, torch.zeros(3, dtype=torch.int64), box)
                return float(model.lattice(systems))

            with pytest.raises(ValueError, match="one spot"):
                energy(0.9e-6 * cutoff)
            found.append([energy(apart) for apart in (1.1e-6 * cutoff, 1e-3, 9.9e-3)])
        assert found[0] == pytest.approx(found[1], rel=1e-5)
        assert found[0][0] == pytest.approx(found[0][2], rel=1e-3)
